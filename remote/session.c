/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One hold of one thread of the guest: attach, calls, detach. At every instant of it our process may die, and the
 * thread goes on by itself. The order of steps, and what each is for:
 *
 *  1. SEIZE, INTERRUPT. The thread stops inside the kernel's signal code, its registers its own. If we die the kernel
 *     lets it go, and restarts the call it was in.
 *  2. Look: registers, extended state, signal mask, filters, a restartable sequence in user mode, the stack. Anything
 *     that is not surely right: detach, nothing has been changed.
 *  3. Below the red zone of its stack, write a signal frame that holds its own registers. If we die, bytes that nobody
 *     looks at have changed.
 *  4. One SETREGS: rip on `syscall; ret`, rsp on the frame, whose first word is the address of `mov $15, %eax;
 *     syscall`. If we die from here on, the thread makes the call, returns into rt_sigreturn, and is back. The one step
 *     is atomic: before it the thread is itself, after it the thread gets back to itself.
 *  5. The call's entry and exit stops. At the exit stop the next call is set up by SETREGS in the same way: one frame
 *     covers any number of calls.
 *  6. INTERRUPT again and let it run: before it comes to user mode it stops inside the kernel's signal code once more,
 *     and there it is given its own registers as they were in step 1. If we die before: rt_sigreturn. If we die after:
 *     it is itself, with a few bytes below its red zone not put back.
 *  7. Put those bytes back, detach. The kernel's signal code runs on with what it would have seen without us: it
 *     restarts the call (restart_syscall included), or delivers a signal that came meanwhile and has the call return
 *     EINTR. That is why the end is not rt_sigreturn: after that a signal would find no interrupted call.
 *
 * Any other stop seen in between is inside the signal code too (a signal being delivered, a group stop): own registers,
 * own bytes, detach with that signal. It loses nothing, and the work goes on in another session.
 *
 * What is left: we die, and in the same microseconds a signal comes. Then the handler runs and the call restarts
 * instead of returning EINTR, as if the signal had come just before the call.
 *
 * A thread may be in uninterruptible sleep and never come to the stop. Before step 4 the end of the tracing thread lets
 * it go as it was: `abandon` asks for that, and it is why every public call runs in a thread of its own. After it,
 * `keep` has the tracing thread stay on, after the call has been given up, until the stop comes and steps 6 and 7 can
 * follow: a call that nobody waits for any more is not made when the guest thaws an hour later.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/times.h"
#include "remote_internal.h"

#define SPIN_US 50U /* looked for without a nap: most calls are over by then */

#define FLAGS_CLEARED (REMOTE_FLAG_TRAP | 0x400ULL | 0x10000ULL | 0x40000ULL) /* trap, direction, resume, alignment */

uint64_t hs_remote_now_us(void)
{
	return hs_monotonic_us();
}

/* ---- waiting ---- */

/*
 * Waits for the next stop. *code: the signal, with the event in the second byte. -ESRCH: the thread has ended (its
 * status is left for whoever is its parent). -ETIMEDOUT.
 *
 * Looks, and does not block: there is no wait for a child with a time limit. A call lasts microseconds, so looking
 * again at once is also the fastest; what takes longer is looked at less and less often, an eighth of its time late.
 */
int hs_remote_wait_stop(struct hs_remote_session *s, uint64_t limit_us, int *code)
{
	uint64_t start = hs_remote_now_us(), now;

	for (unsigned int i = 0;; i++) {
		siginfo_t si = { .si_pid = 0 };

		if (hs_remote_sys->look(s->tid, &si)) {
			if (errno == EINTR)
				continue;
			hs_remote_lost(s); /* another thread's exec has taken its place */
			return -ESRCH;
		}
		if (si.si_pid != 0) {
			if (si.si_code == CLD_TRAPPED || si.si_code == CLD_STOPPED) {
				*code = si.si_status;
				return 0;
			}
			s->attached = false;
			return -ESRCH;
		}
		if (i < 16)
			continue;
		now = hs_remote_now_us();
		if (now - start >= limit_us)
			return -ETIMEDOUT;
		if (now - start < SPIN_US) {
			(void)sched_yield();
		} else {
			uint64_t us = (now - start) / 8;

			if (us < 10)
				us = 10;
			if (us > 5000)
				us = 5000;
			(void)nanosleep(&(struct timespec){ .tv_nsec = (long)us * 1000 }, NULL);
		}
	}
}

