/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two policies of the artifact that look at no heat.
 *
 * ksm: every base page, mapped alone or inside a huge page, is a candidate; a huge page is split as soon as one of its
 * base pages matches.
 *
 * zero_scan: the candidates are the zero base pages; a huge page that has one is split.
 */
#include "lab/policy.h"
#include "scanner.h"

static void everything(void *ctx, const struct hs_lab_guest *g, hs_huge_nr huge, struct hs_bits512 *out)
{
	(void)ctx;
	(void)g;
	(void)huge;
	*out = hs_bits_full();
}

static int start_with(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, bool zero_only,
		      struct hs_error *err)
{
	const struct hs_lab_scan_rules rules = { .candidates = everything,
						 .zero_only = zero_only,
						 .rate = o->scan_rate };

	return hs_lab_scanner_create((struct hs_lab_scanner **)self, h, &rules, err);
}

static int start_ksm(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err)
{
	return start_with(self, h, o, false, err);
}

static int start_zero(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err)
{
	return start_with(self, h, o, true, err);
}

static int step(void *self, struct hs_error *err)
{
	const struct hs_clock *clock = hs_lab_scanner_clock(self);

	(void)err;
	return clock->sleep_us(clock->ctx, 1000000);
}

static void spent(void *self, struct hs_lab_spent *out)
{
	*out = (struct hs_lab_spent){ .own_bytes = hs_lab_scanner_bytes(self) };
}

static void end(void *self)
{
	hs_lab_scanner_destroy(self);
}

const struct hs_lab_policy hs_lab_ksm = {
	.name = "ksm",
	.label = "artifact ksm",
	.what = "every base page is a candidate; a huge page is split at one match",
	.blind = true,
	.start = start_ksm,
	.step = step,
	.spent = spent,
	.end = end,
};

const struct hs_lab_policy hs_lab_zero_scan = {
	.name = "zero_scan",
	.label = "artifact zero_scan",
	.what = "huge pages with a zero base page are split, zero base pages shared",
	.blind = true,
	.start = start_zero,
	.step = step,
	.spent = spent,
	.end = end,
};
