/*
 * Reading a guest's bytes: one read of /proc/PID/mem for each run of wanted base pages that are present now.
 *
 * Not process_vm_readv, which is half as fast again: it pins the pages it reads, and since 5.19 the kernel first gives
 * the process a copy of its own of every page that is not exclusively its: each KSM page read that way loses its
 * sharing, and what a fork shares is doubled, huge pages included. A read of mem takes a reference only, and leaves the
 * mapping as it is.
 *
 * A read would fault absent pages in, so presence is sampled just before. What the guest gives back in the microseconds
 * between the two is read as the zero page it has become: harmless, and a content nobody may act on before comparing
 * again.
 *
 * The open file is bound to the address space: it never reads another process's. Once that has no users any more (the
 * end, exec) it reads nothing.
 */
#include <errno.h>
#include <string.h>
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

int hs_host_read(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		 struct hs_bits512 *got, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	const uint64_t hva = hs_view_hva(view, huge).v;
	unsigned int start = 0, end = 0;
	struct hs_base_sample now;
	struct hs_bits512 pages;
	int rc;

	rc = hs_host_sample_base(view, &huge, 1, &now, err);
	if (rc)
		return rc;
	pages = hs_bits_and(*want, now.present);
	while (next_run(&pages, &start, &end)) {
		const size_t offset = start * HS_BASE_SIZE, len = (end - start) * HS_BASE_SIZE;
		ssize_t n = read_run(v->mem_fd, hva + offset, (char *)buf + offset, len);

		if (n < (ssize_t)len && hs_walk_alive(v->walk, v->mm, NULL))
			n = -ESRCH;
		if (n < 0)
			return hs_host_error(v, (int)n, "read its memory", err);
		for (unsigned int i = start; i < start + (size_t)n / HS_BASE_SIZE; i++)
			hs_bits_set(got, i);
	}
	return 0;
}
