/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recording a run of the pipeline, and replaying it. A recording view is put around a guest's own view, passes every
 * call on, and writes down what it answered: the trace is of what the pipeline saw, with no second look at the guest. A
 * replay view answers the same calls from the trace. The clock is recorded and replayed in the same way, since the fine
 * phase goes by it.
 *
 * One thread drives all of a recorder's, or of a replay's, views.
 */
#ifndef HS_RECORD_H
#define HS_RECORD_H

#include "hs/clock.h"
#include "hs/error.h"
#include "hs/trace.h"
#include "hs/view.h"

/* ---- recording ---- */

struct hs_recorder;

/*
 * Records to `w`, by `clock`; both must outlive it. It numbers contents by their digests under a key of its own: some
 * 30 bytes for each distinct content that is ever read. -ENOMEM, or no random bytes.
 */
HS_MUST_USE int hs_recorder_create(struct hs_recorder **out, struct hs_trace_writer *w, const struct hs_clock *clock,
				   struct hs_error *err);
void hs_recorder_destroy(struct hs_recorder *r); /* takes NULL; its views are closed before */

/* Where nothing may be compared with anything: the contents of two base pages never have the same number, also where
 * they are equal. Before the first guest. */
void hs_recorder_part_contents(struct hs_recorder *r, bool on);

/* The clock that the pipeline is to go by. Lives as long as the recorder. */
const struct hs_clock *hs_recorder_clock(struct hs_recorder *r);

/*
 * A view around `inner`, which it owns from then on (not after an error); closing it records that the guest is gone.
 * Errors of recording never show in its answers: hs_recorder_error reports them. -ENOMEM, -ENOSPC (too many guests).
 */
HS_MUST_USE int hs_recorder_wrap(struct hs_recorder *r, struct hs_view *inner, const char *name, const char *group,
				 struct hs_view **out, struct hs_error *err);

/* What the pipeline reports of itself; `v` is one of the recorder's views. */
void hs_recorder_cycle(struct hs_recorder *r, uint32_t cycle);
void hs_recorder_fine(struct hs_recorder *r, const struct hs_view *v, const struct hs_fine_result *results, size_t nr);
/* decisions[nr_huge] of the view */
void hs_recorder_decided(struct hs_recorder *r, const struct hs_view *v, const struct hs_policy_decision *decisions);
void hs_recorder_shared(struct hs_recorder *r, const struct hs_view *v, const struct hs_ledger *ledger,
			const struct hs_shared_huge *shared, size_t nr);

/* A burst settled: of each guest that takes part in merging, before hs_recorder_shared. */
void hs_recorder_settled(struct hs_recorder *r, const struct hs_view *v, const struct hs_trace_settled *settled);

/* The first error of writing or for want of memory, or 0. After one nothing more is written; the views go on. */
HS_MUST_USE int hs_recorder_error(const struct hs_recorder *r, struct hs_error *err);

uint32_t hs_recorder_nr_contents(const struct hs_recorder *r); /* distinct ones so far, zero pages not counted */

/* ---- replay ---- */

struct hs_replay;

/*
 * Replays the trace that `reader` reads, which is owned from then on, also after an error. -ENOMEM, or errors of
 * hs_trace_next. Where pages were merged while it was recorded (merging), what it shows of the guests came of
 * that, too: another policy cannot be tried on it.
 */
HS_MUST_USE int hs_replay_create(struct hs_replay **out, struct hs_trace_reader *reader, struct hs_error *err);
void hs_replay_destroy(struct hs_replay *r); /* takes NULL; its views are closed before */

const struct hs_trace_header *hs_replay_header(const struct hs_replay *r);

/* The clock that the pipeline is to go by: it gives the times that were recorded. Lives as long as the replay. */
const struct hs_clock *hs_replay_clock(struct hs_replay *r);

enum hs_replay_step {
	HS_REPLAY_END = 0,
	HS_REPLAY_GUEST, /* a guest came: `guest` and `view` */
	HS_REPLAY_CYCLE, /* a cycle was begun: run one */
};
struct hs_replay_next {
	uint8_t step;                /* enum hs_replay_step */
	struct hs_trace_guest guest; /* without its regions; valid until the next call */
	struct hs_view *view;        /* the caller's; it answers what the recorded one answered */
};

/*
 * What the driver of the recorded pipeline did next. Calls that were recorded and not made since are passed over, and
 * counted. Errors of hs_trace_next; -EILSEQ: the pipeline went another way than the recorded one.
 */
HS_MUST_USE int hs_replay_next(struct hs_replay *r, struct hs_replay_next *out, struct hs_error *err);

/*
 * The decisions on one guest, decisions[nr_huge], compared with those that were recorded at this place. The number of
 * huge pages on which they differ is added to the statistics.
 */
void hs_replay_decided(struct hs_replay *r, const struct hs_view *v, const struct hs_policy_decision *decisions);

/*
 * Of a trace of a merging run, once a cycle's decisions are carried out: takes what was shared then, as it was recorded
 * at this place, for hs_replay_state and hs_replay_settled to return until the next time. Once a cycle: further calls
 * do nothing.
 */
void hs_replay_merged(struct hs_replay *r);

/* Whether the burst settled, and what was recorded of the guest with it. Of older traces it is not known:
 * false. */
bool hs_replay_settled(const struct hs_replay *r, uint32_t guest, struct hs_trace_settled *out);

/* The state that hs_share_state returned. `guest`: in the order of coming; outs may be NULL. */
void hs_replay_state(const struct hs_replay *r, uint32_t guest, hs_huge_nr huge, struct hs_bits512 *wanted,
		     struct hs_bits512 *shared, uint32_t *breaks);

/*
 * The error that ended the replay, or 0. From then on all its views and its clock answer -ECANCELED, so that a pipeline
 * ends its cycle: ask here for the reason.
 */
HS_MUST_USE int hs_replay_error(const struct hs_replay *r, struct hs_error *err);

struct hs_replay_stats {
	uint64_t nr_answered;  /* calls of views */
	uint64_t nr_passed;    /* recorded calls that were not made; those of a merge engine are among them */
	uint64_t nr_decisions; /* compared, of huge pages */
	uint64_t nr_differ;    /* of them */
};
void hs_replay_stats(const struct hs_replay *r, struct hs_replay_stats *out);

#endif
