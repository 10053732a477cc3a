/* SPDX-License-Identifier: Apache-2.0 */
/* The digest for every x86-64 machine: the xxHash library with the instructions that all of them have. */
#include "digest_library.h"

static bool supported(void)
{
	return true;
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

const struct hs_digest_kernel hs_digest_kernel_sse2 = {
	.name = "sse2",
	.supported = supported,
	.page = library_page,
	.pages = pages,
	.is_zero = is_zero,
};
