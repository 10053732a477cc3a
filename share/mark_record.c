#include "mark_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/procstat.h"

#define HEADER   "hs-share marks 1"
#define PREFIX   "marks-"
#define BOOT_MAX 64

static const char letters[] = "mphw"; /* of each kind, by its bit */

void hs_mark_record_finish(struct hs_mark_record *r)
{
	free(r->ranges);
	memset(r, 0, sizeof(*r));
}

int hs_mark_record_add(struct hs_mark_record *r, uint64_t start, uint64_t end, uint32_t kind)
{
	struct hs_mark_range *last = r->nr ? &r->ranges[r->nr - 1] : NULL;

	if (last && last->kind == kind && last->end == start) {
		last->end = end;
		return 0;
	}
	if (r->nr == r->room) {
		size_t room = r->room ? r->room * 2 : 64;
		struct hs_mark_range *grown = reallocarray(r->ranges, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		r->ranges = grown;
		r->room = room;
	}
	r->ranges[r->nr++] = (struct hs_mark_range){ .start = start, .end = end, .kind = kind };
	return 0;
}

bool hs_mark_record_holds(const struct hs_mark_record *r, uint64_t start, uint64_t end, uint64_t *stop)
{
	size_t low = 0, high = r->nr_mergeable;

	while (low < high) { /* the first that ends behind `start` */
		size_t mid = (low + high) / 2;

		if (r->ranges[mid].end <= start)
			low = mid + 1;
		else
			high = mid;
	}
	*stop = end;
	if (low == r->nr_mergeable)
		return false;
	if (r->ranges[low].start <= start) {
		*stop = r->ranges[low].end < end ? r->ranges[low].end : end;
		return true;
	}
	*stop = r->ranges[low].start < end ? r->ranges[low].start : end;
	return false;
}

static int by_place(const void *a, const void *b)
{
	const struct hs_mark_range *x = a, *y = b;
	const bool x_rest = x->kind != HS_MARK_MERGEABLE, y_rest = y->kind != HS_MARK_MERGEABLE;

	if (x_rest != y_rest)
		return x_rest - y_rest;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* Sorts what was read, and holds that no two say different things of one place. */
static int arrange(struct hs_mark_record *r)
{
	if (r->nr)
		qsort(r->ranges, r->nr, sizeof(r->ranges[0]), by_place);
	for (r->nr_mergeable = 0; r->nr_mergeable < r->nr; r->nr_mergeable++)
		if (r->ranges[r->nr_mergeable].kind != HS_MARK_MERGEABLE)
			break;
	for (size_t i = 1; i < r->nr; i++)
		if (i != r->nr_mergeable && r->ranges[i].start < r->ranges[i - 1].end)
			return -EBADMSG;
	return 0;
}

/* ---- the file ---- */

static void path_of(const struct hs_host *host, pid_t pid, char out[PATH_MAX])
{
	(void)snprintf(out, PATH_MAX, "%s/" PREFIX "%d", host->state_dir, (int)pid);
}

/* Names this boot. A host that does not say which one it is has one name for all: the start time is left. */
static void boot_of(const struct hs_host *host, char out[BOOT_MAX])
{
	if (hs_hostfile_read(host->proc_dir, "sys/kernel/random/boot_id", out, BOOT_MAX) <= 0 || strchr(out, ' '))
		(void)snprintf(out, BOOT_MAX, "unknown");
}

static int parse_range(struct hs_mark_record *r, const char *line)
{
	uint64_t start, end;
	char kinds[16];
	uint32_t kind = 0;
	int used = 0;

	if (sscanf(line, "%" SCNx64 " %" SCNx64 " %15s%n", &start, &end, kinds, &used) != 3 || line[used] ||
	    start >= end || (start | end) & (HS_BASE_SIZE - 1))
		return -EBADMSG;
	for (const char *k = kinds; *k; k++) {
		const char *at = strchr(letters, *k);

		if (!at)
			return -EBADMSG;
		kind |= 1U << (at - letters);
	}
	if ((kind & HS_MARK_MERGEABLE && kind != HS_MARK_MERGEABLE) ||
	    (kind & HS_MARK_PLAIN && kind & HS_MARK_HUGEPAGE) ||
	    (kind & HS_MARK_WHOLE_HUGE && (start | end) & (HS_HUGE_SIZE - 1)))
		return -EBADMSG;
	return hs_mark_record_add(r, start, end, kind);
}

/* 0: whole. 1: about another process, or another boot. */
static int parse(FILE *f, const struct hs_host *host, struct hs_mark_record *out)
{
	char *line = NULL, boot[BOOT_MAX] = "", now[BOOT_MAX];
	uint64_t ticks = 0, exec_id = 0, exec_now, count = 0;
	bool whole = false;
	size_t size = 0;
	ssize_t n;
	int rc = -EBADMSG, pid = 0, at = 0;

	boot_of(host, now);
	for (; (n = getline(&line, &size, f)) > 0; at++) {
		if (whole || line[n - 1] != '\n' || strlen(line) != (size_t)n) {
			rc = -EBADMSG;
			break;
		}
		line[n - 1] = '\0';
		if (at == 0)
			rc = strcmp(line, HEADER) ? -EBADMSG : 0;
		else if (at == 1)
			/* A record of an earlier version has no exec. */
			rc = sscanf(line, "pid %d started %" SCNu64 " boot %63s exec %" SCNx64, &pid, &ticks, boot,
				    &exec_id) >= 3 &&
				     pid == out->pid && ticks
				 ? 0
				 : -EBADMSG;
		else if (sscanf(line, "end %" SCNu64, &count) == 1)
			rc = (whole = count == out->nr) ? 0 : -EBADMSG;
		else
			rc = parse_range(out, line);
		if (rc)
			break;
	}
	free(line);
	if (rc)
		return rc;
	rc = whole ? arrange(out) : -EBADMSG;
	if (rc)
		return rc;
	exec_now = exec_id ? hs_exec_id(host, out->pid) : 0;
	return strcmp(boot, now) != 0 || ticks != hs_start_time(host, out->pid) || (exec_now && exec_now != exec_id);
}

int hs_mark_record_read(const struct hs_host *host, pid_t pid, struct hs_mark_record *out, struct hs_error *err)
{
	char path[PATH_MAX];
	FILE *f;
	int rc;

	memset(out, 0, sizeof(*out));
	out->pid = pid;
	if (!hs_start_time(host, pid))
		return hs_error_set(err, -ESRCH, "process %d is gone", (int)pid);
	path_of(host, pid, path);
	f = fopen(path, "re");
	if (!f && errno == ENOENT)
		return 0;
	rc = f ? parse(f, host, out) : -errno;
	if (f)
		(void)fclose(f);
	if (!rc)
		return 0;
	out->nr = out->nr_mergeable = 0;
	if (rc == 1)
		return 0;
	return hs_error_set(err, rc == -ENOMEM ? rc : -EBADMSG,
			    "what was marked in process %d cannot be read from %s (%s): its memory is left alone; when "
			    "its marks are known not to be ours, remove the file",
			    (int)pid, path, rc == -EBADMSG ? "damaged" : strerror(-rc));
}

static int write_text(FILE *f, const struct hs_host *host, const struct hs_mark_record *r, uint64_t ticks,
		      uint64_t exec_id)
{
	char boot[BOOT_MAX];

	boot_of(host, boot);
	(void)fprintf(f, HEADER "\npid %d started %" PRIu64 " boot %s", (int)r->pid, ticks, boot);
	if (exec_id)
		(void)fprintf(f, " exec %" PRIx64, exec_id);
	(void)fputc('\n', f);
	for (size_t i = 0; i < r->nr; i++) {
		char kinds[sizeof(letters)], *k = kinds;

		for (unsigned int bit = 0; letters[bit]; bit++)
			if (r->ranges[i].kind & 1U << bit)
				*k++ = letters[bit];
		*k = '\0';
		(void)fprintf(f, "%" PRIx64 " %" PRIx64 " %s\n", r->ranges[i].start, r->ranges[i].end, kinds);
	}
	/* Joined as the reader joins them: the same number comes out. */
	(void)fprintf(f, "end %zu\n", r->nr);
	return fflush(f) || ferror(f) || fsync(fileno(f)) ? -EIO : 0;
}

/* The folder's entry, so that the rename survives a power cut where the state folder is on a disk. */
static void flush_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		(void)fsync(fd);
		(void)close(fd);
	}
}

