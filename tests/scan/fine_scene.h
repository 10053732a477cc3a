/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated guests whose huge pages have skew, and what the suites of the fine phase ask about them. */
#ifndef HS_TESTS_SCAN_FINE_SCENE_H
#define HS_TESTS_SCAN_FINE_SCENE_H

#include "hs/scan.h"
#include "hs/sim_view.h"

#define SCENE_GUESTS 3
#define SCENE_HUGE   64 /* of a guest, at most */

/* What one huge page's guest does with it. */
struct pattern {
	uint32_t nr_hot; /* distinct base pages accessed, 0..512 */
	uint32_t per_ms; /* accesses a millisecond, to one of them after another */
};

struct scene {
	struct hs_sim_clock sim_clock;
	struct hs_clock clock;
	struct hs_view *view[SCENE_GUESTS];
	uint32_t nr_guests, nr_huge;
	struct pattern pattern[SCENE_GUESTS][SCENE_HUGE];
	uint64_t due_us[SCENE_GUESTS][SCENE_HUGE]; /* accesses due, in thousandths */
	uint32_t next[SCENE_GUESTS][SCENE_HUGE];
	/* Targets: all huge pages of each guest. */
	hs_huge_nr huge[SCENE_HUGE];
	struct hs_fine_result results[SCENE_GUESTS][SCENE_HUGE];
	struct hs_fine_target targets[SCENE_GUESTS];
	/* Observed while time passes. */
	uint32_t split_most; /* mappings split at one time, over all guests */
	uint64_t split_us[SCENE_GUESTS][SCENE_HUGE];
	uint64_t longest_split_us;
	/* Called once when so much time has passed, for what happens in the middle. */
	uint64_t event_us;
	void (*event)(struct scene *s);
};

/* All huge; every pattern idle. */
void scene_open(struct scene *s, uint32_t nr_guests, uint32_t nr_huge);
void scene_close(struct scene *s);

/* The i-th of a huge page's hot base pages: spread over it. */
unsigned int scene_hot_page(unsigned int i);

/* Runs the fine phase over everything. */
int scene_run(struct scene *s, struct hs_fine *f);

uint8_t scene_state(struct scene *s, uint32_t guest, hs_huge_nr huge);

/* Huge pages of this guest that are not mapped huge. */
uint32_t scene_not_huge(struct scene *s, uint32_t guest);

struct hs_fine *scene_fine(const struct hs_fine_config *cfg);

#endif
