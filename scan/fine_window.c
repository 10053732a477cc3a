/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A window of the fine phase, and why its steps come in this order:
 *
 *   1. room on the retry list   before anything is split, so that no mapping can be lost for want of memory
 *   2. split, guest by guest    in batches; what is not mapped huge is not ours to bring back, and stays unknown
 *   3. age                      the split copied the huge entry's accessed bit to all 512 base entries
 *   4. sleep, sample, count     the sample covers exactly what happened since the ageing; repeated
 *   5. give up                  more distinct base pages accessed than are of use: the mapping comes back at once
 *   6. ask                      the policy may keep a mapping split for good
 *   7. bring back               everything else, on every way out; what fails goes on the retry list
 *
 * Looking early. An evenly hot huge page is what a split costs most, and the policy has no use for it, so it should be
 * split for as short a time as possible. Accesses spread evenly over 512 base pages have met more than 100 of them
 * after 111 accesses (512 * (1 - exp(-n / 512)) = 100), so a page with 9,000 accesses a second shows itself within a
 * 16th of the default interval of 200 ms, one with 2,200 within a quarter, and both long before its end. The first
 * interval is therefore looked into at a 16th and at a quarter. A look clears nothing and does not count: the sample at
 * the interval's end still covers all of it. It costs one read of the tables for each guest and no ageing.
 *
 * The window's end. A mapping is to be huge again when max_window_ms are over, not only then begin to be: the time that
 * bringing back takes is measured as we go, and kept in reserve. When the samples cannot all be complete by then, they
 * are not waited for; what they would have completed stays unknown, and the splits were for nothing. (So that this is
 * rare, fine.c goes by what ageing took.) Against a call of the view that takes arbitrarily long there is no remedy
 * here.
 */
#include "fine_internal.h"

#include <errno.h>

/* Parts of the first interval after which it is looked into. */
static const uint32_t looks[] = { 16, 4 };

/* The slots of one guest: [from, to). */
struct group {
	struct hs_fine_target *target;
	size_t from, to;
};

#define OUT_OF_TIME 1

static uint64_t now_us(const struct fine_window *w)
{
	return w->clock->now_us(w->clock->ctx);
}

static struct hs_fine_result *result_of(const struct fine_window *w, const struct fine_slot *s)
{
	return &w->targets[s->target].results[s->index];
}

/* The group that begins at slot `from`; false: there is none. */
static bool next_group(const struct fine_window *w, size_t from, struct group *g)
{
	if (from >= w->nr)
		return false;
	g->target = &w->targets[w->slots[from].target];
	g->from = from;
	for (g->to = from; g->to < w->nr && w->slots[g->to].target == w->slots[from].target; g->to++)
		;
	return true;
}

/* Puts the group's live slots, or those that wait to be brought back, into the batch. */
static size_t batch(struct fine_window *w, const struct group *g, bool live)
{
	size_t nr = 0;

	for (size_t i = g->from; i < g->to; i++) {
		const struct fine_slot *s = &w->slots[i];

		if (!s->split || s->live != live)
			continue;
		w->huge[nr] = g->target->huge[s->index];
		w->which[nr++] = i;
	}
	return nr;
}

static bool any_live(const struct fine_window *w)
{
	for (size_t i = 0; i < w->nr; i++)
		if (w->slots[i].live)
			return true;
	return false;
}

/* The mapping is split no longer, or no longer our concern. */
static void settle(struct fine_window *w, struct fine_slot *s)
{
	w->f->split_us += now_us(w) - s->split_at_us;
	s->split = s->live = false;
}

/* What bringing back everything that is split now will take. */
static uint64_t reserve_us(const struct fine_window *w)
{
	uint64_t nr = 0;

	for (size_t i = 0; i < w->nr; i++)
		nr += w->slots[i].split;
	return nr * w->f->restore_us;
}

/* Learns from nr mappings brought back in `us`. Many weigh more than a few, so that one hiccup does not rule. */
static void learn_restore(struct hs_fine *f, uint64_t us, size_t nr)
{
	f->restore_us = (f->restore_us * 64 + us) / (64 + nr);
}

static void guest_is_gone(struct fine_window *w, const struct group *g)
{
	g->target->error = -ESRCH;
	for (size_t i = g->from; i < g->to; i++)
		if (w->slots[i].split)
			settle(w, &w->slots[i]);
}

