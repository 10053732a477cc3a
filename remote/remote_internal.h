/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the remote part share. Layers, each above the next:
 *
 *   remote.c    the public calls
 *   job.c       the thread of its own that each of them runs in
 *   deadline.c  how long a guest that makes no progress is waited for; cgroup.c: whether it is frozen
 *   pick.c      which thread of the guest is asked
 *   batch.c     many operations in few calls and short holds
 *   freeze.c    calls while all threads of the guest are stopped
 *   session.c   one hold of one thread: calls and end; attach.c: its beginning
 *   rank.c      how well a thread suits (pure); fd.c: what it waits on
 *   restart.c   what an interrupted system call needs (pure)
 *   sigframe.c  the signal frame that brings a thread back to itself (pure)
 *   layout.c    where in the guest frame and data may lie, and the code that makes the calls
 *   seccomp.c   what a thread's seccomp filters would say
 *   proc.c      /proc of the guest
 *   sys.c       the calls to the kernel themselves
 */
#ifndef HS_REMOTE_REMOTE_INTERNAL_H
#define HS_REMOTE_REMOTE_INTERNAL_H

#include <linux/filter.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include "hs/remote.h"

#define REMOTE_DATA_MAX   16384U /* bytes of data for one call: 1024 iovecs, the kernel's own limit for one call */
#define REMOTE_XSTATE_MAX 16384U /* bytes; the largest x86 state (with AMX tiles) is 11 KiB */
#define REMOTE_RED_ZONE   128U   /* bytes below rsp that belong to the thread: the ABI */

/* ---- what is asked of the kernel; errors in errno, as the calls themselves have it ---- */

