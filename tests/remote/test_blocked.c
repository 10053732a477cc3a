/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest waits in returns what it would without us, when it would. */
#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote/remote_internal.h"
#include "remote_guest.h"

/* ---- blocked calls ---- */

/*
 * Each body sits in one kind of call until the pipe has a byte, or for LIMIT_MS again and again until it is told to
 * stop. It counts what the call should not have answered.
 */
#define LIMIT_MS 150L

static struct timespec limit(void)
{
	return (struct timespec){ .tv_nsec = LIMIT_MS * 1000000L };
}

static struct timespec limit_from_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += LIMIT_MS * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	return t;
}

static int until_byte(struct rg_report *r, int (*call)(struct rg_report *r))
{
	atomic_store(&r->ready, 1);
	if (call(r) != 1)
		RG_WRONG(r);
	return atomic_load(&r->wrong) != 0;
}

/* The call returns `expected` at its time limit, which must not be missed on either side. */
static int until_limit(struct rg_report *r, long (*call)(struct rg_report *r), long expected, int expected_errno)
{
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		uint64_t start = rg_now_us(), took;
		long got = call(r);
		int e = errno;

		took = rg_now_us() - start;
		if (got == -1 && e == EINTR) {
			atomic_fetch_add(&r->eintr, 1);
			continue;
		}
		if (got != expected || (got == -1 && e != expected_errno) || took < LIMIT_MS * 1000 - 1000 ||
		    took > LIMIT_MS * 1000 + 5000000)
			RG_WRONG(r);
		atomic_fetch_add(&r->rounds, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

static int call_ppoll(struct rg_report *r)
{
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };
	sigset_t mask;

	(void)sigemptyset(&mask);
	return ppoll(&p, 1, NULL, &mask);
}

static int call_poll(struct rg_report *r)
{
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };

	return poll(&p, 1, -1);
}

static int call_read(struct rg_report *r)
{
	char c;

	return (int)read(r->pipe[0], &c, 1);
}

static int call_select(struct rg_report *r)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(r->pipe[0], &set);
	return select(r->pipe[0] + 1, &set, NULL, NULL, NULL);
}

static int call_pselect(struct rg_report *r)
{
	sigset_t mask;
	fd_set set;

	(void)sigemptyset(&mask);
	FD_ZERO(&set);
	FD_SET(r->pipe[0], &set);
	return pselect(r->pipe[0] + 1, &set, NULL, NULL, NULL, &mask);
}

static int epoll_with_pipe(struct rg_report *r)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN };

	(void)epoll_ctl(ep, EPOLL_CTL_ADD, r->pipe[0], &e);
	return ep;
}

static int call_epoll(struct rg_report *r)
{
	struct epoll_event e;

	return epoll_wait(epoll_with_pipe(r), &e, 1, -1);
}

static int call_epoll_pwait(struct rg_report *r)
{
	struct epoll_event e;
	sigset_t mask;

	(void)sigemptyset(&mask);
	return epoll_pwait(epoll_with_pipe(r), &e, 1, -1, &mask);
}

static int call_recv(struct rg_report *r)
{
	int sv[2];
	char c;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		return -2;
	if (fork() == 0) {
		(void)!read(r->pipe[0], &c, 1);
		(void)!write(sv[1], "x", 1);
		_exit(0);
	}
	return (int)recv(sv[0], &c, 1, 0);
}

static int call_wait(struct rg_report *r)
{
	int status;
	char c;

	if (fork() == 0) {
		(void)!read(r->pipe[0], &c, 1);
		_exit(0);
	}
	return wait(&status) > 0;
}

static void *post(void *arg)
{
	struct rg_report *r = arg;
	char c;

	(void)!read(r->pipe[0], &c, 1);
	r->ctx = NULL;
	(void)syscall(SYS_futex, &r->ctx, FUTEX_WAKE, 1, NULL, NULL, 0);
	return NULL;
}

/* Two threads: either may be asked. */
static int call_futex(struct rg_report *r)
{
	pthread_t t;
	long rc;

	r->ctx = (void *)1;
	if (pthread_create(&t, NULL, post, r))
		return -2;
	rc = syscall(SYS_futex, &r->ctx, FUTEX_WAIT, 1, NULL, NULL, 0);
	(void)pthread_join(t, NULL);
	return rc == 0 || errno == EAGAIN;
}

static int call_sigwait(struct rg_report *r)
{
	pid_t self = getpid();
	sigset_t mask;
	char c;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	if (fork() == 0) {
		(void)!read(r->pipe[0], &c, 1);
		(void)kill(self, SIGUSR1);
		_exit(0);
	}
	return sigwaitinfo(&mask, NULL) == SIGUSR1;
}

static void nothing(int sig)
{
	(void)sig;
}

static int sleep_until_signal(struct rg_report *r, int (*call)(void))
{
	struct sigaction sa = { .sa_handler = nothing };
	pid_t self = getpid();
	char c;

	(void)sigaction(SIGUSR1, &sa, NULL);
	if (fork() == 0) {
		(void)!read(r->pipe[0], &c, 1);
		(void)kill(self, SIGUSR1);
		_exit(0);
	}
	return call() == -1 && errno == EINTR;
}

static int sigsuspend_empty(void)
{
	sigset_t mask;

	(void)sigemptyset(&mask);
	return sigsuspend(&mask);
}

static int call_pause(struct rg_report *r)
{
	return sleep_until_signal(r, pause);
}

