/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's own structures, shared by its files. All of it belongs to the one thread that drives the engine.
 */
#ifndef HS_SHARE_ENGINE_INTERNAL_H
#define HS_SHARE_ENGINE_INTERNAL_H

#include <errno.h>

#include "hs/remote.h"
#include "hs/share.h"
#include "base/room.h"
#include "ksm.h"
#include "mark_record.h"

/* What the VMA said of huge pages before we came; this is put back when a huge page is given back. */
enum hs_engine_thp {
	HS_ENGINE_PLAIN = 0, /* nothing */
	HS_ENGINE_HUGEPAGE,
	HS_ENGINE_NOHUGEPAGE, /* the guest's own: left as it is */
};

/* Of one huge page, as of its last verify. */
struct hs_engine_part {
	uint64_t frame_parts;          /* as in struct hs_engine_sums */
	uint16_t shared, zero, single; /* the same */
	uint16_t marked, unmerged;     /* MERGEABLE; of them those that are not merged */
	uint16_t broken;               /* shared before, and no more */
};

struct hs_engine_huge {
	struct hs_bits512 wanted;
	struct hs_bits512 allowed;
	struct hs_bits512 marked;      /* MERGEABLE now, by us */
	struct hs_bits512 unsure;      /* marked, but the call had no known end: made again, or taken away */
	struct hs_bits512 shared;      /* as of the last verify; subset of wanted and marked ones */
	struct hs_bits512 barred;      /* holds what another group owns: its mark goes, whatever else has to stay */
	struct hs_bits512 zero_before; /* on the zero page already when they were marked: not our saving */
	struct hs_engine_part part;
	uint32_t breaks;
	uint8_t thp;        /* enum hs_engine_thp */
	bool nohuge;        /* NOHUGEPAGE now, by us */
	bool nohuge_unsure; /* the same, but the call had no known end */
	bool was_huge;      /* one huge page, whole, when it was first marked: it is made so again in the end */
};

/* Sums over a guest's pages, as of its last verify. */
struct hs_engine_sums {
	uint64_t shared, zero, single; /* base pages */
	uint64_t frame_parts;          /* page frames behind `shared`, in parts of 2^-HS_ENGINE_PART_BITS */
	uint64_t rmap_items;           /* as the kernel counts them; UINT64_MAX: it does not say */
};
#define HS_ENGINE_PART_BITS 36 /* 2^28 frames, 1 TiB of shared pages, before 64 bits are full */

struct hs_engine_guest {
	bool used, gone;
	char *name;
	struct hs_view *view;
	struct hs_remote *remote;
	struct hs_engine_huge *huge; /* [nr_huge] */
	uint32_t nr_huge;
	uint32_t group;    /* trust group */
	uint64_t joined;   /* the order in which guests came */
	uint64_t nr_vmas;  /* that its marks add */
	uint64_t own_vmas; /* the most of its own of late: see hs_engine_read_budget */
	uint64_t unmerged; /* marked pages that are not known to be merged: by the last verify, and marked since */
	uint64_t broken;
	struct hs_engine_sums sums;
	hs_huge_nr verify_next;       /* where the next verify in turn begins */
	struct hs_mark_record stray;  /* ours by the record and by the kernel, but no guest memory to the view: pieces
					 too small. To be undone with the rest */
	uint64_t record_digest;       /* of the record on the disk; 0: not known */
	struct hs_process_id process; /* its number may be another's one day */
};

/* Sizes of the kernel's structures, bytes. */
struct hs_engine_sizes {
	uint64_t rmap_item, stable_node, vma;
};

struct hs_engine_burst;

struct hs_share {
	struct hs_host host;
	struct hs_share_config cfg;
	struct hs_ksm *ksm;
	struct hs_engine_guest *guests; /* [nr_guests], index is the id; slots are reused */
	uint32_t nr_guests;
	struct hs_engine_sizes sizes;
	uint64_t nr_joined;
	uint64_t group_conflicts; /* base pages that ksmd had merged across groups, in all */
	char unparted[64];        /* the guest whose frames the last look for common ones could not read; empty: none */
	bool left_marked;         /* a guest was forgotten with its marks: ksmd must not run over it any more */
	bool at_pass_start;       /* ksmd was stopped between two passes, not within one */
	bool ran;                 /* a burst was run */
	struct hs_engine_burst *burst; /* that ksmd runs in now; NULL: none */
	hs_share_progress *progress;
	void *progress_ctx;
	uint32_t verify_turn; /* huge pages that a verify reads in turn */
	hs_share_pace *pace;
	void *pace_ctx;
};

/* The guest, or NULL with the error set (-EINVAL: no such id, -ESRCH: gone). */
struct hs_engine_guest *hs_engine_guest(struct hs_share *s, uint32_t id, int *rc, struct hs_error *err);

