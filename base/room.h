/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory a process may still take without harm to itself or to others: the least of what the host has, and of
 * what each memory cgroup above the process has left (v1 and v2). Memory of a process is charged to its cgroup, so a
 * host with gigabytes free says nothing about a guest in machine.slice with MemoryMax=.
 */
#ifndef HS_BASE_ROOM_H
#define HS_BASE_ROOM_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

struct hs_room {
	uint64_t bytes;       /* that may be taken now; what is to stay free is off already */
	uint64_t limit, left; /* bytes, of the one that is tightest: its limit, and what it has left in all */
	uint64_t keep;        /* bytes of `left` that are to stay free */
	char where[256];      /* which one: "the host", or the file that holds the limit */
};

/*
 * The room of process `pid` (0: of the host alone). keep_percent of each limit, and of the host's memory, stays free.
 * Counted against a limit is all that is charged, less half of the clean inactive file cache: the kernel takes that
 * back without swapping, but not for certain. memory.high counts as a limit, since above it a guest is throttled; so
 * does v1's limit of memory and swap. -ESRCH; -EINVAL, -ENODATA and others: it cannot be known (err says why), so
 * nothing may be taken.
 */
HS_MUST_USE int hs_room_of(const struct hs_host *host, pid_t pid, unsigned int keep_percent, struct hs_room *out,
			   struct hs_error *err);

/* What keep_percent of a limit leaves of what it has left; its `where` is the caller's to set. */
struct hs_room hs_room_below(uint64_t limit, uint64_t left, unsigned int keep_percent);

/*
 * The same of swap: what may be moved there of process `pid` (0: of one without limits), by the free space of all areas
 * together and by memory.swap.max and memory.swap.high of each cgroup above it. keep_percent of each stays free. Room
 * of 0 where there is no swap.
 */
HS_MUST_USE int hs_room_in_swap(const struct hs_host *host, pid_t pid, unsigned int keep_percent, struct hs_room *out,
				struct hs_error *err);

#endif
