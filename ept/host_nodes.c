/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a guest's memory is: on which NUMA node, and whether that, or swap, or that it is another process's as well,
 * speaks against a huge mapping.
 *
 * move_pages goes by process id. While our pidfd has not signalled the end, that number is this process's; and after
 * exec the address space that we hold has no users: both are asked after the call.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/pagemap.h"
#include "host_internal.h"

int hs_host_nodes(struct hs_view *view, hs_huge_nr huge, hs_node_1 out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	const uint64_t hva = hs_view_hva(view, huge).v;
	struct pollfd p = { .fd = v->pidfd, .events = POLLIN };
	void *pages[HS_BASE_PER_HUGE];
	int status[HS_BASE_PER_HUGE];
	long rc;

	if (hs_host_is_off_limits(v, huge))
		return 0;
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		pages[i] = (void *)(uintptr_t)(hva + i * HS_BASE_SIZE);
	rc = syscall(SYS_move_pages, view->pid, (unsigned long)HS_BASE_PER_HUGE, pages, NULL, status, 0);
	rc = rc < 0 ? -errno : 0;
	if (poll(&p, 1, 0) || hs_walk_alive(v->walk, v->mm, NULL))
		rc = -ESRCH;
	if (rc)
		return hs_host_error(v, (int)rc, "ask which nodes its memory is on", err);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (status[i] >= 0 && status[i] < UINT16_MAX)
			out[i] = (hs_node_1)(status[i] + 1);
	return 0;
}

static bool on_slow_node(struct hs_host_view *v, hs_huge_nr huge)
{
	hs_node_1 node[HS_BASE_PER_HUGE] = { 0 };

	if (!v->view.slow_nodes)
		return false;
	if (hs_host_nodes(&v->view, huge, node, NULL))
		return true;
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (node[i] && node[i] <= 64 && v->view.slow_nodes >> (node[i] - 1) & 1)
			return true;
	return false;
}

void hs_host_elsewhere(struct hs_host_view *v, const hs_huge_nr *huge, size_t nr, bool *out)
{
	struct hs_base_sample *now = calloc(nr ? nr : 1, sizeof(*now));
	const bool known = now && !hs_host_sample_base(&v->view, huge, nr, now, NULL);

	for (size_t i = 0; i < nr; i++)
		out[i] = !known || hs_bits_count(&now[i].swapped) > HS_VIEW_MAX_SWAPPED || on_slow_node(v, huge[i]);
	free(now);
}

bool hs_host_is_common(struct hs_host_view *v, hs_huge_nr huge, unsigned int nr)
{
	const off_t at = (off_t)((hs_view_hva(&v->view, huge).v >> HS_BASE_SHIFT) * sizeof(uint64_t));
	struct hs_frame frames[HS_BASE_PER_HUGE] = { 0 };
	uint64_t entry[HS_BASE_PER_HUGE];
	bool looked = false;
	ssize_t n;

	do {
		n = pread(v->pagemap_fd, entry, nr * sizeof(entry[0]), at);
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)(nr * sizeof(entry[0])))
		return true;
	for (unsigned int i = 0; i < nr; i++) {
		if (!(entry[i] & HS_PM_PRESENT) || entry[i] & HS_PM_EXCLUSIVE)
			continue;
		if (!looked && hs_host_frames(&v->view, huge, frames, NULL))
			return true;
		looked = true;
		if (!(frames[i].flags & (HS_FRAME_KSM | HS_FRAME_ZERO)))
			return true;
	}
	return false;
}
