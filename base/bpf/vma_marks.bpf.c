/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Goes over the VMAs of all processes (or of one, as the iterator's link says) and writes down those that are
 * mergeable, watched by a userfaultfd, in whatever mode (missing pages, write protection, synchronous or not, minor
 * faults), locked, or no memory that could move; which of them, `wanted` says. The kernel holds the mmap lock for
 * reading while it is at a process's VMAs, so that what is written is true of each at the instant it is seen; what is
 * mapped behind it meanwhile is seen the next time.
 *
 * iter/task_vma is there from 5.11 on, the choice of one process from 6.1 on. It needs neither kprobes nor ftrace.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "vma_marks_abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The same in all kernels from 2.6.32 on. */
#define VM_PFNMAP    0x00000400UL
#define VM_LOCKED    0x00002000UL
#define VM_IO        0x00004000UL
#define VM_HUGETLB   0x00400000UL
#define VM_MIXEDMAP  0x10000000UL
#define VM_MERGEABLE 0x80000000UL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct mm_struct;
struct seq_file;
struct userfaultfd_ctx;

struct vm_userfaultfd_ctx {
	struct userfaultfd_ctx *ctx;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	unsigned long vm_flags;
	struct vm_userfaultfd_ctx vm_userfaultfd_ctx;
};

struct task_struct {
	struct mm_struct *mm;
	int tgid;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
};

#pragma clang attribute pop

/* HS_VMA_...: a VMA that has one of them is written down. Set before the program is loaded. */
const volatile unsigned int wanted = 0;

SEC("iter/task_vma")
int vma_marks(struct bpf_iter__task_vma *ctx)
{
	struct task_struct *task = ctx->task;
	struct vm_area_struct *vma = ctx->vma;
	struct hs_vma_marks out = {};

	/* Without a VMA it is the end of the list. */
	if (task && vma) {
		if (vma->vm_flags & VM_MERGEABLE)
			out.flags |= HS_VMA_MERGEABLE;
		if (vma->vm_flags & VM_LOCKED)
			out.flags |= HS_VMA_LOCKED;
		if (vma->vm_flags & (VM_PFNMAP | VM_IO | VM_MIXEDMAP | VM_HUGETLB))
			out.flags |= HS_VMA_SPECIAL;
		/* A kernel without userfaultfd has the struct, empty. */
		if (bpf_core_field_exists(vma->vm_userfaultfd_ctx.ctx) && vma->vm_userfaultfd_ctx.ctx)
			out.flags |= HS_VMA_ARMED;
		if (!(out.flags & wanted))
			return 0;
		out.space = (unsigned long long)(unsigned long)task->mm;
		out.start = vma->vm_start;
		out.end = vma->vm_end;
		out.pid = (unsigned int)task->tgid;
	}
	/* With a result that is not 0 the kernel tries again, with more room. */
	return bpf_seq_write(ctx->meta->seq, &out, sizeof(out)) != 0;
}
