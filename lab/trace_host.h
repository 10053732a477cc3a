/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests of the lab made from a recorded trace (hs/trace.h): their contents as they were read, and in each coarse round
 * which huge pages were accessed. What the trace does not hold is filled in with care:
 *
 *   - a base page that was never read has a content of its own
 *   - between rounds a huge page is accessed as it was in the last one
 *   - base pages met by the fine phase are the hot ones of a huge page; one that it never looked at is evenly hot
 *   - a guest is there all the time, whenever it came and went; of one that came again with new memory, the last counts
 *   - accesses have no rates in a trace, so each accessed huge page counts the same, and there is no slowdown
 */
#ifndef HS_LAB_TRACE_HOST_H
#define HS_LAB_TRACE_HOST_H

#include "lab_host.h"

/* One coarse round of one guest. */
struct hs_lab_round {
	uint64_t from_us, to_us;
	uint64_t *accessed; /* a bit for each huge page */
};

struct hs_lab_change {
	uint64_t at_us;
	hs_base_nr page;
	uint32_t content;
};

struct hs_lab_traced {
	struct hs_lab_kind kind;
	uint32_t nr_huge;
	uint32_t *content;       /* [nr_huge * 512]: as first read */
	uint32_t *latest;        /* the same, as last read */
	struct hs_bits512 *read; /* [nr_huge]: base pages whose content is known */
	struct hs_bits512 *hot;  /* [nr_huge]: met by the fine phase; none: it did not look, or met none */
	uint8_t *state;          /* [nr_huge]: enum hs_map_state at the first round */
	bool *accessed;          /* [nr_huge]: in any round */
	struct hs_lab_round *rounds;
	size_t nr_rounds, room_rounds;
	struct hs_lab_change *changes;
	size_t nr_changes, room_changes;
	uint64_t aged_us;
	bool round_open;     /* samples of the round's huge pages are still coming */
	bool gone, replaced; /* replaced: it came again with new memory, as another guest of its name */
};

struct hs_lab_trace {
	struct hs_lab_traced *guests;
	uint32_t nr_guests;
	uint32_t nr_contents; /* the highest number of a content */
	uint8_t scope;        /* enum hs_scope, of the recorded run */
	double seconds;
	bool cut_off; /* the recording was cut off: what is here came before */
};

/*
 * Reads a whole trace. Errors of hs_trace_reader_open and hs_trace_next; -ENOTSUP: pages were merged while it was
 * recorded, so that what it shows came of that too; -ENODATA: it has no guest that was looked at for a round. A trace
 * that was cut off is taken as far as it goes.
 */
HS_MUST_USE int hs_lab_trace_read(struct hs_lab_trace **out, const char *path, struct hs_error *err);
void hs_lab_trace_destroy(struct hs_lab_trace *t); /* takes NULL */

/* The scenario whose guests are these. The trace outlives it. */
void hs_lab_trace_scenario(const struct hs_lab_trace *t, const char *name, struct hs_lab_scenario *out);

/* trace_work.c: the work of guest number g->nr. -ENOMEM. */
HS_MUST_USE int hs_lab_trace_work_create(struct hs_lab_host *h, struct hs_lab_guest *g);
/* Its contents, as hs_lab_fill. */
HS_MUST_USE int hs_lab_trace_fill(struct hs_lab_host *h, struct hs_error *err);

#endif
