/* SPDX-License-Identifier: Apache-2.0 */
/* The index, case by case: borders of pages and guests, replacing, guests that leave half-way. */
#include <errno.h>
#include <string.h>

#include "hs_test.h"
#include "index_help.h"

#define INSERT(x, g, p, content) hs_index_insert(x, (struct hs_page){ g, p }, help_digest(content))

static struct hs_index *fresh(uint32_t nr_guests, uint32_t nr_huge)
{
	struct hs_index *x;

	ck_assert_int_eq(hs_index_create(&x), 0);
	for (uint32_t i = 0; i < nr_guests; i++) {
		uint32_t guest;

		ck_assert_int_eq(hs_index_add_guest(x, nr_huge, &guest), 0);
		ck_assert_uint_eq(guest, i);
	}
	return x;
}

static uint64_t nr_pages(const struct hs_index *x)
{
	struct hs_index_stats s;

	hs_index_stats(x, &s);
	return s.nr_pages;
}

START_TEST(test_hash_index_empty)
{
	struct hs_index *x = fresh(1, 2);
	struct hs_index_stats s;
	struct hs_bits512 bits = hs_bits_full();
	struct hs_page out[4];

	hs_index_destroy(NULL);
	ck_assert_uint_eq(hs_index_find(x, help_digest(1), out, 4), 0);
	ck_assert_uint_eq(hs_index_same(x, (struct hs_page){ 0, 0 }, out, 4), 0);
	ck_assert_uint_eq(hs_index_count_same(x, (struct hs_page){ 0, 0 }, 9), 0);
	hs_index_remove(x, (struct hs_page){ 0, 0 });
	hs_index_remove_huge(x, 0, 1);
	hs_index_indexed(x, 0, 0, &bits);
	ck_assert_uint_eq(hs_bits_count(&bits), 0);
	hs_index_stats(x, &s);
	ck_assert_uint_eq(s.nr_pages, 0);
	ck_assert_uint_eq(s.nr_guests, 1);
	ck_assert_uint_gt(s.bytes, 0);
	hs_index_destroy(x);
}
END_TEST

START_TEST(test_hash_index_borders)
{
	static const struct {
		uint32_t guest;
		hs_base_nr page;
		int want;
	} cases[] = {
		{ 0, 0, 0 },
		{ 0, 63, 0 },
		{ 0, 64, 0 },
		{ 0, 511, 0 },
		{ 0, 512, 0 },
		{ 0, 3 * 512 - 1, 0 },
		{ 0, 3 * 512, -EINVAL },
		{ 0, UINT32_MAX, -EINVAL },
		{ 1, 0, -EINVAL },
		{ 1, 1, -EINVAL }, /* a guest without memory */
		{ 2, 0, -EINVAL },
		{ UINT32_MAX, 0, -EINVAL },
	};
	struct hs_index *x = fresh(1, 3);
	uint32_t empty;

	ck_assert_int_eq(hs_index_add_guest(x, 0, &empty), 0);
	ck_assert_uint_eq(empty, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_page p = { cases[i].guest, cases[i].page }, out[2] = { { 9, 9 } };
		struct hs_bits512 bits;

		ck_assert_int_eq(hs_index_insert(x, p, help_digest(i)), cases[i].want);
		hs_index_indexed(x, p.guest, p.page / HS_BASE_PER_HUGE, &bits);
		ck_assert_int_eq(hs_bits_test(&bits, p.page % HS_BASE_PER_HUGE), cases[i].want == 0);
		ck_assert_uint_eq(hs_index_count_same(x, p, 5), cases[i].want == 0);
		ck_assert_uint_eq(hs_index_find(x, help_digest(i), out, 2), cases[i].want == 0);
		if (cases[i].want == 0) {
			ck_assert_uint_eq(out[0].guest, p.guest);
			ck_assert_uint_eq(out[0].page, p.page);
		}
		hs_index_remove(x, p);
		ck_assert_uint_eq(hs_index_find(x, help_digest(i), out, 2), 0);
		hs_index_remove(x, p);
		hs_index_remove_huge(x, p.guest, p.page / HS_BASE_PER_HUGE);
	}
	ck_assert_uint_eq(nr_pages(x), 0);
	hs_index_destroy(x);
}
END_TEST

