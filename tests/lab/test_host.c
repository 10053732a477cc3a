/* SPDX-License-Identifier: Apache-2.0 */
/* The host by hand: what frames are needed, what is hot, what writes do. */
#include "lab_help.h"

#include <math.h>
#include <string.h>

#define PAGES (2 * HS_BASE_PER_HUGE) /* of a guest of 4M */

static const char twins[] = "[guests a]\ncount = 2\nmemory = 4M\naccesses = 0\nsame_group = 100\n";
static const char strangers[] =
    "[guests a]\ncount = 1\nmemory = 4M\naccesses = 0\nsame_group = 100\ngroup = one\ncopies = 2\n"
    "[guests b]\ncount = 1\nmemory = 4M\naccesses = 0\nsame_host = 100\ngroup = two\n"
    "[guests c]\ncount = 1\nmemory = 4M\naccesses = 0\nsame_host = 100\ngroup = three\n";

START_TEST(test_sim_host_counts_what_could_be_saved)
{
	struct hs_lab_host *h = lab_host(twins);

	ck_assert_uint_eq(h->present, 2 * PAGES);
	ck_assert_uint_eq(h->possible, PAGES);
	ck_assert_uint_eq(h->saved, 0);
	ck_assert_uint_eq(hs_sim_content(h->guests[0].view, 77), hs_sim_content(h->guests[1].view, 77));
	lab_check(h);
	hs_lab_host_destroy(h);
	/* All zero: every frame can go. */
	h = lab_host("[guests a]\ncount = 2\nmemory = 4M\naccesses = 0\nzero = 100\n");
	ck_assert_uint_eq(h->possible, 2 * PAGES);
	lab_check(h);
	hs_lab_host_destroy(h);
	/* Nothing but own contents. */
	h = lab_host("[guests a]\ncount = 2\nmemory = 4M\naccesses = 0\n");
	ck_assert_uint_eq(h->possible, 0);
	hs_lab_host_destroy(h);
	/* A quarter of each source. */
	h = lab_host("[guests a]\ncount = 2\nmemory = 4M\naccesses = 0\nrun = 1\nzero = 25\nsame_group = "
		     "25\nsame_within = 25\n");
	ck_assert_uint_ge(h->possible, 2 * PAGES / 4 + PAGES / 4 + PAGES / 4 - 16);
	ck_assert_uint_le(h->possible, 2 * PAGES / 4 + PAGES / 4 + PAGES / 4 + 16);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_host_groups)
{
	struct hs_lab_host *h = lab_host(strangers);

	ck_assert_uint_eq(h->nr_groups, 3);
	/* a holds each content twice; b and c are equal, but strangers */
	ck_assert_uint_eq(h->possible, PAGES / 2);
	ck_assert_uint_eq(h->possible_blind, PAGES / 2 + PAGES);
	hs_lab_merge(h, &h->guests[1], 5);
	hs_lab_merge(h, &h->guests[2], 5);
	ck_assert_uint_eq(h->saved, 0);
	lab_check(h);
	hs_lab_host_destroy(h);
	h = lab_host(strangers);
	h->blind = true;
	hs_lab_merge(h, &h->guests[1], 5);
	hs_lab_merge(h, &h->guests[2], 5);
	ck_assert_uint_eq(h->saved, 1);
	lab_check(h);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_host_merge_write_unshare)
{
	struct hs_lab_host *h = lab_host(twins);
	struct hs_lab_guest *a = &h->guests[0], *b = &h->guests[1];

	hs_lab_merge(h, a, 3);
	ck_assert_uint_eq(h->saved, 0); /* the first needs its frame */
	hs_lab_merge(h, b, 3);
	hs_lab_merge(h, b, 3); /* again: nothing */
	ck_assert_uint_eq(h->saved, 1);
	ck_assert_uint_eq(h->counts.merged, 2);
	ck_assert_uint_eq(h->counts.broken_huge, 2);
	ck_assert_uint_eq(hs_sim_state(a->view, 0), HS_MAP_SPLIT);
	ck_assert_uint_eq(hs_sim_state(a->view, 1), HS_MAP_HUGE);
	lab_check(h);
	/* One writes: the other's page is alone with its frame. */
	hs_lab_write(h, b, 3, hs_lab_own_content(h));
	ck_assert_uint_eq(h->saved, 0);
	ck_assert_uint_eq(h->counts.breaks, 1);
	ck_assert_uint_eq(h->possible, PAGES - 1);
	lab_check(h);
	/* Own content is nobody's partner. */
	hs_lab_merge(h, b, 3);
	ck_assert(!hs_lab_is_merged(h, b, 3));
	hs_lab_merge(h, b, 4);
	hs_lab_merge(h, a, 4);
	ck_assert_uint_eq(h->saved, 1);
	hs_lab_unshare(h, a, 0);
	ck_assert_uint_eq(h->saved, 0);
	ck_assert_uint_eq(hs_sim_state(a->view, 0), HS_MAP_HUGE);
	lab_check(h);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_host_zero_pages_need_no_frame)
{
	struct hs_lab_host *h = lab_host("[guests a]\nmemory = 4M\naccesses = 0\nzero = 100\n");

	hs_lab_merge(h, &h->guests[0], 0);
	ck_assert_uint_eq(h->saved, 1);
	hs_lab_write(h, &h->guests[0], 0, 0); /* zero over zero: a copy all the same */
	ck_assert_uint_eq(h->saved, 0);
	lab_check(h);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_host_held_pages)
{
	struct hs_lab_host *h = lab_host(twins);

	ck_assert_int_eq(hs_lab_hold(h, &h->guests[0], 9), 0);
	hs_lab_merge(h, &h->guests[1], 9);
	ck_assert_uint_eq(h->saved, 1);
	ck_assert_uint_eq(hs_sim_state(h->guests[0].view, 0), HS_MAP_HUGE);
	lab_check(h);
	hs_lab_write(h, &h->guests[0], 9, 0);
	ck_assert_uint_eq(h->saved, 0);
	lab_check(h);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_host_huge_sets)
{
	struct hs_lab_host *h = lab_host(twins);
	uint32_t set;

	ck_assert_int_eq(hs_lab_new_set(h, &set), 0);
	ck_assert_int_eq(hs_lab_merge_huge(h, &h->guests[0], 1, set), 0);
	ck_assert_int_eq(hs_lab_merge_huge(h, &h->guests[1], 1, set), 0);
	ck_assert_uint_eq(h->saved, 512);
	ck_assert_uint_eq(hs_sim_state(h->guests[0].view, 1), HS_MAP_HUGE);
	lab_check(h);
	hs_lab_write(h, &h->guests[1], 700, 1);
	ck_assert_uint_eq(h->saved, 0);
	ck_assert_uint_eq(h->counts.breaks_huge, 1);
	lab_check(h);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_host_classes)
{
	struct hs_lab_host *h = lab_host("[guests a]\nmemory = 200M\neven = 20\nskewed = 30\nhot_min = 7\nhot_max = 7\n"
					 "warm = 10\nabsent = 10\nstream = 10\naccesses = 100000\n");
	uint32_t n[6] = { 0 };

	for (hs_huge_nr huge = 0; huge < 100; huge++) {
		const enum hs_lab_class class = hs_lab_class_of(&h->guests[0], huge);
		const struct hs_bits512 hot = hs_lab_hot_pages(&h->guests[0], huge);

		n[class]++;
		if (class == HS_LAB_EVEN)
			ck_assert_uint_eq(hs_bits_count(&hot), 512);
		if (class == HS_LAB_SKEWED)
			ck_assert_uint_eq(hs_bits_count(&hot), 7);
		if (class == HS_LAB_COLD || class == HS_LAB_ABSENT)
			ck_assert_uint_eq(hs_bits_count(&hot), 0);
		/* 100000 accesses over 50 hot huge pages */
		if (class == HS_LAB_EVEN || class == HS_LAB_SKEWED)
			ck_assert_double_eq_tol(hs_lab_rate_of(&h->guests[0], huge), 2000, 1e-6);
	}
	ck_assert_uint_eq(n[HS_LAB_EVEN], 20);
	ck_assert_uint_eq(n[HS_LAB_SKEWED], 30);
	ck_assert_uint_eq(n[HS_LAB_WARM], 10);
	ck_assert_uint_eq(n[HS_LAB_STREAM], 10);
	ck_assert_uint_eq(n[HS_LAB_ABSENT], 10);
	ck_assert_uint_eq(n[HS_LAB_COLD], 20);
	ck_assert_uint_eq(h->present, 90 * 512);
	hs_lab_host_destroy(h);
}
END_TEST

