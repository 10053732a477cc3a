/* The endpoint as the configuration has it, and the files of its port for other hosts when they are read again. */
#include "daemon_internal.h"

#include <string.h>
#include <time.h>

#include "service/common/log.h"
#include "service/endpoint/api.h"

#define HTTP_CONNECTIONS 64
#define HTTP_TIMEOUT_S   10
#define HTTP_REQUEST_S   30
#define HTTP_ANSWER_S    600 /* undoing all of a large host takes minutes */
#define HTTP_LOOK_S      60  /* as long as hs-share waits for a diagnosis */
#define HTTP_MAX_WAITING 48
#define HTTP_MAX_BODY    16384 /* the largest request is a mode or an opt-in of some hundred bytes */

#define DAY_S 86400

struct hs_tls_files hs_config_tls_files(const struct hs_config *cfg)
{
	return (struct hs_tls_files){ .certificate = cfg->tls.certificate,
				      .key = cfg->tls.key,
				      .client_ca = cfg->tls.client_ca,
				      .token = cfg->tls.token_file };
}

static void say_expiry(const struct hs_daemon *d)
{
	const int64_t now_s = (int64_t)time(NULL);
	int64_t expires_s;
	uint64_t nr_refused;

	if (!hs_http_tls_state(d->http, &expires_s, &nr_refused))
		return;
	if (expires_s <= now_s)
		hs_log(HS_LOG_WARNING,
		       "the certificate %s holds no more since %lld days: clients will not take it, replace it and "
		       "reload",
		       d->cfg.tls.certificate, (long long)((now_s - expires_s) / DAY_S));
	else
		hs_log(HS_LOG_INFO, "the certificate %s holds for %lld more days", d->cfg.tls.certificate,
		       (long long)((expires_s - now_s) / DAY_S));
}

int hs_daemon_endpoint_start(struct hs_daemon *d, struct hs_error *err)
{
	const struct hs_http_config http = {
		.socket_path = d->cfg.socket,
		.socket_mode = d->cfg.socket_mode,
		.socket_group = d->cfg.socket_group,
		.tcp_address = d->cfg.tcp_address,
		.tcp_port = d->cfg.tcp_port,
		.tls = { .address = d->cfg.tls.address,
			 .port = d->cfg.tls.port,
			 .files = hs_config_tls_files(&d->cfg),
			 .access = (enum hs_http_access)d->cfg.tls.allow },
		.max_connections = HTTP_CONNECTIONS,
		.timeout_s = HTTP_TIMEOUT_S,
		.request_s = HTTP_REQUEST_S,
		.max_body_bytes = HTTP_MAX_BODY,
		.answer_s = HTTP_ANSWER_S,
		.look_s = HTTP_LOOK_S,
		.max_waiting = HTTP_MAX_WAITING,
	};
	const int rc = hs_http_start(&d->http, &http, d->loop, hs_api_handle, &d->control, err);

	if (!rc && http.tls.port)
		hs_log(HS_LOG_INFO, "requests from other hosts on %s port %u, by TLS, with %s%s%s", http.tls.address,
		       http.tls.port, d->cfg.tls.client_ca[0] ? "a client's certificate" : "",
		       d->cfg.tls.client_ca[0] && d->cfg.tls.token_file[0] ? " and " : "",
		       d->cfg.tls.token_file[0] ? "a token" : "");
	if (!rc)
		say_expiry(d);
	return rc;
}

int hs_daemon_endpoint_reload(struct hs_daemon *d, const struct hs_config *fresh, bool *changed, struct hs_error *err)
{
	const struct hs_tls_files now = hs_config_tls_files(&d->cfg), then = hs_config_tls_files(fresh);
	int rc;

	*changed = false;
	if (strcmp(now.certificate, then.certificate) || strcmp(now.key, then.key) ||
	    strcmp(now.client_ca, then.client_ca) || strcmp(now.token, then.token))
		return 0;
	rc = hs_http_reload_tls(d->http, &now, changed, err);
	if (!rc && *changed)
		say_expiry(d);
	return rc;
}
