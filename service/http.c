/*
 * libmicrohttpd on our loop: its epoll descriptor is one more source, its next timeout one more timer. Each listener
 * (the UNIX socket, the port) is a daemon of the library's, so that each has its own limit of connections.
 *
 * What a client may cost: a number of connections, a body of some KiB, an idle time, and a time in all for one request:
 * a client that sends a byte now and then is cut off by that last one. An answer that takes its time suspends its
 * connection; nothing waits.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

#define REQUEST_TIME_US (30 * UINT64_C(1000000)) /* to send one request; an answer we owe does not count */
#define MEMORY_LIMIT    16384                    /* of the library, for a connection's headers and buffers */

struct listener {
	struct hs_http *http;
	struct MHD_Daemon *daemon;
	sd_event_source *io;
	bool read_only;
};

/* One connection, for its time limit. */
struct client {
	struct client *next, **at;
	struct MHD_Connection *connection;
	uint64_t since_us; /* of the request that is being received */
	struct hs_http_exchange *exchange;
};

struct hs_http_exchange {
	struct listener *listener;
	struct client *client;
	struct MHD_Connection *connection;
	char *path, *body;
	char method[16];
	size_t len;
	uint64_t received; /* of the body, bytes, kept or not */
	bool too_large, dispatched, replied, suspended, in_handler;
	unsigned int status;
	struct MHD_Response *response;
};

struct hs_http {
	struct hs_http_config cfg;
	char socket_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	sd_event *loop;
	sd_event_source *timer, *sweep;
	hs_http_handler *handler;
	void *ctx;
	struct listener unix_side, tcp_side;
	struct client *clients;
	bool stopping;
};

/* ---- answering ---- */

static uint64_t now_us(struct hs_http *h)
{
	uint64_t us;

	return sd_event_now(h->loop, CLOCK_MONOTONIC, &us) < 0 ? 0 : us;
}

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

void hs_http_reply(struct hs_http_exchange *x, unsigned int status, const char *content_type, const char *body,
		   size_t len, const char *headers)
{
	if (x->replied)
		return;
	x->replied = true;
	if (x->client)
		x->client->since_us = now_us(x->listener->http); /* to take the answer it has as long as to ask */
	x->status = status;
	x->response = MHD_create_response_from_buffer(len, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
	if (x->response) {
		(void)MHD_add_response_header(x->response, "Content-Type", content_type);
		(void)MHD_add_response_header(x->response, "Cache-Control", "no-store");
		(void)MHD_add_response_header(x->response, "X-Content-Type-Options", "nosniff");
		add_headers(x->response, headers);
	}
	if (x->suspended) {
		x->suspended = false;
		MHD_resume_connection(x->connection);
		/* The library sees to a resumed connection in its next run, and does not ask for one. */
		(void)sd_event_source_set_time_relative(x->listener->http->timer, 0);
		(void)sd_event_source_set_enabled(x->listener->http->timer, SD_EVENT_ONESHOT);
	}
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

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned int status, const char *json)
{
	struct MHD_Response *r = text_response(json);
	enum MHD_Result rc;

	if (!r)
		return MHD_NO;
	(void)MHD_add_response_header(r, "Connection", "close");
	rc = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return rc;
}

/* ---- receiving ---- */

static struct client *client_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static bool starts_with_host(const char *host, const char *name)
{
	const size_t n = strlen(name);

	return strncasecmp(host, name, n) == 0 && (host[n] == '\0' || host[n] == ':');
}

/* A web page that a user looks at can make the browser ask us under a name of its own: only loopback names are served.
 */
static bool host_is_loopback(struct MHD_Connection *c)
{
	const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");

	return host && (starts_with_host(host, "127.0.0.1") || starts_with_host(host, "localhost") ||
			starts_with_host(host, "[::1]"));
}

static struct hs_http_exchange *exchange_new(struct listener *l, struct MHD_Connection *c, const char *url,
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
		x->client->since_us = now_us(l->http);
	}
	return x;
}

