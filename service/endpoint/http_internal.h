/* What the files of the endpoint's transport share. All of it belongs to the loop's thread. */
#ifndef HS_SERVICE_ENDPOINT_HTTP_INTERNAL_H
#define HS_SERVICE_ENDPOINT_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <sys/un.h>

#include "http.h"

enum hs_http_side { HS_HTTP_UNIX = 0, HS_HTTP_LOOPBACK, HS_HTTP_TLS, HS_HTTP_NR_SIDES };

struct hs_http_listener {
	struct hs_http *http;
	enum hs_http_side side;
	struct MHD_Daemon *daemon;
	sd_event_source *io;
	enum hs_http_access access;
	uint32_t nr_waiting; /* connections that wait for an answer */
};

/* What was read from the files of the TLS port at one time. It outlives the connections that began with it. */
struct hs_http_identity {
	struct hs_http_identity *next; /* the one before it, which still has connections */
	struct hs_tls *tls;
	uint32_t nr_clients;
};

/* One connection, for its time limit. */
struct hs_http_client {
	struct hs_http_client *next, **at;
	struct MHD_Connection *connection;
	uint64_t since_us; /* of the request that is being received */
	struct hs_http_exchange *exchange;
	struct hs_http_identity *identity; /* NULL: not of the TLS port */
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
	struct hs_http_listener sides[HS_HTTP_NR_SIDES]; /* daemon NULL: it is not configured */
	struct hs_http_identity *identity;               /* the present one first; NULL: no TLS port */
	uint64_t nr_refused;                             /* requests without its token */
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
int hs_http_listen_tls(struct hs_http *h, struct hs_error *err);

/* ---- http_tls.c ---- */

/* Of the library's daemon, beside what all have; MHD_OPTION_END ends them. */
extern struct MHD_OptionItem hs_http_tls_options[];

/* The files are read for the first time. */
HS_MUST_USE int hs_http_tls_start(struct hs_http *h, struct hs_error *err);
/* A connection that has just come: what it is served with. */
void hs_http_tls_begin(struct hs_http *h, struct hs_http_client *client);
/* One that has gone. */
void hs_http_tls_end(struct hs_http_client *client);
/* Drops what no connection began with any more; all: also what is present. Not in a call of the library's. */
void hs_http_tls_drop(struct hs_http *h, bool all);
/* Nothing further is to come over this connection. */
bool hs_http_tls_is_old(const struct hs_http *h, const struct hs_http_client *client);

/* ---- http_admit.c ---- */

/* Before anything of a request's body is read: 0, or the status to refuse it with. *json: the answer's body; *header:
 * a further "Name: value", or NULL. */
unsigned int hs_http_admit(struct hs_http_listener *l, const struct hs_http_client *client, struct MHD_Connection *c,
			   const char **json, const char **header);

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

/* ---- http_blocks.c ---- */

/* Takes the text over; NULL: there is no memory for it, and it is the caller's still. */
struct MHD_Response *hs_http_in_blocks(char *text, size_t len);

#endif
