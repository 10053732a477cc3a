#include "procstat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t hs_start_time(const struct hs_host *host, pid_t pid)
{
	char path[4096], line[1024];
	uint64_t ticks = 0;
	FILE *f;
	char *s;

	(void)snprintf(path, sizeof(path), "%s/%d/stat", host->proc_dir, pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f) && (s = strrchr(line, ')')) != NULL) {
		/* after ") ": field 3 is next, field 22 is 19 further on */
		for (int field = 3; s && field <= 22; field++)
			s = strchr(s + 1, ' ');
		if (s)
			ticks = strtoull(s + 1, NULL, 10);
	}
	(void)fclose(f);
	return ticks;
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
