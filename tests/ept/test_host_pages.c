/* SPDX-License-Identifier: Apache-2.0 */
/* Page frames, bytes, and which memory there is: the view over the host's page tables on real processes. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hs/view.h"
#include "hs_test.h"
#include "view_guest.h"

#define NR_HUGE 24

static const struct hs_host host = HS_HOST_DEFAULT;
static struct view_guest guest;
static struct hs_view *view;
static struct hs_error err;

static void open_view(enum vg_kind kind, uint32_t nr_huge)
{
	int rc;

	(void)vg_start(&guest, kind, nr_huge);
	rc = hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err);
	ck_assert_msg(!rc, "%s", err.text);
	ck_assert_uint_eq(view->nr_huge, nr_huge);
	ck_assert_uint_eq(view->regions[0].hva.v, guest.base);
}

static void close_view(void)
{
	hs_view_close(view);
	vg_stop(&guest);
}

START_TEST(test_ept_host_frames)
{
	uint32_t list[2];
	struct hs_frame f[HS_BASE_PER_HUGE];

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_view_frames(view, 2, f, &err), 0);
	ck_assert_uint_ne(f[0].pfn, 0);
	ck_assert_uint_eq(f[0].pfn % 512, 0);
	for (uint32_t b = 0; b < 512; b++) {
		ck_assert_uint_eq(f[b].pfn, f[0].pfn + b);
		ck_assert_uint_eq(f[b].flags, HS_FRAME_HUGE);
	}
	close_view();

	/* Base pages: 0 and 1 written, 2 read only (the zero page, or one of its own), 3 absent. */
	open_view(VG_BASE, 8);
	list[0] = 0;
	list[1] = 1;
	vg_touch(&guest, list, 2, true);
	list[0] = 2;
	vg_touch(&guest, list, 1, false);
	ck_assert_int_eq(hs_view_frames(view, 0, f, &err), 0);
	ck_assert(f[0].pfn && f[1].pfn && f[0].pfn != f[1].pfn && f[2].pfn);
	ck_assert_uint_eq(f[0].flags, 0);
	ck_assert_uint_eq(f[2].flags, vg_zero_page() ? HS_FRAME_ZERO : 0);
	ck_assert(!f[3].pfn && !f[3].flags);
	close_view();
}
END_TEST

/* The huge zero page is an entry, but no memory. */
START_TEST(test_ept_host_huge_zero)
{
	struct hs_huge_sample s;
	uint32_t list[1];

	if (!vg_zero_page()) {
		(void)printf("SKIPPED test_ept_host_huge_zero: this machine's kernel has no zero page for reads\n");
		return;
	}
	open_view(VG_ABSENT, 8);
	list[0] = 3 * 512;
	vg_touch(&guest, list, 1, false);
	ck_assert_int_eq(hs_view_sample_huge(view, 3, 1, &s, &err), 0);
	ck_assert(s.state == HS_MAP_ABSENT || s.state == HS_MAP_PARTIAL);
	vg_touch(&guest, list, 1, true);
	ck_assert_int_eq(hs_view_sample_huge(view, 3, 1, &s, &err), 0);
	ck_assert(s.state != HS_MAP_UNKNOWN && s.nr_present > 0); /* huge, or a table: that differs between kernels */
	close_view();
}
END_TEST

