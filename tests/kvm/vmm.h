/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small VMM as a test's guest: a child process with a virtual machine of one processor, whose code touches the pages
 * it is told to and nothing else. So a test knows each access that went through the nested page tables.
 *
 * The guest's RAM is one stretch of private anonymous memory of huge pages, given to KVM as one or more memory slots.
 * Functions fail the test when something does not work that always should.
 */
#ifndef HS_TESTS_KVM_VMM_H
#define HS_TESTS_KVM_VMM_H

#include <sys/types.h>

#include "hs/types.h"

enum { VMM_MAX_SLOTS = 8, VMM_MAX_PAGES = 65536 };

/* Huge pages [first, first + nr) of the RAM are at this guest-physical address (on a huge-page border, 16 MiB up). */
struct vmm_slot {
	uint32_t gpa;
	uint32_t first_huge, nr_huge;
};

struct vmm_config {
	uint32_t nr_huge;
	uint32_t nr_slots;
	struct vmm_slot slots[VMM_MAX_SLOTS];
	uint32_t split_huge[VMM_MAX_SLOTS]; /* mapped by base pages in the host's tables */
	uint32_t nr_split;
	bool cut_folios; /* they are 512 pages for the kernel, too */
	bool two_spaces; /* every slot in KVM's second address space (system management mode) as well, as QEMU has it */
	bool no_manual;  /* dirty logging without manual protection */
	/* The last slot is a stretch of its own, always dirty logged, as a display's memory is. Not for vmm_fill. */
	bool display;
};

struct vmm_box;

struct vmm {
	struct vmm_config cfg;
	pid_t pid;
	int to, from;  /* pipes */
	uint64_t base; /* of the RAM in the child's process */
	struct vmm_box *box;
};

/* Starts it; every page of the RAM is present, and huge. false: there is no KVM here. */
bool vmm_start(struct vmm *m, const struct vmm_config *cfg);
void vmm_stop(struct vmm *m);

/* The guest reads the first word of each base page, or writes what was there. */
void vmm_touch(struct vmm *m, const uint32_t *pages, uint32_t nr, bool write);
/* The same over and over, in a thread of the VMM that stays in the guest, until vmm_unspin. */
void vmm_spin(struct vmm *m, const uint32_t *pages, uint32_t nr, bool write);
void vmm_await_rounds(struct vmm *m, uint32_t nr); /* until it has gone through its list so many more times */
void vmm_unspin(struct vmm *m);

/* The VMM's own doings, from outside the guest: */
void vmm_touch_from_host(struct vmm *m, uint32_t page);
/* Contents of all pages by number, 0 for zero; and how many pages do not hold theirs. */
void vmm_fill(struct vmm *m, const uint32_t *contents);
uint32_t vmm_bad_pages(struct vmm *m, const uint32_t *contents);
/* Dirty logging of all RAM's slots. 0 or -errno. */
int vmm_log(struct vmm *m, bool on);
/* Dirty bits of slot `slot`, set ones counted; -ENOENT: no logging. Nothing is cleared (with manual protection). */
int vmm_dirty(struct vmm *m, uint32_t slot);
/* Takes the last slot away from the guest, or gives it back: KVM builds all nested tables anew after it. */
void vmm_plug(struct vmm *m, bool in);
/* Makes a second process that maps the same RAM, reads each huge page once, and waits for the first one's end. */
pid_t vmm_copy(struct vmm *m);

/* From the kernel's files: kB of a field of the process's smaps_rollup; one of KVM's counters of this VM; -1: none. */
uint64_t vmm_smaps_kb(const struct vmm *m, const char *field);
long long vmm_kvm_stat(const struct vmm *m, const char *name);

#endif
