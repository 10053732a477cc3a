/* SPDX-License-Identifier: Apache-2.0 */
/* Trust groups in the engine: what ksmd merged across them is found by the frames and parted, and nothing else is. */
#include "engine_scene.h"

#include <errno.h>
#include <string.h>

#include "base/hostfile.h"
#include "share/engine_internal.h"

/* Base pages of one guest whose KSM frame a guest of the other side maps as well. */
static uint32_t in_common(uint32_t a, uint32_t b)
{
	static uint64_t seen[NR_HUGE * HS_BASE_PER_HUGE];
	struct hs_frame frames[HS_BASE_PER_HUGE];
	uint32_t nr = 0, common = 0;

	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		ck_assert_int_eq(hs_view_frames(guests[a].view, h, frames, &err), 0);
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
			if (frames[i].flags & HS_FRAME_KSM)
				seen[nr++] = frames[i].pfn;
	}
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		ck_assert_int_eq(hs_view_frames(guests[b].view, h, frames, &err), 0);
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
			for (uint32_t k = 0; k < nr && (frames[i].flags & HS_FRAME_KSM); k++)
				common += seen[k] == frames[i].pfn;
	}
	return common;
}

START_TEST(test_share_engine_groups_parted)
{
	struct hs_ledger l;
	uint64_t parted = 1;
	uint32_t before;

	start_guests();
	open_engine();
	/* All want the same, as if a guest had written into mergeable memory what the other group has. */
	share_all();
	ck_assert_int_eq(hs_share_part_groups(share, &parted, &err), 0);
	ck_assert_uint_eq(parted, 0); /* one group: nothing to part */
	before = in_common(0, 1);
	ck_assert_uint_gt(before, 0);
	ck_assert_uint_gt(in_common(0, 2), 0);

	ck_assert_int_eq(hs_share_set_group(share, ids[2], 7), 0);
	ck_assert_msg(hs_share_part_groups(share, &parted, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(parted, 0);
	ck_assert_uint_eq(in_common(0, 2), 0);
	ck_assert_uint_eq(in_common(1, 2), 0);
	ck_assert_uint_eq(in_common(0, 1), before); /* who is in one group stays together */
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.group_conflicts, parted);

	/* It is parted for good: another burst does not merge them again. */
	burst_and_verify();
	ck_assert_int_eq(hs_share_part_groups(share, &parted, &err), 0);
	ck_assert_uint_eq(parted, 0);
	ck_assert_uint_eq(in_common(0, 2), 0);
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

START_TEST(test_share_engine_groups_claims)
{
	struct hs_bits512 want = { { 0xff } }, allowed = { { 0xffff } }, claims;

	start_guests();
	open_engine();
	hs_share_claims(share, ids[0], 3, &claims);
	ck_assert_uint_eq(hs_bits_count(&claims), 0);
	ck_assert_int_eq(hs_share_want(share, ids[0], 3, &want, &allowed), 0);
	hs_share_claims(share, ids[0], 3, &claims);
	ck_assert_uint_eq(hs_bits_count(&claims), 16);
	ck_assert_int_eq(hs_share_set_group(share, 99, 1), -EINVAL);
	close_engine();
}
END_TEST

#define FIRST   (HOT_HUGE * HS_BASE_PER_HUGE)
#define NR_COLD ((NR_HUGE - HOT_HUGE) * HS_BASE_PER_HUGE)

static uint64_t max_vmas(void)
{
	uint64_t max;

	ck_assert_int_eq(hs_hostfile_u64("/proc", "sys/vm/max_map_count", &max), 0);
	return max * cfg.vma_percent / 100;
}

static void want_cold(uint32_t i)
{
	const struct hs_bits512 full = hs_bits_full();
	struct hs_share_applied a;

	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++)
		ck_assert_int_eq(hs_share_want(share, ids[i], h, &full, NULL), 0);
	ck_assert_msg(hs_share_apply(share, ids[i], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.pages_dropped, 0);
}

/* Guests 1 and 2 are a group, and share all their cold memory. Guest 0 is another and came first; all its cold memory
 * is mergeable, and has nothing to share. */
static void start_group_of_two(void)
{
	struct hs_share_burst b;

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		for (uint32_t p = 0; p < guests[i].nr_pages; p++)
			guests[i].content[p] = p < FIRST || !i ? (i + 1) * 1000000 + p : 1 + p;
		test_guest_start(&guests[i]);
	}
	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		ck_assert_int_eq(hs_share_set_group(share, ids[i], i ? 7 : 0), 0);
		want_cold(i);
	}
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_int_eq(hs_share_verify(share, ids[i], &err), 0);
	ck_assert_uint_ge(in_common(1, 2), NR_COLD * 99 / 100);
	ck_assert_uint_eq(in_common(0, 1), 0);
}

