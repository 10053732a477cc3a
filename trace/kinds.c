/*
 * What each kind of record holds, as bytes: writing and reading side by side. Reading takes care of bounds, so that
 * nothing is written outside of the room; whether what was read makes sense is asked by trace_check.c.
 */
#include "codec.h"

#define TOO_MANY  "there are more elements than a record may have"
#define TOO_LARGE "a number is out of its range"

/* ---- what several kinds have ---- */

/* Numbers of huge pages are mostly one after the other: the step from the one expected is mostly 0. */
static void put_huge(struct hs_put *p, hs_huge_nr *next, hs_huge_nr huge)
{
	hs_put_signed(p, (int64_t)huge - *next);
	*next = huge + 1;
}

static hs_huge_nr get_huge(struct hs_get *g, hs_huge_nr *next)
{
	const int64_t step = hs_get_signed(g);

	if (step < -(int64_t)*next || step > (int64_t)UINT32_MAX - 1 - *next) {
		hs_get_fail(g, TOO_LARGE);
		return 0;
	}
	*next = (hs_huge_nr)(*next + step) + 1;
	return *next - 1;
}

static uint32_t get_u32(struct hs_get *g)
{
	return (uint32_t)hs_get_int(g, UINT32_MAX, TOO_LARGE);
}

static uint64_t get_u64(struct hs_get *g)
{
	return hs_get_int(g, UINT64_MAX, "");
}

static uint16_t get_u16(struct hs_get *g)
{
	return (uint16_t)hs_get_int(g, UINT16_MAX, TOO_LARGE);
}

static size_t get_nr(struct hs_get *g, size_t bound)
{
	return (size_t)hs_get_int(g, bound, TOO_MANY);
}

/* ---- guests ---- */

#define GUEST_CAN_SPLIT     0x01
#define GUEST_SPLITS_NESTED 0x02
#define GUEST_BITS          0x03

static void put_guest(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_put_text(p, r->u.guest.name);
	hs_put_text(p, r->u.guest.group);
	hs_put_text(p, r->u.guest.view);
	hs_put_byte(p, (uint8_t)((r->u.guest.can_split ? GUEST_CAN_SPLIT : 0) |
				 (r->u.guest.splits_nested ? GUEST_SPLITS_NESTED : 0)));
	hs_put_int(p, r->u.guest.nr_huge);
	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		hs_put_int(p, r->u.guest.regions[i].hole_bytes);
		hs_put_int(p, r->u.guest.regions[i].nr_huge);
	}
}

static void get_guest(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	uint8_t head;

	hs_get_text(g, r->u.guest.name, sizeof(r->u.guest.name));
	hs_get_text(g, r->u.guest.group, sizeof(r->u.guest.group));
	hs_get_text(g, r->u.guest.view, sizeof(r->u.guest.view));
	head = hs_get_byte(g);
	if (head & ~GUEST_BITS)
		hs_get_fail(g, "a guest's abilities are malformed");
	r->u.guest.can_split = (head & GUEST_CAN_SPLIT) != 0;
	r->u.guest.splits_nested = (head & GUEST_SPLITS_NESTED) != 0;
	r->u.guest.nr_huge = get_u32(g);
	r->u.guest.regions = room->u.regions;
	r->nr = get_nr(g, HS_TRACE_MAX_REGIONS);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		room->u.regions[i].hole_bytes = get_u64(g);
		room->u.regions[i].nr_huge = get_u32(g);
	}
}

/* ---- nothing but the head ---- */

static void put_nothing(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	(void)p;
	(void)r;
	(void)from;
	(void)nr;
}

static void get_nothing(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	(void)g;
	(void)r;
	(void)room;
}

/* ---- cycles, the clock ---- */

static void put_cycle(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	(void)from;
	(void)nr;
	hs_put_int(p, r->u.cycle);
}

static void get_cycle(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	(void)room;
	r->u.cycle = get_u32(g);
}

