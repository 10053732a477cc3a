/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lasts over a reboot (the mode that was asked for, guests that are to stay out), written to a disk, which may
 * take its time: on a thread of its own, so that the loop never waits for it, and who asked is answered when it is
 * there.
 *
 * While the thread writes, what comes is gathered, of each file the last text; then all of that goes to the disk at
 * once. So requests that come together are stored together, and none waits for more than one other write.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/state_file.h"
#include "daemon_internal.h"
#include "service/common/log.h"
#include "service/common/thread.h"

#define MAX_FILES   4 /* there are two */
#define STOP_WAIT_S 3 /* for a disk that takes longer nobody waits at the end */

struct waiting {
	struct hs_done done;
	struct waiting *next;
};

struct put {
	const char *name;
	char *text; /* NULL: the file is removed */
	struct waiting *waiting;
	int rc;
};

struct hs_daemon_store {
	/* ---- given to the thread at its start ---- */
	struct hs_host host; /* state_dir: where the files are */
	char dir[4096], old_dir[4096];

	/* ---- the thread's while `busy` ---- */
	struct put batch[MAX_FILES];
	size_t nr;

	/* ---- main thread ---- */
	struct put pending[MAX_FILES];
	size_t nr_pending;
	bool busy;
	pthread_t thread;
	bool started;
	int event_fd;
	sd_event_source *source;

	/* ---- under lock ---- */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool go, stop;
};

/* ---- the thread ---- */

static void print_text(FILE *f, const void *ctx)
{
	(void)fputs(ctx, f);
}

static void write_one(struct hs_daemon_store *s, struct put *p)
{
	char old[4200];

	p->rc = p->text ? hs_state_file_put(&s->host, p->name, print_text, p->text)
			: hs_state_file_remove(&s->host, p->name);
	/* An earlier version had it there: out of date from now on. */
	(void)snprintf(old, sizeof(old), "%s/%s", s->old_dir, p->name);
	if (!p->rc && strcmp(s->dir, s->old_dir) != 0)
		(void)unlink(old);
}

static void *run(void *arg)
{
	struct hs_daemon_store *s = arg;

	(void)pthread_setname_np(pthread_self(), "hs-store");
	(void)pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!s->go && !s->stop)
			(void)pthread_cond_wait(&s->wake, &s->lock);
		if (!s->go)
			break;
		s->go = false;
		(void)pthread_mutex_unlock(&s->lock);
		for (size_t i = 0; i < s->nr; i++)
			write_one(s, &s->batch[i]);
		hs_thread_poke(s->event_fd);
		(void)pthread_mutex_lock(&s->lock);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- main thread ---- */

static void send(struct hs_daemon_store *s)
{
	if (s->busy || !s->nr_pending)
		return;
	memcpy(s->batch, s->pending, sizeof(s->batch));
	s->nr = s->nr_pending;
	s->nr_pending = 0;
	s->busy = true;
	(void)pthread_mutex_lock(&s->lock);
	s->go = true;
	(void)pthread_cond_signal(&s->wake);
	(void)pthread_mutex_unlock(&s->lock);
}

static void answer(struct hs_daemon_store *s, struct put *p)
{
	struct waiting *w;
	char text[4400] = "";

	if (p->rc) {
		(void)snprintf(text, sizeof(text), "%s/%s (%s)", s->dir, p->name, strerror(-p->rc));
		hs_log(HS_LOG_ERROR, "cannot store in %s what was asked for: the next start would not know of it",
		       text);
	}
	while ((w = p->waiting)) {
		p->waiting = w->next;
		w->done.fn(w->done.arg, p->rc, text);
		free(w);
	}
	free(p->text);
	p->text = NULL;
}

static void answer_all(struct hs_daemon_store *s)
{
	for (size_t i = 0; i < s->nr; i++)
		answer(s, &s->batch[i]);
	s->nr = 0;
	s->busy = false;
}

static int on_written(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct hs_daemon_store *s = arg;
	uint64_t count;

	(void)source;
	(void)revents;
	if (read(fd, &count, sizeof(count)) < 0)
		return errno == EAGAIN ? 0 : -errno;
	answer_all(s);
	send(s);
	return 0;
}

/* The place of the file among what waits; NULL: there is none left. */
static struct put *pending_of(struct hs_daemon_store *s, const char *name)
{
	size_t i = 0;

