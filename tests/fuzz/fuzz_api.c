/*
 * Requests. The functions of service/endpoint/api.c and service/endpoint/metrics.c are the real ones; the transport is
 * this file, which takes the bytes apart as a server would, and the daemon behind is a fixed one whose answers depend
 * on the bytes too.
 *
 * Input: "METHOD path?query", lines "Name: value", an empty line, the body. Whatever the bytes: each request is
 * answered exactly once, JSON is JSON, an error names its code and a message, and nothing changes through the port.
 */
#include "fuzz.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "service/endpoint/api.h"
#include "service/common/json.h"

struct pair {
	char *key, *value;
};

#define MAX_PAIRS 8

struct hs_http_exchange {
	char *method, *path;
	struct pair headers[MAX_PAIRS], query[MAX_PAIRS];
	size_t nr_headers, nr_query;
	const char *body;
	size_t len;
	enum hs_http_access access;
	unsigned int nr_replies, status;
};

/* ---- the transport ---- */

const char *hs_http_method(const struct hs_http_exchange *x)
{
	return x->method;
}

const char *hs_http_path(const struct hs_http_exchange *x)
{
	return x->path;
}

static const char *find(const struct pair *p, size_t nr, const char *key)
{
	for (size_t i = 0; i < nr; i++)
		if (strcasecmp(p[i].key, key) == 0)
			return p[i].value;
	return NULL;
}

const char *hs_http_query(const struct hs_http_exchange *x, const char *key)
{
	return find(x->query, x->nr_query, key);
}

const char *hs_http_other_query(const struct hs_http_exchange *x, bool (*known)(const void *ctx, const char *key),
				const void *ctx)
{
	for (size_t i = 0; i < x->nr_query; i++)
		if (!known(ctx, x->query[i].key))
			return x->query[i].key;
	return NULL;
}

const char *hs_http_header(const struct hs_http_exchange *x, const char *key)
{
	return find(x->headers, x->nr_headers, key);
}

const char *hs_http_body(const struct hs_http_exchange *x, size_t *len)
{
	*len = x->len;
	return x->body;
}

enum hs_http_access hs_http_access(const struct hs_http_exchange *x)
{
	return x->access;
}

static void check_json(unsigned int status, const char *body, size_t len)
{
	json_error_t je;
	json_t *v = json_loadb(body, len, 0, &je), *error;

	FUZZ_CHECK(json_is_object(v), "%s: %.*s", je.text, (int)len, body);
	error = json_object_get(v, "error");
	FUZZ_CHECK(json_is_object(error) == (status >= 400), "%u: %.*s", status, (int)len, body);
	if (error) {
		const char *code = json_string_value(json_object_get(error, "code"));

		/* Nothing that was sent makes it fail to put an answer together. */
		FUZZ_CHECK(code && code[0] && strcmp(code, "out-of-memory") != 0, "%.*s", (int)len, body);
		FUZZ_CHECK(json_string_length(json_object_get(error, "message")) > 0, "%.*s", (int)len, body);
	}
	json_decref(v);
}

void hs_http_reply(struct hs_http_exchange *x, unsigned int status, const char *content_type, const char *body,
		   size_t len, const char *headers)
{
	(void)headers;
	x->nr_replies++;
	x->status = status;
	if (strcmp(content_type, "application/json") == 0)
		check_json(status, body, len);
	else
		FUZZ_CHECK(status == 200 && len && body[len - 1] == '\n', "%s", content_type);
}

void hs_http_reply_with(struct hs_http_exchange *x, unsigned int status, const char *content_type, char *body,
			size_t len)
{
	hs_http_reply(x, status, content_type, body, len, NULL);
	free(body);
}

/* ---- the daemon behind ---- */

static struct {
	unsigned int nr_changes;
	int rc; /* how the next change ends */
} daemon_side;

static const struct hs_model *ask_model(void *ctx)
{
	static struct hs_model_guest guests[2] = {
		{ .id = "pid-7", .source = HS_SOURCE_PID, .pid = 7, .opt_in = { .on = true, .group = "web" } },
		{ .id = "a \"guest\"\\\n", .uuid = "00000000-0000-0000-0000-000000000001" },
	};
	static struct hs_guest_report report;
	static struct hs_model m = {
		.version = "1", .stage = "idle", .guests = guests, .nr_guests = 2, .psi_some_avg10 = -1
	};

	(void)ctx;
	report.bytes = UINT64_C(1) << 40;
	report.ledger.net_saved_bytes = -1;
	guests[0].report = &report;
	return &m;
}

static const struct hs_model_guest *ask_guest(void *ctx, const char *guest)
{
	const struct hs_model *m = ask_model(ctx);
	size_t i = 0;

	while (i < m->nr_guests && strcmp(m->guests[i].id, guest) != 0 && strcmp(m->guests[i].uuid, guest) != 0)
		i++;
	return i < m->nr_guests ? &m->guests[i] : NULL;
}

/* On this thread, at once. */
static void ask_work(void *ctx, const struct hs_work *work)
{
	work->run(work->arg, ask_model(ctx));
	work->done(work->arg, true);
}

