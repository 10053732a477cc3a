/* SPDX-License-Identifier: Apache-2.0 */
#include "vma_marks.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "vma_marks.skel.h"

#include "bpf_load.h"

/* The skeleton under a name that its header need not give away. */
static struct vma_marks_bpf *skeleton(const struct hs_vma_marks_program *p)
{
	return (struct vma_marks_bpf *)p;
}

int hs_vma_marks_load(struct hs_vma_marks_program **out, unsigned int wanted, const char *what, struct hs_error *err)
{
	struct vma_marks_bpf *skel;
	int rc;

	*out = NULL;
	hs_bpf_load_begin();
	skel = vma_marks_bpf__open();
	if (skel)
		skel->rodata->wanted = wanted;
	rc = skel ? vma_marks_bpf__load(skel) : -errno;
	rc = hs_bpf_load_end(rc, what, err);
	if (rc)
		vma_marks_bpf__destroy(skel);
	else
		*out = (struct hs_vma_marks_program *)skel;
	return rc;
}

void hs_vma_marks_unload(struct hs_vma_marks_program *p)
{
	vma_marks_bpf__destroy(skeleton(p));
}

int hs_vma_marks_attach(const struct hs_vma_marks_program *p, pid_t pid, int pid_fd, struct bpf_link **out)
{
	union bpf_iter_link_info info = { .task = { .pid = (__u32)pid, .pid_fd = (__u32)pid_fd } };
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));

	*out = bpf_program__attach_iter(skeleton(p)->progs.vma_marks, pid || pid_fd ? &opts : NULL);
	return *out ? 0 : -errno;
}

void hs_vma_marks_detach(struct bpf_link *link)
{
	(void)bpf_link__destroy(link);
}

static int read_all(int fd, hs_vma_marks_fn *fn, void *ctx)
{
	struct hs_vma_marks some[256];
	bool complete = false;
	size_t have = 0; /* bytes: a read may end within a record */

	for (;;) {
		ssize_t n = read(fd, (char *)some + have, sizeof(some) - have);
		size_t nr;

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return complete && !have ? 0 : -EPROTO;
		have += (size_t)n;
		nr = have / sizeof(some[0]);
		for (size_t i = 0; i < nr; i++) {
			int rc = some[i].end ? fn(ctx, &some[i]) : 0;

			if (rc)
				return rc;
			complete |= !some[i].end;
		}
		have -= nr * sizeof(some[0]);
		memmove(some, (char *)some + nr * sizeof(some[0]), have);
	}
}

int hs_vma_marks_read(const struct bpf_link *link, hs_vma_marks_fn *fn, void *ctx)
{
	int fd = bpf_iter_create(bpf_link__fd(link)), rc;

	if (fd < 0)
		return fd;
	rc = read_all(fd, fn, ctx);
	(void)close(fd);
	return rc;
}
