/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of a replay, what its views have in common with it: the record ahead, and how the replay ends. replay.c drives, and
 * reports what was decided and shared; replay_view.c answers the calls of the views.
 */
#ifndef HS_TRACE_REPLAY_INTERNAL_H
#define HS_TRACE_REPLAY_INTERNAL_H

#include "hs/record.h"

struct hs_replay {
	struct hs_trace_reader *reader;
	struct hs_clock clock;
	const struct hs_trace_record *ahead; /* the next record, not yet taken; NULL: at the end, or failed */
	uint64_t time_us;                    /* of the record taken last */
	struct hs_replay_view
	    *guests[HS_TRACE_MAX_GUESTS]; /* by the order of coming, each by its view of now; NULL: closed */
	uint32_t nr_guests;
	bool taken;   /* of the cycle that is under way, what was recorded at its end */
	bool settled; /* the burst of that */
	struct hs_replay_stats stats;
	int error;
	struct hs_error why;
};

struct hs_replay_view {
	struct hs_view view;    /* first */
	struct hs_view_ops ops; /* with the abilities of the recorded view */
	struct hs_replay *replay;
	uint32_t guest;                  /* its number in the trace */
	uint32_t order;                  /* its place in replay->guests */
	struct hs_trace_settled settled; /* with replay->settled */
	struct hs_shared_huge *sharing;  /* [nr_huge]; NULL: nothing was recorded of it yet */
};

/* Takes the record ahead, and reads the next one; an error of reading ends the replay. */
void hs_replay_advance(struct hs_replay *r);

/* Whether the record is a call of a view: what a replayed pipeline has to make again. */
bool hs_replay_is_call(const struct hs_trace_record *rec);

/* Ends the replay: `what` was asked for, and the trace goes on with something else. -ECANCELED. */
int hs_replay_diverged(struct hs_replay *r, const char *what);

/* The view of the guest whose coming the record is, in place `order`. -ENOMEM. */
int hs_replay_view_create(struct hs_replay *r, const struct hs_trace_record *rec, uint32_t order, struct hs_view **out);

#endif
