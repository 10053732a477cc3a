/* SPDX-License-Identifier: Apache-2.0 */
#include "node_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hostfile.h"

int hs_node_field(const char *text, const char *key, uint64_t *bytes)
{
	const char *at = strstr(text, key), *end;
	uint64_t kib;

	/* The key begins a word: "MemFree:" is not the end of another. */
	while (at && at != text && !isspace((unsigned char)at[-1]))
		at = strstr(at + 1, key);
	if (!at)
		return -ENOENT;
	at += strlen(key);
	at += strspn(at, " ");
	if (hs_hostfile_parse_u64(at, &end, &kib) || strncmp(end, " kB", 3))
		return -EINVAL;
	*bytes = kib * 1024;
	return 0;
}

int hs_node_list(const char *text, uint64_t *out)
{
	const char *p = text + strspn(text, " \t");

	*out = 0;
	if (!*p || *p == '\n')
		return 0;
	for (;;) {
		uint64_t from, to;

		if (hs_hostfile_parse_u64(p, &p, &from))
			return -EINVAL;
		to = from;
		if (*p == '-' && hs_hostfile_parse_u64(p + 1, &p, &to))
			return -EINVAL;
		if (to < from)
			return -EINVAL;
		for (uint64_t n = from; n <= to && n < 64; n++)
			*out |= UINT64_C(1) << n;
		if (*p != ',')
			break;
		p++;
	}
	return *p && !isspace((unsigned char)*p) ? -EINVAL : 0;
}

int hs_node_policy(const char *line, uint32_t node, uint64_t *start, bool *bound)
{
	static const char *const free_ones[] = { "default", "local", "prefer" };
	const char *policy, *colon;
	uint64_t nodes;
	char *end;

	*bound = true;
	errno = 0;
	*start = strtoull(line, &end, 16);
	if (errno || end == line || *end != ' ')
		return -EINVAL;
	policy = end + 1;
	for (size_t i = 0; i < sizeof(free_ones) / sizeof(free_ones[0]); i++)
		if (!strncmp(policy, free_ones[i], strlen(free_ones[i])))
			*bound = false;
	if (!*bound)
		return 0;
	/* "bind:0-1", "bind=static:0", "interleave:0,1", "weighted interleave:0" */
	colon = strchr(policy, ':');
	if (colon && !hs_node_list(colon + 1, &nodes))
		*bound = node > 63 || !(nodes >> node & 1);
	return 0;
}
