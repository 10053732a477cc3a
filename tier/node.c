/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A NUMA node as a tier: slower memory, of CXL for example, that processors reach without a fault.
 *
 * move_pages moves whole folios: of a huge page of which a part is to go, one page is named in MADV_COLD first, which
 * splits it; what is whole still after that (somebody holds it) does not move. Which node each page is on afterwards,
 * the view asks. move_pages goes by process id: while the pidfd has not signalled the end, that number is the guest's.
 *
 * A node that the guest may not use is no tier for it: its cpuset (Mems_allowed_list in /proc/PID/status), or a memory
 * policy (numa_maps, which walks the page tables, and so is read seldom). Such memory is left alone.
 */
#include <errno.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/room.h"
#include "node_text.h"
#include "tier_internal.h"

#define NUMA_MAPS_US 10000000U /* how old what numa_maps said may be */

/* ---- what there is ---- */

/* -ENODATA: there is no such node, or it has no memory. */
static int read_node(const struct hs_host *host, uint32_t node, uint64_t *total, uint64_t *free_bytes)
{
	char dir[PATH_MAX], text[4096];

	(void)snprintf(dir, sizeof(dir), "%s/devices/system/node/node%u", host->sys_dir ? host->sys_dir : "", node);
	if (!host->sys_dir || hs_hostfile_read(dir, "meminfo", text, sizeof(text)) <= 0 ||
	    hs_node_field(text, "MemTotal:", total) || hs_node_field(text, "MemFree:", free_bytes) || !*total)
		return -ENODATA;
	return 0;
}

static int check(struct hs_tier *t, struct hs_error *err)
{
	uint64_t total, free_bytes;

	if (read_node(&t->host, t->cfg.node, &total, &free_bytes))
		return hs_error_set(err, -ENODATA, "node %u has no memory, or is not there: see %s/devices/system/node",
				    t->cfg.node, t->host.sys_dir ? t->host.sys_dir : "/sys");
	return 0;
}

static int node_room(const struct hs_tier *t, uint32_t node, struct hs_tier_room *out)
{
	uint64_t total, free_bytes;
	struct hs_room room;
	int rc = read_node(&t->host, node, &total, &free_bytes);

	if (rc)
		return rc;
	room = hs_room_below(total, free_bytes, t->cfg.min_free_percent);
	(void)snprintf(room.where, sizeof(room.where), "node %u", node);
	hs_tier_take_room(out, &room);
	(void)snprintf(out->medium, sizeof(out->medium), "node %u", node);
	return 0;
}

/* Moving charges no cgroup anew: the node's memory alone counts. */
static int room(struct hs_tier *t, const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err)
{
	(void)g;
	(void)err;
	if (node_room(t, t->cfg.node, out))
		(void)snprintf(out->where, sizeof(out->where), "node %u has no memory", t->cfg.node);
	return 0;
}

/* The nodes that the guest's cpuset lets it use; bit n: node n. */
static int allowed_nodes(const struct hs_tier_guest *g, uint64_t *out)
{
	char text[8192];
	const char *line;
	ssize_t n = hs_hostfile_read_pid(&g->tier->host, g->view->pid, "status", text, sizeof(text));

	if (n <= 0)
		return n ? (int)n : -EPROTO;
	line = strstr(text, "\nMems_allowed_list:");
	return line ? hs_node_list(line + strlen("\nMems_allowed_list:"), out) : -EPROTO;
}

/* Of the nodes that the guest may use, other than the tier, the one with the most room. -ENOENT: there is none. */
static int home_node(const struct hs_tier_guest *g, uint32_t *node, struct hs_tier_room *best)
{
	uint64_t allowed;
	bool any = false;
	int rc = allowed_nodes(g, &allowed);

	for (uint32_t n = 0; n < 64 && !rc; n++) {
		struct hs_tier_room one = { 0 };

		if (n == g->tier->cfg.node || !(allowed >> n & 1) || node_room(g->tier, n, &one))
			continue;
		if (any && one.bytes <= best->bytes)
			continue;
		*best = one;
		*node = n;
		any = true;
	}
	return rc ? rc : any ? 0 : -ENOENT;
}

static int room_back(const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err)
{
	uint32_t node;
	int rc = home_node(g, &node, out);

	if (rc == -ENOENT)
		return hs_error_set(err, -ENOMEM, "process %d may use no node but node %u: it cannot be brought back",
				    (int)g->view->pid, g->tier->cfg.node);
	return rc ? hs_tier_error(g, rc, "find a node to bring it back to", err) : 0;
}

/* ---- what is to be left alone ---- */

