/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of the lab's policies. A policy is one file: it is started on a host, does one unit of work after the
 * other, each of which sleeps on the host's clock, until the clock says that the run is over. It sees the guests
 * through their views, as in life, and merges through the host. What it costs it counts.
 *
 * The rules of the artifact's policies approximate the systems they are named after; they are not those systems, and
 * are labelled so wherever they are shown.
 */
#ifndef HS_LAB_POLICY_H
#define HS_LAB_POLICY_H

#include "cost.h"
#include "lab_host.h"
#include "hs/pipeline.h"

struct hs_lab_options {
	double scan_rate; /* base pages a second that a scanner in the way of ksmd goes over; 0: all of them */
	bool quirks;      /* hugescope: with what the artifact does by mistake */
	bool gain_all;    /* oracle: takes every saving, whatever it costs the guests */
	struct hs_pipeline_config pipeline; /* hs-share */
	const struct hs_lab_costs *costs;   /* so that work takes its time; what is unknown takes none */
};
/* 125000 pages a second: the most that ksmtuned lets ksmd scan (1250 pages each 10 ms). */
#define HS_LAB_SCAN_RATE 125000.0
struct hs_lab_options hs_lab_options_default(const struct hs_lab_costs *costs);

/* What a policy did on its own account; what it did to guests the host counts. */
struct hs_lab_spent {
	uint64_t aged;     /* huge pages, times */
	uint64_t sampled;  /* huge pages, times */
	uint64_t split;    /* mappings split for a look */
	uint64_t restored; /* and brought back */
	uint64_t read;     /* base pages read */
	uint64_t hashed;
	uint64_t compared;
	uint64_t own_bytes; /* memory for its records */
};

struct hs_lab_policy {
	const char *name;  /* on the command line, in JSON */
	const char *label; /* in tables and plots */
	const char *what;  /* one line */
	bool blind;        /* shares across trust groups */
	int (*start)(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err);
	/* One unit of work. -ECANCELED: the run is over. */
	int (*step)(void *self, struct hs_error *err);
	void (*spent)(void *self, struct hs_lab_spent *out);
	void (*end)(void *self); /* takes NULL */
};

extern const struct hs_lab_policy hs_lab_none, hs_lab_ksm, hs_lab_ksm_huge, hs_lab_ingens, hs_lab_zero_scan,
    hs_lab_hugescope, hs_lab_hs_share, hs_lab_oracle;

/* All of them, in the order of the tables; NULL ends the list. A policy that moves memory between tiers fits here too,
 * once the host has tiers. */
extern const struct hs_lab_policy *const hs_lab_policies[];
const struct hs_lab_policy *hs_lab_policy_named(const char *name); /* NULL: there is none */

#endif
