/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the scan's thread is asked to do between cycles.
 *
 * Undoing needs the merge engine, and so KSM, for a moment even in modes that do not share: with_engine takes it and
 * gives it back. Where KSM is somebody else's just then, the job fails with -EBUSY and is asked for again later.
 */
#include "scan_thread_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/passthrough.h"
#include "base/times.h"
#include "hs/zero.h"
#include "service/common/descriptors.h"
#include "service/common/log.h"

#define RETRY_ENGAGE_US (10 * UINT64_C(1000000)) /* somebody who drives KSM is asked again after so long */
#define RETRY_UNDO_US   (5 * UINT64_C(1000000))  /* held by a debugger, no memory free: passes soon... */
#define RETRY_UNDO_MAX_US                                                                                              \
	(300 * UINT64_C(1000000)) /* ...or it does not: each try takes the engine, for all guests. Doubled up to this  \
				   */

bool hs_scan_thread_job_is_urgent(enum hs_job_kind kind)
{
	switch (kind) {
	case HS_JOB_ADD:
	case HS_JOB_LIMIT:
	case HS_JOB_LOOK:
	case HS_JOB_CHECK_LEFT:
		return false;
	case HS_JOB_REMOVE:
	case HS_JOB_UNSHARE:
	case HS_JOB_MODE:
	case HS_JOB_CONFIGURE:
	case HS_JOB_QUIT:
		break;
	}
	return true;
}

void hs_scan_thread_try_engage(struct hs_scan_thread *w)
{
	struct hs_error err = { "" };
	int rc;

	if (!w->pipeline || w->effective != HS_MODE_SAVE || hs_pipeline_engaged(w->pipeline) ||
	    hs_monotonic_us() < w->retry_engage_at_us)
		return;
	rc = hs_pipeline_engage(w->pipeline, &err);
	if (!rc) {
		hs_scan_thread_obstacle(w, HS_REASON_NONE, "");
		return;
	}
	w->retry_engage_at_us = hs_monotonic_us() + RETRY_ENGAGE_US;
	hs_scan_thread_obstacle(w,
				rc == -EBUSY                    ? HS_REASON_KSM_BUSY
				: rc == -ENOENT                 ? HS_REASON_NO_FEATURE
				: rc == -EPERM || rc == -EACCES ? HS_REASON_NO_PERMISSION
								: HS_REASON_TROUBLE,
				err.text);
}

/* What an earlier life left in a process: shared by our marks, or split for its zeros (*zeros). As
 * hs_share_find_marked.
 */
static int find_left(struct hs_scan_thread *w, pid_t pid, uint64_t *bytes, bool *zeros, struct hs_error *err)
{
	uint64_t split = 0;
	int rc = hs_share_find_marked(&w->cfg.host, pid, bytes, err);

	if (!rc)
		rc = hs_zero_find_left(&w->cfg.host, pid, &split, err);
	*bytes = rc ? 0 : *bytes + split;
	if (zeros)
		*zeros = !rc && split;
	return rc;
}

/* The engine for one job: *taken says that it has to be given back. */
static int take_engine(struct hs_scan_thread *w, bool *taken, struct hs_error *err)
{
	int rc;

	*taken = false;
	if (hs_pipeline_engaged(w->pipeline))
		return 0;
	rc = hs_pipeline_engage(w->pipeline, err);
	*taken = !rc;
	return rc;
}

static void give_engine(struct hs_scan_thread *w, bool taken)
{
	if (taken)
		hs_pipeline_disengage(w->pipeline);
}

