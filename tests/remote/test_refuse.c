/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused, or goes away: with the reason, without harm, and without a hang. */
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
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote_guest.h"

/* ---- who may not, or cannot ---- */

START_TEST(test_remote_refuse_no_process)
{
	struct hs_error err;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	while (rg_state(pid, pid) != 'Z')
		(void)usleep(500);
	ck_assert_int_eq(rg_try_open(pid, &err), -ESRCH); /* ended, not reaped */
	(void)waitpid(pid, NULL, 0);
	ck_assert_int_eq(rg_try_open(pid, &err), -ESRCH);
	ck_assert_int_eq(rg_try_open(0, &err), -ESRCH);
	ck_assert_int_eq(rg_try_open(-1, &err), -ESRCH);
	ck_assert_int_eq(rg_try_open(getpid(), &err), -EINVAL);
	ck_assert_int_lt(rg_try_open(2, &err), 0); /* a thread of the kernel has no code to run */
}
END_TEST

/* Jumps into the code segment for 32-bit code, and stays there. */
static int body_32_bit(struct rg_report *r)
{
	unsigned char *code =
	    mmap(NULL, RG_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct __attribute__((packed)) {
		uint32_t offset;
		uint16_t segment;
	} to = { (uint32_t)(uintptr_t)code, 0x23 };

	if (code == MAP_FAILED)
		return 1;
	code[0] = 0xeb; /* jmp . */
	code[1] = 0xfe;
	atomic_store(&r->ready, 1);
	__asm__ volatile("ljmpl *%0" : : "m"(to) : "memory");
	return 1;
}

/*
 * Whether this machine's kernel has the segment: one without support for 32-bit programs answers the jump with a
 * general protection fault. Found out by a child that jumps, and is ended where it stays after some processor time.
 */
static bool has_32_bit(void)
{
	const struct itimerval limit = { .it_value.tv_usec = 50000 };
	struct rg_report r = { 0 };
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL);
		if (setitimer(ITIMER_VIRTUAL, &limit, NULL))
			_exit(1);
		_exit(body_32_bit(&r));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status), "neither stays nor faults: %#x", (unsigned int)status);
	return WTERMSIG(status) == SIGVTALRM;
}

START_TEST(test_remote_refuse_32_bit)
{
	struct hs_error err = { "" };
	struct hs_remote *r;
	struct rg_guest g;
	int result;

	if (!has_32_bit()) {
		(void)printf("SKIPPED test_remote_refuse_32_bit: this machine has no 32-bit code segment\n");
		return;
	}
	g = rg_start(body_32_bit, NULL);
	rg_wait_ready(&g, false);
	(void)usleep(20000);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err), -ENOTSUP);
	ck_assert_msg(strstr(err.text, "32-bit") != NULL, "%s", err.text);
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert_int_eq(rg_state(g.pid, g.pid), 'R');
	hs_remote_close(r);
	rg_kill(&g);
}
END_TEST

static int body_two_threads(struct rg_report *r)
{
	pthread_t t;

	if (pthread_create(&t, NULL, rg_sleep_on, NULL))
		return 1;
	return rg_body_parked(r);
}

START_TEST(test_remote_refuse_thread_number)
{
	struct rg_guest g = rg_start(body_two_threads, NULL);
	struct hs_error err;
	pid_t tid;

	rg_wait_ready(&g, true);
	/* The numbers in between are other processes'. */
	for (tid = g.pid + 1; rg_status(g.pid, tid, "Tgid") != g.pid; tid++)
		ck_assert_int_lt(tid, g.pid + 10000);
	ck_assert_int_eq(rg_try_open(tid, &err), -EINVAL);
	ck_assert_int_eq(rg_try_open(g.pid, &err), 0);
	rg_kill(&g);
}
END_TEST

START_TEST(test_remote_refuse_no_permission)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_error err;
	int status;
	pid_t pid;

	rg_wait_ready(&g, true);
	pid = fork();
	if (pid == 0) {
		struct hs_remote *r;

		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(2);
		_exit(hs_remote_open(&r, &rg_host, g.pid, &err) == -EPERM && strstr(err.text, "CAP_SYS_PTRACE") ? 0
														: 1);
	}
	(void)waitpid(pid, &status, 0);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- traced, stopped ---- */

START_TEST(test_remote_refuse_traced)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	char number[16], go = 0;
	struct hs_error err = { "" };
	struct hs_remote *r;
	int up[2], result;
	pid_t tracer;

	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	ck_assert_int_eq(pipe(up), 0);
	tracer = fork();
	if (tracer == 0) {
		(void)prctl(PR_SET_NAME, "a-debugger");
		if (ptrace(PTRACE_SEIZE, g.pid, NULL, NULL))
			_exit(1);
		(void)!write(up[1], "x", 1);
		(void)pause();
		_exit(0);
	}
	ck_assert_int_eq(read(up[0], &go, 1), 1);
	(void)snprintf(number, sizeof(number), "%d", tracer);

	ck_assert_int_eq(rg_try_open(g.pid, &err), -EBUSY);
	ck_assert_msg(strstr(err.text, number) && strstr(err.text, "a-debugger"), "%s", err.text);
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err), -EBUSY);
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert_msg(strstr(err.text, number) != NULL, "%s", err.text);
	ck_assert_int_eq(rg_status(g.pid, g.pid, "TracerPid"), tracer);

	(void)kill(tracer, SIGKILL);
	(void)waitpid(tracer, NULL, 0);
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err), 0);
	ck_assert_int_eq(result, 0);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

START_TEST(test_remote_refuse_stopped)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_error err = { "" };
	struct hs_remote *r;
	int result;

	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open(&r, &rg_host, g.pid, NULL), 0);
	(void)kill(g.pid, SIGSTOP);
	while (rg_state(g.pid, g.pid) != 'T')
		(void)usleep(500);
	ck_assert_int_eq(rg_try_open(g.pid, &err), -EBUSY);
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err), -EBUSY);
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert_int_eq(rg_state(g.pid, g.pid), 'T');
	ck_assert_int_eq(rg_status(g.pid, g.pid, "TracerPid"), 0);
	(void)kill(g.pid, SIGCONT);
	while (rg_state(g.pid, g.pid) == 'T')
		(void)usleep(500);
	ck_assert_int_eq(rg_advise(r, g.report->area, MADV_MERGEABLE, &result, &err), 0);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/refuse");
	TCase *t = tcase_create("refusals");

	if (geteuid() != 0)
		return hs_test_skip("remote/refuse", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_remote_refuse_no_process);
	tcase_add_test(t, test_remote_refuse_thread_number);
	tcase_add_test(t, test_remote_refuse_32_bit);
	tcase_add_test(t, test_remote_refuse_no_permission);
	tcase_add_test(t, test_remote_refuse_traced);
	tcase_add_test(t, test_remote_refuse_stopped);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
