/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the API share. */
#ifndef HS_SERVICE_ENDPOINT_API_INTERNAL_H
#define HS_SERVICE_ENDPOINT_API_INTERNAL_H

#include <jansson.h>

#include "api.h"

#define HS_API_JSON "application/json"

struct hs_api_request {
	const struct hs_control *control;
	struct hs_http_exchange *x;
	char guest[HS_NAME_MAX]; /* from the path */
};

/* ---- api.c: answers ---- */

/* Drops the body, which may be NULL: out of memory. `headers` as hs_http_reply has them. */
void hs_api_answer(struct hs_http_exchange *x, unsigned int status, json_t *body, const char *headers);
void hs_api_fail(struct hs_http_exchange *x, unsigned int status, const char *code, const char *message);

/* As struct hs_done has it; arg: the exchange. */
void hs_api_on_done(void *arg, int rc, const char *text);

/* ---- api_query.c: false: what was sent is wrong, and 400 was answered ---- */

/* Nothing but these keys, which NULL ends, was sent. */
bool hs_api_query_keys(struct hs_api_request *r, const char *const *keys);
/* *out stays when the key was not sent. */
bool hs_api_query_number(struct hs_api_request *r, const char *key, uint64_t least, uint64_t most, uint64_t *out);

/* ---- api_get.c: what is only asked ---- */

void hs_api_get_status(struct hs_api_request *r);
void hs_api_get_guest(struct hs_api_request *r);
void hs_api_get_mode(struct hs_api_request *r);
void hs_api_get_diagnose(struct hs_api_request *r);
json_t *hs_api_guest_summary(const struct hs_model_guest *g); /* a new reference */

/* ---- api_large.c ---- */

void hs_api_get_guests(struct hs_api_request *r);
void hs_api_get_report(struct hs_api_request *r);
void hs_api_get_metrics(struct hs_api_request *r);
void hs_api_get_sketches(struct hs_api_request *r);

/* ---- api_history.c ---- */

void hs_api_get_history(struct hs_api_request *r);

/* ---- api_report.c: what sharing would save ---- */

void hs_api_get_look(struct hs_api_request *r);

#endif
