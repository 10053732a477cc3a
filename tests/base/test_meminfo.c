/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/meminfo, the kernel's own and made ones. */
#include <errno.h>
#include <unistd.h>

#include "base/meminfo.h"
#include "hs_test.h"

START_TEST(test_base_meminfo_real)
{
	const struct hs_host real = HS_HOST_DEFAULT;
	struct hs_meminfo m;

	ck_assert_int_eq(hs_meminfo_read(&real, &m), 0);
	ck_assert_uint_gt(m.available_bytes, 0);
	ck_assert_uint_ge(m.total_bytes, m.available_bytes);
	ck_assert_uint_ge(m.swap_total_bytes, m.swap_free_bytes);
}
END_TEST

START_TEST(test_base_meminfo_made)
{
	static const struct {
		const char *text; /* NULL: no such file */
		int rc;
		struct hs_meminfo m;
	} cases[] = {
		{ "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:   7 kB\nSwapTotal: 4 kB\nSwapFree: 3 kB\n",
		  0,
		  { 9216, 7168, 4096, 3072 } },
		{ "SwapTotal: 4 kB\nMemAvailable: 7 kB\nMemTotal: 9 kB", 0, { 9216, 7168, 0, 0 } },
		{ "MemTotal: 9 kB\n", -ENODATA, { 0 } },
		{ "MemAvailable: 9 kB\n", -ENODATA, { 0 } },
		{ "MemTotal: many\nMemAvailable: 9 kB\n", -ENODATA, { 0 } },
		{ "", -ENODATA, { 0 } },
		{ NULL, -ENOENT, { 0 } },
	};
	char dir[] = "/tmp/hs-meminfo-XXXXXX", path[64];
	const struct hs_host made = { .proc_dir = dir };

	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/meminfo", dir);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_meminfo m = { 1, 2, 3, 4 };
		FILE *f = cases[i].text ? fopen(path, "we") : NULL;

		if (f) {
			ck_assert_int_ge(fputs(cases[i].text, f), 0);
			ck_assert_int_eq(fclose(f), 0);
		} else {
			ck_assert_int_eq(unlink(path), 0);
		}
		ck_assert_int_eq(hs_meminfo_read(&made, &m), cases[i].rc);
		ck_assert_mem_eq(&m, &cases[i].m, sizeof(m));
	}
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base_meminfo");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_base_meminfo_real);
	tcase_add_test(t, test_base_meminfo_made);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
