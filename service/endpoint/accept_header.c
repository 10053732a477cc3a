/* SPDX-License-Identifier: Apache-2.0 */
/* A header is read range by range; each range part by part: the type first, then its parameters. */
#include "accept_header.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#define SPACE " \t"

/* A piece of the header, half open. */
struct piece {
	const char *at, *end;
};

static struct piece trimmed(const char *at, const char *end)
{
	while (at < end && strchr(SPACE, *at))
		at++;
	while (at < end && strchr(SPACE, end[-1]))
		end--;
	return (struct piece){ at, end };
}

/* Up to the next `mark` outside of a quoted string; *rest goes behind it. */
static struct piece next_piece(struct piece *rest, char mark)
{
	const char *at = rest->at, *p = at;
	bool quoted = false;

	for (; p < rest->end && (quoted || *p != mark); p++) {
		if (quoted && *p == '\\' && p + 1 < rest->end)
			p++;
		else if (*p == '"')
			quoted = !quoted;
	}
	rest->at = p < rest->end ? p + 1 : p;
	return trimmed(at, p);
}

static bool is(struct piece p, const char *text)
{
	const size_t len = strlen(text);

	return (size_t)(p.end - p.at) == len && strncasecmp(p.at, text, len) == 0;
}

/* "0", "0.5", "1.000": thousandths; -1: malformed. */
static int quality_of(struct piece p)
{
	const ptrdiff_t len = p.end - p.at;
	int q, weight = 100;

	if (len < 1 || len > 5 || (p.at[0] != '0' && p.at[0] != '1') || (len > 1 && p.at[1] != '.'))
		return -1;
	q = (p.at[0] - '0') * 1000;
	for (ptrdiff_t i = 2; i < len; i++, weight /= 10) {
		if (p.at[i] < '0' || p.at[i] > '9')
			return -1;
		q += (p.at[i] - '0') * weight;
	}
	return q > 1000 ? -1 : q;
}

static enum hs_accept_header_how how_named(struct piece range, const char *type)
{
	const size_t family = (size_t)(strchr(type, '/') - type) + 1;

	if (is(range, "*/*"))
		return HS_ACCEPT_ANY;
	if (is(range, type))
		return HS_ACCEPT_TYPE;
	if ((size_t)(range.end - range.at) == family + 1 && range.at[family] == '*' &&
	    strncasecmp(range.at, type, family) == 0)
		return HS_ACCEPT_FAMILY;
	return HS_ACCEPT_NOT;
}

/* One range: how it names the type, and with which quality. */
static enum hs_accept_header_how read_range(struct piece range, const char *type, const char *version, int *quality)
{
	enum hs_accept_header_how how = how_named(next_piece(&range, ';'), type);

	*quality = 1000;
	while (how && range.at < range.end) {
		struct piece value = next_piece(&range, ';');
		const struct piece name = next_piece(&value, '=');

		value = trimmed(value.at, value.end);
		if (is(name, "q")) {
			*quality = quality_of(value);
			return *quality < 0 ? HS_ACCEPT_NOT : how; /* what follows is no part of the range */
		}
		if (!is(name, "version"))
			continue;
		if (value.end - value.at >= 2 && value.at[0] == '"' && value.end[-1] == '"')
			value = (struct piece){ value.at + 1, value.end - 1 };
		if (how != HS_ACCEPT_TYPE || !is(value, version))
			return HS_ACCEPT_NOT;
		how = HS_ACCEPT_VERSION;
	}
	return how;
}

unsigned int hs_accept_header_quality(const char *accept, const char *type, const char *version,
				      enum hs_accept_header_how *how)
{
	struct piece rest;
	int best = 0;

	*how = HS_ACCEPT_ANY;
	if (!accept || !accept[strspn(accept, SPACE)])
		return 1000;
	*how = HS_ACCEPT_NOT;
	rest = (struct piece){ accept, accept + strlen(accept) };
	while (rest.at < rest.end) {
		int quality;
		const enum hs_accept_header_how this = read_range(next_piece(&rest, ','), type, version, &quality);

		if (this == HS_ACCEPT_NOT || this < *how || (this == *how && quality <= best))
			continue;
		*how = this;
		best = quality;
	}
	return (unsigned int)best;
}

bool hs_accept_header_openmetrics(const char *accept)
{
	enum hs_accept_header_how how_open, how_text;
	const unsigned int open = hs_accept_header_quality(accept, "application/openmetrics-text", "1.0.0", &how_open),
			   text = hs_accept_header_quality(accept, "text/plain", "0.0.4", &how_text);

	return open > text || (open && open == text && how_open >= HS_ACCEPT_TYPE);
}
