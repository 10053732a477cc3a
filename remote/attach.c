/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a session begins: steps 1 to 3 of session.c, and all that is looked at before a thread is touched.
 * Whatever is not surely right ends here, with nothing changed.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "remote_internal.h"

#define REGSET_SHADOW_STACK 0x204
#define DISPATCH_CONFIG     0x4210 /* PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, kernel 6.4 and later */
#define USER_CS_64          0x33

static int refuse(struct hs_remote_session *s, int code, struct hs_error *err, const char *what)
{
	hs_remote_detach(s, 0);
	return hs_error_set(err, code, "thread %d of process %d %s", s->tid, s->r->pid, what);
}

static int gone(struct hs_remote_session *s, struct hs_error *err)
{
	bool held = s->attached;

	hs_remote_filters_finish(&s->filters);
	if (held)
		hs_remote_lost(s);
	if (held && s->r->abandon)
		return hs_error_set(err, -EAGAIN, "thread %d of process %d cannot be held", s->tid, s->r->pid);
	return hs_error_set(err, -ESRCH, "thread %d of process %d is gone", s->tid, s->r->pid);
}

static int busy(struct hs_remote *r, pid_t tracer, struct hs_error *err)
{
	char comm[17];

	if (hs_remote_is_ours(tracer))
		return hs_error_set(err, -EAGAIN, "process %d is held by another thread of this process", r->pid);
	hs_remote_comm(r->proc_dir, tracer, comm);
	return hs_error_set(err, -EBUSY, "process %d is traced by process %d (%s): end that first", r->pid, tracer,
			    comm);
}

/* Steps that need no attach. */
static int look_before(struct hs_remote_session *s, struct hs_remote_status *st, struct hs_error *err)
{
	int rc = hs_remote_read_status(s->r->proc_fd, s->tid, st);

	if (rc == -ESRCH || (rc == 0 && (st->state == 'Z' || st->state == 'X')))
		return gone(s, err);
	if (rc)
		return hs_error_set(err, rc, "cannot read the status of process %d: %s", s->r->pid, strerror(-rc));
	if (hs_remote_maps_gone(s->r->maps_fd, s->r->no_query, s->r->gadgets.call))
		return hs_error_set(err, -ESRCH, "process %d is gone, or runs another program", s->r->pid);
	if (st->tracer)
		return busy(s->r, st->tracer, err);
	if (st->state == 'T' || st->state == 't')
		return hs_error_set(err, -EBUSY, "process %d is stopped: let it go on (SIGCONT) first", s->r->pid);
	if (st->state == 'D')
		return hs_error_set(err, -EAGAIN, "thread %d is in uninterruptible sleep", s->tid);
	if (st->shadow_stack)
		return hs_error_set(err, -ENOTSUP,
				    "process %d has a shadow stack (CET), which forbids calls from outside: start it "
				    "with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
				    s->r->pid);
	return 0;
}

static int attach(struct hs_remote_session *s, struct hs_error *err)
{
	struct hs_remote_status st;
	char path[32];
	int code, rc;

	if (hs_remote_sys->ptrace(PTRACE_SEIZE, s->tid, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD)) {
		int e = errno;

		/* A thread that is about to end answers EPERM as well. */
		if (e == ESRCH || hs_remote_read_status(s->r->proc_fd, s->tid, &st) || st.state == 'Z' ||
		    st.state == 'X' || hs_remote_maps_gone(s->r->maps_fd, s->r->no_query, s->r->gadgets.call))
			return gone(s, err);
		if (st.tracer)
			return busy(s->r, st.tracer, err);
		if (e == EPERM || e == EACCES)
			return hs_remote_forbidden(s->r->pid, err);
		return hs_error_set(err, -e, "cannot trace process %d: %s", s->r->pid, strerror(e));
	}
	s->attached = true;
	s->r->stats.nr_sessions++;

	/* Held by us the number cannot be used again, so this look is final. */
	(void)snprintf(path, sizeof(path), "task/%d", s->tid);
	if (faccessat(s->r->proc_fd, path, F_OK, 0)) {
		hs_remote_abandon(s);
		return gone(s, err);
	}

	s->start_us = hs_remote_now_us();
	if (hs_remote_sys->ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL)) {
		hs_remote_abandon(s);
		return gone(s, err);
	}
	rc = hs_remote_wait_stop(s, hs_remote_time_left_us(s->r) + REMOTE_GRACE_US, &code);
	if (rc == -ESRCH)
		return gone(s, err);
	if (rc) {
		hs_remote_abandon(s);
		return hs_remote_no_progress(s->r, s->tid, err);
	}
	if (code == REMOTE_TRAP_STOP)
		return 0;
	if (code >> 8)
		return refuse(s, -EBUSY, err, "is stopped: let it go on (SIGCONT) first");
	hs_remote_detach(s, code);
	return hs_error_set(err, -EAGAIN, "thread %d got signal %d", s->tid, code);
}

