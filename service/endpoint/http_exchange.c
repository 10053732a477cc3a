/*
 * Connections, the requests that come over them, and their answers. An answer that takes its time suspends its
 * connection; nothing waits.
 */
#include "http_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* For each connection that may wait, so many that nobody waits for any more, before further ones are refused. */
#define UNANSWERED_EACH 16

/* ---- answering ---- */

static struct MHD_Response *text_response(const char *text)
{
	struct MHD_Response *r =
	    MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);

	if (r)
		(void)MHD_add_response_header(r, "Content-Type", "application/json");
	return r;
}

static void add_headers(struct MHD_Response *r, const char *headers)
{
	char *copy = headers ? strdup(headers) : NULL, *rest = copy, *line;

	while (copy && (line = strsep(&rest, "\n"))) {
		char *colon = strchr(line, ':');

		if (!colon)
			continue;
		*colon = '\0';
		(void)MHD_add_response_header(r, line, colon + 1 + strspn(colon + 1, " "));
	}
	free(copy);
}

struct reply {
	unsigned int status;
	const char *content_type, *headers;
	const char *body;
	size_t len;
	bool ours; /* the body is malloc'ed, and goes with the answer */
};

static void give_reply(struct hs_http_exchange *x, const struct reply *reply)
{
	x->replied = true;
	if (x->client)
		x->client->since_us =
		    hs_http_now_us(x->listener->http); /* to take the answer it has as long as to ask */
	x->status = reply->status;
	x->response = reply->ours ? hs_http_in_blocks((char *)(uintptr_t)reply->body, reply->len)
				  : MHD_create_response_from_buffer(reply->len, (void *)(uintptr_t)reply->body,
								    MHD_RESPMEM_MUST_COPY);
	if (!x->response && reply->ours)
		free((void *)(uintptr_t)reply->body);
	if (x->response) {
		(void)MHD_add_response_header(x->response, "Content-Type", reply->content_type);
		(void)MHD_add_response_header(x->response, "Cache-Control", "no-store");
		(void)MHD_add_response_header(x->response, "X-Content-Type-Options", "nosniff");
		add_headers(x->response, reply->headers);
		if (x->client && hs_http_tls_is_old(x->listener->http, x->client))
			(void)MHD_add_response_header(x->response, "Connection", "close");
	}
	if (x->suspended) {
		hs_http_unsuspend(x);
		MHD_resume_connection(x->connection);
		/* The library sees to a resumed connection in its next run, and does not ask for one. */
		(void)sd_event_source_set_time_relative(x->listener->http->timer, 0);
		(void)sd_event_source_set_enabled(x->listener->http->timer, SD_EVENT_ONESHOT);
	}
}

static void reply_by_handler(struct hs_http_exchange *x, const struct reply *reply)
{
	const bool wanted = x->unanswered && !x->orphan && !x->replied;

	if (x->unanswered) {
		x->unanswered = false;
		x->listener->http->nr_unanswered--;
		*x->at = x->next;
		if (x->next)
			x->next->at = x->at;
		if (x->orphan)
			hs_http_free_exchange(x);
	}
	if (wanted)
		give_reply(x, reply);
	else if (reply->ours)
		free((void *)(uintptr_t)reply->body);
}

void hs_http_reply(struct hs_http_exchange *x, unsigned int status, const char *content_type, const char *body,
		   size_t len, const char *headers)
{
	reply_by_handler(
	    x, &(struct reply){
		   .status = status, .content_type = content_type, .headers = headers, .body = body, .len = len });
}

void hs_http_reply_with(struct hs_http_exchange *x, unsigned int status, const char *content_type, char *body,
			size_t len)
{
	reply_by_handler(
	    x,
	    &(struct reply){ .status = status, .content_type = content_type, .body = body, .len = len, .ours = true });
}

bool hs_http_is_look(const struct hs_http_exchange *x)
{
	return strcmp(x->method, "GET") == 0 || strcmp(x->method, "HEAD") == 0;
}

void hs_http_answer_for(struct hs_http_exchange *x)
{
	static const char under_way[] =
	    "{\"done\":false,\"message\":\"it was accepted, and is not done yet: it goes on by itself, and "
	    "`hs-share status` and `hs-share guests` show what holds\"}";
	static const char busy[] = "{\"error\":{\"code\":\"timeout\",\"message\":\"the answer takes too long, or too "
				   "many wait for one: ask again later\"}}";

	const bool look = hs_http_is_look(x);

	give_reply(x, &(struct reply){ .status = look ? 503 : 202,
				       .content_type = "application/json",
				       .body = look ? busy : under_way,
				       .len = look ? sizeof(busy) - 1 : sizeof(under_way) - 1 });
}

