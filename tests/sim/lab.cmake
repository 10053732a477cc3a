# The policy lab.
hs_suite(test_lab_scenario SOURCES test_scenario.c LIBS hs_lab LABELS unit)
hs_suite(test_lab_host SOURCES test_host.c LIBS hs_lab LABELS unit)
hs_suite(test_lab_policies SOURCES test_policies.c LIBS hs_lab LABELS unit)
hs_suite(test_lab_properties SOURCES test_properties.c LIBS hs_lab LABELS unit)
hs_suite(test_lab_trace_host SOURCES test_trace_host.c LIBS hs_lab LABELS unit)
add_test(NAME lab_cli COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/lab.sh $<TARGET_FILE:hs-lab> ${PROJECT_SOURCE_DIR}/tests/data/redis.hst)
set_tests_properties(lab_cli PROPERTIES LABELS live TIMEOUT 120)
# It lets ksmd run for a moment.
add_test(NAME lab_calibrate COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/calibrate.sh $<TARGET_FILE:hs-lab>)
set_tests_properties(lab_calibrate PROPERTIES LABELS live TIMEOUT 400 RESOURCE_LOCK ksm)
