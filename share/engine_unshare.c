/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Back to huge pages, in steps of at most STEP huge pages. A step needs memory: a frame for each base page that loses
 * its sharing, and a huge page to copy into; how much there is, on the host and in every cgroup above the guest, is
 * asked before each step, because that changes while we work, and the step is made to fit. Within a step: UNMERGEABLE
 * first, while the pages can still be told apart from others'; then the huge-page advice of before, without which the
 * kernel refuses to collapse; then the view restores the mapping.
 *
 * A huge page taken from the middle of what is marked costs VMAs as a mark does. Where single ones would take the guest
 * beyond its budget, all that is marked around them goes with them, from one end to the other, which adds none; what is
 * wanted of that is marked again by a later apply, as far as the budget allows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine_internal.h"
#include "runs.h"

#define STEP 64U

struct unshare {
	struct hs_share *s;
	struct hs_engine_guest *g;
	struct hs_bits512 *armed; /* [nr_huge]: what a userfaultfd watches; NULL: nothing */
	bool *asked;              /* [nr_huge]: the others only lose their marks; NULL: all are asked for */
	bool holes[STEP];         /* of the step's huge pages: not all of it is present, or it may not be collapsed */
	struct hs_share_unshared *out;
	struct hs_error *err;
};

/*
 * How many of the huge pages make a step that fits into the room: a frame for each page that has none of its own now,
 * and a huge page to copy into. -ENOMEM with the reason: not even the first does.
 */
static int fit_room(struct unshare *u, const hs_huge_nr *huge, size_t nr, size_t *fits)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	const pid_t pid = u->g->view->pid;
	struct hs_room room = { 0 };
	uint64_t bytes = HS_HUGE_SIZE, left = hs_engine_room_bytes(u->s, pid, &room, u->err);

	for (*fits = 0; *fits < nr; (*fits)++) {
		struct hs_bits512 there = { 0 }, need;
		int rc = hs_view_frames(u->g->view, huge[*fits], frames, u->err);

		if (rc)
			return rc;
		u->holes[*fits] = u->armed && hs_bits_any(&u->armed[huge[*fits]]);
		for (unsigned int p = 0; p < HS_BASE_PER_HUGE; p++) {
			u->holes[*fits] |= !frames[p].pfn;
			if (frames[p].pfn)
				hs_bits_set(&there, p);
		}
		there = hs_bits_or(there, u->g->huge[huge[*fits]].marked);
		need = hs_engine_need_frames(u->g, huge[*fits], frames, &there);
		bytes += hs_bits_count(&need) * HS_BASE_SIZE;
		if (bytes > left)
			break;
	}
	if (*fits || !nr)
		return 0;
	*fits = 1; /* if there is more room now than a moment ago */
	return hs_engine_room(u->s, pid, bytes, "unsharing", u->err);
}

static int make_ops(const struct hs_engine_guest *g, const hs_huge_nr *huge, size_t nr, struct hs_engine_ops *ops)
{
	int rc = 0;

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < nr && !rc; i++) {
			const struct hs_engine_huge *h = &g->huge[huge[i]];
			hs_base_nr start = huge[i] * HS_BASE_PER_HUGE;
			int advice = pass ? hs_engine_give_back_advice(h) : MADV_UNMERGEABLE;
			bool needed = pass ? h->nohuge && advice : hs_bits_any(&h->marked);

			if (needed)
				rc = hs_engine_ops_add(ops, g->view, start, start + HS_BASE_PER_HUGE, advice);
		}
	}
	return rc;
}

static int take_marks(struct unshare *u, const hs_huge_nr *huge, size_t nr)
{
	struct hs_engine_ops ops = { 0 };
	int rc = make_ops(u->g, huge, nr, &ops);

	if (rc)
		(void)hs_error_set(u->err, rc, "out of memory");
	else
		rc = hs_engine_run_ops(u->s, u->g, &ops, u->err);
	for (size_t i = 0; i < ops.nr; i++) {
		hs_huge_nr first = ops.first[i] / HS_BASE_PER_HUGE;
		hs_huge_nr end = first + (hs_huge_nr)((ops.op[i].end - ops.op[i].start) >> HS_HUGE_SHIFT);

		bool done = hs_engine_op_done(&ops.op[i]);

		if (!done && !rc && ops.op[i].result != -ECANCELED)
			rc = hs_error_set(u->err, ops.op[i].result, "%s: unsharing stopped: %s", u->g->name,
					  strerror(-ops.op[i].result));
		for (hs_huge_nr h = first; h < end && done; h++) {
			if (ops.op[i].advice == MADV_UNMERGEABLE) {
				hs_bits_clear_all(&u->g->huge[h].marked);
				hs_bits_clear_all(&u->g->huge[h].unsure);
				hs_bits_clear_all(&u->g->huge[h].shared);
			} else {
				u->g->huge[h].nohuge = u->g->huge[h].nohuge_unsure = false;
			}
		}
	}
	hs_engine_ops_finish(&ops);
	return rc;
}

