/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The history's answers on the largest history that there can be: bounded, page by page or by resolution, nothing twice
 * and nothing left out; and what is wrong in a request is named. The transport is this file.
 */
#include "hs_test.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "service/endpoint/api.h"

#define RESOLUTION_S  10
#define BEGAN         1000000
#define MAX_PARAMS    8
#define ANSWER_BYTES  300000 /* 1000 points of less than 300 bytes */
#define LONGEST_PAGES 200

struct hs_http_exchange {
	char query[512];
	char *keys[MAX_PARAMS], *values[MAX_PARAMS];
	size_t nr;
	unsigned int status;
	size_t len;
	json_t *answer;
};

/* ---- the transport ---- */

const char *hs_http_method(const struct hs_http_exchange *x)
{
	(void)x;
	return "GET";
}

const char *hs_http_path(const struct hs_http_exchange *x)
{
	(void)x;
	return "/v1/history";
}

const char *hs_http_query(const struct hs_http_exchange *x, const char *key)
{
	for (size_t i = 0; i < x->nr; i++)
		if (strcmp(x->keys[i], key) == 0)
			return x->values[i];
	return NULL;
}

const char *hs_http_other_query(const struct hs_http_exchange *x, bool (*known)(const void *ctx, const char *key),
				const void *ctx)
{
	for (size_t i = 0; i < x->nr; i++)
		if (!known(ctx, x->keys[i]))
			return x->keys[i];
	return NULL;
}

const char *hs_http_header(const struct hs_http_exchange *x, const char *key)
{
	(void)x;
	(void)key;
	return NULL;
}

const char *hs_http_body(const struct hs_http_exchange *x, size_t *len)
{
	(void)x;
	*len = 0;
	return "";
}

enum hs_http_access hs_http_access(const struct hs_http_exchange *x)
{
	(void)x;
	return HS_HTTP_READ;
}

void hs_http_reply(struct hs_http_exchange *x, unsigned int status, const char *content_type, const char *body,
		   size_t len, const char *headers)
{
	(void)content_type;
	(void)headers;
	x->status = status;
	x->len = len;
	x->answer = json_loadb(body, len, 0, NULL);
}

void hs_http_reply_with(struct hs_http_exchange *x, unsigned int status, const char *content_type, char *body,
			size_t len)
{
	hs_http_reply(x, status, content_type, body, len, NULL);
	free(body);
}

/* ---- the daemon behind ---- */

static struct hs_history_point points[HS_HISTORY_MAX_POINTS];
static struct hs_history h;

static const struct hs_history *ask_history(void *ctx)
{
	(void)ctx;
	return &h;
}

static const struct hs_control control = { .history = ask_history };

/* As many points as there can be, and so many more that have fallen out again. */
static void take(size_t room, uint64_t nr)
{
	h = (struct hs_history){ .points = points, .room = room, .started_at_s = BEGAN, .resolution_s = RESOLUTION_S };
	for (uint64_t i = 1; i <= nr; i++) {
		points[(h.first + h.nr) % h.room] = (struct hs_history_point){
			.at_s = (int64_t)(BEGAN + i * RESOLUTION_S),
			.mode = HS_MODE_SAVE,
			.nr_guests = 4000000000U,
			.saved_bytes = UINT64_MAX / 4,
			.net_saved_bytes = -(INT64_MAX / 2),
			.process_cpu_us = UINT64_MAX / 3,
		};
		h.taken++;
		if (h.nr < h.room)
			h.nr++;
		else
			h.first = (h.first + 1) % h.room;
	}
}

/* A new reference; the status has to be as given. */
static json_t *ask(const char *query, unsigned int status)
{
	struct hs_http_exchange x = { .nr = 0 };
	char *rest, *part;

	(void)snprintf(x.query, sizeof(x.query), "%s", query);
	for (rest = x.query; (part = strsep(&rest, "&"));) {
		if (!*part)
			continue;
		ck_assert_uint_lt(x.nr, MAX_PARAMS);
		x.keys[x.nr] = strsep(&part, "=");
		x.values[x.nr++] = part ? part : (char *)(uintptr_t) "";
	}
	hs_api_handle((void *)(uintptr_t)&control, &x);
	ck_assert_msg(x.status == status, "%s: %u", query, x.status);
	ck_assert_uint_lt(x.len, ANSWER_BYTES);
	ck_assert_ptr_nonnull(x.answer);
	return x.answer;
}

static uint64_t number_of(const json_t *point)
{
	return (uint64_t)(json_integer_value(json_object_get(point, "at")) - BEGAN) / RESOLUTION_S;
}

static json_int_t num(const json_t *answer, const char *key)
{
	return json_integer_value(json_object_get(answer, key));
}

/* ---- tests ---- */

