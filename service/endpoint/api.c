/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes and shapes. A request that only asks is answered at once; one that changes something is handed to the daemon
 * and answered when that is done. Everything that was sent is checked here, and what is wrong is named.
 */
#include "api_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- answers ---- */

void hs_api_answer(struct hs_http_exchange *x, unsigned int status, json_t *body, const char *headers)
{
	static const char nomem[] = "{\"error\":{\"code\":\"out-of-memory\",\"message\":\"out of memory\"}}";
	char *text = body ? json_dumps(body, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

	json_decref(body);
	if (text)
		hs_http_reply(x, status, HS_API_JSON, text, strlen(text), headers);
	else
		hs_http_reply(x, 500, HS_API_JSON, nomem, sizeof(nomem) - 1, NULL);
	free(text);
}

/* A message quotes what was sent or what stands in a file: neither has to be text. A new reference. */
static json_t *message_of(const char *text)
{
	char clean[1024];

	(void)snprintf(clean, sizeof(clean), "%s", text ? text : "");
	hs_text_mend(clean);
	return json_string(clean);
}

static void fail_with(struct hs_http_exchange *x, unsigned int status, const char *code, const char *message,
		      const char *headers)
{
	if (!message || !*message)
		message = "no further reason is known";
	hs_api_answer(x, status, json_pack("{s:{s:s,s:o}}", "error", "code", code, "message", message_of(message)),
		      headers);
}

void hs_api_fail(struct hs_http_exchange *x, unsigned int status, const char *code, const char *message)
{
	fail_with(x, status, code, message, NULL);
}

void hs_api_on_done(void *arg, int rc, const char *text)
{
	static const struct {
		int rc;
		unsigned int status;
		const char *code;
	} codes[] = {
		{ -ENOENT, 404, "no-such-guest" }, { -EINVAL, 400, "bad-request" }, { -ENOTCONN, 503, "libvirt-down" },
		{ -EBUSY, 409, "busy" },           { -EAGAIN, 409, "busy" },        { -ENOMEM, 507, "no-room" },
		{ -EMFILE, 507, "no-room" },       { -ENOSPC, 507, "no-room" },     { -ECANCELED, 503, "ending" },
		{ -ESRCH, 404, "no-such-guest" },  { -ETIMEDOUT, 504, "timeout" },
	};
	struct hs_http_exchange *x = arg;

	if (rc >= 0) {
		hs_api_answer(x, rc == HS_DONE_UNDER_WAY ? 202 : 200,
			      json_pack("{s:b,s:o}", "done", rc == 0, "message", message_of(text)), NULL);
		return;
	}
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].rc == rc) {
			hs_api_fail(x, codes[i].status, codes[i].code, text);
			return;
		}
	}
	hs_api_fail(x, 500, "failed", text);
}

/* ---- what changes something ---- */

/* The body as an object with no other keys than `allowed`; NULL: answered already. No body is an empty object. */
static json_t *body_of(struct hs_api_request *r, const char *const *allowed)
{
	const char *type = hs_http_header(r->x, "Content-Type"), *key;
	size_t len;
	const char *text = hs_http_body(r->x, &len);
	json_error_t je;
	json_t *out, *value;

	if (!len)
		return json_object();
	if (type && strncasecmp(type, HS_API_JSON, strlen(HS_API_JSON)) != 0) {
		hs_api_fail(r->x, 415, "bad-type", "the body has to be application/json");
		return NULL;
	}
	out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!json_is_object(out)) {
		char message[300];

		(void)snprintf(message, sizeof(message), "the body is no JSON object: %s",
			       out ? "it is something else" : je.text);
		json_decref(out);
		hs_api_fail(r->x, 400, "bad-json", message);
		return NULL;
	}
	json_object_foreach(out, key, value)
	{
		size_t i = 0;

		while (allowed[i] && strcmp(allowed[i], key) != 0)
			i++;
		if (!allowed[i]) {
			json_decref(out);
			hs_api_fail(r->x, 400, "bad-request", "the body holds a key that nobody knows here");
			return NULL;
		}
	}
	return out;
}

static struct hs_done done_of(struct hs_api_request *r)
{
	return (struct hs_done){ hs_api_on_done, r->x };
}

static void put_mode(struct hs_api_request *r)
{
	static const char *const keys[] = { "mode", "sharing", NULL };
	json_t *body = body_of(r, keys);
	const char *name, *sharing;
	enum hs_after after = HS_AFTER_KEEP;
	enum hs_mode mode;

	if (!body)
		return;
	name = json_string_value(json_object_get(body, "mode"));
	sharing = json_string_value(json_object_get(body, "sharing"));
	if (!name || hs_mode_parse(name, &mode)) {
		hs_api_fail(r->x, 400, "bad-request", "mode: one of off, observe, save, auto");
	} else if (json_object_get(body, "sharing") &&
		   (!sharing || (strcmp(sharing, "keep") != 0 && strcmp(sharing, "undo") != 0))) {
		hs_api_fail(r->x, 400, "bad-request", "sharing: keep or undo");
	} else {
		if (sharing)
			after = strcmp(sharing, "undo") == 0 ? HS_AFTER_UNDO : HS_AFTER_KEEP;
		else
			after = r->control->after_default(r->control->ctx, mode);
		r->control->set_mode(r->control->ctx, mode, after, done_of(r));
	}
	json_decref(body);
}