static enum MHD_Result first_call(struct listener *l, struct MHD_Connection *c, const char *url, const char *method,
				  void **con_cls)
{
	const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");

	if (l->read_only && !host_is_loopback(c))
		return refuse(
		    c, 403,
		    "{\"error\":{\"code\":\"bad-host\",\"message\":\"only loopback names are served on this port\"}}");
	if (length && strtoull(length, NULL, 10) > l->http->cfg.max_body_bytes)
		return refuse(c, 413,
			      "{\"error\":{\"code\":\"too-large\",\"message\":\"the request's body is too large\"}}");
	*con_cls = exchange_new(l, c, url, method);
	return *con_cls ? MHD_YES : MHD_NO;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *data, size_t *size, void **con_cls)
{
	struct listener *l = cls;
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
			      "{\"error\":{\"code\":\"too-large\",\"message\":\"the request's body is too large\"}}");
	if (x->dispatched) {
		/* Woken up without an answer. */
		x->suspended = true;
		MHD_suspend_connection(c);
		return MHD_YES;
	}
	x->dispatched = true;
	x->body[x->len] = '\0';
	l->http->handler(l->http->ctx, x);
	if (x->replied)
		return send_reply(x);
	x->suspended = true;
	MHD_suspend_connection(c);
	return MHD_YES;
}

static void on_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode why)
{
	struct listener *l = cls;
	struct hs_http_exchange *x = *con_cls;
	struct client *client = client_of(c);

	(void)why;
	if (client) {
		client->exchange = NULL;
		client->since_us = now_us(l->http);
	}
	*con_cls = NULL;
	if (!x)
		return;
	if (x->response)
		MHD_destroy_response(x->response);
	free(x->path);
	free(x->body);
	free(x);
}

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct hs_http *h = ((struct listener *)cls)->http;
	struct client *client = *socket_context;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (client) {
			*client->at = client->next;
			if (client->next)
				client->next->at = client->at;
			free(client);
		}
		*socket_context = NULL;
		return;
	}
	client = calloc(1, sizeof(*client));
	*socket_context = client;
	if (!client)
		return; /* served without a limit of time; the idle limit holds */
	client->connection = c;
	client->since_us = now_us(h);
	client->next = h->clients;
	client->at = &h->clients;
	if (h->clients)
		h->clients->at = &client->next;
	h->clients = client;
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

const char *hs_http_header(const struct hs_http_exchange *x, const char *key)
{
	return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, key);
}

const char *hs_http_body(const struct hs_http_exchange *x, size_t *len)
{
	*len = x->len;
	return x->body;
}

bool hs_http_read_only(const struct hs_http_exchange *x)
{
	return x->listener->read_only;
}

/* ---- on the loop ---- */

