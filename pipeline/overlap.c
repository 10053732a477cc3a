/*
 * ksmd runs while guests are looked at.
 *
 * A burst in pieces (hs/share.h): whoever sleeps in the window sleeps on a clock that looks after ksmd meanwhile, and
 * whoever works for long without a sleep asks for a look. That is not for comfort: what is mergeable on this host is
 * checked in these looks. Nothing is marked or unmarked while ksmd runs, and it stands still before base pages are
 * looked into (it would make hot ones look cold), before decisions are carried out, and whenever a cycle ends.
 *
 * Not where there are several trust groups: what is mergeable of one is to be read and compared with the others' right
 * before ksmd runs (content_owners.c). Not while somebody observes: a recorded run is repeated step by step.
 */
#include "pipeline_internal.h"

#include <errno.h>

#define LOOK_US 200000 /* between two looks, of who does not sleep */

bool hs_overlap_possible(const struct hs_pipeline *p)
{
	return p->merge.ops->burst_for && !p->several_groups && !p->observer.cycle && !p->cfg.share.dry_run;
}

bool hs_pipeline_ksmd_runs(const struct hs_pipeline *p)
{
	return p->overlap.runs;
}

void hs_overlap_begin(struct hs_pipeline *p)
{
	p->overlap.runs = true;
	p->overlap.looked_us = p->clock->now_us(p->clock->ctx);
}

/* It is over: settled, at its deadline, or for a reason that the next burst runs into as well, and reports. */
static void note_end(struct hs_pipeline *p, const struct hs_share_burst *out, int rc)
{
	p->overlap.runs = false;
	p->totals.ksmd_cpu_us += out->ksmd_cpu_us;
	p->totals.burst_ms += out->elapsed_ms;
	p->unsettled |= rc || !out->settled;
}

/* ksmd runs for so long at most. -ECANCELED: by the clock. */
static int run_for(struct hs_pipeline *p, uint64_t us)
{
	struct hs_share_burst out;
	int rc = hs_merge_burst_for(p, us, &out, NULL);

	p->overlap.looked_us = p->clock->now_us(p->clock->ctx);
	if (rc || !out.running)
		note_end(p, &out, rc);
	return rc == -ECANCELED ? rc : 0;
}

int hs_overlap_look(struct hs_pipeline *p)
{
	if (!p->overlap.runs || p->clock->now_us(p->clock->ctx) - p->overlap.looked_us < LOOK_US)
		return 0;
	return run_for(p, 0);
}

void hs_overlap_end(struct hs_pipeline *p)
{
	struct hs_share_burst out;
	int rc;

	if (!p->overlap.runs)
		return;
	rc = hs_merge_burst_stop(p, &out, NULL);
	note_end(p, &out, rc);
}

static uint64_t overlap_now_us(void *ctx)
{
	const struct hs_pipeline *p = ctx;

	return p->clock->now_us(p->clock->ctx);
}

static int overlap_sleep_us(void *ctx, uint64_t us)
{
	struct hs_pipeline *p = ctx;
	uint64_t gone_us = 0;

	if (p->overlap.runs) {
		const uint64_t from_us = p->clock->now_us(p->clock->ctx);
		int rc = run_for(p, us);

		if (rc)
			return rc;
		gone_us = p->clock->now_us(p->clock->ctx) - from_us;
	}
	return gone_us < us ? p->clock->sleep_us(p->clock->ctx, us - gone_us) : 0;
}

void hs_overlap_init(struct hs_pipeline *p)
{
	p->overlap.clock = (struct hs_clock){ .ctx = p, .now_us = overlap_now_us, .sleep_us = overlap_sleep_us };
}
