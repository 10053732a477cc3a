/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread in which each public call's work is done.
 *
 * The kernel binds a tracee to the tracing thread and lets it go when that ends: so nothing can stay attached past a
 * call, whatever went wrong in it. It costs some 50 us.
 *
 * Only when a thread of the guest does not come back from a call that we had it make, the thread stays on after its
 * call has been given up: it waits, as long as it takes, until the guest's thread comes to a stop, gives it back what
 * is its own, and ends. Until then further calls are refused. Closing the handle ends the wait; then the same holds as
 * when our process ends: the guest's thread finishes the call, or makes it, and returns by the frame.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "remote_internal.h"

#define KEEP_LOOK_US 20000 /* between looks at a thread that is kept: so long a close may take */

/* A stop that changes nothing, to see whether there is a thread whose filters agree. */
static int try_attach(struct hs_remote *r, struct hs_error *err)
{
	struct hs_remote_want want = { .nr = SYS_madvise, .args = { 0, HS_BASE_SIZE, MADV_MERGEABLE } };
	struct hs_remote_session s;
	int rc = hs_remote_pick(&s, r, &want, err);

	if (rc == 0)
		hs_remote_session_end(&s);
	return rc == -EAGAIN ? 0 : rc;
}

/*
 * While this thread waits for a processor it holds a thread of the guest. So it goes before ordinary work: it needs
 * microseconds at a time, and naps in between. Where that is not allowed, holds last longer on a busy host; but never
 * is it left with a priority of the caller's that gives way.
 */
static void hurry(void)
{
	struct sched_param first = { .sched_priority = 1 };

	if (sched_setscheduler(0, SCHED_RR, &first) != 0) {
		first.sched_priority = 0;
		(void)sched_setscheduler(0, SCHED_OTHER, &first);
		(void)setpriority(PRIO_PROCESS, 0, 0);
	}
	(void)prctl(PR_SET_NAME, "hs-remote");
	(void)prctl(PR_SET_TIMERSLACK, 1000UL); /* ns: naps between looks are short */
}

static bool closing(struct hs_remote *r)
{
	bool yes;

	(void)pthread_mutex_lock(&r->lock);
	yes = r->closing;
	(void)pthread_mutex_unlock(&r->lock);
	return yes;
}

/* A call that has not begun is not to be made any more. From here on the thread may only come to a stop. */
static bool on_to_stop(struct hs_remote_session *s)
{
	struct __ptrace_syscall_info info;
	struct user_regs_struct regs;

	if (hs_remote_sys->ptrace(PTRACE_GET_SYSCALL_INFO, s->tid, (void *)sizeof(info), &info) > 0 &&
	    info.op == PTRACE_SYSCALL_INFO_ENTRY && hs_remote_sys->ptrace(PTRACE_GETREGS, s->tid, NULL, &regs) == 0) {
		regs.orig_rax = (unsigned long long)-1;
		(void)hs_remote_sys->ptrace(PTRACE_SETREGS, s->tid, NULL, &regs);
	}
	return hs_remote_sys->ptrace(PTRACE_INTERRUPT, s->tid, NULL, NULL) == 0 &&
	       hs_remote_sys->ptrace(PTRACE_CONT, s->tid, NULL, NULL) == 0;
}

/* The statistics are the caller's again by now: this hold is not in them. */
static void let_go_kept(struct hs_remote *r)
{
	struct hs_remote shadow = { .pid = r->pid, .proc_fd = r->proc_fd, .saved = r->saved };
	struct hs_remote_session *s = &r->kept;
	int code, rc;

	s->r = &shadow;
	for (;;) {
		rc = hs_remote_wait_stop(s, 0, &code);
		if (rc == -ETIMEDOUT && !closing(r)) {
			(void)nanosleep(&(struct timespec){ .tv_nsec = KEEP_LOOK_US * 1000L }, NULL);
			continue;
		}
		if (rc || code != REMOTE_SYSCALL_STOP)
			break;
		if (!on_to_stop(s))
			return;
	}
	if (rc == 0)
		rc = hs_remote_let_go(s, code);
}

static void *work(void *arg)
{
	struct hs_remote_job *j = arg;
	struct hs_remote *r = j->r;

	hurry();
	if (j->ops)
		j->rc = hs_remote_batch(r, j->ops, j->nr, j->err);
	else if (j->calls)
		j->rc = hs_remote_batch_calls(r, j->calls, j->nr, j->err);
	else if (j->ask)
		j->rc = hs_remote_freeze(r, j->like, j->ask, j->ctx, j->err);
	else
		j->rc = try_attach(r, j->err);

	(void)pthread_mutex_lock(&r->lock);
	r->keeping = r->kept.attached;
	r->job_done = true; /* the job is the caller's from here on, and so is the handle unless `keeping` */
	(void)pthread_cond_signal(&r->wake);
	(void)pthread_mutex_unlock(&r->lock);
	if (!r->kept.attached)
		return NULL;
	let_go_kept(r);
	(void)pthread_mutex_lock(&r->lock);
	r->kept_gone = true;
	(void)pthread_mutex_unlock(&r->lock);
	return NULL;
}

int hs_remote_job_run(struct hs_remote_job *j)
{
	struct hs_remote *r = j->r;
	struct hs_error own = { "" };
	struct hs_error *err = j->err;
	sigset_t all, old;
	int rc;

	r->abandon = r->job_done = r->keeping = r->kept_gone = false;
	r->kept.attached = false;
	hs_remote_time_begin(r);
	j->err = err ? err : &own; /* a rest remembers the reason */
	/* Signals are the caller's: none is handled in the middle of a hold. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = hs_remote_sys->thread(&r->thread, NULL, work, j);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return hs_error_set(err, -rc, "cannot start a thread: %s", strerror(rc));
	(void)pthread_mutex_lock(&r->lock);
	while (!r->job_done)
		(void)pthread_cond_wait(&r->wake, &r->lock);
	(void)pthread_mutex_unlock(&r->lock);
	if (!r->keeping)
		(void)pthread_join(r->thread, NULL);
	hs_remote_rest_after(r, j->rc, j->err);
	if (j->rc == 0)
		j->err->text[0] = 0; /* of a try before the one that went well */
	return j->rc;
}

int hs_remote_job_check(struct hs_remote *r, struct hs_error *err)
{
	bool over;

	if (!r->keeping)
		return 0;
	(void)pthread_mutex_lock(&r->lock);
	over = r->kept_gone;
	(void)pthread_mutex_unlock(&r->lock);
	if (!over)
		return hs_error_set(err, -EAGAIN, "%s (thread %d has not come back from a call yet)", r->rest_why,
				    r->kept.tid);
	(void)pthread_join(r->thread, NULL);
	r->keeping = false;
	return 0;
}

void hs_remote_job_end(struct hs_remote *r)
{
	if (!r->keeping)
		return;
	(void)pthread_mutex_lock(&r->lock);
	r->closing = true;
	(void)pthread_mutex_unlock(&r->lock);
	(void)pthread_join(r->thread, NULL);
	r->keeping = false;
}
