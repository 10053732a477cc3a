/* SPDX-License-Identifier: Apache-2.0 */
#include "wallclock.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "times.h"

static volatile sig_atomic_t asked;
static uint64_t deadline_us;

static void on_signal(int sig)
{
	(void)sig;
	asked = 1;
}

void hs_wallclock_catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	(void)sigemptyset(&sa.sa_mask);
	(void)sigaction(SIGINT, &sa, NULL); /* without SA_RESTART: a wait ends */
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGHUP, &sa, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static uint64_t now_us(void *ctx)
{
	(void)ctx;
	return hs_monotonic_us();
}

void hs_wallclock_deadline_us(uint64_t us)
{
	deadline_us = us ? now_us(NULL) + us : 0;
}

void hs_wallclock_reset(void)
{
	asked = 0;
	deadline_us = 0;
}

static int sleep_us(void *ctx, uint64_t us)
{
	uint64_t end = now_us(ctx) + us;
	bool cut = deadline_us && deadline_us < end;
	struct timespec ts;

	if (cut)
		end = deadline_us;
	ts = (struct timespec){ .tv_sec = (time_t)(end / 1000000), .tv_nsec = (long)(end % 1000000) * 1000 };
	while (!asked) {
		if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != EINTR)
			return cut ? -ECANCELED : 0;
	}
	return -ECANCELED;
}

const struct hs_clock hs_wallclock = { .ctx = NULL, .now_us = now_us, .sleep_us = sleep_us };
