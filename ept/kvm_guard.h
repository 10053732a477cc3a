/*
 * The loaded BPF program that watches for a VMM's use of dirty logging: one for the whole process, counted. It is
 * attached while any guest under KVM has been looked into; calls may come from any thread.
 */
#ifndef HS_EPT_KVM_GUARD_H
#define HS_EPT_KVM_GUARD_H

#include "hs/error.h"
#include "hs/types.h"

struct hs_kvm_guard;

/* -EPERM, -ENOTSUP (no kprobes, or KVM has no such function), -ENOMEM. */
HS_MUST_USE int hs_kvm_guard_get(struct hs_kvm_guard **out, struct hs_error *err);
void hs_kvm_guard_put(struct hs_kvm_guard *g); /* takes NULL */

/*
 * Begins to watch a VM, and proves that its calls are seen, by one of our own on vm_fd, our descriptor on it (KVM
 * refuses to do it for another process, but is asked). -ENOTSUP: it is not seen.
 */
HS_MUST_USE int hs_kvm_guard_begin(struct hs_kvm_guard *g, uint64_t kvm, int vm_fd);
void hs_kvm_guard_end(struct hs_kvm_guard *g, uint64_t kvm);

/* One slot of a VM that is watched; slot as KVM's calls name it. Counts begin at 0. */
HS_MUST_USE int hs_kvm_guard_watch(struct hs_kvm_guard *g, uint64_t kvm, uint32_t slot);
void hs_kvm_guard_forget(struct hs_kvm_guard *g, uint64_t kvm, uint32_t slot);

/* Calls seen that switched on or used this slot's logging, ours included, and those whose slot could not be told. */
HS_MUST_USE int hs_kvm_guard_count(struct hs_kvm_guard *g, uint64_t kvm, uint32_t slot, uint64_t *nr);

#endif