static void run(struct hs_http *h)
{
	struct listener *sides[] = { &h->unix_side, &h->tcp_side };
	uint64_t next_us = UINT64_MAX;

	for (size_t i = 0; i < 2; i++) {
		MHD_UNSIGNED_LONG_LONG ms;

		if (!sides[i]->daemon)
			continue;
		(void)MHD_run(sides[i]->daemon);
		if (MHD_get_timeout(sides[i]->daemon, &ms) == MHD_YES && ms * 1000 < next_us)
			next_us = ms * 1000;
	}
	if (next_us == UINT64_MAX) {
		(void)sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time_relative(h->timer, next_us);
	(void)sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	(void)s;
	(void)fd;
	(void)revents;
	run(arg);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t us, void *arg)
{
	(void)s;
	(void)us;
	run(arg);
	return 0;
}

/* Cuts off who has taken too long over a request. */
static int on_sweep(sd_event_source *s, uint64_t us, void *arg)
{
	struct hs_http *h = arg;

	const uint64_t now = now_us(h);

	(void)us;
	for (struct client *c = h->clients; c; c = c->next) {
		const union MHD_ConnectionInfo *info;
		const bool ours =
		    c->exchange && c->exchange->dispatched && !c->exchange->replied; /* we owe an answer */

		if (ours || now < c->since_us + REQUEST_TIME_US)
			continue;
		info = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		if (info)
			(void)shutdown(info->connect_fd, SHUT_RDWR);
	}
	(void)sd_event_source_set_time_relative(s, REQUEST_TIME_US / 10);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* ---- sockets ---- */

/* A group of its own may reach the socket only when it may pass the folder as well. */
static int give_to_group(const char *path, const char *group, struct hs_error *err)
{
	const struct group *g = getgrnam(group);
	char dir[PATH_MAX];
	struct stat st;
	char *slash;

	if (!g)
		return hs_error_set(err, -ENOENT, "there is no group \"%s\" for the socket (socket_group)", group);
	if (chown(path, (uid_t)-1, g->gr_gid))
		return hs_error_set(err, -errno, "cannot give %s to group %s: %s", path, group, strerror(errno));
	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (stat(dir, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 0011) &&
	    (chown(dir, (uid_t)-1, g->gr_gid) || chmod(dir, (st.st_mode & 07777) | 0010)))
		return hs_error_set(err, -errno, "cannot let group %s pass %s: %s", group, dir, strerror(errno));
	return 0;
}

/* Whether somebody listens there. */
static bool is_live(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	if (fd < 0)
		return true;
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
	(void)close(fd);
	return rc != ECONNREFUSED && rc != ENOENT;
}

static int listen_unix(struct hs_http *h, struct hs_error *err)
{
	const char *path = h->cfg.socket_path;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[PATH_MAX], *slash;
	struct stat st;
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof(addr.sun_path))
		return hs_error_set(err, -ENAMETOOLONG, "the socket's path has more than %zu characters: %s",
				    sizeof(addr.sun_path) - 1, path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		if (mkdir(dir, 0700) && errno != EEXIST)
			return hs_error_set(err, -errno, "cannot make the folder %s for the socket: %s", dir,
					    strerror(errno));
	}
	if (lstat(path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode))
			return hs_error_set(
			    err, -EEXIST, "%s is there and is no socket: remove it, or configure another socket", path);
		if (is_live(&addr))
			return hs_error_set(
			    err, -EADDRINUSE,
			    "somebody listens on %s already: end that hs-shared first, or configure another socket",
			    path);
		(void)unlink(path);
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return hs_error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	/* Nobody gets in before its permissions are as configured: it listens only then. */
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
	(void)umask(mask);
	if (rc) {
		(void)close(fd);
		return hs_error_set(err, rc, "cannot bind the socket %s: %s", path, strerror(-rc));
	}
	memcpy(h->socket_path, addr.sun_path, sizeof(h->socket_path));
	if (h->cfg.socket_group && h->cfg.socket_group[0])
		rc = give_to_group(path, h->cfg.socket_group, err);
	if (!rc && (chmod(path, h->cfg.socket_mode) || listen(fd, 64)))
		rc = hs_error_set(err, -errno, "cannot set the socket %s up: %s", path, strerror(errno));
	if (rc) {
		(void)close(fd);
		return rc;
	}
	return fd;
}

static int listen_tcp(struct hs_http *h, struct hs_error *err)
{
	const bool six = strcmp(h->cfg.tcp_address, "::1") == 0;
	struct sockaddr_in a4 = { .sin_family = AF_INET,
				  .sin_port = htons(h->cfg.tcp_port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(h->cfg.tcp_port),
				   .sin6_addr = in6addr_loopback };
	const int one = 1;
	int fd, rc;

	if (!six && strcmp(h->cfg.tcp_address, "127.0.0.1") != 0)
		return hs_error_set(err, -EINVAL, "%s is no loopback address: the port is for 127.0.0.1 or ::1",
				    h->cfg.tcp_address);
	fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return hs_error_set(err, -errno, "cannot make a socket for the port: %s", strerror(errno));
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	rc = bind(fd, six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4, six ? sizeof(a6) : sizeof(a4));
	if (rc || listen(fd, 64)) {
		rc = hs_error_set(err, -errno, "cannot listen on %s port %u: %s", h->cfg.tcp_address, h->cfg.tcp_port,
				  strerror(errno));
		(void)close(fd);
		return rc;
	}
	return fd;
}

/* ---- life ---- */

static void on_log(void *cls, const char *fmt, va_list ap)
{
	char text[512];

	(void)cls;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	hs_log(HS_LOG_DEBUG, "http: %s", text);
}

static int listener_start(struct hs_http *h, struct listener *l, int fd, bool read_only, struct hs_error *err)
{
	const union MHD_DaemonInfo *info;
	int rc;

	if (fd < 0)
		return fd;
	l->http = h;
	l->read_only = read_only;
	l->daemon = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, l,
	    MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	    h->cfg.max_connections, MHD_OPTION_CONNECTION_TIMEOUT, h->cfg.timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)MEMORY_LIMIT, MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_NOTIFY_CONNECTION,
	    on_connection, l, MHD_OPTION_END);
	info = l->daemon ? MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		if (!l->daemon)
			(void)close(fd);
		return hs_error_set(err, -EIO, "the HTTP server cannot be started");
	}
	rc = sd_event_add_io(h->loop, &l->io, info->epoll_fd, EPOLLIN, on_io, h);
	return rc < 0 ? hs_error_set(err, rc, "cannot watch the HTTP server: %s", strerror(-rc)) : 0;
}

