/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated guest: a view whose memory is made up, with page tables of two levels, an accessed bit in each entry and
 * contents of its own. Deterministic; it holds some 4 KiB for each huge page that has content. Everything above the
 * view contract can be driven with it, and it behaves as a real guest does where that matters:
 *
 *   - a split copies the huge entry's accessed bit to all 512; a collapse makes an accessed entry;
 *   - reading a page that is mapped huge sets the huge entry's accessed bit, a base entry's stays as it is;
 *   - merging a base page breaks the huge page under it; writing to a merged page gives it a frame of its own again;
 *   - collapsing, by the view or by khugepaged, takes merged pages apart and fills what is absent with zeros.
 *
 * The functions below are what a test does to the guest from inside or behind the view's back. A page number outside
 * the guest is a mistake in the test and aborts.
 */
#ifndef HS_SIM_VIEW_H
#define HS_SIM_VIEW_H

#include "hs/clock.h"
#include "hs/error.h"
#include "hs/types.h"
#include "hs/view.h"

/* ---- time ---- */

/* Time that passes only when somebody sleeps on it, and in which the guests then run. Cleared memory is ready to use.
 */
struct hs_sim_clock {
	uint64_t now_us;
	uint64_t cancel_at_us;               /* sleeping ends here with -ECANCELED, at once from then on; 0: never */
	void (*run)(void *ctx, uint64_t us); /* the workload of the `us` that pass; NULL: nobody does anything */
	void *ctx;                           /* for run */
	uint64_t nr_sleeps;                  /* counted */
};

/* The clock for the stages; `c` must outlive it. */
struct hs_clock hs_sim_clock_ops(struct hs_sim_clock *c);

/* ---- the guest ---- */

struct hs_sim_config {
	uint32_t nr_huge;
	uint32_t nr_regions; /* the guest's memory lies in so many pieces with holes between them; 0 is 1 */
	uint8_t state;       /* of every huge page: HS_MAP_HUGE (content zero) or HS_MAP_ABSENT */
	uint32_t guest;      /* tells the page frames of several guests apart */
};

/* Close it with hs_view_close. -EINVAL, -ENOMEM. */
HS_MUST_USE int hs_view_open_sim(struct hs_view **out, const struct hs_sim_config *cfg);

/*
 * The bytes of a page with content `id`: zeros for 0, otherwise made up from the id, so that different ids never have
 * the same bytes.
 */
void hs_sim_page_bytes(uint64_t id, void *page);

/* ---- what the guest does ---- */

/*
 * An access: sets the accessed bit of the entry that maps the page. An absent page is faulted in with zeros, as a huge
 * page where no base entry is in the way. A write to a merged page breaks its sharing.
 */
void hs_sim_access(struct hs_view *v, hs_base_nr page, bool write);

/* Reads of all base pages in `which` of one huge page, at once. */
void hs_sim_access_huge(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *which);

/* Writes new content: an access, too. */
void hs_sim_write(struct hs_view *v, hs_base_nr page, uint64_t id);

/* ---- what happens to the guest ---- */

/* Gives a present page its content without any access: for the scene before the curtain rises. */
void hs_sim_set(struct hs_view *v, hs_base_nr page, uint64_t id);
uint64_t hs_sim_content(const struct hs_view *v, hs_base_nr page);

/* Behind the view's back, as it is even when the view is made to fail: what the huge page is mapped as (never unknown),
 * and whether the view split it and it has not been huge again since. */
uint8_t hs_sim_state(const struct hs_view *v, hs_huge_nr huge);
bool hs_sim_is_split_by_view(const struct hs_view *v, hs_huge_nr huge);

/* Whether one huge entry maps it whose accessed bit is set: then further accesses leave no trace. */
bool hs_sim_is_accessed(const struct hs_view *v, hs_huge_nr huge);

/* Which of its base pages are merged. */
struct hs_bits512 hs_sim_merged(const struct hs_view *v, hs_huge_nr huge);

/* The pages [start, end) go away, as when the guest's balloon takes them; a huge page in it that stays in part splits.
 */
void hs_sim_drop(struct hs_view *v, hs_base_nr start, hs_base_nr end);

/*
 * Those of the present pages in `which` that are not merged go to swap, with their contents; a huge page of which a
 * part goes splits. An access brings one back, and collapsing all of them.
 */
void hs_sim_swap_out(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *which);

/* The kernel splits mapping and page, or khugepaged collapses it (nothing happens where no base page is present). */
void hs_sim_break_huge(struct hs_view *v, hs_huge_nr huge);
void hs_sim_collapse(struct hs_view *v, hs_huge_nr huge);

/*
 * KSM merges a present page: all merged pages of one content, in whatever guest, have one frame; content 0 goes to the
 * zero page. hs_sim_unmerge gives it a frame of its own again, without an access.
 */
void hs_sim_merge(struct hs_view *v, hs_base_nr page);
void hs_sim_unmerge(struct hs_view *v, hs_base_nr page);

/* ---- what goes wrong ---- */

void hs_sim_fail_split(struct hs_view *v, hs_huge_nr huge, int error);                   /* from now on; 0: no more */
void hs_sim_fail_restore(struct hs_view *v, hs_huge_nr huge, uint32_t times, int error); /* the next `times` */
void hs_sim_set_unknown(struct hs_view *v, hs_huge_nr huge, bool unknown); /* what it is mapped as cannot be told */
void hs_sim_hide_accesses(struct hs_view *v, bool hide); /* an accessed bit that is not set says nothing, anywhere */

/*
 * The `call`-th call of the view (counted from 1 since it was opened, closing excepted) fails as a whole with `error`;
 * -ESRCH: the guest is gone for good. 0 takes it back.
 */
void hs_sim_fail_call(struct hs_view *v, uint64_t call, int error);

/* From now on each call of the view takes call_us, and each huge page split or restored page_us more, on this clock. */
void hs_sim_set_cost(struct hs_view *v, struct hs_sim_clock *clock, uint64_t call_us, uint64_t page_us);

/* From now on each base page that is read takes read_ns on the clock of hs_sim_set_cost. */
void hs_sim_set_read_cost(struct hs_view *v, uint64_t read_ns);

/* From now on each ageing takes age_us more on the clock of hs_sim_set_cost. */
void hs_sim_set_age_cost(struct hs_view *v, uint64_t age_us);

struct hs_sim_stats {
	uint64_t nr_calls;    /* of the view */
	uint64_t nr_read;     /* base pages read through it */
	uint64_t nr_ages;     /* of them */
	uint64_t nr_split;    /* huge pages that the view split */
	uint64_t nr_restored; /* huge pages that the view made huge again */
	uint64_t nr_breaks;   /* merged pages written to */
	uint32_t split_now;   /* split by the view and not huge again since */
	uint32_t split_most;  /* the most that split_now ever was */
};
void hs_sim_stats(const struct hs_view *v, struct hs_sim_stats *out);

#endif
