/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dropping nested entries of a process that tracks its own writes: by a userfaultfd in asynchronous write-protect mode,
 * as a VMM does for snapshots. Nothing that it has tracked may be lost. (That entries are dropped:
 * tests/kvm/test_view.c.)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ept/nested_internal.h"
#include "hs_test.h"

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

struct scan_region {
	uint64_t start, end, categories;
};
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof_mask, return_mask;
};
#define SCAN       _IOWR('f', 16, struct scan)
#define IS_WRITTEN (UINT64_C(1) << 1)

#define LEN ((size_t)4 << 20)

static pid_t child;
static char *memory;
static int pagemap_fd;

/* The child tracks `memory`, has written to every second page since, and waits. */
static void track(int say)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	struct uffdio_register reg = { .range = { (uintptr_t)memory, LEN }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = { .range = { (uintptr_t)memory, LEN },
					       .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	char good;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(memory, 1, LEN);
	good = fd >= 0 && !ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &reg) &&
	       !ioctl(fd, UFFDIO_WRITEPROTECT, &protect);
	for (size_t i = 0; i < LEN; i += 2 * HS_BASE_SIZE)
		((volatile char *)memory)[i] = 2;
	if (write(say, &good, 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

static void setup(void)
{
	char path[64], good = 0;
	int say[2];

	memory = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	ck_assert_int_eq(pipe(say), 0);
	child = fork();
	if (!child)
		track(say[1]);
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(read(say[0], &good, 1), 1);
	close(say[0]);
	close(say[1]);
	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)child);
	pagemap_fd = good ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

static void teardown(void)
{
	if (pagemap_fd >= 0)
		close(pagemap_fd);
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	munmap(memory, LEN);
}

static uint64_t address(void)
{
	return (uint64_t)(uintptr_t)memory;
}

/* Pages that the child has written to, as it would find them. */
static uint64_t nr_written(void)
{
	struct scan_region v[LEN / HS_BASE_SIZE];
	struct scan s = { .size = sizeof(s),
			  .start = address(),
			  .end = address() + LEN,
			  .vec = (uint64_t)(uintptr_t)v,
			  .vec_len = LEN / HS_BASE_SIZE,
			  .mask = IS_WRITTEN,
			  .return_mask = IS_WRITTEN };
	uint64_t pages = 0;
	int n = ioctl(pagemap_fd, SCAN, &s);

	ck_assert_int_ge(n, 0);
	for (int i = 0; i < n; i++)
		pages += (v[i].end - v[i].start) / HS_BASE_SIZE;
	return pages;
}

START_TEST(test_ept_nested_drop_keeps_tracking)
{
	const uint64_t half = LEN / HS_BASE_SIZE / 2;
	struct scan protect = { .size = sizeof(protect), .flags = 1, .start = address(), .end = address() + LEN };

	if (pagemap_fd < 0) {
		printf("SKIPPED test_ept_nested_drop_keeps_tracking: this kernel does not track writes by WP_ASYNC\n");
		return;
	}
	ck_assert_uint_eq(nr_written(), half);
	ck_assert_int_eq(hs_nested_drop_range(pagemap_fd, address(), address() + LEN), 0);
	ck_assert_uint_eq(nr_written(), half);
	ck_assert_int_eq(hs_nested_drop_range(pagemap_fd, address() + HS_BASE_SIZE, address() + 9 * HS_BASE_SIZE), 0);
	ck_assert_uint_eq(nr_written(), half);
	/* What a call without conditions does, and the above must not: so this test would see it. */
	ck_assert_int_ge(ioctl(pagemap_fd, SCAN, &protect), 0);
	ck_assert_uint_eq(nr_written(), 0);
}
END_TEST

START_TEST(test_ept_nested_drop_refused)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(hs_nested_drop_range(fd, address(), address() + LEN), -ENOTTY);
	close(fd);
	if (!hs_nested_can_drop(&host)) {
		printf("SKIPPED test_ept_nested_drop_refused, in part: this kernel has no PAGEMAP_SCAN\n");
		return;
	}
	ck_assert_int_eq(hs_nested_drop_range(pagemap_fd, address() + 1, address() + LEN), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/nested_drop");
	TCase *t = tcase_create("nested_drop");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_ept_nested_drop_keeps_tracking);
	tcase_add_test(t, test_ept_nested_drop_refused);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