/* Which call is restart_syscall the rest of? `mov $nr, %eax; syscall` is how C libraries make a call. */
static long code_nr(const struct hs_remote_session *s, const struct user_regs_struct *regs)
{
	uint8_t code[7];
	int32_t nr;

	if (regs->orig_rax != SYS_restart_syscall || hs_remote_move(s, false, code, regs->rip - 7, sizeof(code)) ||
	    code[0] != 0xb8 || code[5] != 0x0f || code[6] != 0x05)
		return -1;
	memcpy(&nr, code + 1, sizeof(nr));
	return nr;
}

/*
 * A sleep with a time limit that only the kernel knows: let it go on until it is over, and stop at its exit. If we die
 * meanwhile, it just sleeps on.
 */
static int await_wake(struct hs_remote_session *s, uint64_t until_us, struct user_regs_struct *regs,
		      struct hs_error *err)
{
	for (;;) {
		uint64_t now = hs_remote_now_us();
		int code, rc;

		if (hs_remote_sys->ptrace(PTRACE_SYSCALL, s->tid, NULL, NULL))
			return gone(s, err);
		rc = hs_remote_wait_stop(s, until_us > now ? until_us - now : 0, &code);
		if (rc == -ETIMEDOUT) {
			if (hs_remote_sys->ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL) == 0)
				rc = hs_remote_wait_stop(s, REMOTE_GRACE_US, &code);
			if (rc == 0 && code == REMOTE_TRAP_STOP) {
				struct user_regs_struct kernel, user;

				if (hs_remote_sys->ptrace(PTRACE_GETREGS, s->tid, NULL, regs))
					return gone(s, err);
				(void)hs_remote_restart(regs, code_nr(s, regs), &kernel, &user);
				if (kernel.rax != regs->rax &&
				    hs_remote_sys->ptrace(PTRACE_SETREGS, s->tid, NULL, &kernel))
					return gone(s, err);
				return refuse(s, -EAGAIN, err, "waits for a set time");
			}
		}
		if (rc == -ETIMEDOUT) {
			hs_remote_abandon(s);
			return hs_remote_no_progress(s->r, s->tid, err);
		}
		if (rc)
			return gone(s, err);
		if (code != REMOTE_SYSCALL_STOP) {
			hs_remote_detach(s, code >> 8 ? 0 : code);
			return hs_error_set(err, -EAGAIN, "thread %d got signal %d", s->tid, code & 0xff);
		}

		struct __ptrace_syscall_info info;

		if (hs_remote_sys->ptrace(PTRACE_GET_SYSCALL_INFO, s->tid, (void *)sizeof(info), &info) <= 0 ||
		    hs_remote_sys->ptrace(PTRACE_GETREGS, s->tid, NULL, regs))
			return gone(s, err);
		if (info.op != PTRACE_SYSCALL_INFO_EXIT)
			continue;
		if (info.exit.rval <= -512 && info.exit.rval >= -516)
			continue; /* a signal woke it: its stop comes next */
		s->in_signal_code = false;
		s->start_us = hs_remote_now_us();
		return 0;
	}
}

/* A thread in user mode may be between the first and the last instruction of a sequence that must not be left. */
static int look_rseq(const struct hs_remote_session *s, uint64_t rip)
{
	struct __ptrace_rseq_configuration conf;
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs;
	uint64_t cs_addr = 0;

	if (hs_remote_sys->ptrace(PTRACE_GET_RSEQ_CONFIGURATION, s->tid, (void *)sizeof(conf), &conf) <= 0 ||
	    !conf.rseq_abi_pointer)
		return 0;
	if (hs_remote_move(s, false, &cs_addr, conf.rseq_abi_pointer + 8, sizeof(cs_addr)))
		return -EAGAIN;
	if (!cs_addr)
		return 0;
	if (hs_remote_move(s, false, &cs, cs_addr, sizeof(cs)))
		return -EAGAIN;
	return rip >= cs.start && rip - cs.start < cs.length ? -EAGAIN : 0;
}

