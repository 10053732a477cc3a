/* SPDX-License-Identifier: Apache-2.0 */
/* What claiming the mergeable memory of others takes, by what the kernel says of it in a tree of files. */
#include <limits.h>
#include <sys/stat.h>

#include "hs_test.h"
#include "share/foreign_claim.h"

#define PID  700
#define PAGE HS_BASE_SIZE
#define ALL  (1000 * PAGE)

static char root[64];
static struct hs_host host;
static struct hs_mark_range range = { .start = 1 << 30, .end = (1 << 30) + ALL };
static struct hs_foreign_claim claim;

static void put(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%d/%s", root, PID, name);
	f = fopen(path, "we");
	ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

static void setup(void)
{
	char path[PATH_MAX];

	(void)snprintf(root, sizeof(root), "/tmp/hs-claim-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	(void)snprintf(path, sizeof(path), "%s/%d", root, PID);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	host = (struct hs_host){ .proc_dir = root };
	claim = (struct hs_foreign_claim){ .pid = PID, .ranges = &range, .nr = 1 };
}

static void teardown(void)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf %s", root);
	ck_assert_int_eq(system(command), 0);
}

/* What KSM has put on the zero page is in no line of smaps, and takes a frame each when it is unmerged. */
START_TEST(test_share_foreign_claim_zero_pages)
{
	put("smaps_rollup", "Rss: 4000 kB\nKSM: 0 kB\n");
	put("ksm_merging_pages", "0\n");
	put("ksm_stat", "ksm_rmap_items 1000\nksm_zero_pages 900\nksm_merging_pages 0\n");
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), 900 * PAGE);
	claim.ksm_bytes = 50 * PAGE;
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), 950 * PAGE);
	claim.ksm_bytes = 200 * PAGE;
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), ALL);
	/* Some of that is elsewhere in the process: more than all of it is not needed. */
	put("ksm_stat", "ksm_rmap_items 1000\nksm_zero_pages 9000\n");
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), ALL);
	put("ksm_stat", "ksm_rmap_items 1000\nksm_zero_pages ?\n");
	claim.ksm_bytes = 0;
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), ALL);
}
END_TEST

/* Kernels before 6.6 do not count them, and leave them where they are; what is not known is all of it. */
START_TEST(test_share_foreign_claim_older_kernels)
{
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), ALL);
	put("ksm_merging_pages", "30\n");
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), 30 * PAGE);
	put("ksm_stat", "ksm_rmap_items 1000\n");
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), 30 * PAGE);
	put("smaps_rollup", "Rss: 4000 kB\nKSM: 0 kB\n");
	ck_assert_uint_eq(hs_foreign_claim_ksm_bytes(&host, &claim), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share/foreign_claim");
	TCase *c = tcase_create("room");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_share_foreign_claim_zero_pages);
	tcase_add_test(c, test_share_foreign_claim_older_kernels);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
