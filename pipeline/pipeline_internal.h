/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the pipeline's own files share: its guests and what is remembered of each huge page.
 *
 * The files, lowest first; each calls those before it, and none after it (tests/pipeline/order.sh):
 * order: settings refused merge_ops overlap pace merge_engine merge_scoped overcommit split_journal observer
 * order: guest_state cold_age content content_owners policy_input fine_look merge demote decide early saving
 * order: sketches engage guests report report_fields pipeline
 */
#ifndef HS_PIPELINE_PIPELINE_INTERNAL_H
#define HS_PIPELINE_PIPELINE_INTERNAL_H

#include "hs/owners.h"
#include "hs/pipeline.h"
#include "hs/tier.h"

#define HS_MAX_GUESTS 8192

/* What is remembered of one huge page between rounds. */
struct page_record {
	struct hs_bits512 hashed;    /* its digest is in the index, and it was not accessed since */
	struct hs_bits512 zero;      /* all bytes zero when read, and not accessed since; never indexed */
	struct hs_bits512 zero_hint; /* was zero when last read, however long ago: a promise, no proof */
	struct hs_bits512 present;   /* as of the last base sample or, when huge, full */
	struct hs_bits512 accessed;  /* in the last round, where the mapping is split */
	struct hs_bits512 recent;    /* in any round of this window; all, where they are not told apart */
	struct hs_bits512 candidate; /* cold and fresh: may share in this cycle */
	struct hs_bits512 same;      /* candidate whose bytes were compared equal with another candidate's, in this cold
					spell; or whose digest is equal, where ksmd is left to compare */
	struct hs_bits512 on_frame;  /* its key was read when it was on a KSM frame, in which it is still as long as no
					burst has run since */
	struct hs_bits512 taken;     /* mergeable, and what it holds is another group's: to be given up */
	struct hs_bits512
	    unread;          /* asked for or mergeable, not merged, and what it holds could not be read: the same */
	hs_owners_key *keys; /* owned, [512]: what each base page held when it was last read; NULL: none is known.
				 Only while there are several groups: 4 KiB */
	struct hs_fine_result *fine; /* owned; NULL: not looked at */
	struct refused *refused;     /* owned; NULL: everything that was wanted of it was merged (refused.c) */
	uint32_t fine_cycle;         /* when it was, or could not tell */
	uint32_t unshared_cycle;     /* when that was last */
	uint32_t ban_until;          /* cycle */
	uint32_t new_until;          /* cycle: the memory came to a guest that was known, and is only looked at */
	uint8_t nr_unshared;         /* times that we took its sharing back because it turned hot or kept breaking */
	uint8_t looked;              /* the content was read at least once in this spell */
	uint8_t fine_unclear;        /* looks one after another that could not tell, at most 7 */
	uint8_t kept_split;          /* we split it, and it stays split for sharing */
	uint8_t shares;              /* the last decision was to share */
	uint8_t early;               /* decided before the end of this window: that stands until the next one */
	struct hs_policy_decision decision;
};

/* What demoting asks of one huge page (cold_age.c, demote.c). */
struct cold_age {
	struct hs_bits512 now, before; /* seen accessed in this period, in the one before */
	struct hs_bits512 swapped;     /* as of the last look */
	struct hs_bits512 stuck;       /* the kernel kept it: left alone until that cycle */
	uint32_t stuck_until;
	uint8_t nr_kept;            /* tries one after another of which the kernel kept something */
	uint8_t compressed_percent; /* of what was read last; 0: nothing was */
	uint64_t watched_us;        /* left split since then for what is to be demoted; 0: it is not */
};

