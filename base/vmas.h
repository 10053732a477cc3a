/*
 * The VMAs of a process, as far as sharing cares: where they are, and which of MERGEABLE, HUGEPAGE, NOHUGEPAGE they
 * carry. From /proc/PID/smaps, which walks the process's page tables: for rare use.
 */
#ifndef HS_BASE_VMAS_H
#define HS_BASE_VMAS_H

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

#include <sys/types.h>

struct hs_vma {
	uint64_t start, end; /* bytes */
	uint64_t ksm_bytes;  /* of it in KSM pages; 0 where the kernel does not say (before 6.7) */
	bool mergeable, hugepage, nohugepage;
};

/* Calls `visit` for each VMA in order; a result other than 0 ends the walk and is returned. -ESRCH: gone. */
HS_MUST_USE int hs_vmas_each(const struct hs_host *host, pid_t pid, int (*visit)(void *ctx, const struct hs_vma *vma),
			     void *ctx);

/* How many there are (cheap: reads the list only). Number or -errno. */
HS_MUST_USE int64_t hs_vmas_count(const struct hs_host *host, pid_t pid);

#endif
