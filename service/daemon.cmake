# The daemon puts the parts together.
add_executable(hs-shared daemon_main.c daemon.c daemon_guests.c daemon_control.c daemon_diagnose.c daemon_model.c daemon_state.c worker.c worker_jobs.c)
target_link_libraries(hs-shared PRIVATE hs_config hs_http hs_virt hs_diagnose hs_model PkgConfig::SYSTEMD PkgConfig::JANSSON)
install(TARGETS hs-shared RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})

set(HS_SYSTEMD_UNIT_DIR lib/systemd/system CACHE STRING "Where the systemd unit goes, below the prefix")
configure_file(install.cmake.in install.cmake @ONLY)
install(SCRIPT ${CMAKE_CURRENT_BINARY_DIR}/install.cmake)
