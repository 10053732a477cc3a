/* SPDX-License-Identifier: Apache-2.0 */
/* The view over KVM's nested page tables, as its own files share it. See nested_view.c for how it works. */
#ifndef HS_EPT_NESTED_INTERNAL_H
#define HS_EPT_NESTED_INTERNAL_H

#include "hs/view.h"
#include "host_internal.h"
#include "dirty_log_guard.h"
#include "kvm_walk.h"
#include "nested_entry.h"

struct hs_nested_view;

/* A way to clear the accessed state of nested entries; see nested_age.c, which has the table of them. */
struct hs_nested_ageing {
	const char *name; /* for reports */
	bool ranges;      /* chosen huge pages can be aged, and dropped (nested_drop.c), without the others */
	/* Tried on this process. 0, with what it keeps open in *fd (-1: nothing), or -errno with the reason. */
	int (*open)(const struct hs_host *host, int *fd, struct hs_error *why);
	/* The inner view included. Sets v->by_bit when the accessed bits, not the entries' being there, tell from now
	 * on. */
	int (*age)(struct hs_nested_view *v, struct hs_error *err);
};
extern const struct hs_nested_ageing hs_nested_age_idle;       /* page_idle clears the bits of exactly a range */
extern const struct hs_nested_ageing hs_nested_age_scan;       /* PAGEMAP_SCAN drops the entries of exactly a range */
extern const struct hs_nested_ageing hs_nested_age_soft_dirty; /* clear_refs 4 drops all entries of the process */

/*
 * Where guest memory is in the guest's own numbering. Either whole huge pages [first, first + nr), or a single one of
 * which only base pages [from, to) belong to the slot.
 */
struct hs_nested_piece {
	hs_huge_nr first;
	uint32_t nr;
	uint64_t gpa; /* of the first one's begin; on a huge-page border */
	uint16_t from, to;
};

/* A window in which mappings are split: dirty logging is on by our doing. See nested_dirty_log.c. */
struct hs_nested_dirty_log {
	struct hs_dirty_log_guard *guard; /* NULL: never needed so far */
	bool blind;                       /* in this window calls were not seen once: the VMM may rely on logging */
	bool open;                        /* logging may be on by our doing */
	uint64_t since_us;
	uint64_t next_recovery_us;
	bool balanced;     /* NUMA balancing was on when it began, */
	uint32_t nr_small; /* and so many others were mapped by base entries by then (hs_nested_count_small) */
};

struct hs_nested_view {
	struct hs_view view; /* first; its regions are the inner view's */
	struct hs_view_ops ops;
	char name[160];
	struct hs_host host;
	struct hs_view *inner; /* over the host's page tables; owned */
	struct hs_kvm_walk *kvm;
	int vm_fd;    /* ours, on the VM's file: struct kvm stays while it is open */
	int their_fd; /* the guest's process's number for it */
	enum hs_nested_kind kind;
	const struct hs_nested_ageing *ageing;
	int ageing_fd; /* what that keeps open; -1: nothing */

	/* As of the slots' generation in `aged`. */
	struct hs_nested_piece *pieces;
	size_t nr_pieces;
	uint64_t *blind; /* one bit for each huge page: its nested entries cannot be found or are ambiguous, or the VMM
			    logs it */

	uint32_t nr_logged; /* slots over this memory that are dirty logged, but not by a window of ours */
	bool logs_ram;      /* the guest's RAM proper is among them */
	bool reread;        /* the above is out of date, though the generation may be the same */

	struct hs_kvm_seen aged; /* at the last ageing */
	bool has_aged;
	bool flushed; /* by the ageing that is under way: something was dropped */
	bool by_bit;  /* the accessed bit says what was accessed since then; otherwise the entry's being there */

	uint64_t *split; /* one bit for each huge page: split by us, and not restored since */
	uint32_t nr_split;
	struct hs_nested_dirty_log log;
};

static inline struct hs_nested_view *hs_nested_view(struct hs_view *v)
{
	return (struct hs_nested_view *)v;
}

static inline struct hs_host_view *hs_nested_host(struct hs_nested_view *v)
{
	return hs_host_view(v->inner);
}

/* ---- nested_vm.c: the VM behind a process ---- */

struct hs_nested_vm {
	struct hs_kvm_walk *kvm; /* NULL: it runs none under KVM */
	int vm_fd;               /* ours, on the file of the VM whose memory is this process's; -1: none */
	int their_fd;            /* the process's number for it */
};
HS_MUST_USE int hs_nested_find_vm(struct hs_host_view *host, struct hs_nested_vm *vm, struct hs_error *err);

