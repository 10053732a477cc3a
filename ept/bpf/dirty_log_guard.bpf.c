/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Watches the system calls that a VMM makes on its virtual machine, for one question: does it use dirty logging while
 * we have it on? KVM itself keeps no trace of that: to switch logging on where it is on already changes nothing.
 *
 * Only calls that concern the slots in the table are counted, and those for which that cannot be told.
 */
#include "kernel_types.h"

#include "dirty_log_guard_abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HS_DIRTY_LOG_GUARD_MAX);
	__type(key, struct hs_dirty_log_guard_key);
	__type(value, struct hs_dirty_log_guard_slot);
} watched SEC(".maps");

/* linux/kvm.h, whose types are not to be had here. */
#define KVM_GET_DIRTY_LOG           0x4010ae42
#define KVM_SET_USER_MEMORY_REGION  0x4020ae46
#define KVM_SET_USER_MEMORY_REGION2 0x40a0ae49
#define KVM_ENABLE_CAP              0x4068aea3
#define KVM_CLEAR_DIRTY_LOG         0xc018aec0
#define KVM_RESET_DIRTY_RINGS       0xaec7
#define KVM_MEM_LOG_DIRTY_PAGES     1

static __always_inline void count_logging(struct hs_dirty_log_guard_slot *c)
{
	__sync_fetch_and_add(&c->logging, 1);
}

/*
 * long kvm_vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
 *
 * By fentry, not by a kprobe: the kernel passes a kprobe's program over while any other BPF program of that kind is
 * under way on the same processor. One at fentry is passed over only while it runs itself on that processor (preempted
 * by another task that makes such a call), which the kernel counts (recursion_misses). Neither is run while ftrace is
 * switched off: that shows by calls of our own, which are not counted then.
 */
SEC("fentry/kvm_vm_ioctl")
int hs_dirty_log_guard(__u64 *args)
{
	struct file *file = (struct file *)args[0];
	struct hs_dirty_log_guard_key key = { .slot = HS_DIRTY_LOG_GUARD_ALL };
	struct hs_dirty_log_guard_slot *all, *one;
	__u64 cookie = 0;
	__u32 cmd = (__u32)args[1], head[2] = { 0, 0 }; /* the slot's number comes first in all these calls */

	key.kvm = (__u64)BPF_CORE_READ(file, private_data);
	all = bpf_map_lookup_elem(&watched, &key);
	if (!all)
		return 0;
	__sync_fetch_and_add(&all->calls, 1);
	switch (cmd) {
	case KVM_GET_DIRTY_LOG:
	case KVM_CLEAR_DIRTY_LOG:
	case KVM_SET_USER_MEMORY_REGION:
	case KVM_SET_USER_MEMORY_REGION2:
		break;
	case KVM_ENABLE_CAP:
	case KVM_RESET_DIRTY_RINGS:
		count_logging(all);
		return 0;
	default:
		return 0;
	}
	if (bpf_probe_read_user(head, sizeof(head), (void *)args[2])) {
		count_logging(all);
		return 0;
	}
	if ((cmd == KVM_SET_USER_MEMORY_REGION || cmd == KVM_SET_USER_MEMORY_REGION2) &&
	    !(head[1] & KVM_MEM_LOG_DIRTY_PAGES))
		return 0;
	key.slot = head[0];
	one = bpf_map_lookup_elem(&watched, &key);
	if (!one)
		return 0;
	/* Ours, once: it is known by a random number that lies behind its argument. */
	if (one->cookie && !one->ours && cmd == KVM_SET_USER_MEMORY_REGION &&
	    !bpf_probe_read_user(&cookie, sizeof(cookie), (void *)(args[2] + HS_DIRTY_LOG_GUARD_COOKIE_AT)) &&
	    cookie == one->cookie) {
		one->cookie = 0;
		one->ours = 1;
		return 0;
	}
	count_logging(one);
	return 0;
}
