/* SPDX-License-Identifier: Apache-2.0 */
#include "vmas.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostfile.h"

/* ---- one line ---- */

static const char *parse_hex(const char *p, uint64_t *out)
{
	uint64_t v = 0;

	for (;; p++) {
		if (*p >= '0' && *p <= '9')
			v = v << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			v = v << 4 | (uint64_t)(*p - 'a' + 10);
		else
			break;
	}
	*out = v;
	return p;
}

/* "start-end rwxp offset device inode      name"; false when the line is none of these. */
static bool parse_header(const char *line, struct hs_vma *v)
{
	uint64_t inode = 0;
	const char *p;

	*v = (struct hs_vma){ 0 };
	p = parse_hex(line, &v->start);
	if (p == line || *p++ != '-')
		return false;
	p = parse_hex(p, &v->end);
	if (*p++ != ' ' || strlen(p) < 5)
		return false;
	v->read = p[0] == 'r';
	v->write = p[1] == 'w';
	v->exec = p[2] == 'x';
	v->shared = p[3] == 's';
	p += 4;
	for (int field = 0; field < 3; field++) { /* offset, device, inode */
		p += strspn(p, " ");
		if (field == 2)
			inode = strtoull(p, NULL, 10);
		p += strcspn(p, " ");
	}
	v->name = p + strspn(p, " ");
	v->file = inode != 0;
	/* "[anon:NAME]" is a name that the process gave to anonymous memory of its own; other brackets are special. */
	v->special = v->name[0] == '[' && strncmp(v->name, "[anon:", 6) != 0;
	v->anon = !v->special && !inode && (!v->name[0] || v->name[0] == '[');
	return true;
}

static void put_flag(struct hs_vma *v, char a, char b)
{
#define FLAG(x, y) ((x) << 8 | (y))
	switch (FLAG(a, b)) {
	case FLAG('m', 'g'):
		v->mergeable = true;
		break;
	case FLAG('h', 'g'):
		v->hugepage = true;
		break;
	case FLAG('n', 'h'):
		v->nohugepage = true;
		break;
	case FLAG('d', 'd'):
		v->dontdump = true;
		break;
	case FLAG('h', 't'):
		v->hugetlb = true;
		break;
	case FLAG('l', 'o'):
		v->locked = true;
		break;
	case FLAG('i', 'o'):
		v->io = true;
		break;
	case FLAG('p', 'f'):
		v->pfnmap = true;
		break;
	case FLAG('u', 'w'):
		v->uffd_wp = true;
		break;
	case FLAG('u', 'm'):
		v->uffd_missing = true;
		break;
	case FLAG('u', 'i'):
		v->uffd_minor = true;
		break;
	default:
		break;
	}
#undef FLAG
}

/* A line of smaps that belongs to the VMA before it. */
static void parse_detail(const char *line, struct hs_vma *v)
{
	uint64_t kib;

	if (!strncmp(line, "KSM:", 4)) {
		v->ksm_bytes = hs_hostfile_field(line, "KSM:", &kib) ? 0 : kib * 1024;
	} else if (!strncmp(line, "VmFlags:", 8)) {
		const char *p = line + 8;

		v->has_flags = true;
		for (p += strspn(p, " "); p[0] && p[1]; p += 2, p += strspn(p, " "))
			put_flag(v, p[0], p[1]);
	}
}

/* ---- line by line ---- */

/* A process that is gone shows as a folder that is not there, or as reads that fail. */
static int gone(int rc)
{
	return rc == -ENOENT || rc == -ESRCH ? -ESRCH : rc;
}

/* About 1 KiB of smaps for each VMA; a line is the length of a path at most. */
#define ROOM 65536

struct stream {
	int fd;
	off_t at;
	size_t begin, end; /* of what is not yet consumed, in text */
	char text[ROOM];
};

/* The next line, terminated; NULL at the end (*rc 0) or after an error. It stays valid until the next call. */
static char *next_line(struct stream *s, int *rc)
{
	for (;;) {
		char *line = s->text + s->begin, *newline = memchr(line, '\n', s->end - s->begin);
		ssize_t n;

		if (newline) {
			*newline = '\0';
			s->begin = (size_t)(newline + 1 - s->text);
			return line;
		}
		memmove(s->text, line, s->end - s->begin);
		s->end -= s->begin;
		s->begin = 0;
		if (s->end == ROOM - 1) {
			*rc = -EPROTO;
			return NULL;
		}
		do {
			n = pread(s->fd, s->text + s->end, ROOM - 1 - s->end, s->at);
		} while (n < 0 && errno == EINTR);
		if (n > 0) {
			s->at += n;
			s->end += (size_t)n;
			continue;
		}
		*rc = n < 0 ? gone(-errno) : 0;
		if (n < 0 || !s->end)
			return NULL;
		s->text[s->end] = '\0'; /* the last line, without its newline */
		s->begin = s->end;
		return s->text;
	}
}

