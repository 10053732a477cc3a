/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tables mean: the state of each huge page, and accessed bits. Page frames: host_frames.c.
 *
 * Everything here is read without a lock, beside a running guest. A huge page whose tables changed while they were read
 * is unknown. So is one whose entry is hidden (x86_entry.h): present, but with an accessed bit that means nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host_internal.h"
#include "x86_entry.h"

static void look_for_rest(struct hs_host_view *v)
{
	v->hides = v->unflushed && !hs_host_rest_lasts(&v->rest, v->dir_fd, hs_walk_users(v->walk, v->mm));
}

/* ---- huge pages ---- */

struct huge_job {
	struct hs_host_view *v;
	hs_huge_nr first;
	struct hs_huge_sample *out;
	hs_huge_nr *tables; /* huge pages whose table is to be read, in a second pass */
	size_t nr_tables;
	hs_huge_nr *request_first; /* huge page behind the first entry that a request answers for */
	uint32_t *request_nr;
	hs_huge_nr *maybe_zero; /* read-only huge entries, with the entry itself */
	uint64_t *maybe_zero_entry;
	size_t nr_maybe_zero;
};

/* Entries, not base pages. */
static uint64_t count_marked(const struct hs_huge_sample *s, uint32_t nr)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < nr; i++)
		sum += s[i].state == HS_MAP_HUGE ? s[i].accessed == HS_YES : s[i].nr_accessed;
	return sum;
}

static void put_huge(const struct hs_host_view *v, struct hs_huge_sample *s, uint64_t entry)
{
	bool accessed = hs_x86_accessed(entry);

	s->state = HS_MAP_HUGE;
	s->nr_present = HS_BASE_PER_HUGE;
	s->accessed = accessed ? HS_YES : hs_host_means_no(v, entry) ? HS_NO : HS_UNKNOWN;
	s->nr_accessed = accessed ? HS_BASE_PER_HUGE : 0;
}

static void put_entry(struct huge_job *j, hs_huge_nr huge, uint64_t entry)
{
	struct hs_huge_sample *s = &j->out[huge - j->first];

	switch (hs_x86_pmd(entry)) {
	case HS_X86_NONE:
		s->state = HS_MAP_ABSENT;
		s->accessed = HS_NO;
		break;
	case HS_X86_TABLE:
		j->tables[j->nr_tables++] = huge;
		break;
	case HS_X86_PAGE:
		put_huge(j->v, s, entry);
		if (!(entry & (HS_X86_WRITE | HS_X86_ANY_DIRTY))) {
			j->maybe_zero[j->nr_maybe_zero] = huge;
			j->maybe_zero_entry[j->nr_maybe_zero++] = entry;
		}
		break;
	default:
		break; /* unknown */
	}
}

static void take_pmd_page(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct huge_job *j = ctx;
	hs_huge_nr huge = j->request_first[i];
	unsigned int index = (req->va >> HS_HUGE_SHIFT) & 511;

	for (uint32_t n = 0; n < j->request_nr[i]; n++) {
		if (req->status == HS_WALK_COPIED)
			put_entry(j, huge + n, page[index + n]);
		else if (req->status == HS_WALK_NONE)
			put_entry(j, huge + n, 0);
	}
}

static void take_table(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct huge_job *j = ctx;
	struct hs_huge_sample *s = &j->out[j->tables[i] - j->first];
	struct hs_x86_table t;

	if (req->status == HS_WALK_ENTRY && hs_x86_pmd(req->entry) == HS_X86_PAGE) {
		put_huge(j->v, s, req->entry); /* collapsed meanwhile */
		return;
	}
	if (req->status != HS_WALK_COPIED)
		return;
	hs_x86_decode_table(page, &t);
	s->nr_present = (uint16_t)hs_bits_count(&t.present);
	s->nr_accessed = (uint16_t)hs_bits_count(&t.accessed);
	s->accessed = s->nr_accessed ? HS_YES : j->v->hides ? HS_UNKNOWN : HS_NO;
	s->state = s->nr_present == HS_BASE_PER_HUGE ? HS_MAP_SPLIT : s->nr_present ? HS_MAP_PARTIAL : HS_MAP_ABSENT;
	if (s->state != HS_MAP_SPLIT) {
		struct hs_bits512 swapped, empty;

		hs_x86_decode_absent(page, &swapped, &empty);
		s->nr_swapped = (uint16_t)hs_bits_count(&swapped);
	}
}

