/*
 * Each thing that is asked of the kernel fails once, at each place where it is asked, by a table: on living guests,
 * which must go on as if nothing had happened.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote/remote_internal.h"
#include "remote_guest.h"

/* ---- the table ---- */

enum point { PTRACE, VM_READ, VM_WRITE, LOOK, OPEN, READ, IOCTL, ALLOC, RESIZE, THREAD, NR_POINTS };

static const struct fault {
	const char *what;
	enum point point;
	int request; /* of ptrace */
	int error;   /* errno */
} faults[] = {
	{ "SEIZE: ESRCH", PTRACE, PTRACE_SEIZE, ESRCH },
	{ "SEIZE: EPERM", PTRACE, PTRACE_SEIZE, EPERM },
	{ "INTERRUPT: ESRCH", PTRACE, PTRACE_INTERRUPT, ESRCH },
	{ "INTERRUPT: EIO", PTRACE, PTRACE_INTERRUPT, EIO },
	{ "GETREGS: ESRCH", PTRACE, PTRACE_GETREGS, ESRCH },
	{ "GETREGS: EIO", PTRACE, PTRACE_GETREGS, EIO },
	{ "SETREGS: ESRCH", PTRACE, PTRACE_SETREGS, ESRCH },
	{ "SETREGS: EIO", PTRACE, PTRACE_SETREGS, EIO },
	{ "GETREGSET: ESRCH", PTRACE, PTRACE_GETREGSET, ESRCH },
	{ "GETREGSET: EIO", PTRACE, PTRACE_GETREGSET, EIO },
	{ "GETSIGMASK: EIO", PTRACE, PTRACE_GETSIGMASK, EIO },
	{ "GETSIGINFO: ESRCH", PTRACE, PTRACE_GETSIGINFO, ESRCH },
	{ "rseq: EIO", PTRACE, PTRACE_GET_RSEQ_CONFIGURATION, EIO },
	{ "filters: EPERM", PTRACE, PTRACE_SECCOMP_GET_FILTER, EPERM },
	{ "filters: ESRCH", PTRACE, PTRACE_SECCOMP_GET_FILTER, ESRCH },
	{ "options: EPERM", PTRACE, PTRACE_SETOPTIONS, EPERM },
	{ "options: ESRCH", PTRACE, PTRACE_SETOPTIONS, ESRCH },
	{ "SYSCALL: ESRCH", PTRACE, PTRACE_SYSCALL, ESRCH },
	{ "SYSCALL: EIO", PTRACE, PTRACE_SYSCALL, EIO },
	{ "SYSCALL_INFO: ESRCH", PTRACE, PTRACE_GET_SYSCALL_INFO, ESRCH },
	{ "CONT: ESRCH", PTRACE, PTRACE_CONT, ESRCH },
	{ "CONT: EIO", PTRACE, PTRACE_CONT, EIO },
	{ "DETACH: ESRCH", PTRACE, PTRACE_DETACH, ESRCH },
	{ "read memory: EFAULT", VM_READ, 0, EFAULT },
	{ "read memory: ESRCH", VM_READ, 0, ESRCH },
	{ "read memory: EPERM", VM_READ, 0, EPERM },
	{ "write memory: EFAULT", VM_WRITE, 0, EFAULT },
	{ "write memory: ESRCH", VM_WRITE, 0, ESRCH },
	{ "look: ECHILD", LOOK, 0, ECHILD },
	{ "look: EINTR", LOOK, 0, EINTR },
	{ "open: ENOENT", OPEN, 0, ENOENT },
	{ "open: EMFILE", OPEN, 0, EMFILE },
	{ "open: EACCES", OPEN, 0, EACCES },
	{ "read: EIO", READ, 0, EIO },
	{ "read: ESRCH", READ, 0, ESRCH },
	{ "query: EIO", IOCTL, 0, EIO },
	{ "query: ESRCH", IOCTL, 0, ESRCH },
	{ "query: ENOTTY", IOCTL, 0, ENOTTY },
	{ "memory", ALLOC, 0, ENOMEM },
	{ "more memory", RESIZE, 0, ENOMEM },
	{ "thread", THREAD, 0, EAGAIN },
};

/* At most so many places each: where something is asked again and again it is the same place. */
#define PLACES_MAX hs_test_nr(8, 16)

static const struct fault *fault; /* NULL: none */
static atomic_int left;           /* fails when it gets to 0 */
static atomic_int nr_failed, nr_asked;

static bool fails(enum point point, int request)
{
	if (!fault || fault->point != point || (point == PTRACE && fault->request != request))
		return false;
	atomic_fetch_add(&nr_asked, 1);
	if (atomic_fetch_sub(&left, 1) != 1)
		return false;
	atomic_fetch_add(&nr_failed, 1);
	errno = fault->error;
	return true;
}

static long f_ptrace(enum __ptrace_request request, pid_t tid, void *addr, void *data)
{
	return fails(PTRACE, (int)request) ? -1 : hs_remote_sys_kernel.ptrace(request, tid, addr, data);
}

