/*
 * Routes and shapes. A request that only asks is answered at once; one that changes something is handed to the daemon
 * and answered when that is done. Everything that was sent is checked here, and what is wrong is named.
 */
#include "api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accept_header.h"
#include "service/common/json.h"
#include "metrics.h"

#define JSON "application/json"

struct request {
	const struct hs_control *control;
	struct hs_http_exchange *x;
	char guest[HS_NAME_MAX]; /* from the path */
};

/* ---- answers ---- */

static void answer(struct hs_http_exchange *x, unsigned int status, json_t *body, const char *headers)
{
	static const char nomem[] = "{\"error\":{\"code\":\"out-of-memory\",\"message\":\"out of memory\"}}";
	char *text = body ? json_dumps(body, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;

	json_decref(body);
	if (text)
		hs_http_reply(x, status, JSON, text, strlen(text), headers);
	else
		hs_http_reply(x, 500, JSON, nomem, sizeof(nomem) - 1, NULL);
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
	answer(x, status, json_pack("{s:{s:s,s:o}}", "error", "code", code, "message", message_of(message)), headers);
}

static void fail(struct hs_http_exchange *x, unsigned int status, const char *code, const char *message)
{
	fail_with(x, status, code, message, NULL);
}

static void on_done(void *arg, int rc, const char *text)
{
	static const struct {
		int rc;
		unsigned int status;
		const char *code;
	} codes[] = {
		{ -ENOENT, 404, "no-such-guest" }, { -EINVAL, 400, "bad-request" }, { -ENOTCONN, 503, "libvirt-down" },
		{ -EBUSY, 409, "busy" },           { -EAGAIN, 409, "busy" },        { -ENOMEM, 507, "no-room" },
		{ -EMFILE, 507, "no-room" },       { -ECANCELED, 503, "ending" },   { -ESRCH, 404, "no-such-guest" },
		{ -ETIMEDOUT, 504, "timeout" },
	};
	struct hs_http_exchange *x = arg;

	if (rc >= 0) {
		answer(x, rc == HS_DONE_UNDER_WAY ? 202 : 200,
		       json_pack("{s:b,s:o}", "done", rc == 0, "message", message_of(text)), NULL);
		return;
	}
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].rc == rc) {
			fail(x, codes[i].status, codes[i].code, text);
			return;
		}
	}
	fail(x, 500, "failed", text);
}

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

static json_t *guest_summary(const struct hs_model_guest *g)
{
	const struct hs_guest_report *r = &g->report;
	const struct hs_ledger *l = &r->ledger;

	return json_pack("{s:s,s:s,s:s,s:i,s:b,s:s,s:I,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "id",
			 g->id, "uuid", g->uuid, "source", g->source == HS_SOURCE_LIBVIRT ? "libvirt" : "process",
			 "pid", (int)g->pid, "opted_in", g->opt_in.on, "group", g->opt_in.group, "max_shared_bytes",
			 num(g->opt_in.max_shared_bytes), "state", hs_guest_state_name(g->state), "reason",
			 hs_guest_reason_name(g->reason), "reason_text", g->reason_text, "memory_bytes", num(r->bytes),
			 "shared_pages", num(l->shared), "zero_pages", num(l->zero), "saved_bytes", num(l->saved_bytes),
			 "net_saved_bytes", (json_int_t)l->net_saved_bytes, "could_save_bytes",
			 num(r->could_save_bytes), "hot_huge_pages", num(r->hot), "hot_huge_pages_still_huge",
			 num(r->hot_still_huge), "cold_huge_pages", num(r->cold), "huge_pages", num(r->nr_huge));
}

/* ---- GET ---- */

