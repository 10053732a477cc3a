# The owner's and engine's own headers are tested as well: INCLUDES share.
set(HS_SHARE_DIR ${PROJECT_SOURCE_DIR}/share)
hs_suite(test_share_plan SOURCES test_plan.c LIBS hs_share LABELS unit)
hs_suite(test_share_ksm SOURCES test_ksm.c LIBS hs_share INCLUDES ${HS_SHARE_DIR} LABELS unit)
hs_suite(test_share_ksm_live SOURCES test_ksm_live.c LIBS hs_share INCLUDES ${HS_SHARE_DIR} LABELS live KSM ROOT)
hs_suite(test_share_engine_live SOURCES test_engine_live.c engine_guest.c LIBS hs_share hs_ept
         INCLUDES ${HS_SHARE_DIR} LABELS live TIMEOUT 600 KSM ROOT)
