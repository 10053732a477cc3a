/* Trust groups in the engine: what ksmd merged across them is found by the frames and parted, and nothing else is. */
#include "engine_scene.h"

#include <errno.h>
#include <string.h>

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

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_groups_parted);
	tcase_add_test(t, test_share_engine_groups_claims);
}

int main(void)
{
	return engine_scene_main("share/engine_groups", add);
}
