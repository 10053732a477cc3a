/* SPDX-License-Identifier: Apache-2.0 */
/* Guests under seccomp filters: no call is made that a filter would answer by killing. */
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
#include "remote/remote_internal.h"
#include "remote_guest.h"

/* ---- seccomp ---- */

#define LOAD(field)         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_NOT(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define RET(action)         BPF_STMT(BPF_RET | BPF_K, action)

static struct sock_filter allow_all[] = { RET(SECCOMP_RET_ALLOW) };
static struct sock_filter kill_madvise[] = { LOAD(nr), IF_NOT(SYS_madvise, 1), RET(SECCOMP_RET_KILL_PROCESS),
					     RET(SECCOMP_RET_ALLOW) };
static struct sock_filter kill_sigreturn[] = { LOAD(nr), IF_NOT(SYS_rt_sigreturn, 1), RET(SECCOMP_RET_KILL_PROCESS),
					       RET(SECCOMP_RET_ALLOW) };
static struct sock_filter kill_vectored[] = { LOAD(nr), IF_NOT(SYS_process_madvise, 1), RET(SECCOMP_RET_KILL_PROCESS),
					      RET(SECCOMP_RET_ALLOW) };
/* madvise with MADV_DONTNEED or MADV_MERGEABLE alone */
static struct sock_filter some_advice[] = { LOAD(nr),
					    IF_NOT(SYS_madvise, 4),
					    LOAD(args[2]),
					    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTNEED, 2, 0),
					    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_MERGEABLE, 1, 0),
					    RET(SECCOMP_RET_KILL_PROCESS),
					    RET(SECCOMP_RET_ALLOW) };
/* In the manner of QEMU's -sandbox on: a list of what is denied, all else allowed. */
static struct sock_filter deny_list[] = { LOAD(arch),
					  IF_NOT(AUDIT_ARCH_X86_64, 9),
					  LOAD(nr),
					  BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 7, 0),
					  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_reboot, 6, 0),
					  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_swapon, 5, 0),
					  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 4, 0),
					  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 3, 0),
					  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 2, 0),
					  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setuid, 1, 0),
					  RET(SECCOMP_RET_ALLOW),
					  RET(SECCOMP_RET_KILL_PROCESS) };
/* The same the other way round: only what the guest itself needs. */
static struct sock_filter allow_list[] = { LOAD(nr),
					   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_poll, 6, 0),
					   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 5, 0),
					   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 4, 0),
					   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 3, 0),
					   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
					   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 1, 0),
					   RET(SECCOMP_RET_KILL_PROCESS),
					   RET(SECCOMP_RET_ALLOW) };

#define PROG(p)                                                                                                        \
	{                                                                                                              \
		sizeof(p) / sizeof((p)[0]), p                                                                          \
	}
static const struct seccomp_case {
	const char *what;
	struct sock_fprog prog;
	int opened;
	int dontdump; /* of an advice that is not MADV_MERGEABLE */
} seccomp_cases[] = {
	{ "all allowed", PROG(allow_all), 0, 0 },
	{ "madvise kills", PROG(kill_madvise), -ENOTSUP, 0 },
	{ "return from signal kills", PROG(kill_sigreturn), -ENOTSUP, 0 },
	{ "the vectored call kills", PROG(kill_vectored), 0, 0 },
	{ "only some advice", PROG(some_advice), 0, -ENOTSUP },
	{ "a list of what is denied", PROG(deny_list), 0, 0 },
	{ "a list of what is allowed", PROG(allow_list), 0, 0 },
};

static int body_filtered(struct rg_report *r)
{
	const struct seccomp_case *c = r->ctx;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &c->prog))
		return 9;
	return rg_body_parked(r);
}

