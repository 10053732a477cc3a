/*
 * Order, and what each step closes. Taking: look, record, take; a crash after the record and before the call makes the
 * next engine set a mark that is there already, which is nothing. Giving back: call, then remove the record; a crash in
 * between does the same. The record names the process by pid and start time: a number that was given to another process
 * since is never taken for it, nor is a program that the process has become by exec.
 */
#include "foreign_claim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/procstat.h"

#define HEADER "hs-share claim 1"
#define PREFIX "claim-"

void hs_foreign_claim_finish(struct hs_foreign_claim *c)
{
	free(c->ranges);
	memset(c, 0, sizeof(*c));
}

static int add(struct hs_foreign_claim *c, uint64_t start, uint64_t end)
{
	if (c->nr && c->ranges[c->nr - 1].end == start) {
		c->ranges[c->nr - 1].end = end;
		return 0;
	}
	if (c->nr == c->room) {
		size_t room = c->room ? c->room * 2 : 16;
		struct hs_foreign_claim_range *grown = reallocarray(c->ranges, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		c->ranges = grown;
		c->room = room;
	}
	c->ranges[c->nr++] = (struct hs_foreign_claim_range){ start, end };
	return 0;
}

int hs_foreign_claim_note(struct hs_foreign_claim *c, const struct hs_mark_record *ours, const struct hs_vma *vma)
{
	const size_t before = c->nr;
	bool any = false;
	int rc = 0;

	/* What a userfaultfd watches is left alone: the invariant keeps ksmd from it. */
	if (!vma->mergeable || hs_vma_has_uffd(vma))
		return 0;
	for (uint64_t at = vma->start, stop; at < vma->end && !rc; at = stop) {
		if (hs_mark_record_holds(ours, at, vma->end, &stop))
			continue;
		any = true;
		rc = add(c, at, stop);
	}
	if (any || c->nr != before)
		c->ksm_bytes += vma->ksm_bytes;
	return rc;
}

struct finding {
	struct hs_foreign_claim *claim;
	struct hs_mark_record ours;
};

static int visit(void *ctx, const struct hs_vma *vma)
{
	struct finding *f = ctx;

	return hs_foreign_claim_note(f->claim, &f->ours, vma);
}

int hs_foreign_claim_find(const struct hs_host *host, pid_t pid, struct hs_foreign_claim *out, struct hs_error *err)
{
	struct finding f = { .claim = out };
	int rc;

	memset(out, 0, sizeof(*out));
	out->pid = pid;
	rc = hs_mark_record_read(host, pid, &f.ours, err);
	if (!rc) {
		rc = hs_vmas_each(host, pid, visit, &f);
		if (rc)
			(void)hs_error_set(err, rc, "cannot read the memory map of process %d: %s", (int)pid,
					   strerror(-rc));
	}
	hs_mark_record_finish(&f.ours);
	if (rc)
		hs_foreign_claim_finish(out);
	return rc;
}

uint64_t hs_foreign_claim_ksm_bytes(const struct hs_host *host, const struct hs_foreign_claim *c)
{
	uint64_t all = 0, pages;
	char text[4096];

	if (c->ksm_bytes)
		return c->ksm_bytes;
	if (hs_hostfile_read_pid(host, c->pid, "smaps_rollup", text, sizeof(text)) > 0 && strstr(text, "\nKSM:"))
		return 0;
	for (size_t i = 0; i < c->nr; i++)
		all += c->ranges[i].end - c->ranges[i].start;
	if (hs_hostfile_read_pid(host, c->pid, "ksm_merging_pages", text, sizeof(text)) > 0 &&
	    !hs_hostfile_parse_u64(text, NULL, &pages) && pages * HS_BASE_SIZE < all)
		return pages * HS_BASE_SIZE;
	return all;
}

static void record_path(const struct hs_host *host, pid_t pid, char out[PATH_MAX])
{
	(void)snprintf(out, PATH_MAX, "%s/" PREFIX "%d", host->state_dir, (int)pid);
}

/* A record that is whole and of the process that has the number now; 0, -ENOENT otherwise. Other errors: it is not
 * known. */
static int read_record(const struct hs_host *host, pid_t pid, struct hs_foreign_claim *out)
{
	char path[PATH_MAX], line[256];
	uint64_t ticks = 0, exec_id = 0, exec_now, start, end;
	bool whole = false, io;
	int n = 0, rc = 0;
	FILE *f;

	memset(out, 0, sizeof(*out));
	out->pid = pid;
	record_path(host, pid, path);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ENOENT : -EIO;
	if (!fgets(line, sizeof(line), f) || strcmp(line, HEADER "\n") != 0 || !fgets(line, sizeof(line), f) ||
	    sscanf(line, "pid %d started %" SCNu64 " exec %" SCNx64, &n, &ticks, &exec_id) < 2 || n != pid || !ticks ||
	    ticks != hs_start_time(host, pid))
		rc = -ENOENT;
	/* An older record has no exec. What was claimed went with the address space. */
	exec_now = exec_id ? hs_exec_id(host, pid) : 0;
	if (exec_now && exec_now != exec_id)
		rc = -ENOENT;
	while (!rc && !whole && fgets(line, sizeof(line), f)) {
		whole = strcmp(line, "end\n") == 0;
		if (!whole)
			rc = sscanf(line, "%" SCNx64 " %" SCNx64, &start, &end) == 2 && start < end
				 ? add(out, start, end)
				 : -ENOENT;
	}
	io = ferror(f) != 0;
	(void)fclose(f);
	if (!rc && whole)
		return 0;
	hs_foreign_claim_finish(out);
	return rc == -ENOMEM || (!rc && io) ? -EIO : -ENOENT;
}

static bool has(const struct hs_foreign_claim *c, const struct hs_foreign_claim_range *r)
{
	for (size_t i = 0; i < c->nr; i++)
		if (c->ranges[i].start == r->start && c->ranges[i].end == r->end)
			return true;
	return false;
}

int hs_foreign_claim_record(const struct hs_host *host, const struct hs_foreign_claim *c, struct hs_error *err)
{
	char path[PATH_MAX], tmp[PATH_MAX + 8];
	const uint64_t ticks = hs_start_time(host, c->pid);
	struct hs_foreign_claim old;
	int fd, rc;
	FILE *f;

	if (!ticks)
		return hs_error_set(err, -ESRCH, "process %d is gone", (int)c->pid);
	if (mkdir(host->state_dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the state folder %s: %s", host->state_dir,
				    strerror(errno));
	record_path(host, c->pid, path);
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	/* What was claimed before must not be lost. */
	rc = read_record(host, c->pid, &old);
	if (rc && rc != -ENOENT)
		return hs_error_set(err, rc, "cannot read %s: %s", path, strerror(-rc));
	if (rc)
		memset(&old, 0, sizeof(old));
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f) {
		rc = -errno;
		if (fd >= 0)
			(void)close(fd);
		hs_foreign_claim_finish(&old);
		return hs_error_set(err, rc, "cannot write %s: %s", tmp, strerror(-rc));
	}
	(void)fprintf(f, HEADER "\npid %d started %" PRIu64 " exec %" PRIx64 "\n", (int)c->pid, ticks,
		      hs_exec_id(host, c->pid));
	for (size_t i = 0; i < old.nr; i++)
		(void)fprintf(f, "%" PRIx64 " %" PRIx64 "\n", old.ranges[i].start, old.ranges[i].end);
	/* Recorded and then not taken it comes again, in each cycle while the process is held by a debugger. */
	for (size_t i = 0; i < c->nr; i++)
		if (!has(&old, &c->ranges[i]))
			(void)fprintf(f, "%" PRIx64 " %" PRIx64 "\n", c->ranges[i].start, c->ranges[i].end);
	(void)fprintf(f, "end\n");
	rc = fflush(f) || ferror(f) || fsync(fd) ? -EIO : 0;
	(void)fclose(f);
	if (!rc && rename(tmp, path))
		rc = -errno;
	if (rc)
		(void)unlink(tmp);
	hs_foreign_claim_finish(&old);
	return rc ? hs_error_set(err, rc, "cannot write %s: %s", path, strerror(-rc)) : 0;
}

/* The advice on all ranges; a range that the process has given back since is no error. */
static int advise(const struct hs_foreign_claim *c, struct hs_remote *remote, int advice, struct hs_error *err)
{
	struct hs_remote_op *ops = calloc(c->nr ? c->nr : 1, sizeof(*ops));
	int rc;

	if (!ops)
		return hs_error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < c->nr; i++)
		ops[i] =
		    (struct hs_remote_op){ .start = c->ranges[i].start, .end = c->ranges[i].end, .advice = advice };
	rc = hs_remote_madvise(remote, ops, c->nr, err);
	for (size_t i = 0; i < c->nr && !rc; i++)
		if (ops[i].result && ops[i].result != -ENOMEM)
			rc = hs_error_set(err, ops[i].result, "process %d: %s", (int)c->pid, strerror(-ops[i].result));
	free(ops);
	return rc;
}

