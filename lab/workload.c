/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests do, huge page by huge page instead of access by access.
 *
 * Accesses to a huge page are a Poisson process, its rate is the guest's rate times the huge page's weight. What a view
 * can see of it is only whether an entry was accessed since it was aged, so no access is made one by one where one
 * entry maps the whole: it is accessed with probability 1 - exp(-rate * time), and not at all while its bit is set
 * anyway. Where base entries map it, the hot base pages met are drawn. Who looks when changes what is drawn, as in
 * life, but not how often.
 *
 * Writes change contents, and contents must be the same whatever policy looks on: so they, and streams, happen at fixed
 * ticks, drawn from the place and the tick alone.
 *
 * Places: even, skewed and warm huge pages lie scattered, by a permutation that is turned further with each phase; the
 * stream's part lies in one piece at the end, the absent one before it.
 */
#include "lab_host.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"

/* A huge page that is accessed by its guest now. */
struct active {
	hs_huge_nr huge;
	float rate; /* accesses a second */
	uint16_t nr_hot;
	uint8_t class;
	bool settled; /* no write to it can change any more who is equal to whom */
};

struct hs_lab_work {
	uint64_t seed;
	uint32_t nr_turning; /* the first huge pages, that classes are handed out to; absent ones follow */
	uint32_t first_stream;
	uint32_t multiplier; /* of the permutation; shares no divisor with nr_turning */
	uint32_t nr_even, nr_skewed, nr_warm;
	uint32_t phase, turned;  /* how far the permutation is turned */
	uint64_t phase_end_tick; /* UINT64_MAX: never */
	struct active *active;
	uint32_t nr_active;
	double weight_sum;
	double stream_at; /* base pages into the stream */
};

static struct hs_lab_work *work_of(const struct hs_lab_guest *g)
{
	return g->work;
}

static uint32_t share(uint32_t nr, double percent)
{
	return (uint32_t)(nr * percent / 100 + 0.5);
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
	while (b) {
		const uint32_t t = a % b;

		a = b;
		b = t;
	}
	return a;
}

/* The place of a huge page in the order of classes. */
static uint32_t rank_of(const struct hs_lab_work *w, hs_huge_nr huge)
{
	return (uint32_t)(((uint64_t)huge * w->multiplier + w->turned) % w->nr_turning);
}

static enum hs_lab_class class_of(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_lab_work *w = g->work;
	uint32_t rank;

	if (huge >= w->first_stream)
		return HS_LAB_STREAM;
	if (huge >= w->nr_turning)
		return HS_LAB_ABSENT;
	rank = rank_of(w, huge);
	if (rank < w->nr_even)
		return HS_LAB_EVEN;
	if (rank < w->nr_even + w->nr_skewed)
		return HS_LAB_SKEWED;
	return rank < w->nr_even + w->nr_skewed + w->nr_warm ? HS_LAB_WARM : HS_LAB_COLD;
}

static uint16_t nr_hot_of(const struct hs_lab_guest *g, hs_huge_nr huge, enum hs_lab_class class)
{
	const struct hs_lab_kind *k = g->kind;
	const uint64_t r = hs_lab_place(work_of(g)->seed, 'n', huge, work_of(g)->phase);

	switch (class) {
	case HS_LAB_EVEN:
	case HS_LAB_WARM:
	case HS_LAB_STREAM:
		return HS_BASE_PER_HUGE;
	case HS_LAB_SKEWED:
		if (k->bimodal)
			return (uint16_t)(r & 1 ? 1 + hs_lab_below(hs_lab_mix(r), 49)
						: 500 + hs_lab_below(hs_lab_mix(r), 13));
		return (uint16_t)(k->hot_min + hs_lab_below(r, k->hot_max - k->hot_min + 1));
	case HS_LAB_COLD:
	case HS_LAB_ABSENT:
		break;
	}
	return 0;
}

/* Number i of the hot base pages of a huge page: scattered over it, each once. */
static unsigned int hot_page(const struct hs_lab_work *w, hs_huge_nr huge, unsigned int i)
{
	const uint64_t r = hs_lab_place(w->seed, 'h', huge, w->phase);

	return (unsigned int)((r >> 32) + i * ((r & 0xffff) | 1)) % HS_BASE_PER_HUGE;
}

