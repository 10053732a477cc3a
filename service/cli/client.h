/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the daemon over its UNIX socket. */
#ifndef HS_SERVICE_CLI_CLIENT_H
#define HS_SERVICE_CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "hs/error.h"

#define HS_CLIENT_SOCKET "/run/hs-share/control.sock"

/* One request; all is borrowed. */
struct hs_client_call {
	const char *method, *path;
	const json_t *body; /* NULL: none */
	long timeout_s;     /* 0: as long as it takes */
};

/*
 * *out: the answer as JSON, a new reference, also when the daemon refuses.
 * 0; -ENOTCONN: the daemon cannot be reached; -EPROTO: what answers is not the daemon; -ENOENT: no such guest or path;
 * -EREMOTEIO: it refuses otherwise (err has its own words).
 */
HS_MUST_USE int hs_client_request(const char *socket, const struct hs_client_call *call, json_t **out,
				  struct hs_error *err);

/* *text: the metrics in Prometheus' older text format, malloc'ed, *len bytes; `sketch`: those of the sketches (-ENOENT:
 * there are none). Errors as above. */
HS_MUST_USE int hs_client_metrics(const char *socket, bool sketch, char **text, size_t *len, struct hs_error *err);

/* The path with the guest's name in it, percent-encoded; "/v1/guests/%s/opt-in" as format. malloc'ed; NULL: no memory.
 */
char *hs_client_path(const char *before, const char *guest, const char *after);

#endif