/* ---- letting go ---- */

int hs_remote_move(const struct hs_remote_session *s, bool write, void *buf, uint64_t addr, size_t size)
{
	struct iovec local = { buf, size }, remote = { (void *)addr, size };
	ssize_t n = write ? hs_remote_sys->vm_write(s->tid, &local, &remote, 1)
			  : hs_remote_sys->vm_read(s->tid, &local, &remote, 1);

	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EFAULT;
}

static void count_hold(struct hs_remote_session *s)
{
	struct hs_remote_stats *st = &s->r->stats;
	uint64_t held = hs_remote_now_us() - s->start_us;

	st->stopped_us += held;
	if (held > st->longest_stop_us)
		st->longest_stop_us = held;
}

static void detach(struct hs_remote_session *s, int sig)
{
	if (hs_remote_sys->ptrace(PTRACE_DETACH, s->tid, NULL, (void *)(long)sig))
		hs_remote_lost(s);
	s->attached = false;
}

/*
 * At a stop inside the kernel's signal code: own registers, own bytes, and go. Should the registers not be taken, the
 * frame stays where it is, as it is what brings the thread back.
 */
void hs_remote_release(struct hs_remote_session *s, int sig)
{
	bool own;

	if (s->attached) {
		own = hs_remote_sys->ptrace(PTRACE_SETREGS, s->tid, NULL, &s->kernel) == 0 ||
		      hs_remote_sys->ptrace(PTRACE_SETREGS, s->tid, NULL, &s->kernel) == 0;
		if (s->touched && (own || !s->planted))
			(void)hs_remote_move(s, true, s->r->saved, s->room.frame,
					     (size_t)(s->room.end - s->room.frame));
		detach(s, sig);
	}
	s->touched = false;
	count_hold(s);
	hs_remote_filters_finish(&s->filters);
}

void hs_remote_detach(struct hs_remote_session *s, int sig)
{
	if (s->attached)
		detach(s, sig);
	hs_remote_filters_finish(&s->filters);
}

void hs_remote_lost(struct hs_remote_session *s)
{
	struct hs_remote_status st;
	int rc = hs_remote_read_status(s->r->proc_fd, s->tid, &st);

	if (rc != -ESRCH && (rc || (st.state != 'Z' && st.state != 'X')))
		s->r->abandon = true;
	s->attached = false;
	hs_remote_filters_finish(&s->filters);
}

void hs_remote_abandon(struct hs_remote_session *s)
{
	s->attached = false;
	s->r->abandon = true;
	hs_remote_filters_finish(&s->filters);
}

void hs_remote_keep(struct hs_remote_session *s)
{
	hs_remote_filters_finish(&s->filters);
	s->r->kept = *s;
	s->attached = false;
	s->r->abandon = true;
}

/* Is this signal the thread's answer to what we made it do? Then it must not reach the guest. */
static bool our_fault(const struct hs_remote_session *s, int sig)
{
	siginfo_t si;

	if (!s->planted || hs_remote_sys->ptrace(PTRACE_GETSIGINFO, s->tid, NULL, &si) || si.si_code <= 0)
		return false;
	if (sig == SIGBUS)
		return si.si_code != BUS_MCEERR_AO; /* that one is news of bad memory elsewhere */
	return sig == SIGSEGV || sig == SIGILL || sig == SIGFPE || sig == SIGTRAP || sig == SIGSYS;
}

int hs_remote_let_go(struct hs_remote_session *s, int code)
{
	int sig = code & 0xff;

	if (code >> 8) { /* a group stop or its end: no signal to pass on */
		hs_remote_release(s, 0);
		return -EAGAIN;
	}
	if (our_fault(s, sig)) {
		hs_remote_release(s, 0);
		return -EFAULT;
	}
	hs_remote_release(s, sig);
	return -EAGAIN;
}

/* ---- calls ---- */

