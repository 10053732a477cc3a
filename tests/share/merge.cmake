# The owner's and engine's own headers are tested as well: INCLUDES share.
set(HS_SHARE_DIR ${PROJECT_SOURCE_DIR}/share)
hs_suite(test_share_plan SOURCES test_plan.c LIBS hs_share LABELS unit)
hs_suite(test_share_ksm SOURCES test_ksm.c LIBS hs_share INCLUDES ${HS_SHARE_DIR} LABELS unit)
hs_suite(test_share_ksm_live SOURCES test_ksm_live.c LIBS hs_share INCLUDES ${HS_SHARE_DIR} LABELS live KSM ROOT)
add_library(hs_engine_scene STATIC engine_scene.c engine_guest.c)
target_link_libraries(hs_engine_scene PUBLIC hs_share hs_ept PkgConfig::CHECK)
target_include_directories(hs_engine_scene PRIVATE ${PROJECT_SOURCE_DIR}/tests ${HS_SHARE_DIR})
foreach(part IN ITEMS share undo limits groups)
  hs_suite(test_share_engine_${part} SOURCES test_engine_${part}.c LIBS hs_engine_scene INCLUDES ${HS_SHARE_DIR}
           LABELS live TIMEOUT 600 KSM ROOT)
endforeach()
