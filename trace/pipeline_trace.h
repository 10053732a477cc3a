/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recording a pipeline, and replaying a trace through one: what both ends of a trace have to agree on. The views and
 * the clock are in hs/record.h.
 */
#ifndef HS_TRACE_PIPELINE_TRACE_H
#define HS_TRACE_PIPELINE_TRACE_H

#include "hs/record.h"
#include "hs/pipeline.h"

/* The header of a trace that is recorded here and now with these settings. What cannot be found out stays empty. */
void hs_record_header(struct hs_trace_header *out, const struct hs_host *host, const struct hs_pipeline_config *cfg);

/* Records what `p` does from now on; before the first guest is taken in. `rec` outlives p. */
void hs_record_pipeline(struct hs_pipeline *p, struct hs_recorder *rec);

/*
 * Runs the whole trace through a pipeline of the recorded settings, which gets what was shared then where the recorded
 * one had an engine, and compares each decision with the recorded one (hs_replay_stats counts). *out: the pipeline as
 * it was at the trace's end, for reports; it goes before the replay does. After an error there is none. Errors as
 * hs_replay_next and hs_pipeline_create.
 */
HS_MUST_USE int hs_replay_pipeline(struct hs_pipeline **out, struct hs_replay *r, struct hs_error *err);

#endif
