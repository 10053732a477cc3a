/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node as a tier. Where the machine has two nodes with memory, pages move to the last and back; on any machine: what
 * is on the tier's node counts as demoted, and nothing is brought back where there is nowhere else to go.
 */
#include "tier_scene.h"

#include <errno.h>
#include <unistd.h>

#include "ept/view_guest.h"

#define NR 8

static struct view_guest vg;
static struct hs_tier *tier;
static struct hs_tier_guest *tg;

/* The last node with memory; 0: there is one alone. */
static uint32_t last_node(void)
{
	uint32_t last = 0;

	for (uint32_t n = 0; n < 64; n++) {
		struct hs_tier_config cfg = { .kind = HS_TIER_NODE, .node = n };
		struct hs_tier *t;

		if (hs_tier_create(&t, &host, &cfg, &real_time, NULL))
			continue;
		last = n;
		hs_tier_destroy(t);
	}
	return last;
}

static void open_tier(uint32_t node)
{
	const struct hs_tier_config cfg = { .kind = HS_TIER_NODE, .node = node };

	ck_assert_msg(hs_tier_create(&tier, &host, &cfg, &real_time, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_tier_open_guest(&tg, tier, view, &err) == 0, "%s", err.text);
}

static void start(void)
{
	(void)vg_start(&vg, VG_HUGE, NR);
	vg_fill(&vg, 0, NR * HS_BASE_PER_HUGE, 5);
	ck_assert_msg(hs_view_open_host(&view, &host, vg.pid, NULL, VG_MIN_BYTES, &err) == 0, "%s", err.text);
}

static void finish(void)
{
	hs_tier_close_guest(tg);
	hs_tier_destroy(tier);
	hs_view_close(view);
	vg_stop(&vg);
}

START_TEST(test_tier_node_here)
{
	const struct hs_bits512 all = hs_bits_full();
	hs_node_1 node[HS_BASE_PER_HUGE];
	struct hs_tier_moved m;
	struct hs_tier_room r;
	struct hs_bits512 now;
	uint32_t here;

	start();
	ck_assert_msg(hs_view_nodes(view, 2, node, &err) == 0, "%s", err.text);
	ck_assert_uint_ge(node[0], 1);
	here = node[0] - 1U;
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		ck_assert_uint_eq(node[i], node[0]);
	open_tier(here);
	ck_assert_int_eq(hs_tier_room(tier, tg, &r, &err), 0);
	ck_assert_uint_gt(r.bytes, 0);
	ck_assert_uint_ge(r.limit, r.left);
	ck_assert_int_eq(hs_tier_where(tg, 2, &now, &err), 0);
	ck_assert(hs_bits_equal(&now, &all));
	ck_assert_int_eq(hs_tier_demote(tg, 2, &all, &m, &err), 0);
	ck_assert_uint_eq(m.not_moved[HS_TIER_THERE], HS_BASE_PER_HUGE);
	if (!last_node()) {
		ck_assert_int_eq(hs_tier_promote(tg, 2, &all, &m, &err), -ENOMEM);
		ck_assert_ptr_nonnull(strstr(err.text, "no node but"));
	}
	finish();
}
END_TEST

/* A huge page of which any is on a slow node is not restored: it might land there. */
START_TEST(test_tier_node_restore)
{
	const hs_huge_nr h = 2;
	hs_node_1 node[HS_BASE_PER_HUGE];
	int result = 0;

	start();
	ck_assert_int_eq(hs_view_split_page(view, h, 0, &err), 0);
	ck_assert_int_eq(hs_view_nodes(view, h, node, &err), 0);
	hs_view_slow_nodes(view, UINT64_C(1) << (node[0] - 1));
	ck_assert_int_eq(hs_view_restore(view, &h, 1, &result, &err), 0);
	ck_assert_int_eq(result, -EXDEV);
	hs_view_slow_nodes(view, UINT64_C(1) << 63);
	ck_assert_int_eq(hs_view_restore(view, &h, 1, &result, &err), 0);
	ck_assert_int_eq(result, 0);
	hs_view_close(view);
	vg_stop(&vg);
}
END_TEST

START_TEST(test_tier_node_moves)
{
	const uint32_t slow = last_node();
	const struct hs_bits512 all = hs_bits_full();
	struct hs_bits512 some = { { 0 } }, now;
	struct hs_tier_moved m;
	uint64_t sum;

	if (!slow) {
		(void)printf("SKIPPED test_tier_node_moves: this machine has one node with memory\n");
		return;
	}
	start();
	sum = vg_sum(&vg, 0, NR * HS_BASE_PER_HUGE);
	open_tier(slow);
	hs_bits_set_range(&some, 16, 400);
	ck_assert_msg(hs_tier_demote(tg, 1, &some, &m, &err) == 0, "%s", err.text);
	ck_assert(hs_bits_equal(&m.moved, &some));
	ck_assert_int_eq(hs_tier_where(tg, 1, &now, &err), 0);
	ck_assert(hs_bits_equal(&now, &some));
	ck_assert_msg(hs_tier_demote(tg, 2, &all, &m, &err) == 0, "%s", err.text);
	ck_assert(hs_bits_equal(&m.moved, &all));
	ck_assert_uint_eq(vg_sum(&vg, 0, NR * HS_BASE_PER_HUGE), sum);
	for (hs_huge_nr h = 1; h < 3; h++) {
		ck_assert_msg(hs_tier_promote(tg, h, &all, &m, &err) == 0, "%s", err.text);
		ck_assert_int_eq(hs_tier_where(tg, h, &now, &err), 0);
		ck_assert(hs_bits_none(&now));
	}
	ck_assert_uint_eq(vg_sum(&vg, 0, NR * HS_BASE_PER_HUGE), sum);
	finish();
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;

	if (VG_SANITIZED)
		return hs_test_skip("tier/node", VG_SANITIZED_WHY);
	if (geteuid())
		return hs_test_skip("tier/node", "moving other processes' memory needs root");
	s = suite_create("tier/node");
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_tier_node_here);
	tcase_add_test(t, test_tier_node_restore);
	tcase_add_test(t, test_tier_node_moves);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