struct iovec;
struct hs_remote_sys {
	long (*ptrace)(enum __ptrace_request request, pid_t tid, void *addr, void *data);
	ssize_t (*vm_read)(pid_t tid, const struct iovec *local, const struct iovec *remote, size_t nr);
	ssize_t (*vm_write)(pid_t tid, const struct iovec *local, const struct iovec *remote, size_t nr);
	int (*look)(pid_t tid, siginfo_t *si); /* at a tracee's next stop or its end, without waiting, and leaves it */
	int (*openat)(int dir_fd, const char *path, int flags);
	ssize_t (*read)(int fd, void *buf, size_t size);
	int (*ioctl)(int fd, unsigned long request, void *arg);
	void *(*alloc)(size_t nr, size_t size); /* zeroed */
	void *(*resize)(void *old, size_t nr, size_t size);
	int (*thread)(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
};
extern const struct hs_remote_sys hs_remote_sys_kernel;
/* The one in use. Replaced by tests alone, and never while a call is under way. */
extern const struct hs_remote_sys *hs_remote_sys;

/* ---- /proc of the guest ---- */

/* What /proc/PID/task/TID/status says. */
struct hs_remote_status {
	char state; /* R S D T t Z X */
	pid_t tgid;
	pid_t tracer; /* 0: none */
	int seccomp;  /* 0 none, 1 strict, 2 filter */
	bool shadow_stack;
	unsigned long switches; /* how often it has gone to sleep */
	char comm[17];
};

/* Reads a file below the guest's /proc folder as hs_hostfile_read_at does, by hs_remote_sys; -ESRCH: it is gone. */
HS_MUST_USE ssize_t hs_remote_read_file(int dir_fd, const char *path, char *buf, size_t size);
/* tid 0: of the process. */
HS_MUST_USE int hs_remote_read_status(int proc_fd, pid_t tid, struct hs_remote_status *out);
/* Is this a thread of our own process, perhaps one that is just ending and still has its tracee? */
bool hs_remote_is_ours(pid_t tid);
/* The name of any process, for error texts; "?" when it cannot be read. */
void hs_remote_comm(const char *proc_dir, pid_t pid, char comm[17]);

/* What a thread does at the moment, without touching it: the line of /proc/PID/task/TID/syscall. */
struct hs_remote_doing {
	bool running; /* in user mode, or not to be told */
	long nr;      /* system call it is blocked in */
	uint64_t args[6];
	uint64_t sp;
};
HS_MUST_USE int hs_remote_read_doing(int proc_fd, pid_t tid, struct hs_remote_doing *out);

/* One line of /proc/PID/maps. */
struct hs_remote_vma {
	uint64_t start, end;
	bool read, write, exec, shared, file;
	char name[128]; /* cut when longer */
};

/*
 * The memory map, through a thread that lives (the main one may have ended). It stays that of the program that runs
 * now: once the process runs exec, or is gone, the calls below answer -ESRCH. A descriptor, or -errno.
 */
HS_MUST_USE int hs_remote_open_maps(int proc_fd, pid_t tid);

/* -EPERM, with what may stand in the way and the way out. */
int hs_remote_forbidden(pid_t pid, struct hs_error *err);
/* Quick: does the program not run any more that the map belongs to? addr: any in it. */
bool hs_remote_maps_gone(int maps_fd, bool no_query, uint64_t addr);
/* Calls fn for each VMA until it returns non-zero, and returns that; 0 at the end; -errno. */
HS_MUST_USE int hs_remote_each_vma(int maps_fd, int (*fn)(const struct hs_remote_vma *vma, void *ctx), void *ctx);
/* The VMA that holds addr, and the one that ends where it starts (*below, start == end when there is none). */
HS_MUST_USE int hs_remote_find_vma(int maps_fd, bool no_query, uint64_t addr, struct hs_remote_vma *vma,
				   struct hs_remote_vma *below);

/* ---- code and room in the guest ---- */

struct hs_remote_gadgets {
	uint64_t call;      /* `syscall; ret` */
	uint64_t sigreturn; /* `mov $15, %eax; syscall` */
	uint32_t sigreturn_size;
	uint8_t sigreturn_bytes[9];
};
HS_MUST_USE int hs_remote_find_gadgets(int maps_fd, pid_t tid, struct hs_remote_gadgets *out, struct hs_error *err);

/* Where frame and data lie, from the lowest: frame, extended state, data; `end` is at or below the red zone. */
struct hs_remote_room {
	uint64_t frame; /* becomes rsp */
	uint64_t xstate;
	uint64_t data;
	size_t data_size; /* at most what was wanted */
	uint64_t end;
};
/* Pure: the layout below sp with nothing lower than `low`. -ENOSPC: not even the least. */
HS_MUST_USE int hs_remote_layout_below(uint64_t sp, uint64_t low, size_t xstate_size, size_t wanted, size_t least,
				       struct hs_remote_room *out);
/* What is asked for: of a stopped thread. */
struct hs_remote_layout_query {
	int maps_fd;
	bool no_query;
	bool is_main; /* the thread is the process's first */
	const struct user_regs_struct *regs;
	size_t xstate_size;
	size_t data_wanted, data_least; /* bytes */
};
/* -EAGAIN with the reason in err: this thread's stack is not surely free below sp. */
HS_MUST_USE int hs_remote_layout_find(const struct hs_remote_layout_query *q, struct hs_remote_room *out,
				      struct hs_error *err);

/* ---- the frame; pure ---- */

/*
 * Checks and completes the extended state as PTRACE_GETREGSET gave it, so that rt_sigreturn takes it: *size becomes
 * what it needs in the guest, magic words included. -ENOTSUP.
 */
HS_MUST_USE int hs_remote_xstate_prepare(uint8_t *xstate, size_t got, size_t *size);
/* What a thread is to get back. */
struct hs_remote_sigframe {
	const struct hs_remote_room *room;
	const struct user_regs_struct *regs;
	uint64_t sigmask;
	const uint8_t *xstate;
	size_t xstate_size;
	uint64_t sigreturn; /* address of the code that ends the frame */
};
/* Writes frame and extended state into image, which stands for [room->frame, room->data). */
void hs_remote_sigframe_build(uint8_t *image, const struct hs_remote_sigframe *f);

/* ---- restart; pure ---- */

enum hs_remote_restart {
	HS_REMOTE_READY,       /* go on */
	HS_REMOTE_TIMED_SLEEP, /* only the kernel can go on with it: not now */
};
/*
 * From the registers of a thread stopped by PTRACE_INTERRUPT: *kernel, what it is given back where the kernel's own
 * restart logic still follows; *user, what it is to have where no such logic follows (the frame). code_nr: the number
 * that the code before the system call loads, -1 when it cannot be told; used for restart_syscall alone.
 */
enum hs_remote_restart hs_remote_restart(const struct user_regs_struct *stopped, long code_nr,
					 struct user_regs_struct *kernel, struct user_regs_struct *user);

/* Has the call no time limit, or an absolute one, so that it is the same when it is made again at any time? */
bool hs_remote_call_endless(long nr, const uint64_t args[6]);
/* The address of the signal mask that a call (ppoll, ...) holds for its time; 0: none. pselect6: of its address. */
uint64_t hs_remote_call_mask_addr(const struct user_regs_struct *regs);

/* ---- which thread; rank.c is pure, fd.c reads ---- */

/* How well a thread suits, lower is better. */
enum hs_remote_rank {
	HS_REMOTE_IDLE = 0, /* blocked, restarts by itself */
	HS_REMOTE_ENDLESS,  /* blocked, would return EINTR, but can be made to restart */
	HS_REMOTE_RUNNING,  /* in user mode */
	HS_REMOTE_SLEEPING, /* its time limit would be lost if we died: its end has to be waited for */
	HS_REMOTE_DELICATE, /* a virtual CPU, which comes out with EINTR */
	HS_REMOTE_NEVER,    /* would, or might, see that it was interrupted: not to be stopped */
};

#define HS_REMOTE_LIMIT_NONE    (-1)
#define HS_REMOTE_LIMIT_UNKNOWN (-2)

/* What a thread waits on. */
struct hs_remote_fd {
	enum {
		HS_REMOTE_FD_UNKNOWN = 0,
		HS_REMOTE_FD_RESTARTS, /* a read of it restarts by itself */
		HS_REMOTE_FD_SOCKET,
	} kind;
	int64_t receive_ms, send_ms; /* of a socket: its time limits, or HS_REMOTE_LIMIT_... */
};
void hs_remote_read_fd(const struct hs_remote *r, pid_t tid, uint64_t fd, struct hs_remote_fd *out);

/* Does the rank of a thread in this call depend on the descriptor that is its first argument? */
bool hs_remote_rank_needs_fd(long nr);
/* most_ms: how long a time limit may be for its end to be waited for. */
enum hs_remote_rank hs_remote_rank(const struct hs_remote_doing *doing, const struct hs_remote_fd *fd, int64_t most_ms);
/* Does this thread run no code of the guest's: io_uring's and vhost's workers in the kernel? They are never stopped. */
bool hs_remote_is_worker(int proc_fd, pid_t tid);

/* ---- seccomp ---- */

#define REMOTE_FILTERS_MAX 64
struct hs_remote_filters {
	size_t nr;
	struct sock_fprog prog[REMOTE_FILTERS_MAX];
};
/* Of a stopped tracee. mode: as in its status. */
HS_MUST_USE int hs_remote_filters_load(struct hs_remote_filters *f, pid_t tid, int mode, struct hs_error *err);
void hs_remote_filters_finish(struct hs_remote_filters *f);
bool hs_remote_filters_allow(const struct hs_remote_filters *f, long nr, const uint64_t args[6], uint64_t ip);
/* The action of one program; SECCOMP_RET_KILL_PROCESS for a program that makes no sense. Pure. */
uint32_t hs_remote_filter_run(const struct sock_fprog *prog, long nr, const uint64_t args[6], uint64_t ip);

/* ---- the handle and a session ---- */

/* Where the cgroups' freezers are mounted; point "": nowhere. */
struct hs_remote_freezers {
	struct hs_remote_mount {
		char point[256];
		char root[256]; /* the part of the hierarchy that is mounted there; "": all of it */
	} v1, v2;
};

struct hs_remote_session {
	struct hs_remote *r;
	pid_t tid;
	bool attached;
	bool in_signal_code; /* stopped where the kernel's restart logic follows */
	bool planted;        /* its registers are not its own any more */
	bool touched;        /* bytes of its stack are not its own */
	bool suspended;      /* its seccomp filters are left out while it is held */
	uint64_t start_us;
	struct user_regs_struct kernel, user; /* see hs_remote_restart */
	struct hs_remote_room room;
	struct hs_remote_filters filters;
};

struct hs_remote {
	pid_t pid;
	int proc_fd; /* /proc/PID: goes stale with the process, so a reused pid is never taken for it */
	int maps_fd; /* its memory map; goes stale with its program */
	char *proc_dir;
	bool dry;
	bool no_query;    /* kernel without PROCMAP_QUERY: reads maps as text */
	bool abandon;     /* a thread could not be let go in time: no more of this call */
	uint8_t vectored; /* enum hs_tri: process_madvise on oneself works in this guest */
	pid_t tid;        /* the thread that served last, 0: none */
	int op_advice;    /* the last advice given, */
	uint64_t op_ns;   /* and what one operation of it took lately */
	struct hs_remote_gadgets gadgets;
	struct hs_remote_stats stats;
	struct hs_remote_freezers freezers;
	/* Time, see deadline.c. Microseconds of the monotonic clock. */
	uint32_t deadline_ms;
	uint64_t until_us, end_us; /* of the call under way */
	bool late;                 /* it ended because of that */
	uint32_t rest_ms;          /* the last rest, 0: none */
	uint64_t rest_until_us;
	char rest_why[400];
	/* The tracing thread, see job.c. */
	pthread_t thread;
	pthread_mutex_t lock; /* of the next four */
	pthread_cond_t wake;
	bool job_done;  /* the call is over */
	bool keeping;   /* its thread is not: it waits to let go `kept` */
	bool kept_gone; /* which it has done, or need not do */
	bool closing;   /* it is not to wait any longer */
	struct hs_remote_session kept;
	uint8_t *xstate; /* REMOTE_XSTATE_MAX */
	uint8_t *saved;  /* the guest's bytes under frame and data */
	uint8_t *image;  /* frame and extended state */
};

struct hs_remote_want {
	long nr; /* the first call, for the filters */
	uint64_t args[6];
	size_t data_wanted, data_least;
};

uint64_t hs_remote_now_us(void);

/*
 * 0: held, at a safe point, room found, filters agree with `want`. Otherwise not held: -EAGAIN not now, -EBUSY traced
 * or stopped, -ESRCH thread gone, -ENOTSUP never, -EPERM. sleep_until_us: a timed sleep's end is awaited until then (0:
 * not at all).
 */
HS_MUST_USE int hs_remote_session_begin(struct hs_remote_session *s, struct hs_remote *r, pid_t tid,
					const struct hs_remote_want *want, uint64_t sleep_until_us,
					struct hs_error *err);
/*
 * One system call. 0: *result holds its return value. -EACCES: a filter forbids it, nothing was done, still held.
 * Otherwise no longer held: -EAGAIN the thread got a signal, a filter, or was stopped: the call was not made;
 * -ETIMEDOUT: it did not come back in time, so it may have been made; -ESRCH; -EFAULT: the code it was sent to is not
 * there any more.
 */
HS_MUST_USE int hs_remote_session_call(struct hs_remote_session *s, long nr, const uint64_t args[6], long *result);
/* Copies to and from the data room. 0 or -errno. */
HS_MUST_USE int hs_remote_session_write(struct hs_remote_session *s, const void *buf, size_t size);
HS_MUST_USE int hs_remote_session_read(struct hs_remote_session *s, void *buf, size_t size);
void hs_remote_session_end(struct hs_remote_session *s);
/*
 * Before each call: 0: the thread's filters are those that were loaded, and what comes from now on does not stop a call
 * of ours. -EAGAIN: there are others by now, or it is not known; -ESRCH.
 */
HS_MUST_USE int hs_remote_filters_recheck(struct hs_remote_session *s);

/* A thread that lives, the main one if it does; 0: none. */
pid_t hs_remote_any_thread(const struct hs_remote *r);
/* Begins a session with the thread that suits best. Errors of the public calls. */
HS_MUST_USE int hs_remote_pick(struct hs_remote_session *s, struct hs_remote *r, const struct hs_remote_want *want,
			       struct hs_error *err);

/* ---- within a session: how it begins is in attach.c, calls and end are in session.c ---- */

#define REMOTE_GRACE_US     200000U /* for a thread to come to its last stop, when the deadline has passed */
#define REMOTE_FLAG_TRAP    0x100ULL
#define REMOTE_SYSCALL_STOP (SIGTRAP | 0x80)
#define REMOTE_TRAP_STOP    (SIGTRAP | (PTRACE_EVENT_STOP << 8))

/*
 * Waits for the next stop. *code: the signal, with the event in the second byte. -ESRCH: the thread has ended (its
 * status is left for whoever is its parent). -ETIMEDOUT.
 */
HS_MUST_USE int hs_remote_wait_stop(struct hs_remote_session *s, uint64_t limit_us, int *code);
/* Copies between us and the guest, whole or not at all as far as the caller may care: 0 or -errno. */
int hs_remote_move(const struct hs_remote_session *s, bool write, void *buf, uint64_t addr, size_t size);
/* At a stop inside the kernel's signal code: own registers, own bytes, and go on with that signal (0: none). */
void hs_remote_release(struct hs_remote_session *s, int sig);
/* Lets go a thread of which nothing has been changed. */
void hs_remote_detach(struct hs_remote_session *s, int sig);
/*
 * The kernel refuses what it refuses to a thread that is ending. If it does not end, it must not stand still until this
 * call is over: the call ends, and with it the tracing thread, which lets it go.
 */
void hs_remote_lost(struct hs_remote_session *s);
/* Neither stopped nor ended, but nothing of it has been changed: the end of the tracing thread lets it go. */
void hs_remote_abandon(struct hs_remote_session *s);
/* The same in the midst of a call: the tracing thread stays, until it stops and can get back what is its own. */
void hs_remote_keep(struct hs_remote_session *s);
/* Any stop but the one expected: own registers, own bytes, and go on with the signal, if one came. */
int hs_remote_let_go(struct hs_remote_session *s, int code);

/* ---- time ---- */

/* A call begins; something has happened in it; how long it may still wait for the next thing. */
void hs_remote_time_begin(struct hs_remote *r);
void hs_remote_time_progress(struct hs_remote *r);
uint64_t hs_remote_time_left_us(const struct hs_remote *r);
/* The call ends as nothing happens any more: -EAGAIN, and what the thread (0: the process) hangs in. */
int hs_remote_no_progress(struct hs_remote *r, pid_t tid, struct hs_error *err);
/* After a call that ended with rc; a call that ended late begins a rest. */
void hs_remote_rest_after(struct hs_remote *r, int rc, const struct hs_error *err);
/* -EAGAIN with the reason while the guest is left alone. */
HS_MUST_USE int hs_remote_rest_check(const struct hs_remote *r, struct hs_error *err);

void hs_remote_freezers_find(struct hs_remote_freezers *f, const char *proc_dir);
/* Is the process frozen, or about to be? cgroup: which one does it. */
bool hs_remote_is_frozen(const struct hs_remote *r, char *cgroup, size_t size);

/* ---- the work of the public calls; runs in the thread that traces ---- */

struct hs_remote_job {
	struct hs_remote *r;
	struct hs_remote_op *ops;
	struct hs_remote_call *calls;
	size_t nr;
	hs_remote_still_fn ask;
	void *ctx;
	const struct hs_remote_call *like;
	struct hs_error *err; /* may be NULL */
	int rc;
};
/* Does it in a thread of its own, and gives its result. With neither ops, calls nor ask: a stop that changes nothing.
 */
HS_MUST_USE int hs_remote_job_run(struct hs_remote_job *job);
/* -EAGAIN while an earlier call's thread is still at it. */
HS_MUST_USE int hs_remote_job_check(struct hs_remote *r, struct hs_error *err);
/* Ends such a thread. */
void hs_remote_job_end(struct hs_remote *r);

HS_MUST_USE int hs_remote_batch(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err);
HS_MUST_USE int hs_remote_batch_calls(struct hs_remote *r, struct hs_remote_call *calls, size_t nr,
				      struct hs_error *err);
/* freeze.c */
HS_MUST_USE int hs_remote_freeze(struct hs_remote *r, const struct hs_remote_call *like, hs_remote_still_fn ask,
				 void *ctx, struct hs_error *err);

/* All calls in this session; *nr_done: how many have results. Errors as hs_remote_session_call. */
HS_MUST_USE int hs_remote_session_calls(struct hs_remote_session *s, struct hs_remote_call *calls, size_t nr,
					size_t *nr_done);
/* What such an error, in the midst of calls, is for the callers of the public functions. */
int hs_remote_calls_failed(struct hs_remote *r, int rc, long call_nr, struct hs_error *err);

#endif
