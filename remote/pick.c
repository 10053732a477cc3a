/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which thread of the guest is asked. Without touching any: the kernel says what each is blocked in, and a thread that
 * waits in a call that restarts by itself notices nothing. One that runs is asked only when none waits, and one that
 * sleeps for a set time last, as its sleep has to end first. One that would see that it was interrupted is not stopped.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "remote_internal.h"

#define CANDIDATES_MAX 128U  /* threads looked at: a guest with more virtual CPUs has idle helpers among the first */
#define PATIENCE_US    1000U /* for one that waits: the thread let go last needs a moment to be back in its call */

struct candidate {
	pid_t tid;
	enum hs_remote_rank rank;
};

static int by_rank(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->tid < b->tid ? -1 : a->tid > b->tid; /* the main thread first */
}

/* HS_REMOTE_NEVER also where it cannot be told. */
static int rank_of(const struct hs_remote *r, pid_t tid, enum hs_remote_rank *rank)
{
	struct hs_remote_fd fd = { .kind = HS_REMOTE_FD_UNKNOWN };
	struct hs_remote_doing doing;
	int rc = hs_remote_read_doing(r->proc_fd, tid, &doing);

	if (rc)
		return rc;
	if (!doing.running && hs_remote_rank_needs_fd(doing.nr))
		hs_remote_read_fd(r, tid, doing.args[0], &fd);
	*rank = hs_remote_rank(&doing, &fd, r->deadline_ms / 2);
	if (*rank != HS_REMOTE_NEVER && hs_remote_is_worker(r->proc_fd, tid))
		*rank = HS_REMOTE_NEVER;
	return 0;
}

static int list(const struct hs_remote *r, struct candidate *c, size_t *nr, struct hs_error *err)
{
	int fd = hs_remote_sys->openat(r->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	*nr = 0;
	if (!dir) {
		int rc = errno == ENOENT ? -ESRCH : -errno;

		if (fd >= 0)
			close(fd);
		return hs_error_set(err, rc, "process %d is gone", r->pid);
	}
	while (*nr < CANDIDATES_MAX && (e = readdir(dir))) {
		pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);

		if (tid > 0 && rank_of(r, tid, &c[*nr].rank) == 0)
			c[(*nr)++].tid = tid;
	}
	(void)closedir(dir);
	qsort(c, *nr, sizeof(*c), by_rank);
	return 0;
}

/* Which of two failures says more: one that may pass, before one that may not, before a thread that has ended. */
static int weight(int rc)
{
	switch (rc) {
	case -EAGAIN:
		return 2;
	case -ESRCH:
		return 0;
	default:
		return 1;
	}
}

struct candidates {
	struct candidate list[CANDIDATES_MAX];
	size_t nr;
};

/* No thread suits. */
static int nobody(const struct hs_remote *r, const struct candidates *all, struct hs_error *err)
{
	struct hs_remote_status st;

	for (size_t i = 0; i < all->nr; i++)
		if (!hs_remote_read_status(r->proc_fd, all->list[i].tid, &st) && st.state == 'D')
			return hs_error_set(err, -EAGAIN, "thread %d of process %d is in uninterruptible sleep",
					    all->list[i].tid, r->pid);
	return hs_error_set(err, -EAGAIN,
			    "process %d has no thread that could be stopped without seeing it: all wait in calls that "
			    "might return EINTR",
			    r->pid);
}

/* sleep_until_us: the end of a timed sleep is awaited until then. */
static int try_all(struct hs_remote_session *s, struct hs_remote *r, const struct hs_remote_want *want,
		   const struct candidates *all, uint64_t sleep_until_us, struct hs_error *err)
{
	const struct candidate *c = all->list;
	int rc = hs_error_set(err, -ESRCH, "process %d is gone", r->pid);

	if (all->nr && c[0].rank == HS_REMOTE_NEVER)
		return nobody(r, all, err);
	for (size_t i = 0; i < all->nr && c[i].rank != HS_REMOTE_NEVER; i++) {
		struct hs_error why = { "" };
		int one = hs_remote_session_begin(s, r, c[i].tid, want,
						  c[i].rank == HS_REMOTE_SLEEPING ? sleep_until_us : 0, &why);

		if (one == 0) {
			r->tid = c[i].tid;
			return 0;
		}
		if (one == -EAGAIN)
			r->stats.nr_retries++;
		if (one == -EBUSY || one == -EPERM || r->abandon || weight(one) > weight(rc)) {
			rc = one;
			if (err)
				*err = why;
		}
		if (one == -EBUSY || one == -EPERM || r->abandon)
			return one;
	}
	return rc;
}

pid_t hs_remote_any_thread(const struct hs_remote *r)
{
	struct candidate c[CANDIDATES_MAX];
	struct hs_remote_status st;
	size_t nr;

	if (list(r, c, &nr, NULL))
		return 0;
	for (size_t i = 0; i < nr; i++) {
		if (hs_remote_read_status(r->proc_fd, c[i].tid, &st) == 0 && st.state != 'Z' && st.state != 'X')
			return c[i].tid;
	}
	return 0;
}

int hs_remote_pick(struct hs_remote_session *s, struct hs_remote *r, const struct hs_remote_want *want,
		   struct hs_error *err)
{
	uint64_t start = hs_remote_now_us(), pause_us = 200;
	struct candidates c;
	enum hs_remote_rank rank;
	int rc;

	for (;;) {
		if (r->tid && rank_of(r, r->tid, &rank) == 0 && rank <= HS_REMOTE_ENDLESS) {
			c.list[0] = (struct candidate){ r->tid, rank };
			c.nr = 1;
			rc = try_all(s, r, want, &c, 0, err);
			if (rc == 0 || rc == -EBUSY || rc == -EPERM || r->abandon)
				return rc;
		}
		r->tid = 0;
		rc = list(r, c.list, &c.nr, err);
		if (rc)
			return rc;
		if (c.nr && c.list[0].rank > HS_REMOTE_ENDLESS && hs_remote_now_us() - start < PATIENCE_US) {
			(void)nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
			continue;
		}
		rc = try_all(s, r, want, &c, r->until_us, err);
		if (rc != -EAGAIN)
			return rc;
		if (r->abandon)
			return -EAGAIN;
		if (!hs_remote_time_left_us(r)) {
			r->late = true; /* without a safe point for so long: a later round may be luckier */
			return -EAGAIN;
		}
		(void)nanosleep(&(struct timespec){ .tv_nsec = (long)pause_us * 1000 }, NULL);
		if (pause_us < 10000)
			pause_us *= 2;
	}
}
