set(HS_SHARE_MERGE_SOURCES hostfile.c ksm.c ksm_counters.c ksm_foreign.c ksm_knobs.c ksm_state.c plan.c vmas.c)
