/* SPDX-License-Identifier: Apache-2.0 */
/* Undoing of zero pages alone, on a made-up view: what of a huge page is not there, or not known, gets no memory. */
#include <unistd.h>

#include "hs/zero.h"
#include "hs_test.h"

#define NR_HUGE 4
#define HOLEY   2 /* the huge page of which the guest gives something back */

static char dir[] = "/tmp/hs-zero-undo-XXXXXX";
static struct hs_host host;
static bool split[NR_HUGE];
static struct hs_bits512 absent;

/* Huge pages that hold zeros alone: split, they are on the zero page. */
static int frames(struct hs_view *v, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	(void)v;
	(void)err;
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (huge != HOLEY || !hs_bits_test(&absent, i))
			out[i] = split[huge] ? (struct hs_frame){ .pfn = 1, .flags = HS_FRAME_ZERO }
					     : (struct hs_frame){ .pfn = (huge + 1) * 512 + i, .flags = HS_FRAME_HUGE };
	return 0;
}

static int split_page(struct hs_view *v, hs_huge_nr huge, unsigned int base, struct hs_error *err)
{
	(void)v;
	(void)base;
	(void)err;
	split[huge] = true;
	return 0;
}

/* As the kernel does: what is not there gets memory. */
static int restore(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	(void)v;
	(void)err;
	for (size_t i = 0; i < nr; i++) {
		if (huge[i] == HOLEY)
			hs_bits_clear_all(&absent);
		split[huge[i]] = false;
		results[i] = 0;
	}
	return 0;
}

START_TEST(test_share_zero_undo_leaves_holes)
{
	static const struct hs_view_ops ops = {
		.name = "made up", .frames = frames, .split_page = split_page, .restore = restore
	};
	struct hs_region region = { .hva = { 1 << 30 }, .nr_huge = NR_HUGE };
	struct hs_view view = { .ops = &ops, .regions = &region, .nr_regions = 1, .nr_huge = NR_HUGE, .pid = getpid() };
	const struct hs_share_guest as = { .name = "guest", .view = &view };
	struct hs_share_config cfg = hs_share_config_default;
	const struct hs_bits512 all = hs_bits_full();
	struct hs_share_unshared u;
	struct hs_share_applied a;
	struct hs_zero *zero;
	uint64_t left = 1;
	uint32_t id;

	cfg.min_free_percent = 0;
	ck_assert_int_eq(hs_zero_create(&zero, &host, &cfg, NULL), 0);
	ck_assert_int_eq(hs_zero_add_guest(zero, &as, &id, NULL), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(hs_zero_want(zero, id, h, &all), 0);
	ck_assert_int_eq(hs_zero_apply(zero, id, &a, NULL), 0);
	ck_assert_uint_eq(a.nr_applied, NR_HUGE);
	for (unsigned int i = 100; i < 200; i++)
		hs_bits_set(&absent, i);
	ck_assert_int_eq(hs_zero_unshare(zero, id, NULL, 0, &u, NULL), 0);
	ck_assert_uint_eq(hs_bits_count(&absent), 100);
	ck_assert_uint_eq(u.nr_huge, NR_HUGE);
	ck_assert_uint_eq(u.nr_collapsed, NR_HUGE - 1);
	ck_assert_uint_eq(u.nr_base, 1);
	ck_assert_uint_eq(u.nr_failed, 0);
	/* There is nothing left to undo. */
	ck_assert_int_eq(hs_zero_find_left(&host, view.pid, &left, NULL), 0);
	ck_assert_uint_eq(left, 0);
	hs_zero_destroy(zero);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;
	int rc;

	if (hs_zero_supported(NULL))
		return hs_test_skip("share_zero_undo", "it needs Linux 6.12 or later");
	if (!mkdtemp(dir))
		return EXIT_FAILURE;
	host = HS_HOST_DEFAULT;
	host.state_dir = dir;
	s = suite_create("share/zero_undo");
	t = tcase_create("made up");
	tcase_add_test(t, test_share_zero_undo_leaves_holes);
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	(void)rmdir(dir);
	return rc;
}
