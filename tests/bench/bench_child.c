/* SPDX-License-Identifier: Apache-2.0 */
/* A process with memory in huge pages. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "hs/types.h"

static void fill(uint64_t *p, uint64_t bytes, bool content)
{
	for (uint64_t i = 0; i < bytes / sizeof(*p); i += content ? 1 : HS_BASE_SIZE / sizeof(*p))
		p[i] = bench_mix(i);
}

/* Each command is a step: reads one byte of so many, and answers. */
static void obey(const volatile uint8_t *p, uint64_t bytes, int command, int answer)
{
	uint64_t step;

	while (read(command, &step, sizeof(step)) == sizeof(step) && step) {
		for (uint64_t i = 0; i < bytes; i += step)
			(void)p[i];
		if (write(answer, "t", 1) != 1)
			break;
	}
}

static bool started(struct bench_child *c)
{
	uint64_t huge;
	char answer;

	if (read(c->answer, &answer, 1) != 1) {
		fputs("bench: the process with the memory ended: is there enough memory?\n", stderr);
		return false;
	}
	huge = bench_proc_bytes(c->pid, "smaps_rollup", "AnonHugePages");
	if (huge < c->bytes / 100 * 99) {
		fprintf(stderr, "bench: only %lu of %lu MiB are in huge pages: memory is short or fragmented\n",
			(unsigned long)(huge >> 20), (unsigned long)(c->bytes >> 20));
		return false;
	}
	return true;
}

bool bench_child_start(struct bench_child *c, uint64_t bytes, bool content)
{
	int command[2], answer[2];
	pid_t parent = getpid();
	uint8_t *map, *p;

	*c = (struct bench_child){ .pid = -1, .bytes = bytes, .command = -1, .answer = -1 };
	/* Mapped here and given back below: the child's copy is at the same address, and its own. */
	map = mmap(NULL, bytes + HS_HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		   0);
	if (map == MAP_FAILED || pipe2(command, O_CLOEXEC) || pipe2(answer, O_CLOEXEC)) {
		fprintf(stderr, "bench: %s\n", strerror(errno));
		return false;
	}
	p = (uint8_t *)(((uintptr_t)map + HS_HUGE_SIZE - 1) & ~(uintptr_t)(HS_HUGE_SIZE - 1));
	if (p != map)
		munmap(map, (size_t)(p - map));
	munmap(p + bytes, HS_HUGE_SIZE - (size_t)(p - map));
	(void)madvise(p, bytes, MADV_HUGEPAGE); /* whether it worked is looked at when the memory is there */
	c->start = (uintptr_t)p;
	c->pid = fork();
	if (c->pid == 0) {
		close(command[1]);
		close(answer[0]);
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
			_exit(EXIT_FAILURE);
		fill((uint64_t *)(void *)p, bytes, content);
		if (write(answer[1], "r", 1) == 1)
			obey(p, bytes, command[0], answer[1]);
		_exit(EXIT_SUCCESS);
	}
	close(command[0]);
	close(answer[1]);
	c->command = command[1];
	c->answer = answer[0];
	munmap(p, bytes);
	if (c->pid < 0) {
		fprintf(stderr, "bench: fork: %s\n", strerror(errno));
		bench_child_stop(c);
		return false;
	}
	if (!started(c)) {
		bench_child_stop(c);
		return false;
	}
	return true;
}

bool bench_child_touch(struct bench_child *c, uint64_t step)
{
	char answer;

	return write(c->command, &step, sizeof(step)) == sizeof(step) && read(c->answer, &answer, 1) == 1;
}

void bench_child_stop(struct bench_child *c)
{
	if (c->pid > 0) {
		(void)kill(c->pid, SIGKILL);
		(void)waitpid(c->pid, NULL, 0);
	}
	if (c->command >= 0)
		close(c->command);
	if (c->answer >= 0)
		close(c->answer);
	*c = (struct bench_child){ .pid = -1, .command = -1, .answer = -1 };
}

static uint64_t field_bytes(const char *path, const char *field)
{
	FILE *f = fopen(path, "re");
	size_t len = strlen(field);
	unsigned long kib = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, field, len) == 0 && line[len] == ':')
			kib = strtoul(line + len + 1, NULL, 10);
	fclose(f);
	return (uint64_t)kib * 1024;
}

uint64_t bench_proc_bytes(pid_t pid, const char *file, const char *field)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return field_bytes(path, field);
}

uint64_t bench_available_bytes(void)
{
	return field_bytes("/proc/meminfo", "MemAvailable");
}

double bench_kdamond_cpu_s(void)
{
	DIR *proc = opendir("/proc");
	unsigned long ticks = 0;
	struct dirent *e;

	while (proc && (e = readdir(proc))) {
		unsigned long user = 0, system = 0;
		char path[300];
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !(f = fopen(path, "re")))
			continue;
		if (fscanf(f, "%*d (kdamond%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			   &system) == 2)
			ticks += user + system;
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}
