/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A burst: ksmd runs until what is marked has been merged as far as it can be.
 *
 * When that is. A page merges at its second visit by ksmd (the first takes its checksum; older kernels can be faster),
 * and both copies of a content must have had theirs: after two whole passes all that holds still is merged. The kernel
 * counts what is merged of each process: when that is what was wanted, ksmd is stopped where it is (settle.h). Where
 * the count does not get there, the passes decide. What is not merged after two, and counts as `volatile`, could not be
 * merged or changed meanwhile; while there is much of it, and the pass before has still merged something, another pass
 * may help. (Where foreign memory is allowed, `volatile` and the passes are its as well; what was merged is asked of
 * our guests alone.) A pass counts as whole when ksmd began it after the marks were made: if it was stopped in the
 * middle of one the last time, that rest counts as nothing.
 *
 * A burst may be run in pieces, so that its caller looks at guests meanwhile. Between two pieces ksmd stands still:
 * nobody would see what becomes mergeable then. And nothing is marked or unmarked: whatever changes marks ends the
 * burst first (hs_engine_halt).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "engine_burst.h"

#define LOOK_US 4000 /* well within ksmd's sleep at the end of a pass */

static uint64_t sharing(const struct hs_ksm_counters *c)
{
	return c->pages_sharing + c->zero_pages;
}

/* For at most so long. *over: it has settled, or its deadline has come. */
static int run(struct hs_engine_burst *b, uint64_t us, bool *over, struct hs_error *err)
{
	const uint64_t deadline_us = b->s->cfg.burst_deadline_ms * UINT64_C(1000);
	const uint64_t from_us = b->clock->now_us(b->clock->ctx);

	b->now_us = from_us;
	do {
		/* The longer the pass has taken, the longer it may go on unseen: at most 1/64 of it is wasted. */
		uint64_t look_us = (b->now_us - b->pass_us) / 64, left_us = us - (b->now_us - from_us);
		int rc;

		look_us = look_us > LOOK_US ? look_us : LOOK_US;
		rc = b->clock->sleep_us(b->clock->ctx, look_us < left_us ? look_us : left_us);
		rc = rc ? rc : hs_engine_watch(b, err);
		if (rc)
			return rc;
		*over = b->settled || b->now_us - b->start_us >= deadline_us;
	} while (!*over && b->now_us - from_us < us);
	return 0;
}

/* What is still to be merged, ksmd has to be able to get at. Where it cannot, it is merged in a later burst. */
static void reach_unmerged(struct hs_share *s)
{
	for (uint32_t i = 0; i < s->nr_guests; i++) {
		struct hs_engine_guest *g = &s->guests[i];

		for (hs_huge_nr nr = 0; g->used && !g->gone && g->unmerged && nr < g->nr_huge; nr++) {
			struct hs_bits512 left = hs_bits_andnot(g->huge[nr].marked, g->huge[nr].shared);

			if (hs_bits_any(&left) && hs_engine_note(g, hs_view_reach(g->view, nr, &left, NULL)))
				break;
		}
	}
}

static bool has_stray_marks(const struct hs_engine_guest *g)
{
	for (size_t i = 0; i < g->stray.nr; i++)
		if (g->stray.ranges[i].kind == HS_MARK_MERGEABLE)
			return true;
	return false;
}

/*
 * What is marked where the view sees no guest memory is read by nobody: whose content it is, is not known. Beside
 * another group it goes before ksmd runs.
 */
static int undo_stray(struct hs_share *s, struct hs_error *err)
{
	struct hs_error why = { "" };
	int rc = 0;

	if (!hs_engine_has_several_groups(s))
		return 0;
	for (uint32_t i = 0; i < s->nr_guests && !rc; i++) {
		struct hs_engine_guest *g = &s->guests[i];

		if (!g->used || g->gone || !has_stray_marks(g))
			continue;
		rc = hs_engine_note(g, hs_engine_undo_stray(s, g, &why));
		if (rc)
			rc = hs_error_set(err, -EAGAIN,
					  "ksmd does not run: memory of %s is marked that is not read, beside another "
					  "trust group, and it could not be unmarked yet: %.300s",
					  g->name, why.text);
	}
	return rc;
}

