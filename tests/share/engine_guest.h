/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Process guests for the engine's live suites: private anonymous memory in huge pages, page by page with contents that
 * the test chooses and the guest itself checks. A content is a number; 0 is a zero page. Numbers are salted with the
 * test's process id, so that nothing else on the host has the same pages.
 */
#ifndef HS_TESTS_SHARE_ENGINE_GUEST_H
#define HS_TESTS_SHARE_ENGINE_GUEST_H

#include "hs/remote.h"
#include "hs/view.h"

enum { TEST_GUEST_HUGEPAGE = 0, TEST_GUEST_PLAIN, TEST_GUEST_NOHUGEPAGE };

struct test_guest {
	pid_t pid;
	int to, from;      /* pipes */
	uint32_t *content; /* [nr_pages], shared with the guest */
	uint32_t nr_huge, nr_pages;
	uint64_t addr;
	struct hs_view *view;
	struct hs_remote *remote;
	bool mergeable; /* before the start: marks all its memory mergeable, as QEMU does */
	int advice;     /* before the start: its own on huge pages, TEST_GUEST_... */
	bool busy;      /* before the start: a second thread that never sleeps */
	bool dry;       /* before the opening: a remote that has no effects */
};

/* content[] is to be filled between the two. Ends with the test (parent-death signal). */
void test_guest_init(struct test_guest *g, uint32_t nr_huge);
void test_guest_start(struct test_guest *g);

/* Opens remote and view. */
void test_guest_open(struct test_guest *g, const struct hs_host *host);
void test_guest_close(struct test_guest *g);

void test_guest_write(struct test_guest *g, uint32_t page, uint32_t content);
void test_guest_read(struct test_guest *g, uint32_t page);
void test_guest_unmap(struct test_guest *g, hs_huge_nr huge); /* as when a DIMM is unplugged */
void test_guest_drop(struct test_guest *g, uint32_t page);    /* as a balloon does; its content is 0 from now on */
/* Maps 4 MiB that are no guest memory to the view, contents from content + 1 on, and marks them mergeable. */
void test_guest_map_mergeable(struct test_guest *g, uint32_t content);
/* Write-protects all its memory through a userfaultfd, and serves it. errno. */
uint64_t test_guest_arm(struct test_guest *g);
uint64_t test_guest_events(struct test_guest *g); /* writes that were reported to it */
/* It keeps a reference on the page's frame for good, in a pipe, as a device or io_uring does. */
void test_guest_hold(struct test_guest *g, uint32_t page);
/* Pages whose bytes are not what they should be. */
uint32_t test_guest_bad(struct test_guest *g);
void test_guest_kill(struct test_guest *g);

/* Of the guest's memory, from smaps. */
struct test_smaps {
	uint64_t rss_bytes, ksm_bytes;
	uint64_t huge_bytes, mg_bytes, nh_bytes, hg_bytes;
	uint64_t nr_vmas; /* of the whole process */
};
struct test_smaps test_guest_smaps(const struct test_guest *g);

#endif
