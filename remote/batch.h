/* The work of the two public calls that make system calls; runs in the thread that traces. */
#ifndef HS_REMOTE_BATCH_H
#define HS_REMOTE_BATCH_H

#include "remote_internal.h"

HS_MUST_USE int hs_remote_batch(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err);
HS_MUST_USE int hs_remote_batch_calls(struct hs_remote *r, struct hs_remote_call *calls, size_t nr,
				      struct hs_error *err);
/* remote_still.c */
HS_MUST_USE int hs_remote_still(struct hs_remote *r, const struct hs_remote_call *like, hs_remote_still_fn ask,
				void *ctx, struct hs_error *err);

/* All calls in this session; *nr_done: how many have results. Errors as hs_remote_session_call. */
HS_MUST_USE int hs_remote_session_calls(struct hs_remote_session *s, struct hs_remote_call *calls, size_t nr,
					size_t *nr_done);
/* What such an error, in the midst of calls, is for the callers of the public functions. */
int hs_remote_calls_failed(struct hs_remote *r, int rc, long call_nr, struct hs_error *err);

#endif
