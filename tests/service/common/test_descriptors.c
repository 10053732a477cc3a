/* SPDX-License-Identifier: Apache-2.0 */
/* What of the limit of file descriptors guests may take. */
#include "hs_test.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "service/common/descriptors.h"

static const struct hs_host host = HS_HOST_DEFAULT;

START_TEST(test_service_descriptors_raise)
{
	struct rlimit l;
	uint64_t nr_open, limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
	l.rlim_cur = 100;
	l.rlim_max = 4000;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
	hs_descriptors_raise();
	hs_descriptors_read(&host, &nr_open, &limit);
	ck_assert_uint_eq(limit, 4000);
}
END_TEST

/* Each one that is opened counts, and the reserve stays. */
START_TEST(test_service_descriptors_reserve)
{
	const struct rlimit l = { 400, 400 };
	uint64_t nr_open, limit, before;
	struct hs_error err = { "" };
	unsigned int nr = 0;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
	hs_descriptors_read(&host, &before, &limit);
	while (nr < 400 && hs_descriptors_for_guest(&host, &err) == 0) {
		ck_assert_int_ge(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
		nr++;
	}
	hs_descriptors_read(&host, &nr_open, &limit);
	ck_assert_uint_eq(nr_open, before + nr);
	ck_assert_uint_eq(nr_open + HS_DESCRIPTORS_OF_GUEST + HS_DESCRIPTORS_RESERVE, limit + 1);
	ck_assert_int_eq(hs_descriptors_for_guest(&host, &err), -EMFILE);
	ck_assert_ptr_nonnull(strstr(err.text, "LimitNOFILE"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/descriptors");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_service_descriptors_raise);
	tcase_add_test(c, test_service_descriptors_reserve);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