/* From a call's entry, or before it, to its exit. */
static int run_to_exit(struct hs_remote_session *s, long *result)
{
	struct __ptrace_syscall_info info;
	bool late;
	int code, rc;

	for (int stop = 0; stop < 2; stop++) {
		if (hs_remote_sys->ptrace(PTRACE_SYSCALL, s->tid, NULL, NULL)) {
			hs_remote_lost(s);
			return -ESRCH;
		}
		s->in_signal_code = false;
		rc = hs_remote_wait_stop(s, hs_remote_time_left_us(s->r), &code);
		late = rc == -ETIMEDOUT;
		if (late && hs_remote_sys->ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL) == 0)
			rc = hs_remote_wait_stop(s, REMOTE_GRACE_US, &code);
		if (rc == -ETIMEDOUT)
			hs_remote_keep(s);
		if (rc)
			return rc;
		if (code != REMOTE_SYSCALL_STOP) {
			rc = hs_remote_let_go(s, code);
			return late && rc == -EAGAIN ? -ETIMEDOUT : rc;
		}
	}
	if (hs_remote_sys->ptrace(PTRACE_GET_SYSCALL_INFO, s->tid, (void *)sizeof(info), &info) <= 0 ||
	    info.op != PTRACE_SYSCALL_INFO_EXIT) {
		hs_remote_abandon(s);
		return -ESRCH;
	}
	*result = (long)info.exit.rval;
	return 0;
}

int hs_remote_session_call(struct hs_remote_session *s, long nr, const uint64_t args[6], long *result)
{
	const struct hs_remote_gadgets *g = &s->r->gadgets;
	struct user_regs_struct regs = s->user;
	int rc;

	/* rt_sigreturn is made with the registers that the call leaves. */
	if (!hs_remote_filters_allow(&s->filters, nr, args, g->call + 2) ||
	    !hs_remote_filters_allow(&s->filters, SYS_rt_sigreturn, args, g->sigreturn + g->sigreturn_size))
		return -EACCES;
	rc = hs_remote_filters_recheck(s);
	if (rc == -ESRCH)
		hs_remote_lost(s);
	else if (rc)
		hs_remote_session_end(s);
	if (rc)
		return rc;

	regs.rip = g->call;
	regs.rsp = s->room.frame;
	regs.rax = (unsigned long long)nr;
	regs.orig_rax = (unsigned long long)-1; /* no restart of anything */
	regs.eflags &= ~FLAGS_CLEARED;
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	regs.r8 = args[4];
	regs.r9 = args[5];

	do {
		s->planted = true;
		if (hs_remote_sys->ptrace(PTRACE_SETREGS, s->tid, NULL, &regs)) {
			hs_remote_lost(s);
			return -ESRCH;
		}
		rc = run_to_exit(s, result);
		if (rc) {
			hs_remote_filters_finish(&s->filters);
			return rc;
		}
		s->r->stats.nr_calls++;
		/*
		 * Interrupted: by a signal that shows itself on the way back to user mode, or by kernel work that never
		 * shows itself. Made again, it meets the first before it starts.
		 */
		if (*result > -512 || *result < -516) {
			hs_remote_time_progress(s->r);
			return 0;
		}
	} while (hs_remote_time_left_us(s->r));
	*result = -ECANCELED;
	hs_remote_session_end(s); /* it blocks, and has been interrupted */
	return -ETIMEDOUT;
}

int hs_remote_session_write(struct hs_remote_session *s, const void *buf, size_t size)
{
	return size > s->room.data_size ? -EINVAL : hs_remote_move(s, true, (void *)(uintptr_t)buf, s->room.data, size);
}

int hs_remote_session_read(struct hs_remote_session *s, void *buf, size_t size)
{
	return size > s->room.data_size ? -EINVAL : hs_remote_move(s, false, buf, s->room.data, size);
}

void hs_remote_session_end(struct hs_remote_session *s)
{
	int code, rc;

	if (!s->attached)
		return;
	if (!s->in_signal_code) {
		/* It stands at a call's exit: one more step, and it is inside the signal code. */
		if (hs_remote_sys->ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL) ||
		    hs_remote_sys->ptrace(PTRACE_CONT, s->tid, NULL, NULL)) {
			hs_remote_abandon(s);
			return;
		}
		rc = hs_remote_wait_stop(s, hs_remote_time_left_us(s->r) + REMOTE_GRACE_US, &code);
		if (rc == -ETIMEDOUT)
			hs_remote_keep(s);
		if (rc) {
			hs_remote_filters_finish(&s->filters);
			return;
		}
		if (code != REMOTE_TRAP_STOP) {
			(void)hs_remote_let_go(s, code);
			return;
		}
	}
	hs_remote_release(s, 0);
}
