add_test(NAME service_completion COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/completion.sh $<TARGET_FILE:hs-share>
         ${PROJECT_SOURCE_DIR}/service/hs-share.bash-completion)
hs_suite(test_terminal SOURCES test_terminal.c ${PROJECT_SOURCE_DIR}/service/terminal.c INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
