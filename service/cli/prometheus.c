/* SPDX-License-Identifier: Apache-2.0 */
#include "prometheus.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "service/common/secret_file.h"

#define MAX_ANSWER (UINT64_C(256) << 20)
#define API        "/api/v1/query"

struct answer {
	char *text;
	size_t len;
	bool too_large;
};

struct hs_prometheus {
	struct hs_prometheus_config cfg;
	CURL *curl; /* one connection for all queries */
	struct hs_secret_file token;
	char *url; /* of the API */
	long long now_s;
	char why[CURL_ERROR_SIZE];
};

static size_t on_data(char *data, size_t size, size_t nr, void *ctx)
{
	struct answer *a = ctx;
	char *grown;

	a->too_large = a->len + size * nr > MAX_ANSWER;
	grown = a->too_large ? NULL : realloc(a->text, a->len + size * nr + 1);
	if (!grown)
		return 0;
	a->text = grown;
	memcpy(a->text + a->len, data, size * nr);
	a->len += size * nr;
	a->text[a->len] = '\0';
	return size * nr;
}

/* The base with the API's path behind it. */
static char *api_url(const char *base)
{
	size_t len = strlen(base);
	char *out;

	while (len && base[len - 1] == '/')
		len--;
	return asprintf(&out, "%.*s" API, (int)len, base) < 0 ? NULL : out;
}

static bool is_url(const char *s)
{
	const bool tls = strncmp(s, "https://", 8) == 0;

	return (tls || strncmp(s, "http://", 7) == 0) && s[tls ? 8 : 7] && !strpbrk(s, "?# \t\n");
}

int hs_prometheus_open(struct hs_prometheus **out, const struct hs_prometheus_config *cfg, struct hs_error *err)
{
	struct hs_prometheus *p = calloc(1, sizeof(*p));
	int rc = 0;

	*out = NULL;
	if (!p)
		return hs_error_set(err, -ENOMEM, "out of memory");
	p->cfg = *cfg;
	p->now_s = (long long)time(NULL);
	p->token = (struct hs_secret_file){ .what = "--token-file", .path = cfg->token_file, .secret = true };
	if (!is_url(cfg->url))
		rc = hs_error_set(err, -EINVAL,
				  "--url: \"%.200s\" is no URL of a Prometheus; give one such as "
				  "https://prometheus.example:9090, without /api or a query behind it",
				  cfg->url);
	if (!rc)
		rc = hs_secret_file_read(&p->token, err);
	hs_secret_file_trim(&p->token);
	if (!rc && p->token.text && strpbrk(p->token.text, "\r\n"))
		rc = hs_error_set(err, -EINVAL, "--token-file: %.200s has more than one line", cfg->token_file);
	if (!rc) {
		p->url = api_url(cfg->url);
		p->curl = curl_easy_init();
		if (!p->url || !p->curl)
			rc = hs_error_set(err, -ENOMEM, "out of memory");
	}
	if (rc)
		hs_prometheus_close(p);
	else
		*out = p;
	return rc;
}

void hs_prometheus_close(struct hs_prometheus *p)
{
	if (!p)
		return;
	hs_secret_file_forget(&p->token);
	if (p->curl)
		curl_easy_cleanup(p->curl);
	free(p->url);
	free(p);
}

static int no_answer(const struct hs_prometheus *p, CURLcode code, const struct answer *a, struct hs_error *err)
{
	const char *url = p->cfg.url, *why = p->why[0] ? p->why : curl_easy_strerror(code);

	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return hs_error_set(err, -ENOTCONN, "no host of the name in --url %.200s is known: %.200s", url, why);
	case CURLE_COULDNT_CONNECT:
		return hs_error_set(
		    err, -ENOTCONN,
		    "nobody answers at --url %.200s (%.200s): is Prometheus running there, and is that its port?", url,
		    why);
	case CURLE_OPERATION_TIMEDOUT:
		return hs_error_set(err, -ENOTCONN,
				    "%.200s gave no answer within %u s: a larger --timeout waits for longer", url,
				    p->cfg.timeout_s);
	case CURLE_PEER_FAILED_VERIFICATION:
		return hs_error_set(err, -EACCES,
				    "the certificate of %.200s is not trusted: %.200s; name the CA that signed it with "
				    "--ca, and the host as the certificate does",
				    url, why);
	case CURLE_SSL_CACERT_BADFILE:
		return hs_error_set(err, -EINVAL, "--ca: %.200s cannot be read, or has no certificate in PEM",
				    p->cfg.ca ? p->cfg.ca : "the system's file");
	case CURLE_SSL_CERTPROBLEM:
		return hs_error_set(err, -EINVAL, "--certificate, --key: %.200s", why);
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_RECV_ERROR:
		return hs_error_set(err, -ENOTCONN,
				    "no connection by TLS with %.200s: %.200s; does it speak https, and does it ask "
				    "for a certificate (--certificate, --key)?",
				    url, why);
	case CURLE_WRITE_ERROR:
		return a->too_large
			   ? hs_error_set(err, -ENOMEM,
					  "the answer of %.200s is larger than 256 MiB: ask for a part of the fleet "
					  "with --match",
					  url)
			   : hs_error_set(err, -ENOMEM, "out of memory");
	default:
		return hs_error_set(err, -ENOTCONN, "%.200s cannot be asked: %.200s", url, why);
	}
}

