/* SPDX-License-Identifier: Apache-2.0 */
/* A trace, read as a whole into what the lab needs of it. */
#include "trace_host.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hs/trace.h"

static void traced_finish(struct hs_lab_traced *g)
{
	for (size_t i = 0; i < g->nr_rounds; i++)
		free(g->rounds[i].accessed);
	free(g->content);
	free(g->latest);
	free(g->read);
	free(g->hot);
	free(g->state);
	free(g->accessed);
	free(g->rounds);
	free(g->changes);
}

void hs_lab_trace_destroy(struct hs_lab_trace *t)
{
	if (!t)
		return;
	for (uint32_t i = 0; i < t->nr_guests; i++)
		traced_finish(&t->guests[i]);
	free(t->guests);
	free(t);
}

/* Room for one element more; false: no memory. */
static bool grow(void **array, size_t nr, size_t *room, size_t size)
{
	void *more;

	if (nr < *room)
		return true;
	more = reallocarray(*array, *room ? 2 * *room : 64, size);
	if (!more)
		return false;
	*array = more;
	*room = *room ? 2 * *room : 64;
	return true;
}

static int take_guest(struct hs_lab_trace *t, const struct hs_trace_record *r)
{
	struct hs_lab_traced *more = reallocarray(t->guests, t->nr_guests + 1, sizeof(*more)), *g;
	const size_t n = r->u.guest.nr_huge;

	if (!more)
		return -ENOMEM;
	t->guests = more;
	g = &more[t->nr_guests++];
	*g = (struct hs_lab_traced){ .kind = hs_lab_kind_default(), .nr_huge = r->u.guest.nr_huge };
	(void)snprintf(g->kind.name, sizeof(g->kind.name), "%.47s", r->u.guest.name);
	for (uint32_t i = 0; i + 1 < t->nr_guests; i++)
		if (!more[i].gone && strcmp(more[i].kind.name, g->kind.name) == 0)
			more[i].replaced = true;
	(void)snprintf(g->kind.group, sizeof(g->kind.group), "%.47s", r->u.guest.group);
	g->kind.memory = n * HS_HUGE_SIZE;
	g->kind.cpus = 0; /* unknown: no slowdown can be computed */
	g->content = calloc(n * HS_BASE_PER_HUGE, sizeof(*g->content));
	g->latest = calloc(n * HS_BASE_PER_HUGE, sizeof(*g->latest));
	g->read = calloc(n, sizeof(*g->read));
	g->hot = calloc(n, sizeof(*g->hot));
	g->state = calloc(n, sizeof(*g->state));
	g->accessed = calloc(n, sizeof(*g->accessed));
	return g->content && g->latest && g->read && g->hot && g->state && g->accessed ? 0 : -ENOMEM;
}

/* One coarse round may come in several records, all of one time. */
static int take_huge(struct hs_lab_traced *g, const struct hs_trace_record *r)
{
	struct hs_lab_round *round;

	if (!g->nr_rounds || g->rounds[g->nr_rounds - 1].to_us != r->time_us || !g->round_open) {
		if (!grow((void **)&g->rounds, g->nr_rounds, &g->room_rounds, sizeof(*g->rounds)))
			return -ENOMEM;
		g->rounds[g->nr_rounds] =
		    (struct hs_lab_round){ .from_us = g->aged_us,
					   .to_us = r->time_us,
					   .accessed = calloc(g->nr_huge / 64 + 1, sizeof(uint64_t)) };
		if (!g->rounds[g->nr_rounds].accessed)
			return -ENOMEM;
		g->nr_rounds++;
		g->round_open = true;
	}
	round = &g->rounds[g->nr_rounds - 1];
	for (size_t i = 0; i < r->nr; i++) {
		const hs_huge_nr h = r->u.huge.first + (hs_huge_nr)i;
		const struct hs_huge_sample *s = &r->u.huge.samples[i];

		if (g->nr_rounds == 1)
			g->state[h] = s->state;
		/* What is not known is left alone: it counts as in use. */
		if (s->accessed == HS_NO)
			continue;
		round->accessed[h / 64] |= UINT64_C(1) << (h % 64);
		g->accessed[h] = true;
	}
	return 0;
}

static void take_base(struct hs_lab_traced *g, const struct hs_trace_record *r)
{
	for (size_t i = 0; i < r->nr; i++) {
		const struct hs_base_sample *s = &r->u.base.samples[i];

		if (s->state != HS_MAP_SPLIT && s->state != HS_MAP_PARTIAL)
			continue;
		g->hot[r->u.base.huge[i]] = hs_bits_or(g->hot[r->u.base.huge[i]], s->accessed);
	}
}