static void put_clock(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	(void)from;
	(void)nr;
	hs_put_byte(p, r->u.clock.op);
	hs_put_int(p, r->u.clock.asked_us);
}

static void get_clock(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	(void)room;
	r->u.clock.op = hs_get_byte(g);
	r->u.clock.asked_us = get_u64(g);
}

/* ---- samples ---- */

/* A run of equal samples: how many, then a byte of state and answer; counts only where these do not tell them. */
#define RUN_ACCESSED_SHIFT 3
#define RUN_COUNTS         0x20
#define RUN_BITS           0x3f

static struct hs_huge_sample plain_sample(uint8_t state, uint8_t accessed)
{
	const uint16_t all = state == HS_MAP_HUGE ? HS_BASE_PER_HUGE : 0;

	return (struct hs_huge_sample){
		.state = state, .accessed = accessed, .nr_present = all, .nr_accessed = accessed == HS_YES ? all : 0
	};
}

static bool same_sample(const struct hs_huge_sample *a, const struct hs_huge_sample *b)
{
	return a->state == b->state && a->accessed == b->accessed && a->nr_present == b->nr_present &&
	       a->nr_accessed == b->nr_accessed;
}

static void put_huge_samples(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	const struct hs_huge_sample *s = r->u.huge.samples + from;

	hs_put_int(p, r->u.huge.first + from);
	hs_put_int(p, nr);
	for (size_t i = 0, end; i < nr; i = end) {
		const struct hs_huge_sample plain = plain_sample(s[i].state, s[i].accessed);
		const bool counts = !same_sample(&s[i], &plain);

		for (end = i + 1; end < nr && same_sample(&s[i], &s[end]); end++)
			;
		hs_put_int(p, end - i);
		hs_put_byte(p, (uint8_t)(s[i].state | s[i].accessed << RUN_ACCESSED_SHIFT | (counts ? RUN_COUNTS : 0)));
		if (counts) {
			hs_put_int(p, s[i].nr_present);
			hs_put_int(p, s[i].nr_accessed);
		}
	}
}

static void get_huge_samples(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	r->u.huge.first = get_u32(g);
	r->u.huge.samples = room->u.huge_samples;
	r->nr = get_nr(g, HS_TRACE_MAX_HUGE);
	for (size_t i = 0, end; i < r->nr && !g->why; i = end) {
		const size_t run = (size_t)hs_get_int(g, r->nr - i, "a run of samples is longer than the record");
		const uint8_t head = hs_get_byte(g);
		struct hs_huge_sample s =
		    plain_sample(head & ((1 << RUN_ACCESSED_SHIFT) - 1), head >> RUN_ACCESSED_SHIFT & 3);

		if (!run || head & ~RUN_BITS)
			hs_get_fail(g, "a run of samples is malformed");
		if (head & RUN_COUNTS) {
			s.nr_present = get_u16(g);
			s.nr_accessed = get_u16(g);
		}
		end = i + run;
		for (size_t k = i; k < end && !g->why; k++)
			room->u.huge_samples[k] = s;
	}
}

static void put_base_samples(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		const struct hs_base_sample *s = &r->u.base.samples[i];

		put_huge(p, &next, r->u.base.huge[i]);
		hs_put_byte(p, s->state);
		hs_put_bits(p, &s->present);
		hs_put_bits(p, &s->accessed);
	}
}

static void get_base_samples(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.base.huge = room->huge;
	r->u.base.samples = room->u.base_samples;
	r->nr = get_nr(g, HS_TRACE_MAX_BASE);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		struct hs_base_sample *s = &room->u.base_samples[i];

		room->huge[i] = get_huge(g, &next);
		s->state = hs_get_byte(g);
		hs_get_bits(g, &s->present);
		hs_get_bits(g, &s->accessed);
	}
}

/* ---- contents ---- */

