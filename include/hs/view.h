/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The view of one guest's memory: what each huge page is mapped as, what was accessed, splitting and restoring of
 * mappings (never of the pages themselves), reading of bytes. Nothing above this header knows which view it has.
 *
 * Implementations: host page tables read by BPF (hs_view_open_host), KVM's nested page tables around it (hs_view_open,
 * which chooses), a simulated guest (hs_view_open_sim). A view belongs to one thread at a time.
 *
 * Any call may answer -ESRCH: the guest is gone; close the view. What a view cannot tell it calls unknown.
 */
#ifndef HS_VIEW_H
#define HS_VIEW_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

struct hs_remote;
struct hs_view;

/* A stretch of guest memory, both ends on huge-page borders. Regions are sorted by first_huge and gapless in it. */
struct hs_region {
	hs_hva hva; /* in the guest's process */
	hs_gpa gpa; /* as the guest numbers it; for a view that cannot know it: the offset from the first region */
	hs_huge_nr first_huge;
	uint32_t nr_huge;
};

enum hs_map_state {
	HS_MAP_UNKNOWN = 0, /* could not be read, or changed while it was read */
	HS_MAP_ABSENT,      /* nothing present */
	HS_MAP_HUGE,        /* one 2 MiB entry */
	HS_MAP_SPLIT,       /* 512 entries, all present */
	HS_MAP_PARTIAL,     /* an entry table with fewer than 512 present */
};

/* Of base pages: accessed, but the last ageing came too early and cleared nothing, so perhaps before it. */
enum { HS_VIEW_YES_BEFORE = HS_YES + 1 };

struct hs_huge_sample {
	uint8_t state;        /* enum hs_map_state */
	uint8_t accessed;     /* enum hs_tri: any access since the last ageing; or HS_VIEW_YES_BEFORE */
	uint16_t nr_present;  /* base pages: 512 when huge */
	uint16_t nr_accessed; /* base pages: 512 when huge and accessed; a table's own count otherwise */
	uint16_t nr_swapped; /* base pages known to be in swap; the others that are not present are empty, or unknown */
};

struct hs_base_sample {
	uint8_t
	    state; /* enum hs_map_state; when HUGE, `present` is full and `accessed` repeats the one bit 512 times */
	struct hs_bits512 present;
	struct hs_bits512 accessed; /* since the last ageing; subset of present */
	/* Of what is not present, also when the state is unknown for want of accessed bits. In neither: unknown (on
	 * its way to another frame, of a device, or the view cannot tell). */
	struct hs_bits512 swapped; /* it has content, in swap, and nothing in memory is mapped for it */
	struct hs_bits512 empty;   /* never touched, or given back: there is no content */
};

/* What is known of one base page's frame. */
enum {
	HS_FRAME_KSM = 1U << 0,    /* a KSM page: shared, or ready to be */
	HS_FRAME_ZERO = 1U << 1,   /* the kernel's zero page */
	HS_FRAME_HUGE = 1U << 2,   /* part of a huge folio, however it is mapped */
	HS_FRAME_LOCKED = 1U << 3, /* locked into memory, by whomever */
};
struct hs_frame {
	uint64_t pfn;   /* 0 when absent or unknown */
	uint32_t flags; /* HS_FRAME_... */
};

/* Why a huge page is unknown, or is not to be touched, while the rest of its guest is not. */
enum hs_view_reason {
	HS_VIEW_NO_REASON = 0, /* none that lasts: its tables changed while they were read, or nothing was aged yet */
	HS_VIEW_GONE,          /* it is no guest memory any more */
	HS_VIEW_USERFAULTFD,   /* a userfaultfd is registered with it: a snapshot, dirty tracking, postcopy */
	HS_VIEW_FLAGS_UNREAD,  /* whether one is could not be read */
	HS_VIEW_VMM_LOGS,      /* the VMM logs writes to it (a display), or its nested entries cannot be found */
};

/* The NUMA node that a base page's frame is on, and 1; 0: unknown, or not present. */
typedef uint16_t hs_node_1;

/* Restoring brings in at most so many base pages from swap: as many as khugepaged does by default (max_ptes_swap). */
#define HS_VIEW_MAX_SWAPPED 64U

/* Whether the guest may take the memory of a huge page more for a moment, at this time. */
typedef bool hs_view_room(void *ctx, const struct hs_view *v);