/* -EAGAIN: a guest carries our marks, or may; of all guests, or of those alone that the engine would not have. */
static int check_unmarked(struct hs_scan_thread *w, bool all, struct hs_error *err)
{
	size_t nr = hs_pipeline_report(w->pipeline, NULL, 0);
	struct hs_guest_report *guests = calloc(nr ? nr : 1, sizeof(*guests));
	int rc = 0;

	if (!guests)
		return hs_error_set(err, -ENOMEM, "out of memory");
	nr = hs_pipeline_report(w->pipeline, guests, nr);
	for (size_t i = 0; i < nr && !rc; i++) {
		uint64_t bytes = 0;
		int one;

		if (guests[i].gone || (!all && !guests[i].merge_obstacle.error))
			continue;
		one = find_left(w, guests[i].pid, &bytes, NULL, NULL);
		if (one != -ESRCH && (one || bytes))
			rc = hs_error_set(err, -EAGAIN, "guest %s: %" PRIu64 " MiB of it are still marked: %s",
					  guests[i].name, bytes >> 20, guests[i].merge_obstacle.text);
	}
	free(guests);
	return rc;
}

/*
 * Nothing of the guest, or of all (pid 0), is left to undo: whoever else may drive KSM just now, and be it for good,
 * then does not matter.
 */
static bool is_clean(struct hs_scan_thread *w, pid_t pid)
{
	uint64_t bytes = 0;
	int rc;

	if (hs_pipeline_engaged(w->pipeline))
		return false; /* it knows more than the marks do */
	if (!pid)
		return !check_unmarked(w, true, NULL);
	rc = find_left(w, pid, &bytes, NULL, NULL);
	return rc == -ESRCH || (!rc && !bytes);
}

static int give_back(struct hs_scan_thread *w, pid_t pid, struct hs_error *err)
{
	struct hs_share_unshared out = { 0 };
	bool taken;
	int rc;

	if (is_clean(w, pid))
		return 0;
	rc = take_engine(w, &taken, err);
	if (rc)
		return rc;
	rc = pid ? hs_pipeline_unshare_pid(w->pipeline, pid, &out, err)
		 : hs_pipeline_unshare_all(w->pipeline, &out, err);
	/* Whom the engine would not have was passed over. */
	if (!rc && !pid)
		rc = check_unmarked(w, false, err);
	give_engine(w, taken);
	if (out.nr_huge)
		hs_log(HS_LOG_INFO, "unshared %llu huge pages, %llu of them are huge again",
		       (unsigned long long)out.nr_huge, (unsigned long long)out.nr_collapsed);
	return rc;
}

static int add(struct hs_scan_thread *w, const struct hs_job *job, struct hs_error *err)
{
	const struct hs_guest_options opt = { .name = job->name,
					      .group = job->opt_in.group,
					      .max_shared_bytes = job->opt_in.max_shared_bytes,
					      .scope = job->opt_in.scope };
	int rc = hs_descriptors_for_guest(&w->cfg.host, err);

	if (!rc)
		rc = hs_passthrough_look(&w->cfg.host, job->pid, err);
	rc = rc > 0 ? -EMEDIUMTYPE : rc; /* a pinned page cannot be merged */
	if (!rc)
		rc = hs_pipeline_add(w->pipeline, job->pid, &opt, err);
	if (!rc)
		hs_log(HS_LOG_INFO, "guest %s (process %d) is watched, group %s", job->name, (int)job->pid,
		       job->opt_in.group[0] ? job->opt_in.group : "default");
	return rc;
}

static int take_out(struct hs_scan_thread *w, pid_t pid, bool undo, struct hs_error *err)
{
	struct hs_share_unshared out = { 0 };
	bool taken = false;
	int rc = 0;

	undo = undo && !is_clean(w, pid);
	if (undo)
		rc = take_engine(w, &taken, err);
	if (!rc)
		rc = hs_pipeline_remove(w->pipeline, pid, undo, &out, err);
	give_engine(w, taken);
	return rc;
}

