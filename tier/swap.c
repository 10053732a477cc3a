/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swap as a tier, of whatever kind: what kind it is decides what it costs, not how a page gets there.
 *
 * Out: MADV_PAGEOUT on runs of base pages. The kernel splits a huge page of which a part is named, unmaps the pages,
 * writes them and frees them; where it finds no swap, or a page in use, it leaves it, and says nothing. An entry that
 * names a place in swap afterwards is the proof. (The frame may live on for a moment, as the swap cache's, until a
 * disk has written it; and for longer where the writing fails, or somebody holds it: such a page is not free, but
 * nothing of it is lost.)
 *
 * Back: one byte of each page is read through /proc/PID/mem, for which the kernel brings the page in and maps it, as if
 * the guest had read it. MADV_WILLNEED would fill the swap cache alone, and keep the place in swap.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/meminfo.h"
#include "base/room.h"
#include "base/swaps.h"
#include "tier_internal.h"

/* -ENOENT, without a text: there is no swap. */
static int next_area(const struct hs_tier *t, struct hs_swap_area *out, struct hs_error *err)
{
	int rc = hs_swaps_next(&t->host, out);

	if (!rc || rc == -ENOENT)
		return rc;
	return hs_error_set(err, rc, "cannot read %s/swaps: %s", t->host.proc_dir, strerror(-rc));
}

static int check(struct hs_tier *t, struct hs_error *err)
{
	struct hs_swap_area now;
	int rc = next_area(t, &now, err);

	if (rc == -ENOENT)
		return hs_error_set(err, -ENODATA,
				    "there is no swap to demote to: set up zram (modprobe zram; zramctl --find --size "
				    "8G; mkswap; swapon) or another swap area");
	return rc;
}

static const char *kind_name(const struct hs_swap_area *a)
{
	switch ((enum hs_swap_kind)a->kind) {
	case HS_SWAP_ZRAM:
		return "zram";
	case HS_SWAP_PARTITION:
		return a->zswap ? "a device, behind zswap" : "a device";
	case HS_SWAP_FILE:
		return a->zswap ? "a file, behind zswap" : "a file";
	case HS_SWAP_UNKNOWN:
		break;
	}
	return "of a kind that is not known";
}

/* What is compressed in memory takes memory, at worst as much as it frees. */
static int memory_for_pool(struct hs_tier *t, struct hs_tier_room *out, struct hs_error *err)
{
	struct hs_room host;
	int rc = hs_room_of(&t->host, 0, 0, &host, err);

	if (!rc && host.bytes < out->bytes)
		hs_tier_take_room(out, &host);
	return rc;
}

static int room(struct hs_tier *t, const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err)
{
	struct hs_swap_area now;
	struct hs_room swap;
	int rc = next_area(t, &now, err);

	if (rc == -ENOENT) {
		(void)snprintf(out->where, sizeof(out->where), "there is no swap");
		return 0;
	}
	if (!rc)
		rc = hs_room_in_swap(&t->host, g ? g->view->pid : 0, t->cfg.min_free_percent, &swap, err);
	if (rc)
		return rc;
	hs_tier_take_room(out, &swap);
	(void)snprintf(out->medium, sizeof(out->medium), "%.100s (%s)", now.name, kind_name(&now));
	return now.kind == HS_SWAP_ZRAM || now.zswap ? memory_for_pool(t, out, err) : 0;
}

static int where(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_tier_map *map, struct hs_bits512 *demoted,
		 struct hs_error *err)
{
	(void)g;
	(void)huge;
	(void)err;
	*demoted = map->swapped;
	return 0;
}

static int demote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, struct hs_error *err)
{
	int rc = hs_tier_advise(g, huge, pages, MADV_PAGEOUT);

	return rc ? hs_tier_error(g, rc, "demote its memory", err) : 0;
}

static int promote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, struct hs_error *err)
{
	const uint64_t hva = hs_view_hva(g->view, huge).v;

	hs_bits_for_each (i, pages) {
		char byte;
		ssize_t n;

		do {
			n = pread(g->mem_fd, &byte, 1, (off_t)(hva + i * HS_BASE_SIZE));
		} while (n < 0 && errno == EINTR);
		/* No page there any more, or none that could be had: the look afterwards says so. */
		if (n <= 0 && hs_tier_has_ended(g))
			return hs_tier_error(g, -ESRCH, "", err);
	}
	return 0;
}

const struct hs_tier_ops hs_tier_swap_ops = {
	.check = check,
	.room = room,
	.demote = demote,
	.promote = promote,
	.room_back = hs_tier_memory_room,
	.where = where,
};