static int take_policies(struct hs_tier_guest *g)
{
	uint64_t from = 0, start;
	char path[PATH_MAX], *line = NULL;
	bool bound = false;
	size_t size = 0;
	int rc = 0;
	FILE *f;

	g->bound.nr = 0;
	(void)snprintf(path, sizeof(path), "%s/%d/numa_maps", g->tier->host.proc_dir, (int)g->view->pid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	/* A line has where a piece of memory begins; what lies up to the next counts with it. */
	while (!rc && getline(&line, &size, f) > 0) {
		bool now = true;

		rc = hs_node_policy(line, g->tier->cfg.node, &start, &now);
		if (!rc && bound && start > from)
			rc = hs_tier_add_range(&g->bound, from, start, HS_TIER_BOUND);
		from = start;
		bound = now;
	}
	if (!rc && ferror(f))
		rc = -EIO;
	if (!rc && bound)
		rc = hs_tier_add_range(&g->bound, from, UINT64_MAX, HS_TIER_BOUND);
	free(line);
	(void)fclose(f);
	return rc;
}

static int look(struct hs_tier_guest *g, struct hs_error *err)
{
	const uint64_t now = g->tier->clock.now_us(g->tier->clock.ctx);
	uint64_t allowed;
	int rc = allowed_nodes(g, &allowed);

	if (!rc && !(allowed >> g->tier->cfg.node & 1))
		return hs_error_set(err, -EBUSY, "none of its memory can move: process %d may not use node %u (cpuset)",
				    (int)g->view->pid, g->tier->cfg.node);
	if (!rc && (!g->policies_us || now - g->policies_us >= NUMA_MAPS_US)) {
		rc = take_policies(g);
		g->policies_us = rc ? 0 : now ? now : 1;
	}
	return rc ? hs_tier_error(g, rc, "find out which nodes it may use", err) : 0;
}

/* ---- moving ---- */

/* Nothing of a folio may go along that was not asked for. Leaves in *pages what may move. */
static int split(struct hs_tier_guest *g, hs_huge_nr huge, struct hs_bits512 *pages, struct hs_error *err)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	struct hs_bits512 one = { { 0 } }, whole = { { 0 } };
	int rc;

	if (hs_bits_count(pages) == HS_BASE_PER_HUGE)
		return 0;
	hs_bits_set(&one, hs_bits_next(pages, 0));
	rc = hs_view_frames(g->view, huge, frames, err);
	if (rc || !(frames[hs_bits_next(pages, 0)].flags & HS_FRAME_HUGE))
		goto out;
	rc = hs_tier_advise(g, huge, &one, MADV_COLD);
	if (rc)
		return hs_tier_error(g, rc, "split its huge pages", err);
	rc = hs_view_frames(g->view, huge, frames, err);
out:
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE && !rc; i++)
		if (!frames[i].pfn || (frames[i].flags & HS_FRAME_HUGE))
			hs_bits_set(&whole, i);
	*pages = hs_bits_andnot(*pages, whole);
	return rc;
}

static int move(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, uint32_t node,
		struct hs_error *err)
{
	const uint64_t hva = hs_view_hva(g->view, huge).v;
	int nodes[HS_BASE_PER_HUGE], status[HS_BASE_PER_HUGE];
	void *at[HS_BASE_PER_HUGE];
	struct hs_bits512 may = *pages;
	unsigned long nr = 0;
	int rc = split(g, huge, &may, err);

	if (rc)
		return rc;
	hs_bits_for_each (i, &may) {
		at[nr] = (void *)(uintptr_t)(hva + i * HS_BASE_SIZE);
		nodes[nr++] = (int)node;
	}
	if (hs_tier_has_ended(g))
		return hs_tier_error(g, -ESRCH, "", err);
	/* A number above 0 is how many did not move, which is asked of each afterwards. */
	if (nr && syscall(SYS_move_pages, g->view->pid, nr, at, nodes, status, MPOL_MF_MOVE) < 0 && errno != ENOENT)
		return hs_tier_error(g, -errno, "move its memory", err);
	return 0;
}

static int demote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, struct hs_error *err)
{
	return move(g, huge, pages, g->tier->cfg.node, err);
}

static int promote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, struct hs_error *err)
{
	struct hs_tier_room room_there;
	uint32_t node;
	int rc = home_node(g, &node, &room_there);

	return rc ? hs_tier_error(g, rc, "find a node to bring it back to", err) : move(g, huge, pages, node, err);
}

static int where(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_tier_map *map, struct hs_bits512 *demoted,
		 struct hs_error *err)
{
	hs_node_1 node[HS_BASE_PER_HUGE];
	int rc = hs_view_nodes(g->view, huge, node, err);

	(void)map;
	hs_bits_clear_all(demoted);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE && !rc; i++)
		if (node[i] == g->tier->cfg.node + 1)
			hs_bits_set(demoted, i);
	return rc;
}

const struct hs_tier_ops hs_tier_node_ops = {
	.check = check,
	.room = room,
	.look = look,
	.demote = demote,
	.promote = promote,
	.room_back = room_back,
	.where = where,
};
