/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scanner in the way of ksmd, for the rivals: it goes over the candidates again and again, at a rate. A page matches
 * the merged pages of its content at once; else it has to be found unchanged in a second pass before it goes into the
 * unstable tree, where it matches another that did.
 */
#ifndef HS_LAB_POLICIES_SCANNER_H
#define HS_LAB_POLICIES_SCANNER_H

#include "lab/lab_host.h"

struct hs_lab_scan_rules {
	void *ctx;
	/* Base pages of this huge page that may be merged now. */
	void (*candidates)(void *ctx, const struct hs_lab_guest *g, hs_huge_nr huge, struct hs_bits512 *out);
	bool zero_only;  /* nothing but zero pages */
	bool hold_first; /* the first holder of a content is counted, but not split */
	double rate;     /* base pages a second; 0: all of them each second */
};

struct hs_lab_scanner;

HS_MUST_USE int hs_lab_scanner_create(struct hs_lab_scanner **out, struct hs_lab_host *h,
				      const struct hs_lab_scan_rules *rules, struct hs_error *err);
void hs_lab_scanner_destroy(struct hs_lab_scanner *s); /* takes NULL */

/* The host's time, in which the scanner goes on while somebody sleeps. */
const struct hs_clock *hs_lab_scanner_clock(struct hs_lab_scanner *s);
uint64_t hs_lab_scanner_bytes(const struct hs_lab_scanner *s); /* of its own memory */

#endif
