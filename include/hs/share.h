/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The merge engine: which base pages are to be shared goes in, what the kernel really shares comes out.
 *
 *   want -> apply (mergeable ranges, set inside the guests) -> burst (ksmd runs until settled) -> verify (page frames)
 *        -> ledger
 *
 * It owns KSM on this host while it lives: one engine a host (a lock in the host's lock_dir), knobs saved before they
 * are changed and given back when it is destroyed, or by the next one after a crash. One thread at a time.
 */
#ifndef HS_SHARE_H
#define HS_SHARE_H

#include "hs/clock.h"
#include "hs/error.h"
#include "hs/host.h"
#include "hs/remote.h"
#include "hs/types.h"
#include "hs/view.h"

/* ---- plan: base pages to ranges; pure ---- */

/* Wanted base pages of one huge page. */
struct hs_plan_huge {
	hs_huge_nr huge;
	struct hs_bits512 pages;   /* to be mergeable */
	struct hs_bits512 allowed; /* may be made mergeable too, to spare a VMA: present, cold. Superset of pages */
};

/* A run of base pages, half open, within one region. */
struct hs_run {
	hs_base_nr start, end;
};

struct hs_plan {
	struct hs_run *mergeable; /* sorted, apart from one another; owned by the plan */
	size_t nr_mergeable;
	struct hs_run *nohuge; /* on huge-page borders; covers every mergeable run */
	size_t nr_nohuge;
	uint64_t nr_wanted;  /* base pages wanted */
	uint64_t nr_covered; /* wanted base pages that are in a run */
	uint64_t nr_extra;   /* pages in a run that nobody wanted: the price of fewer VMAs */
	uint64_t nr_dropped; /* wanted, but left out: no VMA was left for them */
	uint64_t nr_vmas;    /* VMAs that the plan adds to the guest, at most the budget */
};

/* What is to be planned. */
struct hs_plan_request {
	const struct hs_plan_huge *huge; /* [nr_huge], sorted by number */
	size_t nr_huge;
	const struct hs_region *regions; /* [nr_regions], as the view has them: a run never crosses a region */
	size_t nr_regions;
	uint32_t vma_budget; /* VMAs that may be added */
	uint32_t max_gap;    /* base pages: a gap of pages that are all allowed is closed up to this; 0: none */
	uint32_t gap_vmas;   /* and longer ones, smallest first, while the plan adds more VMAs than this */
};

/*
 * Plans within the budget. Where it, or gap_vmas, is short, larger gaps are closed, too, smallest first; what still
 * does not fit is dropped, the runs with the least gain first. -EINVAL: not sorted, or outside of the regions; -ENOMEM.
 */
HS_MUST_USE int hs_plan_make(struct hs_plan *out, const struct hs_plan_request *request);
void hs_plan_finish(struct hs_plan *p);

/* ---- KSM's owner ---- */

struct hs_ksm;

/* pages_shared, pages_sharing, pages_unshared and pages_volatile are as ksmd's last pass left them: what has ended or
 * was unshared since is still in them. Only while ksmd runs do they follow what happens. */
struct hs_ksm_counters {
	bool ksmd_runs;
	uint64_t pages_shared, pages_sharing, pages_unshared, pages_volatile, pages_scanned, full_scans, zero_pages;
	uint64_t ksmd_cpu_us; /* since boot, of the kernel thread ksmd; UINT64_MAX when it cannot be read */
};

/*
 * Takes KSM for this process: a lock file in lock_dir (-EBUSY: the text names the pid that has it); gives back
 * what a crashed owner left (from the state file) first; then saves the knobs. Changes no knob yet.
 * -ENOENT: kernel without KSM. -EBUSY as well when something else drives it (run is 1, or ksmtuned is running): the
 * text says which and how to stop it. dry_run: reads, never writes, takes no lock.
 */
HS_MUST_USE int hs_ksm_acquire(struct hs_ksm **out, const struct hs_host *host, bool dry_run, struct hs_error *err);

/* Gives the knobs back and removes the state file. Takes NULL. */
void hs_ksm_release(struct hs_ksm *k);

/* Gives back what a crashed owner left: KSM's knobs, claimed memory. 1: something was; 0: nothing to do; -EBUSY: its
 * owner lives. */
HS_MUST_USE int hs_ksm_recover(const struct hs_host *host, struct hs_error *err);

/* hs_ksm_pages leaves ksmd_cpu_us unknown: finding ksmd takes a walk over all processes of the host. */
HS_MUST_USE int hs_ksm_pages(const struct hs_host *host, struct hs_ksm_counters *out, struct hs_error *err);
HS_MUST_USE int hs_ksm_counters(const struct hs_host *host, struct hs_ksm_counters *out, struct hs_error *err);

/* Somebody's mergeable memory. */
struct hs_ksm_foreign {
	pid_t pid;
	char comm[17];
	uint64_t mergeable_bytes;
	uint64_t start, end; /* one range of it, bytes */
	bool armed;          /* a userfaultfd watches some of it: ksmd would take its marks away */
};

/*
 * Mergeable memory of address spaces other than those of pids[nr_pids] (those are ours to judge); processes that share
 * one are named once. *out is malloc'ed, the caller frees; *nr may be 0. Processes that vanish meanwhile are left out.
 * An error means that it is not known (-EACCES, -EPERM: a process that may not be looked into), never that there is
 * none.
 */
HS_MUST_USE int hs_ksm_find_foreign(const struct hs_host *host, const pid_t *pids, size_t nr_pids,
				    struct hs_ksm_foreign **out, size_t *nr, struct hs_error *err);

/*
 * Bytes of the process's memory that carry our marks, by the record in the state folder and by the kernel: what is
 * shared, or was left so by an earlier life; where none is mergeable any more, what is kept from being huge by us
 * still. To undo it, add the guest to an engine and unshare it. -ESRCH; -EBADMSG: there is a record that cannot be read
 * (the text names it).
 */
HS_MUST_USE int hs_share_find_marked(const struct hs_host *host, pid_t pid, uint64_t *bytes, struct hs_error *err);

/* What processes of this host share by our marks, whether an engine has them or not. */
struct hs_share_kept {
	uint32_t nr_processes; /* that share anything */
	uint64_t bytes;        /* of them that are on KSM's frames, or on the zero page by KSM */
};

/* By the records in the state folder and by the kernel. Before Linux 6.8 `bytes` may be too high: it is KSM's own count
 * then. Costs a walk over the page tables of the processes that are on record. -errno: it is not all known. */
HS_MUST_USE int hs_share_find_kept(const struct hs_host *host, struct hs_share_kept *out);

/* ---- the engine ---- */

enum hs_foreign_rule { HS_FOREIGN_REFUSE = 0, HS_FOREIGN_ALLOW, HS_FOREIGN_CLAIM };

struct hs_share_config {
	uint32_t vma_percent;       /* share of vm.max_map_count that a guest's VMAs may reach. Default 50 */
	uint32_t max_gap, gap_vmas; /* see hs_plan_make */
	uint32_t burst_pages;       /* ksmd's pages_to_scan within a burst */
	uint32_t burst_sleep_ms;    /* ksmd's sleep_millisecs within a burst */
	uint32_t burst_deadline_ms; /* a burst that has not settled by then is ended, and goes on in a later one */
	uint32_t cpu_percent;       /* cap for ksmd, percent of one core; 0: none */
	uint32_t max_page_sharing;  /* KSM's cap of mappings for one page frame; 0: as it is */
	uint32_t min_free_percent;  /* unsharing keeps so much of the host's memory, and of each limit of the guest's
				       memory  cgroups, free; else -ENOMEM. Default 5 */
	uint8_t foreign; /* enum hs_foreign_rule: mergeable memory that is not ours. CLAIM: made unmergeable before a
			    burst, and mergeable again when the engine is destroyed, or by the next one after a crash */
	bool use_zero_pages; /* KSM's use_zero_pages within a burst */
	bool dry_run;        /* everything but the effects */
};
extern const struct hs_share_config hs_share_config_default; /* the reason for each value: share/engine.c */

struct hs_share;

HS_MUST_USE int hs_share_create(struct hs_share **out, const struct hs_host *host, const struct hs_share_config *cfg,
				struct hs_error *err);

/* `fn` is called before each step of an hs_share_unshare of all of a guest: `done` of `total` huge pages. NULL: nobody.
 */
typedef void hs_share_progress(void *ctx, uint64_t done, uint64_t total);
void hs_share_on_progress(struct hs_share *s, hs_share_progress *fn, void *ctx);

/* `fn` is called between the steps of hs_share_verify, and may sleep, to keep to a part of a core. What it answers ends
 * the verify, when it is not 0. NULL: nobody. */
typedef int hs_share_pace(void *ctx);
void hs_share_on_pace(struct hs_share *s, hs_share_pace *fn, void *ctx);

/* Sharing stays; KSM's knobs are given back. To undo it, unshare first. Takes NULL. */
void hs_share_destroy(struct hs_share *s);

/* A guest as it comes. `name` is copied; view and remote are borrowed, and must outlive the guest here. */
struct hs_share_guest {
	const char *name;
	struct hs_view *view;
	struct hs_remote *remote;
};

/*
 * Takes a guest. Its memory that is mergeable already (QEMU's default) is made
 * unmergeable first, and given back when the engine is destroyed, unless it is on record as ours from an earlier run:
 * that is read back as wanted and, where it is, as shared (*adopted: base pages). `id`: small number, reused. -EBADMSG:
 * there is a record that cannot be read, so the guest is left alone.
 */
HS_MUST_USE int hs_share_add_guest(struct hs_share *s, const struct hs_share_guest *guest, uint32_t *id,
				   uint64_t *adopted, struct hs_error *err);

/*
 * The guest has a new view of the same process, with memory that the old one does not show: it is learnt anew, as by
 * hs_share_add_guest, and keeps its number, group and place. After an error all is as it was, with the old view, but
 * for -ESRCH. The old view may be closed afterwards.
 */
HS_MUST_USE int hs_share_renew_guest(struct hs_share *s, uint32_t id, struct hs_view *view, struct hs_error *err);

/* Forgets the guest; what is shared stays (unshare first to undo). Also right for a guest that is gone. */
void hs_share_remove_guest(struct hs_share *s, uint32_t id);

/*
 * What is wanted of one huge page from now on; replaces what was wanted before. `allowed` as in hs_plan_huge. An empty
 * `pages` takes the mergeable mark away at the next apply, which breaks its sharing; to get the huge page back:
 * unshare.
 */
HS_MUST_USE int hs_share_want(struct hs_share *s, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
			      const struct hs_bits512 *allowed);

/* The guest's trust group; 0 from the start. -EINVAL: no such guest. */
HS_MUST_USE int hs_share_set_group(struct hs_share *s, uint32_t id, uint32_t group);

/* These base pages are no longer wanted, nor allowed, because what they hold is another group's. Those that are marked
 * lose the mark at the next apply, before anything else, and no burst is run before. -EINVAL, -ESRCH. */
HS_MUST_USE int hs_share_forgo(struct hs_share *s, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages);

/* Base pages of this huge page that are mergeable, or may become so at the next apply: no content among them may be
 * wanted of a guest of another group. */
void hs_share_claims(const struct hs_share *s, uint32_t id, hs_huge_nr huge, struct hs_bits512 *out);

/*
 * Looks for frames that guests of different groups have in common, and parts them: the frame stays with the group that
 * had it at the last verify, or else with the guest that came first; pages of other groups are no longer mergeable.
 * Where the budget of VMAs does not allow to part single pages, whole ranges are given back. Costs a look at the frames
 * of everything marked; nothing where there is one group. Call it after each burst. *nr_broken: base pages parted.
 * -EAGAIN: some could not be parted now, for want of memory: no burst is run until they are.
 */
HS_MUST_USE int hs_share_part_groups(struct hs_share *s, uint64_t *nr_broken, struct hs_error *err);

struct hs_share_applied {
	uint64_t nr_tried; /* ranges */
	uint64_t nr_applied;
	uint64_t pages_marked;  /* base pages that became mergeable */
	uint64_t pages_dropped; /* no VMA left for them */
	uint64_t
	    pages_pending; /* shared and not wanted any more; they stay so for want of memory, until a later apply */
	uint64_t nr_vmas;  /* the guest's VMAs now */
	char pending_reason[256]; /* where the memory for pages_pending is lacking; empty when there are none */
};
/*
 * Makes one guest's mergeable ranges what is wanted. To end the sharing of a page takes memory; what finds no room, on
 * the host or below a limit of the guest's memory cgroups (min_free_percent of each stays free), is left shared. The
 * guest's VMAs, counted by the kernel, stay within vma_percent, and within fifteen sixteenths, of vm.max_map_count at
 * every moment: where the way to what is wanted would pass that, whole ranges are given back in this apply, and the
 * rest follows in the next. Errors of hs_remote_madvise; -ENOMEM.
 */
HS_MUST_USE int hs_share_apply(struct hs_share *s, uint32_t id, struct hs_share_applied *out, struct hs_error *err);

struct hs_share_burst {
	bool settled; /* nothing left to merge; else the deadline or the clock ended it */
	bool whole;   /* and ksmd has visited each page often enough: what is not merged will not be. Else it was
			 stopped as soon as what was wanted had been merged, but for a few pages at most */
	bool running; /* hs_share_burst_for alone: ksmd goes on, and all else here but sharing_before is 0 */
	uint64_t elapsed_ms;
	uint64_t ksmd_cpu_us;
	uint64_t pages_scanned;
	uint64_t sharing_before, sharing_after; /* host-wide, zero pages included */
};
/*
 * Runs ksmd until what is wanted has been merged as far as it can be, or until the deadline or the clock ends it; ksmd
 * is stopped again on every way out. -EBUSY: foreign mergeable memory (the text names the owners), nothing was run.
 * A page that was forgone, or is to be parted, and is merged still, for want of memory to unmerge it, keeps nobody from
 * being merged: just what has the same content loses its mark before. -EAGAIN: such a page is not merged, so it would
 * be, or the last hs_share_part_groups could not read the frames of every guest: nothing was run.
 */
HS_MUST_USE int hs_share_burst(struct hs_share *s, const struct hs_clock *clock, struct hs_share_burst *out,
			       struct hs_error *err);

/*
 * Whether a burst could run now. -EBUSY: foreign mergeable memory, as above, that the burst could not make unmergeable
 * by itself, less what an earlier run is on record to have marked: its guests may be on their way here. Marks nothing
 * and runs nothing.
 */
HS_MUST_USE int hs_share_ready(struct hs_share *s, struct hs_error *err);

/*
 * The same as hs_share_burst for at most `us` microseconds of the clock. When it is not over by then, ksmd stands still
 * (out->running), and a further call takes it up again: within a second, since what is mergeable on this host is
 * checked in these calls. What changes marks stops it first; hs_share_want does not, and is for the next burst.
 */
HS_MUST_USE int hs_share_burst_for(struct hs_share *s, const struct hs_clock *clock, uint64_t us,
				   struct hs_share_burst *out, struct hs_error *err);
/* Stops ksmd, and reports what came of the burst that was running; where none was, all zero. */
HS_MUST_USE int hs_share_burst_stop(struct hs_share *s, struct hs_share_burst *out, struct hs_error *err);

/*
 * Reads page frames of a guest and books what is really shared: of all that is wanted and was not shared as far as is
 * known, of all whose marks were changed, and of 8 GiB of the rest, in turn. With several trust groups, of everything.
 * What hs_share_on_pace answers.
 */
HS_MUST_USE int hs_share_verify(struct hs_share *s, uint32_t id, struct hs_error *err);

/* As of the last verify: which base pages are shared, and how many breaks (shared before, not any more) since they were
 * wanted. */
void hs_share_state(const struct hs_share *s, uint32_t id, hs_huge_nr huge, struct hs_bits512 *wanted,
		    struct hs_bits512 *shared, uint32_t *breaks);

/* The same as a record, of a huge page of which anything is wanted or shared, or was and broke. */
struct hs_shared_huge {
	hs_huge_nr huge;
	uint32_t breaks;
	struct hs_bits512 wanted, shared;
};

struct hs_share_unshared {
	uint64_t nr_huge;      /* asked for */
	uint64_t nr_collapsed; /* huge again */
	uint64_t nr_failed;    /* unshared, but not huge (yet): khugepaged or a later call does it */
	uint64_t nr_base; /* unshared, and base pages as before: never huge, or given back in part by the guest since */
};
/*
 * Unshares the named huge pages, in steps, each after a check that the memory for it is there, on the host and below
 * every limit of the guest's memory cgroups. What was huge when it was first shared, and has no holes now, is made huge
 * again; the advice on huge pages is what it was (where there was none, and sharing had to set some, HUGEPAGE). huge
 * NULL: all of the guest, and what is ours in pieces that are too small to be guest memory. -ENOMEM: stopped before a
 * step for want of memory (what was done stays done, see *out).
 */
HS_MUST_USE int hs_share_unshare(struct hs_share *s, uint32_t id, const hs_huge_nr *huge, size_t nr,
				 struct hs_share_unshared *out, struct hs_error *err);

/* All in base pages unless named otherwise. `saved` counts page frames that are free because of us. */
struct hs_ledger {
	uint64_t wanted;      /* tried */
	uint64_t marked;      /* mergeable now */
	uint64_t shared;      /* mapped to a KSM page that another mapping shares */
	uint64_t zero;        /* mapped to the zero page by KSM */
	uint64_t frames;      /* KSM page frames behind `shared`; one that guests have in common is split among them */
	uint64_t single;      /* KSM pages with one mapping only: nothing saved */
	uint64_t broken;      /* breaks since the start */
	uint64_t saved_bytes; /* gross: (shared - frames + zero) * 4096 */
	uint64_t metadata_bytes; /* the kernel's rmap items, stable nodes, VMAs that sharing added, and our own */
	int64_t net_saved_bytes;
	uint64_t
	    group_conflicts; /* of all: base pages that ksmd merged across trust groups, and that were parted again */
};
/* Of one guest, or of all (id UINT32_MAX), as of the last verify of each. */
void hs_share_ledger(const struct hs_share *s, uint32_t id, struct hs_ledger *out);

#endif
