/* What the BPF program that watches a VM's dirty logging and its loader share. */
#ifndef HS_EPT_KVM_GUARD_ABI_H
#define HS_EPT_KVM_GUARD_ABI_H

#define HS_KVM_GUARD_MAX 8192        /* slots watched, over all guests */
#define HS_KVM_GUARD_ALL 0xffffffffU /* instead of a slot's number: the VM itself */

struct hs_kvm_guard_key {
	__u64 kvm;
	__u32 slot; /* as the calls name it: the address space in the upper half */
	__u32 pad;
};

struct hs_kvm_guard_count {
	__u64 logging; /* calls that rely on, or switch on, the slot's dirty logging */
	__u64 calls;   /* all calls on the VM; counted for HS_KVM_GUARD_ALL alone */
};

#endif
