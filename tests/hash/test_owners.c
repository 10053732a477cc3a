/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns a content: every sequence of events on a small host, a large random one against a naive model, memory.
 */
#include <errno.h>
#include <string.h>

#include "hs/owners.h"
#include "hs_test.h"
#include "index_help.h"

/* ---- a host of three pages in two groups, and two contents: every sequence of so many events ---- */

#define NR_PAGES 3
#define DEPTH    5

struct page {
	uint32_t group;
	uint8_t content; /* 0 or 1 */
	bool marked;     /* mergeable */
	bool merged;     /* on the frame of its content */
	bool hidden;     /* nobody can read it now */
};

static struct page pages[NR_PAGES];
static struct hs_owners *owners;

static const hs_owners_key keys[2] = { HS_OWNERS_ZERO_KEY, 77 };

/* What is mergeable is counted; what is found to be another group's is given up. */
static void count_held(void)
{
	bool refused[NR_PAGES] = { false };

	hs_owners_begin(owners);
	for (int i = 0; i < NR_PAGES; i++) {
		if (!pages[i].marked)
			continue;
		if (pages[i].hidden)
			hs_owners_unknown(owners, pages[i].group);
		else
			refused[i] = hs_owners_hold(owners, keys[pages[i].content], pages[i].group) != 1;
	}
	hs_owners_settle(owners);
	for (int i = 0; i < NR_PAGES; i++)
		if (refused[i] && !hs_owners_claim(owners, keys[pages[i].content], pages[i].group))
			pages[i].marked = pages[i].merged = false;
}

/* What ksmd would merge if it ran now. */
static void check_apart(void)
{
	for (int i = 0; i < NR_PAGES; i++)
		for (int k = 0; k < i; k++)
			help_check(!(pages[i].marked && pages[k].marked && pages[i].group != pages[k].group &&
				     pages[i].content == pages[k].content));
}

static void burst(void)
{
	check_apart();
	for (int i = 0; i < NR_PAGES; i++)
		pages[i].merged = pages[i].marked;
}

static void new_table(void)
{
	hs_owners_destroy(owners);
	help_check(hs_owners_create(&owners) == 0);
}

/*
 * One event. What is written changes what is mergeable only between two counts: within one, two groups can be merged
 * until they are parted, see docs/security.md. A page that nobody can read is not written in this model: it could be
 * known only by its frame.
 */
enum { MARK, WRITE_0, WRITE_1, HIDE, PER_PAGE_EVENTS };
enum { BURST = PER_PAGE_EVENTS * NR_PAGES, RESTART, BROKEN_OFF, LEAVE_0, LEAVE_1, NR_EVENTS };

static void happen(int event)
{
	struct page *p = &pages[event / PER_PAGE_EVENTS % NR_PAGES];

	switch (event < BURST ? event % PER_PAGE_EVENTS : event) {
	case MARK:
		count_held();
		if (!p->hidden && !p->marked)
			p->marked = hs_owners_claim(owners, keys[p->content], p->group);
		burst();
		break;
	case WRITE_0:
	case WRITE_1:
		if (p->hidden)
			break;
		p->content = event % PER_PAGE_EVENTS == WRITE_1;
		p->merged = false;
		break;
	case HIDE:
		p->hidden = !p->hidden;
		break;
	case BURST:
		count_held();
		burst();
		break;
	case RESTART:
		new_table();
		break;
	case BROKEN_OFF:
		hs_owners_begin(owners);
		if (pages[0].marked && !pages[0].hidden)
			(void)!hs_owners_hold(owners, keys[pages[0].content], pages[0].group);
		help_check(!hs_owners_claim(owners, keys[0], 0)); /* nothing is, before the count is complete */
		break;
	default: /* its guests end: nobody tells the table */
		for (int i = 0; i < NR_PAGES; i++)
			if (pages[i].group == (uint32_t)(event - LEAVE_0))
				pages[i].marked = pages[i].merged = pages[i].hidden = false;
	}
}

START_TEST(test_hash_owners_every_sequence)
{
	const uint64_t each = hs_test_each(1, 13);
	uint64_t nr = 1;

	for (int i = 0; i < DEPTH; i++)
		nr *= NR_EVENTS;
	for (uint64_t sequence = 0; sequence < nr; sequence += each) {
		uint64_t rest = sequence;

		for (uint32_t i = 0; i < NR_PAGES; i++)
			pages[i] = (struct page){ .group = i > (uint32_t)_i };
		new_table();
		for (int i = 0; i < DEPTH; i++, rest /= NR_EVENTS)
			happen((int)(rest % NR_EVENTS));
		/* Whatever it was, it comes to rest: all that can be read, both groups want all, and one has each. */
		for (int i = 0; i < NR_PAGES; i++)
			pages[i].hidden = false;
		for (int i = 0; i < NR_PAGES; i++)
			happen(i * PER_PAGE_EVENTS + MARK);
		for (int i = 0; i < NR_PAGES; i++) {
			uint32_t group;

			help_check(hs_owners_find(owners, keys[pages[i].content], &group));
			help_check(pages[i].merged == (group == pages[i].group));
		}
	}
	hs_owners_destroy(owners);
	owners = NULL;
}
END_TEST

/* ---- by hand ---- */

