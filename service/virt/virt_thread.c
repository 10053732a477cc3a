/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's thread. Its inbox wakes it: for jobs, for what libvirt's loop has reported, and to end.
 */
#include <errno.h>
#include <libvirt/virterror.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/times.h"
#include "service/common/log.h"
#include "service/common/thread.h"
#include "virt_internal.h"

#define RECONNECT_MAX_MS 60000

/* ---- messages ---- */

static struct hs_virt_message *message_new(enum hs_virt_message_kind kind)
{
	struct hs_virt_message *m = calloc(1, sizeof(*m));

	if (m)
		m->kind = kind;
	else
		hs_log(HS_LOG_ERROR, "out of memory: a message of libvirt's is lost");
	return m;
}

static void report(struct hs_virt *v, struct hs_virt_message *m)
{
	if (!m)
		return;
	(void)pthread_mutex_lock(&v->lock);
	*v->last_message = m;
	v->last_message = &m->next;
	(void)pthread_mutex_unlock(&v->lock);
	hs_thread_poke(v->message_fd);
}

static void report_connection(struct hs_virt *v, bool up, const char *text)
{
	struct hs_virt_message *m = message_new(HS_VIRT_MESSAGE_CONNECTION);

	if (!m)
		return;
	m->up = up;
	(void)snprintf(m->text, sizeof(m->text), "%s", text);
	report(v, m);
}

static void report_gone(struct hs_virt *v, const char *uuid)
{
	struct hs_virt_message *m = message_new(HS_VIRT_MESSAGE_GONE);

	if (!m)
		return;
	(void)snprintf(m->domain.uuid, sizeof(m->domain.uuid), "%s", uuid);
	report(v, m);
}

/* ---- domains ---- */

static struct hs_virt_known *note(struct hs_virt *v, const char *uuid)
{
	struct hs_virt_known *k = v->known;

	while (k && strcmp(k->uuid, uuid) != 0)
		k = k->next;
	if (!k) {
		k = calloc(1, sizeof(*k));
		if (!k)
			return NULL;
		(void)snprintf(k->uuid, sizeof(k->uuid), "%s", uuid);
		k->next = v->known;
		v->known = k;
	}
	k->stale = true;
	return k;
}

static void note_domain(struct hs_virt *v, virDomainPtr dom)
{
	char uuid[VIR_UUID_STRING_BUFLEN];

	if (virDomainGetUUIDString(dom, uuid) == 0 && !note(v, uuid))
		hs_log(HS_LOG_ERROR, "out of memory: a domain is left alone");
}

static void forget(struct hs_virt *v, struct hs_virt_known *gone)
{
	struct hs_virt_known **at = &v->known;

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	free(gone);
}

