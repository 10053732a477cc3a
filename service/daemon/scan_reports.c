/* SPDX-License-Identifier: Apache-2.0 */
/* What the thread publishes: reports of the guests, in memory that whoever holds them keeps. */
#include <pthread.h>
#include <stdlib.h>

#include "base/times.h"
#include "scan_thread_internal.h"
#include "service/common/thread.h"

/* What stays shared outside of mode save is counted so often: a walk over page tables. */
#define KEPT_EVERY_US 60000000

static int by_pid(const void *a, const void *b)
{
	const struct hs_guest_report *x = a, *y = b;

	return x->pid != y->pid ? (x->pid < y->pid ? -1 : 1) : (int)x->gone - (int)y->gone;
}

/* Those of the pipeline are lent until its next cycle. Without memory for them there are none this time. */
static void copy_sketches(struct hs_scan_reports *r)
{
	size_t nr = 0;

	for (size_t i = 0; i < r->nr; i++)
		nr += r->of[i].sketch != NULL;
	r->sketches = nr ? calloc(nr, sizeof(*r->sketches)) : NULL;
	nr = 0;
	for (size_t i = 0; i < r->nr; i++) {
		if (r->of[i].sketch && r->sketches) {
			r->sketches[nr] = *r->of[i].sketch;
			r->of[i].sketch = &r->sketches[nr++];
		} else {
			r->of[i].sketch = NULL;
		}
	}
}

static void add_up(struct hs_scan_reports *r)
{
	for (size_t i = 0; i < r->nr; i++) {
		if (r->of[i].gone)
			continue;
		r->nr_sharing += r->of[i].ledger.saved_bytes > 0;
		r->could_save_bytes += r->of[i].could_save_bytes;
		r->could_save_at_most_bytes += r->of[i].could_save_at_most_bytes;
	}
}

/* What stays shared while no engine follows it: it changes by what we do, and slowly by what guests write. */
static void count_kept(struct hs_scan_thread *w)
{
	const bool engaged = w->pipeline && hs_pipeline_engaged(w->pipeline);
	struct hs_share_kept kept = { 0 };
	bool known = false;

	if (!engaged) {
		if (hs_monotonic_us() < w->kept_at_us)
			return;
		known = hs_share_find_kept(&w->cfg.host, &kept) == 0;
	}
	w->kept_at_us = engaged ? 0 : hs_monotonic_us() + KEPT_EVERY_US;
	(void)pthread_mutex_lock(&w->lock);
	w->snap.has_kept = known;
	w->snap.kept = kept;
	(void)pthread_mutex_unlock(&w->lock);
}

void hs_scan_thread_publish(struct hs_scan_thread *w)
{
	const uint64_t begin_us = hs_monotonic_us();
	struct hs_scan_reports *reports = NULL, *old;
	struct hs_pipeline_totals totals = { 0 };
	size_t nr;

	count_kept(w);
	if (w->pipeline) {
		nr = hs_pipeline_report(w->pipeline, NULL, 0);
		reports = calloc(1, sizeof(*reports) + nr * sizeof(reports->of[0]));
		if (!reports)
			return; /* the last ones stay */
		reports->nr_users = 1;
		reports->nr = nr ? hs_pipeline_report(w->pipeline, reports->of, nr) : 0;
		qsort(reports->of, reports->nr, sizeof(reports->of[0]), by_pid);
		add_up(reports);
		copy_sketches(reports);
		hs_pipeline_totals(w->pipeline, &totals);
	}
	(void)pthread_mutex_lock(&w->lock);
	old = w->snap.reports;
	w->snap.reports = reports;
	w->snap.totals = totals;
	w->snap.has_totals = w->pipeline != NULL;
	w->snap.engaged = w->pipeline && hs_pipeline_engaged(w->pipeline);
	w->snap.cpu_us = hs_cpu_thread_us();
	w->snap.nr_jobs = w->nr_done;
	w->snap.nr_published++;
	(void)pthread_mutex_unlock(&w->lock);
	hs_scan_thread_drop_reports(old);
	hs_thread_poke(w->event_fd);
	w->published_at_us = hs_monotonic_us();
	w->publish_us = w->published_at_us - begin_us;
}
