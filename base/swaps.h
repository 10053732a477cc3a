/* SPDX-License-Identifier: Apache-2.0 */
/* The areas of swap, from /proc/swaps, and which of them the next page goes to. */
#ifndef HS_BASE_SWAPS_H
#define HS_BASE_SWAPS_H

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

/*
 * Numbers of swap areas in the entries of page tables, and so of pagemap. Those from it on are the kernel's for other
 * things (migrating, of a device, poisoned, a marker of a userfaultfd); in a kernel with fewer of those they are areas
 * as well, the 23rd and further ones, and then not known as such. Linux 6.1 with all options on has the most of the
 * others.
 */
#define HS_SWAP_AREAS 22U

enum hs_swap_kind {
	HS_SWAP_UNKNOWN = 0,
	HS_SWAP_ZRAM,      /* compressed, in memory: it grows as it fills */
	HS_SWAP_PARTITION, /* another block device; whether it is encrypted is unknown */
	HS_SWAP_FILE,
};

struct hs_swap_area {
	char name[128]; /* cut where there is no room */
	uint8_t kind;   /* enum hs_swap_kind */
	int priority;
	uint64_t size_bytes, free_bytes;    /* of this area; of zram less what its own limit of memory forbids */
	uint64_t all_bytes, all_free_bytes; /* of all areas together */
	uint64_t memory_limit_bytes;        /* zram's mem_limit; 0: none, or no zram */
	bool zswap;                         /* zswap compresses before anything gets here */
};

/*
 * The area with the highest priority that has space left, which the kernel fills first; of several alike the first
 * (the kernel goes round). When all are full, the first of the highest priority. -ENOENT: there is none; -EPROTO: the
 * file cannot be understood; -errno. *out is zero then.
 */
HS_MUST_USE int hs_swaps_next(const struct hs_host *host, struct hs_swap_area *out);

#endif
