/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt's event loop, which is one for the whole process, on a thread of its own; each connection has another thread
 * that makes its calls, so that a libvirt that hangs holds up nobody but itself. What the loop reports goes into a
 * connection's inbox: what is to be read again, and that the connection is gone. An inbox lives as long as libvirt may
 * call back with it, whatever has become of its connection.
 */
#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "service/common/log.h"
#include "service/common/thread.h"
#include "virt_internal.h"

#define KEEPALIVE_S     5
#define KEEPALIVE_COUNT 3
#define LOOP_AGAIN_US   100000

/* ---- the loop ---- */

static void quiet(void *arg, virErrorPtr e)
{
	(void)arg;
	(void)e;
}

static void *run_loop(void *arg)
{
	(void)arg;
	(void)pthread_setname_np(pthread_self(), "hs-virt-loop");
	for (;;) {
		if (virEventRunDefaultImpl() == 0)
			continue;
		hs_log(HS_LOG_ERROR, "libvirt's event loop: %s", virGetLastErrorMessage());
		(void)usleep(LOOP_AGAIN_US);
	}
	return NULL;
}

int hs_virt_loop_start(void)
{
	static bool started; /* for good: libvirt has no way to end it */
	pthread_t thread;
	int rc;

	if (started)
		return 0;
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		return -EIO;
	virSetErrorFunc(NULL, quiet);
	rc = hs_thread_start(&thread, run_loop, NULL);
	if (rc)
		return rc;
	(void)pthread_detach(thread);
	started = true;
	return 0;
}

/* ---- inboxes ---- */

struct hs_virt_inbox *hs_virt_inbox_new(void)
{
	struct hs_virt_inbox *in = calloc(1, sizeof(*in));

	if (!in)
		return NULL;
	atomic_init(&in->refs, 1);
	(void)pthread_mutex_init(&in->lock, NULL);
	in->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (in->fd >= 0)
		return in;
	hs_virt_inbox_unref(in);
	return NULL;
}

void hs_virt_inbox_unref(void *arg)
{
	struct hs_virt_inbox *in = arg;
	struct hs_virt_noted *n;

	if (!in || atomic_fetch_sub(&in->refs, 1) != 1)
		return;
	while ((n = in->noted)) {
		in->noted = n->next;
		free(n);
	}
	if (in->fd >= 0)
		(void)close(in->fd);
	(void)pthread_mutex_destroy(&in->lock);
	free(in);
}

static struct hs_virt_inbox *ref(struct hs_virt_inbox *in)
{
	atomic_fetch_add(&in->refs, 1);
	return in;
}

struct hs_virt_noted *hs_virt_inbox_take(struct hs_virt_inbox *in)
{
	struct hs_virt_noted *list;

	(void)pthread_mutex_lock(&in->lock);
	list = in->noted;
	in->noted = NULL;
	(void)pthread_mutex_unlock(&in->lock);
	return list;
}

bool hs_virt_inbox_lost(struct hs_virt_inbox *in)
{
	bool lost;

	(void)pthread_mutex_lock(&in->lock);
	lost = in->lost;
	(void)pthread_mutex_unlock(&in->lock);
	return lost;
}

void hs_virt_inbox_set_lost(struct hs_virt_inbox *in, bool lost)
{
	(void)pthread_mutex_lock(&in->lock);
	in->lost = lost;
	(void)pthread_mutex_unlock(&in->lock);
	if (lost)
		hs_thread_poke(in->fd);
}

/* ---- what libvirt calls, on the loop's thread; what is to be read is read on the connection's ---- */

static void note(struct hs_virt_inbox *in, virDomainPtr dom)
{
	struct hs_virt_noted *n = calloc(1, sizeof(*n));

	if (!n || virDomainGetUUIDString(dom, n->uuid) < 0) {
		if (!n)
			hs_log(HS_LOG_ERROR, "out of memory: a change of a domain is missed");
		free(n);
		return;
	}
	(void)pthread_mutex_lock(&in->lock);
	n->next = in->noted;
	in->noted = n;
	(void)pthread_mutex_unlock(&in->lock);
	hs_thread_poke(in->fd);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *arg)
{
	(void)conn;
	(void)event;
	(void)detail;
	note(arg, dom);
	return 0;
}

static void on_metadata(virConnectPtr conn, virDomainPtr dom, int type, const char *uri, void *arg)
{
	(void)conn;
	(void)type;
	(void)uri;
	note(arg, dom);
}

static void on_device(virConnectPtr conn, virDomainPtr dom, const char *alias, void *arg)
{
	(void)conn;
	(void)alias;
	note(arg, dom);
}

static void on_close(virConnectPtr conn, int reason, void *arg)
{
	(void)conn;
	(void)reason;
	hs_virt_inbox_set_lost(arg, true);
}

static int watch(virConnectPtr conn, int id, virConnectDomainEventGenericCallback fn, struct hs_virt_inbox *in)
{
	const int n = virConnectDomainEventRegisterAny(conn, NULL, id, fn, ref(in), hs_virt_inbox_unref);

	if (n < 0)
		hs_virt_inbox_unref(in);
	return n;
}

int hs_virt_watch(virConnectPtr conn, struct hs_virt_inbox *in, int events[HS_VIRT_MAX_EVENTS])
{
	hs_virt_inbox_set_lost(in, false);
	/* A driver inside our own process has no line that could go silent. */
	(void)virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT);
	/* No reference: unregistering waits for a call of it that is under way, and a driver that never calls it drops
	 * none. */
	(void)virConnectRegisterCloseCallback(conn, on_close, in, NULL);
	events[0] = watch(conn, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), in);
	events[1] = watch(conn, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata), in);
	events[2] = watch(conn, VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device), in);
	events[3] = watch(conn, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device), in);
	return events[0] < 0 || events[1] < 0 ? -EIO : 0;
}

void hs_virt_unwatch(virConnectPtr conn, const int events[HS_VIRT_MAX_EVENTS])
{
	for (int i = 0; i < HS_VIRT_MAX_EVENTS; i++)
		if (events[i] >= 0)
			(void)virConnectDomainEventDeregisterAny(conn, events[i]);
	(void)virConnectUnregisterCloseCallback(conn, on_close);
}
