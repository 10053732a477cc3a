/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every second round the command is stopped first: frozen at a random instant it can be seen whether it held a guest at
 * that instant, and then it is killed there. In the other rounds it is killed as it runs.
 */
#include "killer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LET_GO_US 5000000U /* a guest is free at once when its tracer ends; this is for a swamped host */

static uint64_t now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* Of one thread; -1: it is gone. */
static int look(pid_t pid, const char *tid, char *state, long *tracer)
{
	char path[300], line[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	*state = '?';
	*tracer = -1;
	while (fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "State: %c", state);
		(void)sscanf(line, "TracerPid: %ld", tracer);
	}
	(void)fclose(f);
	return 0;
}

/* 0 free, 1 traced or stopped, -1 gone */
static int guest_state(pid_t pid)
{
	char path[64], state;
	struct dirent *e;
	int nr = 0, rc = 0;
	long tracer;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || look(pid, e->d_name, &state, &tracer))
			continue;
		if (state != 'Z' && state != 'X')
			nr++;
		if (tracer > 0 || state == 'T' || state == 't')
			rc = 1;
	}
	(void)closedir(dir);
	return nr ? rc : -1;
}

static pid_t start(const struct killer *k, int *out)
{
	int fds[2] = { -1, -1 };
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		(void)dup2(fds[1], STDOUT_FILENO);
		(void)execv(k->argv[0], k->argv);
		_exit(127);
	}
	(void)close(fds[1]);
	if (pid > 0)
		(void)setpgid(pid, pid);
	*out = fds[0];
	return pid;
}

/* The last stretch without a sleep: a timer would come later than asked for. */
static void wait_until(uint64_t when)
{
	uint64_t now;

	while ((now = now_us()) < when) {
		if (when - now > 400)
			(void)usleep((useconds_t)(when - now - 300));
	}
}

static int one_round(const struct killer *k, uint64_t *rng, bool freeze, struct killer_result *out, char *why,
		     size_t size)
{
	uint64_t span = (uint64_t)k->max_us - k->min_us + 1, begin;
	int fd = -1, status;
	pid_t pid = start(k, &fd);
	bool held = false;
	char c;

	if (pid < 0) {
		(void)snprintf(why, size, "cannot start %s: %s", k->argv[0], strerror(errno));
		return -1;
	}
	if (k->first_byte)
		(void)!read(fd, &c, 1);
	wait_until(now_us() + k->min_us + next_random(rng) % span);
	if (freeze) {
		(void)kill(-pid, SIGSTOP);
		(void)waitpid(pid, &status, WUNTRACED | WNOWAIT);
		for (size_t i = 0; i < k->nr_guests; i++)
			held = held || guest_state(k->guests[i]) == 1;
	}
	(void)kill(-pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	(void)close(fd);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		out->killed++;
	else
		out->ended++;
	out->held += held;

	begin = now_us();
	for (size_t i = 0; i < k->nr_guests; i++) {
		int state;

		while ((state = guest_state(k->guests[i])) == 1 && now_us() - begin < LET_GO_US)
			(void)usleep(200);
		if (state) {
			(void)snprintf(why, size, "process %d %s", k->guests[i],
				       state < 0 ? "did not survive" : "was not let go");
			return -1;
		}
	}
	return k->check ? k->check(k->ctx, why, size) : 0;
}

int killer_run(const struct killer *k, struct killer_result *out, char *why, size_t size)
{
	uint64_t rng = k->seed;

	*out = (struct killer_result){ .killed = 0 };
	for (unsigned int i = 0; i < k->rounds; i++) {
		char reason[256] = "";

		if (one_round(k, &rng, i & 1, out, reason, sizeof(reason))) {
			(void)snprintf(why, size, "round %u, seed %llu: %s", i, (unsigned long long)k->seed, reason);
			return -1;
		}
	}
	return 0;
}