static int check_left(struct hs_scan_thread *w, const struct hs_job *job, struct hs_error *err)
{
	struct hs_job as = *job;
	uint64_t bytes = 0;
	bool zeros;
	int rc = find_left(w, job->pid, &bytes, &zeros, err);

	if (rc || !bytes)
		return rc == -ESRCH ? 0 : rc;
	if (zeros)
		as.opt_in.scope = HS_SCOPE_ZERO; /* by which it was done, and is undone */
	hs_log(HS_LOG_INFO,
	       "guest %s (process %d) is not opted in, but %llu MiB of it are still marked from before: undoing that",
	       job->name, (int)job->pid, (unsigned long long)(bytes >> 20));
	rc = add(w, &as, err);
	if (rc == -EEXIST) /* it came in meanwhile, or could not be undone when it was to leave: it stays in */
		return give_back(w, job->pid, err);
	if (rc)
		return rc;
	rc = take_out(w, job->pid, true, err);
	/* Nobody asked for it to be a guest: what could not be undone is pending, and not added to. */
	if (rc)
		(void)take_out(w, job->pid, false, NULL);
	return rc;
}

static void report_undo_pending(struct hs_scan_thread *w)
{
	(void)pthread_mutex_lock(&w->lock);
	memcpy(w->snap.undo_pending, w->undo_text, sizeof(w->snap.undo_pending));
	(void)pthread_mutex_unlock(&w->lock);
}

/* The mode is to leave nothing shared. What cannot be undone now is tried again until it is, or the mode is another. */
static int note_undo(struct hs_scan_thread *w, int rc, const struct hs_error *err)
{
	if (rc && strcmp(w->undo_text, err->text) != 0)
		hs_log(HS_LOG_WARNING, "not everything is unshared yet, and is tried again: %s", err->text);
	else if (!rc && w->undo_pending)
		hs_log(HS_LOG_INFO, "what could not be unshared before is unshared now");
	(void)snprintf(w->undo_text, sizeof(w->undo_text), "%s", rc ? err->text : "");
	report_undo_pending(w);
	w->undo_pending = rc != 0;
	w->retry_undo_us = w->retry_undo_us ? w->retry_undo_us * 2 : RETRY_UNDO_US;
	if (w->retry_undo_us > RETRY_UNDO_MAX_US)
		w->retry_undo_us = RETRY_UNDO_MAX_US;
	w->retry_undo_at_us = hs_monotonic_us() + w->retry_undo_us;
	return rc;
}

static int undo_all(struct hs_scan_thread *w, struct hs_error *err)
{
	return note_undo(w, give_back(w, 0, err), err);
}

/* A guest that has come shares what an earlier life left, and the mode is to leave nothing shared. */
static void undo_earlier(struct hs_scan_thread *w, pid_t pid)
{
	struct hs_error err = { "" };
	const int rc = w->leave_nothing ? give_back(w, pid, &err) : 0;

	if (rc)
		(void)note_undo(w, rc, &err);
	if (w->leave_nothing)
		w->kept_at_us = 0;
}

void hs_scan_thread_retry_undo(struct hs_scan_thread *w)
{
	struct hs_error err = { "" };

	(void)undo_all(w, &err);
}

/* One that the pipeline has lost (it could not be taken over by a new one) may be shared all the same. */
static int leave(struct hs_scan_thread *w, const struct hs_job *job, struct hs_error *err)
{
	int rc = take_out(w, job->pid, job->undo, err);

	if (rc != -ENOENT)
		return rc;
	return job->undo ? check_left(w, job, err) : 0;
}

static int set_mode(struct hs_scan_thread *w, const struct hs_job *job, struct hs_error *err)
{
	int rc = 0;

	w->effective = job->effective;
	w->retry_engage_at_us = 0;
	w->rest_ms = 0;
	w->undo_pending = false;
	w->leave_nothing = job->undo && job->effective == HS_MODE_OBSERVE;
	w->retry_undo_us = 0;
	w->undo_text[0] = '\0';
	report_undo_pending(w);
	if (job->effective == HS_MODE_SAVE) {
		hs_scan_thread_try_engage(w);
		/* What would keep the first burst from running is said now, not a window later in the status alone. */
		if (hs_pipeline_engaged(w->pipeline)) {
			if (hs_pipeline_ready(w->pipeline, err) != -EBUSY) {
				err->text[0] = '\0'; /* the first cycle says it, if it lasts */
				return 0;
			}
			hs_scan_thread_obstacle(w, HS_REASON_FOREIGN, err->text);
			return HS_DONE_UNDER_WAY;
		}
		(void)snprintf(err->text, sizeof(err->text), "%s",
			       w->snap.obstacle.text); /* which this thread alone sets */
		return HS_DONE_UNDER_WAY;
	}
	hs_scan_thread_obstacle(w, HS_REASON_NONE, "");
	if (job->undo)
		rc = undo_all(w, err);
	/* Also when that failed: with the engine, cycles would share further. */
	hs_pipeline_disengage(w->pipeline);
	return rc;
}

