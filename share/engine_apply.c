/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a guest's marks what is wanted, by as few calls as the difference allows, calls of one kind together. The
 * calls are checked against the guest's budget of VMAs first (engine_budget.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine_internal.h"
#include "runs.h"
#include "base/vmas.h"

int hs_engine_ops_add(struct hs_engine_ops *ops, const struct hs_view *view, hs_base_nr start, hs_base_nr end,
		      int advice)
{
	uint64_t from = hs_view_hva(view, start / HS_BASE_PER_HUGE).v + start % HS_BASE_PER_HUGE * HS_BASE_SIZE;
	struct hs_remote_op *last = ops->nr ? &ops->op[ops->nr - 1] : NULL;

	/* Of two regions that touch in the process, the numbers need not follow one another. */
	if (last && last->advice == advice && last->end == from &&
	    ops->first[ops->nr - 1] + (hs_base_nr)((last->end - last->start) >> HS_BASE_SHIFT) == start) {
		last->end += (end - start) * HS_BASE_SIZE;
		return 0;
	}
	if (ops->nr == ops->room) {
		size_t room = ops->room ? ops->room * 2 : 256;
		struct hs_remote_op *op = reallocarray(ops->op, room, sizeof(*op));
		hs_base_nr *first;

		if (!op)
			return -ENOMEM;
		ops->op = op;
		first = reallocarray(ops->first, room, sizeof(*first));
		if (!first)
			return -ENOMEM;
		ops->first = first;
		ops->room = room;
	}
	ops->first[ops->nr] = start;
	ops->op[ops->nr++] = (struct hs_remote_op){
		.start = from, .end = from + (end - start) * HS_BASE_SIZE, .advice = advice, .result = -ECANCELED
	};
	return 0;
}

void hs_engine_ops_finish(struct hs_engine_ops *ops)
{
	free(ops->op);
	free(ops->first);
	memset(ops, 0, sizeof(*ops));
}

int hs_engine_give_back_advice(const struct hs_engine_huge *h)
{
	/* The kernel has no call for "neither": where nothing was said before, HUGEPAGE comes closest, since what we
	 * touch was huge. */
	return h->thp == HS_ENGINE_NOHUGEPAGE ? 0 : MADV_HUGEPAGE;
}

/* ---- the plan ---- */

/* One guest's marks on their way to what is wanted. */
struct change {
	struct hs_share *s;
	struct hs_engine_guest *g;
	bool less; /* marks are only taken away */
	struct hs_engine_budget budget;
	struct hs_bits512 *target; /* [nr_huge] */
	uint16_t *split;           /* [nr_huge]: see hs_engine_look_before */
	struct hs_engine_ops ops;
	uint64_t nr_dropped; /* base pages that are wanted and have no VMA, in this apply */
	struct hs_share_applied *out;
	struct hs_error *err;
};

static int make_plan(const struct change *c, struct hs_plan *plan)
{
	const struct hs_engine_guest *g = c->g;
	const uint32_t max = c->budget.max < UINT32_MAX ? (uint32_t)c->budget.max : UINT32_MAX;
	struct hs_plan_huge *huge = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*huge));
	size_t nr = 0;
	int rc;

	if (!huge)
		return hs_error_set(c->err, -ENOMEM, "out of memory");
	for (hs_huge_nr h = 0; h < g->nr_huge; h++) {
		struct hs_plan_huge one = { .huge = h, .pages = g->huge[h].wanted, .allowed = g->huge[h].allowed };

		if (c->less) {
			one.pages = hs_bits_and(one.pages, g->huge[h].marked);
			one.allowed = hs_bits_and(one.allowed, g->huge[h].marked);
		}
		if (hs_bits_any(&one.pages))
			huge[nr++] = one;
	}
	rc = hs_plan_make(plan, &(struct hs_plan_request){ .huge = huge,
							   .nr_huge = nr,
							   .regions = g->view->regions,
							   .nr_regions = g->view->nr_regions,
							   .vma_budget = max,
							   .max_gap = c->s->cfg.max_gap,
							   .gap_vmas = c->s->cfg.gap_vmas });
	free(huge);
	return rc ? hs_error_set(c->err, rc, "cannot plan for %s: %s", g->name, strerror(-rc)) : 0;
}

