/* SPDX-License-Identifier: Apache-2.0 */
#include "hs/compress.h"

#include <lz4.h>

#define SAMPLES 4U /* of a huge page: 4 x 5 us, beside some 170 us that its digests take */

unsigned int hs_compress_percent(const void *pages, const struct hs_bits512 *which)
{
	const unsigned int nr = hs_bits_count(which), want = nr < SAMPLES ? nr : SAMPLES;
	char out[LZ4_COMPRESSBOUND(HS_BASE_SIZE)];
	unsigned int at = 0, taken = 0;
	uint64_t sum = 0;

	hs_bits_for_each (i, which) {
		int n;

		/* The first, and then one each nr / want. */
		if (at++ * want < taken * nr)
			continue;
		n = LZ4_compress_default((const char *)pages + i * HS_BASE_SIZE, out, (int)HS_BASE_SIZE, sizeof(out));
		/* What grows is kept as it is. */
		sum += n > 0 && (uint64_t)n < HS_BASE_SIZE ? (uint64_t)n : HS_BASE_SIZE;
		taken++;
	}
	return taken ? (unsigned int)((sum * 100 + taken * HS_BASE_SIZE - 1) / (taken * HS_BASE_SIZE)) : 0;
}
