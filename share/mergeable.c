/* SPDX-License-Identifier: Apache-2.0 */
#include "mergeable.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/vma_marks.h"
#include "base/vmas.h"

static int add(struct hs_mergeable *m, const struct hs_mergeable_vma *vma)
{
	if (m->nr == m->room) {
		size_t room = m->room ? m->room * 2 : 256;
		struct hs_mergeable_vma *grown = reallocarray(m->vma, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		m->vma = grown;
		m->room = room;
	}
	m->vma[m->nr++] = *vma;
	return 0;
}

void hs_mergeable_finish(struct hs_mergeable *m)
{
	free(m->vma);
	memset(m, 0, sizeof(*m));
}

/* ---- the iterator ---- */

/* Loaded once for the process, and left to its end: a look follows on another each second of a burst. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hs_vma_marks_program *the_program;
static bool refused, force_slow;

static const struct hs_vma_marks_program *load(void)
{
	const struct hs_vma_marks_program *p;

	(void)pthread_mutex_lock(&lock);
	if (!the_program && !refused)
		refused = hs_vma_marks_load(&the_program, HS_VMA_MERGEABLE | HS_VMA_ARMED, "looks for mergeable memory",
					    NULL) != 0;
	p = force_slow ? NULL : the_program;
	(void)pthread_mutex_unlock(&lock);
	return p;
}

void hs_mergeable_force_slow(bool slow)
{
	(void)pthread_mutex_lock(&lock);
	force_slow = slow;
	(void)pthread_mutex_unlock(&lock);
}

static int add_fast(void *ctx, const struct hs_vma_marks *vma)
{
	return add(ctx, &(struct hs_mergeable_vma){ .space = vma->space,
						    .start = vma->start,
						    .end = vma->end,
						    .pid = (pid_t)vma->pid,
						    .mergeable = vma->flags & HS_VMA_MERGEABLE,
						    .armed = vma->flags & HS_VMA_ARMED });
}

static int look_fast(const struct hs_vma_marks_program *p, pid_t pid, struct hs_mergeable *out)
{
	struct bpf_link *link;
	int rc = hs_vma_marks_attach(p, pid, 0, &link);

	if (rc)
		return rc;
	rc = hs_vma_marks_read(link, add_fast, out);
	hs_vma_marks_detach(link);
	return rc;
}

/* ---- smaps ---- */

struct slow {
	const struct hs_host *host;
	struct hs_mergeable *out;
	pid_t pid;      /* being looked at */
	uint64_t space; /* its */
};

static int add_slow(void *ctx, const struct hs_vma *vma)
{
	struct slow *s = ctx;

	if (!vma->mergeable && !hs_vma_has_uffd(vma))
		return 0;
	return add(s->out, &(struct hs_mergeable_vma){ .space = s->space,
						       .start = vma->start,
						       .end = vma->end,
						       .pid = s->pid,
						       .mergeable = vma->mergeable,
						       .armed = hs_vma_has_uffd(vma) });
}

/* The address space is named by the first process that was seen in it. Where that cannot be asked, each has its own. */
static uint64_t space_of(const struct hs_host *host, const struct hs_mergeable *m, pid_t pid)
{
	pid_t last = 0;

	if (strcmp(host->proc_dir, "/proc") != 0)
		return (uint64_t)pid;

	for (size_t i = 0; i < m->nr; i++) {
		if (m->vma[i].pid == last)
			continue;
		last = m->vma[i].pid;
		if (syscall(SYS_kcmp, pid, last, KCMP_VM, 0UL, 0UL) == 0)
			return m->vma[i].space;
	}
	return (uint64_t)pid;
}

/* A line `key: no` (or without the colon). */
static bool says_no(const char *text, const char *key)
{
	const char *line = strstr(text, key);

	return line && !strncmp(line + strlen(key), " no", 3);
}

static int look_at(void *ctx, pid_t pid)
{
	struct slow *s = ctx;
	char text[1024];
	uint64_t pages;
	ssize_t n;
	int rc;

	/* A kernel thread has no memory, and a process that vanished has none any more. */
	n = hs_hostfile_read_pid(s->host, pid, "statm", text, sizeof(text));
	if (n == -ENOENT || n == -ESRCH || (n >= 0 && !hs_hostfile_parse_u64(text, NULL, &pages) && !pages))
		return 0;
	s->pid = pid;
	s->space = space_of(s->host, s->out, pid);
	rc = n < 0 ? (int)n : hs_vmas_each(s->host, pid, add_slow, s);
	return rc == -ESRCH ? 0 : rc;
}

/* Newer kernels say in one line whether a process has any mergeable VMA at all; only those are read. */
static int look_at_mergeable(void *ctx, pid_t pid)
{
	struct slow *s = ctx;
	char text[1024];

	if (hs_hostfile_read_pid(s->host, pid, "ksm_stat", text, sizeof(text)) > 0 && says_no(text, "ksm_mergeable:"))
		return 0;
	return look_at(ctx, pid);
}

static int look_slow(const struct hs_host *host, pid_t pid, struct hs_mergeable *out, struct hs_error *err)
{
	struct slow s = { .host = host, .out = out };
	int rc;

	out->slow = true;
	if (pid) {
		s.pid = pid;
		s.space = (uint64_t)pid;
		rc = hs_vmas_each(host, pid, add_slow, &s);
	} else {
		rc = hs_hostfile_each_pid(host, look_at_mergeable, &s);
	}
	if (rc)
		return hs_error_set(err, rc, "cannot tell whose memory is mergeable: process %d: %s", (int)s.pid,
				    strerror(-rc));
	return 0;
}

/* ---- */

static int by_place(const void *a, const void *b)
{
	const struct hs_mergeable_vma *x = a, *y = b;

	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

static bool in_first_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) == 0 && st.st_ino == 0xEFFFFFFCU; /* the kernel's PROC_PID_INIT_INO */
}

int hs_mergeable_look(const struct hs_host *host, pid_t pid, struct hs_mergeable *out, struct hs_error *err)
{
	/* The iterator numbers processes as the initial namespace does, and knows nothing of a tree of files. */
	const struct hs_vma_marks_program *p =
	    strcmp(host->proc_dir, "/proc") == 0 && in_first_namespace() ? load() : NULL;
	int rc = 0;

	memset(out, 0, sizeof(*out));
	if (p) {
		rc = look_fast(p, pid, out);
		if (rc == -ESRCH && pid)
			return hs_error_set(err, rc, "process %d is gone", (int)pid);
		if (rc)
			hs_mergeable_finish(out);
	}
	if (!p || rc)
		rc = look_slow(host, pid, out, err);
	if (!rc && out->nr)
		qsort(out->vma, out->nr, sizeof(out->vma[0]), by_place);
	return rc;
}

uint64_t hs_mergeable_space(const struct hs_mergeable *m, pid_t pid)
{
	for (size_t i = 0; i < m->nr; i++)
		if (m->vma[i].pid == pid)
			return m->vma[i].space;
	return 0;
}
