/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each kind of record holds, as bytes: writing and reading side by side. Reading takes care of bounds, so that
 * nothing is written outside of the room; whether what was read makes sense is asked by check.c. Kinds in which the
 * pipeline reports of itself are in kinds_reported.c.
 */
#include "trace_internal.h"

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
	r->u.guest.nr_huge = hs_get_u32(g);
	r->u.guest.regions = room->u.regions;
	r->nr = hs_get_nr(g, HS_TRACE_MAX_REGIONS);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		room->u.regions[i].hole_bytes = hs_get_u64(g);
		room->u.regions[i].nr_huge = hs_get_u32(g);
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
	r->u.cycle = hs_get_u32(g);
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
	r->u.clock.asked_us = hs_get_u64(g);
}

/* ---- samples ---- */

/* A run of equal samples: how many, then a byte of state and answer; counts only where these do not imply them. */
#define RUN_ACCESSED_SHIFT 3
#define RUN_COUNTS         0x20
#define RUN_SWAPPED        0x40
#define RUN_BITS           0x7f
#define BASE_SWAPPED       0x08

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
	       a->nr_accessed == b->nr_accessed && a->nr_swapped == b->nr_swapped;
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
		hs_put_byte(p, (uint8_t)(s[i].state | s[i].accessed << RUN_ACCESSED_SHIFT | (counts ? RUN_COUNTS : 0) |
					 (s[i].nr_swapped ? RUN_SWAPPED : 0)));
		if (counts) {
			hs_put_int(p, s[i].nr_present);
			hs_put_int(p, s[i].nr_accessed);
		}
		if (s[i].nr_swapped)
			hs_put_int(p, s[i].nr_swapped);
	}
}

static void get_huge_samples(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	r->u.huge.first = hs_get_u32(g);
	r->u.huge.samples = room->u.huge_samples;
	r->nr = hs_get_nr(g, HS_TRACE_MAX_HUGE);
	for (size_t i = 0, end; i < r->nr && !g->why; i = end) {
		const size_t run = (size_t)hs_get_int(g, r->nr - i, "a run of samples is longer than the record");
		const uint8_t head = hs_get_byte(g);
		struct hs_huge_sample s =
		    plain_sample(head & ((1 << RUN_ACCESSED_SHIFT) - 1), head >> RUN_ACCESSED_SHIFT & 3);

		if (!run || head & ~RUN_BITS)
			hs_get_fail(g, "a run of samples is malformed");
		if (head & RUN_COUNTS) {
			s.nr_present = hs_get_u16(g);
			s.nr_accessed = hs_get_u16(g);
		}
		if (head & RUN_SWAPPED)
			s.nr_swapped = hs_get_u16(g);
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

		hs_put_huge(p, &next, r->u.base.huge[i]);
		hs_put_byte(p, s->state | (hs_bits_any(&s->swapped) ? BASE_SWAPPED : 0));
		hs_put_bits(p, &s->present);
		hs_put_bits(p, &s->accessed);
		if (hs_bits_any(&s->swapped))
			hs_put_bits(p, &s->swapped);
	}
}

static void get_base_samples(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.base.huge = room->huge;
	r->u.base.samples = room->u.base_samples;
	r->nr = hs_get_nr(g, HS_TRACE_MAX_BASE);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		struct hs_base_sample *s = &room->u.base_samples[i];
		uint8_t head;

		*s = (struct hs_base_sample){ 0 }; /* what is empty is not in a trace: unknown */
		room->huge[i] = hs_get_huge(g, &next);
		head = hs_get_byte(g);
		s->state = (uint8_t)(head & ~BASE_SWAPPED);
		hs_get_bits(g, &s->present);
		hs_get_bits(g, &s->accessed);
		if (head & BASE_SWAPPED)
			hs_get_bits(g, &s->swapped);
	}
}

/* ---- contents ---- */

static void put_content(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	const struct hs_trace_content *c = &r->u.content;
	struct hs_bits512 zero = c->got, other;
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
	other = hs_bits_andnot(c->got, zero);
	hs_bits_for_each (i, &other) {
		hs_put_signed(p, (int64_t)c->numbers[i] - last - 1);
		last = c->numbers[i];
	}
}

static void get_content(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	struct hs_trace_content *c = &r->u.content;
	struct hs_bits512 zero, other;
	int64_t last = 0;

	c->huge = hs_get_u32(g);
	hs_get_bits(g, &c->want);
	hs_get_bits(g, &c->got);
	hs_get_bits(g, &zero);
	c->numbers = room->u.numbers;
	memset(room->u.numbers, 0, sizeof(room->u.numbers));
	other = hs_bits_andnot(c->got, zero);
	hs_bits_for_each (i, &other) {
		const int64_t step = hs_get_signed(g);

		if (g->why)
			return;
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
		hs_put_huge(p, &next, r->u.mapping.huge[i]);
		hs_put_int(p, (uint64_t)-r->u.mapping.results[i]);
	}
}

static void get_mapping(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.mapping.huge = room->huge;
	r->u.mapping.results = room->u.results;
	r->nr = hs_get_nr(g, HS_TRACE_MAX_MAPPING);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		room->huge[i] = hs_get_huge(g, &next);
		room->u.results[i] = -(int)hs_get_u16(g);
	}
}

/* ---- all kinds ---- */

static const struct hs_trace_kind kinds[HS_TRACE_NR_TYPES] = {
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
	[HS_TRACE_FINE] = { "fine results", HS_TRACE_MAX_FINE, hs_put_fine, hs_get_fine },
	[HS_TRACE_DECISIONS] = { "decisions", HS_TRACE_MAX_DECISIONS, hs_put_decisions, hs_get_decisions },
	[HS_TRACE_SHARED] = { "shared pages", HS_TRACE_MAX_SHARED, hs_put_shared, hs_get_shared },
	[HS_TRACE_LEDGER] = { "ledger", 0, hs_put_ledger, hs_get_ledger },
	[HS_TRACE_SETTLED] = { "settled burst", 0, hs_put_settled, hs_get_settled },
};

const struct hs_trace_kind *hs_trace_kind(uint8_t type)
{
	return type < HS_TRACE_NR_TYPES && kinds[type].name ? &kinds[type] : NULL;
}