/* Writable memory of the process that is no guest memory to the view, by why: bytes of its address space, touched or
 * not. All 0 where the view has no process. */
struct hs_left_out {
	uint64_t too_small_bytes;  /* pieces below min_bytes */
	uint64_t borders_bytes;    /* of pieces that are looked at, what is no whole huge page */
	uint64_t heap_bytes;       /* the process's own heap and stack */
	uint64_t executable_bytes; /* code that it makes */
	uint64_t other_kind_bytes; /* of files, shared, hugetlbfs: KSM cannot merge it */
};

struct hs_view_ops {
	const char *name;   /* "host page tables", "simulated": for inspect and logs */
	bool splits_nested; /* split parts nested entries alone: sharing has no use for a mapping that is left split */
	void (*close)(struct hs_view *v);
	int (*refresh)(struct hs_view *v, struct hs_error *err);
	/* A further view of the same guest as it is now, after -ESTALE; NULL: it is opened anew by its process. */
	int (*reopen)(struct hs_view *v, struct hs_view **out, struct hs_error *err);
	int (*age)(struct hs_view *v, struct hs_error *err);
	int (*sample_huge)(struct hs_view *v, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			   struct hs_error *err);
	int (*sample_base)(struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			   struct hs_error *err);
	int (*frames)(struct hs_view *v, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err);
	/* NULL: this view cannot split */
	int (*split)(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);
	int (*restore)(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);
	/* NULL: this view cannot */
	int (*split_page)(struct hs_view *v, hs_huge_nr huge, unsigned int base, struct hs_error *err);
	int (*read)(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		    struct hs_bits512 *got, struct hs_error *err);
	/* NULL: there is nothing to do */
	int (*reach)(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *which, struct hs_error *err);
	/* NULL: this view cannot tell */
	int (*nodes)(struct hs_view *v, hs_huge_nr huge, hs_node_1 out[HS_BASE_PER_HUGE], struct hs_error *err);
	/* NULL: there is no view within this one that has to know */
	void (*slow_nodes)(struct hs_view *v, uint64_t nodes);
	/* NULL: never a reason */
	enum hs_view_reason (*why)(struct hs_view *v, hs_huge_nr huge);
};

/* First member of every implementation's struct; callers use the functions below. */
struct hs_view {
	const struct hs_view_ops *ops; /* read by the functions below alone */
	struct hs_region *regions;     /* owned by the implementation */
	size_t nr_regions;
	uint32_t nr_huge;            /* sum over the regions */
	pid_t pid;                   /* 0 when simulated */
	struct hs_left_out left_out; /* as of the opening, or the last refresh */
	hs_view_room *room;          /* NULL: nobody is asked */
	void *room_ctx;
	uint64_t slow_nodes; /* bit n: node n, below 64, is the slow one that cold memory goes to; 0: none is */
};

/*
 * Opens the guest with process id `pid` through the host's page tables. `remote` (share's means of running system calls
 * inside the process; may be NULL: then split answers -ENOTSUP) must outlive the view; it is not owned.
 * Guest memory is every private anonymous writable VMA of at least `min_bytes` (its part on huge-page borders), but for
 * executable ones and the process's own heap and stack; neighbouring VMAs that differ in flags only count as one
 * region. min_bytes 0 takes the default: 64 MiB for a VMM (it has a KVM virtual machine, or its program is called
 * qemu...), smaller than any guest's RAM and larger than its own buffers; 4 MiB for any other process, the smallest
 * piece that surely holds a whole huge page.
 * Errors: -ESRCH no such process; -EPERM capability or lockdown; -ENOTSUP kernel without BTF/BPF; -ENOMEM; -ENODATA no
 * memory of that size; -EMEDIUMTYPE memory of a kind that KSM cannot merge (the text says which: shared memory, a file,
 * hugetlbfs).
 */
HS_MUST_USE int hs_view_open_host(struct hs_view **out, const struct hs_host *host, pid_t pid, struct hs_remote *remote,
				  uint64_t min_bytes, struct hs_error *err);

