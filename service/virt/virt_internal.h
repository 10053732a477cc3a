/* What the files of libvirt's thread share. */
#ifndef HS_SERVICE_VIRT_VIRT_INTERNAL_H
#define HS_SERVICE_VIRT_VIRT_INTERNAL_H

#include <libvirt/libvirt.h>
#include <pthread.h>

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
	bool failed; /* it could not be read, which was logged; it is tried again */
	struct hs_virt_known *next;
};

#define HS_VIRT_MAX_EVENTS 5

struct hs_virt {
	struct hs_virt_config cfg;
	char *uri, *pid_dir;
	struct hs_virt_callbacks cb;
	pthread_t thread;

	/* ---- main thread ---- */
	struct hs_virt_request *requests, **last_request;
	uint64_t last_id;
	sd_event_source *source, *deadline;

	/* ---- libvirt's thread ---- */
	virConnectPtr conn;
	int events[HS_VIRT_MAX_EVENTS];
	bool lost;
	int watch, timer;
	uint32_t wait_ms;
	uint64_t retry_at_ms;
	struct hs_virt_known *known;

	/* ---- under lock ---- */
	pthread_mutex_t lock;
	struct hs_virt_job *jobs, **last_job;
	struct hs_virt_message *messages, **last_message;
	bool stop;

	int job_fd, message_fd;
};

/* ---- virt_thread.c: libvirt's thread, and what libvirt's loop calls on it ---- */

void *hs_virt_run(void *v);
void hs_virt_on_job_fd(int watch, int fd, int events, void *arg);
void hs_virt_on_retry(int timer, void *arg);

/* ---- virt_domain.c ---- */

/*
 * All that libvirt, and the process itself, say of a domain. -ENOENT: it is neither running nor defined any more; -EIO:
 * libvirt failed (text in err), nothing is known of it now; -ENAMETOOLONG: its name has no room in ours.
 */
HS_MUST_USE int hs_virt_read_domain(virDomainPtr dom, const struct hs_virt_config *cfg, struct hs_virt_domain *out,
				    struct hs_error *err);

/* What holds of the domain now; as default where our element is missing or cannot be understood. -EIO: libvirt failed.
 */
HS_MUST_USE int hs_virt_read_opt_in(virDomainPtr dom, struct hs_opt_in *out, struct hs_error *err);

/* The obstacle that a domain's XML shows; NONE: none, or the XML cannot be read (then the memory itself will show). */
void hs_virt_obstacle(const char *xml, struct hs_obstacle *out);

#endif
