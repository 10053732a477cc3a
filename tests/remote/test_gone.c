/* SPDX-License-Identifier: Apache-2.0 */
/* Guests, and threads, that go away while they are held: without harm, and without a hang. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote_guest.h"

static int advise(struct hs_remote *r, uint64_t at, int advice, int *result, struct hs_error *err)
{
	struct hs_remote_op op = { at, at + RG_PAGE, advice, 1 };
	int rc = hs_remote_madvise(r, &op, 1, err);

	*result = op.result;
	return rc;
}

/* ---- going away ---- */

static void *end_soon(void *arg)
{
	struct rg_report *r = arg;

	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop))
		;
	(void)usleep((useconds_t)(uintptr_t)r->ctx);
	_exit(0);
}

static void *exec_soon(void *arg)
{
	struct rg_report *r = arg;

	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop))
		;
	(void)usleep((useconds_t)(uintptr_t)r->ctx);
	(void)execl("/bin/sleep", "sleep", "100", (char *)NULL);
	_exit(1);
}

static int with_thread(struct rg_report *r, void *(*fn)(void *))
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, r))
		return 1;
	for (;;)
		(void)poll(NULL, 0, -1);
}

static int body_end_soon(struct rg_report *r)
{
	return with_thread(r, end_soon);
}

static int body_exec_soon(struct rg_report *r)
{
	return with_thread(r, exec_soon);
}

/* Called without a pause until it is gone; that answer, and the time it took after the guest was told to go. */
static int call_until_gone(struct rg_guest *g, uint64_t *took_us)
{
	struct hs_error err = { "" };
	struct hs_remote *r;
	uint64_t start;
	int rc, result;

	rg_wait_ready(g, false);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g->pid, NULL), 0);
	start = rg_now_us();
	atomic_store(&g->report->stop, 1);
	do
		rc = advise(r, g->report->area, MADV_DONTDUMP, &result, &err);
	while ((rc == 0 || rc == -EAGAIN) && rg_now_us() - start < 20000000);
	*took_us = rg_now_us() - start;
	ck_assert_msg(rc == -ESRCH, "%d: %s", rc, err.text);
	ck_assert_int_eq(result, -ECANCELED);
	rc = advise(r, g->report->area, MADV_DONTDUMP, &result, &err); /* and it stays so */
	hs_remote_close(r);
	return rc;
}

START_TEST(test_remote_guest_ends)
{
	for (unsigned int i = 0; i < 40; i++) {
		struct rg_guest g = rg_start(body_end_soon, (void *)(uintptr_t)(i * 37 % 1500));
		uint64_t took;
		int status;

		ck_assert_int_eq(call_until_gone(&g, &took), -ESRCH);
		/* Its end is left for its parent to see. */
		ck_assert_int_eq(waitpid(g.pid, &status, 0), g.pid);
		ck_assert_int_eq(status, 0);
	}
}
END_TEST

START_TEST(test_remote_guest_execs)
{
	for (unsigned int i = 0; i < 40; i++) {
		struct rg_guest g = rg_start(body_exec_soon, (void *)(uintptr_t)(i * 37 % 1500));
		uint64_t took;

		ck_assert_int_eq(call_until_gone(&g, &took), -ESRCH);
		ck_assert_int_eq(rg_status(g.pid, g.pid, "TracerPid"), 0);
		ck_assert_int_eq(kill(g.pid, 0), 0); /* the new program runs undisturbed */
		for (int k = 0; k < 5000 && rg_state(g.pid, g.pid) != 'S'; k++)
			(void)usleep(1000);
		ck_assert_int_eq(rg_state(g.pid, g.pid), 'S');
		rg_kill(&g);
	}
}
END_TEST

/* The thread that is asked ends, the process goes on: another thread does it. */
static void *short_life(void *arg)
{
	(void)arg;
	(void)usleep(300);
	return NULL;
}

static int body_short_threads(struct rg_report *r)
{
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		pthread_t t;

		if (pthread_create(&t, NULL, short_life, NULL))
			return 1;
		(void)pthread_join(t, NULL);
	}
	return 0;
}

START_TEST(test_remote_threads_end)
{
	struct rg_guest g = rg_start(body_short_threads, NULL);
	struct hs_error err = { "" };
	struct hs_remote *r;
	int result;

	rg_wait_ready(&g, false);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	for (int i = 0; i < 300; i++) {
		int rc = advise(r, g.report->area, i & 1 ? MADV_DODUMP : MADV_DONTDUMP, &result, &err);

		ck_assert_msg(rc == 0 || rc == -EAGAIN, "%d: %s", rc, err.text);
		ck_assert_int_eq(result, rc ? -ECANCELED : 0);
	}
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/gone");
	TCase *t = tcase_create("going away");

	if (geteuid() != 0)
		return hs_test_skip("remote/gone", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_remote_guest_ends);
	tcase_add_test(t, test_remote_guest_execs);
	tcase_add_test(t, test_remote_threads_end);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