/*
 * Opens the guest with process id `pid` through the tables that show its accesses: KVM's nested page tables, read by
 * BPF, when it runs under KVM; the host's otherwise. Everything else as hs_view_open_host. An ageing of nested tables
 * drops their entries (one fault of the guest for each that it touches again), but where the kernel has page_idle; a
 * sample before the first ageing, or after the VM's memory was laid out anew, is unknown. Further errors: -ENOTSUP a
 * guest under KVM whose nested tables cannot be read or aged on this kernel, or that runs virtual machines of its own
 * (the text says which; no view would be sound); -EAGAIN its memory slots change all the time.
 */
HS_MUST_USE int hs_view_open(struct hs_view **out, const struct hs_host *host, pid_t pid, struct hs_remote *remote,
			     uint64_t min_bytes, struct hs_error *err);

/*
 * How nested page tables are aged on this kernel: "page_idle", "PAGEMAP_SCAN", "soft dirty", the first of them that
 * works; NULL: not at all, with the reason in err. When it is not page_idle, which costs the guest no faults, err says
 * why not. *fine: whether hot huge pages can be looked into, as far as the kernel and /sys/fs/bpf decide it. For
 * reports; needs no guest.
 */
const char *hs_view_nested_ageing(const struct hs_host *host, bool *fine, struct hs_error *err);

/*
 * Takes NULL. Leaves no mapping split that this view split: it restores first, and reports what it could not to stderr.
 * Not restored is what has been marked NOHUGEPAGE since (it was given over to sharing), and what the guest has given
 * back in part.
 */
void hs_view_close(struct hs_view *v);

/* What its accesses are read from ("host page tables", "simulated"): for inspect and logs. Lives as long as the view.
 */
const char *hs_view_name(const struct hs_view *v);

/* Whether split parts nested entries alone: sharing has no use for a mapping that is left split then. */
bool hs_view_splits_nested(const struct hs_view *v);

/*
 * A further view of the same guest as it is now, after -ESTALE; owned by the caller, as is the old one. -ENOTSUP where
 * hs_view_can_reopen says no: such a guest is opened anew by its process.
 */
bool hs_view_can_reopen(const struct hs_view *v);
HS_MUST_USE int hs_view_reopen(struct hs_view *v, struct hs_view **out, struct hs_error *err);

/*
 * Reads the VMAs again. 0: regions are as before. -ESTALE: they changed; the view keeps its old numbering for what is
 * still there and answers unknown for what is gone; open a new view to see what is new. -ESRCH.
 */
HS_MUST_USE int hs_view_refresh(struct hs_view *v, struct hs_error *err);

/*
 * Clears the accessed bits of the whole guest and makes sure that the hardware's cached translations cannot hide the
 * accesses that follow. (A view of nested tables that has mappings split ages those alone.) Disturbs nothing else. The
 * host view needs for the second part one huge mapping, writable and not locked, or two base pages that the guest uses
 * right then, 64 pages apart or more: where there is neither, what is not seen accessed is unknown, unless no thread of
 * the guest runs until the sample. Cost there: some 0.1 us for a huge mapping, 20 us for a split one, for which the
 * kernel holds the guest's mmap lock: so at most a twentieth of the time; and what it costs the guest to use its
 * entries again, a fiftieth of the time on average. When it is too early again, nothing is cleared, and what was
 * accessed since the last time counts as accessed (0 all the same: it errs to hot; the samples of base pages say
 * HS_VIEW_YES_BEFORE). -ENOTSUP: the host view's guest has locked all of its huge mappings (the text says so), so that
 * what is hot cannot be told; -EAGAIN: no page could serve just now; -EPERM. After an error nothing that is sampled
 * says anything about accesses.
 */
HS_MUST_USE int hs_view_age(struct hs_view *v, struct hs_error *err);

/*
 * Samples huge pages [first, first + nr) into out[nr]. Clears nothing. Reads tables only where a huge page is split.
 * The huge zero page is no memory: absent.
 */
HS_MUST_USE int hs_view_sample_huge(struct hs_view *v, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
				    struct hs_error *err);

/* Samples the base pages of each named huge page into out[nr]. Clears nothing. */
HS_MUST_USE int hs_view_sample_base(struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
				    struct hs_error *err);

/* Page frames of one huge page's base pages, with what the kernel says of each. Takes no reference on them. */
HS_MUST_USE int hs_view_frames(struct hs_view *v, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE],
			       struct hs_error *err);

