/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that make no progress: each is named, held up for no longer than the deadline, and left as it was. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote/remote_internal.h"
#include "remote_guest.h"

#define PAGE        4096UL
#define DEADLINE_MS 300U
#define SLACK_MS    2000U /* what a busy machine may add */

static const struct hs_host host = HS_HOST_DEFAULT;

/* ---- cgroups ---- */

struct cgroup {
	const char *what;
	const char *at[2]; /* where such a hierarchy is mounted */
	const char *probe; /* a file of it that no other has */
	const char *file, *on, *off;
	char dir[128];
};

static bool put(const char *dir, const char *name, const char *text)
{
	char path[256];
	bool ok;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* A cgroup of its own for the process. */
static bool cgroup_enter(struct cgroup *c, pid_t pid)
{
	char path[192], number[16];

	for (int i = 0; i < 2 && c->at[i]; i++) {
		(void)snprintf(c->dir, sizeof(c->dir), "%s/hs-test-%d", c->at[i], pid);
		if (mkdir(c->dir, 0755) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", c->dir, c->probe);
		(void)snprintf(number, sizeof(number), "%d", pid);
		if (access(path, F_OK) == 0 && put(c->dir, "cgroup.procs", number))
			return true;
		(void)rmdir(c->dir);
	}
	printf("SKIPPED %s: this machine has no such cgroup\n", c->what);
	return false;
}

static void cgroup_remove(struct cgroup *c)
{
	for (int i = 0; i < 2000 && rmdir(c->dir) != 0 && errno == EBUSY; i++)
		(void)usleep(1000);
}

static const struct cgroup freezers[] = {
	{ .what = "freezer of version 2",
	  .at = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" },
	  .probe = "cgroup.freeze",
	  .file = "cgroup.freeze",
	  .on = "1",
	  .off = "0" },
	{ .what = "freezer of version 1",
	  .at = { "/sys/fs/cgroup/freezer" },
	  .probe = "freezer.state",
	  .file = "freezer.state",
	  .on = "FROZEN",
	  .off = "THAWED" },
};

/* ---- helpers ---- */

static struct hs_remote *must_open(pid_t pid)
{
	struct hs_remote *r;
	struct hs_error err = { "" };

	ck_assert_msg(hs_remote_open(&r, &host, pid, &err) == 0, "%s", err.text);
	hs_remote_set_deadline_ms(r, DEADLINE_MS);
	return r;
}

static int advise(struct hs_remote *r, const struct rg_guest *g, int advice, struct hs_error *err)
{
	struct hs_remote_op op = { g->report->area, g->report->area + PAGE, advice, 1 };
	int rc = hs_remote_madvise(r, &op, 1, err);

	ck_assert_int_eq(op.result, rc ? -ECANCELED : 0);
	return rc;
}

static uint64_t ms_since(uint64_t start_us)
{
	return (rg_now_us() - start_us) / 1000;
}

/* The guest answers again, when a rest is over that may still be on. */
static void answers_again(struct hs_remote *r, const struct rg_guest *g)
{
	struct hs_error err = { "" };
	uint64_t start = rg_now_us();
	int rc;

	while ((rc = advise(r, g, MADV_DONTDUMP, &err)) == -EAGAIN && ms_since(start) < HS_REMOTE_REST_MAX_MS + 5000)
		(void)usleep(10000);
	ck_assert_msg(rc == 0, "%d: %s", rc, err.text);
	ck_assert(rg_vma_has(g->pid, g->report->area, " dd"));
}

/* ---- frozen ---- */

START_TEST(test_remote_time_frozen)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct cgroup c = freezers[_i];
	struct hs_error err = { "" };
	struct hs_remote *r, *other = NULL;
	uint64_t start;

	rg_wait_ready(&g, true);
	if (!cgroup_enter(&c, g.pid)) {
		rg_kill(&g);
		return;
	}
	r = must_open(g.pid);
	ck_assert_int_eq(advise(r, &g, MADV_DONTDUMP, &err), 0);
	ck_assert_int_eq(advise(r, &g, MADV_DODUMP, &err), 0);
	ck_assert(put(c.dir, c.file, c.on));
	(void)usleep(50000);

	start = rg_now_us();
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(advise(r, &g, MADV_DONTDUMP, &err), -EBUSY);
		ck_assert_msg(strstr(err.text, "frozen") && strstr(err.text, "hs-test-"), "%s", err.text);
	}
	ck_assert_int_eq(hs_remote_open(&other, &host, g.pid, &err), -EBUSY);
	ck_assert_uint_lt(ms_since(start), SLACK_MS);
	ck_assert_int_eq(rg_status(g.pid, g.pid, "TracerPid"), 0);

	/* No rest: what is known needs none. */
	ck_assert(put(c.dir, c.file, c.off));
	(void)usleep(50000);
	ck_assert(!rg_vma_has(g.pid, g.report->area, " dd"));
	ck_assert_msg(advise(r, &g, MADV_DONTDUMP, &err) == 0, "%s", err.text);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
	cgroup_remove(&c);
}
END_TEST