/* What the views show of the work: hot base pages are met, cold ones never. */
START_TEST(test_sim_host_accesses)
{
	struct hs_lab_host *h = lab_host("[guests a]\nmemory = 40M\nskewed = 50\nhot_min = 12\nhot_max = 12\n"
					 "accesses = 100000\nwrite = 0\n");
	struct hs_lab_guest *g = &h->guests[0];
	struct hs_base_sample s;

	for (hs_huge_nr huge = 0; huge < g->nr_huge; huge++)
		hs_sim_break_huge(g->view, huge);
	ck_assert_int_eq(hs_view_age(g->view, NULL), 0);
	ck_assert_int_eq(h->clock.sleep_us(h->clock.ctx, 1000000), 0);
	for (hs_huge_nr huge = 0; huge < g->nr_huge; huge++) {
		const struct hs_bits512 hot = hs_lab_hot_pages(g, huge);

		ck_assert_int_eq(hs_view_sample_base(g->view, &huge, 1, &s, NULL), 0);
		ck_assert_mem_eq(&s.accessed, &hot, sizeof(hot));
	}
	/* All of them through base mappings, with 10 * 12 base pages in use. */
	ck_assert_double_eq_tol(h->counts.accesses_base, 100000, 1);
	ck_assert_double_eq_tol(h->counts.base_by_pages[6], 100000, 1);
	ck_assert_double_eq(h->counts.accesses_huge, 0);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_host_phases_and_streams)
{
	struct hs_lab_host *h = lab_host("[guests a]\nmemory = 100M\neven = 20\nphase_seconds = 2\naccesses = 10000\n"
					 "stream = 20\nstream_rate = 10\nstream_writes = yes\nsame_within = 100\n");
	struct hs_lab_guest *g = &h->guests[0];
	uint32_t moved = 0;
	bool was[50];

	for (hs_huge_nr huge = 0; huge < 50; huge++)
		was[huge] = hs_lab_class_of(g, huge) == HS_LAB_EVEN;
	ck_assert_int_eq(h->clock.sleep_us(h->clock.ctx, 1000000), 0);
	ck_assert_uint_eq(hs_lab_phase_of(g), 0);
	ck_assert_int_eq(h->clock.sleep_us(h->clock.ctx, 1500000), 0);
	ck_assert_uint_eq(hs_lab_phase_of(g), 1);
	for (hs_huge_nr huge = 0; huge < 50; huge++)
		moved += was[huge] && hs_lab_class_of(g, huge) != HS_LAB_EVEN;
	ck_assert_uint_gt(moved, 4);
	/* 25 MiB gone through, page by page, with content of its own; its part is 20 MiB. */
	for (hs_base_nr page = 40 * 512; page < 50 * 512; page++)
		ck_assert_uint_ge(hs_sim_content(g->view, page), HS_LAB_OWN);
	lab_check(h);
	hs_lab_host_destroy(h);
}
END_TEST

