/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the direct map on machines that are not this one: the guess is tried by a function that knows the answer. */
#include <errno.h>

#include "ept/host_base.h"
#include "hs_test.h"

#define GIB (UINT64_C(1) << 30)

struct machine {
	struct hs_base truth;
	unsigned int tries;
};

static bool is_right(void *ctx, const struct hs_base *guess)
{
	struct machine *m = ctx;

	m->tries++;
	ck_assert_uint_eq(guess->base % GIB, 0);
	return guess->base == m->truth.base && guess->levels == m->truth.levels;
}

START_TEST(test_ept_host_base_found)
{
	static const struct {
		uint64_t base;
		uint32_t levels, likely;
		uint64_t pgd_phys;
		unsigned int phys_bits, max_tries;
	} cases[] = {
		/* without KASLR: the first guess */
		{ 0xffff888000000000, 4, 4, 0x1234000, 46, 1 },
		{ 0xff11000000000000, 5, 5, 0x1234000, 52, 1 },
		/* with it: one guess for each GiB below the table */
		{ 0xffff9d4780000000, 4, 4, 0, 46, 2 },
		{ 0xffff9d4780000000, 4, 4, 23 * GIB + 0x7000, 46, 25 },
		{ 0xff2b3c4440000000, 5, 5, 100 * GIB, 52, 102 },
		{ 0xffff888040000000, 4, 4, 3 * GIB, 46, 5 },
		/* a 12 TiB machine whose table is at the very top */
		{ 0xffffa00000000000, 4, 4, 12288 * GIB - 0x1000, 46, 12290 },
		/* a processor that could do 5 levels, and a kernel told not to */
		{ 0xffff9d4780000000, 4, 5, 2 * GIB, 46, 1 << 18 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct machine m = { .truth = { .base = cases[i].base, .levels = cases[i].levels } };
		struct hs_base found = { 0 };
		struct hs_base_search search = { .pgd = cases[i].base + cases[i].pgd_phys,
						 .phys_bits = cases[i].phys_bits,
						 .likely_levels = cases[i].likely,
						 .try_guess = is_right,
						 .ctx = &m };

		ck_assert_int_eq(hs_base_find(&search, &found), 0);
		ck_assert_uint_eq(found.base, cases[i].base);
		ck_assert_uint_eq(found.levels, cases[i].levels);
		ck_assert_uint_eq(found.phys_mask, ((UINT64_C(1) << cases[i].phys_bits) - 1) & ~UINT64_C(0xfff));
		ck_assert_uint_eq(search.nr_tries, m.tries);
		ck_assert_msg(search.nr_tries <= cases[i].max_tries, "case %zu: %u tries", i, search.nr_tries);
	}
}
END_TEST

static bool is_never_right(void *ctx, const struct hs_base *guess)
{
	(void)guess;
	++*(unsigned int *)ctx;
	return false;
}

START_TEST(test_ept_host_base_not_found)
{
	struct hs_base found = { .base = 77 };
	unsigned int tries = 0;
	struct hs_base_search search = { .pgd = 0xffff9d4780000000 + 5 * GIB,
					 .phys_bits = 36,
					 .likely_levels = 4,
					 .try_guess = is_never_right,
					 .ctx = &tries };

	/* No guess lies further below the table than there is physical memory, and the search ends. */
	ck_assert_int_eq(hs_base_find(&search, &found), -ENOENT);
	ck_assert_uint_eq(tries, search.nr_tries);
	ck_assert_uint_le(tries, 2 * (64 + 2));
	ck_assert_uint_eq(found.base, 77);
	/* A pointer that is no kernel address is never followed. */
	search.pgd = 0x7fff00000000;
	search.phys_bits = 46;
	ck_assert_int_eq(hs_base_find(&search, &found), -ENOENT);
	ck_assert_uint_eq(search.nr_tries, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept_host_base");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_ept_host_base_found);
	tcase_add_test(t, test_ept_host_base_not_found);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
