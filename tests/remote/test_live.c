/* Calls in real processes: their effect, and that the process notices nothing. */
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
#include "remote_guest.h"
#include "remote/remote_internal.h"

#define PAGE 4096UL

static const struct hs_host host = HS_HOST_DEFAULT;

static struct hs_remote *must_open(pid_t pid)
{
	struct hs_remote *r;
	struct hs_error err = { "" };

	ck_assert_msg(hs_remote_open(&r, &host, pid, &err) == 0, "%s", err.text);
	return r;
}

/* One pair of calls that leaves everything as it was. */
static void touch(struct hs_remote *r, uint64_t area)
{
	struct hs_remote_op op[2] = { { area, area + PAGE, MADV_DONTDUMP, 1 }, { area, area + PAGE, MADV_DODUMP, 1 } };
	struct hs_error err = { "" };
	int rc = hs_remote_madvise(r, op, 2, &err);

	ck_assert_msg(rc == 0, "%d: %s", rc, err.text);
	ck_assert_int_eq(op[0].result, 0);
	ck_assert_int_eq(op[1].result, 0);
}

/* ---- effects ---- */

START_TEST(test_remote_madvise_effect)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	uint64_t a = g.report->area, end = a + g.report->area_size;
	struct hs_remote_op ops[] = {
		{ a, a + PAGE, MADV_MERGEABLE, 1 },
		{ a + 2 * PAGE, a + 3 * PAGE, MADV_MERGEABLE, 1 },
		{ a + 3 * PAGE, a + 3 * PAGE, MADV_MERGEABLE, 1 },
		{ a + 5 * PAGE, a + 4 * PAGE, MADV_MERGEABLE, 1 },
		{ a + 1, a + PAGE, MADV_MERGEABLE, 1 },
		{ a + 6 * PAGE, a + 7 * PAGE, MADV_MERGEABLE, 1 },
		{ 0, PAGE, MADV_MERGEABLE, 1 },
		{ a + 8 * PAGE, a + 9 * PAGE, MADV_MERGEABLE, 1 },
		{ a + 8 * PAGE, a + 9 * PAGE, MADV_UNMERGEABLE, 1 },
		{ a + 10 * PAGE, a + 11 * PAGE, 12345, 1 },
		{ end - PAGE, end, MADV_DONTDUMP, 1 },
	};
	static const int expected[] = { 0, 0, 0, -EINVAL, -EINVAL, 0, -ENOMEM, 0, 0, -EINVAL, 0 };
	struct hs_remote *r;
	struct hs_remote_stats st;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	ck_assert_int_eq(hs_remote_madvise(r, ops, sizeof(ops) / sizeof(*ops), NULL), 0);
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		ck_assert_msg(ops[i].result == expected[i], "op %zu: %d", i, ops[i].result);
	ck_assert(rg_vma_has(g.pid, a, " mg"));
	ck_assert(!rg_vma_has(g.pid, a + PAGE, " mg"));
	ck_assert(rg_vma_has(g.pid, a + 2 * PAGE, " mg"));
	ck_assert(!rg_vma_has(g.pid, a + 4 * PAGE, " mg"));
	ck_assert(rg_vma_has(g.pid, a + 6 * PAGE, " mg"));
	ck_assert(!rg_vma_has(g.pid, a + 8 * PAGE, " mg"));
	ck_assert(rg_vma_has(g.pid, end - PAGE, " dd"));
	hs_remote_stats(r, &st);
	ck_assert_uint_eq(st.nr_ops, sizeof(ops) / sizeof(*ops));
	ck_assert_uint_ge(st.nr_sessions, 1);
	ck_assert_uint_ge(st.stopped_us, st.longest_stop_us);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Many ranges, in one vectored call or one by one: the same end; and where one fails, only that one. */
