/* SPDX-License-Identifier: Apache-2.0 */
#include "procstat.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostfile.h"

int hs_procstat_read(const struct hs_host *host, pid_t pid, struct hs_procstat *out)
{
	unsigned long long start = 0, stack = 0;
	unsigned long utime = 0, stime = 0;
	const char *after_name;
	char text[1024];
	ssize_t n = hs_hostfile_read_pid(host, pid, "stat", text, sizeof(text));
	int ppid;

	memset(out, 0, sizeof(*out));
	if (n < 0)
		return (int)n;
	/* The name may hold anything: what counts follows the last ')'. */
	after_name = strrchr(text, ')');
	if (!after_name || sscanf(after_name,
				  ") %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %llu "
				  "%*u %*d %*u %*u %*u %llu",
				  &ppid, &utime, &stime, &start, &stack) < 1)
		return -EPROTO;
	*out = (struct hs_procstat){ .ppid = ppid, .cpu_ticks = utime + stime, .start_ticks = start, .stack = stack };
	return 0;
}

int hs_process_id_read(const struct hs_host *host, pid_t pid, struct hs_process_id *out)
{
	struct hs_procstat st;
	int rc = hs_procstat_read(host, pid, &st);

	*out = (struct hs_process_id){ .started = st.start_ticks, .program = st.stack };
	if (rc == -ENOENT)
		return -ESRCH;
	return rc ? rc : st.start_ticks ? 0 : -EPROTO;
}

uint64_t hs_start_time(const struct hs_host *host, pid_t pid)
{
	struct hs_procstat st;

	return hs_procstat_read(host, pid, &st) ? 0 : st.start_ticks;
}

uint64_t hs_resident_bytes(const struct hs_host *host)
{
	unsigned long long size, resident;
	char path[4200];
	uint64_t bytes = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/self/statm", host->proc_dir);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) == 2)
		bytes = resident * (uint64_t)sysconf(_SC_PAGESIZE);
	(void)fclose(f);
	return bytes;
}

void hs_cpu_model(const struct hs_host *host, char *out, size_t size)
{
	char path[4096], line[512];
	FILE *f;

	out[0] = '\0';
	(void)snprintf(path, sizeof(path), "%s/cpuinfo", host->proc_dir);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *value = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || !value)
			continue;
		value += strspn(value, ": \t");
		(void)snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
		break;
	}
	if (f)
		(void)fclose(f);
}

bool hs_may_be_of_root(const struct hs_host *host, pid_t pid)
{
	char path[4200], line[256];
	unsigned int uid = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%d/status", host->proc_dir, (int)pid);
	f = fopen(path, "re");
	/* "Uid:" real, effective, saved, file system's: the first is who started it. */
	while (f && fgets(line, sizeof(line), f) && sscanf(line, "Uid: %u", &uid) != 1)
		;
	if (f)
		(void)fclose(f);
	return uid == 0;
}
