/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oracle: knows which base pages are hot, now and in the phase to come, and which will be written in the next minute:
 * it has seen the host's future. It shares every identical base page that is neither, but for those in evenly hot huge
 * pages, and but for huge pages in use where less would be gained than HS-Share's own minimum; at once, and for
 * nothing.
 *
 * With `gain_all` it shares every identical base page, whatever that costs the guests: the most that can be saved.
 */
#include "lab/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HORIZON_US UINT64_C(60000000)
#define STEP_US    UINT64_C(1000000)

struct event {
	uint64_t at_us;
	uint32_t guest;
	hs_base_nr page;
};

struct oracle {
	struct hs_lab_host *h;
	struct hs_policy_config policy;
	bool gain_all;
	bool blind;           /* there was no memory for all of the future */
	bool dirty;           /* something changed since the last look */
	struct event *events; /* all writes to come that matter, in order */
	size_t nr_events, room;
	size_t entered, left; /* events before these are inside the horizon, or past */
	uint8_t **doomed;     /* [guest][page]: writes within the horizon; UINT8_MAX: so many that it stays doomed */
	uint32_t *pending;    /* [hs_lab_cell]; zero between looks */
	uint32_t *phases;     /* [guest]: as of the last look */
	const struct hs_lab_host *future; /* while it is being seen */
};

static void note_event(void *ctx, struct hs_lab_guest *g, hs_base_nr page)
{
	struct oracle *o = ctx;

	if (o->blind)
		return;
	if (o->nr_events == o->room) {
		const size_t room = o->room ? 2 * o->room : 4096;
		struct event *more = reallocarray(o->events, room, sizeof(*more));

		if (!more) {
			o->blind = true;
			return;
		}
		o->events = more;
		o->room = room;
	}
	o->events[o->nr_events++] = (struct event){ o->future->done_ticks * HS_LAB_TICK_US, g->nr, page };
}

/* Lets a copy of the host live through the whole run, with nobody who shares anything. */
static int see_future(struct oracle *o, struct hs_error *err)
{
	struct hs_lab_host *copy;
	int rc = hs_lab_host_create(&copy, &o->h->scenario, err);

	if (rc)
		return rc;
	o->future = copy;
	copy->on_write = note_event;
	copy->write_ctx = o;
	for (double s = 0; !rc && s < o->h->scenario.seconds; s += 0.1)
		rc = copy->clock.sleep_us(copy->clock.ctx, HS_LAB_TICK_US);
	hs_lab_host_destroy(copy);
	o->future = NULL;
	return o->blind ? hs_error_set(err, -ENOMEM, "out of memory for the future's writes") : rc;
}

static void follow(struct oracle *o, uint64_t now_us)
{
	for (; o->entered < o->nr_events && o->events[o->entered].at_us <= now_us + HORIZON_US; o->entered++) {
		uint8_t *d = &o->doomed[o->events[o->entered].guest][o->events[o->entered].page];

		*d = (uint8_t)(*d + (*d < UINT8_MAX));
		o->dirty = true;
	}
	for (; o->left < o->nr_events && o->events[o->left].at_us <= now_us; o->left++) {
		uint8_t *d = &o->doomed[o->events[o->left].guest][o->events[o->left].page];

		*d = (uint8_t)(*d - (*d < UINT8_MAX));
		o->dirty = true;
	}
}

static struct hs_bits512 allowed(const struct oracle *o, const struct hs_lab_guest *g, hs_huge_nr huge,
				 unsigned int *min_gain)
{
	struct hs_bits512 hot, bits = hs_bits_full();

	*min_gain = 1;
	if (o->gain_all)
		return bits;
	hot = hs_lab_hot_pages(g, huge);
	if (hs_bits_count(&hot) > o->policy.max_hot)
		return hs_bits_empty();
	*min_gain = hs_lab_rate_of(g, huge) * HS_LAB_SPELL_S > 1 ? o->policy.min_gain_hot : o->policy.min_gain_cold;
	bits = hs_bits_andnot(bits, hot);
	hs_bits_for_each (i, &bits)
		if (o->doomed[g->nr][huge * HS_BASE_PER_HUGE + i])
			hs_bits_clear(&bits, i);
	return bits;
}

static uint32_t *pending_of(const struct oracle *o, const struct hs_lab_guest *g, uint64_t content)
{
	return &o->pending[hs_lab_cell(o->h, g, content)];
}