struct freezing {
	struct cgroup *c;
	pid_t pid;
	unsigned int after_us;
};

static void *freeze_soon(void *arg)
{
	struct freezing *f = arg;

	(void)usleep(f->after_us);
	ck_assert(put(f->c->dir, f->c->file, f->c->on));
	return NULL;
}

/*
 * Frozen in the midst of a call. Under version 1 the thread does not even come to a stop: whoever was waiting goes on
 * after the deadline, and the thread gets back what is its own when it thaws.
 */
START_TEST(test_remote_time_frozen_in_call)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct cgroup c = freezers[_i];
	struct hs_remote_call call = { .nr = SYS_poll, .args = { 0, 0, 100000 }, .data_arg = -1 };
	struct freezing f = { .c = &c, .pid = g.pid, .after_us = 100000 };
	struct hs_error err = { "" };
	struct hs_remote *r;
	uint64_t digest, start;
	pthread_t t;

	rg_wait_ready(&g, true);
	if (!cgroup_enter(&c, g.pid)) {
		rg_kill(&g);
		return;
	}
	r = must_open(g.pid);
	ck_assert_int_eq(advise(r, &g, MADV_DODUMP, &err), 0);
	digest = rg_digest(g.pid, false);
	ck_assert_int_eq(pthread_create(&t, NULL, freeze_soon, &f), 0);
	start = rg_now_us();
	ck_assert_int_eq(hs_remote_run(r, &call, 1, &err), -EAGAIN);
	ck_assert_uint_lt(ms_since(start), DEADLINE_MS + SLACK_MS);
	ck_assert_msg(strstr(err.text, "frozen") != NULL, "%s", err.text);
	ck_assert_int_eq(pthread_join(t, NULL), 0);

	start = rg_now_us();
	for (int i = 0; i < 100; i++)
		ck_assert_int_lt(advise(r, &g, MADV_DONTDUMP, &err), 0);
	ck_assert_uint_lt(ms_since(start), SLACK_MS);

	ck_assert(put(c.dir, c.file, c.off));
	for (int i = 0; rg_status(g.pid, g.pid, "TracerPid") != 0 || rg_state(g.pid, g.pid) != 'S'; i++) {
		ck_assert_int_lt(i, 5000);
		(void)usleep(1000);
	}
	ck_assert_uint_eq(rg_digest(g.pid, false), digest);
	answers_again(r, &g);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
	cgroup_remove(&c);
}
END_TEST

/* Closed while the thread is still frozen: the close does not wait, and the guest is whole when it thaws. */
START_TEST(test_remote_time_closed_while_frozen)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct cgroup c = freezers[1];
	struct hs_remote_call call = { .nr = SYS_poll, .args = { 0, 0, 300 }, .data_arg = -1 };
	struct freezing f = { .c = &c, .pid = g.pid, .after_us = 100000 };
	struct hs_remote *r;
	uint64_t start;
	pthread_t t;

	rg_wait_ready(&g, true);
	if (!cgroup_enter(&c, g.pid)) {
		rg_kill(&g);
		return;
	}
	r = must_open(g.pid);
	hs_remote_set_deadline_ms(r, 200);
	ck_assert_int_eq(pthread_create(&t, NULL, freeze_soon, &f), 0);
	ck_assert_int_eq(hs_remote_run(r, &call, 1, NULL), -EAGAIN);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	start = rg_now_us();
	hs_remote_close(r);
	ck_assert_uint_lt(ms_since(start), SLACK_MS);
	ck_assert(put(c.dir, c.file, c.off));
	ck_assert_int_eq(rg_finish(&g), 0);
	cgroup_remove(&c);
}
END_TEST

