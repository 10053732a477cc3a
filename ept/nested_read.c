/*
 * What the nested tables say of accesses. A huge page may be mapped at several guest-physical addresses, and there may
 * be several sets of tables (system management mode has its own): an access through any of them counts.
 *
 * The tables are read without a lock. So KVM's description of the VM is looked at before and after: when its slots have
 * changed since the last ageing, or a set of tables is gone and accesses with it, everything is unknown.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nested_view.h"

/* One table to read: the huge page at `gpa` goes into marks[mark]. */
struct spot {
	uint64_t gpa;
	size_t mark;
	uint32_t nr; /* whole huge pages from here on, in consecutive marks */
	uint16_t from, to;
};

struct job {
	struct hs_nested_view *v;
	struct hs_nested_mark *marks;
	struct spot *spots; /* behind the requests of this run, in their order */
	size_t nr_spots;
	struct spot *tables; /* what has to be looked at more closely in a second run */
	size_t nr_tables;
};

static bool by_presence(const struct hs_nested_view *v)
{
	return v->ageing != HS_NESTED_AGE_NONE; /* all ways that there are drop entries */
}

static void mark_bits(struct hs_nested_mark *m, const struct spot *s, const struct hs_bits512 *accessed)
{
	for (unsigned int i = s->from; i < s->to; i++)
		if (hs_bits_test(accessed, i))
			hs_bits_set(&m->accessed, i);
}

/* One entry that maps everything. */
static void mark_leaf(struct job *j, struct hs_nested_mark *m, const struct spot *s, uint64_t entry)
{
	const struct hs_bits512 all = hs_bits_full();

	m->huge |= (entry & HS_NESTED_PRESENT) != 0;
	switch (hs_nested_accessed(entry, j->v->kind, by_presence(j->v))) {
	case HS_YES:
		mark_bits(m, s, &all);
		break;
	case HS_UNKNOWN:
		m->unknown = true;
		break;
	case HS_NO:
		break;
	}
}

/* ---- one run ---- */

static void take_pmd_page(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct job *j = ctx;
	const struct spot *s = &j->spots[i];
	unsigned int index = (req->va >> HS_HUGE_SHIFT) & 511;

	for (uint32_t n = 0; n < s->nr; n++) {
		struct spot one = { .gpa = s->gpa + n * HS_HUGE_SIZE, .mark = s->mark + n, .to = HS_BASE_PER_HUGE };
		struct hs_nested_mark *m = &j->marks[s->mark + n];
		uint64_t e;

		switch (req->status) {
		case HS_WALK_NONE:
			break;
		case HS_WALK_LEAF_1G:
			mark_leaf(j, m, &one, req->entry);
			break;
		case HS_WALK_COPIED:
			e = page[index + n];
			if ((e & HS_NESTED_PRESENT) && !(e & HS_NESTED_LEAF))
				j->tables[j->nr_tables++] = one;
			else
				mark_leaf(j, m, &one, e);
			break;
		default:
			m->unknown = true;
		}
	}
}

static void take_table(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct job *j = ctx;
	const struct spot *s = &j->spots[i];
	struct hs_nested_mark *m = &j->marks[s->mark];
	struct hs_bits512 accessed;

	switch (req->status) {
	case HS_WALK_NONE:
		break;
	case HS_WALK_LEAF_1G:
	case HS_WALK_ENTRY: /* no table: the entry maps it all, or nothing */
		mark_leaf(j, m, s, req->entry);
		break;
	case HS_WALK_COPIED:
		m->unknown |= !hs_nested_decode_table(page, j->v->kind, by_presence(j->v), &accessed);
		mark_bits(m, s, &accessed);
		break;
	default:
		m->unknown = true;
	}
}

static int run(struct job *j, const struct hs_kvm_root *root, uint32_t kind, hs_walk_fn fn)
{
	struct hs_host_view *host = hs_nested_host(j->v);
	const struct hs_walk_top top = { .table = root->table, .present = HS_NESTED_PRESENT, .levels = root->level };
	struct hs_walk_req *reqs = hs_host_scratch(host, j->nr_spots);

	if (!reqs)
		return -ENOMEM;
	for (size_t i = 0; i < j->nr_spots; i++)
		reqs[i] = (struct hs_walk_req){ .va = j->spots[i].gpa, .kind = kind };
	return hs_walk_run_from(host->walk, host->mm, &top, reqs, j->nr_spots, fn, j);
}