/* Brings back the group's mappings that are split and not live. */
static void bring_back(struct fine_window *w, const struct group *g)
{
	size_t nr = batch(w, g, false);
	uint64_t start_us = now_us(w);

	if (!nr)
		return;
	if (hs_fine_bring_back(g->target->view, w->huge, nr, w->samples, w->errors, w->outcome)) {
		guest_is_gone(w, g);
		return;
	}
	learn_restore(w->f, now_us(w) - start_us, nr);
	for (size_t i = 0; i < nr; i++) {
		struct fine_slot *s = &w->slots[w->which[i]];

		settle(w, s);
		if (w->outcome[i] == FINE_BACK_HUGE) {
			result_of(w, s)->restored = 1;
			w->f->stats.nr_restored++;
			continue;
		}
		w->f->stats.nr_restore_failed++;
		hs_fine_add_pending(w->f, g->target->view, w->huge[i]);
	}
}

static void bring_all_back(struct fine_window *w)
{
	struct group g;

	for (size_t i = 0; i < w->nr; i++)
		w->slots[i].live = false;
	for (g.to = 0; next_group(w, g.to, &g);)
		bring_back(w, &g);
}

/* The guest's own error: its live results stay unknown, and the others go on. */
static void fail_group(struct fine_window *w, const struct group *g, int error)
{
	g->target->error = error;
	for (size_t i = g->from; i < g->to; i++)
		w->slots[i].live = false;
	bring_back(w, g);
}

static void split_all(struct fine_window *w)
{
	struct group g;

	for (g.to = 0; next_group(w, g.to, &g);) {
		size_t nr = g.to - g.from;
		uint64_t start_us = now_us(w);
		int rc;

		for (size_t i = 0; i < nr; i++)
			w->huge[i] = g.target->huge[w->slots[g.from + i].index];
		rc = hs_view_split(g.target->view, w->huge, nr, w->errors, NULL);
		if (rc) {
			w->f->stats.nr_split_failed += nr;
			fail_group(w, &g, rc);
			continue;
		}
		for (size_t i = 0; i < nr; i++) {
			struct fine_slot *s = &w->slots[g.from + i];

			if (w->errors[i]) {
				w->f->stats.nr_split_failed++;
				continue;
			}
			w->f->stats.nr_split++;
			s->split = s->live = true;
			s->split_at_us = start_us;
		}
	}
}

/*
 * Begins at `start_us`; the answer is when it ended. The clock is read once for each guest and no more: a replay (of
 * trace/replay.c) gives recorded readings in their order.
 */
static uint64_t age_all(struct fine_window *w, uint64_t start_us)
{
	struct group g;

	for (size_t i = 0; i < w->nr; i++)
		w->slots[i].now = hs_bits_empty();
	for (g.to = 0; next_group(w, g.to, &g);) {
		uint64_t end_us;
		int rc;

		if (!batch(w, &g, true))
			continue;
		rc = hs_view_age(g.target->view, NULL);
		if (rc)
			fail_group(w, &g, rc);
		end_us = now_us(w);
		if (!rc)
			hs_fine_learn_age(w->f, g.target->view, end_us - start_us);
		start_us = end_us;
	}
	return start_us;
}

/* 0, OUT_OF_TIME, or what the clock says. Asks the clock even when there is no time to sleep: it may want us to end. */
static int sleep_until(struct fine_window *w, uint64_t until_us)
{
	uint64_t now = now_us(w);

	if ((until_us > now ? until_us : now) + reserve_us(w) > w->end_us)
		return OUT_OF_TIME;
	return w->clock->sleep_us(w->clock->ctx, until_us > now ? until_us - now : 0);
}

/* A complete sample of this slot. */
static void count(struct fine_window *w, struct fine_slot *s)
{
	struct hs_fine_result *r = result_of(w, s);

	hs_bits_for_each (i, &s->now)
		r->count[i]++;
	s->ever = hs_bits_or(s->ever, s->now);
	r->nr_hot = (uint16_t)hs_bits_count(&s->ever);
	r->samples++;
}

