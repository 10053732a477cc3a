/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that nothing ends, of every kind that signal(7) names, and what a stop does to them. None may return: where one
 * would, the thread is not stopped, and another one serves, or nobody does.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote_guest.h"
#include "wait_calls.h"

struct scene {
	int nr;
	bool alone;
};

static void *idle(void *arg)
{
	while (poll(NULL, 0, -1) < 0)
		;
	return arg;
}

static int body(struct rg_report *r)
{
	const struct scene *s = r->ctx;
	pthread_t t;
	long got;

	if (!s->alone && pthread_create(&t, NULL, idle, NULL))
		return 1;
	atomic_store(&r->ready, 1);
	got = wait_calls[s->nr].call();
	if (got == -2)
		atomic_store(&r->stop, 1);
	else
		RG_WRONG(r);
	for (;;)
		(void)poll(NULL, 0, -1);
}

static int ask_once(void *ctx, struct hs_remote_call **calls, size_t *nr)
{
	int *asked = ctx;

	(void)calls;
	*nr = 0;
	(*asked)++;
	return 0;
}

static void unseen(const struct rg_guest *g, const char *name, const char *by)
{
	(void)usleep(2000);
	ck_assert_msg(atomic_load(&g->report->wrong) == 0, "%s: returned because of %s: %s", name, by,
		      strerror(atomic_load(&g->report->last_errno)));
}

START_TEST(test_remote_waits)
{
	struct scene scene = { .nr = _i / 2, .alone = _i % 2 };
	const char *name = wait_calls[scene.nr].name;
	struct rg_guest g = rg_start(body, &scene);
	const struct hs_remote_call like = { .nr = SYS_getpid, .data_arg = -1 };
	struct hs_error err = { "" };
	struct hs_remote *r;
	int asked = 0, rc;

	rg_wait_ready(&g, true);
	(void)usleep(30000); /* what comes before the call itself */
	if (atomic_load(&g.report->stop)) {
		printf("SKIPPED test_remote_waits, %s: not on this machine\n", name);
		rg_kill(&g);
		return;
	}
	unseen(&g, name, "itself");
	r = rg_open(g.pid);
	if (wait_calls[scene.nr].served || !scene.alone) {
		for (int i = 0; i < hs_test_nr(10, 50); i++)
			rg_touch(r, g.report->area);
	} else {
		struct hs_remote_op op = { g.report->area, g.report->area + RG_PAGE, MADV_DONTDUMP, 1 };

		hs_remote_set_deadline_ms(r, 100);
		rc = hs_remote_madvise(r, &op, 1, &err);
		ck_assert_msg(rc == -EAGAIN && strstr(err.text, "EINTR"), "%s: %d: %s", name, rc, err.text);
	}
	unseen(&g, name, "a call");
	/* All threads stopped at once: whichever it is in. Served by the other thread. */
	for (int i = 0; i < hs_test_nr(4, 10) && !scene.alone; i++) {
		rc = hs_remote_run_still(r, &like, ask_once, &asked, &err);
		ck_assert_msg(rc == 0 || rc == -EAGAIN, "%s: %d: %s", name, rc, err.text);
	}
	ck_assert(scene.alone || asked > 0);
	unseen(&g, name, "a stop of all threads");
	hs_remote_close(r);
	rg_kill(&g);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/waits");
	TCase *t = tcase_create("waits");

	if (geteuid() != 0)
		return hs_test_skip("remote/waits", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_remote_waits, 0, 2 * (int)wait_nr_calls);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
