/* SPDX-License-Identifier: Apache-2.0 */
/* What sharing saves, or would save: by guest, by group, and of the look that was asked for. */
#include "api_internal.h"

#include <string.h>

#include "service/common/json.h"

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

/* A sum: what is bytes or a number of huge pages; the rest is a guest's own. */
static bool is_summed(const char *key)
{
	const size_t len = strlen(key);

	return (len > 6 && strcmp(key + len - 6, "_bytes") == 0) || (len > 6 && strcmp(key + len - 6, "_pages") == 0);
}

/* Adds the numbers of `of` to those of `sum`. */
static void add(json_t *sum, json_t *of)
{
	const char *key;
	json_t *value;

	json_object_foreach(of, key, value)
	{
		json_t *so_far = json_object_get(sum, key);

		if (!is_summed(key) || !json_is_integer(value))
			continue;
		if (so_far)
			(void)json_integer_set(so_far, json_integer_value(so_far) + json_integer_value(value));
		else
			(void)json_object_set_new(sum, key, json_integer(json_integer_value(value)));
	}
}

/* The figures that a guest, a group and the whole have alike. */
static json_t *figures(const struct hs_guest_report *p)
{
	return json_pack("{s:I,s:I,s:I,s:I}", "memory_bytes", num(p->bytes), "could_save_bytes",
			 num(p->could_save_bytes), "could_save_at_most_bytes", num(p->could_save_at_most_bytes),
			 "saved_bytes", num(p->ledger.saved_bytes));
}

static json_t *empty_sum(void)
{
	static const struct hs_guest_report none;
	json_t *out = figures(&none), *saving = json_object(), *part = hs_json_guest_part(&none, "saving");

	add(saving, part);
	json_decref(part);
	(void)json_object_set_new(out, "saving", saving);
	return out;
}

static json_t *group_of(json_t *groups, const char *name)
{
	json_t *group = json_object_get(groups, name);

	if (!group) {
		group = empty_sum();
		(void)json_object_set_new(group, "guests", json_integer(0));
		(void)json_object_set_new(groups, name, group);
	}
	return group;
}

json_t *hs_api_report(const struct hs_model *m)
{
	json_t *guests = json_array(), *groups = json_object(), *out = empty_sum();

	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_model_guest *g = &m->guests[i];
		const struct hs_guest_report *p = hs_model_report(g);
		json_t *guest, *saving, *group, *count;

		if (!g->opt_in.on)
			continue;
		guest = figures(p);
		saving = hs_json_guest_part(p, "saving");
		group = group_of(groups, g->opt_in.group);
		count = json_object_get(group, "guests");
		(void)json_integer_set(count, json_integer_value(count) + 1);
		add(group, guest);
		add(json_object_get(group, "saving"), saving);
		add(out, guest);
		add(json_object_get(out, "saving"), saving);
		(void)json_object_set_new(guest, "saving", saving);
		(void)json_object_set_new(guest, "left_out", hs_json_guest_part(p, "left_out"));
		(void)json_object_update_new(
		    guest,
		    json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "id", g->id, "group", g->opt_in.group, "reason",
			      hs_guest_reason_name(g->obstacle.reason), "reason_text", g->obstacle.text, "zero_pages",
			      num(p->zero_pages), "duplicate_pages", num(p->duplicate_pages), "cold_identical_pages",
			      num(p->cold_identical), "known_pages", num(p->hashed_pages)));
		(void)json_array_append_new(guests, guest);
	}
	(void)json_object_update_new(out,
				     json_pack("{s:s,s:s,s:s,s:I,s:o,s:o}", "effective", hs_mode_name(m->effective),
					       "trouble", m->obstacle.text, "undo_pending", m->undo_pending, "cycles",
					       num(m->cycles), "groups", groups, "guests", guests));
	return out;
}

void hs_api_get_look(struct hs_api_request *r)
{
	const struct hs_model_look *l = &r->control->model(r->control->ctx)->look;
	json_t *out = json_pack("{s:s,s:I,s:I,s:s}", "state", hs_look_state_name(l->state), "asked_at",
				(json_int_t)l->asked_at_s, "ended_at", (json_int_t)l->ended_at_s, "message", l->text);

	if (l->report)
		(void)json_object_set(out, "report", l->report);
	hs_api_answer(r->x, 200, out, NULL);
}
