/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sketches against sets whose common part is known: within the estimates' own error, also where slots stay empty; keys;
 * the index as their source; thousands of guests.
 */
#include "hs_test.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "hs/sketch.h"

static struct hs_sketch_key key;

static void set_key(const char *group)
{
	struct hs_fleet_key fleet;

	memset(&fleet, 7, sizeof(fleet));
	hs_sketch_group_key(&fleet, group, &key);
}

/* Contents from `first` on, as a multiset: each twice. */
static struct hs_sketch sketch_of(uint64_t first, uint64_t nr)
{
	struct hs_sketch_builder b;
	struct hs_sketch out;

	hs_sketch_begin(&b);
	for (uint64_t i = 0; i < 2 * nr; i++)
		hs_sketch_put(&b, hs_sketch_hash(&key, first + i % nr));
	hs_sketch_end(&b, &out);
	return out;
}

START_TEST(test_hash_sketch_shape)
{
	set_key("web");
	for (uint64_t nr = 0; nr < 3000; nr = nr * 3 + 1) {
		const struct hs_sketch s = sketch_of(nr * 1000, nr);
		uint64_t filled = 0;

		for (size_t i = 0; i < HS_SKETCH_SLOTS; i++) {
			ck_assert(s.slot[i] == HS_SKETCH_EMPTY || s.slot[i] < UINT64_C(1) << HS_SKETCH_VALUE_BITS);
			filled += s.slot[i] != HS_SKETCH_EMPTY;
		}
		ck_assert_uint_le(filled, nr);
		ck_assert(nr < 1000 || filled == HS_SKETCH_SLOTS);
		/* Three times its standard error of 3.3 %. */
		ck_assert_msg(fabs(s.contents - (double)nr) <= 0.1 * (double)nr, "%g of %lu", s.contents, nr);
	}
}
END_TEST

/* Not one pair, whose luck it would be, but the mean over many, which has to be without bias, and their spread. */
START_TEST(test_hash_sketch_overlap)
{
	static const struct {
		uint64_t each, common;
	} cases[] = { { 20, 5 },   { 20, 20 },   { 60, 30 },   { 500, 0 },
		      { 500, 50 }, { 500, 250 }, { 500, 450 }, { 3000, 1000 } };
	uint64_t base = 1;

	set_key("web");
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		const double n = (double)cases[c].each, k = (double)cases[c].common, share = k / (2 * n - k);
		double sum = 0, off = 0;
		int nr = cases[c].each > 1000 ? 40 : 150, within = 0;

		for (int t = 0; t < nr; t++, base += 2 * cases[c].each) {
			const struct hs_sketch a = sketch_of(base, cases[c].each),
					       b = sketch_of(base + cases[c].each - cases[c].common, cases[c].each);
			struct hs_sketch_overlap o;

			hs_sketch_compare(&a, &b, &o);
			sum += o.share;
			off += fabs(o.share - share);
			/* Three times its own error, and 10 % for what it takes the sizes to be. */
			within += fabs(o.contents - k) <= 3 * o.error + 0.1 * k + 0.5;
		}
		/* Four standard errors of a mean of so many. Few slots are filled where there are few contents. */
		ck_assert_msg(fabs(sum / nr - share) <=
				  4 * sqrt(share * (1 - share) / fmin(HS_SKETCH_SLOTS, n) / nr) + 1e-9,
			      "%g of %g: %g", k, n, sum / nr);
		ck_assert_msg(off / nr <= 1.2 * sqrt(share * (1 - share) / fmin(HS_SKETCH_SLOTS, n)) + 1e-9, "%g of %g",
			      k, n);
		ck_assert_msg(within >= nr * 9 / 10, "%g of %g: %d of %d", k, n, within, nr);
	}
}
END_TEST

START_TEST(test_hash_sketch_empty)
{
	struct hs_sketch_overlap o;
	struct hs_sketch_common c;
	struct hs_sketch none = sketch_of(0, 0), some;
	const struct hs_sketch *both[] = { &none, &none };

	set_key("web");
	some = sketch_of(0, 100);
	hs_sketch_compare(&none, &none, &o);
	ck_assert(o.known == 0 && o.equal == 0 && o.contents == 0 && o.share == 0);
	hs_sketch_compare(&none, &some, &o);
	ck_assert(o.equal == 0 && o.known > 32 && o.contents == 0);
	hs_sketch_in_common(both, 2, &c);
	ck_assert(c.copies == 0 && c.across == 0);
	hs_sketch_in_common(both, 0, &c);
	ck_assert(c.copies == 0);
}
END_TEST