START_TEST(test_remote_madvise_many)
{
	static struct hs_remote_op ops[512];
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	uint64_t a = g.report->area, wrong = 300;
	struct hs_remote_stats st;
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	r->vectored = (uint8_t)(_i == 0 ? HS_UNKNOWN : HS_NO);
	for (uint64_t i = 0; i < 512; i++)
		ops[i] = (struct hs_remote_op){ a + 2 * i * PAGE, a + (2 * i + 1) * PAGE, MADV_MERGEABLE, 1 };
	ops[wrong].start = PAGE;
	ops[wrong].end = 2 * PAGE;
	ck_assert_int_eq(hs_remote_madvise(r, ops, 512, NULL), 0);
	for (uint64_t i = 0; i < 512; i++)
		ck_assert_int_eq(ops[i].result, i == wrong ? -ENOMEM : 0);
	for (uint64_t i = 0; i < 1024; i += 93)
		ck_assert(rg_vma_has(g.pid, a + i * PAGE, " mg") == (i % 2 == 0 && i != 2 * wrong));
	ck_assert(rg_vma_has(g.pid, a + (2 * wrong + 2) * PAGE, " mg"));
	hs_remote_stats(r, &st);
	if (_i == 1)
		ck_assert_uint_ge(st.nr_calls, 512);
	else if (r->vectored == HS_YES)
		ck_assert_uint_lt(st.nr_calls, 256);
	ck_assert_uint_eq(st.nr_ops, 512);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Work on pages is cut into pieces; the whole of it is done. */
START_TEST(test_remote_madvise_pieces)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote_call map = { .nr = SYS_mmap,
				      .args = { 0, 64UL << 20, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, (uint64_t)-1, 0 },
				      .data_arg = -1 };
	struct hs_remote_stats before, after;
	struct hs_remote_op op[2];
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	ck_assert_int_eq(hs_remote_run(r, &map, 1, NULL), 0);
	ck_assert_int_gt(map.result, 0);
	op[0] = (struct hs_remote_op){ (uint64_t)map.result, (uint64_t)map.result + (64UL << 20), MADV_MERGEABLE, 1 };
	op[1] = op[0];
	op[1].advice = MADV_UNMERGEABLE;
	hs_remote_stats(r, &before);
	ck_assert_int_eq(hs_remote_madvise(r, &op[0], 1, NULL), 0);
	ck_assert_int_eq(op[0].result, 0);
	ck_assert(rg_vma_has(g.pid, op[0].end - PAGE, " mg"));
	hs_remote_stats(r, &after);
	ck_assert_uint_eq(after.nr_calls - before.nr_calls, 1);
	ck_assert_int_eq(hs_remote_madvise(r, &op[1], 1, NULL), 0);
	ck_assert_int_eq(op[1].result, 0);
	for (uint64_t at = op[0].start; at < op[0].end; at += 1 << 20)
		ck_assert(!rg_vma_has(g.pid, at, " mg"));
	hs_remote_stats(r, &before);
	ck_assert_uint_ge(before.nr_calls - after.nr_calls, 8);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

START_TEST(test_remote_run_data)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	static char out[16384], in[16384];
	int fds[2] = { -1, -1 };
	struct hs_remote_call calls[] = {
		{ .nr = SYS_getpid, .data_arg = -1, .result = -1 },
		{ .nr = SYS_pipe2, .data_arg = 0, .data = fds, .data_size = sizeof(fds) },
		{ .nr = SYS_close, .args = { 9999 }, .data_arg = -1 },
	};
	uint64_t digest;
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	digest = rg_digest(g.pid, false);
	r = must_open(g.pid);
	ck_assert_int_eq(hs_remote_run(r, calls, 3, NULL), 0);
	ck_assert_int_eq(calls[0].result, g.pid);
	ck_assert_int_eq(calls[1].result, 0);
	ck_assert_int_ge(fds[0], 3);
	ck_assert_int_eq(fds[1], fds[0] + 1);
	ck_assert_int_eq(calls[2].result, -EBADF);

	memset(out, 0x5a, sizeof(out));
	struct hs_remote_call move[] = {
		{ .nr = SYS_write,
		  .args = { (uint64_t)fds[1], 0, sizeof(out) },
		  .data_arg = 1,
		  .data = out,
		  .data_size = sizeof(out) },
		{ .nr = SYS_read,
		  .args = { (uint64_t)fds[0], 0, sizeof(in) },
		  .data_arg = 1,
		  .data = in,
		  .data_size = sizeof(in) },
		{ .nr = SYS_close, .args = { (uint64_t)fds[0] }, .data_arg = -1 },
		{ .nr = SYS_close, .args = { (uint64_t)fds[1] }, .data_arg = -1 },
	};
	ck_assert_int_eq(hs_remote_run(r, move, 4, NULL), 0);
	ck_assert_int_eq(move[0].result, (long)sizeof(out));
	ck_assert_int_eq(move[1].result, (long)sizeof(in));
	ck_assert_mem_eq(in, out, sizeof(in));
	ck_assert_uint_eq(rg_digest(g.pid, false), digest);

	move[0].data_size = sizeof(out) + 1;
	ck_assert_int_eq(hs_remote_run(r, move, 1, NULL), -EINVAL);
	ck_assert_int_eq(move[0].result, -ECANCELED);
	move[0].data_size = 8;
	move[0].data_arg = 6;
	ck_assert_int_eq(hs_remote_run(r, move, 1, NULL), -EINVAL);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

START_TEST(test_remote_dry)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	uint64_t a = g.report->area;
	struct hs_remote_op op = { a, a + PAGE, MADV_MERGEABLE, 1 };
	struct hs_remote_call call = { .nr = SYS_getpid, .data_arg = -1, .result = 5 };
	struct hs_remote_stats st;
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open_dry(&r, &host, g.pid, NULL), 0);
	ck_assert_int_eq(hs_remote_madvise(r, &op, 1, NULL), 0);
	ck_assert_int_eq(op.result, 0);
	ck_assert_int_eq(hs_remote_run(r, &call, 1, NULL), 0);
	ck_assert_int_eq(call.result, 0);
	ck_assert(!rg_vma_has(g.pid, a, " mg"));
	hs_remote_stats(r, &st);
	ck_assert_uint_eq(st.nr_sessions, 0);
	ck_assert_uint_eq(st.nr_ops, 1);
	hs_remote_close(r);
	hs_remote_close(NULL);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Every byte of the guest is what it was, and so is its list of mappings. */