/* ---- no safe point, no end, no processor ---- */

/* The parent of a vfork waits in uninterruptible sleep until its child is gone. */
static int body_vfork(struct rg_report *r)
{
	pid_t child = vfork();

	if (child == 0) {
		atomic_store(&r->ready, 1);
		while (!atomic_load(&r->stop))
			(void)usleep(1000);
		_exit(0);
	}
	(void)waitpid(child, NULL, 0);
	return 0;
}

static int body_other_stack(struct rg_report *r)
{
	stack_t st = { .ss_sp = (char *)(uintptr_t)r->area + r->area_size / 2, .ss_size = 65536 };
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };
	register int got;

	/* The stack pointer is moved to memory of the program's own for the time of the call. */
	atomic_store(&r->ready, 1);
	__asm__ volatile("movq %%rsp, %%rbx\n"
			 "movq %1, %%rsp\n"
			 "syscall\n"
			 "movq %%rbx, %%rsp\n"
			 : "=a"(got)
			 : "r"((char *)st.ss_sp + st.ss_size), "0"(SYS_poll), "D"(&p), "S"(1), "d"(-1)
			 : "rbx", "rcx", "r11", "memory");
	return got != 1;
}

static const struct {
	int (*body)(struct rg_report *r);
	const char *why;
} stuck[] = {
	{ body_vfork, "uninterruptible sleep" },
	{ body_other_stack, "stack" },
};

/* One deadline is waited for; what follows is answered at once, until the rest is over. */
START_TEST(test_remote_time_stuck)
{
	struct rg_guest g = rg_start(stuck[_i].body, NULL);
	struct hs_error err = { "" };
	struct hs_remote *r;
	uint64_t start;

	rg_wait_ready(&g, false);
	while (rg_state(g.pid, g.pid) != (_i ? 'S' : 'D'))
		(void)usleep(1000);
	r = must_open(g.pid);
	start = rg_now_us();
	ck_assert_int_eq(advise(r, &g, MADV_DONTDUMP, &err), -EAGAIN);
	ck_assert_uint_ge(ms_since(start), DEADLINE_MS);
	ck_assert_uint_lt(ms_since(start), DEADLINE_MS + SLACK_MS);
	ck_assert_msg(strstr(err.text, stuck[_i].why) != NULL, "%s", err.text);
	start = rg_now_us();
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(advise(r, &g, MADV_DONTDUMP, &err), -EAGAIN);
		ck_assert_msg(strstr(err.text, stuck[_i].why) && strstr(err.text, "left alone"), "%s", err.text);
	}
	ck_assert_uint_lt(ms_since(start), SLACK_MS);
	ck_assert_int_eq(rg_status(g.pid, g.pid, "TracerPid"), 0);
	ck_assert(!rg_vma_has(g.pid, g.report->area, " dd"));

	/* The next rest is longer. */
	r->rest_until_us = 0;
	ck_assert_int_eq(advise(r, &g, MADV_DONTDUMP, &err), -EAGAIN);
	ck_assert_uint_eq(r->rest_ms, 2 * HS_REMOTE_REST_MS);
	ck_assert_uint_gt(r->rest_until_us, rg_now_us() + HS_REMOTE_REST_MS * 1000ULL);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* A call that blocks ends at the deadline; the guest's thread goes on as it was. */
START_TEST(test_remote_time_call_blocks)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote_call call = { .nr = SYS_pause, .data_arg = -1 };
	struct hs_error err = { "" };
	struct hs_remote *r;
	uint64_t start;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	start = rg_now_us();
	ck_assert_int_eq(hs_remote_run(r, &call, 1, &err), -EAGAIN);
	ck_assert_int_eq(call.result, -ECANCELED);
	ck_assert_uint_ge(ms_since(start), DEADLINE_MS);
	ck_assert_uint_lt(ms_since(start), DEADLINE_MS + SLACK_MS);
	start = rg_now_us();
	ck_assert_int_eq(hs_remote_run(r, &call, 1, &err), -EAGAIN);
	ck_assert_uint_lt(ms_since(start), DEADLINE_MS);
	r->rest_until_us = 0;
	ck_assert_int_eq(advise(r, &g, MADV_DONTDUMP, &err), 0);
	ck_assert_uint_eq(r->rest_ms, 0); /* over: the next one begins small */
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

