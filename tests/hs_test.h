/*
 * What every suite shares: the main function's body. A suite is one Check runner; test names spell the path
 * (test_scan_policy_hot_bloat). A suite that needs what the machine lacks returns hs_test_skip("the reason").
 */
#ifndef HS_TEST_H
#define HS_TEST_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define HS_TEST_SKIPPED 77

static inline int hs_test_skip(const char *suite, const char *why)
{
	printf("SKIPPED %s: %s\n", suite, why);
	return HS_TEST_SKIPPED;
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

#endif