/* All sets of tables, with what the run over huge entries (if it is one) left to look at. */
static int run_all(struct job *j, const struct hs_kvm_seen *seen, uint32_t kind)
{
	int rc = 0;

	for (uint32_t i = 0; i < seen->look.nr_roots && !rc; i++) {
		const struct hs_kvm_root *root = &seen->roots[i];

		if (root->invalid)
			continue;
		if (root->level != 4 && root->level != 5)
			return -EPROTO;
		j->nr_tables = 0;
		rc = run(j, root, kind, kind == HS_WALK_PMD_PAGE ? take_pmd_page : take_table);
		if (!rc && j->nr_tables) {
			struct job closer = {
				.v = j->v, .marks = j->marks, .spots = j->tables, .nr_spots = j->nr_tables
			};

			rc = run(&closer, root, HS_WALK_PTE_PAGE, take_table);
		}
	}
	return rc;
}

static int run_job(struct job *j, uint32_t kind, size_t nr_marks)
{
	struct hs_kvm_seen before, after;
	bool good = hs_nested_still(j->v, &before);
	int rc = good ? run_all(j, &before, kind) : 0;

	good = good && rc != -EPROTO && hs_nested_still(j->v, &after);
	for (size_t i = 0; i < nr_marks && !good; i++)
		j->marks[i].unknown = true;
	return rc == -EPROTO ? 0 : rc;
}

/* ---- a range: by tables of huge entries, one for each GiB ---- */

/* The range's spots, without writing them when spots is NULL; *nr_partial: those that need a table of their own. */
static size_t range_spots(const struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, bool partial,
			  struct spot *spots)
{
	size_t n = 0;

	for (size_t i = 0; i < v->nr_pieces; i++) {
		const struct hs_nested_piece *p = &v->pieces[i];
		hs_huge_nr a = p->first > first ? p->first : first;
		hs_huge_nr b = p->first + p->nr < first + nr ? p->first + p->nr : first + nr;

		if ((p->to - p->from != (int)HS_BASE_PER_HUGE) != partial)
			continue;
		while (a < b) {
			uint64_t gpa = p->gpa + (a - p->first) * HS_HUGE_SIZE;
			uint32_t left = HS_BASE_PER_HUGE - ((gpa >> HS_HUGE_SHIFT) & 511);

			if (left > b - a)
				left = b - a;
			if (spots)
				spots[n] = (struct spot){
					.gpa = gpa, .mark = a - first, .nr = left, .from = p->from, .to = p->to
				};
			n++;
			a += left;
		}
	}
	return n;
}

static int mark_range(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, bool partial,
		      struct hs_nested_mark *marks)
{
	size_t most = range_spots(v, first, nr, partial, NULL);
	struct job j = { .v = v, .marks = marks, .nr_spots = most };
	int rc = -ENOMEM;

	if (!most)
		return 0;
	j.spots = calloc(most, sizeof(*j.spots));
	/* A huge page can be in several pieces, each of which may have a table for it. */
	j.tables = calloc((size_t)nr * (v->nr_pieces + 1), sizeof(*j.tables));
	if (j.spots && j.tables) {
		range_spots(v, first, nr, partial, j.spots);
		rc = run_job(&j, partial ? HS_WALK_PTE_PAGE : HS_WALK_PMD_PAGE, nr);
	}
	free(j.spots);
	free(j.tables);
	return rc;
}

static void mark_blind(const struct hs_nested_view *v, hs_huge_nr huge, struct hs_nested_mark *m)
{
	m->unknown |= hs_bit_test(v->blind, huge);
}

int hs_nested_mark_range(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, struct hs_nested_mark *marks)
{
	int rc = mark_range(v, first, nr, false, marks);

	if (!rc)
		rc = mark_range(v, first, nr, true, marks);
	for (uint32_t i = 0; i < nr; i++)
		mark_blind(v, first + i, &marks[i]);
	return rc;
}

/* ---- single huge pages: by their own tables ---- */

int hs_nested_mark_list(struct hs_nested_view *v, const hs_huge_nr *huge, size_t nr, struct hs_nested_mark *marks)
{
	struct job j = { .v = v, .marks = marks };
	int rc = 0;

	j.spots = calloc(nr * v->nr_pieces + 1, sizeof(*j.spots));
	if (!j.spots)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		mark_blind(v, huge[i], &marks[i]);
		for (size_t k = 0; k < v->nr_pieces; k++) {
			const struct hs_nested_piece *p = &v->pieces[k];

			if (huge[i] < p->first || huge[i] - p->first >= p->nr)
				continue;
			j.spots[j.nr_spots++] = (struct spot){ .gpa = p->gpa + (huge[i] - p->first) * HS_HUGE_SIZE,
							       .mark = i,
							       .from = p->from,
							       .to = p->to };
		}
	}
	if (j.nr_spots)
		rc = run_job(&j, HS_WALK_PTE_PAGE, nr);
	free(j.spots);
	return rc;
}
