/* SPDX-License-Identifier: Apache-2.0 */
/* Digests: known properties, and every kernel against the xxHash library. */
#include <string.h>
#include <xxhash.h>

#include "hash/digest_kernel.h"
#include "hs_test.h"
#include "index_help.h"

#define NR 13 /* more than any kernel interleaves, and no multiple of it */

static struct hs_digest_key key;
static uint8_t pages[NR][HS_BASE_SIZE];

static void fill(void)
{
	uint64_t state = 7;

	for (size_t i = 0; i < sizeof(key.secret); i++)
		key.secret[i] = (uint8_t)help_random(&state);
	for (size_t i = 0; i < NR; i++)
		for (size_t j = 0; j < HS_BASE_SIZE; j++)
			pages[i][j] = (uint8_t)help_random(&state);
}

static bool equal(struct hs_digest a, struct hs_digest b)
{
	return a.lo == b.lo && a.hi == b.hi;
}

static struct hs_digest library(const void *page)
{
	XXH128_hash_t h = XXH3_128bits_withSecret(page, HS_BASE_SIZE, key.secret, sizeof(key.secret));

	return (struct hs_digest){ .lo = h.low64, .hi = h.high64 };
}

START_TEST(test_hash_digest_keyed)
{
	struct hs_digest_key a, b;
	struct hs_digest d;

	fill();
	ck_assert_int_eq(hs_digest_key_random(&a), 0);
	ck_assert_int_eq(hs_digest_key_random(&b), 0);
	ck_assert_mem_ne(a.secret, b.secret, sizeof(a.secret));
	d = hs_digest_page(&a, pages[0]);
	ck_assert(equal(d, hs_digest_page(&a, pages[0])));
	ck_assert(!equal(d, hs_digest_page(&b, pages[0])));
	/* Each byte of the secret counts: that is what it is for. */
	for (size_t i = 0; i < sizeof(a.secret); i++) {
		struct hs_digest_key c = a;

		c.secret[i] ^= 1;
		ck_assert_msg(!equal(d, hs_digest_page(&c, pages[0])), "byte %zu of the secret does not count", i);
	}
}
END_TEST

START_TEST(test_hash_digest_every_bit_counts)
{
	struct hs_digest d;

	fill();
	d = hs_digest_page(&key, pages[0]);
	for (size_t i = 0; i < HS_BASE_SIZE * 8; i += 5) {
		pages[0][i / 8] ^= (uint8_t)(1U << (i % 8));
		ck_assert_msg(!equal(d, hs_digest_page(&key, pages[0])), "bit %zu does not count", i);
		pages[0][i / 8] ^= (uint8_t)(1U << (i % 8));
	}
	ck_assert(equal(d, hs_digest_page(&key, pages[0])));
}
END_TEST

START_TEST(test_hash_digest_is_the_librarys)
{
	fill();
	for (size_t i = 0; i < NR; i++)
		ck_assert(equal(hs_digest_page(&key, pages[i]), library(pages[i])));
}
END_TEST

/* One kernel: page by page, in every number of pages at once, aligned or not, and with one page several times. */
START_TEST(test_hash_digest_kernel)
{
	const struct hs_digest_kernel *k = hs_digest_kernels[_i];
	const void *at[NR];
	struct hs_digest got[NR + 1];

	if (!k->supported()) {
		printf("SKIPPED test_hash_digest_kernel %s: this machine lacks it\n", k->name);
		return;
	}
	fill();
	for (size_t shift = 0; shift < 2; shift++) {
		for (size_t nr = 0; nr <= NR; nr++) {
			memset(got, 0xa5, sizeof(got));
			for (size_t i = 0; i < nr; i++)
				at[i] = i == 12 ? pages[3] : pages[i] + shift;
			k->pages(&key, at, nr, got);
			for (size_t i = 0; i < nr; i++) {
				ck_assert_msg(equal(got[i], library(at[i])), "%s: page %zu of %zu", k->name, i, nr);
				ck_assert(equal(got[i], k->page(&key, at[i])));
			}
			ck_assert_msg(got[nr].lo == UINT64_C(0xa5a5a5a5a5a5a5a5), "%s writes past %zu", k->name, nr);
		}
	}
}
END_TEST

