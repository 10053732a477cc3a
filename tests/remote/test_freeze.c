/* SPDX-License-Identifier: Apache-2.0 */
/* Calls while a whole process stands still: that it does, and that it goes on. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote_guest.h"

#define NR_THREADS 6

struct counters {
	atomic_ulong count[NR_THREADS];
	atomic_ulong stop, handled, born;
};
static struct counters *shared;

static void *count_on(void *arg)
{
	atomic_ulong *mine = arg;

	while (!atomic_load(&shared->stop))
		atomic_fetch_add(mine, 1);
	return NULL;
}

static void *be_born(void *arg)
{
	atomic_fetch_add(&shared->born, 1);
	return arg;
}

/* A thread that makes threads all the time: a list of threads is out of date when it has been read. */
static void *bear(void *arg)
{
	while (!atomic_load(&shared->stop)) {
		pthread_t t;

		if (!pthread_create(&t, NULL, be_born, arg))
			pthread_join(t, NULL);
	}
	return NULL;
}

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&shared->handled, 1);
}

static int body(struct rg_report *r)
{
	pthread_t t;

	(void)signal(SIGUSR1, on_signal);
	for (int i = 0; i < NR_THREADS; i++)
		if (pthread_create(&t, NULL, i == 0 ? bear : count_on, &shared->count[i]))
			return 1;
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop))
		(void)pause();
	return 0;
}

struct ctx {
	struct hs_remote_call calls[2];
	int round, moved;
	bool refuse;
};

static void snapshot(unsigned long *out)
{
	for (int i = 0; i < NR_THREADS; i++)
		out[i] = atomic_load(&shared->count[i]);
	out[0] = atomic_load(&shared->born);
}

static int ask(void *arg, struct hs_remote_call **calls, size_t *nr)
{
	struct ctx *c = arg;
	unsigned long before[NR_THREADS], after[NR_THREADS];

	snapshot(before);
	usleep(5000);
	snapshot(after);
	c->moved += memcmp(before, after, sizeof(before)) != 0;
	if (c->refuse)
		return -EXDEV;
	*calls = c->calls;
	*nr = c->round++ < 2 ? 2 : 0;
	return 0;
}

static void still(struct hs_remote *r, struct ctx *c, int expected)
{
	const struct hs_remote_call like = { .nr = SYS_getpid, .data_arg = -1 };
	struct hs_error err = { "" };
	int rc = 0;

	/* On a busy machine a thread may not get to its stop in time: that is said, and left for another time. */
	for (int tries = 0; tries < 50; tries++) {
		*c = (struct ctx){ .refuse = expected != 0 };
		c->calls[0] = c->calls[1] = like;
		rc = hs_remote_run_still(r, &like, ask, c, &err);
		if (rc != -EAGAIN)
			break;
	}
	ck_assert_msg(rc == expected, "%d: %s", rc, err.text);
	ck_assert_int_eq(c->moved, 0);
}

START_TEST(test_remote_still_stands_and_goes_on)
{
	unsigned long before[NR_THREADS], after[NR_THREADS];
	struct rg_guest g;
	struct hs_remote *r;
	struct ctx c;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	g = rg_start(body, NULL);
	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	for (int i = 0; i < 30; i++) {
		still(r, &c, 0);
		ck_assert_int_eq(c.round, 3);
		ck_assert_int_eq(c.calls[0].result, g.pid);
		ck_assert_int_eq(c.calls[1].result, g.pid);
		still(r, &c, -EXDEV);
		/* A signal that comes meanwhile is not lost. */
		ck_assert_int_eq(kill(g.pid, SIGUSR1), 0);
		snapshot(before);
		for (int ms = 0;; ms++) {
			bool all = atomic_load(&shared->handled) == (unsigned long)i + 1;

			snapshot(after);
			for (int t = 0; t < NR_THREADS; t++)
				all &= after[t] != before[t];
			if (all)
				break;
			ck_assert_int_lt(ms, 10000);
			usleep(1000);
		}
	}
	hs_remote_close(r);
	rg_kill(&g);
	munmap(shared, sizeof(*shared));
}
END_TEST

