/*
 * libvirt's thread. It runs libvirt's default event loop; a descriptor in that loop wakes it for jobs. Callbacks of
 * libvirt only note what is to be read again: calls are made outside of them, from the thread's own loop.
 */
#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/times.h"
#include "service/common/log.h"
#include "service/common/thread.h"
#include "virt_internal.h"

#define KEEPALIVE_S      5
#define KEEPALIVE_COUNT  3
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
	int rc = m ? -ENOENT : -ENOMEM;

	k->stale = false;
	if (dom && m)
		rc = hs_virt_read_domain(dom, &v->cfg, &m->domain, &err);
	else if (m && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
		rc = hs_error_set(&err, -EIO, "libvirt: %s", virGetLastErrorMessage());
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
	if (rc != -ENAMETOOLONG && !v->lost) {
		k->stale = true;
		virEventUpdateTimeout(v->timer, (int)v->cfg.reconnect_ms);
	}
}

static void refresh_stale(struct hs_virt *v)
{
	struct hs_virt_known *next;

	for (struct hs_virt_known *k = v->known; k && v->conn && !v->lost; k = next) {
		next = k->next;
		if (k->stale)
			refresh(v, k);
	}
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *arg)
{
	(void)conn;
	(void)event;
	(void)detail;
	note_domain(arg, dom);
	return 0;
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri, void *arg)
{
	(void)conn;
	(void)type;
	(void)uri;
	note_domain(arg, dom);
}

static void on_device(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
	(void)conn;
	(void)alias;
	note_domain(arg, dom);
}

/* ---- the connection ---- */

static void on_close(virConnectPtr conn, int reason, void *arg)
{
	(void)conn;
	(void)reason;
	((struct hs_virt *)arg)->lost = true;
}

static void disconnect(struct hs_virt *v)
{
	if (!v->conn)
		return;
	for (int i = 0; i < HS_VIRT_MAX_EVENTS; i++)
		if (v->events[i] >= 0)
			(void)virConnectDomainEventDeregisterAny(v->conn, v->events[i]);
	(void)virConnectUnregisterCloseCallback(v->conn, on_close);
	(void)virConnectClose(v->conn);
	v->conn = NULL;
	v->lost = false;
}

static void list_all(struct hs_virt *v)
{
	virDomainPtr *list = NULL;
	int n = virConnectListAllDomains(v->conn, &list, 0);
	struct hs_virt_known *next;

	if (n < 0) {
		v->lost = true;
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
	virEventUpdateTimeout(v->timer, (int)v->wait_ms);
	v->wait_ms = v->wait_ms * 2 > RECONNECT_MAX_MS ? RECONNECT_MAX_MS : v->wait_ms * 2;
}

static void connect_now(struct hs_virt *v)
{
	char text[512];

	virEventUpdateTimeout(v->timer, -1);
	v->conn = virConnectOpen(v->uri);
	if (!v->conn) {
		(void)snprintf(text, sizeof(text), "cannot connect to %s: %s", v->uri, virGetLastErrorMessage());
		try_later(v, text);
		return;
	}
	v->lost = false;
	/* A driver inside our own process has no line that could go silent. */
	(void)virConnectSetKeepAlive(v->conn, KEEPALIVE_S, KEEPALIVE_COUNT);
	(void)virConnectRegisterCloseCallback(v->conn, on_close, v, NULL);
	v->events[0] = virConnectDomainEventRegisterAny(v->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
							VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), v, NULL);
	v->events[1] = virConnectDomainEventRegisterAny(v->conn, NULL, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
							VIR_DOMAIN_EVENT_CALLBACK(on_metadata), v, NULL);
	v->events[2] = virConnectDomainEventRegisterAny(v->conn, NULL, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
							VIR_DOMAIN_EVENT_CALLBACK(on_device), v, NULL);
	v->events[3] = virConnectDomainEventRegisterAny(v->conn, NULL, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
							VIR_DOMAIN_EVENT_CALLBACK(on_device), v, NULL);
	v->events[4] = -1;
	if (v->events[0] < 0 || v->events[1] < 0) {
		(void)snprintf(text, sizeof(text), "%s does not list its domains: %s", v->uri,
			       virGetLastErrorMessage());
		disconnect(v);
		try_later(v, text);
		return;
	}
	list_all(v);
	refresh_stale(v);
	if (v->lost)
		return;
	v->wait_ms = v->cfg.reconnect_ms;
	(void)snprintf(text, sizeof(text), "connected to %s", v->uri);
	report_connection(v, true, text);
}

/* ---- jobs ---- */

static int write_opt_in(struct hs_virt *v, const struct hs_virt_job *j, char text[512])
{
	const bool whole = !j->change.on || (j->change.has_group && j->change.has_max_shared);
	struct hs_opt_in opt_in = { .group = HS_DEFAULT_GROUP };
	struct hs_error err = { "" };
	unsigned int flags = 0;
	virDomainPtr dom;
	char xml[512];
	int rc = 0;

	if (!v->conn || v->lost) {
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
	else if (virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, opt_in.on ? xml : NULL, "hs", HS_VIRT_NAMESPACE,
				      flags) < 0) {
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

void hs_virt_on_job_fd(int watch, int fd, int events, void *arg)
{
	uint64_t count;

	(void)watch;
	(void)events;
	(void)arg;
	(void)!read(fd, &count, sizeof(count));
}

void hs_virt_on_retry(int timer, void *arg)
{
	(void)arg;
	virEventUpdateTimeout(timer, -1);
}

void *hs_virt_run(void *arg)
{
	struct hs_virt *v = arg;
	bool stop = false;

	(void)pthread_setname_np(pthread_self(), "hs-libvirt");
	while (!stop) {
		if (v->conn && v->lost) {
			disconnect(v);
			v->wait_ms = v->cfg.reconnect_ms;
			try_later(v, "the connection to libvirt was lost");
		}
		if (!v->conn && hs_monotonic_us() / 1000 >= v->retry_at_ms)
			connect_now(v);
		do_jobs(v);
		refresh_stale(v);
		if (!v->lost && virEventRunDefaultImpl() < 0)
			hs_log(HS_LOG_ERROR, "libvirt's event loop: %s", virGetLastErrorMessage());
		(void)pthread_mutex_lock(&v->lock);
		stop = v->stop;
		(void)pthread_mutex_unlock(&v->lock);
	}
	disconnect(v);
	virEventRemoveTimeout(v->timer);
	virEventRemoveHandle(v->watch);
	return NULL;
}
