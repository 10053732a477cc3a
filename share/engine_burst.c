/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A burst: ksmd runs until what is marked has been merged as far as it can be.
 *
 * When that is. A page merges at its second visit by ksmd (the first takes its checksum; older kernels can be faster),
 * and both copies of a content must have had theirs: after two whole passes all that holds still is merged. What is
 * not merged then, and counts as `volatile`, could not be merged or changed meanwhile; while there is much of it, and
 * the pass before has still merged something, another pass may help. (Where foreign memory is allowed, `volatile` and
 * the passes are its as well; what was merged is asked of our guests alone.) A pass counts as whole when ksmd began it
 * after the marks were made: if it was stopped in the middle of one the last time, that rest counts as nothing.
 *
 * The passes are seen by full_scans, one small file, often; all counters are read at the end of a pass, or ten times a
 * second when ksmd's CPU time is to be steered. That is done by the length of its batches, not by its sleep: to write
 * another sleep wakes it up at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine_internal.h"
#include "base/hostfile.h"

#define LOOK_US        4000 /* well within ksmd's sleep at the end of a pass */
#define STEER_US       100000
#define CHECK_US       1000000 /* whether guests are left, and nothing else is mergeable */
#define STEER_SLEEP_MS 20      /* ksmd's sleep when its CPU time is steered: 50 short batches a second */
#define MERGE_US       12      /* what a page costs in the second pass, eight times what it costs in the first */
#define MIN_PAGES      8
#define EXTRA_PASSES   3
#define LITTLE_PART    200 /* 0.5% of the marked pages are not worth a pass */

struct burst {
	struct hs_share *s;
	const struct hs_clock *clock;
	struct hs_ksm_counters before, at_pass, steered;
	uint64_t start_us, steered_us, pass_us; /* pass_us: when the pass began */
	uint64_t marked, unmerged;              /* base pages of our guests, before */
	uint64_t merged;                        /* at the end of the last pass */
	uint64_t passes, passes_needed;
	uint32_t pages; /* pages_to_scan now */
	int scans_fd;   /* full_scans */
	bool beyond;    /* stopped: something is mergeable that is not planned, or that is not known */
};

static uint64_t sharing(const struct hs_ksm_counters *c)
{
	return c->pages_sharing + c->zero_pages;
}

/* ---- steering ---- */

/*
 * What the burst may use until the next look, divided by what a page has cost of late. Counted from the start of the
 * burst, so that what was used too much is made up for.
 */
static int steer(struct burst *b, const struct hs_ksm_counters *now, uint64_t now_us)
{
	const uint64_t cap = b->s->cfg.cpu_percent;
	uint64_t window = now_us - b->steered_us, used, due, last, share, pages;

	if (!cap || now->ksmd_cpu_us == UINT64_MAX || window < STEER_US)
		return 0;
	used = now->ksmd_cpu_us - b->before.ksmd_cpu_us;
	last = now->ksmd_cpu_us - b->steered.ksmd_cpu_us;
	due = (now_us - b->start_us + window) * cap / 100;
	share = due > used ? due - used : 0; /* for a window as long as the last one */
	b->steered = *now;
	b->steered_us = now_us;
	if (!last)
		return 0;
	if (share > last * 4)
		share = last * 4;
	if (share < last / 8)
		share = last / 8;
	pages = b->pages * share / last;
	pages = pages < MIN_PAGES ? MIN_PAGES : pages > b->s->cfg.burst_pages ? b->s->cfg.burst_pages : pages;
	if (pages == b->pages)
		return 0;
	b->pages = (uint32_t)pages;
	return hs_ksm_pace(b->s->ksm, b->pages);
}

/* A batch that keeps to the cap at what a page costs when it merges. */
static uint32_t careful_pages(const struct hs_share_config *cfg)
{
	uint64_t batch_us, pages;

	if (!cfg->cpu_percent || cfg->cpu_percent >= 100)
		return cfg->burst_pages;
	batch_us = STEER_SLEEP_MS * UINT64_C(1000) * cfg->cpu_percent / (100 - cfg->cpu_percent);
	pages = batch_us / MERGE_US;
	pages = pages < MIN_PAGES ? MIN_PAGES : pages;
	return pages < cfg->burst_pages ? (uint32_t)pages : cfg->burst_pages;
}

/* ---- the run ---- */

