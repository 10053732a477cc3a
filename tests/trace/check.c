/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a trace to its end, replays it through the pipeline, and prints what it found as one JSON
 * object. usage: hs-trace-check FILE ("-": standard input, read but not replayed). Exit status: 0 good; 1 it is
 * damaged, or a decision differs from the recorded one; the reason is on standard error.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "trace/pipeline_trace.h"

static int fail(const struct hs_error *err)
{
	(void)fprintf(stderr, "hs-trace-check: %s\n", err->text);
	return 1;
}

/* A guest's pages: what they held when they were read last, and what was wanted of them at the end of the last cycle.
 */
struct pages {
	uint32_t nr_huge;
	uint32_t *numbers;         /* [nr_huge * 512] */
	struct hs_bits512 *wanted; /* [nr_huge] */
	uint64_t listed_us;        /* when what is wanted was listed; parts of one list have one time */
	bool gone;
};

/* What is counted of all records. */
struct counts {
	struct pages guests[HS_TRACE_MAX_GUESTS];
	uint64_t types[HS_TRACE_NR_TYPES];
	uint64_t pages_read, huge_pages, time_us;
	uint64_t saved_bytes[HS_TRACE_MAX_GUESTS]; /* as the kernel had it, in the last ledger of each guest */
	uint32_t shares, cycles;
};

/* ---- what merging all that is wanted saves, by the contents that the trace knows ---- */

static int add_guest(struct pages *g, const struct hs_trace_record *r)
{
	g->nr_huge = r->u.guest.nr_huge;
	g->numbers = calloc((size_t)g->nr_huge * HS_BASE_PER_HUGE, sizeof(*g->numbers));
	g->wanted = calloc(g->nr_huge, sizeof(*g->wanted));
	return g->numbers && g->wanted ? 0 : -ENOMEM;
}

static void take_numbers(struct pages *g, const struct hs_trace_content *t)
{
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (hs_bits_test(&t->got, i))
			g->numbers[(size_t)t->huge * HS_BASE_PER_HUGE + i] = t->numbers[i];
}

static void take_wanted(struct pages *g, const struct hs_trace_record *r)
{
	if (g->listed_us != r->time_us)
		memset(g->wanted, 0, g->nr_huge * sizeof(*g->wanted));
	g->listed_us = r->time_us;
	for (size_t i = 0; i < r->nr; i++)
		g->wanted[r->u.shared[i].huge] = r->u.shared[i].wanted;
}

/* Memory that is no longer there is not wanted in a further cycle. */
static void forget_gone(struct counts *c)
{
	for (size_t g = 0; g < HS_TRACE_MAX_GUESTS; g++)
		if (c->guests[g].gone)
			memset(c->guests[g].wanted, 0, c->guests[g].nr_huge * sizeof(*c->guests[g].wanted));
}

