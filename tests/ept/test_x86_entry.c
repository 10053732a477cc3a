/* SPDX-License-Identifier: Apache-2.0 */
/* What single page-table entries say. */
#include "hs_test.h"
#include "ept/x86_entry.h"

#define P HS_X86_PRESENT
#define W HS_X86_WRITE
#define A HS_X86_ACCESSED
#define D HS_X86_DIRTY
#define L HS_X86_LEAF
#define N HS_X86_PROTNONE

START_TEST(test_ept_x86_entry_kinds)
{
	static const struct {
		uint64_t entry;
		int pte, pmd;
	} cases[] = {
		{ 0, HS_X86_NONE, HS_X86_NONE },
		{ A, HS_X86_NONE, HS_X86_NONE }, /* erratum */
		{ A | D, HS_X86_NONE, HS_X86_NONE },
		{ 0x1234000 | P, HS_X86_PAGE, HS_X86_TABLE },
		{ 0x1234000 | P | W | A | D, HS_X86_PAGE, HS_X86_TABLE },
		{ 0x1200000 | P | W | L, HS_X86_PAGE, HS_X86_PAGE },
		{ 0x1200000 | P | W | L | N, HS_X86_PAGE, HS_X86_PAGE }, /* "global" while present */
		/* NUMA balancing looks: pages all the same. (Without L it is no huge entry that a kernel makes.) */
		{ 0x1234000 | N | A, HS_X86_PAGE, HS_X86_HIDDEN },
		{ 0x1234000 | N, HS_X86_PAGE, HS_X86_HIDDEN },
		{ 0x1200000 | N | L, HS_X86_PAGE, HS_X86_PAGE },
		{ 0x1200000 | N | L | A | D, HS_X86_PAGE, HS_X86_PAGE },
		{ 0x1200000 | L | W, HS_X86_ELSEWHERE, HS_X86_HIDDEN },               /* a huge entry being changed */
		{ UINT64_C(0xfff1234500000200), HS_X86_ELSEWHERE, HS_X86_ELSEWHERE }, /* swapped, or migrating */
		/* Swapped out with everything set that such an entry can have: 7 and 8 are clear. */
		{ UINT64_C(0xfffffffffffffe7e), HS_X86_ELSEWHERE, HS_X86_ELSEWHERE },
		{ UINT64_C(1) << 63, HS_X86_ELSEWHERE, HS_X86_ELSEWHERE },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(hs_x86_pte(cases[i].entry) == (enum hs_x86_kind)cases[i].pte, "case %zu", i);
		ck_assert_msg(hs_x86_pmd(cases[i].entry) == (enum hs_x86_kind)cases[i].pmd, "case %zu", i);
	}
	ck_assert(hs_x86_accessed(P | A) && !hs_x86_accessed(P | D));
	ck_assert(hs_x86_is_protnone(N) && !hs_x86_is_protnone(N | P) && !hs_x86_is_protnone(P) &&
		  !hs_x86_is_protnone(0));
}
END_TEST

START_TEST(test_ept_x86_entry_addresses)
{
	const uint64_t nx = UINT64_C(1) << 63, c_bit_47 = UINT64_C(1) << 47, c_bit_51 = UINT64_C(1) << 51;
	uint64_t m43 = hs_x86_phys_mask(43), m52 = hs_x86_phys_mask(52);

	ck_assert_uint_eq(hs_x86_phys_mask(0), 0);
	ck_assert_uint_eq(hs_x86_phys_mask(12), 0);
	ck_assert_uint_eq(hs_x86_phys_mask(13), 0x1000);
	ck_assert_uint_eq(m43, UINT64_C(0x7fffffff000));
	ck_assert_uint_eq(m52, UINT64_C(0xffffffffff000));
	ck_assert_uint_eq(hs_x86_phys_mask(64), m52);
	/* Flags and an encryption bit fall out; 43 bits are what a processor with its C bit at 47 is left with. */
	ck_assert_uint_eq(hs_x86_pte_pfn(UINT64_C(0x123456789000) | P | A | nx, m52), UINT64_C(0x123456789));
	ck_assert_uint_eq(hs_x86_pte_pfn(UINT64_C(0x23456789000) | P | c_bit_47 | c_bit_51 | nx, m43),
			  UINT64_C(0x23456789));
	/* The address of what is not present is inverted, as far as an address goes; flags are not. */
	ck_assert_uint_eq(hs_x86_pte_pfn((~UINT64_C(0x23456789000) & m43) | N | A | nx, m43), UINT64_C(0x23456789));
	ck_assert_uint_eq(hs_x86_pmd_pfn((~UINT64_C(0x40200000) & m52 & ~(HS_HUGE_SIZE - 1)) | N | L | A | nx, m52),
			  0x40200);
	/* Bit 12 of a huge entry is no address. */
	ck_assert_uint_eq(hs_x86_pmd_pfn(UINT64_C(0x40200000) | (1 << 12) | P | L | nx | c_bit_47, m43), 0x40200);
}
END_TEST