struct guest {
	char name[HS_GUEST_NAME_MAX];
	char group[HS_GUEST_GROUP_MAX];
	uint8_t scope, own_scope; /* enum hs_scope: what holds; what it was taken in with */
	uint32_t group_nr;        /* the same number for those that may share with one another */
	uint64_t part;            /* by which the digests of its group differ from other groups' */
	uint64_t max_shared_bytes;
	pid_t pid;
	bool gone;
	bool decided;      /* all of it was decided on, once at least, since it came */
	bool aside;        /* it could not be looked at in this cycle: nothing is decided on it */
	bool noted;        /* there may be a note of what is split of it (split_journal.c) */
	bool shareable;    /* the table of merge operations has taken it in */
	uint32_t reopened; /* cycle of its last new view; 0: it has its first */
	struct hs_obstacle merge_obstacle, look_obstacle; /* as in struct hs_guest_report */
	uint32_t index_id;
	uint32_t merge_id; /* by which the table calls it, while it is shareable */
	uint32_t number;   /* as in struct hs_merge_guest */
	struct hs_view *view;
	struct hs_remote *remote;
	struct hs_coarse *coarse;
	struct page_record *pages; /* [view->nr_huge] */
	struct hs_guest_report last;
	struct hs_tier_guest *tier; /* NULL: nothing of it is demoted, for tier_obstacle, or because nobody asked */
	struct hs_obstacle tier_obstacle;
	struct cold_age *cold_age; /* [view->nr_huge]; NULL: as above */
	uint64_t age_from_us;      /* beginning of its period */
	uint32_t age_rounds;       /* in it */
	uint64_t nr_demoted;       /* base pages, since it came */
	bool overcommit_full;      /* see overcommit.c */
	struct guest *limit;       /* who keeps, below, the sum of those that are below the same limit of memory; in the
				      decisions of one cycle. NULL: no such limit is to be kept */
	uint64_t limit_available, limit_saved, limit_pending; /* bytes */
	char limit_where[256];                                /* which one */
	uint64_t dropped, pending;                            /* base pages, by the last apply */
	char pending_reason[256];                             /* as in struct hs_share_applied */
	bool all_marked;                        /* by the last apply: all that is wanted of it is mergeable */
	uint64_t read_at_burst;                 /* bursts there had been when its pages' `on_frame` was set */
	struct hs_saving sure, at_most, looked; /* as in struct hs_guest_report */
	uint32_t looked_cycle, nr_promising;
	struct hs_sketch_key sketch_key; /* of its group; only in a fleet, and where it may share with others */
	struct hs_sketch *sketch;        /* owned; NULL: none was made */
};

struct hs_pipeline {
	struct hs_host host;
	struct hs_pipeline_config cfg;
	const struct hs_clock *clock;
	struct guest *guests[HS_MAX_GUESTS];
	size_t nr_guests;
	uint32_t guest_of_index[HS_MAX_GUESTS]; /* guest number by the index's number */
	struct hs_index *index;
	struct hs_owners *owners; /* of contents, by group; NULL: there is one group */
	struct hs_digest_key key;
	bool in_fleet; /* sketches are made, by this key, from which `key` is derived, too */
	struct hs_fleet_key fleet_key;
	struct hs_merge merge; /* never without operations: hs_merge_nothing while nothing is merged */
	bool merge_given;      /* by hs_pipeline_set_merge: no engine comes in its place */
	struct hs_fine *fine;
	hs_pipeline_progress *progress;
	void *progress_ctx;
	struct hs_pipeline_observer observer;
	uint8_t *buf[2]; /* a huge page each */
	bool paced;      /* once: the two after it are set */
	uint64_t paced_wall_us, paced_cpu_us;
	uint32_t next_group_nr, next_number;
	bool several_groups;      /* kept right as guests come and go: it is asked for each base page */
	uint32_t round;           /* of the coarse window that is under way; 0: none */
	uint64_t overcommit_left; /* bytes, in the decisions of one cycle; UINT64_MAX: no limit */
	struct overlap {
		bool runs;               /* ksmd, while guests are looked at */
		bool began;              /* in this cycle something was merged early; `before` is set */
		uint64_t looked_us;      /* at what ksmd does */
		struct hs_ledger before; /* what was shared at the beginning of it */
		struct hs_clock clock;   /* for all that sleeps meanwhile */
	} overlap;
	bool demote_asked;                /* cfg.policy.demote, which itself is off: a policy for each guest */
	struct hs_policy_config demoting; /* cfg.policy, on */
	struct hs_tier *tier;             /* NULL: not asked for, or there is none */
	uint8_t pressure;                 /* as in struct hs_policy_input, in this cycle */
	bool unsettled;                   /* the last burst ended before everything was merged */
	uint64_t nr_bursts;               /* asked for so far, pieces of one counted apart */
	bool look;                        /* the fine phase is to run in the next cycle, whatever the engine */
	struct hs_pipeline_totals totals;
};

/* ---- pace.c ---- */

