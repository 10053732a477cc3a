add_test(NAME service_daemon COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/daemon.sh $<TARGET_FILE:hs-shared> $<TARGET_FILE:hs-share>
         $<TARGET_FILE:hs-guest>)
set_tests_properties(service_daemon PROPERTIES LABELS live TIMEOUT 400 RESOURCE_LOCK ksm RUN_SERIAL TRUE)
add_test(NAME service_log COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/log.sh $<TARGET_FILE:hs-shared>)
set_tests_properties(service_log PROPERTIES LABELS unit TIMEOUT 60)
