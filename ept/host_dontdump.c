/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DONTDUMP flag of VMAs ("dd" in smaps), which splitting a mapping changes and changes back (host_mapping.c). What
 * is here knows which flag is right, finds one that was left changed, and puts it back.
 *
 * A flag can be left changed when we, or the guest's thread, were stopped between the two calls: then one base page,
 * the first of a huge page, is a VMA of its own whose flag differs from both its neighbours. A VMM sets the flag for
 * all of its RAM or for none, so such a page is ours, whoever finds it.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "hs/remote.h"
#include "base/vmas.h"
#include "host_internal.h"

void hs_host_dontdump_forget(struct hs_host_view *v)
{
	free(v->dump);
	v->dump = NULL;
	v->nr_dump = 0;
}

/* The huge page of a region that begins at `addr`; UINT32_MAX: none. */
static hs_huge_nr huge_at(const struct hs_view *view, uint64_t addr)
{
	for (size_t r = 0; r < view->nr_regions; r++) {
		const struct hs_region *region = &view->regions[r];
		uint64_t offset = addr - region->hva.v;

		if (addr >= region->hva.v && offset < region->nr_huge * HS_HUGE_SIZE)
			return offset % HS_HUGE_SIZE ? UINT32_MAX
						     : region->first_huge + (hs_huge_nr)(offset >> HS_HUGE_SHIFT);
	}
	return UINT32_MAX;
}

/* A VMA of one page, the first of a huge page, between two neighbours: the shape of a flag left changed. */
static hs_huge_nr odd_page(const struct hs_view *view, const struct hs_vma_list *l, size_t i)
{
	const struct hs_vma *v = &l->vma[i];

	if (v->end - v->start != HS_BASE_SIZE || !i || i + 1 == l->nr || l->vma[i - 1].end != v->start ||
	    l->vma[i + 1].start != v->end)
		return UINT32_MAX;
	return huge_at(view, v->start);
}

static int read_flags(struct hs_host_view *v)
{
	struct hs_vma_list smaps;
	int rc = hs_vmas_read(&smaps, v->dir_fd, "smaps");

	if (rc)
		return rc;
	hs_host_dontdump_forget(v);
	v->dump = malloc((smaps.nr + 1) * sizeof(*v->dump));
	if (!v->dump) {
		hs_vmas_finish(&smaps);
		return -ENOMEM;
	}
	for (size_t i = 0; i < smaps.nr; i++) {
		const struct hs_vma *m = &smaps.vma[i];
		struct hs_dump_range *last = v->nr_dump ? &v->dump[v->nr_dump - 1] : NULL;
		bool dontdump = m->dontdump;
		hs_huge_nr odd = odd_page(&v->view, &smaps, i);

		if (odd != UINT32_MAX && m[-1].dontdump != dontdump && m[1].dontdump != dontdump) {
			hs_bit_put(v->dump_pending, odd, true);
			dontdump = !dontdump; /* as it should be */
		}
		if (last && last->end == m->start && last->dontdump == dontdump)
			last->end = m->end;
		else
			v->dump[v->nr_dump++] =
			    (struct hs_dump_range){ .start = m->start, .end = m->end, .dontdump = dontdump };
	}
	hs_vmas_finish(&smaps);
	return 0;
}

int hs_host_dontdump_flag(struct hs_host_view *v, hs_huge_nr huge, bool *dontdump)
{
	uint64_t addr = hs_view_hva(&v->view, huge).v;
	size_t low = 0, high;
	int rc;

	if (!v->dump) {
		rc = read_flags(v);
		if (rc)
			return rc;
	}
	high = v->nr_dump;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (v->dump[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == v->nr_dump || v->dump[low].start > addr || v->dump[low].end < addr + 2 * HS_BASE_SIZE)
		return -ENOENT;
	*dontdump = v->dump[low].dontdump;
	return 0;
}

static bool is_pending(const struct hs_host_view *v)
{
	for (uint32_t w = 0; w < (v->view.nr_huge + 63) / 64; w++)
		if (v->dump_pending[w])
			return true;
	return false;
}

static int repair_one(struct hs_host_view *v, hs_huge_nr huge)
{
	struct hs_remote_op op = { .start = hs_view_hva(&v->view, huge).v, .result = -ECANCELED };
	bool dontdump;
	int rc = hs_host_dontdump_flag(v, huge, &dontdump);

	if (rc == -ENOENT) { /* gone, and its flag with it */
		hs_bit_put(v->dump_pending, huge, false);
		return 0;
	}
	if (rc)
		return rc;
	op.end = op.start + HS_BASE_SIZE;
	op.advice = dontdump ? MADV_DONTDUMP : MADV_DODUMP;
	rc = hs_remote_madvise(v->remote, &op, 1, NULL);
	if (!rc)
		rc = op.result;
	if (!rc)
		hs_bit_put(v->dump_pending, huge, false);
	return rc;
}

/* Makes the pending restores; a guest that is busy for a moment is asked again. */
int hs_host_dontdump_repair(struct hs_host_view *v)
{
	int rc = 0;

	if (!is_pending(v))
		return 0;
	if (!v->remote)
		return -ENOTSUP;
	for (int tries = 0; tries < 5; tries++) {
		struct timespec pause = { .tv_nsec = 2000000L << tries };

		if (tries)
			(void)nanosleep(&pause, NULL);
		rc = 0;
		for (hs_huge_nr h = 0; h < v->view.nr_huge && rc != -ESRCH; h++)
			if (hs_bit_test(v->dump_pending, h)) {
				int one = repair_one(v, h);

				rc = one ? one : rc;
			}
		if (!rc || rc == -ESRCH)
			break;
	}
	return rc;
}

/*
 * Looks for flags that were left changed, and puts them back if we have the means: what fails stays pending. `maps` as
 * just read, or NULL to look without it. The long smaps is read only when the short maps shows such a shape.
 */
int hs_host_dontdump_find(struct hs_host_view *v, const struct hs_vma_list *maps)
{
	bool suspicious = !maps;
	int rc;

	for (size_t i = 0; maps && i < maps->nr && !suspicious; i++)
		suspicious = odd_page(&v->view, maps, i) != UINT32_MAX;
	if (!suspicious)
		return 0;
	rc = read_flags(v);
	if (rc)
		return rc;
	if (v->remote)
		rc = hs_host_dontdump_repair(v);
	return rc == -ESRCH || rc == -ENOMEM ? rc : 0;
}
