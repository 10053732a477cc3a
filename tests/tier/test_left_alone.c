/* SPDX-License-Identifier: Apache-2.0 */
/* What never moves, and why it is said to stay: on a process whose every page is known (tests/ept/view_guest.h). */
#include "tier_scene.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ept/view_guest.h"

#define NR 8

static struct view_guest vg;
static struct hs_tier *tier;
static struct hs_tier_guest *tg;

static void start(enum vg_kind kind)
{
	struct hs_tier_config cfg = HS_TIER_CONFIG_DEFAULT;

	cfg.pages_per_s = 0;
	swap_on(64 * 1024);
	(void)vg_start(&vg, kind, NR);
	ck_assert_msg(hs_view_open_host(&view, &host, vg.pid, NULL, VG_MIN_BYTES, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_tier_create(&tier, &host, &cfg, &real_time, &err) == 0, "%s", err.text);
}

static void enter(void)
{
	ck_assert_msg(hs_tier_open_guest(&tg, tier, view, &err) == 0, "%s", err.text);
}

static void finish(void)
{
	hs_tier_close_guest(tg);
	hs_tier_destroy(tier);
	hs_view_close(view);
	vg_stop(&vg);
	swap_off();
}

/* Demotes all of a huge page, again while the kernel keeps some for a moment: how many went; *last is the last answer.
 */
static unsigned int demote(hs_huge_nr h, struct hs_tier_moved *last)
{
	struct hs_bits512 went = { { 0 } };
	uint64_t deadline = 0;

	do {
		const struct hs_bits512 want = hs_bits_andnot(hs_bits_full(), went);

		ck_assert_msg(hs_tier_demote(tg, h, &want, last, &err) == 0, "%s", err.text);
		went = hs_bits_or(went, last->moved);
	} while (last->not_moved[HS_TIER_KEPT] && before(&deadline, 30));
	return hs_bits_count(&went);
}

static void check_sum(uint64_t sum)
{
	ck_assert_uint_eq(vg_sum(&vg, 0, NR * HS_BASE_PER_HUGE), sum);
}

START_TEST(test_tier_left_alone_locked)
{
	struct hs_tier_moved m;
	uint64_t sum;

	start(VG_HUGE);
	vg_fill(&vg, 0, NR * HS_BASE_PER_HUGE, 5);
	sum = vg_sum(&vg, 0, NR * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vg_lock(&vg, 2 * HS_BASE_PER_HUGE, HS_BASE_PER_HUGE + 100, true), 0);
	enter();
	ck_assert_uint_eq(demote(2, &m), 0);
	ck_assert_uint_eq(m.not_moved[HS_TIER_LOCKED], HS_BASE_PER_HUGE);
	ck_assert_uint_eq(demote(3, &m), HS_BASE_PER_HUGE - 100);
	ck_assert_uint_eq(m.not_moved[HS_TIER_LOCKED], 100);
	ck_assert_uint_eq(demote(4, &m), HS_BASE_PER_HUGE);
	check_sum(sum);
	finish();
}
END_TEST

/* Locked since the look: the kernel refuses it, and the rest goes all the same. */
START_TEST(test_tier_left_alone_locked_meanwhile)
{
	struct hs_tier_moved m;

	start(VG_HUGE);
	vg_fill(&vg, 0, NR * HS_BASE_PER_HUGE, 5);
	enter();
	ck_assert_int_eq(vg_lock(&vg, HS_BASE_PER_HUGE + 100, 50, true), 0);
	/* By the page frames' flags, or by the next look. */
	ck_assert_uint_eq(demote(1, &m), HS_BASE_PER_HUGE - 50);
	ck_assert_uint_eq(m.not_moved[HS_TIER_LOCKED] + m.not_moved[HS_TIER_KEPT], 50);
	finish();
}
END_TEST

START_TEST(test_tier_left_alone_watched)
{
	struct hs_tier_moved m;

	start(VG_HUGE);
	vg_fill(&vg, 0, NR * HS_BASE_PER_HUGE, 5);
	if (vg_arm(&vg, 2 * HS_BASE_PER_HUGE, HS_BASE_PER_HUGE, VG_ARM_MISSING)) {
		(void)printf("SKIPPED test_tier_left_alone_watched: this kernel has no userfaultfd\n");
		enter();
		finish();
		return;
	}
	enter();
	ck_assert_uint_eq(demote(2, &m), 0);
	ck_assert_uint_eq(m.not_moved[HS_TIER_WATCHED], HS_BASE_PER_HUGE);
	ck_assert_uint_eq(demote(3, &m), HS_BASE_PER_HUGE);
	finish();
}
END_TEST

/* What a child has in common with it: taken from neither. */
START_TEST(test_tier_left_alone_shared)
{
	struct hs_tier_moved m;

	start(VG_HUGE);
	vg_fill(&vg, 0, NR * HS_BASE_PER_HUGE, 5);
	vg_fork(&vg);
	enter();
	ck_assert_uint_eq(demote(2, &m), 0);
	ck_assert_uint_eq(m.not_moved[HS_TIER_SHARED] + m.not_moved[HS_TIER_MERGED], HS_BASE_PER_HUGE);
	finish();
}
END_TEST

/* Never touched is not demoted, and neither is it brought back. */
START_TEST(test_tier_left_alone_empty)
{
	const struct hs_bits512 all = hs_bits_full();
	struct hs_base_sample b;
	struct hs_tier_moved m;
	const hs_huge_nr h = 1;
	uint32_t one = 2 * HS_BASE_PER_HUGE;

	start(VG_BASE);
	vg_fill(&vg, HS_BASE_PER_HUGE + 10, 20, 5);
	vg_touch(&vg, &one, 1, false); /* the zero page, where reads get it */
	enter();
	ck_assert_uint_eq(demote(h, &m), 20);
	ck_assert_uint_eq(m.not_moved[HS_TIER_EMPTY], HS_BASE_PER_HUGE - 20);
	ck_assert_int_eq(hs_view_sample_base(view, &h, 1, &b, &err), 0);
	ck_assert_int_eq(b.state, HS_MAP_ABSENT);
	ck_assert_uint_eq(hs_bits_count(&b.swapped), 20);
	ck_assert_uint_eq(hs_bits_count(&b.empty), HS_BASE_PER_HUGE - 20);
	ck_assert_int_eq(hs_tier_promote(tg, h, &all, &m, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&m.moved), 20);
	ck_assert_uint_eq(m.not_moved[HS_TIER_EMPTY], HS_BASE_PER_HUGE - 20);
	ck_assert_int_eq(hs_view_sample_base(view, &h, 1, &b, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&b.present), 20);
	ck_assert_uint_eq(hs_bits_count(&b.empty), HS_BASE_PER_HUGE - 20);
	if (vg_zero_page()) {
		ck_assert_uint_eq(demote(2, &m), 0);
		ck_assert_uint_eq(m.not_moved[HS_TIER_ZERO], 1);
	}
	finish();
}
END_TEST

/* What is wanted outside of the guest, of a guest that is none, of a tier that is none. */
START_TEST(test_tier_left_alone_wrong)
{
	const struct hs_bits512 all = hs_bits_full(), none = { { 0 } };
	struct hs_tier_config cfg = HS_TIER_CONFIG_DEFAULT;
	struct hs_tier_moved m;
	struct hs_bits512 now;

	start(VG_HUGE);
	enter();
	ck_assert_int_eq(hs_tier_demote(tg, NR, &all, &m, &err), -EINVAL);
	ck_assert_int_eq(hs_tier_promote(tg, NR, &all, &m, &err), -EINVAL);
	ck_assert_int_eq(hs_tier_where(tg, NR, &now, &err), -EINVAL);
	ck_assert_int_eq(hs_tier_demote(tg, 0, &none, &m, &err), 0);
	ck_assert(hs_bits_none(&m.moved));
	ck_assert_str_eq(hs_tier_why_name(HS_TIER_NR_WHY), "unknown");
	for (enum hs_tier_why a = 0; a < HS_TIER_NR_WHY; a++)
		for (enum hs_tier_why b = 0; b < a; b++)
			ck_assert_str_ne(hs_tier_why_name(a), hs_tier_why_name(b));
	finish();
	cfg.kind = HS_TIER_NODE + 1;
	ck_assert_int_eq(hs_tier_create(&tier, &host, &cfg, &real_time, &err), -EINVAL);
	cfg = (struct hs_tier_config){ .kind = HS_TIER_NODE, .node = 64 };
	ck_assert_int_eq(hs_tier_create(&tier, &host, &cfg, &real_time, &err), -EINVAL);
	cfg.node = 63;
	ck_assert_int_eq(hs_tier_create(&tier, &host, &cfg, &real_time, &err), -ENODATA);
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_tier_left_alone_locked);
	tcase_add_test(t, test_tier_left_alone_locked_meanwhile);
	tcase_add_test(t, test_tier_left_alone_watched);
	tcase_add_test(t, test_tier_left_alone_shared);
	tcase_add_test(t, test_tier_left_alone_empty);
	tcase_add_test(t, test_tier_left_alone_wrong);
}

int main(void)
{
	if (VG_SANITIZED)
		return hs_test_skip("tier/left_alone", VG_SANITIZED_WHY);
	return tier_scene_main("tier/left_alone", add);
}
