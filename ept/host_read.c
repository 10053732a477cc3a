/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a guest's bytes, without a change to its mappings.
 *
 * process_vm_readv is the quickest way (220 ns a base page of a huge page, /proc/PID/mem 530: ./run bench hash), but it
 * pins the pages it reads, and since 5.19 the kernel first gives the process a copy of its own of every page that is
 * not exclusively its: each KSM page read that way loses its sharing, and what a fork shares is doubled, huge pages
 * included. So it is used where the huge entry is writable, which says that nobody shares it; all else is read through
 * /proc/PID/mem, which takes a reference only. (A fork between the look and the read costs one copy.)
 *
 * Either would fault absent pages in, so presence is sampled just before. What the guest gives back in the microseconds
 * between the two is read as the zero page it has become: harmless, and a content nobody may act on before comparing
 * again.
 *
 * The open file is bound to the address space: it never reads another process's, and nothing once that has no users any
 * more. process_vm_readv goes by process id. While our pidfd has not signalled the end, that number is this process's;
 * and after exec the address space we hold has no users: both are asked after the read, so bytes of another process
 * never get out.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host_internal.h"

static bool next_run(const struct hs_bits512 *b, unsigned int *start, unsigned int *end)
{
	*start = hs_bits_next(b, *end);
	*end = hs_bits_next_clear(b, *start);
	return *start < *end;
}

/* How many of the bytes could be read; 0: none, the first page is unmapped. Negative: -errno. */
static ssize_t read_run(int fd, uint64_t at, char *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, buf + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EIO && errno != EFAULT)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static bool is_still_ours(struct hs_host_view *v)
{
	struct pollfd p = { .fd = v->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 0 && !hs_walk_alive(v->walk, v->mm, NULL);
}

/* Through mem, run after run. */
static int read_mem(struct hs_host_view *v, uint64_t hva, const struct hs_bits512 *pages, char *buf,
		    struct hs_bits512 *got)
{
	unsigned int start = 0, end = 0;

	while (next_run(pages, &start, &end)) {
		const size_t offset = start * HS_BASE_SIZE, len = (end - start) * HS_BASE_SIZE;
		ssize_t n = read_run(v->mem_fd, hva + offset, buf + offset, len);

		if (n < (ssize_t)len && hs_walk_alive(v->walk, v->mm, NULL))
			return -ESRCH;
		if (n < 0)
			return (int)n;
		for (unsigned int i = start; i < start + (size_t)n / HS_BASE_SIZE; i++)
			hs_bits_set(got, i);
	}
	return 0;
}

/* By process_vm_readv: one call with a piece for each run. */
static int read_own(struct hs_host_view *v, uint64_t hva, const struct hs_bits512 *pages, char *buf,
		    struct hs_bits512 *got)
{
	struct iovec local[HS_BASE_PER_HUGE / 2], remote[HS_BASE_PER_HUGE / 2];
	char *from = (char *)(uintptr_t)hva; /* never dereferenced here */
	unsigned int start = 0, end = 0, nr = 0;
	int rc = 0;
	size_t left;
	ssize_t n;

	while (next_run(pages, &start, &end)) {
		const size_t offset = start * HS_BASE_SIZE, len = (end - start) * HS_BASE_SIZE;

		local[nr] = (struct iovec){ buf + offset, len };
		remote[nr++] = (struct iovec){ from + offset, len };
	}
	n = process_vm_readv(v->view.pid, local, nr, remote, nr, 0);
	if (n < 0)
		rc = -errno;
	if (!is_still_ours(v))
		return -ESRCH;
	if (rc)
		return rc == -EFAULT ? 0 : rc; /* unmapped meanwhile */
	/* It stops at the first page that it cannot read: what it says it copied is the front part, run after run. */
	left = (size_t)n / HS_BASE_SIZE;
	for (start = end = 0; left && next_run(pages, &start, &end);)
		for (unsigned int i = start; i < end && left; i++, left--)
			hs_bits_set(got, i);
	return 0;
}

int hs_host_read(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		 struct hs_bits512 *got, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	const uint64_t hva = hs_view_hva(view, huge).v;
	struct hs_base_sample now;
	struct hs_bits512 pages;
	int rc;

	rc = hs_host_sample_presence(v, huge, &now, err);
	if (rc)
		return rc;
	pages = hs_bits_and(*want, now.present);
	if (hs_bits_none(&pages))
		return 0;
	if (now.state == HS_MAP_HUGE && hs_host_is_own_huge(v, huge))
		rc = read_own(v, hva, &pages, buf, got);
	else
		rc = read_mem(v, hva, &pages, buf, got);
	return rc ? hs_host_error(v, rc, "read its memory", err) : 0;
}
