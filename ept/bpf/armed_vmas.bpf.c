/*
 * Writes down the VMAs of one process that a userfaultfd is registered with, in whatever mode: missing pages, write
 * protection (synchronous or not), minor faults. Attached by host_armed.c to that process.
 *
 * smaps says it too (um, uw, ui), but walks all page tables for it, and under the process's mmap lock. This visits the
 * VMAs alone. iter/task_vma is there from 5.11 on, the choice of a process from 6.1 on.
 */
#include "kernel_types.h"

#include "armed_vmas_abi.h"

char LICENSE[] SEC("license") = "GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seq_file;
struct userfaultfd_ctx;

struct vm_userfaultfd_ctx {
	struct userfaultfd_ctx *ctx;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	struct vm_userfaultfd_ctx vm_userfaultfd_ctx;
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

SEC("iter/task_vma")
int hs_armed_vmas(struct bpf_iter__task_vma *ctx)
{
	struct vm_area_struct *vma = ctx->vma;
	struct hs_armed_vma out = {};

	if (vma) {
		/* A kernel without userfaultfd has the struct, empty. */
		if (!bpf_core_field_exists(vma->vm_userfaultfd_ctx.ctx) || !vma->vm_userfaultfd_ctx.ctx)
			return 0;
		out.start = vma->vm_start;
		out.end = vma->vm_end;
	}
	/* With a result that is not 0 the kernel tries again, with more room. */
	return bpf_seq_write(ctx->meta->seq, &out, sizeof(out)) != 0;
}
