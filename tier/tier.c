/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Demoting and promoting, whatever the tier is.
 *
 * The order in one call: what of the guest is left alone is looked up (at most a second old: the kernel itself refuses
 * locked and special memory, and a userfaultfd's marks outlive a way to swap and back); each wanted base page is asked
 * for, by page frame and page-table entry; then for room and budget; then the pages are moved, and what came of it is
 * read back. A page that changes in between is the kernel's matter: what it finds in use, held or gone it leaves.
 */
#include "tier_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/room.h"
#include "base/vma_marks.h"

const char *hs_tier_why_name(enum hs_tier_why why)
{
	static const char *const names[HS_TIER_NR_WHY] = {
		[HS_TIER_UNKNOWN] = "unknown", [HS_TIER_THERE] = "there",     [HS_TIER_EMPTY] = "empty",
		[HS_TIER_MERGED] = "merged",   [HS_TIER_ZERO] = "zero",       [HS_TIER_LOCKED] = "locked",
		[HS_TIER_SHARED] = "shared",   [HS_TIER_WATCHED] = "watched", [HS_TIER_SPECIAL] = "special",
		[HS_TIER_BOUND] = "bound",     [HS_TIER_NO_ROOM] = "no room", [HS_TIER_LATER] = "later",
		[HS_TIER_KEPT] = "kept",
	};

	return (unsigned int)why < HS_TIER_NR_WHY && names[why] ? names[why] : names[HS_TIER_UNKNOWN];
}

/* ---- life ---- */

int hs_tier_create(struct hs_tier **out, const struct hs_host *host, const struct hs_tier_config *cfg,
		   const struct hs_clock *clock, struct hs_error *err)
{
	struct hs_tier *t;
	int rc;

	*out = NULL;
	if (cfg->kind > HS_TIER_NODE || cfg->node > 63 || cfg->min_free_percent > 100)
		return hs_error_set(err, -EINVAL, "there is no such tier");
	t = calloc(1, sizeof(*t));
	if (!t)
		return hs_error_set(err, -ENOMEM, "out of memory");
	t->host = *host;
	t->cfg = *cfg;
	t->clock = *clock;
	t->ops = cfg->kind == HS_TIER_NODE ? &hs_tier_node_ops : &hs_tier_swap_ops;
	t->filled_us = clock->now_us(clock->ctx);
	rc = t->ops->check(t, err);
	if (!rc)
		rc = hs_vma_marks_load(&t->marks, HS_VMA_ARMED | HS_VMA_LOCKED | HS_VMA_SPECIAL,
				       "looks for memory that is to stay where it is", err);
	if (rc) {
		hs_tier_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void hs_tier_destroy(struct hs_tier *t)
{
	if (!t)
		return;
	if (t->marks)
		hs_vma_marks_unload(t->marks);
	free(t);
}

int hs_tier_room(struct hs_tier *t, const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	return t->ops->room(t, g, out, err);
}

/* ---- what may go ---- */

/* HS_TIER_NR_WHY: nothing in its memory's flags speaks against it. */
static enum hs_tier_why flagged(const struct hs_tier_ranges *r, uint64_t addr)
{
	for (size_t i = 0; i < r->nr; i++)
		if (addr >= r->range[i].start && addr < r->range[i].end)
			return r->range[i].why;
	return HS_TIER_NR_WHY;
}

/* What the page tables hold, and what of it is demoted. */
static int find(struct hs_tier_guest *g, hs_huge_nr huge, struct hs_tier_map *map, struct hs_bits512 *demoted,
		struct hs_error *err)
{
	int rc = hs_tier_read_map(g, huge, map);

	return rc ? hs_tier_error(g, rc, "read its page tables", err) : g->tier->ops->where(g, huge, map, demoted, err);
}

struct pages {
	struct hs_tier_map map;
	struct hs_frame frames[HS_BASE_PER_HUGE];
	struct hs_bits512 there;
};

/* HS_TIER_NR_WHY: it may go. */
static enum hs_tier_why why_not(const struct pages *p, unsigned int i)
{
	const struct hs_frame *f = &p->frames[i];

	if (hs_bits_test(&p->there, i))
		return HS_TIER_THERE;
	if (hs_bits_test(&p->map.empty, i))
		return HS_TIER_EMPTY;
	if (!hs_bits_test(&p->map.present, i) || !f->pfn || f->pfn != p->map.pfn[i])
		return HS_TIER_UNKNOWN;
	if (f->flags & HS_FRAME_ZERO)
		return HS_TIER_ZERO;
	if (f->flags & HS_FRAME_KSM)
		return HS_TIER_MERGED;
	if (f->flags & HS_FRAME_LOCKED)
		return HS_TIER_LOCKED;
	return hs_bits_test(&p->map.alone, i) ? HS_TIER_NR_WHY : HS_TIER_SHARED;
}

/* Those of `want` that may go into *go, the others are counted. */
static int choose(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *want, struct hs_bits512 *go,
		  struct hs_tier_moved *out, struct hs_error *err)
{
	const uint64_t hva = hs_view_hva(g->view, huge).v;
	const bool left_alone = hs_view_why(g->view, huge) != HS_VIEW_NO_REASON;
	struct pages p;
	int rc;

	hs_bits_clear_all(go);
	rc = hs_view_frames(g->view, huge, p.frames, err);
	if (!rc)
		rc = find(g, huge, &p.map, &p.there, err);
	if (rc)
		return rc;
	hs_bits_for_each (i, want) {
		enum hs_tier_why why = flagged(&g->off, hva + i * HS_BASE_SIZE);

		if (why == HS_TIER_NR_WHY)
			why = flagged(&g->bound, hva + i * HS_BASE_SIZE);
		if (why == HS_TIER_NR_WHY)
			why = left_alone ? HS_TIER_UNKNOWN : why_not(&p, i);
		if (why == HS_TIER_NR_WHY)
			hs_bits_set(go, i);
		else
			out->not_moved[why]++;
	}
	return 0;
}

/* Leaves the first `nr` members; how many fell out. */
static unsigned int cut(struct hs_bits512 *b, uint64_t nr)
{
	unsigned int fell = 0;

	hs_bits_for_each (i, b) {
		if (nr) {
			nr--;
			continue;
		}
		hs_bits_clear(b, i);
		fell++;
	}
	return fell;
}

/* ---- budget ---- */

/* A tenth of a second's worth may be used at once, and a huge page in any case. */
static uint64_t most_tokens(const struct hs_tier *t)
{
	const uint64_t tenth = t->cfg.pages_per_s / 10;

	return tenth > HS_BASE_PER_HUGE ? tenth : HS_BASE_PER_HUGE;
}

static uint64_t tokens(struct hs_tier *t)
{
	const uint64_t now = t->clock.now_us(t->clock.ctx), passed = now - t->filled_us;
	uint64_t more;

	if (!t->cfg.pages_per_s)
		return UINT64_MAX;
	/* Nothing more to come by after a second; and no product that could overflow. */
	more = passed > 1000000 ? t->cfg.pages_per_s : passed * t->cfg.pages_per_s / 1000000;
	if (more) {
		t->tokens += more;
		t->filled_us = passed > 1000000 ? now : t->filled_us + more * 1000000 / t->cfg.pages_per_s;
	}
	if (t->tokens > most_tokens(t))
		t->tokens = most_tokens(t);
	return t->tokens;
}

/* ---- demoting, promoting ---- */

static int check_number(const struct hs_tier_guest *g, hs_huge_nr huge, struct hs_error *err)
{
	return huge < g->view->nr_huge ? 0 : hs_error_set(err, -EINVAL, "there is no huge page %u", huge);
}

static int no_room(int rc, const struct hs_tier_room *room, const char *what, struct hs_error *err)
{
	return hs_error_set(err, rc, "%s: of the %llu MiB that %s has left, what may be used is less than a page", what,
			    (unsigned long long)(room->left >> 20), room->where);
}

int hs_tier_demote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *want, struct hs_tier_moved *out,
		   struct hs_error *err)
{
	struct hs_tier *t = g->tier;
	struct hs_tier_room room;
	struct hs_bits512 go, there;
	struct hs_tier_map map;
	uint64_t may;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = check_number(g, huge, err);
	if (!rc)
		rc = hs_tier_look(g, err);
	if (rc || hs_bits_none(want))
		return rc;
	may = tokens(t);
	if (!may)
		return hs_error_set(err, -EAGAIN, "so many pages as may be demoted in a second have been");
	rc = choose(g, huge, want, &go, out, err);
	if (rc || hs_bits_none(&go))
		return rc;
	rc = hs_tier_room(t, g, &room, err);
	if (rc)
		return rc;
	if (!room.medium[0])
		return hs_error_set(err, -ENODATA, "there is nothing to demote to any more: %s", room.where);
	if (room.bytes < HS_BASE_SIZE)
		return no_room(-ENOSPC, &room, "nothing is demoted", err);
	out->not_moved[HS_TIER_NO_ROOM] += (uint16_t)cut(&go, room.bytes / HS_BASE_SIZE);
	out->not_moved[HS_TIER_LATER] += (uint16_t)cut(&go, may);
	if (t->cfg.pages_per_s)
		t->tokens -= hs_bits_count(&go);
	rc = t->ops->demote(g, huge, &go, err);
	if (!rc)
		rc = find(g, huge, &map, &there, err);
	if (rc)
		return rc;
	out->moved = hs_bits_and(go, there);
	out->not_moved[HS_TIER_KEPT] += (uint16_t)(hs_bits_count(&go) - hs_bits_count(&out->moved));
	return 0;
}

int hs_tier_promote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *want, struct hs_tier_moved *out,
		    struct hs_error *err)
{
	struct hs_bits512 go, before, after, other;
	struct hs_tier_room room = { 0 };
	struct hs_tier_map map;
	int rc;

	memset(out, 0, sizeof(*out));
	rc = check_number(g, huge, err);
	if (!rc)
		rc = hs_tier_look(g, err);
	if (rc || hs_bits_none(want))
		return rc;
	rc = find(g, huge, &map, &before, err);
	if (rc)
		return rc;
	go = hs_bits_and(*want, before);
	other = hs_bits_andnot(*want, before);
	hs_bits_for_each (i, &other)
		out->not_moved[hs_bits_test(&map.present, i) ? HS_TIER_THERE
			       : hs_bits_test(&map.empty, i) ? HS_TIER_EMPTY
							     : HS_TIER_UNKNOWN]++;
	if (hs_bits_none(&go))
		return 0;
	rc = g->tier->ops->room_back(g, &room, err);
	if (rc)
		return rc;
	if (room.bytes < HS_BASE_SIZE)
		return no_room(-ENOMEM, &room, "nothing is brought back", err);
	out->not_moved[HS_TIER_NO_ROOM] += (uint16_t)cut(&go, room.bytes / HS_BASE_SIZE);
	rc = g->tier->ops->promote(g, huge, &go, err);
	if (!rc)
		rc = find(g, huge, &map, &after, err);
	if (rc)
		return rc;
	out->moved = hs_bits_and(hs_bits_andnot(go, after), map.present);
	out->not_moved[HS_TIER_KEPT] += (uint16_t)(hs_bits_count(&go) - hs_bits_count(&out->moved));
	return 0;
}

int hs_tier_where(struct hs_tier_guest *g, hs_huge_nr huge, struct hs_bits512 *demoted, struct hs_error *err)
{
	struct hs_tier_map map;
	int rc = check_number(g, huge, err);

	hs_bits_clear_all(demoted);
	return rc ? rc : find(g, huge, &map, demoted, err);
}

/* ---- room ---- */

void hs_tier_take_room(struct hs_tier_room *out, const struct hs_room *from)
{
	out->bytes = from->bytes;
	out->limit = from->limit;
	out->left = from->left;
	(void)snprintf(out->where, sizeof(out->where), "%s", from->where);
}

int hs_tier_memory_room(const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err)
{
	struct hs_error why = { "" };
	struct hs_room room;
	int rc = hs_room_of(&g->tier->host, g->view->pid, g->tier->cfg.min_free_percent, &room, &why);

	if (rc)
		return hs_error_set(err, rc == -ESRCH ? rc : -ENOMEM,
				    "bringing memory back takes memory, and how much there is is not known: %.300s",
				    why.text);
	hs_tier_take_room(out, &room);
	return 0;
}