static ssize_t f_vm_read(pid_t tid, const struct iovec *local, const struct iovec *remote, size_t nr)
{
	return fails(VM_READ, 0) ? -1 : hs_remote_sys_kernel.vm_read(tid, local, remote, nr);
}

static ssize_t f_vm_write(pid_t tid, const struct iovec *local, const struct iovec *remote, size_t nr)
{
	return fails(VM_WRITE, 0) ? -1 : hs_remote_sys_kernel.vm_write(tid, local, remote, nr);
}

static int f_look(pid_t tid, siginfo_t *si)
{
	return fails(LOOK, 0) ? -1 : hs_remote_sys_kernel.look(tid, si);
}

static int f_openat(int dir_fd, const char *path, int flags)
{
	return fails(OPEN, 0) ? -1 : hs_remote_sys_kernel.openat(dir_fd, path, flags);
}

static ssize_t f_read(int fd, void *buf, size_t size)
{
	return fails(READ, 0) ? -1 : hs_remote_sys_kernel.read(fd, buf, size);
}

static int f_ioctl(int fd, unsigned long request, void *arg)
{
	return fails(IOCTL, 0) ? -1 : hs_remote_sys_kernel.ioctl(fd, request, arg);
}

static void *f_alloc(size_t nr, size_t size)
{
	return fails(ALLOC, 0) ? NULL : hs_remote_sys_kernel.alloc(nr, size);
}

static void *f_resize(void *old, size_t nr, size_t size)
{
	return fails(RESIZE, 0) ? NULL : hs_remote_sys_kernel.resize(old, nr, size);
}

static int f_thread(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return fails(THREAD, 0) ? EAGAIN : hs_remote_sys_kernel.thread(thread, attr, fn, arg);
}

static const struct hs_remote_sys failing = {
	.ptrace = f_ptrace,
	.vm_read = f_vm_read,
	.vm_write = f_vm_write,
	.look = f_look,
	.openat = f_openat,
	.read = f_read,
	.ioctl = f_ioctl,
	.alloc = f_alloc,
	.resize = f_resize,
	.thread = f_thread,
};

/* ---- what is done ---- */

static int ask_twice(void *ctx, struct hs_remote_call **calls, size_t *nr)
{
	static struct hs_remote_call call;
	int *round = ctx;

	call = (struct hs_remote_call){ .nr = SYS_getpid, .data_arg = -1 };
	*calls = &call;
	*nr = (*round)++ < 2 ? 1 : 0;
	return 0;
}

/* Everything that the contract has; 0, or the first error. */
static int do_all(const struct rg_guest *g)
{
	const struct hs_remote_call like = { .nr = SYS_getpid, .data_arg = -1 };
	struct hs_remote_op ops[3];
	struct timespec now[2];
	struct hs_remote_call calls[2] = {
		{ .nr = SYS_clock_getres, .data_arg = 1, .data = now, .data_size = sizeof(*now) },
		{ .nr = SYS_getppid, .data_arg = -1 },
	};
	struct hs_remote *r;
	int round = 0, rc;

	rc = hs_remote_open(&r, &rg_host, g->pid, NULL);
	if (rc)
		return rc;
	hs_remote_set_deadline_ms(r, 300);
	for (uint64_t i = 0; i < 3; i++)
		ops[i] = (struct hs_remote_op){ g->report->area + 2 * i * RG_PAGE,
						g->report->area + (2 * i + 1) * RG_PAGE, MADV_NORMAL, 1 };
	rc = hs_remote_madvise(r, ops, 3, NULL);
	if (!rc)
		rc = hs_remote_run(r, calls, 2, NULL);
	if (!rc)
		rc = hs_remote_run_still(r, &like, ask_twice, &round, NULL);
	hs_remote_close(r);
	return rc;
}

/* On a busy machine a guest may not come to its stop in time. */
static int do_all_surely(const struct rg_guest *g)
{
	int rc = do_all(g);

	for (int tries = 0; rc == -EAGAIN && tries < 20; tries++) {
		(void)usleep(50000);
		rc = do_all(g);
	}
	return rc;
}

/* ---- guests ---- */

static void *wait_too(void *arg)
{
	while (poll(NULL, 0, -1) < 0)
		RG_WRONG((struct rg_report *)arg);
	return NULL;
}

static int body_two_parked(struct rg_report *r)
{
	pthread_t t;

	return pthread_create(&t, NULL, wait_too, r) ? 1 : rg_body_parked(r);
}

static struct sock_filter allow_all[] = { BPF_STMT(BPF_RET | BPF_K, 0x7fff0000U) };

static int body_filtered(struct rg_report *r)
{
	struct sock_fprog prog = { .len = 1, .filter = allow_all };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &prog))
		return 1;
	return rg_body_parked(r);
}