/* What the kernel says of our guests: pages merged (zero pages too), pages that ksmd has notes about. */
static void count_ours(const struct hs_share *s, uint64_t *merged, uint64_t *items)
{
	*merged = *items = 0;
	for (uint32_t i = 0; i < s->nr_guests; i++) {
		const struct hs_engine_guest *g = &s->guests[i];
		char text[1024];
		uint64_t n;

		if (!g->used || g->gone)
			continue;
		if (hs_hostfile_read_pid(&s->host, g->view->pid, "ksm_merging_pages", text, sizeof(text)) > 0 &&
		    !hs_hostfile_parse_u64(text, NULL, &n))
			*merged += n;
		if (hs_hostfile_read_pid(&s->host, g->view->pid, "ksm_stat", text, sizeof(text)) <= 0)
			continue;
		if (!hs_hostfile_field(text, "ksm_zero_pages", &n))
			*merged += n;
		if (!hs_hostfile_field(text, "ksm_rmap_items", &n))
			*items += n;
	}
}

/*
 * At the end of a pass: is anything left that another could merge? From the second end on each of our guests' pages has
 * been visited in this burst, so that the kernel's count of merged pages has no broken ones in it.
 */
static bool is_settled(struct burst *b, const struct hs_ksm_counters *now)
{
	const uint64_t little = b->unmerged / LITTLE_PART;
	uint64_t zero = now->zero_pages > b->before.zero_pages ? now->zero_pages - b->before.zero_pages : 0;
	uint64_t left = now->pages_volatile > zero ? now->pages_volatile - zero : 0; /* those merged count, too */
	uint64_t before = b->merged, items;

	count_ours(b->s, &b->merged, &items);
	if (b->passes >= 2 && b->merged + little >= b->marked)
		return true;
	if (b->passes < b->passes_needed)
		return false;
	/* A zero page that was mapped away by the split of its huge page has no notes any more. */
	if (left <= little || b->merged + little >= items || b->passes >= b->passes_needed + EXTRA_PASSES)
		return true;
	return b->passes > b->passes_needed && b->merged <= before + little;
}

/* When the last guest has gone, ksmd has nothing to look at, and no pass ends any more. */
static bool all_gone(const struct hs_share *s)
{
	for (uint32_t i = 0; i < s->nr_guests; i++) {
		char text[256];
		uint64_t pages;

		if (s->guests[i].used && !s->guests[i].gone &&
		    hs_hostfile_read_pid(&s->host, s->guests[i].view->pid, "statm", text, sizeof(text)) > 0 &&
		    !hs_hostfile_parse_u64(text, NULL, &pages) && pages)
			return false;
	}
	return true;
}

/* Read so often that it is opened once only. */
static int read_scans(struct burst *b, uint64_t *scans, struct hs_error *err)
{
	char text[32];
	ssize_t n = pread(b->scans_fd, text, sizeof(text) - 1, 0);
	int rc = n < 0 ? -errno : 0;

	text[n < 0 ? 0 : n] = '\0';
	rc = rc ? rc : hs_hostfile_parse_u64(text, NULL, scans);
	return rc ? hs_error_set(err, rc, "cannot read %s/full_scans: %s", b->s->host.ksm_dir, strerror(-rc)) : 0;
}

