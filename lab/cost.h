/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What things cost, on one machine: measured there by `hs-lab calibrate`, kept in a JSON file, printed with every
 * result. Nothing here has a default: a constant that was not measured is NAN, and so is each figure that would need
 * it.
 */
#ifndef HS_LAB_COST_H
#define HS_LAB_COST_H

#include <jansson.h>

#include "hs/clock.h"
#include "hs/error.h"

#define HS_LAB_WALK_FIRST 8U  /* 256 base pages in use */
#define HS_LAB_NR_WALKS   11U /* and so on, doubling, up to 262144 */

/* Nanoseconds each. */
enum hs_lab_cost {
	/*
	 * What an access through a base mapping takes above one through a huge mapping, where 256, 512, ... 262144 base
	 * pages are in use: few of them stay in the processor's cache of translations, many do not.
	 */
	HS_LAB_COST_WALK,
	HS_LAB_COST_WALK_LAST = HS_LAB_COST_WALK + HS_LAB_NR_WALKS - 1,
	HS_LAB_COST_BREAK,     /* a write to a shared base page: fault and copy */
	HS_LAB_COST_COPY_HUGE, /* copying a huge page */
	HS_LAB_COST_SPLIT,     /* splitting the mapping of a huge page */
	HS_LAB_COST_RESTORE,   /* making a huge page's mapping huge again */
	HS_LAB_COST_READ,      /* reading a base page of a guest */
	HS_LAB_COST_HASH,      /* the digest of a base page */
	HS_LAB_COST_COMPARE,   /* comparing two base pages that are equal */
	HS_LAB_COST_AGE,       /* clearing accessed bits, a huge page */
	HS_LAB_COST_SAMPLE,    /* reading the state of a huge page */
	HS_LAB_COST_KSM_SCAN,  /* ksmd goes over a base page */
	HS_LAB_COST_KSM_MERGE, /* ksmd merges a base page, above that */
	HS_LAB_NR_COSTS
};

struct hs_lab_costs {
	double ns[HS_LAB_NR_COSTS];        /* NAN: not measured */
	char reason[HS_LAB_NR_COSTS][160]; /* why it was not */
	char machine[160];                 /* processor, kernel, memory */
	char measured[32];                 /* when: ISO 8601 */
};

/* "break_ns", ...: in JSON; and what it is, for people. */
const char *hs_lab_cost_name(enum hs_lab_cost c);
const char *hs_lab_cost_what(enum hs_lab_cost c);

/* Nothing is known. */
void hs_lab_costs_none(struct hs_lab_costs *out);

/*
 * Where a calibration is kept: in $HS_LAB_CALIBRATION if that is set. Else root's is the machine's, for everybody, as
 * only root's is whole; another user's lies in the cache folder of that user. The machine's is looked for first.
 */
#define HS_LAB_COSTS_OF_MACHINE "/var/cache/hs-lab/calibration.json"
void hs_lab_costs_path_to_write(char *out, size_t size);
void hs_lab_costs_path_to_read(char *out, size_t size);

/* -ENOENT: there is no such file; -EINVAL: it is none of ours; or -errno. */
HS_MUST_USE int hs_lab_costs_read(struct hs_lab_costs *out, const char *path, struct hs_error *err);
/* Makes the folder when it is missing. Everybody may read it. */
HS_MUST_USE int hs_lab_costs_write(const struct hs_lab_costs *c, const char *path, struct hs_error *err);
json_t *hs_lab_costs_json(const struct hs_lab_costs *c); /* NULL: out of memory */

/*
 * Measures on this machine; takes some twenty seconds. Page tables, clear_refs and ksmd need root: without it, or where
 * KSM is somebody else's, those constants stay unknown, with the reason. Everything is put back. -ECANCELED: the clock
 * says that the end is asked for; -ENOMEM.
 */
HS_MUST_USE int hs_lab_calibrate(struct hs_lab_costs *out, const struct hs_clock *clock,
				 void (*progress)(const char *what), struct hs_error *err);

#endif
