/* Who is answered at all: decided by a request's headers, before anything of its body is kept. */
#include "http_internal.h"

#include <stdlib.h>
#include <string.h>

static bool is_host(const char *host, const char *name)
{
	const size_t n = strlen(name);

	return strncasecmp(host, name, n) == 0 &&
	       (host[n] == '\0' || (host[n] == ':' && host[n + 1 + strspn(host + n + 1, "0123456789")] == '\0'));
}

/* A web page that a user looks at can make the browser ask us under a name of its own: only loopback names are served.
 */
static bool host_is_loopback(struct MHD_Connection *c)
{
	const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");

	return host && (is_host(host, "127.0.0.1") || is_host(host, "localhost") || is_host(host, "[::1]"));
}

static const char *header_of(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* Its client has shown a certificate already, if one is asked for. */
static unsigned int admit_tls(struct hs_http *h, const struct hs_http_client *client, struct MHD_Connection *c,
			      const char **json, const char **header)
{
	if (!client || hs_http_tls_is_old(h, client)) {
		*json = "{\"error\":{\"code\":\"connect-again\",\"message\":\"certificates or tokens have changed: "
			"connect again\"}}";
		return 503;
	}
	if (!hs_tls_is_authorized(h->identity->tls, header_of(c, "Authorization"))) {
		h->nr_refused++;
		*header = "WWW-Authenticate: Bearer realm=\"hs-shared\"";
		*json = "{\"error\":{\"code\":\"unauthorized\",\"message\":\"this port asks for a token: send "
			"\\\"Authorization: Bearer TOKEN\\\" with what token_file of the service holds\"}}";
		return 401;
	}
	/* A browser whose user has a certificate would show it for any page that makes it ask. */
	if (header_of(c, "Origin")) {
		*json = "{\"error\":{\"code\":\"bad-origin\",\"message\":\"this port is not for pages in a browser\"}}";
		return 403;
	}
	return 0;
}

unsigned int hs_http_admit(struct hs_http_listener *l, const struct hs_http_client *client, struct MHD_Connection *c,
			   const char **json, const char **header)
{
	const char *length = header_of(c, "Content-Length");
	unsigned int status;

	*header = NULL;
	if (l->side == HS_HTTP_LOOPBACK && !host_is_loopback(c)) {
		*json =
		    "{\"error\":{\"code\":\"bad-host\",\"message\":\"only loopback names are served on this port\"}}";
		return 403;
	}
	status = l->side == HS_HTTP_TLS ? admit_tls(l->http, client, c, json, header) : 0;
	if (status)
		return status;
	if (length && strtoull(length, NULL, 10) > l->http->cfg.max_body_bytes) {
		*json = "{\"error\":{\"code\":\"too-large\",\"message\":\"the request's body is too large\"}}";
		return 413;
	}
	return 0;
}