static struct hs_bits512 hot_mask(const struct hs_lab_work *w, hs_huge_nr huge, unsigned int nr)
{
	struct hs_bits512 bits = hs_bits_empty();

	if (nr >= HS_BASE_PER_HUGE)
		return hs_bits_full();
	for (unsigned int i = 0; i < nr; i++)
		hs_bits_set(&bits, hot_page(w, huge, i));
	return bits;
}

static double weight(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_lab_work *w = g->work;
	const uint32_t nr = w->nr_even + w->nr_skewed;

	if (g->kind->zipf <= 0)
		return 1;
	/* Classes do not differ in rank: which is the hottest is drawn. */
	return pow(1 + hs_lab_below(hs_lab_place(w->seed, 'z', huge, w->phase), nr), -g->kind->zipf);
}

static double rate_of(const struct hs_lab_guest *g, hs_huge_nr huge, enum hs_lab_class class)
{
	if (class == HS_LAB_WARM)
		return 1 / g->kind->warm_seconds;
	if (class != HS_LAB_EVEN && class != HS_LAB_SKEWED)
		return 0;
	return work_of(g)->weight_sum > 0 ? g->kind->accesses * weight(g, huge) / work_of(g)->weight_sum : 0;
}

static double rate_now(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	return rate_of(g, huge, class_of(g, huge));
}

static uint32_t phase_of(const struct hs_lab_guest *g)
{
	return work_of(g)->phase;
}

static struct hs_bits512 hot_pages(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	const enum hs_lab_class class = class_of(g, huge);
	const uint16_t nr = nr_hot_of(g, huge, class);

	if (class == HS_LAB_STREAM) {
		/* Each page once a turn: hot when a turn is short enough. */
		const double turn_s = (double)(g->nr_huge - work_of(g)->first_stream) * 2 / g->kind->stream_rate;

		return g->kind->stream_rate > 0 && turn_s <= HS_LAB_SPELL_S ? hs_bits_full() : hs_bits_empty();
	}
	if (!nr || rate_of(g, huge, class) * HS_LAB_SPELL_S < nr)
		return hs_bits_empty();
	return hot_mask(g->work, huge, nr);
}

static void begin_phase(struct hs_lab_guest *g)
{
	struct hs_lab_work *w = g->work;

	w->nr_active = 0;
	w->weight_sum = 0;
	for (hs_huge_nr huge = 0; huge < w->nr_turning; huge++) {
		const enum hs_lab_class class = class_of(g, huge);

		if (class == HS_LAB_EVEN || class == HS_LAB_SKEWED)
			w->weight_sum += weight(g, huge);
		if (class != HS_LAB_COLD)
			w->active[w->nr_active++] = (struct active){ .huge = huge,
								     .class = (uint8_t) class,
								     .nr_hot = nr_hot_of(g, huge, class) };
	}
	for (uint32_t i = 0; i < w->nr_active; i++)
		w->active[i].rate = (float)rate_of(g, w->active[i].huge, w->active[i].class);
}

static void destroy(struct hs_lab_guest *g)
{
	if (g->work)
		free(work_of(g)->active);
	free(g->work);
}

/* ---- accesses ---- */

/* Each of the 512 with probability q, to 1 in 65536. */
static struct hs_bits512 each_with(uint64_t *random, double q)
{
	const uint32_t t = q >= 1 ? 65535 : (uint32_t)(q * 65536);
	struct hs_bits512 bits = hs_bits_empty();

	for (unsigned int bit = t ? (unsigned int)__builtin_ctz(t) : 16; bit < 16; bit++)
		for (unsigned int i = 0; i < 8; i++) {
			const uint64_t r = hs_lab_next(random);

			bits.w[i] = t >> bit & 1 ? bits.w[i] | r : bits.w[i] & r;
		}
	return bits;
}

/* The base pages met by `mean` accesses on average. */
static struct hs_bits512 met(const struct hs_lab_work *w, const struct active *a, double mean, uint64_t *random)
{
	struct hs_bits512 bits = hs_bits_empty();

