#include "mergeable.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "share/bpf/vma_marks_abi.h"
#include "vma_marks.skel.h"

#include "base/bpf_load.h"
#include "base/hostfile.h"
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
static struct vma_marks_bpf *the_skel;
static bool refused, force_slow;

static struct vma_marks_bpf *load(void)
{
	struct vma_marks_bpf *skel;
	int rc;

	(void)pthread_mutex_lock(&lock);
	if (!the_skel && !refused) {
		hs_bpf_load_begin();
		skel = vma_marks_bpf__open();
		rc = skel ? vma_marks_bpf__load(skel) : -errno;
		rc = hs_bpf_load_end(rc, "looks for mergeable memory", NULL);
		if (rc)
			vma_marks_bpf__destroy(skel);
		else
			the_skel = skel;
		refused = rc != 0;
	}
	skel = force_slow ? NULL : the_skel;
	(void)pthread_mutex_unlock(&lock);
	return skel;
}

void hs_mergeable_force_slow(bool slow)
{
	(void)pthread_mutex_lock(&lock);
	force_slow = slow;
	(void)pthread_mutex_unlock(&lock);
}

static int read_all(int fd, struct hs_mergeable *out)
{
	static const size_t room = 1024;
	struct hs_vma_marks *buf = malloc(room * sizeof(*buf));
	size_t have = 0; /* bytes of a record that is not whole yet */
	int rc = buf ? 0 : -ENOMEM;

	while (!rc) {
		ssize_t n = read(fd, (char *)buf + have, room * sizeof(*buf) - have);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			rc = -errno;
		if (n <= 0)
			break;
		have += (size_t)n;
		for (size_t i = 0; i < have / sizeof(*buf) && !rc; i++)
			rc = add(out, &(struct hs_mergeable_vma){ .space = buf[i].space,
								  .start = buf[i].start,
								  .end = buf[i].end,
								  .pid = (pid_t)buf[i].pid,
								  .mergeable = buf[i].flags & HS_VMA_MERGEABLE,
								  .armed = buf[i].flags & HS_VMA_ARMED });
		memmove(buf, buf + have / sizeof(*buf), have % sizeof(*buf));
		have %= sizeof(*buf);
	}
	free(buf);
	return rc ? rc : have ? -EIO : 0;
}

static int look_fast(struct vma_marks_bpf *skel, pid_t pid, struct hs_mergeable *out)
{
	union bpf_iter_link_info info = { .task = { .pid = (uint32_t)pid } };
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));
	struct bpf_link *link = bpf_program__attach_iter(skel->progs.vma_marks, pid ? &opts : NULL);
	int fd, rc;

	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	rc = fd < 0 ? -errno : read_all(fd, out);
	if (fd >= 0)
		(void)close(fd);
	(void)bpf_link__destroy(link);
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
	struct vma_marks_bpf *skel = strcmp(host->proc_dir, "/proc") == 0 && in_first_namespace() ? load() : NULL;
	int rc = 0;

	memset(out, 0, sizeof(*out));
	if (skel) {
		rc = look_fast(skel, pid, out);
		if (rc == -ESRCH && pid)
			return hs_error_set(err, rc, "process %d is gone", (int)pid);
		if (rc)
			hs_mergeable_finish(out);
	}
	if (!skel || rc)
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
