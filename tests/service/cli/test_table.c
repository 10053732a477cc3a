/* SPDX-License-Identifier: Apache-2.0 */
/* Tables as people and scripts get them. What is printed goes to a stream in memory. */
#include <stdlib.h>
#include <time.h>

#include "hs_test.h"
#include "service/cli/table.h"

static json_t *rows;
static char *printed;

/* Two guests: one that shares, and one whose name and reason a terminal would act on. */
static void set_up(void)
{
	(void)setenv("TZ", "UTC", 1);
	tzset();
	rows = json_pack("[{s:s,s:b,s:s,s:s,s:s,s:s,s:I,s:I},{s:s,s:b,s:s,s:s,s:s,s:s,s:I}]", "id", "web-1", "opted_in",
			 1, "group", "web", "state", "sharing", "reason", "none", "reason_text", "", "memory_bytes",
			 (json_int_t)1536 << 20, "saved_bytes", (json_int_t)1048576, "id", "we b\033[2J", "opted_in", 0,
			 "group", "web", "state", "refused", "reason", "new-mergeable", "reason_text", "a sentence",
			 "memory_bytes", (json_int_t)4096);
	ck_assert_ptr_nonnull(rows);
}

static void tear_down(void)
{
	json_decref(rows);
	free(printed);
	printed = NULL;
}

static void print(const struct hs_table *t, const struct hs_table_choice *c, int width)
{
	size_t len;
	FILE *f;

	free(printed);
	f = open_memstream(&printed, &len);
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(hs_table_print(f, t, c, rows, width), 0);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(test_table_usual)
{
	print(&hs_table_guests, &(struct hs_table_choice){ 0 }, 0);
	ck_assert_ptr_nonnull(strstr(printed, "GUEST"));
	ck_assert_ptr_nonnull(strstr(printed, "1.5 GiB"));
	/* What is missing is empty, and what is no text is not printed. */
	ck_assert_ptr_nonnull(strstr(printed, "we b?[2J"));
	ck_assert_ptr_nonnull(strstr(printed, "new-mergeable"));
	ck_assert_ptr_null(strstr(printed, "a sentence"));
	ck_assert_ptr_null(strchr(printed, '\033'));
	/* A wide terminal has the sentence. */
	print(&hs_table_guests, &(struct hs_table_choice){ 0 }, 150);
	ck_assert_ptr_nonnull(strstr(printed, "a sentence"));
}
END_TEST

START_TEST(test_table_for_scripts)
{
	struct hs_table_choice c = {
		.columns = "saved,Guest,GROUP,REASON", .no_headings = true, .bytes = true, .raw = true
	};

	ck_assert(hs_table_for_script(&c));
	print(&hs_table_guests, &c, 0);
	ck_assert_str_eq(printed, "1048576 web-1 web -\n- we\\x20b?[2J - new-mergeable\n");
	c = (struct hs_table_choice){ .columns = "STATE", .raw = true };
	print(&hs_table_guests, &c, 0);
	ck_assert_str_eq(printed, "STATE\nsharing\nrefused\n");
	ck_assert(!hs_table_for_script(&(struct hs_table_choice){ 0 }));
}
END_TEST

START_TEST(test_table_empty)
{
	struct hs_table_choice c = { .no_headings = true };

	(void)json_array_clear(rows);
	print(&hs_table_guests, &(struct hs_table_choice){ 0 }, 0);
	ck_assert_ptr_nonnull(strstr(printed, "no guest is known"));
	print(&hs_table_guests, &c, 0);
	ck_assert_str_eq(printed, "");
}
END_TEST

START_TEST(test_table_levels_and_times)
{
	struct hs_table_choice c = { .columns = "GUEST,ZERO", .no_headings = true, .raw = true, .bytes = true };
	json_t *one = json_pack("{s:s,s:{s:I},s:I}", "id", "a", "saving", "sure_zero_bytes", (json_int_t)8192, "at",
				(json_int_t)86400);

	(void)json_array_clear(rows);
	(void)json_array_append_new(rows, one);
	print(&hs_table_report, &c, 0);
	ck_assert_str_eq(printed, "a 8192\n");
	c.columns = "TIME";
	print(&hs_table_history, &c, 0);
	ck_assert_str_eq(printed, "86400\n");
	c.bytes = false;
	print(&hs_table_history, &c, 0);
	ck_assert_str_eq(printed, "1970-01-02\\x2000:00:00\n");
}
END_TEST

/* The usual columns are columns, all names are fit for a list, and no two are the same. */
START_TEST(test_table_names)
{
	static const struct hs_table *const all[] = { &hs_table_guests,        &hs_table_history, &hs_table_report,
						      &hs_table_report_groups, &hs_table_run,     &hs_table_status };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const struct hs_table *t = all[i];

		for (size_t k = 0; k < t->nr; k++) {
			const char *name = t->columns[k].name;

			ck_assert_uint_eq(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-"), strlen(name));
			ck_assert(*t->columns[k].what);
			for (size_t m = 0; m < k; m++)
				ck_assert_str_ne(t->columns[m].name, name);
		}
		ck_assert_msg(hs_table_check_list(t, t->usual), "%s", t->usual);
		ck_assert(!t->on_wide || hs_table_check_list(t, t->on_wide));
		ck_assert(!hs_table_check_list(t, "NONE") && !hs_table_check_list(t, "") &&
			  !hs_table_check_list(t, ","));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("table");
	TCase *t = tcase_create("print");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_table_usual);
	tcase_add_test(t, test_table_for_scripts);
	tcase_add_test(t, test_table_empty);
	tcase_add_test(t, test_table_levels_and_times);
	tcase_add_test(t, test_table_names);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