	while (i < s->nr_pending && strcmp(s->pending[i].name, name) != 0)
		i++;
	if (i == MAX_FILES)
		return NULL;
	if (i == s->nr_pending)
		s->pending[s->nr_pending++] = (struct put){ .name = name };
	return &s->pending[i];
}

void hs_daemon_store_put(struct hs_daemon *d, const char *name, char *text, struct hs_done done)
{
	struct hs_daemon_store *s = d->store;
	struct waiting *w = done.fn ? malloc(sizeof(*w)) : NULL, **last;
	struct put *p = s && (w || !done.fn) ? pending_of(s, name) : NULL;

	if (!p) {
		free(w);
		free(text);
		if (done.fn)
			done.fn(done.arg, s ? -ENOMEM : -ECANCELED, s ? "out of memory" : "hs-shared is about to end");
		return;
	}
	free(p->text);
	p->text = text;
	last = &p->waiting;
	while (*last)
		last = &(*last)->next;
	if (w) {
		*w = (struct waiting){ .done = done };
		*last = w;
	}
	send(s);
}

void hs_daemon_store_json(struct hs_daemon *d, const char *name, json_t *what, struct hs_done done)
{
	char *text = what ? json_dumps(what, JSON_INDENT(1)) : NULL;

	json_decref(what);
	if (text)
		hs_daemon_store_put(d, name, text, done);
	else if (done.fn)
		done.fn(done.arg, -ENOMEM, "out of memory");
}

json_t *hs_daemon_store_load(struct hs_daemon *d, const char *name, char why[512])
{
	const char *const dirs[] = { d->persistent_dir, d->host.state_dir };
	char path[4200];
	json_error_t je;
	json_t *out;

	why[0] = '\0';
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
		if (access(path, F_OK) && errno == ENOENT)
			continue;
		out = json_load_file(path, 0, &je);
		if (!out)
			(void)snprintf(why, 512, "%.250s cannot be read (%.200s)", path, je.text);
		return out;
	}
	return NULL;
}

int hs_daemon_store_start(struct hs_daemon *d, struct hs_error *err)
{
	struct hs_daemon_store *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return hs_error_set(err, -ENOMEM, "out of memory");
	d->store = s;
	(void)snprintf(s->dir, sizeof(s->dir), "%s", d->persistent_dir);
	(void)snprintf(s->old_dir, sizeof(s->old_dir), "%s", d->host.state_dir);
	s->host = d->host;
	s->host.state_dir = s->dir;
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->wake, NULL);
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = s->event_fd < 0 ? -errno : sd_event_add_io(d->loop, &s->source, s->event_fd, EPOLLIN, on_written, s);
	if (rc >= 0)
		rc = hs_thread_start(&s->thread, run, s);
	s->started = rc >= 0;
	return rc < 0 ? hs_error_set(err, rc, "cannot start the thread for the disk: %s", strerror(-rc)) : 0;
}

/* What the thread was given last is written, as far as the disk goes along. False: it does not. */
static bool join(struct hs_daemon_store *s)
{
	struct timespec until;

	if (!s->started)
		return true;
	(void)pthread_mutex_lock(&s->lock);
	s->stop = true;
	(void)pthread_cond_signal(&s->wake);
	(void)pthread_mutex_unlock(&s->lock);
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_WAIT_S;
	return pthread_timedjoin_np(s->thread, NULL, &until) == 0;
}

void hs_daemon_store_stop(struct hs_daemon *d)
{
	struct hs_daemon_store *s = d->store;

	if (!s)
		return;
	d->store = NULL;
	if (!join(s)) {
		hs_log(HS_LOG_ERROR, "%s: the disk does not answer; what was asked for last may not last", s->dir);
		sd_event_source_disable_unref(s->source); /* the rest is left to the thread */
		return;
	}
	answer_all(s);
	/* What came meanwhile; there is nobody left to wait for this one. */
	memcpy(s->batch, s->pending, sizeof(s->batch));
	s->nr = s->nr_pending;
	for (size_t i = 0; i < s->nr; i++)
		write_one(s, &s->batch[i]);
	answer_all(s);
	sd_event_source_disable_unref(s->source);
	if (s->event_fd >= 0)
		(void)close(s->event_fd);
	(void)pthread_cond_destroy(&s->wake);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}
