/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the page-table walk's BPF program and its loader share: a table of requests, filled by the loader, and the
 * answers. Both sides include this after their own definition of __u64, __u32 and __s32.
 */
#ifndef HS_EPT_BPF_HOST_WALK_ABI_H
#define HS_EPT_BPF_HOST_WALK_ABI_H

/* Requests of one run. Each has a page of 4096 bytes in the result map, so this is also 1 MiB of locked memory. */
#define HS_WALK_MAX_REQS 256
#define HS_WALK_PAGE     4096

enum hs_walk_kind {
	HS_WALK_PMD_PAGE = 0, /* copy the table with the 512 huge entries of the GiB around `va` */
	HS_WALK_PTE_PAGE,     /* entry of the huge page around `va`, and its table of base entries if it has one */
	HS_WALK_PMD_ENTRY,    /* that entry alone */
	HS_WALK_DATA,         /* copy the 4 KiB of memory that `va` is mapped to: only ever used on ourselves */
};

enum hs_walk_status {
	HS_WALK_COPIED = 0, /* a table (or the data) stands in the result page */
	HS_WALK_ENTRY,      /* only `entry` is known: it points to no table, or no table was asked for */
	HS_WALK_NONE,       /* a table above is not there: nothing is mapped in this whole GiB (or more) */
	HS_WALK_LEAF_1G,    /* mapped by a 1 GiB entry */
	HS_WALK_CHANGED,    /* the entry that points to the table changed while the table was copied */
	HS_WALK_FAULT,      /* a read went nowhere */
};

struct hs_walk_req {
	__u64 va;    /* or a guest-physical address, where the tables are nested ones */
	__u64 entry; /* out: what points to the table asked for: a PUD entry for a PMD page, else a PMD entry */
	__u32 kind;
	__u32 status; /* out */
};

struct hs_walk_run {
	/* in */
	__u64 mm;        /* struct mm_struct; 0: our own process */
	__u64 base;      /* of the kernel's direct map of physical memory */
	__u64 phys_mask; /* the bits of an entry that are a physical address: no flags, no encryption bit */
	__u64 top;       /* the kernel's address of the top table; 0: the process's own */
	__u64 present;   /* the bit of an entry that leads or maps somewhere */
	__u32 levels;    /* 4 or 5 */
	__u32 nr;        /* requests */
	/* out */
	__u64 pgd;
	__s32 users_before; /* mm_users: 0 when the process has left this address space */
	__s32 users_after;
	__s32 map_count; /* VMAs */
	__u32 pad;
};

/* The address space behind a file descriptor of /proc/PID/pagemap or /proc/PID/mem. */
struct hs_walk_find {
	__u32 fd; /* in */
	__u32 pad;
	__u64 mm;     /* out; 0: not found */
	__u64 own_mm; /* out: of the calling thread */
	__u64 pgd;    /* out: of mm */
};

#endif