/* Of what is allowed: pages that are not merged and have an identical one. */
static struct hs_bits512 fresh(const struct oracle *o, const struct hs_lab_guest *g, hs_huge_nr huge,
			       struct hs_bits512 bits)
{
	bits = hs_bits_andnot(bits, hs_sim_merged(g->view, huge));
	hs_bits_for_each (i, &bits) {
		const hs_base_nr page = huge * HS_BASE_PER_HUGE + i;
		const uint64_t content = hs_sim_content(g->view, page);

		if ((!hs_lab_can_share(o->h, g, page) ||
		     (content && !hs_lab_merged_alike(o->h, g, content) && *pending_of(o, g, content) < 2)))
			hs_bits_clear(&bits, i);
	}
	return bits;
}

enum walk { WALK_UNSHARE, WALK_COUNT, WALK_MERGE };

static void walk_huge(struct oracle *o, struct hs_lab_guest *g, hs_huge_nr huge, enum walk walk)
{
	const struct hs_bits512 merged = hs_sim_merged(g->view, huge);
	unsigned int min_gain;
	struct hs_bits512 bits = allowed(o, g, huge, &min_gain), new;

	if (walk == WALK_UNSHARE) {
		if (hs_bits_none(&bits) && hs_bits_any(&merged))
			hs_lab_unshare(o->h, g, huge);
		return;
	}
	if (walk == WALK_MERGE) {
		new = fresh(o, g, huge, bits);
		if (hs_sim_state(g->view, huge) == HS_MAP_HUGE && hs_bits_count(&new) < min_gain)
			return;
	} else {
		new = hs_bits_andnot(bits, merged);
	}
	hs_bits_for_each (i, &new) {
		const hs_base_nr page = huge * HS_BASE_PER_HUGE + i;

		if (walk == WALK_MERGE)
			hs_lab_merge(o->h, g, page);
		else if (hs_lab_can_share(o->h, g, page))
			(*pending_of(o, g, hs_sim_content(g->view, page)))++;
	}
}

static void look(struct oracle *o)
{
	for (enum walk walk = WALK_UNSHARE; walk <= WALK_MERGE; walk++)
		for (uint32_t i = 0; i < o->h->nr_guests; i++)
			for (hs_huge_nr huge = 0; huge < o->h->guests[i].nr_huge; huge++)
				if (hs_sim_state(o->h->guests[i].view, huge) != HS_MAP_ABSENT)
					walk_huge(o, &o->h->guests[i], huge, walk);
	memset(o->pending, 0, hs_lab_cells(o->h) * sizeof(*o->pending));
}

static int step(void *self, struct hs_error *err)
{
	struct oracle *o = self;

	(void)err;
	follow(o, o->h->done_us);
	for (uint32_t i = 0; i < o->h->nr_guests; i++) {
		const uint32_t phase = hs_lab_phase_of(&o->h->guests[i]);

		o->dirty |= phase != o->phases[i];
		o->phases[i] = phase;
	}
	if (o->dirty)
		look(o);
	o->dirty = false;
	return o->h->clock.sleep_us(o->h->clock.ctx, STEP_US);
}

static void end(void *self)
{
	struct oracle *o = self;

	if (!o)
		return;
	for (uint32_t i = 0; o->doomed && i < o->h->nr_guests; i++)
		free(o->doomed[i]);
	free(o->doomed);
	free(o->events);
	free(o->pending);
	free(o->phases);
	free(o);
}

static int start(void **self, struct hs_lab_host *h, const struct hs_lab_options *opt, struct hs_error *err)
{
	struct oracle *o = calloc(1, sizeof(*o));
	int rc = -ENOMEM;

	*self = NULL;
	if (!o)
		return hs_error_set(err, rc, "out of memory");
	*o = (struct oracle){ .h = h, .policy = opt->pipeline.policy, .gain_all = opt->gain_all, .dirty = true };
	o->pending = calloc(hs_lab_cells(h), sizeof(*o->pending));
	o->doomed = calloc(h->nr_guests, sizeof(*o->doomed));
	o->phases = calloc(h->nr_guests, sizeof(*o->phases));
	for (uint32_t i = 0; o->doomed && i < h->nr_guests; i++) {
		o->doomed[i] = calloc((size_t)h->guests[i].nr_huge * HS_BASE_PER_HUGE, 1);
		if (!o->doomed[i])
			goto nomem;
	}
	if (!o->pending || !o->doomed || !o->phases)
		goto nomem;
	rc = see_future(o, err);
	if (rc)
		goto out;
	*self = o;
	return 0;
nomem:
	(void)hs_error_set(err, rc, "out of memory for the oracle's records");
out:
	end(o);
	return rc;
}

static void spent(void *self, struct hs_lab_spent *out)
{
	(void)self;
	*out = (struct hs_lab_spent){ 0 };
}

const struct hs_lab_policy hs_lab_oracle = {
	.name = "oracle",
	.label = "oracle",
	.what = "knows the future: shares all that is identical and stays cold",
	.start = start,
	.step = step,
	.spent = spent,
	.end = end,
};
