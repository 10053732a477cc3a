/* SPDX-License-Identifier: Apache-2.0 */
/* As kinds.c, of the kinds in which the pipeline reports what it learnt and decided, and what is shared of it. */
#include "trace_internal.h"

#define FINE_GAVE_UP  0x04
#define FINE_RESTORED 0x08
#define FINE_BITS     0x0f

void hs_put_fine(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		const struct hs_fine_result *f = &r->u.fine[i];
		struct hs_bits512 counted = hs_bits_empty();

		for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
			if (f->count[k])
				hs_bits_set(&counted, k);
		hs_put_huge(p, &next, f->huge);
		hs_put_byte(p,
			    (uint8_t)(f->known | (f->gave_up ? FINE_GAVE_UP : 0) | (f->restored ? FINE_RESTORED : 0)));
		hs_put_byte(p, f->samples);
		hs_put_int(p, f->nr_hot);
		hs_put_bits(p, &counted);
		hs_bits_for_each (k, &counted)
			hs_put_byte(p, f->count[k]);
	}
}

void hs_get_fine(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.fine = room->u.fine;
	r->nr = hs_get_nr(g, HS_TRACE_MAX_FINE);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		struct hs_fine_result *f = &room->u.fine[i];
		struct hs_bits512 counted;
		uint8_t head;

		*f = (struct hs_fine_result){ .huge = hs_get_huge(g, &next) };
		head = hs_get_byte(g);
		if (head & ~FINE_BITS)
			hs_get_fail(g, "a fine phase's result is malformed");
		f->known = head & 3;
		f->gave_up = (head & FINE_GAVE_UP) != 0;
		f->restored = (head & FINE_RESTORED) != 0;
		f->samples = hs_get_byte(g);
		f->nr_hot = hs_get_u16(g);
		hs_get_bits(g, &counted);
		hs_bits_for_each (k, &counted)
			f->count[k] = hs_get_byte(g);
	}
}

#define DECISION_DEMOTES 0x10

void hs_put_decisions(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		const struct hs_policy_decision *d = &r->u.decisions[i].decision;

		hs_put_huge(p, &next, r->u.decisions[i].huge);
		hs_put_byte(p, d->action | (hs_bits_any(&d->demote) ? DECISION_DEMOTES : 0));
		hs_put_byte(p, d->reason);
		hs_put_int(p, d->gain);
		hs_put_bits(p, &d->pages);
		hs_put_int(p, d->ban);
		if (hs_bits_any(&d->demote))
			hs_put_bits(p, &d->demote);
	}
}

void hs_get_decisions(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.decisions = room->u.decisions;
	r->nr = hs_get_nr(g, HS_TRACE_MAX_DECISIONS);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		struct hs_policy_decision *d = &room->u.decisions[i].decision;

		uint8_t head;

		room->u.decisions[i].huge = hs_get_huge(g, &next);
		head = hs_get_byte(g);
		d->action = (uint8_t)(head & ~DECISION_DEMOTES);
		d->reason = hs_get_byte(g);
		d->gain = hs_get_u16(g);
		hs_get_bits(g, &d->pages);
		d->ban = hs_get_u32(g);
		hs_bits_clear_all(&d->demote);
		if (head & DECISION_DEMOTES)
			hs_get_bits(g, &d->demote);
	}
}

void hs_put_shared(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	hs_huge_nr next = 0;

	hs_put_int(p, nr);
	for (size_t i = from; i < from + nr; i++) {
		hs_put_huge(p, &next, r->u.shared[i].huge);
		hs_put_int(p, r->u.shared[i].breaks);
		hs_put_bits(p, &r->u.shared[i].wanted);
		hs_put_bits(p, &r->u.shared[i].shared);
	}
}

void hs_get_shared(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	hs_huge_nr next = 0;

	r->u.shared = room->u.shared;
	r->nr = hs_get_nr(g, HS_TRACE_MAX_SHARED);
	for (size_t i = 0; i < r->nr && !g->why; i++) {
		room->u.shared[i].huge = hs_get_huge(g, &next);
		room->u.shared[i].breaks = hs_get_u32(g);
		hs_get_bits(g, &room->u.shared[i].wanted);
		hs_get_bits(g, &room->u.shared[i].shared);
	}
}

void hs_put_ledger(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
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

void hs_get_ledger(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	struct hs_ledger *l = &r->u.ledger;
	uint64_t *const sums[] = { &l->wanted, &l->marked, &l->shared,      &l->zero,           &l->frames,
				   &l->single, &l->broken, &l->saved_bytes, &l->metadata_bytes, &l->group_conflicts };

	(void)room;
	for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++)
		*sums[i] = hs_get_u64(g);
	l->net_saved_bytes = hs_get_signed(g);
}

#define SETTLED_SCANNED    0x01
#define SETTLED_ALL_MARKED 0x02
#define SETTLED_BITS       0x03

void hs_put_settled(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr)
{
	(void)from;
	(void)nr;
	hs_put_byte(p, (uint8_t)((r->u.settled.scanned ? SETTLED_SCANNED : 0) |
				 (r->u.settled.all_marked ? SETTLED_ALL_MARKED : 0)));
}

void hs_get_settled(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room)
{
	const uint8_t head = hs_get_byte(g);

	(void)room;
	if (head & ~SETTLED_BITS)
		hs_get_fail(g, "the end of a burst is malformed");
	r->u.settled.scanned = (head & SETTLED_SCANNED) != 0;
	r->u.settled.all_marked = (head & SETTLED_ALL_MARKED) != 0;
}