/* Does a call like ppoll hold back a signal for its time that is let through otherwise? It would find the call gone. */
static int look_mask(const struct hs_remote_session *s, const struct user_regs_struct *regs, uint64_t sigmask)
{
	uint64_t addr = hs_remote_call_mask_addr(regs), mask;

	if (!addr || (long)s->kernel.rax != -514)
		return 0;
	if (regs->orig_rax == SYS_pselect6 && (hs_remote_move(s, false, &addr, addr, sizeof(addr)) || !addr))
		return addr ? -EAGAIN : 0;
	if (hs_remote_move(s, false, &mask, addr, sizeof(mask)))
		return -EAGAIN;
	return mask & ~sigmask ? -EAGAIN : 0;
}

/* What a thread's own state is besides its registers; the extended state itself is in the handle's buffer. */
struct own_state {
	uint64_t sigmask;
	size_t xstate_size;
};

static int look(struct hs_remote_session *s, const struct hs_remote_want *want, const struct hs_remote_status *st,
		const struct user_regs_struct *regs, struct own_state *own, struct hs_error *err)
{
	struct hs_remote *r = s->r;
	struct iovec iov = { r->xstate, REMOTE_XSTATE_MAX };
	uint64_t feature[8];
	int rc;

	if (regs->cs != USER_CS_64)
		return refuse(s, -ENOTSUP, err, "runs 32-bit code, which is not supported");
	if (regs->eflags & REMOTE_FLAG_TRAP)
		return refuse(s, -EAGAIN, err, "is single-stepping");
	if ((long)regs->orig_rax < 0 && look_rseq(s, regs->rip))
		return refuse(s, -EAGAIN, err, "is in a restartable sequence");

	struct iovec feature_iov = { feature, sizeof(feature) };

	if (hs_remote_sys->ptrace(PTRACE_GETREGSET, s->tid, (void *)REGSET_SHADOW_STACK, &feature_iov) == 0)
		return refuse(s, -ENOTSUP, err, "has a shadow stack (CET)");
	if (hs_remote_sys->ptrace((enum __ptrace_request)DISPATCH_CONFIG, s->tid, (void *)32, feature) == 0 &&
	    feature[0] != 0)
		return refuse(s, -ENOTSUP, err, "has its system calls redirected (syscall user dispatch)");

	if (hs_remote_sys->ptrace(PTRACE_GETREGSET, s->tid, (void *)NT_X86_XSTATE, &iov))
		return errno == ESRCH ? gone(s, err) : refuse(s, -ENOTSUP, err, "shows no extended state (XSAVE)");
	rc = hs_remote_xstate_prepare(r->xstate, iov.iov_len, &own->xstate_size);
	if (rc)
		return refuse(s, -ENOTSUP, err, "has an extended state that we do not know");
	if (hs_remote_sys->ptrace(PTRACE_GETSIGMASK, s->tid, (void *)sizeof(own->sigmask), &own->sigmask))
		return gone(s, err);
	if (look_mask(s, regs, own->sigmask))
		return refuse(s, -EAGAIN, err, "waits with signals held back");

	rc = hs_remote_filters_load(&s->filters, s->tid, st->seccomp, err);
	if (rc) {
		hs_remote_detach(s, 0);
		return rc;
	}
	if (!hs_remote_filters_allow(&s->filters, want->nr, want->args, r->gadgets.call + 2) ||
	    !hs_remote_filters_allow(&s->filters, SYS_rt_sigreturn, want->args,
				     r->gadgets.sigreturn + r->gadgets.sigreturn_size)) {
		hs_remote_detach(s, 0);
		return hs_error_set(err, -ENOTSUP,
				    "a seccomp filter of thread %d of process %d forbids system call %ld (madvise: 28, "
				    "return from signal: 15), and could kill it for that: allow it there (QEMU: "
				    "-sandbox)",
				    s->tid, r->pid, want->nr);
	}
	return 0;
}

