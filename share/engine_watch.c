/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is seen of a burst that is under way, and when it is over. See the head of engine_burst.c.
 *
 * The passes are seen by full_scans, one small file, often; all counters are read at the end of a pass, or ten times a
 * second when ksmd's CPU time is to be steered. That is done by the length of its batches, not by its sleep: to write
 * another sleep wakes it up at once.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "engine_burst.h"

#define STEER_US     100000
#define COUNT_US     100000 /* between two looks at what is merged, two small files a guest */
#define CHECK_US     20000 /* whether guests are left, and nothing else is mergeable: ksmd merges at its second visit */
#define MERGE_US     12    /* what a page costs in the second pass, eight times what it costs in the first */
#define EXTRA_PASSES 3

/* ---- steering ---- */

/*
 * What the burst may use until the next look, divided by what a page has cost of late. Counted from the start of the
 * burst, so that what was used too much is made up for.
 */
static int steer(struct hs_engine_burst *b, const struct hs_ksm_counters *now, uint64_t now_us)
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
	pages = pages < HS_ENGINE_MIN_PAGES     ? HS_ENGINE_MIN_PAGES
		: pages > b->s->cfg.burst_pages ? b->s->cfg.burst_pages
						: pages;
	if (pages == b->pages)
		return 0;
	b->pages = (uint32_t)pages;
	return hs_ksm_pace(b->s->ksm, b->pages);
}

uint32_t hs_engine_careful_pages(const struct hs_share_config *cfg)
{
	uint64_t batch_us, pages;

	if (!cfg->cpu_percent || cfg->cpu_percent >= 100)
		return cfg->burst_pages;
	batch_us = HS_ENGINE_STEER_SLEEP_MS * UINT64_C(1000) * cfg->cpu_percent / (100 - cfg->cpu_percent);
	pages = batch_us / MERGE_US;
	pages = pages < HS_ENGINE_MIN_PAGES ? HS_ENGINE_MIN_PAGES : pages;
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
static bool is_settled(struct hs_engine_burst *b, const struct hs_ksm_counters *now)
{
	const uint64_t little = hs_settle_little(b->unmerged);
	uint64_t zero = now->zero_pages > b->before.zero_pages ? now->zero_pages - b->before.zero_pages : 0;
	uint64_t left = now->pages_volatile > zero ? now->pages_volatile - zero : 0; /* those merged count, too */
	uint64_t before = b->merged, items;

	count_ours(b->s, &b->merged, &items);
	if (b->passes < b->passes_needed)
		return false;
	/* A zero page that was mapped away by the split of its huge page has no notes any more. */
	if (left <= little || b->merged + little >= items || b->passes >= b->passes_needed + EXTRA_PASSES)
		return true;
	return b->passes > b->passes_needed && b->merged <= before + little;
}

/* Where there are many guests, the looks take no more than a thirty-second of the time. */
static bool at_target(struct hs_engine_burst *b)
{
	uint64_t merged, items, took_us;

	if (b->now_us - b->counted_us < b->count_us)
		return false;
	b->counted_us = b->now_us;
	count_ours(b->s, &merged, &items);
	took_us = b->clock->now_us(b->clock->ctx) - b->now_us;
	b->count_us = took_us * 32 > COUNT_US ? took_us * 32 : COUNT_US;
	return hs_settle_reached(&b->target, merged);
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
static int read_scans(const struct hs_engine_burst *b, uint64_t *scans, struct hs_error *err)
{
	char text[32];
	ssize_t n = pread(b->scans_fd, text, sizeof(text) - 1, 0);
	int rc = n < 0 ? -errno : 0;

	text[n < 0 ? 0 : n] = '\0';
	rc = rc ? rc : hs_hostfile_parse_u64(text, NULL, scans);
	return rc ? hs_error_set(err, rc, "cannot read %s/full_scans: %s", b->s->host.ksm_dir, strerror(-rc)) : 0;
}

/* All counters: a pass has ended, or ksmd's CPU time is to be steered. */
static int look_closely(struct hs_engine_burst *b, struct hs_error *err)
{
	struct hs_ksm_counters now;
	int rc = hs_ksm_sample(b->s->ksm, &now, err);

	if (!rc)
		rc = steer(b, &now, b->now_us);
	if (rc || now.full_scans - b->before.full_scans <= b->passes)
		return rc;
	b->passes = now.full_scans - b->before.full_scans;
	b->settled |= is_settled(b, &now);
	b->at_pass = now;
	b->pass_us = b->now_us;
	b->pages = hs_engine_careful_pages(&b->s->cfg); /* what comes may cost much more a page */
	return b->s->cfg.cpu_percent ? hs_ksm_pace(b->s->ksm, b->pages) : 0;
}

/* Whether guests are left, and nothing is mergeable but what is planned. */
static int check(struct hs_engine_burst *b, struct hs_error *err)
{
	int rc;

	if (b->now_us - b->checked_us < b->check_us)
		return 0;
	b->checked_us = b->now_us;
	b->settled |= all_gone(b->s);
	rc = hs_engine_check_plan(b->s, err);
	/* Where it is slow (smaps, many VMAs), it takes no more than a tenth of the time. */
	b->check_us = (b->clock->now_us(b->clock->ctx) - b->now_us) * 9;
	b->check_us = b->check_us > CHECK_US ? b->check_us : CHECK_US;
	return rc;
}

uint64_t hs_engine_burst_expect(struct hs_engine_burst *b)
{
	uint64_t marked = 0, items;

	for (uint32_t i = 0; i < b->s->nr_guests; i++) {
		const struct hs_engine_guest *g = &b->s->guests[i];

		if (!g->used || g->gone)
			continue;
		marked += hs_engine_marked(g);
		b->unmerged += g->unmerged;
		for (hs_huge_nr nr = 0; nr < g->nr_huge; nr++) {
			const struct hs_engine_huge *h = &g->huge[nr];
			const struct hs_bits512 open = hs_bits_andnot(hs_bits_and(h->wanted, h->marked), h->shared);

			b->target.open += hs_bits_count(&open);
		}
	}
	count_ours(b->s, &b->target.before, &items);
	return marked;
}

void hs_engine_watch_from_now(struct hs_engine_burst *b)
{
	b->now_us = b->clock->now_us(b->clock->ctx);
	b->start_us = b->steered_us = b->pass_us = b->checked_us = b->counted_us = b->now_us;
	b->check_us = CHECK_US;
	b->count_us = COUNT_US;
}

int hs_engine_watch(struct hs_engine_burst *b, struct hs_error *err)
{
	uint64_t scans;
	int rc = read_scans(b, &scans, err);

	b->now_us = b->clock->now_us(b->clock->ctx);
	if (!rc && (scans - b->before.full_scans > b->passes ||
		    (b->s->cfg.cpu_percent && b->now_us - b->steered_us >= STEER_US)))
		rc = look_closely(b, err);
	if (!rc)
		b->settled |= at_target(b);
	return rc ? rc : check(b, err);
}