static const struct {
	const char *name;
	int (*body)(struct rg_report *r);
	bool blocks;
	bool digest; /* its memory is compared, all but what lies below its one stack's red zone */
} guests[] = {
	{ "parked", rg_body_parked, true, true },
	{ "two threads", body_two_parked, true, false },
	{ "under a filter", body_filtered, true, true },
	{ "every register", rg_body_spin, false, false },
};
#define NR_GUESTS ((int)(sizeof(guests) / sizeof(guests[0])))

/* The tracing thread has been joined, but ends a moment later. */
static void settle(const struct rg_guest *g, char state, const char *after, int place)
{
	uint64_t start = rg_now_us();

	while (rg_status(g->pid, g->pid, "TracerPid") != 0 || rg_state(g->pid, g->pid) != state) {
		ck_assert_msg(rg_now_us() - start < 20000000, "%s, place %d: the guest is in state %c", after, place,
			      rg_state(g->pid, g->pid));
		(void)usleep(300);
	}
}

/* digest 0: its memory is not looked at. */
static void still_well(const struct rg_guest *g, bool blocks, uint64_t digest, const char *after, int place)
{
	uint64_t start = rg_now_us(), turns;

	settle(g, blocks ? 'S' : 'R', after, place);
	if (blocks) {
		ck_assert_msg(!digest || rg_digest(g->pid, true) == digest, "%s, place %d: its memory has changed",
			      after, place);
		ck_assert_msg(atomic_load(&g->report->wrong) == 0, "%s, place %d: a call returned: %s", after, place,
			      strerror(atomic_load(&g->report->last_errno)));
		return;
	}
	turns = rg_spin_turns(g);
	while (rg_spin_turns(g) == turns) {
		ck_assert_msg(rg_now_us() - start < 20000000 && !rg_spin_wrong(g), "%s, place %d: it does not go on",
			      after, place);
		(void)usleep(300);
	}
	ck_assert_msg(!rg_spin_wrong(g), "%s, place %d: a register has changed", after, place);
}

/* One fault at each of its places, one after the other; then the guest's memory is compared. */
static void at_each_place(const struct rg_guest *g, const struct fault *f, bool blocks, uint64_t digest)
{
	int rc;

	hs_remote_sys = &failing;
	for (int place = 1; place <= PLACES_MAX; place++) {
		atomic_store(&left, place);
		atomic_store(&nr_failed, 0);
		fault = f;
		rc = do_all(g);
		fault = NULL;
		ck_assert_int_le(rc, 0);
		still_well(g, blocks, 0, f->what, place);
		if (!atomic_load(&nr_failed))
			break; /* no more places */
	}
	hs_remote_sys = &hs_remote_sys_kernel;
	rc = do_all_surely(g);
	ck_assert_msg(rc == 0, "%s: %d afterwards", f->what, rc);
	still_well(g, blocks, digest, f->what, 0);
}

/* All faults on one guest, which is as it was after each. _i: the kind of guest. */
START_TEST(test_remote_faults)
{
	bool blocks = guests[_i].blocks;
	struct rg_guest g;
	uint64_t digest;
	int rc;

	if (!blocks && !rg_spin_possible())
		return;
	g = rg_start(guests[_i].body, NULL);
	rg_wait_ready(&g, blocks);
	rc = do_all_surely(&g); /* stack pages that the guest has not touched come to be, all zero */
	ck_assert_msg(rc == 0, "%s without a fault: %d", guests[_i].name, rc);
	settle(&g, blocks ? 'S' : 'R', "nothing", 0);
	digest = guests[_i].digest ? rg_digest(g.pid, true) : 0;
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++)
		at_each_place(&g, &faults[i], blocks, digest);
	if (blocks)
		ck_assert_int_eq(rg_finish(&g), 0);
	else
		rg_kill(&g);
}
END_TEST

/* Nothing in the table is there for nothing: each row is asked for by one guest at least. */
START_TEST(test_remote_faults_all_asked)
{
	struct rg_guest g[NR_GUESTS];

	for (int i = 0; i < NR_GUESTS; i++) {
		if (!guests[i].blocks && !rg_spin_possible())
			return;
		g[i] = rg_start(guests[i].body, NULL);
		rg_wait_ready(&g[i], guests[i].blocks);
	}
	hs_remote_sys = &failing;
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		atomic_store(&nr_asked, 0);
		atomic_store(&left, 0); /* none fails */
		fault = &faults[i];
		for (int k = 0; k < NR_GUESTS; k++)
			(void)!do_all(&g[k]);
		fault = NULL;
		if (faults[i].point == PTRACE && faults[i].request == PTRACE_GETSIGINFO)
			continue; /* asked when a signal comes, which none does here */
		ck_assert_msg(atomic_load(&nr_asked) > 0, "%s is never asked", faults[i].what);
	}
	for (int i = 0; i < NR_GUESTS; i++)
		rg_kill(&g[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/faults");
	TCase *t = tcase_create("faults");

	if (geteuid() != 0)
		return hs_test_skip("remote/faults", "needs root");
	tcase_set_timeout(t, 200);
	tcase_add_loop_test(t, test_remote_faults, 0, NR_GUESTS);
	tcase_add_test(t, test_remote_faults_all_asked);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
