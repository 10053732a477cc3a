/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls: opening with its early refusals, and what is known before a thread is touched. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "remote_internal.h"

#define LET_GO_US 1000000U /* for a thread of ours that has ended to let go what it traced: it takes microseconds */

/* Traced, stopped, frozen, gone: seen before any call. */
static int check_state(struct hs_remote *r, struct hs_remote_status *st, struct hs_error *err)
{
	uint64_t until = hs_remote_now_us() + LET_GO_US;
	char cgroup[256];
	int rc = hs_remote_read_status(r->proc_fd, 0, st);

	/* The thread of a call before this one has been joined, but ends, and lets go, a moment later. */
	while (rc == 0 && st->tracer && hs_remote_is_ours(st->tracer) && hs_remote_now_us() < until) {
		(void)usleep(1000);
		rc = hs_remote_read_status(r->proc_fd, 0, st);
	}
	if (rc == -ESRCH || (rc == 0 && st->state == 'X'))
		return hs_error_set(err, -ESRCH, "process %d is gone", r->pid);
	if (rc)
		return hs_error_set(err, rc, "cannot read the status of process %d: %s", r->pid, strerror(-rc));
	if (st->tracer) {
		char comm[17];

		hs_remote_comm(r->proc_dir, st->tracer, comm);
		return hs_error_set(err, -EBUSY, "process %d (%s) is traced by process %d (%s): end that first", r->pid,
				    st->comm, st->tracer, comm);
	}
	if (st->state == 'T' || st->state == 't')
		return hs_error_set(err, -EBUSY, "process %d (%s) is stopped: let it go on (SIGCONT) first", r->pid,
				    st->comm);
	if (hs_remote_is_frozen(r, cgroup, sizeof(cgroup)))
		return hs_error_set(err, -EBUSY,
				    "process %d (%s) is frozen by its cgroup %s (as docker pause and systemctl freeze "
				    "do): thaw it first",
				    r->pid, st->comm, cgroup);
	return 0;
}

/* Before each call: is the guest left alone just now, or can it not be asked? */
static int check(struct hs_remote *r, struct hs_error *err)
{
	struct hs_remote_status st;
	int rc = hs_remote_job_check(r, err);

	if (!rc)
		rc = check_state(r, &st, err);
	return rc ? rc : hs_remote_rest_check(r, err);
}

static int check_program(const struct hs_remote *r, const struct hs_remote_status *st, struct hs_error *err)
{
	unsigned char ident[EI_NIDENT] = { 0 };
	int fd;

	if (st->tgid != r->pid)
		return hs_error_set(err, -EINVAL, "%d is a thread of process %d: name the process", r->pid, st->tgid);
	if (r->pid == getpid())
		return hs_error_set(err, -EINVAL, "process %d is ourselves", r->pid);
	if (st->shadow_stack)
		return hs_error_set(
		    err, -ENOTSUP,
		    "process %d (%s) has a shadow stack (CET), which forbids calls from outside: start it "
		    "with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
		    r->pid, st->comm);
	if (st->seccomp == 1)
		return hs_error_set(err, -ENOTSUP, "process %d (%s) is in strict seccomp mode, which allows no call",
				    r->pid, st->comm);
	fd = hs_remote_sys->openat(r->proc_fd, "exe", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* its main thread has ended, or may not be looked at: that shows below */
	if (hs_remote_sys->read(fd, ident, sizeof(ident)) == (ssize_t)sizeof(ident) && ident[EI_CLASS] == ELFCLASS32) {
		close(fd);
		return hs_error_set(err, -ENOTSUP, "process %d (%s) is a 32-bit program, which is not supported",
				    r->pid, st->comm);
	}
	close(fd);
	return 0;
}

int hs_remote_forbidden(pid_t pid, struct hs_error *err)
{
	if (geteuid())
		return hs_error_set(err, -EPERM, "may not trace process %d: run as root or with CAP_SYS_PTRACE", pid);
	/* Root may trace all, unless something stands in the way. */
	return hs_error_set(err, -EPERM,
			    "may not trace process %d though as root: its user namespace is another one, "
			    "CAP_SYS_PTRACE was taken away, kernel.yama.ptrace_scope is 3, or AppArmor or SELinux "
			    "forbids it (their lines are in `dmesg`)",
			    pid);
}

static int refuse_maps(const struct hs_remote *r, int rc, struct hs_error *err)
{
	if (rc == -ESRCH)
		return hs_error_set(err, rc, "process %d is gone", r->pid);
	if (rc == -EACCES || rc == -EPERM)
		return hs_remote_forbidden(r->pid, err);
	return hs_error_set(err, rc, "cannot read the mappings of process %d: %s", r->pid, strerror(-rc));
}

int hs_remote_open(struct hs_remote **out, const struct hs_host *host, pid_t pid, struct hs_error *err)
{
	struct hs_remote *r = hs_remote_sys->alloc(1, sizeof(*r));
	struct hs_remote_status st;
	char path[256];
	int rc = -ENOMEM;

	*out = NULL;
	if (!r)
		return hs_error_set(err, rc, "no memory");
	r->pid = pid;
	r->proc_fd = r->maps_fd = -1;
	r->deadline_ms = HS_REMOTE_DEADLINE_MS;
	(void)pthread_mutex_init(&r->lock, NULL);
	(void)pthread_cond_init(&r->wake, NULL);
	hs_remote_freezers_find(&r->freezers, host->proc_dir);
	r->proc_dir = hs_remote_sys->alloc(1, strlen(host->proc_dir) + 1);
	r->xstate = hs_remote_sys->alloc(1, REMOTE_XSTATE_MAX);
	r->saved = hs_remote_sys->alloc(1, REMOTE_DATA_MAX + 2 * REMOTE_XSTATE_MAX);
	r->image = hs_remote_sys->alloc(1, 2 * REMOTE_XSTATE_MAX);
	if (!r->proc_dir || !r->xstate || !r->saved || !r->image) {
		(void)hs_error_set(err, rc, "no memory");
		goto fail;
	}
	memcpy(r->proc_dir, host->proc_dir, strlen(host->proc_dir) + 1);
	(void)snprintf(path, sizeof(path), "%s/%d", host->proc_dir, pid);
	r->proc_fd = hs_remote_sys->openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->proc_fd < 0) {
		rc = errno == ENOENT || pid <= 0 ? -ESRCH : -errno;
		(void)hs_error_set(err, rc, "there is no process %d", pid);
		goto fail;
	}
	rc = check_state(r, &st, err);
	if (rc == 0)
		rc = check_program(r, &st, err);
	if (rc == 0) {
		pid_t tid = st.state == 'Z' ? hs_remote_any_thread(r) : pid;

		rc = tid ? hs_remote_open_maps(r->proc_fd, tid) : -ESRCH;
		r->maps_fd = rc;
		rc = rc < 0 ? refuse_maps(r, rc, err) : hs_remote_find_gadgets(r->maps_fd, tid, &r->gadgets, err);
	}
	if (rc == 0 && st.seccomp != 0)
		rc = hs_remote_job_run(&(struct hs_remote_job){ .r = r, .err = err });
	if (rc)
		goto fail;
	*out = r;
	return 0;
fail:
	hs_remote_close(r);
	return rc;
}