static int take_content(struct hs_lab_trace *t, struct hs_lab_traced *g, const struct hs_trace_record *r)
{
	const struct hs_trace_content *c = &r->u.content;

	hs_bits_for_each (i, &c->got) {
		const hs_base_nr page = c->huge * HS_BASE_PER_HUGE + i;

		if (c->numbers[i] > t->nr_contents)
			t->nr_contents = c->numbers[i];
		if (!hs_bits_test(&g->read[c->huge], i)) {
			g->content[page] = c->numbers[i];
			hs_bits_set(&g->read[c->huge], i);
		} else if (g->latest[page] != c->numbers[i]) {
			if (!grow((void **)&g->changes, g->nr_changes, &g->room_changes, sizeof(*g->changes)))
				return -ENOMEM;
			g->changes[g->nr_changes++] = (struct hs_lab_change){ r->time_us, page, c->numbers[i] };
		}
		g->latest[page] = c->numbers[i];
	}
	return 0;
}

static int take(struct hs_lab_trace *t, const struct hs_trace_record *r)
{
	struct hs_lab_traced *g;

	t->seconds = (double)r->time_us / 1e6;
	if (r->type == HS_TRACE_GUEST)
		return take_guest(t, r);
	if (r->error || r->guest >= t->nr_guests)
		return 0;
	g = &t->guests[r->guest];
	switch ((enum hs_trace_type)r->type) {
	case HS_TRACE_AGE:
		g->aged_us = r->time_us;
		g->round_open = false;
		return 0;
	case HS_TRACE_GONE:
		g->gone = true;
		return 0;
	case HS_TRACE_HUGE:
		return take_huge(g, r);
	case HS_TRACE_BASE:
		take_base(g, r);
		return 0;
	case HS_TRACE_CONTENT:
		return take_content(t, g, r);
	default:
		return 0;
	}
}

/* Those that came again leave the list. */
static void drop_replaced(struct hs_lab_trace *t)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->nr_guests; i++) {
		if (t->guests[i].replaced)
			traced_finish(&t->guests[i]);
		else
			t->guests[n++] = t->guests[i];
	}
	t->nr_guests = n;
}

static int read_all(struct hs_lab_trace *t, struct hs_trace_reader *reader, const char *path, struct hs_error *err)
{
	const struct hs_trace_record *r;
	bool any = false;
	int rc;

	if (hs_trace_reader_header(reader)->merging)
		return hs_error_set(
		    err, -ENOTSUP,
		    "%s: pages were merged while this trace was recorded, so that what it shows of its guests "
		    "came of that, too; record one without --merge",
		    path);
	t->scope = hs_trace_reader_header(reader)->settings.scope;
	while ((rc = hs_trace_next(reader, &r, err)) == 1) {
		rc = take(t, r);
		if (rc)
			return hs_error_set(err, rc, "out of memory for the trace");
	}
	if (rc == -ENODATA)
		t->cut_off = true;
	else if (rc)
		return rc;
	drop_replaced(t);
	for (uint32_t i = 0; i < t->nr_guests; i++)
		any |= t->guests[i].nr_rounds > 0;
	if (!any)
		return hs_error_set(err, -ENODATA, "%s has no guest that was looked at for a whole round", path);
	return 0;
}

int hs_lab_trace_read(struct hs_lab_trace **out, const char *path, struct hs_error *err)
{
	struct hs_trace_reader *reader = NULL;
	struct hs_lab_trace *t;
	int rc = hs_trace_reader_open(&reader, path, err);

	*out = NULL;
	if (rc)
		return rc;
	t = calloc(1, sizeof(*t));
	rc = t ? read_all(t, reader, path, err) : hs_error_set(err, -ENOMEM, "out of memory");
	hs_trace_reader_destroy(reader);
	if (rc) {
		hs_lab_trace_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void hs_lab_trace_scenario(const struct hs_lab_trace *t, const char *name, struct hs_lab_scenario *out)
{
	const char *base = strrchr(name, '/');

	*out = (struct hs_lab_scenario){ .seconds = floor(t->seconds * 10) / 10, .trace = t };
	(void)snprintf(out->name, sizeof(out->name), "%.47s", base ? base + 1 : name);
	if (out->seconds < 0.1)
		out->seconds = 0.1;
}