/* Whether ksmd may run, by all that is known before. */
static int prepare(struct hs_share *s, struct hs_error *err)
{
	int rc = hs_engine_clear_way(s, err); /* may take marks away */

	if (!rc && !s->cfg.dry_run)
		rc = undo_stray(s, err);
	if (!rc && hs_engine_barred(s))
		rc = hs_engine_go_round_stuck(s, err); /* the same */
	/* What is on a frame of another group's may be wanted by more of them in the next burst. */
	if (!rc && s->unparted[0] && hs_engine_has_several_groups(s))
		rc = hs_error_set(err, -EAGAIN,
				  "ksmd does not run: whether it merged memory of %s across trust groups could not be "
				  "looked at yet",
				  s->unparted);
	return rc;
}

static struct hs_ksm_setup setup_of(const struct hs_share *s)
{
	return (struct hs_ksm_setup){
		.sleep_ms = s->cfg.cpu_percent ? HS_ENGINE_STEER_SLEEP_MS : s->cfg.burst_sleep_ms,
		.max_page_sharing = s->cfg.max_page_sharing,
		.use_zero_pages = s->cfg.use_zero_pages,
		.pages_to_scan = hs_engine_careful_pages(&s->cfg),
		.least_pages = s->cfg.cpu_percent ? HS_ENGINE_MIN_PAGES : 0,
		.most_pages = s->cfg.cpu_percent ? s->cfg.burst_pages : 0,
	};
}

/* The next piece: by what is mergeable now, and steered from here on. */
static int resume(struct hs_engine_burst *b, struct hs_error *err)
{
	const struct hs_ksm_setup setup = setup_of(b->s);
	int rc = hs_engine_check_plan(b->s, err);

	if (!rc)
		rc = hs_ksm_sample(b->s->ksm, &b->steered, err);
	b->steered_us = b->checked_us = b->clock->now_us(b->clock->ctx);
	b->pages = setup.pages_to_scan;
	return rc ? rc : hs_ksm_start(b->s->ksm, &setup, err);
}

static int start(struct hs_engine_burst *b, struct hs_error *err)
{
	struct hs_share *s = b->s;
	const struct hs_ksm_setup setup = setup_of(s);

	b->at_pass = b->steered = b->before;
	b->passes_needed = s->at_pass_start ? 2 : 3;
	hs_engine_watch_from_now(b);
	b->pages = setup.pages_to_scan;
	b->scans_fd = hs_hostfile_open(s->host.ksm_dir, "full_scans");
	if (b->scans_fd < 0)
		return hs_error_set(err, b->scans_fd, "cannot open %s/full_scans: %s", s->host.ksm_dir,
				    strerror(-b->scans_fd));
	reach_unmerged(s);
	s->ran = true;
	s->at_pass_start = false;
	return hs_ksm_start(s->ksm, &setup, err);
}

static void burst_free(struct hs_engine_burst *b)
{
	if (b && b->scans_fd >= 0)
		(void)close(b->scans_fd);
	free(b);
}

/* Stops ksmd, after `rc` in the run, and books what came of it. The burst is over. */
static int finish(struct hs_engine_burst *b, int rc, struct hs_share_burst *out, struct hs_error *err)
{
	struct hs_share *s = b->s;
	struct hs_ksm_counters after;
	int stop = hs_ksm_stop(s->ksm, rc ? NULL : err);

	rc = rc ? rc : stop;
	/* What came in the last second was merged with the rest: that is reported, too. */
	if (!rc)
		rc = hs_engine_check_plan(s, err);
	out->running = false;
	out->settled = b->settled;
	out->whole = b->settled && b->passes >= b->passes_needed;
	out->elapsed_ms = (b->clock->now_us(b->clock->ctx) - b->start_us) / 1000;
	stop = hs_ksm_sample(s->ksm, &after, rc ? NULL : err);
	if (stop)
		return rc ? rc : stop;
	out->pages_scanned = after.pages_scanned - b->before.pages_scanned;
	if (after.ksmd_cpu_us != UINT64_MAX && b->before.ksmd_cpu_us != UINT64_MAX)
		out->ksmd_cpu_us = after.ksmd_cpu_us - b->before.ksmd_cpu_us;
	out->sharing_after = sharing(&after);
	s->at_pass_start = out->settled && after.full_scans == b->at_pass.full_scans &&
			   after.pages_scanned == b->at_pass.pages_scanned && after.pages_scanned;
	return rc;
}