	if (mean < 64) {
		for (uint32_t n = hs_lab_poisson(random, mean); n; n--)
			hs_bits_set(&bits, hot_page(w, a->huge, hs_lab_below(hs_lab_next(random), a->nr_hot)));
		return bits;
	}
	bits = each_with(random, 1 - exp(-mean / a->nr_hot));
	return a->nr_hot == HS_BASE_PER_HUGE ? bits : hs_bits_and(bits, hot_mask(w, a->huge, a->nr_hot));
}

void hs_lab_count_base(struct hs_lab_host *h, uint64_t pages, double accesses)
{
	h->counts.accesses_base += accesses;
	h->counts.base_by_pages[pages ? 63 - __builtin_clzll(pages) : 0] += accesses;
}

static void access_guest(struct hs_lab_host *h, struct hs_lab_guest *g, double seconds, uint64_t now_us)
{
	const struct hs_lab_work *w = g->work;
	double through_base = 0;
	uint64_t pages = 0;

	for (uint32_t i = 0; i < w->nr_active; i++) {
		const struct active *a = &w->active[i];
		const double mean = (double)a->rate * seconds;
		uint64_t random;

		if (hs_sim_is_accessed(g->view, a->huge)) {
			h->counts.accesses_huge += mean;
			continue;
		}
		random = hs_lab_place(w->seed, 'a', a->huge, now_us);
		if (hs_sim_state(g->view, a->huge) == HS_MAP_HUGE) {
			h->counts.accesses_huge += mean;
			if (hs_lab_unit(hs_lab_next(&random)) < 1 - exp(-mean))
				hs_sim_access(g->view, a->huge * HS_BASE_PER_HUGE + hot_page(w, a->huge, 0), false);
		} else {
			const struct hs_bits512 bits = met(w, a, mean, &random);

			through_base += mean;
			pages += a->class == HS_LAB_WARM ? 0 : a->nr_hot;
			hs_sim_access_huge(g->view, a->huge, &bits);
		}
	}
	hs_lab_count_base(h, pages, through_base);
}

/* ---- writes ---- */

static void write_page(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page, uint64_t random)
{
	const bool same = hs_lab_unit(random) * 100 < g->kind->rewrite_same;

	hs_lab_write(h, g, page, same ? hs_lab_pool_content(g, hs_lab_mix(random)) : hs_lab_own_content(h));
}

static void write_hot(struct hs_lab_host *h, struct hs_lab_guest *g, struct active *a, uint64_t tick)
{
	const struct hs_lab_work *w = g->work;
	uint64_t random = hs_lab_place(w->seed, 'W', a->huge, tick);
	const double mean = (double)a->rate * g->kind->write / 100 * HS_LAB_TICK_US / 1e6;
	uint32_t n = hs_lab_poisson(&random, mean);
	bool any = false;

	/* More than twice each page changes nothing that could be told apart from twice. */
	if (n > 2U * a->nr_hot)
		n = 2U * a->nr_hot;
	for (; n; n--) {
		const unsigned int i = hot_page(w, a->huge, hs_lab_below(hs_lab_next(&random), a->nr_hot));
		const hs_base_nr page = a->huge * HS_BASE_PER_HUGE + i;

		/* Own content written over with own content is still nobody else's. */
		if (g->kind->rewrite_same <= 0 && hs_sim_content(g->view, page) >= HS_LAB_OWN)
			continue;
		any = true;
		write_page(h, g, page, hs_lab_next(&random));
	}
	if (any || g->kind->rewrite_same > 0 || (tick & 15))
		return;
	for (unsigned int i = 0; i < a->nr_hot; i++)
		if (hs_sim_content(g->view, a->huge * HS_BASE_PER_HUGE + hot_page(w, a->huge, i)) < HS_LAB_OWN)
			return;
	a->settled = true;
}

static void write_cold(struct hs_lab_host *h, struct hs_lab_guest *g, uint64_t tick)
{
	const struct hs_lab_work *w = g->work;
	uint64_t random = hs_lab_place(w->seed, 'C', 0, tick);
	const double gib = (double)g->nr_huge / 512;

	for (uint32_t n = hs_lab_poisson(&random, g->kind->cold_writes * gib * HS_LAB_TICK_US / 1e6); n; n--) {
		const hs_base_nr page = hs_lab_below(hs_lab_next(&random), w->nr_turning * HS_BASE_PER_HUGE);

		if (class_of(g, hs_lab_huge(page)) == HS_LAB_COLD)
			write_page(h, g, page, hs_lab_next(&random));
	}
}

