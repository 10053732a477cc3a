/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for contents: the same for equal digests, from 1 in the order of first sight. */
#ifndef HS_TRACE_CONTENTS_INTERNAL_H
#define HS_TRACE_CONTENTS_INTERNAL_H

#include "hs/index.h"

struct hs_contents {
	struct hs_digest *digests; /* [nr]: content n at n - 1 */
	uint32_t nr, room;
	uint32_t *slots; /* [nr_slots]: a number, or 0; open addressing, at most three quarters full */
	uint64_t nr_slots;
};

/* The content's number; 0: -ENOMEM, or no number is left. */
uint32_t hs_contents_number(struct hs_contents *c, struct hs_digest d);

void hs_contents_finish(struct hs_contents *c);

#endif
