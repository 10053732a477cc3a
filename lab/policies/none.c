/* SPDX-License-Identifier: Apache-2.0 */
/* none: nothing is done. What the others are measured against. */
#include "lab/policy.h"

static int start(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err)
{
	(void)o;
	(void)err;
	*self = h;
	return 0;
}

static int step(void *self, struct hs_error *err)
{
	struct hs_lab_host *h = self;

	(void)err;
	return h->clock.sleep_us(h->clock.ctx, 1000000);
}

static void spent(void *self, struct hs_lab_spent *out)
{
	(void)self;
	*out = (struct hs_lab_spent){ 0 };
}

static void end(void *self)
{
	(void)self;
}

const struct hs_lab_policy hs_lab_none = {
	.name = "none",
	.label = "none",
	.what = "nothing is shared",
	.start = start,
	.step = step,
	.spent = spent,
	.end = end,
};
