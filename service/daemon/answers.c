/*
 * Answers that grow with the number of guests are put together on a thread of their own, from a model that the loop's
 * thread fills and lends: with thousands of guests that takes a tenth of a second, in which others would wait.
 *
 * The loop's thread hands over all that waits as one batch, with one model; until the batch comes back, neither it nor
 * that model is the loop's thread's to touch.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon_internal.h"
#include "service/common/thread.h"

#define MAX_BATCH 32 /* what waits beyond comes with the next one */

struct hs_daemon_answers {
	struct hs_daemon *daemon;
	struct hs_model model; /* lent with a batch */
	size_t model_room;
	struct hs_scan_reports *reports; /* that the model's guests point into, held as long */
	struct hs_work batch[MAX_BATCH];
	size_t nr;
	bool lent; /* main thread: the batch is out */

	/* ---- main thread ---- */
	struct waiting {
		struct hs_work work;
		struct waiting *next;
	} * first, **last;
	pthread_t thread;
	bool started;
	int event_fd;
	sd_event_source *source;

	/* ---- under lock ---- */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool go, stop;
};

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct hs_model_guest *)a)->id, ((const struct hs_model_guest *)b)->id);
}

static void *run(void *arg)
{
	struct hs_daemon_answers *a = arg;

	(void)pthread_setname_np(pthread_self(), "hs-answers");
	(void)pthread_mutex_lock(&a->lock);
	for (;;) {
		while (!a->go && !a->stop)
			(void)pthread_cond_wait(&a->wake, &a->lock);
		if (!a->go)
			break;
		a->go = false;
		(void)pthread_mutex_unlock(&a->lock);
		for (size_t i = 0; i < a->model.nr_guests; i++)
			hs_daemon_mend_guest(&a->model.guests[i]);
		if (a->model.nr_guests)
			qsort(a->model.guests, a->model.nr_guests, sizeof(a->model.guests[0]), by_id);
		for (size_t i = 0; i < a->nr; i++)
			a->batch[i].run(a->batch[i].arg, &a->model);
		hs_thread_poke(a->event_fd);
		(void)pthread_mutex_lock(&a->lock);
	}
	(void)pthread_mutex_unlock(&a->lock);
	return NULL;
}

static void lend(struct hs_daemon_answers *a)
{
	struct waiting *w;

	if (a->lent || !a->first)
		return;
	for (a->nr = 0; a->nr < MAX_BATCH && (w = a->first); a->nr++) {
		a->batch[a->nr] = w->work;
		a->first = w->next;
		free(w);
	}
	if (!a->first)
		a->last = &a->first;
	hs_daemon_fill_model(a->daemon, &a->model, &a->model_room);
	a->reports = hs_scan_thread_hold_reports(a->daemon->snap.reports);
	a->lent = true;
	(void)pthread_mutex_lock(&a->lock);
	a->go = true;
	(void)pthread_cond_signal(&a->wake);
	(void)pthread_mutex_unlock(&a->lock);
}

static int on_batch(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct hs_daemon_answers *a = arg;
	uint64_t count;

	(void)s;
	(void)revents;
	if (read(fd, &count, sizeof(count)) < 0)
		return errno == EAGAIN ? 0 : -errno;
	for (size_t i = 0; i < a->nr; i++)
		a->batch[i].done(a->batch[i].arg, true);
	a->nr = 0;
	a->lent = false;
	hs_scan_thread_drop_reports(a->reports);
	a->reports = NULL;
	lend(a);
	return 0;
}

void hs_daemon_answer(struct hs_daemon *d, const struct hs_work *work)
{
	struct hs_daemon_answers *a = d->answers;
	struct waiting *w = a ? malloc(sizeof(*w)) : NULL;

	if (!w) {
		work->done(work->arg, false);
		return;
	}
	*w = (struct waiting){ .work = *work };
	*a->last = w;
	a->last = &w->next;
	lend(a);
}

int hs_daemon_answers_start(struct hs_daemon *d, struct hs_error *err)
{
	struct hs_daemon_answers *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return hs_error_set(err, -ENOMEM, "out of memory");
	d->answers = a;
	a->daemon = d;
	a->last = &a->first;
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_cond_init(&a->wake, NULL);
	a->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = a->event_fd < 0 ? -errno : sd_event_add_io(d->loop, &a->source, a->event_fd, EPOLLIN, on_batch, a);
	if (rc >= 0)
		rc = hs_thread_start(&a->thread, run, a);
	a->started = rc >= 0;
	return rc < 0 ? hs_error_set(err, rc, "cannot start the thread for answers: %s", strerror(-rc)) : 0;
}

void hs_daemon_answers_stop(struct hs_daemon *d)
{
	struct hs_daemon_answers *a = d->answers;
	struct waiting *w;

	if (!a)
		return;
	d->answers = NULL;
	if (a->started) {
		(void)pthread_mutex_lock(&a->lock);
		a->stop = true;
		(void)pthread_cond_signal(&a->wake);
		(void)pthread_mutex_unlock(&a->lock);
		(void)pthread_join(a->thread, NULL); /* it does what it was lent, and ends */
	}
	for (size_t i = 0; i < a->nr; i++)
		a->batch[i].done(a->batch[i].arg, true);
	while ((w = a->first)) {
		a->first = w->next;
		w->work.done(w->work.arg, false);
		free(w);
	}
	sd_event_source_disable_unref(a->source);
	if (a->event_fd >= 0)
		(void)close(a->event_fd);
	(void)pthread_cond_destroy(&a->wake);
	(void)pthread_mutex_destroy(&a->lock);
	hs_scan_thread_drop_reports(a->reports);
	free(a->model.guests);
	free(a);
}
