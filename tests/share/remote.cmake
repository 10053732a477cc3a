set(HS_REMOTE_DIR ${PROJECT_SOURCE_DIR}/share)
hs_suite(test_share_remote SOURCES test_remote.c LIBS hs_share INCLUDES ${HS_REMOTE_DIR} LABELS unit)
hs_suite(test_share_remote_live SOURCES test_remote_live.c remote_guest.c LIBS hs_share INCLUDES ${HS_REMOTE_DIR}
         LABELS live ROOT)