static int by_number(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Of equal contents all but one are saved, of zero pages all. */
static uint64_t would_save(struct counts *c)
{
	size_t nr = 0, room = 0;
	uint64_t pages = 0;
	uint32_t *all;

	for (size_t g = 0; g < HS_TRACE_MAX_GUESTS; g++)
		room += (size_t)c->guests[g].nr_huge * HS_BASE_PER_HUGE;
	all = calloc(room + 1, sizeof(*all));
	if (!all)
		return 0;
	for (size_t g = 0; g < HS_TRACE_MAX_GUESTS; g++)
		for (size_t p = 0; p < (size_t)c->guests[g].nr_huge * HS_BASE_PER_HUGE; p++)
			if (hs_bits_test(&c->guests[g].wanted[p / HS_BASE_PER_HUGE], p % HS_BASE_PER_HUGE))
				all[nr++] = c->guests[g].numbers[p];
	qsort(all, nr, sizeof(*all), by_number);
	for (size_t i = 0; i < nr; i++)
		pages += !all[i] || (i && all[i] == all[i - 1]);
	free(all);
	return pages * HS_BASE_SIZE;
}

static void free_pages(struct counts *c)
{
	for (size_t g = 0; g < HS_TRACE_MAX_GUESTS; g++) {
		free(c->guests[g].numbers);
		free(c->guests[g].wanted);
	}
}

static int count(struct counts *c, const struct hs_trace_record *r)
{
	c->types[r->type]++;
	c->time_us = r->time_us;
	switch ((enum hs_trace_type)r->type) {
	case HS_TRACE_GUEST:
		c->huge_pages += r->u.guest.nr_huge;
		return add_guest(&c->guests[r->guest], r);
	case HS_TRACE_GONE:
		c->guests[r->guest].gone = true;
		break;
	case HS_TRACE_CYCLE:
		c->cycles = r->u.cycle;
		forget_gone(c);
		break;
	case HS_TRACE_CONTENT:
		c->pages_read += hs_bits_count(&r->u.content.got);
		take_numbers(&c->guests[r->guest], &r->u.content);
		break;
	case HS_TRACE_SHARED:
		take_wanted(&c->guests[r->guest], r);
		break;
	case HS_TRACE_DECISIONS:
		for (size_t i = 0; i < r->nr; i++)
			c->shares += r->u.decisions[i].decision.action == HS_ACT_SHARE;
		break;
	case HS_TRACE_LEDGER:
		c->saved_bytes[r->guest] = r->u.ledger.saved_bytes;
		break;
	default:
		break;
	}
	return 0;
}

static int read_trace(const char *path, struct counts *c, json_t *out)
{
	const struct hs_trace_record *r;
	struct hs_trace_reader *reader;
	struct hs_error err = { "" };
	json_t *types = json_object();
	uint64_t saved = 0;
	int rc;

	json_object_set_new(out, "records", types);
	if (strcmp(path, "-") == 0)
		rc = hs_trace_reader_create(&reader, stdin, path, &err);
	else
		rc = hs_trace_reader_open(&reader, path, &err);
	if (rc)
		return fail(&err);
	json_object_set_new(out, "merging", json_boolean(hs_trace_reader_header(reader)->merging));
	json_object_set_new(out, "program", json_string(hs_trace_reader_header(reader)->program));
	json_object_set_new(out, "kernel", json_string(hs_trace_reader_header(reader)->kernel));
	while ((rc = hs_trace_next(reader, &r, &err)) == 1) {
		rc = count(c, r);
		if (rc) {
			(void)hs_error_set(&err, rc, "out of memory for the pages of a guest");
			break;
		}
	}
	hs_trace_reader_destroy(reader);
	for (uint8_t t = HS_TRACE_GUEST; t < HS_TRACE_NR_TYPES; t++)
		if (c->types[t])
			json_object_set_new(types, hs_trace_type_name(t), json_integer((json_int_t)c->types[t]));
	for (size_t g = 0; g < HS_TRACE_MAX_GUESTS; g++)
		saved += c->saved_bytes[g];
	json_object_set_new(out, "cycles", json_integer(c->cycles));
	json_object_set_new(out, "seconds", json_real((double)c->time_us / 1e6));
	json_object_set_new(out, "huge_pages", json_integer((json_int_t)c->huge_pages));
	json_object_set_new(out, "pages_read", json_integer((json_int_t)c->pages_read));
	json_object_set_new(out, "decisions_to_share", json_integer(c->shares));
	json_object_set_new(out, "wanted_would_save_bytes", json_integer((json_int_t)would_save(c)));
	json_object_set_new(out, "saved_bytes", json_integer((json_int_t)saved));
	return rc ? fail(&err) : 0;
}

static void add_reports(struct hs_pipeline *p, json_t *out)
{
	static struct hs_guest_report reports[HS_TRACE_MAX_GUESTS];
	const size_t nr = hs_pipeline_report(p, reports, HS_TRACE_MAX_GUESTS);
	uint64_t could_save = 0, hot = 0, cold = 0, bloat = 0;

	for (size_t i = 0; i < nr; i++) {
		could_save += reports[i].could_save_bytes;
		hot += reports[i].hot;
		cold += reports[i].cold;
		bloat += reports[i].hot_bloat;
	}
	json_object_set_new(out, "could_save_bytes", json_integer((json_int_t)could_save));
	json_object_set_new(out, "hot", json_integer((json_int_t)hot));
	json_object_set_new(out, "hot_bloat", json_integer((json_int_t)bloat));
	json_object_set_new(out, "cold", json_integer((json_int_t)cold));
}

static int replay_trace(const char *path, json_t *out)
{
	struct hs_trace_reader *reader;
	struct hs_error err = { "" };
	struct hs_replay_stats st;
	struct hs_pipeline *p;
	struct hs_replay *r;
	int rc;

	rc = hs_trace_reader_open(&reader, path, &err);
	if (!rc)
		rc = hs_replay_create(&r, reader, &err);
	if (rc)
		return fail(&err);
	rc = hs_replay_pipeline(&p, r, &err);
	if (rc) {
		hs_replay_destroy(r);
		return fail(&err);
	}
	hs_replay_stats(r, &st);
	json_object_set_new(out, "decisions", json_integer((json_int_t)st.nr_decisions));
	json_object_set_new(out, "decisions_differ", json_integer((json_int_t)st.nr_differ));
	add_reports(p, out);
	hs_pipeline_destroy(p);
	hs_replay_destroy(r);
	if (!st.nr_differ)
		return 0;
	(void)fprintf(stderr, "hs-trace-check: %s: %llu decisions differ from the recorded ones\n", path,
		      (unsigned long long)st.nr_differ);
	return 1;
}

int main(int argc, char **argv)
{
	json_t *out = json_object();
	static struct counts c;
	int rc;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: hs-trace-check FILE\n");
		return 2;
	}
	rc = read_trace(argv[1], &c, out);
	if (!rc && strcmp(argv[1], "-") != 0)
		rc = replay_trace(argv[1], out);
	free_pages(&c);
	(void)json_dumpf(out, stdout, JSON_INDENT(2));
	(void)puts("");
	json_decref(out);
	return rc;
}
