/* SPDX-License-Identifier: Apache-2.0 */
/* The guests that are known: found, made, and their processes watched. */
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

	for (struct hs_daemon_guest *g = d->guests; g; g = g->next)
		if (!g->forgotten && (strcmp(g->id, guest) == 0 || (g->uuid[0] && strcmp(g->uuid, guest) == 0) ||
				      (pid && g->pid == pid)))
			return g;
	return NULL;
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
}

struct hs_daemon_guest *hs_daemon_guest_new(struct hs_daemon *d, enum hs_guest_source source, const char *id)
{
	struct hs_daemon_guest *g = calloc(1, sizeof(*g)), **at = &d->guests;

	if (!g)
		return NULL;
	g->daemon = d;
	g->source = source;
	g->pid_fd = -1;
	(void)snprintf(g->id, sizeof(g->id), "%s", id);
	(void)snprintf(g->by_request.group, sizeof(g->by_request.group), "%s", HS_DEFAULT_GROUP);
	hs_daemon_settle_opt_in(g);
	while (*at && strcmp((*at)->id, id) < 0)
		at = &(*at)->next;
	g->next = *at;
	*at = g;
	return g;
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
	struct hs_daemon_guest **at = &g->daemon->guests;

	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	unwatch(g);
	free(g);
}

void hs_daemon_free_guests(struct hs_daemon *d)
{
	while (d->guests)
		hs_daemon_guest_free(d->guests);
}

/* ---- its process ---- */

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct hs_daemon_guest *g = arg;

	(void)source;
	(void)fd;
	(void)revents;
	hs_log(HS_LOG_INFO, "guest %s (process %d) has ended", g->id, (int)g->pid);
	unwatch(g);
	g->pid = 0;
	g->undo_text[0] = '\0'; /* with the process went what was shared of it */
	g->forgotten = g->source == HS_SOURCE_PID;
	/* It was asked for of this process, not of the next one of its domain. */
	g->by_request.on = false;
	memset(&g->of_process, 0, sizeof(g->of_process));
	hs_daemon_settle_opt_in(g);
	g->daemon->opt_ins_changed = true; /* saved with others that end now */
	hs_daemon_reconcile_soon(g->daemon);
	return 0;
}

/* Watches the guest's process from now on. 0 or -errno, then it counts as not running. */
int hs_daemon_guest_set_pid(struct hs_daemon_guest *g, pid_t pid)
{
	int rc;

	if (pid == g->pid)
		return 0;
	unwatch(g);
	g->pid = 0;
	g->refusal.reason = HS_REASON_NONE;
	g->undo_text[0] = '\0';
	g->left_checked = false;
	if (g->of_process.found) { /* it was said of the process before */
		memset(&g->of_process, 0, sizeof(g->of_process));
		hs_daemon_settle_opt_in(g);
	}
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
	g->started = hs_start_time(&g->daemon->host, pid);
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
	for (g = d->guests; g; g = g->next) {
		if (g->forgotten || g->pid != pid)
			continue;
		*out = g;
		return 0;
	}
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