/* One request for each GiB (each table of huge entries) that a region's part of the range touches. */
static size_t make_requests(const struct hs_view *view, hs_huge_nr first, uint32_t nr, struct hs_walk_req *reqs,
			    hs_huge_nr *request_first, uint32_t *request_nr)
{
	size_t n = 0;

	for (size_t r = 0; r < view->nr_regions; r++) {
		const struct hs_region *region = &view->regions[r];
		hs_huge_nr a = region->first_huge > first ? region->first_huge : first;
		hs_huge_nr b = region->first_huge + region->nr_huge;

		if (b > first + nr)
			b = first + nr;
		while (a < b) {
			uint64_t va = region->hva.v + (a - region->first_huge) * HS_HUGE_SIZE;
			uint32_t left = HS_BASE_PER_HUGE - ((va >> HS_HUGE_SHIFT) & 511);

			if (left > b - a)
				left = b - a;
			if (reqs) {
				reqs[n] = (struct hs_walk_req){ .va = va, .kind = HS_WALK_PMD_PAGE };
				request_first[n] = a;
				request_nr[n] = left;
			}
			n++;
			a += left;
		}
	}
	return n;
}

int hs_host_sample_huge(struct hs_view *view, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	struct huge_job j = { .v = v, .first = first, .out = out };
	size_t nr_reqs = make_requests(view, first, nr, NULL, NULL, NULL);
	struct hs_walk_req *reqs = hs_host_scratch(v, nr_reqs > nr ? nr_reqs : nr);
	int rc = -ENOMEM;

	look_for_rest(v);
	j.tables = malloc(nr * sizeof(*j.tables));
	j.maybe_zero = malloc(nr * sizeof(*j.maybe_zero));
	j.maybe_zero_entry = malloc(nr * sizeof(*j.maybe_zero_entry));
	j.request_first = malloc(nr_reqs * sizeof(*j.request_first));
	j.request_nr = malloc(nr_reqs * sizeof(*j.request_nr));
	if (!reqs || !j.tables || !j.maybe_zero || !j.maybe_zero_entry || !j.request_first || !j.request_nr)
		goto out;
	make_requests(view, first, nr, reqs, j.request_first, j.request_nr);
	rc = hs_walk_run(v->walk, v->mm, reqs, nr_reqs, take_pmd_page, &j);
	if (rc)
		goto out;
	for (size_t i = 0; i < j.nr_tables; i++)
		reqs[i] = (struct hs_walk_req){ .va = hs_view_hva(view, j.tables[i]).v, .kind = HS_WALK_PTE_PAGE };
	rc = hs_walk_run(v->walk, v->mm, reqs, j.nr_tables, take_table, &j);
	if (rc)
		goto out;
	for (size_t i = 0; i < j.nr_maybe_zero; i++)
		if (hs_host_is_zero_entry(v, j.maybe_zero_entry[i]))
			out[j.maybe_zero[i] - first] =
			    (struct hs_huge_sample){ .state = HS_MAP_ABSENT, .accessed = HS_NO };
	for (uint32_t i = 0; i < nr; i++) {
		if (hs_host_is_off_limits(v, first + i) || v->has_vm) {
			out[i] = (struct hs_huge_sample){ 0 };
		} else if (out[i].state == HS_MAP_HUGE && hs_host_in_doubt(v, first + i)) {
			out[i].accessed = HS_UNKNOWN;
			out[i].nr_accessed = 0;
		}
		if (v->old && out[i].accessed == HS_YES && out[i].state != HS_MAP_HUGE)
			out[i].accessed = HS_VIEW_YES_BEFORE;
		hs_bit_put(v->cold, first + i, out[i].state == HS_MAP_HUGE && out[i].accessed == HS_NO);
	}
	if (nr == view->nr_huge)
		v->nr_marked = count_marked(out, nr);
out:
	free(j.tables);
	free(j.maybe_zero);
	free(j.maybe_zero_entry);
	free(j.request_first);
	free(j.request_nr);
	if (rc) {
		memset(out, 0, nr * sizeof(*out));
		return hs_host_error(v, rc, "read its page tables", err);
	}
	return 0;
}

/* ---- base pages ---- */

struct base_job {
	struct hs_host_view *v;
	const hs_huge_nr *huge;
	struct hs_base_sample *out;
	bool presence; /* what is there is asked for, not what was accessed */
};

static void put_empty(struct hs_base_sample *s)
{
	s->state = HS_MAP_ABSENT;
	s->empty = hs_bits_full();
}

/* What is not there is known whatever the accessed bits are worth. */
static void make_unknown(struct hs_base_sample *s)
{
	*s = (struct hs_base_sample){ .swapped = s->swapped, .empty = s->empty };
}

