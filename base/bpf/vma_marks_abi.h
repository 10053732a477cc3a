/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What vma_marks.bpf.c writes, one after the other, for who reads the iterator. */
#ifndef HS_BASE_BPF_VMA_MARKS_ABI_H
#define HS_BASE_BPF_VMA_MARKS_ABI_H

#define HS_VMA_MERGEABLE 1u /* MADV_MERGEABLE holds: ksmd would merge it */
#define HS_VMA_ARMED     2u /* a userfaultfd watches it: missing pages, write protection or minor faults */
#define HS_VMA_LOCKED    4u /* mlock: it may not leave memory */
#define HS_VMA_SPECIAL   8u /* no memory that the kernel could move: of a device, or hugetlbfs */

/* All zero: the last one, all VMAs have been seen. */
struct hs_vma_marks {
	unsigned long long space; /* names the address space (struct mm_struct); the same for all who share it */
	unsigned long long start, end;
	unsigned int pid;   /* of a process in it, as the initial namespace numbers it */
	unsigned int flags; /* HS_VMA_... */
};

#endif
