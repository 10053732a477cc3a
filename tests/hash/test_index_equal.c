/*
 * Constant time, counted in slots visited instead of seconds: with a million equal pages as with a million different
 * ones, whatever the order in which they come and go.
 */
#include "hs_test.h"
#include "index_help.h"
#include "hash/index_internal.h"

#define NR_PAGES (UINT32_C(1) << 20)
#define NR_HUGE  (NR_PAGES / HS_BASE_PER_HUGE)

enum order { UP, DOWN, MIXED };

static hs_base_nr nth(enum order order, uint32_t i)
{
	switch (order) {
	case UP:
		return i;
	case DOWN:
		return NR_PAGES - 1 - i;
	default:
		return (i * UINT32_C(0x9E3779B1)) & (NR_PAGES - 1); /* odd factor: each page once */
	}
}

static struct hs_index *fresh(uint32_t nr_guests)
{
	struct hs_index *x;

	help_check(hs_index_create(&x) == 0);
	for (uint32_t i = 0; i < nr_guests; i++) {
		uint32_t guest;

		help_check(hs_index_add_guest(x, NR_HUGE, &guest) == 0);
	}
	return x;
}

static uint64_t steps_since(const struct hs_index *x, uint64_t *last)
{
	uint64_t n = x->steps - *last;

	*last = x->steps;
	return n;
}

/* All but one in 16 are equal; the others are to be as fast as if those were not there. */
START_TEST(test_hash_index_equal_pages)
{
	const enum order in = (enum order)(_i % 3), out = (enum order)(_i / 3);
	uint64_t last = 0, n;
	struct hs_page found[2];
	struct hs_index *x;
	uint32_t nr = 0;

	if (HS_TEST_SANITIZED && in != out)
		return; /* each order once is enough there */
	x = fresh(1);
	for (uint32_t i = 0; i < NR_PAGES; i++) {
		hs_base_nr p = nth(in, i);

		help_check(hs_index_insert(x, (struct hs_page){ 0, p }, help_digest(p % 16 ? 0 : p + 1)) == 0);
	}
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(5) * NR_PAGES, "%lu steps to insert", (unsigned long)n);
	for (uint32_t p = 0; p < NR_PAGES; p += 16, nr++)
		help_check(hs_index_find(x, help_digest(p + 1), found, 2) == 1);
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(5) * nr, "%lu steps to find %u", (unsigned long)n, nr);
	for (uint32_t p = 1; p < NR_PAGES; p += 997)
		help_check(hs_index_same(x, (struct hs_page){ 0, p }, found, 2) == (p % 16 ? 2 : 0));
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(5) * NR_PAGES / 997, "%lu steps to ask", (unsigned long)n);
	for (uint32_t i = 0; i < NR_PAGES; i++)
		hs_index_remove(x, (struct hs_page){ 0, nth(out, i) });
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(5) * NR_PAGES, "%lu steps to remove", (unsigned long)n);
	help_check(x->nr_pages == 0);
	help_check(x->nr_leaders == 0);
	hs_index_destroy(x);
}
END_TEST

/* The table follows the pages both ways, one bucket at a time. */
START_TEST(test_hash_index_different_pages)
{
	struct hs_index *x = fresh(1);
	uint64_t last = 0, n, worst = 0;
	struct hs_page found[2];

	for (uint32_t p = 0; p < NR_PAGES; p++) {
		uint64_t before = x->steps;

		help_check(hs_index_insert(x, (struct hs_page){ 0, p }, help_digest(p)) == 0);
		if (x->steps - before > worst)
			worst = x->steps - before;
		help_check((uint64_t)x->nr_buckets * 2 >= x->nr_leaders);
	}
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(5) * NR_PAGES, "%lu steps to insert", (unsigned long)n);
	ck_assert_msg(worst < 60, "%lu steps for one insert", (unsigned long)worst);
	for (uint32_t p = 0; p < NR_PAGES; p++)
		help_check(hs_index_find(x, help_digest(p), found, 2) == 1);
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(4) * NR_PAGES, "%lu steps to find", (unsigned long)n);
	for (uint32_t p = 0; p < NR_PAGES; p++) {
		hs_index_remove(x, (struct hs_page){ 0, p });
		help_check(x->nr_buckets == MIN_BUCKETS || x->nr_leaders + 1 >= x->nr_buckets);
	}
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(5) * NR_PAGES, "%lu steps to remove", (unsigned long)n);
	help_check(x->nr_buckets == MIN_BUCKETS);
	hs_index_destroy(x);
}
END_TEST

/* A guest with a million equal pages leaves; others with the same content ask meanwhile. */
START_TEST(test_hash_index_equal_pages_leave)
{
	struct hs_index *x = fresh(3);
	uint64_t last = 0, n;
	struct hs_page found[4];
	int rc;

	for (uint32_t i = 0; i < NR_PAGES; i++) {
		hs_base_nr p = nth(MIXED, i);

		help_check(hs_index_insert(x, (struct hs_page){ 1, p }, help_digest(0)) == 0);
		if (i % 1024 == 0)
			help_check(hs_index_insert(x, (struct hs_page){ i % 2048 ? 0 : 2, p }, help_digest(0)) == 0);
	}
	(void)steps_since(x, &last);
	rc = hs_index_remove_guest(x, 1, 1);
	for (uint32_t i = 0; rc == 1; i++) {
		uint32_t k = (i % 1024) * 1024;
		struct hs_page p = { k % 2048 ? 0 : 2, nth(MIXED, k) };

		help_check(hs_index_same(x, p, found, 4) == 4);
		help_check(hs_index_count_same(x, p, 2000) == 1024);
		help_check(hs_index_find(x, help_digest(0), found, 4) == 4);
		rc = hs_index_remove_guest(x, 1, 1 << 14);
	}
	help_check(rc == 0);
	n = steps_since(x, &last);
	ck_assert_msg(n < UINT64_C(5) * NR_PAGES, "%lu steps", (unsigned long)n);
	help_check(x->nr_pages == 1024);
	hs_index_destroy(x);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/index_equal");
	TCase *t = tcase_create("equal");

	tcase_set_timeout(t, 110);
	tcase_add_loop_test(t, test_hash_index_equal_pages, 0, 9);
	tcase_add_test(t, test_hash_index_different_pages);
	tcase_add_test(t, test_hash_index_equal_pages_leave);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
