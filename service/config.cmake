pkg_check_modules(INIH REQUIRED IMPORTED_TARGET inih)
hs_folder(config config.c config_keys.c auto.c)
target_link_libraries(hs_config PUBLIC hs_model PRIVATE PkgConfig::INIH)
target_include_directories(hs_config INTERFACE ${CMAKE_CURRENT_SOURCE_DIR})
