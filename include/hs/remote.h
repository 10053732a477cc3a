/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls inside a guest's process, by ptrace, safe against anything: when our process dies at any instant, the
 * guest's thread goes on as if nothing had happened. How, and which race each step closes: remote/session.c.
 *
 * One thread at a time uses a handle. Nothing stays attached between calls: each call's work is done in a thread of its
 * own, and the kernel lets go whatever that thread held when it ends. Other threads of the process must not wait for
 * any child (waitpid of -1) meanwhile: they would take the guest's stops away.
 *
 * What a guest may notice: one of its threads, best one that waits, stands still for about 2 ms at a time. A thread
 * that waits in a call that would, or might, return EINTR because of that (signal(7): as after SIGSTOP) is not asked;
 * if there is no other, the guest is left for another time. Two exceptions: a time limit of epoll_wait or of a socket,
 * below half the deadline, may begin anew, once, before the thread is asked; and a virtual CPU's KVM_RUN returns EINTR,
 * which VMMs expect, where a VMM has no other thread. And should we be killed in the very microseconds in which a
 * signal arrives, the call that it interrupts may be made again after the handler, instead of returning EINTR.
 */
#ifndef HS_REMOTE_H
#define HS_REMOTE_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

struct hs_remote;

/*
 * Time. A call ends when the guest makes no progress for the handle's deadline; progress is a system call that is over
 * in it. A long batch to a slow guest ends HS_REMOTE_LONGEST_MS later at the latest, with what is done done. The answer
 * is -EAGAIN, and the text names what the guest hangs in; no call that was given up is made later. Afterwards the guest
 * is left alone for a while: calls are answered at once with the same, for HS_REMOTE_REST_MS, doubled each time up to
 * HS_REMOTE_REST_MAX_MS, until a call succeeds. What can be seen without waiting (stopped, traced, frozen by a cgroup)
 * is answered at once, with -EBUSY, and without a rest.
 */
#define HS_REMOTE_DEADLINE_MS 2000 /* the default: guests answer in 0.1 ms, and on a swamped host in 100 */
#define HS_REMOTE_LONGEST_MS  10000
#define HS_REMOTE_REST_MS     5000
#define HS_REMOTE_REST_MAX_MS 30000

/* One madvise in the guest. */
struct hs_remote_op {
	uint64_t start; /* bytes, page aligned, address in the guest's process */
	uint64_t end;
	int advice; /* MADV_... */
	int result; /* out: 0 or -errno of this call; -ENOMEM: some of it is not mapped, the rest is done; -ECANCELED:
		       not reached */
};

/* One system call in the guest. */
struct hs_remote_call {
	long nr;
	uint64_t args[6];
	int data_arg; /* which argument is to point at a copy of `data` in the guest, -1: none */
	void *data; /* copied in before the call and back after it, at most 16 KiB; the guest's bytes there come back */
	size_t data_size;
	long result; /* out: the call's return value (-errno style); -ECANCELED: not reached */
};

struct hs_remote_stats {
	uint64_t nr_sessions; /* attach to detach */
	uint64_t nr_calls;    /* system calls made in the guest */
	uint64_t nr_ops;      /* madvise operations done by them (one vectored call does many) */
	uint64_t nr_retries;  /* sessions given up because the thread got a signal, was in an awkward place, ... */
	uint64_t stopped_us;  /* time the guest's thread was held, in all */
	uint64_t longest_stop_us;
};

/*
 * Prepares for process `pid`; makes no call yet, but refuses early what can be known: -ESRCH; -EPERM (capability);
 * -EBUSY traced by somebody else (the text names the tracer), stopped, or frozen by its cgroup; -ENOTSUP 32-bit
 * process, shadow stack, a seccomp filter that would not let the calls through or cannot be inspected, no usable
 * `syscall; ret`; -EINVAL a thread that is not a process's first, or ourselves. Where the guest has seccomp filters,
 * one thread is stopped to read them.
 */
HS_MUST_USE int hs_remote_open(struct hs_remote **out, const struct hs_host *host, pid_t pid, struct hs_error *err);

/* The harmless twin for dry runs: checks everything hs_remote_open checks, then answers each op with 0 without
 * attaching. */
HS_MUST_USE int hs_remote_open_dry(struct hs_remote **out, const struct hs_host *host, pid_t pid, struct hs_error *err);

void hs_remote_close(struct hs_remote *r); /* takes NULL */

/* How long a call waits for a guest that makes no progress; 0: HS_REMOTE_DEADLINE_MS. */
void hs_remote_set_deadline_ms(struct hs_remote *r, uint32_t deadline_ms);

/*
 * Runs the operations in order, in as few system calls and as short stops as it can (a stop ends after `max_hold_us`,
 * and another follows). 0: all attempted, see each result. -errno: the rest was not reached (-ESRCH the guest is gone;
 * -EBUSY: traced, stopped or frozen; -EAGAIN: no safe point or no progress within the deadline, or left alone after
 * such a call; both: try in a later round; -ENOTSUP: a seccomp filter forbids this advice). -ESRCH as well when it runs
 * another program now (exec): open it anew.
 */
HS_MUST_USE int hs_remote_madvise(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err);

/*
 * Runs any system calls, in order, in one stop. Same errors; -EAGAIN too when a signal to the guest ended the stop
 * between two calls (those before it have results, the rest -ECANCELED). A call that blocks is interrupted at the
 * deadline.
 */
HS_MUST_USE int hs_remote_run(struct hs_remote *r, struct hs_remote_call *calls, size_t nr, struct hs_error *err);

/*
 * System calls while the whole process stands still, for what must not happen in the middle of something else that the
 * process does. All its threads, and those of any
 * process that shares its address space, are stopped (calls that they are in finish or are interrupted first); then
 * `ask` is called, and the calls that it names are made; it is called again, and so on until it names none; then all go
 * on. What `ask` finds out about the process by other means stays true until the next of its calls. It must be quick:
 * the guest's processors stand still, too. Calls that other threads wait in are made again; a time limit of such a call
 * may begin anew. (An ioctl, and what has transferred a part, return as after any stop.)
 *
 * ask: *calls and *nr to its own array, each with at most HS_REMOTE_STILL_DATA bytes of data; or -errno: no more, and
 * that is returned. like: a call of the kind that will be asked for, for the filters.
 *
 * 0: `ask` had all its calls. Errors as hs_remote_run, with calls made up to then; -ENOTSUP for a dry handle.
 */
#define HS_REMOTE_STILL_DATA 256
typedef int (*hs_remote_still_fn)(void *ctx, struct hs_remote_call **calls, size_t *nr);
HS_MUST_USE int hs_remote_run_still(struct hs_remote *r, const struct hs_remote_call *like, hs_remote_still_fn ask,
				    void *ctx, struct hs_error *err);

void hs_remote_stats(const struct hs_remote *r, struct hs_remote_stats *out);

#endif
