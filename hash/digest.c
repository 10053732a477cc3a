/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of base pages: the secret key, the choice of the kernel, and the walk over a huge page's buffer.
 *
 * The key keeps a guest from aiming at equal digests: XXH3 is no cryptographic hash, but without the secret nobody can
 * compute which pages collide. Even a collision costs only time, since bytes are compared before anything is shared.
 */
#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "digest_kernel.h"

const struct hs_digest_kernel *const hs_digest_kernels[] = {
	&hs_digest_kernel_sse2,
	&hs_digest_kernel_avx2,
	&hs_digest_kernel_avx512,
};
const size_t hs_digest_nr_kernels = sizeof(hs_digest_kernels) / sizeof(hs_digest_kernels[0]);

/* Pages of a huge page handed to the kernel at once: a few, so that the zero test leaves them in the nearest cache. */
#define BATCH 6U

static _Atomic(const struct hs_digest_kernel *) chosen;

/*
 * Whether a kernel gives the digests of the first one. Digests live only as long as the process, so a wrong kernel
 * would harm nobody but our figures; the check is for machines that no test of ours has run on, and takes microseconds.
 */
static bool agrees(const struct hs_digest_kernel *k)
{
	enum { NR = 7 };
	static const struct hs_digest_kernel *const reference = &hs_digest_kernel_sse2;
	struct hs_digest_key key;
	uint8_t page[HS_BASE_SIZE + NR];
	const void *at[NR];
	struct hs_digest got[NR];

	for (size_t i = 0; i < sizeof(key.secret); i++)
		key.secret[i] = (uint8_t)(i * 167 + 13);
	for (size_t i = 0; i < sizeof(page); i++)
		page[i] = (uint8_t)((i * i + 3 * i) >> 4);
	for (size_t i = 0; i < NR; i++)
		at[i] = page + i;
	k->pages(&key, at, NR, got);
	for (size_t i = 0; i < NR; i++) {
		struct hs_digest want = reference->page(&key, at[i]), one = k->page(&key, at[i]);

		if (want.lo != got[i].lo || want.hi != got[i].hi || want.lo != one.lo || want.hi != one.hi)
			return false;
	}
	memset(page, 0, sizeof(page));
	page[HS_BASE_SIZE] = 1;
	return k->is_zero(page) && !k->is_zero(page + 1);
}

const struct hs_digest_kernel *hs_digest_kernel_best(void)
{
	/* Two threads that meet here choose the same. */
	const struct hs_digest_kernel *k = atomic_load_explicit(&chosen, memory_order_relaxed);

	if (k)
		return k;
	k = hs_digest_kernels[0];
	for (size_t i = 1; i < hs_digest_nr_kernels; i++)
		if (hs_digest_kernels[i]->supported() && agrees(hs_digest_kernels[i]))
			k = hs_digest_kernels[i];
	atomic_store_explicit(&chosen, k, memory_order_relaxed);
	return k;
}

int hs_digest_key_random(struct hs_digest_key *key)
{
	size_t got = 0;

	while (got < sizeof(key->secret)) {
		ssize_t n = getrandom(key->secret + got, sizeof(key->secret) - got, 0);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			got += (size_t)n;
	}
	return 0;
}

struct hs_digest hs_digest_page(const struct hs_digest_key *key, const void *page)
{
	return hs_digest_kernel_best()->page(key, page);
}

bool hs_page_is_zero(const void *page)
{
	return hs_digest_kernel_best()->is_zero(page);
}

void hs_digest_huge(const struct hs_digest_key *key, const void *buf, const struct hs_bits512 *want,
		    struct hs_digest digests[HS_BASE_PER_HUGE], struct hs_bits512 *zero)
{
	const struct hs_digest_kernel *k = hs_digest_kernel_best();
	struct hs_bits512 none = { 0 };
	const void *page[BATCH];
	unsigned int nr[BATCH], n = 0;
	struct hs_digest out[BATCH];

	*zero = none;
	for (unsigned int w = 0; w < 8; w++) {
		for (uint64_t left = want->w[w]; left; left &= left - 1) {
			unsigned int i = w * 64 + (unsigned int)__builtin_ctzll(left);
			const void *at = (const uint8_t *)buf + (size_t)i * HS_BASE_SIZE;

			if (k->is_zero(at)) {
				hs_bits_set(zero, i);
				continue;
			}
			page[n] = at;
			nr[n++] = i;
			if (n < BATCH)
				continue;
			k->pages(key, page, BATCH, out);
			for (n = 0; n < BATCH; n++)
				digests[nr[n]] = out[n];
			n = 0;
		}
	}
	k->pages(key, page, n, out);
	for (unsigned int j = 0; j < n; j++)
		digests[nr[j]] = out[j];
}
