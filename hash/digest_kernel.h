/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One digest, several instruction sets: each kernel is the same function compiled for other machines. Which one runs is
 * decided when the program starts (digest.c), so that one build serves every x86-64 host.
 */
#ifndef HS_HASH_DIGEST_KERNEL_H
#define HS_HASH_DIGEST_KERNEL_H

#include <string.h>

#include "hs/index.h"

struct hs_digest_kernel {
	const char *name;
	bool (*supported)(void); /* whether this machine can run it */
	struct hs_digest (*page)(const struct hs_digest_key *key, const void *page);
	/* Digests of nr pages, out[i] of pages[i]: faster than one by one where the kernel can interleave them. */
	void (*pages)(const struct hs_digest_key *key, const void *const *pages, size_t nr, struct hs_digest *out);
	bool (*is_zero)(const void *page);
};

extern const struct hs_digest_kernel hs_digest_kernel_sse2, hs_digest_kernel_avx2, hs_digest_kernel_avx512;

/* All kernels, the slowest (which runs everywhere) first. */
extern const struct hs_digest_kernel *const hs_digest_kernels[];
extern const size_t hs_digest_nr_kernels;

/* The fastest that this machine can run. */
const struct hs_digest_kernel *hs_digest_kernel_best(void);

/*
 * The zero test, compiled for each kernel. Most pages that are not zero differ in their first words, so those are
 * looked at alone before the vector loop starts.
 */
static inline __attribute__((always_inline)) bool hs_digest_zero_test(const void *page)
{
	typedef uint64_t vec __attribute__((vector_size(32), aligned(1), may_alias));
	typedef uint64_t word __attribute__((aligned(1), may_alias));
	const vec *v = page;
	const word *w = page;

	if (w[0] | w[1] | w[2] | w[3])
		return false;
	for (unsigned int i = 0; i < HS_BASE_SIZE / sizeof(*v); i += 4) {
		vec any = v[i] | v[i + 1] | v[i + 2] | v[i + 3];

		if (any[0] | any[1] | any[2] | any[3])
			return false;
	}
	return true;
}

#endif
