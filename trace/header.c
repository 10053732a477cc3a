/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header as pairs of name and value: a later version can add some, and one that reads an older file finds out which
 * are missing. First the facts of the run, then the pipeline's settings, by their table.
 */
#include "trace_internal.h"

enum value_form { VALUE_NUMBER = 0, VALUE_TEXT };

/* Pairs that a header may have, known or not. */
#define MAX_PAIRS 256
#define NAME_MAX_ 64 /* with the end */

/* A pair that this version knows: a fact, or a setting. */
struct field {
	const char *name;
	uint8_t form, bytes; /* bytes of a number: 1 (a bool), 4 or 8 */
	size_t at;
	const struct hs_setting *setting; /* NULL: a fact */
};

static const struct field facts[] = {
#define NUMBER(member)                                                                                                 \
	{                                                                                                              \
#member, VALUE_NUMBER, sizeof(((struct hs_trace_header *)0)->member),                                  \
		    offsetof(struct hs_trace_header, member), NULL                                                     \
	}
#define TEXT(member)                                                                                                   \
	{                                                                                                              \
#member, VALUE_TEXT, 0, offsetof(struct hs_trace_header, member), NULL                                 \
	}
	NUMBER(base_bytes), NUMBER(huge_bytes), NUMBER(started_s), NUMBER(memory_bytes), NUMBER(nr_cpus),
	TEXT(program),      TEXT(kernel),       TEXT(cpu),         NUMBER(merging),
};
#define NR_FACTS (sizeof(facts) / sizeof(facts[0]))

/* Numbered facts first, then settings; those that no trace has are passed over. */
static size_t nr_fields(void)
{
	return NR_FACTS + hs_nr_settings;
}

/* False: it has no name in a trace. */
static bool field_at(size_t i, struct field *out)
{
	const struct hs_setting *s = i < NR_FACTS ? NULL : &hs_settings[i - NR_FACTS];

	*out = s ? (struct field){ s->trace, VALUE_NUMBER, s->type == HS_SETTING_SIZE ? 8 : 4, 0, s } : facts[i];
	return out->name != NULL;
}

static uint64_t number_at(const struct hs_trace_header *h, const struct field *f)
{
	const char *at = (const char *)h + f->at;
	uint32_t small;
	uint64_t large;

	if (f->setting)
		return hs_setting_get(f->setting, &h->settings);
	if (f->bytes == sizeof(bool))
		return *(const bool *)at;
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

	if (f->setting)
		hs_setting_put(f->setting, &h->settings, v);
	else if (f->bytes == sizeof(bool))
		*(bool *)at = v != 0;
	else if (f->bytes == sizeof(v))
		memcpy(at, &v, sizeof(v));
	else
		memcpy(at, &small, sizeof(small));
}

void hs_trace_encode_header(struct hs_put *p, const struct hs_trace_header *h)
{
	struct field f;
	size_t nr = 0;

	for (size_t i = 0; i < nr_fields(); i++)
		nr += field_at(i, &f);
	hs_put_int(p, nr);
	for (size_t i = 0; i < nr_fields(); i++) {
		if (!field_at(i, &f))
			continue;
		hs_put_text(p, f.name);
		hs_put_byte(p, f.form);
		if (f.form == VALUE_TEXT)
			hs_put_text(p, (const char *)h + f.at);
		else
			hs_put_int(p, number_at(h, &f));
	}
}

/* Its number; nr_fields(): this version does not know it. */
static size_t field_named(const char *name, struct field *out)
{
	size_t i = 0;

	while (i < nr_fields() && (!field_at(i, out) || strcmp(out->name, name) != 0))
		i++;
	return i;
}

static bool is_name(const struct hs_setting *s, uint64_t v)
{
	uint64_t i = 0;

	while (s->names[i] && i < v)
		i++;
	return s->names[i] != NULL;
}

static void get_pair(struct hs_get *g, struct hs_trace_header *h, bool *seen)
{
	char name[NAME_MAX_], text[HS_TRACE_FACT_MAX] = "";
	uint64_t number = 0;
	struct field f;
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
	i = field_named(name, &f);
	if (i == nr_fields())
		return; /* of a later version of the program */
	if (f.form != form || seen[i])
		hs_get_fail(g, "a value of the header is given twice or in the wrong form");
	else if (form == VALUE_TEXT)
		memcpy((char *)h + f.at, text, sizeof(text));
	else if (f.bytes <= 4 && number > UINT32_MAX)
		hs_get_fail(g, "a number of the header is out of its range");
	else if (f.setting && f.setting->type == HS_SETTING_NAME && !is_name(f.setting, number))
		hs_get_fail(g, "a value of the header is none that its setting has");
	else
		set_number(h, &f, number);
	seen[i] = true;
}

void hs_trace_decode_header(struct hs_get *g, struct hs_trace_header *h)
{
	bool seen[MAX_PAIRS] = { false };
	struct field f;
	uint64_t nr;

	memset(h, 0, sizeof(*h));
	nr = hs_get_int(g, MAX_PAIRS, "the header has too many values");
	for (uint64_t i = 0; i < nr && !g->why; i++)
		get_pair(g, h, seen);
	if (!g->why && g->at != g->end)
		hs_get_fail(g, "the header is longer than what it holds");
	for (size_t i = 0; i < nr_fields(); i++) {
		if (seen[i] || !field_at(i, &f))
			continue;
		if (f.setting && f.setting->later)
			hs_setting_put(f.setting, &h->settings, hs_setting_get(f.setting, &hs_pipeline_config_default));
		else
			hs_get_fail(g, "a value is missing in the header");
	}
	if (!g->why && (h->base_bytes != HS_BASE_SIZE || h->huge_bytes != HS_HUGE_SIZE))
		hs_get_fail(g, "its page sizes are not 4 KiB and 2 MiB");
}
