/* SPDX-License-Identifier: Apache-2.0 */
#include "mark_record.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/state_file.h"

#define HEADER "hs-share marks 1"
#define PREFIX "marks-"

static const char letters[] = "mphw"; /* of each kind, by its bit */

void hs_mark_record_finish(struct hs_mark_record *r)
{
	free(r->ranges);
	memset(r, 0, sizeof(*r));
}

int hs_mark_range_add(struct hs_mark_range **ranges, size_t *nr, size_t *room, struct hs_mark_range range)
{
	struct hs_mark_range *last = *nr ? &(*ranges)[*nr - 1] : NULL;

	if (last && last->kind == range.kind && last->end == range.start) {
		last->end = range.end;
		return 0;
	}
	if (*nr == *room) {
		size_t more = *room ? *room * 2 : 64;
		struct hs_mark_range *grown = reallocarray(*ranges, more, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		*ranges = grown;
		*room = more;
	}
	(*ranges)[(*nr)++] = range;
	return 0;
}

int hs_mark_record_add(struct hs_mark_record *r, uint64_t start, uint64_t end, uint32_t kind)
{
	return hs_mark_range_add(&r->ranges, &r->nr, &r->room,
				 (struct hs_mark_range){ .start = start, .end = end, .kind = kind });
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

static void name_of(pid_t pid, char out[NAME_MAX])
{
	(void)snprintf(out, NAME_MAX, PREFIX "%d", (int)pid);
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

/* 0: whole. Another error than -EBADMSG: it cannot be read now. */
static int parse(FILE *f, struct hs_mark_record *out, struct hs_state_owner *owner)
{
	bool whole = false;
	uint64_t count = 0;
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	int rc = -EBADMSG;

	for (int at = 0; errno = 0, (n = getline(&line, &size, f)) > 0; at++) {
		if (whole || line[n - 1] != '\n' || strlen(line) != (size_t)n) {
			rc = -EBADMSG;
			break;
		}
		line[n - 1] = '\0';
		if (at == 0)
			rc = strcmp(line, HEADER) ? -EBADMSG : 0;
		else if (at == 1)
			rc = hs_state_owner_parse(line, out->pid, owner) || !owner->boot[0] ? -EBADMSG : 0;
		else if (sscanf(line, "end %" SCNu64, &count) == 1)
			rc = (whole = count == out->nr) ? 0 : -EBADMSG;
		else
			rc = parse_range(out, line);
		if (rc)
			break;
	}
	if (n < 0 && !feof(f))
		rc = errno ? -errno : -EIO;
	free(line);
	return rc ? rc : whole ? arrange(out) : -EBADMSG;
}

int hs_mark_record_read(const struct hs_host *host, pid_t pid, struct hs_mark_record *out, struct hs_error *err)
{
	struct hs_state_owner now, owner = { 0 };
	char path[PATH_MAX], name[NAME_MAX];
	FILE *f;
	int rc;

	memset(out, 0, sizeof(*out));
	out->pid = pid;
	rc = hs_state_owner_now(host, pid, &now);
	if (rc == -ESRCH)
		return hs_error_set(err, rc, "process %d is gone", (int)pid);
	if (rc)
		return hs_error_set(err, rc, "which process has the number %d cannot be told: %s", (int)pid,
				    strerror(-rc));
	name_of(pid, name);
	(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, name);
	f = fopen(path, "re");
	if (!f && errno == ENOENT)
		return 0;
	rc = f ? parse(f, out, &owner) : -errno;
	if (f)
		(void)fclose(f);
	if (!rc && hs_state_owner_same(&owner, &now))
		return 0;
	out->nr = out->nr_mergeable = 0;
	if (!rc)
		return 0;
	if (rc != -EBADMSG)
		return hs_error_set(err, rc, "what was marked in process %d cannot be read from %s now: %s", (int)pid,
				    path, strerror(-rc));
	return hs_error_set(err, rc,
			    "what was marked in process %d cannot be read from %s (damaged): its memory is left alone; "
			    "when its marks are known not to be ours, remove the file",
			    (int)pid, path);
}

/* What is written, and whose it is. */
struct text {
	const struct hs_mark_record *r;
	struct hs_state_owner owner;
};

static void print(FILE *f, const void *ctx)
{
	const struct text *t = ctx;
	const struct hs_mark_record *r = t->r;

	(void)fprintf(f, HEADER "\n");
	hs_state_owner_print(f, r->pid, &t->owner);
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
}

int hs_mark_record_write(const struct hs_host *host, const struct hs_mark_record *r, struct hs_error *err)
{
	struct text t = { .r = r };
	char path[PATH_MAX], name[NAME_MAX];
	int rc = hs_state_owner_now(host, r->pid, &t.owner);

	if (!rc && r->id.started && !hs_process_id_same(&r->id, &t.owner.process))
		return hs_error_set(err, -ESRCH, "process %d is gone: another one has its number, or its memory",
				    (int)r->pid);
	if (rc == -ESRCH && r->nr)
		return hs_error_set(err, rc, "process %d is gone", (int)r->pid);
	name_of(r->pid, name);
	(void)snprintf(path, sizeof(path), "%s/%s", host->state_dir, name);
	if (!rc || rc == -ESRCH)
		rc = r->nr ? hs_state_file_put(host, name, print, &t) : hs_state_file_remove(host, name);
	if (rc && !r->nr)
		return hs_error_set(err, rc, "cannot remove %s: %s", path, strerror(-rc));
	if (rc)
		return hs_error_set(err, rc, "cannot write %s (%s), so nothing is marked", path, strerror(-rc));
	return 0;
}

static void clean_one(void *ctx, const struct hs_host *host, pid_t pid, const char *path)
{
	struct hs_process_id id;

	(void)ctx;
	if (hs_process_id_read(host, pid, &id) == -ESRCH)
		(void)unlink(path);
}

void hs_mark_record_clean(const struct hs_host *host)
{
	(void)!hs_state_file_each(host, PREFIX, clean_one, NULL); /* what is left says nothing of anybody else */
}