/* One slot's sample: accumulates, and takes the slot out of the window when there is nothing more to learn. */
static void take(struct fine_window *w, struct fine_slot *s, const struct hs_base_sample *sample, bool complete)
{
	const struct hs_fine_config *cfg = &w->f->cfg;
	struct hs_bits512 distinct;

	if (sample->state != HS_MAP_SPLIT) {
		/* Somebody collapsed it, part of it went, or its state is unknown: the bits mean nothing. */
		s->live = false;
		return;
	}
	/* "or": somebody else may have aged it since the last look. */
	s->now = hs_bits_or(s->now, sample->accessed);
	distinct = hs_bits_or(s->ever, s->now);
	if (cfg->give_up_hot && hs_bits_count(&distinct) > cfg->give_up_hot) {
		count(w, s);
		result_of(w, s)->known = HS_YES;
		result_of(w, s)->gave_up = 1;
		w->f->stats.nr_gave_up++;
		s->live = false;
		return;
	}
	if (complete)
		count(w, s);
}

static void sample_all(struct fine_window *w, bool complete)
{
	struct group g;

	for (g.to = 0; next_group(w, g.to, &g);) {
		size_t nr = batch(w, &g, true);
		int rc;

		if (!nr)
			continue;
		rc = hs_view_sample_base(g.target->view, w->huge, nr, w->samples, NULL);
		if (rc) {
			fail_group(w, &g, rc);
			continue;
		}
		for (size_t i = 0; i < nr; i++)
			take(w, &w->slots[w->which[i]], &w->samples[i], complete);
	}
	/* After all samples: bringing back takes time, in which the other guests would go on being counted. */
	for (g.to = 0; next_group(w, g.to, &g);)
		bring_back(w, &g);
}

/* Whether so many samples more, and bringing everything back, would end in time. */
static bool in_time(const struct fine_window *w, uint64_t now, uint32_t samples)
{
	const uint64_t interval_us = (uint64_t)w->f->cfg.interval_ms * 1000;
	uint64_t age_us = 0;
	struct group g;

	for (g.to = 0; next_group(w, g.to, &g);) {
		size_t i = g.from;

		while (i < g.to && !w->slots[i].live)
			i++;
		age_us += i < g.to ? hs_fine_age_us(w->f, g.target->view) : 0;
	}
	return now + samples * (interval_us + age_us) + reserve_us(w) <= w->end_us;
}

/* Steps 4 and 5. 0: every slot that is live has all its samples. */
static int observe(struct fine_window *w)
{
	const struct hs_fine_config *cfg = &w->f->cfg;
	uint64_t interval_us = (uint64_t)cfg->interval_ms * 1000;

	for (uint32_t k = 0; k < cfg->samples && any_live(w); k++) {
		uint64_t aged_us = now_us(w);
		int rc;

		if (!in_time(w, aged_us, cfg->samples - k))
			return OUT_OF_TIME;
		aged_us = age_all(w, aged_us);
		for (size_t i = 0; k == 0 && cfg->give_up_hot && any_live(w) && i < sizeof(looks) / sizeof(looks[0]);
		     i++) {
			rc = sleep_until(w, aged_us + interval_us / looks[i]);
			if (rc)
				return rc;
			sample_all(w, false);
		}
		if (!any_live(w))
			return 0;
		rc = sleep_until(w, aged_us + interval_us);
		if (rc)
			return rc;
		sample_all(w, true);
	}
	return 0;
}

/* Step 6. */
static void ask(struct fine_window *w)
{
	for (size_t i = 0; i < w->nr; i++) {
		struct fine_slot *s = &w->slots[i];
		struct hs_fine_target *t = &w->targets[s->target];

		if (!s->live)
			continue;
		result_of(w, s)->known = HS_YES;
		s->live = false;
		if (!t->keep_split || now_us(w) + reserve_us(w) > w->end_us || !t->keep_split(t->ctx, result_of(w, s)))
			continue;
		hs_fine_keep(w->f, t->view, t->huge[s->index]);
		settle(w, s);
	}
}

static void count_out_of_time(struct fine_window *w)
{
	for (size_t i = 0; i < w->nr; i++)
		w->f->stats.nr_out_of_time += w->slots[i].live;
}

int hs_fine_window(struct fine_window *w)
{
	int rc = hs_fine_reserve_pending(w->f, w->nr);

	if (rc)
		return rc;
	w->end_us = now_us(w) + (uint64_t)w->f->cfg.max_window_ms * 1000;
	w->f->stats.nr_windows++;
	split_all(w);
	rc = observe(w);
	if (!rc)
		ask(w);
	else if (rc == OUT_OF_TIME)
		count_out_of_time(w);
	bring_all_back(w);
	return rc == OUT_OF_TIME ? 0 : rc;
}
