/* SPDX-License-Identifier: Apache-2.0 */
/* What grows with the number of guests: put together on a thread of its own (struct hs_work), and sent as it is. */
#include "api_internal.h"

#include <stdlib.h>
#include <string.h>

#include "accept_header.h"
#include "metrics.h"

static json_t *guests_of(const struct hs_model *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->nr_guests; i++)
		(void)json_array_append_new(list, hs_api_guest_summary(&m->guests[i]));
	return json_pack("{s:o}", "guests", list);
}

struct large {
	struct hs_http_exchange *x;
	json_t *(*make)(const struct hs_model *m); /* NULL: metrics, by: */
	char *(*text_of)(const struct hs_model *m, bool openmetrics, size_t *len);
	bool open;  /* of them: OpenMetrics */
	char *text; /* NULL: there was no memory for it */
	size_t len;
};

static void run(void *arg, const struct hs_model *m)
{
	struct large *l = arg;
	json_t *body;

	if (!l->make) {
		l->text = l->text_of(m, l->open, &l->len);
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

static void answer(struct hs_api_request *r, const struct large *what)
{
	struct large *l = malloc(sizeof(*l));

	if (!l) {
		hs_api_fail(r->x, 500, "out-of-memory", "out of memory");
		return;
	}
	*l = *what;
	l->x = r->x;
	l->open = hs_accept_header_openmetrics(hs_http_header(r->x, "Accept"));
	r->control->work(r->control->ctx, &(struct hs_work){ run, done, l });
}

void hs_api_get_guests(struct hs_api_request *r)
{
	answer(r, &(struct large){ .make = guests_of });
}

void hs_api_get_report(struct hs_api_request *r)
{
	answer(r, &(struct large){ .make = hs_api_report });
}

void hs_api_get_metrics(struct hs_api_request *r)
{
	answer(r, &(struct large){ .text_of = hs_metrics_text });
}

void hs_api_get_sketches(struct hs_api_request *r)
{
	if (r->control->model(r->control->ctx)->sketch_key[0])
		answer(r, &(struct large){ .text_of = hs_metrics_sketch_text });
	else
		hs_api_fail(r->x, 404, "no-sketches",
			    "no sketches are made: fleet_key_file ([service]) names no key; docs/fleet.md has what "
			    "they are for");
}
