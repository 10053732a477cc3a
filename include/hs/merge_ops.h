/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of merge operations: what becomes of the pipeline's decisions. Nothing above this header knows which table
 * it has.
 *
 * Implementations: the merge engine of hs/share.h (pipeline/merge_engine.c) beside the zero pages of hs/zero.h, each
 * guest with the one that its scope asks for (pipeline/merge_scoped.c), simulated hosts (lab/policies/hs_share.c),
 * a trace that is replayed (trace/pipeline_trace.c), and the one that merges nothing (hs_merge_nothing), for a pipeline
 * that only observes.
 *
 * In each cycle the pipeline calls, in this order: where there are several groups, verify for every guest and forgo for
 * what is found to be another group's; want (and unshare) for what was decided; verify for every guest, so that what
 * broke is counted before anything new is marked; apply for every guest; one burst, unless nothing was marked and the
 * last one settled; part_groups; verify again.
 *
 * The one thread that owns the pipeline makes all calls. Every operation may be NULL, except where it says what is done
 * then: there is nothing to do, the answer is 0, and every out-parameter is all zero.
 */
#ifndef HS_MERGE_OPS_H
#define HS_MERGE_OPS_H

#include "hs/clock.h"
#include "hs/error.h"
#include "hs/remote.h"
#include "hs/settings.h"
#include "hs/share.h"
#include "hs/types.h"
#include "hs/view.h"

/* A guest that is offered. view and remote outlive its stay. */
struct hs_merge_guest {
	const char *name;
	struct hs_view *view;
	struct hs_remote *remote; /* NULL: there is no way into its process */
	uint32_t group;           /* trust group; the same number for the same group */
	uint8_t scope;            /* enum hs_scope */
	uint32_t number;          /* guests are counted in the order in which they were added; a new view keeps it */
};

#define HS_MERGE_NO_GUEST UINT32_MAX

struct hs_merge_ops {
	const char *name;
	bool merges;   /* what is wanted may come to be shared; false: no mapping need be split for it */
	bool compares; /* nothing is merged but what has the same bytes, compared while nobody can write them; what has
			  not is left as it is. So nobody else need compare them before */

	/* The table is given back: what is shared stays. */
	void (*close)(void *ctx);

	/*
	 * Takes a guest in. *id: what it is called by below; HS_MERGE_NO_GUEST: it cannot be shared at all, which is no
	 * error. NULL: that is so of every guest. Errors as hs_share_add_guest.
	 */
	int (*enter)(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err);
	/* As hs_share_renew_guest; guest->number is as it was. NULL: it leaves, and enters anew. */
	int (*renew)(void *ctx, uint32_t id, const struct hs_merge_guest *guest, struct hs_error *err);
	/* Forgets it; what is shared stays. Also right for a guest that is gone. */
	void (*leave)(void *ctx, uint32_t id);

	/* As hs_share_want; an implementation without VMAs ignores `allowed`. */
	int (*want)(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
		    const struct hs_bits512 *allowed);
	/* As hs_share_forgo. NULL: they are taken out of what is wanted. */
	int (*forgo)(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages);
	/* As of the last verify; sets all but out->huge. */
	void (*state)(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out);
	/* As hs_share_claims. NULL: what is wanted. */
	void (*claims)(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_bits512 *out);
	/* As hs_share_unshare. */
	int (*unshare)(void *ctx, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
		       struct hs_error *err);

	/* As hs_share_verify, hs_share_apply, hs_share_burst and hs_share_part_groups. */
	int (*verify)(void *ctx, uint32_t id, struct hs_error *err);
	int (*apply)(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err);
	int (*burst)(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err);
	int (*part_groups)(void *ctx, uint64_t *nr_parted, struct hs_error *err);
	/* As hs_share_ready: whether anything stands in the way of a burst. */
	int (*ready)(void *ctx, struct hs_error *err);
	/* As hs_share_burst_for and hs_share_burst_stop. Both NULL: a burst is run to its end at once. */
	int (*burst_for)(void *ctx, const struct hs_clock *clock, uint64_t us, struct hs_share_burst *out,
			 struct hs_error *err);
	int (*burst_stop)(void *ctx, struct hs_share_burst *out, struct hs_error *err);

	/* Of one guest, or of all (UINT32_MAX), as of the last verify of each. NULL: it is not known. */
	void (*ledger)(void *ctx, uint32_t id, struct hs_ledger *out);
};

/* A table, and what its operations are called with. */
struct hs_merge {
	const struct hs_merge_ops *ops;
	void *ctx;
};

/* Takes no guest, shares nothing. */
extern const struct hs_merge_ops hs_merge_nothing;

#endif
