/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a thread's seccomp filters would say to a call that it has not made yet. A filter can answer a call by killing
 * the process: so no call is made that was not first put to every filter of the thread, with the very number,
 * arguments and address that it will have. The filters are read with PTRACE_SECCOMP_GET_FILTER and run here: they are
 * classic BPF programs over one small record, without side effects.
 *
 * Filters may come while the thread is held: another thread can put one on all of the process
 * (SECCOMP_FILTER_FLAG_TSYNC), stopped ones included. So it is asked again before each call whether they are still
 * those that were read; and since one may come between that and the call, the kernel leaves this thread's
 * filters out, at our request before it, as long as we hold it (PTRACE_O_SUSPEND_SECCOMP). All that the thread does
 * meanwhile is our calls, which those that were read allow. Where the kernel refuses that, to one without
 * CAP_SYS_ADMIN, that window of a microsecond is left.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "remote_internal.h"

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif

void hs_remote_filters_finish(struct hs_remote_filters *f)
{
	for (size_t i = 0; i < f->nr; i++)
		free(f->prog[i].filter);
	f->nr = 0;
}

int hs_remote_filters_load(struct hs_remote_filters *f, pid_t tid, int mode, struct hs_error *err)
{
	f->nr = 0;
	if (mode == 1)
		return hs_error_set(err, -ENOTSUP, "thread %d is in strict seccomp mode, which allows no call", tid);
	for (;;) {
		long len = hs_remote_sys->ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)f->nr, NULL);

		if (len < 0 && errno == ENOENT)
			return 0; /* there are no more */
		if (len < 0 && errno == EINVAL && mode == 0 && f->nr == 0)
			return 0; /* there are none */
		if (len < 0) {
			int e = errno;

			hs_remote_filters_finish(f);
			if (e == ESRCH)
				return hs_error_set(err, -ESRCH, "thread %d is gone", tid);
			return hs_error_set(
			    err, -ENOTSUP,
			    "the seccomp filters of thread %d cannot be read (%s): that needs "
			    "CAP_SYS_ADMIN, a kernel with CONFIG_CHECKPOINT_RESTORE, and that we run "
			    "under no seccomp filter ourselves (the unit of hs-shared names the settings of "
			    "systemd that make one)",
			    tid, strerror(e));
		}
		if (f->nr == REMOTE_FILTERS_MAX || len == 0 || len > BPF_MAXINSNS) {
			hs_remote_filters_finish(f);
			return hs_error_set(err, -ENOTSUP, "thread %d has more seccomp filters than we look at", tid);
		}

		struct sock_filter *insns = hs_remote_sys->alloc((size_t)len, sizeof(*insns));

		if (!insns || hs_remote_sys->ptrace(PTRACE_SECCOMP_GET_FILTER, tid, (void *)f->nr, insns) != len) {
			free(insns);
			hs_remote_filters_finish(f);
			return hs_error_set(err, -EAGAIN, "the seccomp filters of thread %d could not be read", tid);
		}
		f->prog[f->nr].len = (unsigned short)len;
		f->prog[f->nr].filter = insns;
		f->nr++;
	}
}

int hs_remote_filters_recheck(struct hs_remote_session *s)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP;
	struct hs_remote_status st;

	if (!s->suspended && hs_remote_sys->ptrace(PTRACE_SETOPTIONS, s->tid, NULL, (void *)options) == 0)
		s->suspended = true;
	if (hs_remote_sys->ptrace(PTRACE_SECCOMP_GET_FILTER, s->tid, (void *)s->filters.nr, NULL) >= 0)
		return -EAGAIN;
	if (errno == ESRCH)
		return -ESRCH;
	/* There is none behind those. */
	if (errno == ENOENT)
		return 0;
	/* It has no filters, or they cannot be read: then its status says it. */
	if (s->filters.nr || hs_remote_read_status(s->r->proc_fd, s->tid, &st) || st.seccomp != 0)
		return -EAGAIN;
	return 0;
}

