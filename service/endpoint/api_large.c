/* What grows with the number of guests: put together on a thread of its own (struct hs_work), and sent as it is. */
#include "api_internal.h"

#include <stdlib.h>
#include <string.h>

#include "accept_header.h"
#include "metrics.h"

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

static json_t *guests_of(const struct hs_model *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->nr_guests; i++)
		(void)json_array_append_new(list, hs_api_guest_summary(&m->guests[i]));
	return json_pack("{s:o}", "guests", list);
}

/* What would be saved, by guest and by group. */
static json_t *report_of(const struct hs_model *m)
{
	json_t *guests = json_array(), *groups = json_object();
	uint64_t could = 0, saved = 0, memory = 0;

	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_model_guest *g = &m->guests[i];
		const struct hs_guest_report *p = &g->report;
		json_t *group;

		if (!g->opt_in.on)
			continue;
		(void)json_array_append_new(
		    guests,
		    json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "id", g->id, "group", g->opt_in.group,
			      "reason", hs_guest_reason_name(g->obstacle.reason), "reason_text", g->obstacle.text,
			      "memory_bytes", num(p->bytes), "could_save_bytes", num(p->could_save_bytes),
			      "saved_bytes", num(p->ledger.saved_bytes), "zero_pages", num(p->zero_pages),
			      "duplicate_pages", num(p->duplicate_pages), "cold_identical_pages",
			      num(p->cold_identical), "known_pages", num(p->hashed_pages)));
		group = json_object_get(groups, g->opt_in.group);
		if (!group) {
			group = json_pack("{s:I,s:I,s:I,s:I}", "guests", (json_int_t)0, "memory_bytes", (json_int_t)0,
					  "could_save_bytes", (json_int_t)0, "saved_bytes", (json_int_t)0);
			(void)json_object_set_new(groups, g->opt_in.group, group);
		}
		json_integer_set(json_object_get(group, "guests"),
				 json_integer_value(json_object_get(group, "guests")) + 1);
		json_integer_set(json_object_get(group, "memory_bytes"),
				 json_integer_value(json_object_get(group, "memory_bytes")) + num(p->bytes));
		json_integer_set(json_object_get(group, "could_save_bytes"),
				 json_integer_value(json_object_get(group, "could_save_bytes")) +
				     num(p->could_save_bytes));
		json_integer_set(json_object_get(group, "saved_bytes"),
				 json_integer_value(json_object_get(group, "saved_bytes")) +
				     num(p->ledger.saved_bytes));
		could += p->could_save_bytes;
		saved += p->ledger.saved_bytes;
		memory += p->bytes;
	}
	return json_pack("{s:s,s:I,s:I,s:I,s:I,s:o,s:o}", "effective", hs_mode_name(m->effective), "cycles",
			 num(m->cycles), "memory_bytes", num(memory), "could_save_bytes", num(could), "saved_bytes",
			 num(saved), "groups", groups, "guests", guests);
}

struct large {
	struct hs_http_exchange *x;
	json_t *(*make)(const struct hs_model *m); /* NULL: metrics */
	bool open;                                 /* of them: OpenMetrics */
	char *text;                                /* NULL: there was no memory for it */
	size_t len;
};

static void run(void *arg, const struct hs_model *m)
{
	struct large *l = arg;
	json_t *body;

	if (!l->make) {
		l->text = hs_metrics_text(m, l->open, &l->len);
		return;
	}
	body = l->make(m);
	l->text = body ? json_dumps(body, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	l->len = l->text ? strlen(l->text) : 0;
	json_decref(body);
}

static void done(void *arg, bool was_run)
{
	struct large *l = arg;

	if (l->text)
		hs_http_reply_with(l->x, 200,
				   l->make   ? HS_API_JSON
				   : l->open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
					     : "text/plain; version=0.0.4; charset=utf-8",
				   l->text, l->len);
	else if (was_run)
		hs_api_fail(l->x, 500, "out-of-memory", "out of memory");
	else
		hs_api_fail(l->x, 503, "ending", "hs-shared is about to end, or has no memory");
	free(l);
}

static void answer(struct hs_api_request *r, json_t *(*make)(const struct hs_model *m))
{
	struct large *l = malloc(sizeof(*l));

	if (!l) {
		hs_api_fail(r->x, 500, "out-of-memory", "out of memory");
		return;
	}
	*l = (struct large){ .x = r->x,
			     .make = make,
			     .open = hs_accept_header_openmetrics(hs_http_header(r->x, "Accept")) };
	r->control->work(r->control->ctx, &(struct hs_work){ run, done, l });
}

void hs_api_get_guests(struct hs_api_request *r)
{
	answer(r, guests_of);
}

void hs_api_get_report(struct hs_api_request *r)
{
	answer(r, report_of);
}

void hs_api_get_metrics(struct hs_api_request *r)
{
	answer(r, NULL);
}
