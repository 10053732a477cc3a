/* SPDX-License-Identifier: Apache-2.0 */
/* The clocks of this machine and of this process, in microseconds but for one. (hs/clock.h: a clock that a test can
 * replace.) */
#ifndef HS_BASE_TIMES_H
#define HS_BASE_TIMES_H

#include <stdbool.h>
#include <stdint.h>

/* Since some start; never goes back, and stands still while the machine is suspended. */
uint64_t hs_monotonic_us(void);
/* Since the boot, suspends included: means the same to every process of this boot. */
uint64_t hs_boottime_us(void);

/* CPU time of the calling thread, and of this process with all its threads. */
uint64_t hs_cpu_thread_us(void);
uint64_t hs_cpu_thread_ns(void);
uint64_t hs_process_cpu_us(void);

/*
 * The rest after a piece of work: the first one when there was something to do (or no rest before), else double the
 * last one, and never more than the longest. In whatever unit.
 */
static inline uint64_t hs_rest_next(uint64_t last, bool busy, uint64_t first, uint64_t longest)
{
	const uint64_t next = busy || last < first ? first : last > longest / 2 ? longest : last * 2;

	return next < longest ? next : longest;
}

#endif
