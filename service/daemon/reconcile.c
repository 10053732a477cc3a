/*
 * What the scan's thread has of the guests, against what is desired. Everything that happens only changes the desired
 * state; one function, reconcile, compares that with what is and posts the jobs that are missing. So a guest that opts
 * out while it is being added, or ends while it is leaving, needs no case of its own.
 *
 * Most of what happens concerns one guest: it is due, and the others are not looked at. What concerns all, and the
 * passing of time, has all looked at.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service/common/log.h"

#define RETRY_SOON_US (5 * UINT64_C(1000000))   /* held by a debugger, no memory free: passes soon */
#define RETRY_LATE_US (300 * UINT64_C(1000000)) /* its memory is of the wrong kind: only a restart changes that */

/* ---- what the scan's thread answers ---- */

static enum hs_reason reason_of(int rc, const char *text)
{
	switch (rc) {
	case -ENODATA:
		return HS_REASON_TOO_SMALL;
	case -EMEDIUMTYPE:
		return strstr(text, "hugetlbfs")        ? HS_REASON_HUGETLBFS
		       : strstr(text, "passed through") ? HS_REASON_PASSTHROUGH
							: HS_REASON_SHARED_MEMORY;
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

	if (strcmp(g->refusal.text, text) != 0)
		hs_log(HS_LOG_WARNING, "guest %s: %s", g->id, text);
	hs_model_obstacle_set(&g->refusal, reason_of(rc, text), text);
	g->retry_at_us = hs_daemon_now_us(g->daemon) + (passes ? RETRY_SOON_US : RETRY_LATE_US);
}

static void job_ended(struct hs_daemon_guest *g)
{
	g->jobs--;
	hs_daemon_guest_due(g);
}

static void on_added(void *arg, int rc, const char *text)
{
	struct hs_daemon_guest *g = arg;

	if (rc) {
		refuse(g, rc, text);
		g->place = HS_PLACE_OUT;
		g->scan_pid = 0;
		g->left_checked = false; /* the engine has not seen it */
	} else {
		hs_model_obstacle_set(&g->refusal, HS_REASON_NONE, "");
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
		if (g->undo && g->scan_pid == g->pid)
			(void)snprintf(g->undo_text, sizeof(g->undo_text), "%s", text);
		g->place = HS_PLACE_IN;
	} else {
		hs_model_obstacle_set(&g->refusal, HS_REASON_NONE, "");
		g->undo_text[0] = '\0';
		g->place = HS_PLACE_OUT;
		g->scan_pid = 0;
	}
	job_ended(g);
}

static void on_left_checked(void *arg, int rc, const char *text)
{
	struct hs_daemon_guest *g = arg;

	if (rc && rc != -ESRCH && g->pid) {
		hs_log(HS_LOG_WARNING, "guest %s: what an earlier run left shared in it could not be undone yet: %s",
		       g->id, text);
		(void)snprintf(g->undo_text, sizeof(g->undo_text), "%s", text);
		g->left_checked = false;
		g->retry_at_us = hs_daemon_now_us(g->daemon) + RETRY_SOON_US;
	} else {
		g->undo_text[0] = '\0';
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
	struct hs_job job = { .kind = kind, .pid = pid, .undo = undo, .opt_in = g->opt_in, .done = { done, g } };

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
	return g->pid && g->opt_in.on && !g->forgotten && g->obstacle.reason == HS_REASON_NONE &&
	       (d->effective != HS_MODE_OFF || d->look.state == HS_LOOK_WAITING) && !d->ending;
}

static void take_in(struct hs_daemon_guest *g)
{
	if (!post(g, HS_JOB_ADD, g->pid, false, on_added))
		return;
	g->place = HS_PLACE_COMING;
	g->scan_pid = g->pid;
	g->taken = g->opt_in;
	/* The engine reads back what an earlier life left in it. */
	g->left_checked = true;
}

/*
 * The scan's thread may lose a guest that lives: its process runs another program now (exec), or could not be stopped
 * just when a new pipeline was to take it over. What is known of it then is wrong, and what its VMM marks mergeable is
 * in everybody's way: it is taken out, and in again.
 */
static void find_lost(struct hs_daemon *d)
{
	hs_scan_thread_snapshot(d->scan, &d->snap);
	if (d->snap.nr_published == d->lost_checked)
		return;
	d->lost_checked = d->snap.nr_published;
	for (struct hs_daemon_guest *g = d->snap.has_totals ? d->guests : NULL; g; g = g->next) {
		if (g->lost || g->place != HS_PLACE_IN || g->jobs || d->snap.nr_jobs < g->last_job)
			continue;
		g->lost = hs_scan_thread_report_of(&d->snap, g->scan_pid, &g->report_at) == NULL;
		if (g->lost && g->pid)
			hs_log(HS_LOG_INFO, "guest %s (process %d) is to be taken in anew", g->id, (int)g->pid);
	}
}

static void reconcile_one(struct hs_daemon *d, struct hs_daemon_guest *g)
{
	const bool want = wanted_in(d, g),
		   due = hs_daemon_now_us(d) >= g->retry_at_us || g->refusal.reason == HS_REASON_NONE;
	bool other_group; /* or scope: whom it may share with */

	switch (g->place) {
	case HS_PLACE_OUT:
		if (want)
			g->undo_text[0] = '\0'; /* it is to share: nothing is to be undone */
		if (want && due)
			take_in(g);
		else if (!want && g->pid && !g->left_checked && !d->ending && !g->jobs &&
			 hs_daemon_now_us(d) >= g->retry_at_us && (!g->opt_in.on || g->obstacle.reason || d->off_undo))
			g->left_checked = post(g, HS_JOB_CHECK_LEFT, g->pid, true, on_left_checked);
		break;
	case HS_PLACE_IN:
		other_group = strcmp(g->taken.group, g->opt_in.group) != 0 || g->taken.scope != g->opt_in.scope;
		if (want && g->scan_pid == g->pid && !other_group && !g->lost) {
			g->undo_text[0] = '\0';
			if (g->taken.max_shared_bytes != g->opt_in.max_shared_bytes &&
			    post(g, HS_JOB_LIMIT, g->pid, false, on_limited))
				g->taken = g->opt_in;
			break;
		}
		if (d->ending || !due)
			break;
		/* Nothing is to be undone in a process that has ended. */
		g->undo = g->scan_pid == g->pid && (!g->opt_in.on || g->obstacle.reason || other_group ||
						    (d->effective == HS_MODE_OFF && d->off_undo));
		if (post(g, HS_JOB_REMOVE, g->scan_pid, g->undo, on_removed)) {
			g->place = HS_PLACE_LEAVING;
			g->lost = false;
			g->left_checked = g->undo;
		}
		break;
	case HS_PLACE_COMING:
	case HS_PLACE_LEAVING:
		break;
	}
}

static void reconcile_or_free(struct hs_daemon *d, struct hs_daemon_guest *g)
{
	if (g->is_due)
		DL_DELETE2(d->due, g, due_prev, due_next);
	g->is_due = false;
	reconcile_one(d, g);
	hs_daemon_guest_count(g);
	if (g->forgotten && !g->jobs && g->place == HS_PLACE_OUT)
		hs_daemon_guest_free(g);
}

void hs_daemon_reconcile(struct hs_daemon *d)
{
	struct hs_daemon_guest *g, *next;

	d->all_due = false;
	find_lost(d);
	DL_FOREACH_SAFE(d->guests, g, next)
	reconcile_or_free(d, g);
}

void hs_daemon_reconcile_due(struct hs_daemon *d)
{
	if (d->all_due)
		hs_daemon_reconcile(d);
	while (d->due)
		reconcile_or_free(d, d->due);
}

void hs_daemon_reconcile_soon(struct hs_daemon *d)
{
	d->all_due = true;
	(void)sd_event_source_set_enabled(d->reconcile, SD_EVENT_ONESHOT);
}

void hs_daemon_guest_due(struct hs_daemon_guest *g)
{
	struct hs_daemon *d = g->daemon;

	hs_daemon_guest_count(g);
	if (!g->is_due)
		DL_APPEND2(d->due, g, due_prev, due_next);
	g->is_due = true;
	(void)sd_event_source_set_enabled(d->reconcile, SD_EVENT_ONESHOT);
}