/* Notes that a guest is gone when rc says so; returns rc. */
int hs_engine_note(struct hs_engine_guest *g, int rc);

/* The base page at an address of the guest's process; false: it is no guest memory to the view. *end (in: the end of
 * what is asked about): up to where that answer is the same. */
bool hs_engine_page_at(const struct hs_view *v, uint64_t addr, uint64_t *end, hs_base_nr *page);

uint64_t hs_engine_marked(const struct hs_engine_guest *g); /* base pages */

/* Forgets a guest: its slot is free again. What is marked in it stays. */
void hs_engine_forget(struct hs_engine_guest *g);

/*
 * Asked before every step that gives pages frames of their own or makes them huge again. -ENOMEM: `bytes` more of
 * process `pid` would leave less than the configuration keeps, of the host's memory or of a limit of a cgroup above the
 * process; or how much there is is not known. -ESRCH.
 */
HS_MUST_USE int hs_engine_room(const struct hs_share *s, pid_t pid, uint64_t bytes, const char *what,
			       struct hs_error *err);
/*
 * Those of `pages` of a huge page, whose frames are given, that may get a frame of their own by such a step: on a frame
 * of KSM's or on the zero page, and what may be there, as far as the view can tell (memory that is in use otherwise for
 * a while, or moves just now, has no frame to it, and may be merged).
 */
struct hs_bits512 hs_engine_need_frames(const struct hs_engine_guest *g, hs_huge_nr huge,
					const struct hs_frame frames[HS_BASE_PER_HUGE], const struct hs_bits512 *pages);
/* How much that is: for who takes steps that fit. 0 as well when it is not known. */
uint64_t hs_engine_room_bytes(const struct hs_share *s, pid_t pid, struct hs_room *room, struct hs_error *err);

/* Fills in what the record and the guest's VMAs say: what is ours from an earlier run is adopted, other mergeable
 * memory is claimed. */
HS_MUST_USE int hs_engine_adopt(struct hs_share *s, struct hs_engine_guest *g, uint64_t *adopted, struct hs_error *err);

/* The advice that gives a huge page back what it had; 0: none is needed. */
int hs_engine_give_back_advice(const struct hs_engine_huge *h);

enum hs_engine_verify_what {
	HS_ENGINE_VERIFY_IN_TURN,   /* what may have come to be shared, and a part of the rest; paced */
	HS_ENGINE_VERIFY_ALL_PACED, /* all of it */
	HS_ENGINE_VERIFY_AT_ONCE,   /* the same, not paced */
};
HS_MUST_USE int hs_engine_verify(struct hs_share *s, struct hs_engine_guest *g, enum hs_engine_verify_what what,
				 struct hs_error *err);

bool hs_engine_has_several_groups(const struct hs_share *s);

/* A growing list of operations; neighbouring ranges of one advice become one. */
struct hs_engine_ops {
	struct hs_remote_op *op;
	hs_base_nr *first; /* of each op: its first base page */
	size_t nr, room;
	bool unsure; /* those without a result may have been made all the same, or in part */
};
HS_MUST_USE int hs_engine_ops_add(struct hs_engine_ops *ops, const struct hs_view *view, hs_base_nr start,
				  hs_base_nr end, int advice);
void hs_engine_ops_finish(struct hs_engine_ops *ops);

/*
 * Whether the advice holds now on all that is there. madvise passes over what the guest has unmapped since the last
 * look, does the rest, and answers -ENOMEM for that alone: want of memory is -EAGAIN.
 */
static inline bool hs_engine_op_done(const struct hs_remote_op *op)
{
	return !op->result || op->result == -ENOMEM;
}

/* ---- engine_budget.c: VMAs ---- */

/* What a guest may use of VMAs. */
struct hs_engine_budget {
	uint64_t now; /* edges that its marks are: each place where marks begin, end or change is a VMA more */
	uint64_t max; /* that they may be */
};

/* -ENOMEM. */
HS_MUST_USE int hs_engine_vmas_of_marks(const struct hs_engine_guest *g, uint64_t *out);
/* Keeps g->own_vmas. Errors of reading the guest's VMAs and vm.max_map_count; -ENOMEM. */
HS_MUST_USE int hs_engine_read_budget(const struct hs_share *s, struct hs_engine_guest *g, struct hs_engine_budget *out,
				      struct hs_error *err);
/* Whether the operations, one by one, keep within the budget; a guest that is above it already may not go higher.
 * -ENOMEM. */
HS_MUST_USE int hs_engine_budget_fits(const struct hs_engine_guest *g, const struct hs_engine_ops *ops,
				      const struct hs_engine_budget *b, bool *out);

/*
 * Makes the guest's marks what is wanted, within its budget of VMAs and the host's room. less: marks are only taken
 * away. *out: as hs_share_apply.
 */
