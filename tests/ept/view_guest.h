/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for the view's live suites: a child process with a stretch of private anonymous memory that it leaves alone
 * unless told otherwise, so that a test knows which pages were touched, are there, and what they contain.
 */
#ifndef HS_TESTS_EPT_VIEW_GUEST_H
#define HS_TESTS_EPT_VIEW_GUEST_H

#include <sys/types.h>

#include "hs/types.h"

/* The guest is a fork of the suite. */
#ifndef __has_feature
#define __has_feature(x) 0 /* gcc */
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define VG_SANITIZED 1
#else
#define VG_SANITIZED 0
#endif
#define VG_SANITIZED_WHY "the address sanitizer maps terabytes in its guest that look like guest memory"

enum vg_kind {
	VG_HUGE,   /* huge pages, all present */
	VG_ABSENT, /* allowed to be huge, nothing touched yet */
	VG_BASE,   /* NOHUGEPAGE, nothing touched yet */
	VG_SHARED, /* a memfd */
	VG_HUGETLB,
};

enum vg_arm { VG_ARM_NONE, VG_ARM_MISSING, VG_ARM_WP };

enum { VG_MAX_PAGES = 65536 };

/* Memory that guest and test have in common (not part of the guest's memory: it is shared). */
struct vg_box {
	uint32_t op;
	uint32_t nr;
	uint64_t start, len; /* offsets into the guest's memory */
	uint32_t as;
	int arg;
	int error;
	uint64_t answer;
	volatile uint64_t spins;
	uint32_t pages[VG_MAX_PAGES + 64]; /* base pages */
};

struct view_guest {
	pid_t pid;
	int to, from; /* pipes */
	uint64_t base;
	uint32_t nr_huge;
	struct vg_box *box;
};

#define VG_MIN_BYTES (UINT64_C(8) << 20)

/* Starts a guest with nr_huge huge pages; fails the test when that does not work. False: VG_HUGETLB without pages. */
bool vg_start(struct view_guest *g, enum vg_kind kind, uint32_t nr_huge);
void vg_stop(struct view_guest *g); /* also when it has been killed already */

/* Of each base page in pages[nr] the first byte is read, or written with what it was. */
void vg_touch(struct view_guest *g, const uint32_t *pages, uint32_t nr, bool write);
/* Every word of the range gets vg_word's value. */
void vg_fill(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, uint32_t seed);
/* One base page, with the content that vg_fill gives to page `as`. */
void vg_fill_as(struct view_guest *g, uint32_t page, uint32_t as, uint32_t seed);
uint64_t vg_sum(struct view_guest *g, uint32_t first_page, uint32_t nr_pages);
int vg_madvise(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, int advice); /* 0 or -errno */
int vg_lock(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, bool lock);     /* mlock; 0 or -errno */
/* A userfaultfd is registered with it; VG_ARM_NONE: with nothing any more. 0 or -errno: the kernel cannot. */
int vg_arm(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, enum vg_arm how);
/* As NUMA balancing leaves the entries: present, but out of the hardware's reach; or back as they were. */
void vg_protect(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, bool none);
void vg_unmap(struct view_guest *g, uint32_t first_page, uint32_t nr_pages);
void vg_map_more(struct view_guest *g, uint32_t nr_huge); /* a further stretch, elsewhere */
/* A child of the guest that does nothing, and has its memory in common with it until vg_stop. */
void vg_fork(struct view_guest *g);
void vg_stop_child(struct view_guest *g); /* its last one */
/* Reads of pages[nr], over and over, until vg_stop. Returns at once. */
void vg_spin(struct view_guest *g, const uint32_t *pages, uint32_t nr);

/*
 * Whether this machine's kernel maps its zero page for a read of memory that was never written: some give a page of its
 * own at once. Found out by a read in the test itself; fails the test when the kernel does not tell.
 */
bool vg_zero_page(void);

/* From the kernel's files: kB of a field of smaps_rollup; number of VMAs. */
uint64_t vg_smaps_kb(const struct view_guest *g, const char *field);
uint32_t vg_nr_vmas(const struct view_guest *g);

/* What vg_fill put into word `word` of a base page. */
uint64_t vg_word(uint32_t seed, uint32_t page, uint32_t word);

#endif