static int refused(const struct hs_prometheus *p, long status, const json_t *body, struct hs_error *err)
{
	const char *url = p->cfg.url, *said = json_string_value(json_object_get(body, "error"));

	if (status == 401 || status == 403)
		return hs_error_set(err, -EACCES,
				    "%.200s lets nobody in without %s (HTTP %ld): --token-file, or --certificate and "
				    "--key",
				    url, p->token.text ? "another token" : "a token or a certificate", status);
	if (said)
		return hs_error_set(err, -EREMOTEIO, "%.200s refuses the query: %.300s", url, said);
	if (status == 404)
		return hs_error_set(err, -EPROTO,
				    "there is no Prometheus at %.200s (HTTP 404 for " API "): give what stands before "
				    "/api in its URLs; of VictoriaMetrics' cluster that ends in /select/0/prometheus",
				    url);
	if (status >= 300 && status < 400)
		return hs_error_set(err, -EPROTO,
				    "%.200s sends on to another URL (HTTP %ld), a page to log in on for instance: "
				    "give the URL of Prometheus itself",
				    url, status);
	if (status >= 500)
		return hs_error_set(err, -EREMOTEIO, "%.200s fails (HTTP %ld): its own log says why", url, status);
	return hs_error_set(err, -EPROTO,
			    "what answers at %.200s is no Prometheus (HTTP %ld): give what stands before /api in its "
			    "URLs",
			    url, status);
}

/* What the API answers: {"status": "success", "data": {"resultType": "vector", "result": []}}. */
static int take(const struct hs_prometheus *p, long status, const struct answer *a, json_t **out, struct hs_error *err)
{
	json_t *body = json_loadb(a->text ? a->text : "", a->len, 0, NULL);
	json_t *result = json_object_get(json_object_get(body, "data"), "result");
	const char *said = json_string_value(json_object_get(body, "status"));
	int rc = 0;

	if (status == 200 && said && strcmp(said, "success") == 0 && json_is_array(result))
		*out = json_incref(result);
	else
		rc = refused(p, status, body, err);
	json_decref(body);
	return rc;
}

static void set_options(struct hs_prometheus *p, const struct curl_slist *headers, const char *form, struct answer *a)
{
	CURL *c = p->curl;

	curl_easy_reset(c); /* the connection stays */
	p->why[0] = '\0';
	(void)curl_easy_setopt(c, CURLOPT_URL, p->url);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, p->why);
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 10L);
	(void)curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)p->cfg.timeout_s);
	(void)curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "");
	(void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, form);
	(void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
	if (p->cfg.ca)
		(void)curl_easy_setopt(c, CURLOPT_CAINFO, p->cfg.ca);
	if (p->cfg.certificate)
		(void)curl_easy_setopt(c, CURLOPT_SSLCERT, p->cfg.certificate);
	if (p->cfg.key)
		(void)curl_easy_setopt(c, CURLOPT_SSLKEY, p->cfg.key);
}

int hs_prometheus_query(struct hs_prometheus *p, const char *query, json_t **out, struct hs_error *err)
{
	char *escaped = curl_easy_escape(p->curl, query, 0), *form = NULL, *header = NULL;
	struct curl_slist *headers = NULL;
	struct answer a = { 0 };
	long status = 0;
	CURLcode code;
	int rc;

	*out = NULL;
	if (!escaped || asprintf(&form, "time=%lld&query=%s", p->now_s, escaped) < 0)
		form = NULL;
	if (p->token.text && asprintf(&header, "Authorization: Bearer %s", p->token.text) < 0)
		header = NULL;
	if (header)
		headers = curl_slist_append(NULL, header);
	if (!form || (p->token.text && !headers)) {
		rc = hs_error_set(err, -ENOMEM, "out of memory");
	} else {
		set_options(p, headers, form, &a);
		code = curl_easy_perform(p->curl);
		(void)curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
		rc = code == CURLE_OK ? take(p, status, &a, out, err) : no_answer(p, code, &a, err);
	}
	curl_free(escaped);
	free(form);
	if (header)
		explicit_bzero(header, strlen(header));
	free(header);
	curl_slist_free_all(headers);
	free(a.text);
	return rc;
}

const char *hs_prometheus_label(const json_t *sample, const char *label)
{
	const char *s = json_string_value(json_object_get(json_object_get(sample, "metric"), label));

	return s ? s : "";
}

double hs_prometheus_value(const json_t *sample)
{
	const char *s = json_string_value(json_array_get(json_object_get(sample, "value"), 1));

	return s ? strtod(s, NULL) : 0;
}
