/* SPDX-License-Identifier: Apache-2.0 */
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
static struct hs_daemon_guest *guest_of(struct hs_daemon_link *link, const struct hs_virt_domain *dom)
{
	struct hs_daemon *d = link->daemon;
	struct hs_daemon_guest *known = hs_daemon_find(d, dom->uuid);
	struct hs_daemon_guest *g = dom->running && dom->pid ? hs_daemon_find_pid(d, dom->pid) : NULL;

	if (!g || g->source != HS_SOURCE_PID)
		return known ? known : hs_daemon_guest_new(d, HS_SOURCE_LIBVIRT, dom->name);
	if (known) {
		(void)hs_daemon_guest_set_pid(known, 0);
		hs_daemon_guest_forget(known);
	}
	hs_log(HS_LOG_INFO, "process %d is libvirt's domain %s", (int)g->pid, dom->name);
	g->source = HS_SOURCE_LIBVIRT;
	return g;
}

/*
 * A name stands for one guest. One that would stand for a process is none, and of two connections' domains of one name
 * the second goes by its UUID; a process that a rule has given it goes by its number again.
 */
static void set_name(struct hs_daemon_guest *g, const struct hs_virt_domain *dom)
{
	struct hs_daemon_guest *other = hs_daemon_find_id(g->daemon, dom->name);
	bool taken = hs_daemon_named_pid(dom->name) != 0;
	char id[HS_NAME_MAX];

	if (other && other != g && other->source == HS_SOURCE_PID) {
		(void)snprintf(id, sizeof(id), "pid-%d", (int)other->pid);
		hs_daemon_guest_rename(other, id);
	} else {
		taken = taken || (other && other != g);
	}
	hs_daemon_guest_rename(g, taken ? dom->uuid : dom->name);
}

/* A domain that two connections have is one guest, of the connection that is named first, unless that is lost: who has
 * a session that is named later can take no other domain by giving one the same UUID. */
static bool is_anothers(const struct hs_daemon_link *link, const char *uuid)
{
	const struct hs_daemon_guest *g = hs_daemon_find(link->daemon, uuid);

	return g && g->link && g->link < link && g->link->up;
}

static void on_domain(void *ctx, const struct hs_virt_domain *dom)
{
	struct hs_daemon_link *link = ctx;
	struct hs_daemon *d = link->daemon;
	struct hs_daemon_guest *g;
	bool was_on, keep_pid;
	int rc;

	if (is_anothers(link, dom->uuid)) {
		hs_log(HS_LOG_DEBUG, "domain %s of %s is known by another connection", dom->name, link->uri);
		return;
	}
	g = guest_of(link, dom);
	if (!g) {
		hs_log(HS_LOG_ERROR, "out of memory: domain %s is left alone", dom->name);
		return;
	}
	/* libvirt may not find the process that it runs in; we know it already. */
	keep_pid = (g->by_request.on || g->of_process.found) && dom->running && !dom->pid;
	g->link = link;
	if (hs_daemon_guest_set_uuid(g, dom->uuid))
		hs_log(HS_LOG_ERROR, "out of memory: domain %s cannot be found by its UUID", dom->name);
	set_name(g, dom);
	was_on = g->opt_in.on;
	g->in_metadata = dom->opt_in;
	g->has_element = dom->has_element;
	g->of_domain = dom->rule;
	g->out_by_request = g->out_by_request || hs_daemon_is_out(d, g);
	if (g->in_metadata.on && (g->by_request.on || g->out_by_request)) {
		g->by_request.on = false; /* libvirt keeps it now */
		hs_daemon_set_out(g, false, (struct hs_done){ NULL, NULL });
		(void)!hs_daemon_record_opt_in(g);
	}
	hs_daemon_settle_opt_in(g);
	if (g->opt_in.on != was_on)
		hs_log(HS_LOG_INFO, "domain %s is %s%s%s", g->id, g->opt_in.on ? "opted in" : "not opted in",
		       g->opt_in.on && !g->has_element && g->of_domain.found ? ", by rule " : "",
		       g->opt_in.on && !g->has_element && g->of_domain.found ? g->of_domain.rule : "");
	hs_model_obstacle_set(&g->obstacle,
			      keep_pid && dom->obstacle.reason == HS_REASON_NO_PROCESS ? HS_REASON_NONE
										       : dom->obstacle.reason,
			      dom->obstacle.text);
	rc = keep_pid ? 0 : hs_daemon_guest_set_pid(g, dom->running ? dom->pid : 0);
	if (rc && rc != -ESRCH)
		hs_log(HS_LOG_WARNING, "domain %s: its process %d cannot be watched (%s): it is left alone", g->id,
		       (int)dom->pid, strerror(-rc));
	hs_daemon_guest_due(g);
}

static void on_gone(void *ctx, const char *uuid)
{
	const struct hs_daemon_link *link = ctx;
	struct hs_daemon_guest *g = hs_daemon_find(link->daemon, uuid);

	if (!g || g->link != link)
		return;
	(void)hs_daemon_guest_set_pid(g, 0);
	hs_daemon_guest_forget(g);
	/* Another connection may have it: a host that goes over from libvirtd to virtqemud. */
	for (size_t i = 0; i < link->daemon->nr_links; i++)
		if (&link->daemon->links[i] != link)
			hs_virt_set_rules(link->daemon->links[i].virt, link->daemon->rules);
}

static void on_connection(void *ctx, bool up, const char *text)
{
	struct hs_daemon_link *link = ctx;

	if (up != link->up || strcmp(text, link->text) != 0)
		hs_log(up ? HS_LOG_INFO : HS_LOG_WARNING, "libvirt: %s", text);
	link->up = up;
	(void)snprintf(link->text, sizeof(link->text), "%s", text);
}

const struct hs_virt_callbacks hs_daemon_virt_callbacks = { .domain = on_domain,
							    .gone = on_gone,
							    .connection = on_connection };
