/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the BPF program that watches a VM's dirty logging and its loader share. */
#ifndef HS_EPT_BPF_DIRTY_LOG_GUARD_ABI_H
#define HS_EPT_BPF_DIRTY_LOG_GUARD_ABI_H

#define HS_DIRTY_LOG_GUARD_MAX 8192        /* slots watched, over all guests */
#define HS_DIRTY_LOG_GUARD_ALL 0xffffffffU /* instead of a slot's number: the VM itself */

struct hs_dirty_log_guard_key {
	__u64 kvm;
	__u32 slot; /* as the calls name it: the address space in the upper half */
	__u32 pad;
};

struct hs_dirty_log_guard_slot {
	/* the program's */
	__u64 logging; /* the VMM's calls that rely on, or switch on, the slot's dirty logging */
	__u64 calls;   /* all calls on the VM; counted for HS_DIRTY_LOG_GUARD_ALL alone */
	__u64 ours;    /* our call that switches logging on has been seen */
	/* ours */
	__u64 cookie;      /* our call has this number behind its argument; the program takes it away then */
	__u64 vm_logging;  /* `logging` of the VM itself when this was written */
	__u64 misses;      /* runs of the program that the kernel had passed over when this was written */
	__u64 since_us;    /* CLOCK_BOOTTIME, when it was written */
	__u64 first_frame; /* the slot as it was */
	__u64 nr_pages;
	__u64 hva;
	__u32 pid; /* of the VM's process; for HS_DIRTY_LOG_GUARD_ALL alone */
	__u32 pad;
};

/* The argument of our call: what KVM reads, and behind it what it does not. */
#define HS_DIRTY_LOG_GUARD_COOKIE_AT 32 /* sizeof(struct kvm_userspace_memory_region) */

#endif
