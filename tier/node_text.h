/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's files say of NUMA nodes; pure. */
#ifndef HS_TIER_NODE_TEXT_H
#define HS_TIER_NODE_TEXT_H

#include "hs/error.h"
#include "hs/types.h"

/* "Node 0 MemFree:  22 kB": the number behind the key, in bytes. -ENOENT; -EINVAL. */
HS_MUST_USE int hs_node_field(const char *text, const char *key, uint64_t *bytes);

/* "0-1,3" (blanks before it) as bits; what is above 63 is passed over. Ends at the line's end. -EINVAL. */
HS_MUST_USE int hs_node_list(const char *text, uint64_t *out);

/*
 * A line of numa_maps: where the memory begins, and whether its policy keeps it off the node ("bind" and "interleave"
 * without it; a preference does not). A policy that is not known does. -EINVAL.
 */
HS_MUST_USE int hs_node_policy(const char *line, uint32_t node, uint64_t *start, bool *bound);

#endif