static void put_content(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	const struct hs_trace_content *c = &r->u.content;
	struct hs_bits512 zero = c->got;
	uint32_t last = 0;

	(void)from;
	(void)nr;
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (c->numbers && c->numbers[i])
			hs_bits_clear(&zero, i);
	hs_put_int(p, c->huge);
	hs_put_bits(p, &c->want);
	hs_put_bits(p, &c->got);
	hs_put_bits(p, &zero);
	/* What is new has the number after the last new one's: the step is 0. */
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		if (!hs_bits_test(&c->got, i) || hs_bits_test(&zero, i))
			continue;
		hs_put_signed(p, (int64_t)c->numbers[i] - last - 1);
		last = c->numbers[i];
	}
}

static void get_content(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	struct hs_trace_content *c = &r->u.content;
	struct hs_bits512 zero;
	int64_t last = 0;

	c->huge = get_u32(g);
	hs_get_bits(g, &c->want);
	hs_get_bits(g, &c->got);
	hs_get_bits(g, &zero);
	c->numbers = room->u.numbers;
	memset(room->u.numbers, 0, sizeof(room->u.numbers));
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE && !g->why; i++) {
		int64_t step;

		if (!hs_bits_test(&c->got, i) || hs_bits_test(&zero, i))
			continue;
		step = hs_get_signed(g);
		if (step < -last || step >= (int64_t)UINT32_MAX - last) {
			hs_get_fail(g, "a content's number is out of its range");
			return;
		}
		last += step + 1;
		room->u.numbers[i] = (uint32_t)last;
	}
}

/* ---- mappings ---- */

static void put_mapping(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		put_huge(p, &next, r->u.mapping.huge[i]);
		hs_put_int(p, (uint64_t)-r->u.mapping.results[i]);
	}
}

static void get_mapping(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.mapping.huge = room->huge;
	r->u.mapping.results = room->u.results;
	r->nr = get_nr(g, HS_TRACE_MAX_MAPPING);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		room->huge[i] = get_huge(g, &next);
		room->u.results[i] = -(int)get_u16(g);
	}
}

/* ---- what was learnt, decided and shared ---- */

#define FINE_GAVE_UP  0x04
#define FINE_RESTORED 0x08
#define FINE_BITS     0x0f

static void put_fine(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		const struct hs_fine_result *f = &r->u.fine[i];
		struct hs_bits512 counted = { { 0 } };

		for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
			if (f->count[k])
				hs_bits_set(&counted, k);
		put_huge(p, &next, f->huge);
		hs_put_byte(p,
			    (uint8_t)(f->known | (f->gave_up ? FINE_GAVE_UP : 0) | (f->restored ? FINE_RESTORED : 0)));
		hs_put_byte(p, f->samples);
		hs_put_int(p, f->nr_hot);
		hs_put_bits(p, &counted);
		for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
			if (f->count[k])
				hs_put_byte(p, f->count[k]);
	}
}

static void get_fine(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.fine = room->u.fine;
	r->nr = get_nr(g, HS_TRACE_MAX_FINE);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		struct hs_fine_result *f = &room->u.fine[i];
		struct hs_bits512 counted;
		uint8_t head;

		*f = (struct hs_fine_result){ .huge = get_huge(g, &next) };
		head = hs_get_byte(g);
		if (head & ~FINE_BITS)
			hs_get_fail(g, "a fine phase's result is malformed");
		f->known = head & 3;
		f->gave_up = (head & FINE_GAVE_UP) != 0;
		f->restored = (head & FINE_RESTORED) != 0;
		f->samples = hs_get_byte(g);
		f->nr_hot = get_u16(g);
		hs_get_bits(g, &counted);
		for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
			if (hs_bits_test(&counted, k))
				f->count[k] = hs_get_byte(g);
	}
}

static void put_decisions(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		const struct hs_policy_decision *d = &r->u.decisions[i].decision;

		put_huge(p, &next, r->u.decisions[i].huge);
		hs_put_byte(p, d->action);
		hs_put_byte(p, d->reason);
		hs_put_int(p, d->gain);
		hs_put_bits(p, &d->pages);
		hs_put_int(p, d->ban);
	}
}

