hs_suite(test_share_plan SOURCES test_plan.c LIBS hs_share LABELS unit)
