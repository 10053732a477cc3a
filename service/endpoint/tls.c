/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and what is asked of clients. A secret is taken only from a file that its owner alone may read; of the token
 * nothing is kept but its digest.
 */
#include "tls.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "service/common/secret_file.h"

#define DIGEST_BYTES 32   /* of SHA-256 */
#define TOKEN_MIN    32   /* of hexadecimal digits 128 bits, which nobody guesses */
#define TOKEN_MAX    1024 /* what a header has room for, and a path does not */

struct hs_tls {
	gnutls_certificate_credentials_t credentials;
	bool asks_certificate, asks_token;
	uint8_t token[DIGEST_BYTES];
	uint8_t content[DIGEST_BYTES]; /* of all files */
	int64_t expires_s;
};

enum { CERTIFICATE, KEY, CLIENT_CA, TOKEN, NR_FILES };

static gnutls_datum_t datum(const struct hs_secret_file *f)
{
	return (gnutls_datum_t){ (unsigned char *)f->text, (unsigned int)f->len };
}

static int set_certificate(struct hs_tls *t, const struct hs_secret_file *files, struct hs_error *err)
{
	const gnutls_datum_t certificate = datum(&files[CERTIFICATE]), key = datum(&files[KEY]);
	gnutls_datum_t der;
	gnutls_x509_crt_t crt;
	int rc = gnutls_certificate_set_x509_key_mem2(t->credentials, &certificate, &key, GNUTLS_X509_FMT_PEM, NULL, 0);

	if (rc < 0)
		return hs_error_set(err, -EINVAL,
				    "[tls] %.150s is no certificate in PEM, or %.150s is not its key (or needs a "
				    "password): %s",
				    files[CERTIFICATE].path, files[KEY].path, gnutls_strerror(rc));
	rc = gnutls_certificate_get_crt_raw(t->credentials, 0, 0, &der);
	if (!rc)
		rc = gnutls_x509_crt_init(&crt);
	if (rc)
		return hs_error_set(err, -EINVAL, "[tls] certificate: %.200s: %s", files[CERTIFICATE].path,
				    gnutls_strerror(rc));
	rc = gnutls_x509_crt_import(crt, &der, GNUTLS_X509_FMT_DER);
	t->expires_s = rc ? -1 : (int64_t)gnutls_x509_crt_get_expiration_time(crt);
	gnutls_x509_crt_deinit(crt);
	return t->expires_s >= 0
		   ? 0
		   : hs_error_set(err, -EINVAL, "[tls] certificate: %.200s does not say until when it holds",
				  files[CERTIFICATE].path);
}

static int set_client_ca(struct hs_tls *t, const struct hs_secret_file *f, struct hs_error *err)
{
	const gnutls_datum_t text = datum(f);
	int rc;

	if (!f->text)
		return 0;
	rc = gnutls_certificate_set_x509_trust_mem(t->credentials, &text, GNUTLS_X509_FMT_PEM);
	if (rc <= 0)
		return hs_error_set(err, -EINVAL, "[tls] client_ca: %.200s has no certificate in PEM%s%s", f->path,
				    rc ? ": " : "", rc ? gnutls_strerror(rc) : "");
	t->asks_certificate = true;
	return 0;
}

/* What RFC 6750 lets a token be made of. */
static bool is_token(const char *s, size_t len)
{
	return len >= TOKEN_MIN && len <= TOKEN_MAX &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") == len;
}

static int set_token(struct hs_tls *t, struct hs_secret_file *f, struct hs_error *err)
{
	if (!f->text)
		return 0;
	hs_secret_file_trim(f);
	if (!is_token(f->text, f->len))
		return hs_error_set(err, -EINVAL,
				    "[tls] token_file: %.200s is not one line of %d to %d letters, digits and -._~+/=; "
				    "make one: openssl rand -hex 32",
				    f->path, TOKEN_MIN, TOKEN_MAX);
	t->asks_token = true;
	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, f->text, f->len, t->token))
		return hs_error_set(err, -EIO, "SHA-256 is not to be had");
	return 0;
}

