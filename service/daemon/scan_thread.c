/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread, its queues and its clock.
 *
 * Priority: scanning and digesting give way to guests (priority.h). While mappings are split for a look, and while ksmd
 * runs, the thread is an ordinary one: both must end in time.
 */
#include "scan_thread_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/times.h"
#include "service/common/log.h"
#include "service/common/thread.h"

/* How often the thread's class is thought over, ms: reading it costs microseconds. */
#define SCHED_EVERY_MS 50
/* A sleeping thread gives a sign of life so often. */
#define LIFE_EVERY_US 5000000
/* While jobs come in one after the other, at most one part in so many of the time goes into reports, and one into going
 * on where a job has interrupted: both go over all guests. Jobs that may wait are gathered meanwhile. */
#define PUBLISH_SHARE 5
#define RESUME_SHARE  5
#define GATHER_MAX_US 2000000 /* a request is not kept waiting for longer */

void hs_scan_thread_push(struct job_queue *q, struct job_item *item)
{
	item->next = NULL;
	if (!q->last)
		q->last = &q->first;
	*q->last = item;
	q->last = &item->next;
}

struct job_item *hs_scan_thread_pop(struct job_queue *q)
{
	struct job_item *item = q->first;

	if (item) {
		q->first = item->next;
		if (!q->first)
			q->last = &q->first;
	}
	return item;
}

/* ---- the clock ---- */

uint64_t hs_scan_thread_clock_now_us(void *ctx)
{
	(void)ctx;
	return hs_monotonic_us();
}

static bool interrupted(const struct hs_scan_thread *w, uint64_t now_us)
{
	if (w->stop)
		return true;
	if (w->urgency == SCAN_NOTHING)
		return false;
	return w->nr_urgent || (w->urgency == SCAN_ANY_JOB && w->nr_patient && now_us >= w->patient_at_us);
}

int hs_scan_thread_clock_sleep_us(void *ctx, uint64_t us)
{
	struct hs_scan_thread *w = ctx;
	uint64_t now = hs_monotonic_us();
	const uint64_t end = now + us;
	int rc;

	if (w->jobs_ended_us) {
		uint64_t gather_us = (now - w->jobs_ended_us) * RESUME_SHARE;

		w->patient_at_us = now + (gather_us < GATHER_MAX_US ? gather_us : GATHER_MAX_US);
		w->jobs_ended_us = 0;
	}
	(void)pthread_mutex_lock(&w->lock);
	for (; !interrupted(w, now) && now < end; now = hs_monotonic_us()) {
		uint64_t until = end - now > LIFE_EVERY_US ? now + LIFE_EVERY_US : end;
		struct timespec ts;

		if (now < w->patient_at_us && w->patient_at_us < until)
			until = w->patient_at_us;
		ts =
		    (struct timespec){ .tv_sec = (time_t)(until / 1000000), .tv_nsec = (long)(until % 1000000) * 1000 };

		w->snap.alive_ms = now / 1000;
		(void)pthread_cond_timedwait(&w->wake, &w->lock, &ts);
	}
	w->snap.alive_ms = now / 1000;
	rc = interrupted(w, now) ? -ECANCELED : 0;
	(void)pthread_mutex_unlock(&w->lock);
	return rc;
}

/* ---- what is reported ---- */

static void set_sched_class(struct hs_scan_thread *w, enum hs_sched_class sched_class)
{
	if (sched_class != w->sched_class && hs_priority_set(sched_class))
		w->sched_class = sched_class;
}

/* The work at hand may wait, or not. */
static void set_priority(struct hs_scan_thread *w, bool may_wait)
{
	const uint64_t now_ms = hs_monotonic_us() / 1000;
	uint64_t run_ns, waited_ns;

	if (!may_wait) {
		set_sched_class(w, HS_SCHED_ORDINARY);
		return;
	}
	if (w->sched_class != HS_SCHED_ORDINARY && now_ms - w->sched_asked_ms < SCHED_EVERY_MS)
		return;
	w->sched_asked_ms = now_ms;
	if (hs_priority_read(&w->cfg.host, &run_ns, &waited_ns) != 0) {
		set_sched_class(w, HS_SCHED_KSMD); /* nothing would show that it gets nothing */
		return;
	}
	if (w->sched_class == HS_SCHED_ORDINARY)
		hs_priority_skip(&w->priority, run_ns, waited_ns);
	set_sched_class(w,
			hs_priority_crowded(&w->priority, now_ms, run_ns, waited_ns) ? HS_SCHED_KSMD : HS_SCHED_IDLE);
}

