/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which guests should live together, by their sketches. First how much there is to gain at all: what goes of a group's
 * contents as its guests are placed now, and what would go were they all on one host, which no placement exceeds. Most
 * of what is identical is so within a guest, or on one host already, and then there is no advice.
 *
 * Pairs are named with what they have in common for certain only: of thousands of estimates the largest is large by
 * luck as well, so one is taken by as many of its standard errors less as the largest of so many random ones has.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "fleet.h"
#include "hs/sketch.h"
#include "terminal.h"

/* Standard errors that are taken off before there is advice: where few contents have very many holders, 64 slots see
 * some of these by luck, and two are too few. */
#define SURE_ERRORS 3

struct member {
	const char *instance, *guest, *group, *key; /* borrowed of the answers */
	struct hs_sketch sketch;
};

struct members {
	struct member *of;
	size_t nr;
	json_t *numbers; /* by instance, guest and group */
	json_t *keys;    /* of each instance, from which it is known */
	json_t *list;    /* the answer that names are borrowed of */
};

/* Labels end with what none of them has. */
static const char *name_of(char *buf, size_t size, const json_t *sample)
{
	(void)snprintf(buf, size, "%s\n%s\n%s", hs_prometheus_label(sample, "instance"),
		       hs_prometheus_label(sample, "guest"), hs_prometheus_label(sample, "group"));
	return buf;
}

static void members_finish(struct members *m)
{
	free(m->of);
	json_decref(m->numbers);
	json_decref(m->keys);
	json_decref(m->list);
}

/* ---- asking ---- */

static int ask_keys(struct hs_prometheus *p, const char *match, struct members *m, struct hs_error *err)
{
	json_t *list, *sample;
	size_t i;
	int rc = hs_hosts_query(p, "hs_share_sketch_key_info{%s}", match, &list, err);

	if (rc)
		return rc;
	json_array_foreach(list, i, sample)
	{
		(void)json_object_set_new(m->keys, hs_prometheus_label(sample, "instance"),
					  json_string(hs_prometheus_label(sample, "key")));
	}
	json_decref(list);
	return json_object_size(m->keys)
		   ? 0
		   : hs_error_set(err, -ENODATA,
				  "there are no sketches%s: they are made where fleet_key_file ([service]) names the "
				  "fleet's key, and Prometheus has to scrape /metrics/sketch as a job of its own "
				  "(docs/fleet.md)",
				  *match ? " that --match fits" : "");
}

static int ask_contents(struct hs_prometheus *p, const char *match, struct members *m, struct hs_error *err)
{
	char name[1024];
	json_t *sample;
	size_t i;
	int rc = hs_hosts_query(p, "hs_share_sketch_contents{%s}", match, &m->list, err);

	if (rc)
		return rc;
	m->of = calloc(json_array_size(m->list) + 1, sizeof(*m->of));
	if (!m->of)
		return hs_error_set(err, -ENOMEM, "out of memory");
	json_array_foreach(m->list, i, sample)
	{
		struct member *g = &m->of[m->nr];
		const char *key = json_string_value(json_object_get(m->keys, hs_prometheus_label(sample, "instance")));

		if (!key || json_object_get(m->numbers, name_of(name, sizeof(name), sample)))
			continue;
		*g = (struct member){ .instance = hs_prometheus_label(sample, "instance"),
				      .guest = hs_prometheus_label(sample, "guest"),
				      .group = hs_prometheus_label(sample, "group"),
				      .key = key,
				      .sketch.contents = hs_prometheus_value(sample) };
		for (size_t k = 0; k < HS_SKETCH_SLOTS; k++)
			g->sketch.slot[k] = HS_SKETCH_EMPTY;
		(void)json_object_set_new(m->numbers, name, json_integer((json_int_t)m->nr++));
	}
	return 0;
}