static bool is_asked(const struct unshare *u, hs_huge_nr huge)
{
	return !u->asked || u->asked[huge];
}

/*
 * Huge again is what was huge before, as long as it is present as a whole: to collapse a table with holes fills them,
 * and a guest that is sparse, or has given memory back, would grow.
 */
static int make_huge(struct unshare *u, const hs_huge_nr *huge, size_t nr)
{
	int results[STEP] = { 0 }, rc = 0;
	hs_huge_nr again[STEP];
	size_t nr_again = 0;

	for (size_t i = 0; i < nr; i++) {
		if (!is_asked(u, huge[i]))
			continue;
		if (u->g->huge[huge[i]].was_huge && !u->holes[i]) {
			again[nr_again++] = huge[i];
		} else {
			u->g->huge[huge[i]].was_huge = false;
			u->out->nr_base++;
		}
	}
	if (nr_again && !u->s->cfg.dry_run)
		rc = hs_view_restore(u->g->view, again, nr_again, results, u->err);
	for (size_t i = 0; i < nr_again && !rc; i++) {
		if (results[i])
			u->out->nr_failed++;
		else
			u->out->nr_collapsed++;
		u->g->huge[again[i]].was_huge = results[i] != 0; /* for a later call */
	}
	return rc;
}

static int step(struct unshare *u, const hs_huge_nr *huge, size_t nr)
{
	int rc = take_marks(u, huge, nr);

	if (!rc) {
		for (size_t i = 0; i < nr; i++) {
			struct hs_engine_huge *h = &u->g->huge[huge[i]];

			if (!is_asked(u, huge[i]))
				continue;
			hs_bits_clear_all(&h->wanted);
			hs_bits_clear_all(&h->allowed);
			hs_bits_clear_all(&h->zero_before);
			h->breaks = 0;
		}
		rc = make_huge(u, huge, nr);
	}
	hs_engine_record(u->s, u->g);
	return rc;
}

/*
 * What is ours in pieces of memory that are no guest memory to the view, range by range: the frames that it needs are
 * not known, so room is asked for all of it, and parts are taken that fit.
 */
int hs_engine_undo_stray(struct hs_share *s, struct hs_engine_guest *g, struct hs_error *err)
{
	struct hs_mark_record *stray = &g->stray;
	int rc = 0;

	while (stray->nr && !rc) {
		struct hs_mark_range *m = &stray->ranges[stray->nr - 1];
		const bool mergeable = m->kind == HS_MARK_MERGEABLE;
		const uint64_t size = m->end - m->start, part = mergeable && size > HS_HUGE_SIZE ? HS_HUGE_SIZE : size;
		struct hs_remote_op op = { .start = m->end - part,
					   .end = m->end,
					   .advice = mergeable ? MADV_UNMERGEABLE : MADV_HUGEPAGE };

		if (mergeable)
			rc = hs_engine_room(s, g->view->pid, part, "unsharing", err);
		if (!rc)
			rc = hs_remote_madvise(g->remote, &op, 1, err);
		if (!rc && !hs_engine_op_done(&op))
			rc = hs_error_set(err, op.result, "%s: unsharing stopped: %s", g->name, strerror(-op.result));
		if (rc)
			break;
		m->end -= part;
		stray->nr -= m->end == m->start;
	}
	hs_engine_record(s, g);
	return rc;
}

/*
 * Memory that a userfaultfd watches keeps its marks when it is unmerged, from Linux 6.2 on; before, that counts as a
 * write of the guest's, and would be reported to whoever watches. It is never collapsed.
 */
static int look_for_armed(struct unshare *u)
{
	bool any = false;
	int rc;

	if (u->s->cfg.dry_run)
		return 0;
	u->armed = calloc(u->g->nr_huge ? u->g->nr_huge : 1, sizeof(*u->armed));
	rc = u->armed ? hs_engine_find_armed(u->s, u->g, u->armed, &any, u->err)
		      : hs_error_set(u->err, -ENOMEM, "out of memory");
	if (!rc && any && !hs_engine_unmerge_keeps_uffd())
		rc = hs_error_set(
		    u->err, -EBUSY,
		    "%s: a userfaultfd watches its memory (a snapshot or a migration): it is unshared when "
		    "that has ended",
		    u->g->name);
	return rc;
}