static void get_status(struct request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);
	size_t opted_in = 0, sharing = 0;
	uint64_t could = 0;
	json_t *out;

	for (size_t i = 0; i < m->nr_guests; i++) {
		opted_in += m->guests[i].opt_in.on;
		sharing += m->guests[i].has_report && m->guests[i].report.ledger.saved_bytes > 0;
		could += m->guests[i].has_report ? m->guests[i].report.could_save_bytes : 0;
	}
	out = json_pack("{s:s,s:I,s:I,s:s,s:s,s:s,s:I,s:b,s:s,s:s,s:s}", "version", m->version, "started_at",
			(json_int_t)m->started_at_s, "uptime_ms", num(m->uptime_ms), "mode", hs_mode_name(m->mode),
			"effective", hs_mode_name(m->effective), "mode_reason", m->mode_reason, "mode_changes",
			num(m->nr_mode_changes), "ksm_taken", m->engaged, "trouble", m->trouble, "trouble_reason",
			hs_guest_reason_name(m->trouble_reason), "undo_pending", m->undo_pending);
	(void)json_object_update_new(
	    out, json_pack(
		     "{s:{s:s,s:I,s:I,s:I,s:I},s:{s:i,s:i,s:i},s:{s:I,s:I,s:I},s:{s:b,s:b,s:s,s:s},s:{s:I,s:I,s:f},s:"
		     "{s:f,s:f,s:I}}",
		     "scan", "stage", m->stage, "stage_ms", num(m->stage_ms), "silent_ms", num(m->silent_ms), "cycles",
		     num(m->cycles), "last_cycle_ms", num(m->last_cycle_ms), "guests", "known", (int)m->nr_guests,
		     "opted_in", (int)opted_in, "sharing", (int)sharing, "saving", "saved_bytes",
		     num(m->totals.ledger.saved_bytes), "net_saved_bytes", (json_int_t)m->totals.ledger.net_saved_bytes,
		     "could_save_bytes", num(could), "libvirt", "configured", m->libvirt_configured, "connected",
		     m->libvirt_connected, "uri", m->libvirt_uri, "text", m->libvirt_text, "memory", "total_bytes",
		     num(m->memory_total_bytes), "available_bytes", num(m->memory_available_bytes), "psi_some_avg10",
		     m->psi_some_avg10, "process", "cpu_seconds", (double)m->process_cpu_us / 1e6, "scan_cpu_seconds",
		     (double)m->scan_cpu_us / 1e6, "rss_bytes", num(m->rss_bytes)));
	if (m->has_totals)
		(void)json_object_set_new(out, "totals", hs_json_totals(&m->totals));
	if (m->has_ksm)
		(void)json_object_set_new(
		    out, "ksm",
		    json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "pages_shared", num(m->ksm.pages_shared), "pages_sharing",
			      num(m->ksm.pages_sharing), "pages_unshared", num(m->ksm.pages_unshared), "pages_scanned",
			      num(m->ksm.pages_scanned), "full_scans", num(m->ksm.full_scans), "zero_pages",
			      num(m->ksm.zero_pages)));
	answer(r->x, 200, out, NULL);
}

static void get_guests(struct request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);
	json_t *list = json_array();

	for (size_t i = 0; i < m->nr_guests; i++)
		(void)json_array_append_new(list, guest_summary(&m->guests[i]));
	answer(r->x, 200, json_pack("{s:o}", "guests", list), NULL);
}

/* By name, UUID, or "pid-N", which a domain's process has as well. */
static const struct hs_model_guest *find(const struct hs_model *m, const char *guest)
{
	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_model_guest *g = &m->guests[i];
		char pid[32];

		(void)snprintf(pid, sizeof(pid), "pid-%d", (int)g->pid);
		if (strcmp(g->id, guest) == 0 || (g->uuid[0] && strcmp(g->uuid, guest) == 0) ||
		    (g->pid && strcmp(pid, guest) == 0))
			return g;
	}
	return NULL;
}

static void get_guest(struct request *r)
{
	const struct hs_model_guest *g = find(r->control->model(r->control->ctx), r->guest);
	json_t *out;

	if (!g) {
		fail(r->x, 404, "no-such-guest", "there is no such guest; /v1/guests lists them");
		return;
	}
	out = guest_summary(g);
	if (g->has_report)
		(void)json_object_set_new(out, "report", hs_json_guest(&g->report));
	answer(r->x, 200, out, NULL);
}

