/*
 * Reading a guest's bytes: one process_vm_readv with a piece for each run of wanted base pages that are present now.
 *
 * process_vm_readv would fault absent pages in, so presence is sampled just before. What the guest gives back in the
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
