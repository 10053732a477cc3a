/* What the files of libvirt's thread share. */
#ifndef HS_SERVICE_VIRT_VIRT_INTERNAL_H
#define HS_SERVICE_VIRT_VIRT_INTERNAL_H

#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdatomic.h>

#include "service/common/thread.h"
#include "virt.h"

enum hs_virt_message_kind {
	HS_VIRT_MESSAGE_DOMAIN,
	HS_VIRT_MESSAGE_GONE,
	HS_VIRT_MESSAGE_CONNECTION,
	HS_VIRT_MESSAGE_DONE
};

struct hs_virt_message {
	enum hs_virt_message_kind kind;
	struct hs_virt_domain domain; /* DOMAIN; GONE: the uuid alone */
	bool up;
	int rc;
	char text[512];
	uint64_t request; /* DONE */
	struct hs_virt_message *next;
};

struct hs_virt_job {
	uint64_t request;
	char domain[HS_NAME_MAX];
	struct hs_opt_in_change change;
	struct hs_virt_job *next;
};

/* A request that is to be answered. It stays on the main thread, so that a call that hangs takes no answer with it. */
struct hs_virt_request {
	uint64_t id;
	uint64_t until_us; /* monotonic; the order of the list */
	struct hs_done done;
	struct hs_virt_request *next;
};

/* A domain that is known, or is to be read again. */
struct hs_virt_known {
	char uuid[37];
	bool stale, listed;
	bool again;  /* to be read again after a while */
	bool failed; /* it could not be read, which was logged; it is tried again */
	struct hs_virt_known *next;
};

#define HS_VIRT_MAX_EVENTS 4

/* ---- virt_events.c ---- */

/* A domain of which something changed. */
struct hs_virt_noted {
	char uuid[37];
	struct hs_virt_noted *next;
};

/* What libvirt's loop reports of one connection. */
struct hs_virt_inbox {
	atomic_uint refs; /* the connection's, and one for each event that libvirt reports to it */
	int fd;           /* poked when something came, and by who has a job */
	pthread_mutex_t lock;
	/* ---- under lock ---- */
	bool lost; /* the connection is gone */
	struct hs_virt_noted *noted;
};

HS_MUST_USE int hs_virt_loop_start(void);
struct hs_virt_inbox *hs_virt_inbox_new(void);
void hs_virt_inbox_unref(void *inbox); /* takes NULL */
struct hs_virt_noted *hs_virt_inbox_take(struct hs_virt_inbox *in);
bool hs_virt_inbox_lost(struct hs_virt_inbox *in);
void hs_virt_inbox_set_lost(struct hs_virt_inbox *in, bool lost);

/* Has all events of the connection reported to the inbox. -EIO: it does not report them. */
HS_MUST_USE int hs_virt_watch(virConnectPtr conn, struct hs_virt_inbox *in, int events[HS_VIRT_MAX_EVENTS]);
void hs_virt_unwatch(virConnectPtr conn, const int events[HS_VIRT_MAX_EVENTS]);

struct hs_virt {
	struct hs_virt_config cfg;
	char *uri, *pid_dir;
	struct hs_virt_callbacks cb;
	struct hs_thread_owned thread;

	/* ---- main thread ---- */
	struct hs_virt_request *requests, **last_request;
	uint64_t last_id;
	sd_event_source *source, *deadline;

	/* ---- the connection's thread ---- */
	virConnectPtr conn;
	int events[HS_VIRT_MAX_EVENTS];
	uint32_t wait_ms;
	uint64_t retry_at_ms; /* not connected: when it is tried again */
	uint64_t again_at_ms; /* when what could not be read is read again; 0: nothing is to */
	struct hs_virt_known *known;

	/* ---- under lock ---- */
	pthread_mutex_t lock;
	struct hs_virt_job *jobs, **last_job;
	struct hs_virt_message *messages, **last_message;
	struct hs_rules *rules;
	bool stop, reread;

	struct hs_virt_inbox *inbox;
	int message_fd;
};

/* ---- virt_thread.c ---- */

void *hs_virt_run(void *v);

/* ---- virt_domain.c ---- */

/*
 * All that libvirt, and the process itself, say of a domain. -ENOENT: it is neither running nor defined any more; -EIO:
 * libvirt failed (text in err), nothing is known of it now; -ENAMETOOLONG: its name has no room in ours.
 */
HS_MUST_USE int hs_virt_read_domain(virDomainPtr dom, const struct hs_virt_config *cfg, const struct hs_rules *rules,
				    struct hs_virt_domain *out, struct hs_error *err);

/* What holds of the domain now; as default where our element is missing or cannot be understood. -EIO: libvirt failed.
 */
HS_MUST_USE int hs_virt_read_opt_in(virDomainPtr dom, struct hs_opt_in *out, struct hs_error *err);

/* The obstacle that a domain's XML shows; NONE: none, or the XML cannot be read (then the memory itself will show). */
void hs_virt_obstacle(const char *xml, struct hs_obstacle *out);

#endif
