/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the remote calls that touch no process: restart, rank, layout, filters. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "hs_test.h"
#include "remote/remote_internal.h"

#define RIP 0x401000ULL

struct restart_case {
	const char *what;
	long nr, rax;
	uint64_t a[6];
	enum hs_remote_restart verdict;
	long kernel_rax;
	bool again;
};

static const struct restart_case restart_cases[] = {
	{ "in user mode, whatever is in rax", -1, -512, { 0 }, HS_REMOTE_READY, -512, false },
	{ "a call that is over", SYS_read, 17, { 0 }, HS_REMOTE_READY, 17, false },
	{ "a call that failed", SYS_read, -EIO, { 0 }, HS_REMOTE_READY, -EIO, false },
	{ "-511 is a result", SYS_read, -511, { 0 }, HS_REMOTE_READY, -511, false },
	{ "restart if the handler says so", SYS_read, -512, { 0 }, HS_REMOTE_READY, -512, true },
	{ "restart always", SYS_futex, -513, { 0 }, HS_REMOTE_READY, -513, true },
	{ "restart unless handled", SYS_ppoll, -514, { 0 }, HS_REMOTE_READY, -514, true },
	{ "-515 is a result", SYS_read, -515, { 0 }, HS_REMOTE_READY, -515, false },
	{ "nanosleep", SYS_nanosleep, -516, { 0 }, HS_REMOTE_TIMED_SLEEP, 0, false },
	{ "restarted once already", SYS_restart_syscall, -516, { 0 }, HS_REMOTE_TIMED_SLEEP, 0, false },
	{ "poll with a limit", SYS_poll, -516, { 1, 1, 0 }, HS_REMOTE_TIMED_SLEEP, 0, false },
	{ "poll without", SYS_poll, -516, { 1, 1, 0xffffffff }, HS_REMOTE_READY, -514, true },
	{ "futex, relative", SYS_futex, -516, { 1, FUTEX_WAIT_PRIVATE, 0, 1 }, HS_REMOTE_TIMED_SLEEP, 0, false },
	{ "futex, absolute", SYS_futex, -516, { 1, FUTEX_WAIT_BITSET_PRIVATE, 0, 1 }, HS_REMOTE_READY, -514, true },
	{ "futex, absolute, real time",
	  SYS_futex,
	  -516,
	  { 1, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, 1 },
	  HS_REMOTE_READY,
	  -514,
	  true },
	{ "epoll_wait without a limit", SYS_epoll_wait, -EINTR, { 1, 1, 1, 0xffffffff }, HS_REMOTE_READY, -514, true },
	{ "epoll_wait with one", SYS_epoll_wait, -EINTR, { 1, 1, 1, 5 }, HS_REMOTE_TIMED_SLEEP, -514, false },
	{ "epoll_wait that has events", SYS_epoll_wait, 2, { 1, 1, 1, 0xffffffff }, HS_REMOTE_READY, 2, false },
	{ "epoll_pwait2 without", SYS_epoll_pwait2, -EINTR, { 1, 1, 1, 0 }, HS_REMOTE_READY, -514, true },
	{ "epoll_pwait2 with", SYS_epoll_pwait2, -EINTR, { 1, 1, 1, 99 }, HS_REMOTE_TIMED_SLEEP, -514, false },
	{ "sigwaitinfo", SYS_rt_sigtimedwait, -EINTR, { 1, 1, 0 }, HS_REMOTE_READY, -514, true },
	{ "sigtimedwait", SYS_rt_sigtimedwait, -EINTR, { 1, 1, 9 }, HS_REMOTE_TIMED_SLEEP, -514, false },
	{ "io_uring_enter that waits", SYS_io_uring_enter, -EINTR, { 3, 0, 1, 1, 0 }, HS_REMOTE_READY, -514, true },
	{ "io_uring_enter that submits",
	  SYS_io_uring_enter,
	  -EINTR,
	  { 3, 1, 1, 1, 0 },
	  HS_REMOTE_TIMED_SLEEP,
	  -514,
	  false },
	{ "io_uring_enter with a limit",
	  SYS_io_uring_enter,
	  -EINTR,
	  { 3, 0, 1, 9, 7 },
	  HS_REMOTE_TIMED_SLEEP,
	  -514,
	  false },
	{ "ioctl", SYS_ioctl, -EINTR, { 3, 0xae80 }, HS_REMOTE_READY, -EINTR, false },
	{ "recv with a limit on the socket", SYS_recvfrom, -EINTR, { 3 }, HS_REMOTE_TIMED_SLEEP, -514, false },
	{ "read with a limit on the socket", SYS_read, -EINTR, { 3 }, HS_REMOTE_TIMED_SLEEP, -514, false },
	{ "write", SYS_write, -EINTR, { 3 }, HS_REMOTE_READY, -EINTR, false },
};

