/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time as the stages see it, so that a simulated guest can run on simulated time and an operator's Ctrl-C ends a wait.
 */
#ifndef HS_CLOCK_H
#define HS_CLOCK_H

#include <stdint.h>

struct hs_clock {
	void *ctx;
	/* Monotonic microseconds since any fixed moment. */
	uint64_t (*now_us)(void *ctx);
	/* Sleeps; 0 when the time is over, -ECANCELED when the caller has been asked to end (then: clean up and
	 * return). */
	int (*sleep_us)(void *ctx, uint64_t us);
};

#endif
