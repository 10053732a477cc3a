/* The main thread's side of the scan's thread: its start and end, jobs to it, their ends and snapshots from it. */
#include "scan_thread_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
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
	rc = hs_pipeline_create(&w->pipeline, &w->cfg.host, &w->cfg.pipeline, &w->clock, err);
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

int hs_scan_thread_snapshot(struct hs_scan_thread *w, struct hs_scan_thread_snapshot *out)
{
	uint64_t now_ms;
	int rc = 0;

	(void)pthread_mutex_lock(&w->lock);
	now_ms = hs_monotonic_us() / 1000; /* not before: the thread may have written a later moment meanwhile */
	*out = w->snap;
	out->reports = calloc(w->snap.nr ? w->snap.nr : 1, sizeof(*out->reports));
	if (!out->reports) {
		out->nr = 0;
		rc = -ENOMEM;
	} else if (w->snap.nr) {
		memcpy(out->reports, w->snap.reports, w->snap.nr * sizeof(*out->reports));
	}
	out->stage_ms = now_ms - w->snap.stage_ms;
	out->alive_ms = now_ms - w->snap.alive_ms;
	(void)pthread_mutex_unlock(&w->lock);
	return rc;
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
	free(w->snap.reports);
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}
