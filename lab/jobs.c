/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many runs at a time: each in a process of its own, which sends lines of progress and then its result through a pipe.
 * Parent and child are one program, so the result is sent as it lies in memory.
 */
#include "lab.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What goes through the pipe. */
enum message_kind { MSG_PROGRESS, MSG_RESULT, MSG_ERROR };
struct message {
	enum message_kind kind;
	int code;
	double seconds;
	struct hs_error err;
};

struct worker {
	pid_t pid; /* 0: none */
	int fd;
	size_t job;
	double seconds;
};

struct pool {
	struct hs_lab_job *jobs;
	size_t nr, next, done;
	struct worker *workers;
	struct pollfd *fds;
	uint32_t parallel;
	bool quiet, tty;
};

static volatile sig_atomic_t asked_to_end;

static void on_signal(int sig)
{
	(void)sig;
	asked_to_end = 1;
}

static bool write_all(int fd, const void *buf, size_t n)
{
	for (const char *p = buf; n;) {
		const ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

/* False: the other side is gone. */
static bool read_all(int fd, void *buf, size_t n)
{
	for (char *p = buf; n;) {
		const ssize_t r = read(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		p += r;
		n -= (size_t)r;
	}
	return true;
}

static void send_progress(void *ctx, double seconds)
{
	const struct message m = { .kind = MSG_PROGRESS, .seconds = seconds };

	if (!write_all(*(const int *)ctx, &m, sizeof(m)))
		_exit(HS_EXIT_FAILED); /* nobody waits for the result any more */
}

static void work(struct hs_lab_job *job, int fd)
{
	const struct hs_lab_task task = { .scenario = &job->scenario,
					  .policy = job->policy,
					  .options = &job->options,
					  .progress = send_progress,
					  .progress_ctx = &fd };
	struct message m = { .kind = MSG_RESULT };
	bool ok;

	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGINT, SIG_IGN); /* the terminal's is for the parent, which ends us */
	m.code = hs_lab_run(&job->result, &task, &m.err);
	if (m.code)
		m.kind = MSG_ERROR;
	ok = write_all(fd, &m, sizeof(m));
	if (ok && !m.code)
		ok = write_all(fd, &job->result, sizeof(job->result));
	_exit(ok ? 0 : HS_EXIT_FAILED);
}

static int begin(struct pool *p, struct worker *w, struct hs_error *err)
{
	int fds[2];

	if (pipe(fds))
		return hs_error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	(void)fflush(NULL);
	w->pid = fork();
	if (w->pid < 0) {
		w->pid = 0;
		(void)close(fds[0]);
		(void)close(fds[1]);
		return hs_error_set(err, -errno, "cannot start a process: %s", strerror(errno));
	}
	if (!w->pid) {
		(void)close(fds[0]);
		work(&p->jobs[p->next], fds[1]);
	}
	(void)close(fds[1]);
	w->fd = fds[0];
	w->job = p->next++;
	w->seconds = 0;
	return 0;
}

static void show_progress(const struct pool *p)
{
	if (p->quiet || !p->tty)
		return;
	(void)fprintf(stderr, "\r\033[K%zu of %zu runs done", p->done, p->nr);
	for (uint32_t i = 0; i < p->parallel; i++)
		if (p->workers[i].pid)
			(void)fprintf(stderr, "; %s %s %.0f/%.0f s", p->jobs[p->workers[i].job].title,
				      p->jobs[p->workers[i].job].policy->name, p->workers[i].seconds,
				      p->jobs[p->workers[i].job].scenario.seconds);
}

static void report_done(const struct pool *p, const struct worker *w)
{
	const struct hs_lab_job *j = &p->jobs[w->job];

	if (!p->quiet && !p->tty)
		(void)fprintf(stderr, "%zu of %zu runs done: %s %s in %.1f s\n", p->done, p->nr, j->title,
			      j->policy->name, j->result.wall_seconds);
}

static void finish(struct worker *w)
{
	(void)close(w->fd);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	w->pid = 0;
}

/* Something came from a worker. */
static int hear(struct pool *p, struct worker *w, struct hs_error *err)
{
	struct hs_lab_job *job = &p->jobs[w->job];
	struct message m;

	if (!read_all(w->fd, &m, sizeof(m)))
		goto died;
	if (m.kind == MSG_PROGRESS) {
		w->seconds = m.seconds;
		return 0;
	}
	if (m.kind == MSG_ERROR)
		return hs_error_set(err, m.code, "%s, policy %s: %.400s", job->title, job->policy->name,
				    m.err.text[0] ? m.err.text : strerror(-m.code));
	if (!read_all(w->fd, &job->result, sizeof(job->result)))
		goto died;
	p->done++;
	report_done(p, w);
	finish(w);
	return 0;
died:
	return hs_error_set(err, -EPIPE,
			    "%s, policy %s: the process of this run ended without a result (out of "
			    "memory? see dmesg; --jobs 1 takes less)",
			    job->title, job->policy->name);
}

static int loop(struct pool *p, struct hs_error *err)
{
	while (p->done < p->nr) {
		for (uint32_t i = 0; i < p->parallel; i++) {
			int rc = !p->workers[i].pid && p->next < p->nr ? begin(p, &p->workers[i], err) : 0;

			if (rc)
				return rc;
			p->fds[i] =
			    (struct pollfd){ .fd = p->workers[i].pid ? p->workers[i].fd : -1, .events = POLLIN };
		}
		show_progress(p);
		if (poll(p->fds, p->parallel, 1000) < 0 && errno != EINTR)
			return hs_error_set(err, -errno, "cannot wait for runs: %s", strerror(errno));
		if (asked_to_end)
			return hs_error_set(err, -ECANCELED, "interrupted");
		for (uint32_t i = 0; i < p->parallel; i++) {
			int rc = p->workers[i].pid && p->fds[i].revents ? hear(p, &p->workers[i], err) : 0;

			if (rc)
				return rc;
		}
	}
	return 0;
}

int hs_lab_jobs_run(struct hs_lab_job *jobs, size_t nr, uint32_t parallel, bool quiet, struct hs_error *err)
{
	const struct sigaction sa = { .sa_handler = on_signal };
	const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct sigaction old_int, old_term;
	struct pool p = { .jobs = jobs, .nr = nr, .quiet = quiet, .tty = isatty(STDERR_FILENO) == 1 };
	int rc;

	p.parallel = parallel ? parallel : cpus > 0 ? (uint32_t)cpus : 1;
	p.workers = calloc(p.parallel, sizeof(*p.workers));
	p.fds = calloc(p.parallel, sizeof(*p.fds));
	if (!p.workers || !p.fds) {
		rc = hs_error_set(err, -ENOMEM, "out of memory");
		goto out;
	}
	(void)sigaction(SIGINT, &sa, &old_int);
	(void)sigaction(SIGTERM, &sa, &old_term);
	rc = loop(&p, err);
	for (uint32_t i = 0; i < p.parallel; i++) {
		if (!p.workers[i].pid)
			continue;
		(void)kill(p.workers[i].pid, SIGKILL);
		finish(&p.workers[i]);
	}
	(void)sigaction(SIGINT, &old_int, NULL);
	(void)sigaction(SIGTERM, &old_term, NULL);
	if (!p.quiet && p.tty)
		(void)fprintf(stderr, "\r\033[K");
out:
	free(p.workers);
	free(p.fds);
	return rc;
}
