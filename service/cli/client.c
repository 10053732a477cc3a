/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ANSWER (UINT64_C(64) << 20)

struct answer {
	char *text;
	size_t len;
};

static size_t on_data(char *data, size_t size, size_t nr, void *ctx)
{
	struct answer *a = ctx;
	char *grown;

	if (a->len + size * nr > MAX_ANSWER)
		return 0;
	grown = realloc(a->text, a->len + size * nr + 1);
	if (!grown)
		return 0;
	a->text = grown;
	memcpy(a->text + a->len, data, size * nr);
	a->len += size * nr;
	a->text[a->len] = '\0';
	return size * nr;
}

char *hs_client_path(const char *before, const char *guest, const char *after)
{
	char *escaped = curl_easy_escape(NULL, guest, 0), *out = NULL;

	if (escaped && asprintf(&out, "%s%s%s", before, escaped, after) < 0)
		out = NULL;
	curl_free(escaped);
	return out;
}

static int unreachable(const char *socket, CURLcode code, long why, struct hs_error *err)
{
	if (why == EACCES || why == EPERM)
		return hs_error_set(
		    err, -ENOTCONN,
		    "no permission to talk to hs-shared on %s: run it as root, or as a member of the socket's group",
		    socket);
	if (why == ENOENT || why == ECONNREFUSED)
		return hs_error_set(
		    err, -ENOTCONN,
		    "hs-shared does not run (nobody listens on %s): start it with `%s`, or name another "
		    "socket with --socket",
		    socket, access("/run/systemd/system", F_OK) ? "hs-shared &" : "systemctl start hs-shared");
	return hs_error_set(err, -ENOTCONN, "hs-shared cannot be reached on %s: %s", socket, curl_easy_strerror(code));
}

/* The whole answer, whatever it says; free(a->text). */
static int ask(const char *socket, const struct hs_client_call *call, struct answer *a, long *status,
	       struct hs_error *err)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char *text = call->body ? json_dumps(call->body, JSON_COMPACT) : NULL, *url = NULL;
	CURL *c = curl_easy_init();
	long why = 0;
	CURLcode code;
	int rc = 0;

	if (!c || !headers || (call->body && !text) || asprintf(&url, "http://localhost%s", call->path) < 0) {
		rc = hs_error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	(void)curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, socket);
	(void)curl_easy_setopt(c, CURLOPT_URL, url);
	/* A guest named ".." is one that is not there, not a way to another request. */
	(void)curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, call->method);
	(void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 5L);
	(void)curl_easy_setopt(c, CURLOPT_TIMEOUT, call->timeout_s);
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_PROXY, "");
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
	if (text)
		(void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, text);
	code = curl_easy_perform(c);
	(void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, status);
	(void)curl_easy_getinfo(c, CURLINFO_OS_ERRNO, &why);
	if (code != CURLE_OK)
		rc = unreachable(socket, code, why, err);
out:
	if (c)
		curl_easy_cleanup(c);
	curl_slist_free_all(headers);
	free(text);
	free(url);
	return rc;
}

static int of_somebody_else(const char *socket, struct hs_error *err)
{
	return hs_error_set(err, -EPROTO, "what listens on %s does not answer as hs-shared does", socket);
}

int hs_client_request(const char *socket, const struct hs_client_call *call, json_t **out, struct hs_error *err)
{
	struct answer a = { 0 };
	long status = 0;
	json_error_t je;
	int rc = ask(socket, call, &a, &status, err);

	*out = rc ? NULL : json_loadb(a.text ? a.text : "", a.len, 0, &je);
	if (!rc && !*out)
		rc = of_somebody_else(socket, err);
	else if (!rc && status >= 400) {
		const char *message = json_string_value(json_object_get(json_object_get(*out, "error"), "message"));

		rc = hs_error_set(err, status == 404 ? -ENOENT : -EREMOTEIO, "%s",
				  message ? message : "it refuses, and does not say why");
	}
	free(a.text);
	return rc;
}

int hs_client_metrics(const char *socket, bool sketch, char **text, size_t *len, struct hs_error *err)
{
	const struct hs_client_call call = { .method = "GET",
					     .path = sketch ? "/metrics/sketch" : "/metrics",
					     .timeout_s = 30 };
	struct answer a = { 0 };
	long status = 0;
	int rc = ask(socket, &call, &a, &status, err);

	if (!rc && sketch && status == 404)
		rc = hs_error_set(
		    err, -ENOENT,
		    "no sketches are made: they are where fleet_key_file ([service]) names the fleet's key");
	else if (!rc && (status != 200 || !a.text ||
			 !strstr(a.text, sketch ? "\nhs_share_sketch_key_info{" : "\nhs_share_build_info{")))
		rc = of_somebody_else(socket, err);
	if (rc) {
		free(a.text);
		return rc;
	}
	*text = a.text;
	*len = a.len;
	return 0;
}