static int run(struct burst *b, bool *settled, struct hs_error *err)
{
	const uint64_t deadline_us = b->s->cfg.burst_deadline_ms * UINT64_C(1000);
	uint64_t checked_us = b->start_us, now_us = b->start_us, check_us = CHECK_US;

	for (;;) {
		/* The longer the pass has taken, the longer it may go on unseen: at most 1/64 of it is wasted. */
		uint64_t look_us = (now_us - b->pass_us) / 64, scans;
		int rc = b->clock->sleep_us(b->clock->ctx, look_us > LOOK_US ? look_us : LOOK_US);

		now_us = b->clock->now_us(b->clock->ctx);
		rc = rc ? rc : read_scans(b, &scans, err);
		if (rc)
			return rc;
		if (scans - b->before.full_scans > b->passes ||
		    (b->s->cfg.cpu_percent && now_us - b->steered_us >= STEER_US)) {
			struct hs_ksm_counters now;

			rc = hs_ksm_sample(b->s->ksm, &now, err);
			if (!rc)
				rc = steer(b, &now, now_us);
			if (rc)
				return rc;
			if (now.full_scans - b->before.full_scans > b->passes) {
				b->passes = now.full_scans - b->before.full_scans;
				*settled = is_settled(b, &now);
				b->at_pass = now;
				b->pass_us = now_us;
				b->pages = careful_pages(&b->s->cfg); /* what comes may cost much more a page */
				rc = b->s->cfg.cpu_percent ? hs_ksm_pace(b->s->ksm, b->pages) : 0;
				if (rc)
					return rc;
			}
		}
		if (now_us - checked_us >= check_us) {
			checked_us = now_us;
			*settled |= all_gone(b->s);
			rc = hs_engine_check_plan(b->s, err);
			b->beyond = rc != 0;
			if (rc)
				return rc;
			/* Where it is slow (smaps), it takes no more than a fifth of the time. */
			check_us = (b->clock->now_us(b->clock->ctx) - now_us) * 4;
			check_us = check_us > CHECK_US ? check_us : CHECK_US;
		}
		if (*settled || now_us - b->start_us >= deadline_us)
			return 0;
	}
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

int hs_share_burst(struct hs_share *s, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	struct burst b = { .s = s, .clock = clock };
	struct hs_ksm_setup setup = {
		.sleep_ms = s->cfg.cpu_percent ? STEER_SLEEP_MS : s->cfg.burst_sleep_ms,
		.max_page_sharing = s->cfg.max_page_sharing,
		.use_zero_pages = s->cfg.use_zero_pages,
		.least_pages = s->cfg.cpu_percent ? MIN_PAGES : 0,
		.most_pages = s->cfg.cpu_percent ? s->cfg.burst_pages : 0,
	};
	struct hs_ksm_counters after;
	int rc, stop;

	memset(out, 0, sizeof(*out));
	rc = hs_engine_clear_way(s, err); /* may take marks away */
	if (!rc && hs_engine_barred(s))
		rc = hs_engine_go_round_stuck(s, err); /* the same */
	for (uint32_t i = 0; i < s->nr_guests; i++) {
		if (!s->guests[i].used || s->guests[i].gone)
			continue;
		b.marked += hs_engine_marked(&s->guests[i]);
		b.unmerged += s->guests[i].unmerged;
	}
	/* What is on a frame of another group's may be wanted by more of them in the next burst. */
	if (!rc && s->unparted[0] && hs_engine_has_several_groups(s))
		rc = hs_error_set(err, -EAGAIN,
				  "ksmd does not run: whether it merged memory of %s across trust groups could not be "
				  "looked at yet",
				  s->unparted);
	if (!rc)
		rc = hs_ksm_sample(s->ksm, &b.before, err);
	if (rc)
		return rc;
	out->sharing_before = out->sharing_after = sharing(&b.before);
	if (!b.marked || !b.unmerged || s->cfg.dry_run) {
		out->settled = true;
		return 0;
	}
	b.at_pass = b.steered = b.before;
	b.passes_needed = s->at_pass_start ? 2 : 3;
	b.start_us = b.steered_us = b.pass_us = clock->now_us(clock->ctx);
	b.pages = setup.pages_to_scan = careful_pages(&s->cfg);
	b.scans_fd = hs_hostfile_open(s->host.ksm_dir, "full_scans");
	if (b.scans_fd < 0)
		return hs_error_set(err, b.scans_fd, "cannot open %s/full_scans: %s", s->host.ksm_dir,
				    strerror(-b.scans_fd));
	reach_unmerged(s);
	s->ran = true;
	s->at_pass_start = false;
	rc = hs_ksm_start(s->ksm, &setup, err);
	if (!rc)
		rc = run(&b, &out->settled, err);
	(void)close(b.scans_fd);
	if (rc == -EBUSY && !b.beyond)
		return rc; /* somebody else runs it: not ours to stop */
	stop = hs_ksm_stop(s->ksm, rc ? NULL : err);
	rc = rc ? rc : stop;
	/* What came in the last second was merged with the rest: that is reported, too. */
	if (!rc)
		rc = hs_engine_check_plan(s, err);
	out->elapsed_ms = (clock->now_us(clock->ctx) - b.start_us) / 1000;
	stop = hs_ksm_sample(s->ksm, &after, rc ? NULL : err);
	if (stop)
		return rc ? rc : stop;
	out->pages_scanned = after.pages_scanned - b.before.pages_scanned;
	if (after.ksmd_cpu_us != UINT64_MAX && b.before.ksmd_cpu_us != UINT64_MAX)
		out->ksmd_cpu_us = after.ksmd_cpu_us - b.before.ksmd_cpu_us;
	out->sharing_after = sharing(&after);
	s->at_pass_start = out->settled && after.full_scans == b.at_pass.full_scans &&
			   after.pages_scanned == b.at_pass.pages_scanned && after.pages_scanned;
	return rc;
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
