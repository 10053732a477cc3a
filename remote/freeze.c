/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls while the whole process stands still, and with it each other process that runs in its address space (vfork,
 * clone(CLONE_VM), QEMU's async-teardown): what holds of the memory has to hold against their threads as well.
 *
 * One thread is held as in any session, to make the calls. Then all others are stopped: each is attached to and
 * interrupted, and stops on its way back to user mode, so that a system call it was in has been finished or given up by
 * then. New threads and processes come only from threads that run; so the lists are read again until they hold none
 * that is not stopped. Nothing of these threads is changed: registers, memory and pending signals stay, and the
 * kernel's own code restarts the calls that they were in. Only an EINTR of our making is undone at once (restart.c). If
 * we die, the kernel lets them go.
 *
 * The kernel's own workers in the process (io_uring, vhost) are left alone: they make no system calls, and a read that
 * one of them waits in would end with EINTR.
 *
 * A thread that does not come to a stop in time (uninterruptible sleep) ends the attempt: the tracing thread ends,
 * which lets go all that it holds.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "base/address_space.h"
#include "remote_internal.h"

#define STUCK_US 20000U  /* longer than a disk takes */
#define STILL_US 200000U /* for all threads to come to a stop: it takes microseconds unless one sleeps in a driver */

struct other {
	pid_t tid;
	int signal; /* the one that it stopped with, to be passed on */
	bool stopped;
};

/* One of those that run in the guest's address space: the guest itself is the first. */
struct process {
	pid_t pid;
	int proc_fd;
};

struct others {
	struct hs_remote *r;
	pid_t caller;
	struct other *list;
	size_t nr, room;
	struct process *processes;
	size_t nr_processes;
};

static DIR *open_tasks(int proc_fd)
{
	int fd = hs_remote_sys->openat(proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

static bool is_known(const struct others *o, pid_t tid)
{
	if (tid == o->caller)
		return true;
	for (size_t i = 0; i < o->nr; i++)
		if (o->list[i].tid == tid)
			return true;
	return false;
}

static int add_process(void *ctx, pid_t pid)
{
	struct others *o = ctx;
	struct process *more;
	char path[256];
	int fd;

	for (size_t i = 0; i < o->nr_processes; i++)
		if (o->processes[i].pid == pid)
			return 0;
	(void)snprintf(path, sizeof(path), "%s/%d", o->r->proc_dir, pid);
	fd = hs_remote_sys->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno; /* it has just ended */
	if (hs_remote_is_worker(fd, pid)) {
		(void)close(fd);
		return 0;
	}
	more = hs_remote_sys->resize(o->processes, o->nr_processes + 1, sizeof(*more));
	if (!more) {
		(void)close(fd);
		return -ENOMEM;
	}
	o->processes = more;
	o->processes[o->nr_processes++] = (struct process){ .pid = pid, .proc_fd = fd };
	return 0;
}

/* The processes that are not known yet. */
static int find_processes(struct others *o)
{
	const struct hs_host host = { .proc_dir = o->r->proc_dir };
	int rc = o->nr_processes ? 0 : add_process(o, o->r->pid);

	return rc ? rc : hs_address_space_each(&host, o->r->pid, add_process, o);
}

/* Attaches and interrupts. 0 as well when the thread has just ended. */
static int seize(struct others *o, const struct process *p, pid_t tid)
{
	struct hs_remote_status st;

	if (o->nr == o->room) {
		size_t room = o->room ? o->room * 2 : 64;
		struct other *more = hs_remote_sys->resize(o->list, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		o->list = more;
		o->room = room;
	}
	if (hs_remote_sys->ptrace(PTRACE_SEIZE, tid, NULL, NULL)) {
		int error = errno;

		if (error == ESRCH || hs_remote_read_status(p->proc_fd, tid, &st) || st.state == 'Z' || st.state == 'X')
			return 0;
		return error == EPERM && st.tracer ? -EBUSY : -error;
	}
	o->list[o->nr++] = (struct other){ .tid = tid };
	if (hs_remote_sys->ptrace(PTRACE_INTERRUPT, tid, NULL, NULL))
		return errno == ESRCH ? 0 : -errno;
	return 0;
}

/*
 * A thread that is stuck in uninterruptible sleep would not come to a stop, and all others would wait for it. Asked
 * before any of them is stopped. One that waits for a disk has gone on by the second look; what falls asleep after it
 * is given STILL_US.
 */
static bool any_is_stuck(int proc_fd)
{
	struct {
		pid_t tid;
		unsigned long switches;
	} asleep[16];
	DIR *d = open_tasks(proc_fd);
	struct hs_remote_status st;
	size_t nr = 0;
	struct dirent *e;

	while (d && nr < sizeof(asleep) / sizeof(asleep[0]) && (e = readdir(d)) != NULL) {
		pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);

		if (tid > 0 && !hs_remote_read_status(proc_fd, tid, &st) && st.state == 'D') {
			asleep[nr].tid = tid;
			asleep[nr++].switches = st.switches;
		}
	}
	if (d)
		(void)closedir(d);
	if (nr)
		(void)usleep(STUCK_US);
	for (size_t i = 0; i < nr; i++)
		if (!hs_remote_read_status(proc_fd, asleep[i].tid, &st) && st.state == 'D' &&
		    st.switches == asleep[i].switches)
			return true;
	return false;
}

static int seize_threads(struct others *o, const struct process *p)
{
	DIR *d = open_tasks(p->proc_fd);
	struct dirent *e;
	int rc = 0;

	if (!d)
		return p->pid == o->r->pid ? -ESRCH : 0;
	while (!rc && (e = readdir(d)) != NULL) {
		pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);

		if (tid > 0 && !is_known(o, tid) && !hs_remote_is_worker(p->proc_fd, tid))
			rc = seize(o, p, tid);
	}
	(void)closedir(d);
	return rc;
}

/* All threads that are not known yet; *nr_new: how many there were. */
static int seize_new(struct others *o, size_t *nr_new)
{
	size_t before = o->nr;
	int rc = find_processes(o);

	for (size_t i = 0; i < o->nr_processes && !rc; i++)
		rc = seize_threads(o, &o->processes[i]);
	*nr_new = o->nr - before;
	return rc;
}

/* A call that answers EINTR at any stop is made again instead: its time limit, if it has one, begins anew. */
static void undo_eintr(pid_t tid)
{
	struct user_regs_struct regs, kernel, user;

	if (hs_remote_sys->ptrace(PTRACE_GETREGS, tid, NULL, &regs) || (long)regs.orig_rax < 0 ||
	    (long)regs.rax != -EINTR)
		return;
	(void)hs_remote_restart(&regs, -1, &kernel, &user);
	if (kernel.rax != regs.rax)
		(void)hs_remote_sys->ptrace(PTRACE_SETREGS, tid, NULL, &kernel);
}

static int await_stops(struct others *o, uint64_t until_us)
{
	for (size_t i = 0; i < o->nr; i++) {
		struct hs_remote_session s = { .r = o->r, .tid = o->list[i].tid, .attached = true };
		uint64_t now = hs_remote_now_us();
		int code, rc;

		if (o->list[i].stopped)
			continue;
		rc = hs_remote_wait_stop(&s, now < until_us ? until_us - now : 0, &code);
		if (rc == -ESRCH) {
			o->list[i--] = o->list[--o->nr]; /* it has ended */
			continue;
		}
		if (rc)
			return rc;
		o->list[i].stopped = true;
		if (code == REMOTE_TRAP_STOP)
			undo_eintr(o->list[i].tid);
		o->list[i].signal = code >> 8 ? 0 : code & 0xff;
	}
	return 0;
}

static void let_go(struct others *o)
{
	for (size_t i = 0; i < o->nr; i++) {
		/* Otherwise the end of the tracing thread does it. */
		if (!o->list[i].stopped ||
		    hs_remote_sys->ptrace(PTRACE_DETACH, o->list[i].tid, NULL, (void *)(long)o->list[i].signal))
			o->r->abandon = true;
	}
	free(o->list);
	o->list = NULL;
	o->nr = 0;
}

static void finish(struct others *o)
{
	for (size_t i = 0; i < o->nr_processes; i++)
		(void)close(o->processes[i].proc_fd);
	free(o->processes);
}

static int stop_others(struct others *o, struct hs_error *err)
{
	uint64_t until_us = hs_remote_now_us() + STILL_US;
	size_t nr_new;
	int rc;

	do {
		rc = seize_new(o, &nr_new);
		if (!rc)
			rc = await_stops(o, until_us);
	} while (!rc && nr_new);
	if (rc == -ETIMEDOUT)
		return hs_error_set(err, -EAGAIN, "a thread of process %d does not come to a stop", o->r->pid);
	if (rc == -EBUSY)
		return hs_error_set(err, rc, "a thread of process %d is traced by somebody else: end that first",
				    o->r->pid);
	if (rc)
		return hs_error_set(err, rc, "cannot stop the threads of process %d: %s", o->r->pid, strerror(-rc));
	return 0;
}

/* All rounds of `ask`. The session may end in it: then the process does not stand still any more. */
static int rounds(struct hs_remote_session *s, hs_remote_still_fn ask, void *ctx, struct hs_error *err)
{
	for (;;) {
		struct hs_remote_call *calls = NULL;
		size_t nr = 0, nr_done;
		int rc = ask(ctx, &calls, &nr);

		if (rc || !nr)
			return rc;
		for (size_t i = 0; i < nr; i++) {
			calls[i].result = -ECANCELED;
			if (calls[i].data_arg < -1 || calls[i].data_arg > 5 ||
			    calls[i].data_size > HS_REMOTE_STILL_DATA)
				return hs_error_set(err, -EINVAL, "call %zu: data_arg or data_size out of range", i);
		}
		rc = hs_remote_session_calls(s, calls, nr, &nr_done);
		if (rc)
			return hs_remote_calls_failed(s->r, rc, calls[nr_done].nr, err);
	}
}

int hs_remote_freeze(struct hs_remote *r, const struct hs_remote_call *like, hs_remote_still_fn ask, void *ctx,
		     struct hs_error *err)
{
	struct hs_remote_want want = { .nr = like->nr,
				       .data_wanted = HS_REMOTE_STILL_DATA,
				       .data_least = HS_REMOTE_STILL_DATA };
	struct hs_remote_session s;
	struct others o = { .r = r };
	int rc;

	rc = find_processes(&o);
	if (rc) {
		rc = hs_error_set(err, rc == -ENOSYS ? -ENOTSUP : rc,
				  "which processes share the memory of process %d cannot be told: %s", r->pid,
				  strerror(-rc));
		goto out;
	}
	for (size_t i = 0; i < o.nr_processes; i++) {
		if (any_is_stuck(o.processes[i].proc_fd)) {
			rc = hs_error_set(err, -EAGAIN, "a thread of process %d is in uninterruptible sleep",
					  o.processes[i].pid);
			goto out;
		}
	}
	memcpy(want.args, like->args, sizeof(want.args));
	rc = hs_remote_pick(&s, r, &want, err);
	if (rc)
		goto out;
	o.caller = s.tid;
	rc = stop_others(&o, err);
	if (!rc)
		rc = rounds(&s, ask, ctx, err);
	/* The others first: whatever becomes of the calling thread, they need not wait for it. */
	let_go(&o);
	hs_remote_session_end(&s);
out:
	finish(&o);
	return rc;
}