static void set_stage(struct hs_scan_thread *w, const char *stage)
{
	const uint64_t now_ms = hs_monotonic_us() / 1000;

	(void)pthread_mutex_lock(&w->lock);
	if (w->snap.stage != stage) {
		w->snap.stage = stage;
		w->snap.stage_ms = now_ms;
	}
	w->snap.alive_ms = now_ms;
	(void)pthread_mutex_unlock(&w->lock);
}

void hs_scan_thread_sign_of_life(struct hs_scan_thread *w)
{
	set_stage(w, w->snap.stage); /* which this thread alone sets */
}

static void on_progress(void *ctx, enum hs_stage stage, uint64_t done, uint64_t total)
{
	static const char *const names[] = {
		[HS_STAGE_COARSE] = "coarse",   [HS_STAGE_CONTENT] = "content", [HS_STAGE_FINE] = "fine",
		[HS_STAGE_DECIDE] = "decide",   [HS_STAGE_MERGE] = "merge",     [HS_STAGE_VERIFY] = "verify",
		[HS_STAGE_UNSHARE] = "unshare", [HS_STAGE_REST] = "rest",
	};
	struct hs_scan_thread *w = ctx;

	(void)done;
	(void)total;
	if (w->in_job) { /* it stays one, however long */
		hs_scan_thread_sign_of_life(w);
		return;
	}
	set_priority(w, stage != HS_STAGE_FINE && stage != HS_STAGE_MERGE && stage != HS_STAGE_VERIFY &&
			    !(w->pipeline && hs_pipeline_ksmd_runs(w->pipeline)));
	w->urgency = stage == HS_STAGE_COARSE || stage == HS_STAGE_CONTENT ? SCAN_ANY_JOB : SCAN_URGENT_ONLY;
	set_stage(w, names[stage]);
}

void hs_scan_thread_watch_pipeline(struct hs_scan_thread *w)
{
	hs_pipeline_on_progress(w->pipeline, on_progress, w);
}

void hs_scan_thread_obstacle(struct hs_scan_thread *w, enum hs_reason reason, const char *text)
{
	(void)pthread_mutex_lock(&w->lock);
	if (text[0] && strcmp(text, w->snap.obstacle.text) != 0)
		hs_log(HS_LOG_WARNING, "%s", text);
	hs_model_obstacle_set(&w->snap.obstacle, text[0] ? reason : HS_REASON_NONE, text);
	(void)pthread_mutex_unlock(&w->lock);
}

/* ---- the thread ---- */

int hs_scan_thread_pipeline(struct hs_pipeline **out, const struct hs_scan_thread *w,
			    const struct hs_pipeline_config *cfg, struct hs_error *err)
{
	int rc = hs_pipeline_create(out, &w->cfg.host, cfg, &w->clock, err);

	if (!rc && w->cfg.in_fleet)
		rc = hs_pipeline_set_fleet_key(*out, &w->cfg.fleet_key); /* it has no guest yet */
	return rc;
}

static void begin_job(struct hs_scan_thread *w)
{
	w->urgency = SCAN_NOTHING;
	set_priority(w, false);
	set_stage(w, "job");
	w->in_job = true;
}

/* What an earlier job could not do. */
static void retry_undo(struct hs_scan_thread *w)
{
	if (!w->undo_pending || hs_monotonic_us() < w->retry_undo_at_us)
		return;
	begin_job(w);
	hs_scan_thread_retry_undo(w);
	w->in_job = false;
	w->kept_at_us = 0;
	hs_scan_thread_publish(w);
}

static void deliver(struct hs_scan_thread *w, struct job_item *item)
{
	(void)pthread_mutex_lock(&w->lock);
	hs_scan_thread_push(&w->finished, item);
	(void)pthread_mutex_unlock(&w->lock);
	hs_thread_poke(w->event_fd);
}

/* Looks that were asked for end with the cycle that has looked, after its reports are published; or with its error. */
static void end_looks(struct hs_scan_thread *w, int rc, const char *text)
{
	struct job_item *item;

	if (!rc && hs_pipeline_look_pending(w->pipeline))
		return;
	if (rc)
		hs_pipeline_ask_look(w->pipeline, false);
	while ((item = hs_scan_thread_pop(&w->looks))) {
		item->rc = rc;
		(void)snprintf(item->text, sizeof(item->text), "%s", text);
		deliver(w, item);
	}
}

/* A look that was asked for is work in mode off, too. */
static bool has_work(const struct hs_scan_thread *w)
{
	return (w->effective != HS_MODE_OFF || w->looks.first) && w->pipeline && hs_pipeline_nr_guests(w->pipeline) > 0;
}

