/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history, at most HS_API_HISTORY_MAX points an answer. Without `step` all that was asked for is answered at the
 * finest resolution at which it fits into one answer; with it, page by page: each answer has a cursor to go on from.
 */
#include "api_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 31536000
#define LIMIT       500
#define LIMIT_MAX   1000

/* Points are numbered from 1 since the start of the service; answered are those whose number `every` divides. */
struct page {
	uint64_t first, every, limit;
};

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

/* The cursor names the start of the service, how many points make a step, and the last point that was answered. */
static void cursor(char out[64], const struct hs_history *h, uint64_t every, uint64_t number)
{
	(void)snprintf(out, 64, "%" PRId64 "-%" PRIu64 "-%" PRIu64, h->started_at_s, every, number);
}

static bool read_cursor(struct hs_api_request *r, const struct hs_history *h, struct page *p)
{
	const char *text = hs_http_query(r->x, "after");
	uint64_t every, number;
	char same[64];
	int64_t start;

	if (!text)
		return true;
	if (sscanf(text, "%" SCNd64 "-%" SCNu64 "-%" SCNu64, &start, &every, &number) != 3 || !every ||
	    every > SECONDS_MAX || number > h->taken || start != h->started_at_s ||
	    (cursor(same, h, every, number), strcmp(same, text) != 0)) {
		hs_api_fail(r->x, 400, "bad-request",
			    "after: it is no `next` of an earlier answer of this hs-shared, since its last start");
		return false;
	}
	if (!p->every)
		p->every = every;
	if (number + 1 > p->first)
		p->first = number + 1;
	return true;
}

static bool read_page(struct hs_api_request *r, const struct hs_history *h, struct page *p)
{
	static const char *const keys[] = { "seconds", "step", "limit", "after", NULL };
	uint64_t seconds = UINT64_MAX, step = 0;

	*p = (struct page){ .first = h->taken - h->nr + 1, .limit = LIMIT };
	if (!hs_api_query_keys(r, keys) || !hs_api_query_number(r, "seconds", 0, SECONDS_MAX, &seconds) ||
	    !hs_api_query_number(r, "step", 1, SECONDS_MAX, &step) ||
	    !hs_api_query_number(r, "limit", 1, LIMIT_MAX, &p->limit))
		return false;
	if (seconds / h->resolution_s < h->nr)
		p->first = h->taken - seconds / h->resolution_s + 1;
	p->every = (step + h->resolution_s - 1) / h->resolution_s;
	if (!read_cursor(r, h, p))
		return false;
	if (!p->every)
		p->every = (h->taken - p->first + p->limit) / p->limit;
	if (!p->every)
		p->every = 1;
	return true;
}

static json_t *point(const struct hs_history *h, uint64_t number)
{
	const size_t i = (size_t)(number - (h->taken - h->nr + 1));
	const struct hs_history_point *p = &h->points[(h->first + i) % h->room];

	return json_pack("{s:I,s:s,s:i,s:i,s:I,s:I,s:I,s:I,s:f,s:f}", "at", (json_int_t)p->at_s, "mode",
			 hs_mode_name((enum hs_mode)p->mode), "guests", (int)p->nr_guests, "sharing",
			 (int)p->nr_sharing, "saved_bytes", num(p->saved_bytes), "net_saved_bytes",
			 (json_int_t)p->net_saved_bytes, "could_save_bytes", num(p->could_save_bytes),
			 "memory_available_bytes", num(p->memory_available_bytes), "cpu_seconds",
			 (double)p->process_cpu_us / 1e6, "ksmd_cpu_seconds", (double)p->ksmd_cpu_us / 1e6);
}

void hs_api_get_history(struct hs_api_request *r)
{
	const struct hs_history *h = r->control->history(r->control->ctx);
	uint64_t at, last, nr = 0;
	char next[64];
	json_t *list;
	struct page p;

	if (!read_page(r, h, &p))
		return;
	list = json_array();
	last = p.first - 1;
	for (at = (p.first + p.every - 1) / p.every * p.every; at <= h->taken && nr < p.limit; at += p.every, nr++) {
		(void)json_array_append_new(list, point(h, at));
		last = at;
	}
	cursor(next, h, p.every, last);
	hs_api_answer(r->x, 200,
		      json_pack("{s:i,s:I,s:b,s:s,s:o}", "resolution_s", (int)h->resolution_s, "step_s",
				num(p.every * h->resolution_s), "more", at <= h->taken, "next", next, "points", list),
		      NULL);
}