START_TEST(test_remote_restart)
{
	const struct restart_case *c = &restart_cases[_i];
	struct user_regs_struct regs = { .rip = RIP, .rsp = 0x7000, .rbx = 77 }, kernel, user;

	regs.orig_rax = (unsigned long long)c->nr;
	regs.rax = (unsigned long long)c->rax;
	regs.rdi = c->a[0];
	regs.rsi = c->a[1];
	regs.rdx = c->a[2];
	regs.r10 = c->a[3];
	regs.r8 = c->a[4];
	regs.r9 = c->a[5];
	ck_assert_msg(hs_remote_restart(&regs, SYS_read, &kernel, &user) == c->verdict, "%s", c->what);
	if (c->verdict != HS_REMOTE_READY) {
		ck_assert_msg(!c->kernel_rax || (long)kernel.rax == c->kernel_rax, "%s", c->what);
		return;
	}
	ck_assert_msg((long)kernel.rax == c->kernel_rax, "%s: %lld", c->what, (long long)kernel.rax);
	ck_assert_msg(kernel.rip == RIP && kernel.orig_rax == regs.orig_rax && kernel.rbx == 77, "%s", c->what);
	ck_assert_msg((long)user.orig_rax == -1, "%s", c->what);
	ck_assert_msg(user.rip == (c->again ? RIP - 2 : RIP), "%s", c->what);
	ck_assert_msg((long)user.rax == (c->again ? c->nr : c->rax), "%s", c->what);
}
END_TEST

/* What was interrupted before shows as restart_syscall; the code tells what it is the rest of. */
static const struct {
	long code_nr;
	uint64_t rdx;
	enum hs_remote_restart verdict;
} rest_cases[] = {
	{ SYS_poll, 0xffffffff, HS_REMOTE_READY },
	{ SYS_poll, 5, HS_REMOTE_TIMED_SLEEP },
	{ SYS_nanosleep, 0xffffffff, HS_REMOTE_TIMED_SLEEP },
	{ -1, 0xffffffff, HS_REMOTE_TIMED_SLEEP },
};

START_TEST(test_remote_restart_of_the_rest)
{
	struct user_regs_struct regs = { .rip = RIP, .orig_rax = SYS_restart_syscall }, kernel, user;

	regs.rax = (unsigned long long)-516;
	regs.rdx = rest_cases[_i].rdx;
	ck_assert_int_eq((int)hs_remote_restart(&regs, rest_cases[_i].code_nr, &kernel, &user),
			 (int)rest_cases[_i].verdict);
	if (rest_cases[_i].verdict != HS_REMOTE_READY)
		return;
	ck_assert_int_eq((long)kernel.rax, -516); /* the kernel still knows it best */
	ck_assert_int_eq((long)user.rax, rest_cases[_i].code_nr);
	ck_assert_uint_eq(user.rip, RIP - 2);
}
END_TEST

