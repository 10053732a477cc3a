/* SPDX-License-Identifier: Apache-2.0 */
/* The connections to libvirt: begun, ended, and asked for a domain. */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RECONNECT_MS      1000
#define LIBVIRT_ANSWER_MS 20000 /* below hs-share's own patience with a request */

int hs_daemon_links_start(struct hs_daemon *d, struct hs_error *err)
{
	char uri[sizeof(d->links[0].uri)], pid_dir[sizeof(d->cfg.libvirt_pid_dir)];
	int rc = 0;

	for (size_t i = 0; !rc && i < HS_CONFIG_MAX_URIS; i++) {
		struct hs_daemon_link *link = &d->links[i];
		struct hs_virt_callbacks callbacks = hs_daemon_virt_callbacks;

		if (!hs_config_word(d->cfg.libvirt_uri, i, uri, sizeof(uri)))
			break;
		/* One folder for all, or one for each. */
		if (!hs_config_word(d->cfg.libvirt_pid_dir, i, pid_dir, sizeof(pid_dir)) &&
		    !hs_config_word(d->cfg.libvirt_pid_dir, 0, pid_dir, sizeof(pid_dir)))
			pid_dir[0] = '\0';
		link->daemon = d;
		memcpy(link->uri, uri, sizeof(link->uri));
		/* Until it says something: connecting has no limit of time. */
		(void)snprintf(link->text, sizeof(link->text), "connecting to %.400s", uri);
		callbacks.ctx = link;
		rc = hs_virt_start(&link->virt,
				   &(struct hs_virt_config){ .uri = uri,
							     .pid_dir = pid_dir,
							     .host = d->host,
							     .rules = d->rules,
							     .answer_ms = LIBVIRT_ANSWER_MS,
							     .reconnect_ms = RECONNECT_MS },
				   d->loop, &callbacks, err);
		d->nr_links += !rc;
	}
	return rc;
}

void hs_daemon_links_stop(struct hs_daemon *d)
{
	for (size_t i = 0; i < d->nr_links; i++)
		d->left_thread |= !hs_virt_stop(d->links[i].virt);
	d->nr_links = 0;
}

/* ---- a domain that may be anybody's ---- */

struct asking {
	struct hs_daemon *d;
	size_t next;
	char domain[HS_NAME_MAX];
	struct hs_opt_in_change change;
	struct hs_done done;
	int rc; /* of a connection that could not be asked; 0: all could */
	char text[512];
};

static void ask_next(void *arg, int rc, const char *text)
{
	struct asking *a = arg;
	const bool elsewhere = rc == -ENOENT || rc == -ENOTCONN || rc == -ETIMEDOUT;

	/* One that could not be asked may have it: that says more than that the others have not. */
	if (elsewhere && rc != -ENOENT && !a->rc) {
		a->rc = rc;
		(void)snprintf(a->text, sizeof(a->text), "%s", text);
	}
	if (elsewhere && a->next < a->d->nr_links) {
		hs_virt_set_opt_in(a->d->links[a->next++].virt, a->domain, &a->change, (struct hs_done){ ask_next, a });
		return;
	}
	if (rc == -ENOENT && a->rc)
		a->done.fn(a->done.arg, a->rc, a->text);
	else
		a->done.fn(a->done.arg, rc, text);
	free(a);
}

void hs_daemon_set_domain_opt_in(struct hs_daemon *d, const struct hs_daemon_guest *g, const char *domain,
				 const struct hs_opt_in_change *change, struct hs_done done)
{
	struct asking *a;

	if (g && g->link) {
		hs_virt_set_opt_in(g->link->virt, g->uuid, change, done);
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a || !d->nr_links) {
		free(a);
		done.fn(done.arg, a ? -ENOENT : -ENOMEM,
			a ? "there is no such guest; `hs-share guests` lists them" : "out of memory");
		return;
	}
	a->d = d;
	a->change = *change;
	a->done = done;
	a->next = 1;
	(void)snprintf(a->domain, sizeof(a->domain), "%s", domain);
	hs_virt_set_opt_in(d->links[0].virt, domain, change, (struct hs_done){ ask_next, a });
}
