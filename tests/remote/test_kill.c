/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL at random instants to a process that does nothing but make calls in guests: each time the guests go on as if
 * nothing had happened. HS_KILL_ROUNDS (default 50): rounds for each kind of guest.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "killer.h"
#include "remote_guest.h"

#define PAGE      4096UL
#define NR_RANGES 480 /* every other page of the area, up to what the guest checks */
#define NR_CALLS  40

static const struct hs_host host = HS_HOST_DEFAULT;

/* ---- the command that is killed: calls without end ---- */

static int make_calls(pid_t pid, uint64_t area)
{
	static struct hs_remote_op ops[NR_RANGES];
	struct timespec now = { 0 };
	struct hs_remote_call calls[NR_CALLS], kinds[] = {
		{ .nr = SYS_getpid, .data_arg = -1 },
		{ .nr = SYS_clock_gettime,
		  .args = { CLOCK_MONOTONIC },
		  .data_arg = 1,
		  .data = &now,
		  .data_size = sizeof(now) },
		{ .nr = SYS_sched_yield, .data_arg = -1 },
		{ .nr = SYS_madvise, .args = { area, PAGE, MADV_NORMAL }, .data_arg = -1 },
	};
	struct hs_error err = { "" };
	struct hs_remote *r;
	int rc = hs_remote_open(&r, &host, pid, &err);

	if (rc) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	(void)!write(STDOUT_FILENO, "x", 1);
	for (unsigned int n = 0;; n++) {
		/* In turn: many ranges in one call, many calls in one stop; long holds both, to be killed in. */
		if (n & 1) {
			for (size_t i = 0; i < NR_CALLS; i++)
				calls[i] = kinds[i % (sizeof(kinds) / sizeof(*kinds))];
			rc = hs_remote_run(r, calls, NR_CALLS, &err);
		} else {
			for (uint64_t i = 0; i < NR_RANGES; i++)
				ops[i] = (struct hs_remote_op){ area + 2 * i * PAGE, area + (2 * i + 1) * PAGE,
								n & 2 ? MADV_MERGEABLE : MADV_UNMERGEABLE, 1 };
			rc = hs_remote_madvise(r, ops, NR_RANGES, &err);
		}
		if (rc && rc != -EAGAIN) {
			(void)fprintf(stderr, "%d: %s\n", rc, err.text);
			return 1;
		}
	}
}

/* ---- guests ---- */

