/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the endpoint's transport share. All of it belongs to the loop's thread. */
#ifndef HS_SERVICE_ENDPOINT_HTTP_INTERNAL_H
#define HS_SERVICE_ENDPOINT_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <sys/un.h>

#include "http.h"

struct hs_http_listener {
	struct hs_http *http;
	struct MHD_Daemon *daemon;
	sd_event_source *io;
	bool read_only;
	uint32_t nr_waiting; /* connections that wait for an answer */
};

/* One connection, for its time limit. */
struct hs_http_client {
	struct hs_http_client *next, **at;
	struct MHD_Connection *connection;
	uint64_t since_us; /* of the request that is being received */
	struct hs_http_exchange *exchange;
};

struct hs_http_exchange {
	struct hs_http_exchange *next, **at; /* of those that wait for the handler */
	uint64_t since_us;                   /* when it was given to the handler */
	bool unanswered;                     /* it was, and the handler has not answered */
	bool orphan;                         /* its request has ended: it lives for the handler's answer alone */
	struct hs_http_listener *listener;
	struct hs_http_client *client;
	struct MHD_Connection *connection;
	char *path, *body;
	char method[16];
	size_t len;
	uint64_t received; /* of the body, bytes, kept or not */
	bool too_large, dispatched, replied, suspended;
	sd_event_source *gone; /* suspended: reports when the client hangs up */
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
	struct hs_http_listener unix_side, tcp_side;
	struct hs_http_client *clients;
	struct hs_http_exchange *waiting;
	uint32_t nr_unanswered; /* of them, those whose client has gone or has been answered for included */
	bool stopping;
};

/* Monotonic, of the loop's current turn. */
uint64_t hs_http_now_us(const struct hs_http *h);

/* ---- http_listen.c: a listening descriptor, or -errno ---- */

int hs_http_listen_unix(struct hs_http *h, struct hs_error *err);
int hs_http_listen_tcp(struct hs_http *h, struct hs_error *err);

/* It changes nothing. */
bool hs_http_is_look(const struct hs_http_exchange *x);

/* Its connection is not suspended any more, or has ended. */
void hs_http_unsuspend(struct hs_http_exchange *x);

/* Answers what waits in place of its handler, and lets its connection go on. */
void hs_http_answer_for(struct hs_http_exchange *x);
void hs_http_free_exchange(struct hs_http_exchange *x);

/* ---- http_exchange.c: the library's callbacks; cls is the listener ---- */

enum MHD_Result hs_http_on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
				   const char *version, const char *data, size_t *size, void **con_cls);
void hs_http_on_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode why);
void hs_http_on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
			   enum MHD_ConnectionNotificationCode what);

#endif