static int with_remote(const struct hs_host *host, const struct hs_foreign_claim *c, struct hs_remote *remote,
		       int advice, struct hs_error *err)
{
	struct hs_remote *own = NULL;
	int rc = remote ? 0 : hs_remote_open(&own, host, c->pid, err);

	if (!rc)
		rc = advise(c, remote ? remote : own, advice, err);
	hs_remote_close(own);
	return rc;
}

int hs_foreign_claim_take(const struct hs_host *host, const struct hs_foreign_claim *c, struct hs_remote *remote,
			  struct hs_error *err)
{
	return with_remote(host, c, remote, MADV_UNMERGEABLE, err);
}

/* What may be given back now of what was recorded. */
struct giving {
	const struct hs_foreign_claim *recorded;
	struct hs_mark_record ours;
	struct hs_foreign_claim now;
	bool later; /* some of it carries our marks still */
};

/* Mergeable again all at once, what we share of it would count as shared by us, hot pages included: it waits. */
static int visit_giving(void *ctx, const struct hs_vma *vma)
{
	struct giving *g = ctx;

	for (size_t i = 0; i < g->recorded->nr; i++) {
		const struct hs_foreign_claim_range *r = &g->recorded->ranges[i];
		const uint64_t start = vma->start > r->start ? vma->start : r->start;
		const uint64_t end = vma->end < r->end ? vma->end : r->end;
		uint64_t stop;
		bool ours;
		int rc;

		if (start >= end)
			continue;
		ours = hs_mark_record_holds(&g->ours, start, end, &stop) || stop < end;
		for (size_t k = g->ours.nr_mergeable; k < g->ours.nr && !ours; k++)
			ours = g->ours.ranges[k].kind != HS_MARK_WHOLE_HUGE && g->ours.ranges[k].start < end &&
			       g->ours.ranges[k].end > start;
		if (ours) {
			g->later = true;
			continue;
		}
		rc = add(&g->now, start, end);
		if (rc)
			return rc;
	}
	return 0;
}

