/*
 * What a guest's VMAs say when it comes: marks of an earlier run of ours, marks of somebody else, and what it wishes of
 * huge pages, which is to be put back one day.
 *
 * Ours is what carries MERGEABLE and NOHUGEPAGE: nobody else sets both. A run of ours that was killed between the two
 * calls leaves NOHUGEPAGE alone: taken for ours in a huge page that has marks of ours, or where the region has HUGEPAGE
 * elsewhere; a region that is NOHUGEPAGE as a whole was made so by the guest, and stays so. Where our marks hide what
 * was there before, the rest of the region tells; without a rest it is HUGEPAGE, which is what a VMM sets.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "foreign_claim.h"
#include "engine_internal.h"

struct adopt {
	struct hs_engine_guest *g;
	bool *nohuge_seen;        /* [nr_huge]: NOHUGEPAGE without MERGEABLE */
	bool *hugepage_in_region; /* [nr_regions] */
	bool seen;                /* any VMA of the guest's memory */
	struct hs_claim foreign;  /* what is mergeable in the process and not ours */
};

static void mark_range(struct adopt *a, const struct hs_vma *vma, hs_base_nr start, hs_base_nr end)
{
	if (vma->mergeable && !vma->nohugepage)
		return; /* the VMM's: take_foreign */
	for (hs_base_nr p = start; p < end; p++) {
		struct hs_engine_huge *h = &a->g->huge[p / HS_BASE_PER_HUGE];

		if (vma->mergeable) {
			hs_bits_set(&h->marked, p % HS_BASE_PER_HUGE);
			h->nohuge = true;
		} else {
			a->nohuge_seen[p / HS_BASE_PER_HUGE] = true;
			p |= HS_BASE_PER_HUGE - 1; /* on to the next huge page */
		}
	}
}

static int visit(void *ctx, const struct hs_vma *vma)
{
	struct adopt *a = ctx;
	const struct hs_view *v = a->g->view;

	for (size_t i = 0; i < v->nr_regions; i++) {
		const struct hs_region *r = &v->regions[i];
		uint64_t region_end = r->hva.v + r->nr_huge * HS_HUGE_SIZE;
		uint64_t start = vma->start > r->hva.v ? vma->start : r->hva.v;
		uint64_t end = vma->end < region_end ? vma->end : region_end;
		hs_base_nr first = r->first_huge * HS_BASE_PER_HUGE;

		if (start >= end)
			continue;
		a->seen = true;
		a->hugepage_in_region[i] |= vma->hugepage;
		if (vma->mergeable || vma->nohugepage)
			mark_range(a, vma, first + (hs_base_nr)((start - r->hva.v) >> HS_BASE_SHIFT),
				   first + (hs_base_nr)((end - r->hva.v) >> HS_BASE_SHIFT));
		if (!vma->hugepage)
			continue;
		for (uint64_t at = start - r->hva.v; at < end - r->hva.v; at = (at | (HS_HUGE_SIZE - 1)) + 1)
			a->g->huge[r->first_huge + (at >> HS_HUGE_SHIFT)].thp = HS_ENGINE_HUGEPAGE;
	}
	return hs_claim_note(&a->foreign, vma);
}

/* What is ours of the NOHUGEPAGE marks, and what was below our marks. Base pages adopted. */
static uint64_t judge(struct adopt *a)
{
	const struct hs_view *v = a->g->view;
	uint64_t adopted = 0;

	for (size_t i = 0; i < v->nr_regions; i++) {
		const struct hs_region *r = &v->regions[i];
		bool plain = false;

		for (hs_huge_nr h = r->first_huge; h < r->first_huge + r->nr_huge; h++)
			plain |= !a->g->huge[h].nohuge && !a->nohuge_seen[h] && a->g->huge[h].thp == HS_ENGINE_PLAIN;
		for (hs_huge_nr nr = r->first_huge; nr < r->first_huge + r->nr_huge; nr++) {
			struct hs_engine_huge *h = &a->g->huge[nr];

			if (a->nohuge_seen[nr] && !h->nohuge) {
				h->nohuge = a->hugepage_in_region[i];
				if (!h->nohuge)
					h->thp = HS_ENGINE_NOHUGEPAGE;
			}
			if (!h->nohuge)
				continue;
			h->thp = a->hugepage_in_region[i] || !plain ? HS_ENGINE_HUGEPAGE : HS_ENGINE_PLAIN;
			h->wanted = h->marked;
			h->allowed = h->marked;
			adopted += hs_bits_count(&h->marked);
		}
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
		if (hs_bits_count(&g->huge[h].marked))
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
static int take_foreign(struct hs_share *s, struct hs_engine_guest *g, const struct hs_claim *c, struct hs_error *err)
{
	int rc = 0;

	if (!c->nr)
		return 0;
	if (c->ksm_bytes)
		rc = hs_engine_room(s, g->view->pid, c->ksm_bytes, "ending the sharing that somebody else began", err);
	if (!rc)
		rc = hs_claim_record(&s->host, c, err);
	if (!rc) {
		s->claimed = true;
		rc = hs_claim_take(&s->host, c, g->remote, err);
	}
	return rc;
}

int hs_engine_adopt(struct hs_share *s, struct hs_engine_guest *g, uint64_t *adopted, struct hs_error *err)
{
	struct adopt a = { .g = g, .foreign = { .pid = g->view->pid } };
	int rc = -ENOMEM;

	a.nohuge_seen = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*a.nohuge_seen));
	a.hugepage_in_region = calloc(g->view->nr_regions ? g->view->nr_regions : 1, sizeof(*a.hugepage_in_region));
	if (a.nohuge_seen && a.hugepage_in_region)
		rc = hs_vmas_each(&s->host, g->view->pid, visit, &a);
	if (!rc && !a.seen)
		rc = -ESRCH;
	if (rc) {
		rc = hs_error_set(err, rc, "cannot read the memory map of %s (process %d): %s", g->name,
				  (int)g->view->pid, strerror(-rc));
		goto out;
	}
	*adopted = judge(&a);
	g->unmerged = *adopted;
	rc = count_vmas(g);
	if (rc) {
		(void)hs_error_set(err, rc, "out of memory");
		goto out;
	}
	if (!s->cfg.dry_run)
		rc = take_foreign(s, g, &a.foreign, err);
out:
	hs_claim_finish(&a.foreign);
	free(a.nohuge_seen);
	free(a.hugepage_in_region);
	return rc;
}
