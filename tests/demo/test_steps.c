/* SPDX-License-Identifier: Apache-2.0 */
/* What a demo is expected to take: of another machine at first, scaled; then what it took here. */
#include <errno.h>
#include <unistd.h>

#include "hs_test.h"
#include "steps.h"

static char file[32];

static struct steps three_of(uint32_t size_mib, uint32_t processors)
{
	return (struct steps){
		.quiet = true, .guests = 3, .size_mib = size_mib, .speed_s = 5, .processors = processors, .file = file
	};
}

static void set_up(void)
{
	int fd;

	(void)snprintf(file, sizeof(file), "/tmp/hs-test-steps-XXXXXX");
	fd = mkstemp(file);
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
}

static void tear_down(void)
{
	(void)unlink(file);
}

START_TEST(test_steps_scaled)
{
	struct steps s = three_of(320, 2), large = three_of(640, 2), wide = three_of(320, 64),
		     process = three_of(512, 2);

	steps_expect(&s);
	steps_expect(&large);
	steps_expect(&wide);
	process.process = true;
	steps_expect(&process);
	ck_assert(!s.own && s.expected_s[STEP_START] > 0 && s.expected_s[STEP_COMPARE] > 0);
	ck_assert_double_eq(s.expected_s[STEP_SPEED_BEFORE], 5);
	ck_assert_double_eq_tol(large.expected_s[STEP_START], 2 * s.expected_s[STEP_START], 0.001);
	/* Three guests use three processors. */
	ck_assert_double_eq_tol(wide.expected_s[STEP_START], s.expected_s[STEP_START] * 2 / 3, 0.001);
	/* Windows of a fixed length. */
	ck_assert_double_eq(large.expected_s[STEP_SHARE], s.expected_s[STEP_SHARE]);
	ck_assert_double_lt(process.expected_s[STEP_START], s.expected_s[STEP_START]);
}
END_TEST

START_TEST(test_steps_own)
{
	struct steps s = three_of(320, 2), other = three_of(640, 2);

	for (int i = 0; i < NR_STEPS; i++)
		s.took_s[i] = i + 1.5;
	ck_assert_int_eq(steps_keep(&s), 0);
	s.took_s[STEP_START] = 12;
	ck_assert_int_eq(steps_keep(&s), 0);
	memset(s.took_s, 0, sizeof(s.took_s));
	steps_expect(&s);
	ck_assert(s.own);
	ck_assert_double_eq_tol(s.expected_s[STEP_START], 12, 0.01);
	ck_assert_double_eq_tol(s.expected_s[STEP_COMPARE], STEP_COMPARE + 1.5, 0.01);
	/* Of another size nothing is known. */
	steps_expect(&other);
	ck_assert(!other.own);
}
END_TEST

START_TEST(test_steps_no_file)
{
	struct steps s = three_of(320, 2);
	FILE *f = fopen(file, "we");

	ck_assert_ptr_nonnull(f);
	(void)fputs("{ \"qemu", f);
	(void)fclose(f);
	steps_expect(&s);
	ck_assert(!s.own && s.expected_s[STEP_SHARE] > 0);
	/* What is no such file gives way to one. */
	for (int i = 0; i < NR_STEPS; i++)
		s.took_s[i] = 1;
	ck_assert_int_eq(steps_keep(&s), 0);
	steps_expect(&s);
	ck_assert(s.own);
	s.file = "/nowhere/times";
	ck_assert_int_eq(steps_keep(&s), -ENOENT);
	s.file = NULL;
	ck_assert_int_eq(steps_keep(&s), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("steps");
	TCase *t = tcase_create("times");

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_steps_scaled);
	tcase_add_test(t, test_steps_own);
	tcase_add_test(t, test_steps_no_file);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
