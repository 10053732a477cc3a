/* What a record has to be: asked of each one that is written and of each one that was read. */
#ifndef HS_TRACE_CHECK_H
#define HS_TRACE_CHECK_H

#include "codec.h"

/* What is wrong with the record, or NULL. */
const char *hs_trace_check(const struct hs_trace_state *s, const struct hs_trace_record *r);

/* The record is good: what later ones stand on is remembered. */
void hs_trace_note(struct hs_trace_state *s, const struct hs_trace_record *r);

#endif