/* One slot of all guests at a time: of thousands of guests the whole would be hundreds of MiB. */
static int ask_slots(struct hs_prometheus *p, const char *match, struct members *m, struct hs_error *err)
{
	char format[96], name[1024];
	json_t *list, *sample, *number;
	size_t i;

	for (unsigned int slot = 0; slot < HS_SKETCH_SLOTS; slot++) {
		int rc;

		(void)snprintf(format, sizeof(format), "hs_share_sketch_slot{slot=\"%u\",%%s}", slot);
		rc = hs_hosts_query(p, format, match, &list, err);
		if (rc)
			return rc;
		json_array_foreach(list, i, sample)
		{
			number = json_object_get(m->numbers, name_of(name, sizeof(name), sample));
			if (number)
				m->of[json_integer_value(number)].sketch.slot[slot] =
				    (uint64_t)hs_prometheus_value(sample);
		}
		json_decref(list);
	}
	return 0;
}

/* ---- what comes of it ---- */

static int by_group(const void *a, const void *b)
{
	const struct member *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	order = order ? order : strcmp(x->group, y->group);
	order = order ? order : strcmp(x->instance, y->instance);
	return order ? order : strcmp(x->guest, y->guest);
}

static bool same_group(const struct member *a, const struct member *b)
{
	return strcmp(a->key, b->key) == 0 && strcmp(a->group, b->group) == 0;
}

struct gain {
	size_t nr_hosts;
	struct hs_sketch_common all;
	double now, now_error; /* contents that go as they are placed */
	double more, error;    /* that would go beyond it */
};

/* Members of one group, host by host. */
static int weigh(const struct member *of, size_t nr, struct gain *out)
{
	const struct hs_sketch **list = calloc(nr, sizeof(*list));
	struct hs_sketch_common here;
	double squares = 0;

	if (!list)
		return -ENOMEM;
	*out = (struct gain){ 0 };
	for (size_t i = 0; i < nr; i++)
		list[i] = &of[i].sketch;
	hs_sketch_in_common(list, nr, &out->all);
	for (size_t i = 0, end; i < nr; i = end) {
		for (end = i + 1; end < nr && strcmp(of[end].instance, of[i].instance) == 0; end++)
			;
		hs_sketch_in_common(list + i, end - i, &here);
		out->now += here.across;
		squares += here.across_error * here.across_error;
		out->nr_hosts++;
	}
	free(list);
	out->now_error = sqrt(squares);
	out->more = fmax(0, out->all.across - out->now);
	out->error = hypot(out->all.across_error, out->now_error);
	return 0;
}

struct pair {
	size_t guest, with;
	struct hs_sketch_overlap there, here; /* with the best one elsewhere, and with the best one on its host */
	double more, surely;
};

static int by_more(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	return x->surely != y->surely ? (x->surely < y->surely ? 1 : -1)
	       : x->guest < y->guest  ? -1
				      : x->guest > y->guest;
}

static void best_of(const struct member *of, size_t nr, size_t guest, struct pair *out)
{
	struct hs_sketch_overlap o;

	*out = (struct pair){ .guest = guest, .with = guest };
	for (size_t k = 0; k < nr; k++) {
		const bool is_here = strcmp(of[k].instance, of[guest].instance) == 0;

		if (k == guest)
			continue;
		hs_sketch_compare(&of[guest].sketch, &of[k].sketch, &o);
		if (is_here && o.contents > out->here.contents)
			out->here = o;
		if (!is_here && o.contents > out->there.contents) {
			out->there = o;
			out->with = k;
		}
	}
	out->more = out->there.contents - out->here.contents;
	out->surely = out->more - fmax(2, sqrt(2 * log((double)nr))) * hypot(out->there.error, out->here.error);
}

static json_t *bytes_of(double contents)
{
	return json_integer((json_int_t)(contents * (double)HS_BASE_SIZE));
}

static void add_pair(json_t *list, const struct member *of, const struct pair *p)
{
	const struct member *g = &of[p->guest], *with = &of[p->with];

	(void)json_array_append_new(
	    list, json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o}", "guest", g->guest, "on", g->instance, "with", with->guest,
			    "with_on", with->instance, "common_bytes", bytes_of(p->there.contents), "error_bytes",
			    bytes_of(p->there.error), "common_here_bytes", bytes_of(p->here.contents)));
}

