# Recorded traces: the format, recording and replay; included by this folder's CMakeLists.txt.
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED libxxhash>=0.8.0)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET GLOBAL libzstd)

hs_folder(trace trace_codec.c trace_check.c trace_kinds.c trace_record.c trace_header.c trace_write.c trace_read.c
  contents.c record_view.c replay_view.c)
target_include_directories(hs_trace SYSTEM PRIVATE ${XXHASH_INCLUDE_DIRS})
target_link_libraries(hs_trace PUBLIC hs_hash PRIVATE PkgConfig::ZSTD)