static const struct {
	struct hs_remote_doing doing;
	struct hs_remote_fd fd;
	enum hs_remote_rank rank;
} rank_cases[] = {
	{ { .running = true, .nr = -1 }, { 0 }, HS_REMOTE_RUNNING },
	{ { .nr = SYS_ppoll }, { 0 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_pause }, { 0 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_wait4 }, { 0 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_poll, .args = { 0, 0, 0xffffffff } }, { 0 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_poll, .args = { 0, 0, 100 } }, { 0 }, HS_REMOTE_SLEEPING },
	{ { .nr = SYS_futex, .args = { 1, FUTEX_WAIT, 1, 0 } }, { 0 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_futex, .args = { 1, FUTEX_WAIT, 1, 1 } }, { 0 }, HS_REMOTE_SLEEPING },
	{ { .nr = SYS_futex, .args = { 1, FUTEX_WAIT_BITSET, 1, 1 } }, { 0 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_nanosleep }, { 0 }, HS_REMOTE_SLEEPING },
	{ { .nr = SYS_clock_nanosleep, .args = { 1, TIMER_ABSTIME } }, { 0 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_clock_nanosleep, .args = { 1, 0 } }, { 0 }, HS_REMOTE_SLEEPING },
	{ { .nr = SYS_restart_syscall }, { 0 }, HS_REMOTE_SLEEPING },
	{ { .nr = SYS_epoll_wait, .args = { 1, 1, 1, 0xffffffff } }, { 0 }, HS_REMOTE_ENDLESS },
	{ { .nr = SYS_epoll_wait, .args = { 1, 1, 1, 1000 } }, { 0 }, HS_REMOTE_SLEEPING },
	{ { .nr = SYS_epoll_wait, .args = { 1, 1, 1, 1001 } }, { 0 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_epoll_pwait2, .args = { 1, 1, 1, 1 } }, { 0 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_epoll_pwait2, .args = { 1, 1, 1, 0 } }, { 0 }, HS_REMOTE_ENDLESS },
	{ { .nr = SYS_semop }, { 0 }, HS_REMOTE_ENDLESS },
	{ { .nr = SYS_semtimedop, .args = { 1, 1, 1, 1 } }, { 0 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_rt_sigtimedwait, .args = { 1, 1, 1 } }, { 0 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_io_getevents, .args = { 1, 1, 1, 1, 1 } }, { 0 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_read }, { HS_REMOTE_FD_RESTARTS, -1, -1 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_read }, { HS_REMOTE_FD_UNKNOWN, -1, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_read }, { HS_REMOTE_FD_SOCKET, -1, -1 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_read }, { HS_REMOTE_FD_SOCKET, -1, 5000 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_read }, { HS_REMOTE_FD_SOCKET, 1000, -1 }, HS_REMOTE_SLEEPING },
	{ { .nr = SYS_readv }, { HS_REMOTE_FD_SOCKET, 1001, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_recvfrom }, { HS_REMOTE_FD_SOCKET, 3600000, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_recvfrom }, { HS_REMOTE_FD_SOCKET, -2, -2 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_recvfrom, .args = { 3, 1, 1, 0x100 } }, { HS_REMOTE_FD_SOCKET, -1, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_recvmsg }, { HS_REMOTE_FD_SOCKET, -1, -1 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_recvmsg, .args = { 3, 1, 0x100 } }, { HS_REMOTE_FD_SOCKET, -1, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_recvmmsg }, { HS_REMOTE_FD_SOCKET, -1, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_accept }, { HS_REMOTE_FD_SOCKET, -1, 7 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_accept4 }, { HS_REMOTE_FD_SOCKET, 3000, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_connect }, { HS_REMOTE_FD_SOCKET, 3000, -1 }, HS_REMOTE_IDLE },
	{ { .nr = SYS_connect }, { HS_REMOTE_FD_SOCKET, -1, 3000 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_write }, { HS_REMOTE_FD_RESTARTS, -1, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_sendto }, { HS_REMOTE_FD_SOCKET, -1, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_sendfile }, { HS_REMOTE_FD_SOCKET, -1, -1 }, HS_REMOTE_NEVER },
	{ { .nr = SYS_ioctl, .args = { 3, 0xae80 } }, { 0 }, HS_REMOTE_DELICATE },
	{ { .nr = SYS_ioctl, .args = { 3, 0x5401 } }, { 0 }, HS_REMOTE_NEVER },
	{ { .nr = 100000 }, { 0 }, HS_REMOTE_NEVER },
};

START_TEST(test_remote_rank)
{
	ck_assert_int_eq((int)hs_remote_rank(&rank_cases[_i].doing, &rank_cases[_i].fd, 1000),
			 (int)rank_cases[_i].rank);
}
END_TEST

static const struct {
	size_t xstate, wanted, least;
	long below; /* room between low and sp */
	bool fits;
} layout_cases[] = {
	{ 836, 0, 0, 4096, true },           { 836, 16384, 0, 32768, true }, { 836, 16384, 0, 4096, true },
	{ 836, 16384, 16384, 16384, false }, { 836, 0, 0, 0, false },        { 836, 0, 0, -4096, false },
	{ 836, 0, 0, 1280, false },          { 836, 1, 1, 2048, true },      { 11012, 0, 0, 8192, false },
	{ 11012, 16, 16, 16384, true },      { 2700, 777, 777, 8191, true },
};

