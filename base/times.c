/* SPDX-License-Identifier: Apache-2.0 */
#include "times.h"

#include <time.h>

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t now_us(clockid_t clock)
{
	return now_ns(clock) / 1000;
}

uint64_t hs_monotonic_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

uint64_t hs_boottime_us(void)
{
	return now_us(CLOCK_BOOTTIME);
}

uint64_t hs_cpu_thread_us(void)
{
	return now_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t hs_cpu_thread_ns(void)
{
	return now_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t hs_process_cpu_us(void)
{
	return now_us(CLOCK_PROCESS_CPUTIME_ID);
}