static void put_opt_in(struct hs_api_request *r)
{
	static const char *const keys[] = { "group", "max_shared_bytes", "share", NULL };
	json_t *body = body_of(r, keys), *group, *max, *share;
	struct hs_opt_in_change change = { .on = true };

	if (!body)
		return;
	group = json_object_get(body, "group");
	max = json_object_get(body, "max_shared_bytes");
	share = json_object_get(body, "share");
	if (group && (!json_string_value(group) || !hs_group_valid(json_string_value(group)))) {
		hs_api_fail(r->x, 400, "bad-request", "group: 1 to 63 letters, digits, dots, dashes or underscores");
	} else if (max && (!json_is_integer(max) || json_integer_value(max) < 0)) {
		hs_api_fail(r->x, 400, "bad-request", "max_shared_bytes: a number of bytes; 0 is no limit");
	} else if (share &&
		   (!json_string_value(share) || hs_opt_in_scope_parse(json_string_value(share), &change.scope))) {
		hs_api_fail(r->x, 400, "bad-request", "share: group, guest or zero");
	} else {
		change.has_scope = share != NULL;
		change.has_group = group != NULL;
		if (group)
			(void)snprintf(change.group, sizeof(change.group), "%s", json_string_value(group));
		change.has_max_shared = max != NULL;
		change.max_shared_bytes = (uint64_t)json_integer_value(max);
		r->control->opt_in(r->control->ctx, r->guest, &change, done_of(r));
	}
	json_decref(body);
}

static void delete_opt_in(struct hs_api_request *r)
{
	r->control->opt_out(r->control->ctx, r->guest, done_of(r));
}

static void post_unshare(struct hs_api_request *r)
{
	r->control->unshare(r->control->ctx, r->guest[0] ? r->guest : NULL, done_of(r));
}

static void post_look(struct hs_api_request *r)
{
	r->control->look(r->control->ctx, done_of(r));
}

static void post_reload(struct hs_api_request *r)
{
	r->control->reload(r->control->ctx, done_of(r));
}

/* ---- routes ---- */

static const struct route {
	const char *path; /* one '*' stands for a guest */
	const char *method;
	void (*fn)(struct hs_api_request *r);
} routes[] = {
	{ "/metrics", "GET", hs_api_get_metrics },
	{ "/metrics/sketch", "GET", hs_api_get_sketches },
	{ "/v1/status", "GET", hs_api_get_status },
	{ "/v1/guests", "GET", hs_api_get_guests },
	{ "/v1/guests/*", "GET", hs_api_get_guest },
	{ "/v1/guests/*/opt-in", "PUT", put_opt_in },
	{ "/v1/guests/*/opt-in", "DELETE", delete_opt_in },
	{ "/v1/guests/*/unshare", "POST", post_unshare },
	{ "/v1/history", "GET", hs_api_get_history },
	{ "/v1/report", "GET", hs_api_get_report },
	{ "/v1/report/look", "GET", hs_api_get_look },
	{ "/v1/report/look", "POST", post_look },
	{ "/v1/mode", "GET", hs_api_get_mode },
	{ "/v1/mode", "PUT", put_mode },
	{ "/v1/diagnose", "GET", hs_api_get_diagnose },
	{ "/v1/unshare", "POST", post_unshare },
	{ "/v1/reload", "POST", post_reload },
};
#define NR_ROUTES (sizeof(routes) / sizeof(routes[0]))

static bool matches(const char *pattern, const char *path, char guest[HS_NAME_MAX])
{
	const char *star = strchr(pattern, '*');
	const size_t before = star ? (size_t)(star - pattern) : 0;
	size_t len;

	if (!star)
		return strcmp(pattern, path) == 0;
	if (strncmp(pattern, path, before) != 0)
		return false;
	len = strcspn(path + before, "/");
	if (!len || len >= HS_NAME_MAX || strcmp(path + before + len, star + 1) != 0)
		return false;
	memcpy(guest, path + before, len);
	guest[len] = '\0';
	return true;
}

void hs_api_handle(void *ctx, struct hs_http_exchange *x)
{
	struct hs_api_request r = { .control = ctx, .x = x };
	const char *method = hs_http_method(x);
	char allow[128] = "";

	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	if (hs_http_access(x) == HS_HTTP_METRICS && strcmp(hs_http_path(x), "/metrics") != 0 &&
	    strcmp(hs_http_path(x), "/metrics/sketch") != 0) {
		hs_api_fail(x, 403, "metrics-only", "this port serves metrics alone ([tls] allow)");
		return;
	}
	for (size_t i = 0; i < NR_ROUTES; i++) {
		size_t len = strlen(allow);

		r.guest[0] = '\0';
		if (!matches(routes[i].path, hs_http_path(x), r.guest))
			continue;
		if (strcmp(routes[i].method, method) != 0) {
			(void)snprintf(allow + len, sizeof(allow) - len, "%s%s",
				       len ? ", " : "Allow: ", routes[i].method);
			continue;
		}
		if (hs_http_access(x) < HS_HTTP_CHANGE && strcmp(method, "GET") != 0)
			hs_api_fail(x, 403, "read-only",
				    "this port only reads; changes are made through the UNIX socket");
		else
			routes[i].fn(&r);
		return;
	}
	if (allow[0])
		fail_with(x, 405, "bad-method", "this path does not take that method", allow);
	else
		hs_api_fail(x, 404, "no-such-path", "there is no such path; docs/openapi.yaml lists them");
}
