/* SPDX-License-Identifier: Apache-2.0 */
/* The view over the host's page tables, as its own files share it. See host_view.c for how it works. */
#ifndef HS_EPT_HOST_INTERNAL_H
#define HS_EPT_HOST_INTERNAL_H

#include "hs/view.h"
#include "host_bit_cost.h"
#include "host_rest.h"
#include "host_walk.h"
#include "x86_entry.h"

/* A page that the guest touches while it serves the flush says nothing about it: so many others are taken. */
#define HS_FLUSH_TRIES 4
/* Stretches of locked memory that one ageing tries for nothing, besides. */
#define HS_FLUSH_LOCKED 16

/* clear_refs holds the guest's mmap lock: at most one part in so many of the time, unless it is short. */
#define HS_CLEAR_PART     20
#define HS_CLEAR_SHORT_US 20000
enum hs_clear_refs { HS_CLEAR_ANONYMOUS, HS_CLEAR_SOFT_DIRTY, HS_CLEAR_REFS_NR };

/* A stretch whose pages a core dump leaves out, or takes: see host_mapping.c. */
struct hs_dump_range {
	uint64_t start, end;
	bool dontdump;
};

struct hs_host_view {
	struct hs_view view; /* first */
	struct hs_walk *walk;
	uint64_t mm;              /* pinned by pagemap_fd */
	struct hs_remote *remote; /* may be NULL */
	uint64_t min_bytes;
	int pidfd;
	int dir_fd; /* /proc/PID: stays this process's, whatever becomes of the number */
	int pagemap_fd;
	int clear_refs_fd;
	int mem_fd;
	int kpageflags_fd;
	struct hs_walk_req *reqs; /* scratch, as many as the biggest call needed */
	size_t nr_reqs;

	/* One bit for each huge page. */
	uint64_t *gone;         /* not guest memory any more: unknown from now on */
	uint64_t *armed;        /* registered with a userfaultfd, as of the last look (host_armed.c) */
	uint64_t *split;        /* split by us, and not restored since */
	uint64_t *dump_pending; /* pending restore of its first base page's DONTDUMP flag: a call failed half-way */
	uint64_t *cold;         /* huge, and not accessed at the last sample */
	uint64_t *no_flush;     /* in locked memory: cannot serve the flush */

	/* host_armed.c */
	struct bpf_link *armed_link;
	uint64_t armed_us;  /* when they were looked at last */
	uint32_t nr_armed;  /* bits in `armed` */
	bool armed_unknown; /* could not be read: all count as armed */

	uint64_t next_clear_us[HS_CLEAR_REFS_NR]; /* not before that (host_age.c) */
	struct hs_host_bit_budget bit_budget;
	uint64_t nr_marked; /* entries that were accessed at the last sample of all */
	bool old;           /* the last ageing cleared nothing: it was too early */

	/* Flushing (host_age.c). */
	hs_huge_nr flush_next; /* the next huge page to use */
	/* Their accessed bits may be our doing, until the next ageing. */
	hs_huge_nr flush_doubt[HS_FLUSH_TRIES + HS_FLUSH_LOCKED];
	unsigned int nr_flush_doubt;
	void *unreadable;         /* a page of ours without access; NULL: not yet made */
	bool unflushed;           /* there was nothing to flush with: what is cached sets no bit */
	bool hides;               /* so it was, and threads have run since: as of the sample's beginning */
	struct hs_host_rest rest; /* since the ageing, when there was nothing to flush with */
	bool has_vm;         /* as of the last refresh: its accesses are recorded elsewhere, or may be (host_view.c) */
	bool flush_optional; /* the guest's own accesses are seen elsewhere (nested_view.c): goes on without a flush */
	bool flush_reported;

	/* DONTDUMP flags over the regions, sorted; read when first needed. */
	struct hs_dump_range *dump;
	size_t nr_dump;
};

static inline struct hs_host_view *hs_host_view(struct hs_view *v)
{
	return (struct hs_host_view *)v;
}

static inline bool hs_bit_test(const uint64_t *bits, hs_huge_nr h)
{
	return (bits[h >> 6] >> (h & 63)) & 1;
}

static inline void hs_bit_put(uint64_t *bits, hs_huge_nr h, bool on)
{
	uint64_t one = UINT64_C(1) << (h & 63);

	bits[h >> 6] = on ? bits[h >> 6] | one : bits[h >> 6] & ~one;
}

/* Nothing is known of it, and nothing is done to it. */
static inline bool hs_host_is_off_limits(const struct hs_host_view *v, hs_huge_nr h)
{
	return hs_bit_test(v->gone, h) || hs_bit_test(v->armed, h);
}

static inline bool hs_host_in_doubt(const struct hs_host_view *v, hs_huge_nr huge)
{
	for (unsigned int i = 0; i < v->nr_flush_doubt; i++)
		if (v->flush_doubt[i] == huge)
			return true;
	return false;
}

/* At least nr requests of scratch; NULL: no memory. */
struct hs_walk_req *hs_host_scratch(struct hs_host_view *v, size_t nr);

/* Error text for a call that failed; knows what -ESRCH means. */
int hs_host_error(const struct hs_host_view *v, int rc, const char *what, struct hs_error *err);

/* host_sample.c */

int hs_host_sample_huge(struct hs_view *view, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			struct hs_error *err);
int hs_host_sample_base(struct hs_view *view, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			struct hs_error *err);

