/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loaded BPF program that looks into KVM's description of a virtual machine: one for the whole process, loaded when
 * the first guest under KVM is opened, shared by all views and counted. Calls may come from any thread.
 */
#ifndef HS_EPT_KVM_WALK_H
#define HS_EPT_KVM_WALK_H

#include <linux/types.h>

#include "hs/error.h"
#include "hs/types.h"
#include "ept/bpf/kvm_walk_abi.h"

struct hs_kvm_walk;

/* -EPERM, -ENOTSUP (kernel, or its module kvm, without type information, or of another layout), -ENOMEM. */
HS_MUST_USE int hs_kvm_walk_get(struct hs_kvm_walk **out, struct hs_error *err);
void hs_kvm_walk_put(struct hs_kvm_walk *w); /* takes NULL */

/* What a look found; copies of the program's tables. */
struct hs_kvm_seen {
	struct hs_kvm_look look;
	struct hs_kvm_root roots[HS_KVM_MAX_ROOTS];
};

/*
 * Looks at the VM behind `fd`, a descriptor of ours on the VM's file. `slots`: room for HS_KVM_MAX_SLOTS, or NULL: they
 * are not looked for. 0: see out->look.end for how far it came. -errno: the program could not be run.
 */
HS_MUST_USE int hs_kvm_walk_look(struct hs_kvm_walk *w, int fd, struct hs_kvm_seen *out, struct hs_kvm_slot *slots);

#endif
