hs_suite(test_accept SOURCES test_accept.c LIBS hs_http INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
add_library(hs_raw_client STATIC raw_client.c)
target_include_directories(hs_raw_client INTERFACE ${CMAKE_CURRENT_SOURCE_DIR})
hs_suite(test_http SOURCES test_http.c LIBS hs_http hs_raw_client INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