void hs_pipeline_note_progress(struct hs_pipeline *p, enum hs_stage stage, uint64_t done, uint64_t total);

/* Sleeps when our thread used more than its share of a core since the last rest. 0 or -ECANCELED. */
HS_MUST_USE int hs_pipeline_pace(struct hs_pipeline *p);

/* ---- overlap.c: ksmd runs while guests are looked at ---- */

void hs_overlap_init(struct hs_pipeline *p);
bool hs_overlap_possible(const struct hs_pipeline *p);
/* ksmd starts with the next sleep on p->overlap.clock, which looks after it, and so does hs_overlap_look. */
void hs_overlap_begin(struct hs_pipeline *p);
/* For who works for long without a sleep: ksmd is looked after when it is time. */
HS_MUST_USE int hs_overlap_look(struct hs_pipeline *p);
/* ksmd stands still afterwards. */
void hs_overlap_end(struct hs_pipeline *p);

/* ---- refused.c: what was wanted and never merged ---- */

/* A burst has settled, and `left`, though wanted, marked and proven, was not merged. */
void hs_refused_note_burst(struct page_record *pg, const struct hs_bits512 *left, uint32_t cycle);

/* At the start of a cycle's decisions: what was left alone for long enough is tried again. */
void hs_refused_expire(struct page_record *pg, uint32_t cycle);

/* What is left alone now. */
struct hs_bits512 hs_refused_pages(const struct page_record *pg);

/* Whether a further burst is to show if something that was not merged, and was proven again since, is refused. */
bool hs_refused_needs_burst(const struct page_record *pg, const struct hs_shared_huge *now);

size_t hs_refused_bytes(const struct page_record *pg);

/* ---- merge_ops.c: calls of the pipeline's table; of a guest that is shareable, unless named otherwise ---- */

/* Offers a guest that is not shareable yet; `shareable` says whether it was taken. */
HS_MUST_USE int hs_merge_enter(struct hs_pipeline *p, struct guest *g, struct hs_error *err);
/* Of any guest, with its new view: a table without that operation has it leave and enter later. Errors as
 * hs_share_renew_guest. */
HS_MUST_USE int hs_merge_renew(struct hs_pipeline *p, struct guest *g, struct hs_error *err);
/* Of any guest: it is not shareable afterwards, and what is shared of it stays. */
void hs_merge_leave(struct hs_pipeline *p, struct guest *g);

void hs_merge_state(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h, struct hs_shared_huge *out);
void hs_merge_claims(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h, struct hs_bits512 *out);
HS_MUST_USE int hs_merge_want(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages,
			      const struct hs_bits512 *allowed);
/* These base pages are no longer wanted, nor allowed: what they hold is another group's. */
HS_MUST_USE int hs_merge_forgo(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *pages);
HS_MUST_USE int hs_merge_unshare(struct hs_pipeline *p, struct guest *g, const hs_huge_nr *huge, size_t nr,
				 struct hs_share_unshared *out, struct hs_error *err);
HS_MUST_USE int hs_merge_verify(struct hs_pipeline *p, struct guest *g, struct hs_error *err);
HS_MUST_USE int hs_merge_apply(struct hs_pipeline *p, struct guest *g, struct hs_share_applied *out,
			       struct hs_error *err);
HS_MUST_USE int hs_merge_burst(struct hs_pipeline *p, struct hs_share_burst *out, struct hs_error *err);
/* As hs_share_burst_for and hs_share_burst_stop; only where hs_overlap_possible says so. */
HS_MUST_USE int hs_merge_burst_for(struct hs_pipeline *p, uint64_t us, struct hs_share_burst *out,
				   struct hs_error *err);
HS_MUST_USE int hs_merge_burst_stop(struct hs_pipeline *p, struct hs_share_burst *out, struct hs_error *err);
HS_MUST_USE int hs_merge_part_groups(struct hs_pipeline *p, struct hs_error *err);

/* Of any guest, or of all (NULL). False: it is not known, and *out all zero. */
bool hs_merge_ledger(const struct hs_pipeline *p, const struct guest *g, struct hs_ledger *out);

/* ---- merge_engine.c: the engine of hs/share.h as a table ---- */

/* As in hs_share_on_progress and hs_share_on_pace; ctx for both. */
struct hs_merge_engine_hooks {
	hs_share_progress *progress;
	hs_share_pace *pace;
	void *ctx;
};