START_TEST(test_remote_layout)
{
	/* The stack pointer of a thread in user mode can be anything. */
	for (uint64_t shift = 0; shift < 129; shift++) {
		uint64_t sp = 0x7ffe00010000ULL + shift, low = sp - (uint64_t)layout_cases[_i].below;
		size_t xstate = layout_cases[_i].xstate, least = layout_cases[_i].least;
		struct hs_remote_room room;
		int rc = hs_remote_layout_below(sp, low, xstate, layout_cases[_i].wanted, least, &room);

		ck_assert_int_eq(rc, layout_cases[_i].fits ? 0 : -ENOSPC);
		if (rc)
			continue;
		ck_assert_uint_ge(room.frame, low);
		ck_assert_uint_eq(room.frame % 16, 8);
		ck_assert_uint_le(room.frame + 440, room.xstate);
		ck_assert_uint_eq(room.xstate % 64, 0);
		ck_assert_uint_le(room.xstate + xstate, room.data);
		ck_assert_uint_ge(room.data_size, least);
		ck_assert_uint_le(room.data_size, layout_cases[_i].wanted);
		ck_assert_uint_le(room.data + room.data_size, room.end);
		ck_assert_uint_le(room.end, sp - REMOTE_RED_ZONE);
	}
}
END_TEST

START_TEST(test_remote_layout_lowest_stack)
{
	struct hs_remote_room room;

	ck_assert_int_eq(hs_remote_layout_below(100, 0, 836, 0, 0, &room), -ENOSPC);
}
END_TEST

#define NR_OF     offsetof(struct seccomp_data, nr)
#define ARCH_OF   offsetof(struct seccomp_data, arch)
#define ARG_OF(n) ((uint32_t)offsetof(struct seccomp_data, args) + 8U * (n))
#define KILL      SECCOMP_RET_KILL_PROCESS
#define ALLOW     SECCOMP_RET_ALLOW

static struct sock_filter only_madvise[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARCH_OF),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR_OF),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, ALLOW),
	BPF_STMT(BPF_RET | BPF_K, KILL),
};
static struct sock_filter third_arg_12[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG_OF(2)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 12, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
	BPF_STMT(BPF_RET | BPF_K, ALLOW),
};
/* (arg0 low word * 3 + length of the record) ^ X, through memory and back; RET A */
static struct sock_filter arithmetic[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
	BPF_STMT(BPF_MISC | BPF_TAX, 0),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG_OF(0)),
	BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 3),
	BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
	BPF_STMT(BPF_ST, 15),
	BPF_STMT(BPF_LDX | BPF_IMM, 5),
	BPF_STMT(BPF_LD | BPF_MEM, 15),
	BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0),
	BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),
	BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 1),
	BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 1),
	BPF_STMT(BPF_ALU | BPF_NEG, 0),
	BPF_STMT(BPF_ALU | BPF_NEG, 0),
	BPF_STMT(BPF_RET | BPF_A, 0),
};
static struct sock_filter jump_over[] = {
	BPF_STMT(BPF_JMP | BPF_JA, 1),
	BPF_STMT(BPF_RET | BPF_K, KILL),
	BPF_STMT(BPF_RET | BPF_K, ALLOW),
};
static struct sock_filter divide_by_x[] = { BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), BPF_STMT(BPF_RET | BPF_K, ALLOW) };
static struct sock_filter no_end[] = { BPF_STMT(BPF_LD | BPF_IMM, 1) };
static struct sock_filter beyond[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, ALLOW) };
static struct sock_filter unknown_code[] = { BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, ALLOW) };
static struct sock_filter address[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)RIP, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, ALLOW),
	BPF_STMT(BPF_RET | BPF_K, KILL),
};

#define PROG(p)                                                                                                        \
	{                                                                                                              \
		.len = sizeof(p) / sizeof((p)[0]), .filter = (p)                                                       \
	}
