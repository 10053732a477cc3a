#include "zero_record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/procstat.h"

#define HEAD "hs-share zeros 1\n"
#define TAIL "end\n" /* what was cut has none */

static void record_path(const struct hs_host *host, pid_t pid, char out[4096])
{
	(void)snprintf(out, 4096, "%s/zeros-%d", host->state_dir, (int)pid);
}

int hs_zero_record_write(const struct hs_host *host, pid_t pid, const uint64_t *addr, size_t nr, struct hs_error *err)
{
	char path[4096], tmp[4104];
	FILE *f;
	int rc = 0;

	record_path(host, pid, path);
	if (!nr)
		return unlink(path) && errno != ENOENT
			   ? hs_error_set(err, -errno, "cannot remove %s: %s", path, strerror(errno))
			   : 0;
	if (mkdir(host->state_dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the state folder %s: %s", host->state_dir,
				    strerror(errno));
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "we");
	if (!f)
		return hs_error_set(err, -errno, "cannot write %s: %s", tmp, strerror(errno));
	(void)fprintf(f, HEAD "pid %d started %" PRIu64 "\n", (int)pid, hs_start_time(host, pid));
	for (size_t i = 0; i < nr; i++)
		(void)fprintf(f, "%" PRIx64 "\n", addr[i]);
	(void)fputs(TAIL, f);
	if (fflush(f) || ferror(f) || fsync(fileno(f)))
		rc = -(errno ? errno : EIO);
	if (fclose(f) && !rc)
		rc = -errno;
	if (!rc && rename(tmp, path))
		rc = -errno;
	if (rc) {
		(void)hs_error_set(err, rc, "cannot write %s: %s", path, strerror(-rc));
		(void)unlink(tmp);
	}
	return rc;
}

static int read_addresses(FILE *f, uint64_t **addr, size_t *nr)
{
	char line[64];
	size_t room = 0;

	while (fgets(line, sizeof(line), f)) {
		char *end;
		uint64_t at;

		if (strcmp(line, TAIL) == 0)
			return fgets(line, sizeof(line), f) ? -EBADMSG : 0;
		at = strtoull(line, &end, 16);
		if (end == line || strcmp(end, "\n") != 0 || !at || at % HS_HUGE_SIZE)
			return -EBADMSG;
		if (*nr == room) {
			uint64_t *grown = reallocarray(*addr, room = room ? room * 2 : 256, sizeof(*grown));

			if (!grown)
				return -ENOMEM;
			*addr = grown;
		}
		(*addr)[(*nr)++] = at;
	}
	return -EBADMSG;
}

int hs_zero_record_read(const struct hs_host *host, pid_t pid, uint64_t **addr, size_t *nr, struct hs_error *err)
{
	const uint64_t started = hs_start_time(host, pid);
	char path[4096], line[64];
	uint64_t of = 0;
	int of_pid = 0, rc = -EBADMSG;
	FILE *f;

	*addr = NULL;
	*nr = 0;
	if (!started)
		return hs_error_set(err, -ESRCH, "there is no process %d", (int)pid);
	record_path(host, pid, path);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT
			   ? 0
			   : hs_error_set(err, -EBADMSG, "the record %s cannot be read: %s", path, strerror(errno));
	if (fgets(line, sizeof(line), f) && strcmp(line, HEAD) == 0 && fgets(line, sizeof(line), f) &&
	    strchr(line, '\n') && sscanf(line, "pid %d started %" SCNu64, &of_pid, &of) == 2)
		rc = of_pid == pid && of == started ? read_addresses(f, addr, nr) : 0;
	(void)fclose(f);
	if (!rc)
		return 0;
	free(*addr);
	*addr = NULL;
	*nr = 0;
	return rc == -ENOMEM ? hs_error_set(err, rc, "out of memory for the record %s", path)
			     : hs_error_set(err, rc, "the record %s cannot be believed: it is damaged", path);
}
