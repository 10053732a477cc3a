#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

int hs_thread_start(pthread_t *out, void *(*run)(void *), void *arg)
{
	sigset_t all, old;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(out, NULL, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

static void let_go(struct hs_thread_owned *t)
{
	if (atomic_fetch_sub(&t->owners, 1) == 1)
		t->release(t->arg);
}

static void *run_owned(void *arg)
{
	struct hs_thread_owned *t = arg;
	void *result = t->run(t->arg);

	let_go(t);
	return result;
}

int hs_thread_start_owned(struct hs_thread_owned *t)
{
	atomic_store(&t->owners, 2);
	return hs_thread_start(&t->thread, run_owned, t);
}

bool hs_thread_wait(struct hs_thread_owned *t, unsigned int wait_s)
{
	struct timespec until;

	if (t->joined)
		return true;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_s;
	t->joined = pthread_clockjoin_np(t->thread, NULL, CLOCK_MONOTONIC, &until) == 0;
	return t->joined;
}

void hs_thread_let_go(struct hs_thread_owned *t)
{
	if (!t->joined)
		(void)pthread_detach(t->thread);
	let_go(t);
}

void hs_thread_poke(int event_fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so it was poked already. */
	if (write(event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		hs_log(HS_LOG_ERROR, "cannot wake a thread: %s", strerror(errno));
}
