/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline: the one place that puts the stages together.
 *
 *   view -> coarse -> (content) -> fine -> policy -> index -> share -> ledger
 *
 * A cycle is a window of coarse rounds, a look at contents, a fine phase for what promises a gain, decisions, and a
 * burst. The commands, the service and the lab drive it; nothing here prints. One thread owns a pipeline and all its
 * guests.
 */
#ifndef HS_PIPELINE_H
#define HS_PIPELINE_H

#include "hs/clock.h"
#include "hs/host.h"
#include "hs/index.h"
#include "hs/merge_ops.h"
#include "hs/policy.h"
#include "hs/scan.h"
#include "hs/settings.h"
#include "hs/share.h"
#include "hs/sketch.h"

struct hs_pipeline;

#define HS_GUEST_NAME_MAX  128 /* with the end */
#define HS_GUEST_GROUP_MAX 64
#define HS_DEFAULT_GROUP   "default"

struct hs_guest_options {
	const char *name;          /* for people; longer ones are cut */
	const char *group;         /* trust group; NULL or "": HS_DEFAULT_GROUP */
	uint64_t max_shared_bytes; /* nothing further is wanted of it once so much is; 0: no limit */
	uint8_t scope;             /* enum hs_scope: counts where it is stricter than that of all */
};

/*
 * What sharing frees, gross, of one guest: pages of zeros whole; of the others, what goes because the guest itself
 * holds a content several times, and what goes because others of its group hold it as well. One frame stays for each
 * content, and the holders bear it by the number of their pages: so the sum over a group's guests is the group's.
 */
struct hs_saving {
	uint64_t zero_bytes, within_bytes, across_bytes;
};
static inline uint64_t hs_saving_bytes(const struct hs_saving *s)
{
	return s->zero_bytes + s->within_bytes + s->across_bytes;
}

/* What is known of one guest, for reports. Counts are huge pages unless named otherwise. */
struct hs_guest_report {
	pid_t pid;
	char name[HS_GUEST_NAME_MAX];
	char group[HS_GUEST_GROUP_MAX];
	uint64_t max_shared_bytes;
	uint8_t scope, own_scope; /* enum hs_scope: what holds; what it was taken in with */
	bool overcommit_full; /* nothing further was wanted of it in the last cycle: a limit of overcommit is reached */
	bool gone;
	struct hs_obstacle merge_obstacle; /* why the engine will not have it; none: it has it, or there is no engine */
	struct hs_obstacle look_obstacle;  /* why it was left alone in the last cycle; none: it was not */
	struct hs_obstacle tier_obstacle;  /* why nothing (more) of it is demoted; none: it is, or nobody asked */
	uint64_t demoted_pages;            /* base pages, on the tier as of the last cycle */
	uint64_t nr_demoted;               /* base pages that went there, since the guest came */
	const char *view_name;
	uint64_t bytes; /* guest memory under view */
	struct hs_left_out left_out;
	uint32_t nr_huge;
	uint32_t mapped_huge, mapped_split, absent, unknown;
	const char *unknown_reason; /* of the first of those that have one (hs_view_why); NULL: none has. Static */
	uint32_t hot, warm, cold, undecided;
	uint32_t hot_still_huge;
	uint32_t hot_bloat; /* hot, known by the fine phase to be cold-dominated */
	uint32_t evenly_hot;
	uint32_t by_reason[HS_NR_REASONS];
	uint64_t zero_pages;      /* base pages, of those whose content is known */
	uint64_t duplicate_pages; /* base pages with another of equal digest */
	uint64_t cold_identical;  /* cold base pages, zero or proven identical by their bytes to another cold one */
	/*
	 * What sharing would save, or saves, as of the last cycle that ended; the budget of mappings and the guest's
	 * limit apart. `sure`: of what the policy shares by what it knows. `at_most`: also of what the last contents
	 * promise in hot huge pages, were all of their base pages cold that were not seen hot; the fine phase would
	 * tell. `looked`: `sure` in the last cycle in which it did, looked_cycle (0: it never did).
	 */
	struct hs_saving sure, at_most, looked;
	uint64_t could_save_bytes, could_save_at_most_bytes, looked_save_bytes; /* their sums */
	uint32_t looked_cycle;
	uint32_t nr_promising; /* hot huge pages behind the difference between sure and at_most */
	uint64_t hashed_pages;
	uint32_t skew[11]; /* fine-tracked huge pages by hot base pages: 0, 1, 2-3, 4-7, 8-15, ... 256-511, 512 */
	/* The same of those that are hot, warm, cold and undecided now; an absent one is in none of them. */
	uint32_t skew_hot[11], skew_warm[11], skew_cold[11], skew_undecided[11];
	uint32_t fine_known;
	uint64_t nr_vmas_dropped;
	uint64_t nr_pending;      /* base pages: shared and not wanted any more; they stay so for want of memory */
	char pending_reason[256]; /* where it is lacking; empty: nothing is pending */
	struct hs_ledger ledger;
	struct hs_remote_stats remote;
	/* Of its cold contents, but zeros, at the end of the last cycle; NULL: there is none. Lent until the next cycle
	 * begins or the guest goes. */
	const struct hs_sketch *sketch;
};