/* The guests of the old pipeline go over to a new one; what is shared stays and is read back from the kernel. */
static int configure(struct hs_scan_thread *w, const struct hs_job *job, struct hs_error *err)
{
	struct hs_pipeline_config cfg = job->config;
	struct hs_guest_report *guests = NULL;
	struct hs_pipeline *fresh = NULL;
	size_t nr = hs_pipeline_report(w->pipeline, NULL, 0);
	int rc = 0, nr_lost = 0;

	cfg.observe = true;
	cfg.allow_empty = true;
	guests = calloc(nr ? nr : 1, sizeof(*guests));
	if (!guests)
		return hs_error_set(err, -ENOMEM, "out of memory");
	nr = hs_pipeline_report(w->pipeline, guests, nr);
	rc = hs_scan_thread_pipeline(&fresh, w, &cfg, err);
	if (rc)
		goto out;
	hs_pipeline_destroy(w->pipeline);
	w->pipeline = fresh;
	w->cfg.pipeline = cfg;
	w->cfg.rest_min_s = job->rest_min_s;
	w->cfg.rest_max_s = job->rest_max_s;
	hs_scan_thread_watch_pipeline(w);
	for (size_t i = 0; i < nr; i++) {
		const struct hs_guest_options opt = { .name = guests[i].name,
						      .group = guests[i].group,
						      .max_shared_bytes = guests[i].max_shared_bytes,
						      .scope = guests[i].own_scope };
		int one;

		if (guests[i].gone)
			continue;
		hs_scan_thread_sign_of_life(w);
		one = hs_pipeline_add(fresh, guests[i].pid, &opt, err);
		if (one) {
			hs_log(HS_LOG_WARNING, "guest %s could not be taken over: %s", guests[i].name, err->text);
			nr_lost++;
		}
	}
	hs_pipeline_ask_look(fresh, w->looks.first != NULL);
	w->retry_engage_at_us = 0;
	hs_scan_thread_try_engage(w);
out:
	free(guests);
	return rc ? rc : nr_lost;
}

void hs_scan_thread_do_job(struct hs_scan_thread *w, struct job_item *item)
{
	const struct hs_job *job = &item->job;
	struct hs_error err = { "" };
	int rc = -EINVAL;

	switch (job->kind) {
	case HS_JOB_ADD:
		rc = add(w, job, &err);
		if (!rc)
			undo_earlier(w, job->pid);
		break;
	case HS_JOB_REMOVE:
		rc = leave(w, job, &err);
		break;
	case HS_JOB_UNSHARE:
		rc = give_back(w, job->pid, &err);
		break;
	case HS_JOB_LIMIT:
		rc = hs_pipeline_set_limits(w->pipeline, job->pid, job->opt_in.max_shared_bytes);
		break;
	case HS_JOB_MODE:
		rc = set_mode(w, job, &err);
		break;
	case HS_JOB_CHECK_LEFT:
		rc = check_left(w, job, &err);
		break;
	case HS_JOB_CONFIGURE:
		rc = configure(w, job, &err);
		break;
	case HS_JOB_LOOK:
		hs_pipeline_ask_look(w->pipeline, true);
		rc = 0;
		break;
	case HS_JOB_QUIT:
		rc = job->undo ? give_back(w, 0, &err) : 0;
		break;
	}
	if (rc < 0 && !err.text[0])
		(void)snprintf(err.text, sizeof(err.text), "%s", strerror(-rc));
	w->nr_done++;
	item->rc = rc;
	memcpy(item->text, err.text, sizeof(item->text));
}