/* Whether their_fd is still on that VM: 0, -EBADF. */
HS_MUST_USE int hs_nested_check_fd(struct hs_nested_view *v, uint64_t kvm);

/* Whether a slot and this guest's regions have memory in common. */
bool hs_nested_touches(const struct hs_nested_view *v, const struct hs_kvm_slot *s);

/*
 * Whether any of the guest's RAM proper is dirty logged, other than by a window of ours. A VMM logs the memory of a
 * display all the time (QEMU: VGA, bochs-display, QXL), and nothing else for its own use; for a migration or the dirty
 * rate it logs everything that the guest can write. A display's memory is a region of its own. So what counts is the
 * region with the largest slot that can be written. Where that is a display's, or is no larger than one's, it cannot be
 * distinguished from a migration, and is taken for one.
 */
bool hs_nested_dirty_logs_ram(const struct hs_nested_view *v, const struct hs_kvm_look *look,
			      const struct hs_kvm_slot *slots);

/* Looks at the VM; when its slots are not those of `aged` any more, or there are none yet, reads them anew. */
HS_MUST_USE int hs_nested_look(struct hs_nested_view *v, struct hs_kvm_seen *now, struct hs_error *err);

/* Whether what the tables say now is about accesses since the last ageing: the same slots, and no table left us. */
bool hs_nested_still(struct hs_nested_view *v, struct hs_kvm_seen *now);

/* ---- nested_read.c: accessed marks ---- */

struct hs_nested_mark {
	struct hs_bits512 accessed;
	bool unknown;
	bool huge; /* one entry maps it all, or more */
};
/* Of huge pages [first, first + nr), and of those named. -ESRCH, -ENOMEM. Marks are to be cleared by the caller. */
HS_MUST_USE int hs_nested_mark_range(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr,
				     struct hs_nested_mark *marks);
HS_MUST_USE int hs_nested_mark_list(struct hs_nested_view *v, const hs_huge_nr *huge, size_t nr,
				    struct hs_nested_mark *marks);

/*
 * A base page of huge pages [first, first + nr) that a nested entry maps, of whatever size, accessed or not. -ENOENT:
 * there is none; -EAGAIN: cannot be told; -ESRCH, -ENOMEM.
 */
HS_MUST_USE int hs_nested_find_mapped(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, hs_huge_nr *huge,
				      unsigned int *base);

/* Huge pages of the host that base entries map, in whole or in part, and that no window of ours has split. As of the
 * last ageing's slots. -errno: it cannot be told. */
HS_MUST_USE int hs_nested_count_small(struct hs_nested_view *v, uint32_t *nr_small);

/* ---- nested_age.c ---- */

/*
 * What this kernel offers, the best of it; *fd is to be closed by the caller. `why`: why it is not the best of all.
 * NULL with the reason: nothing.
 */
const struct hs_nested_ageing *hs_nested_choose_ageing(const struct hs_host *host, int *fd, struct hs_error *why);
int hs_nested_age(struct hs_view *view, struct hs_error *err);
/* All huge pages that an ageing is of, a run at a time, each within its region, until one fails. */
typedef int (*hs_nested_run_fn)(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr);
HS_MUST_USE int hs_nested_each_run(struct hs_nested_view *v, hs_nested_run_fn fn);

/* ---- nested_drop.c ---- */

/* Whether nested entries of chosen ranges can be dropped on this kernel. */
bool hs_nested_can_drop(const struct hs_host *host);
/* Of the addresses [start, end) of the process behind that pagemap. Changes nothing else, whoever tracks that memory.
 */
HS_MUST_USE int hs_nested_drop_range(int pagemap_fd, uint64_t start, uint64_t end);
/* Of huge pages [first, first + nr), which are of one region; of base pages [first, first + nr) of one huge page. */
HS_MUST_USE int hs_nested_drop(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr);
HS_MUST_USE int hs_nested_drop_base(struct hs_nested_view *v, hs_huge_nr huge, unsigned int first, unsigned int nr);

/* ---- nested_dirty_log.c ---- */

int hs_nested_split(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);
int hs_nested_restore(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);
/* Ends the window, if one is open: logging off, or left to the VMM. -EAGAIN and the like: not now. */
HS_MUST_USE int hs_nested_dirty_log_close(struct hs_nested_view *v, struct hs_error *err);
/* Ends a window that is older than any may be, whoever forgot it, or in which nothing is split. */
HS_MUST_USE int hs_nested_dirty_log_check(struct hs_nested_view *v, struct hs_error *err);
/* Ends a window that a killed run has left open, once it is surely nobody's. */
void hs_nested_dirty_log_recover(struct hs_nested_view *v);
/* The view ends. */
void hs_nested_dirty_log_finish(struct hs_nested_view *v);

#endif
