/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest has of ours when it comes, and what of somebody else.
 *
 * Ours is what stands on record (mark_record.h) and what the kernel says as well: a kill between the record and the
 * call leaves a record without the mark, and the guest may have unmapped something since. What the record says was
 * there before is what is put back one day. All else that is mergeable is not ours, whatever it looks like, and is
 * claimed; NOHUGEPAGE without a record is the guest's own. A guest whose record cannot be read is not taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "foreign_claim.h"
#include "engine_internal.h"

struct adopt {
	struct hs_engine_guest *g;
	struct hs_mark_record record;
	struct place {
		struct hs_bits512 mergeable; /* the kernel says so */
		bool hugepage, nohuge;       /* the same */
		uint8_t kind;                /* on record: HS_MARK_... of the huge page */
	} * at;                              /* [nr_huge] */
	bool seen;                           /* any VMA of the guest's memory */
	struct hs_foreign_claim foreign;     /* what is mergeable in the process and not ours */
};

static void note_pages(struct adopt *a, const struct hs_vma *vma, hs_base_nr first, hs_base_nr end)
{
	a->seen = true;
	for (hs_base_nr p = first; p < end; p++) {
		struct place *at = &a->at[p / HS_BASE_PER_HUGE];

		at->hugepage |= vma->hugepage;
		at->nohuge |= vma->nohugepage;
		if (vma->mergeable)
			hs_bits_set(&at->mergeable, p % HS_BASE_PER_HUGE);
		else
			p |= HS_BASE_PER_HUGE - 1; /* on to the next huge page */
	}
}

/* Marks of ours where the view sees no guest memory. */
static int note_stray(struct adopt *a, const struct hs_vma *vma, uint64_t start, uint64_t end)
{
	const uint32_t never_huge = HS_MARK_PLAIN | HS_MARK_HUGEPAGE;
	int rc = 0;

	for (size_t i = 0; i < a->record.nr && !rc; i++) {
		const struct hs_mark_range *m = &a->record.ranges[i];
		const uint64_t from = m->start > start ? m->start : start, to = m->end < end ? m->end : end;

		if (from < to &&
		    ((m->kind & HS_MARK_MERGEABLE && vma->mergeable) || (m->kind & never_huge && vma->nohugepage)))
			rc = hs_mark_record_add(&a->g->stray, from, to, m->kind & ~(uint32_t)HS_MARK_WHOLE_HUGE);
	}
	return rc;
}

static int visit(void *ctx, const struct hs_vma *vma)
{
	struct adopt *a = ctx;
	int rc = 0;

	for (uint64_t at = vma->start, end; at < vma->end && !rc; at = end) {
		hs_base_nr first;

		end = vma->end;
		if (hs_engine_page_at(a->g->view, at, &end, &first))
			note_pages(a, vma, first, first + (hs_base_nr)((end - at) >> HS_BASE_SHIFT));
		else if (vma->mergeable || vma->nohugepage)
			rc = note_stray(a, vma, at, end);
	}
	return rc ? rc : hs_foreign_claim_note(&a->foreign, &a->record, vma);
}

static void place_record(struct adopt *a)
{
	for (size_t i = a->record.nr_mergeable; i < a->record.nr; i++) {
		const struct hs_mark_range *m = &a->record.ranges[i];
		hs_base_nr page;

		for (uint64_t at = m->start, end; at < m->end; at = end) {
			end = (at & ~(HS_HUGE_SIZE - 1)) + HS_HUGE_SIZE; /* a piece may begin anywhere */
			end = end < m->end ? end : m->end;
			if (hs_engine_page_at(a->g->view, at, &end, &page))
				a->at[page / HS_BASE_PER_HUGE].kind = (uint8_t)m->kind;
		}
	}
}

/* Base pages of this huge page that are mergeable by the record. */
static struct hs_bits512 on_record(const struct adopt *a, hs_huge_nr nr)
{
	const uint64_t start = hs_view_hva(a->g->view, nr).v;
	struct hs_bits512 out = { 0 };

	for (uint64_t at = start, stop; at < start + HS_HUGE_SIZE; at = stop)
		if (hs_mark_record_holds(&a->record, at, start + HS_HUGE_SIZE, &stop))
			for (uint64_t p = at; p < stop; p += HS_BASE_SIZE)
				hs_bits_set(&out, (unsigned int)((p - start) >> HS_BASE_SHIFT));
	return out;
}

