hs_suite(test_trace SOURCES test_trace.c trace_samples.c LIBS hs_trace PkgConfig::ZSTD
         INCLUDES ${PROJECT_SOURCE_DIR}/sim LABELS unit TIMEOUT 400)
