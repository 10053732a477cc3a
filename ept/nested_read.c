/* SPDX-License-Identifier: Apache-2.0 */
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

#include "nested_internal.h"

/* One table to read: the huge page at `gpa` goes into marks[mark]. */
struct spot {
	uint64_t gpa;
	size_t mark;
	uint32_t nr; /* whole huge pages from here on, in consecutive marks */
	uint16_t from, to;
};

/* What is looked at by tables of huge entries, and then by tables of base entries, for each set of tables. */
struct job {
	struct hs_nested_view *v;
	bool presence; /* an entry's being there is what is asked for, not its bit */
	struct hs_nested_mark *marks;
	struct spot *spots; /* whole huge pages */
	size_t nr_spots;
	/* Base entries: the first nr_partial whatever the huge entry says, the others as the first run finds them. */
	struct spot *tables;
	size_t nr_partial, nr_tables;
};

static void mark_bits(struct hs_nested_mark *m, const struct spot *s, const struct hs_bits512 *accessed)
{
	struct hs_bits512 part = hs_bits_empty();

	hs_bits_set_range(&part, s->from, s->to);
	m->accessed = hs_bits_or(m->accessed, hs_bits_and(*accessed, part));
}

/* One entry that maps everything. */
static void mark_leaf(struct job *j, struct hs_nested_mark *m, const struct spot *s, uint64_t entry)
{
	const struct hs_bits512 all = hs_bits_full();

	m->huge |= (entry & HS_NESTED_PRESENT) != 0;
	switch (hs_nested_accessed(entry, j->v->kind, j->presence)) {
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
	const struct spot *s = &j->tables[i];
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
		m->unknown |= !hs_nested_decode_table(page, j->v->kind, j->presence, &accessed);
		mark_bits(m, s, &accessed);
		break;
	default:
		m->unknown = true;
	}
}

static int run(struct job *j, const struct hs_kvm_root *root, uint32_t kind, const struct spot *spots, size_t nr,
	       hs_walk_fn fn)
{
	struct hs_host_view *host = hs_nested_host(j->v);
	const struct hs_walk_top top = {
		.mm = host->mm, .table = root->table, .present = HS_NESTED_PRESENT, .levels = root->level
	};
	struct hs_walk_req *reqs;

	if (!nr)
		return 0;
	reqs = hs_host_scratch(host, nr);
	if (!reqs)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++)
		reqs[i] = (struct hs_walk_req){ .va = spots[i].gpa, .kind = kind };
	return hs_walk_run_from(host->walk, &top, reqs, nr, fn, j);
}

static int run_all(struct job *j, const struct hs_kvm_seen *seen)
{
	int rc = 0;

	for (uint32_t i = 0; i < seen->look.nr_roots && !rc; i++) {
		const struct hs_kvm_root *root = &seen->roots[i];

		if (root->invalid)
			continue;
		if (root->level != 4 && root->level != 5)
			return -EPROTO;
		j->nr_tables = j->nr_partial;
		rc = run(j, root, HS_WALK_PMD_PAGE, j->spots, j->nr_spots, take_pmd_page);
		if (!rc)
			rc = run(j, root, HS_WALK_PTE_PAGE, j->tables, j->nr_tables, take_table);
	}
	return rc;
}

static int run_job(struct job *j, size_t nr_marks)
{
	struct hs_kvm_seen before, after;
	bool good = hs_nested_still(j->v, &before);
	int rc = good ? run_all(j, &before) : 0;

	good = good && rc != -EPROTO && hs_nested_still(j->v, &after);
	for (size_t i = 0; i < nr_marks && !good; i++)
		j->marks[i].unknown = true;
	return rc == -EPROTO ? 0 : rc;
}

/* ---- a range: by tables of huge entries, one for each GiB ---- */

/* The range's spots, of whole huge pages or of parts of them; only their number when spots is NULL. */
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

static void mark_blind(const struct hs_nested_view *v, hs_huge_nr huge, struct hs_nested_mark *m)
{
	m->unknown |= hs_bit_test(v->blind, huge);
}

static int mark_range(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, bool presence,
		      struct hs_nested_mark *marks)
{
	struct job j = { .v = v, .presence = presence, .marks = marks };
	size_t most;
	int rc = -ENOMEM;

	j.nr_spots = range_spots(v, first, nr, false, NULL);
	j.nr_partial = most = range_spots(v, first, nr, true, NULL);
	j.spots = calloc(j.nr_spots + 1, sizeof(*j.spots));
	if (!j.spots)
		return rc;
	range_spots(v, first, nr, false, j.spots);
	for (size_t i = 0; i < j.nr_spots; i++)
		most += j.spots[i].nr;
	j.tables = calloc(most + 1, sizeof(*j.tables));
	if (j.tables) {
		range_spots(v, first, nr, true, j.tables);
		rc = j.nr_spots || j.nr_partial ? run_job(&j, nr) : 0;
	}
	free(j.spots);
	free(j.tables);
	for (uint32_t i = 0; i < nr; i++)
		mark_blind(v, first + i, &marks[i]);
	return rc;
}