START_TEST(test_remote_memory_untouched)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote *r;
	uint64_t digest;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	touch(r, g.report->area); /* stack pages that the guest has not touched come to be, all zero */
	digest = rg_digest(g.pid, false);
	for (int i = 0; i < 500; i++)
		touch(r, g.report->area);
	ck_assert_uint_eq(rg_digest(g.pid, false), digest);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Without the kernel's VMA query (before 6.11) the text of maps says the same. */
START_TEST(test_remote_without_query)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	r->no_query = true;
	for (int i = 0; i < 20; i++)
		touch(r, g.report->area);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- registers ---- */

START_TEST(test_remote_registers)
{
	struct rg_guest g;
	struct hs_remote *r;
	uint64_t turns;

	if (!rg_spin_possible()) {
		printf("SKIPPED test_remote_registers: no AVX2\n");
		return;
	}
	g = rg_start(rg_body_spin, NULL);
	rg_wait_ready(&g, false);
	r = must_open(g.pid);
	turns = rg_spin_turns(&g);
	for (int i = 0; i < 500; i++) {
		touch(r, g.report->area);
		if (i % 50 == 49) {
			(void)usleep(1000);
			ck_assert(!rg_spin_wrong(&g));
		}
	}
	ck_assert(!rg_spin_wrong(&g));
	ck_assert_uint_gt(rg_spin_turns(&g), turns);
	ck_assert_int_eq(rg_state(g.pid, g.pid), 'R');
	hs_remote_close(r);
	rg_kill(&g);
}
END_TEST