/* The best partner elsewhere of each guest, where it surely is a better one than those that it lives with. */
static json_t *pairs_of(const struct member *of, size_t nr, const struct hs_together_options *o)
{
	struct pair *pairs = calloc(nr, sizeof(*pairs));
	json_t *out = json_array();
	size_t nr_pairs = 0;

	for (size_t i = 0; pairs && i < nr; i++) {
		struct pair *p = &pairs[nr_pairs];

		best_of(of, nr, i, p);
		nr_pairs += p->surely > 0 && p->more * 100 >= of[i].sketch.contents * o->least_percent;
	}
	if (nr_pairs)
		qsort(pairs, nr_pairs, sizeof(*pairs), by_more);
	for (size_t i = 0; i < nr_pairs && json_array_size(out) < o->limit; i++) {
		bool listed = false;

		/* Two that are each other's best are listed once. */
		for (size_t k = 0; k < i && !listed; k++)
			listed = pairs[k].guest == pairs[i].with && pairs[k].with == pairs[i].guest;
		if (!listed)
			add_pair(out, of, &pairs[i]);
	}
	free(pairs);
	return out;
}

static int add_group(json_t *groups, const struct member *of, size_t nr, const struct hs_together_options *o)
{
	struct gain gain;
	bool advise;
	json_t *group;

	if (weigh(of, nr, &gain))
		return -ENOMEM;
	advise =
	    gain.nr_hosts > 1 && (gain.more - SURE_ERRORS * gain.error) * 100 > gain.all.contents * o->least_percent;
	group = json_pack("{s:s,s:s,s:i,s:i}", "group", of->group, "key", of->key, "hosts", (int)gain.nr_hosts,
			  "guests", (int)nr);
	(void)json_object_set_new(group, "contents_bytes", bytes_of(gain.all.contents));
	(void)json_object_set_new(group, "across_now_bytes", bytes_of(gain.now));
	(void)json_object_set_new(group, "across_now_error_bytes", bytes_of(gain.now_error));
	(void)json_object_set_new(group, "across_at_most_bytes", bytes_of(gain.all.across));
	(void)json_object_set_new(group, "across_at_most_error_bytes", bytes_of(gain.all.across_error));
	(void)json_object_set_new(group, "gain_bytes", bytes_of(gain.more));
	(void)json_object_set_new(group, "gain_error_bytes", bytes_of(gain.error));
	(void)json_object_set_new(group, "advice", json_boolean(advise));
	(void)json_object_set_new(group, "pairs", advise ? pairs_of(of, nr, o) : json_array());
	return json_array_append_new(groups, group) ? -ENOMEM : 0;
}

/* How many hosts have which key. */
static json_t *count_keys(const json_t *keys)
{
	json_t *out = json_object(), *key;
	const char *instance;

	json_object_foreach((json_t *)(uintptr_t)keys, instance, key)
	{
		const char *name = json_string_value(key);

		(void)json_object_set_new(out, name, json_integer(json_integer_value(json_object_get(out, name)) + 1));
	}
	return out;
}

int hs_together_ask(struct hs_prometheus *p, const struct hs_together_options *o, json_t **out, struct hs_error *err)
{
	struct members m = { .numbers = json_object(), .keys = json_object() };
	json_t *groups = json_array();
	int rc = ask_keys(p, o->match, &m, err);

	if (!rc)
		rc = ask_contents(p, o->match, &m, err);
	if (!rc)
		rc = ask_slots(p, o->match, &m, err);
	if (!rc && m.nr)
		qsort(m.of, m.nr, sizeof(*m.of), by_group);
	for (size_t i = 0, end; i < m.nr && !rc; i = end) {
		for (end = i + 1; end < m.nr && same_group(&m.of[i], &m.of[end]); end++)
			;
		rc = add_group(groups, &m.of[i], end - i, o);
		if (rc)
			(void)hs_error_set(err, rc, "out of memory");
	}
	if (rc)
		json_decref(groups);
	else
		*out = json_pack("{s:o,s:i,s:o}", "keys", count_keys(m.keys), "least_percent", (int)o->least_percent,
				 "groups", groups);
	members_finish(&m);
	return rc;
}

