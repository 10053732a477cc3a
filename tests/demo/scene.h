/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scene: several guests, a view of each, and what the kernel says of them. The demo and the live benchmark stand on
 * it. Everything here is read from outside, independently of the service that is being shown.
 */
#ifndef HS_TESTS_DEMO_SCENE_H
#define HS_TESTS_DEMO_SCENE_H

#include "guest.h"
#include "hs/share.h"
#include "hs/view.h"

#define SCENE_MAX_GUESTS 8

struct scene {
	struct hs_guest *guests[SCENE_MAX_GUESTS];
	struct hs_view *views[SCENE_MAX_GUESTS];
	uint32_t nr;
};

/* Starts nr guests of one kind, each with a seed of its own, and waits until all are ready. */
HS_MUST_USE int scene_start(struct scene *s, struct hs_guest_config cfg, uint32_t nr, struct hs_error *err);
void scene_stop(struct scene *s); /* a cleared scene is fine */

/* Accesses per second over all guests and the p99 of a batch (the worst guest's), during `ms` from now. */
struct scene_speed {
	double accesses_per_s;
	uint64_t p99_ns;
	uint64_t hot_errors;
};
HS_MUST_USE int scene_speed(struct scene *s, uint32_t ms, struct scene_speed *out, struct hs_error *err);

/* The median of `nr` windows, with the lowest and the highest. */
struct scene_speeds {
	struct scene_speed median;
	double low, high;
};
HS_MUST_USE int scene_speeds(struct scene *s, uint32_t nr, uint32_t ms, struct scene_speeds *out, struct hs_error *err);

/* How the huge pages of each class are mapped, by the page tables. */
struct scene_mapped {
	uint32_t total[HS_GUEST_NR_CLASSES], huge[HS_GUEST_NR_CLASSES];
};
HS_MUST_USE int scene_mapped(struct scene *s, struct scene_mapped *out, struct hs_error *err);

/* What could be shared and what is, by the guests' own layout and the page frames. Base pages. */
struct scene_shared {
	uint64_t cold_identical;        /* cold, and the same content is cold elsewhere: exist */
	uint64_t cold_identical_shared; /* of them: on a KSM frame with another mapping among these guests */
	uint64_t cold_zero, cold_zero_shared;
	uint64_t hot_shared; /* hot base pages on a shared frame: there should be none */
	uint64_t mappings;   /* base pages on a KSM frame with another mapping among these guests, of whatever kind */
	uint64_t zero;       /* base pages on the kernel's zero page, of whatever kind */
};
HS_MUST_USE int scene_shared(struct scene *s, struct scene_shared *out, struct hs_error *err);

/* One huge page of a guest's workload, by the page tables. Base pages that are neither shared nor zero take memory. */
struct scene_huge {
	uint8_t cls;     /* enum hs_guest_class */
	bool whole;      /* mapped by one huge entry */
	uint16_t shared; /* base pages on a KSM frame with another mapping among these guests */
	uint16_t zero;   /* base pages on the kernel's zero page */
};
/* As scene_shared, and each huge page into out[nr guests * nr_huge], guest after guest; all guests have nr_huge. */
HS_MUST_USE int scene_look(struct scene *s, uint32_t nr_huge, struct scene_huge *out, struct scene_shared *shared,
			   struct hs_error *err);

/* The sum over the guests. */
HS_MUST_USE int scene_memory(struct scene *s, struct hs_guest_memory *out, struct hs_error *err);

/* Every byte of every guest, by the guests themselves. */
HS_MUST_USE int scene_verify(struct scene *s, uint64_t *checked, uint64_t *bad, struct hs_error *err);

uint64_t scene_now_us(void);

#endif
