/* SPDX-License-Identifier: Apache-2.0 */
/* KSM's owner on the real host: its knobs, its thread, a real process with mergeable memory. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "share/ksm.h"
#include "hs_test.h"

static char state_dir[64];
static struct hs_host host;
static char before[1024];

/* All knobs in one text. */
static void snapshot(char *out, size_t size)
{
	static const char *const names[] = { "run",          "pages_to_scan",     "sleep_millisecs",
					     "smart_scan",   "use_zero_pages",    "max_page_sharing",
					     "advisor_mode", "merge_across_nodes" };
	size_t len = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char buf[128] = "-";

		(void)!hs_hostfile_read(host.ksm_dir, names[i], buf, sizeof(buf));
		len += (size_t)snprintf(out + len, size - len, "%s=%s\n", names[i], buf);
	}
}

static void check_as_before(void)
{
	char now[1024];

	snapshot(now, sizeof(now));
	ck_assert_str_eq(now, before);
}

static void setup(void)
{
	host = HS_HOST_DEFAULT;
	(void)snprintf(state_dir, sizeof(state_dir), "/tmp/hs-test-ksm-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(state_dir));
	host.state_dir = state_dir;
	snapshot(before, sizeof(before));
}

static void teardown(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", state_dir);
	ck_assert_int_eq(system(cmd), 0);
}

static const struct hs_ksm_setup burst = { .pages_to_scan = 1000, .sleep_ms = 7, .use_zero_pages = true };

START_TEST(test_share_ksm_live_gives_back)
{
	struct hs_error err = { "" };
	struct hs_ksm_counters c;
	struct hs_ksm *k;
	uint64_t v;

	ck_assert_msg(hs_ksm_acquire(&k, &host, false, &err) == 0, "%s", err.text);
	check_as_before();
	ck_assert_msg(hs_ksm_start(k, &burst, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_hostfile_u64(host.ksm_dir, "run", &v), 0);
	ck_assert_uint_eq(v, 1);
	ck_assert_int_eq(hs_hostfile_u64(host.ksm_dir, "sleep_millisecs", &v), 0);
	ck_assert_uint_eq(v, 7);
	ck_assert_int_eq(hs_ksm_sample(k, &c, &err), 0);
	ck_assert(c.ksmd_cpu_us != UINT64_MAX);
	ck_assert_int_eq(hs_ksm_stop(k, &err), 0);
	hs_ksm_release(k);
	check_as_before();
}
END_TEST

START_TEST(test_share_ksm_live_crash_in_burst)
{
	struct hs_error err = { "" };
	pid_t child = fork();
	uint64_t run;
	int status;

	ck_assert_int_ge(child, 0);
	if (!child) {
		struct hs_ksm *k;

		if (!hs_ksm_acquire(&k, &host, false, NULL) && !hs_ksm_start(k, &burst, NULL))
			(void)kill(getpid(), SIGKILL);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(hs_hostfile_u64(host.ksm_dir, "run", &run), 0);
	ck_assert_uint_eq(run, 1);
	ck_assert_msg(hs_ksm_recover(&host, &err) == 1, "%s", err.text);
	check_as_before();
	ck_assert_int_eq(hs_ksm_recover(&host, &err), 0);
}
END_TEST

START_TEST(test_share_ksm_live_dry_run)
{
	struct hs_error err = { "" };
	struct hs_ksm *k;

	ck_assert_msg(hs_ksm_acquire(&k, &host, true, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_ksm_start(k, &burst, &err), 0);
	check_as_before();
	hs_ksm_release(k);
	check_as_before();
}
END_TEST

START_TEST(test_share_ksm_live_foreign)
{
	const size_t len = 4 << 20;
	struct hs_ksm_foreign *found;
	struct hs_error err = { "" };
	bool seen = false;
	pid_t child;
	int ready[2];
	size_t nr;
	char c;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (p == MAP_FAILED || madvise(p, len, MADV_MERGEABLE) || write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_msg(hs_ksm_find_foreign(&host, NULL, 0, &found, &nr, &err) == 0, "%s", err.text);
	for (size_t i = 0; i < nr; i++) {
		if (found[i].pid != child)
			continue;
		seen = true;
		ck_assert_uint_eq(found[i].mergeable_bytes, len);
		ck_assert_int_gt((int)strlen(found[i].comm), 0);
	}
	free(found);
	ck_assert(seen);
	ck_assert_int_eq(hs_ksm_find_foreign(&host, &child, 1, &found, &nr, &err), 0);
	for (size_t i = 0; i < nr; i++)
		ck_assert_int_ne(found[i].pid, child);
	free(found);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;
	uint64_t run;

	host = HS_HOST_DEFAULT;
	if (geteuid() != 0)
		return hs_test_skip("share/ksm_live", "needs root");
	if (hs_hostfile_u64(host.ksm_dir, "run", &run))
		return hs_test_skip("share/ksm_live", "this kernel has no KSM");
	if (run == 1)
		return hs_test_skip("share/ksm_live", "KSM runs already, for somebody else");
	s = suite_create("share/ksm_live");
	t = tcase_create("owner");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_share_ksm_live_gives_back);
	tcase_add_test(t, test_share_ksm_live_crash_in_burst);
	tcase_add_test(t, test_share_ksm_live_dry_run);
	tcase_add_test(t, test_share_ksm_live_foreign);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
