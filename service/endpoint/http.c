/*
 * libmicrohttpd on our loop: its epoll descriptor is one more source, its next timeout one more timer. Each listener
 * (the UNIX socket, each port) is a daemon of the library's, so that each has its own limit of connections.
 *
 * What a client may cost: a number of connections, a body of some KiB, an idle time, and a time in all for one request:
 * a client that sends a byte now and then is cut off by that last one.
 */
#include "http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service/common/log.h"

#define SWEEP_US     UINT64_C(500000) /* between two looks for connections whose time is over */
#define MEMORY_LIMIT 16384            /* of the library, for a connection's headers and buffers */

uint64_t hs_http_now_us(const struct hs_http *h)
{
	uint64_t us;

	return sd_event_now(h->loop, CLOCK_MONOTONIC, &us) < 0 ? 0 : us;
}

/* ---- on the loop ---- */

static unsigned int nr_connections(const struct hs_http_listener *l)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	return info ? info->num_connections : 0;
}

/*
 * At its limit of connections the library stops watching the listening socket, and watches it again in the first run
 * after one has closed. That run has to come at once: when no connection is left, nothing else would ever bring it.
 */
static void run_listener(struct hs_http_listener *l)
{
	const unsigned int limit = l->http->cfg.max_connections;
	unsigned int before;

	do {
		before = nr_connections(l);
		(void)MHD_run(l->daemon);
	} while (before >= limit && nr_connections(l) < limit);
}

static void run(struct hs_http *h)
{
	uint64_t next_us = UINT64_MAX;

	for (size_t i = 0; i < HS_HTTP_NR_SIDES; i++) {
		MHD_UNSIGNED_LONG_LONG ms;

		if (!h->sides[i].daemon)
			continue;
		run_listener(&h->sides[i]);
		if (MHD_get_timeout(h->sides[i].daemon, &ms) == MHD_YES && ms * 1000 < next_us)
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

/* Those that wait for the handler: who has waited for long enough waits no more. */
static void sweep_waiting(struct hs_http *h, uint64_t now)
{
	struct hs_http_exchange *next;

	for (struct hs_http_exchange *x = h->waiting; x; x = next) {
		const uint32_t limit_s = hs_http_is_look(x) ? h->cfg.look_s : h->cfg.answer_s;

		next = x->next;
		if (x->suspended && now >= x->since_us + limit_s * UINT64_C(1000000))
			hs_http_answer_for(x);
	}
}

/* Cuts off who has taken too long over a request. */
static int on_sweep(sd_event_source *s, uint64_t us, void *arg)
{
	struct hs_http *h = arg;

	const uint64_t now = hs_http_now_us(h);

	(void)us;
	sweep_waiting(h, now);
	hs_http_tls_drop(h, false);
	for (struct hs_http_client *c = h->clients; c; c = c->next) {
		const union MHD_ConnectionInfo *info;
		const bool ours =
		    c->exchange && c->exchange->dispatched && !c->exchange->replied; /* we are to answer */

		if (ours || now < c->since_us + h->cfg.request_s * UINT64_C(1000000))
			continue;
		info = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		if (info)
			(void)shutdown(info->connect_fd, SHUT_RDWR);
	}
	(void)sd_event_source_set_time_relative(s, SWEEP_US);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
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

static int listener_start(struct hs_http *h, enum hs_http_side side, int fd, struct hs_error *err)
{
	static struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
	struct hs_http_listener *l = &h->sides[side];
	const union MHD_DaemonInfo *info;
	unsigned int flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	int rc;

	if (fd < 0)
		return fd;
	l->http = h;
	l->side = side;
	l->access = side == HS_HTTP_UNIX ? HS_HTTP_CHANGE : side == HS_HTTP_LOOPBACK ? HS_HTTP_READ : h->cfg.tls.access;
	if (side == HS_HTTP_TLS)
		flags |= MHD_USE_TLS;
	l->daemon = MHD_start_daemon(
	    flags, 0, NULL, NULL, hs_http_on_request, l, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, h->cfg.max_connections,
	    MHD_OPTION_CONNECTION_TIMEOUT, h->cfg.timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_LIMIT,
	    MHD_OPTION_NOTIFY_COMPLETED, hs_http_on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, hs_http_on_connection,
	    l, MHD_OPTION_ARRAY, side == HS_HTTP_TLS ? hs_http_tls_options : none, MHD_OPTION_END);
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
	/* To the microsecond: with the accuracy that 0 stands for, each step of a request may wait 250 ms. */
	rc = sd_event_add_time_relative(loop, &h->timer, CLOCK_MONOTONIC, 0, 1, on_timer, h);
	if (rc >= 0)
		rc = sd_event_add_time_relative(loop, &h->sweep, CLOCK_MONOTONIC, SWEEP_US, 0, on_sweep, h);
	if (rc < 0)
		(void)hs_error_set(err, rc, "cannot set the HTTP server's timers: %s", strerror(-rc));
	else
		rc = listener_start(h, HS_HTTP_UNIX, hs_http_listen_unix(h, err), err);
	if (!rc && cfg->tcp_port)
		rc = listener_start(h, HS_HTTP_LOOPBACK, hs_http_listen_tcp(h, err), err);
	if (!rc && cfg->tls.port)
		rc = hs_http_tls_start(h, err);
	if (!rc && cfg->tls.port)
		rc = listener_start(h, HS_HTTP_TLS, hs_http_listen_tls(h, err), err);
	if (rc) {
		hs_http_stop(h);
		return rc;
	}
	/* The strings belong to the caller. */
	h->cfg.socket_path = h->cfg.tcp_address = h->cfg.socket_group = NULL;
	memset(&h->cfg.tls, 0, sizeof(h->cfg.tls));
	*out = h;
	return 0;
}

void hs_http_stop(struct hs_http *h)
{
	struct hs_http_exchange *x;

	if (!h)
		return;
	h->stopping = true;
	/* First, while we listen: what stands there later may be a successor's. */
	if (h->socket_path[0])
		(void)unlink(h->socket_path);
	for (struct hs_http_client *c = h->clients; c; c = c->next)
		if (c->exchange && c->exchange->suspended) {
			hs_http_unsuspend(c->exchange);
			MHD_resume_connection(c->connection);
		}
	run(h);
	for (size_t i = 0; i < HS_HTTP_NR_SIDES; i++)
		sd_event_source_disable_unref(h->sides[i].io);
	for (size_t i = 0; i < HS_HTTP_NR_SIDES; i++)
		if (h->sides[i].daemon)
			MHD_stop_daemon(h->sides[i].daemon);
	hs_http_tls_drop(h, true);
	sd_event_source_disable_unref(h->timer);
	sd_event_source_disable_unref(h->sweep);
	sd_event_unref(h->loop);
	while ((x = h->waiting)) { /* nobody answers these any more */
		h->waiting = x->next;
		hs_http_free_exchange(x);
	}
	free(h);
}