/* Reads one domain again and reports it. */
static void refresh(struct hs_virt *v, struct hs_virt_known *k)
{
	virDomainPtr dom = virDomainLookupByUUIDString(v->conn, k->uuid);
	struct hs_virt_message *m = message_new(HS_VIRT_MESSAGE_DOMAIN);
	struct hs_error err = { "" };
	struct hs_rules *rules;
	int rc = m ? -ENOENT : -ENOMEM;

	k->stale = k->again = false;
	(void)pthread_mutex_lock(&v->lock);
	rules = hs_rules_ref(v->rules);
	(void)pthread_mutex_unlock(&v->lock);
	if (dom && m)
		rc = hs_virt_read_domain(dom, &v->cfg, rules, &m->domain, &err);
	else if (m && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
		rc = hs_error_set(&err, -EIO, "libvirt: %s", virGetLastErrorMessage());
	hs_rules_unref(rules);
	if (dom)
		(void)virDomainFree(dom);
	if (rc == 0) {
		k->failed = false;
		report(v, m);
		return;
	}
	free(m);
	if (rc == -ENOENT) {
		report_gone(v, k->uuid);
		forget(v, k);
		return;
	}
	if (err.text[0] && !k->failed)
		hs_log(HS_LOG_WARNING, "%s", err.text);
	k->failed = true;
	/* It stays as it was last heard, which may be out of date: an opt-in that was withdrawn must not be missed. */
	if (rc != -ENAMETOOLONG && !hs_virt_inbox_lost(v->inbox)) {
		k->again = true;
		v->again_at_ms = hs_monotonic_us() / 1000 + v->cfg.reconnect_ms;
	}
}

static void refresh_stale(struct hs_virt *v)
{
	struct hs_virt_known *next;

	for (struct hs_virt_known *k = v->known; k && v->conn && !hs_virt_inbox_lost(v->inbox); k = next) {
		next = k->next;
		if (k->stale)
			refresh(v, k);
	}
}

/* ---- the connection ---- */

static void disconnect(struct hs_virt *v)
{
	if (!v->conn)
		return;
	hs_virt_unwatch(v->conn, v->events);
	(void)virConnectClose(v->conn);
	v->conn = NULL;
}

static void list_all(struct hs_virt *v)
{
	virDomainPtr *list = NULL;
	int n = virConnectListAllDomains(v->conn, &list, 0);
	struct hs_virt_known *next;

	if (n < 0) {
		hs_virt_inbox_set_lost(v->inbox, true);
		return;
	}
	for (struct hs_virt_known *k = v->known; k; k = k->next)
		k->listed = false;
	for (int i = 0; i < n; i++) {
		char uuid[VIR_UUID_STRING_BUFLEN];
		struct hs_virt_known *k = virDomainGetUUIDString(list[i], uuid) == 0 ? note(v, uuid) : NULL;

		if (k)
			k->listed = true;
		(void)virDomainFree(list[i]);
	}
	free(list);
	for (struct hs_virt_known *k = v->known; k; k = next) {
		next = k->next;
		if (k->listed)
			continue;
		report_gone(v, k->uuid);
		forget(v, k);
	}
}

static void try_later(struct hs_virt *v, const char *text)
{
	char with_time[512];

	(void)snprintf(with_time, sizeof(with_time), "%.400s; trying again", text);
	report_connection(v, false, with_time);
	v->retry_at_ms = hs_monotonic_us() / 1000 + v->wait_ms;
	v->wait_ms = v->wait_ms * 2 > RECONNECT_MAX_MS ? RECONNECT_MAX_MS : v->wait_ms * 2;
}

/* What systemd's ProtectHome=yes has put in the place of a folder that the socket is below: one that nobody may enter.
 */
static const char *hidden_folder(const char *uri)
{
	static const char *const folders[] = { "/run/user", "/home", "/root" };
	struct stat st;

	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
		if (strstr(uri, folders[i]) && stat(folders[i], &st) == 0 && !(st.st_mode & 0777))
			return folders[i];
	return NULL;
}

static void connect_now(struct hs_virt *v)
{
	const char *hidden;
	char text[512];

	v->conn = virConnectOpen(v->uri);
	if (!v->conn) {
		hidden = hidden_folder(v->uri);
		(void)snprintf(
		    text, sizeof(text), "cannot connect to %.120s: %.150s%s%s%s", v->uri,
		    hidden ? "" : virGetLastErrorMessage(), hidden ? "the unit hides " : "", hidden ? hidden : "",
		    hidden ? " (ProtectHome): a drop-in shows it, see Several libvirts in docs/discovery.md" : "");
		try_later(v, text);
		return;
	}
	if (hs_virt_watch(v->conn, v->inbox, v->events)) {
		(void)snprintf(text, sizeof(text), "%s does not list its domains: %s", v->uri,
			       virGetLastErrorMessage());
		disconnect(v);
		try_later(v, text);
		return;
	}
	list_all(v);
	refresh_stale(v);
	if (hs_virt_inbox_lost(v->inbox))
		return;
	v->wait_ms = v->cfg.reconnect_ms;
	(void)snprintf(text, sizeof(text), "connected to %s", v->uri);
	report_connection(v, true, text);
}

/* ---- jobs ---- */

static int write_opt_in(struct hs_virt *v, const struct hs_virt_job *j, char text[512])
{
	const bool whole = !j->change.on || (j->change.has_group && j->change.has_max_shared && j->change.has_scope);
	struct hs_opt_in opt_in = { .group = HS_DEFAULT_GROUP };
	struct hs_error err = { "" };
	unsigned int flags = 0;
	virDomainPtr dom;
	char xml[512];
	int rc = 0;

	if (!v->conn || hs_virt_inbox_lost(v->inbox)) {
		(void)snprintf(text, 512, "libvirt cannot be reached at %s", v->uri);
		return -ENOTCONN;
	}
	dom = virDomainLookupByName(v->conn, j->domain);
	if (!dom)
		dom = virDomainLookupByUUIDString(v->conn, j->domain);
	if (!dom) {
		(void)snprintf(
		    text, 512,
		    "libvirt knows no domain \"%.100s\"; `hs-share guests` lists them, and pid-N names a process",
		    j->domain);
		return -ENOENT;
	}
	if (virDomainIsActive(dom) == 1)
		flags |= VIR_DOMAIN_AFFECT_LIVE;
	if (virDomainIsPersistent(dom) == 1)
		flags |= VIR_DOMAIN_AFFECT_CONFIG;
	/* Here, on the thread that does one after the other: two requests at once do not undo one another. */
	if (!whole)
		rc = hs_virt_read_opt_in(dom, &opt_in, &err);
	hs_opt_in_apply(&opt_in, &j->change);
	if (rc)
		(void)snprintf(text, 512, "nothing was changed: %.480s", err.text);
	else if (hs_virt_format_metadata(&opt_in, xml, sizeof(xml)))
		rc = -EINVAL;
	else if (virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, opt_in.on || j->change.stay_off ? xml : NULL,
				      "hs", HS_VIRT_NAMESPACE, flags) < 0) {
		/* Nothing to take away is as good as taken away. */
		if (opt_in.on || virGetLastErrorCode() != VIR_ERR_NO_DOMAIN_METADATA) {
			(void)snprintf(text, 512, "libvirt would not store it: %s", virGetLastErrorMessage());
			rc = -EIO;
		}
	}
	note_domain(v, dom);
	(void)virDomainFree(dom);
	return rc;
}

