/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch on what VMMs do with dirty logging while we have it on: a BPF program (dirty_log_guard.bpf.c) and its table
 * of watched slots. Both are pinned in the BPF file system while the table is in use, so that the watch goes on when we
 * are killed, and the next run can tell whether logging that was left on is still ours to switch off.
 *
 * What is left of VMs whose process is gone is dropped when the watch is taken, and when the last one gives it back.
 *
 * One for the whole process, counted; calls may come from any thread. Several processes share the pinned one.
 */
#ifndef HS_EPT_DIRTY_LOG_GUARD_H
#define HS_EPT_DIRTY_LOG_GUARD_H

#include <linux/types.h>
#include <sys/types.h>

#include "hs/error.h"
#include "hs/types.h"
#include "ept/bpf/kvm_walk_abi.h"

struct hs_dirty_log_guard;

/*
 * Takes the one that is there, or (unless `existing`) attaches it. -ENOENT: existing, and there is none; -EPERM,
 * -ENOTSUP (no fentry, no BPF file system, KVM has no such function), -ENOMEM.
 */
HS_MUST_USE int hs_dirty_log_guard_get(struct hs_dirty_log_guard **out, bool existing, struct hs_error *err);
/* Takes NULL. The last one takes it away when nothing is watched. */
void hs_dirty_log_guard_put(struct hs_dirty_log_guard *g);

/*
 * Begins to watch a VM, which is that process's, and proves that its calls are seen, by one of our own on vm_fd, our
 * descriptor on it (KVM refuses to do it for another process, but is asked). *made: it was not watched before, so it is
 * to be ended if nothing comes of it; otherwise it may be another process's. -ENOTSUP: it is not seen; then the watch
 * has been ended.
 */
HS_MUST_USE int hs_dirty_log_guard_begin(struct hs_dirty_log_guard *g, uint64_t kvm, pid_t pid, int vm_fd, bool *made);
/* The same proof, on a VM that is watched: 0 when a call of our own on vm_fd was counted just now, else -errno. */
HS_MUST_USE int hs_dirty_log_guard_prove(struct hs_dirty_log_guard *g, uint64_t kvm, int vm_fd);
/* Forgets the VM and its slots. */
void hs_dirty_log_guard_end(struct hs_dirty_log_guard *g, uint64_t kvm);

/* Whether anybody watches it, now or before he was killed. */
bool hs_dirty_log_guard_watches(struct hs_dirty_log_guard *g, uint64_t kvm);

/*
 * Watches a slot of a VM that has been begun. *cookie: to be put behind the argument of the one call that switches its
 * logging on for us, so that it is distinguished from the VMM's.
 */
HS_MUST_USE int hs_dirty_log_guard_watch(struct hs_dirty_log_guard *g, uint64_t kvm, const struct hs_kvm_slot *slot,
					 uint64_t *cookie);

/*
 * Whether this slot's logging is on by our doing alone: our call has been made, the slot is as it was, and no call of
 * the VMM's has touched its logging since, nor has the kernel passed the program over. HS_UNKNOWN: it has been watched
 * for less than min_us, so whoever began it may still be at work.
 */
enum hs_tri hs_dirty_log_guard_ours(struct hs_dirty_log_guard *g, uint64_t kvm, const struct hs_kvm_slot *slot,
				    uint64_t min_us);

/* A slot's number, as KVM's calls name it. */
static inline uint32_t hs_kvm_slot_number(const struct hs_kvm_slot *s)
{
	return (uint32_t)s->space << 16 | (uint16_t)s->id;
}

/* Whether the watch can be pinned here: a BPF file system is mounted, and not read-only to us. */
bool hs_dirty_log_guard_can_pin(void);

#endif
