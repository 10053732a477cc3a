/* SPDX-License-Identifier: Apache-2.0 */
/* What single entries of KVM's nested page tables say. */
#include "hs_test.h"
#include "ept/nested_entry.h"

#define P      HS_NESTED_PRESENT
#define NPT    (UINT64_C(1) << 5) /* accessed */
#define EPT    (UINT64_C(1) << 8)
#define BIT(n) (UINT64_C(1) << (n))

START_TEST(test_ept_nested_entry_accessed)
{
	static const struct {
		uint64_t entry;
		enum hs_tri npt, ept;
	} cases[] = {
		{ 0, HS_NO, HS_NO },
		{ P | 0x1200000, HS_NO, HS_NO },
		{ P | 0x1200000 | NPT, HS_YES, HS_NO },
		{ P | 0x1200000 | EPT, HS_NO, HS_YES },
		{ P | 0x1200000 | HS_NESTED_LEAF | NPT | EPT, HS_YES, HS_YES },
		{ 0x1200000 | NPT | EPT, HS_NO, HS_NO },             /* MMIO: not KVM's mark */
		{ 0x5a0, HS_NO, HS_NO },                             /* just being changed */
		{ BIT(63), HS_NO, HS_NO },                           /* empty, #VE suppressed */
		{ P | BIT(52) | NPT | EPT, HS_UNKNOWN, HS_UNKNOWN }, /* accesses are tracked by software */
		{ P | BIT(53) | NPT | EPT, HS_YES, HS_YES },         /* dirty logging by write protection */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t e = cases[i].entry;
		enum hs_tri there = (e & P) ? HS_YES : HS_NO;

		ck_assert_msg(hs_nested_accessed(e, HS_NESTED_NPT, false) == cases[i].npt, "case %zu", i);
		ck_assert_msg(hs_nested_accessed(e, HS_NESTED_EPT, false) == cases[i].ept, "case %zu", i);
		ck_assert_msg(hs_nested_accessed(e, HS_NESTED_NPT, true) == there, "case %zu", i);
	}
}
END_TEST

START_TEST(test_ept_nested_entry_table)
{
	uint64_t table[HS_BASE_PER_HUGE] = { 0 };
	struct hs_bits512 accessed;

	table[3] = P | NPT;
	table[200] = P;
	table[511] = P | NPT;
	ck_assert(hs_nested_decode_table(table, HS_NESTED_NPT, false, &accessed));
	ck_assert_uint_eq(hs_bits_count(&accessed), 2);
	ck_assert(hs_bits_test(&accessed, 3) && hs_bits_test(&accessed, 511));
	ck_assert(hs_nested_decode_table(table, HS_NESTED_NPT, true, &accessed));
	ck_assert_uint_eq(hs_bits_count(&accessed), 3);
	table[0] = P | HS_NESTED_AD_DISABLED;
	ck_assert(!hs_nested_decode_table(table, HS_NESTED_NPT, false, &accessed));
	ck_assert(hs_nested_decode_table(table, HS_NESTED_NPT, true, &accessed));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/nested_entry");
	TCase *t = tcase_create("entry");

	tcase_add_test(t, test_ept_nested_entry_accessed);
	tcase_add_test(t, test_ept_nested_entry_table);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
