/*
 * What suites share: the main function's body, and a look at a process's memory. A suite is one Check runner; test
 * names spell the path (test_scan_policy_hot_bloat). A suite that needs what the machine lacks returns
 * hs_test_skip("the reason").
 */
#ifndef HS_TESTS_HS_TEST_H
#define HS_TESTS_HS_TEST_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define HS_TEST_SKIPPED 77

static inline int hs_test_skip(const char *suite, const char *why)
{
	printf("SKIPPED %s: %s\n", suite, why);
	return HS_TEST_SKIPPED;
}

#ifdef __SANITIZE_ADDRESS__
#define HS_TEST_SANITIZED 1
#else
#define HS_TEST_SANITIZED 0
#endif

/* How many rounds, where any number is enough: `all` in a long run (LONG, cmake/HsFolders.cmake). */
static inline int hs_test_nr(int usual, int all)
{
	return getenv("HS_TEST_LONG") ? all : usual;
}

/*
 * How far apart cases are that one loop has by the thousand: all of them in a long run. Else one of `usual`, and under
 * the sanitizers, where each takes ten times as long, one of `sanitized` (primes, so that the cases of every kind are
 * met).
 */
static inline unsigned int hs_test_each(unsigned int usual, unsigned int sanitized)
{
	return getenv("HS_TEST_LONG") ? 1 : HS_TEST_SANITIZED ? sanitized : usual;
}

/*
 * Time limits are for what hangs, not for what is slow: Check's own default is 4 s, which a busy machine takes for
 * anything. Set before main, as Check reads them when a case is made.
 */
__attribute__((constructor)) static inline void hs_test_time(void)
{
	(void)setenv("CK_DEFAULT_TIMEOUT", "60", 0);
	(void)setenv("CK_TIMEOUT_MULTIPLIER", HS_TEST_SANITIZED ? "5" : "2", 0);
}

static inline int hs_test_run(Suite *s)
{
	SRunner *r = srunner_create(s);
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* kB of one field of the process's smaps_rollup; 0: it has no such field. */
static inline uint64_t hs_test_smaps_kb(pid_t pid, const char *field)
{
	char path[64], line[256];
	unsigned long long kb = 0;
	size_t len = strlen(field);
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			kb = strtoull(line + len + 1, NULL, 10);
	(void)fclose(f);
	return kb;
}

#endif
