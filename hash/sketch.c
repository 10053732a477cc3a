/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sketches. Nothing of a set is kept but the slots, and while one is made, the ranks of HyperLogLog: a sketch of a
 * guest with a terabyte has the size of one with a megabyte.
 *
 * Keys: of the fleet's key, one for each purpose and group is derived (BLAKE2b, by libsodium), so that none says
 * anything about another. XXH3 under a secret is a fast digest and no pseudo-random function: what leaves the host is
 * made by SipHash of it.
 */
#include "hs/sketch.h"

#include <errno.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

/* Another way of making sketches has another name here, and its sketches agree with none of these. */
#define DIGESTS "hs-dig-1"
#define NAME    "hs-nam-1"
#define SLOTS   "hs-share sketch 1, slots of group "
#define PART    "hs-share sketch 1, part of group "

#define SLOT_SHIFT (64 - 6)
#define VALUE_MASK ((UINT64_C(1) << HS_SKETCH_VALUE_BITS) - 1)
#define RANK_BITS  10

_Static_assert(HS_SKETCH_SLOTS == 1 << (64 - SLOT_SHIFT), "a slot is the hash's upper bits");
_Static_assert(HS_SKETCH_REGISTERS == 1 << RANK_BITS, "a register is the hash's lower bits");
_Static_assert(sizeof(struct hs_fleet_key) == crypto_kdf_KEYBYTES, "the fleet's key");
_Static_assert(sizeof(struct hs_sketch_key) == crypto_shorthash_KEYBYTES, "SipHash's key");
_Static_assert(crypto_shorthash_BYTES == sizeof(uint64_t), "SipHash's output");

/* ---- keys ---- */

int hs_fleet_key_parse(struct hs_fleet_key *out, const char *text, size_t len)
{
	struct hs_fleet_key key;
	size_t nr = 0;

	if (len != 2 * sizeof(key.bytes) || sodium_hex2bin(key.bytes, sizeof(key.bytes), text, len, NULL, &nr, NULL) ||
	    nr != sizeof(key.bytes))
		return -EINVAL;
	*out = key;
	sodium_memzero(&key, sizeof(key));
	return 0;
}

void hs_fleet_key_name(const struct hs_fleet_key *key, char out[HS_FLEET_KEY_NAME_MAX])
{
	uint8_t name[crypto_kdf_BYTES_MIN];

	(void)crypto_kdf_derive_from_key(name, sizeof(name), 1, NAME, key->bytes);
	(void)sodium_bin2hex(out, HS_FLEET_KEY_NAME_MAX, name, (HS_FLEET_KEY_NAME_MAX - 1) / 2);
}

void hs_sketch_digest_key(const struct hs_fleet_key *key, struct hs_digest_key *out)
{
	const size_t part = crypto_kdf_BYTES_MAX;

	_Static_assert(sizeof(out->secret) % crypto_kdf_BYTES_MAX == 0, "the secret is made of whole parts");
	for (size_t i = 0; i * part < sizeof(out->secret); i++)
		(void)crypto_kdf_derive_from_key(out->secret + i * part, part, i + 1, DIGESTS, key->bytes);
}

/* Keyed BLAKE2b of a purpose and a group's name; size: 16 or more. */
static void derive(const struct hs_fleet_key *key, const char *purpose, const char *group, void *out, size_t size)
{
	crypto_generichash_state s;

	(void)crypto_generichash_init(&s, key->bytes, sizeof(key->bytes), size);
	(void)crypto_generichash_update(&s, (const unsigned char *)purpose, strlen(purpose));
	(void)crypto_generichash_update(&s, (const unsigned char *)group, strlen(group));
	(void)crypto_generichash_final(&s, out, size);
}

uint64_t hs_sketch_group_part(const struct hs_fleet_key *key, const char *group)
{
	uint64_t part[2];

	derive(key, PART, group, part, sizeof(part));
	return part[0];
}

void hs_sketch_group_key(const struct hs_fleet_key *key, const char *group, struct hs_sketch_key *out)
{
	derive(key, SLOTS, group, out->bytes, sizeof(out->bytes));
}

/* ---- making ---- */

