/* SPDX-License-Identifier: Apache-2.0 */
/* The layout is a pure function: what adds up, what is identical, what changes on command. */
#include <errno.h>
#include <string.h>

#include "hs_test.h"
#include "latency.h"
#include "layout.h"

static struct hs_guest_layout make(const struct hs_guest_params *p)
{
	struct hs_guest_layout l;
	struct hs_error err = { "" };

	ck_assert_msg(hs_guest_layout_init(&l, p, &err) == 0, "%s", err.text);
	return l;
}

START_TEST(test_guest_layout_adds_up)
{
	static const struct {
		uint64_t huge, hot, bloat, bloat_hot, identical, zero, dup;
		bool scatter;
	} cases[] = {
		{ 160, 25, 25, 16, 60, 10, 0, false }, { 160, 25, 25, 16, 60, 10, 30, true },
		{ 1, 0, 0, 16, 100, 0, 0, false },     { 1, 100, 0, 1, 0, 0, 0, false },
		{ 3, 50, 50, 511, 0, 100, 0, true },   { 2, 0, 100, 1, 33, 33, 34, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_guest_params p = hs_guest_params_default;
		struct hs_guest_counts c;
		struct hs_guest_layout l;

		p.nr_huge = cases[i].huge;
		p.hot_percent = cases[i].hot;
		p.bloat_percent = cases[i].bloat;
		p.bloat_hot = cases[i].bloat_hot;
		p.cold_identical_percent = cases[i].identical;
		p.cold_zero_percent = cases[i].zero;
		p.cold_dup_percent = cases[i].dup;
		p.scatter = cases[i].scatter;
		l = make(&p);
		hs_guest_layout_count(&l, &c);
		ck_assert_uint_eq(c.nr_class[0] + c.nr_class[1] + c.nr_class[2], p.nr_huge);
		ck_assert_uint_eq(c.nr_class[HS_GUEST_COLD], l.nr_cold);
		ck_assert_uint_eq(c.nr_hot, c.nr_class[HS_GUEST_HOT] * 512 + c.nr_class[HS_GUEST_BLOAT] * p.bloat_hot);
		ck_assert_uint_eq(c.nr_hot + c.nr_cold, l.nr_pages);
		ck_assert_uint_eq(c.nr_cold_identical + c.nr_cold_duplicate + c.nr_cold_zero + c.nr_cold_unique,
				  c.nr_cold);
		ck_assert_uint_eq(c.nr_cold_identical, (c.nr_cold * cases[i].identical + 50) / 100);
		ck_assert_uint_eq(c.nr_cold_zero, (c.nr_cold * cases[i].zero + 50) / 100);
		ck_assert_uint_eq(c.nr_cold_duplicate % 4, 0);
		for (uint32_t h = 0; h < l.nr_huge; h++) {
			uint32_t hot = 0;

			for (uint32_t k = 0; k < 512; k++)
				hot += l.pages[h * 512 + k].hot;
			ck_assert_uint_eq(hot, l.classes[h] == HS_GUEST_HOT     ? 512
					       : l.classes[h] == HS_GUEST_BLOAT ? p.bloat_hot
										: 0);
		}
		hs_guest_layout_finish(&l);
	}
}
END_TEST

START_TEST(test_guest_layout_identical_across_guests)
{
	struct hs_guest_params p = hs_guest_params_default;
	struct hs_guest_layout a, b, c;
	uint64_t sum_a = 0, sum_c = 0;
	uint32_t moved = 0;

	p.nr_huge = 16;
	a = make(&p);
	p.seed = 2;
	b = make(&p);
	p.shuffle = 1;
	c = make(&p);
	for (uint32_t i = 0; i < a.nr_pages; i++) {
		const struct hs_guest_page *x = &a.pages[i], *y = &b.pages[i], *z = &c.pages[i];

		ck_assert_int_eq(x->hot, y->hot);
		ck_assert_int_eq(x->content, y->content);
		if (x->content == HS_GUEST_UNIQUE || x->content == HS_GUEST_DUPLICATE)
			ck_assert(x->id != y->id);
		else
			ck_assert(x->id == y->id);
		ck_assert(!x->writable || (x->hot && x->content == HS_GUEST_UNIQUE));
		/* Shuffled: the same contents, elsewhere. */
		sum_a += x->content == HS_GUEST_IDENTICAL ? x->id : 0;
		sum_c += z->content == HS_GUEST_IDENTICAL ? z->id : 0;
		moved += x->id != z->id;
	}
	ck_assert(sum_a == sum_c);
	ck_assert_uint_gt(moved, a.nr_pages / 2);
	hs_guest_layout_finish(&a);
	hs_guest_layout_finish(&b);
	hs_guest_layout_finish(&c);
}
END_TEST

START_TEST(test_guest_layout_page_matches)
{
	static uint64_t bytes[512];
	struct hs_guest_page page = { .id = 42 };

	hs_guest_fill_page(page.id, bytes);
	ck_assert(hs_guest_page_matches(&page, bytes, false));
	for (unsigned int bit = 0; bit < 512 * 64; bit += 4097) {
		bytes[bit / 64] ^= UINT64_C(1) << bit % 64;
		ck_assert(!hs_guest_page_matches(&page, bytes, false));
		ck_assert(!hs_guest_page_matches(&page, bytes, true));
		bytes[bit / 64] ^= UINT64_C(1) << bit % 64;
	}
	page.writable = true;
	page.counter = 7;
	ck_assert(!hs_guest_page_matches(&page, bytes, true));
	bytes[511] = hs_guest_counter_word(page.id, 7);
	ck_assert(hs_guest_page_matches(&page, bytes, false));
	bytes[511] = hs_guest_counter_word(page.id, 6); /* a lost write: only who counts can know */
	ck_assert(!hs_guest_page_matches(&page, bytes, false));
	ck_assert(hs_guest_page_matches(&page, bytes, true));
	bytes[511]++;
	ck_assert(!hs_guest_page_matches(&page, bytes, true));

	page = (struct hs_guest_page){ .content = HS_GUEST_ZERO };
	memset(bytes, 0, sizeof(bytes));
	ck_assert(hs_guest_page_matches(&page, bytes, false));
	bytes[511] = 1;
	ck_assert(!hs_guest_page_matches(&page, bytes, false));
}
END_TEST

START_TEST(test_guest_layout_write_heat_cool)
{
	struct hs_guest_params p = hs_guest_params_default;
	struct hs_guest_counts before, after;
	struct hs_guest_layout l;
	uint32_t list[1000];
	uint32_t all;

	p.nr_huge = 16;
	l = make(&p);
	hs_guest_layout_count(&l, &before);
	ck_assert_uint_eq(hs_guest_layout_write(&l, 1000, 5, list), 1000);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(l.pages[list[i]].content, HS_GUEST_WRITTEN);
	hs_guest_layout_count(&l, &after);
	ck_assert_uint_eq(after.nr_cold_identical, before.nr_cold_identical - 1000);
	ck_assert_uint_eq(after.nr_cold_unique, before.nr_cold_unique + 1000);

	ck_assert_uint_eq(hs_guest_layout_heat(&l, 3), 3);
	hs_guest_layout_count(&l, &after);
	ck_assert_uint_eq(after.nr_hot, before.nr_hot + 3 * 512);
	ck_assert_uint_eq(hs_guest_layout_heat(&l, 1000), l.nr_cold - 3);
	hs_guest_layout_cool(&l);
	hs_guest_layout_count(&l, &after);
	ck_assert_uint_eq(after.nr_hot, before.nr_hot);

	/* Asked for more than there are: all that are left, and none is missed. */
	all = hs_guest_layout_write(&l, UINT32_MAX, 6, NULL);
	ck_assert_uint_eq(all, before.nr_cold_identical - 1000);
	hs_guest_layout_finish(&l);
}
END_TEST

START_TEST(test_guest_layout_params)
{
	static const struct {
		const char *arg;
		int ret;
	} cases[] = {
		{ "--huge=8", 0 },          { "--seed=0xffffffffffffffff", 0 },
		{ "--huge=0", -EINVAL },    { "--hot=101", -EINVAL },
		{ "--bloat=80", -EINVAL },  { "--cold-zero=50", -EINVAL },
		{ "--huge=", -EINVAL },     { "--huge=8x", -EINVAL },
		{ "--huge=-1", -EINVAL },   { "--huge", -EINVAL },
		{ "huge=8", -EINVAL },      { "--hugE=8", -EINVAL },
		{ "--threads=0", -EINVAL },
	};
	struct hs_guest_params p, q;
	char buf[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *arg = strdup(cases[i].arg);
		struct hs_error err = { "" };
		int ret;

		p = hs_guest_params_default;
		ret = hs_guest_params_parse(&p, 1, &arg, &err);
		if (!ret)
			ret = hs_guest_params_check(&p, &err);
		ck_assert_msg(ret == cases[i].ret, "%s: %d", arg, ret);
		ck_assert(!ret == !*err.text);
		free(arg);
	}
	/* What is printed is what is read. */
	p = hs_guest_params_default;
	p.seed = UINT64_MAX;
	p.nr_huge = 9;
	p.rate = 12345;
	memset(&q, 0, sizeof(q));
	for (unsigned int i = 0; hs_guest_params_format(&p, i, buf, sizeof(buf)); i++) {
		char *arg = buf;

		ck_assert_int_eq(hs_guest_params_parse(&q, 1, &arg, NULL), 0);
	}
	ck_assert_mem_eq(&p, &q, sizeof(p));
}
END_TEST

START_TEST(test_guest_layout_latency_buckets)
{
	static struct hs_latency l;
	static const uint64_t values[] = { 0, 1, 31, 32, 33, 63, 64, 65, 1000, 123456789, UINT64_MAX };

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		uint64_t v = values[i], found;

		memset(&l, 0, sizeof(l));
		hs_latency_add(&l, v);
		found = hs_latency_at(&l, 1, 990);
		ck_assert_uint_ge(found, v);
		ck_assert_uint_le(found - v, v / 32);
	}
	/* 98 of 100 take 10, one 5000, one 70000: the median is 10, the 99th of a hundred is the one of 5000. */
	memset(&l, 0, sizeof(l));
	for (int i = 0; i < 98; i++)
		hs_latency_add(&l, 10);
	hs_latency_add(&l, 5000);
	hs_latency_add(&l, 70000);
	ck_assert_uint_eq(hs_latency_at(&l, 100, 500), 10);
	ck_assert_uint_ge(hs_latency_at(&l, 100, 990), 5000);
	ck_assert_uint_lt(hs_latency_at(&l, 100, 990), 5200);
	ck_assert_uint_ge(hs_latency_at(&l, 100, 999), 70000);
	ck_assert_uint_eq(hs_latency_at(&l, 0, 990), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("guest layout");
	TCase *c = tcase_create("layout");

	tcase_add_test(c, test_guest_layout_adds_up);
	tcase_add_test(c, test_guest_layout_identical_across_guests);
	tcase_add_test(c, test_guest_layout_page_matches);
	tcase_add_test(c, test_guest_layout_write_heat_cool);
	tcase_add_test(c, test_guest_layout_params);
	tcase_add_test(c, test_guest_layout_latency_buckets);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