/* Saves the bytes under frame and data, and sees that the code is still there: the guest may have run exec. */
static int save(struct hs_remote_session *s)
{
	struct hs_remote *r = s->r;
	const struct hs_remote_gadgets *g = &r->gadgets;
	size_t size = (size_t)(s->room.end - s->room.frame);
	uint8_t call[3], sigreturn[sizeof(g->sigreturn_bytes)];
	struct iovec local[3] = { { r->saved, size }, { call, 3 }, { sigreturn, g->sigreturn_size } };
	struct iovec remote[3] = { { (void *)s->room.frame, size },
				   { (void *)g->call, 3 },
				   { (void *)g->sigreturn, g->sigreturn_size } };

	if (hs_remote_sys->vm_read(s->tid, local, remote, 3) != (ssize_t)(size + 3 + g->sigreturn_size))
		return -EFAULT;
	if (call[0] != 0x0f || call[1] != 0x05 || call[2] != 0xc3 ||
	    memcmp(sigreturn, g->sigreturn_bytes, g->sigreturn_size) != 0)
		return -EFAULT;
	return 0;
}

int hs_remote_session_begin(struct hs_remote_session *s, struct hs_remote *r, pid_t tid,
			    const struct hs_remote_want *want, uint64_t sleep_until_us, struct hs_error *err)
{
	struct hs_remote_status st;
	struct user_regs_struct regs;
	struct own_state own = { 0 };
	bool timed;
	int rc;

	*s = (struct hs_remote_session){ .r = r, .tid = tid, .in_signal_code = true };
	rc = look_before(s, &st, err);
	if (rc)
		return rc;
	rc = attach(s, err);
	if (rc)
		return rc;
	if (hs_remote_sys->ptrace(PTRACE_GETREGS, tid, NULL, &regs))
		return gone(s, err);
	timed = hs_remote_restart(&regs, code_nr(s, &regs), &s->kernel, &s->user) == HS_REMOTE_TIMED_SLEEP;
	if (s->kernel.rax != regs.rax && hs_remote_sys->ptrace(PTRACE_SETREGS, tid, NULL, &s->kernel))
		return gone(s, err); /* an EINTR of our making, undone first of all */
	if (timed) {
		if (!sleep_until_us)
			return refuse(s, -EAGAIN, err, "waits for a time that only the kernel knows");
		rc = await_wake(s, sleep_until_us, &regs, err);
		if (rc)
			return rc;
		/* It is over, also where it ended with EINTR: then by a signal. */
		s->kernel = s->user = regs;
		s->user.orig_rax = (unsigned long long)-1;
	}
	/* Now that it stands still: it may have entered a seccomp mode since the look before. */
	rc = hs_remote_read_status(r->proc_fd, tid, &st);
	if (rc)
		return refuse(s, rc == -ESRCH ? rc : -EAGAIN, err, "cannot be looked at");
	rc = look(s, want, &st, &regs, &own, err);
	if (rc)
		return rc;
	rc = hs_remote_layout_find(&(struct hs_remote_layout_query){ .maps_fd = r->maps_fd,
								     .no_query = r->no_query,
								     .is_main = tid == r->pid,
								     .regs = &regs,
								     .xstate_size = own.xstate_size,
								     .data_wanted = want->data_wanted,
								     .data_least = want->data_least },
				   &s->room, err);
	if (rc) {
		hs_remote_detach(s, 0);
		return rc;
	}
	if (save(s))
		return refuse(s, -ESRCH, err, "has other code where ours was: it runs another program");

	hs_remote_sigframe_build(r->image, &(struct hs_remote_sigframe){ .room = &s->room,
									 .regs = &s->user,
									 .sigmask = own.sigmask,
									 .xstate = r->xstate,
									 .xstate_size = own.xstate_size,
									 .sigreturn = r->gadgets.sigreturn });
	s->touched = true;
	rc = hs_remote_move(s, true, r->image, s->room.frame, (size_t)(s->room.data - s->room.frame));
	if (rc) {
		hs_remote_release(s, 0);
		return hs_error_set(err, -EAGAIN, "cannot write to the stack of thread %d: %s", tid, strerror(-rc));
	}
	return 0;
}
