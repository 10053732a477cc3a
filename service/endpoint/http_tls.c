/*
 * The port for other hosts: what its connections are served with, and how that is exchanged while they go on.
 *
 * The library has certificates of its own for all connections, set once. Here each session gets its own, from what was
 * read last, before its handshake begins; the library itself has none, so that a session that was missed is not served.
 */
#include "http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FROM_ONE_ADDRESS 16 /* of the connections: so that no single host takes them all */

static int no_certificate(gnutls_session_t session, const gnutls_datum_t *req_ca_dn, int nreqs,
			  const gnutls_pk_algorithm_t *pk_algos, int pk_algos_length, gnutls_pcert_st **pcert,
			  unsigned int *pcert_length, gnutls_privkey_t *privkey)
{
	(void)session;
	(void)req_ca_dn;
	(void)nreqs;
	(void)pk_algos;
	(void)pk_algos_length;
	(void)pcert;
	(void)pcert_length;
	(void)privkey;
	return -1;
}

struct MHD_OptionItem hs_http_tls_options[] = {
	{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)HS_TLS_PRIORITIES },
	{ MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)no_certificate },
	{ MHD_OPTION_PER_IP_CONNECTION_LIMIT, FROM_ONE_ADDRESS, NULL },
	{ MHD_OPTION_END, 0, NULL },
};

static int add_identity(struct hs_http *h, const struct hs_tls_files *files, bool *changed, struct hs_error *err)
{
	struct hs_http_identity *fresh = calloc(1, sizeof(*fresh));
	int rc = fresh ? hs_tls_load(&fresh->tls, files, err) : hs_error_set(err, -ENOMEM, "out of memory");

	*changed = !rc && (!h->identity || !hs_tls_same(h->identity->tls, fresh->tls));
	if (!*changed) {
		if (fresh)
			hs_tls_free(fresh->tls);
		free(fresh);
		return rc;
	}
	fresh->next = h->identity;
	h->identity = fresh;
	return 0;
}

int hs_http_tls_start(struct hs_http *h, struct hs_error *err)
{
	bool changed;

	return add_identity(h, &h->cfg.tls.files, &changed, err);
}

void hs_http_tls_begin(struct hs_http *h, struct hs_http_client *client)
{
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(client->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	if (!info || hs_tls_begin(h->identity->tls, info->tls_session) < 0)
		return; /* its handshake fails */
	client->identity = h->identity;
	client->identity->nr_clients++;
}

void hs_http_tls_end(struct hs_http_client *client)
{
	if (client->identity)
		client->identity->nr_clients--;
	client->identity = NULL;
}

void hs_http_tls_drop(struct hs_http *h, bool all)
{
	struct hs_http_identity **at = all || !h->identity ? &h->identity : &h->identity->next, *old;

	while ((old = *at)) {
		if (!all && old->nr_clients) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		hs_tls_free(old->tls);
		free(old);
	}
}

bool hs_http_tls_is_old(const struct hs_http *h, const struct hs_http_client *client)
{
	return client->identity && client->identity != h->identity;
}

int hs_http_reload_tls(struct hs_http *h, const struct hs_tls_files *files, bool *changed, struct hs_error *err)
{
	int rc;

	*changed = false;
	if (!h->identity)
		return 0;
	rc = add_identity(h, files, changed, err);
	if (rc || !*changed)
		return rc;
	for (const struct hs_http_client *c = h->clients; c; c = c->next) {
		const union MHD_ConnectionInfo *info;

		if (!hs_http_tls_is_old(h, c) || c->exchange)
			continue;
		info = MHD_get_connection_info(c->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
		if (info)
			(void)shutdown(info->connect_fd, SHUT_RDWR);
	}
	return 0;
}

bool hs_http_tls_state(const struct hs_http *h, int64_t *expires_s, uint64_t *nr_refused)
{
	if (!h || !h->identity)
		return false;
	*expires_s = hs_tls_expires_s(h->identity->tls);
	*nr_refused = h->nr_refused;
	return true;
}