struct hs_pipeline_totals {
	uint32_t cycles;
	uint32_t nr_guests;
	uint64_t rounds;
	uint64_t pages_hashed;   /* digests computed */
	uint64_t pages_compared; /* by us: not where ksmd does it */
	uint64_t compare_failed; /* equal digest, other bytes (or changed meanwhile) */
	uint64_t ksmd_cpu_us;
	uint64_t burst_ms;
	uint64_t index_bytes;
	uint64_t own_bytes; /* index and records of pages, without libraries */
	struct hs_fine_stats fine;
	struct hs_ledger ledger; /* all 0 without the engine: what is shared is not known then */
	/*
	 * What it would take to end all sharing at once, and what that may be at most: the least of max_overcommit and
	 * of max_overcommit_percent of what is available on the host; 0: there is no limit. As of the last cycle.
	 * overcommit_full: nothing further is wanted of some guest, for that, or for the same below a limit of its
	 * cgroups.
	 */
	uint64_t overcommit_bytes, max_overcommit_bytes;
	uint32_t overcommit_full;
};

HS_MUST_USE int hs_pipeline_create(struct hs_pipeline **out, const struct hs_host *host,
				   const struct hs_pipeline_config *cfg, const struct hs_clock *clock,
				   struct hs_error *err);

/* Takes NULL. Sharing stays as it is (hs_pipeline_unshare_all first to undo it); mappings split for a look come back.
 */
void hs_pipeline_destroy(struct hs_pipeline *p);

/*
 * Makes sketches of the guests that may share with others, by this key, which is copied; digests are made by it, too.
 * -EBUSY: there are guests already.
 */
HS_MUST_USE int hs_pipeline_set_fleet_key(struct hs_pipeline *p, const struct hs_fleet_key *key);

/* A guest by process id. Errors as hs_remote_open, hs_view_open, hs_share_add_guest; -EEXIST. */
HS_MUST_USE int hs_pipeline_add_pid(struct hs_pipeline *p, pid_t pid, struct hs_error *err);

/* The same with options. */
HS_MUST_USE int hs_pipeline_add(struct hs_pipeline *p, pid_t pid, const struct hs_guest_options *opt,
				struct hs_error *err);

/* A lower limit than what is shared already undoes nothing. -ENOENT: no such guest. */
HS_MUST_USE int hs_pipeline_set_limits(struct hs_pipeline *p, pid_t pid, uint64_t max_shared_bytes);

/*
 * Takes a guest out, living or gone, and forgets all about it. `unshare`: its sharing is undone first, which needs the
 * engine (-ENOTCONN without); when that fails (-ENOMEM: no room now) the guest stays in. Otherwise what is shared
 * stays. Between cycles only. -ENOENT: no such guest.
 */
HS_MUST_USE int hs_pipeline_remove(struct hs_pipeline *p, pid_t pid, bool unshare, struct hs_share_unshared *out,
				   struct hs_error *err);

/*
 * Takes the merge engine, and every guest into it: what is shared of it from before is read back. A guest that the
 * engine will not have is left as it is, with the reason in its report. Errors as hs_share_create; -EBUSY: it was given
 * another table of merge operations. Between cycles only.
 */
HS_MUST_USE int hs_pipeline_engage(struct hs_pipeline *p, struct hs_error *err);

/* Gives the engine (or the table that it was given) back: what is shared stays, KSM's knobs are as they were. Between
 * cycles only. */
void hs_pipeline_disengage(struct hs_pipeline *p);
/* Between cycles: whether what is decided can be merged now. As hs_share_ready; 0 where it cannot be said. */
HS_MUST_USE int hs_pipeline_ready(struct hs_pipeline *p, struct hs_error *err);
bool hs_pipeline_engaged(const struct hs_pipeline *p); /* what is decided is merged, by whichever table */
/* In a cycle, from its progress: ksmd is at work while guests are looked at, and has to be looked after in time. */
bool hs_pipeline_ksmd_runs(const struct hs_pipeline *p);

/* A guest through any view (remote NULL: it cannot be shared), for tests. The view is owned from then on.
 */
HS_MUST_USE int hs_pipeline_add_view(struct hs_pipeline *p, const char *name, struct hs_view *view,
				     struct hs_error *err);