/* Of all files: whether a later reading brings anything new. */
static int digest_all(struct hs_tls *t, const struct hs_secret_file *files, struct hs_error *err)
{
	gnutls_hash_hd_t hash;
	int rc = gnutls_hash_init(&hash, GNUTLS_DIG_SHA256);

	if (rc)
		return hs_error_set(err, -EIO, "SHA-256 is not to be had: %s", gnutls_strerror(rc));
	for (int i = 0; i < NR_FILES && !rc; i++) {
		rc = gnutls_hash(hash, &files[i].len, sizeof(files[i].len));
		if (!rc && files[i].text)
			rc = gnutls_hash(hash, files[i].text, files[i].len);
	}
	gnutls_hash_deinit(hash, t->content);
	return rc ? hs_error_set(err, -EIO, "SHA-256 is not to be had: %s", gnutls_strerror(rc)) : 0;
}

int hs_tls_load(struct hs_tls **out, const struct hs_tls_files *paths, struct hs_error *err)
{
	struct hs_secret_file files[NR_FILES] = {
		[CERTIFICATE] = { .what = "[tls] certificate", .path = paths->certificate },
		[KEY] = { .what = "[tls] key", .path = paths->key, .secret = true },
		[CLIENT_CA] = { .what = "[tls] client_ca", .path = paths->client_ca },
		[TOKEN] = { .what = "[tls] token_file", .path = paths->token, .secret = true },
	};
	struct hs_tls *t = calloc(1, sizeof(*t));
	int rc = 0;

	if (!t || gnutls_certificate_allocate_credentials(&t->credentials))
		rc = hs_error_set(err, -ENOMEM, "out of memory");
	for (int i = 0; i < NR_FILES && !rc; i++)
		rc = hs_secret_file_read(&files[i], err);
	if (!rc && (!files[CERTIFICATE].text || !files[KEY].text))
		rc = hs_error_set(err, -EINVAL, "[tls] certificate and key are needed");
	if (!rc)
		rc = digest_all(t, files, err);
	if (!rc)
		rc = set_certificate(t, files, err);
	if (!rc)
		rc = set_client_ca(t, &files[CLIENT_CA], err);
	if (!rc)
		rc = set_token(t, &files[TOKEN], err);
	if (!rc && !t->asks_certificate && !t->asks_token)
		rc = hs_error_set(err, -EINVAL, "[tls] client_ca or token_file is needed: nobody is served unasked");
	for (int i = 0; i < NR_FILES; i++)
		hs_secret_file_forget(&files[i]);
	if (rc)
		hs_tls_free(t);
	else
		*out = t;
	return rc;
}

void hs_tls_free(struct hs_tls *t)
{
	if (!t)
		return;
	if (t->credentials)
		gnutls_certificate_free_credentials(t->credentials);
	free(t);
}

bool hs_tls_same(const struct hs_tls *a, const struct hs_tls *b)
{
	return memcmp(a->content, b->content, sizeof(a->content)) == 0;
}

int64_t hs_tls_expires_s(const struct hs_tls *t)
{
	return t->expires_s;
}

int hs_tls_begin(const struct hs_tls *t, gnutls_session_t session)
{
	/* A certificate that was made for something else, such as a server's, is none of a client. The session keeps
	 * the pointer. */
	static char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
	static gnutls_typed_vdata_st asked = { .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)purpose };

	gnutls_certificate_server_set_request(session, t->asks_certificate ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
	if (t->asks_certificate)
		gnutls_session_set_verify_cert2(session, &asked, 1, 0);
	return gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->credentials);
}

bool hs_tls_is_authorized(const struct hs_tls *t, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	uint8_t digest[DIGEST_BYTES];
	const char *token;

	if (!t->asks_token)
		return true;
	if (!authorization || strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
		return false;
	token = authorization + sizeof(scheme) - 1;
	token += strspn(token, " ");
	/* Digests of one length are compared, so neither how much of it is right nor how long it is can be timed. */
	return gnutls_hash_fast(GNUTLS_DIG_SHA256, token, strlen(token), digest) == 0 &&
	       gnutls_memcmp(digest, t->token, sizeof(digest)) == 0;
}