static int body_busy(struct rg_report *r)
{
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop))
		atomic_fetch_add(&r->rounds, 1);
	return 0;
}

/* 1 ms of a processor in each second: whatever is done in it, nobody waits long. */
START_TEST(test_remote_time_starved)
{
	struct rg_guest g = rg_start(body_busy, NULL);
	struct cgroup c = { .what = "CPU quota", .at = { "/sys/fs/cgroup/cpu" }, .probe = "cpu.cfs_quota_us" };
	struct hs_error err = { "" };
	struct hs_remote *r;
	uint64_t start;

	rg_wait_ready(&g, false);
	if (!cgroup_enter(&c, g.pid)) {
		rg_kill(&g);
		return;
	}
	r = must_open(g.pid);
	ck_assert(put(c.dir, "cpu.cfs_period_us", "1000000") && put(c.dir, "cpu.cfs_quota_us", "1000"));
	start = rg_now_us();
	for (int i = 0; i < 100; i++) {
		struct hs_remote_op op = { g.report->area, g.report->area + PAGE, MADV_NORMAL, 1 };
		int rc = hs_remote_madvise(r, &op, 1, &err);

		ck_assert_msg(rc == 0 || rc == -EAGAIN, "%d: %s", rc, err.text);
		if (rc == -EAGAIN)
			break;
	}
	/* Either each call found its millisecond, or one deadline has passed. */
	ck_assert_uint_lt(ms_since(start), 100 * DEADLINE_MS + SLACK_MS);
	start = rg_now_us();
	for (int i = 0; i < 100 && r->rest_until_us > rg_now_us(); i++)
		ck_assert_int_eq(advise(r, &g, MADV_NORMAL, &err), -EAGAIN);
	ck_assert_uint_lt(ms_since(start), SLACK_MS);
	ck_assert(put(c.dir, "cpu.cfs_quota_us", "-1"));
	answers_again(r, &g);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
	cgroup_remove(&c);
}
END_TEST

/* The first look at a held thread takes longer than a hold may. */
static long slow_to_hold(enum __ptrace_request request, pid_t tid, void *addr, void *data)
{
	if (request == PTRACE_GETREGS)
		(void)usleep(5000);
	return hs_remote_sys_kernel.ptrace(request, tid, addr, data);
}

/* However slow the host is, each hold gets something done. */
START_TEST(test_remote_time_slow_host)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote_sys sys = hs_remote_sys_kernel;
	struct hs_remote_op ops[16];
	struct hs_error err = { "" };
	struct hs_remote *r;
	int rc;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	hs_remote_set_deadline_ms(r, 5000);
	for (size_t i = 0; i < 16; i++)
		ops[i] = (struct hs_remote_op){ g.report->area + 2 * i * PAGE, g.report->area + (2 * i + 1) * PAGE,
						i % 2 ? MADV_DONTDUMP : MADV_MERGEABLE, 1 };
	sys.ptrace = slow_to_hold;
	hs_remote_sys = &sys;
	rc = hs_remote_madvise(r, ops, 16, &err);
	hs_remote_sys = &hs_remote_sys_kernel;
	ck_assert_msg(rc == 0, "%d: %s", rc, err.text);
	for (size_t i = 0; i < 16; i++)
		ck_assert_int_eq(ops[i].result, 0);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/time");
	TCase *t = tcase_create("time");

	if (geteuid() != 0)
		return hs_test_skip("remote/time", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_remote_time_frozen, 0, 2);
	tcase_add_loop_test(t, test_remote_time_frozen_in_call, 0, 2);
	tcase_add_test(t, test_remote_time_closed_while_frozen);
	tcase_add_loop_test(t, test_remote_time_stuck, 0, 2);
	tcase_add_test(t, test_remote_time_call_blocks);
	tcase_add_test(t, test_remote_time_starved);
	tcase_add_test(t, test_remote_time_slow_host);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