static void get_history(struct request *r)
{
	const struct hs_history *h = r->control->history(r->control->ctx);
	const char *text = hs_http_query(r->x, "seconds");
	json_t *list;
	size_t skip = 0;

	if (text) {
		char *end;
		unsigned long long s = strtoull(text, &end, 10);

		if (*text < '0' || *text > '9' || *end || s > 31536000) {
			fail(r->x, 400, "bad-request", "seconds: a number of seconds is wanted, such as 3600");
			return;
		}
		skip = s / h->resolution_s < h->nr ? h->nr - (size_t)(s / h->resolution_s) : 0;
	}
	list = json_array();
	for (size_t i = skip; i < h->nr; i++) {
		const struct hs_history_point *p = &h->points[(h->first + i) % h->room];

		(void)json_array_append_new(
		    list, json_pack("{s:I,s:s,s:i,s:i,s:I,s:I,s:I,s:I,s:f,s:f}", "at", (json_int_t)p->at_s, "mode",
				    hs_mode_name((enum hs_mode)p->mode), "guests", (int)p->nr_guests, "sharing",
				    (int)p->nr_sharing, "saved_bytes", num(p->saved_bytes), "net_saved_bytes",
				    (json_int_t)p->net_saved_bytes, "could_save_bytes", num(p->could_save_bytes),
				    "memory_available_bytes", num(p->memory_available_bytes), "cpu_seconds",
				    (double)p->process_cpu_us / 1e6, "ksmd_cpu_seconds", (double)p->ksmd_cpu_us / 1e6));
	}
	answer(r->x, 200, json_pack("{s:i,s:o}", "resolution_s", (int)h->resolution_s, "points", list), NULL);
}

/* What would be saved, by guest and by group. */
static void get_report(struct request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);
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
			      "reason", hs_guest_reason_name(g->reason), "reason_text", g->reason_text, "memory_bytes",
			      num(p->bytes), "could_save_bytes", num(p->could_save_bytes), "saved_bytes",
			      num(p->ledger.saved_bytes), "zero_pages", num(p->zero_pages), "duplicate_pages",
			      num(p->duplicate_pages), "cold_identical_pages", num(p->cold_identical), "known_pages",
			      num(p->hashed_pages)));
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
	answer(r->x, 200,
	       json_pack("{s:s,s:I,s:I,s:I,s:I,s:o,s:o}", "effective", hs_mode_name(m->effective), "cycles",
			 num(m->cycles), "memory_bytes", num(memory), "could_save_bytes", num(could), "saved_bytes",
			 num(saved), "groups", groups, "guests", guests),
	       NULL);
}

static void get_mode(struct request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);

	answer(r->x, 200,
	       json_pack("{s:s,s:s,s:s}", "mode", hs_mode_name(m->mode), "effective", hs_mode_name(m->effective),
			 "reason", m->mode_reason),
	       NULL);
}

/* The text is JSON already. */
static void on_diagnosed(void *arg, int rc, const char *text)
{
	if (rc)
		on_done(arg, rc, text);
	else
		hs_http_reply(arg, 200, JSON, text, strlen(text), NULL);
}

static void get_diagnose(struct request *r)
{
	r->control->diagnose(r->control->ctx, (struct hs_done){ on_diagnosed, r->x });
}

static void get_metrics(struct request *r)
{
	const bool open = hs_accept_header_openmetrics(hs_http_header(r->x, "Accept"));
	size_t len;
	char *text = hs_metrics_text(r->control->model(r->control->ctx), open, &len);

	if (text)
		hs_http_reply(r->x, 200,
			      open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				   : "text/plain; version=0.0.4; charset=utf-8",
			      text, len, NULL);
	else
		fail(r->x, 500, "out-of-memory", "out of memory");
	free(text);
}

/* ---- what changes something ---- */

/* The body as an object with no other keys than `allowed`; NULL: answered already. No body is an empty object. */
static json_t *body_of(struct request *r, const char *const *allowed)
{
	const char *type = hs_http_header(r->x, "Content-Type"), *key;
	size_t len;
	const char *text = hs_http_body(r->x, &len);
	json_error_t je;
	json_t *out, *value;

	if (!len)
		return json_object();
	if (type && strncasecmp(type, JSON, strlen(JSON)) != 0) {
		fail(r->x, 415, "bad-type", "the body has to be application/json");
		return NULL;
	}
	out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	if (!json_is_object(out)) {
		char message[300];

		(void)snprintf(message, sizeof(message), "the body is no JSON object: %s",
			       out ? "it is something else" : je.text);
		json_decref(out);
		fail(r->x, 400, "bad-json", message);
		return NULL;
	}
	json_object_foreach(out, key, value)
	{
		size_t i = 0;

		while (allowed[i] && strcmp(allowed[i], key) != 0)
			i++;
		if (!allowed[i]) {
			json_decref(out);
			fail(r->x, 400, "bad-request", "the body holds a key that nobody knows here");
			return NULL;
		}
	}
	return out;
}