int hs_remote_open_dry(struct hs_remote **out, const struct hs_host *host, pid_t pid, struct hs_error *err)
{
	int rc = hs_remote_open(out, host, pid, err);

	if (rc == 0)
		(*out)->dry = true;
	return rc;
}

void hs_remote_close(struct hs_remote *r)
{
	if (!r)
		return;
	hs_remote_job_end(r);
	(void)pthread_cond_destroy(&r->wake);
	(void)pthread_mutex_destroy(&r->lock);
	if (r->proc_fd >= 0)
		close(r->proc_fd);
	if (r->maps_fd >= 0)
		close(r->maps_fd);
	free(r->proc_dir);
	free(r->xstate);
	free(r->saved);
	free(r->image);
	free(r);
}

static void set_results(const struct hs_remote_job *j, int result)
{
	for (size_t i = 0; i < j->nr; i++) {
		if (j->ops)
			j->ops[i].result = result;
		else
			j->calls[i].result = result;
	}
}

/* Operations or calls, with no effect in a dry run. */
static int run(struct hs_remote_job j)
{
	int rc;

	set_results(&j, -ECANCELED);
	if (j.nr == 0)
		return 0;
	rc = check(j.r, j.err);
	if (rc)
		return rc;
	if (!j.r->dry)
		return hs_remote_job_run(&j);
	set_results(&j, 0);
	if (j.ops)
		j.r->stats.nr_ops += j.nr;
	return 0;
}

int hs_remote_madvise(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err)
{
	return run((struct hs_remote_job){ .r = r, .ops = ops, .nr = nr, .err = err });
}

int hs_remote_run(struct hs_remote *r, struct hs_remote_call *calls, size_t nr, struct hs_error *err)
{
	return run((struct hs_remote_job){ .r = r, .calls = calls, .nr = nr, .err = err });
}

int hs_remote_run_still(struct hs_remote *r, const struct hs_remote_call *like, hs_remote_still_fn ask, void *ctx,
			struct hs_error *err)
{
	int rc = check(r, err);

	if (rc)
		return rc;
	if (r->dry)
		return hs_error_set(err, -ENOTSUP, "a dry run does not stop process %d", r->pid);
	return hs_remote_job_run(&(struct hs_remote_job){ .r = r, .like = like, .ask = ask, .ctx = ctx, .err = err });
}

void hs_remote_stats(const struct hs_remote *r, struct hs_remote_stats *out)
{
	*out = r->stats;
}