/* What of a huge page is there: known also where accessed bits mean nothing, so nothing is to be made of those. */
int hs_host_sample_presence(struct hs_host_view *v, hs_huge_nr huge, struct hs_base_sample *out, struct hs_error *err);

int hs_host_frames(struct hs_view *view, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err);
/* enum hs_map_state of each, from its huge entry alone: SPLIT stands for any table. */
int hs_host_entries(struct hs_host_view *v, const hs_huge_nr *huge, size_t nr, uint8_t *states);

/* Mapped by a writable huge entry: the kernel lets a process write in place only what it shares with nobody. */
bool hs_host_is_own_huge(struct hs_host_view *v, hs_huge_nr huge);

/* host_frames.c: what the kernel says of page frames */
#define HS_KPF_HUGE_FOLIO (UINT64_C(1) << 22)
#define HS_KPF_KSM        (UINT64_C(1) << 21)
#define HS_KPF_ZERO       (UINT64_C(1) << 24)
#define HS_KPF_LOCKED     (UINT64_C(1) << 33 | UINT64_C(1) << 18) /* mlocked, unevictable */
int hs_host_page_flags(int kpageflags_fd, uint64_t pfn, size_t nr, uint64_t *flags);
/*
 * Flags of the frames of one huge page's base pages (0: none), in as few reads as they lie together on this host.
 * Shared ones lie anywhere: one by one they would be 512 reads. *bad: what lies past the end of memory, so it was no
 * frame.
 */
HS_MUST_USE int hs_host_frame_flags(int kpageflags_fd, const uint64_t pfn[HS_BASE_PER_HUGE],
				    uint64_t flags[HS_BASE_PER_HUGE], struct hs_bits512 *bad);
/* Whether a huge entry maps the kernel's huge zero page. */
bool hs_host_is_zero_entry(struct hs_host_view *v, uint64_t entry);

/*
 * Whether an entry without its accessed bit says so for good: a processor may have it cached since before the
 * ageing, but not what it can only reach by a fault.
 */
static inline bool hs_host_means_no(const struct hs_host_view *v, uint64_t entry)
{
	return !v->hides || hs_x86_is_protnone(entry);
}

/* host_age_base.c: the flush by two base pages. -errno; *flushed false: none would serve, and `rest` has begun. */
HS_MUST_USE int hs_host_flush_base(struct hs_host_view *v, bool *flushed);

/* host_vmm.c: min_bytes for this process, by its folder in /proc, where none was given */
uint64_t hs_host_default_min_bytes(int proc_dir_fd);
/* What a file that stands for a virtual machine is called; numbers of those that the process has open, at most `room`:
 * how many there are, or -errno: that is not known. */
#define HS_HOST_VM_FILE "anon_inode:kvm-vm"
HS_MUST_USE int hs_host_vm_files(const struct hs_host_view *host, int *fds, int room);

/* host_armed.c */
HS_MUST_USE int hs_host_armed_open(struct hs_host_view *v, struct hs_error *err);
void hs_host_armed_finish(struct hs_host_view *v);
/* Looks anew. -errno: it could not be read; then all memory counts as armed. */
int hs_host_armed_look(struct hs_host_view *v);
/* The same, unless it was done so short a time ago: for steps one huge page long, of which there are many. */
#define HS_ARMED_FRESH_US 10000
void hs_host_armed_look_again(struct hs_host_view *v);

/* host_age.c */
int hs_host_age(struct hs_view *view, struct hs_error *err);
/* *cleared: false when it is not time again; then nothing was done. -errno. */
HS_MUST_USE int hs_host_clear_refs(struct hs_host_view *v, enum hs_clear_refs what, bool *cleared);
/* The page at `va` is taken for writing, and not a byte of it is written: its entry is writable, and accessed, then. */
int hs_host_make_writable(struct hs_host_view *v, uint64_t va);

/* host_read.c */
int hs_host_read(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		 struct hs_bits512 *got, struct hs_error *err);

/* host_reach.c */
int hs_host_reach(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *which, struct hs_error *err);

/* host_nodes.c */
int hs_host_nodes(struct hs_view *view, hs_huge_nr huge, hs_node_1 out[HS_BASE_PER_HUGE], struct hs_error *err);
/* Which of some huge pages, or a part of them, are where restoring would not do them good: hs_view_restore's -EXDEV.
 * What cannot be told counts as such. */
void hs_host_elsewhere(struct hs_host_view *v, const hs_huge_nr *huge, size_t nr, bool *out);

/*
 * Whether another process maps some of the first `nr` base pages of that huge page as well (a fork of the guest), other
 * than as KSM's or as the zero page: a collapse would copy those, and not free them. What cannot be told counts as
 * such.
 */
bool hs_host_is_common(struct hs_host_view *v, hs_huge_nr huge, unsigned int nr);

/* host_mapping.c */
int hs_host_split(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);
int hs_host_restore(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);
int hs_host_split_page(struct hs_view *view, hs_huge_nr huge, unsigned int base, struct hs_error *err);
void hs_host_restore_all(struct hs_host_view *v);

/* host_dontdump.c: the DONTDUMP flags that splitting uses */
int hs_host_dontdump_flag(struct hs_host_view *v, hs_huge_nr huge, bool *dontdump);
void hs_host_dontdump_forget(struct hs_host_view *v);
int hs_host_dontdump_repair(struct hs_host_view *v);
struct hs_vma_list;
int hs_host_dontdump_find(struct hs_host_view *v, const struct hs_vma_list *maps);

#endif
