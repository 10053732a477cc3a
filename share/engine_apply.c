/*
 * Makes a guest's marks what is wanted, by as few calls as the difference allows, calls of one kind together.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine_internal.h"
#include "base/hostfile.h"
#include "runs.h"
#include "base/vmas.h"

int hs_engine_ops_add(struct hs_engine_ops *ops, const struct hs_view *view, hs_base_nr start, hs_base_nr end,
		      int advice)
{
	uint64_t from = hs_view_hva(view, start / HS_BASE_PER_HUGE).v + start % HS_BASE_PER_HUGE * HS_BASE_SIZE;
	struct hs_remote_op *last = ops->nr ? &ops->op[ops->nr - 1] : NULL;

	if (last && last->advice == advice && last->end == from) {
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

/* Further VMAs that the guest may have for us, all told. */
static int vma_budget(const struct hs_share *s, const struct hs_engine_guest *g, uint32_t *out, struct hs_error *err)
{
	int64_t now = hs_vmas_count(&s->host, g->view->pid);
	uint64_t max, limit, base;
	int rc;

	if (now < 0)
		return hs_error_set(err, (int)now, "cannot count the VMAs of %s: %s", g->name, strerror((int)-now));
	rc = hs_hostfile_u64(s->host.proc_dir, "sys/vm/max_map_count", &max);
	if (rc)
		return hs_error_set(err, rc, "cannot read %s/sys/vm/max_map_count: %s", s->host.proc_dir,
				    strerror(-rc));
	limit = max * s->cfg.vma_percent / 100;
	base = (uint64_t)now > g->nr_vmas ? (uint64_t)now - g->nr_vmas : 1;
	*out = limit > base ? (uint32_t)(limit - base < UINT32_MAX ? limit - base : UINT32_MAX) : 0;
	return 0;
}

static int make_plan(const struct hs_share *s, const struct hs_engine_guest *g, struct hs_plan *plan,
		     struct hs_error *err)
{
	struct hs_plan_huge *huge;
	uint32_t budget = 0;
	size_t nr = 0;
	int rc = vma_budget(s, g, &budget, err);

	if (rc)
		return rc;
	huge = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*huge));
	if (!huge)
		return hs_error_set(err, -ENOMEM, "out of memory");
	for (hs_huge_nr h = 0; h < g->nr_huge; h++)
		if (hs_bits_count(&g->huge[h].wanted))
			huge[nr++] = (struct hs_plan_huge){ .huge = h,
							    .pages = g->huge[h].wanted,
							    .allowed = g->huge[h].allowed };
	rc = hs_plan_make(plan, huge, nr, g->view->regions, g->view->nr_regions, budget, s->cfg.max_gap);
	free(huge);
	return rc ? hs_error_set(err, rc, "cannot plan for %s: %s", g->name, strerror(-rc)) : 0;
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

	for (unsigned int i = hs_run_next(bits, 0); i < HS_BASE_PER_HUGE && !rc;) {
		unsigned int len = hs_run_length(bits, i);
		hs_base_nr start = huge * HS_BASE_PER_HUGE + i;

		rc = hs_engine_ops_add(ops, view, start, start + len, advice);
		i = hs_run_next(bits, i + len);
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
			bool has_target = hs_bits_count(&target[nr]) != 0;
			hs_base_nr start = nr * HS_BASE_PER_HUGE, end = start + HS_BASE_PER_HUGE;
			struct hs_bits512 bits;

			if (order[k] == MADV_UNMERGEABLE) {
				bits = hs_bits_andnot(h->marked, target[nr]);
				rc = add_runs(ops, g->view, nr, &bits, order[k]);
			} else if (order[k] == MADV_MERGEABLE) {
				bits = hs_bits_andnot(target[nr], h->marked);
				rc = add_runs(ops, g->view, nr, &bits, order[k]);
			} else if (order[k] == MADV_NOHUGEPAGE && has_target && !h->nohuge &&
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

/*
 * Ending the sharing of a page takes memory: a frame of its own, of the guest's cgroup. What finds no room stays as it
 * is, mergeable and shared, for a later apply: *pending base pages, and why.
 */
static int fit_room(const struct hs_share *s, struct hs_engine_guest *g, struct hs_bits512 *target,
		    struct hs_share_applied *out, struct hs_error *err)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	struct hs_room room = { 0 };
	uint64_t left = UINT64_MAX;

	for (hs_huge_nr nr = 0; nr < g->nr_huge; nr++) {
		struct hs_bits512 lost = hs_bits_andnot(g->huge[nr].marked, target[nr]), part = { 0 };
		uint64_t bytes;
		int rc;

		if (!hs_bits_count(&lost))
			continue;
		rc = hs_view_frames(g->view, nr, frames, err);
		if (rc)
			return rc;
		for (unsigned int i = hs_run_next(&lost, 0); i < HS_BASE_PER_HUGE; i = hs_run_next(&lost, i + 1))
			if (frames[i].flags & (HS_FRAME_KSM | HS_FRAME_ZERO))
				hs_bits_set(&part, i);
		bytes = hs_bits_count(&part) * HS_BASE_SIZE;
		if (bytes && left == UINT64_MAX) {
			struct hs_error why = { "" };

			left = hs_engine_room_bytes(s, g->view->pid, &room, &why);
			(void)snprintf(out->pending_reason, sizeof(out->pending_reason),
				       "%s%.160s: too little memory to end the sharing of what is not wanted any more",
				       why.text[0] ? "" : "no room in ", why.text[0] ? why.text : room.where);
		}
		if (bytes <= left) {
			left -= bytes;
		} else {
			target[nr] = hs_bits_or(target[nr], part);
			out->pages_pending += bytes >> HS_BASE_SHIFT;
		}
	}
	if (!out->pages_pending)
		out->pending_reason[0] = '\0';
	return 0;
}

/* One huge page, present as a whole, however it is mapped. */
static bool all_huge(const struct hs_frame frames[HS_BASE_PER_HUGE])
{
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (!(frames[i].flags & HS_FRAME_HUGE) || frames[i].pfn != frames[0].pfn + i)
			return false;
	return frames[0].pfn && frames[0].pfn % HS_BASE_PER_HUGE == 0;
}

/* Pages that are on the zero page before we touch them are no saving of ours. */
static int note_zero(struct hs_engine_guest *g, const struct hs_bits512 *target, struct hs_error *err)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];

	for (hs_huge_nr nr = 0; nr < g->nr_huge; nr++) {
		struct hs_engine_huge *h = &g->huge[nr];
		struct hs_bits512 fresh = hs_bits_andnot(target[nr], h->marked);
		int rc;

		if (!hs_bits_count(&fresh))
			continue;
		rc = hs_view_frames(g->view, nr, frames, err);
		if (rc)
			return rc;
		h->zero_before = hs_bits_and(h->zero_before, h->marked);
		if (!hs_bits_count(&h->marked))
			h->was_huge |= all_huge(frames);
		for (unsigned int i = hs_run_next(&fresh, 0); i < HS_BASE_PER_HUGE; i = hs_run_next(&fresh, i + 1))
			if (frames[i].flags & HS_FRAME_ZERO)
				hs_bits_set(&h->zero_before, i);
	}
	return 0;
}

