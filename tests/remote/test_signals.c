/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals that come while a guest is held: none is lost, none comes twice, and the call that it interrupts answers as
 * it would without us.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote_guest.h"

/* Calls without a pause; stopped says that -EBUSY is an answer too. */
static void touch(struct hs_remote *r, uint64_t area, bool stopped)
{
	struct hs_remote_op op[2] = { { area, area + RG_PAGE, MADV_DONTDUMP, 1 },
				      { area, area + RG_PAGE, MADV_DODUMP, 1 } };
	struct hs_error err = { "" };
	int rc = hs_remote_madvise(r, op, 2, &err);

	ck_assert_msg(rc == 0 || (stopped && (rc == -EBUSY || rc == -EAGAIN)), "%d: %s", rc, err.text);
	if (rc == 0) {
		ck_assert_int_eq(op[0].result, 0);
		ck_assert_int_eq(op[1].result, 0);
	}
}

static struct rg_report *here;

static void count(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	atomic_fetch_add(&here->handled, 1);
	atomic_fetch_add(&here->rounds, (unsigned long)si->si_value.sival_int);
}

static void handle(int sig, int flags)
{
	struct sigaction sa = { .sa_sigaction = count, .sa_flags = SA_SIGINFO | flags };

	(void)sigaction(sig, &sa, NULL);
}

/* ---- queued signals: as many as were sent, with their values ---- */

#define STORM 3000

static int body_storm(struct rg_report *r)
{
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };

	here = r;
	handle(SIGRTMIN, r->ctx ? SA_RESTART : 0);
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		if (ppoll(&p, 1, NULL, NULL) < 0 && errno != EINTR)
			RG_WRONG(r);
	}
	return atomic_load(&r->wrong) != 0;
}

static pid_t send_storm(pid_t to, int nr, unsigned int gap_us)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 1; i <= nr; i++) {
		while (sigqueue(to, SIGRTMIN, (union sigval){ .sival_int = i }) && errno == EAGAIN)
			(void)usleep(100);
		if (gap_us)
			(void)usleep(gap_us);
	}
	_exit(0);
}

static const struct {
	bool restart;
	unsigned int gap_us;
} storms[] = { { false, 0 }, { true, 0 }, { false, 50 }, { true, 200 } };

