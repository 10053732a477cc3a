# The policy lab: simulated hosts, policies, results, and the command hs-lab; included by this folder's CMakeLists.txt.
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET GLOBAL jansson)
pkg_check_modules(INIH REQUIRED IMPORTED_TARGET GLOBAL inih)

hs_folder(lab scenario.c scenario_built_in.c host.c host_content.c host_share.c workload.c scanner.c tracker.c policy.c policy_none.c
  policy_ksm.c policy_ksm_huge.c policy_ingens.c policy_hs_share.c policy_oracle.c run.c trace_host.c trace_work.c cost.c calibrate.c
  calibrate_live.c)
target_link_libraries(hs_lab PUBLIC hs_trace hs_pipeline hs_ept hs_scan hs_hash hs_share PRIVATE hs_base PUBLIC PkgConfig::JANSSON PRIVATE PkgConfig::INIH m)
target_include_directories(hs_lab INTERFACE ${CMAKE_CURRENT_SOURCE_DIR})

add_executable(hs-lab main.c cmd_run.c cmd_replay.c cmd_claims.c cmd_sweep.c cmd_calibrate.c cmd_scenarios.c jobs.c options.c report.c plot.c html.c)
target_link_libraries(hs-lab PRIVATE hs_lab)
install(TARGETS hs-lab RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
