hs_folder(diagnose diagnose.c diagnose_probe.c diagnose_processes.c)
target_link_libraries(hs_diagnose PUBLIC hs_model)
target_include_directories(hs_diagnose INTERFACE ${CMAKE_CURRENT_SOURCE_DIR})
