/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The digest for machines with AVX2. One page goes through the xxHash library; several go through the loop below, which
 * computes the same XXH3-128 of exactly 4096 bytes for some pages at once. Two things make it faster than the library
 * page by page:
 *
 * - Pages are interleaved: the multiplications of one fill the waits of another, and the secret is loaded once for all.
 *   This counts most where a neighbour on the same core takes half of its units.
 * - XXH3 adds each 64-bit word of the input to its neighbour's accumulator, which costs a shuffle for each vector of
 *   input. Addition does not mind the order, so the words are summed as they are and the sum is shuffled once a block.
 *
 * The library stays the reference: every kernel is held against it, by the test suite and when the program starts
 * (digest.c).
 */
#include <immintrin.h>

#include "digest_library.h"

/* Pages at once. Accumulators and sums take four registers a page of sixteen; the compilers spill differently. */
#ifdef __clang__
#define LANES 2
#else
#define LANES 3
#endif

/* XXH3's layout of a page under a secret of 192 bytes: 4 blocks of 16 stripes; stripe i meets the secret at byte 8 i.
 */
#define STRIPE            64U
#define STRIPES_PER_BLOCK 16U
#define NR_BLOCKS         4U
#define SCRAMBLE_AT       128U /* secret size - STRIPE */
#define LAST_STRIPE_AT    121U /* the page's very last stripe meets the secret 7 bytes before its last place */
#define MERGE_LOW_AT      11U
#define MERGE_HIGH_AT     117U

static bool supported(void)
{
	return __builtin_cpu_supports("avx2");
}

static inline __m256i load(const void *p)
{
	return _mm256_loadu_si256(p);
}

/* Accumulators of one page (a), and the plain sums of its input in this block (s); each is 8 words of 64 bits. */
struct lane {
	__m256i a[2], s[2];
};

static inline __attribute__((always_inline)) void stripe(struct lane *l, const uint8_t *const *page, size_t at,
							 const uint8_t *secret)
{
	__m256i key[2] = { load(secret), load(secret + 32) };

#pragma GCC unroll 4
	for (int n = 0; n < LANES; n++) {
#pragma GCC unroll 2
		for (int h = 0; h < 2; h++) {
			__m256i data = load(page[n] + at + 32 * h);
			__m256i mixed = _mm256_xor_si256(data, key[h]);
			__m256i product = _mm256_mul_epu32(mixed, _mm256_srli_epi64(mixed, 32));

			l[n].a[h] = _mm256_add_epi64(l[n].a[h], product);
			l[n].s[h] = _mm256_add_epi64(l[n].s[h], data);
		}
	}
}

static inline __m256i scramble(__m256i a, const uint8_t *secret)
{
	const __m256i prime = _mm256_set1_epi32((int)XXH_PRIME32_1);
	__m256i lo, hi;

	a = _mm256_xor_si256(a, _mm256_srli_epi64(a, 47));
	a = _mm256_xor_si256(a, load(secret));
	lo = _mm256_mul_epu32(a, prime);
	hi = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), prime);
	return _mm256_add_epi64(lo, _mm256_slli_epi64(hi, 32));
}

static inline uint64_t merge(const uint64_t a[8], const uint8_t *secret, uint64_t sum)
{
	for (int i = 0; i < 4; i++) {
		uint64_t key[2];
		unsigned __int128 product;

		memcpy(key, secret + 16 * i, sizeof(key));
		product = (unsigned __int128)(a[2 * i] ^ key[0]) * (a[2 * i + 1] ^ key[1]);
		sum += (uint64_t)product ^ (uint64_t)(product >> 64);
	}
	sum ^= sum >> 37;
	sum *= UINT64_C(0x165667919E3779F9);
	return sum ^ (sum >> 32);
}

static void lanes(const uint8_t *secret, const uint8_t *const *page, struct hs_digest *out)
{
	static const uint64_t init[8] = { XXH_PRIME32_3, XXH_PRIME64_1, XXH_PRIME64_2, XXH_PRIME64_3,
					  XXH_PRIME64_4, XXH_PRIME32_2, XXH_PRIME64_5, XXH_PRIME32_1 };
	struct lane l[LANES];

	for (int n = 0; n < LANES; n++)
		for (int h = 0; h < 2; h++)
			l[n].a[h] = load(init + 4 * h);

	for (unsigned int b = 0; b < NR_BLOCKS; b++) {
		size_t at = (size_t)b * STRIPES_PER_BLOCK * STRIPE;
		bool last = b == NR_BLOCKS - 1;

		for (int n = 0; n < LANES; n++)
			l[n].s[0] = l[n].s[1] = _mm256_setzero_si256();
		for (unsigned int i = 0; i < STRIPES_PER_BLOCK - 1; i++)
			stripe(l, page, at + i * STRIPE, secret + 8 * i);
		stripe(l, page, at + (STRIPES_PER_BLOCK - 1) * STRIPE,
		       secret + (last ? LAST_STRIPE_AT : 8 * (STRIPES_PER_BLOCK - 1)));
		for (int n = 0; n < LANES; n++) {
			for (int h = 0; h < 2; h++) {
				__m256i swapped = _mm256_shuffle_epi32(l[n].s[h], 0x4e);
				__m256i a = _mm256_add_epi64(l[n].a[h], swapped);

				l[n].a[h] = last ? a : scramble(a, secret + SCRAMBLE_AT + 32 * h);
			}
		}
	}

	for (int n = 0; n < LANES; n++) {
		uint64_t a[8];

		memcpy(a, l[n].a, sizeof(a));
		out[n].lo = merge(a, secret + MERGE_LOW_AT, HS_BASE_SIZE * XXH_PRIME64_1);
		out[n].hi = merge(a, secret + MERGE_HIGH_AT, ~(HS_BASE_SIZE * XXH_PRIME64_2));
	}
}

static void pages(const struct hs_digest_key *key, const void *const *page, size_t nr, struct hs_digest *out)
{
	size_t i = 0;

	for (; i + LANES <= nr; i += LANES)
		lanes(key->secret, (const uint8_t *const *)(const void *)(page + i), out + i);
	for (; i < nr; i++)
		out[i] = library_page(key, page[i]);
}

static bool is_zero(const void *page)
{
	return hs_digest_zero_test(page);
}

const struct hs_digest_kernel hs_digest_kernel_avx2 = {
	.name = "avx2",
	.supported = supported,
	.page = library_page,
	.pages = pages,
	.is_zero = is_zero,
};