int hs_http_start(struct hs_http **out, const struct hs_http_config *cfg, sd_event *loop, hs_http_handler *handler,
		  void *ctx, struct hs_error *err)
{
	struct hs_http *h = calloc(1, sizeof(*h));
	int rc;

	*out = NULL;
	if (!h)
		return hs_error_set(err, -ENOMEM, "out of memory");
	h->cfg = *cfg;
	h->loop = sd_event_ref(loop);
	h->handler = handler;
	h->ctx = ctx;
	rc = sd_event_add_time_relative(loop, &h->timer, CLOCK_MONOTONIC, 0, 0, on_timer, h);
	if (rc >= 0)
		rc = sd_event_add_time_relative(loop, &h->sweep, CLOCK_MONOTONIC, REQUEST_TIME_US / 10, 0, on_sweep, h);
	if (rc < 0)
		(void)hs_error_set(err, rc, "cannot set the HTTP server's timers: %s", strerror(-rc));
	else
		rc = listener_start(h, &h->unix_side, listen_unix(h, err), false, err);
	if (!rc && cfg->tcp_port)
		rc = listener_start(h, &h->tcp_side, listen_tcp(h, err), true, err);
	if (rc) {
		hs_http_stop(h);
		return rc;
	}
	/* The strings belong to the caller. */
	h->cfg.socket_path = h->cfg.tcp_address = h->cfg.socket_group = NULL;
	*out = h;
	return 0;
}

void hs_http_stop(struct hs_http *h)
{
	if (!h)
		return;
	h->stopping = true;
	/* First, while we listen: what stands there later may be a successor's. */
	if (h->socket_path[0])
		(void)unlink(h->socket_path);
	for (struct client *c = h->clients; c; c = c->next)
		if (c->exchange && c->exchange->suspended) {
			c->exchange->suspended = false;
			MHD_resume_connection(c->connection);
		}
	run(h);
	sd_event_source_disable_unref(h->unix_side.io);
	sd_event_source_disable_unref(h->tcp_side.io);
	if (h->unix_side.daemon)
		MHD_stop_daemon(h->unix_side.daemon);
	if (h->tcp_side.daemon)
		MHD_stop_daemon(h->tcp_side.daemon);
	sd_event_source_disable_unref(h->timer);
	sd_event_source_disable_unref(h->sweep);
	sd_event_unref(h->loop);
	free(h);
}
