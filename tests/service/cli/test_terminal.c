/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed of names that others gave: nothing that a terminal acts on, and columns that stay columns. */
#include <string.h>

#include "hs_test.h"
#include "service/cli/terminal.h"

static char out[64];

static void safe(const char *text, size_t width, const char *expected)
{
	ck_assert_str_eq(hs_terminal_safe(out, sizeof(out), text, width), expected);
}

START_TEST(test_terminal_safe)
{
	safe("", 10, "");
	safe("web-1", 10, "web-1");
	/* Controls, of both sets; what turns the direction of writing; what has no width. */
	safe("a\033[2Jb\nc\x7f", 20, "a?[2Jb?c?");
	safe("a\xc2\x9b"
	     "b",
	     20, "a?b");
	safe("a\xe2\x80\xae"
	     "b\xe2\x80\x8b\xef\xbb\xbf",
	     20, "a?b??");
	/* No UTF-8: each byte alone. */
	safe("a\xff\xe4\xb8", 20, "a???");
	safe("\xc3", 20, "?");
	/* Characters of several bytes are as they were. */
	safe("K\xc3\xb6ln", 20, "K\xc3\xb6ln");
	safe("\xe4\xb8\xad\xe6\x96\x87", 20, "\xe4\xb8\xad\xe6\x96\x87");
}
END_TEST

START_TEST(test_terminal_cut)
{
	safe("abcdefgh", 8, "abcdefgh");
	safe("abcdefghi", 8, "abcde...");
	safe("K\xc3\xb6ln-am-Rhein", 7, "K\xc3\xb6ln...");
	/* Two columns each: four would be eight, so with the dots one column stays empty. */
	safe("\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad\xe6\x96\x87", 6, "\xe4\xb8\xad...");
	safe("abc", 2, "ab");
	/* A small buffer cuts like a small width, and always ends the text. */
	for (size_t size = 1; size < sizeof(out); size++) {
		hs_terminal_safe(out, size, "\xe4\xb8\xad\xe6\x96\x87 and some more", 30);
		ck_assert_uint_lt(strlen(out), size);
	}
	ck_assert_str_eq(hs_terminal_safe(out, 8, "abcdefghijkl", 30), "abcd...");
}
END_TEST

START_TEST(test_terminal_column)
{
	ck_assert_str_eq(hs_terminal_column(out, sizeof(out), "ab", 5), "ab   ");
	ck_assert_str_eq(hs_terminal_column(out, sizeof(out), "K\xc3\xb6ln", 6), "K\xc3\xb6ln  ");
	ck_assert_str_eq(hs_terminal_column(out, sizeof(out), "\xe4\xb8\xad", 4), "\xe4\xb8\xad  ");
	ck_assert_str_eq(hs_terminal_column(out, sizeof(out), "abcdefgh", 5), "ab...");
	ck_assert_str_eq(hs_terminal_column(out, 4, "a", 10), "a  ");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("terminal");
	TCase *t = tcase_create("text");

	tcase_add_test(t, test_terminal_safe);
	tcase_add_test(t, test_terminal_cut);
	tcase_add_test(t, test_terminal_column);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
