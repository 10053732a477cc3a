/*
 * The guests that are known: found, made, and their processes watched.
 *
 * They stand in one list, in the order in which they came, and in three tables: by name, by UUID and by process. What
 * is forgotten is in the list alone, until no job is under way for it.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "service/common/descriptors.h"
#include "service/common/log.h"
#include "base/procstat.h"

/* ---- finding and keeping ---- */

pid_t hs_daemon_named_pid(const char *guest)
{
	char *end;
	long v;

	if (strncmp(guest, "pid-", 4) != 0 || guest[4] < '1' || guest[4] > '9')
		return 0;
	errno = 0;
	v = strtol(guest + 4, &end, 10);
	return *end || errno || v > 0x3fffffff ? 0 : (pid_t)v;
}

struct hs_daemon_guest *hs_daemon_find(struct hs_daemon *d, const char *guest)
{
	const pid_t pid = hs_daemon_named_pid(guest);
	struct hs_daemon_guest *g = hs_daemon_find_id(d, guest);

	if (!g)
		HASH_FIND(by_uuid, d->by_uuid, guest, strlen(guest), g);
	return g || !pid ? g : hs_daemon_find_pid(d, pid);
}

struct hs_daemon_guest *hs_daemon_find_id(struct hs_daemon *d, const char *id)
{
	struct hs_daemon_guest *g;

	HASH_FIND(by_id, d->by_id, id, strlen(id), g);
	return g;
}

struct hs_daemon_guest *hs_daemon_find_pid(struct hs_daemon *d, pid_t pid)
{
	struct hs_daemon_guest *g;

	HASH_FIND(by_pid, d->by_pid, &pid, sizeof(pid), g);
	return g;
}

/* False: there is no memory to find it by that. */
static bool index_id(struct hs_daemon_guest *g)
{
	if (!g->forgotten && g->id[0])
		HASH_ADD_KEYPTR(by_id, g->daemon->by_id, g->id, strlen(g->id), g);
	return g->forgotten || !g->id[0] || g->by_id.tbl;
}

static bool index_uuid(struct hs_daemon_guest *g)
{
	if (!g->forgotten && g->uuid[0])
		HASH_ADD_KEYPTR(by_uuid, g->daemon->by_uuid, g->uuid, strlen(g->uuid), g);
	return g->forgotten || !g->uuid[0] || g->by_uuid.tbl;
}

static bool index_pid(struct hs_daemon_guest *g)
{
	if (!g->forgotten && g->pid)
		HASH_ADD(by_pid, g->daemon->by_pid, pid, sizeof(g->pid), g);
	return g->forgotten || !g->pid || g->by_pid.tbl;
}

static void unindex_id(struct hs_daemon_guest *g)
{
	if (g->by_id.tbl)
		HASH_DELETE(by_id, g->daemon->by_id, g);
	g->by_id.tbl = NULL;
}

static void unindex_uuid(struct hs_daemon_guest *g)
{
	if (g->by_uuid.tbl)
		HASH_DELETE(by_uuid, g->daemon->by_uuid, g);
	g->by_uuid.tbl = NULL;
}

static void unindex_pid(struct hs_daemon_guest *g)
{
	if (g->by_pid.tbl)
		HASH_DELETE(by_pid, g->daemon->by_pid, g);
	g->by_pid.tbl = NULL;
}

static const struct hs_opt_in *whose_word(const struct hs_daemon_guest *g)
{
	const struct hs_opt_in *own = g->source == HS_SOURCE_PID ? &g->by_request : &g->in_metadata;

	if (g->in_metadata.on)
		return &g->in_metadata;
	if (g->by_request.on)
		return &g->by_request;
	if (g->has_element || g->out_by_request)
		return own;
	if (g->of_domain.found)
		return &g->of_domain.opt_in;
	return g->of_process.found ? &g->of_process.opt_in : own;
}

void hs_daemon_settle_opt_in(struct hs_daemon_guest *g)
{
	const bool was_on = g->opt_in.on;

	g->opt_in = *whose_word(g);
	/* Until it is known that there is nothing to undo in it, it has not left. */
	if (was_on && !g->opt_in.on && g->pid && !g->undo_text[0] &&
	    (g->place == HS_PLACE_COMING || (g->place == HS_PLACE_OUT && (!g->left_checked || g->jobs)))) {
		(void)snprintf(g->undo_text, sizeof(g->undo_text),
			       "what may be shared of it has not been looked for yet");
		g->retry_at_us = 0;
	}
	if (!g->opt_in.group[0])
		(void)snprintf(g->opt_in.group, sizeof(g->opt_in.group), "%s", HS_DEFAULT_GROUP);
	hs_daemon_guest_count(g);
}

/* In how many counts it is: by what it was counted as last, and what it is now. */
static void count_as(struct hs_daemon_guest *g, unsigned int now)
{
	struct hs_daemon *d = g->daemon;
	const unsigned int before = g->counted;

	d->counts.nr_known += !!(now & HS_COUNT_KNOWN) - (size_t) !!(before & HS_COUNT_KNOWN);
	d->counts.nr_opted_in += !!(now & HS_COUNT_OPTED_IN) - (size_t) !!(before & HS_COUNT_OPTED_IN);
	d->counts.nr_running += !!(now & HS_COUNT_RUNNING) - (size_t) !!(before & HS_COUNT_RUNNING);
	d->nr_undo += !!(now & HS_COUNT_UNDO) - (size_t) !!(before & HS_COUNT_UNDO);
	g->counted = now;
}

