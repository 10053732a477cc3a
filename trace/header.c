/*
 * The header as pairs of name and value: a later version can add some, and one that reads an older file finds out which
 * are missing. One table serves both ways.
 */
#include "trace_internal.h"

enum value_form { VALUE_NUMBER = 0, VALUE_TEXT };

/* Pairs that a header may have, known or not. */
#define MAX_PAIRS 256
#define NAME_MAX_ 64 /* with the end */

static const struct field {
	const char *name;
	uint8_t form, bytes; /* bytes of a number: 4 or 8 */
	size_t at;
} fields[] = {
#define NUMBER(name, member)                                                                                           \
	{                                                                                                              \
		name, VALUE_NUMBER, sizeof(((struct hs_trace_header *)0)->member),                                     \
		    offsetof(struct hs_trace_header, member)                                                           \
	}
#define TEXT(member)                                                                                                   \
	{                                                                                                              \
#member, VALUE_TEXT, 0, offsetof(struct hs_trace_header, member)                                       \
	}
#define SETTING(member) NUMBER(#member, settings.member)
	NUMBER("base_bytes", base_bytes),
	NUMBER("huge_bytes", huge_bytes),
	NUMBER("started_s", started_s),
	NUMBER("memory_bytes", memory_bytes),
	NUMBER("nr_cpus", nr_cpus),
	TEXT(program),
	TEXT(kernel),
	TEXT(cpu),
	SETTING(coarse.rounds),
	SETTING(coarse.interval_ms),
	SETTING(coarse.hot_rounds),
	SETTING(fine.samples),
	SETTING(fine.interval_ms),
	SETTING(fine.max_split),
	SETTING(fine.max_window_ms),
	SETTING(fine.give_up_hot),
	SETTING(policy.max_hot),
	SETTING(policy.hot_count),
	SETTING(policy.min_gain_cold),
	SETTING(policy.min_gain_hot),
	SETTING(policy.min_cold_rounds),
	SETTING(policy.unshare_hot_rounds),
	SETTING(policy.unshare_hot_pages),
	SETTING(policy.ban_breaks),
	SETTING(policy.ban_cycles),
	SETTING(hash_cold_rounds),
	SETTING(look_again),
	SETTING(fine_all),
	SETTING(no_fine),
	SETTING(merging),
};

#define NR_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* A setting that were forgotten above would be lost silently: these are all there are. */
_Static_assert(sizeof(struct hs_trace_settings) == (3 + 5 + 9 + 5) * sizeof(uint32_t),
	       "a setting was added: name it above, and in docs/trace-format.md");

static uint64_t number_at(const struct hs_trace_header *h, const struct field *f)
{
	const char *at = (const char *)h + f->at;
	uint32_t small;
	uint64_t large;

	if (f->bytes == sizeof(large)) {
		memcpy(&large, at, sizeof(large));
		return large;
	}
	memcpy(&small, at, sizeof(small));
	return small;
}

static void set_number(struct hs_trace_header *h, const struct field *f, uint64_t v)
{
	char *at = (char *)h + f->at;
	const uint32_t small = (uint32_t)v;

	if (f->bytes == sizeof(v))
		memcpy(at, &v, sizeof(v));
	else
		memcpy(at, &small, sizeof(small));
}

void hs_trace_encode_header(struct hs_put *p, const struct hs_trace_header *h)
{
	hs_put_int(p, NR_FIELDS);
	for (size_t i = 0; i < NR_FIELDS; i++) {
		hs_put_text(p, fields[i].name);
		hs_put_byte(p, fields[i].form);
		if (fields[i].form == VALUE_TEXT)
			hs_put_text(p, (const char *)h + fields[i].at);
		else
			hs_put_int(p, number_at(h, &fields[i]));
	}
}

static size_t field_named(const char *name)
{
	size_t i = 0;

	while (i < NR_FIELDS && strcmp(fields[i].name, name) != 0)
		i++;
	return i;
}

static void get_pair(struct hs_get *g, struct hs_trace_header *h, bool seen[NR_FIELDS])
{
	char name[NAME_MAX_], text[HS_TRACE_FACT_MAX] = "";
	uint64_t number = 0;
	uint8_t form;
	size_t i;

	hs_get_text(g, name, sizeof(name));
	form = hs_get_byte(g);
	if (form == VALUE_TEXT)
		hs_get_text(g, text, sizeof(text));
	else if (form == VALUE_NUMBER)
		number = hs_get_int(g, UINT64_MAX, "");
	else
		hs_get_fail(g, "a value of the header is written in a form that is not known");
	if (g->why)
		return;
	i = field_named(name);
	if (i == NR_FIELDS)
		return; /* of a later version of the program */
	if (fields[i].form != form || seen[i])
		hs_get_fail(g, "a value of the header is given twice or in the wrong form");
	else if (form == VALUE_TEXT)
		memcpy((char *)h + fields[i].at, text, sizeof(text));
	else if (fields[i].bytes == 4 && number > UINT32_MAX)
		hs_get_fail(g, "a number of the header is out of its range");
	else
		set_number(h, &fields[i], number);
	seen[i] = true;
}

void hs_trace_decode_header(struct hs_get *g, struct hs_trace_header *h)
{
	bool seen[NR_FIELDS] = { false };
	uint64_t nr;

	memset(h, 0, sizeof(*h));
	nr = hs_get_int(g, MAX_PAIRS, "the header has too many values");
	for (uint64_t i = 0; i < nr && !g->why; i++)
		get_pair(g, h, seen);
	if (!g->why && g->at != g->end)
		hs_get_fail(g, "the header is longer than what it holds");
	for (size_t i = 0; i < NR_FIELDS; i++)
		if (!seen[i])
			hs_get_fail(g, "a value is missing in the header");
	if (!g->why && (h->base_bytes != HS_BASE_SIZE || h->huge_bytes != HS_HUGE_SIZE))
		hs_get_fail(g, "its page sizes are not 4 KiB and 2 MiB");
}
