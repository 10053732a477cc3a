/* SPDX-License-Identifier: Apache-2.0 */
/* The page is read as XML, and what is drawn is counted; it names nothing that would have to be fetched. */
#include <errno.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <math.h>

#include "hs_test.h"
#include "picture.h"

#define GUESTS  2
#define NR_HUGE 30

static struct scene_huge before[GUESTS * NR_HUGE], after[GUESTS * NR_HUGE];
static char *page;
static size_t page_len;
static xmlDoc *doc;

/* A third of each class; all whole before, and all but the hot ones split after: shared, zero and own differ. */
static void set_up(void)
{
	const struct picture p = { .kind = "QEMU",
				   .guests = GUESTS,
				   .nr_huge = NR_HUGE,
				   .before = before,
				   .after = after,
				   .saved_bytes = 100 * 1048576.0,
				   .net_saved_bytes = 90 * 1048576.0,
				   .pss_before_bytes = 300 * 1048576.0,
				   .pss_after_bytes = 200 * 1048576.0,
				   .speed_before.median.accesses_per_s = 1000,
				   .speed_after.median.accesses_per_s = 985,
				   .checked = 4711,
				   .ksmd_cpu_s = NAN,
				   .bad = 3 };
	FILE *f = open_memstream(&page, &page_len);

	for (uint32_t i = 0; i < GUESTS * NR_HUGE; i++) {
		const uint8_t cls = (uint8_t)(i % NR_HUGE / 10);

		before[i] = (struct scene_huge){ .cls = cls, .whole = true };
		after[i] = cls == HS_GUEST_HOT     ? before[i]
			   : cls == HS_GUEST_BLOAT ? (struct scene_huge){ .cls = cls, .shared = 300, .zero = 12 }
						   : (struct scene_huge){ .cls = cls, .shared = 512 };
	}
	ck_assert_ptr_nonnull(f);
	picture_print(f, &p);
	ck_assert_int_eq(fclose(f), 0);
	doc = xmlReadMemory(page, (int)page_len, "demo.html", NULL, XML_PARSE_NONET);
	ck_assert_ptr_nonnull(doc);
}

static void tear_down(void)
{
	xmlFreeDoc(doc);
	free(page);
}

static int count(const char *path)
{
	xmlXPathContext *c = xmlXPathNewContext(doc);
	xmlXPathObject *o = xmlXPathEvalExpression((const xmlChar *)path, c);
	int n;

	ck_assert_ptr_nonnull(o);
	n = o->nodesetval ? o->nodesetval->nodeNr : 0;
	xmlXPathFreeObject(o);
	xmlXPathFreeContext(c);
	return n;
}

START_TEST(test_picture_draws_every_huge_page)
{
	ck_assert_int_eq(count("//section[h2='Guest 1']//h3"), 3);
	ck_assert_int_eq(count("//section[h2='Guest 2']//figure"), 6);
	ck_assert_int_eq(count("//figure/svg/g"), 2 * GUESTS * NR_HUGE);
	ck_assert_int_eq(count("//figure[starts-with(figcaption,'before')]/svg/g/path[@class='whole']"),
			 GUESTS * NR_HUGE);
	ck_assert_int_eq(count("//figure[starts-with(figcaption,'after')]/svg/g/path[@class='whole']"), GUESTS * 10);
	ck_assert_int_eq(count("//figure/svg/g/path[@class='shared']"), GUESTS * 20);
	ck_assert_int_eq(count("//figure/svg/g/path[@class='zero']"), GUESTS * 10);
	ck_assert_int_eq(count("//figure/svg/g/path[@class='own']"), GUESTS * 10);
	/* Those without a mouse, or without eyes for it, have the same in words. */
	ck_assert_int_eq(count("//figure/svg[@role='img' and @aria-label]"), GUESTS * 6);
	ck_assert_int_eq(count("//figure/svg/g[title='huge page 10: split; 300 base pages shared, 12 zero, 200 of its "
			       "own']"),
			 GUESTS);
}
END_TEST

START_TEST(test_picture_figures)
{
	ck_assert_int_eq(count("//li[strong='100 MiB' and contains(., '90 net')]"), 1);
	ck_assert_int_eq(count("//li[strong='20 of 20']"), 1);
	ck_assert_int_eq(count("//li[strong='98.5 %']"), 1);
	ck_assert_int_eq(count("//li[strong='3 wrong' and contains(., '4711')]"), 1);
	ck_assert_int_eq(count("//p[contains(., 'ksmd unknown')]"), 1);
	/* class, all, whole before, whole after, shared, zero, own */
	ck_assert_int_eq(count("//tr[th='Evenly hot' and td[1]='20' and td[2]='20' and td[3]='20' and td[4]='0']"), 1);
	ck_assert_int_eq(count("//tr[th='Hot bloat' and td[3]='0' and td[4]='6000' and td[5]='240' and td[6]='4000']"),
			 1);
	ck_assert_int_eq(count("//tr[th='Cold' and td[3]='0' and td[4]='10240' and td[5]='0' and td[6]='0']"), 1);
}
END_TEST

START_TEST(test_picture_needs_no_network)
{
	static const char *const outside[] = {
		"http:", "https:", "//", "@import", "<script", "url(\"", "src=", "href="
	};

	for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		ck_assert_msg(!strstr(page, outside[i]), "it has %s", outside[i]);
	ck_assert_int_eq(count("//meta[@http-equiv='Content-Security-Policy' and contains(@content, \"default-src "
			       "'none'\")]"),
			 1);
	/* What is referred to within the page is there: patterns. */
	ck_assert_ptr_nonnull(strstr(page, "url(#own)"));
	ck_assert_ptr_nonnull(strstr(page, "url(#shared)"));
	ck_assert_int_eq(count("//pattern[@id='own' or @id='shared']"), 2);
}
END_TEST

START_TEST(test_picture_cannot_be_written)
{
	const struct picture p = {
		.kind = "QEMU", .guests = GUESTS, .nr_huge = NR_HUGE, .before = before, .after = after
	};
	struct hs_error err = { "" };

	ck_assert_int_eq(picture_write("/nowhere/demo.html", &p, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/demo.html"));
	ck_assert_int_eq(picture_write("/dev/full", &p, &err), -ENOSPC);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("picture");
	TCase *t = tcase_create("page");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_picture_draws_every_huge_page);
	tcase_add_test(t, test_picture_figures);
	tcase_add_test(t, test_picture_needs_no_network);
	tcase_add_test(t, test_picture_cannot_be_written);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
