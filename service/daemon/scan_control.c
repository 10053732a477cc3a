/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread's side of the scan's thread: its start and end, jobs to it, their ends and snapshots from it. */
#include "scan_thread_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/times.h"
#include "service/common/thread.h"

static int on_event(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct hs_scan_thread *w = arg;
	uint64_t count;

	(void)source;
	(void)revents;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	for (;;) {
		struct job_item *item;

		(void)pthread_mutex_lock(&w->lock);
		item = hs_scan_thread_pop(&w->finished);
		(void)pthread_mutex_unlock(&w->lock);
		if (!item)
			break;
		if (item->job.done.fn)
			item->job.done.fn(item->job.done.arg, item->rc, item->text);
		free(item);
	}
	return 0;
}

int hs_scan_thread_start(struct hs_scan_thread **out, const struct hs_scan_thread_config *cfg, struct hs_error *err)
{
	struct hs_scan_thread *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;
	int rc;

	*out = NULL;
	if (!w)
		return hs_error_set(err, -ENOMEM, "out of memory");
	w->cfg = *cfg;
	w->cfg.pipeline.observe = true; /* the engine comes with mode save */
	w->cfg.pipeline.allow_empty = true;
	w->clock = (struct hs_clock){ .ctx = w,
				      .now_us = hs_scan_thread_clock_now_us,
				      .sleep_us = hs_scan_thread_clock_sleep_us };
	w->snap.stage = "idle";
	w->snap.alive_ms = w->snap.stage_ms = hs_monotonic_us() / 1000;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&w->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = w->event_fd < 0 ? -errno : sd_event_add_io(cfg->loop, &w->source, w->event_fd, EPOLLIN, on_event, w);
	if (rc < 0) {
		(void)hs_error_set(err, rc, "cannot watch the scan's thread: %s", strerror(-rc));
		goto fail;
	}
	rc = hs_scan_thread_pipeline(&w->pipeline, w, &w->cfg.pipeline, err);
	if (rc)
		goto fail;
	hs_scan_thread_watch_pipeline(w);
	rc = hs_thread_start(&w->thread, hs_scan_thread_run, w);
	if (rc) {
		(void)hs_error_set(err, rc, "cannot start the scan's thread: %s", strerror(-rc));
		goto fail;
	}
	w->started = true;
	*out = w;
	return 0;
fail:
	hs_scan_thread_destroy(w);
	return rc;
}

int hs_scan_thread_post(struct hs_scan_thread *w, const struct hs_job *job)
{
	struct job_item *item = calloc(1, sizeof(*item));

	if (!item)
		return -ENOMEM;
	item->job = *job;
	w->nr_posted++;
	(void)pthread_mutex_lock(&w->lock);
	hs_scan_thread_push(&w->todo, item);
	if (hs_scan_thread_job_is_urgent(job->kind))
		w->nr_urgent++;
	else
		w->nr_patient++;
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
	return 0;
}

uint64_t hs_scan_thread_nr_posted(const struct hs_scan_thread *w)
{
	return w->nr_posted;
}

/* As patient as an answer may be. */
#define SNAPSHOT_WAIT_NS 2000000

static bool lock_soon(pthread_mutex_t *lock)
{
	struct timespec until;

	if (pthread_mutex_trylock(lock) == 0)
		return true;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += SNAPSHOT_WAIT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until) == 0;
}

void hs_scan_thread_snapshot(struct hs_scan_thread *w, struct hs_scan_thread_snapshot *snap)
{
	const bool have = lock_soon(&w->lock);
	struct hs_scan_reports *old = snap->reports;
	const uint64_t now_ms = hs_monotonic_us() / 1000;

	if (!have && snap->stage) {
		snap->stage_ms += now_ms - snap->read_ms;
		snap->alive_ms += now_ms - snap->read_ms;
		snap->read_ms = now_ms;
		return;
	}
	if (!have) /* the first one has to be */
		(void)pthread_mutex_lock(&w->lock);
	*snap = w->snap;
	(void)hs_scan_thread_hold_reports(snap->reports);
	(void)pthread_mutex_unlock(&w->lock);
	snap->read_ms = hs_monotonic_us() / 1000;
	snap->stage_ms = snap->read_ms - snap->stage_ms;
	snap->alive_ms = snap->read_ms - snap->alive_ms;
	hs_scan_thread_drop_reports(old);
}

struct hs_scan_reports *hs_scan_thread_hold_reports(struct hs_scan_reports *reports)
{
	if (reports)
		reports->nr_users++;
	return reports;
}

void hs_scan_thread_drop_reports(struct hs_scan_reports *reports)
{
	if (!reports || --reports->nr_users)
		return;
	free(reports->sketches);
	free(reports);
}

void hs_scan_thread_release(struct hs_scan_thread_snapshot *snap)
{
	hs_scan_thread_drop_reports(snap->reports);
	snap->reports = NULL;
}

const struct hs_guest_report *hs_scan_thread_report_of(const struct hs_scan_thread_snapshot *snap, pid_t pid,
						       size_t *at)
{
	size_t from = 0, to = snap->reports ? snap->reports->nr : 0;

	if (*at < to && snap->reports->of[*at].pid == pid && !snap->reports->of[*at].gone)
		return &snap->reports->of[*at];
	while (from < to) {
		const size_t mid = from + (to - from) / 2;
		const struct hs_guest_report *r = &snap->reports->of[mid];

		if (r->pid == pid && !r->gone) {
			*at = mid;
			return r;
		}
		if (r->pid < pid)
			from = mid + 1;
		else
			to = mid;
	}
	return NULL;
}

void hs_scan_thread_leave(struct hs_scan_thread *w)
{
	sd_event_source_disable_unref(w->source);
	w->source = NULL;
}

void hs_scan_thread_destroy(struct hs_scan_thread *w)
{
	struct job_item *item;

	if (!w)
		return;
	if (w->started) {
		(void)pthread_mutex_lock(&w->lock);
		w->stop = true;
		(void)pthread_cond_signal(&w->wake);
		(void)pthread_mutex_unlock(&w->lock);
		(void)pthread_join(w->thread, NULL);
	}
	hs_pipeline_destroy(w->pipeline); /* only when the thread never ran */
	while ((item = hs_scan_thread_pop(&w->todo)) || (item = hs_scan_thread_pop(&w->finished)) ||
	       (item = hs_scan_thread_pop(&w->looks)))
		free(item);
	sd_event_source_unref(w->source);
	if (w->event_fd >= 0)
		(void)close(w->event_fd);
	hs_scan_thread_drop_reports(w->snap.reports);
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}