START_TEST(test_hash_digest_kernel_zero)
{
	const struct hs_digest_kernel *k = hs_digest_kernels[_i];
	static uint8_t page[HS_BASE_SIZE + 2];

	if (!k->supported()) {
		printf("SKIPPED test_hash_digest_kernel_zero %s: this machine lacks it\n", k->name);
		return;
	}
	page[0] = page[HS_BASE_SIZE + 1] = 1; /* neighbours do not count */
	ck_assert(k->is_zero(page + 1));
	for (size_t i = 0; i < HS_BASE_SIZE; i++) {
		page[1 + i] = (uint8_t)(1U << (i % 8));
		ck_assert_msg(!k->is_zero(page + 1), "%s: byte %zu is not seen", k->name, i);
		page[1 + i] = 0;
	}
	ck_assert(k->is_zero(page + 1));
}
END_TEST

START_TEST(test_hash_digest_best_kernel)
{
	const struct hs_digest_kernel *best = hs_digest_kernel_best();
	size_t at = 0;

	ck_assert(best->supported());
	while (hs_digest_kernels[at] != best)
		at++;
	for (size_t i = at + 1; i < hs_digest_nr_kernels; i++)
		ck_assert_msg(!hs_digest_kernels[i]->supported(), "%s is not used", hs_digest_kernels[i]->name);
	printf("digest kernel: %s\n", best->name);
}
END_TEST

START_TEST(test_hash_digest_huge)
{
	static const struct {
		const char *name;
		struct hs_bits512 want;
	} cases[] = {
		{ "none", { { 0 } } },
		{ "the first", { { 1 } } },
		{ "the last", { { 0, 0, 0, 0, 0, 0, 0, UINT64_C(1) << 63 } } },
		{ "scattered", { { 0x8000000000000005, 0, 0x10, 0, 0xff00ff00ff00ff00, 3, 0, 0x4000000000000000 } } },
		{ "all",
		  { { ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0), ~UINT64_C(0),
		      ~UINT64_C(0) } } },
	};
	static struct hs_digest digests[HS_BASE_PER_HUGE];
	uint8_t *buf = malloc(HS_HUGE_SIZE);

	ck_assert_ptr_nonnull(buf);
	fill();
	/* Every third page is zero, but for its last byte in every ninth. */
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		memcpy(buf + i * HS_BASE_SIZE, pages[i % NR], HS_BASE_SIZE);
		if (i % 3 == 0)
			memset(buf + i * HS_BASE_SIZE, 0, HS_BASE_SIZE);
		if (i % 9 == 0)
			buf[i * HS_BASE_SIZE + HS_BASE_SIZE - 1] = 1;
	}
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct hs_bits512 zero = hs_bits_full();

		memset(digests, 0x5a, sizeof(digests));
		hs_digest_huge(&key, buf, &cases[c].want, digests, &zero);
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
			bool want = hs_bits_test(&cases[c].want, i), is_zero = i % 3 == 0 && i % 9 != 0;

			ck_assert_msg(hs_bits_test(&zero, i) == (want && is_zero), "%s: zero bit of page %u",
				      cases[c].name, i);
			if (want && !is_zero)
				ck_assert_msg(equal(digests[i], library(buf + i * HS_BASE_SIZE)),
					      "%s: digest of page %u", cases[c].name, i);
			else
				ck_assert_msg(digests[i].lo == UINT64_C(0x5a5a5a5a5a5a5a5a),
					      "%s: page %u was not wanted", cases[c].name, i);
		}
	}
	free(buf);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/digest");
	TCase *t = tcase_create("digest");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_hash_digest_keyed);
	tcase_add_test(t, test_hash_digest_every_bit_counts);
	tcase_add_test(t, test_hash_digest_is_the_librarys);
	tcase_add_loop_test(t, test_hash_digest_kernel, 0, (int)hs_digest_nr_kernels);
	tcase_add_loop_test(t, test_hash_digest_kernel_zero, 0, (int)hs_digest_nr_kernels);
	tcase_add_test(t, test_hash_digest_best_kernel);
	tcase_add_test(t, test_hash_digest_huge);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