static const struct {
	struct sock_fprog prog;
	long nr;
	uint64_t args[6];
	uint32_t action;
} filter_cases[] = {
	{ PROG(only_madvise), SYS_madvise, { 0 }, ALLOW },
	{ PROG(only_madvise), SYS_read, { 0 }, KILL },
	{ PROG(third_arg_12), SYS_madvise, { 0, 0, 12 }, ALLOW },
	{ PROG(third_arg_12), SYS_madvise, { 12, 12, 13 }, SECCOMP_RET_ERRNO | 1 },
	{ PROG(arithmetic), 0, { 7 }, ((7 * 3 + 64) ^ 5) * 4 / 2 - 1 },
	{ PROG(jump_over), 0, { 0 }, ALLOW },
	{ PROG(divide_by_x), 0, { 0 }, KILL },
	{ PROG(no_end), 0, { 0 }, KILL },
	{ PROG(beyond), 0, { 0 }, KILL },
	{ PROG(unknown_code), 0, { 0 }, KILL },
	{ PROG(address), 0, { 0 }, ALLOW },
};

START_TEST(test_remote_filter_run)
{
	ck_assert_uint_eq(hs_remote_filter_run(&filter_cases[_i].prog, filter_cases[_i].nr, filter_cases[_i].args, RIP),
			  filter_cases[_i].action);
}
END_TEST

static const struct {
	uint32_t first, second;
	bool allow;
} action_cases[] = {
	{ ALLOW, ALLOW, true },
	{ ALLOW, SECCOMP_RET_LOG, true },
	{ ALLOW, SECCOMP_RET_TRACE, false },
	{ ALLOW, SECCOMP_RET_ERRNO | 1, false },
	{ SECCOMP_RET_TRAP, ALLOW, false },
	{ SECCOMP_RET_USER_NOTIF, ALLOW, false },
	{ SECCOMP_RET_KILL_THREAD, ALLOW, false },
	{ ALLOW, KILL, false },
	{ ALLOW, 0x12340000, false },
};

START_TEST(test_remote_filters_all_agree)
{
	struct sock_filter one = BPF_STMT(BPF_RET | BPF_K, action_cases[_i].first);
	struct sock_filter two = BPF_STMT(BPF_RET | BPF_K, action_cases[_i].second);
	struct hs_remote_filters f = { .nr = 2, .prog = { { 1, &one }, { 1, &two } } };
	uint64_t args[6] = { 0 };

	ck_assert(hs_remote_filters_allow(&f, SYS_madvise, args, RIP) == action_cases[_i].allow);
	f.nr = 0;
	ck_assert(hs_remote_filters_allow(&f, SYS_madvise, args, RIP));
}
END_TEST

START_TEST(test_remote_xstate_refused)
{
	uint8_t *x = calloc(1, REMOTE_XSTATE_MAX);
	uint64_t enabled = 3;
	size_t size;

	ck_assert_int_eq(hs_remote_xstate_prepare(x, 512, &size), -ENOTSUP);  /* too short */
	ck_assert_int_eq(hs_remote_xstate_prepare(x, 4096, &size), -ENOTSUP); /* no feature on */
	memcpy(x + 464, &enabled, sizeof(enabled));
	ck_assert_int_eq(hs_remote_xstate_prepare(x, 576, &size), 0); /* SSE alone */
	ck_assert_uint_eq(size, 580);
	ck_assert_uint_eq(*(uint32_t *)(x + 576), 0x46505845);
	memset(x, 0, REMOTE_XSTATE_MAX);
	enabled = 3 | 1ULL << 62;
	memcpy(x + 464, &enabled, sizeof(enabled));
	ck_assert_int_eq(hs_remote_xstate_prepare(x, 4096, &size), -ENOTSUP); /* a feature no processor has */
	free(x);
}
END_TEST

#define NR(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
	Suite *s = suite_create("remote/pure");
	TCase *t = tcase_create("pure");

	tcase_add_loop_test(t, test_remote_restart, 0, NR(restart_cases));
	tcase_add_loop_test(t, test_remote_restart_of_the_rest, 0, NR(rest_cases));
	tcase_add_loop_test(t, test_remote_rank, 0, NR(rank_cases));
	tcase_add_loop_test(t, test_remote_layout, 0, NR(layout_cases));
	tcase_add_test(t, test_remote_layout_lowest_stack);
	tcase_add_loop_test(t, test_remote_filter_run, 0, NR(filter_cases));
	tcase_add_loop_test(t, test_remote_filters_all_agree, 0, NR(action_cases));
	tcase_add_test(t, test_remote_xstate_refused);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
