/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demo as a picture: one HTML file that opens without a network, with every huge page of every guest before and
 * after. It is readable on a phone, in print, in light and dark, and without telling colours apart: what has its own
 * colour has its own pattern, and all of it is in a table as well.
 */
#ifndef HS_TESTS_DEMO_PICTURE_H
#define HS_TESTS_DEMO_PICTURE_H

#include "scene.h"

struct picture {
	const char *kind; /* "QEMU", "process" */
	uint32_t guests, nr_huge;
	const struct scene_huge *before, *after; /* [guests * nr_huge], guest after guest */
	double saved_bytes, net_saved_bytes;
	double pss_before_bytes, pss_after_bytes;
	struct scene_speeds speed_before, speed_after;
	double service_cpu_s, run_s;
	double ksmd_cpu_s;     /* NAN: unknown */
	uint64_t checked, bad; /* base pages that the guests compared; those that were not what they should be */
};

/* -errno where the file cannot be written; err names it. */
HS_MUST_USE int picture_write(const char *path, const struct picture *p, struct hs_error *err);

/* The same into a stream, whose errors are the caller's. */
void picture_print(FILE *f, const struct picture *p);

#endif
