/*
 * Reading a guest's bytes: of a huge mapping one process_vm_readv with a piece for each run of wanted base pages that
 * are present now. Of base pages through /proc/PID/mem, although that is slower: process_vm_readv pins what it reads,
 * and the kernel gives a KSM page a frame of its own before it is pinned, so looking at shared memory would undo its
 * sharing.
 *
 * Both would fault absent pages in, so presence is sampled just before. What the guest gives back in the
 * microseconds between the two is read as the zero page it has become: harmless, and a content nobody may act on before
 * comparing again.
 *
 * It goes by process id. While our pidfd has not signalled the end, that number is this process's; and after exec the
 * address space we hold has no users: both are asked after the read, so bytes of another process never get out.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "host_view.h"

static bool next_run(const struct hs_bits512 *b, unsigned int *start, unsigned int *end)
{
	unsigned int i = *end;

	while (i < HS_BASE_PER_HUGE && !hs_bits_test(b, i))
		i++;
	*start = i;
	while (i < HS_BASE_PER_HUGE && hs_bits_test(b, i))
		i++;
	*end = i;
	return *start < *end;
}

static bool is_still_ours(struct hs_host_view *v)
{
	struct pollfd p = { .fd = v->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) == 0 && !hs_walk_alive(v->walk, v->mm, NULL);
}

/* Through /proc/PID/mem, which leaves shared pages shared. What is unmapped meanwhile is not got. */
static int read_base(struct hs_host_view *v, uint64_t hva, const struct hs_bits512 *pages, char *buf,
		     struct hs_bits512 *got)
{
	unsigned int start = 0, end = 0;

	while (next_run(pages, &start, &end)) {
		const size_t at = start * HS_BASE_SIZE, len = (end - start) * HS_BASE_SIZE;
		ssize_t n = pread(v->mem_fd, buf + at, len, (off_t)(hva + at));

		if (n < 0 && errno != EIO && errno != EFAULT)
			return -errno;
		for (unsigned int i = start; n >= (ssize_t)HS_BASE_SIZE; i++, n -= (ssize_t)HS_BASE_SIZE)
			hs_bits_set(got, i);
	}
	return 0;
}

int hs_host_read(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		 struct hs_bits512 *got, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	struct iovec local[HS_BASE_PER_HUGE / 2], remote[HS_BASE_PER_HUGE / 2];
	unsigned int start = 0, end = 0, nr = 0;
	char *hva = (char *)(uintptr_t)hs_view_hva(view, huge).v; /* never dereferenced here */
	struct hs_base_sample now;
	struct hs_bits512 pages;
	size_t left;
	ssize_t n;
	int rc;

	rc = hs_host_sample_base(view, &huge, 1, &now, err);
	if (rc)
		return rc;
	pages = hs_bits_and(*want, now.present);
	if (now.state != HS_MAP_HUGE) {
		struct hs_bits512 read = { { 0 } };

		rc = read_base(v, hs_view_hva(view, huge).v, &pages, buf, &read);
		if (!is_still_ours(v))
			rc = -ESRCH;
		if (rc)
			return hs_host_error(v, rc, "read its memory", err);
		*got = read;
		return 0;
	}
	while (next_run(&pages, &start, &end)) {
		size_t len = (end - start) * HS_BASE_SIZE;

		local[nr] = (struct iovec){ (char *)buf + start * HS_BASE_SIZE, len };
		remote[nr++] = (struct iovec){ hva + start * HS_BASE_SIZE, len };
	}
	if (!nr)
		return 0;
	n = process_vm_readv(view->pid, local, nr, remote, nr, 0);
	if (n < 0)
		rc = -errno;
	if (!is_still_ours(v))
		rc = -ESRCH;
	if (rc == -EFAULT) /* unmapped meanwhile */
		return 0;
	if (rc)
		return hs_host_error(v, rc, "read its memory", err);
	/* It stops at the first page that it cannot read: what it says it copied is the front part, run after run. */
	left = (size_t)n / HS_BASE_SIZE;
	for (start = end = 0; left && next_run(&pages, &start, &end);)
		for (unsigned int i = start; i < end && left; i++, left--)
			hs_bits_set(got, i);
	return 0;
}
