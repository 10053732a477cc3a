/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration's own: what its two files share. */
#ifndef HS_LAB_CALIBRATE_H
#define HS_LAB_CALIBRATE_H

#include <stdbool.h>

#include "cost.h"

#define HS_LAB_REPS 5U /* the median of so many counts */

/* Of this thread: what else runs on the machine is left out. */
double hs_lab_cpu_ns(void);
/* Fills a base page with what no other number's page has. */
void hs_lab_fill_page(void *page, unsigned long long number);

/* Memory on huge-page borders, with this advice; *slack is what to unmap, HS_HUGE_SIZE more. NULL: there is none. */
char *hs_lab_map(size_t bytes, int advice, void **slack);
/* These stay unknown, and why. */
void hs_lab_unknown(struct hs_lab_costs *c, enum hs_lab_cost first, enum hs_lab_cost last, const char *why);

/* Whether the end is asked for. */
static inline bool hs_lab_cancelled(const struct hs_clock *clock)
{
	return clock->sleep_us(clock->ctx, 0) != 0;
}

/* Reading, ageing, sampling, and ksmd: on processes of our own. What cannot be measured stays unknown, with the reason.
 * The clock may ask for the end: then it ends early. */
void hs_lab_calibrate_live(struct hs_lab_costs *out, const struct hs_clock *clock, void (*progress)(const char *what));

#endif