/* One ALU step; false: division by zero, which ends a program with 0. */
static bool alu(uint16_t code, uint32_t *a, uint32_t b)
{
	switch (BPF_OP(code)) {
	case BPF_ADD:
		*a += b;
		return true;
	case BPF_SUB:
		*a -= b;
		return true;
	case BPF_MUL:
		*a *= b;
		return true;
	case BPF_DIV:
		if (!b)
			return false;
		*a /= b;
		return true;
	case BPF_AND:
		*a &= b;
		return true;
	case BPF_OR:
		*a |= b;
		return true;
	case BPF_XOR:
		*a ^= b;
		return true;
	case BPF_LSH:
		*a = b < 32 ? *a << b : 0;
		return true;
	case BPF_RSH:
		*a = b < 32 ? *a >> b : 0;
		return true;
	case BPF_NEG:
		*a = 0 - *a;
		return true;
	default:
		return false;
	}
}

static bool jump_taken(uint16_t code, uint32_t a, uint32_t b)
{
	switch (BPF_OP(code)) {
	case BPF_JEQ:
		return a == b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JSET:
		return (a & b) != 0;
	default:
		return false;
	}
}

uint32_t hs_remote_filter_run(const struct sock_fprog *prog, long nr, const uint64_t args[6], uint64_t ip)
{
	struct seccomp_data data = { .nr = (int)nr, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = ip };
	uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = { 0 };

	for (int i = 0; i < 6; i++)
		data.args[i] = args[i];

	/* Classic BPF only jumps forward, so this ends. */
	for (size_t pc = 0; pc < prog->len; pc++) {
		const struct sock_filter *f = &prog->filter[pc];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (f->k > sizeof(data) - sizeof(a) || f->k % sizeof(a))
				return SECCOMP_RET_KILL_PROCESS;
			memcpy(&a, (const char *)&data + f->k, sizeof(a));
			break;
		case BPF_LD | BPF_W | BPF_LEN:
			a = sizeof(data);
			break;
		case BPF_LDX | BPF_W | BPF_LEN:
			x = sizeof(data);
			break;
		case BPF_LD | BPF_IMM:
			a = f->k;
			break;
		case BPF_LDX | BPF_IMM:
			x = f->k;
			break;
		case BPF_LD | BPF_MEM:
		case BPF_LDX | BPF_MEM:
		case BPF_ST:
		case BPF_STX:
			if (f->k >= BPF_MEMWORDS)
				return SECCOMP_RET_KILL_PROCESS;
			if (f->code == (BPF_LD | BPF_MEM))
				a = mem[f->k];
			else if (f->code == (BPF_LDX | BPF_MEM))
				x = mem[f->k];
			else
				mem[f->k] = f->code == BPF_ST ? a : x;
			break;
		case BPF_MISC | BPF_TAX:
			x = a;
			break;
		case BPF_MISC | BPF_TXA:
			a = x;
			break;
		case BPF_RET | BPF_K:
			return f->k;
		case BPF_RET | BPF_A:
			return a;
		case BPF_JMP | BPF_JA:
			if (f->k >= prog->len)
				return SECCOMP_RET_KILL_PROCESS;
			pc += f->k;
			break;
		default:
			if (BPF_CLASS(f->code) == BPF_ALU) {
				if (!alu(f->code, &a, BPF_SRC(f->code) == BPF_X ? x : f->k))
					return SECCOMP_RET_KILL_PROCESS;
			} else if (BPF_CLASS(f->code) == BPF_JMP) {
				pc += jump_taken(f->code, a, BPF_SRC(f->code) == BPF_X ? x : f->k) ? f->jt : f->jf;
			} else {
				return SECCOMP_RET_KILL_PROCESS;
			}
		}
	}
	return SECCOMP_RET_KILL_PROCESS;
}

bool hs_remote_filters_allow(const struct hs_remote_filters *f, long nr, const uint64_t args[6], uint64_t ip)
{
	for (size_t i = 0; i < f->nr; i++) {
		uint32_t action = hs_remote_filter_run(&f->prog[i], nr, args, ip) & SECCOMP_RET_ACTION_FULL;

		if (action != SECCOMP_RET_ALLOW && action != SECCOMP_RET_LOG)
			return false;
	}
	return true;
}