/* Goes through calls of every restart kind, and answers a byte for a byte meanwhile. */
static int body_work(struct rg_report *r)
{
	stack_t alt = { .ss_sp = (char *)(uintptr_t)r->area + r->area_size / 2, .ss_size = 65536 }, now;
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };
	sigset_t mask, mask_now, other;

	(void)sigemptyset(&other);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR2);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	(void)sigaltstack(&alt, NULL);
	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		unsigned long round = atomic_load(&r->rounds);
		struct timespec t = { .tv_nsec = 700000 };
		char c;

		switch (round % 5) {
		case 0: /* blocks until the test writes */
			if (ppoll(&p, 1, NULL, &other) != 1)
				RG_WRONG(r);
			break;
		case 1:
			if (poll(&p, 1, -1) != 1)
				RG_WRONG(r);
			break;
		case 2:
			if (nanosleep(&t, NULL))
				RG_WRONG(r);
			break;
		case 3:
			if (poll(NULL, 0, 1))
				RG_WRONG(r);
			break;
		default:
			for (volatile int i = 0; i < 100000; i++)
				;
		}
		if (round % 5 == 0 || round % 5 == 1) {
			if (read(r->pipe[0], &c, 1) != 1)
				RG_WRONG(r);
		}
		if (sigaltstack(NULL, &now) || now.ss_sp != alt.ss_sp || now.ss_size != alt.ss_size || now.ss_flags)
			RG_WRONG(r);
		if (sigprocmask(SIG_SETMASK, NULL, &mask_now) || !sigismember(&mask_now, SIGUSR2) ||
		    sigismember(&mask_now, SIGUSR1))
			RG_WRONG(r);
		for (uint64_t i = r->area_size - 65536; i < r->area_size; i += 8) {
			if (*(volatile uint64_t *)(uintptr_t)(r->area + i) != i * 0x9e3779b97f4a7c15ULL)
				RG_WRONG(r);
		}
		atomic_fetch_add(&r->rounds, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

/* Five rounds of its work, then nothing is wrong. */
static int check_work(void *ctx, char *why, size_t size)
{
	struct rg_guest *g = ctx;
	unsigned long from = atomic_load(&g->report->rounds);
	uint64_t start = rg_now_us();

	while (atomic_load(&g->report->rounds) < from + 5 && rg_now_us() - start < 10000000) {
		(void)!write(g->report->pipe[1], "x", 1);
		(void)usleep(300);
	}
	if (atomic_load(&g->report->rounds) < from + 5 || atomic_load(&g->report->wrong)) {
		(void)snprintf(why, size, "the guest's work: %lu rounds, %lu wrong, line %d, %s",
			       atomic_load(&g->report->rounds) - from, atomic_load(&g->report->wrong),
			       atomic_load(&g->report->line), strerror(atomic_load(&g->report->last_errno)));
		return -1;
	}
	return 0;
}

static int check_spin(void *ctx, char *why, size_t size)
{
	struct rg_guest *g = ctx;
	uint64_t from = rg_spin_turns(g), start = rg_now_us();

	while (rg_spin_turns(g) == from && !rg_spin_wrong(g) && rg_now_us() - start < 10000000)
		(void)usleep(100);
	if (rg_spin_turns(g) == from || rg_spin_wrong(g)) {
		(void)snprintf(why, size, "a register of the guest has changed, or it stands still");
		return -1;
	}
	return 0;
}

struct parked {
	struct rg_guest g;
	uint64_t digest;
};

/* Its memory is what it was, but for the free part of its stack. */
static int check_parked(void *ctx, char *why, size_t size)
{
	struct parked *p = ctx;
	uint64_t start = rg_now_us();

	while (rg_state(p->g.pid, p->g.pid) != 'S' && rg_now_us() - start < 10000000)
		(void)usleep(100);
	if (rg_digest(p->g.pid, true) != p->digest || atomic_load(&p->g.report->wrong)) {
		(void)snprintf(why, size, "the guest's memory has changed, or its call has ended");
		return -1;
	}
	return 0;
}

/* ---- rounds ---- */

static unsigned int nr_rounds(void)
{
	const char *e = getenv("HS_KILL_ROUNDS");

	return e ? (unsigned int)strtoul(e, NULL, 0) : 50;
}

static void run(const char *what, struct rg_guest *g, int (*check)(void *, char *, size_t), void *ctx)
{
	char self[] = "/proc/self/exe", mode[] = "call", pid[16], area[32], why[512];
	char *argv[] = { self, mode, pid, area, NULL };
	const char *seed = getenv("HS_KILL_SEED");
	struct killer_result res;
	struct killer k = { .argv = argv,
			    .guests = &g->pid,
			    .nr_guests = 1,
			    .rounds = nr_rounds(),
			    .max_us = 6000,
			    .first_byte = true,
			    .check = check,
			    .ctx = ctx };
	int rc;

	k.seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)getpid() * 1000003 + rg_now_us();
	(void)snprintf(pid, sizeof(pid), "%d", g->pid);
	(void)snprintf(area, sizeof(area), "%llu", (unsigned long long)g->report->area);
	rc = killer_run(&k, &res, why, sizeof(why));
	ck_assert_msg(rc == 0, "%s: %s", what, why);
	(void)printf("%s: %u killed, of %u looked at %u held the guest\n", what, res.killed, nr_rounds() / 2, res.held);
	ck_assert_uint_eq(res.ended, 0);
	/* Aimed well: of those looked at, a good part died inside. */
	ck_assert_uint_ge(res.held * 20, nr_rounds() / 2);
}

START_TEST(test_remote_kill_work)
{
	struct rg_guest g = rg_start(body_work, NULL);

	rg_wait_ready(&g, true);
	run("working guest", &g, check_work, &g);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

START_TEST(test_remote_kill_spin)
{
	struct rg_guest g;

	if (!rg_spin_possible()) {
		(void)printf("SKIPPED test_remote_kill_spin: no AVX2\n");
		return;
	}
	g = rg_start(rg_body_spin, NULL);
	rg_wait_ready(&g, false);
	run("spinning guest", &g, check_spin, &g);
	rg_kill(&g);
}
END_TEST

START_TEST(test_remote_kill_parked)
{
	struct parked p = { .g = rg_start(rg_body_parked, NULL) };

	rg_wait_ready(&p.g, true);
	p.digest = rg_digest(p.g.pid, true);
	run("parked guest", &p.g, check_parked, &p);
	ck_assert_int_eq(rg_finish(&p.g), 0);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *s = suite_create("remote/kill");
	TCase *t = tcase_create("kill");

	if (argc == 4 && strcmp(argv[1], "call") == 0)
		return make_calls((pid_t)strtol(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
	if (geteuid() != 0)
		return hs_test_skip("remote/kill", "needs root");
	tcase_set_timeout(t, 40 + nr_rounds());
	tcase_add_test(t, test_remote_kill_work);
	tcase_add_test(t, test_remote_kill_spin);
	tcase_add_test(t, test_remote_kill_parked);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
