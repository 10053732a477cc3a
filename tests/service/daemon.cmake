add_test(NAME service_daemon COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/daemon.sh $<TARGET_FILE:hs-shared> $<TARGET_FILE:hs-share>
         $<TARGET_FILE:hs-guest>)
set_tests_properties(service_daemon PROPERTIES LABELS live TIMEOUT 400 RESOURCE_LOCK ksm RUN_SERIAL TRUE)
add_test(NAME service_lost COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/lost.sh $<TARGET_FILE:hs-shared> $<TARGET_FILE:hs-share>
         $<TARGET_FILE:hs-guest>)
set_tests_properties(service_lost PROPERTIES LABELS live TIMEOUT 400 RESOURCE_LOCK ksm RUN_SERIAL TRUE)
add_test(NAME service_auto COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/auto.sh $<TARGET_FILE:hs-shared> $<TARGET_FILE:hs-share>
         $<TARGET_FILE:hs-guest>)
set_tests_properties(service_auto PROPERTIES LABELS live TIMEOUT 400 RESOURCE_LOCK ksm RUN_SERIAL TRUE SKIP_RETURN_CODE 77)
add_test(NAME service_busy_host COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/busy_host.sh $<TARGET_FILE:hs-shared> $<TARGET_FILE:hs-share>
         $<TARGET_FILE:hs-guest>)
set_tests_properties(service_busy_host PROPERTIES LABELS live TIMEOUT 200 RESOURCE_LOCK ksm RUN_SERIAL TRUE)
foreach(seconds 40 3600)
  set(name service_churn)
  set(labels live)
  if(seconds GREATER 600)
    set(name service_churn_hour)
    set(labels long)
  endif()
  add_test(NAME ${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/churn.sh $<TARGET_FILE:hs-shared> $<TARGET_FILE:hs-share>
           $<TARGET_FILE:hs-guest>)
  math(EXPR limit "${seconds} * 2 + 300")
  set_tests_properties(${name} PROPERTIES LABELS ${labels} TIMEOUT ${limit} RESOURCE_LOCK ksm RUN_SERIAL TRUE
                       ENVIRONMENT HS_CHURN_SECONDS=${seconds})
endforeach()
# The scan's thread is a part of the program alone, and its pipeline is the suite's own.
hs_suite(test_worker SOURCES test_worker.c ${PROJECT_SOURCE_DIR}/service/worker.c ${PROJECT_SOURCE_DIR}/service/worker_jobs.c
         LIBS hs_model hs_config PkgConfig::SYSTEMD INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
hs_suite(test_endpoint SOURCES test_endpoint.c LIBS hs_raw_client LABELS unit TIMEOUT 300)
# It waits most of its time: begun first, others run meanwhile.
set_tests_properties(test_endpoint PROPERTIES COST 1000)
target_compile_definitions(test_endpoint PRIVATE HS_SHARED="$<TARGET_FILE:hs-shared>")
add_dependencies(test_endpoint hs-shared)

pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
add_executable(hs-yaml-json yaml_json.c)
target_link_libraries(hs-yaml-json PRIVATE PkgConfig::YAML PkgConfig::JANSSON)
add_test(NAME service_endpoint COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/endpoint.sh $<TARGET_FILE:hs-shared> $<TARGET_FILE:hs-share>
         $<TARGET_FILE:hs-guest> $<TARGET_FILE:hs-yaml-json> ${PROJECT_SOURCE_DIR})
set_tests_properties(service_endpoint PROPERTIES LABELS live TIMEOUT 300 RESOURCE_LOCK ksm)
add_test(NAME service_log COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/log.sh $<TARGET_FILE:hs-shared>)
set_tests_properties(service_log PROPERTIES LABELS unit TIMEOUT 60)
