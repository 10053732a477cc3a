pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
hs_folder(http http.c http_listen.c http_exchange.c api.c accept.c metrics.c)
target_link_libraries(hs_http PUBLIC hs_model PkgConfig::SYSTEMD PRIVATE PkgConfig::MICROHTTPD)
target_include_directories(hs_http INTERFACE ${CMAKE_CURRENT_SOURCE_DIR})