/* Groups of 1 to 6 equal pages; each member in turn is taken out, replaced, or comes again; all others stay. */
START_TEST(test_hash_index_groups)
{
	for (uint32_t size = 1; size <= 6; size++) {
		for (uint32_t victim = 0; victim < size; victim++) {
			for (int replace = 0; replace < 3; replace++) {
				struct hs_index *x = fresh(1, 1);
				uint32_t left = replace == 2 ? size : size - 1;
				struct hs_page out[8];

				for (uint32_t i = 0; i < size; i++)
					ck_assert_int_eq(INSERT(x, 0, i * 7, 42), 0);
				if (replace == 0)
					hs_index_remove(x, (struct hs_page){ 0, victim * 7 });
				else
					ck_assert_int_eq(INSERT(x, 0, victim * 7, replace == 1 ? 43 : 42), 0);
				ck_assert_uint_eq(hs_index_find(x, help_digest(42), out, 8), left);
				ck_assert_uint_eq(hs_index_find(x, help_digest(43), out, 8), replace == 1);
				for (uint32_t i = 0; i < size; i++) {
					struct hs_page p = { 0, i * 7 };
					bool other = i == victim && replace != 2;
					uint32_t want = !other ? left : replace == 1;

					ck_assert_uint_eq(hs_index_count_same(x, p, 100), want);
					ck_assert_uint_eq(hs_index_same(x, p, out, 8), want ? want - 1 : 0);
					for (uint32_t k = 0; want && k < want - 1; k++)
						ck_assert_uint_ne(out[k].page, p.page);
				}
				hs_index_destroy(x);
			}
		}
	}
}
END_TEST

START_TEST(test_hash_index_max_and_limit)
{
	struct hs_index *x = fresh(1, 1);
	struct hs_page out[12];

	for (uint32_t i = 0; i < 10; i++)
		ck_assert_int_eq(INSERT(x, 0, i, 1), 0);
	for (uint32_t i = 0; i < 10; i++) {
		struct hs_page p = { 0, i };

		for (uint32_t max = 0; max < 12; max++) {
			out[max].page = 777;
			ck_assert_uint_eq(hs_index_same(x, p, out, max), max < 9 ? max : 9);
			if (max <= 9)
				ck_assert_uint_eq(out[max].page, 777);
			ck_assert_uint_eq(hs_index_count_same(x, p, max), max < 10 ? max : 10);
			ck_assert_uint_eq(hs_index_find(x, help_digest(1), out, max), max < 10 ? max : 10);
		}
	}
	hs_index_destroy(x);
}
END_TEST

/* Digests that differ in one half only are different ones. */
START_TEST(test_hash_index_both_halves_count)
{
	struct hs_index *x = fresh(1, 4);
	struct hs_page out[2];

	for (uint32_t i = 0; i < 1024; i++) {
		ck_assert_int_eq(hs_index_insert(x, (struct hs_page){ 0, 2 * i }, (struct hs_digest){ i, 5 }), 0);
		ck_assert_int_eq(hs_index_insert(x, (struct hs_page){ 0, 2 * i + 1 }, (struct hs_digest){ 5, i + 6 }),
				 0);
	}
	for (uint32_t i = 0; i < 2048; i++)
		ck_assert_uint_eq(hs_index_count_same(x, (struct hs_page){ 0, i }, 9), 1);
	ck_assert_uint_eq(hs_index_find(x, (struct hs_digest){ 6, 5 }, out, 2), 1);
	ck_assert_uint_eq(hs_index_find(x, (struct hs_digest){ 2000, 5 }, out, 2), 0);
	hs_index_destroy(x);
}
END_TEST

