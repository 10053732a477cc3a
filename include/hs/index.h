/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of base pages, and the index of cold pages across guests. The index sees digests and page numbers, never a
 * guest's memory: an equal digest is a hint, the bytes are compared before anything counts as identical, by its users
 * or by who merges.
 */
#ifndef HS_INDEX_H
#define HS_INDEX_H

#include "hs/error.h"
#include "hs/types.h"

/* XXH3-128 of a base page, under a secret seed. */
struct hs_digest {
	uint64_t lo, hi;
};

/* A secret for this process: guests cannot aim at collisions that they cannot compute. */
struct hs_digest_key {
	uint8_t secret[192]; /* XXH3's secret (XXH3_SECRET_SIZE_MIN is 136; 192 is its default size) */
};

HS_MUST_USE int hs_digest_key_random(struct hs_digest_key *key); /* getrandom(2); -errno */

/* Digest of 4096 bytes. */
struct hs_digest hs_digest_page(const struct hs_digest_key *key, const void *page);

/* Whether 4096 bytes are all zero; ends at the first that is not. */
bool hs_page_is_zero(const void *page);

/*
 * Digests of the wanted base pages of a huge page's buffer (page i at buf + i * 4096): digests[i] for each wanted page
 * that is not zero; *zero gets the zero ones.
 */
void hs_digest_huge(const struct hs_digest_key *key, const void *buf, const struct hs_bits512 *want,
		    struct hs_digest digests[HS_BASE_PER_HUGE], struct hs_bits512 *zero);

/*
 * One thread at a time, the questions included: they take `const` because no answer changes by asking, but one that
 * meets a page of a guest that is being removed takes it out.
 */
struct hs_index;

/* A page of a guest. `guest` is the number that hs_index_add_guest gave. */
struct hs_page {
	uint32_t guest;
	hs_base_nr page;
};

HS_MUST_USE int hs_index_create(struct hs_index **out);
void hs_index_destroy(struct hs_index *x); /* takes NULL */

/* A guest with nr_huge huge pages; *guest: its number, reused after it has been removed. -ENOMEM, -ENOSPC (2^32 pages).
 */
HS_MUST_USE int hs_index_add_guest(struct hs_index *x, uint32_t nr_huge, uint32_t *guest);

/*
 * Removes up to max_pages of the guest's pages; 1 while some are left, 0 when the guest is gone (its number is free);
 * -EINVAL: no such guest. From the first call on, none of its pages is found any more by others than this removal.
 */
HS_MUST_USE int hs_index_remove_guest(struct hs_index *x, uint32_t guest, uint32_t max_pages);

/* Inserts, or replaces the digest of, a page. -ENOMEM (then the page is not in the index), -EINVAL. Constant time. */
HS_MUST_USE int hs_index_insert(struct hs_index *x, struct hs_page p, struct hs_digest d);

/*
 * The same for the pages in `which` of one huge page, in well under half the time: the waits for memory overlap.
 * -ENOMEM: some are not in the index, hs_index_indexed says which; -EINVAL.
 */
HS_MUST_USE int hs_index_insert_huge(struct hs_index *x, uint32_t guest, hs_huge_nr huge,
				     const struct hs_bits512 *which, const struct hs_digest digests[HS_BASE_PER_HUGE]);

/* Takes a page out; a page that is not in it is no error. Constant time. */
void hs_index_remove(struct hs_index *x, struct hs_page p);

/* Takes all base pages of a huge page out. */
void hs_index_remove_huge(struct hs_index *x, uint32_t guest, hs_huge_nr huge);

/* Which base pages of this huge page are in the index. */
void hs_index_indexed(const struct hs_index *x, uint32_t guest, hs_huge_nr huge, struct hs_bits512 *out);

/*
 * Up to max other pages with the digest of `p`, in no order; the number found. 0 as well when p is not indexed.
 * Constant time for small max.
 */
size_t hs_index_same(const struct hs_index *x, struct hs_page p, struct hs_page *out, size_t max);

/* Which base pages of this huge page have at least one other page with their digest: cheap, it looks at no other page.
 */
void hs_index_duplicates(const struct hs_index *x, uint32_t guest, hs_huge_nr huge, struct hs_bits512 *out);

/* How many pages have the digest of `p`, itself included, counting at most `limit`. */
uint32_t hs_index_count_same(const struct hs_index *x, struct hs_page p, uint32_t limit);

/* Up to max pages with this digest. */
size_t hs_index_find(const struct hs_index *x, struct hs_digest d, struct hs_page *out, size_t max);

/*
 * Calls fn for each page of the index, those of one content one after the other. `content`: 63 bits that are made of
 * the digest, the same for the same digest in any index. fn changes nothing in the index.
 */
typedef void hs_index_visit(void *ctx, uint64_t content, struct hs_page page);
void hs_index_each(const struct hs_index *x, hs_index_visit *fn, void *ctx);

struct hs_index_stats {
	uint64_t nr_pages; /* indexed */
	uint64_t nr_guests;
	uint64_t bytes; /* of memory held, everything included */
};
void hs_index_stats(const struct hs_index *x, struct hs_index_stats *out);

#endif