int hs_nested_mark_range(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, struct hs_nested_mark *marks)
{
	return mark_range(v, first, nr, !v->by_bit, marks);
}

/* Of what is blind nothing is said, so it need not be visible either. */
static int find_marked(const struct hs_nested_view *v, hs_huge_nr first, uint32_t nr,
		       const struct hs_nested_mark *marks, hs_huge_nr *huge, unsigned int *base)
{
	int rc = -ENOENT;

	for (uint32_t i = 0; i < nr; i++) {
		if (hs_bit_test(v->blind, first + i))
			continue;
		if (hs_bits_any(&marks[i].accessed)) {
			*huge = first + i;
			*base = hs_bits_next(&marks[i].accessed, 0);
			return 0;
		}
		if (marks[i].unknown)
			rc = -EAGAIN;
	}
	return rc;
}

int hs_nested_find_mapped(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, hs_huge_nr *huge, unsigned int *base)
{
	struct hs_nested_mark *marks = calloc(HS_BASE_PER_HUGE, sizeof(*marks));
	int rc = marks ? -ENOENT : -ENOMEM;

	for (uint32_t done = 0, n; done < nr && rc == -ENOENT; done += n) {
		n = nr - done < HS_BASE_PER_HUGE ? nr - done : HS_BASE_PER_HUGE;
		memset(marks, 0, n * sizeof(*marks));
		rc = mark_range(v, first + done, n, true, marks);
		if (!rc)
			rc = find_marked(v, first + done, n, marks, huge, base);
	}
	free(marks);
	return rc;
}

/* Of huge pages [first, first + nr): mapped by base entries in the nested tables, and by a huge one in the host's. */
static int count_small(struct hs_nested_view *v, hs_huge_nr first, const struct hs_nested_mark *marks, uint32_t nr,
		       uint32_t *nr_small)
{
	hs_huge_nr list[HS_BASE_PER_HUGE];
	uint8_t states[HS_BASE_PER_HUGE];
	size_t n = 0;
	int rc;

	for (uint32_t i = 0; i < nr; i++)
		if (!marks[i].unknown && !marks[i].huge && hs_bits_any(&marks[i].accessed) &&
		    !hs_bit_test(v->split, first + i))
			list[n++] = first + i;
	rc = n ? hs_host_entries(hs_nested_host(v), list, n, states) : 0;
	for (size_t i = 0; i < n && !rc; i++)
		*nr_small += states[i] == HS_MAP_HUGE;
	return rc;
}

int hs_nested_count_small(struct hs_nested_view *v, uint32_t *nr_small)
{
	struct hs_nested_mark *marks = calloc(HS_BASE_PER_HUGE, sizeof(*marks));
	int rc = marks ? 0 : -ENOMEM;

	*nr_small = 0;
	for (uint32_t done = 0, n; done < v->view.nr_huge && !rc; done += n) {
		n = v->view.nr_huge - done < HS_BASE_PER_HUGE ? v->view.nr_huge - done : HS_BASE_PER_HUGE;
		memset(marks, 0, n * sizeof(*marks));
		rc = mark_range(v, done, n, true, marks);
		if (!rc)
			rc = count_small(v, done, marks, n, nr_small);
	}
	free(marks);
	return rc;
}

/* ---- single huge pages: by their own tables ---- */

int hs_nested_mark_list(struct hs_nested_view *v, const hs_huge_nr *huge, size_t nr, struct hs_nested_mark *marks)
{
	struct job j = { .v = v, .presence = !v->by_bit, .marks = marks };
	int rc = 0;

	j.tables = calloc(nr * v->nr_pieces + 1, sizeof(*j.tables));
	if (!j.tables)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		mark_blind(v, huge[i], &marks[i]);
		for (size_t k = 0; k < v->nr_pieces; k++) {
			const struct hs_nested_piece *p = &v->pieces[k];

			if (huge[i] < p->first || huge[i] - p->first >= p->nr)
				continue;
			j.tables[j.nr_partial++] = (struct spot){ .gpa = p->gpa + (huge[i] - p->first) * HS_HUGE_SIZE,
								  .mark = i,
								  .from = p->from,
								  .to = p->to };
		}
	}
	if (j.nr_partial)
		rc = run_job(&j, nr);
	free(j.tables);
	return rc;
}