static bool is_touched(const struct hs_engine_guest *g, hs_huge_nr h)
{
	return g->huge[h].nohuge || hs_bits_any(&g->huge[h].marked);
}

/* in[]: the huge page, and what is marked around it without a gap, within its region. */
static void add_around(const struct hs_engine_guest *g, hs_huge_nr huge, bool *in)
{
	const struct hs_region *r = g->view->regions;
	hs_huge_nr from = huge, to = huge;

	for (size_t i = 0; i < g->view->nr_regions; i++)
		if (huge >= g->view->regions[i].first_huge)
			r = &g->view->regions[i];
	while (from > r->first_huge && is_touched(g, from - 1) && !in[from - 1])
		from--;
	while (to + 1 < r->first_huge + r->nr_huge && is_touched(g, to + 1) && !in[to + 1])
		to++;
	for (hs_huge_nr h = from; h <= to; h++)
		in[h] = true;
}

/* Where the named huge pages alone do not go within the budget of VMAs: the list that does, in *more, the caller's to
 * free. */
static int keep_budget(struct unshare *u, const hs_huge_nr *huge, size_t nr, hs_huge_nr **more, size_t *nr_more)
{
	struct hs_engine_guest *g = u->g;
	struct hs_engine_ops ops = { 0 };
	bool fits = true, *in;
	int rc = make_ops(g, huge, nr, &ops);

	*more = NULL;
	if (rc)
		(void)hs_error_set(u->err, rc, "out of memory");
	else if (ops.nr)
		rc = hs_engine_fits(u->s, g, &ops, &fits, u->err);
	hs_engine_ops_finish(&ops);
	if (rc || fits)
		return rc;
	in = calloc(g->nr_huge, sizeof(*in));
	u->asked = calloc(g->nr_huge, sizeof(*u->asked));
	*more = calloc(g->nr_huge, sizeof(**more));
	if (!in || !u->asked || !*more) {
		free(in);
		return hs_error_set(u->err, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < nr; i++) {
		u->asked[huge[i]] = true;
		add_around(g, huge[i], in);
	}
	*nr_more = 0;
	for (hs_huge_nr h = 0; h < g->nr_huge; h++)
		if (in[h])
			(*more)[(*nr_more)++] = h;
	free(in);
	return 0;
}

int hs_share_unshare(struct hs_share *s, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
		     struct hs_error *err)
{
	hs_huge_nr *all = NULL, *more = NULL;
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, err);
	struct unshare u = { .s = s, .g = g, .out = out, .err = err };

	memset(out, 0, sizeof(*out));
	if (!g)
		return rc;
	hs_engine_halt(s);
	if (!huge) {
		all = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*all));
		if (!all)
			return hs_error_set(err, -ENOMEM, "out of memory");
		nr = 0;
		for (hs_huge_nr h = 0; h < g->nr_huge; h++)
			if (g->huge[h].nohuge || g->huge[h].was_huge || hs_bits_any(&g->huge[h].marked) ||
			    hs_bits_any(&g->huge[h].wanted))
				all[nr++] = h;
		huge = all;
	}
	for (size_t i = 0; i < nr && !rc; i++)
		if (huge[i] >= g->nr_huge)
			rc = hs_error_set(err, -EINVAL, "%s has no huge page %u", g->name, huge[i]);
	out->nr_huge = rc ? 0 : nr;
	if (!rc && !all && !s->cfg.dry_run) {
		rc = keep_budget(&u, huge, nr, &more, &nr);
		huge = more ? more : huge;
	}
	rc = rc ? rc : look_for_armed(&u);
	for (size_t i = 0, fits; i < nr && !rc; i += fits) {
		if (all && s->progress)
			s->progress(s->progress_ctx, i, nr);
		rc = fit_room(&u, huge + i, nr - i < STEP ? nr - i : STEP, &fits);
		if (!rc)
			rc = step(&u, huge + i, fits);
	}
	if (!rc && all)
		rc = hs_engine_undo_stray(s, g, err);
	if (!rc && all) {
		g->nr_vmas = 0;
		rc = hs_engine_verify(s, g, HS_ENGINE_VERIFY_AT_ONCE,
				      err); /* so that the ledger says what is left: nothing */
	}
	free(all);
	free(more);
	free(u.asked);
	free(u.armed);
	return hs_engine_note(g, rc);
}
