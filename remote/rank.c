/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How well a thread suits, from what it is blocked in. Pure.
 *
 * A stop interrupts the call that a thread waits in. Most calls are then made again by the kernel, unseen; some return
 * EINTR, by signal(7) and by what the kernel's code does:
 *
 *   - always: epoll_wait and its like, semop, sigtimedwait, io_getevents, io_uring_enter, KVM_RUN;
 *   - on a socket that has a time limit (SO_RCVTIMEO, SO_SNDTIMEO): accept, connect, recv, read, ...;
 *   - with what was done so far: what transfers in parts (write, send, sendfile, a receive with MSG_WAITALL);
 *   - or as it likes: an ioctl, a read from a device, a call that we do not know.
 *
 * Those of the first two kinds can be made again, by us (restart.c), if they have no time limit; if they have one that
 * is short, and known, the thread is asked when the call is over. All else is never interrupted: another thread, or
 * another moment. KVM_RUN alone returns EINTR to a VMM if there is no other thread: each VMM's loop has to expect that.
 */
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "remote_internal.h"

#define KVM_RUN_NR 0xae80

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* A call that returns EINTR, whose time limit is this. */
static enum hs_remote_rank by_limit(int64_t limit_ms, int64_t most_ms)
{
	if (limit_ms == HS_REMOTE_LIMIT_NONE)
		return HS_REMOTE_ENDLESS;
	return limit_ms != HS_REMOTE_LIMIT_UNKNOWN && limit_ms <= most_ms ? HS_REMOTE_SLEEPING : HS_REMOTE_NEVER;
}

/* A call that waits on a descriptor, to receive or (only connect) to send. */
static enum hs_remote_rank by_fd(const struct hs_remote_fd *fd, bool send, int64_t most_ms)
{
	int64_t limit = send ? fd->send_ms : fd->receive_ms;

	switch (fd->kind) {
	case HS_REMOTE_FD_RESTARTS:
		return HS_REMOTE_IDLE;
	case HS_REMOTE_FD_SOCKET:
		return limit == HS_REMOTE_LIMIT_NONE ? HS_REMOTE_IDLE : by_limit(limit, most_ms);
	case HS_REMOTE_FD_UNKNOWN:
		break;
	}
	return HS_REMOTE_NEVER;
}

bool hs_remote_rank_needs_fd(long nr)
{
	switch (nr) {
	case SYS_read:
	case SYS_readv:
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect:
	case SYS_recvfrom:
	case SYS_recvmsg:
		return true;
	default:
		return false;
	}
}

enum hs_remote_rank hs_remote_rank(const struct hs_remote_doing *doing, const struct hs_remote_fd *fd, int64_t most_ms)
{
	const uint64_t *a = doing->args;

	if (doing->running)
		return HS_REMOTE_RUNNING;
	switch (doing->nr) {
	/* made again by the kernel, with the time that is left, if there is a limit */
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_wait4:
	case SYS_waitid:
	case SYS_flock:
	case SYS_msgsnd:
	case SYS_msgrcv:
	case SYS_mq_timedreceive: /* until an absolute time, as those below */
	case SYS_mq_timedsend:
	case SYS_futex_waitv:
		return HS_REMOTE_IDLE;
	case SYS_restart_syscall:
	case SYS_nanosleep:
		return HS_REMOTE_SLEEPING;
	case SYS_clock_nanosleep:
		return a[1] & TIMER_ABSTIME ? HS_REMOTE_IDLE : HS_REMOTE_SLEEPING;
	case SYS_poll:
	case SYS_futex:
		return hs_remote_call_endless(doing->nr, a) ? HS_REMOTE_IDLE : HS_REMOTE_SLEEPING;
	case SYS_epoll_wait:
	case SYS_epoll_pwait:
		return by_limit((int)a[3] < 0 ? HS_REMOTE_LIMIT_NONE : (int)a[3], most_ms);
	case SYS_epoll_pwait2:
	case SYS_semop:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait:
	case SYS_io_getevents:
	case SYS_io_uring_enter: /* with a time limit it is behind a pointer */
		return hs_remote_call_endless(doing->nr, a) ? HS_REMOTE_ENDLESS : HS_REMOTE_NEVER;
	case SYS_connect:
		return by_fd(fd, true, most_ms);
	case SYS_read:
	case SYS_readv:
	case SYS_accept:
	case SYS_accept4:
		return by_fd(fd, false, most_ms);
	case SYS_recvfrom:
		return a[3] & MSG_WAITALL ? HS_REMOTE_NEVER : by_fd(fd, false, most_ms);
	case SYS_recvmsg:
		return a[2] & MSG_WAITALL ? HS_REMOTE_NEVER : by_fd(fd, false, most_ms);
	case SYS_ioctl:
		return (uint32_t)a[1] == KVM_RUN_NR ? HS_REMOTE_DELICATE : HS_REMOTE_NEVER;
	default:
		return HS_REMOTE_NEVER;
	}
}