/* *out NULL: there is nothing for ksmd to do. */
static int begin(struct hs_share *s, const struct hs_clock *clock, struct hs_engine_burst **out,
		 struct hs_share_burst *report, struct hs_error *err)
{
	struct hs_engine_burst *b = calloc(1, sizeof(*b));
	uint64_t marked;
	int rc;

	*out = NULL;
	if (!b)
		return hs_error_set(err, -ENOMEM, "out of memory");
	*b = (struct hs_engine_burst){ .s = s, .clock = clock, .scans_fd = -1 };
	rc = prepare(s, err);
	if (!rc)
		rc = hs_ksm_sample(s->ksm, &b->before, err);
	if (rc)
		goto out;
	marked = hs_engine_burst_expect(b);
	report->sharing_before = report->sharing_after = sharing(&b->before);
	report->settled = report->whole = !marked || !b->unmerged || !b->target.open || s->cfg.dry_run;
	if (report->settled)
		goto out;
	rc = start(b, err);
	if (rc && rc != -EBUSY && b->scans_fd >= 0)
		(void)!finish(b, rc, report, err); /* it may have been started in part */
	if (!rc) {
		*out = b;
		return 0;
	}
out:
	burst_free(b);
	return rc;
}

int hs_share_burst_for(struct hs_share *s, const struct hs_clock *clock, uint64_t us, struct hs_share_burst *out,
		       struct hs_error *err)
{
	struct hs_engine_burst *b = s->burst;
	bool over = false;
	int rc = 0;

	memset(out, 0, sizeof(*out));
	if (!b) {
		rc = begin(s, clock, &b, out, err);
		if (rc || !b)
			return rc;
	} else {
		b->clock = clock;
		rc = resume(b, err);
	}
	s->burst = b;
	out->sharing_before = sharing(&b->before);
	if (!rc)
		rc = run(b, us, &over, err);
	if (!rc && !over)
		rc = hs_ksm_stop(s->ksm, err);
	if (!rc && !over) {
		out->running = true;
		return 0;
	}
	s->burst = NULL;
	rc = finish(b, rc, out, err);
	burst_free(b);
	return rc;
}

int hs_share_burst(struct hs_share *s, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	return hs_share_burst_for(s, clock, UINT64_MAX, out, err);
}

int hs_share_burst_stop(struct hs_share *s, struct hs_share_burst *out, struct hs_error *err)
{
	struct hs_engine_burst *b = s->burst;
	int rc;

	memset(out, 0, sizeof(*out));
	if (!b)
		return 0;
	s->burst = NULL;
	out->sharing_before = sharing(&b->before);
	rc = finish(b, 0, out, err);
	burst_free(b);
	return rc;
}

void hs_engine_halt(struct hs_share *s)
{
	struct hs_share_burst out;

	(void)!hs_share_burst_stop(s, &out, NULL);
}

/*
 * ksmd keeps its notes about pages (and counts them as shared) until it comes by again. One pass over nothing but the
 * leavings frees them; where others have mergeable memory it is not made.
 */
void hs_engine_sweep(struct hs_share *s)
{
	const struct timespec nap = { .tv_nsec = LOOK_US * 1000 };
	const struct hs_ksm_setup setup = { .pages_to_scan = s->cfg.burst_pages, .sleep_ms = 1 };
	struct hs_ksm_counters before, now;

	if (s->cfg.dry_run || hs_engine_check_plan(s, NULL) || hs_ksm_sample(s->ksm, &before, NULL) ||
	    hs_ksm_start(s->ksm, &setup, NULL))
		return;
	/* Two ends of a pass: the first may be that of a pass begun long ago. None comes when nobody is left. */
	for (int i = 0; i < 100; i++) {
		(void)nanosleep(&nap, NULL);
		if (hs_ksm_sample(s->ksm, &now, NULL) || now.full_scans - before.full_scans >= 2 ||
		    !(now.pages_shared + now.pages_sharing + now.pages_unshared + now.pages_volatile))
			break;
	}
	(void)!hs_ksm_stop(s->ksm, NULL);
}
