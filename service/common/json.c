/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <string.h>

#include "hs/report_fields.h"

const char *const hs_skew_names[HS_NR_SKEW] = { "0",     "1",      "2-3",     "4-7",     "8-15", "16-31",
						"32-63", "64-127", "128-255", "256-511", "512" };

static json_t *reasons(const uint32_t *counts)
{
	json_t *out = json_object();

	for (int i = 0; i < HS_NR_REASONS; i++)
		(void)json_object_set_new(out, hs_policy_reason_name((enum hs_policy_reason)i),
					  json_integer(counts[i]));
	return out;
}

static json_t *skew(const uint32_t *counts)
{
	json_t *out = json_object();

	for (int i = 0; i < HS_NR_SKEW; i++)
		(void)json_object_set_new(out, hs_skew_names[i], json_integer(counts[i]));
	return out;
}

static json_t *value(const struct hs_report_field *f, const void *record)
{
	const char *at = (const char *)record + f->offset;

	if (f->json_per != 0)
		return json_real(hs_report_field_number(f, record) / f->json_per);
	switch ((enum hs_field_kind)f->kind) {
	case HS_FIELD_U32:
		return json_integer(*(const uint32_t *)at);
	case HS_FIELD_U64:
	case HS_FIELD_S64:
		return json_integer(*(const json_int_t *)at);
	case HS_FIELD_PID:
		return json_integer(*(const pid_t *)at);
	case HS_FIELD_BOOL:
		return json_boolean(*(const bool *)at);
	case HS_FIELD_TEXT:
		return json_string(*(const char *const *)at ? *(const char *const *)at : "none");
	case HS_FIELD_CHARS:
		return json_string(*at ? at : "none");
	case HS_FIELD_REASONS:
		return reasons((const uint32_t *)at);
	case HS_FIELD_SKEW:
		return skew((const uint32_t *)at);
	case HS_FIELD_LEDGER:
		return hs_json_ledger((const struct hs_ledger *)at);
	}
	return NULL;
}

/* The fields of one record, those named "object.key" in an object of their own; `only` NULL: all, otherwise those of
 * that object. NULL: out of memory. */
static json_t *record_of(enum hs_field_record which, const void *record, const char *only)
{
	json_t *out = json_object(), *into;

	for (size_t i = 0; i < hs_nr_report_fields; i++) {
		const struct hs_report_field *f = &hs_report_fields[i];
		const char *dot = f->json ? strchr(f->json, '.') : NULL;
		char object[64];

		if (f->record != which || !f->json)
			continue;
		into = out;
		(void)snprintf(object, sizeof(object), "%.*s", dot ? (int)(dot - f->json) : 0, f->json);
		if (only && strcmp(object, only) != 0)
			continue;
		if (dot && !only) {
			into = json_object_get(out, object);
			if (!into && json_object_set_new(out, object, into = json_object()))
				goto nomem;
		}
		if (json_object_set_new(into, dot ? dot + 1 : f->json, value(f, record)))
			goto nomem;
	}
	return out;
nomem:
	json_decref(out);
	return NULL;
}

json_t *hs_json_ledger(const struct hs_ledger *l)
{
	return record_of(HS_FIELD_OF_LEDGER, l, NULL);
}

json_t *hs_json_totals(const struct hs_pipeline_totals *t)
{
	return record_of(HS_FIELD_OF_TOTALS, t, NULL);
}

json_t *hs_json_guest(const struct hs_guest_report *r)
{
	return record_of(HS_FIELD_OF_GUEST, r, NULL);
}

json_t *hs_json_guest_part(const struct hs_guest_report *r, const char *object)
{
	return record_of(HS_FIELD_OF_GUEST, r, object);
}
