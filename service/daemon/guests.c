/*
 * The guests: where they come from, what they wish, and what the scan's thread has of them. Everything that happens
 * only changes what is wished; one function, reconcile, compares that with what is and posts the jobs that are missing.
 * So a guest that opts out while it is being added, or ends while it is leaving, needs no case of its own.
 */
#include "daemon_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "service/common/descriptors.h"
#include "service/common/log.h"

#define RETRY_SOON_US (5 * UINT64_C(1000000))   /* held by a debugger, no memory free: passes soon */
#define RETRY_LATE_US (300 * UINT64_C(1000000)) /* its memory is of the wrong kind: only a restart changes that */

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

void hs_daemon_settle_opt_in(struct hs_daemon_guest *g)
{
	const bool asked = g->source == HS_SOURCE_PID || (g->by_request.on && !g->in_metadata.on);

	g->opt_in = asked ? g->by_request : g->in_metadata;
	if (!g->opt_in.group[0])
		(void)snprintf(g->opt_in.group, sizeof(g->opt_in.group), "%s", HS_DEFAULT_GROUP);
}

static struct hs_daemon_guest *guest_new(struct hs_daemon *d, enum hs_guest_source source, const char *id)
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

static void guest_free(struct hs_daemon_guest *g)
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
		guest_free(d->guests);
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
	g->forgotten = g->source == HS_SOURCE_PID;
	/* It was asked for of this process, not of the next one of its domain. */
	g->by_request.on = false;
	hs_daemon_settle_opt_in(g);
	hs_daemon_save_wishes(g->daemon);
	hs_daemon_reconcile_soon(g->daemon);
	return 0;
}

/* Watches the guest's process from now on. 0 or -errno, then it counts as not running. */
static int set_pid(struct hs_daemon_guest *g, pid_t pid)
{
	int rc;

	if (pid == g->pid)
		return 0;
	unwatch(g);
	g->pid = 0;
	g->refused = HS_REASON_NONE;
	g->owed_checked = false;
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
	return 0;
}

/* A device that is passed through pins all of the guest's memory: KSM cannot merge a pinned page. */
static bool has_vfio(const struct hs_host *host, pid_t pid)
{
	char path[4200], target[64];
	bool found = false;
	struct dirent *e;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "%s/%d/fd", host->proc_dir, (int)pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (e = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		found = strncmp(target, "/dev/vfio/", 10) == 0 || strcmp(target, "anon_inode:[vfio-device]") == 0;
	}
	(void)closedir(dir);
	return found;
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
	g = guest_new(d, HS_SOURCE_PID, id);
	if (!g)
		return hs_error_set(err, -ENOMEM, "out of memory");
	rc = set_pid(g, pid);
	if (rc) {
		guest_free(g);
		return hs_error_set(err, rc,
				    rc == -ESRCH ? "there is no process %d"
						 : "process %d cannot be a guest: it is a thread, or cannot be watched",
				    (int)pid);
	}
	*out = g;
	return 0;
}

/* ---- what libvirt tells ---- */

/*
 * The guest of this domain. One process is one guest: where it was opted in as a process, before libvirt told of the
 * domain, that guest becomes the domain's, with all that is under way for it. A record that the domain had before is of
 * an earlier process of it, and goes.
 */
static struct hs_daemon_guest *guest_of(struct hs_daemon *d, const struct hs_virt_domain *dom)
{
	struct hs_daemon_guest *known = hs_daemon_find(d, dom->uuid), *g = d->guests;