HS_MUST_USE int hs_engine_apply(struct hs_share *s, struct hs_engine_guest *g, bool less, struct hs_share_applied *out,
				struct hs_error *err);

/* Whether the operations, one by one, keep the guest's VMAs within its budget. */
HS_MUST_USE int hs_engine_fits(struct hs_share *s, struct hs_engine_guest *g, const struct hs_engine_ops *ops,
			       bool *out, struct hs_error *err);

/* Bars pages: they are no longer wanted nor allowed, and their marks go first. */
void hs_engine_bar(struct hs_engine_huge *h, const struct hs_bits512 *pages);
/* Of a huge page, a guest, all guests: what is barred, not asked for again, and mergeable still. */
struct hs_bits512 hs_engine_barred_pages(const struct hs_engine_huge *h);
bool hs_engine_barred_any(const struct hs_engine_guest *g);
bool hs_engine_barred(const struct hs_share *s);
/* Sees to it that ksmd merges nothing with what is barred and cannot be unmerged for want of room. -EAGAIN: it might;
 * the text names the guest. -ENOMEM. */
HS_MUST_USE int hs_engine_go_round_stuck(struct hs_share *s, struct hs_error *err);

/*
 * Runs the operations in the guest, after what they mark has been put on record; when that cannot be done, those alone
 * that come before the first one that marks. Errors of the record and of hs_remote_madvise. When the results are
 * booked, hs_engine_record.
 */
HS_MUST_USE int hs_engine_run_ops(struct hs_share *s, struct hs_engine_guest *g, struct hs_engine_ops *ops,
				  struct hs_error *err);

/* ---- engine_split.c ---- */

/* Looks at what is about to be marked: pages that are on the zero page before we touch them are no saving of ours, and
 * what is one huge page is to be so again in the end. split[nr_huge], out: a base page that is about to be marked and
 * is part of a huge folio, + 1; 0: none is. */
HS_MUST_USE int hs_engine_look_before(struct hs_engine_guest *g, const struct hs_bits512 *target, uint16_t *split,
				      struct hs_error *err);
/* Splits those huge pages, as far as they are marked now, where that frees zero pages. What cannot be split is left to
 * ksmd. -ESRCH; what hs_share_on_pace answers. */
HS_MUST_USE int hs_engine_split(struct hs_share *s, struct hs_engine_guest *g, const uint16_t *split);

/* Puts on record what is marked now. */
void hs_engine_record(struct hs_share *s, struct hs_engine_guest *g);

/* Whether khugepaged makes memory without advice of its own huge, so that sharing has to keep it off. */
bool hs_engine_plain_collapses(const struct hs_host *host);

/*
 * The invariant: what is mergeable on this host is what we marked, and no userfaultfd watches it. Asked before a burst,
 * in it, and after it. 0: it holds. -EBUSY: ksmd may not run; the text names whose memory it is, and where. -ENOMEM.
 * Other errors: it is not known, so ksmd may not run either.
 */
HS_MUST_USE int hs_engine_check_plan(struct hs_share *s, struct hs_error *err);
/* The same before a burst: mergeable memory of our guests that is not planned, and by configuration that of others, is
 * claimed first; and marks of ours that a userfaultfd watches by now are taken away where the kernel does that safely.
 */
HS_MUST_USE int hs_engine_clear_way(struct hs_share *s, struct hs_error *err);

/* Takes out of target[nr_huge] what a userfaultfd watches: it is not marked. What is marked already is left as it is
 * where the kernel would report taking the mark away as a write of the guest's. */
HS_MUST_USE int hs_engine_leave_armed(struct hs_share *s, struct hs_engine_guest *g, struct hs_bits512 *target,
				      struct hs_error *err);
/* Which huge pages hold memory that a userfaultfd watches: armed[nr_huge]. */
HS_MUST_USE int hs_engine_find_armed(struct hs_share *s, struct hs_engine_guest *g, struct hs_bits512 *armed, bool *any,
				     struct hs_error *err);
/* Whether UNMERGEABLE keeps the marks of a userfaultfd, and reports no write to it: Linux 6.2 and later. */
bool hs_engine_unmerge_keeps_uffd(void);

/* Takes away marks of ours in pieces of memory that are no guest memory to the view. -ENOMEM: there is no room; errors
 * of hs_remote_madvise. */
HS_MUST_USE int hs_engine_undo_stray(struct hs_share *s, struct hs_engine_guest *g, struct hs_error *err);

/* Stops ksmd where it runs for a burst in pieces. Before anything is marked or unmarked. */
void hs_engine_halt(struct hs_share *s);

/* Lets ksmd make one pass over nothing of ours, so that the kernel frees what it kept about pages given back. */
void hs_engine_sweep(struct hs_share *s);

void hs_engine_read_sizes(const struct hs_host *host, struct hs_engine_sizes *out);

#endif
