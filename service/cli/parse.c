/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

static bool number(const char *arg, unsigned long long *out, char **end)
{
	if (!arg || arg[0] < '0' || arg[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(arg, end, 10);
	return errno == 0;
}

void hs_parse_pid(struct argp_state *state, const char *option, const char *arg, struct hs_pid_list *list)
{
	unsigned long long v = 0;
	pid_t *more;
	char *end;

	if (!number(arg, &v, &end) || *end || v == 0 || v > INT_MAX)
		argp_error(state, "%s: \"%s\" is no process id; give a number such as 1234 (see: pgrep -a qemu)",
			   option, arg);
	for (size_t i = 0; i < list->nr; i++)
		if (list->pids[i] == (pid_t)v)
			argp_error(state, "%s: process %llu is named twice", option, v);
	more = reallocarray(list->pids, list->nr + 1, sizeof(*more));
	if (!more)
		argp_failure(state, HS_EXIT_FAILED, ENOMEM, "%s", option);
	list->pids = more;
	list->pids[list->nr++] = (pid_t)v;
}

uint32_t hs_parse_u32(struct argp_state *state, const char *option, const char *arg, uint32_t min, uint32_t max)
{
	unsigned long long v = 0;
	char *end;

	if (!number(arg, &v, &end) || *end || v < min || v > max)
		argp_error(state, "%s: \"%s\" is not a number from %u to %u", option, arg, min, max);
	return (uint32_t)v;
}

uint64_t hs_parse_bytes(struct argp_state *state, const char *option, const char *arg)
{
	unsigned long long v = 0;
	unsigned int shift = 0;
	char *end;

	if (!number(arg, &v, &end))
		goto bad;
	switch (*end) {
	case 'G':
	case 'g':
		shift += 10;
		/* fallthrough */
	case 'M':
	case 'm':
		shift += 10;
		/* fallthrough */
	case 'K':
	case 'k':
		shift += 10;
		end++;
		break;
	default:
		break;
	}
	if (*end || v == 0 || v > (UINT64_MAX >> shift))
		goto bad;
	return (uint64_t)v << shift;
bad:
	argp_error(state, "%s: \"%s\" is no size; give bytes, or a number with K, M or G such as 256M", option, arg);
	return 0;
}
