set(HS_SHARE_MERGE_SOURCES
    claim.c engine.c engine_adopt.c engine_apply.c engine_burst.c engine_groups.c engine_unshare.c engine_verify.c hostfile.c ksm.c
    ksm_counters.c ksm_foreign.c ksm_knobs.c ksm_state.c ledger.c plan.c vmas.c)
