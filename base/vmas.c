#include "vmas.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostfile.h"

static int pid_path(char *out, size_t size, const struct hs_host *host, pid_t pid, const char *name)
{
	return (size_t)snprintf(out, size, "%s/%d/%s", host->proc_dir, (int)pid, name) >= size ? -ENAMETOOLONG : 0;
}

/* A process that is gone shows as a folder that is not there, or as reads that fail. */
static int gone(int rc)
{
	return rc == -ENOENT || rc == -ESRCH ? -ESRCH : rc;
}

static bool has_flag(const char *flags, const char *name)
{
	for (const char *p = flags; (p = strstr(p, name)); p += 2)
		if (p[-1] == ' ' && (p[2] == ' ' || p[2] == '\n' || p[2] == '\0'))
			return true;
	return false;
}

int hs_vmas_each(const struct hs_host *host, pid_t pid, int (*visit)(void *ctx, const struct hs_vma *vma), void *ctx)
{
	static const char flags_key[] = "VmFlags:";
	char path[PATH_MAX], *line = NULL;
	struct hs_vma vma = { 0 };
	size_t size = 0;
	FILE *f;
	int rc = pid_path(path, sizeof(path), host, pid, "smaps");

	if (rc)
		return rc;
	f = fopen(path, "re");
	if (!f)
		return gone(-errno);
	(void)setvbuf(f, NULL, _IOFBF, 65536); /* about 1 KiB of text for each VMA */
	while (!rc && (errno = 0, getline(&line, &size, f) > 0)) {
		uint64_t start, end;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
			vma = (struct hs_vma){ .start = start, .end = end };
		} else if (!strncmp(line, "KSM:", 4)) {
			uint64_t kib;

			vma.ksm_bytes = hs_hostfile_field(line, "KSM:", &kib) ? 0 : kib * 1024;
		} else if (!strncmp(line, flags_key, sizeof(flags_key) - 1)) {
			const char *flags = line + sizeof(flags_key) - 1;

			vma.mergeable = has_flag(flags, "mg");
			vma.hugepage = has_flag(flags, "hg");
			vma.nohugepage = has_flag(flags, "nh");
			rc = visit(ctx, &vma);
		}
	}
	if (!rc && errno)
		rc = gone(-errno);
	free(line);
	(void)fclose(f);
	return rc;
}

int64_t hs_vmas_count(const struct hs_host *host, pid_t pid)
{
	char path[PATH_MAX], buf[65536];
	int64_t lines = 0;
	ssize_t n;
	int fd, rc = pid_path(path, sizeof(path), host, pid, "maps");

	if (rc)
		return rc;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return gone(-errno);
	while ((n = read(fd, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			lines = gone(-errno);
			break;
		}
		for (const char *p = buf; (p = memchr(p, '\n', (size_t)(buf + n - p))); p++)
			lines++;
	}
	(void)close(fd);
	return lines ? lines : -ESRCH; /* a process without memory has exited */
}