	while (g && (g->forgotten || g->source != HS_SOURCE_PID || !dom->running || !dom->pid || g->pid != dom->pid))
		g = g->next;
	if (!g)
		return known ? known : guest_new(d, HS_SOURCE_LIBVIRT, dom->name);
	if (known) {
		(void)set_pid(known, 0);
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
		hs_daemon_save_wishes(d);
	}
	hs_daemon_settle_opt_in(g);
	if (g->opt_in.on != was_on)
		hs_log(HS_LOG_INFO, "domain %s is %s", g->id, g->opt_in.on ? "opted in" : "not opted in");
	g->obstacle = keep_pid && dom->reason == HS_REASON_NO_PROCESS ? HS_REASON_NONE : dom->reason;
	(void)snprintf(g->obstacle_text, sizeof(g->obstacle_text), "%s", dom->text);
	rc = keep_pid ? 0 : set_pid(g, dom->running ? dom->pid : 0);
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
	(void)set_pid(g, 0);
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

/* ---- what the scan's thread answers ---- */

static enum hs_reason reason_of(int rc, const char *text)
{
	switch (rc) {
	case -ENODATA:
		return HS_REASON_TOO_SMALL;
	case -EMEDIUMTYPE:
		return strstr(text, "hugetlbfs") ? HS_REASON_HUGETLBFS : HS_REASON_SHARED_MEMORY;
	case -EPERM:
	case -EACCES:
		return HS_REASON_NO_PERMISSION;
	case -EMFILE:
		return HS_REASON_NO_DESCRIPTORS;
	case -ENOTSUP:
	case -ENOSYS:
		return HS_REASON_NO_FEATURE;
	default:
		return HS_REASON_TROUBLE;
	}
}

static void refuse(struct hs_daemon_guest *g, int rc, const char *text)
{
	const bool passes = rc == -EBUSY || rc == -EAGAIN || rc == -ENOMEM || rc == -ESRCH || rc == -EMFILE;

	if (strcmp(g->refused_text, text) != 0)
		hs_log(HS_LOG_WARNING, "guest %s: %s", g->id, text);
	g->refused = reason_of(rc, text);
	(void)snprintf(g->refused_text, sizeof(g->refused_text), "%s", text);
	g->retry_at_us = hs_daemon_now_us(g->daemon) + (passes ? RETRY_SOON_US : RETRY_LATE_US);
}

static void job_ended(struct hs_daemon_guest *g)
{
	struct hs_daemon *d = g->daemon;

	g->jobs--;
	hs_daemon_reconcile_soon(d);
}

static void on_added(void *arg, int rc, const char *text)
{
	struct hs_daemon_guest *g = arg;

	if (rc) {
		refuse(g, rc, text);
		g->place = HS_PLACE_OUT;
		g->scan_pid = 0;
		g->owed_checked = false; /* the engine has not seen it */
	} else {
		g->refused = HS_REASON_NONE;
		g->refused_text[0] = '\0';
		g->place = HS_PLACE_IN;
	}
	job_ended(g);
}

static void on_removed(void *arg, int rc, const char *text)
{
	struct hs_daemon_guest *g = arg;

	if (rc) {
		/* Not everything could be undone: it is still the scan's, and is asked to leave again. */
		refuse(g, rc, text);
		g->place = HS_PLACE_IN;
	} else {
		g->refused = HS_REASON_NONE;
		g->refused_text[0] = '\0';
		g->place = HS_PLACE_OUT;
		g->scan_pid = 0;
	}
	job_ended(g);
}

static void on_owed(void *arg, int rc, const char *text)
{
	struct hs_daemon_guest *g = arg;

	if (rc && rc != -ESRCH) {
		hs_log(HS_LOG_WARNING, "guest %s: what an earlier run left shared in it could not be undone yet: %s",
		       g->id, text);
		g->owed_checked = false;
		g->retry_at_us = hs_daemon_now_us(g->daemon) + RETRY_SOON_US;
	}
	job_ended(g);
}

static void on_limited(void *arg, int rc, const char *text)
{
	struct hs_daemon_guest *g = arg;

	if (rc)
		hs_log(HS_LOG_WARNING, "guest %s: its limit could not be set: %s", g->id, text);
	job_ended(g);
}

/* ---- reconcile ---- */

static bool post(struct hs_daemon_guest *g, enum hs_job_kind kind, pid_t pid, bool undo,
		 void (*done)(void *arg, int rc, const char *text))
{
	struct hs_job job = { .kind = kind, .pid = pid, .undo = undo, .wish = g->opt_in, .done = { done, g } };

	memcpy(job.name, g->id, sizeof(job.name));
	if (hs_scan_thread_post(g->daemon->scan, &job)) {
		hs_log(HS_LOG_ERROR, "out of memory: guest %s waits", g->id);
		return false;
	}
	g->jobs++;
	g->last_job = hs_scan_thread_nr_posted(g->daemon->scan);
	return true;
}

static bool wanted_in(const struct hs_daemon *d, const struct hs_daemon_guest *g)
{
	return g->pid && g->opt_in.on && !g->forgotten && g->obstacle == HS_REASON_NONE &&
	       d->effective != HS_MODE_OFF && !d->ending;
}

static void take_in(struct hs_daemon *d, struct hs_daemon_guest *g)
{
	if (has_vfio(&d->host, g->pid)) {
		refuse(g, -EMEDIUMTYPE,
		       "a device is passed through to it, which pins its memory: KSM cannot merge that; without the "
		       "device "
		       "it could be shared");
		g->refused = HS_REASON_PASSTHROUGH;
		return;
	}
	if (!post(g, HS_JOB_ADD, g->pid, false, on_added))
		return;
	g->place = HS_PLACE_COMING;
	g->scan_pid = g->pid;
	g->taken = g->opt_in;
	/* The engine reads back what an earlier life left in it. */
	g->owed_checked = true;
}

/*
 * The scan's thread may lose a guest that lives: its process runs another program now (exec), or could not be stopped
 * just when a new pipeline was to take it over. What is known of it then is wrong, and what its VMM marks mergeable is
 * in everybody's way: it is taken out, and in again.
 */
static void find_lost(struct hs_daemon *d)
{
	struct hs_scan_thread_snapshot snap;

	if (hs_scan_thread_snapshot(d->scan, &snap) == 0 && snap.has_totals)
		for (struct hs_daemon_guest *g = d->guests; g; g = g->next) {
			size_t i = 0;

			if (g->lost || g->place != HS_PLACE_IN || g->jobs || snap.nr_jobs < g->last_job)
				continue;
			while (i < snap.nr && (snap.reports[i].gone || snap.reports[i].pid != g->scan_pid))
				i++;
			g->lost = i == snap.nr;
			if (g->lost && g->pid)
				hs_log(HS_LOG_INFO, "guest %s (process %d) is to be taken in anew", g->id, (int)g->pid);
		}
	free(snap.reports);
}

static void reconcile_one(struct hs_daemon *d, struct hs_daemon_guest *g)
{
	const bool want = wanted_in(d, g), due = hs_daemon_now_us(d) >= g->retry_at_us || g->refused == HS_REASON_NONE;
	bool other_group;

	switch (g->place) {
	case HS_PLACE_OUT:
		if (want && due)
			take_in(d, g);
		else if (!want && g->pid && !g->owed_checked && !d->ending && !g->jobs &&
			 hs_daemon_now_us(d) >= g->retry_at_us && (!g->opt_in.on || g->obstacle || d->off_undo))
			g->owed_checked = post(g, HS_JOB_CHECK_OWED, g->pid, true, on_owed);
		break;
	case HS_PLACE_IN:
		other_group = strcmp(g->taken.group, g->opt_in.group) != 0;
		if (want && g->scan_pid == g->pid && !other_group && !g->lost) {
			if (g->taken.max_shared_bytes != g->opt_in.max_shared_bytes &&
			    post(g, HS_JOB_LIMIT, g->pid, false, on_limited))
				g->taken = g->opt_in;
			break;
		}
		if (d->ending || !due)
			break;
		/* Nothing is to be undone in a process that has ended. */
		g->undo = g->scan_pid == g->pid &&
			  (!g->opt_in.on || g->obstacle || other_group || (d->effective == HS_MODE_OFF && d->off_undo));
		if (post(g, HS_JOB_REMOVE, g->scan_pid, g->undo, on_removed)) {
			g->place = HS_PLACE_LEAVING;
			g->lost = false;
			g->owed_checked = g->undo;
		}
		break;
	case HS_PLACE_COMING:
	case HS_PLACE_LEAVING:
		break;
	}
}

void hs_daemon_reconcile(struct hs_daemon *d)
{
	struct hs_daemon_guest *next;

	find_lost(d);
	for (struct hs_daemon_guest *g = d->guests; g; g = next) {
		next = g->next;
		reconcile_one(d, g);
		if (g->forgotten && !g->jobs && g->place == HS_PLACE_OUT)
			guest_free(g);
	}
}

void hs_daemon_reconcile_soon(struct hs_daemon *d)
{
	(void)sd_event_source_set_enabled(d->reconcile, SD_EVENT_ONESHOT);
}