/* Another group's, and another fleet's, have nothing in common, whatever the guests hold. */
START_TEST(test_hash_sketch_keys)
{
	struct hs_fleet_key a, b, c;
	struct hs_digest_key da, db;
	struct hs_sketch web, db_group;
	struct hs_sketch_overlap o;
	char hex[65], na[HS_FLEET_KEY_NAME_MAX], nb[HS_FLEET_KEY_NAME_MAX];

	memset(hex, 'a', 64);
	hex[64] = '\0';
	ck_assert_int_eq(hs_fleet_key_parse(&a, hex, 64), 0);
	ck_assert_int_eq(a.bytes[31], 0xaa);
	ck_assert_int_eq(hs_fleet_key_parse(&b, hex, 63), -EINVAL);
	hex[5] = 'g';
	ck_assert_int_eq(hs_fleet_key_parse(&b, hex, 64), -EINVAL);
	hex[5] = 'A';
	ck_assert_int_eq(hs_fleet_key_parse(&b, hex, 64), 0);
	ck_assert_mem_eq(&a, &b, sizeof(a));
	b.bytes[0] ^= 1;
	c = a;
	hs_sketch_digest_key(&a, &da);
	hs_sketch_digest_key(&c, &db);
	ck_assert_mem_eq(&da, &db, sizeof(da));
	hs_sketch_digest_key(&b, &db);
	for (size_t i = 0; i + 16 <= sizeof(da.secret); i += 16)
		ck_assert(memcmp(da.secret + i, db.secret + i, 16) != 0);
	hs_fleet_key_name(&a, na);
	hs_fleet_key_name(&b, nb);
	ck_assert_uint_eq(strlen(na), HS_FLEET_KEY_NAME_MAX - 1);
	ck_assert_str_ne(na, nb);
	ck_assert(hs_sketch_group_part(&a, "web") == hs_sketch_group_part(&c, "web"));
	ck_assert(hs_sketch_group_part(&a, "web") != hs_sketch_group_part(&a, "db"));
	ck_assert(hs_sketch_group_part(&a, "web") != hs_sketch_group_part(&b, "web"));
	hs_sketch_group_key(&a, "web", &key);
	web = sketch_of(0, 1000);
	hs_sketch_group_key(&a, "db", &key);
	db_group = sketch_of(0, 1000);
	hs_sketch_compare(&web, &db_group, &o);
	ck_assert_uint_eq(o.equal, 0);
}
END_TEST

/* Hosts of before and after an upgrade are compared: what a key makes of a content does not change unnoticed. */
START_TEST(test_hash_sketch_stays)
{
	struct hs_fleet_key fleet;
	struct hs_digest_key digests;
	char name[HS_FLEET_KEY_NAME_MAX];
	uint8_t page[HS_BASE_SIZE];
	struct hs_digest d;

	for (size_t i = 0; i < sizeof(fleet.bytes); i++)
		fleet.bytes[i] = (uint8_t)i;
	memset(page, 0x5a, sizeof(page));
	hs_fleet_key_name(&fleet, name);
	hs_sketch_digest_key(&fleet, &digests);
	hs_sketch_group_key(&fleet, "web", &key);
	d = hs_digest_page(&digests, page);
	ck_assert_str_eq(name, "0886bd62ee67fcf0");
	ck_assert_uint_eq(d.lo, UINT64_C(0xbc243128cad5a5e1));
	ck_assert_uint_eq(hs_sketch_group_part(&fleet, "web"), UINT64_C(0xbcf5bc1f2fb3fd4f));
	ck_assert_uint_eq(hs_sketch_hash(&key, 12345), UINT64_C(0x9c6bb06c733dc1f1));
}
END_TEST

/* 4,000 guests of 40 families on 100 hosts: what is common over all, and of two of a family. Each holds 300 contents of
 * its family's 500, drawn at random, and 100 of its own; 64 slots each are all that is kept. */
#define NR_GUESTS  4000
#define NR_FAMILY  40
#define FAMILY_OF  500
#define OF_FAMILY  300
#define OF_ITS_OWN 100

static struct hs_sketch *make_fleet(double *distinct)
{
	struct hs_sketch *all = calloc(NR_GUESTS, sizeof(*all));
	bool *held = calloc(NR_FAMILY * FAMILY_OF, sizeof(*held));
	uint64_t seed = 1;

	ck_assert(all && held);
	*distinct = (double)NR_GUESTS * OF_ITS_OWN;
	for (uint64_t g = 0; g < NR_GUESTS; g++) {
		struct hs_sketch_builder b;
		const uint64_t family = g % NR_FAMILY;
		uint16_t left[FAMILY_OF];

		for (uint16_t i = 0; i < FAMILY_OF; i++)
			left[i] = i;
		hs_sketch_begin(&b);
		for (uint64_t i = 0; i < OF_FAMILY; i++) {
			uint64_t pick;

			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			pick = i + (seed >> 33) % (FAMILY_OF - i);
			hs_sketch_put(&b, hs_sketch_hash(&key, family * FAMILY_OF + left[pick]));
			*distinct += !held[family * FAMILY_OF + left[pick]];
			held[family * FAMILY_OF + left[pick]] = true;
			left[pick] = left[i];
		}
		for (uint64_t i = 0; i < OF_ITS_OWN; i++)
			hs_sketch_put(&b, hs_sketch_hash(&key, (g + 1) * 1000000 + i));
		hs_sketch_end(&b, &all[g]);
	}
	free(held);
	return all;
}

