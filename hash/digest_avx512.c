/* SPDX-License-Identifier: Apache-2.0 */
/* The digest for machines with AVX-512: the xxHash library, compiled with -mavx512f. */
#include "digest_library.h"

static bool supported(void)
{
	return __builtin_cpu_supports("avx512f");
}

static void pages(const struct hs_digest_key *key, const void *const *page, size_t nr, struct hs_digest *out)
{
	for (size_t i = 0; i < nr; i++)
		out[i] = library_page(key, page[i]);
}

static bool is_zero(const void *page)
{
	return hs_digest_zero_test(page);
}

const struct hs_digest_kernel hs_digest_kernel_avx512 = {
	.name = "avx512",
	.supported = supported,
	.page = library_page,
	.pages = pages,
	.is_zero = is_zero,
};