/* ---- who waits for an answer ---- */

void hs_http_unsuspend(struct hs_http_exchange *x)
{
	if (!x->suspended)
		return;
	x->suspended = false;
	x->listener->nr_waiting--;
	x->gone = sd_event_source_disable_unref(x->gone);
}

/* The library does not look at a suspended connection: who hangs up is noticed here, and its place is free again. */
static int on_gone(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct hs_http_exchange *x = arg;

	(void)s;
	(void)revents;
	(void)shutdown(fd, SHUT_RDWR);
	hs_http_answer_for(x); /* for nobody: with that the library sees that the line is cut */
	return 0;
}

/*
 * On the UNIX socket a client that has closed only its sending side still waits; over TCP that and a close look alike
 * until something is sent, so there it counts as gone.
 */
static void suspend(struct hs_http_exchange *x)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	/* EPOLLHUP and EPOLLERR always */
	const uint32_t hangs_up = x->listener->side == HS_HTTP_UNIX ? 0 : EPOLLRDHUP;

	x->suspended = true;
	x->listener->nr_waiting++;
	/* Without memory for it, the limits of time hold. */
	if (info)
		(void)sd_event_add_io(x->listener->http->loop, &x->gone, info->connect_fd, hangs_up, on_gone, x);
	MHD_suspend_connection(x->connection);
}

void hs_http_free_exchange(struct hs_http_exchange *x)
{
	if (x->response)
		MHD_destroy_response(x->response);
	free(x->path);
	free(x->body);
	free(x);
}

static enum MHD_Result send_reply(struct hs_http_exchange *x)
{
	enum MHD_Result rc;

	if (!x->response)
		return MHD_NO;
	rc = MHD_queue_response(x->connection, x->status, x->response);
	MHD_destroy_response(x->response);
	x->response = NULL;
	return rc;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned int status, const char *json, const char *header)
{
	struct MHD_Response *r = text_response(json);
	enum MHD_Result rc;

	if (!r)
		return MHD_NO;
	(void)MHD_add_response_header(r, "Connection", "close");
	add_headers(r, header);
	rc = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return rc;
}

/* ---- receiving ---- */

static struct hs_http_client *client_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static struct hs_http_exchange *exchange_new(struct hs_http_listener *l, struct MHD_Connection *c, const char *url,
					     const char *method)
{
	struct hs_http_exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->listener = l;
	x->connection = c;
	x->client = client_of(c);
	x->path = strdup(url);
	x->body = malloc(l->http->cfg.max_body_bytes + 1);
	if (!x->path || !x->body) {
		free(x->path);
		free(x->body);
		free(x);
		return NULL;
	}
	(void)snprintf(x->method, sizeof(x->method), "%s", method);
	if (x->client) {
		x->client->exchange = x;
		x->client->since_us = hs_http_now_us(l->http);
	}
	return x;
}

static enum MHD_Result first_call(struct hs_http_listener *l, struct MHD_Connection *c, const char *url,
				  const char *method, void **con_cls)
{
	const char *json, *header;
	const unsigned int status = hs_http_admit(l, client_of(c), c, &json, &header);

	if (status)
		return refuse(c, status, json, header);
	*con_cls = exchange_new(l, c, url, method);
	return *con_cls ? MHD_YES : MHD_NO;
}

static void give_to_handler(struct hs_http *h, struct hs_http_exchange *x)
{
	x->unanswered = true;
	x->since_us = hs_http_now_us(h);
	x->next = h->waiting;
	x->at = &h->waiting;
	if (x->next)
		x->next->at = &x->next;
	h->waiting = x;
	h->nr_unanswered++;
	h->handler(h->ctx, x);
}