static void do_jobs(struct hs_virt *v)
{
	for (;;) {
		struct hs_virt_message *m;
		struct hs_virt_job *j;

		(void)pthread_mutex_lock(&v->lock);
		j = v->stop ? NULL : v->jobs;
		if (j) {
			v->jobs = j->next;
			if (!v->jobs)
				v->last_job = &v->jobs;
		}
		(void)pthread_mutex_unlock(&v->lock);
		if (!j)
			return;
		m = message_new(HS_VIRT_MESSAGE_DONE);
		if (m) {
			m->request = j->request;
			m->rc = write_opt_in(v, j, m->text);
			/* The domain's new state is reported before the request is answered. */
			refresh_stale(v);
			report(v, m);
		}
		free(j);
	}
}

/* ---- the thread ---- */

/* What was reported, and what is due: to be read again. Whether it is to end. */
static bool look_around(struct hs_virt *v)
{
	struct hs_virt_noted *list = hs_virt_inbox_take(v->inbox), *next;
	const bool due = v->again_at_ms && hs_monotonic_us() / 1000 >= v->again_at_ms;
	bool stop, all;

	for (; list; list = next) {
		next = list->next;
		if (!note(v, list->uuid))
			hs_log(HS_LOG_ERROR, "out of memory: a domain is left alone");
		free(list);
	}
	(void)pthread_mutex_lock(&v->lock);
	stop = v->stop;
	all = v->reread;
	v->reread = false;
	(void)pthread_mutex_unlock(&v->lock);
	for (struct hs_virt_known *k = v->known; k && (due || all); k = k->next)
		k->stale |= all || k->again;
	if (due)
		v->again_at_ms = 0;
	return stop;
}

static void sleep_until_something(struct hs_virt *v)
{
	struct pollfd p = { .fd = v->inbox->fd, .events = POLLIN };
	const uint64_t now_ms = hs_monotonic_us() / 1000, at_ms = v->conn ? v->again_at_ms : v->retry_at_ms;
	uint64_t count;
	int wait_ms = -1;

	if (at_ms)
		wait_ms = at_ms <= now_ms ? 0 : at_ms - now_ms > INT_MAX ? INT_MAX : (int)(at_ms - now_ms);
	(void)poll(&p, 1, wait_ms);
	(void)!read(v->inbox->fd, &count, sizeof(count));
}

void *hs_virt_run(void *arg)
{
	struct hs_virt *v = arg;
	char lost[300];

	(void)pthread_setname_np(pthread_self(), "hs-libvirt");
	(void)snprintf(lost, sizeof(lost), "the connection to %.200s was lost", v->uri);
	while (!look_around(v)) {
		if (v->conn && hs_virt_inbox_lost(v->inbox)) {
			disconnect(v);
			v->wait_ms = v->cfg.reconnect_ms;
			try_later(v, lost);
		}
		if (!v->conn && hs_monotonic_us() / 1000 >= v->retry_at_ms)
			connect_now(v);
		do_jobs(v);
		refresh_stale(v);
		sleep_until_something(v);
	}
	disconnect(v);
	return NULL;
}
