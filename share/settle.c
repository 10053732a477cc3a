/*
 * A pass that merges nothing any more costs as much as one that merges: ksmd searches its trees for each page without a
 * copy, at every pass. So a burst ends when its pages are merged, wherever ksmd is in its pass then.
 */
#include "settle.h"

#define LITTLE_PART 200 /* 0.5% */
#define NR_SAME     3   /* looks: a few tenths of a second, in which ksmd searches for tens of thousands of pages */

uint64_t hs_settle_little(uint64_t open)
{
	return open / LITTLE_PART;
}

bool hs_settle_reached(struct hs_settle *t, uint64_t merged)
{
	const uint64_t done = merged > t->before ? merged - t->before : 0;

	t->nr_same = merged == t->last ? t->nr_same + 1 : 0;
	t->last = merged;
	if (!t->open || done >= t->open)
		return true;
	return done + hs_settle_little(t->open) >= t->open && t->nr_same >= NR_SAME;
}
