/* SPDX-License-Identifier: Apache-2.0 */
/* One run: one policy on one host, and what came of it. */
#ifndef HS_LAB_RUN_H
#define HS_LAB_RUN_H

#include "policy.h"

#define HS_LAB_MAX_POINTS 240 /* of a timeline */
#define HS_LAB_SKEW_BINS  11  /* hot base pages: 0, 1, 2-3, 4-7 ... 256-511, 512 */
#define HS_LAB_RATE_BINS  7   /* accesses a second: none, below 1, 10, 100, 1000, 10000, more */

struct hs_lab_point {
	double seconds;
	uint64_t saved_bytes, possible_bytes;
	double huge; /* share of the hot huge pages that are mapped huge */
};

struct hs_lab_result {
	const struct hs_lab_policy *policy;
	double seconds;
	double guest_cpu_seconds; /* of all virtual processors together */
	uint64_t memory_bytes;    /* present before anything is shared */
	uint64_t saved_bytes;     /* at the end */
	double saved_mean_bytes;  /* over the run */
	uint64_t possible_bytes;  /* that could be saved at most, at the end, by who shares as this policy does */
	double hot_huge;          /* share of the accesses that went through huge mappings */
	double slowdown;       /* of the guests: time lost for each second of their processors; NAN: not calibrated */
	double cpu_seconds;    /* the policy's and ksmd's; NAN: not calibrated */
	double converged_s;    /* when 95% of what it saved at the end was saved, for good; NAN: nothing was */
	uint64_t wrong_splits; /* huge pages that are evenly hot, and not mapped huge at the end */
	uint64_t missed_bytes; /* that the oracle would save at the end, and this policy does not */
	struct hs_lab_counts counts;
	struct hs_lab_spent spent;
	uint32_t nr_points;
	struct hs_lab_point points[HS_LAB_MAX_POINTS];
	/* Huge pages by skew and rate, as the guests have them at the end; of them still mapped huge. */
	uint64_t cells[HS_LAB_RATE_BINS][HS_LAB_SKEW_BINS], cells_huge[HS_LAB_RATE_BINS][HS_LAB_SKEW_BINS];
	double wall_seconds;     /* that the simulation took */
	uint64_t resident_bytes; /* that the lab itself had at the end */
};

/* Bins of the heat map, as text. */
extern const char *const hs_lab_rate_names[HS_LAB_RATE_BINS];
extern const char *const hs_lab_skew_names[HS_LAB_SKEW_BINS];

/* Called now and then with how far the run is, in simulated seconds. */
typedef void hs_lab_progress(void *ctx, double seconds);

/* What is run; all is borrowed. */
struct hs_lab_task {
	const struct hs_lab_scenario *scenario;
	const struct hs_lab_policy *policy;
	const struct hs_lab_options *options;
	hs_lab_progress *progress; /* NULL: nobody */
	void *progress_ctx;
};

/*
 * Runs the policy on a host made from the scenario. Errors of making the host and of the policy; a host whose counts do
 * not agree at the end is -EBADMSG: a mistake in the lab, and no result.
 */
HS_MUST_USE int hs_lab_run(struct hs_lab_result *out, const struct hs_lab_task *task, struct hs_error *err);

/* The figures that follow from the costs; in run.c, for a test to compare by hand. */
void hs_lab_apply_costs(struct hs_lab_result *r, const struct hs_lab_costs *c);

#endif
