set(HS_REMOTE_DIR ${PROJECT_SOURCE_DIR}/share)
hs_suite(test_share_remote SOURCES test_remote.c LIBS hs_share INCLUDES ${HS_REMOTE_DIR} LABELS unit)
hs_suite(test_share_remote_live SOURCES test_remote_live.c remote_guest.c LIBS hs_share INCLUDES ${HS_REMOTE_DIR}
         LABELS live ROOT)
hs_suite(test_share_remote_signals SOURCES test_remote_signals.c remote_guest.c LIBS hs_share LABELS live ROOT)
hs_suite(test_share_remote_refuse SOURCES test_remote_refuse.c remote_guest.c LIBS hs_share LABELS live ROOT)
hs_suite(test_share_remote_still SOURCES test_remote_still.c remote_guest.c LIBS hs_share LABELS live ROOT)
hs_suite(test_share_remote_kill SOURCES test_remote_kill.c remote_guest.c killer.c LIBS hs_share LABELS live ROOT)

# The same, a thousand times for each kind of guest.
add_test(NAME test_share_remote_kill_long COMMAND test_share_remote_kill)
set_tests_properties(test_share_remote_kill_long PROPERTIES ENVIRONMENT HS_KILL_ROUNDS=1000 TIMEOUT 1800
                     SKIP_RETURN_CODE 77 LABELS long)

# The killer by itself, for any command.
add_executable(hs-killer killer.c killer_main.c)
