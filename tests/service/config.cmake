hs_suite(test_config SOURCES test_config.c LIBS hs_config INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
hs_suite(test_auto SOURCES test_auto.c LIBS hs_config INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
