/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that a userfaultfd is registered with is left alone: not split, not restored, not read, and unknown, with the
 * reason. On real processes.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ept/host_internal.h"
#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "view_guest.h"

#define NR_HUGE 16

static const struct hs_host host = HS_HOST_DEFAULT;
static struct view_guest guest;
static struct hs_view *view;
static struct hs_remote *remote;
static struct hs_error err;
static struct hs_huge_sample huge[NR_HUGE];

static void setup(void)
{
	int rc;

	(void)vg_start(&guest, VG_HUGE, NR_HUGE);
	rc = hs_remote_open(&remote, &host, guest.pid, &err);
	ck_assert_msg(!rc, "%s", err.text);
	rc = hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err);
	ck_assert_msg(!rc, "%s", err.text);
}

static void teardown(void)
{
	hs_view_close(view);
	hs_remote_close(remote);
	vg_stop(&guest);
}

/* False: this kernel cannot. */
static bool arm(hs_huge_nr first, uint32_t nr, enum vg_arm how)
{
	int rc = vg_arm(&guest, first * HS_BASE_PER_HUGE, nr * HS_BASE_PER_HUGE, how);

	if (rc)
		printf("SKIPPED test_ept_host_armed, in part: a userfaultfd cannot be had here: %s\n", strerror(-rc));
	return !rc;
}

/* Of the base pages of one huge page, how many are write-protected for a userfaultfd: bit 57 of pagemap. */
static unsigned int nr_protected(hs_huge_nr h)
{
	uint64_t entries[HS_BASE_PER_HUGE];
	unsigned int nr = 0;
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)guest.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(
	    pread(fd, entries, sizeof(entries), (off_t)((guest.base + h * HS_HUGE_SIZE) / HS_BASE_SIZE * 8)),
	    sizeof(entries));
	close(fd);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		nr += (entries[i] >> 57) & 1;
	return nr;
}

/* Exactly those huge pages are unknown, with that reason. */
static void expect_armed(const char *which, enum hs_view_reason reason)
{
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, huge, &err), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		struct hs_base_sample base;

		ck_assert_int_eq(hs_view_sample_base(view, &h, 1, &base, &err), 0);
		if (which[h] == 'x') {
			ck_assert_msg(huge[h].state == HS_MAP_UNKNOWN && huge[h].accessed == HS_UNKNOWN &&
					  base.state == HS_MAP_UNKNOWN,
				      "huge page %u", h);
			ck_assert_int_eq(hs_view_why(view, h), reason);
			continue;
		}
		ck_assert_msg(huge[h].state != HS_MAP_UNKNOWN && base.state != HS_MAP_UNKNOWN, "huge page %u", h);
		ck_assert_int_eq(hs_view_why(view, h), HS_VIEW_NO_REASON);
	}
}

