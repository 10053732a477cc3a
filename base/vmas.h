/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The VMAs of a process, from /proc/PID/maps (where they are and what they map; cheap) or smaps (their flags as well;
 * it walks the process's page tables, so for rare use). One parser for both.
 */
#ifndef HS_BASE_VMAS_H
#define HS_BASE_VMAS_H

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

#include <sys/types.h>

struct hs_vma {
	uint64_t start, end; /* bytes */
	uint64_t ksm_bytes;  /* of it in KSM pages, from smaps; 0 where the kernel does not say (before 6.7) */
	const char *name;    /* at the line's end, "" for none; lives as long as the list, or during the visit */
	bool read : 1, write : 1, exec : 1, shared : 1;
	bool file : 1;    /* of a file, be it /dev/zero or deleted */
	bool anon : 1;    /* of no file, and none of the process's own ([heap], [stack], ...) */
	bool special : 1; /* [heap], [stack], [vdso], ... */
	/* From smaps alone; has_flags says that they were there. Without it they are false, and mean unknown. */
	bool has_flags : 1;
	bool mergeable : 1, hugepage : 1, nohugepage : 1, dontdump : 1;
	bool hugetlb : 1, locked : 1, io : 1, pfnmap : 1;
	bool uffd_wp : 1, uffd_missing : 1, uffd_minor : 1; /* registered with a userfaultfd, which reports or tracks */
};

/* Whether somebody is notified of, or tracks, what happens to its pages. */
static inline bool hs_vma_has_uffd(const struct hs_vma *v)
{
	return v->uffd_wp || v->uffd_missing || v->uffd_minor;
}

/* A result other than 0 ends the walk and is returned. */
typedef int (*hs_vma_fn)(void *ctx, const struct hs_vma *vma);

/*
 * Calls `fn` for each VMA in order, as smaps has them, flags included. -ESRCH: the process is gone, or is one without
 * memory (a kernel thread); -EPROTO: a VMA came without its flags; -EACCES, -EPERM. After an error, what was visited
 * may be a part.
 */
HS_MUST_USE int hs_vmas_each(const struct hs_host *host, pid_t pid, hs_vma_fn fn, void *ctx);

/* The same from an open maps or smaps, read from its beginning; the descriptor's offset is left alone. */
HS_MUST_USE int hs_vmas_each_fd(int fd, hs_vma_fn fn, void *ctx);

/* How many there are (cheap: reads the list only). Number or -errno. */
HS_MUST_USE int64_t hs_vmas_count(const struct hs_host *host, pid_t pid);

/* All of them, sorted by address. */
struct hs_vma_list {
	struct hs_vma *vma;
	size_t nr;
};

/* Reads the file `name` ("maps" or "smaps") of the /proc/PID folder `dir_fd`. -ESRCH, -EPROTO, -ENOMEM, -EACCES. */
HS_MUST_USE int hs_vmas_read(struct hs_vma_list *out, int dir_fd, const char *name);
void hs_vmas_finish(struct hs_vma_list *l);

/* The first VMA that ends above `addr`; l->nr when there is none. */
size_t hs_vmas_above(const struct hs_vma_list *l, uint64_t addr);

#endif
