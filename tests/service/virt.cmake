hs_suite(test_virt SOURCES test_virt.c LIBS hs_virt INCLUDES ${PROJECT_SOURCE_DIR}/service LABELS unit)