/* ---- showing ---- */

static void bytes(const json_t *o, const char *key, const char *error)
{
	char a[32], b[32];

	(void)printf(" %10s", hs_human_bytes(a, (int64_t)hs_json_double(o, key)));
	if (error)
		(void)printf(" +- %-9s", hs_human_bytes(b, (int64_t)hs_json_double(o, error)));
}

static void show_pairs(const json_t *pairs)
{
	char a[600];
	const json_t *p;
	size_t i;

	(void)printf("\n  %-24s %-24s %-24s %-24s %24s %12s\n", "GUEST", "ON", "TOGETHER WITH", "ON", "IN COMMON",
		     "BEST HERE");
	json_array_foreach(pairs, i, p)
	{
		(void)printf("  %s", hs_terminal_column(a, sizeof(a), hs_json_text(p, "guest"), 24));
		(void)printf(" %s", hs_terminal_column(a, sizeof(a), hs_json_text(p, "on"), 24));
		(void)printf(" %s", hs_terminal_column(a, sizeof(a), hs_json_text(p, "with"), 24));
		(void)printf(" %s", hs_terminal_column(a, sizeof(a), hs_json_text(p, "with_on"), 24));
		bytes(p, "common_bytes", "error_bytes");
		bytes(p, "common_here_bytes", NULL);
		(void)putchar('\n');
	}
}

static void show_group(const json_t *g)
{
	const double contents = hs_json_double(g, "contents_bytes"), percent = contents > 0 ? 100 / contents : 0;
	const json_t *pairs = json_object_get(g, "pairs");
	char a[600];

	(void)printf("\ngroup %s: %.0f guests on %.0f hosts",
		     hs_terminal_safe(a, sizeof(a), hs_json_text(g, "group"), 63), hs_json_double(g, "guests"),
		     hs_json_double(g, "hosts"));
	(void)printf(", cold contents but zeros, each guest by itself:");
	bytes(g, "contents_bytes", NULL);
	(void)printf("\n  identical across guests as they are placed");
	bytes(g, "across_now_bytes", "across_now_error_bytes");
	(void)printf(" %4.1f %%\n  were they all on one host              ",
		     hs_json_double(g, "across_now_bytes") * percent);
	(void)printf("   ");
	bytes(g, "across_at_most_bytes", "across_at_most_error_bytes");
	(void)printf(" %4.1f %%\n  so placement brings at most            ",
		     hs_json_double(g, "across_at_most_bytes") * percent);
	(void)printf("   ");
	bytes(g, "gain_bytes", "gain_error_bytes");
	(void)printf(" %4.1f %%\n", hs_json_double(g, "gain_bytes") * percent);
	if (!json_is_true(json_object_get(g, "advice")))
		(void)printf("  no advice: that is too little, or too unsure, to move a guest for\n");
	else if (!json_array_size(pairs))
		(void)printf("  no two guests stand out: what is identical is spread evenly\n");
	else
		show_pairs(pairs);
}

void hs_together_show(const json_t *together)
{
	const json_t *keys = json_object_get(together, "keys"), *g;
	const char *key;
	json_t *nr;
	size_t i;
	char a[600];

	if (json_object_size(keys) > 1) {
		(void)printf("\nhosts have different keys, and only those with the same one can be compared:");
		json_object_foreach((json_t *)(uintptr_t)keys, key, nr)
		{
			(void)printf(" %s on %d", hs_terminal_safe(a, sizeof(a), key, 32), (int)json_integer_value(nr));
		}
		(void)printf("; give all of them one fleet_key_file\n");
	}
	json_array_foreach(json_object_get(together, "groups"), i, g)
	{
		show_group(g);
	}
	if (!json_array_size(json_object_get(together, "groups")))
		(void)printf(
		    "\nno guest has a sketch yet: a first cycle takes some ten seconds, with a guest opted in and the "
		    "mode not off\n");
}