START_TEST(test_hash_index_huge)
{
	static struct hs_digest d[HS_BASE_PER_HUGE];
	struct hs_index *x = fresh(2, 3);
	struct hs_bits512 which = { { 1, 0, ~UINT64_C(0), 0, 0xf0, 0, 0, UINT64_C(1) << 63 } }, got, dup;

	for (uint64_t i = 0; i < HS_BASE_PER_HUGE; i++)
		d[i] = help_digest(i % 100);
	ck_assert_int_eq(hs_index_insert_huge(x, 0, 1, &which, d), 0);
	hs_index_indexed(x, 0, 1, &got);
	ck_assert_mem_eq(&got, &which, sizeof(got));
	ck_assert_uint_eq(nr_pages(x), hs_bits_count(&which));
	/* 0, 128..191, 260..263, 511: modulo 100 the pairs are 160..163 with 260..263, and 511 with none. */
	hs_index_duplicates(x, 0, 1, &dup);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		ck_assert_msg(hs_bits_test(&dup, i) == ((i >= 160 && i < 164) || (i >= 260 && i < 264)), "page %u", i);
	/* Page by page it is the same, and a second time changes nothing. */
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (hs_bits_test(&which, i))
			ck_assert_int_eq(hs_index_insert(x, (struct hs_page){ 1, 1024 + i }, d[i]), 0);
	ck_assert_int_eq(hs_index_insert_huge(x, 0, 1, &which, d), 0);
	hs_index_duplicates(x, 1, 2, &dup);
	ck_assert_mem_eq(&dup, &which, sizeof(dup));
	/* While one guest leaves, the other one's pages are duplicates of their own guest only. */
	ck_assert_int_eq(hs_index_remove_guest(x, 1, 0), 1);
	hs_index_duplicates(x, 0, 1, &dup);
	ck_assert_uint_eq(hs_bits_count(&dup), 8);
	hs_index_remove_huge(x, 0, 1);
	hs_index_indexed(x, 0, 1, &got);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	ck_assert_int_eq(hs_index_insert_huge(x, 0, 3, &which, d), -EINVAL);
	ck_assert_int_eq(hs_index_insert_huge(x, 1, 0, &which, d), -EINVAL);
	ck_assert_uint_eq(nr_pages(x), 0);
	hs_index_destroy(x);
}
END_TEST

/* From the first call of a removal on, no question finds a page of that guest, whatever was taken out so far. */
START_TEST(test_hash_index_guest_leaves)
{
	static const uint32_t steps[] = { 0, 1, 63, 64, 65, 700, 1023, UINT32_MAX };
	static struct hs_page out[4096];

	for (size_t c = 0; c < sizeof(steps) / sizeof(steps[0]); c++) {
		struct hs_index *x = fresh(3, 2);
		struct hs_index_stats s;
		struct hs_bits512 bits;
		uint32_t again;
		int rc;

		/* Content 0 everywhere in the first half, one content for each page number in the second. */
		for (uint32_t p = 0; p < 1024; p++)
			for (uint32_t g = 0; g < 3; g++)
				ck_assert_int_eq(INSERT(x, (g + p) % 3, p, p < 512 ? 0 : p), 0);
		rc = hs_index_remove_guest(x, 1, steps[c]);
		ck_assert_int_eq(rc, steps[c] < 1024);
		hs_index_stats(x, &s);
		ck_assert_uint_eq(s.nr_pages, 2048);
		ck_assert_uint_eq(s.nr_guests, 2);
		ck_assert_int_eq(INSERT(x, 1, 0, 1), -EINVAL);
		hs_index_indexed(x, 1, 1, &bits);
		ck_assert_uint_eq(hs_bits_count(&bits), 0);
		ck_assert_uint_eq(hs_index_same(x, (struct hs_page){ 1, 5 }, out, 9), 0);
		hs_index_remove(x, (struct hs_page){ 1, 5 });
		hs_index_remove_huge(x, 1, 0);
		for (uint32_t p = 0; p < 1024; p += 31) {
			struct hs_page mine = { p % 2 ? 2 : 0, p };
			uint32_t want = p < 512 ? 1024 : 2;

			ck_assert_uint_eq(hs_index_count_same(x, mine, 5000), want);
			ck_assert_uint_eq(hs_index_same(x, mine, out, 4096), want - 1);
			for (uint32_t k = 0; k < want - 1; k++)
				ck_assert_uint_ne(out[k].guest, 1);
			ck_assert_uint_eq(hs_index_find(x, help_digest(p < 512 ? 0 : p), out, 4096), want);
			for (uint32_t k = 0; k < want; k++)
				ck_assert_uint_ne(out[k].guest, 1);
		}
		while (rc == 1)
			rc = hs_index_remove_guest(x, 1, 100);
		ck_assert_int_eq(rc, 0);
		ck_assert_int_eq(hs_index_remove_guest(x, 1, 100), -EINVAL);
		ck_assert_int_eq(hs_index_add_guest(x, 1, &again), 0);
		ck_assert_uint_eq(again, 1);
		ck_assert_int_eq(INSERT(x, 1, 511, 0), 0);
		ck_assert_uint_eq(hs_index_count_same(x, (struct hs_page){ 1, 511 }, 5000), 1025);
		ck_assert_int_eq(INSERT(x, 1, 512, 0), -EINVAL);
		hs_index_destroy(x);
	}
}
END_TEST

