/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the BPF program that looks into struct kvm and its loader share. Both sides include this after their own
 * definition of __u64, __u32, __u16, __u8 and __s16.
 */
#ifndef HS_EPT_BPF_KVM_WALK_ABI_H
#define HS_EPT_BPF_KVM_WALK_ABI_H

#define HS_KVM_SPACES    2   /* address spaces at most: ordinary, and system management mode */
#define HS_KVM_MAX_SLOTS 512 /* of all spaces; QEMU has some tens */
#define HS_KVM_CHAIN     64  /* slots whose numbers fall into the same bucket */
#define HS_KVM_MAX_ROOTS 16  /* of nested tables; more than a few are never seen */

struct hs_kvm_slot {
	__u64 first_frame; /* guest-physical, in base pages */
	__u64 nr_pages;
	__u64 hva;
	__u32 flags; /* KVM_MEM_... */
	__s16 id;
	__u16 space;
};

struct hs_kvm_root {
	__u64 table; /* the kernel's address */
	__u32 level; /* 4 or 5 */
	__u8 invalid;
	__u8 ad_disabled;
	__u8 guest_mode;
	__u8 pad;
};

/* Why a look ended. */
enum hs_kvm_look_end {
	HS_KVM_LOOK_OK = 0,
	HS_KVM_LOOK_NO_FILE,    /* no such descriptor, or nothing behind it */
	HS_KVM_LOOK_FAULT,      /* a read went nowhere */
	HS_KVM_LOOK_TOO_MANY,   /* more slots or roots than there is room for */
	HS_KVM_LOOK_CHANGED,    /* while we looked */
	HS_KVM_LOOK_NO_TDP_MMU, /* KVM keeps this VM's tables in another way (the shadow MMU) */
};

struct hs_kvm_look {
	/* in */
	__u32 fd; /* of ours, on the VM's file */
	__u32 want_slots;
	/* out */
	__u32 end; /* enum hs_kvm_look_end */
	__u32 nr_slots;
	__u32 nr_roots;
	__u32 dirty_ring;                /* its size; not 0: dirty pages are reported by a ring instead of bits */
	__u32 nr_spaces;                 /* that this kernel has: one without CONFIG_KVM_SMM, since Linux 6.2 */
	__u32 shadow_pages;              /* tables of the shadow MMU are in use: the guest runs guests of its own */
	__u64 kvm;                       /* struct kvm: identifies the VM */
	__u64 mm;                        /* of the process that made it */
	__u64 manual;                    /* manual_dirty_log_protect */
	__u64 generation[HS_KVM_SPACES]; /* of the slots; 0 beyond nr_spaces */
};

#endif
