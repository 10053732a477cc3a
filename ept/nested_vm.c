/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a process to its virtual machine: the descriptor, struct kvm, the slots that say where guest memory is.
 *
 * The descriptor is copied out of the guest's process (pidfd_getfd), which keeps struct kvm in place for as long as we
 * have it, but not the process's memory. A process may hold several VMs' files (one made to try what KVM can do, say):
 * the one that counts has the process's own address space, and memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nested_internal.h"

#define SLOT_LOGGED      (1U << 0) /* KVM_MEM_LOG_DIRTY_PAGES */
#define SLOT_READONLY    (1U << 1) /* KVM_MEM_READONLY */
#define SLOT_GUEST_MEMFD (1U << 2) /* KVM_MEM_GUEST_MEMFD: memory that the process itself cannot reach */

/* ---- the descriptor ---- */

/* Is our descriptor really on a VM? Its number in the process may have been reused meanwhile. */
static bool is_vm(int fd)
{
	char path[64], target[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == (ssize_t)strlen(HS_HOST_VM_FILE) && memcmp(target, HS_HOST_VM_FILE, (size_t)n) == 0;
}

int hs_nested_check_fd(struct hs_nested_view *v, uint64_t kvm)
{
	int fd = (int)syscall(SYS_pidfd_getfd, hs_nested_host(v)->pidfd, v->their_fd, 0);
	struct hs_kvm_seen seen;
	int rc = fd >= 0 && is_vm(fd) ? hs_kvm_walk_look(v->kvm, fd, &seen, NULL) : -EBADF;

	if (!rc && seen.look.kvm != kvm)
		rc = -EBADF;
	if (fd >= 0)
		close(fd);
	return rc;
}

int hs_nested_find_vm(struct hs_host_view *host, struct hs_nested_vm *vm, struct hs_error *err)
{
	enum { ENOUGH = 32 };
	int theirs[ENOUGH], nr = hs_host_vm_files(host, theirs, ENOUGH), rc = 0;
	uint64_t found = 0;

	*vm = (struct hs_nested_vm){ .vm_fd = -1, .their_fd = -1 };
	if (nr <= 0)
		return nr ? hs_host_error(host, nr, "list its files", err) : 0;
	rc = hs_kvm_walk_get(&vm->kvm, err);
	for (int i = 0; i < nr && !rc; i++) {
		int fd = (int)syscall(SYS_pidfd_getfd, host->pidfd, theirs[i], 0);
		struct hs_kvm_seen seen;

		if (fd < 0 && errno == EBADF)
			continue; /* closed meanwhile */
		if (fd < 0) {
			rc = hs_host_error(host, -errno, "reach its virtual machine", err);
			break;
		}
		rc = is_vm(fd) ? hs_kvm_walk_look(vm->kvm, fd, &seen, NULL) : 0;
		if (rc)
			rc = hs_host_error(host, rc, "run the BPF program that looks at KVM", err);
		if (!rc && is_vm(fd) && seen.look.mm == host->mm && seen.look.kvm != found) {
			if (found)
				rc = hs_error_set(err, -ENOTSUP,
						  "process %d runs more than one virtual machine under KVM: whose its "
						  "memory is cannot be told",
						  (int)host->view.pid);
			else
				vm->vm_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
			vm->their_fd = theirs[i];
			found = seen.look.kvm;
		}
		close(fd);
	}
	if (!rc && !found)
		rc = hs_error_set(err, -ENOTSUP,
				  "process %d has a KVM virtual machine that is not its own: where its accesses are "
				  "recorded cannot be told",
				  (int)host->view.pid);
	if (!rc && vm->vm_fd < 0)
		rc = hs_host_error(host, -EMFILE, "keep its virtual machine's file open", err);
	if (rc) {
		if (vm->vm_fd >= 0)
			close(vm->vm_fd);
		vm->vm_fd = -1;
		hs_kvm_walk_put(vm->kvm);
		vm->kvm = NULL;
	}
	return rc;
}

/* ---- slots ---- */

static bool has_common(const struct hs_kvm_slot *s, const struct hs_region *r)
{
	return s->hva < r->hva.v + r->nr_huge * HS_HUGE_SIZE && r->hva.v < s->hva + s->nr_pages * HS_BASE_SIZE;
}

bool hs_nested_touches(const struct hs_nested_view *v, const struct hs_kvm_slot *s)
{
	for (size_t i = 0; i < v->view.nr_regions; i++)
		if (has_common(s, &v->view.regions[i]))
			return true;
	return false;
}

/* By the VMM, or by anybody but this view's window. */
static bool is_logged(const struct hs_nested_view *v, uint64_t kvm, const struct hs_kvm_slot *s)
{
	return (s->flags & SLOT_LOGGED) && (!v->log.open || hs_dirty_log_guard_ours(v->log.guard, kvm, s, 0) != HS_YES);
}

bool hs_nested_dirty_logs_ram(const struct hs_nested_view *v, const struct hs_kvm_look *look,
			      const struct hs_kvm_slot *slots)
{
	uint64_t in_logged = 0, in_others = 0; /* pages of the largest slot of such regions */

	for (size_t r = 0; r < v->view.nr_regions; r++) {
		uint64_t largest = 0, *of;
		bool logged = false;

		for (uint32_t i = 0; i < look->nr_slots; i++) {
			const struct hs_kvm_slot *s = &slots[i];

			if (!has_common(s, &v->view.regions[r]) || (s->flags & (SLOT_READONLY | SLOT_GUEST_MEMFD)))
				continue;
			logged |= is_logged(v, look->kvm, s);
			if (s->nr_pages > largest)
				largest = s->nr_pages;
		}
		of = logged ? &in_logged : &in_others;
		if (largest > *of)
			*of = largest;
	}
	return in_logged && in_logged >= in_others;
}

static bool same_piece(const struct hs_nested_piece *a, const struct hs_nested_piece *b)
{
	return a->first == b->first && a->nr == b->nr && a->gpa == b->gpa && a->from == b->from && a->to == b->to;
}

static void add_piece(struct hs_nested_view *v, struct hs_nested_piece piece)
{
	if (!piece.nr)
		return;
	/* The same memory in the other address space: both have their tables, and all tables are read. */
	for (size_t i = 0; i < v->nr_pieces; i++)
		if (same_piece(&v->pieces[i], &piece))
			return;
	v->pieces[v->nr_pieces++] = piece;
}

/* What slot and region have in common: up to three pieces. */
static void add_overlap(struct hs_nested_view *v, const struct hs_kvm_slot *s, bool logged, const struct hs_region *r)
{
	uint64_t region_end = r->hva.v + r->nr_huge * HS_HUGE_SIZE;
	uint64_t slot_end = s->hva + s->nr_pages * HS_BASE_SIZE;
	uint64_t start = s->hva > r->hva.v ? s->hva : r->hva.v;
	uint64_t end = slot_end < region_end ? slot_end : region_end;
	uint64_t to_gpa = s->first_frame * HS_BASE_SIZE - s->hva; /* added to an address; wraps around */
	bool readable = !logged && !(s->flags & SLOT_GUEST_MEMFD) && !(to_gpa & (HS_HUGE_SIZE - 1));

	for (uint64_t at = start, next; at < end; at = next) {
		uint64_t huge = at & ~(HS_HUGE_SIZE - 1);
		struct hs_nested_piece p = { .first = r->first_huge + (uint32_t)((huge - r->hva.v) / HS_HUGE_SIZE),
					     .nr = 1,
					     .gpa = huge + to_gpa,
					     .to = HS_BASE_PER_HUGE };

		next = huge + HS_HUGE_SIZE;
		if (!readable) {
			hs_bit_put(v->blind, p.first, true);
			continue;
		}
		if (at == huge && end - huge >= HS_HUGE_SIZE) {
			p.nr = (uint32_t)((end - huge) / HS_HUGE_SIZE);
			next = huge + p.nr * HS_HUGE_SIZE;
		} else {
			p.from = (uint16_t)((at - huge) / HS_BASE_SIZE);
			if (end < next)
				p.to = (uint16_t)((end - huge) / HS_BASE_SIZE);
		}
		add_piece(v, p);
	}
}

static void use_slots(struct hs_nested_view *v, const struct hs_kvm_look *look, const struct hs_kvm_slot *slots)
{
	v->nr_pieces = 0;
	v->nr_logged = 0;
	v->logs_ram = hs_nested_dirty_logs_ram(v, look, slots);
	memset(v->blind, 0, ((size_t)v->view.nr_huge + 63) / 64 * sizeof(*v->blind));
	for (uint32_t i = 0; i < look->nr_slots; i++) {
		bool logged = is_logged(v, look->kvm, &slots[i]);

		/* What is logged beside RAM that is not is the VMM's own; all of it: the guest is left alone anyway. */
		v->nr_logged += logged && hs_nested_touches(v, &slots[i]);
		for (size_t r = 0; r < v->view.nr_regions; r++)
			add_overlap(v, &slots[i], logged && !v->logs_ram, &v->view.regions[r]);
	}
}

static int read_slots(struct hs_nested_view *v, struct hs_kvm_seen *now)
{
	struct hs_kvm_slot *slots = calloc(HS_KVM_MAX_SLOTS, sizeof(*slots));
	struct hs_nested_piece *pieces = NULL;
	int rc = slots ? 0 : -ENOMEM;

	/* A slot is changed in microseconds; the VMM of a guest that boots changes many. */
	for (int tries = 0; tries < 100 && !rc; tries++) {
		rc = hs_kvm_walk_look(v->kvm, v->vm_fd, now, slots);
		if (rc || now->look.end != HS_KVM_LOOK_CHANGED)
			break;
		(void)usleep(100);
	}
	if (!rc)
		pieces = calloc((size_t)now->look.nr_slots * v->view.nr_regions * 3 + 1, sizeof(*pieces));
	if (pieces) {
		free(v->pieces);
		v->pieces = pieces;
		v->reread = false;
		use_slots(v, &now->look, slots);
	} else if (!rc) {
		rc = -ENOMEM;
	}
	free(slots);
	return rc;
}

/* ---- looks ---- */

static bool same_slots(const struct hs_kvm_look *a, const struct hs_kvm_look *b)
{
	return !memcmp(a->generation, b->generation, sizeof(a->generation));
}

static int explain(const struct hs_nested_view *v, const struct hs_kvm_look *look, struct hs_error *err)
{
	int pid = (int)v->view.pid;

	switch (look->end) {
	case HS_KVM_LOOK_OK:
		break;
	case HS_KVM_LOOK_NO_TDP_MMU:
		return hs_error_set(
		    err, -ENOTSUP,
		    "process %d: KVM keeps this guest's accesses in shadow page tables, which are not "
		    "read here: load kvm with tdp_mmu=1, and kvm_intel with ept=1 or kvm_amd with npt=1",
		    pid);
	case HS_KVM_LOOK_TOO_MANY:
		return hs_error_set(err, -ENOTSUP,
				    "process %d: its virtual machine has more than %d memory slots, or more than %d "
				    "nested page tables at a time",
				    pid, HS_KVM_MAX_SLOTS, HS_KVM_MAX_ROOTS);
	case HS_KVM_LOOK_CHANGED:
		return hs_error_set(
		    err, -EAGAIN, "process %d: its virtual machine's memory slots change all the time: try later", pid);
	default:
		return hs_error_set(err, -ENOTSUP,
				    "process %d: this kernel does not describe a virtual machine as known from Linux "
				    "6.1 to 6.18",
				    pid);
	}
	if (look->shadow_pages)
		return hs_error_set(
		    err, -ENOTSUP,
		    "process %d: its guest runs virtual machines of its own, whose accesses are recorded "
		    "in tables that are not read here; it is left alone while it does",
		    pid);
	return 0;
}

int hs_nested_look(struct hs_nested_view *v, struct hs_kvm_seen *now, struct hs_error *err)
{
	int rc = v->pieces ? hs_kvm_walk_look(v->kvm, v->vm_fd, now, NULL) : 0;

	if (!rc && (!v->pieces || v->reread || !same_slots(&now->look, &v->aged.look)))
		rc = read_slots(v, now);
	if (rc == -ENOMEM)
		return hs_error_set(err, rc, "no memory for the memory slots of process %d", (int)v->view.pid);
	if (rc)
		return hs_host_error(hs_nested_host(v), rc, "run the BPF program that looks at KVM", err);
	return explain(v, &now->look, err);
}

static bool has_root(const struct hs_kvm_seen *seen, uint64_t table)
{
	for (uint32_t i = 0; i < seen->look.nr_roots; i++)
		if (seen->roots[i].table == table && !seen->roots[i].invalid)
			return true;
	return false;
}

bool hs_nested_still(struct hs_nested_view *v, struct hs_kvm_seen *now)
{
	if (!v->has_aged || hs_kvm_walk_look(v->kvm, v->vm_fd, now, NULL) || explain(v, &now->look, NULL) ||
	    !same_slots(&now->look, &v->aged.look))
		return false;
	for (uint32_t i = 0; i < v->aged.look.nr_roots; i++)
		if (!v->aged.roots[i].invalid && !has_root(now, v->aged.roots[i].table))
			return false;
	return true;
}