START_TEST(test_hash_sketch_many)
{
	const double copies = 400.0 * NR_GUESTS;
	const struct hs_sketch **list = calloc(NR_GUESTS, sizeof(*list));
	double distinct, pairs = 0;
	struct hs_sketch_common c;
	struct hs_sketch *all;
	size_t nr = 0;

	set_key("web");
	ck_assert_ptr_nonnull(list);
	all = make_fleet(&distinct);
	for (size_t i = 0; i < NR_GUESTS; i++)
		list[i] = &all[i];
	hs_sketch_in_common(list, NR_GUESTS, &c);
	/* Nearly all of the union are contents of one guest alone, few are of a hundred: its own error says so. */
	ck_assert_msg(fabs(c.copies - copies / distinct) <= 3 * c.error, "%g of %g, error %g", c.copies,
		      copies / distinct, c.error);
	ck_assert(fabs(c.contents - copies) < 0.02 * copies);
	/* One family. */
	for (size_t i = 0; i < NR_GUESTS / NR_FAMILY; i++)
		list[i] = &all[i * NR_FAMILY];
	hs_sketch_in_common(list, NR_GUESTS / NR_FAMILY, &c);
	ck_assert_msg(fabs(c.copies - 40000.0 / (FAMILY_OF + 10000)) <= 3 * c.error, "%g, error %g", c.copies, c.error);
	/* Pairs of it have 180 contents in common, those of two families none. */
	for (size_t i = 0; i + NR_FAMILY < NR_GUESTS; i += 7, nr++) {
		struct hs_sketch_overlap o;

		hs_sketch_compare(&all[i], &all[i + NR_FAMILY], &o);
		pairs += o.contents;
		hs_sketch_compare(&all[i], &all[i + NR_FAMILY - 1], &o);
		ck_assert_uint_eq(o.equal, 0);
	}
	ck_assert_msg(fabs(pairs / (double)nr - 180) < 9, "%g", pairs / (double)nr);
	free(all);
	free(list);
}
END_TEST

/* ---- the index as the source ---- */

struct seen {
	uint64_t content[64];
	struct hs_page page[64];
	size_t nr;
};

static void on_page(void *ctx, uint64_t content, struct hs_page page)
{
	struct seen *s = ctx;

	ck_assert_uint_lt(s->nr, 64);
	s->content[s->nr] = content;
	s->page[s->nr++] = page;
}

START_TEST(test_hash_sketch_index_each)
{
	struct seen s = { .nr = 0 };
	uint32_t a, b, gone, groups = 0;
	struct hs_index *x;

	ck_assert_int_eq(hs_index_create(&x), 0);
	ck_assert_int_eq(hs_index_add_guest(x, 1, &a), 0);
	ck_assert_int_eq(hs_index_add_guest(x, 1, &b), 0);
	ck_assert_int_eq(hs_index_add_guest(x, 1, &gone), 0);
	/* Contents 1, 2, 3 of four pages each, of two guests and one that goes, and one of a page alone, taken out. */
	for (uint32_t i = 0; i < 12; i++) {
		const struct hs_digest d = { .lo = 1 + i / 4, .hi = 99 };

		ck_assert_int_eq(hs_index_insert(x,
						 (struct hs_page){ i % 4 == 3 ? gone
								   : i & 1    ? b
									      : a,
								   i * 40 },
						 d),
				 0);
	}
	ck_assert_int_eq(hs_index_insert(x, (struct hs_page){ a, 500 }, (struct hs_digest){ .lo = 77 }), 0);
	hs_index_remove(x, (struct hs_page){ a, 500 });
	ck_assert_int_eq(hs_index_remove_guest(x, gone, 1), 1);
	hs_index_each(x, on_page, &s);
	ck_assert_uint_eq(s.nr, 9);
	for (size_t i = 0; i < s.nr; i++) {
		groups += !i || s.content[i] != s.content[i - 1];
		ck_assert_uint_ne(s.page[i].guest, gone);
		/* Equal contents stand together, and no others have the number. */
		for (size_t k = 0; k < s.nr; k++)
			ck_assert((s.content[i] == s.content[k]) == (s.page[i].page / 160 == s.page[k].page / 160));
	}
	ck_assert_uint_eq(groups, 3);
	hs_index_destroy(x);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/sketch");
	TCase *t = tcase_create("sketch");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_hash_sketch_shape);
	tcase_add_test(t, test_hash_sketch_overlap);
	tcase_add_test(t, test_hash_sketch_empty);
	tcase_add_test(t, test_hash_sketch_keys);
	tcase_add_test(t, test_hash_sketch_stays);
	tcase_add_test(t, test_hash_sketch_many);
	tcase_add_test(t, test_hash_sketch_index_each);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