static void take_base(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct base_job *j = ctx;
	struct hs_base_sample *s = &j->out[i];
	struct hs_x86_table t;

	*s = (struct hs_base_sample){ 0 };
	if (hs_host_is_off_limits(j->v, j->huge[i]) || (j->v->has_vm && !j->presence))
		return;
	if (req->status == HS_WALK_NONE) {
		put_empty(s);
	} else if (req->status == HS_WALK_ENTRY) {
		switch (hs_x86_pmd(req->entry)) {
		case HS_X86_NONE:
			put_empty(s);
			break;
		case HS_X86_PAGE:
			if (hs_host_is_zero_entry(j->v, req->entry)) {
				put_empty(s);
				break;
			}
			s->state = HS_MAP_HUGE;
			s->present = hs_bits_full();
			if (hs_x86_accessed(req->entry))
				s->accessed = hs_bits_full();
			else if (!j->presence && !hs_host_means_no(j->v, req->entry))
				make_unknown(s);
			break;
		default:
			break;
		}
		/* One bit for it all, and that may be ours: unknown. */
		if (s->state == HS_MAP_HUGE && !j->presence && hs_host_in_doubt(j->v, j->huge[i]))
			make_unknown(s);
	} else if (req->status == HS_WALK_COPIED) {
		unsigned int nr;

		hs_x86_decode_table(page, &t);
		nr = hs_bits_count(&t.present);
		s->state = nr == HS_BASE_PER_HUGE ? HS_MAP_SPLIT : nr ? HS_MAP_PARTIAL : HS_MAP_ABSENT;
		s->present = t.present;
		s->accessed = t.accessed;
		if (nr != HS_BASE_PER_HUGE)
			hs_x86_decode_absent(page, &s->swapped, &s->empty);
		if (!j->presence && j->v->hides && nr != hs_bits_count(&t.accessed))
			make_unknown(s);
	}
}

static int sample_base(struct base_job *j, size_t nr, struct hs_error *err)
{
	struct hs_walk_req *reqs = hs_host_scratch(j->v, nr);
	int rc = -ENOMEM;

	if (reqs) {
		for (size_t i = 0; i < nr; i++)
			reqs[i] = (struct hs_walk_req){ .va = hs_view_hva(&j->v->view, j->huge[i]).v,
							.kind = HS_WALK_PTE_PAGE };
		rc = hs_walk_run(j->v->walk, j->v->mm, reqs, nr, take_base, j);
	}
	if (rc) {
		memset(j->out, 0, nr * sizeof(*j->out));
		return hs_host_error(j->v, rc, "read its page tables", err);
	}
	return 0;
}

int hs_host_sample_base(struct hs_view *view, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			struct hs_error *err)
{
	struct base_job j = { .v = hs_host_view(view), .huge = huge, .out = out };

	look_for_rest(j.v);
	return sample_base(&j, nr, err);
}

int hs_host_sample_presence(struct hs_host_view *v, hs_huge_nr huge, struct hs_base_sample *out, struct hs_error *err)
{
	struct base_job j = { .v = v, .huge = &huge, .out = out, .presence = true };

	return sample_base(&j, 1, err);
}

/* ---- huge entries alone ---- */

struct entry_job {
	struct hs_host_view *v;
	const hs_huge_nr *huge;
	uint8_t *states;
};

static void take_entry(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct entry_job *j = ctx;
	uint8_t state = HS_MAP_UNKNOWN;

	(void)page;
	if (req->status == HS_WALK_NONE)
		state = HS_MAP_ABSENT;
	else if (req->status == HS_WALK_ENTRY)
		switch (hs_x86_pmd(req->entry)) {
		case HS_X86_NONE:
			state = HS_MAP_ABSENT;
			break;
		case HS_X86_TABLE:
			state = HS_MAP_SPLIT;
			break;
		case HS_X86_PAGE:
			state = hs_host_is_zero_entry(j->v, req->entry) ? HS_MAP_ABSENT : HS_MAP_HUGE;
			break;
		default:
			break;
		}
	j->states[i] = hs_host_is_off_limits(j->v, j->huge[i]) ? HS_MAP_UNKNOWN : state;
}

int hs_host_entries(struct hs_host_view *v, const hs_huge_nr *huge, size_t nr, uint8_t *states)
{
	struct entry_job j = { .v = v, .huge = huge, .states = states };
	struct hs_walk_req *reqs = hs_host_scratch(v, nr);

	if (!reqs)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++)
		reqs[i] = (struct hs_walk_req){ .va = hs_view_hva(&v->view, huge[i]).v, .kind = HS_WALK_PMD_ENTRY };
	return hs_walk_run(v->walk, v->mm, reqs, nr, take_entry, &j);
}

static void take_writable(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	(void)i;
	(void)page;
	*(bool *)ctx =
	    req->status == HS_WALK_ENTRY && hs_x86_pmd(req->entry) == HS_X86_PAGE && (req->entry & HS_X86_WRITE);
}

bool hs_host_is_own_huge(struct hs_host_view *v, hs_huge_nr huge)
{
	struct hs_walk_req req = { .va = hs_view_hva(&v->view, huge).v, .kind = HS_WALK_PMD_ENTRY };
	bool writable = false;

	if (hs_bit_test(v->gone, huge))
		return false;
	return !hs_walk_run(v->walk, v->mm, &req, 1, take_writable, &writable) && writable;
}
