/* SPDX-License-Identifier: Apache-2.0 */
/* The 512-bit set: each operation against a plain array of flags, at word borders and with random sets. */
#include "hs_test.h"

#include <string.h>

#include "hs/types.h"

static uint64_t seed = 1;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Density: how many of 16 bits are set; among them the empty and the full set. */
static struct hs_bits512 any_set(int density, bool *flags)
{
	struct hs_bits512 b = hs_bits_empty();

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		flags[i] = draw() % 16 < (uint64_t)density;
		if (flags[i])
			hs_bits_set(&b, i);
	}
	return b;
}

static void walk(int density)
{
	bool flags[HS_BASE_PER_HUGE];
	struct hs_bits512 b = any_set(density, flags), gone;
	unsigned int n = 0, next = 0;

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		n += flags[i];
	ck_assert_uint_eq(hs_bits_count(&b), n);
	ck_assert(hs_bits_any(&b) == (n > 0));
	ck_assert(hs_bits_none(&b) == (n == 0));
	hs_bits_for_each (i, &b) {
		for (; next < i; next++)
			ck_assert(!flags[next]);
		ck_assert(flags[i]);
		next = i + 1;
		n--;
	}
	ck_assert_uint_eq(n, 0);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		unsigned int set = i, clear = i;

		while (set < HS_BASE_PER_HUGE && !flags[set])
			set++;
		while (clear < HS_BASE_PER_HUGE && flags[clear])
			clear++;
		ck_assert_uint_eq(hs_bits_next(&b, i), set);
		ck_assert_uint_eq(hs_bits_next_clear(&b, i), clear);
	}
	ck_assert_uint_eq(hs_bits_next(&b, HS_BASE_PER_HUGE), HS_BASE_PER_HUGE);
	ck_assert_uint_eq(hs_bits_next_clear(&b, HS_BASE_PER_HUGE), HS_BASE_PER_HUGE);
	/* Clearing as one goes ends with nothing, and visits each once. */
	gone = b;
	hs_bits_for_each (i, &gone)
		hs_bits_clear(&gone, i);
	ck_assert(hs_bits_none(&gone));
	hs_bits_clear_all(&b);
	ck_assert_mem_eq(&b, &gone, sizeof(b));
}

START_TEST(test_types_bits_walk)
{
	for (int density = 0; density <= 16; density++)
		walk(density);
}
END_TEST

static void relate(int density_a, int density_b)
{
	bool fa[HS_BASE_PER_HUGE], fb[HS_BASE_PER_HUGE];
	const struct hs_bits512 a = any_set(density_a, fa), b = any_set(density_b, fb);
	bool equal = true, subset = true, right = true;

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		equal &= fa[i] == fb[i];
		subset &= !fa[i] || fb[i];
	}
	ck_assert(hs_bits_equal(&a, &b) == equal);
	ck_assert(hs_bits_subset(&a, &b) == subset);
	ck_assert(hs_bits_equal(&a, &a));
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		struct hs_bits512 c = a;

		hs_bits_clear(&c, i);
		right &= hs_bits_subset(&c, &a);
		right &= hs_bits_equal(&c, &a) == !fa[i];
		right &= hs_bits_subset(&a, &c) == !fa[i];
	}
	ck_assert_msg(right, "%d of 16 bits, less one", density_a);
}

START_TEST(test_types_bits_relations)
{
	for (int a = 0; a <= 16; a++)
		for (int b = 0; b <= 16; b++)
			relate(a, b);
}
END_TEST

START_TEST(test_types_bits_set_range)
{
	static const unsigned int borders[] = { 0,   1,   31,  62,  63,  64,  65,  127, 128,
						129, 191, 447, 448, 449, 510, 511, 512 };
	const size_t nr = sizeof(borders) / sizeof(borders[0]);

	for (size_t s = 0; s < nr; s++)
		for (size_t e = 0; e < nr; e++) {
			struct hs_bits512 b = hs_bits_empty();

			hs_bits_set(&b, 200);
			hs_bits_set_range(&b, borders[s], borders[e]);
			for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
				ck_assert(hs_bits_test(&b, i) == (i == 200 || (i >= borders[s] && i < borders[e])));
		}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("types");
	TCase *c = tcase_create("bits");

	tcase_add_test(c, test_types_bits_walk);
	tcase_add_test(c, test_types_bits_relations);
	tcase_add_test(c, test_types_bits_set_range);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
