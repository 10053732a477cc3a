/* SPDX-License-Identifier: Apache-2.0 */
/* A record's frame: its type, its length and what every record has. What is in it: kinds.c. */
#include "trace_internal.h"

#define RECORD_TOP 4 /* type, and the length in 3 bytes */

const char *hs_trace_type_name(uint8_t type)
{
	const struct hs_trace_kind *k = hs_trace_kind(type);

	return k ? k->name : type == HS_TRACE_END ? "end" : "unknown";
}

size_t hs_trace_bound(uint8_t type)
{
	const struct hs_trace_kind *k = hs_trace_kind(type);

	return k ? k->bound : 0;
}

/* Type, length, and what every record has. k NULL: the end, which says how many came before it. */
static void put_record(struct hs_trace_state *s, struct hs_put *p, const struct hs_trace_kind *k,
		       const struct hs_trace_record *r, size_t from, size_t nr)
{
	const size_t top = p->len;
	const uint8_t space[RECORD_TOP] = { r->type };
	const uint64_t time_us = r->time_us > s->time_us ? r->time_us : s->time_us;

	hs_put_bytes(p, space, sizeof(space));
	hs_put_int(p, r->guest);
	hs_put_int(p, time_us - s->time_us);
	hs_put_int(p, (uint64_t)-r->error);
	if (k)
		k->put(p, r, from, nr);
	else
		hs_put_int(p, s->nr_records);
	if (!p->full)
		hs_trace_put_le(p->buf + top + 1, p->len - top - RECORD_TOP, 3);
	s->time_us = time_us;
	s->nr_records++;
}

const char *hs_trace_encode(struct hs_trace_state *s, struct hs_put *p, const struct hs_trace_record *r, size_t from,
			    size_t nr)
{
	const struct hs_trace_kind *k = hs_trace_kind(r->type);
	const char *why;

	if (!k && r->type != HS_TRACE_END)
		return "there is no such kind of record";
	if (k) {
		why = hs_trace_check(s, r);
		if (why)
			return why;
	}
	put_record(s, p, k, r, from, nr);
	if (p->full)
		return "the record is too large";
	hs_trace_note(s, r);
	return NULL;
}

/* The body: everything after the length. */
static int decode_body(struct hs_trace_state *s, struct hs_get *g, struct hs_trace_record *r,
		       struct hs_trace_room *room, bool *ended)
{
	const struct hs_trace_kind *k = hs_trace_kind(r->type);

	r->guest = (uint32_t)hs_get_int(g, HS_TRACE_MAX_GUESTS - 1, "a guest's number is out of its range");
	r->time_us = s->time_us + hs_get_int(g, UINT64_MAX - s->time_us, "the time is out of its range");
	r->error = -(int)hs_get_int(g, INT16_MAX, "the answer is no error number");
	if (r->type == HS_TRACE_END) {
		if (hs_get_int(g, UINT64_MAX, "") != s->nr_records)
			hs_get_fail(g, "the end says another number of records than there were");
		*ended = true;
	} else if (k) {
		k->get(g, r, room);
	} else {
		return g->why ? -1 : 0; /* of a later version of the program */
	}
	if (!g->why && g->at != g->end)
		hs_get_fail(g, "the record is longer than what it holds");
	if (!g->why && k)
		hs_get_fail(g, hs_trace_check(s, r));
	if (g->why)
		return -1;
	if (k)
		hs_trace_note(s, r);
	return k ? 1 : 0;
}

int hs_trace_decode(struct hs_trace_state *s, struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room,
		    bool *ended)
{
	struct hs_get body = *g;
	size_t len = 0;
	int rc;

	*ended = false;
	memset(r, 0, sizeof(*r));
	r->type = hs_get_byte(g);
	for (int i = 0; i < 3; i++)
		len |= (size_t)hs_get_byte(g) << (8 * i);
	if (!g->why && len > (size_t)(g->end - g->at))
		hs_get_fail(g, "a record is longer than its block");
	if (g->why)
		return -1;
	body.at = g->at;
	body.end = g->at + len;
	rc = decode_body(s, &body, r, room, ended);
	if (rc < 0) {
		hs_get_fail(g, body.why);
		g->at = body.at;
		return rc;
	}
	g->at += len;
	s->time_us = r->time_us;
	s->nr_records++;
	return rc;
}
