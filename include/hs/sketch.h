/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sketches of guests: what hosts that know nothing of each other's memory can compare to learn how much their guests
 * have in common. One-permutation MinHash (Li, Owen, Zhang, NIPS 2012): a keyed hash of each content chooses a slot,
 * and each slot keeps the least value. Of two sketches the share of slots that agree estimates what is common to both
 * sets; the slot-wise minimum of several sketches is the sketch of their union.
 *
 * Slots that nothing fell into stay empty and count for nobody, which leaves the estimate without bias (the same
 * paper): so nothing is filled in (densified), and a small guest's sketch is as exact as it can be.
 *
 * Who has sketches and not the key learns how much two guests of a group have in common, and about how many different
 * contents each has, and no content: the hash is SipHash-2-4, a pseudo-random function, under a key that is made of the
 * fleet's key and the trust group's name. Sketches of two groups, or of two fleets, say nothing about each other.
 */
#ifndef HS_SKETCH_H
#define HS_SKETCH_H

#include "hs/index.h"

#define HS_SKETCH_SLOTS      64 /* one in 64 equal slots is 1.6 %; the standard error is at most 6.3 % */
#define HS_SKETCH_VALUE_BITS 48 /* a double holds 53, and 15 decimal digits hold 49: nobody's text rounds it */
#define HS_SKETCH_EMPTY      UINT64_MAX

/* The secret of a fleet: hosts that have the same one make sketches that can be compared. */
struct hs_fleet_key {
	uint8_t bytes[32];
};

struct hs_sketch_key {
	uint8_t bytes[16]; /* SipHash's */
};

struct hs_sketch {
	uint64_t slot[HS_SKETCH_SLOTS]; /* below 2^48, or HS_SKETCH_EMPTY */
	double contents; /* estimate of how many different contents there are; standard error 3.3 % (HyperLogLog) */
};

/* ---- keys ---- */

/* 64 hexadecimal digits, of either case. -EINVAL: they are not. */
HS_MUST_USE int hs_fleet_key_parse(struct hs_fleet_key *out, const char *text, size_t len);

#define HS_FLEET_KEY_NAME_MAX 17
/* What tells two keys apart and says nothing about either: 16 hexadecimal digits. */
void hs_fleet_key_name(const struct hs_fleet_key *key, char out[HS_FLEET_KEY_NAME_MAX]);

/* The digests' key of a host in a fleet: equal contents have equal digests on all its hosts. */
void hs_sketch_digest_key(const struct hs_fleet_key *key, struct hs_digest_key *out);

/* By which the digests of a trust group differ from those of others, on all hosts alike. */
uint64_t hs_sketch_group_part(const struct hs_fleet_key *key, const char *group);

void hs_sketch_group_key(const struct hs_fleet_key *key, const char *group, struct hs_sketch_key *out);

/* ---- making ---- */

#define HS_SKETCH_REGISTERS 1024 /* of HyperLogLog: the standard error is 1.04 / sqrt of it */

struct hs_sketch_builder {
	uint64_t slot[HS_SKETCH_SLOTS];
	uint8_t rank[HS_SKETCH_REGISTERS];
};
void hs_sketch_begin(struct hs_sketch_builder *b);

/* `content`: a number that equal contents, and they alone, have in common. */
uint64_t hs_sketch_hash(const struct hs_sketch_key *key, uint64_t content);

/* A content once or several times: that makes no difference. */
void hs_sketch_put(struct hs_sketch_builder *b, uint64_t hash);

void hs_sketch_end(const struct hs_sketch_builder *b, struct hs_sketch *out);

/* ---- estimating ---- */

struct hs_sketch_overlap {
	uint32_t equal, known; /* slots; known: not empty in both */
	double share;          /* of the union of both, that both have (the Jaccard index); 0 where known is 0 */
	double contents;       /* that both have */
	double error;          /* standard error of `contents`, of the slots alone */
};
void hs_sketch_compare(const struct hs_sketch *a, const struct hs_sketch *b, struct hs_sketch_overlap *out);

struct hs_sketch_common {
	double copies;   /* mean number of the sets that have a content, over all contents: 1 when nothing is common */
	double error;    /* its standard error */
	double contents; /* sum over the sets, each by itself */
	double across;   /* of them, that would go if each content stayed once; and its standard error */
	double across_error;
};
/*
 * Over nr sketches: the least value of a slot over all of them is that of a content drawn at random from the union, and
 * as many sets have it as have that value. 0 copies where there are none.
 */
void hs_sketch_in_common(const struct hs_sketch *const *sketches, size_t nr, struct hs_sketch_common *out);

#endif
