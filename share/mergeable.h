/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ksmd would merge if it ran now: every mergeable VMA of the host, and every one that a userfaultfd watches (ksmd
 * would take its marks away). Asked of the kernel by a BPF iterator over all VMAs, which takes a millisecond or so;
 * where the kernel refuses that, of each process's smaps, which takes as long as its page tables are large.
 *
 * Address spaces are told apart as such: processes that share one (a helper made with CLONE_VM) are one.
 */
#ifndef HS_SHARE_MERGEABLE_H
#define HS_SHARE_MERGEABLE_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

struct hs_mergeable_vma {
	uint64_t space; /* names the address space within one look */
	uint64_t start, end;
	pid_t pid; /* a process in it */
	bool mergeable, armed;
};

struct hs_mergeable {
	struct hs_mergeable_vma
	    *vma; /* sorted by space, then start; seen through two processes it stands there twice */
	size_t nr, room;
	bool slow; /* smaps were read: for rare use */
};

/*
 * Looks at process `pid`, or at all (0). An error means that it is not known, never "none": -EPERM, -EACCES: a process
 * that may not be looked into, which the text names; -ESRCH: pid is gone. *out is the caller's to finish, after an
 * error too.
 */
HS_MUST_USE int hs_mergeable_look(const struct hs_host *host, pid_t pid, struct hs_mergeable *out,
				  struct hs_error *err);
void hs_mergeable_finish(struct hs_mergeable *m);

/* The address space of a process, as `m` names it; 0: nothing of it is in there. */
uint64_t hs_mergeable_space(const struct hs_mergeable *m, pid_t pid);

/* For tests: from now on smaps are read. */
void hs_mergeable_force_slow(bool slow);

#endif