static int call_sigsuspend(struct rg_report *r)
{
	return sleep_until_signal(r, sigsuspend_empty);
}

#define UNTIL_BYTE(name)                                                                                               \
	static int body_##name(struct rg_report *r)                                                                    \
	{                                                                                                              \
		return until_byte(r, call_##name);                                                                     \
	}
UNTIL_BYTE(ppoll)
UNTIL_BYTE(poll)
UNTIL_BYTE(read)
UNTIL_BYTE(select)
UNTIL_BYTE(pselect)
UNTIL_BYTE(epoll)
UNTIL_BYTE(epoll_pwait)
UNTIL_BYTE(recv)
UNTIL_BYTE(wait)
UNTIL_BYTE(futex)
UNTIL_BYTE(sigwait)
UNTIL_BYTE(pause)
UNTIL_BYTE(sigsuspend)

static long timed_ppoll(struct rg_report *r)
{
	struct timespec t = limit();

	(void)r;
	return ppoll(NULL, 0, &t, NULL);
}

static long timed_poll(struct rg_report *r)
{
	(void)r;
	return poll(NULL, 0, LIMIT_MS);
}

static long timed_nanosleep(struct rg_report *r)
{
	struct timespec t = limit();

	(void)r;
	return nanosleep(&t, NULL);
}

static long timed_clock_absolute(struct rg_report *r)
{
	struct timespec t = limit_from_now();

	(void)r;
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	return errno ? -1 : 0;
}

static long timed_futex(struct rg_report *r)
{
	struct timespec t = limit();

	r->ctx = (void *)1;
	return syscall(SYS_futex, &r->ctx, FUTEX_WAIT, 1, &t, NULL, 0);
}

static long timed_futex_absolute(struct rg_report *r)
{
	struct timespec t = limit_from_now();

	r->ctx = (void *)1;
	return syscall(SYS_futex, &r->ctx, FUTEX_WAIT_BITSET, 1, &t, NULL, FUTEX_BITSET_MATCH_ANY);
}

static long timed_epoll(struct rg_report *r)
{
	struct epoll_event e;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int rc = epoll_wait(ep, &e, 1, LIMIT_MS), keep = errno;

	(void)r;

	(void)close(ep);
	errno = keep;
	return rc;
}

#define UNTIL_LIMIT(name, expected, expected_errno)                                                                    \
	static int body_timed_##name(struct rg_report *r)                                                              \
	{                                                                                                              \
		return until_limit(r, timed_##name, expected, expected_errno);                                         \
	}
UNTIL_LIMIT(ppoll, 0, 0)
UNTIL_LIMIT(poll, 0, 0)
UNTIL_LIMIT(nanosleep, 0, 0)
UNTIL_LIMIT(clock_absolute, 0, 0)
UNTIL_LIMIT(futex, -1, ETIMEDOUT)
UNTIL_LIMIT(futex_absolute, -1, ETIMEDOUT)
UNTIL_LIMIT(epoll, 0, 0)

static const struct {
	const char *name;
	int (*body)(struct rg_report *r);
	int calls; /* in a long run; else a fifth */
} blocked[] = {
	{ "ppoll", body_ppoll, 500 },
	{ "poll", body_poll, 500 },
	{ "read", body_read, 500 },
	{ "select", body_select, 200 },
	{ "pselect", body_pselect, 200 },
	{ "epoll_wait", body_epoll, 500 },
	{ "epoll_pwait", body_epoll_pwait, 200 },
	{ "recv", body_recv, 200 },
	{ "wait", body_wait, 200 },
	{ "futex", body_futex, 500 },
	{ "sigwaitinfo", body_sigwait, 200 },
	{ "pause", body_pause, 500 },
	{ "sigsuspend", body_sigsuspend, 200 },
	{ "ppoll, limit", body_timed_ppoll, 500 },
	{ "poll, limit", body_timed_poll, 8 },
	{ "nanosleep", body_timed_nanosleep, 8 },
	{ "clock_nanosleep, absolute", body_timed_clock_absolute, 500 },
	{ "futex, limit", body_timed_futex, 8 },
	{ "futex, absolute", body_timed_futex_absolute, 500 },
	{ "epoll_wait, limit", body_timed_epoll, 20 },
};

START_TEST(test_remote_blocked)
{
	struct rg_guest g = rg_start(blocked[_i].body, NULL);
	struct rg_report *rep = g.report;
	unsigned long wrong, eintr;
	struct hs_remote *r;
	int line, e, status;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	for (int i = 0; i < hs_test_nr((blocked[_i].calls + 4) / 5, blocked[_i].calls); i++)
		rg_touch(r, rep->area);
	hs_remote_close(r);
	wrong = atomic_load(&rep->wrong);
	eintr = atomic_load(&rep->eintr);
	line = atomic_load(&rep->line);
	e = atomic_load(&rep->last_errno);
	status = rg_finish(&g);
	ck_assert_msg(wrong == 0 && status == 0, "%s: %lu wrong, line %d, %s", blocked[_i].name, wrong, line,
		      strerror(e));
	ck_assert_msg(eintr == 0, "%s: EINTR %lu times", blocked[_i].name, eintr);
}
END_TEST

#define NR(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
	Suite *s = suite_create("remote/blocked");
	TCase *t = tcase_create("blocked");

	if (geteuid() != 0)
		return hs_test_skip("remote/blocked", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_remote_blocked, 0, NR(blocked));
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
