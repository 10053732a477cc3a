/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which trust group owns a content. KSM has one tree for the whole host: two groups are kept apart by never having one
 * content mergeable in both. The table sees keys of contents and numbers of groups, no guests and no pages; every
 * answer takes constant time, however many pages hold a content.
 *
 * It is counted anew again and again, so that no page that stops being mergeable has to be reported:
 *
 *   begin     a count begins. Owners stay
 *   hold      for each page that is mergeable, or may become so without being asked about: its content and its group
 *   unknown   for a page like that whose content cannot be read
 *   settle    the count is complete: contents that nobody holds any more are free
 *   claim     may this content become mergeable in this group? Yes makes the group its owner until the next count
 *
 * What hold refused (a content of another group) is asked about again by claim after settle: its owner may be gone.
 */
#ifndef HS_OWNERS_H
#define HS_OWNERS_H

#include "hs/index.h"

/* A content's key: 64 bits of its digest. Two contents with one key are taken for one, which keeps them apart from
 * other groups all the same. */
typedef uint64_t hs_owners_key;
#define HS_OWNERS_UNKNOWN_KEY UINT64_C(0) /* of no content */
#define HS_OWNERS_ZERO_KEY    UINT64_C(1) /* of a page of zeros; of no other content */

hs_owners_key hs_owners_key_of(struct hs_digest d);

/* One thread at a time. */
struct hs_owners;

HS_MUST_USE int hs_owners_create(struct hs_owners **out); /* -ENOMEM */
void hs_owners_destroy(struct hs_owners *o);              /* takes NULL */

/* Also after a count that was broken off: it goes on then, and what was held before is held still. */
void hs_owners_begin(struct hs_owners *o);

/* 1: the group is the content's owner. 0: another group is, or was at the last count. -ENOMEM: it counts as unknown. */
HS_MUST_USE int hs_owners_hold(struct hs_owners *o, hs_owners_key key, uint32_t group);

/* Until the next begin no other group can claim a content that is not its own already. */
void hs_owners_unknown(struct hs_owners *o, uint32_t group);

void hs_owners_settle(struct hs_owners *o);

/* False before settle, for HS_OWNERS_UNKNOWN_KEY, and without memory. */
HS_MUST_USE bool hs_owners_claim(struct hs_owners *o, hs_owners_key key, uint32_t group);

/* False: nobody's. For reports and tests. */
bool hs_owners_find(const struct hs_owners *o, hs_owners_key key, uint32_t *group);

/* Of memory: 16 bytes an entry, at most 3 of 4 entries used, so 22 to 57 bytes for each content held in the last two
 * counts, and a KiB. */
uint64_t hs_owners_bytes(const struct hs_owners *o);

#endif