START_TEST(test_remote_signals_storm)
{
	struct rg_guest g = rg_start(body_storm, storms[_i].restart ? (void *)1 : NULL);
	unsigned long sum = (unsigned long)STORM * (STORM + 1) / 2;
	uint64_t start = rg_now_us();
	struct hs_remote *r;
	pid_t sender;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	sender = send_storm(g.pid, STORM, storms[_i].gap_us);
	while (waitpid(sender, NULL, WNOHANG) == 0)
		touch(r, g.report->area, false);
	while (atomic_load(&g.report->handled) < STORM && rg_now_us() - start < 30000000)
		(void)usleep(1000);
	ck_assert_uint_eq(atomic_load(&g.report->handled), STORM);
	ck_assert_uint_eq(atomic_load(&g.report->rounds), sum);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- SA_RESTART: read never answers EINTR; without it, it answers once a signal ---- */

static int body_read(struct rg_report *r)
{
	char c;

	here = r;
	handle(SIGRTMIN, r->ctx ? SA_RESTART : 0);
	atomic_store(&r->ready, 1);
	while (read(r->pipe[0], &c, 1) < 0) {
		if (errno != EINTR)
			RG_WRONG(r);
		atomic_fetch_add(&r->eintr, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

START_TEST(test_remote_signals_restart_flag)
{
	struct rg_guest g = rg_start(body_read, _i ? (void *)1 : NULL);
	unsigned long handled, eintr;
	struct hs_remote *r;
	pid_t sender;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	sender = send_storm(g.pid, 500, 1000);
	while (waitpid(sender, NULL, WNOHANG) == 0)
		touch(r, g.report->area, false);
	(void)usleep(10000);
	handled = atomic_load(&g.report->handled);
	eintr = atomic_load(&g.report->eintr);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
	ck_assert_uint_eq(handled, 500);
	/* Several signals may run their handlers before one return of the call, and one may come between two calls. */
	if (_i)
		ck_assert_uint_eq(eintr, 0);
	else
		ck_assert_msg(eintr >= 250 && eintr <= 500, "%lu EINTR for 500 signals", eintr);
}
END_TEST

/* ---- the race-free way to wait for a signal ---- */

static volatile sig_atomic_t flag;

static void set_flag(int sig)
{
	(void)sig;
	flag = 1;
}

static int body_handshake(struct rg_report *r)
{
	struct sigaction sa = { .sa_handler = set_flag };
	sigset_t mask, none;

	(void)sigemptyset(&none);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	(void)sigaction(SIGUSR1, &sa, NULL);
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		int rc = 0;

		while (!flag) {
			rc = r->ctx ? sigsuspend(&none) : ppoll(NULL, 0, NULL, &none);
			if (rc != -1 || errno != EINTR)
				RG_WRONG(r);
			if (!flag) /* EINTR, but no signal */
				RG_WRONG(r);
		}
		flag = 0;
		atomic_fetch_add(&r->rounds, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

/* Sends the next signal when the last was answered; ends with 1 when an answer is missing for 10 s. */
static pid_t send_handshakes(const struct rg_guest *g, unsigned long nr)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (unsigned long i = 1; i <= nr; i++) {
		uint64_t start = rg_now_us();

		(void)kill(g->pid, SIGUSR1);
		while (atomic_load(&g->report->rounds) < i) {
			if (rg_now_us() - start > 10000000)
				_exit(1);
			(void)usleep(20);
		}
		(void)usleep((useconds_t)(i % 7) * 50);
	}
	_exit(0);
}

START_TEST(test_remote_signals_handshake)
{
	struct rg_guest g = rg_start(body_handshake, _i ? (void *)1 : NULL);
	struct hs_remote *r;
	int status = 0;
	pid_t sender;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	sender = send_handshakes(&g, 1000);
	while (waitpid(sender, &status, WNOHANG) == 0)
		touch(r, g.report->area, false);
	ck_assert_msg(status == 0, "a signal was swallowed after %lu", atomic_load(&g.report->rounds));
	hs_remote_close(r);
	ck_assert_uint_eq(atomic_load(&g.report->wrong), 0);
	atomic_store(&g.report->stop, 1);
	(void)kill(g.pid, SIGUSR1);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- pause: each alarm ends one ---- */

static int body_pause(struct rg_report *r)
{
	struct itimerval tick = { .it_interval = { .tv_usec = 10000 }, .it_value = { .tv_usec = 10000 } };

	here = r;
	handle(SIGALRM, 0);
	(void)setitimer(ITIMER_REAL, &tick, NULL);
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		if (pause() != -1 || errno != EINTR)
			RG_WRONG(r);
		atomic_fetch_add(&r->eintr, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

START_TEST(test_remote_signals_pause)
{
	struct rg_guest g = rg_start(body_pause, NULL);
	uint64_t start = rg_now_us();
	unsigned long handled, ended;
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	while (rg_now_us() - start < 3000000)
		touch(r, g.report->area, false);
	hs_remote_close(r);
	handled = atomic_load(&g.report->handled);
	ended = atomic_load(&g.report->eintr);
	ck_assert_uint_gt(handled, 20);
	/* One that comes while the guest is on its way into pause is lost on it with or without us: few. */
	ck_assert_msg(ended + 2 + handled / 10 >= handled, "%lu alarms, but pause ended %lu times", handled, ended);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- signals that are ignored, stop and continue: the guest's poll notices none ---- */

static pid_t send_plain(pid_t to, const int *sigs, int nr, unsigned int gap_us)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	for (int i = 0; i < nr; i++) {
		(void)kill(to, sigs[i % 2]);
		(void)usleep(gap_us);
	}
	(void)kill(to, SIGCONT);
	_exit(0);
}

static const struct {
	int sigs[2];
	int nr;
	unsigned int gap_us;
} silent[] = {
	{ { SIGCHLD, SIGWINCH }, 2000, 100 },
	{ { SIGURG, SIGCONT }, 2000, 100 },
	{ { SIGSTOP, SIGCONT }, 200, 2000 },
};

START_TEST(test_remote_signals_silent)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote *r;
	uint64_t start;
	pid_t sender;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	sender = send_plain(g.pid, silent[_i].sigs, silent[_i].nr, silent[_i].gap_us);
	while (waitpid(sender, NULL, WNOHANG) == 0)
		touch(r, g.report->area, true);
	start = rg_now_us();
	while (rg_state(g.pid, g.pid) != 'S' && rg_now_us() - start < 5000000)
		(void)usleep(1000);
	ck_assert_int_eq(rg_state(g.pid, g.pid), 'S');
	touch(r, g.report->area, false);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

#define NR(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
	Suite *s = suite_create("remote/signals");
	TCase *t = tcase_create("signals");

	if (geteuid() != 0)
		return hs_test_skip("remote/signals", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_remote_signals_storm, 0, NR(storms));
	tcase_add_loop_test(t, test_remote_signals_restart_flag, 0, 2);
	tcase_add_loop_test(t, test_remote_signals_handshake, 0, 2);
	tcase_add_test(t, test_remote_signals_pause);
	tcase_add_loop_test(t, test_remote_signals_silent, 0, NR(silent));
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
