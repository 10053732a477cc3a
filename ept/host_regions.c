/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which memory of a process is guest memory, from /proc/PID/maps.
 *
 * A guest's RAM is one big private anonymous mapping when its VMM starts, but it need not stay one VMA: marking runs of
 * base pages mergeable cuts it into tens of thousands. So what counts is the stretch, not the VMA: neighbours that are
 * both private, anonymous, readable, writable and not executable are one stretch, whatever else their flags are.
 *
 * A VMM's small buffers may lie right beside its guest's RAM and make the stretch longer or shorter by a little while
 * the guest runs. Growth by less than the smallest guest is therefore no change of the regions; shrinking always is.
 */
#include "host_regions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- regions ---- */

static bool is_guest_memory(const struct hs_vma *v)
{
	/* Executable: the code that an emulator makes, up to a GiB of it. */
	return v->anon && v->read && v->write && !v->exec && !v->shared && !v->hugetlb;
}

/* The next stretch of guest memory from VMA *i on; false at the end. *i is left behind it. */
static bool next_stretch(const struct hs_vma_list *l, size_t *i, uint64_t *start, uint64_t *end)
{
	while (*i < l->nr && !is_guest_memory(&l->vma[*i]))
		++*i;
	if (*i == l->nr)
		return false;
	*start = l->vma[*i].start;
	do {
		*end = l->vma[(*i)++].end;
	} while (*i < l->nr && l->vma[*i].start == *end && is_guest_memory(&l->vma[*i]));
	return true;
}

/* Why there is no guest memory: the biggest mapping that a person may have meant. */
static int explain_none(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_error *err)
{
	const struct hs_vma *biggest = NULL;
	uint64_t best = 0, start, end;

	for (size_t i = 0; i < l->nr; i++) {
		const struct hs_vma *v = &l->vma[i];
		bool candidate = v->write && !is_guest_memory(v);

		if (candidate && v->end - v->start >= min_bytes &&
		    (!biggest || v->end - v->start > biggest->end - biggest->start))
			biggest = v;
	}
	for (size_t i = 0; next_stretch(l, &i, &start, &end);)
		best = end - start > best ? end - start : best;
	if (!biggest)
		return hs_error_set(
		    err, -ENODATA,
		    "no guest memory: the biggest private anonymous mapping has %llu KiB, too small for a "
		    "guest (at least %llu KiB are asked for)",
		    (unsigned long long)best >> 10, (unsigned long long)min_bytes >> 10);
	if (biggest->hugetlb || strstr(biggest->name, "hugepages") || strstr(biggest->name, "anon_hugepage"))
		return hs_error_set(
		    err, -EMEDIUMTYPE,
		    "its memory is hugetlbfs (%llu MiB%s%s), which the kernel cannot share page by page: "
		    "back the guest with ordinary memory and transparent huge pages",
		    (unsigned long long)(biggest->end - biggest->start) >> 20, *biggest->name ? ", " : "",
		    biggest->name);
	if (biggest->shared)
		return hs_error_set(
		    err, -EMEDIUMTYPE,
		    "its memory is shared memory (%llu MiB, %s), which KSM cannot merge: start the guest "
		    "without a memfd or shared memory backend (libvirt: no <access mode='shared'/>)",
		    (unsigned long long)(biggest->end - biggest->start) >> 20,
		    *biggest->name ? biggest->name : "memfd");
	return hs_error_set(err, -EMEDIUMTYPE,
			    "its memory is a private mapping of a file (%llu MiB, %s), not anonymous memory: start the "
			    "guest without a memory file",
			    (unsigned long long)(biggest->end - biggest->start) >> 20,
			    *biggest->name ? biggest->name : "unnamed");
}