/* Contents at the end are the same whoever looked on the way. */
START_TEST(test_sim_host_contents_do_not_depend_on_the_looks)
{
	static const char busy[] =
	    "[guests a]\ncount = 2\nmemory = 60M\neven = 20\nskewed = 20\ncold_writes = 100\n"
	    "rewrite_same = 30\nsame_group = 50\nphase_seconds = 1\nstream = 10\nstream_writes = yes\n";
	struct hs_lab_host *x = lab_host(busy), *y = lab_host(busy);

	ck_assert_int_eq(x->clock.sleep_us(x->clock.ctx, 3000000), 0);
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(hs_view_age(y->guests[0].view, NULL), 0);
		hs_sim_break_huge(y->guests[0].view, (hs_huge_nr)i % 30);
		ck_assert_int_eq(y->clock.sleep_us(y->clock.ctx, 15000), 0);
	}
	for (int g = 0; g < 2; g++)
		for (hs_base_nr page = 0; page < 30 * 512; page++)
			ck_assert_uint_eq(hs_sim_content(x->guests[g].view, page),
					  hs_sim_content(y->guests[g].view, page));
	ck_assert_uint_gt(x->counts.writes, 1000);
	lab_check(x);
	lab_check(y);
	hs_lab_host_destroy(x);
	hs_lab_host_destroy(y);
}
END_TEST

