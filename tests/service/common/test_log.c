/* SPDX-License-Identifier: Apache-2.0 */
/* A line of the log is one line, whatever it quotes. */
#include "hs_test.h"

#include <string.h>
#include <unistd.h>

#include "service/common/log.h"

START_TEST(test_service_log_one_line)
{
	char text[2048] = "", name[1500];
	FILE *f = tmpfile();
	size_t n;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(dup2(fileno(f), STDERR_FILENO), 0);
	hs_log(HS_LOG_WARNING, "guest %s: %s", "a\n<0>forged", "\x1b[2J\xc2\x9b\xff\xe2\x82\xac");
	memset(name, 'x', sizeof(name));
	memcpy(name + sizeof(name) - 5, "\nend", 5);
	hs_log(HS_LOG_WARNING, "%s", name); /* longer than a line may be: cut, and still one */
	rewind(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	ck_assert_msg(strncmp(text, "<4>guest a?<0>forged: ?[2J???\xe2\x82\xac\n<4>xxx", 39) == 0, "%s", text);
	ck_assert_ptr_eq(strchr(strchr(text, '\n') + 1, '\n'), text + n - 1);
	(void)fclose(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/log");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_service_log_one_line);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
