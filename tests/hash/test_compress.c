/* SPDX-License-Identifier: Apache-2.0 */
/* The sample says of what compresses that it does, of what does not that it does not, and looks at nothing else. */
#include "hs_test.h"

#include <stdlib.h>

#include "hs/compress.h"

static unsigned char *pages;

/* `percent` of the page is noise, the rest the same byte. */
static void fill(unsigned int page, unsigned int percent)
{
	unsigned char *p = pages + page * HS_BASE_SIZE;

	memset(p, 0x55, HS_BASE_SIZE);
	for (size_t i = 0; i < HS_BASE_SIZE * percent / 100; i++)
		p[i] = (unsigned char)random();
}

static void setup(void)
{
	pages = malloc(HS_HUGE_SIZE);
	ck_assert_ptr_nonnull(pages);
	srandom(3);
}

static void teardown(void)
{
	free(pages);
}

START_TEST(test_hash_compress_percent)
{
	static const unsigned int noise[] = { 0, 10, 50, 75, 90, 100 };
	const struct hs_bits512 all = hs_bits_full(), none = hs_bits_empty();

	ck_assert_uint_eq(hs_compress_percent(pages, &none), 0);
	for (size_t k = 0; k < sizeof(noise) / sizeof(noise[0]); k++) {
		unsigned int percent;

		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
			fill(i, noise[k]);
		percent = hs_compress_percent(pages, &all);
		ck_assert_uint_ge(percent, noise[k] ? noise[k] : 1);
		ck_assert_uint_le(percent, noise[k] < 98 ? noise[k] + 3 : 100);
	}
}
END_TEST

/* Only what was named is read; few pages are a sample as well; several kinds count each. */
START_TEST(test_hash_compress_which)
{
	struct hs_bits512 which = hs_bits_empty();

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		fill(i, 100);
	fill(300, 0);
	hs_bits_set(&which, 300);
	ck_assert_uint_le(hs_compress_percent(pages, &which), 2);
	hs_bits_set(&which, 511);
	ck_assert_uint_ge(hs_compress_percent(pages, &which), 50);
	ck_assert_uint_le(hs_compress_percent(pages, &which), 52);
	/* Half of each huge page's base pages, in one half: they are spread over both. */
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE / 2; i++)
		fill(i, 0);
	which = hs_bits_full();
	ck_assert_uint_ge(hs_compress_percent(pages, &which), 50);
	ck_assert_uint_le(hs_compress_percent(pages, &which), 52);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/compress");
	TCase *t = tcase_create("sample");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_hash_compress_percent);
	tcase_add_test(t, test_hash_compress_which);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