int hs_host_regions_find(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_region **out, size_t *nr,
			 uint32_t *nr_huge, struct hs_error *err)
{
	struct hs_region *regions = NULL;
	uint64_t start, end, total = 0;
	size_t n = 0;

	for (size_t i = 0; next_stretch(l, &i, &start, &end);) {
		struct hs_region *bigger;
		uint64_t first = (start + HS_HUGE_SIZE - 1) & ~(HS_HUGE_SIZE - 1);
		uint64_t last = end & ~(HS_HUGE_SIZE - 1);

		if (end - start < min_bytes || last <= first)
			continue;
		if (total + ((last - first) >> HS_HUGE_SHIFT) > UINT32_MAX / HS_BASE_PER_HUGE)
			break; /* 16 TiB: base pages have numbers of 32 bits */
		bigger = realloc(regions, (n + 1) * sizeof(*regions));
		if (!bigger) {
			free(regions);
			return hs_error_set(err, -ENOMEM, "no memory for the list of guest memory");
		}
		regions = bigger;
		regions[n] = (struct hs_region){ .hva = { first },
						 .gpa = { n ? first - regions[0].hva.v : 0 },
						 .first_huge = (hs_huge_nr)total,
						 .nr_huge = (uint32_t)((last - first) >> HS_HUGE_SHIFT) };
		total += regions[n++].nr_huge;
	}
	if (!n)
		return explain_none(l, min_bytes, err);
	*out = regions;
	*nr = n;
	*nr_huge = (uint32_t)total;
	return 0;
}

void hs_host_regions_left_out(const struct hs_vma_list *l, uint64_t min_bytes, struct hs_left_out *out)
{
	uint64_t start, end;

	*out = (struct hs_left_out){ 0 };
	for (size_t i = 0; next_stretch(l, &i, &start, &end);) {
		const uint64_t first = (start + HS_HUGE_SIZE - 1) & ~(HS_HUGE_SIZE - 1);
		const uint64_t last = end & ~(HS_HUGE_SIZE - 1);

		if (end - start < min_bytes || last <= first)
			out->too_small_bytes += end - start;
		else
			out->borders_bytes += end - start - (last - first);
	}
	for (size_t i = 0; i < l->nr; i++) {
		const struct hs_vma *v = &l->vma[i];
		const uint64_t bytes = v->end - v->start;

		if (!v->write || is_guest_memory(v))
			continue;
		if (v->special)
			out->heap_bytes += bytes;
		else if (v->anon && v->exec && !v->shared)
			out->executable_bytes += bytes;
		else
			out->other_kind_bytes += bytes;
	}
}

/* ---- comparing ---- */

/* Of a stretch's whole huge pages, what lies in no region: in bytes. */
static uint64_t bytes_outside(uint64_t start, uint64_t end, const struct hs_region *regions, size_t nr)
{
	uint64_t outside;

	start = (start + HS_HUGE_SIZE - 1) & ~(HS_HUGE_SIZE - 1);
	end &= ~(HS_HUGE_SIZE - 1);
	outside = start < end ? end - start : 0;
	for (size_t r = 0; r < nr; r++) {
		uint64_t a = regions[r].hva.v, b = a + regions[r].nr_huge * HS_HUGE_SIZE;

		a = a > start ? a : start;
		b = b < end ? b : end;
		if (a < b)
			outside -= b - a;
	}
	return outside;
}

bool hs_host_regions_compare(const struct hs_vma_list *l, uint64_t min_bytes, const struct hs_region *regions,
			     size_t nr, hs_host_regions_gone_fn gone, void *ctx)
{
	uint64_t start = 0, end = 0;
	bool changed = false, more;
	size_t i = 0, r = 0;
	uint32_t h = 0; /* huge page of region r */

	more = next_stretch(l, &i, &start, &end);
	if (more)
		changed = bytes_outside(start, end, regions, nr) >= min_bytes;
	while (r < nr) {
		uint64_t hva = regions[r].hva.v + h * HS_HUGE_SIZE;
		bool is_gone;

		if (more && end < hva + HS_HUGE_SIZE) {
			more = next_stretch(l, &i, &start, &end);
			if (more)
				changed |= bytes_outside(start, end, regions, nr) >= min_bytes;
			continue;
		}
		is_gone = !more || start > hva;
		changed |= is_gone;
		gone(ctx, regions[r].first_huge + h, is_gone);
		if (++h == regions[r].nr_huge) {
			h = 0;
			r++;
		}
	}
	while (more && next_stretch(l, &i, &start, &end))
		changed |= bytes_outside(start, end, regions, nr) >= min_bytes;
	return changed;
}