START_TEST(test_ept_host_read)
{
	enum { NR = 8 };
	uint64_t *buf = malloc(HS_HUGE_SIZE);
	struct hs_bits512 want = hs_bits_full(), got;
	uint64_t rss;

	open_view(VG_HUGE, NR);
	vg_fill(&guest, 0, NR * 512, 9);
	memset(buf, 0x5a, HS_HUGE_SIZE);
	ck_assert_int_eq(hs_view_read(view, 5, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 512);
	for (uint32_t w = 0; w < HS_HUGE_SIZE / 8; w++)
		ck_assert_uint_eq(buf[w], vg_word(9, 5 * 512 + w / 512, w % 512));
	close_view();

	/* Every third page is there; every second page is wanted. What is not got is left as it was. */
	open_view(VG_BASE, NR);
	for (uint32_t b = 0; b < 512; b += 3)
		vg_fill(&guest, 512 + b, 1, 4);
	for (uint32_t b = 1; b < 512; b += 2)
		hs_bits_clear(&want, b);
	rss = vg_smaps_kb(&guest, "Rss");
	memset(buf, 0x5a, HS_HUGE_SIZE);
	ck_assert_int_eq(hs_view_read(view, 1, &want, buf, &got, &err), 0);
	for (uint32_t b = 0; b < 512; b++) {
		bool expect = b % 6 == 0;

		ck_assert_int_eq(hs_bits_test(&got, b), expect);
		ck_assert_uint_eq(buf[b * 512 + 7], expect ? vg_word(4, 512 + b, 7) : UINT64_C(0x5a5a5a5a5a5a5a5a));
	}
	/* Nothing there at all, and nothing wanted. */
	ck_assert_int_eq(hs_view_read(view, 2, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	memset(&want, 0, sizeof(want));
	ck_assert_int_eq(hs_view_read(view, 1, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	ck_assert_uint_eq(vg_smaps_kb(&guest, "Rss"), rss);
	close_view();
	free(buf);
}
END_TEST

/* A read takes pages without marking them accessed: what we read does not look hot. */
START_TEST(test_ept_host_read_leaves_accessed_alone)
{
	struct hs_bits512 want = hs_bits_full(), got;
	struct hs_huge_sample s[NR_HUGE];
	void *buf = malloc(HS_HUGE_SIZE);

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(vg_madvise(&guest, 0, 512, MADV_NOHUGEPAGE), 0);
	ck_assert_int_eq(vg_madvise(&guest, 0, 512, MADV_DONTNEED), 0);
	vg_fill(&guest, 0, 512, 1);
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		ck_assert_int_eq(hs_view_read(view, h, &want, buf, &got, &err), 0);
		ck_assert_uint_eq(hs_bits_count(&got), 512);
	}
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(s[h].accessed, HS_NO);
	close_view();
	free(buf);
}
END_TEST

/* What the guest has in common with a child of its own stays so: no copy, and no huge mapping split. */
START_TEST(test_ept_host_read_after_fork)
{
	static const enum vg_kind kinds[] = { VG_HUGE, VG_BASE };
	static struct hs_frame before[HS_BASE_PER_HUGE], after[HS_BASE_PER_HUGE];
	struct hs_bits512 want = hs_bits_full(), got;
	uint64_t *buf = malloc(HS_HUGE_SIZE);

	for (size_t k = 0; k < 2; k++) {
		open_view(kinds[k], NR_HUGE);
		vg_fill(&guest, 0, 1024, 3);
		vg_fork(&guest);
		ck_assert_int_eq(hs_view_frames(view, 1, before, &err), 0);
		ck_assert_int_eq(hs_view_read(view, 1, &want, buf, &got, &err), 0);
		ck_assert_uint_eq(hs_bits_count(&got), 512);
		for (uint32_t w = 0; w < HS_HUGE_SIZE / 8; w++)
			ck_assert_uint_eq(buf[w], vg_word(3, 512 + w / 512, w % 512));
		ck_assert_int_eq(hs_view_frames(view, 1, after, &err), 0);
		for (uint32_t b = 0; b < 512; b++) {
			ck_assert_uint_eq(before[b].pfn, after[b].pfn);
			ck_assert_uint_eq(before[b].flags, after[b].flags);
		}
		close_view();
	}
	free(buf);
}
END_TEST

START_TEST(test_ept_host_refresh)
{
	struct hs_huge_sample s[NR_HUGE];
	struct hs_base_sample base;
	struct hs_frame f[HS_BASE_PER_HUGE];
	struct hs_bits512 want = hs_bits_full(), got;
	const hs_huge_nr gone = 7;
	void *buf = malloc(HS_HUGE_SIZE);

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	/* Flags that cut the memory into VMAs change nothing about the regions, for this view and for the next. */
	for (uint32_t p = 3; p < NR_HUGE * 512; p += 97)
		ck_assert_int_eq(vg_madvise(&guest, p, 1 + p % 5, p & 1 ? MADV_DONTDUMP : MADV_DONTFORK), 0);
	ck_assert_uint_gt(vg_nr_vmas(&guest), 200);
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	hs_view_close(view);
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err), 0);
	ck_assert_uint_eq(view->nr_regions, 1);
	ck_assert_uint_eq(view->nr_huge, NR_HUGE);

	/* New guest memory: said once asked, and the old numbers go on. */
	vg_map_more(&guest, 8);
	ck_assert_int_eq(hs_view_refresh(view, &err), -ESTALE);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	ck_assert_int_ne(s[gone].state, HS_MAP_UNKNOWN);

	/* Memory that goes: unknown from then on, in every call. */
	vg_unmap(&guest, gone * 512 + 100, 1);
	ck_assert_int_eq(hs_view_refresh(view, &err), -ESTALE);
	ck_assert_ptr_nonnull(strstr(err.text, "open a new view"));
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(s[h].state == HS_MAP_UNKNOWN, h == gone);
	ck_assert_int_eq(hs_view_sample_base(view, &gone, 1, &base, &err), 0);
	ck_assert_int_eq(base.state, HS_MAP_UNKNOWN);
	ck_assert_int_eq(hs_view_frames(view, gone, f, &err), 0);
	ck_assert_uint_eq(f[0].pfn, 0);
	ck_assert_int_eq(hs_view_read(view, gone, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	close_view();
	free(buf);
}
END_TEST

START_TEST(test_ept_host_numbers_out_of_range)
{
	struct hs_huge_sample s[2];
	struct hs_base_sample base;
	struct hs_bits512 want = { 0 }, got;
	struct hs_frame f[HS_BASE_PER_HUGE];
	hs_huge_nr beyond = NR_HUGE;
	char byte;

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE - 1, 2, s, &err), -EINVAL);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE + 1, 0, s, &err), -EINVAL);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE, 0, s, &err), 0);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE - 1, 1, s, &err), 0);
	ck_assert_int_eq(hs_view_sample_base(view, &beyond, 1, &base, &err), -EINVAL);
	ck_assert_int_eq(hs_view_frames(view, beyond, f, &err), -EINVAL);
	ck_assert_int_eq(hs_view_split(view, &beyond, 1, NULL, &err), -EINVAL);
	ck_assert_int_eq(hs_view_restore(view, &beyond, 1, NULL, &err), -EINVAL);
	ck_assert_int_eq(hs_view_read(view, beyond, &want, &byte, &got, &err), -EINVAL);
	/* No means for system calls in the guest were given. */
	beyond = 0;
	ck_assert_int_eq(hs_view_split(view, &beyond, 1, NULL, &err), -ENOTSUP);
	close_view();
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;

	if (VG_SANITIZED)
		return hs_test_skip("ept_host_pages", VG_SANITIZED_WHY);
	if (geteuid())
		return hs_test_skip("ept_host_pages", "reading page tables needs root");
	s = suite_create("ept_host_pages");
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_ept_host_frames);
	tcase_add_test(t, test_ept_host_huge_zero);
	tcase_add_test(t, test_ept_host_read);
	tcase_add_test(t, test_ept_host_read_leaves_accessed_alone);
	tcase_add_test(t, test_ept_host_read_after_fork);
	tcase_add_test(t, test_ept_host_refresh);
	tcase_add_test(t, test_ept_host_numbers_out_of_range);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
