# The simulated guest's own suite.
hs_suite(test_ept_sim_view SOURCES test_sim_view.c LIBS hs_ept LABELS unit)