static struct hs_bits512 *plan_bits(const struct hs_engine_guest *g, const struct hs_plan *plan)
{
	struct hs_bits512 *bits = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*bits));

	for (size_t i = 0; bits && i < plan->nr_mergeable; i++)
		for (hs_base_nr p = plan->mergeable[i].start; p < plan->mergeable[i].end; p++)
			hs_bits_set(&bits[p / HS_BASE_PER_HUGE], p % HS_BASE_PER_HUGE);
	return bits;
}

static int add_runs(struct hs_engine_ops *ops, const struct hs_view *view, hs_huge_nr huge,
		    const struct hs_bits512 *bits, int advice)
{
	int rc = 0;

	for (unsigned int i = hs_bits_next(bits, 0); i < HS_BASE_PER_HUGE && !rc;) {
		unsigned int len = hs_run_length(bits, i);
		hs_base_nr start = huge * HS_BASE_PER_HUGE + i;

		rc = hs_engine_ops_add(ops, view, start, start + len, advice);
		i = hs_bits_next(bits, i + len);
	}
	return rc;
}

/* The difference between what is marked and target[]. */
static int make_ops(const struct hs_share *s, const struct hs_engine_guest *g, const struct hs_bits512 *target,
		    struct hs_engine_ops *ops)
{
	static const int order[] = { MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE };
	const bool plain_collapses = hs_engine_plain_collapses(&s->host);
	int rc = 0;

	for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++) {
		for (hs_huge_nr nr = 0; nr < g->nr_huge && !rc; nr++) {
			const struct hs_engine_huge *h = &g->huge[nr];
			bool has_target = hs_bits_any(&target[nr]);
			hs_base_nr start = nr * HS_BASE_PER_HUGE, end = start + HS_BASE_PER_HUGE;
			struct hs_bits512 bits;

			if (order[k] == MADV_UNMERGEABLE) {
				bits = hs_bits_andnot(h->marked, target[nr]);
				rc = add_runs(ops, g->view, nr, &bits, order[k]);
			} else if (order[k] == MADV_MERGEABLE) {
				bits = hs_bits_andnot(target[nr], hs_bits_andnot(h->marked, h->unsure));
				rc = add_runs(ops, g->view, nr, &bits, order[k]);
			} else if (order[k] == MADV_NOHUGEPAGE && has_target && (!h->nohuge || h->nohuge_unsure) &&
				   (h->thp == HS_ENGINE_HUGEPAGE || (h->thp == HS_ENGINE_PLAIN && plain_collapses))) {
				rc = hs_engine_ops_add(ops, g->view, start, end, order[k]);
			} else if (order[k] == MADV_HUGEPAGE && !has_target && h->nohuge &&
				   hs_engine_give_back_advice(h) == MADV_HUGEPAGE) {
				rc = hs_engine_ops_add(ops, g->view, start, end, order[k]);
			}
		}
	}
	return rc;
}

/* What may be left of the room for steps in one guest, asked for when it is first needed. */
struct room_left {
	bool asked;
	uint64_t bytes;
	char where[256]; /* it ends, in words */
};

static uint64_t room_left(const struct change *c, struct room_left *r)
{
	struct hs_room room = { 0 };
	struct hs_error why = { "" };

	if (r->asked)
		return r->bytes;
	r->asked = true;
	r->bytes = hs_engine_room_bytes(c->s, c->g->view->pid, &room, &why);
	(void)snprintf(r->where, sizeof(r->where),
		       "%s%.160s: too little memory to end the sharing of what is not wanted any more",
		       why.text[0] ? "" : "no room in ", why.text[0] ? why.text : room.where);
	return r->bytes;
}

/* One huge page: what of `lost` finds no room goes back into the target. */
static int fit_huge(struct change *c, hs_huge_nr nr, const struct hs_bits512 *lost, struct room_left *room)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	struct hs_bits512 part;
	uint64_t bytes;
	int rc = hs_view_frames(c->g->view, nr, frames, c->err);

	if (rc)
		return rc;
	part = hs_engine_need_frames(c->g, nr, frames, lost);
	bytes = hs_bits_count(&part) * HS_BASE_SIZE;
	if (!bytes)
		return 0;
	if (bytes <= room_left(c, room)) {
		room->bytes -= bytes;
	} else {
		c->target[nr] = hs_bits_or(c->target[nr], part);
		c->out->pages_pending += hs_bits_count(&part);
	}
	return 0;
}

/*
 * Ending the sharing of a page takes memory: a frame of its own, of the guest's cgroup. What finds no room
 * stays as it is, mergeable and shared, for a later apply. What is barred comes first.
 */