/* want_flags: smaps, where each VMA has its flags. The name of a VMA is copied, for its line goes before its flags
 * come. */
static int each(int fd, bool want_flags, hs_vma_fn fn, void *ctx)
{
	struct stream *s = malloc(sizeof(*s));
	char *name = s ? malloc(ROOM) : NULL, *line;
	struct hs_vma vma, next;
	bool any = false;
	int rc = 0;

	if (!name) {
		free(s);
		return -ENOMEM;
	}
	s->fd = fd;
	s->at = 0;
	s->begin = s->end = 0;
	while (!rc && (line = next_line(s, &rc))) {
		/* Headers begin with a lower-case hexadecimal digit, smaps' other lines with a capital letter. */
		if (*line >= 'A' && *line <= 'Z') {
			if (any)
				parse_detail(line, &vma);
			continue;
		}
		if (!parse_header(line, &next))
			continue;
		if (any)
			rc = want_flags && !vma.has_flags ? -EPROTO : fn(ctx, &vma);
		any = true;
		vma = next;
		vma.name = memcpy(name, next.name, strlen(next.name) + 1);
	}
	/* One that was cut off when the process went is not visited: that is an error below. */
	if (!rc && any)
		rc = want_flags && !vma.has_flags ? -EPROTO : fn(ctx, &vma);
	free(name);
	free(s);
	return rc || any ? rc : -ESRCH; /* it has left its address space: a file, but nothing in it */
}

int hs_vmas_each_fd(int fd, hs_vma_fn fn, void *ctx)
{
	return each(fd, false, fn, ctx);
}

static int open_of_pid(const struct hs_host *host, pid_t pid, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%d/%s", (int)pid, name);
	return gone(hs_hostfile_open(host->proc_dir, path));
}

int hs_vmas_each(const struct hs_host *host, pid_t pid, hs_vma_fn fn, void *ctx)
{
	int fd = open_of_pid(host, pid, "smaps"), rc;

	if (fd < 0)
		return fd;
	rc = each(fd, true, fn, ctx);
	(void)close(fd);
	return rc;
}

int64_t hs_vmas_count(const struct hs_host *host, pid_t pid)
{
	int fd = open_of_pid(host, pid, "maps");
	int64_t lines = 0;
	char buf[ROOM];
	ssize_t n;

	if (fd < 0)
		return fd;
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

/* ---- all of them ---- */

struct filling {
	struct hs_vma_list *list;
	size_t room;
};

static int add(void *ctx, const struct hs_vma *vma)
{
	struct filling *f = ctx;
	struct hs_vma_list *l = f->list;
	struct hs_vma *v;

	if (l->nr == f->room) {
		size_t more = f->room ? f->room * 2 : 256;

		v = reallocarray(l->vma, more, sizeof(*v));
		if (!v)
			return -ENOMEM;
		l->vma = v;
		f->room = more;
	}
	v = &l->vma[l->nr];
	*v = *vma;
	v->name = vma->name[0] ? strdup(vma->name) : "";
	if (!v->name)
		return -ENOMEM;
	l->nr++;
	return 0;
}

int hs_vmas_read(struct hs_vma_list *out, int dir_fd, const char *name)
{
	struct filling f = { .list = out };
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC), rc;

	*out = (struct hs_vma_list){ 0 };
	if (fd < 0)
		return gone(-errno);
	rc = each(fd, !strcmp(name, "smaps"), add, &f);
	(void)close(fd);
	if (rc)
		hs_vmas_finish(out);
	return rc;
}

void hs_vmas_finish(struct hs_vma_list *l)
{
	for (size_t i = 0; i < l->nr; i++)
		if (l->vma[i].name[0])
			free((char *)l->vma[i].name);
	free(l->vma);
	*l = (struct hs_vma_list){ 0 };
}

size_t hs_vmas_above(const struct hs_vma_list *l, uint64_t addr)
{
	size_t low = 0, high = l->nr;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->vma[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}
