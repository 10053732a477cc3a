/* SPDX-License-Identifier: Apache-2.0 */
/* Each policy on hosts so small that what it does can be said beforehand. */
#include "lab_help.h"

#include <math.h>

#define MIB (UINT64_C(1) << 20)

/* Two guests of 8 huge pages, equal page for page. */
#define TWINS                                                                                                          \
	"[host]\nseconds = 30\n[guests a]\ncount = 2\nmemory = 16M\nsame_group = 100\nwrite = 0\naccesses = 64000\n"

START_TEST(test_sim_policies_on_cold_twins)
{
	static const char text[] = TWINS;

	ck_assert_uint_eq(lab_run(text, &hs_lab_none, NULL).saved_bytes, 0);
	ck_assert_uint_eq(lab_run(text, &hs_lab_ksm, NULL).saved_bytes, 16 * MIB);
	ck_assert_uint_eq(lab_run(text, &hs_lab_ksm_huge, NULL).saved_bytes, 16 * MIB);
	ck_assert_uint_eq(lab_run(text, &hs_lab_ingens, NULL).saved_bytes, 16 * MIB);
	ck_assert_uint_eq(lab_run(text, &hs_lab_zero_scan, NULL).saved_bytes, 0);
	ck_assert_uint_eq(lab_run(text, &hs_lab_hugescope, NULL).saved_bytes, 16 * MIB);
	ck_assert_uint_eq(lab_run(text, &hs_lab_hs_share, NULL).saved_bytes, 16 * MIB);
	ck_assert_uint_eq(lab_run(text, &hs_lab_oracle, NULL).saved_bytes, 16 * MIB);
	/* ksm_huge breaks nothing for it, ksm everything. */
	ck_assert_uint_eq(lab_run(text, &hs_lab_ksm_huge, NULL).counts.broken_huge, 0);
	ck_assert_uint_eq(lab_run(text, &hs_lab_ksm, NULL).counts.broken_huge, 16);
}
END_TEST

START_TEST(test_sim_policies_on_evenly_hot_twins)
{
	static const char text[] = TWINS "even = 100\n";
	const struct hs_lab_policy *const whole[] = { &hs_lab_none, &hs_lab_ingens, &hs_lab_hugescope, &hs_lab_hs_share,
						      &hs_lab_oracle };
	struct hs_lab_result r;

	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
		r = lab_run(text, whole[i], NULL);
		ck_assert_msg(r.saved_bytes == 0, "%s", whole[i]->name);
		ck_assert_uint_eq(r.wrong_splits, 0);
		ck_assert_uint_eq(r.missed_bytes, 0);
		/* A fine window is all that may cost a huge mapping. */
		ck_assert_double_ge(r.hot_huge, whole[i] == &hs_lab_hugescope ? 0.7 : 0.95);
	}
	r = lab_run(text, &hs_lab_ksm, NULL);
	ck_assert_uint_eq(r.saved_bytes, 16 * MIB);
	ck_assert_uint_eq(r.wrong_splits, 16);
	ck_assert_double_le(r.hot_huge, 0.1);
}
END_TEST

/* Skewed: what neither guest has hot is shared, no more, no less. */
START_TEST(test_sim_policies_on_skewed_twins)
{
	static const char text[] = TWINS "skewed = 100\nhot_min = 16\nhot_max = 16\n";
	struct hs_lab_host *h = lab_host(text);
	struct hs_lab_result r;
	uint64_t both_cold = 0;

	for (hs_huge_nr huge = 0; huge < 8; huge++) {
		const struct hs_bits512 hot =
		    hs_bits_or(hs_lab_hot_pages(&h->guests[0], huge), hs_lab_hot_pages(&h->guests[1], huge));

		both_cold += HS_BASE_PER_HUGE - hs_bits_count(&hot);
	}
	hs_lab_host_destroy(h);
	r = lab_run(text, &hs_lab_hs_share, NULL);
	ck_assert_uint_eq(r.saved_bytes, both_cold * HS_BASE_SIZE);
	ck_assert_uint_eq(r.spent.split, 16);
	ck_assert_uint_eq(r.missed_bytes, 0);
	r = lab_run(text, &hs_lab_hugescope, NULL);
	/* Once split, its hot base pages are mapped alone and become candidates as well: that is its rule. */
	ck_assert_uint_ge(r.saved_bytes, both_cold * HS_BASE_SIZE);
	r = lab_run(text, &hs_lab_oracle, NULL);
	ck_assert_uint_eq(r.saved_bytes, both_cold * HS_BASE_SIZE);
	ck_assert_uint_eq(lab_run(text, &hs_lab_ingens, NULL).saved_bytes, 0);
	ck_assert_uint_eq(lab_run(text, &hs_lab_ksm, NULL).saved_bytes, 16 * MIB);
}
END_TEST

START_TEST(test_sim_policies_zero_scan)
{
	static const char text[] =
	    "[host]\nseconds = 10\n[guests a]\nmemory = 16M\nzero = 25\nrun = 1\naccesses = 0\nsame_within = 50\n";
	struct hs_lab_result r = lab_run(text, &hs_lab_zero_scan, NULL);
	struct hs_lab_host *h = lab_host(text);

	/* Only the zero pages, and each of them whole. */
	ck_assert_uint_eq(r.saved_bytes, (uint64_t)h->live[0] * HS_BASE_SIZE);
	ck_assert_uint_eq(r.counts.broken_huge, 8);
	hs_lab_host_destroy(h);
}
END_TEST