/* We are killed at any instant, the stop of all threads included: the guest goes on. */
START_TEST(test_remote_still_killed)
{
	unsigned long before[NR_THREADS], after[NR_THREADS];
	struct rg_guest g;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	g = rg_start(body, NULL);
	rg_wait_ready(&g, true);
	for (int i = 0; i < 60; i++) {
		pid_t child = fork();
		int status;

		ck_assert_int_ge(child, 0);
		if (!child) {
			struct hs_remote *r;
			struct ctx c;

			if (hs_remote_open(&r, &rg_host, g.pid, NULL))
				_exit(1);
			for (;;) {
				const struct hs_remote_call like = { .nr = SYS_getpid, .data_arg = -1 };

				c = (struct ctx){ .calls = { like, like } };
				(void)!hs_remote_run_still(r, &like, ask, &c, NULL);
			}
		}
		usleep((useconds_t)(random() % 60000));
		(void)kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert(WIFSIGNALED(status));
		snapshot(before);
		for (int ms = 0;; ms++) {
			bool all = true;

			snapshot(after);
			for (int t = 0; t < NR_THREADS; t++)
				all &= after[t] != before[t];
			if (all)
				break;
			ck_assert_msg(ms < 10000, "the guest stands still after kill %d", i);
			usleep(1000);
		}
		ck_assert_int_eq(waitpid(g.pid, &status, WNOHANG), 0);
	}
	rg_kill(&g);
	munmap(shared, sizeof(*shared));
}
END_TEST

/* The parent of a vfork waits in uninterruptible sleep until its child is gone. */
static void *fork_and_wait(void *arg)
{
	struct rg_report *r = arg;
	pid_t child = vfork();

	if (!child) {
		atomic_store(&r->ready, 1);
		while (!atomic_load(&shared->stop))
			(void)usleep(1000);
		_exit(0);
	}
	return NULL;
}

static int body_stuck(struct rg_report *r)
{
	pthread_t t;

	if (pthread_create(&t, NULL, count_on, &shared->count[1]) || pthread_create(&t, NULL, fork_and_wait, r))
		return 1;
	while (!atomic_load(&r->stop))
		(void)pause();
	return 0;
}

/* Nobody is stopped for a thread that will not come to a stop. */
START_TEST(test_remote_still_stuck)
{
	const struct hs_remote_call like = { .nr = SYS_getpid, .data_arg = -1 };
	struct hs_error err = { "" };
	struct rg_guest g;
	struct hs_remote *r;
	struct ctx c = { 0 };

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	g = rg_start(body_stuck, NULL);
	rg_wait_ready(&g, false);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	ck_assert_int_eq(hs_remote_run_still(r, &like, ask, &c, &err), -EAGAIN);
	ck_assert_msg(strstr(err.text, "uninterruptible sleep") != NULL, "%s", err.text);
	ck_assert_int_eq(c.round, 0);
	atomic_store(&shared->stop, 1);
	still(r, &c, 0);
	ck_assert_int_eq(c.round, 3);
	hs_remote_close(r);
	rg_kill(&g);
	munmap(shared, sizeof(*shared));
}
END_TEST

/* A process of its own in the guest's memory: it stands still as well. */
static int count_in_same_memory(void *arg)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)count_on(arg);
	return 0;
}

static int body_two_processes(struct rg_report *r)
{
	static char stack[65536];

	r->ctx = (void *)(intptr_t)clone(count_in_same_memory, stack + sizeof(stack) - 64, CLONE_VM | SIGCHLD,
					 &shared->count[1]);
	if ((intptr_t)r->ctx < 0)
		return 1;
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop))
		(void)pause();
	return 0;
}

START_TEST(test_remote_still_other_process)
{
	struct rg_guest g;
	struct hs_remote *r;
	struct ctx c;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	g = rg_start(body_two_processes, NULL);
	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	for (int i = 0; i < 20; i++) {
		unsigned long before;

		still(r, &c, 0);
		ck_assert_int_eq(c.round, 3);
		before = atomic_load(&shared->count[1]);
		for (int ms = 0; atomic_load(&shared->count[1]) == before; ms++) {
			ck_assert_int_lt(ms, 10000);
			(void)usleep(1000);
		}
	}
	ck_assert_int_eq(rg_status((pid_t)(intptr_t)g.report->ctx, (pid_t)(intptr_t)g.report->ctx, "TracerPid"), 0);
	hs_remote_close(r);
	(void)kill((pid_t)(intptr_t)g.report->ctx, SIGKILL);
	rg_kill(&g);
	munmap(shared, sizeof(*shared));
}
END_TEST

START_TEST(test_remote_still_dry)
{
	const struct hs_remote_call like = { .nr = SYS_getpid, .data_arg = -1 };
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote *r;
	struct ctx c = { 0 };

	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open_dry(&r, &rg_host, g.pid, NULL), 0);
	ck_assert_int_eq(hs_remote_run_still(r, &like, ask, &c, NULL), -ENOTSUP);
	ck_assert_int_eq(c.round, 0);
	hs_remote_close(r);
	rg_kill(&g);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/freeze");
	TCase *t = tcase_create("still");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_remote_still_stands_and_goes_on);
	tcase_add_test(t, test_remote_still_killed);
	tcase_add_test(t, test_remote_still_stuck);
	tcase_add_test(t, test_remote_still_other_process);
	tcase_add_test(t, test_remote_still_dry);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
