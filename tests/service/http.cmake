hs_suite(test_accept SOURCES test_accept.c LIBS hs_http INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