/* Guest 0 writes what it guesses of the others into each `step`th page. */
static void guess(uint32_t step)
{
	struct hs_share_burst b;

	for (uint32_t p = FIRST; p < guests[0].nr_pages; p += step)
		test_guest_write(&guests[0], p, guests[1].content[p]);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_uint_ge(in_common(0, 1), NR_COLD / step * 9 / 10);
}

/* Who writes a guess loses by it, though it came first: the others keep what they share, and their VMAs. */
START_TEST(test_share_engine_groups_newcomer_parted)
{
	struct test_smaps before[NR_GUESTS];
	struct hs_ledger l[NR_GUESTS];
	uint64_t parted;

	start_group_of_two();
	for (uint32_t i = 1; i < NR_GUESTS; i++) {
		before[i] = test_guest_smaps(&guests[i]);
		hs_share_ledger(share, ids[i], &l[i]);
	}
	guess(16);
	ck_assert_msg(hs_share_part_groups(share, &parted, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(parted, 0);
	ck_assert_uint_eq(in_common(0, 1), 0);
	for (uint32_t i = 1; i < NR_GUESTS; i++) {
		struct hs_ledger now;

		ck_assert_int_eq(hs_share_verify(share, ids[i], &err), 0);
		hs_share_ledger(share, ids[i], &now);
		ck_assert_uint_eq(now.shared, l[i].shared);
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).nr_vmas, before[i].nr_vmas);
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, before[i].mg_bytes);
	}
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* More to part than there are VMAs for: whole ranges are given back, and what is left of them is within the budget. */
START_TEST(test_share_engine_groups_parted_within_budget)
{
	struct hs_share_applied a;
	struct test_smaps m;
	uint64_t parted;

	cfg.vma_percent = 1;
	start_group_of_two();
	guess(4); /* 2560 VMAs, page by page; the budget is some 600 */
	ck_assert_msg(hs_share_part_groups(share, &parted, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(parted, 1000);
	m = test_guest_smaps(&guests[0]);
	ck_assert_uint_le(m.nr_vmas, max_vmas());
	ck_assert_uint_eq(in_common(0, 1), 0);
	ck_assert_uint_eq(in_common(0, 2), 0);
	/* And it stays there: nothing is given and taken in turns. */
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_le(test_guest_smaps(&guests[0]).nr_vmas, max_vmas());
	check_intact();
	close_engine();
}
END_TEST

/* What is another group's and mergeable still: its mark goes before ksmd runs. */
START_TEST(test_share_engine_groups_barred)
{
	const struct hs_bits512 some = { { 0xff } };
	struct hs_share_applied a;
	struct hs_share_burst b;
	struct hs_ledger l;
	uint64_t mergeable;

	start_group_of_two();
	mergeable = test_guest_smaps(&guests[1]).mg_bytes;
	/* Left to the burst it is gone before ksmd runs. */
	ck_assert_int_eq(hs_share_forgo(share, ids[1], HOT_HUGE, &some), 0);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(test_guest_smaps(&guests[1]).mg_bytes, mergeable - 8 * HS_BASE_SIZE);
	/* Asked for again after all: it is barred no more. Forgone again: gone with the next apply. */
	want_cold(1);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_share_forgo(share, ids[1], HOT_HUGE, &some), 0);
	ck_assert_msg(hs_share_apply(share, ids[1], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(test_guest_smaps(&guests[1]).mg_bytes, mergeable - 8 * HS_BASE_SIZE);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_share_verify(share, ids[1], &err), 0);
	hs_share_ledger(share, ids[1], &l);
	ck_assert_uint_ge(l.shared + 8, NR_COLD * 99 / 100);
	ck_assert_uint_eq(l.marked, NR_COLD - 8);
	ck_assert_int_eq(hs_share_forgo(share, 99, 0, &some), -EINVAL);
	ck_assert_int_eq(hs_share_forgo(share, ids[1], NR_HUGE, &some), -EINVAL);
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

static bool is_ksm(uint32_t guest, uint32_t page)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];

	ck_assert_int_eq(hs_view_frames(guests[guest].view, page / HS_BASE_PER_HUGE, frames, &err), 0);
	return frames[page % HS_BASE_PER_HUGE].flags & HS_FRAME_KSM;
}

/* A guest that has no room to be parted keeps nobody else from being merged; and nothing more is merged with what it
 * has of another group, by whomever. */
START_TEST(test_share_engine_groups_no_room_to_part)
{
	const uint32_t fresh = FIRST + 5, alike = FIRST + 7;
	struct hs_share_burst b;
	uint32_t before[NR_GUESTS];
	uint64_t parted;

	start_group_of_two();
	guess(16);
	share->cfg.min_free_percent = 100;
	ck_assert_int_eq(hs_share_part_groups(share, &parted, &err), -EAGAIN);
	ck_assert_uint_eq(parted, 0);
	for (uint32_t i = 1; i < NR_GUESTS; i++) {
		before[i] = in_common(0, i);
		ck_assert_uint_gt(before[i], 0);
		test_guest_write(&guests[i], fresh, 7000000);
	}
	/* The content of a frame that guest 0 cannot leave. */
	ck_assert(is_ksm(0, FIRST));
	test_guest_write(&guests[2], alike, guests[1].content[FIRST]);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert(is_ksm(1, fresh));
	ck_assert(is_ksm(2, fresh));
	ck_assert(!is_ksm(2, alike));
	for (uint32_t i = 1; i < NR_GUESTS; i++)
		ck_assert_uint_le(in_common(0, i), before[i]);
	/* With room again it is parted. */
	share->cfg.min_free_percent = 0;
	ck_assert_msg(hs_share_part_groups(share, &parted, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(parted, 0);
	ck_assert_uint_eq(in_common(0, 1) + in_common(0, 2), 0);
	check_intact();
	close_engine();
}
END_TEST

static int unread_frames(struct hs_view *v, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *e)
{
	(void)v;
	(void)huge;
	(void)out;
	return hs_error_set(e, -EIO, "as the test asked");
}

/* Whose frames cannot be read may share some with another group: no burst until they could be. */
START_TEST(test_share_engine_groups_unread)
{
	const struct hs_view_ops *real;
	struct hs_view_ops ops;
	struct hs_share_burst b;
	uint64_t parted;

	start_group_of_two();
	guess(16);
	real = guests[0].view->ops;
	ops = *real;
	ops.frames = unread_frames;
	guests[0].view->ops = &ops;
	ck_assert_int_eq(hs_share_part_groups(share, &parted, &err), -EIO);
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err.text, "could not be looked at"));
	ck_assert_uint_eq(ksm_run(), 0);
	guests[0].view->ops = real;
	ck_assert_msg(hs_share_part_groups(share, &parted, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(parted, 0);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	check_intact();
	close_engine();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_groups_newcomer_parted);
	tcase_add_test(t, test_share_engine_groups_parted_within_budget);
	tcase_add_test(t, test_share_engine_groups_barred);
	tcase_add_test(t, test_share_engine_groups_unread);
	tcase_add_test(t, test_share_engine_groups_no_room_to_part);
	tcase_add_test(t, test_share_engine_groups_parted);
	tcase_add_test(t, test_share_engine_groups_claims);
}

int main(void)
{
	return engine_scene_main("share/engine_groups", add);
}