void hs_daemon_guest_count(struct hs_daemon_guest *g)
{
	unsigned int now = g->undo_text[0] ? HS_COUNT_UNDO : 0;

	if (!g->forgotten)
		now |= HS_COUNT_KNOWN;
	if (!g->forgotten && g->opt_in.on)
		now |= HS_COUNT_OPTED_IN;
	if (!g->forgotten && (g->pid || g->place != HS_PLACE_OUT || g->obstacle.reason == HS_REASON_NO_PROCESS))
		now |= HS_COUNT_RUNNING;
	count_as(g, now);
}

struct hs_daemon_guest *hs_daemon_guest_new(struct hs_daemon *d, enum hs_guest_source source, const char *id)
{
	struct hs_daemon_guest *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->daemon = d;
	g->source = source;
	g->pid_fd = -1;
	(void)snprintf(g->id, sizeof(g->id), "%s", id);
	if (!index_id(g)) {
		free(g);
		return NULL;
	}
	DL_APPEND(d->guests, g);
	(void)snprintf(g->by_request.group, sizeof(g->by_request.group), "%s", HS_DEFAULT_GROUP);
	hs_daemon_settle_opt_in(g);
	return g;
}

void hs_daemon_guest_rename(struct hs_daemon_guest *g, const char *id)
{
	if (strcmp(g->id, id) == 0)
		return;
	unindex_id(g);
	(void)snprintf(g->id, sizeof(g->id), "%s", id);
	(void)index_id(g); /* without memory for it, it is found by its process and UUID alone */
}

int hs_daemon_guest_set_uuid(struct hs_daemon_guest *g, const char *uuid)
{
	if (strcmp(g->uuid, uuid) == 0)
		return 0;
	unindex_uuid(g);
	(void)snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
	return index_uuid(g) ? 0 : -ENOMEM;
}

void hs_daemon_guest_forget(struct hs_daemon_guest *g)
{
	unindex_id(g);
	unindex_uuid(g);
	unindex_pid(g);
	g->forgotten = true;
	hs_daemon_guest_due(g);
}

static void unwatch(struct hs_daemon_guest *g)
{
	g->end = sd_event_source_unref(g->end);
	if (g->pid_fd >= 0)
		(void)close(g->pid_fd);
	g->pid_fd = -1;
}

void hs_daemon_guest_free(struct hs_daemon_guest *g)
{
	struct hs_daemon *d = g->daemon;

	unindex_id(g);
	unindex_uuid(g);
	unindex_pid(g);
	DL_DELETE(d->guests, g);
	if (g->is_due)
		DL_DELETE2(d->due, g, due_prev, due_next);
	count_as(g, 0);
	unwatch(g);
	free(g);
}

void hs_daemon_free_guests(struct hs_daemon *d)
{
	while (d->guests)
		hs_daemon_guest_free(d->guests);
}

/* ---- its process ---- */

/* It has ended, or is no more the guest's. */
static void leave_process(struct hs_daemon_guest *g)
{
	hs_daemon_forget_opt_in(g);
	unwatch(g);
	unindex_pid(g);
	g->pid = 0;
	/* It was asked for, or found, of this process, not of the next one of its domain. */
	g->by_request.on = false;
	memset(&g->of_process, 0, sizeof(g->of_process));
	hs_daemon_settle_opt_in(g);
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct hs_daemon_guest *g = arg;

	(void)source;
	(void)fd;
	(void)revents;
	hs_log(HS_LOG_INFO, "guest %s (process %d) has ended", g->id, (int)g->pid);
	leave_process(g);
	g->undo_text[0] = '\0'; /* with the process went what was shared of it */
	if (g->source == HS_SOURCE_PID)
		hs_daemon_guest_forget(g);
	else
		hs_daemon_guest_due(g);
	return 0;
}

/* Watches the guest's process from now on. 0 or -errno, then it counts as not running. */
int hs_daemon_guest_set_pid(struct hs_daemon_guest *g, pid_t pid)
{
	int rc;

	if (pid == g->pid)
		return 0;
	leave_process(g);
	g->refusal.reason = HS_REASON_NONE;
	g->undo_text[0] = '\0';
	g->left_checked = false;
	if (!pid)
		return 0;
	g->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0U);
	if (g->pid_fd < 0)
		return -errno;
	rc = sd_event_add_io(g->daemon->loop, &g->end, g->pid_fd, EPOLLIN, on_end, g);
	if (rc < 0) {
		unwatch(g);
		return rc;
	}
	g->pid = pid;
	if (!index_pid(g)) {
		unwatch(g);
		g->pid = 0;
		return -ENOMEM;
	}
	g->started = hs_start_time(&g->daemon->host, pid);
	hs_daemon_guest_count(g);
	return 0;
}

int hs_daemon_guest_pid(struct hs_daemon *d, pid_t pid, struct hs_daemon_guest **out, struct hs_error *err)
{
	struct hs_daemon_guest *g;
	char id[HS_NAME_MAX];
	int rc;

	if (pid == getpid())
		return hs_error_set(err, -EINVAL, "process %d is hs-shared itself", (int)pid);
	(void)snprintf(id, sizeof(id), "pid-%d", (int)pid);
	*out = hs_daemon_find_pid(d, pid);
	if (*out)
		return 0;
	rc = hs_descriptors_for_guest(&d->host, err);
	if (rc)
		return rc;
	g = hs_daemon_guest_new(d, HS_SOURCE_PID, id);
	if (!g)
		return hs_error_set(err, -ENOMEM, "out of memory");
	rc = hs_daemon_guest_set_pid(g, pid);
	if (rc) {
		hs_daemon_guest_free(g);
		return hs_error_set(err, rc,
				    rc == -ESRCH ? "there is no process %d"
						 : "process %d cannot be a guest: it is a thread, or cannot be watched",
				    (int)pid);
	}
	*out = g;
	return 0;
}
