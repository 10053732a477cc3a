/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scenario: what the lab's host is made of. Read from an INI file or one of those built in. All randomness follows
 * from the seed: the same scenario is the same host, access for access.
 *
 *     [host]           seed, seconds
 *     [guests NAME]    `count` guests that are alike; every key below
 *
 * Shares of a guest's huge pages: even, skewed, warm, stream and absent, in percent; what is left is cold.
 * Shares of the contents: zero, group, host and within, in percent of base pages; what is left is each page's own.
 */
#ifndef HS_LAB_SCENARIO_H
#define HS_LAB_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hs/error.h"

#define HS_LAB_MAX_KINDS  32 /* [guests ...] sections */
#define HS_LAB_MAX_GROUPS 8
#define HS_LAB_NAME_MAX   48

/* Guests that are alike. */
struct hs_lab_kind {
	char name[HS_LAB_NAME_MAX];
	char group[HS_LAB_NAME_MAX]; /* trust group; "default" */
	uint32_t count;
	uint64_t memory; /* bytes of each, whole huge pages */
	double cpus;     /* its virtual processors: what a slowdown is measured against */

	/* ---- accesses ---- */
	double accesses;  /* a second and guest, that miss the processor's caches: over hot memory */
	double even;      /* percent of huge pages: all 512 base pages are hot */
	double skewed;    /* percent: some base pages are hot, the others never accessed */
	uint32_t hot_min; /* hot base pages of a skewed huge page, evenly between these two */
	uint32_t hot_max;
	bool bimodal; /* instead: half of the skewed ones have 1 to 49, half 500 to 512 */
	double zipf;  /* exponent: how unlike the hot huge pages are; 0: all alike */
	double write; /* percent of the accesses to hot memory that write */
	double warm;  /* percent: accessed once each warm_seconds on average */
	double warm_seconds;
	double phase_seconds; /* hot memory moves after so long; 0: never */
	double phase_move;    /* percent of the memory that it moves by */
	double stream;        /* percent: gone through in order, again and again */
	double stream_rate;   /* MiB a second */
	bool stream_writes;   /* with content of its own each time */
	double cold_writes;   /* base pages a second and GiB that are written although cold */
	double absent;        /* percent: never touched, no memory */

	/* ---- contents ---- */
	double zero;         /* percent of base pages */
	double same_group;   /* percent: from a pool of the trust group */
	double same_host;    /* percent: from a pool of the whole host */
	double same_within;  /* percent: from a pool of the guest's own */
	double copies;       /* pages for each content of a pool; 0: one for each guest, 2 within a guest */
	double popularity;   /* exponent: some contents of a pool have many more copies; 0: all alike */
	uint32_t run;        /* base pages in a row whose content is from the same source */
	double rewrite_same; /* percent of writes that leave a content of the guest's first pool, or zero */
};

struct hs_lab_trace;

#define HS_LAB_MAX_SEED ((uint64_t)INT64_MAX) /* JSON's whole numbers have a sign */

struct hs_lab_scenario {
	char name[HS_LAB_NAME_MAX];
	uint64_t seed;  /* at most HS_LAB_MAX_SEED */
	double seconds; /* how long it runs */
	uint32_t nr_kinds;
	struct hs_lab_kind kinds[HS_LAB_MAX_KINDS];
	const struct hs_lab_trace *trace; /* NULL; or the guests are those that were recorded, and there are no kinds */
};

/* A kind with every default; name, count and memory are the caller's. */
struct hs_lab_kind hs_lab_kind_default(void);

/* Reads a file. -EINVAL with the line and the key in the text, or -errno of opening it. */
HS_MUST_USE int hs_lab_scenario_read(struct hs_lab_scenario *out, const char *path, struct hs_error *err);

/* The same from text; `name` stands for the path in messages. */
HS_MUST_USE int hs_lab_scenario_parse(struct hs_lab_scenario *out, const char *name, const char *text,
				      struct hs_error *err);

/* One that is built in: -ENOENT with their names in the text. */
HS_MUST_USE int hs_lab_scenario_built_in(struct hs_lab_scenario *out, const char *name, struct hs_error *err);

/* The built-in ones: name and text of number i; NULL when there are no more. */
const char *hs_lab_scenario_name(size_t i);
const char *hs_lab_scenario_text(size_t i);

/* Sets one key of a kind, or of the host when kind is NULL, from text. -EINVAL, -ENOENT (no such key). */
HS_MUST_USE int hs_lab_scenario_set(struct hs_lab_scenario *s, struct hs_lab_kind *kind, const char *key,
				    const char *value, struct hs_error *err);

/* What cannot be: -EINVAL with the reason. */
HS_MUST_USE int hs_lab_scenario_check(const struct hs_lab_scenario *s, struct hs_error *err);

#endif
