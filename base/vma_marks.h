/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMAs that are mergeable, watched by a userfaultfd, locked or special, of one process or of all: read through a BPF
 * iterator (base/bpf/vma_marks.bpf.c) that visits VMAs alone. smaps says the same, but walks all page tables for it,
 * and under the process's mmap lock.
 */
#ifndef HS_BASE_VMA_MARKS_H
#define HS_BASE_VMA_MARKS_H

#include <sys/types.h>

#include "base/bpf/vma_marks_abi.h"
#include "hs/error.h"

struct bpf_link;
struct hs_vma_marks_program;

/*
 * Loads the program; it writes down the VMAs that have one of `wanted` (HS_VMA_...). Errors and `what` as
 * hs_bpf_load_end. One that is loaded serves any number of links, from any thread.
 */
HS_MUST_USE int hs_vma_marks_load(struct hs_vma_marks_program **out, unsigned int wanted, const char *what,
				  struct hs_error *err);
void hs_vma_marks_unload(struct hs_vma_marks_program *p); /* after its links; takes NULL */

/* Whose VMAs a link is for: process `pid`, or the one behind `pid_fd`, whichever is not 0; all, when both are. -ESRCH:
 * it is gone; -EINVAL: the kernel cannot choose one process (before Linux 6.1). */
HS_MUST_USE int hs_vma_marks_attach(const struct hs_vma_marks_program *p, pid_t pid, int pid_fd, struct bpf_link **out);
void hs_vma_marks_detach(struct bpf_link *link);

/*
 * Calls `fn` with each VMA, as it is now. 0: all there are have been seen; else -errno, of the reading or of fn, which
 * ends it. -EPROTO: the kernel ended the list before its end.
 */
typedef int hs_vma_marks_fn(void *ctx, const struct hs_vma_marks *vma);
HS_MUST_USE int hs_vma_marks_read(const struct bpf_link *link, hs_vma_marks_fn *fn, void *ctx);

#endif
