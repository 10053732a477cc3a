/*
 * Guests of libvirt, of one connection; there may be several. All calls of a connection are made on a thread of its
 * own: a libvirtd that hangs or restarts is never felt by the daemon's main thread, nor by another connection. What it
 * finds out is handed over by queues; every callback below is called on the main thread, from the sd-event loop.
 */
#ifndef HS_SERVICE_VIRT_VIRT_H
#define HS_SERVICE_VIRT_VIRT_H

#include <systemd/sd-event.h>

#include "hs/host.h"
#include "service/common/model.h"
#include "service/discovery/rules.h"

#define HS_VIRT_NAMESPACE "urn:hs-share:domain:1"

struct hs_virt;

/* What libvirt says of a domain. */
struct hs_virt_domain {
	char uuid[37];
	char name[HS_NAME_MAX];
	bool running;
	bool persistent;
	pid_t
	    pid; /* from libvirt's pid file, checked against the process; 0: not running, or not known (see obstacle) */
	bool has_element;           /* of ours, in its metadata: it says whether to share, and no rule does */
	struct hs_opt_in opt_in;    /* all off when there is none */
	struct hs_rule_result rule; /* what the rules say */
	/* That its XML shows (nosharepages, hugetlbfs, shared memory, passthrough), bad metadata, no process. */
	struct hs_obstacle obstacle;
};

struct hs_virt_config {
	const char *uri;        /* "qemu:///system" */
	const char *pid_dir;    /* where libvirt keeps NAME.pid: "/run/libvirt/qemu"; */
	struct hs_host host;    /* for /proc */
	uint32_t answer_ms;     /* a request that libvirt has not answered by then is answered with -ETIMEDOUT */
	struct hs_rules *rules; /* a reference is taken; NULL: none */
	uint32_t reconnect_ms; /* after the connection is lost, and between tries; doubles up to a minute. A domain that
				  could not be read is read again after it */
};

struct hs_virt_callbacks {
	void *ctx;
	/* A domain is new, or something of it changed. */
	void (*domain)(void *ctx, const struct hs_virt_domain *d);
	/* It is neither running nor defined any more. */
	void (*gone)(void *ctx, const char *uuid);
	/* The connection is up or down; `text` for a person. While it is down, domains are as last heard. After each
	 * connect every domain is reported once, those that vanished meanwhile by gone(), and then connection(true). */
	void (*connection)(void *ctx, bool up, const char *text);
};

/* Starts the thread; connecting goes on behind. Errors: -ENOMEM, -EINVAL; not: libvirtd is not there (yet). */
HS_MUST_USE int hs_virt_start(struct hs_virt **out, const struct hs_virt_config *cfg, sd_event *loop,
			      const struct hs_virt_callbacks *cb, struct hs_error *err);

/* Ends the thread; waits at most some seconds for a call that hangs, and leaves the thread to it then. No callback
 * after it; pending `done`s are called with -ECANCELED in any case. Takes NULL. False: the thread is left in its call.
 */
bool hs_virt_stop(struct hs_virt *v);

/*
 * Writes our element into the running and the stored domain's metadata, what the change does not name as it stands
 * there. `domain`: name or UUID. done's errors: -ENOENT
 * no such domain, -ENOTCONN libvirt cannot be reached, -EIO with libvirt's own words, -ETIMEDOUT no answer in time (the
 * text says whether it may still be stored). The change comes back through callbacks.domain as well.
 */
void hs_virt_set_opt_in(struct hs_virt *v, const char *domain, const struct hs_opt_in_change *change,
			struct hs_done done);

/* From now on these rules; every domain is read again, and reported. NULL: none. */
void hs_virt_set_rules(struct hs_virt *v, struct hs_rules *rules);

/*
 * Our element's text to a desired state; pure, for tests and the fuzzer. `xml`: the element as libvirt returns it, of
 * len bytes. -EINVAL with the reason: unknown attribute, bad value, other element.
 */
HS_MUST_USE int hs_virt_parse_metadata(const char *xml, size_t len, struct hs_opt_in *out, struct hs_error *err);
/* The other way; -ENOBUFS. */
HS_MUST_USE int hs_virt_format_metadata(const struct hs_opt_in *opt_in, char *out, size_t size);

#endif
