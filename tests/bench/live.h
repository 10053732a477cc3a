/* SPDX-License-Identifier: Apache-2.0 */
/* The live comparison: the same guests, once under each rival and once under HS-Share, in one run. */
#ifndef HS_TESTS_BENCH_LIVE_H
#define HS_TESTS_BENCH_LIVE_H

#include "child.h"
#include "hs/scan.h"
#include "scene.h"

#define LIVE_TICK_MS 600 /* one coarse round; every figure is taken once a tick */

/* What is known at one moment. */
struct live_point {
	double t_s;
	uint64_t saved_bytes; /* so much less of the host's memory do the guests take than before */
	double ksmd_cpu_s;    /* since the policy began */
	double service_cpu_s; /* of whoever drives it: hs-share, or the rival's own tracking */
	double accesses_per_s;
	uint64_t p99_ns;
	uint32_t hot_huge; /* evenly hot huge pages that are mapped huge */
};

struct live_result {
	const char *name, *what;
	struct scene_speeds before; /* in the same guests, before the policy began */
	struct live_point *points;
	size_t nr_points;
	struct scene_shared shared;
	struct scene_mapped mapped;
	uint64_t checked, bad;
};

/* One way to save memory. `state` is its own; all get the scene. */
struct live_variant {
	const char *name, *what;
	int (*begin)(struct scene *s, void **state, struct hs_error *err);
	int (*tick)(struct scene *s, void *state, struct hs_error *err); /* may be NULL */
	double (*cpu_s)(void *state);                                    /* may be NULL: none */
	int (*end)(struct scene *s, void *state,
		   struct hs_error *err); /* stops it; what is shared stays. May be NULL */
};

/* Writes one of KSM's knobs. */
HS_MUST_USE int live_ksm_knob(const char *name, const char *value, struct hs_error *err);

extern const struct live_variant live_variants[];
extern const size_t live_nr_variants;

#endif