START_TEST(test_sim_policies_ksm_takes_two_passes_at_its_rate)
{
	static struct hs_lab_costs none;
	struct hs_lab_options o = hs_lab_options_default(&none);

	hs_lab_costs_none(&none);
	/* 8192 base pages in all, 1024 a second: the first pass ends after 8 s, and only then can anything match. */
	o.scan_rate = 1024;
	for (int i = 0; i < 2; i++) {
		static const char *const text[] = {
			"[guests a]\ncount = 2\nmemory = 16M\nsame_group = 100\naccesses = 0\n[host]\nseconds = 7.5\n",
			"[guests a]\ncount = 2\nmemory = 16M\nsame_group = 100\naccesses = 0\n[host]\nseconds = 17\n"
		};
		const struct hs_lab_result r = lab_run(text[i], &hs_lab_ksm, &o);

		ck_assert_uint_eq(r.saved_bytes, i ? 16 * MIB : 0);
	}
}
END_TEST

START_TEST(test_sim_policies_quirks)
{
	static const char text[] = TWINS "skewed = 100\nhot_min = 16\nhot_max = 16\n";
	static struct hs_lab_costs none;
	struct hs_lab_options o = hs_lab_options_default(&none);
	struct hs_lab_result r;

	hs_lab_costs_none(&none);
	o.quirks = true;
	r = lab_run(text, &hs_lab_hugescope, &o);
	/* All of the 8 huge pages that a guest has but for base page 0 of each; the first holder of each content is not
	 * split, and hot base pages are offered. */
	ck_assert_uint_eq(r.saved_bytes, 16 * MIB - 8 * HS_BASE_SIZE);
	ck_assert_uint_eq(r.counts.broken_huge, 8);
}
END_TEST

START_TEST(test_sim_policies_trust_groups)
{
	static const char text[] = "[host]\nseconds = 20\n"
				   "[guests a]\nmemory = 16M\nsame_host = 100\ngroup = one\naccesses = 0\n"
				   "[guests b]\nmemory = 16M\nsame_host = 100\ngroup = two\naccesses = 0\n";

	/* The rivals know no groups. */
	ck_assert_uint_eq(lab_run(text, &hs_lab_ksm, NULL).saved_bytes, 16 * MIB);
	ck_assert_uint_eq(lab_run(text, &hs_lab_hs_share, NULL).saved_bytes, 0);
	ck_assert_uint_eq(lab_run(text, &hs_lab_hs_share, NULL).possible_bytes, 0);
	ck_assert_uint_eq(lab_run(text, &hs_lab_oracle, NULL).saved_bytes, 0);
}
END_TEST

/* Hot memory moves onto what was shared: it is given back, and what turned cold is shared instead. */
START_TEST(test_sim_policies_hs_share_unshares_what_turns_hot)
{
	static const char text[] =
	    "[host]\nseconds = 150\n[guests a]\ncount = 2\nmemory = 32M\nsame_group = 100\nwrite = 0\n"
	    "accesses = 32000\neven = 25\nphase_seconds = 40\nphase_move = 25\n";
	const struct hs_lab_result r = lab_run(text, &hs_lab_hs_share, NULL);

	ck_assert_uint_gt(r.counts.collapsed, 0);
	ck_assert_uint_gt(r.saved_bytes, 0);
}
END_TEST

/* Writes to what is shared: each is a break, and the saving goes. */
START_TEST(test_sim_policies_writes_break_sharing)
{
	static const char text[] = TWINS "cold_writes = 2000\n";
	const struct hs_lab_result r = lab_run(text, &hs_lab_ksm, NULL);

	ck_assert_uint_gt(r.counts.breaks, 100);
	ck_assert_uint_lt(r.saved_bytes, 16 * MIB);
	/* What was written to own content can be shared no more: what is left is what is possible. */
	ck_assert_uint_le(r.saved_bytes, r.possible_bytes);
}
END_TEST

/* The oracle does not share what is about to be written. */
START_TEST(test_sim_policies_oracle_knows_the_writes)
{
	static const char text[] = TWINS "cold_writes = 2000\n";
	const struct hs_lab_result r = lab_run(text, &hs_lab_oracle, NULL);

	ck_assert_uint_eq(r.counts.breaks, 0);
	ck_assert_uint_gt(r.saved_bytes, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lab/policies");
	TCase *c = tcase_create("policies");

	tcase_add_test(c, test_sim_policies_on_cold_twins);
	tcase_add_test(c, test_sim_policies_on_evenly_hot_twins);
	tcase_add_test(c, test_sim_policies_on_skewed_twins);
	tcase_add_test(c, test_sim_policies_zero_scan);
	tcase_add_test(c, test_sim_policies_ksm_takes_two_passes_at_its_rate);
	tcase_add_test(c, test_sim_policies_quirks);
	tcase_add_test(c, test_sim_policies_trust_groups);
	tcase_add_test(c, test_sim_policies_hs_share_unshares_what_turns_hot);
	tcase_add_test(c, test_sim_policies_writes_break_sharing);
	tcase_add_test(c, test_sim_policies_oracle_knows_the_writes);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
