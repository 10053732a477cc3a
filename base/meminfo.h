/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc/meminfo says of the whole host's memory. */
#ifndef HS_BASE_MEMINFO_H
#define HS_BASE_MEMINFO_H

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

struct hs_meminfo {
	uint64_t total_bytes, available_bytes;
	uint64_t swap_total_bytes, swap_free_bytes; /* 0 where there is no swap */
};

/* -ENODATA: it does not say how much there is, or is available; -errno. *out is zero then. */
HS_MUST_USE int hs_meminfo_read(const struct hs_host *host, struct hs_meminfo *out);

#endif