void hs_sketch_begin(struct hs_sketch_builder *b)
{
	memset(b, 0, sizeof(*b));
	for (size_t i = 0; i < HS_SKETCH_SLOTS; i++)
		b->slot[i] = HS_SKETCH_EMPTY;
}

uint64_t hs_sketch_hash(const struct hs_sketch_key *key, uint64_t content)
{
	uint64_t hash;

	(void)crypto_shorthash((unsigned char *)&hash, (const unsigned char *)&content, sizeof(content), key->bytes);
	return hash;
}

void hs_sketch_put(struct hs_sketch_builder *b, uint64_t hash)
{
	uint64_t *slot = &b->slot[hash >> SLOT_SHIFT];
	const uint64_t rest = hash >> RANK_BITS;
	const uint8_t rank = (uint8_t)(rest ? __builtin_clzll(rest) - RANK_BITS + 1 : 64 - RANK_BITS + 1);
	uint8_t *most = &b->rank[hash & (HS_SKETCH_REGISTERS - 1)];

	if ((hash & VALUE_MASK) < *slot)
		*slot = hash & VALUE_MASK;
	if (rank > *most)
		*most = rank;
}

/* HyperLogLog (Flajolet and others, 2007), and below 2.5 times the registers by those that are empty. */
static double count_contents(const uint8_t rank[HS_SKETCH_REGISTERS])
{
	const double m = HS_SKETCH_REGISTERS, alpha = 0.7213 / (1 + 1.079 / m);
	double sum = 0, estimate;
	unsigned int nr_empty = 0;

	for (size_t i = 0; i < HS_SKETCH_REGISTERS; i++) {
		sum += ldexp(1, -rank[i]);
		nr_empty += !rank[i];
	}
	estimate = alpha * m * m / sum;
	return estimate <= 2.5 * m && nr_empty ? m * log(m / nr_empty) : estimate;
}

void hs_sketch_end(const struct hs_sketch_builder *b, struct hs_sketch *out)
{
	memcpy(out->slot, b->slot, sizeof(out->slot));
	out->contents = round(count_contents(b->rank));
}

/* ---- estimating ---- */

void hs_sketch_compare(const struct hs_sketch *a, const struct hs_sketch *b, struct hs_sketch_overlap *out)
{
	const double sum = a->contents + b->contents;
	uint32_t equal = 0, empty = 0;

	for (size_t i = 0; i < HS_SKETCH_SLOTS; i++) {
		empty += a->slot[i] == HS_SKETCH_EMPTY && b->slot[i] == HS_SKETCH_EMPTY;
		equal += a->slot[i] == b->slot[i];
	}
	*out = (struct hs_sketch_overlap){ .equal = equal - empty, .known = HS_SKETCH_SLOTS - empty };
	if (!out->known)
		return;
	/* With J = common / (sum - common): common = J * sum / (1 + J), whose slope is sum / (1 + J)^2. */
	out->share = (double)out->equal / out->known;
	out->contents = out->share * sum / (1 + out->share);
	out->error = sqrt(out->share * (1 - out->share) / out->known) * sum / ((1 + out->share) * (1 + out->share));
}

void hs_sketch_in_common(const struct hs_sketch *const *sketches, size_t nr, struct hs_sketch_common *out)
{
	double sum = 0, squares = 0;
	unsigned int known = 0;

	*out = (struct hs_sketch_common){ 0 };
	for (size_t k = 0; k < nr; k++)
		out->contents += sketches[k]->contents;
	for (size_t i = 0; i < HS_SKETCH_SLOTS; i++) {
		uint64_t least = HS_SKETCH_EMPTY;
		double holders = 0;

		for (size_t k = 0; k < nr; k++) {
			if (sketches[k]->slot[i] < least) {
				least = sketches[k]->slot[i];
				holders = 0;
			}
			holders += sketches[k]->slot[i] == least;
		}
		if (least == HS_SKETCH_EMPTY)
			continue;
		known++;
		sum += holders;
		squares += holders * holders;
	}
	if (!known)
		return;
	out->copies = sum / known;
	if (known > 1)
		out->error = sqrt(fmax(0, (squares - sum * sum / known) / (known - 1) / known));
	out->across = out->contents * (1 - 1 / out->copies);
	out->across_error = out->contents * out->error / (out->copies * out->copies);
}
