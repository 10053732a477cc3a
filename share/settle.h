/*
 * When a burst has merged what it was to merge: a pure function of the kernel's count of merged pages.
 */
#ifndef HS_SHARE_SETTLE_H
#define HS_SHARE_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

/* All in base pages. */
struct hs_settle {
	uint64_t open;    /* wanted, marked and not merged, when the burst began */
	uint64_t before;  /* merged then, by the kernel's count */
	uint64_t last;    /* by the last look */
	uint32_t nr_same; /* looks since that count last changed */
};

/* So many of `open` pages are not worth a pass over everything that is marked: 0.5%. */
uint64_t hs_settle_little(uint64_t open);

/*
 * One look. True: all that was open is merged, or all but little and no more of it came in the last looks. Pages that
 * broke before the burst are in `before` until ksmd comes by; then the count falls short of the truth, and the answer
 * is no.
 */
bool hs_settle_reached(struct hs_settle *t, uint64_t merged);

#endif