/* Without a word about it: the whole, in one answer of a few hundred points. */
START_TEST(test_service_api_history_by_resolution)
{
	static const struct {
		uint64_t nr;
		const char *query;
		json_int_t step_s;
	} asked[] = {
		{ 0, "", 10 },
		{ 1, "", 10 },
		{ 500, "", 10 },
		{ 501, "", 20 },
		{ 105000, "", 2000 },
		{ 105000, "limit=1000", 1000 },
		{ 105000, "limit=1", 1000000 },
		{ 105000, "seconds=6000", 20 },
		{ 105000, "seconds=5000", 10 },
	};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		json_t *answer, *list;
		size_t nr;

		take(HS_HISTORY_MAX_POINTS, asked[i].nr);
		answer = ask(asked[i].query, 200);
		list = json_object_get(answer, "points");
		nr = json_array_size(list);
		ck_assert_int_eq(num(answer, "resolution_s"), RESOLUTION_S);
		ck_assert_msg(num(answer, "step_s") == asked[i].step_s, "%s of %llu: %lld", asked[i].query,
			      (unsigned long long)asked[i].nr, (long long)num(answer, "step_s"));
		ck_assert(json_is_false(json_object_get(answer, "more")));
		ck_assert_uint_le(nr, strstr(asked[i].query, "1000") ? 1000 : 500);
		ck_assert(nr > 0 || !asked[i].nr);
		for (size_t k = 1; k < nr; k++)
			ck_assert_uint_eq(number_of(json_array_get(list, k)) - number_of(json_array_get(list, k - 1)),
					  (uint64_t)asked[i].step_s / RESOLUTION_S);
		json_decref(answer);
	}
}
END_TEST

/* Each point once, in order, however large the pages; and the last cursor goes on when there are more. */
START_TEST(test_service_api_history_by_page)
{
	static const struct {
		const char *query;
		uint64_t every, first;
	} asked[] = { { "step=1", 1, 5001 },
		      { "step=10&limit=1000", 1, 5001 },
		      { "step=11&limit=1000", 2, 5002 },
		      { "step=300&limit=77", 30, 5010 },
		      { "step=10&seconds=1000", 1, 104901 } };

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		uint64_t expected = asked[i].first, pages = 0;
		char query[256];
		bool more = true;

		take(HS_HISTORY_MAX_POINTS, 105000);
		(void)snprintf(query, sizeof(query), "%s", asked[i].query);
		for (; more; pages++) {
			json_t *answer = ask(query, 200), *p;
			size_t k;

			json_array_foreach(json_object_get(answer, "points"), k, p)
			{
				ck_assert_uint_eq(number_of(p), expected);
				expected += asked[i].every;
			}
			more = json_is_true(json_object_get(answer, "more"));
			(void)snprintf(query, sizeof(query), "%s&after=%s", asked[i].query,
				       json_string_value(json_object_get(answer, "next")));
			json_decref(answer);
		}
		ck_assert_uint_gt(expected, 105000);
		ck_assert_uint_le(pages, LONGEST_PAGES);
		/* Later there is more: once the points are there, and nothing that was there before. */
		take(HS_HISTORY_MAX_POINTS, 105060);
		{
			json_t *answer = ask(query, 200);

			ck_assert_uint_eq(number_of(json_array_get(json_object_get(answer, "points"), 0)), expected);
			json_decref(answer);
		}
	}
}
END_TEST

/* The cursor of an answer without a step goes on in the step that was chosen then. */
START_TEST(test_service_api_history_cursor_keeps_step)
{
	json_t *answer;
	char query[160];

	take(HS_HISTORY_MAX_POINTS, 105000);
	answer = ask("", 200);
	(void)snprintf(query, sizeof(query), "after=%s", json_string_value(json_object_get(answer, "next")));
	json_decref(answer);
	take(HS_HISTORY_MAX_POINTS, 105500);
	answer = ask(query, 200);
	ck_assert_int_eq(num(answer, "step_s"), 2000);
	ck_assert_uint_eq(json_array_size(json_object_get(answer, "points")), 2); /* 105200, 105400 */
	json_decref(answer);
}
END_TEST

START_TEST(test_service_api_history_names_what_is_wrong)
{
	static const char *const wrong[][2] = {
		{ "seconds=", "seconds:" },
		{ "seconds=-1", "seconds:" },
		{ "seconds=1h", "seconds:" },
		{ "seconds=31536001", "seconds:" },
		{ "seconds=+5", "seconds:" },
		{ "seconds= 5", "seconds:" },
		{ "step=0", "step:" },
		{ "step=99999999999999999999999", "step:" },
		{ "limit=0", "limit:" },
		{ "limit=1001", "limit:" },
		{ "limit=1e3", "limit:" },
		{ "after=", "after:" },
		{ "after=1", "after:" },
		{ "after=1000000-1", "after:" },
		{ "after=1000000-0-5", "after:" },
		{ "after=1000000-1-105001", "after:" },
		{ "after=1000000-1-5x", "after:" },
		{ "after=999999-1-5", "after:" },
		{ "after=1000000-1--5", "after:" },
		{ "after= 1000000-1-5", "after:" },
		{ "after=1000000-01-5", "after:" },
		{ "lmit=5", "lmit: no such parameter; there are seconds step" },
		{ "limit=5&since=1", "since: no such" },
	};

	take(HS_HISTORY_MAX_POINTS, 105000);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		json_t *answer = ask(wrong[i][0], 400);
		const char *text = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

		ck_assert_msg(text && strncmp(text, wrong[i][1], strlen(wrong[i][1])) == 0, "%s: %s", wrong[i][0],
			      text);
		json_decref(answer);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/api_history");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_service_api_history_by_resolution);
	tcase_add_test(c, test_service_api_history_by_page);
	tcase_add_test(c, test_service_api_history_cursor_keeps_step);
	tcase_add_test(c, test_service_api_history_names_what_is_wrong);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
