/* SPDX-License-Identifier: Apache-2.0 */
/* Shared first, then demoted: what is merged stays mapped and shared, what is left of the memory goes. */
#include "share/engine_scene.h"

#include <unistd.h>

#include "hs/tier.h"
#include "own_swap.h"

static uint32_t merged(uint32_t i)
{
	uint32_t nr = 0;

	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		struct hs_bits512 wanted, shared;
		uint32_t breaks;

		hs_share_state(share, ids[i], h, &wanted, &shared, &breaks);
		nr += hs_bits_count(&shared);
	}
	return nr;
}

START_TEST(test_tier_merged_stays)
{
	struct hs_tier_config tiers = HS_TIER_CONFIG_DEFAULT;
	const struct hs_bits512 all = hs_bits_full();
	uint32_t shared, said = 0, moved = 0;
	struct hs_tier_guest *tg;
	struct hs_tier *tier;

	tiers.pages_per_s = 0;
	start_guests();
	open_engine();
	share_all();
	shared = merged(0);
	ck_assert_uint_gt(shared, 0);
	swap_on(64 * 1024);
	ck_assert_msg(hs_tier_create(&tier, &host, &tiers, &wall, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_tier_open_guest(&tg, tier, guests[0].view, &err) == 0, "%s", err.text);
	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++) {
		struct hs_tier_moved m;

		ck_assert_msg(hs_tier_demote(tg, h, &all, &m, &err) == 0, "%s", err.text);
		said += m.not_moved[HS_TIER_MERGED] + m.not_moved[HS_TIER_ZERO];
		moved += hs_bits_count(&m.moved);
	}
	ck_assert_uint_ge(said, shared);
	ck_assert_uint_gt(moved, 0);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	ck_assert_uint_eq(merged(0), shared);
	check_intact();
	hs_tier_close_guest(tg);
	hs_tier_destroy(tier);
	close_engine();
	swap_off();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_tier_merged_stays);
}

int main(void)
{
	int rc = geteuid() ? hs_test_skip("tier/merged", "needs root") : own_swap_make("tier/merged");

	if (rc)
		return rc;
	rc = engine_scene_main("tier/merged", add);
	own_swap_remove();
	return rc;
}