/* Errors as hs_share_create. */
HS_MUST_USE int hs_merge_engine_open(struct hs_merge *out, const struct hs_host *host,
				     const struct hs_share_config *cfg, const struct hs_merge_engine_hooks *hooks,
				     struct hs_error *err);

/* ---- merge_scoped.c: the engine for those who share, and zero pages alone for those who must not ---- */

/* In place of hs_merge_engine_open. Where nobody may share (the scope of all is HS_SCOPE_ZERO), KSM is not taken, but
 * for a moment to undo what was shared before. Errors of hs_share_create; a guest that must not share is refused where
 * the kernel cannot free zero pages otherwise. */
HS_MUST_USE int hs_merge_scoped_open(struct hs_merge *out, const struct hs_host *host,
				     const struct hs_pipeline_config *cfg, const struct hs_merge_engine_hooks *hooks,
				     struct hs_error *err);

/* ---- overcommit.c: what it would take to end all sharing at once, and how much that may be ---- */

/* Once a cycle, before anything is wanted anew. */
void hs_overcommit_update(struct hs_pipeline *p);

/* Whether so many base pages more may be wanted of the guest; yes takes them from what is left of the limits. */
bool hs_overcommit_take(struct hs_pipeline *p, struct guest *g, unsigned int pages);

/* ---- split_journal.c: which mappings are split for a look, so that a run after a crash can bring them back ---- */

HS_MUST_USE int hs_split_journal_write(const struct hs_host *host, struct hs_view *view, const hs_huge_nr *huge,
				       size_t nr, struct hs_error *err);
void hs_split_journal_remove(const struct hs_host *host, pid_t pid);

/*
 * Brings back what a killed run left split in this guest. What cannot be brought back now stays noted, and goes on the
 * retry list of `fine`; its number.
 */
size_t hs_split_journal_recover(const struct hs_host *host, struct hs_view *view, struct hs_fine *fine);

/* ---- observer.c: reports to the observer ---- */

HS_MUST_USE int hs_observer_opened(struct hs_pipeline *p, struct guest *g, struct hs_error *err);
void hs_observer_cycle(struct hs_pipeline *p);
void hs_observer_fine(struct hs_pipeline *p, const struct guest *g, const struct hs_fine_target *t);

/* Of all guests: a burst settled. */
void hs_observer_settled(struct hs_pipeline *p, bool scanned);

/* Both of all guests. -ENOMEM, only where there is an observer. */
HS_MUST_USE int hs_observer_decided(struct hs_pipeline *p, struct hs_error *err);
HS_MUST_USE int hs_observer_merged(struct hs_pipeline *p, struct hs_error *err);

/* ---- guest_state.c ---- */

/* Whether a burst is run even when nothing is marked anew. */
bool hs_guests_need_burst(const struct hs_pipeline *p);

/* It is not shared in this cycle, whatever it holds. */
static inline bool hs_guest_page_waits(const struct hs_pipeline *p, const struct page_record *pg)
{
	return pg->ban_until > p->totals.cycles || pg->new_until > p->totals.cycles;
}

static inline bool hs_guest_active(const struct guest *g)
{
	return !g->gone && !g->aside;
}

/* True when the guest is gone: it was dropped and the others go on. */
bool hs_pipeline_guest_failed(struct hs_pipeline *p, struct guest *g, int rc);

/*
 * The same, and any other error that is this guest's own puts it aside for the rest of the cycle: what was known of it
 * is forgotten, since its accesses were not seen. False when the error concerns all (-ECANCELED, -ENOMEM), or is none.
 */
bool hs_pipeline_guest_aside(struct hs_pipeline *p, struct guest *g, int rc, const struct hs_error *err);

/* Takes its pages out of the index. */
void hs_guest_index_forget(struct hs_pipeline *p, struct guest *g);

/* Frees what is remembered of its huge pages, and closes its view. */
void hs_guest_records_free(struct hs_pipeline *p, struct guest *g);

/* Frees all of a guest that is in no list any more; takes NULL. */
void hs_pipeline_guest_free(struct hs_pipeline *p, struct guest *g);

/* The engine forgets the guest; what is shared stays. */
void hs_pipeline_share_leave(struct hs_pipeline *p, struct guest *g);