static void get_decisions(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.decisions = room->u.decisions;
	r->nr = get_nr(g, HS_TRACE_MAX_DECISIONS);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		struct hs_policy_decision *d = &room->u.decisions[i].decision;

		room->u.decisions[i].huge = get_huge(g, &next);
		d->action = hs_get_byte(g);
		d->reason = hs_get_byte(g);
		d->gain = get_u16(g);
		hs_get_bits(g, &d->pages);
		d->ban = get_u32(g);
	}
}

static void put_shared(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		put_huge(p, &next, r->u.shared[i].huge);
		hs_put_int(p, r->u.shared[i].breaks);
		hs_put_bits(p, &r->u.shared[i].wanted);
		hs_put_bits(p, &r->u.shared[i].shared);
	}
}

static void get_shared(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.shared = room->u.shared;
	r->nr = get_nr(g, HS_TRACE_MAX_SHARED);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		room->u.shared[i].huge = get_huge(g, &next);
		room->u.shared[i].breaks = get_u32(g);
		hs_get_bits(g, &room->u.shared[i].wanted);
		hs_get_bits(g, &room->u.shared[i].shared);
	}
}

static void put_ledger(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	const struct hs_ledger *l = &r->u.ledger;
	const uint64_t sums[] = { l->wanted, l->marked, l->shared,      l->zero,           l->frames,
				  l->single, l->broken, l->saved_bytes, l->metadata_bytes, l->group_conflicts };

	(void)from;
	(void)nr;
	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
		hs_put_int(p, sums[i]);
	hs_put_signed(p, l->net_saved_bytes);
}

static void get_ledger(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	struct hs_ledger *l = &r->u.ledger;
	uint64_t *const sums[] = { &l->wanted, &l->marked, &l->shared,      &l->zero,           &l->frames,
				   &l->single, &l->broken, &l->saved_bytes, &l->metadata_bytes, &l->group_conflicts };

	(void)room;
	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
		*sums[i] = get_u64(g);
	l->net_saved_bytes = hs_get_signed(g);
}

/* ---- all kinds ---- */

static const struct hs_trace_kind kinds[HS_TRACE_END] = {
	[HS_TRACE_GUEST] = { "guest", HS_TRACE_MAX_REGIONS, put_guest, get_guest },
	[HS_TRACE_GONE] = { "guest gone", 0, put_nothing, get_nothing },
	[HS_TRACE_CYCLE] = { "cycle", 0, put_cycle, get_cycle },
	[HS_TRACE_CLOCK] = { "clock", 0, put_clock, get_clock },
	[HS_TRACE_REFRESH] = { "refresh", 0, put_nothing, get_nothing },
	[HS_TRACE_AGE] = { "ageing", 0, put_nothing, get_nothing },
	[HS_TRACE_HUGE] = { "huge page samples", HS_TRACE_MAX_HUGE, put_huge_samples, get_huge_samples },
	[HS_TRACE_BASE] = { "base page samples", HS_TRACE_MAX_BASE, put_base_samples, get_base_samples },
	[HS_TRACE_CONTENT] = { "content", 0, put_content, get_content },
	[HS_TRACE_SPLIT] = { "split", HS_TRACE_MAX_MAPPING, put_mapping, get_mapping },
	[HS_TRACE_RESTORE] = { "restore", HS_TRACE_MAX_MAPPING, put_mapping, get_mapping },
	[HS_TRACE_FINE] = { "fine results", HS_TRACE_MAX_FINE, put_fine, get_fine },
	[HS_TRACE_DECISIONS] = { "decisions", HS_TRACE_MAX_DECISIONS, put_decisions, get_decisions },
	[HS_TRACE_SHARED] = { "shared pages", HS_TRACE_MAX_SHARED, put_shared, get_shared },
	[HS_TRACE_LEDGER] = { "ledger", 0, put_ledger, get_ledger },
};

const struct hs_trace_kind *hs_trace_kind(uint8_t type)
{
	return type < HS_TRACE_END && kinds[type].name ? &kinds[type] : NULL;
}