/*
 * Splits the mapping (not the page) of each named huge page, so that each base page has an accessed bit of its own.
 * results[nr] (may be NULL): 0, or -errno for that huge page alone (-ENOENT: not mapped huge; -EAGAIN: the host view
 * leaves one huge mapping of the guest as it is, which ageing needs, and what a fork of the guest maps as well).
 * Returns 0 when the batch was attempted, otherwise nothing was touched. Callers keep batches within their budget.
 * -ENOTSUP: this view cannot; as hs_view_can_split says beforehand, as far as it is known then. Without room
 * (hs_view_on_huge) each result is -ENOMEM: it could not be brought back.
 */
bool hs_view_can_split(const struct hs_view *v);
HS_MUST_USE int hs_view_split(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);

/*
 * Makes the mapping huge again. results[nr] (may be NULL): 0, or -errno (-EAGAIN: the kernel could not now, or a fork
 * of the guest maps some of it as well, which a collapse would copy for good: try later;
 * -ENOMEM: no free huge page, or no room (hs_view_on_huge); -EINVAL: its memory is marked NOHUGEPAGE; -ENOENT: nothing
 * is present there, or it is no guest memory any more, as hs_view_refresh found; -EXDEV: more than HS_VIEW_MAX_SWAPPED
 * of its base pages are in swap, or any is on a slow node (hs_view_slow_nodes), where the kernel might put all of it:
 * they are to be promoted first, hs/tier.h). A huge page that is mapped huge
 * already counts as restored; one that is partly present gets memory for the rest.
 */
HS_MUST_USE int hs_view_restore(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results,
				struct hs_error *err);

/*
 * Asks the kernel to split the huge page itself (the folio), from outside and for good: base page `base` of it (0 to
 * 511) is named for that, and counts as not accessed afterwards. From Linux 6.12 on the kernel then maps those of its
 * base pages that hold zeros alone to its zero page, and frees them; it compares them itself, while nobody can write
 * them. hs_view_frames says what came of it. 0: it was asked; -EAGAIN: that memory is not to be touched now
 * (hs_view_why); -ENOTSUP.
 */
HS_MUST_USE int hs_view_split_page(struct hs_view *v, hs_huge_nr huge, unsigned int base, struct hs_error *err);

/*
 * `room` is asked before each batch of hs_view_restore, since the kernel copies into a new huge page before it frees
 * the old one, and before each batch of hs_view_split, which is to be followed by a restore. NULL: nobody is asked.
 */
void hs_view_on_huge(struct hs_view *v, hs_view_room *room, void *ctx);

/* Huge pages that have base pages on one of these nodes (bit n: node n) are not restored. 0, the default: all are. */
void hs_view_slow_nodes(struct hs_view *v, uint64_t nodes);

/*
 * Which node each base page of one huge page is on, as the kernel says (move_pages without a destination). Sets no
 * accessed bit. -ENOTSUP: this view cannot tell, and all are unknown.
 */
HS_MUST_USE int hs_view_nodes(struct hs_view *v, hs_huge_nr huge, hs_node_1 out[HS_BASE_PER_HUGE],
			      struct hs_error *err);

/*
 * Copies the wanted base pages of one huge page into buf (HS_HUGE_SIZE bytes; page i at i * 4096; what is not got is
 * left as it was). Only pages that are present are read: nothing is faulted in. *got: what was copied. A view may set
 * accessed bits by reading; the host view sets none.
 */
HS_MUST_USE int hs_view_read(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
			     struct hs_bits512 *got, struct hs_error *err);

/*
 * Makes those base pages of one huge page reachable for ksmd, which in Linux 6.1 to 6.5 passes over what NUMA balancing
 * has made PROT_NONE; elsewhere does nothing. Sets accessed bits: age before the next sample. Best effort: it may be
 * out of reach again soon.
 */
HS_MUST_USE int hs_view_reach(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *which, struct hs_error *err);

/*
 * Why that huge page is unknown, as of the last refresh, ageing, split or restore, and the words for it, to stand
 * behind "left alone: ". Such memory is not aged, not split, not restored (-EAGAIN: it may be later) and not read.
 */
enum hs_view_reason hs_view_why(struct hs_view *v, hs_huge_nr huge);
const char *hs_view_reason_text(enum hs_view_reason reason);

/* The address of a huge page in the guest's process; {0} when the number is out of range. */
hs_hva hs_view_hva(const struct hs_view *v, hs_huge_nr huge);

#endif