/* ---- a restartable sequence ---- */

struct rseq_cs_abi {
	uint32_t version, flags;
	uint64_t start, length, abort;
} __attribute__((aligned(32)));

/*
 * Half of the time inside a sequence, half outside. The kernel forgets a sequence when it sees the thread elsewhere: so
 * if its pointer is gone at the sequence's end, though no abort was taken, somebody led the thread out and back in.
 */
static int body_rseq(struct rg_report *r)
{
	static struct rseq_cs_abi cs;
	uint64_t *slot = (uint64_t *)(uintptr_t)((char *)__builtin_thread_pointer() + __rseq_offset + 8);

	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		uint64_t end = 0;

		__asm__ volatile("leaq 1f(%%rip), %%rax\n"
				 "movq %%rax, 8(%[cs])\n"
				 "leaq 2f(%%rip), %%rcx\n"
				 "subq %%rax, %%rcx\n"
				 "movq %%rcx, 16(%[cs])\n"
				 "leaq 3f(%%rip), %%rax\n"
				 "movq %%rax, 24(%[cs])\n"
				 "movq %[cs], (%[slot])\n"
				 "1:\n"
				 "movl $2000000, %%ecx\n"
				 "4: decl %%ecx\n"
				 "jnz 4b\n"
				 "movq (%[slot]), %[end]\n"
				 "2:\n"
				 "jmp 5f\n"
				 ".long 0x53053053\n" /* the signature that the C library registered */
				 "3: movq $1, %[end]\n"
				 "5:\n"
				 : [end] "+r"(end)
				 : [cs] "r"(&cs), [slot] "r"(slot)
				 : "rax", "rcx", "memory");
		*(volatile uint64_t *)slot = 0;
		if (end == 1)
			atomic_fetch_add(&r->handled, 1); /* aborted: well */
		else if (end != (uint64_t)(uintptr_t)&cs)
			RG_WRONG(r);
		for (volatile int i = 0; i < 500000; i++)
			;
		atomic_fetch_add(&r->rounds, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

START_TEST(test_remote_restartable_sequence)
{
	struct rg_guest g;
	struct hs_remote_stats st;
	struct hs_remote *r;

	if (__rseq_size == 0) {
		printf("SKIPPED test_remote_restartable_sequence: the C library registered none\n");
		return;
	}
	g = rg_start(body_rseq, NULL);
	rg_wait_ready(&g, false);
	r = must_open(g.pid);
	for (int i = 0; i < 100; i++)
		touch(r, g.report->area);
	hs_remote_stats(r, &st);
	ck_assert_uint_eq(atomic_load(&g.report->wrong), 0);
	ck_assert_uint_gt(atomic_load(&g.report->rounds), 0);
	ck_assert_uint_gt(st.nr_retries, 0); /* it was found inside, and left alone */
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

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
	int calls;
	bool eintr; /* the kernel itself has the call return EINTR at any stop: nothing to be done */
} blocked[] = {
	{ "ppoll", body_ppoll, 500, false },
	{ "poll", body_poll, 500, false },
	{ "read", body_read, 500, false },
	{ "select", body_select, 200, false },
	{ "pselect", body_pselect, 200, false },
	{ "epoll_wait", body_epoll, 500, false },
	{ "epoll_pwait", body_epoll_pwait, 200, false },
	{ "recv", body_recv, 200, false },
	{ "wait", body_wait, 200, false },
	{ "futex", body_futex, 500, false },
	{ "sigwaitinfo", body_sigwait, 200, false },
	{ "pause", body_pause, 500, false },
	{ "sigsuspend", body_sigsuspend, 200, false },
	{ "ppoll, limit", body_timed_ppoll, 500, false },
	{ "poll, limit", body_timed_poll, 8, false },
	{ "nanosleep", body_timed_nanosleep, 8, false },
	{ "clock_nanosleep, absolute", body_timed_clock_absolute, 500, false },
	{ "futex, limit", body_timed_futex, 8, false },
	{ "futex, absolute", body_timed_futex_absolute, 500, false },
	{ "epoll_wait, limit", body_timed_epoll, 50, true },
};

START_TEST(test_remote_blocked)
{
	struct rg_guest g = rg_start(blocked[_i].body, NULL);
	struct rg_report *rep = g.report;
	unsigned long wrong, eintr;
	struct hs_remote *r;
	int line, e, status;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
	for (int i = 0; i < blocked[_i].calls; i++)
		touch(r, rep->area);
	hs_remote_close(r);
	wrong = atomic_load(&rep->wrong);
	eintr = atomic_load(&rep->eintr);
	line = atomic_load(&rep->line);
	e = atomic_load(&rep->last_errno);
	status = rg_finish(&g);
	ck_assert_msg(wrong == 0 && status == 0, "%s: %lu wrong, line %d, %s", blocked[_i].name, wrong, line,
		      strerror(e));
	ck_assert_msg(blocked[_i].eintr || eintr == 0, "%s: EINTR %lu times", blocked[_i].name, eintr);
}
END_TEST

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
	r = must_open(g.pid);
	for (int i = 0; i < 500; i++)
		touch(r, g.report->area);
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
	r = must_open(g.pid);
	for (int i = 0; i < 200; i++)
		touch(r, g.report->area);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* On a stack that may end anywhere nothing is written: refused for now, and nothing happens to it. */
START_TEST(test_remote_in_handler_on_other_stack)
{
	struct rg_guest g = rg_start(body_in_handler, (void *)1);
	struct hs_remote_op op = { g.report->area, g.report->area + PAGE, MADV_MERGEABLE, 1 };
	struct hs_error err = { "" };
	struct hs_remote *r;
	uint64_t digest;

	rg_wait_ready(&g, true);
	r = must_open(g.pid);
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

	_exit(until_byte(r, call_poll));
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
	r = must_open(g.pid);
	for (int i = 0; i < 100; i++)
		touch(r, g.report->area);
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
	r = must_open(g.pid);
	for (int i = 0; i < 40; i++) {
		while (rg_state(g.pid, parked) != 'S') /* until it is back in its call */
			(void)usleep(200);
		touch(r, g.report->area);
		asked += r->tid == parked;
	}
	ck_assert_int_gt(asked, 20);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

#define NR(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
	Suite *s = suite_create("remote/live");
	TCase *t = tcase_create("effects"), *b = tcase_create("blocked"), *h = tcase_create("threads and handlers");

	if (geteuid() != 0)
		return hs_test_skip("remote/live", "needs root");
	tcase_set_timeout(t, 30);
	tcase_add_test(t, test_remote_madvise_effect);
	tcase_add_loop_test(t, test_remote_madvise_many, 0, 2);
	tcase_add_test(t, test_remote_madvise_pieces);
	tcase_add_test(t, test_remote_run_data);
	tcase_add_test(t, test_remote_dry);
	tcase_add_test(t, test_remote_memory_untouched);
	tcase_add_test(t, test_remote_without_query);
	tcase_add_test(t, test_remote_registers);
	tcase_add_test(t, test_remote_restartable_sequence);
	suite_add_tcase(s, t);
	tcase_set_timeout(b, 30);
	tcase_add_loop_test(b, test_remote_blocked, 0, NR(blocked));
	suite_add_tcase(s, b);
	tcase_set_timeout(h, 30);
	tcase_add_test(h, test_remote_signal_state);
	tcase_add_test(h, test_remote_in_handler);
	tcase_add_test(h, test_remote_in_handler_on_other_stack);
	tcase_add_test(h, test_remote_main_thread_gone);
	tcase_add_test(h, test_remote_prefers_idle_thread);
	suite_add_tcase(s, h);
	return hs_test_run(s);
}
