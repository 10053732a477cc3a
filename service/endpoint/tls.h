/*
 * What the port for other hosts shows, and what its clients have to show: a certificate that a CA of the configuration
 * has signed, a token, or both. Read from files as a whole; read again, it takes the place of the one before.
 */
#ifndef HS_SERVICE_ENDPOINT_TLS_H
#define HS_SERVICE_ENDPOINT_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>

#include "hs/error.h"

/* TLS 1.2 and 1.3, of 1.2 what has forward secrecy and authenticates what it encrypts. */
#define HS_TLS_PRIORITIES                                                                                              \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:-AES-256-CBC:-AES-128-CBC:%SERVER_PRECEDENCE"

/* Paths, in PEM but for the token. "": none; of the last two one has to be there. */
struct hs_tls_files {
	const char *certificate; /* the service's own, then those between it and its CA */
	const char *key;         /* the certificate's: of its owner alone */
	const char *client_ca;   /* whose certificates a client has to have */
	const char *token;       /* what it has to send: 32 characters or more, of the file's owner alone */
};

struct hs_tls;

/*
 * -EINVAL: a file has not what it should, or the key is another certificate's; -EPERM: others may read or change it;
 * -errno of reading. The text names the file and the way out. *out stays.
 */
HS_MUST_USE int hs_tls_load(struct hs_tls **out, const struct hs_tls_files *files, struct hs_error *err);
/* No session may use it any more. Takes NULL. */
void hs_tls_free(struct hs_tls *t);

/* Both were read from files of the same content. */
bool hs_tls_same(const struct hs_tls *a, const struct hs_tls *b);
/* Unix time after which nobody takes the certificate any more. */
int64_t hs_tls_expires_s(const struct hs_tls *t);

/* Before the handshake of a session, which it has to outlive. Negative: it cannot be served. */
HS_MUST_USE int hs_tls_begin(const struct hs_tls *t, gnutls_session_t session);

/* Whether a request with this Authorization header (NULL: it has none) is to be answered. Takes as long for a token
 * that is nearly right as for any other of its length. */
bool hs_tls_is_authorized(const struct hs_tls *t, const char *authorization);

#endif
