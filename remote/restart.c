/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an interrupted system call needs. Pure: registers in, registers out.
 *
 * A thread that is stopped inside a system call shows how the kernel means to go on, in rax:
 *
 *   -512 -513 -514  the same call again, unless a handler runs and has it return EINTR
 *   -516            restart_syscall, which knows from the kernel's memory how much time is left
 *   anything else   the call is over
 *
 * Two ways lead back. While we live, the thread gets its own registers back at a stop where this logic of the kernel's
 * still follows: nothing is lost, not even the EINTR of a signal that came meanwhile. If we die, the frame brings it
 * back, and after rt_sigreturn no such logic follows: so the frame holds the registers as the kernel would have left
 * them. For -516 there are none, as rt_sigreturn makes restart_syscall return EINTR. A call without a time limit, or
 * with an absolute one, is the same when made again; any other has to be left alone until it is over. A call that was
 * interrupted before (by SIGSTOP, say) shows as restart_syscall itself; what it was at first stands in the code, where
 * the number is loaded right before the system call.
 *
 * A few calls return EINTR by themselves whenever they are interrupted, a debugger's stop included. Those too can
 * simply be made again if they have no time limit: they are given back as -514. With a time limit they are as well, but
 * then it begins anew: so that is done once, and the thread is asked when the call is over.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "remote_internal.h"

enum { RESTART_SYS = 512, RESTART_NOINTR = 513, RESTART_NOHAND = 514, RESTART_BLOCK = 516 };

/* io_uring_enter: a time limit may be behind the pointer. */
#define URING_EXT_ARG (1U << 3)

bool hs_remote_call_endless(long nr, const uint64_t a[6])
{
	switch (nr) {
	case SYS_poll:
		return (int)a[2] < 0;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return (int)a[3] < 0;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
		return a[3] == 0;
	case SYS_rt_sigtimedwait:
		return a[2] == 0;
	case SYS_io_getevents:
		return a[4] == 0;
	case SYS_semop:
		return true;
	case SYS_io_uring_enter:
		return a[1] == 0 && !(a[3] & URING_EXT_ARG) && a[4] == 0;
	case SYS_futex:
		return a[3] == 0 || (a[1] & (uint64_t)FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
	default:
		return false;
	}
}

static void call_args(const struct user_regs_struct *regs, uint64_t a[6])
{
	a[0] = regs->rdi;
	a[1] = regs->rsi;
	a[2] = regs->rdx;
	a[3] = regs->r10;
	a[4] = regs->r8;
	a[5] = regs->r9;
}

/*
 * Does the call answer EINTR by itself when it is interrupted, with nothing done? Sockets do so if they have a time
 * limit.
 */
static bool answers_eintr(long nr)
{
	switch (nr) {
	case SYS_read:
	case SYS_readv:
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_recvmmsg:
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
	case SYS_io_uring_enter:
		return true;
	default:
		return false;
	}
}

enum hs_remote_restart hs_remote_restart(const struct user_regs_struct *stopped, long code_nr,
					 struct user_regs_struct *kernel, struct user_regs_struct *user)
{
	long nr = (long)stopped->orig_rax;
	long result = (long)stopped->rax;
	bool again = false;
	uint64_t a[6];

	*kernel = *stopped;
	*user = *stopped;
	user->orig_rax = (unsigned long long)-1;
	if (nr < 0)
		return HS_REMOTE_READY; /* in user mode */

	call_args(stopped, a);
	if (result == -RESTART_SYS || result == -RESTART_NOINTR || result == -RESTART_NOHAND) {
		again = true;
	} else if (result == -RESTART_BLOCK) {
		if (nr == SYS_restart_syscall)
			nr = code_nr;
		if (!hs_remote_call_endless(nr, a))
			return HS_REMOTE_TIMED_SLEEP;
		/* Made again by its own number, not as restart_syscall, so that the next stop can tell what it is. */
		if (nr == (long)stopped->orig_rax)
			kernel->rax = (unsigned long long)-RESTART_NOHAND;
		again = true;
	} else if (result == -EINTR && answers_eintr(nr)) {
		kernel->rax = (unsigned long long)-RESTART_NOHAND;
		if (!hs_remote_call_endless(nr, a))
			return HS_REMOTE_TIMED_SLEEP; /* its time limit begins anew, once: its end is waited for */
		again = true;
	}
	if (again) {
		user->rax = (unsigned long long)nr;
		user->rip -= 2;
	}
	return HS_REMOTE_READY;
}

uint64_t hs_remote_call_mask_addr(const struct user_regs_struct *regs)
{
	switch ((long)regs->orig_rax) {
	case SYS_ppoll:
		return regs->r10;
	case SYS_epoll_pwait:
	case SYS_epoll_pwait2:
		return regs->r8;
	case SYS_rt_sigsuspend:
		return regs->rdi;
	case SYS_pselect6:
		return regs->r9; /* of a pointer to it */
	default:
		return 0;
	}
}
