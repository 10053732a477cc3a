hs_suite(test_diagnose SOURCES test_diagnose.c LIBS hs_diagnose INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