START_TEST(test_remote_seccomp)
{
	const struct seccomp_case *c = &seccomp_cases[_i];
	struct rg_guest g = rg_start(body_filtered, (void *)(uintptr_t)c);
	uint64_t a = g.report->area;
	struct hs_remote_op ops[8];
	struct hs_error err = { "" };
	struct hs_remote *r = NULL;
	int result;

	rg_wait_ready(&g, true);
	ck_assert_msg(hs_remote_open(&r, &rg_host, g.pid, &err) == c->opened, "%s: %s", c->what, err.text);
	if (c->opened == 0) {
		for (uint64_t i = 0; i < 8; i++)
			ops[i] =
			    (struct hs_remote_op){ a + 2 * i * RG_PAGE, a + (2 * i + 1) * RG_PAGE, MADV_MERGEABLE, 1 };
		ck_assert_msg(hs_remote_madvise(r, ops, 8, &err) == 0, "%s: %s", c->what, err.text);
		for (int i = 0; i < 8; i++)
			ck_assert_int_eq(ops[i].result, 0);
		ck_assert(rg_vma_has(g.pid, a + 14 * RG_PAGE, " mg"));
		ck_assert_msg(rg_advise(r, a, MADV_DONTDUMP, &result, &err) == c->dontdump, "%s: %s", c->what,
			      err.text);
		ck_assert_int_eq(result, c->dontdump ? -ECANCELED : 0);
	} else {
		ck_assert_msg(strstr(err.text, "seccomp") != NULL, "%s: %s", c->what, err.text);
	}
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0); /* it lives */
}
END_TEST

/* A call that a filter forbids is not made, and those before it have been. */
START_TEST(test_remote_seccomp_run)
{
	struct rg_guest g = rg_start(body_filtered, (void *)(uintptr_t)&seccomp_cases[5]);
	struct hs_remote_call calls[] = { { .nr = SYS_getpid, .data_arg = -1 },
					  { .nr = SYS_reboot, .data_arg = -1 },
					  { .nr = SYS_getpid, .data_arg = -1 } };
	struct hs_error err = { "" };
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	ck_assert_int_eq(hs_remote_run(r, calls, 3, &err), -ENOTSUP);
	ck_assert_int_eq(calls[0].result, g.pid);
	ck_assert_int_eq(calls[1].result, -ECANCELED);
	ck_assert_int_eq(calls[2].result, -ECANCELED);
	ck_assert_int_eq(hs_remote_run(r, &calls[1], 1, &err), -ENOTSUP);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

static void *filter_then_sleep(void *arg)
{
	struct rg_report *r = arg;
	const struct seccomp_case *c = &seccomp_cases[1];

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &c->prog))
		RG_WRONG(r);
	atomic_store(&r->ready, 1);
	while (pause() != 0)
		;
	return NULL;
}

/* ctx: which of the two threads has the filter. */
static int body_one_filtered(struct rg_report *r)
{
	pthread_t t;
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };

	if (r->ctx) {
		if (pthread_create(&t, NULL, filter_then_sleep, r))
			return 1;
	} else {
		if (pthread_create(&t, NULL, rg_sleep_on, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
		    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &seccomp_cases[1].prog))
			return 1;
		atomic_store(&r->ready, 1);
	}
	return poll(&p, 1, -1) != 1 || atomic_load(&r->wrong) != 0;
}

/* The thread without a filter is asked. */
START_TEST(test_remote_seccomp_other_thread)
{
	struct rg_guest g = rg_start(body_one_filtered, _i ? (void *)1 : NULL);
	struct hs_error err = { "" };
	struct hs_remote *r;
	int result;

	rg_wait_ready(&g, true);
	(void)usleep(5000);
	ck_assert_msg(hs_remote_open(&r, &rg_host, g.pid, &err) == 0, "%s", err.text);
	for (int i = 0; i < 20; i++) {
		ck_assert_msg(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err) == 0, "%s", err.text);
		ck_assert_int_eq(result, 0);
	}
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