int hs_mark_record_write(const struct hs_host *host, const struct hs_mark_record *r, struct hs_error *err)
{
	const uint64_t ticks = hs_start_time(host, r->pid), exec_id = hs_exec_id(host, r->pid);
	char path[PATH_MAX], tmp[PATH_MAX + 8];
	int fd, rc;
	FILE *f;

	path_of(host, r->pid, path);
	if (ticks && r->started && r->started != ticks)
		return hs_error_set(err, -ESRCH, "process %d is gone: another one has its number", (int)r->pid);
	if (exec_id && r->exec_id && r->exec_id != exec_id)
		return hs_error_set(err, -ESRCH, "process %d runs another program by now", (int)r->pid);
	if (!r->nr) {
		if (unlink(path) && errno != ENOENT)
			return hs_error_set(err, -errno, "cannot remove %s: %s", path, strerror(errno));
		return 0;
	}
	if (!ticks)
		return hs_error_set(err, -ESRCH, "process %d is gone", (int)r->pid);
	if (mkdir(host->state_dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the state folder %s: %s", host->state_dir,
				    strerror(errno));
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f) {
		rc = -errno;
		if (fd >= 0)
			(void)close(fd);
		return hs_error_set(err, rc, "cannot write %s: %s", tmp, strerror(-rc));
	}
	rc = write_text(f, host, r, ticks, exec_id);
	(void)fclose(f);
	if (!rc && rename(tmp, path))
		rc = -errno;
	if (rc) {
		(void)unlink(tmp); /* it may have taken the last of the room */
		return hs_error_set(err, rc, "cannot write %s (%s), so nothing is marked", path, strerror(-rc));
	}
	flush_dir(host->state_dir);
	return 0;
}

void hs_mark_record_clean(const struct hs_host *host)
{
	DIR *d = opendir(host->state_dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char *end;
		long pid;

		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		pid = strtol(e->d_name + strlen(PREFIX), &end, 10);
		if (strcmp(end, ".new") == 0 ||
		    (!*end && pid > 0 && pid <= INT_MAX && !hs_start_time(host, (pid_t)pid)))
			(void)unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d)
		(void)closedir(d);
}
