/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier's guests: how one is opened, and what of it is left alone.
 *
 * One process id can become another process's while we work. So the handles are opened in this order: the pidfd first,
 * the files after it; then the view, which is bound to its process, is asked whether that lives: if it does, and the
 * pidfd's process does, they are one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/passthrough.h"
#include "base/vma_marks.h"
#include "tier_internal.h"

#define LOOK_US 1000000U /* how old a look at the guest's VMAs may be */

bool hs_tier_has_ended(const struct hs_tier_guest *g)
{
	struct pollfd p = { .fd = g->pidfd, .events = POLLIN };

	return poll(&p, 1, 0) != 0;
}

int hs_tier_error(const struct hs_tier_guest *g, int rc, const char *what, struct hs_error *err)
{
	if (rc == -ESRCH || hs_tier_has_ended(g))
		return hs_error_set(err, -ESRCH, "process %d has ended, or left the memory it was opened with",
				    (int)g->view->pid);
	return hs_error_set(err, rc, "process %d: cannot %s: %s", (int)g->view->pid, what, strerror(-rc));
}

static int open_file(const struct hs_tier_guest *g, const char *name, int *out)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%d/%s", g->tier->host.proc_dir, (int)g->view->pid, name);
	*out = open(path, O_RDONLY | O_CLOEXEC);
	return *out < 0 ? errno == ENOENT ? -ESRCH : -errno : 0;
}

static int open_process(struct hs_tier_guest *g, struct hs_error *err)
{
	struct hs_huge_sample s;
	int rc;

	g->pidfd = (int)syscall(SYS_pidfd_open, g->view->pid, 0);
	if (g->pidfd < 0)
		return hs_error_set(err, errno == EINVAL || errno == ENOENT ? -ESRCH : -errno,
				    "cannot open process %d: %s", (int)g->view->pid, strerror(errno));
	rc = open_file(g, "pagemap", &g->pagemap_fd);
	if (!rc)
		rc = open_file(g, "mem", &g->mem_fd);
	if (!rc)
		rc = hs_vma_marks_attach(g->tier->marks, 0, g->pidfd, &g->link);
	if (rc)
		return hs_tier_error(g, rc, "open it", err);
	rc = hs_view_sample_huge(g->view, 0, 1, &s, err);
	return rc ? rc : hs_tier_has_ended(g) ? hs_tier_error(g, -ESRCH, "", err) : 0;
}

int hs_tier_add_range(struct hs_tier_ranges *r, uint64_t start, uint64_t end, enum hs_tier_why why)
{
	struct hs_tier_range *grown = reallocarray(r->range, r->nr + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	r->range = grown;
	grown[r->nr++] = (struct hs_tier_range){ .start = start, .end = end, .why = (uint8_t)why };
	return 0;
}

/* Only what is guest memory matters, and is kept. */
static int take_vma(void *ctx, const struct hs_vma_marks *vma)
{
	const enum hs_tier_why why = vma->flags & HS_VMA_SPECIAL ? HS_TIER_SPECIAL
				     : vma->flags & HS_VMA_ARMED ? HS_TIER_WATCHED
								 : HS_TIER_LOCKED;
	struct hs_tier_guest *g = ctx;

	for (size_t i = 0; i < g->view->nr_regions; i++) {
		const struct hs_region *r = &g->view->regions[i];

		if (vma->start < r->hva.v + r->nr_huge * HS_HUGE_SIZE && vma->end > r->hva.v)
			return hs_tier_add_range(&g->off, vma->start, vma->end, why);
	}
	return 0;
}

int hs_tier_look(struct hs_tier_guest *g, struct hs_error *err)
{
	const uint64_t now = g->tier->clock.now_us(g->tier->clock.ctx);
	struct hs_error why = { "" };
	int rc;

	if (g->looked_us && now - g->looked_us < LOOK_US)
		return 0;
	g->looked_us = 0;
	g->off.nr = 0;
	rc = hs_passthrough_look(&g->tier->host, g->view->pid, &why);
	if (rc && !hs_tier_has_ended(g))
		return hs_error_set(err, -EBUSY, "none of its memory can move: %.400s", why.text);
	rc = hs_vma_marks_read(g->link, take_vma, g);
	if (rc)
		return hs_tier_error(g, rc, "look through its memory", err);
	rc = g->tier->ops->look ? g->tier->ops->look(g, err) : 0;
	if (!rc)
		g->looked_us = now ? now : 1;
	return rc;
}

int hs_tier_open_guest(struct hs_tier_guest **out, struct hs_tier *t, struct hs_view *view, struct hs_error *err)
{
	struct hs_tier_guest *g;
	int rc;

	*out = NULL;
	if (!view->pid)
		return hs_error_set(err, -ENOTSUP, "a simulated guest has no memory that could move");
	g = calloc(1, sizeof(*g));
	if (!g)
		return hs_error_set(err, -ENOMEM, "out of memory");
	g->tier = t;
	g->view = view;
	g->pidfd = g->pagemap_fd = g->mem_fd = -1;
	rc = open_process(g, err);
	if (!rc)
		rc = hs_tier_look(g, err);
	if (rc) {
		hs_tier_close_guest(g);
		return rc;
	}
	*out = g;
	return 0;
}

void hs_tier_close_guest(struct hs_tier_guest *g)
{
	if (!g)
		return;
	if (g->link)
		hs_vma_marks_detach(g->link);
	if (g->mem_fd >= 0)
		(void)close(g->mem_fd);
	if (g->pagemap_fd >= 0)
		(void)close(g->pagemap_fd);
	if (g->pidfd >= 0)
		(void)close(g->pidfd);
	free(g->off.range);
	free(g->bound.range);
	free(g);
}