/*
 * Of all guests: what was kept split for sharing comes back, because the cycle ended early. The next cycle would be too
 * late where there is none, or none that merges.
 */
void hs_guest_give_back_kept(struct hs_pipeline *p);

/* ---- cold_age.c: what was not accessed for long; nothing of a guest without a tier ---- */

void hs_cold_age_begin(struct hs_pipeline *p, struct guest *g);

/* A round was recorded, and content.c has noted it. */
void hs_cold_age_round(struct hs_pipeline *p, struct guest *g);

/* Before decisions: what is in swap. */
HS_MUST_USE int hs_cold_age_look(struct guest *g, struct hs_error *err);

void hs_cold_age_input(const struct hs_pipeline *p, const struct guest *g, hs_huge_nr h, struct hs_policy_input *in);

/* Of what was to be demoted. */
void hs_cold_age_note_moved(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *moved,
			    const struct hs_bits512 *kept);

/* ---- content.c ---- */

/* Marks what was accessed in the round that coarse has just recorded: its digests are stale. */
HS_MUST_USE int hs_content_note_round(struct hs_pipeline *p, struct guest *g, struct hs_error *err);

/* Reads and digests what is due in one guest. Sets accessed bits of huge entries: age before the next sample counts. */
HS_MUST_USE int hs_content_hash_due(struct hs_pipeline *p, struct guest *g, struct hs_error *err);

struct hs_contents {
	struct hs_bits512 got;     /* read */
	struct hs_bits512 content; /* of them, in the index now */
	struct hs_bits512 zero;    /* of them, all bytes zero: never in the index */
};

/* Reads and digests `want` of one huge page. */
HS_MUST_USE int hs_content_read(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *want,
				struct hs_contents *out, struct hs_error *err);

/* The same, and notes what is zero; *fresh: which are in the index (or zero) now. */
HS_MUST_USE int hs_content_hash(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *want,
				struct hs_bits512 *fresh, struct hs_error *err);

/* Base pages of this huge page with another of equal digest: `any` whatever its heat unless evenly hot, `cand` a
 * candidate. */
void hs_content_duplicates(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *of,
			   struct hs_bits512 *any, struct hs_bits512 *cand);

/* Leaves in `pages` those that another one was wanted with in the last burst, and mergeable for certain. A page of
 * zeros needs none. */
void hs_content_with_marked_partner(struct hs_pipeline *p, const struct guest *g, hs_huge_nr h,
				    struct hs_bits512 *pages);

/* Whether who merges compares bytes, so that equal digests are enough to want pages. */
bool hs_content_left_to_ksmd(const struct hs_pipeline *p);

/* Proves by their bytes which of `dup` are identical to a candidate's: sets `same`. Left to ksmd: all of them. */
HS_MUST_USE int hs_content_compare(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, const struct hs_bits512 *dup,
				   struct hs_error *err);

/* ---- content_owners.c ---- */

/*
 * Learns which group owns which content from all that is mergeable, or wanted, on this host; what it has not read since
 * it was accessed is read. Pages whose content turns out to be another group's are no longer wanted. Once a cycle,
 * after the decisions and before anything is wanted anew. Nothing where there is one group.
 */
HS_MUST_USE int hs_content_learn_owners(struct hs_pipeline *p, struct hs_error *err);

/* Leaves out of `pages` what may not become mergeable because its content is another group's, or may be. The rest is
 * this group's from then on. */
void hs_content_leave_to_others(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_bits512 *pages);

/* ---- policy_input.c ---- */

/* Pages of zeros, not accessed since they were read, nor, where they are told apart, in this window. */
struct hs_bits512 hs_pipeline_cold_zero(const struct guest *g, hs_huge_nr h);

/* The policy's thresholds for this guest. */
const struct hs_policy_config *hs_pipeline_policy(const struct hs_pipeline *p, const struct guest *g);

/* What is known of a huge page, but for which base pages have a duplicate. */
struct hs_policy_input hs_pipeline_policy_input(struct hs_pipeline *p, struct guest *g, hs_huge_nr h);

/* Puts a promise, no proof, in place of what is known of its content: digests of when it was last read, however long
 * ago, and partners that may turn out hot. */
void hs_pipeline_policy_promise(struct hs_pipeline *p, struct guest *g, hs_huge_nr h, struct hs_policy_input *in);

/* ---- fine_look.c ---- */