/* 0: all was given back; -EAGAIN: what is shared still comes later. */
static int give_back(const struct hs_host *host, const struct hs_foreign_claim *recorded)
{
	struct giving g = { .recorded = recorded, .now = { .pid = recorded->pid } };
	int rc = hs_mark_record_read(host, recorded->pid, &g.ours, NULL);

	if (!rc)
		rc = hs_vmas_each(host, recorded->pid, visit_giving, &g);
	if (!rc && g.now.nr)
		rc = with_remote(host, &g.now, NULL, MADV_MERGEABLE, NULL);
	hs_foreign_claim_finish(&g.now);
	hs_mark_record_finish(&g.ours);
	return rc ? rc : g.later ? -EAGAIN : 0;
}

size_t hs_foreign_claim_give_back(const struct hs_host *host)
{
	DIR *d = opendir(host->state_dir);
	struct dirent *e;
	size_t nr = 0;

	while (d && (e = readdir(d))) {
		struct hs_foreign_claim c;
		char path[PATH_MAX], *end;
		long pid;
		int rc;

		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		pid = strtol(e->d_name + strlen(PREFIX), &end, 10);
		if (strcmp(end, ".new") == 0)
			(void)unlinkat(dirfd(d), e->d_name, 0); /* written half, by a killed one: nothing was taken */
		if (*end || pid <= 0 || pid > INT_MAX)
			continue;
		rc = read_record(host, (pid_t)pid, &c);
		if (rc && rc != -ENOENT)
			continue; /* it cannot be read now: kept for the next time */
		if (!rc) {
			rc = give_back(host, &c);
			hs_foreign_claim_finish(&c);
			nr += !rc;
			if (rc && rc != -ESRCH)
				continue;
		}
		record_path(host, (pid_t)pid, path);
		(void)unlink(path);
	}
	if (d)
		(void)closedir(d);
	return nr;
}