static void go_through(struct hs_lab_host *h, struct hs_lab_guest *g)
{
	struct hs_lab_work *w = g->work;
	const uint32_t pages = (g->nr_huge - w->first_stream) * HS_BASE_PER_HUGE;
	const double step = g->kind->stream_rate * 256 * HS_LAB_TICK_US / 1e6;
	uint64_t from = (uint64_t)w->stream_at, to;

	w->stream_at += step;
	to = (uint64_t)w->stream_at;
	if (to - from > pages)
		to = from + pages;
	for (uint64_t at = from; at < to; at++) {
		const hs_base_nr page = w->first_stream * HS_BASE_PER_HUGE + (hs_base_nr)(at % pages);

		if (hs_sim_state(g->view, hs_lab_huge(page)) == HS_MAP_HUGE)
			h->counts.accesses_huge += 1;
		else
			hs_lab_count_base(h, UINT32_MAX, 1); /* each page once: never in a cache of translations */
		if (g->kind->stream_writes)
			hs_lab_write(h, g, page, hs_lab_own_content(h));
		else
			hs_sim_access(g->view, page, false);
	}
}

static void tick(struct hs_lab_host *h, struct hs_lab_guest *g, uint64_t nr)
{
	struct hs_lab_work *w = g->work;

	if (nr >= w->phase_end_tick) {
		w->phase++;
		w->phase_end_tick += (uint64_t)(g->kind->phase_seconds * 1e6 / HS_LAB_TICK_US);
		w->turned = (uint32_t)(((uint64_t)w->turned + share(w->nr_turning, g->kind->phase_move)) %
				       (w->nr_turning ? w->nr_turning : 1));
		begin_phase(g);
	}
	for (uint32_t i = 0; g->kind->write > 0 && i < w->nr_active; i++)
		if (!w->active[i].settled && w->active[i].class != HS_LAB_WARM)
			write_hot(h, g, &w->active[i], nr);
	if (g->kind->cold_writes > 0 && w->nr_turning)
		write_cold(h, g, nr);
	if (g->kind->stream_rate > 0 && w->first_stream < g->nr_huge)
		go_through(h, g);
}

static const struct hs_lab_work_ops ops = {
	.class_of = class_of,
	.rate_of = rate_now,
	.hot_pages = hot_pages,
	.phase_of = phase_of,
	.access = access_guest,
	.tick = tick,
	.destroy = destroy,
};

int hs_lab_work_create(struct hs_lab_host *h, struct hs_lab_guest *g)
{
	const struct hs_lab_kind *k = g->kind;
	struct hs_lab_work *w = calloc(1, sizeof(*w));
	uint32_t nr_stream = share(g->nr_huge, k->stream), nr_absent = share(g->nr_huge, k->absent);

	g->ops = &ops;
	g->work = w;
	if (!w)
		return -ENOMEM;
	w->seed = hs_lab_place(h->scenario.seed, 'w', g->nr, 0);
	if (nr_stream + nr_absent > g->nr_huge)
		nr_absent = g->nr_huge - nr_stream;
	w->first_stream = g->nr_huge - nr_stream;
	w->nr_turning = w->first_stream - nr_absent;
	w->nr_even = share(g->nr_huge, k->even);
	w->nr_skewed = share(g->nr_huge, k->skewed);
	w->nr_warm = share(g->nr_huge, k->warm);
	for (w->multiplier = w->nr_turning * 5 / 8 | 1; w->nr_turning && gcd(w->multiplier, w->nr_turning) != 1;)
		w->multiplier += 2;
	w->phase_end_tick = k->phase_seconds > 0 ? (uint64_t)(k->phase_seconds * 1e6 / HS_LAB_TICK_US) : UINT64_MAX;
	w->active = calloc((size_t)w->nr_turning + 1, sizeof(*w->active));
	if (!w->active)
		return -ENOMEM;
	begin_phase(g);
	return 0;
}