static int fit_room(struct change *c)
{
	struct room_left room = { 0 };
	int rc = 0;

	c->out->pages_pending = 0;
	c->out->pending_reason[0] = '\0';
	for (int rest = 0; rest < 2 && !c->s->cfg.dry_run; rest++) {
		for (hs_huge_nr nr = 0; nr < c->g->nr_huge && !rc; nr++) {
			const struct hs_engine_huge *h = &c->g->huge[nr];
			struct hs_bits512 lost = hs_bits_andnot(h->marked, c->target[nr]);
			const struct hs_bits512 barred = hs_engine_barred_pages(h);

			lost = rest ? hs_bits_andnot(lost, barred) : hs_bits_and(lost, barred);
			if (hs_bits_any(&lost))
				rc = fit_huge(c, nr, &lost, &room);
		}
	}
	if (c->out->pages_pending)
		memcpy(c->out->pending_reason, room.where, sizeof(c->out->pending_reason));
	return rc;
}

/* Nothing new, and of what is marked whole ranges stay or go: that adds no VMA at any moment. */
static void keep_whole_runs(const struct hs_engine_guest *g, struct hs_bits512 *target)
{
	for (size_t i = 0; i < g->view->nr_regions; i++) {
		const struct hs_region *r = &g->view->regions[i];
		const hs_base_nr last = (hs_base_nr)((r->first_huge + r->nr_huge) * HS_BASE_PER_HUGE);

		for (hs_base_nr start = r->first_huge * HS_BASE_PER_HUGE, end; start < last; start = end) {
			bool whole = true, in;

			in = hs_bits_test(&g->huge[start / HS_BASE_PER_HUGE].marked, start % HS_BASE_PER_HUGE);
			for (end = start; end < last; end++) {
				const hs_huge_nr h = end / HS_BASE_PER_HUGE;

				if (hs_bits_test(&g->huge[h].marked, end % HS_BASE_PER_HUGE) != in)
					break;
				whole &= hs_bits_test(&target[h], end % HS_BASE_PER_HUGE);
			}
			for (hs_base_nr p = start; p < end && !(in && whole); p++)
				hs_bits_clear(&target[p / HS_BASE_PER_HUGE], p % HS_BASE_PER_HUGE);
		}
	}
}

/* What an operation was to do, and did perhaps, whole or in part. What it was to take away counts as there. */
static void book_unsure(struct hs_engine_guest *g, const struct hs_remote_op *op, hs_base_nr first, hs_base_nr end)
{
	for (hs_base_nr p = first; p < end; p++) {
		struct hs_engine_huge *h = &g->huge[p / HS_BASE_PER_HUGE];

		if (op->advice == MADV_MERGEABLE && !hs_bits_test(&h->marked, p % HS_BASE_PER_HUGE)) {
			hs_bits_set(&h->marked, p % HS_BASE_PER_HUGE);
			hs_bits_set(&h->unsure, p % HS_BASE_PER_HUGE);
		} else if (op->advice == MADV_NOHUGEPAGE && !h->nohuge) {
			h->nohuge = h->nohuge_unsure = true;
		}
	}
}

/* Books what each operation did. Base pages that became mergeable. */
static uint64_t book_ops(struct hs_engine_guest *g, const struct hs_engine_ops *ops, uint64_t *applied)
{
	uint64_t marked = 0;

	for (size_t i = 0; i < ops->nr; i++) {
		const struct hs_remote_op *op = &ops->op[i];
		hs_base_nr end = ops->first[i] + (hs_base_nr)((op->end - op->start) >> HS_BASE_SHIFT);

		if (!hs_engine_op_done(op)) {
			if (op->result != -ECANCELED || ops->unsure)
				book_unsure(g, op, ops->first[i], end);
			continue;
		}
		++*applied;
		for (hs_base_nr p = ops->first[i]; p < end; p++) {
			struct hs_engine_huge *h = &g->huge[p / HS_BASE_PER_HUGE];

			if (op->advice == MADV_MERGEABLE) {
				hs_bits_set(&h->marked, p % HS_BASE_PER_HUGE);
				hs_bits_clear(&h->unsure, p % HS_BASE_PER_HUGE);
				marked++;
			} else if (op->advice == MADV_UNMERGEABLE) {
				hs_bits_clear(&h->marked, p % HS_BASE_PER_HUGE);
				hs_bits_clear(&h->unsure, p % HS_BASE_PER_HUGE);
				hs_bits_clear(&h->shared, p % HS_BASE_PER_HUGE);
			} else {
				h->nohuge = op->advice == MADV_NOHUGEPAGE;
				h->nohuge_unsure = false;
			}
		}
	}
	return marked;
}

