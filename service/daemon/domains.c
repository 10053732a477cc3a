/* What libvirt reports of its domains, and which guests they are. */
#include "daemon_internal.h"

#include <errno.h>
#include <string.h>

#include "service/common/log.h"

/*
 * The guest of this domain. One process is one guest: where it was opted in as a process, before libvirt reported the
 * domain, that guest becomes the domain's, with all that is under way for it. A record that the domain had before is of
 * an earlier process of it, and goes.
 */
static struct hs_daemon_guest *guest_of(struct hs_daemon *d, const struct hs_virt_domain *dom)
{
	struct hs_daemon_guest *known = hs_daemon_find(d, dom->uuid), *g = d->guests;

	while (g && (g->forgotten || g->source != HS_SOURCE_PID || !dom->running || !dom->pid || g->pid != dom->pid))
		g = g->next;
	if (!g)
		return known ? known : hs_daemon_guest_new(d, HS_SOURCE_LIBVIRT, dom->name);
	if (known) {
		(void)hs_daemon_guest_set_pid(known, 0);
		known->forgotten = true;
	}
	hs_log(HS_LOG_INFO, "process %d is libvirt's domain %s", (int)g->pid, dom->name);
	g->source = HS_SOURCE_LIBVIRT;
	return g;
}

static void on_domain(void *ctx, const struct hs_virt_domain *dom)
{
	struct hs_daemon *d = ctx;
	struct hs_daemon_guest *g = guest_of(d, dom);
	/* libvirt may not find the process that it runs in; we know it already. */
	const bool keep_pid = g && g->by_request.on && dom->running && !dom->pid;
	bool was_on;
	int rc;

	if (!g) {
		hs_log(HS_LOG_ERROR, "out of memory: domain %s is left alone", dom->name);
		return;
	}
	(void)snprintf(g->uuid, sizeof(g->uuid), "%s", dom->uuid);
	/* A name that would stand for a process is no name here: the UUID is. */
	(void)snprintf(g->id, sizeof(g->id), "%s", hs_daemon_named_pid(dom->name) ? dom->uuid : dom->name);
	was_on = g->opt_in.on;
	g->in_metadata = dom->opt_in;
	if (g->in_metadata.on && g->by_request.on) {
		g->by_request.on = false; /* libvirt keeps it now */
		(void)hs_daemon_save_opt_ins(d);
	}
	hs_daemon_settle_opt_in(g);
	if (g->opt_in.on != was_on)
		hs_log(HS_LOG_INFO, "domain %s is %s", g->id, g->opt_in.on ? "opted in" : "not opted in");
	hs_model_obstacle_set(&g->obstacle,
			      keep_pid && dom->obstacle.reason == HS_REASON_NO_PROCESS ? HS_REASON_NONE
										       : dom->obstacle.reason,
			      dom->obstacle.text);
	rc = keep_pid ? 0 : hs_daemon_guest_set_pid(g, dom->running ? dom->pid : 0);
	if (rc && rc != -ESRCH)
		hs_log(HS_LOG_WARNING, "domain %s: its process %d cannot be watched (%s): it is left alone", g->id,
		       (int)dom->pid, strerror(-rc));
	hs_daemon_reconcile_soon(d);
}

static void on_gone(void *ctx, const char *uuid)
{
	struct hs_daemon_guest *g = hs_daemon_find(ctx, uuid);

	if (!g)
		return;
	(void)hs_daemon_guest_set_pid(g, 0);
	g->forgotten = true;
	hs_daemon_reconcile_soon(ctx);
}

static void on_connection(void *ctx, bool up, const char *text)
{
	struct hs_daemon *d = ctx;

	if (up != d->virt_up || strcmp(text, d->virt_text) != 0)
		hs_log(up ? HS_LOG_INFO : HS_LOG_WARNING, "libvirt: %s", text);
	d->virt_up = up;
	(void)snprintf(d->virt_text, sizeof(d->virt_text), "%s", text);
}

const struct hs_virt_callbacks hs_daemon_virt_callbacks = { .domain = on_domain,
							    .gone = on_gone,
							    .connection = on_connection };