static const struct hs_history *ask_history(void *ctx)
{
	static struct hs_history_point points[4];
	static const struct hs_history h = {
		.points = points, .room = 4, .first = 3, .nr = 4, .taken = 9, .resolution_s = 60
	};

	(void)ctx;
	return &h;
}

static void finish(struct hs_done done, const char *guest)
{
	char text[256] = "";

	daemon_side.nr_changes++;
	/* The daemon names the guest as it was sent, cut to a length. */
	if (daemon_side.rc)
		(void)snprintf(text, sizeof(text), "there is no guest \"%.100s\"", guest ? guest : "");
	done.fn(done.arg, daemon_side.rc, text);
}

static void set_mode(void *ctx, enum hs_mode mode, enum hs_after after, struct hs_done done)
{
	(void)ctx;
	FUZZ_CHECK((unsigned int)mode < HS_NR_MODES && (after == HS_AFTER_KEEP || after == HS_AFTER_UNDO), "%d %d",
		   (int)mode, (int)after);
	finish(done, NULL);
}

static enum hs_after after_default(void *ctx, enum hs_mode mode)
{
	(void)ctx;
	return mode == HS_MODE_OFF ? HS_AFTER_UNDO : HS_AFTER_KEEP;
}

static void opt_in(void *ctx, const char *guest, const struct hs_opt_in_change *change, struct hs_done done)
{
	(void)ctx;
	FUZZ_CHECK(change->on && (!change->has_group || hs_group_valid(change->group)), "%s", change->group);
	FUZZ_CHECK(guest[0] && strlen(guest) < HS_NAME_MAX, "%s", guest);
	finish(done, guest);
}

static void opt_out(void *ctx, const char *guest, struct hs_done done)
{
	(void)ctx;
	finish(done, guest);
}

static void unshare(void *ctx, const char *guest, struct hs_done done)
{
	(void)ctx;
	finish(done, guest);
}

static void reload(void *ctx, struct hs_done done)
{
	(void)ctx;
	finish(done, NULL);
}

static void diagnose(void *ctx, struct hs_done done)
{
	(void)ctx;
	done.fn(done.arg, daemon_side.rc, daemon_side.rc ? "" : "{\"findings\":[],\"obstacles\":0,\"warnings\":0}");
}

/* ---- taking the input apart ---- */

static void split_query(struct hs_http_exchange *x, char *query)
{
	char *part;

	while (query && (part = strsep(&query, "&")) && x->nr_query < MAX_PAIRS) {
		char *value = strchr(part, '=');

		if (value)
			*value++ = '\0';
		x->query[x->nr_query++] = (struct pair){ part, value };
	}
}

static void split_headers(struct hs_http_exchange *x, char **rest)
{
	char *line, *colon;

	while (*rest && (line = strsep(rest, "\n")) && *line) {
		colon = strchr(line, ':');
		if (!colon || x->nr_headers == MAX_PAIRS)
			continue;
		*colon = '\0';
		x->headers[x->nr_headers++] = (struct pair){ line, colon + 1 + strspn(colon + 1, " ") };
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int rcs[] = { 0, 0, -ENOENT, -EINVAL, -ENOTCONN, -EBUSY, -ENOMEM, -EIO };
	static const struct hs_control control = { .model = ask_model,
						   .guest = ask_guest,
						   .history = ask_history,
						   .work = ask_work,
						   .set_mode = set_mode,
						   .after_default = after_default,
						   .opt_in = opt_in,
						   .opt_out = opt_out,
						   .unshare = unshare,
						   .reload = reload,
						   .diagnose = diagnose };
	struct hs_http_exchange x = { 0 };
	char *text = malloc(size + 1), *rest = text, *query;

	FUZZ_CHECK(text, "out of memory");
	memcpy(text, data, size);
	text[size] = '\0';
	query = strsep(&rest, "\n");
	x.method = strsep(&query, " ");
	x.path = strsep(&query, "?");
	if (!x.path || x.path[0] != '/') {
		free(text);
		return 0;
	}
	split_query(&x, query);
	split_headers(&x, &rest);
	x.body = rest ? rest : text + size;
	x.len = (size_t)(text + size - x.body);
	x.access = size % 4 == 3 ? HS_HTTP_READ : size % 4 == 2 ? HS_HTTP_METRICS : HS_HTTP_CHANGE;
	daemon_side.nr_changes = 0;
	daemon_side.rc = rcs[size % (sizeof(rcs) / sizeof(rcs[0]))];
	hs_api_handle((void *)(uintptr_t)&control, &x);
	FUZZ_CHECK(x.nr_replies == 1, "%u answers", x.nr_replies);
	FUZZ_CHECK(x.access == HS_HTTP_CHANGE || !daemon_side.nr_changes, "a change through the port");
	/* Out of memory, or a code that nobody thought of: neither may come from what was sent. */
	FUZZ_CHECK(x.status < 500 || daemon_side.rc, "status %u", x.status);
	free(text);
	return 0;
}
