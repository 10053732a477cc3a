/*
 * The endpoint's transport: HTTP/1.1 on a UNIX socket, whose file permissions are the access control, and, when they
 * are configured, read-only on a loopback port, and on a port for other hosts over TLS, where a client has to show a
 * certificate, a token or both. libmicrohttpd on the daemon's own event loop; nothing here blocks.
 */
#ifndef HS_SERVICE_ENDPOINT_HTTP_H
#define HS_SERVICE_ENDPOINT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "tls.h"

struct hs_http;
struct hs_http_exchange; /* one request, until it has been answered */

/* What may be asked over a listener; each is more than the one before. */
enum hs_http_access { HS_HTTP_METRICS = 0, HS_HTTP_READ, HS_HTTP_CHANGE };

/* The port for other hosts. */
struct hs_http_tls_config {
	const char *address; /* numeric, of either family; "::": both */
	uint16_t port;       /* 0: none */
	struct hs_tls_files files;
	enum hs_http_access access;
};

struct hs_http_config {
	const char
	    *socket_path; /* made anew; a socket that nobody listens on any more is replaced, a live one: -EADDRINUSE */
	mode_t socket_mode;       /* 0660 */
	const char *socket_group; /* owner group of the socket; NULL or "": as the process has it */
	const char *tcp_address;  /* "127.0.0.1" or "::1"; anything that is not loopback: -EINVAL */
	uint16_t tcp_port;        /* 0: none */
	struct hs_http_tls_config tls;
	uint32_t max_connections; /* further ones are closed at once */
	uint32_t timeout_s;       /* a connection on which nothing moves for so long is dropped */
	uint32_t request_s;       /* so is one that takes longer to send a request, or to take its answer */
	uint32_t max_body_bytes;  /* more: 413 */
	uint32_t answer_s;        /* a change that is not done by then is answered for the handler: it goes on */
	uint32_t look_s;          /* the same for GET and HEAD, which nothing goes on for */
	uint32_t max_waiting;     /* of the connections of one listener, that wait for an answer: so that others find
				     room. What would wait beyond is answered at once, in the same way */
};

/*
 * Called on the loop's thread for each complete request. It has to answer with hs_http_reply, at once or later, exactly
 * once; also when the client has gone meanwhile, or was answered by the limits above, which it does not notice: the
 * exchange lives until then.
 */
typedef void hs_http_handler(void *ctx, struct hs_http_exchange *x);

HS_MUST_USE int hs_http_start(struct hs_http **out, const struct hs_http_config *cfg, sd_event *loop,
			      hs_http_handler *handler, void *ctx, struct hs_error *err);

/* Closes everything and removes the socket. Takes NULL. Exchanges not answered yet are dropped: reply to them no more.
 */
void hs_http_stop(struct hs_http *h);

/*
 * Reads the files of the TLS port again. Connections that began with what was there before are closed, those with a
 * request under way behind its answer; a token that is no more counts for no further request. *changed: the files have
 * something else than before. Errors of hs_tls_load: all is as it was. Without the port: 0, and nothing is done.
 */
HS_MUST_USE int hs_http_reload_tls(struct hs_http *h, const struct hs_tls_files *files, bool *changed,
				   struct hs_error *err);

/* False: there is no TLS port. *expires_s: Unix time, of its certificate; *nr_refused: requests without its token. */
bool hs_http_tls_state(const struct hs_http *h, int64_t *expires_s, uint64_t *nr_refused);

const char *hs_http_method(const struct hs_http_exchange *x);                 /* "GET" */
const char *hs_http_path(const struct hs_http_exchange *x);                   /* decoded, without query */
const char *hs_http_query(const struct hs_http_exchange *x, const char *key); /* NULL: not given */
/* The first key of the query for which `known` is false; NULL: there is none. */
const char *hs_http_other_query(const struct hs_http_exchange *x, bool (*known)(const void *ctx, const char *key),
				const void *ctx);
const char *hs_http_header(const struct hs_http_exchange *x, const char *key);
const char *hs_http_body(const struct hs_http_exchange *x, size_t *len);
enum hs_http_access hs_http_access(const struct hs_http_exchange *x); /* what may be asked where it came from */

/* Takes the body over: malloc'ed, and freed when it was sent or cannot be. */
void hs_http_reply_with(struct hs_http_exchange *x, unsigned int status, const char *content_type, char *body,
			size_t len);

/* Copies the body. `headers`: further ones as "Name: value" lines, or NULL. */
void hs_http_reply(struct hs_http_exchange *x, unsigned int status, const char *content_type, const char *body,
		   size_t len, const char *headers);

#endif