/* The same with options. */
HS_MUST_USE int hs_pipeline_add_view_as(struct hs_pipeline *p, const struct hs_guest_options *opt, struct hs_view *view,
					struct hs_error *err);

/*
 * Has decisions carried out by this table in place of the engine: for guests that are simulated or recorded. *merge is
 * copied; its ctx outlives the pipeline. -EBUSY: there is an engine, a table, or a guest, already.
 */
HS_MUST_USE int hs_pipeline_set_merge(struct hs_pipeline *p, const struct hs_merge *merge);

uint32_t hs_pipeline_nr_guests(const struct hs_pipeline *p); /* alive */

enum hs_stage {
	HS_STAGE_COARSE,
	HS_STAGE_CONTENT,
	HS_STAGE_FINE,
	HS_STAGE_DECIDE,
	HS_STAGE_MERGE,
	HS_STAGE_VERIFY,
	HS_STAGE_UNSHARE, /* all of a guest, not what turned hot in a cycle */
	HS_STAGE_REST,
};
/* Called at the start of each step of a stage: `done` of `total`. */
typedef void hs_pipeline_progress(void *ctx, enum hs_stage stage, uint64_t done, uint64_t total);
void hs_pipeline_on_progress(struct hs_pipeline *p, hs_pipeline_progress *fn, void *ctx);

/* Calls that report what the pipeline does, for a recording or a test; each may be NULL. `view`: the guest's. */
struct hs_pipeline_observer {
	void *ctx;
	/* A guest is taken in: its view may be put into another one, which owns it from then on. With an error the view
	 * stays as it is, and the guest is not taken in. */
	int (*opened)(void *ctx, const char *name, const char *group, struct hs_view **view, struct hs_error *err);
	/* A cycle begins, or goes on after -ECANCELED; counted from 1. */
	void (*cycle)(void *ctx, uint32_t cycle);
	void (*fine)(void *ctx, const struct hs_view *view, const struct hs_fine_result *results, size_t nr);
	/* decisions[nr_huge], as the policy made them: before anything was done about them */
	void (*decided)(void *ctx, const struct hs_view *view, const struct hs_policy_decision *decisions);
	/* A burst settled. Of each guest that takes part: whether ksmd ran, and whether all that is wanted of the guest
	 * was mergeable by then. Before `merged`. */
	void (*settled)(void *ctx, const struct hs_view *view, bool scanned, bool all_marked);
	/* What is shared of one guest at the end of a cycle, by page frames: huge pages of which anything is wanted or
	 * shared, or was and broke. The ledger is the engine's; without one it is empty. */
	void (*merged)(void *ctx, const struct hs_view *view, const struct hs_ledger *ledger,
		       const struct hs_shared_huge *shared, size_t nr);
};

/* Copied; NULL: none any more. Before the first guest is taken in, for `opened` to see them all. */
void hs_pipeline_set_observer(struct hs_pipeline *p, const struct hs_pipeline_observer *observer);

/*
 * One whole cycle. *news: base pages that became shared or stopped being so. A guest that goes is dropped, with its
 * last report kept; one that cannot be looked at is left alone for this cycle, with the reason in its report; the
 * others go on. -ECANCELED: the clock asked to end; everything split for a look was brought back, and the next cycle
 * goes on with the coarse round that this one was in. -ESRCH: no guest is left. Another error: it concerns all, or
 * every guest.
 */
HS_MUST_USE int hs_pipeline_cycle(struct hs_pipeline *p, uint64_t *news, struct hs_error *err);

/*
 * The next cycle that comes to its end looks into hot huge pages that promise a gain, with all the fine phase's guards,
 * also where nothing is merged: their mappings are split for a second or two and brought back, what is cold is read,
 * and nothing becomes mergeable for it. The guests' reports have what it found as `looked`.
 */
void hs_pipeline_ask_look(struct hs_pipeline *p, bool on);  /* false: not any more */
bool hs_pipeline_look_pending(const struct hs_pipeline *p); /* asked for, and no such cycle has ended */

/* Undoes all sharing of one guest. Needs the engine (-ENOTCONN). -ENOENT: no such guest. */
HS_MUST_USE int hs_pipeline_unshare_pid(struct hs_pipeline *p, pid_t pid, struct hs_share_unshared *out,
					struct hs_error *err);

/* Undoes all sharing of all guests. Nothing is done without the engine. */
HS_MUST_USE int hs_pipeline_unshare_all(struct hs_pipeline *p, struct hs_share_unshared *out, struct hs_error *err);

/* out[max] (NULL with 0); the number of guests, gone ones included. Costs some 2 us a huge page. */
size_t hs_pipeline_report(struct hs_pipeline *p, struct hs_guest_report *out, size_t max);
void hs_pipeline_totals(struct hs_pipeline *p, struct hs_pipeline_totals *out);

#endif
