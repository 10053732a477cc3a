/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Looks into KVM's description of one virtual machine: its memory slots and the tops of its nested page tables. Started
 * by kvm_walk.c with bpf_prog_test_run; changes nothing. The tables themselves are read by host_walk.bpf.c.
 *
 * The loader holds the VM's file open, so struct kvm cannot go away. Slots and tables can: every read is a
 * bpf_probe_read_kernel, and what was read is believed only if the pointers that led there are the same afterwards.
 *
 * struct kvm and what belongs to slots are described in the kernel's own types, struct kvm_mmu_page in those of the
 * module kvm.
 */
#include "kernel_types.h"

#include "kvm_walk_abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct kvm_memslots {
	__u64 generation;
	struct hlist_head id_hash[128];
	int node_idx;
};

struct kvm_memory_slot {
	struct hlist_node id_node[2];
	__u64 base_gfn;
	unsigned long npages;
	unsigned long userspace_addr;
	__u32 flags;
	short id;
};

struct kvm_arch {
	struct list_head active_mmu_pages;
	struct list_head tdp_mmu_roots;
};

struct kvm {
	struct mm_struct *mm;
	struct kvm_memslots *memslots[HS_KVM_SPACES];
	struct kvm_arch arch;
	__u64 manual_dirty_log_protect;
	__u32 dirty_ring_size;
};

union kvm_mmu_page_role {
	struct {
		unsigned int level : 4;
		unsigned int invalid : 1;
		unsigned int ad_disabled : 1;
		unsigned int guest_mode : 1;
	};
};

struct kvm_mmu_page {
	struct list_head link;
	union kvm_mmu_page_role role;
	__u64 *spt;
};

#pragma clang attribute pop

struct hs_kvm_look look;
struct hs_kvm_slot slots[HS_KVM_MAX_SLOTS];
struct hs_kvm_root roots[HS_KVM_MAX_ROOTS];

#define NR_BUCKETS 128 /* of id_hash, which has had 7 bits since there is such a table */

struct bucket_ctx {
	struct kvm_memslots *set;
	__u32 space;
	__u32 node_offset; /* of the node in use, in a slot */
};

static __always_inline void take_slot(struct kvm_memory_slot *s, __u32 space)
{
	__u32 n = look.nr_slots;
	struct hs_kvm_slot *out;

	if (n >= HS_KVM_MAX_SLOTS) {
		look.end = HS_KVM_LOOK_TOO_MANY;
		return;
	}
	out = &slots[n];
	out->first_frame = BPF_CORE_READ(s, base_gfn);
	out->nr_pages = BPF_CORE_READ(s, npages);
	out->hva = BPF_CORE_READ(s, userspace_addr);
	out->flags = BPF_CORE_READ(s, flags);
	out->id = BPF_CORE_READ(s, id);
	out->space = (__u16)space;
	look.nr_slots = n + 1;
}

static long take_bucket(__u32 i, void *ctx)
{
	struct bucket_ctx *b = ctx;
	struct hlist_node *node = NULL;

	if (bpf_probe_read_kernel(&node, sizeof(node), (void *)&b->set->id_hash + i * sizeof(node))) {
		look.end = HS_KVM_LOOK_FAULT;
		return 1;
	}
	for (int k = 0; k < HS_KVM_CHAIN; k++) {
		if (!node || look.end)
			break;
		take_slot((void *)node - b->node_offset, b->space);
		if (bpf_probe_read_kernel(&node, sizeof(node), node))
			look.end = HS_KVM_LOOK_FAULT;
	}
	if (node && !look.end)
		look.end = HS_KVM_LOOK_TOO_MANY;
	return look.end != HS_KVM_LOOK_OK;
}

static __always_inline void take_space(struct kvm *kvm, __u32 space)
{
	struct kvm_memslots *set = NULL, *again = NULL;
	struct bucket_ctx b = { .space = space };
	void *where = (void *)&kvm->memslots + space * sizeof(set);
	int idx;

	if (bpf_probe_read_kernel(&set, sizeof(set), where) || !set) {
		look.end = HS_KVM_LOOK_FAULT;
		return;
	}
	look.generation[space] = BPF_CORE_READ(set, generation);
	if (!look.want_slots)
		return;
	idx = BPF_CORE_READ(set, node_idx);
	b.set = set;
	b.node_offset = bpf_core_field_offset(struct kvm_memory_slot, id_node) +
			(idx ? bpf_core_field_size(struct kvm_memory_slot, id_node) / 2 : 0);
	bpf_loop(NR_BUCKETS, take_bucket, &b, 0);
	if (bpf_probe_read_kernel(&again, sizeof(again), where) || again != set ||
	    BPF_CORE_READ(set, generation) != look.generation[space])
		look.end = HS_KVM_LOOK_CHANGED;
}

static __always_inline void take_roots(struct kvm *kvm)
{
	struct list_head *head = &kvm->arch.tdp_mmu_roots, *node, *shadow = &kvm->arch.active_mmu_pages;

	look.shadow_pages = BPF_CORE_READ(shadow, next) != shadow;
	node = BPF_CORE_READ(head, next);
	/* Where the TDP MMU is not used, its list has not even been made. */
	if (!node) {
		look.end = HS_KVM_LOOK_NO_TDP_MMU;
		return;
	}
	for (int i = 0; i < HS_KVM_MAX_ROOTS; i++) {
		struct kvm_mmu_page *page = (void *)node - bpf_core_field_offset(struct kvm_mmu_page, link);
		struct hs_kvm_root *out = &roots[i];

		if (node == head || !node)
			break;
		out->table = (__u64)BPF_CORE_READ(page, spt);
		out->level = BPF_CORE_READ_BITFIELD_PROBED(page, role.level);
		out->invalid = BPF_CORE_READ_BITFIELD_PROBED(page, role.invalid);
		out->ad_disabled = BPF_CORE_READ_BITFIELD_PROBED(page, role.ad_disabled);
		out->guest_mode = BPF_CORE_READ_BITFIELD_PROBED(page, role.guest_mode);
		look.nr_roots = i + 1;
		node = BPF_CORE_READ(node, next);
	}
	if (!node)
		look.end = HS_KVM_LOOK_FAULT;
	else if (node != head)
		look.end = HS_KVM_LOOK_TOO_MANY;
}

SEC("syscall")
int hs_kvm_look_at(void *ctx)
{
	struct kvm *kvm = hs_private_of_fd(look.fd);
	__u32 nr_spaces = bpf_core_field_size(struct kvm, memslots) / sizeof(struct kvm_memslots *);

	(void)ctx;
	look.end = HS_KVM_LOOK_OK;
	look.nr_spaces = nr_spaces;
	look.nr_slots = 0;
	look.nr_roots = 0;
	look.shadow_pages = 0;
	look.kvm = (__u64)kvm;
	look.mm = 0;
	if (!kvm) {
		look.end = HS_KVM_LOOK_NO_FILE;
		return 0;
	}
	look.mm = (__u64)BPF_CORE_READ(kvm, mm);
	look.manual = BPF_CORE_READ(kvm, manual_dirty_log_protect);
	look.dirty_ring = BPF_CORE_READ(kvm, dirty_ring_size);
	if (!nr_spaces || nr_spaces > HS_KVM_SPACES)
		look.end = HS_KVM_LOOK_FAULT;
	for (__u32 space = 0; space < HS_KVM_SPACES; space++) {
		look.generation[space] = 0;
		if (space < nr_spaces && !look.end)
			take_space(kvm, space);
	}
	if (!look.end)
		take_roots(kvm);
	return 0;
}