static int body_strict(struct rg_report *r)
{
	char c;

	atomic_store(&r->ready, 1);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 9;
	(void)syscall(SYS_read, r->pipe[0], &c, 1);
	(void)syscall(SYS_exit, 0);
	return 1;
}

START_TEST(test_remote_seccomp_strict)
{
	struct rg_guest g = rg_start(body_strict, NULL);
	struct hs_error err;

	while (rg_status(g.pid, g.pid, "Seccomp") != 1 || rg_state(g.pid, g.pid) != 'S')
		(void)usleep(500);
	ck_assert_int_eq(rg_try_open(g.pid, &err), -ENOTSUP);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* A filter that comes after the handle was opened counts as well. */
static int body_filter_later(struct rg_report *r)
{
	char c;

	atomic_store(&r->ready, 1);
	if (read(r->pipe[0], &c, 1) != 1 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &seccomp_cases[1].prog))
		return 9;
	atomic_store(&r->ready, 2);
	return rg_body_parked(r);
}

START_TEST(test_remote_seccomp_later)
{
	struct rg_guest g = rg_start(body_filter_later, NULL);
	struct hs_error err = { "" };
	struct hs_remote *r;
	int result;

	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err), 0);
	ck_assert_int_eq(write(g.report->pipe[1], "x", 1), 1);
	while (rg_status(g.pid, g.pid, "Seccomp") != 2 || rg_state(g.pid, g.pid) != 'S')
		(void)usleep(500);
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_UNMERGEABLE, &result, &err), -ENOTSUP);
	ck_assert_int_eq(result, -ECANCELED);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- entered between the look at a thread and its stop ---- */

static int body_strict_later(struct rg_report *r)
{
	char c;

	atomic_store(&r->ready, 1);
	if (syscall(SYS_read, r->pipe[0], &c, 1) != 1 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 9;
	(void)syscall(SYS_read, r->pipe[0], &c, 1);
	(void)syscall(SYS_exit, 0);
	return 1;
}

static const struct rg_guest *late;

/* The guest enters strict mode right before it is attached to. */
static long enter_before_seize(enum __ptrace_request request, pid_t tid, void *addr, void *data)
{
	if (request == PTRACE_SEIZE && rg_status(late->pid, late->pid, "Seccomp") == 0) {
		ck_assert_int_eq(write(late->report->pipe[1], "x", 1), 1);
		while (rg_status(late->pid, late->pid, "Seccomp") != 1 || rg_state(late->pid, late->pid) != 'S')
			(void)usleep(500);
	}
	return hs_remote_sys_kernel.ptrace(request, tid, addr, data);
}

START_TEST(test_remote_seccomp_between)
{
	struct rg_guest g = rg_start(body_strict_later, NULL);
	struct hs_remote_sys sys = hs_remote_sys_kernel;
	struct hs_error err = { "" };
	struct hs_remote *r;
	int result;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	late = &g;
	sys.ptrace = enter_before_seize;
	hs_remote_sys = &sys;
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err), -ENOTSUP);
	hs_remote_sys = &hs_remote_sys_kernel;
	ck_assert_msg(strstr(err.text, "strict") != NULL, "%s", err.text);
	ck_assert_int_eq(result, -ECANCELED);
	/* It waits again, as soon as it finds a processor. */
	for (int ms = 0; ms < 20000 && rg_state(g.pid, g.pid) != 'S'; ms++)
		(void)usleep(1000);
	ck_assert_int_eq(rg_state(g.pid, g.pid), 'S');
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0); /* it lives */
}
END_TEST

/* ---- put on all threads by another one (TSYNC), while one is held ---- */

static void *filter_all_when_told(void *arg)
{
	struct rg_report *r = arg;

	while (atomic_load(&r->ready) != 2) /* in user mode: the other one is held rather than this one */
		;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &seccomp_cases[1].prog))
		RG_WRONG(r);
	atomic_store(&r->ready, 3);
	return rg_sleep_on(NULL);
}

