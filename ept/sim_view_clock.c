/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated time: passes when somebody sleeps, and the guests run in it. */
#include "sim_view_internal.h"

#include <errno.h>

void hs_sim_pass_time(struct hs_sim_clock *c, uint64_t us)
{
	c->now_us += us;
	if (us && c->run)
		c->run(c->ctx, us);
}

static uint64_t now_us(void *ctx)
{
	return ((const struct hs_sim_clock *)ctx)->now_us;
}

static int sleep_us(void *ctx, uint64_t us)
{
	struct hs_sim_clock *c = ctx;

	c->nr_sleeps++;
	if (c->cancel_at_us && c->now_us + us >= c->cancel_at_us) {
		if (c->cancel_at_us > c->now_us)
			hs_sim_pass_time(c, c->cancel_at_us - c->now_us);
		return -ECANCELED;
	}
	hs_sim_pass_time(c, us);
	return 0;
}

struct hs_clock hs_sim_clock_ops(struct hs_sim_clock *c)
{
	return (struct hs_clock){ .ctx = c, .now_us = now_us, .sleep_us = sleep_us };
}