/* Books what each operation did. Base pages that became mergeable. */
static uint64_t book_ops(struct hs_engine_guest *g, const struct hs_engine_ops *ops, uint64_t *applied)
{
	uint64_t marked = 0;

	for (size_t i = 0; i < ops->nr; i++) {
		const struct hs_remote_op *op = &ops->op[i];
		hs_base_nr end = ops->first[i] + (hs_base_nr)((op->end - op->start) >> HS_BASE_SHIFT);

		if (!hs_engine_op_done(op))
			continue;
		++*applied;
		for (hs_base_nr p = ops->first[i]; p < end; p++) {
			struct hs_engine_huge *h = &g->huge[p / HS_BASE_PER_HUGE];

			if (op->advice == MADV_MERGEABLE) {
				hs_bits_set(&h->marked, p % HS_BASE_PER_HUGE);
				marked++;
			} else if (op->advice == MADV_UNMERGEABLE) {
				hs_bits_clear(&h->marked, p % HS_BASE_PER_HUGE);
				hs_bits_clear(&h->shared, p % HS_BASE_PER_HUGE);
			} else {
				h->nohuge = op->advice == MADV_NOHUGEPAGE;
			}
		}
	}
	return marked;
}

int hs_share_apply(struct hs_share *s, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	struct hs_engine_ops ops = { 0 };
	struct hs_bits512 *target = NULL;
	struct hs_plan plan = { 0 };
	int64_t vmas;
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, err);

	memset(out, 0, sizeof(*out));
	if (!g)
		return rc;
	rc = make_plan(s, g, &plan, err);
	if (rc)
		goto out;
	target = plan_bits(g, &plan);
	rc = target ? 0 : -ENOMEM;
	if (!rc && !s->cfg.dry_run) {
		rc = hs_engine_leave_armed(s, g, target, err);
		rc = rc ? rc : fit_room(s, g, target, out, err);
		if (rc)
			goto out;
	}
	rc = rc ? rc : make_ops(s, g, target, &ops);
	if (rc) {
		(void)hs_error_set(err, rc, "out of memory");
		goto out;
	}
	rc = note_zero(g, target, err);
	if (rc)
		goto out;
	rc = hs_engine_run_ops(s, g, &ops, err);
	out->nr_tried = ops.nr;
	out->pages_marked = book_ops(g, &ops, &out->nr_applied);
	out->pages_dropped = plan.nr_dropped;
	g->unmerged += out->pages_marked;
	hs_engine_record(s, g);
	if (!s->cfg.dry_run)
		g->nr_vmas = plan.nr_vmas;
	vmas = rc == -ESRCH ? 0 : hs_vmas_count(&s->host, g->view->pid);
	out->nr_vmas = vmas > 0 ? (uint64_t)vmas : 0;
out:
	free(target);
	hs_engine_ops_finish(&ops);
	hs_plan_finish(&plan);
	return hs_engine_note(g, rc);
}