START_TEST(test_sim_host_costs_by_hand)
{
	struct hs_lab_result r = { .guest_cpu_seconds = 10 };
	struct hs_lab_costs c;

	hs_lab_costs_none(&c);
	hs_lab_apply_costs(&r, &c);
	ck_assert_double_eq(r.slowdown, 0); /* nothing done: nothing to pay, whatever it costs */
	ck_assert_double_eq(r.cpu_seconds, 0);
	r.counts.breaks = 1000;
	hs_lab_apply_costs(&r, &c);
	ck_assert(isnan(r.slowdown)); /* something done at an unknown price */
	ck_assert_double_eq(r.cpu_seconds, 0);
	for (int i = 0; i < HS_LAB_NR_COSTS; i++)
		c.ns[i] = 0;
	c.ns[HS_LAB_COST_BREAK] = 2000;
	c.ns[HS_LAB_COST_WALK] = 5;       /* up to 256 base pages */
	c.ns[HS_LAB_COST_WALK + 3] = 100; /* 2048 and more */
	r.counts.base_by_pages[2] = 1e6;
	r.counts.base_by_pages[11] = 1e7;
	hs_lab_apply_costs(&r, &c);
	/* 2 ms of breaks, 5 ms and 1 s of walks, in 10 s */
	ck_assert_double_eq_tol(r.slowdown, 0.1007, 1e-9);
	c.ns[HS_LAB_COST_HASH] = 200;
	c.ns[HS_LAB_COST_KSM_SCAN] = 1000;
	r.spent.hashed = 1000000;
	r.counts.scanned = 500000;
	hs_lab_apply_costs(&r, &c);
	ck_assert_double_eq_tol(r.cpu_seconds, 0.7, 1e-9);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab/host");
	TCase *c = tcase_create("host");

	tcase_add_test(c, test_sim_host_counts_what_could_be_saved);
	tcase_add_test(c, test_sim_host_groups);
	tcase_add_test(c, test_sim_host_merge_write_unshare);
	tcase_add_test(c, test_sim_host_zero_pages_need_no_frame);
	tcase_add_test(c, test_sim_host_held_pages);
	tcase_add_test(c, test_sim_host_huge_sets);
	tcase_add_test(c, test_sim_host_classes);
	tcase_add_test(c, test_sim_host_accesses);
	tcase_add_test(c, test_sim_host_phases_and_streams);
	tcase_add_test(c, test_sim_host_contents_do_not_depend_on_the_looks);
	tcase_add_test(c, test_sim_host_costs_by_hand);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