START_TEST(test_hash_index_guest_leaves_in_steps)
{
	struct hs_index *x = fresh(1, 20);
	uint32_t calls = 0;
	int rc;

	ck_assert_int_eq(hs_index_remove_guest(x, 1, 10), -EINVAL);
	ck_assert_int_eq(hs_index_remove_guest(x, UINT32_MAX, 10), -EINVAL);
	for (uint32_t p = 0; p < 20 * 512; p += 5)
		ck_assert_int_eq(INSERT(x, 0, p, p), 0);
	do {
		rc = hs_index_remove_guest(x, 0, 100);
		calls++;
	} while (rc == 1);
	ck_assert_int_eq(rc, 0);
	ck_assert_uint_eq(calls, (20 * 512 / 5 + 1 + 99) / 100);
	hs_index_destroy(x);
}
END_TEST

START_TEST(test_hash_index_too_many_pages)
{
	struct hs_index *x = fresh(0, 0);
	uint32_t guest;

	ck_assert_int_eq(hs_index_add_guest(x, UINT32_MAX, &guest), -ENOSPC);
	ck_assert_int_eq(hs_index_add_guest(x, 1U << 23, &guest), -ENOSPC);
	ck_assert_int_eq(hs_index_add_guest(x, (1U << 23) - 1, &guest), 0);
	ck_assert_int_eq(INSERT(x, guest, UINT32_MAX - 512, 1), 0);
	ck_assert_int_eq(INSERT(x, guest, UINT32_MAX - 511, 1), -EINVAL);
	ck_assert_uint_eq(hs_index_count_same(x, (struct hs_page){ guest, UINT32_MAX - 512 }, 2), 1);
	ck_assert_int_eq(hs_index_add_guest(x, 1, &guest), -ENOSPC);
	ck_assert_int_eq(hs_index_remove_guest(x, 0, 1), 0);
	ck_assert_int_eq(hs_index_add_guest(x, 1, &guest), 0);
	hs_index_destroy(x);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/index");
	TCase *t = tcase_create("index");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_hash_index_empty);
	tcase_add_test(t, test_hash_index_borders);
	tcase_add_test(t, test_hash_index_groups);
	tcase_add_test(t, test_hash_index_max_and_limit);
	tcase_add_test(t, test_hash_index_both_halves_count);
	tcase_add_test(t, test_hash_index_huge);
	tcase_add_test(t, test_hash_index_guest_leaves);
	tcase_add_test(t, test_hash_index_guest_leaves_in_steps);
	tcase_add_test(t, test_hash_index_too_many_pages);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