/* Takes out of the target what may not be done now, and makes the operations for the rest. *fit: within the budget. */
static int try_ops(struct change *c, bool *fit)
{
	int rc = c->s->cfg.dry_run ? 0 : hs_engine_leave_armed(c->s, c->g, c->target, c->err);

	hs_engine_ops_finish(&c->ops);
	if (!rc)
		rc = fit_room(c);
	if (rc)
		return rc;
	rc = make_ops(c->s, c->g, c->target, &c->ops);
	if (!rc)
		rc = hs_engine_budget_fits(c->g, &c->ops, &c->budget, fit);
	return rc ? hs_error_set(c->err, rc, "out of memory") : 0;
}

/*
 * What is done of the target: all that may be done, and that there is room for; where that would pass the budget of
 * VMAs on the way, marks are only taken away, from whole ranges; and where not all of that can be done, nothing.
 */
static int choose_ops(struct change *c)
{
	bool fit;
	int rc = try_ops(c, &fit);

	if (rc || fit)
		return rc;
	keep_whole_runs(c->g, c->target);
	rc = try_ops(c, &fit);
	if (!rc && !(fit && !c->out->pages_pending)) {
		hs_engine_ops_finish(&c->ops);
		for (hs_huge_nr h = 0; h < c->g->nr_huge; h++)
			c->target[h] = c->g->huge[h].marked;
	}
	c->nr_dropped = 0;
	for (hs_huge_nr h = 0; h < c->g->nr_huge && !c->less; h++) {
		struct hs_bits512 later = hs_bits_andnot(c->g->huge[h].wanted, c->target[h]);

		c->nr_dropped += hs_bits_count(&later);
	}
	return rc;
}

static int carry_out(struct change *c)
{
	struct hs_engine_guest *g = c->g;
	uint64_t edges;
	int64_t vmas;
	int rc;

	c->split = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*c->split));
	if (!c->split)
		return hs_error_set(c->err, -ENOMEM, "out of memory");
	rc = hs_engine_look_before(g, c->target, c->split, c->err);
	if (rc)
		return rc;
	rc = hs_engine_run_ops(c->s, g, &c->ops, c->err);
	c->out->nr_tried = c->ops.nr;
	c->out->pages_marked = book_ops(g, &c->ops, &c->out->nr_applied);
	c->out->pages_dropped = c->nr_dropped;
	g->unmerged += c->out->pages_marked;
	hs_engine_record(c->s, g);
	if (!rc && !c->s->cfg.dry_run)
		rc = hs_engine_split(c->s, g, c->split);
	if (!c->s->cfg.dry_run && hs_engine_vmas_of_marks(g, &edges) == 0)
		g->nr_vmas = edges;
	vmas = rc == -ESRCH ? 0 : hs_vmas_count(&c->s->host, g->view->pid);
	c->out->nr_vmas = vmas > 0 ? (uint64_t)vmas : 0;
	return rc;
}

int hs_engine_apply(struct hs_share *s, struct hs_engine_guest *g, bool less, struct hs_share_applied *out,
		    struct hs_error *err)
{
	struct change c = { .s = s, .g = g, .less = less, .out = out, .err = err };
	struct hs_plan plan = { 0 };
	int rc;

	memset(out, 0, sizeof(*out));
	rc = hs_engine_read_budget(s, g, &c.budget, err);
	if (!rc)
		rc = make_plan(&c, &plan);
	if (!rc) {
		c.nr_dropped = plan.nr_dropped;
		c.target = plan_bits(g, &plan);
		rc = c.target ? choose_ops(&c) : hs_error_set(err, -ENOMEM, "out of memory");
	}
	if (!rc)
		rc = carry_out(&c);
	free(c.target);
	free(c.split);
	hs_engine_ops_finish(&c.ops);
	hs_plan_finish(&plan);
	return hs_engine_note(g, rc);
}

int hs_share_apply(struct hs_share *s, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, err);

	memset(out, 0, sizeof(*out));
	return g ? hs_engine_apply(s, g, false, out, err) : rc;
}