enum MHD_Result hs_http_on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
				   const char *version, const char *data, size_t *size, void **con_cls)
{
	struct hs_http_listener *l = cls;
	struct hs_http_exchange *x = *con_cls;

	(void)version;
	if (!x)
		return first_call(l, c, url, method, con_cls);
	if (*size) {
		x->received += *size;
		if (x->received > l->http->cfg.max_body_bytes) {
			/* Sent in pieces of unknown number: as much again is read and dropped, then the line is cut. */
			if (x->received > 2 * (uint64_t)l->http->cfg.max_body_bytes)
				return MHD_NO;
			x->too_large = true;
		} else {
			memcpy(x->body + x->len, data, *size);
			x->len += *size;
		}
		*size = 0;
		return MHD_YES;
	}
	if (x->replied)
		return send_reply(x);
	if (l->http->stopping)
		return MHD_NO;
	if (x->too_large)
		return refuse(c, 413,
			      "{\"error\":{\"code\":\"too-large\",\"message\":\"the request's body is too large\"}}",
			      NULL);
	if (!x->dispatched) {
		/* Asking to look is answered at once, or has a limit of its own. */
		if (!hs_http_is_look(x) && l->http->nr_unanswered >= l->http->cfg.max_waiting * UNANSWERED_EACH)
			return refuse(c, 503,
				      "{\"error\":{\"code\":\"timeout\",\"message\":\"too many requests before this "
				      "one are not done yet: ask again later\"}}",
				      NULL);
		x->dispatched = true;
		x->body[x->len] = '\0';
		give_to_handler(l->http, x);
		if (!x->replied && l->nr_waiting >= l->http->cfg.max_waiting)
			hs_http_answer_for(x);
		if (x->replied)
			return send_reply(x);
	} /* else woken up without an answer */
	suspend(x);
	return MHD_YES;
}

void hs_http_on_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode why)
{
	struct hs_http_listener *l = cls;
	struct hs_http_exchange *x = *con_cls;
	struct hs_http_client *client = client_of(c);

	(void)why;
	if (client) {
		client->exchange = NULL;
		client->since_us = hs_http_now_us(l->http);
	}
	*con_cls = NULL;
	if (!x)
		return;
	hs_http_unsuspend(x);
	x->client = NULL;
	x->connection = NULL;
	if (!x->unanswered) {
		hs_http_free_exchange(x);
		return;
	}
	x->orphan = true;
	/* What was sent has been read; it may be long until the answer comes. */
	free(x->body);
	x->body = NULL;
	x->len = 0;
}

void hs_http_on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
			   enum MHD_ConnectionNotificationCode what)
{
	const struct hs_http_listener *l = cls;
	struct hs_http *h = l->http;
	struct hs_http_client *client = *socket_context;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (client) {
			*client->at = client->next;
			if (client->next)
				client->next->at = client->at;
			hs_http_tls_end(client);
			free(client);
		}
		*socket_context = NULL;
		return;
	}
	client = calloc(1, sizeof(*client));
	*socket_context = client;
	if (!client)
		return; /* served without a limit of time, the idle limit holds; over TLS not at all */
	client->connection = c;
	client->since_us = hs_http_now_us(h);
	client->next = h->clients;
	client->at = &h->clients;
	if (h->clients)
		h->clients->at = &client->next;
	h->clients = client;
	if (l->side == HS_HTTP_TLS)
		hs_http_tls_begin(h, client);
}

const char *hs_http_method(const struct hs_http_exchange *x)
{
	return x->method;
}

const char *hs_http_path(const struct hs_http_exchange *x)
{
	return x->path;
}

const char *hs_http_query(const struct hs_http_exchange *x, const char *key)
{
	return MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, key);
}

struct other {
	bool (*known)(const void *ctx, const char *key);
	const void *ctx;
	const char *found;
};

static enum MHD_Result look_at_key(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct other *o = cls;

	(void)kind;
	(void)value;
	if (o->known(o->ctx, key))
		return MHD_YES;
	o->found = key;
	return MHD_NO;
}

const char *hs_http_other_query(const struct hs_http_exchange *x, bool (*known)(const void *ctx, const char *key),
				const void *ctx)
{
	struct other o = { .known = known, .ctx = ctx };

	(void)MHD_get_connection_values(x->connection, MHD_GET_ARGUMENT_KIND, look_at_key, &o);
	return o.found;
}

const char *hs_http_header(const struct hs_http_exchange *x, const char *key)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, key);
}

const char *hs_http_body(const struct hs_http_exchange *x, size_t *len)
{
	*len = x->len;
	return x->body;
}

enum hs_http_access hs_http_access(const struct hs_http_exchange *x)
{
	return x->listener->access;
}