START_TEST(test_ept_x86_entry_table)
{
	uint64_t t[HS_BASE_PER_HUGE] = { 0 };
	struct hs_x86_table out;

	hs_x86_decode_table(t, &out);
	ck_assert(!hs_bits_count(&out.present) && !hs_bits_count(&out.accessed));
	t[0] = P;
	t[63] = P | A;
	t[64] = A;          /* not present */
	t[100] = 0x200 | A; /* swapped */
	t[511] = P | A | N;
	hs_x86_decode_table(t, &out);
	ck_assert_uint_eq(hs_bits_count(&out.present), 3);
	ck_assert(hs_bits_test(&out.present, 0) && hs_bits_test(&out.present, 63) && hs_bits_test(&out.present, 511));
	ck_assert_uint_eq(hs_bits_count(&out.accessed), 2);
	ck_assert(hs_bits_test(&out.accessed, 63) && hs_bits_test(&out.accessed, 511));
	t[200] = P | A | 1ULL << HS_X86_SPECIAL_BIT; /* the zero page: its bit is never cleared, so it says nothing */
	hs_x86_decode_table(t, &out);
	ck_assert(hs_bits_test(&out.present, 200) && !hs_bits_test(&out.accessed, 200));
	t[300] = UINT64_C(0xffffffffff000) | N | A; /* NUMA balancing looks: present, with its bit */
	t[301] = UINT64_C(0xffffffffff000) | N;
	hs_x86_decode_table(t, &out);
	ck_assert(hs_bits_test(&out.present, 300) && hs_bits_test(&out.accessed, 300));
	ck_assert(hs_bits_test(&out.present, 301) && !hs_bits_test(&out.accessed, 301));
	ck_assert_uint_eq(hs_bits_count(&out.present), 6);
}
END_TEST

/* What is not present: swapped out, empty, or neither. */
START_TEST(test_ept_x86_entry_absent)
{
	const uint64_t offset = 0x3ffffffffff00, exclusive = 8; /* the offset is stored inverted */
	uint64_t t[HS_BASE_PER_HUGE] = { 0 };
	struct hs_bits512 swapped, empty;

	hs_x86_decode_absent(t, &swapped, &empty);
	ck_assert(hs_bits_none(&swapped));
	ck_assert_uint_eq(hs_bits_count(&empty), HS_BASE_PER_HUGE);
	t[0] = P | A;
	t[1] = offset << 9;                                  /* of the first area */
	t[2] = UINT64_C(21) << 59 | offset << 9 | exclusive; /* of the last one that surely is one */
	t[3] = UINT64_C(22) << 59 | offset << 9;             /* another of the kernel's */
	t[4] = UINT64_C(31) << 59 | offset << 9;
	t[5] = A;                             /* the erratum: empty */
	t[6] = UINT64_C(0xffffffffff000) | N; /* present, for NUMA balancing */
	t[511] = offset << 9 | 2;             /* soft dirty */
	hs_x86_decode_absent(t, &swapped, &empty);
	ck_assert_uint_eq(hs_bits_count(&swapped), 3);
	ck_assert(hs_bits_test(&swapped, 1) && hs_bits_test(&swapped, 2) && hs_bits_test(&swapped, 511));
	ck_assert_uint_eq(hs_bits_count(&empty), HS_BASE_PER_HUGE - 7);
	ck_assert(hs_bits_test(&empty, 5) && !hs_bits_test(&empty, 3) && !hs_bits_test(&empty, 6));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept_x86_entry");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_ept_x86_entry_kinds);
	tcase_add_test(t, test_ept_x86_entry_addresses);
	tcase_add_test(t, test_ept_x86_entry_table);
	tcase_add_test(t, test_ept_x86_entry_absent);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