/* Does what is asked for; true when the thread is to end. */
static bool do_jobs(struct hs_scan_thread *w)
{
	bool quit = false, any = false, urgent = false;

	for (;;) {
		struct job_item *item;

		(void)pthread_mutex_lock(&w->lock);
		item = w->stop || quit ? NULL : hs_scan_thread_pop(&w->todo);
		if (item) {
			if (hs_scan_thread_job_is_urgent(item->job.kind))
				w->nr_urgent--;
			else
				w->nr_patient--;
			urgent |= hs_scan_thread_job_is_urgent(item->job.kind);
		}
		quit |= w->stop;
		(void)pthread_mutex_unlock(&w->lock);
		if (!item)
			break;
		any = true;
		begin_job(w);
		hs_scan_thread_do_job(w, item);
		w->in_job = false;
		if (item->job.kind != HS_JOB_ADD && item->job.kind != HS_JOB_LIMIT)
			w->kept_at_us = 0;
		if (item->job.kind == HS_JOB_QUIT) {
			/* Delivered when all is put back: the main thread ends with it, and waits for nothing then. */
			w->quit = item;
			quit = true;
			continue;
		}
		if (item->job.kind == HS_JOB_LOOK) {
			hs_scan_thread_push(&w->looks, item);
			continue;
		}
		deliver(w, item);
	}
	/*
	 * Reports of thousands of guests take a while: where one after the other comes in, most of the time is for
	 * that. The end of the cycle publishes what is passed over here.
	 */
	if (any)
		w->jobs_ended_us = hs_monotonic_us();
	if (any && !quit &&
	    (urgent || !has_work(w) || hs_monotonic_us() - w->published_at_us >= w->publish_us * PUBLISH_SHARE))
		hs_scan_thread_publish(w);
	return quit;
}

static void one_cycle(struct hs_scan_thread *w)
{
	const uint64_t start_us = hs_monotonic_us();
	struct hs_error err = { "" };
	uint64_t news = 0;
	int rc;

	hs_scan_thread_try_engage(w);
	rc = hs_pipeline_cycle(w->pipeline, &news, &err);
	if (rc == -ECANCELED) {
		w->rest_ms = 0;
		return;
	}
	if (rc == -ESRCH)
		rc = 0; /* the last guest has gone: the main thread hears of it by the pidfd */
	if (rc)
		hs_scan_thread_obstacle(w, rc == -EBUSY ? HS_REASON_FOREIGN : HS_REASON_TROUBLE, err.text);
	else if (w->effective != HS_MODE_SAVE || hs_pipeline_engaged(w->pipeline))
		hs_scan_thread_obstacle(w, HS_REASON_NONE, "");
	(void)pthread_mutex_lock(&w->lock);
	w->snap.cycles++;
	w->snap.last_cycle_ms = (hs_monotonic_us() - start_us) / 1000;
	(void)pthread_mutex_unlock(&w->lock);
	w->rest_ms =
	    hs_rest_next(w->rest_ms, news, w->cfg.rest_min_s * UINT64_C(1000), w->cfg.rest_max_s * UINT64_C(1000));
	hs_scan_thread_publish(w);
	if (w->looks.first)
		end_looks(w, hs_pipeline_look_pending(w->pipeline) ? rc : 0, err.text);
}

void *hs_scan_thread_run(void *arg)
{
	struct hs_scan_thread *w = arg;

	(void)pthread_setname_np(pthread_self(), "hs-scan");
	while (!do_jobs(w)) {
		const bool work = has_work(w);
		uint64_t sleep_us = 60000000;

		retry_undo(w);
		set_priority(w, true);
		if (work) {
			one_cycle(w);
			set_stage(w, "rest");
			sleep_us = w->rest_ms * 1000;
		} else {
			set_stage(w, "idle");
			if (w->looks.first)
				end_looks(w, -ENODATA,
					  "no guest that is opted in could be looked at; `hs-share guests` says why");
			if (hs_monotonic_us() >= w->kept_at_us)
				hs_scan_thread_publish(w);
		}
		w->urgency = SCAN_ANY_JOB;
		if (w->undo_pending) {
			const uint64_t now_us = hs_monotonic_us();
			const uint64_t left_us = w->retry_undo_at_us > now_us ? w->retry_undo_at_us - now_us : 0;

			sleep_us = left_us < sleep_us ? left_us : sleep_us;
		}
		(void)hs_scan_thread_clock_sleep_us(w, sleep_us);
	}
	set_priority(w, false);
	hs_pipeline_destroy(w->pipeline);
	w->pipeline = NULL;
	set_stage(w, "ended");
	if (w->quit) {
		(void)pthread_mutex_lock(&w->lock);
		hs_scan_thread_push(&w->finished, w->quit);
		(void)pthread_mutex_unlock(&w->lock);
	}
	hs_scan_thread_publish(w);
	return NULL;
}
