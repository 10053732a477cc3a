/* SPDX-License-Identifier: Apache-2.0 */
/* The workload itself, as it runs inside a guest: its memory, the threads that access the hot pages, the checks. */
#ifndef HS_TESTS_GUEST_WORK_H
#define HS_TESTS_GUEST_WORK_H

#include "layout.h"

struct hs_work;

/* What happened since the last time it was asked. */
struct hs_work_stats {
	uint64_t accesses; /* random and sweeping ones, reads and writes */
	uint64_t writes;
	uint64_t elapsed_ns; /* while not paused */
	uint64_t batches;
	uint64_t p50_ns, p99_ns, p999_ns, max_ns; /* of one batch */
	uint64_t sweep_ns;   /* the longest time that one thread took to access every hot page; 0: none was finished */
	uint64_t hot_errors; /* since the start: writes that found another word than the one written before */
};

struct hs_work_verified {
	uint64_t checked_pages;
	uint64_t bad_pages;
	uint64_t first_bad; /* page number; UINT64_MAX: none */
};

/* Maps and fills the memory. It is one stretch on a huge-page border, asked for as huge pages. */
HS_MUST_USE int hs_work_create(struct hs_work **out, const struct hs_guest_params *p, struct hs_error *err);

/* Starts the threads. */
HS_MUST_USE int hs_work_start(struct hs_work *w, struct hs_error *err);

/* The threads stand still at a batch's border when this returns. Nests with nothing: pausing twice is pausing once. */
void hs_work_pause(struct hs_work *w);
void hs_work_resume(struct hs_work *w);

void hs_work_stats(struct hs_work *w, struct hs_work_stats *out);

/* Reads everything and compares; pauses meanwhile. */
void hs_work_verify(struct hs_work *w, struct hs_work_verified *out);

/* As hs_guest_layout_write, heat and cool, with the effect. */
uint32_t hs_work_write(struct hs_work *w, uint32_t nr, uint64_t seed);
uint32_t hs_work_heat(struct hs_work *w, uint32_t nr);
void hs_work_cool(struct hs_work *w);

const struct hs_guest_layout *hs_work_layout(const struct hs_work *w);
void *hs_work_base(const struct hs_work *w);
uint64_t hs_work_fill_ns(const struct hs_work *w);

#endif
