/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that were asked to stay out, whatever a rule says. A guest that a rule finds again after a restart of its own
 * stays out by what names it for good: a domain's UUID, or the name that a rule gives it. One that has no more than a
 * process id stays out as long as that process lives.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* NULL: nothing names it for good. */
static const char *key_of(const struct hs_daemon_guest *g)
{
	if (g->source == HS_SOURCE_LIBVIRT)
		return g->uuid;
	return hs_daemon_named_pid(g->id) ? NULL : g->id;
}

static size_t place_of(const struct hs_daemon *d, const char *key)
{
	size_t i = 0;

	while (key && i < d->nr_outs && strcmp(d->outs[i], key) != 0)
		i++;
	return key ? i : d->nr_outs;
}

bool hs_daemon_is_out(const struct hs_daemon *d, const struct hs_daemon_guest *g)
{
	return place_of(d, key_of(g)) < d->nr_outs;
}

int hs_daemon_out_add(struct hs_daemon *d, const char *key)
{
	char(*grown)[HS_NAME_MAX];

	if (place_of(d, key) < d->nr_outs || strlen(key) >= HS_NAME_MAX)
		return 0;
	grown = reallocarray(d->outs, d->nr_outs + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	d->outs = grown;
	(void)snprintf(d->outs[d->nr_outs++], HS_NAME_MAX, "%s", key);
	return 0;
}

int hs_daemon_set_out(struct hs_daemon_guest *g, bool out)
{
	struct hs_daemon *d = g->daemon;
	const char *key = key_of(g);
	const size_t at = place_of(d, key);

	g->out_by_request = out;
	if (out)
		return key ? hs_daemon_out_add(d, key) : 0;
	if (at < d->nr_outs) {
		d->nr_outs--;
		memmove(d->outs[at], d->outs[d->nr_outs], sizeof(d->outs[at]));
	}
	return 0;
}