/* Base pages adopted. */
static uint64_t judge(struct adopt *a)
{
	uint64_t adopted = 0;

	for (hs_huge_nr nr = 0; nr < a->g->nr_huge; nr++) {
		struct hs_engine_huge *h = &a->g->huge[nr];
		const struct place *at = &a->at[nr];

		h->was_huge = at->kind & HS_MARK_WHOLE_HUGE;
		h->nohuge = at->nohuge && at->kind & (HS_MARK_PLAIN | HS_MARK_HUGEPAGE);
		if (h->nohuge)
			h->thp = at->kind & HS_MARK_HUGEPAGE ? HS_ENGINE_HUGEPAGE : HS_ENGINE_PLAIN;
		else if (at->nohuge)
			h->thp = HS_ENGINE_NOHUGEPAGE;
		else if (at->hugepage)
			h->thp = HS_ENGINE_HUGEPAGE;
		if (hs_bits_none(&at->mergeable))
			continue;
		h->marked = hs_bits_and(at->mergeable, on_record(a, nr));
		h->wanted = h->allowed = h->marked;
		adopted += hs_bits_count(&h->marked);
	}
	return adopted;
}

/* VMAs that the adopted marks amount to: what the planner would count for them. */
static int count_vmas(struct hs_engine_guest *g)
{
	struct hs_plan_huge *huge = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*huge));
	struct hs_plan plan;
	size_t nr = 0;
	int rc;

	if (!huge)
		return -ENOMEM;
	for (hs_huge_nr h = 0; h < g->nr_huge; h++)
		if (hs_bits_any(&g->huge[h].marked))
			huge[nr++] = (struct hs_plan_huge){ .huge = h, .pages = g->huge[h].marked };
	rc = hs_plan_make(&plan, &(struct hs_plan_request){ .huge = huge,
							    .nr_huge = nr,
							    .regions = g->view->regions,
							    .nr_regions = g->view->nr_regions,
							    .vma_budget = UINT32_MAX });
	if (!rc) {
		g->nr_vmas = plan.nr_vmas;
		hs_plan_finish(&plan);
	}
	free(huge);
	return rc;
}

/*
 * What is mergeable in the process and not ours: QEMU marks all its memory, small pieces that are no guest memory to us
 * included. It gets that back when we are done.
 */
static int take_foreign(struct hs_share *s, struct hs_engine_guest *g, struct hs_foreign_claim *c, struct hs_error *err)
{
	uint64_t bytes;
	int rc = 0;

	if (!c->nr)
		return 0;
	bytes = hs_foreign_claim_ksm_bytes(&s->host, c);
	if (bytes)
		rc = hs_engine_room(s, g->view->pid, bytes, "ending the sharing that somebody else began", err);
	if (!rc)
		rc = hs_foreign_claim_record(&s->host, c, err);
	if (!rc) {
		rc = hs_foreign_claim_take(&s->host, c, g->remote, err);
	}
	return rc;
}

int hs_engine_adopt(struct hs_share *s, struct hs_engine_guest *g, uint64_t *adopted, struct hs_error *err)
{
	struct adopt a = { .g = g, .foreign = { .pid = g->view->pid, .id = g->process } };
	int rc = hs_mark_record_read(&s->host, g->view->pid, &a.record, err);

	if (rc)
		goto out;
	a.at = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*a.at));
	rc = a.at ? hs_vmas_each(&s->host, g->view->pid, visit, &a) : -ENOMEM;
	if (!rc && !a.seen)
		rc = -ESRCH;
	if (rc) {
		rc = hs_error_set(err, rc, "cannot read the memory map of %s (process %d): %s", g->name,
				  (int)g->view->pid, strerror(-rc));
		goto out;
	}
	place_record(&a);
	*adopted = judge(&a);
	g->unmerged = *adopted;
	rc = count_vmas(g);
	if (rc) {
		(void)hs_error_set(err, rc, "out of memory");
		goto out;
	}
	if (!s->cfg.dry_run)
		rc = take_foreign(s, g, &a.foreign, err);
	if (!rc)
		hs_engine_record(s, g);
out:
	hs_mark_record_finish(&a.record);
	hs_foreign_claim_finish(&a.foreign);
	free(a.at);
	return rc;
}