/* Has the view ask for room before it splits mappings for a look, and before it brings them back. */
void hs_fine_look_ask_for_room(struct hs_pipeline *p, struct hs_view *v);

/* Runs the fine phase for every huge page that the policy wants looked at. */
HS_MUST_USE int hs_fine_look_run(struct hs_pipeline *p, struct hs_error *err);

/* ---- merge.c ---- */

/* Makes the marks of all guests what is wanted; *marked: base pages that became mergeable. */
HS_MUST_USE int hs_merge_apply_all(struct hs_pipeline *p, uint64_t *marked, struct hs_error *err);

/* Applies, runs a burst, verifies. *news as in hs_pipeline_cycle. */
HS_MUST_USE int hs_merge_run(struct hs_pipeline *p, uint64_t *news, struct hs_error *err);

/* ---- demote.c ---- */

/* At the beginning of a cycle: finds the tier, and opens the guests for it that can be. */
void hs_demote_begin(struct hs_pipeline *p);

/* At its end: what the decisions want demoted. 0 or -ECANCELED; what keeps a guest's from going is in its obstacle. */
HS_MUST_USE int hs_demote_run(struct hs_pipeline *p);

/* It stays split for what is to be demoted; it does so no longer. */
void hs_demote_watch(struct hs_pipeline *p, struct guest *g, hs_huge_nr h);
void hs_demote_unwatch(struct guest *g, hs_huge_nr h);

/* What is demoted of one huge page, or of all (which are huge again then, as far as can be). -ENOMEM: there is no room
 * for all of it. */
HS_MUST_USE int hs_demote_bring_back(struct guest *g, hs_huge_nr h, struct hs_error *err);
HS_MUST_USE int hs_demote_bring_back_all(struct hs_pipeline *p, struct guest *g, struct hs_error *err);

/* ---- decide.c ---- */

/* Decides on every huge page, sets what is wanted of it, and unshares what turned hot. */
HS_MUST_USE int hs_decide_all(struct hs_pipeline *p, struct hs_error *err);

/*
 * The same, in the middle of a window, for huge pages of guests that were never decided on: those that are cold in all
 * rounds so far. *nr: huge pages of which something is wanted now.
 */
HS_MUST_USE int hs_decide_early(struct hs_pipeline *p, uint64_t *nr, struct hs_error *err);

/* ---- early.c ---- */

/* After each round of a window: what may be merged already, is marked, and ksmd begins with it. */
HS_MUST_USE int hs_early_round(struct hs_pipeline *p, struct hs_error *err);
/* At the beginning of a window: nothing is early any more. */
void hs_early_reset(struct hs_pipeline *p);

/* ---- saving.c ---- */

/* Counts for all guests what sharing saves by the decisions just made. `looked`: the fine phase has run before them.
 * Without memory for it the last figures stay. */
void hs_saving_count(struct hs_pipeline *p, bool looked);

/* ---- sketches.c ---- */

/* Of a new guest: its part and, in a fleet, its group's key. */
void hs_sketches_guest_keys(const struct hs_pipeline *p, struct guest *g);

/* Of all guests, by what is known of their contents now; nothing outside of a fleet. Without memory for it the last
 * ones stay. */
void hs_sketches_make(struct hs_pipeline *p);

/* ---- engage.c ---- */

/* Offers a new guest to the table of merge operations. Errors as hs_share_add_guest. */
HS_MUST_USE int hs_pipeline_share_enter(struct hs_pipeline *p, struct guest *g, struct hs_error *err);

/* The same for a guest that stays in any case, only looked at: the reason is kept for its report. False: it is gone. */
bool hs_pipeline_share_enter_or_note(struct hs_pipeline *p, struct guest *g);

/*
 * Offers the engine a guest that it could not have yet: held by a debugger then, or without room. While it stays out,
 * its memory that the VMM made mergeable is foreign, and keeps everybody's bursts from running. 0 or -ESRCH.
 */
HS_MUST_USE int hs_pipeline_share_again(struct hs_pipeline *p, struct guest *g, struct hs_error *err);

/* ---- guests.c ---- */

/* Gives a guest a new view, when there is new memory for it to show. 0 also when the old one has to serve on. */
HS_MUST_USE int hs_pipeline_reopen(struct hs_pipeline *p, struct guest *g, struct hs_error *err);

#endif