START_TEST(test_ept_host_armed_left_alone)
{
	static const hs_huge_nr some[] = { 3, 5, 10, 11 };
	static char buf[HS_HUGE_SIZE];
	const struct hs_bits512 all = hs_bits_full();
	struct hs_bits512 got;
	int results[4];
	uint32_t vmas;

	expect_armed("................", HS_VIEW_NO_REASON);
	/* Four huge pages, protected; and of a fifth one base page, registered for missing pages alone. */
	if (!arm(4, 4, VG_ARM_WP))
		return;
	ck_assert_int_eq(vg_arm(&guest, 10 * HS_BASE_PER_HUGE + 77, 1, VG_ARM_MISSING), 0);
	ck_assert_uint_eq(nr_protected(5), HS_BASE_PER_HUGE);
	ck_assert_int_eq(hs_view_refresh(view, &err), 0); /* it is the guest's memory as before */
	expect_armed("....xxxx..x.....", HS_VIEW_USERFAULTFD);
	ck_assert_ptr_nonnull(strstr(hs_view_reason_text(hs_view_why(view, 5)), "userfaultfd"));

	vmas = vg_nr_vmas(&guest);
	ck_assert_int_eq(hs_view_split(view, some, 4, results, &err), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -ENOENT);
	ck_assert_int_eq(results[2], -ENOENT);
	ck_assert_int_eq(results[3], 0);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(hs_view_age(view, &err), 0);
	expect_armed("....xxxx..x.....", HS_VIEW_USERFAULTFD);
	ck_assert_int_eq(huge[3].state, HS_MAP_SPLIT);
	ck_assert_int_eq(hs_view_read(view, 5, &all, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	ck_assert_int_eq(hs_view_read(view, 9, &all, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), HS_BASE_PER_HUGE);
	ck_assert_int_eq(hs_view_restore(view, some, 4, results, &err), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EAGAIN);
	ck_assert_int_eq(results[2], -EAGAIN);
	ck_assert_int_eq(results[3], 0);
	ck_assert_uint_eq(vg_nr_vmas(&guest), vmas);
	for (hs_huge_nr h = 4; h < 8; h++)
		ck_assert_uint_eq(nr_protected(h), HS_BASE_PER_HUGE);
}
END_TEST

/* Registered after the last look: the huge page itself is not split either, which some kernels lose the protection by.
 */
START_TEST(test_ept_host_armed_before_its_page_is_split)
{
	static struct hs_frame f[HS_BASE_PER_HUGE];

	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	ck_assert_int_eq(hs_view_split_page(view, 3, 7, &err), 0);
	if (!arm(4, 4, VG_ARM_WP))
		return;
	(void)usleep(2 * HS_ARMED_FRESH_US);
	ck_assert_int_eq(hs_view_split_page(view, 5, 7, &err), -EAGAIN);
	ck_assert_int_eq(hs_view_why(view, 5), HS_VIEW_USERFAULTFD);
	ck_assert_int_eq(hs_view_frames(view, 5, f, &err), 0);
	ck_assert(f[7].flags & HS_FRAME_HUGE);
	ck_assert_uint_eq(nr_protected(5), HS_BASE_PER_HUGE);
	ck_assert_int_eq(hs_view_split_page(view, 8, 7, &err), 0);
}
END_TEST

/* Registered after it was split: the restore waits until that is over. */
START_TEST(test_ept_host_armed_meanwhile)
{
	static const hs_huge_nr some[] = { 2, 12 };
	int results[2];

	ck_assert_int_eq(hs_view_split(view, some, 2, results, &err), 0);
	ck_assert(!results[0] && !results[1]);
	if (!arm(12, 1, VG_ARM_WP))
		return;
	ck_assert_int_eq(hs_view_restore(view, some, 2, results, &err), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EAGAIN);
	expect_armed("............x...", HS_VIEW_USERFAULTFD);
	ck_assert_uint_eq(nr_protected(12), HS_BASE_PER_HUGE);
	ck_assert(arm(0, 0, VG_ARM_NONE));
	ck_assert_int_eq(hs_view_restore(view, some, 2, results, &err), 0);
	ck_assert(!results[0] && !results[1]);
	expect_armed("................", HS_VIEW_NO_REASON);
	ck_assert_int_eq(huge[12].state, HS_MAP_HUGE);
}
END_TEST

/* What cannot be read is unknown, never "none": here for want of a file descriptor. */
START_TEST(test_ept_host_armed_unreadable)
{
	static const hs_huge_nr one = 7;
	struct rlimit before, none;
	int result;

	ck_assert_int_eq(hs_view_age(view, &err), 0);
	expect_armed("................", HS_VIEW_NO_REASON);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(hs_view_split(view, &one, 1, &result, &err), 0);
	ck_assert_int_eq(result, -ENOENT);
	expect_armed("xxxxxxxxxxxxxxxx", HS_VIEW_FLAGS_UNREAD);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(hs_view_split(view, &one, 1, &result, &err), 0);
	ck_assert_int_eq(result, 0);
	expect_armed("................", HS_VIEW_NO_REASON);
	ck_assert_int_eq(hs_view_restore(view, &one, 1, &result, &err), 0);
	ck_assert_int_eq(result, 0);
}
END_TEST

/* More of them than one read of the iterator gives: none is missed. */
START_TEST(test_ept_host_armed_many)
{
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	for (uint32_t i = 0; i < 8 * HS_BASE_PER_HUGE; i += 2) { /* hundreds of VMAs side by side */
		if (i % 16 && i % 18)
			continue;
		ck_assert_int_eq(vg_madvise(&guest, i, 1, 16 /* MADV_DONTDUMP */), 0);
	}
	if (!arm(0, 8, VG_ARM_MISSING) || !arm(15, 1, VG_ARM_MISSING))
		return;
	ck_assert_uint_gt(vg_nr_vmas(&guest), 500);
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	expect_armed("xxxxxxxx.......x", HS_VIEW_USERFAULTFD);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept_host_armed");
	TCase *t = tcase_create("live");

	if (geteuid())
		return hs_test_skip("ept/host_armed", "it takes root to look into a process");
	if (VG_SANITIZED)
		return hs_test_skip("ept/host_armed", VG_SANITIZED_WHY);
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_ept_host_armed_left_alone);
	tcase_add_test(t, test_ept_host_armed_before_its_page_is_split);
	tcase_add_test(t, test_ept_host_armed_meanwhile);
	tcase_add_test(t, test_ept_host_armed_unreadable);
	tcase_add_test(t, test_ept_host_armed_many);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
