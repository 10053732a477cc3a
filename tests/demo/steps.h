/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the demo does, step by step: said beforehand with the time that each takes, by what was measured. Of a demo of
 * the same kind and size that ran here before, its own times; else those of another machine, scaled to this one's
 * processors and to what is to be done, and called so.
 */
#ifndef HS_TESTS_DEMO_STEPS_H
#define HS_TESTS_DEMO_STEPS_H

#include <stdbool.h>
#include <stdint.h>

#include "hs/error.h"

enum step { STEP_START = 0, STEP_SPEED_BEFORE, STEP_SHARE, STEP_SPEED_AFTER, STEP_COMPARE, NR_STEPS };

struct steps {
	bool quiet;          /* says nothing */
	bool process;        /* the kind of guests */
	uint32_t guests;     /* how many, and */
	uint32_t size_mib;   /* how large */
	uint32_t speed_s;    /* how long a speed is measured: the one time that is known exactly */
	uint32_t processors; /* of this machine */
	const char *file;    /* where times are kept for the next demo; NULL: nowhere */

	bool own; /* expected_s are of a demo on this machine */
	double expected_s[NR_STEPS], took_s[NR_STEPS];
	uint64_t started_us;
};

/* Fills in what is to be expected; a file that is not there, or is no such file, is none. */
void steps_expect(struct steps *s);
/* Says what there is to come. */
void steps_plan(const struct steps *s);
void steps_begin(struct steps *s, enum step step);
void steps_end(struct steps *s, enum step step);
/* Keeps what it took. -errno: the file could not be written. */
HS_MUST_USE int steps_keep(const struct steps *s);

#endif
