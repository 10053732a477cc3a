/* The work of the two public calls that make system calls; runs in the thread that traces. */
#ifndef HS_REMOTE_BATCH_H
#define HS_REMOTE_BATCH_H

#include "remote_internal.h"

HS_MUST_USE int hs_remote_batch(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err);
HS_MUST_USE int hs_remote_batch_calls(struct hs_remote *r, struct hs_remote_call *calls, size_t nr,
				      struct hs_error *err);

#endif
