/* SPDX-License-Identifier: Apache-2.0 */
/* Guests with handlers, masks and stacks of their own, and which of several threads is asked. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote/remote_internal.h"
#include "remote_guest.h"

/* ---- signal stack, signal mask, handlers ---- */

static void *alt_stack(struct rg_report *r)
{
	return (char *)(uintptr_t)r->area + r->area_size / 2;
}

static bool stack_and_mask_right(struct rg_report *r, int flags)
{
	sigset_t mask;
	stack_t st;

	if (sigaltstack(NULL, &st) || st.ss_sp != alt_stack(r) || st.ss_size != 65536 || st.ss_flags != flags)
		return false;
	if (sigprocmask(SIG_SETMASK, NULL, &mask))
		return false;
	return sigismember(&mask, SIGUSR2) && sigismember(&mask, SIGRTMIN + 3) && !sigismember(&mask, SIGUSR1) &&
	       !sigismember(&mask, SIGTERM);
}

static int body_masked(struct rg_report *r)
{
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };
	stack_t st = { .ss_sp = alt_stack(r), .ss_size = 65536 };
	sigset_t mask, other;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR2);
	(void)sigaddset(&mask, SIGRTMIN + 3);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	(void)sigemptyset(&other);
	if (sigaltstack(&st, NULL))
		RG_WRONG(r);
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		struct timespec t = { .tv_nsec = 2000000 };

		if (ppoll(&p, 1, &t, &other) < 0 || !stack_and_mask_right(r, 0))
			RG_WRONG(r);
		atomic_fetch_add(&r->rounds, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

static struct rg_report *handler_report;

static void long_handler(int sig)
{
	struct pollfd p = { .fd = handler_report->pipe[0], .events = POLLIN };

	(void)sig;
	atomic_store(&handler_report->ready, 1);
	if (poll(&p, 1, -1) != 1 || !stack_and_mask_right(handler_report, handler_report->ctx ? SS_ONSTACK : 0))
		RG_WRONG(handler_report);
}

/* Sits in a handler; ctx: on the alternate stack. */
static int body_in_handler(struct rg_report *r)
{
	struct sigaction sa = { .sa_handler = long_handler, .sa_flags = r->ctx ? SA_ONSTACK | SA_NODEFER : SA_NODEFER };
	stack_t st = { .ss_sp = alt_stack(r), .ss_size = 65536 };
	sigset_t mask;

	handler_report = r;
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR2);
	(void)sigaddset(&mask, SIGRTMIN + 3);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	(void)sigaltstack(&st, NULL);
	(void)sigaction(SIGUSR1, &sa, NULL);
	(void)raise(SIGUSR1);
	return atomic_load(&r->wrong) != 0;
}

START_TEST(test_remote_signal_state)
{
	struct rg_guest g = rg_start(body_masked, NULL);
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	for (int i = 0; i < 500; i++)
		rg_touch(r, g.report->area);
	ck_assert_uint_gt(atomic_load(&g.report->rounds), 0);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

START_TEST(test_remote_in_handler)
{
	struct rg_guest g = rg_start(body_in_handler, NULL);
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	for (int i = 0; i < 200; i++)
		rg_touch(r, g.report->area);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* On a stack that may end anywhere nothing is written: refused for now, and nothing happens to it. */
START_TEST(test_remote_in_handler_on_other_stack)
{
	struct rg_guest g = rg_start(body_in_handler, (void *)1);
	struct hs_remote_op op = { g.report->area, g.report->area + RG_PAGE, MADV_MERGEABLE, 1 };
	struct hs_error err = { "" };
	struct hs_remote *r;
	uint64_t digest;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	digest = rg_digest(g.pid, false);
	ck_assert_int_eq(hs_remote_madvise(r, &op, 1, &err), -EAGAIN);
	ck_assert_int_eq(op.result, -ECANCELED);
	ck_assert_msg(strstr(err.text, "stack") != NULL, "%s", err.text);
	ck_assert_uint_eq(rg_digest(g.pid, false), digest);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- threads ---- */

static void *thread_parked(void *arg)
{
	struct rg_report *r = arg;

	_exit(rg_body_parked(r));
}

static int body_main_gone(struct rg_report *r)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread_parked, r))
		return 1;
	pthread_exit(NULL);
}

static int body_main_spins(struct rg_report *r)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread_parked, r))
		return 1;
	for (;;)
		atomic_fetch_add(&r->rounds, 1);
}

/* The main thread has ended: another one is asked, which then needs a stack with a guard. */
START_TEST(test_remote_main_thread_gone)
{
	struct rg_guest g = rg_start(body_main_gone, NULL);
	struct hs_remote *r;

	rg_wait_ready(&g, false);
	while (rg_state(g.pid, g.pid) != 'Z')
		(void)usleep(1000);
	r = rg_open(g.pid);
	for (int i = 0; i < 100; i++)
		rg_touch(r, g.report->area);
	ck_assert_int_ne(r->tid, g.pid);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

static pid_t other_thread(pid_t pid)
{
	char path[64];
	struct dirent *e;
	pid_t tid = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((e = readdir(dir)))
		if (atoi(e->d_name) > 0 && atoi(e->d_name) != pid)
			tid = atoi(e->d_name);
	(void)closedir(dir);
	return tid;
}

/*
 * A thread that waits is asked rather than one that works. On a busy host it may not be back in its call when its turn
 * has come; then the other one is, rightly. The main thread comes first where nothing is preferred.
 */
START_TEST(test_remote_prefers_idle_thread)
{
	struct rg_guest g = rg_start(body_main_spins, NULL);
	struct hs_remote *r;
	int asked = 0;
	pid_t parked;

	rg_wait_ready(&g, false);
	parked = other_thread(g.pid);
	r = rg_open(g.pid);
	for (int i = 0; i < 40; i++) {
		while (rg_state(g.pid, parked) != 'S') /* until it is back in its call */
			(void)usleep(200);
		rg_touch(r, g.report->area);
		asked += r->tid == parked;
	}
	ck_assert_int_gt(asked, 20);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/threads");
	TCase *t = tcase_create("threads and handlers");

	if (geteuid() != 0)
		return hs_test_skip("remote/threads", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_remote_signal_state);
	tcase_add_test(t, test_remote_in_handler);
	tcase_add_test(t, test_remote_in_handler_on_other_stack);
	tcase_add_test(t, test_remote_main_thread_gone);
	tcase_add_test(t, test_remote_prefers_idle_thread);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
