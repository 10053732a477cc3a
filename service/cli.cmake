pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
add_executable(hs-share main.c cmd_run.c cmd_inspect.c cmd_record.c looking.c cmd_unshare.c cmd_remote.c remote_show.c remote_watch.c client.c terminal.c
  parse.c print.c)
target_link_libraries(hs-share PRIVATE hs_model hs_diagnose PkgConfig::CURL)
install(TARGETS hs-share RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES hs-share.bash-completion DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME hs-share)
