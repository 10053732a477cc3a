/*
 * Whose memory is mergeable. ksmd merges everything that is, so this is asked before it runs.
 *
 * Reading every process's VMAs costs a walk over all page tables of the host; newer kernels say in one line of
 * /proc/PID/ksm_stat whether a process has any mergeable VMA at all, and only those are read.
 */
#include "hs/share.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/vmas.h"
#include "mark_record.h"

struct search {
	const struct hs_host *host;
	const pid_t *pids;
	size_t nr_pids;
	struct hs_ksm_foreign *found;
	size_t nr, room;
};

static int add_vma(void *ctx, const struct hs_vma *vma)
{
	uint64_t *bytes = ctx;

	if (vma->mergeable)
		*bytes += vma->end - vma->start;
	return 0;
}

/* A line `key: no` (or without the colon). */
static bool says_no(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line && !strncmp(line + strlen(key), " no", 3);
}

static int look_at(void *ctx, pid_t pid)
{
	struct search *s = ctx;
	struct hs_ksm_foreign *f;
	char text[1024];
	uint64_t bytes = 0;
	ssize_t n;

	for (size_t i = 0; i < s->nr_pids; i++)
		if (s->pids[i] == pid)
			return 0;
	/* A kernel thread has no memory, and a process that vanished has none any more. */
	n = hs_hostfile_read_pid(s->host, pid, "statm", text, sizeof(text));
	if (n < 0 || hs_hostfile_parse_u64(text, NULL, &bytes) || !bytes)
		return 0;
	n = hs_hostfile_read_pid(s->host, pid, "ksm_stat", text, sizeof(text));
	if (n > 0 && says_no(text, "ksm_mergeable:"))
		return 0;
	bytes = 0;
	n = hs_vmas_each(s->host, pid, add_vma, &bytes);
	if (n == -ESRCH)
		return 0;
	/* A process that even root may not look into (its capabilities exceed ours) is none that runs guests for us. */
	if ((n == -EACCES || n == -EPERM) && geteuid() == 0)
		return 0;
	if (n)
		return (int)n;
	if (!bytes)
		return 0;
	if (s->nr == s->room) {
		size_t room = s->room ? s->room * 2 : 8;

		f = reallocarray(s->found, room, sizeof(*f));
		if (!f)
			return -ENOMEM;
		s->found = f;
		s->room = room;
	}
	f = &s->found[s->nr];
	*f = (struct hs_ksm_foreign){ .pid = pid, .mergeable_bytes = bytes };
	if (hs_hostfile_read_pid(s->host, pid, "comm", f->comm, sizeof(f->comm)) < 0)
		return 0; /* vanished just now */
	s->nr++;
	return 0;
}

int hs_ksm_find_foreign(const struct hs_host *host, const pid_t *pids, size_t nr_pids, struct hs_ksm_foreign **out,
			size_t *nr, struct hs_error *err)
{
	struct search s = { .host = host, .pids = pids, .nr_pids = nr_pids };
	int rc = hs_hostfile_each_pid(host, look_at, &s);

	*out = NULL;
	*nr = 0;
	if (rc) {
		free(s.found);
		return hs_error_set(err, rc, "cannot tell whose memory is mergeable (%s): run as root", strerror(-rc));
	}
	*out = s.found;
	*nr = s.nr;
	return 0;
}

/* ---- what an earlier life of ours left in a process ---- */

struct ours {
	struct hs_mark_record record;
	uint64_t bytes;
};

static int add_ours(void *ctx, const struct hs_vma *vma)
{
	struct ours *o = ctx;

	for (uint64_t at = vma->start, stop; vma->mergeable && at < vma->end; at = stop)
		if (hs_mark_record_holds(&o->record, at, vma->end, &stop))
			o->bytes += stop - at;
	return 0;
}

int hs_share_find_owed(const struct hs_host *host, pid_t pid, uint64_t *bytes, struct hs_error *err)
{
	struct ours o = { 0 };
	int rc = hs_mark_record_read(host, pid, &o.record, err);

	if (!rc && o.record.nr) {
		rc = hs_vmas_each(host, pid, add_ours, &o);
		if (rc)
			(void)hs_error_set(err, rc, "cannot read the memory map of process %d: %s", (int)pid,
					   strerror(-rc));
	}
	*bytes = rc ? 0 : o.bytes;
	hs_mark_record_finish(&o.record);
	return rc;
}