static struct hs_done done_of(struct request *r)
{
	return (struct hs_done){ on_done, r->x };
}

static void put_mode(struct request *r)
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
		fail(r->x, 400, "bad-request", "mode: one of off, observe, save, auto");
	} else if (json_object_get(body, "sharing") &&
		   (!sharing || (strcmp(sharing, "keep") != 0 && strcmp(sharing, "undo") != 0))) {
		fail(r->x, 400, "bad-request", "sharing: keep or undo");
	} else {
		if (sharing)
			after = strcmp(sharing, "undo") == 0 ? HS_AFTER_UNDO : HS_AFTER_KEEP;
		else
			after = r->control->after_default(r->control->ctx, mode);
		r->control->set_mode(r->control->ctx, mode, after, done_of(r));
	}
	json_decref(body);
}

static void put_opt_in(struct request *r)
{
	static const char *const keys[] = { "group", "max_shared_bytes", NULL };
	json_t *body = body_of(r, keys), *group, *max;
	struct hs_opt_in_change change = { .on = true };

	if (!body)
		return;
	group = json_object_get(body, "group");
	max = json_object_get(body, "max_shared_bytes");
	if (group && (!json_string_value(group) || !hs_group_valid(json_string_value(group)))) {
		fail(r->x, 400, "bad-request", "group: 1 to 63 letters, digits, dots, dashes or underscores");
	} else if (max && (!json_is_integer(max) || json_integer_value(max) < 0)) {
		fail(r->x, 400, "bad-request", "max_shared_bytes: a number of bytes; 0 is no limit");
	} else {
		change.has_group = group != NULL;
		if (group)
			(void)snprintf(change.group, sizeof(change.group), "%s", json_string_value(group));
		change.has_max_shared = max != NULL;
		change.max_shared_bytes = (uint64_t)json_integer_value(max);
		r->control->opt_in(r->control->ctx, r->guest, &change, done_of(r));
	}
	json_decref(body);
}

static void delete_opt_in(struct request *r)
{
	r->control->opt_out(r->control->ctx, r->guest, done_of(r));
}

static void post_unshare(struct request *r)
{
	r->control->unshare(r->control->ctx, r->guest[0] ? r->guest : NULL, done_of(r));
}

static void post_reload(struct request *r)
{
	r->control->reload(r->control->ctx, done_of(r));
}

/* ---- routes ---- */

static const struct route {
	const char *path; /* one '*' stands for a guest */
	const char *method;
	void (*fn)(struct request *r);
} routes[] = {
	{ "/metrics", "GET", get_metrics },
	{ "/v1/status", "GET", get_status },
	{ "/v1/guests", "GET", get_guests },
	{ "/v1/guests/*", "GET", get_guest },
	{ "/v1/guests/*/opt-in", "PUT", put_opt_in },
	{ "/v1/guests/*/opt-in", "DELETE", delete_opt_in },
	{ "/v1/guests/*/unshare", "POST", post_unshare },
	{ "/v1/history", "GET", get_history },
	{ "/v1/report", "GET", get_report },
	{ "/v1/mode", "GET", get_mode },
	{ "/v1/mode", "PUT", put_mode },
	{ "/v1/diagnose", "GET", get_diagnose },
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
	struct request r = { .control = ctx, .x = x };
	const char *method = hs_http_method(x);
	char allow[128] = "";

	if (strcmp(method, "HEAD") == 0)
		method = "GET";
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
		if (hs_http_read_only(x) && strcmp(method, "GET") != 0)
			fail(x, 403, "read-only", "this port only reads; changes are made through the UNIX socket");
		else
			routes[i].fn(&r);
		return;
	}
	if (allow[0])
		fail_with(x, 405, "bad-method", "this path does not take that method", allow);
	else
		fail(x, 404, "no-such-path", "there is no such path; docs/openapi.yaml lists them");
}
