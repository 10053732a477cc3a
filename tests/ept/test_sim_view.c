/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated guest behaves as a real one where it matters: tests of everything above stand on it. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "hs/sim_view.h"

static struct hs_view *open_guest(uint32_t nr_huge, uint8_t state, uint32_t guest)
{
	struct hs_sim_config cfg = { .nr_huge = nr_huge, .state = state, .guest = guest };
	struct hs_view *v;

	ck_assert_int_eq(hs_view_open_sim(&v, &cfg), 0);
	return v;
}

static struct hs_huge_sample sample(struct hs_view *v, hs_huge_nr huge)
{
	struct hs_huge_sample s;

	ck_assert_int_eq(hs_view_sample_huge(v, huge, 1, &s, NULL), 0);
	return s;
}

static struct hs_base_sample sample_base(struct hs_view *v, hs_huge_nr huge)
{
	struct hs_base_sample s;

	ck_assert_int_eq(hs_view_sample_base(v, &huge, 1, &s, NULL), 0);
	return s;
}

static int split(struct hs_view *v, hs_huge_nr huge)
{
	int result = 1;

	ck_assert_int_eq(hs_view_split(v, &huge, 1, &result, NULL), 0);
	return result;
}

static int restore(struct hs_view *v, hs_huge_nr huge)
{
	int result = 1;

	ck_assert_int_eq(hs_view_restore(v, &huge, 1, &result, NULL), 0);
	return result;
}

static struct hs_frame frame(struct hs_view *v, hs_base_nr page)
{
	struct hs_frame f[HS_BASE_PER_HUGE];

	ck_assert_int_eq(hs_view_frames(v, page / HS_BASE_PER_HUGE, f, NULL), 0);
	return f[page % HS_BASE_PER_HUGE];
}