START_TEST(test_hash_owners_released)
{
	struct hs_owners *o;
	uint32_t group = 9;

	ck_assert_int_eq(hs_owners_create(&o), 0);
	ck_assert(!hs_owners_claim(o, 5, 1)); /* no count yet: nothing is known */
	hs_owners_begin(o);
	ck_assert_int_eq(hs_owners_hold(o, 5, 1), 1);
	ck_assert_int_eq(hs_owners_hold(o, 5, 1), 1);
	ck_assert_int_eq(hs_owners_hold(o, 5, 2), 0);
	ck_assert_int_eq(hs_owners_hold(o, HS_OWNERS_UNKNOWN_KEY, 2), -EINVAL);
	hs_owners_settle(o);
	ck_assert(!hs_owners_claim(o, 6, 1)); /* a content of group 2 is not known: it may be this one */
	ck_assert(hs_owners_claim(o, 6, 2));
	ck_assert(hs_owners_claim(o, 5, 1));
	ck_assert(!hs_owners_claim(o, 5, 2));

	/* Nobody holds 5 any more; until that is known it is taken. */
	hs_owners_begin(o);
	ck_assert_int_eq(hs_owners_hold(o, 5, 2), 0);
	ck_assert_int_eq(hs_owners_hold(o, 6, 2), 1);
	hs_owners_settle(o);
	ck_assert(!hs_owners_find(o, 5, &group));
	ck_assert(hs_owners_claim(o, 5, 2));
	ck_assert(!hs_owners_claim(o, 5, 1));
	ck_assert(hs_owners_find(o, 5, &group));
	ck_assert_uint_eq(group, 2);

	/* A count that is broken off takes nothing from an owner that it had not come to. */
	hs_owners_begin(o);
	hs_owners_begin(o);
	ck_assert_int_eq(hs_owners_hold(o, 5, 1), 0);

	/* Two groups with something unknown: nobody gets anything new. */
	hs_owners_begin(o);
	hs_owners_unknown(o, 1);
	hs_owners_unknown(o, 2);
	ck_assert_int_eq(hs_owners_hold(o, 5, 2), 1);
	hs_owners_settle(o);
	ck_assert(!hs_owners_claim(o, 8, 1));
	ck_assert(!hs_owners_claim(o, 8, 2));
	ck_assert(hs_owners_claim(o, 5, 2));
	hs_owners_destroy(o);
	hs_owners_destroy(NULL);
}
END_TEST

START_TEST(test_hash_owners_keys)
{
	ck_assert_uint_eq(hs_owners_key_of(help_digest(1)), hs_owners_key_of(help_digest(1)));
	ck_assert_uint_ne(hs_owners_key_of(help_digest(1)), hs_owners_key_of(help_digest(2)));
	ck_assert_uint_gt(hs_owners_key_of((struct hs_digest){ 0, 0 }), HS_OWNERS_ZERO_KEY);
	ck_assert_uint_gt(hs_owners_key_of((struct hs_digest){ 1, 0 }), HS_OWNERS_ZERO_KEY);
}
END_TEST

/* ---- many contents: the same answers as an array's, in the memory that the contract says ---- */

#define NR_CONTENTS 20000
#define NR_GROUPS   3
#define NR_COUNTS   60

START_TEST(test_hash_owners_many)
{
	static struct {
		uint32_t owner; /* + 1; 0: nobody */
		uint32_t held;  /* last count */
	} model[NR_CONTENTS];
	struct hs_owners *o;
	uint64_t state = 11;

	memset(model, 0, sizeof(model));
	ck_assert_int_eq(hs_owners_create(&o), 0);
	for (uint32_t count = 1; count <= NR_COUNTS; count++) {
		/* Up to all of them, down to none, and up again. */
		const uint32_t span = count % 20 < 10 ? NR_CONTENTS * (count % 20) / 9 : NR_CONTENTS / 100;
		uint64_t recent = 0;

		hs_owners_begin(o);
		for (uint32_t i = 0; i < span; i++) {
			const uint32_t c = (uint32_t)(help_random(&state) % span);
			const uint32_t group = (uint32_t)(help_random(&state) % NR_GROUPS);
			const bool mine = !model[c].owner || model[c].owner == group + 1;

			help_check(hs_owners_hold(o, hs_owners_key_of(help_digest(c)), group) == mine);
			if (mine) {
				model[c].owner = group + 1;
				model[c].held = count;
			}
		}
		hs_owners_settle(o);
		for (uint32_t c = 0; c < NR_CONTENTS; c++) {
			const hs_owners_key key = hs_owners_key_of(help_digest(c));
			uint32_t group = 0;

			recent += model[c].owner != 0;
			if (model[c].held != count)
				model[c].owner = 0;
			help_check(hs_owners_find(o, key, &group) == (model[c].owner != 0));
			help_check(!model[c].owner || model[c].owner == group + 1);
			if (c % 7)
				continue;
			group = c % NR_GROUPS;
			help_check(hs_owners_claim(o, key, group) == (!model[c].owner || model[c].owner == group + 1));
			if (!model[c].owner) {
				recent++;
				model[c] = (typeof(model[c])){ .owner = group + 1, .held = count };
			}
		}
		/* The peak of late is held until the table is laid out anew; it never grows with time. */
		help_check(hs_owners_bytes(o) <= 1024 + 64 * 16 + UINT64_C(57) * NR_CONTENTS * 8 / 7);
		if (count == 9)
			help_check(hs_owners_bytes(o) >= 16 * recent && hs_owners_bytes(o) <= 1024 + 57 * recent);
	}
	hs_owners_destroy(o);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/owners");
	TCase *t = tcase_create("owners");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_hash_owners_every_sequence, 0, 2);
	tcase_add_test(t, test_hash_owners_released);
	tcase_add_test(t, test_hash_owners_keys);
	tcase_add_test(t, test_hash_owners_many);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
