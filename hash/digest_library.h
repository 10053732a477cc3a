/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A digest kernel made of the xxHash library alone, inlined so that it is compiled for the instruction set of the file
 * that includes it. XXH_INLINE_ALL makes every function of the library static: copies for several instruction sets can
 * live in one program.
 */
#ifndef HS_HASH_DIGEST_LIBRARY_H
#define HS_HASH_DIGEST_LIBRARY_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "digest_kernel.h"

static struct hs_digest library_page(const struct hs_digest_key *key, const void *page)
{
	XXH128_hash_t h = XXH3_128bits_withSecret(page, HS_BASE_SIZE, key->secret, sizeof(key->secret));

	return (struct hs_digest){ .lo = h.low64, .hi = h.high64 };
}

#endif
