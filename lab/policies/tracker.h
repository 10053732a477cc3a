/* SPDX-License-Identifier: Apache-2.0 */
/* The coarse phase, the product's own, over all guests of the lab's host: for the rivals that look at heat. */
#ifndef HS_LAB_POLICIES_TRACKER_H
#define HS_LAB_POLICIES_TRACKER_H

#include "hs/scan.h"
#include "lab/lab_host.h"

struct hs_lab_tracker {
	struct hs_lab_host *h;
	struct hs_coarse **coarse; /* [guest] */
	uint32_t rounds;
	uint64_t aged, sampled;
};

HS_MUST_USE int hs_lab_tracker_create(struct hs_lab_tracker **out, struct hs_lab_host *h, struct hs_error *err);
void hs_lab_tracker_destroy(struct hs_lab_tracker *t); /* takes NULL */
/* One round of 600 ms. Errors of hs_coarse_round, and -ECANCELED. */
HS_MUST_USE int hs_lab_tracker_round(struct hs_lab_tracker *t, const struct hs_clock *clock, struct hs_error *err);

#endif
