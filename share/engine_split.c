/*
 * Huge pages are split before ksmd comes to them, from outside (hs_view_split_page), once their marks are on record.
 *
 * ksmd would split each of them as well, at its first merge there, so nobody pays more. But from Linux 6.12 on a split
 * frees the huge page's zero pages at once: they are saved before ksmd has begun, and ksmd has less to go over. On
 * older kernels it is left to ksmd.
 */
#include <errno.h>
#include <sys/utsname.h>

#include "base/host_facts.h"
#include "engine_internal.h"

/* One huge page, present as a whole, however it is mapped. */
static bool all_huge(const struct hs_frame frames[HS_BASE_PER_HUGE])
{
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (!(frames[i].flags & HS_FRAME_HUGE) || frames[i].pfn != frames[0].pfn + i)
			return false;
	return frames[0].pfn && frames[0].pfn % HS_BASE_PER_HUGE == 0;
}

int hs_engine_look_before(struct hs_engine_guest *g, const struct hs_bits512 *target, uint16_t *split,
			  struct hs_error *err)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];

	for (hs_huge_nr nr = 0; nr < g->nr_huge; nr++) {
		struct hs_engine_huge *h = &g->huge[nr];
		struct hs_bits512 fresh = hs_bits_andnot(target[nr], h->marked);
		int rc;

		split[nr] = 0;
		if (hs_bits_none(&fresh))
			continue;
		rc = hs_view_frames(g->view, nr, frames, err);
		if (rc)
			return rc;
		h->zero_before = hs_bits_and(h->zero_before, h->marked);
		if (hs_bits_none(&h->marked))
			h->was_huge |= all_huge(frames);
		hs_bits_for_each (i, &fresh) {
			if (frames[i].flags & HS_FRAME_ZERO)
				hs_bits_set(&h->zero_before, i);
			if (frames[i].flags & HS_FRAME_HUGE)
				split[nr] = (uint16_t)(i + 1);
		}
	}
	return 0;
}

/* What the split has freed is shared, as far as it is wanted. */
static int book_zeros(struct hs_engine_guest *g, hs_huge_nr nr)
{
	struct hs_engine_huge *h = &g->huge[nr];
	struct hs_frame frames[HS_BASE_PER_HUGE];
	const struct hs_bits512 new = hs_bits_andnot(hs_bits_and(h->wanted, h->marked), h->zero_before);
	int rc = hs_view_frames(g->view, nr, frames, NULL);

	if (rc)
		return rc;
	hs_bits_for_each (i, &new)
		if (frames[i].flags & HS_FRAME_ZERO)
			hs_bits_set(&h->shared, i);
	return 0;
}

int hs_engine_split(struct hs_share *s, struct hs_engine_guest *g, const uint16_t *split)
{
	struct utsname u;

	if (uname(&u) || !hs_facts_split_frees_zeros(u.release))
		return 0;
	for (hs_huge_nr nr = 0; nr < g->nr_huge; nr++) {
		int rc;

		/* What could not be marked stays as it is. */
		if (!split[nr] || !hs_bits_test(&g->huge[nr].marked, split[nr] - 1U))
			continue;
		rc = hs_view_split_page(g->view, nr, split[nr] - 1U, NULL);
		if (!rc)
			rc = book_zeros(g, nr);
		if (!rc && s->pace)
			rc = s->pace(s->pace_ctx);
		if (rc == -ESRCH || rc == -ECANCELED)
			return rc;
		if (rc == -ENOTSUP)
			return 0;
	}
	return 0;
}
