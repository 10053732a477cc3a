/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int child_start(struct child *c, char *const *argv, bool quiet, struct hs_error *err)
{
	int fds[2];

	memset(c, 0, sizeof(*c));
	c->out_fd = -1;
	if (pipe2(fds, O_CLOEXEC))
		return hs_error_set(err, -errno, "pipe: %s", strerror(errno));
	c->pid = fork();
	if (c->pid < 0) {
		int rc = -errno;

		(void)close(fds[0]);
		(void)close(fds[1]);
		c->pid = 0;
		return hs_error_set(err, rc, "fork: %s", strerror(-rc));
	}
	if (!c->pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		(void)dup2(fds[1], STDOUT_FILENO);
		if (quiet) {
			int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

			if (null >= 0)
				(void)dup2(null, STDERR_FILENO);
		}
		(void)execv(argv[0], argv);
		_exit(127);
	}
	(void)close(fds[1]);
	c->out_fd = fds[0];
	return 0;
}

static void drain(struct child *c)
{
	for (;;) {
		char *more = realloc(c->text, c->len + 4097);
		ssize_t n;

		if (!more)
			return;
		c->text = more;
		n = read(c->out_fd, c->text + c->len, 4096);
		if (n <= 0) {
			c->text[c->len] = '\0';
			(void)close(c->out_fd);
			c->out_fd = -1;
			return;
		}
		c->len += (size_t)n;
		c->text[c->len] = '\0';
		if (n < 4096)
			return;
	}
}

int child_poll(struct child *c, int ms, struct hs_error *err)
{
	struct timespec until, now;
	struct rusage ru;
	int status;
	pid_t got;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	for (;;) {
		long left;

		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		left = (until.tv_sec - now.tv_sec) * 1000 + (until.tv_nsec - now.tv_nsec) / 1000000;
		if (c->out_fd >= 0) {
			struct pollfd p = { .fd = c->out_fd, .events = POLLIN };

			if (poll(&p, 1, left > 0 ? (int)left : 0) > 0) {
				drain(c);
				continue;
			}
			if (left <= 0)
				return 0;
			continue;
		}
		got = wait4(c->pid, &status, WNOHANG, &ru);
		if (got < 0)
			return hs_error_set(err, -errno, "wait4: %s", strerror(errno));
		if (got == c->pid) {
			c->pid = 0;
			c->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
			c->cpu_s = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
				   (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
			return 1;
		}
		if (left <= 0)
			return 0;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
}

double child_cpu_s(const struct child *c)
{
	char path[64], line[1024], *s;
	unsigned long utime = 0, stime = 0;
	FILE *f;

	if (!c->pid)
		return c->cpu_s;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", c->pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f) && (s = strrchr(line, ')')) != NULL)
		(void)sscanf(s + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &utime, &stime);
	(void)fclose(f);
	return (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK);
}

json_t *child_json(struct child *c, struct hs_error *err)
{
	json_error_t je;
	json_t *j = NULL;

	if (c->pid || c->status)
		hs_error_set(err, -EPROTO, "hs-share failed with exit status %d", c->status);
	else if (!(j = json_loads(c->text ? c->text : "", 0, &je)))
		hs_error_set(err, -EPROTO, "hs-share printed no JSON object: %s", je.text);
	return j;
}

void child_finish(struct child *c)
{
	struct hs_error err;

	if (c->pid) {
		(void)kill(c->pid, SIGTERM);
		if (child_poll(c, 60000, &err) == 0 && c->pid) {
			(void)kill(c->pid, SIGKILL);
			(void)waitpid(c->pid, NULL, 0);
		}
	}
	if (c->out_fd > 0)
		(void)close(c->out_fd);
	free(c->text);
	memset(c, 0, sizeof(*c));
}
