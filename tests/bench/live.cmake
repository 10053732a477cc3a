add_executable(bench_live bench_live.c live_variants.c)
target_link_libraries(bench_live PRIVATE hs_scene hs_scan)
add_dependencies(bench_live hs-share hs-guest)