/* ctx: it has a filter already, which allows everything. */
static int body_filter_all(struct rg_report *r)
{
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };
	pthread_t t;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    (r->ctx && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &seccomp_cases[0].prog)) ||
	    pthread_create(&t, NULL, filter_all_when_told, r))
		return 9;
	atomic_store(&r->ready, 1);
	return poll(&p, 1, -1) != 1 || atomic_load(&r->wrong) != 0;
}

static int filter_before; /* the request of ptrace */

static long filter_all_before(enum __ptrace_request request, pid_t tid, void *addr, void *data)
{
	if ((int)request == filter_before && atomic_load(&late->report->ready) == 1) {
		const uint64_t start = rg_now_us();

		ck_assert_int_eq(tid, late->pid); /* the main thread is held */
		atomic_store(&late->report->ready, 2);
		while (atomic_load(&late->report->ready) != 3)
			ck_assert_msg(rg_now_us() - start < 20000000, "no filter after 20 s");
		ck_assert_int_eq(rg_status(late->pid, tid, "Seccomp"), 2);
	}
	return hs_remote_sys_kernel.ptrace(request, tid, addr, data);
}

static const struct {
	int before; /* which request of ours the filter comes */
	bool filtered;
	int rc, result; /* of a call that the new filter answers by killing */
} comings[] = {
	{ PTRACE_SYSCALL, false, 0, 0 }, /* after the look: the call is made without it */
	{ PTRACE_SYSCALL, true, 0, 0 },
	{ PTRACE_SETOPTIONS, false, -ENOTSUP, -ECANCELED }, /* before the look: it is not made */
	{ PTRACE_SETOPTIONS, true, -ENOTSUP, -ECANCELED },
};

START_TEST(test_remote_seccomp_all_threads)
{
	struct rg_guest g = rg_start(body_filter_all, comings[_i].filtered ? (void *)1 : NULL);
	struct hs_remote_sys sys = hs_remote_sys_kernel;
	struct hs_error err = { "" };
	struct hs_remote *r;
	int result;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	late = &g;
	filter_before = comings[_i].before;
	sys.ptrace = filter_all_before;
	hs_remote_sys = &sys;
	ck_assert_msg(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err) == comings[_i].rc, "%s", err.text);
	hs_remote_sys = &hs_remote_sys_kernel;
	ck_assert_int_eq(result, comings[_i].result);
	ck_assert_int_eq(atomic_load(&g.report->ready), 3);
	ck_assert(rg_vma_has(g.pid, g.report->area, " mg") == !comings[_i].rc);
	/* From now on it is seen. */
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_UNMERGEABLE, &result, &err), -ENOTSUP);
	ck_assert_msg(strstr(err.text, "seccomp") != NULL, "%s", err.text);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0); /* it lives */
}
END_TEST

#define NR(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
	Suite *s = suite_create("remote/seccomp");
	TCase *t = tcase_create("filters");

	if (geteuid() != 0)
		return hs_test_skip("remote/seccomp", "needs root");
	tcase_set_timeout(t, 120);
	/* The address sanitizer makes calls of its own, which the last filter does not allow. */
#ifdef __SANITIZE_ADDRESS__
	tcase_add_loop_test(t, test_remote_seccomp, 0, NR(seccomp_cases) - 1);
#else
	tcase_add_loop_test(t, test_remote_seccomp, 0, NR(seccomp_cases));
#endif
	tcase_add_loop_test(t, test_remote_seccomp_other_thread, 0, 2);
	tcase_add_test(t, test_remote_seccomp_run);
	tcase_add_test(t, test_remote_seccomp_strict);
	tcase_add_test(t, test_remote_seccomp_later);
	tcase_add_test(t, test_remote_seccomp_between);
	tcase_add_loop_test(t, test_remote_seccomp_all_threads, 0, NR(comings));
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
