/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index against a naive model: an array with each page's content and a count for each content. A million random
 * operations; every answer is checked, and all pages together every now and then.
 */
#include <string.h>

#include "hs_test.h"
#include "index_help.h"

#define NR_GUESTS   5
#define MAX_HUGE    24
#define NR_CONTENTS 6000
#define NOTHING     UINT32_MAX

static struct {
	bool alive, leaving;
	uint32_t number; /* the index's */
	uint32_t nr_huge;
	uint32_t content[MAX_HUGE * HS_BASE_PER_HUGE];
} guests[NR_GUESTS];
static uint32_t by_number[64];      /* number of the index to our own */
static uint32_t count[NR_CONTENTS]; /* pages of guests that are alive and not leaving */
static uint64_t total;
static struct hs_index *x;
static uint64_t state;

static uint32_t below(uint32_t n)
{
	return (uint32_t)(help_random(&state) % n);
}

/* Contents as memory has them: one is everywhere, some are frequent, most are rare. */
static uint32_t some_content(void)
{
	switch (below(8)) {
	case 0:
		return 0;
	case 1:
		return below(10);
	case 2:
		return below(300);
	default:
		return below(NR_CONTENTS);
	}
}

static void forget(uint32_t g, uint32_t page)
{
	uint32_t *c = &guests[g].content[page];

	if (*c == NOTHING)
		return;
	count[*c]--;
	total--;
	*c = NOTHING;
}

static void learn(uint32_t g, uint32_t page, uint32_t content)
{
	forget(g, page);
	guests[g].content[page] = content;
	count[content]++;
	total++;
}

/* n pages, all different, each with that content, none of them `but`. */
static void check_answer(const struct hs_page *out, size_t n, uint32_t content, const struct hs_page *but)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t g = by_number[out[i].guest];

		help_check(guests[g].alive && !guests[g].leaving && guests[g].number == out[i].guest);
		help_check(guests[g].content[out[i].page] == content);
		if (but)
			help_check(out[i].guest != but->guest || out[i].page != but->page);
		for (size_t j = 0; j < i && j < 32; j++)
			help_check(out[i].guest != out[j].guest || out[i].page != out[j].page);
	}
}

static size_t at_most(size_t a, size_t b)
{
	return a < b ? a : b;
}

static void check_page(uint32_t g, uint32_t page)
{
	static struct hs_page out[64];
	struct hs_page p = { guests[g].number, page };
	uint32_t content = guests[g].leaving ? NOTHING : guests[g].content[page];
	uint32_t equal = content == NOTHING ? 0 : count[content], limit = 1 + below(100);
	size_t max = below(5) ? below(6) : below(65), n;

	n = hs_index_same(x, p, out, max);
	help_check(n == (equal ? at_most(max, equal - 1) : 0));
	check_answer(out, n, content, &p);
	help_check(hs_index_count_same(x, p, limit) == at_most(limit, equal));
}

static void check_find(uint32_t content)
{
	static struct hs_page out[64];
	size_t max = below(65), n = hs_index_find(x, help_digest(content), out, max);

	help_check(n == at_most(max, count[content]));
	check_answer(out, n, content, NULL);
}

static void check_huge(uint32_t g, uint32_t huge)
{
	struct hs_bits512 bits, dup;

	hs_index_indexed(x, guests[g].number, huge, &bits);
	hs_index_duplicates(x, guests[g].number, huge, &dup);
	for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++) {
		uint32_t content = guests[g].leaving ? NOTHING : guests[g].content[huge * HS_BASE_PER_HUGE + i];

		help_check(hs_bits_test(&bits, i) == (content != NOTHING));
		help_check(hs_bits_test(&dup, i) == (content != NOTHING && count[content] > 1));
	}
}

static void check_all(void)
{
	struct hs_index_stats s;
	uint32_t nr = 0;

	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		nr += guests[g].alive && !guests[g].leaving;
		for (uint32_t h = 0; guests[g].alive && h < guests[g].nr_huge; h++)
			check_huge(g, h);
	}
	for (uint32_t c = 0; c < NR_CONTENTS; c += 7)
		check_find(c);
	hs_index_stats(x, &s);
	help_check(s.nr_pages == total);
	help_check(s.nr_guests == nr);
}

static void arrive(uint32_t g)
{
	guests[g].nr_huge = 1 + below(MAX_HUGE);
	help_check(hs_index_add_guest(x, guests[g].nr_huge, &guests[g].number) == 0);
	help_check(guests[g].number < 64);
	by_number[guests[g].number] = g;
	guests[g].alive = true;
	guests[g].leaving = false;
	memset(guests[g].content, 0xff, sizeof(guests[g].content));
}

static void leave(uint32_t g)
{
	if (!guests[g].leaving)
		for (uint32_t p = 0; p < guests[g].nr_huge * HS_BASE_PER_HUGE; p++)
			forget(g, p);
	guests[g].leaving = true;
	if (hs_index_remove_guest(x, guests[g].number, below(400)) == 0)
		guests[g].alive = false;
}

static void insert_huge(uint32_t g, uint32_t huge)
{
	static struct hs_digest d[HS_BASE_PER_HUGE];
	struct hs_bits512 which;

	for (int w = 0; w < 8; w++)
		which.w[w] = below(3) ? help_random(&state) & help_random(&state) : 0;
	for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++) {
		uint32_t content = some_content();

		if (!hs_bits_test(&which, i))
			continue;
		d[i] = help_digest(content);
		learn(g, huge * HS_BASE_PER_HUGE + i, content);
	}
	help_check(hs_index_insert_huge(x, guests[g].number, huge, &which, d) == 0);
}

static void step(void)
{
	uint32_t g = below(NR_GUESTS), what = below(2000), page, content;

	if (!guests[g].alive) {
		arrive(g);
		return;
	}
	page = below(guests[g].nr_huge * HS_BASE_PER_HUGE);
	if (guests[g].leaving) {
		if (what < 100)
			leave(g);
		else
			check_page(g, page);
		return;
	}
	content = some_content();
	if (what < 800) {
		help_check(hs_index_insert(x, (struct hs_page){ guests[g].number, page }, help_digest(content)) == 0);
		learn(g, page, content);
	} else if (what < 1200) {
		hs_index_remove(x, (struct hs_page){ guests[g].number, page });
		forget(g, page);
	} else if (what < 1204) {
		for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
			forget(g, page / HS_BASE_PER_HUGE * HS_BASE_PER_HUGE + i);
		hs_index_remove_huge(x, guests[g].number, page / HS_BASE_PER_HUGE);
	} else if (what < 1206) {
		insert_huge(g, page / HS_BASE_PER_HUGE);
	} else if (what < 1207) {
		if (!below(3))
			leave(g);
	} else if (what < 1210) {
		check_huge(g, page / HS_BASE_PER_HUGE);
	} else if (what < 1600) {
		check_page(g, page);
	} else {
		check_find(content);
	}
}

START_TEST(test_hash_index_model)
{
	state = (uint64_t)_i << 32;
	help_check(hs_index_create(&x) == 0);
	for (int n = 0; n < 1000000; n++) {
		step();
		if (n % 10000 == 0)
			check_all();
	}
	check_all();
	hs_index_destroy(x);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/index_model");
	TCase *t = tcase_create("model");

	tcase_set_timeout(t, 110);
	tcase_add_loop_test(t, test_hash_index_model, 1, 3);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
