/*
 * A burst: ksmd runs until what is marked has been merged as far as it can be.
 *
 * When that is. A page merges at its second visit by ksmd (the first takes its checksum; older kernels can be faster),
 * and both copies of a content must have had theirs: after two whole passes all that holds still is merged. What then
 * counts as `volatile` could not be merged or changed meanwhile; while there is much of it, and the pass before has
 * still merged something, another pass may help. A pass counts as whole when ksmd began it after the marks were made:
 * if it was stopped in the middle of one the last time, that rest counts as nothing.
 *
 * The passes are seen by full_scans, one small file, often; all counters are read at the end of a pass, or ten times a
 * second when ksmd's CPU time is to be steered. That is done by the length of its batches, not by its sleep: to write
 * another sleep wakes it up at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine.h"
#include "hostfile.h"

#define LOOK_US        4000 /* well within ksmd's sleep at the end of a pass */
#define STEER_US       100000
#define STEER_SLEEP_MS 20 /* ksmd's sleep when its CPU time is steered: 50 short batches a second */
#define FIRST_PAGE_US  10 /* what a page costs, until it has been measured */
#define MIN_PAGES      8
#define EXTRA_PASSES   3
#define VOLATILE_PART  200 /* 0.5% of the marked pages are not worth a pass */

struct burst {
	struct hs_share *s;
	const struct hs_clock *clock;
	struct hs_ksm_counters before, at_pass, steered;
	uint64_t start_us, steered_us, marked;
	uint64_t passes, passes_needed;
	uint32_t pages; /* pages_to_scan now */
};

static uint64_t sharing(const struct hs_ksm_counters *c)
{
	return c->pages_sharing + c->zero_pages;
}

/* ---- foreign memory ---- */

static int refuse_foreign(struct hs_share *s, struct hs_error *err)
{
	struct hs_ksm_foreign *found = NULL;
	pid_t *pids = calloc(s->nr_guests ? s->nr_guests : 1, sizeof(*pids));
	size_t nr_pids = 0, nr = 0, len;
	int rc;

	if (!pids)
		return hs_error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < s->nr_guests; i++)
		if (s->guests[i].used)
			pids[nr_pids++] = s->guests[i].view->pid;
	rc = hs_ksm_find_foreign(&s->host, pids, nr_pids, &found, &nr, err);
	if (!rc && nr) {
		char names[256] = "";

		for (size_t i = 0; i < nr && (len = strlen(names)) < sizeof(names) - 64; i++)
			(void)snprintf(names + len, sizeof(names) - len, "%s%s (pid %d, %llu MiB)", i ? ", " : "",
				       found[i].comm, (int)found[i].pid,
				       (unsigned long long)((found[i].mergeable_bytes + (1 << 20) - 1) >> 20));
		rc =
		    hs_error_set(err, -EBUSY,
				 "ksmd would merge memory that is not ours as well, of %zu process%s: %s; opt them in, "
				 "start them with QEMU's -machine mem-merge=off, or allow foreign memory",
				 nr, nr == 1 ? "" : "es", names);
	}
	free(found);
	free(pids);
	return rc;
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

static struct hs_ksm_setup first_setup(struct burst *b)
{
	const struct hs_share_config *cfg = &b->s->cfg;
	struct hs_ksm_setup setup = { .pages_to_scan = cfg->burst_pages,
				      .sleep_ms = cfg->burst_sleep_ms,
				      .max_page_sharing = cfg->max_page_sharing,
				      .use_zero_pages = cfg->use_zero_pages };

	if (cfg->cpu_percent && cfg->cpu_percent < 100) {
		uint64_t batch_us = STEER_SLEEP_MS * UINT64_C(1000) * cfg->cpu_percent / (100 - cfg->cpu_percent);

		setup.sleep_ms = STEER_SLEEP_MS;
		setup.pages_to_scan = (uint32_t)(batch_us / FIRST_PAGE_US);
		if (setup.pages_to_scan < MIN_PAGES)
			setup.pages_to_scan = MIN_PAGES;
		if (setup.pages_to_scan > cfg->burst_pages)
			setup.pages_to_scan = cfg->burst_pages;
	}
	b->pages = setup.pages_to_scan;
	return setup;
}

/* ---- the run ---- */

/* At the end of a pass: is anything left that another could merge? */
static bool is_settled(struct burst *b, const struct hs_ksm_counters *now)
{
	uint64_t zero = now->zero_pages > b->before.zero_pages ? now->zero_pages - b->before.zero_pages : 0;
	uint64_t left = now->pages_volatile > zero ? now->pages_volatile - zero : 0; /* those merged count, too */
	uint64_t grown = sharing(now) > sharing(&b->at_pass) ? sharing(now) - sharing(&b->at_pass) : 0;

	if (b->passes < b->passes_needed)
		return false;
	if (left <= b->marked / VOLATILE_PART || b->passes >= b->passes_needed + EXTRA_PASSES)
		return true;
	return b->passes > b->passes_needed && grown <= b->marked / VOLATILE_PART;
}

static int run(struct burst *b, bool *settled, struct hs_error *err)
{
	const uint64_t deadline_us = b->s->cfg.burst_deadline_ms * UINT64_C(1000);

	for (;;) {
		uint64_t scans, now_us;
		int rc = b->clock->sleep_us(b->clock->ctx, LOOK_US);

		if (rc)
			return rc;
		now_us = b->clock->now_us(b->clock->ctx);
		rc = hs_hostfile_u64(b->s->host.ksm_dir, "full_scans", &scans);
		if (rc)
			return hs_error_set(err, rc, "cannot read %s/full_scans: %s", b->s->host.ksm_dir,
					    strerror(-rc));
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
				if (*settled)
					return 0;
			}
		}
		if (now_us - b->start_us >= deadline_us)
			return 0;
	}
}

int hs_share_burst(struct hs_share *s, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	struct burst b = { .s = s, .clock = clock };
	struct hs_ksm_setup setup;
	struct hs_ksm_counters after;
	int rc = 0, stop;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < s->nr_guests; i++)
		if (s->guests[i].used && !s->guests[i].gone)
			b.marked += hs_engine_marked(&s->guests[i]);
	if (s->cfg.foreign == HS_FOREIGN_REFUSE)
		rc = refuse_foreign(s, err);
	if (!rc)
		rc = hs_ksm_sample(s->ksm, &b.before, err);
	if (rc)
		return rc;
	out->sharing_before = out->sharing_after = sharing(&b.before);
	if (!b.marked || s->cfg.dry_run) {
		out->settled = true;
		return 0;
	}
	b.at_pass = b.steered = b.before;
	b.passes_needed = s->at_pass_start ? 2 : 3;
	b.start_us = b.steered_us = clock->now_us(clock->ctx);
	setup = first_setup(&b);
	s->ran = true;
	s->at_pass_start = false;
	rc = hs_ksm_start(s->ksm, &setup, err);
	if (!rc)
		rc = run(&b, &out->settled, err);
	else if (rc == -EBUSY)
		return rc; /* somebody else runs it: not ours to stop */
	stop = hs_ksm_stop(s->ksm, err);
	rc = rc ? rc : stop;
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

	if (s->cfg.dry_run || refuse_foreign(s, NULL) || hs_ksm_sample(s->ksm, &before, NULL) ||
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
