/* SPDX-License-Identifier: Apache-2.0 */
/* What stands behind the question mark of a path: what is wrong there is named, and answered with 400. */
#include "api_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_key(const void *ctx, const char *key)
{
	for (const char *const *keys = ctx; *keys; keys++)
		if (strcmp(*keys, key) == 0)
			return true;
	return false;
}

bool hs_api_query_keys(struct hs_api_request *r, const char *const *keys)
{
	const char *other = hs_http_other_query(r->x, is_key, keys);
	char text[512];
	size_t len;

	if (!other)
		return true;
	len = (size_t)snprintf(text, sizeof(text), "%.64s: no such parameter; there are", other);
	for (; *keys && len < sizeof(text) - 1; keys++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %s", *keys);
	hs_api_fail(r->x, 400, "bad-request", text);
	return false;
}

bool hs_api_query_number(struct hs_api_request *r, const char *key, uint64_t least, uint64_t most, uint64_t *out)
{
	const char *text = hs_http_query(r->x, key);
	char why[160], *end = NULL;
	uint64_t v = 0;

	if (!text)
		return true;
	errno = 0;
	if (*text >= '0' && *text <= '9')
		v = strtoull(text, &end, 10);
	if (end && !*end && !errno && v >= least && v <= most) {
		*out = v;
		return true;
	}
	(void)snprintf(why, sizeof(why), "%s: a number from %" PRIu64 " to %" PRIu64 " is wanted", key, least, most);
	hs_api_fail(r->x, 400, "bad-request", why);
	return false;
}