START_TEST(test_ept_sim_view_open)
{
	static const struct {
		struct hs_sim_config cfg;
		int rc;
	} cases[] = {
		{ { .nr_huge = 1, .state = HS_MAP_HUGE }, 0 },
		{ { .nr_huge = 5, .nr_regions = 5, .state = HS_MAP_ABSENT }, 0 },
		{ { .nr_huge = 5, .nr_regions = 6, .state = HS_MAP_HUGE }, -EINVAL },
		{ { .nr_huge = 0, .state = HS_MAP_HUGE }, -EINVAL },
		{ { .nr_huge = UINT32_MAX, .state = HS_MAP_HUGE }, -EINVAL },
		{ { .nr_huge = 1, .state = HS_MAP_SPLIT }, -EINVAL },
		{ { .nr_huge = 1 }, -EINVAL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_view *v;

		ck_assert_int_eq(hs_view_open_sim(&v, &cases[i].cfg), cases[i].rc);
		ck_assert((v != NULL) == !cases[i].rc);
		hs_view_close(v);
	}
}
END_TEST

START_TEST(test_ept_sim_view_regions)
{
	struct hs_sim_config cfg = { .nr_huge = 7, .nr_regions = 3, .state = HS_MAP_HUGE };
	struct hs_view *v;
	uint32_t next = 0;

	ck_assert_int_eq(hs_view_open_sim(&v, &cfg), 0);
	ck_assert_uint_eq(v->nr_regions, 3);
	for (size_t i = 0; i < v->nr_regions; i++) {
		const struct hs_region *r = &v->regions[i];

		ck_assert_uint_eq(r->first_huge, next);
		ck_assert_uint_gt(r->nr_huge, 0);
		ck_assert_uint_eq(r->hva.v % HS_HUGE_SIZE, 0);
		ck_assert_uint_eq(hs_view_hva(v, next).v, r->hva.v);
		if (i)
			ck_assert_uint_gt(r->hva.v, v->regions[i - 1].hva.v + v->regions[i - 1].nr_huge * HS_HUGE_SIZE);
		next += r->nr_huge;
	}
	ck_assert_uint_eq(next, v->nr_huge);
	ck_assert_uint_eq(hs_view_hva(v, next).v, 0);
	hs_view_close(v);
}
END_TEST

START_TEST(test_ept_sim_view_access_at_the_level_mapped)
{
	struct hs_view *v = open_guest(3, HS_MAP_HUGE, 0);
	struct hs_base_sample base;

	hs_sim_access(v, 3, false);
	ck_assert_int_eq(sample(v, 0).accessed, HS_YES);
	ck_assert_uint_eq(sample(v, 0).nr_accessed, 512);
	ck_assert_int_eq(sample(v, 1).accessed, HS_NO);
	ck_assert_uint_eq(sample(v, 1).nr_accessed, 0);
	hs_sim_break_huge(v, 1);
	hs_sim_access(v, 512 + 3, false);
	hs_sim_access(v, 512 + 511, true);
	ck_assert_int_eq(sample(v, 1).state, HS_MAP_SPLIT);
	ck_assert_uint_eq(sample(v, 1).nr_accessed, 2);
	base = sample_base(v, 1);
	ck_assert(hs_bits_test(&base.accessed, 3) && hs_bits_test(&base.accessed, 511));
	ck_assert_int_eq(hs_view_age(v, NULL), 0);
	for (hs_huge_nr h = 0; h < 3; h++)
		ck_assert_int_eq(sample(v, h).accessed, HS_NO);
	hs_view_close(v);
}
END_TEST

START_TEST(test_ept_sim_view_split_copies_the_bit)
{
	for (int accessed = 0; accessed < 2; accessed++) {
		struct hs_view *v = open_guest(1, HS_MAP_HUGE, 0);
		struct hs_base_sample s;

		if (accessed)
			hs_sim_access(v, 7, false);
		ck_assert_int_eq(split(v, 0), 0);
		s = sample_base(v, 0);
		ck_assert_int_eq(s.state, HS_MAP_SPLIT);
		ck_assert_uint_eq(hs_bits_count(&s.present), 512);
		ck_assert_uint_eq(hs_bits_count(&s.accessed), accessed ? 512 : 0);
		/* The page itself is whole. */
		ck_assert_uint_eq(frame(v, 0).flags, HS_FRAME_HUGE);
		ck_assert_int_eq(split(v, 0), -ENOENT);
		ck_assert_int_eq(hs_view_age(v, NULL), 0);
		ck_assert_int_eq(restore(v, 0), 0);
		ck_assert_int_eq(restore(v, 0), 0);
		/* As the kernel makes it. */
		ck_assert_int_eq(sample(v, 0).accessed, HS_YES);
		hs_view_close(v);
	}
}
END_TEST

START_TEST(test_ept_sim_view_absent_and_partial)
{
	struct hs_view *v = open_guest(4, HS_MAP_ABSENT, 0);
	struct hs_base_sample s;

	ck_assert_int_eq(sample(v, 0).state, HS_MAP_ABSENT);
	ck_assert_int_eq(split(v, 0), -ENOENT);
	ck_assert_int_eq(restore(v, 0), -ENOENT);
	ck_assert_uint_eq(frame(v, 0).pfn, 0);
	hs_sim_write(v, 5, 9);
	ck_assert_int_eq(sample(v, 0).state, HS_MAP_HUGE);
	ck_assert_uint_eq(hs_sim_content(v, 5), 9);
	hs_sim_drop(v, 5, 7);
	ck_assert_uint_eq(hs_sim_content(v, 5), 0);
	s = sample_base(v, 0);
	ck_assert_int_eq(s.state, HS_MAP_PARTIAL);
	ck_assert_uint_eq(hs_bits_count(&s.present), 510);
	ck_assert(!hs_bits_test(&s.present, 5) && !hs_bits_test(&s.present, 6));
	hs_sim_access(v, 5, false);
	ck_assert_uint_eq(sample(v, 0).nr_present, 511);
	/* As the kernel makes it: what is not there gets memory. */
	ck_assert_int_eq(restore(v, 0), 0);
	ck_assert_uint_eq(sample(v, 0).nr_present, 512);
	/* As a whole: no table is left, so the next touch brings a huge page. */
	hs_sim_drop(v, 0, 512);
	ck_assert_int_eq(sample(v, 0).state, HS_MAP_ABSENT);
	hs_sim_access(v, 1, false);
	ck_assert_int_eq(sample(v, 0).state, HS_MAP_HUGE);
	hs_sim_break_huge(v, 0);
	hs_sim_drop(v, 0, 512);
	ck_assert_int_eq(sample(v, 0).state, HS_MAP_ABSENT);
	hs_sim_access(v, 1, false);
	ck_assert_int_eq(sample(v, 0).state, HS_MAP_PARTIAL);
	hs_sim_collapse(v, 0);
	ck_assert_int_eq(sample(v, 0).state, HS_MAP_HUGE);
	hs_sim_collapse(v, 1);
	ck_assert_int_eq(sample(v, 1).state, HS_MAP_ABSENT);
	hs_view_close(v);
}
END_TEST

START_TEST(test_ept_sim_view_read)
{
	struct hs_view *v = open_guest(2, HS_MAP_HUGE, 0);
	struct hs_bits512 want = { { 0 } }, got;
	char *buf = malloc(HS_HUGE_SIZE);
	char page[HS_BASE_SIZE];

	ck_assert_ptr_nonnull(buf);
	memset(buf, 0x5a, HS_HUGE_SIZE);
	hs_sim_set(v, 3, 77);
	hs_bits_set(&want, 2);
	hs_bits_set(&want, 3);
	ck_assert_int_eq(sample(v, 0).accessed, HS_NO);
	ck_assert_int_eq(hs_view_read(v, 0, &want, buf, &got, NULL), 0);
	ck_assert_int_eq(sample(v, 0).accessed, HS_YES);
	ck_assert_mem_eq(&got, &want, sizeof(got));
	hs_sim_page_bytes(77, page);
	ck_assert_mem_eq(buf + 3 * HS_BASE_SIZE, page, HS_BASE_SIZE);
	hs_sim_page_bytes(0, page);
	ck_assert_mem_eq(buf + 2 * HS_BASE_SIZE, page, HS_BASE_SIZE);
	ck_assert_int_eq(buf[4 * HS_BASE_SIZE], 0x5a);
	ck_assert_int_eq(split(v, 0), 0);
	ck_assert_int_eq(hs_view_age(v, NULL), 0);
	hs_sim_drop(v, 2, 3);
	memset(buf, 0x5a, HS_HUGE_SIZE);
	ck_assert_int_eq(hs_view_read(v, 0, &want, buf, &got, NULL), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 1);
	ck_assert_int_eq(buf[2 * HS_BASE_SIZE], 0x5a);
	ck_assert_int_eq(sample(v, 0).accessed, HS_NO);
	free(buf);
	hs_view_close(v);
}
END_TEST

START_TEST(test_ept_sim_view_many_accesses)
{
	struct hs_view *v = open_guest(2, HS_MAP_HUGE, 0);
	struct hs_bits512 which = { { 0 } }, none = { { 0 } };
	struct hs_base_sample s;
	const hs_huge_nr second = 1;

	hs_bits_set(&which, 3);
	hs_bits_set(&which, 500);
	ck_assert(!hs_sim_is_accessed(v, 0));
	hs_sim_access_huge(v, 0, &none);
	ck_assert(!hs_sim_is_accessed(v, 0));
	hs_sim_access_huge(v, 0, &which);
	ck_assert(hs_sim_is_accessed(v, 0));
	/* Base entries have bits of their own. */
	hs_sim_break_huge(v, 1);
	hs_sim_access_huge(v, 1, &which);
	ck_assert(!hs_sim_is_accessed(v, 1));
	ck_assert_int_eq(hs_view_sample_base(v, &second, 1, &s, NULL), 0);
	ck_assert_mem_eq(&s.accessed, &which, sizeof(which));
	hs_sim_merge(v, 512 + 9);
	which = hs_sim_merged(v, 1);
	ck_assert_uint_eq(hs_bits_count(&which), 1);
	ck_assert(hs_bits_test(&which, 9));
	hs_view_close(v);
}
END_TEST

START_TEST(test_ept_sim_view_reading_takes_time)
{
	static char buf[HS_HUGE_SIZE];
	struct hs_view *v = open_guest(1, HS_MAP_HUGE, 0);
	struct hs_sim_clock clock = { .now_us = 0 };
	struct hs_bits512 want = { { 7 } }, got;
	struct hs_sim_stats st;

	hs_sim_set_cost(v, &clock, 0, 0);
	hs_sim_set_read_cost(v, 300);
	/* 900 ns are no microsecond yet, twice that are. */
	ck_assert_int_eq(hs_view_read(v, 0, &want, buf, &got, NULL), 0);
	ck_assert_uint_eq(clock.now_us, 0);
	ck_assert_int_eq(hs_view_read(v, 0, &want, buf, &got, NULL), 0);
	ck_assert_uint_eq(clock.now_us, 1);
	hs_sim_stats(v, &st);
	ck_assert_uint_eq(st.nr_read, 6);
	hs_view_close(v);
}
END_TEST

START_TEST(test_ept_sim_view_page_bytes)
{
	uint64_t a[HS_BASE_SIZE / 8], b[HS_BASE_SIZE / 8];

	hs_sim_page_bytes(0, a);
	for (size_t i = 0; i < HS_BASE_SIZE / 8; i++)
		ck_assert_uint_eq(a[i], 0);
	for (uint64_t id = 1; id < 100; id++) {
		hs_sim_page_bytes(id, a);
		hs_sim_page_bytes(id, b);
		ck_assert_mem_eq(a, b, sizeof(a));
		hs_sim_page_bytes(id << 32, b);
		ck_assert_mem_ne(a, b, sizeof(a));
	}
}
END_TEST

START_TEST(test_ept_sim_view_merge_and_break)
{
	struct hs_view *a = open_guest(1, HS_MAP_HUGE, 0), *b = open_guest(1, HS_MAP_HUGE, 1);
	struct hs_sim_stats stats;
	uint64_t own = frame(a, 4).pfn;

	ck_assert_uint_ne(own, frame(b, 4).pfn);
	hs_sim_set(a, 4, 42);
	hs_sim_set(b, 8, 42);
	hs_sim_merge(a, 4);
	hs_sim_merge(b, 8);
	hs_sim_merge(b, 9);
	ck_assert_int_eq(sample(a, 0).state, HS_MAP_SPLIT);
	ck_assert_uint_eq(frame(a, 4).flags, HS_FRAME_KSM);
	ck_assert_uint_eq(frame(a, 4).pfn, frame(b, 8).pfn);
	ck_assert_uint_eq(frame(b, 9).flags, HS_FRAME_ZERO);
	ck_assert_uint_eq(frame(a, 5).flags, 0);
	hs_sim_access(a, 4, false);
	ck_assert_uint_eq(frame(a, 4).flags, HS_FRAME_KSM);
	hs_sim_write(a, 4, 43);
	ck_assert_uint_eq(frame(a, 4).flags, 0);
	ck_assert_uint_eq(frame(a, 4).pfn, own);
	ck_assert_uint_eq(frame(b, 8).flags, HS_FRAME_KSM);
	ck_assert_uint_eq(hs_sim_content(b, 8), 42);
	hs_sim_unmerge(b, 8);
	ck_assert_uint_eq(frame(b, 8).flags, 0);
	/* Collapsing takes apart what is merged. */
	ck_assert_int_eq(restore(b, 0), 0);
	ck_assert_uint_eq(frame(b, 9).flags, HS_FRAME_HUGE);
	hs_sim_stats(a, &stats);
	ck_assert_uint_eq(stats.nr_breaks, 1);
	hs_sim_stats(b, &stats);
	ck_assert_uint_eq(stats.nr_breaks, 0);
	hs_view_close(a);
	hs_view_close(b);
}
END_TEST

START_TEST(test_ept_sim_view_failures)
{
	struct hs_view *v = open_guest(4, HS_MAP_HUGE, 0);
	hs_huge_nr two[2] = { 0, 1 };
	int results[2];
	struct hs_sim_stats stats;
	struct hs_huge_sample s;
	struct hs_error err;

	hs_sim_fail_split(v, 1, -EPERM);
	ck_assert_int_eq(hs_view_split(v, two, 2, results, NULL), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -EPERM);
	hs_sim_fail_split(v, 1, 0);
	ck_assert_int_eq(split(v, 1), 0);
	hs_sim_stats(v, &stats);
	ck_assert_uint_eq(stats.split_now, 2);
	hs_sim_fail_restore(v, 0, 2, -EAGAIN);
	ck_assert_int_eq(restore(v, 0), -EAGAIN);
	ck_assert_int_eq(restore(v, 0), -EAGAIN);
	ck_assert_int_eq(restore(v, 0), 0);
	hs_sim_collapse(v, 1);
	hs_sim_stats(v, &stats);
	ck_assert_uint_eq(stats.split_now, 0);
	ck_assert_uint_eq(stats.split_most, 2);
	ck_assert_uint_eq(stats.nr_split, 2);
	ck_assert_uint_eq(stats.nr_restored, 1);
	hs_sim_set_unknown(v, 2, true);
	ck_assert_int_eq(sample(v, 2).state, HS_MAP_UNKNOWN);
	ck_assert_int_eq(sample(v, 2).accessed, HS_UNKNOWN);
	ck_assert_int_eq(sample_base(v, 2).state, HS_MAP_UNKNOWN);
	ck_assert_int_lt(split(v, 2), 0);
	hs_sim_stats(v, &stats);
	hs_sim_fail_call(v, stats.nr_calls + 2, -EIO);
	ck_assert_int_eq(hs_view_age(v, NULL), 0);
	ck_assert_int_eq(hs_view_age(v, NULL), -EIO);
	ck_assert_int_eq(hs_view_age(v, NULL), 0);
	hs_sim_fail_call(v, stats.nr_calls + 4, -ESRCH);
	ck_assert_int_eq(hs_view_age(v, &err), -ESRCH);
	ck_assert_str_ne(err.text, "");
	ck_assert_int_eq(hs_view_refresh(v, NULL), -ESRCH);
	ck_assert_int_eq(hs_view_sample_huge(v, 0, 1, &s, NULL), -ESRCH);
	hs_view_close(v);
}
END_TEST

START_TEST(test_ept_sim_view_out_of_range)
{
	struct hs_view *v = open_guest(2, HS_MAP_HUGE, 0);
	struct hs_huge_sample s[3];
	struct hs_base_sample b;
	struct hs_frame f[HS_BASE_PER_HUGE];
	hs_huge_nr bad = 2;

	ck_assert_int_eq(hs_view_sample_huge(v, 1, 2, s, NULL), -EINVAL);
	ck_assert_int_eq(hs_view_sample_huge(v, 3, 0, s, NULL), -EINVAL);
	ck_assert_int_eq(hs_view_sample_base(v, &bad, 1, &b, NULL), -EINVAL);
	ck_assert_int_eq(hs_view_frames(v, bad, f, NULL), -EINVAL);
	ck_assert_int_eq(hs_view_split(v, &bad, 1, NULL, NULL), -EINVAL);
	ck_assert_int_eq(hs_view_restore(v, &bad, 1, NULL, NULL), -EINVAL);
	hs_view_close(v);
}
END_TEST

static void add_up(void *ctx, uint64_t us)
{
	*(uint64_t *)ctx += us;
}

START_TEST(test_ept_sim_view_clock)
{
	uint64_t ran = 0;
	struct hs_sim_clock c = { .run = add_up, .ctx = &ran };
	struct hs_clock clock = hs_sim_clock_ops(&c);
	struct hs_view *v = open_guest(2, HS_MAP_HUGE, 0);
	hs_huge_nr both[2] = { 0, 1 };

	ck_assert_int_eq(clock.sleep_us(clock.ctx, 100), 0);
	ck_assert_uint_eq(clock.now_us(clock.ctx), 100);
	ck_assert_uint_eq(ran, 100);
	hs_sim_set_cost(v, &c, 10, 3);
	ck_assert_int_eq(hs_view_split(v, both, 2, NULL, NULL), 0);
	ck_assert_uint_eq(c.now_us, 116);
	c.cancel_at_us = 150;
	ck_assert_int_eq(clock.sleep_us(clock.ctx, 1000), -ECANCELED);
	ck_assert_uint_eq(c.now_us, 150);
	ck_assert_uint_eq(ran, 150);
	ck_assert_int_eq(clock.sleep_us(clock.ctx, 0), -ECANCELED);
	ck_assert_uint_eq(c.nr_sleeps, 3);
	hs_view_close(v);
}
END_TEST

/* In swap a page is neither present nor empty, and has its content; merged ones stay. */
START_TEST(test_ept_sim_view_swap)
{
	struct hs_view *v = open_guest(1, HS_MAP_HUGE, 0);
	struct hs_bits512 out = { { 0 } };
	struct hs_huge_sample s;
	struct hs_base_sample b;
	const hs_huge_nr h = 0;
	int result = 0;

	for (hs_base_nr p = 0; p < HS_BASE_PER_HUGE; p++)
		hs_sim_set(v, p, p + 1);
	hs_sim_merge(v, 7);
	hs_bits_set_range(&out, 0, 100);
	hs_sim_swap_out(v, h, &out);
	hs_sim_drop(v, 200, 201);
	ck_assert_int_eq(hs_view_sample_huge(v, h, 1, &s, NULL), 0);
	ck_assert_int_eq(s.state, HS_MAP_PARTIAL);
	ck_assert_uint_eq(s.nr_swapped, 99);
	ck_assert_uint_eq(s.nr_present, HS_BASE_PER_HUGE - 100);
	ck_assert_int_eq(hs_view_sample_base(v, &h, 1, &b, NULL), 0);
	ck_assert_uint_eq(hs_bits_count(&b.swapped), 99);
	ck_assert(!hs_bits_test(&b.swapped, 7) && hs_bits_test(&b.present, 7));
	ck_assert(hs_bits_test(&b.empty, 200) && hs_bits_count(&b.empty) == 1);
	ck_assert_int_eq(hs_view_restore(v, &h, 1, &result, NULL), 0);
	ck_assert_int_eq(result, -EXDEV);
	hs_sim_access(v, 3, false);
	ck_assert_int_eq(hs_view_sample_base(v, &h, 1, &b, NULL), 0);
	ck_assert(hs_bits_test(&b.present, 3) && hs_bits_test(&b.accessed, 3) && !hs_bits_test(&b.swapped, 3));
	ck_assert_uint_eq(hs_sim_content(v, 3), 4);
	hs_sim_access_huge(v, h, &out);
	ck_assert_int_eq(hs_view_sample_huge(v, h, 1, &s, NULL), 0);
	ck_assert_uint_eq(s.nr_swapped, 0);
	ck_assert_uint_eq(hs_sim_content(v, 99), 100);
	hs_view_close(v);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/sim_view");
	TCase *t = tcase_create("sim_view");

	tcase_add_test(t, test_ept_sim_view_open);
	tcase_add_test(t, test_ept_sim_view_regions);
	tcase_add_test(t, test_ept_sim_view_access_at_the_level_mapped);
	tcase_add_test(t, test_ept_sim_view_split_copies_the_bit);
	tcase_add_test(t, test_ept_sim_view_absent_and_partial);
	tcase_add_test(t, test_ept_sim_view_read);
	tcase_add_test(t, test_ept_sim_view_many_accesses);
	tcase_add_test(t, test_ept_sim_view_reading_takes_time);
	tcase_add_test(t, test_ept_sim_view_page_bytes);
	tcase_add_test(t, test_ept_sim_view_merge_and_break);
	tcase_add_test(t, test_ept_sim_view_failures);
	tcase_add_test(t, test_ept_sim_view_out_of_range);
	tcase_add_test(t, test_ept_sim_view_clock);
	tcase_add_test(t, test_ept_sim_view_swap);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
