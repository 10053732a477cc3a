/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated guest's own: shared by the view's side (sim_view.c) and the guest's side (sim_view_guest.c). */
#ifndef HS_EPT_SIM_VIEW_INTERNAL_H
#define HS_EPT_SIM_VIEW_INTERNAL_H

#include "hs/sim_view.h"

/* The entry at the upper level. */
enum sim_entry { SIM_NONE = 0, SIM_HUGE, SIM_TABLE };

struct sim_huge {
	uint8_t entry;     /* enum sim_entry */
	bool accessed;     /* of the huge entry */
	bool folio;        /* one huge page lies under it, however it is mapped */
	bool ours;         /* split by the view, and not huge again since */
	bool unknown;      /* injected */
	int split_error;   /* injected */
	int restore_error; /* injected, for restore_fails more times */
	uint32_t restore_fails;
	/* The table; meaningful with SIM_TABLE. `young` and `merged` are subsets of `present`. */
	struct hs_bits512 present, young, merged;
	struct hs_bits512 swapped; /* and not present; meaningful with SIM_TABLE */
};

struct sim_view {
	struct hs_view view; /* first */
	uint32_t guest;
	struct sim_huge *huge; /* [nr_huge] */
	uint64_t *content;     /* [nr_huge * 512]; 0 where absent */
	bool gone;
	bool hides; /* accessed bits that are not set */
	uint64_t fail_call;
	int fail_error;
	struct hs_sim_clock *clock; /* NULL: nothing takes time */
	uint64_t call_us, page_us, age_us;
	uint64_t read_ns;      /* a base page */
	uint64_t read_left_ns; /* taken, but less than a microsecond */
	struct hs_sim_stats stats;
};

static inline struct sim_view *sim_of(struct hs_view *v)
{
	return (struct sim_view *)(void *)v;
}

static inline const struct sim_view *sim_of_const(const struct hs_view *v)
{
	return (const struct sim_view *)(const void *)v;
}

/* enum hs_map_state of what is really there. */
uint8_t hs_sim_do_state(const struct sim_huge *h);

/* A huge entry becomes 512 base entries, each with its accessed bit; anything else stays as it is. */
void hs_sim_do_split(struct sim_huge *h);

/* Becomes one huge entry, if any base page is present. */
void hs_sim_do_collapse(struct sim_view *s, struct sim_huge *h);

void hs_sim_pass_time(struct hs_sim_clock *c, uint64_t us);

#endif
