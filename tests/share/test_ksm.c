/* SPDX-License-Identifier: Apache-2.0 */
/* KSM's owner on a tree of files: what is written when, what a crash leaves, what is refused. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "share/ksm.h"
#include "hs_test.h"

static char root[64], proc_dir[80], ksm_dir[80], state_dir[80];
static struct hs_host host;

static void put(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void put_process(int pid, const char *comm, const char *statm, const char *ksm_stat, const char *smaps)
{
	char dir[PATH_MAX];

	(void)snprintf(dir, sizeof(dir), "%s/%d", proc_dir, pid);
	ck_assert_int_eq(mkdir(dir, 0755), 0);
	put(dir, "comm", comm);
	put(dir, "statm", statm);
	if (ksm_stat)
		put(dir, "ksm_stat", ksm_stat);
	if (smaps)
		put(dir, "smaps", smaps);
}

static const char *knob(const char *name)
{
	static char buf[128];

	ck_assert_int_ge(hs_hostfile_read(ksm_dir, name, buf, sizeof(buf)), 0);
	return buf;
}

static bool has_state(void)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/ksm.state", state_dir);
	return access(path, F_OK) == 0;
}

static void setup(void)
{
	static const char *const counters[] = { "pages_shared",  "pages_sharing", "pages_unshared", "pages_volatile",
						"pages_scanned", "full_scans",    "ksm_zero_pages" };

	(void)snprintf(root, sizeof(root), "/tmp/hs-test-ksm-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	(void)snprintf(proc_dir, sizeof(proc_dir), "%s/proc", root);
	(void)snprintf(ksm_dir, sizeof(ksm_dir), "%s/ksm", root);
	(void)snprintf(state_dir, sizeof(state_dir), "%s/state", root);
	ck_assert_int_eq(mkdir(proc_dir, 0755), 0);
	ck_assert_int_eq(mkdir(ksm_dir, 0755), 0);
	host = (struct hs_host){ .proc_dir = proc_dir, .ksm_dir = ksm_dir, .thp_dir = "", .state_dir = state_dir };
	put(ksm_dir, "run", "0\n");
	put(ksm_dir, "pages_to_scan", "100\n");
	put(ksm_dir, "sleep_millisecs", "20\n");
	put(ksm_dir, "smart_scan", "1\n");
	put(ksm_dir, "use_zero_pages", "0\n");
	put(ksm_dir, "max_page_sharing", "256\n");
	put(ksm_dir, "advisor_mode", "none [scan-time]\n");
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		put(ksm_dir, counters[i], "0\n");
}

static void teardown(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", root);
	ck_assert_int_eq(system(cmd), 0);
}

static const struct hs_ksm_setup burst = {
	.pages_to_scan = 5000, .sleep_ms = 3, .max_page_sharing = 512, .use_zero_pages = true
};

static void check_as_before(void)
{
	ck_assert_str_eq(knob("run"), "0");
	ck_assert_str_eq(knob("pages_to_scan"), "100");
	ck_assert_str_eq(knob("sleep_millisecs"), "20");
	ck_assert_str_eq(knob("smart_scan"), "1");
	ck_assert_str_eq(knob("use_zero_pages"), "0");
	ck_assert_str_eq(knob("max_page_sharing"), "256");
}

START_TEST(test_share_ksm_gives_back)
{
	struct hs_error err = { "" };
	struct hs_ksm *k;

	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	check_as_before();
	ck_assert_str_eq(knob("advisor_mode"), "none [scan-time]");
	ck_assert(!has_state());

	ck_assert_int_eq(hs_ksm_start(k, &burst, &err), 0);
	ck_assert(has_state());
	ck_assert_str_eq(knob("run"), "1");
	ck_assert_str_eq(knob("pages_to_scan"), "5000");
	ck_assert_str_eq(knob("sleep_millisecs"), "3");
	ck_assert_str_eq(knob("smart_scan"), "0");
	ck_assert_str_eq(knob("use_zero_pages"), "1");
	ck_assert_str_eq(knob("max_page_sharing"), "512");
	ck_assert_str_eq(knob("advisor_mode"), "none");
	ck_assert_int_eq(hs_ksm_pace(k, 77), 0);
	ck_assert_str_eq(knob("pages_to_scan"), "77");
	ck_assert_int_eq(hs_ksm_stop(k, &err), 0);
	ck_assert_str_eq(knob("run"), "0");
	put(ksm_dir, "advisor_mode", "[none] scan-time\n"); /* as the kernel shows it */

	hs_ksm_release(k);
	check_as_before();
	ck_assert_str_eq(knob("advisor_mode"), "scan-time");
	ck_assert(!has_state());
	hs_ksm_release(NULL);
}
END_TEST

/* A child takes KSM, starts a burst and is killed: the next start gives everything back. */
static void crash(bool stopped)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (!child) {
		struct hs_ksm *k;

		if (!hs_ksm_acquire(&k, &host, false, NULL) && !hs_ksm_start(k, &burst, NULL) &&
		    !(stopped && hs_ksm_stop(k, NULL)))
			(void)kill(getpid(), SIGKILL);
		_exit(1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	put(ksm_dir, "advisor_mode", "[none] scan-time\n"); /* as the kernel shows it */
}

static void crash_in_burst(void)
{
	crash(false);
}

/* What somebody else has set meanwhile is left, at our end and after a crash; the rest is given back. */
START_TEST(test_share_ksm_set_meanwhile)
{
	struct hs_error err = { "" };
	struct hs_ksm *k;

	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	ck_assert_int_eq(hs_ksm_start(k, &burst, &err), 0);
	put(ksm_dir, "advisor_mode", "[none] scan-time\n");
	ck_assert_int_eq(hs_ksm_stop(k, &err), 0);
	put(ksm_dir, "run", "1\n");
	put(ksm_dir, "pages_to_scan", "777\n");
	hs_ksm_release(k);
	ck_assert_str_eq(knob("run"), "1");
	ck_assert_str_eq(knob("pages_to_scan"), "777");
	ck_assert_str_eq(knob("sleep_millisecs"), "20");
	ck_assert_str_eq(knob("smart_scan"), "1");
	ck_assert_str_eq(knob("use_zero_pages"), "0");
	ck_assert_str_eq(knob("max_page_sharing"), "256");
	ck_assert(!has_state());
}
END_TEST

/* A knob that was set back to what it was before us, by hand: nothing to do. One that pacing has moved: ours. */
START_TEST(test_share_ksm_set_by_pace)
{
	struct hs_ksm_setup setup = burst;
	struct hs_error err = { "" };
	struct hs_ksm *k;

	setup.least_pages = 8;
	setup.most_pages = 6000;
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	ck_assert_int_eq(hs_ksm_start(k, &setup, &err), 0);
	put(ksm_dir, "advisor_mode", "[none] scan-time\n");
	ck_assert_int_eq(hs_ksm_pace(k, 20), 0);
	ck_assert_int_eq(hs_ksm_stop(k, &err), 0);
	put(ksm_dir, "sleep_millisecs", "20\n");
	hs_ksm_release(k);
	check_as_before();
}
END_TEST

/* After a crash in a burst, ksmd runs for us: it is stopped, whatever else is set. _i 1: a crash between two bursts,
 * and it was started since: that is somebody else's. */
START_TEST(test_share_ksm_set_after_a_crash)
{
	struct hs_error err;

	crash(_i);
	put(ksm_dir, "pages_to_scan", "777\n");
	put(ksm_dir, "run", "1\n");
	ck_assert_int_eq(hs_ksm_recover(&host, &err), 1);
	ck_assert_str_eq(knob("pages_to_scan"), "777");
	ck_assert_str_eq(knob("run"), _i ? "1" : "0");
	ck_assert_str_eq(knob("sleep_millisecs"), "20");
	ck_assert(!has_state());
}
END_TEST

START_TEST(test_share_ksm_old_kernel_lacks_knobs)
{
	static const char *const newer[] = { "smart_scan", "advisor_mode", "pages_scanned", "ksm_zero_pages" };
	struct hs_ksm_counters c;
	struct hs_error err;
	char path[PATH_MAX];
	struct hs_ksm *k;

	for (size_t i = 0; i < sizeof(newer) / sizeof(newer[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", ksm_dir, newer[i]);
		ck_assert_int_eq(unlink(path), 0);
	}
	ck_assert_int_eq(hs_ksm_counters(&host, &c, &err), 0);
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	ck_assert_int_eq(hs_ksm_start(k, &burst, &err), 0);
	hs_ksm_release(k);
	ck_assert_str_eq(knob("pages_to_scan"), "100");
	for (size_t i = 0; i < sizeof(newer) / sizeof(newer[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", ksm_dir, newer[i]);
		ck_assert_int_ne(access(path, F_OK), 0);
	}
}
END_TEST

START_TEST(test_share_ksm_no_ksm)
{
	struct hs_error err;
	struct hs_ksm *k;

	host.ksm_dir = "/nonexistent";
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "CONFIG_KSM"));
	ck_assert_int_ne(access(state_dir, F_OK), 0);
}
END_TEST

START_TEST(test_share_ksm_one_owner)
{
	struct hs_error err;
	struct hs_ksm *k, *other;
	char pid[32];

	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	(void)snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
	ck_assert_int_eq(hs_ksm_acquire(&other, &host, false, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, pid));
	ck_assert_int_eq(hs_ksm_recover(&host, &err), -EBUSY);
	hs_ksm_release(k);
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	hs_ksm_release(k);
}
END_TEST

/* The lock is the host's: another state folder is no second KSM. Its folder is made when it is not there. */
START_TEST(test_share_ksm_one_owner_whatever_the_state_folder)
{
	struct hs_host other = host;
	struct hs_error err;
	struct hs_ksm *k, *second;
	char lock_dir[96], other_dir[96], pid[32];

	(void)snprintf(lock_dir, sizeof(lock_dir), "%s/lock", root);
	(void)snprintf(other_dir, sizeof(other_dir), "%s/other", root);
	host.lock_dir = other.lock_dir = lock_dir;
	other.state_dir = other_dir;
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	ck_assert_int_eq(access(lock_dir, F_OK), 0);
	(void)snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
	ck_assert_int_eq(hs_ksm_acquire(&second, &other, false, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, pid));
	hs_ksm_release(k);
	ck_assert_int_eq(hs_ksm_acquire(&second, &other, false, &err), 0);
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), -EBUSY);
	hs_ksm_release(second);

	/* What one who was killed has left in his folder, the next one gives back, who has another. */
	crash_in_burst();
	ck_assert_str_eq(knob("run"), "1");
	ck_assert_int_eq(hs_ksm_acquire(&second, &other, false, &err), 0);
	ck_assert_str_eq(knob("run"), "0");
	ck_assert(!has_state());
	hs_ksm_release(second);
	check_as_before();
}
END_TEST

static void *drop_later(void *lock)
{
	(void)usleep(100000);
	hs_ksm_lock_drop(lock);
	return NULL;
}

/* Who has it for a moment only, as a start does that looks for settings to be given back, is waited for. */
START_TEST(test_share_ksm_lock_for_a_moment)
{
	struct hs_ksm_lock first, second;
	struct hs_error err;
	pthread_t other;

	ck_assert_int_eq(hs_ksm_lock_take(&host, &first, &err), 0);
	ck_assert_int_eq(pthread_create(&other, NULL, drop_later, &first), 0);
	ck_assert_int_eq(hs_ksm_lock_take(&host, &second, &err), 0);
	ck_assert_int_eq(pthread_join(other, NULL), 0);
	hs_ksm_lock_drop(&second);
}
END_TEST

/* A lock on a file that is not there any more keeps nobody away, so it is not taken for one. */
START_TEST(test_share_ksm_lock_removed)
{
	struct hs_ksm_lock first, second;
	char path[PATH_MAX];
	struct hs_error err;

	ck_assert_int_eq(mkdir(state_dir, 0700), 0);
	ck_assert_int_eq(hs_ksm_lock_take(&host, &first, &err), 0);
	ck_assert_str_eq(first.left_dir, "");
	(void)snprintf(path, sizeof(path), "%s/ksm.lock", state_dir);
	hs_ksm_lock_drop(&first);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(state_dir), 0);
	ck_assert_int_eq(hs_ksm_lock_take(&host, &first, &err), 0);
	ck_assert_int_eq(hs_ksm_lock_take(&host, &second, &err), -EBUSY);
	ck_assert_int_eq(second.fd, -1);
	hs_ksm_lock_drop(&second);
	hs_ksm_lock_drop(&first);
}
END_TEST

START_TEST(test_share_ksm_other_drivers)
{
	struct hs_error err;
	struct hs_ksm *k;

	put(ksm_dir, "run", "1\n");
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "echo 0 >"));
	put(ksm_dir, "run", "0\n");
	put_process(700, "ksmtuned\n", "10 1\n", NULL, NULL);
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "ksmtuned (pid 700)"));
	/* Anybody may call a process so: only one of root counts. */
	put(proc_dir, "700/status", "Name:\tksmtuned\nUid:\t1000\t0\t0\t0\n");
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	hs_ksm_release(k);
	put(proc_dir, "700/status", "Name:\tksmtuned\nUid:\t0\t0\t0\t0\n");
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), -EBUSY);
	put(proc_dir, "700/comm", "ksmtuned2\n");
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	/* Somebody starts it between acquire and burst. */
	put(ksm_dir, "run", "1\n");
	ck_assert_int_eq(hs_ksm_start(k, &burst, &err), -EBUSY);
	hs_ksm_release(k);
	ck_assert_str_eq(knob("run"), "1"); /* not ours: left alone */
	ck_assert_str_eq(knob("pages_to_scan"), "100");
}
END_TEST

START_TEST(test_share_ksm_never_unmerges_all)
{
	struct hs_error err;
	struct hs_ksm *k;

	put(ksm_dir, "run", "2\n");
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	ck_assert_int_eq(hs_ksm_start(k, &burst, &err), 0);
	hs_ksm_release(k);
	ck_assert_str_eq(knob("run"), "0");
}
END_TEST

START_TEST(test_share_ksm_dry_run)
{
	struct hs_error err;
	struct hs_ksm *k;

	ck_assert_int_eq(hs_ksm_acquire(&k, &host, true, &err), 0);
	ck_assert_int_eq(hs_ksm_start(k, &burst, &err), 0);
	ck_assert_int_eq(hs_ksm_pace(k, 77), 0);
	check_as_before();
	ck_assert_int_ne(access(state_dir, F_OK), 0);
	ck_assert_int_eq(hs_ksm_stop(k, &err), 0);
	hs_ksm_release(k);
	check_as_before();
}
END_TEST

START_TEST(test_share_ksm_recover)
{
	struct hs_error err;

	ck_assert_int_eq(hs_ksm_recover(&host, &err), 0); /* no state folder */
	crash_in_burst();
	ck_assert(has_state());
	ck_assert_str_eq(knob("run"), "1");
	ck_assert_int_eq(hs_ksm_recover(&host, &err), 1);
	check_as_before();
	ck_assert(!has_state());
	ck_assert_int_eq(hs_ksm_recover(&host, &err), 0);
}
END_TEST

START_TEST(test_share_ksm_acquire_recovers)
{
	struct hs_error err;
	struct hs_ksm *k;

	crash_in_burst();
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	check_as_before();
	ck_assert(!has_state());
	hs_ksm_release(k);
}
END_TEST

/* ---- state files that are not ours ---- */

static const char *const garbage[] = {
	"",
	"garbage\n",
	"hs-share ksm state 1\n",
	"hs-share ksm state 1\nrun 0\n",
	"hs-share ksm state 2\nrun 0\nend\n",
	"hs-share ksm state 1\nrun 3\nend\n",
	"hs-share ksm state 1\nrun 0\nrun 1\nend\n",
	"hs-share ksm state 1\nrun\nend\n",
	"hs-share ksm state 1\nrun 0x\nend\n",
	"hs-share ksm state 1\nrun -1\nend\n",
	"hs-share ksm state 1\npages_to_scan 4294967296\nend\n",
	"hs-share ksm state 1\npages_to_scan 99999999999999999999\nend\n",
	"hs-share ksm state 1\nsmart_scan 2\nend\n",
	"hs-share ksm state 1\nadvisor_mode ../../x\nend\n",
	"hs-share ksm state 1\nadvisor_mode averyveryverylongword\nend\n",
	"hs-share ksm state 1\n../run 0\nend\n",
	"hs-share ksm state 1\nrun 0\nend\nrun 1\n",
	"hs-share ksm state 1\nrun 0\n\nend\n",
	"hs-share ksm state 1\nrun 0\nset run from 1 to 0\nend\n",
	"hs-share ksm state 1\nrun 0\nset run from 0 to 3\nend\n",
	"hs-share ksm state 1\nrun 0\nset ran from 0 to 1\nend\n",
	"hs-share ksm state 1\nrun 0\nset run from 0 to 1\nset run from 0 to 1\nend\n",
};

START_TEST(test_share_ksm_garbage_state)
{
	struct hs_error err = { "" };
	struct hs_ksm *k;

	ck_assert_int_eq(mkdir(state_dir, 0700), 0);
	put(state_dir, "ksm.state", garbage[_i]);
	put(ksm_dir, "pages_to_scan", "123\n");
	ck_assert_int_eq(hs_ksm_recover(&host, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "/ksm.state"));
	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), -EINVAL);
	ck_assert_str_eq(knob("pages_to_scan"), "123");
	ck_assert_str_eq(knob("run"), "0");
	ck_assert(has_state());
}
END_TEST

START_TEST(test_share_ksm_state_needs_room)
{
	struct hs_error err;
	struct hs_ksm *k;
	char path[PATH_MAX];

	ck_assert_int_eq(hs_ksm_acquire(&k, &host, false, &err), 0);
	(void)snprintf(path, sizeof(path), "%s/ksm.state.new", state_dir);
	ck_assert_int_eq(mkdir(path, 0700), 0); /* in the way */
	ck_assert_int_lt(hs_ksm_start(k, &burst, &err), 0);
	check_as_before(); /* no state file, no knob changed */
	hs_ksm_release(k);
	check_as_before();
}
END_TEST

/* ---- counters and foreign memory ---- */

START_TEST(test_share_ksm_counters)
{
	struct hs_ksm_counters c;
	struct hs_error err;

	put(ksm_dir, "pages_shared", "5\n");
	put(ksm_dir, "pages_sharing", "11\n");
	put(ksm_dir, "ksm_zero_pages", "3\n");
	ck_assert_int_eq(hs_ksm_counters(&host, &c, &err), 0);
	ck_assert_uint_eq(c.pages_shared, 5);
	ck_assert_uint_eq(c.pages_sharing, 11);
	ck_assert(!c.ksmd_runs);
	put(ksm_dir, "run", "1\n");
	ck_assert_int_eq(hs_ksm_pages(&host, &c, &err), 0);
	ck_assert_uint_eq(c.pages_sharing, 11);
	ck_assert(c.ksmd_runs);
	put(ksm_dir, "run", "0\n");
	ck_assert_int_eq(hs_ksm_counters(&host, &c, &err), 0);
	ck_assert_uint_eq(c.zero_pages, 3);
	ck_assert(c.ksmd_cpu_us == UINT64_MAX); /* no such thread */

	put_process(50, "ksmd\n", "0 0\n", NULL, NULL); /* a user's process of that name */
	put(proc_dir, "50/stat", "50 (ksmd) S 1 0 0 0 -1 0 0 0 0 0 900 100 0 0 25 5 1 0\n");
	put_process(60, "ksmd\n", "0 0\n", NULL, NULL);
	put(proc_dir, "60/stat", "60 (ksmd) S 2 0 0 0 -1 0 0 0 0 0 100 200 0 0 25 5 1 0\n");
	ck_assert_int_eq(hs_ksm_counters(&host, &c, &err), 0);
	ck_assert_uint_eq(c.ksmd_cpu_us, 300U * 1000000U / (uint64_t)sysconf(_SC_CLK_TCK));
	put(proc_dir, "60/schedstat", "123456789 5 6\n");
	ck_assert_int_eq(hs_ksm_counters(&host, &c, &err), 0);
	ck_assert_uint_eq(c.ksmd_cpu_us, 123456);

	put(ksm_dir, "pages_shared", "many\n");
	ck_assert_int_eq(hs_ksm_counters(&host, &c, &err), -EINVAL);
}
END_TEST

#define VMA(range, flags) range " rw-p 00000000 00:00 0 \nSize: 4 kB\nKSM: 8 kB\nVmFlags: rd wr mr mw me ac " flags "\n"

START_TEST(test_share_ksm_foreign)
{
	const pid_t ours[] = { 103 };
	struct hs_ksm_foreign *found;
	struct hs_error err;
	size_t nr;

	put_process(2, "kthreadd\n", "0 0\n", NULL, VMA("1000-2000", "mg"));
	put_process(100, "plain\n", "9 9\n", NULL, VMA("1000-2000", "hg") VMA("2000-5000", "sd"));
	put_process(101, "says no\n", "9 9\n", "ksm_rmap_items 0\nksm_mergeable: no\n", VMA("1000-2000", "mg"));
	put_process(102, "qemu one\n", "9 9\n", "ksm_merge_any: no\nksm_mergeable: yes\n",
		    VMA("1000-2000", "") VMA("7f0000000000-7f0000004000", "hg mg")
			VMA("7f0000005000-7f0000006000", "mg"));
	put_process(103, "our guest\n", "9 9\n", NULL, VMA("1000-2000", "mg"));
	put_process(104, "old kernel\n", "9 9\n", NULL, VMA("1000-3000", "mg nh"));
	put_process(105, "vanished\n", "9 9\n", NULL, NULL);
	ck_assert_int_eq(hs_ksm_find_foreign(&host, ours, 1, &found, &nr, &err), 0);
	ck_assert_uint_eq(nr, 2);
	if (found[0].pid != 102) {
		struct hs_ksm_foreign f = found[0];

		found[0] = found[1];
		found[1] = f;
	}
	ck_assert_int_eq(found[0].pid, 102);
	ck_assert_str_eq(found[0].comm, "qemu one");
	ck_assert_uint_eq(found[0].mergeable_bytes, 0x5000);
	ck_assert_int_eq(found[1].pid, 104);
	ck_assert_uint_eq(found[1].mergeable_bytes, 0x2000);
	ck_assert_uint_eq(found[1].start, 0x1000);
	ck_assert_uint_eq(found[1].end, 0x3000);
	free(found);
}
END_TEST

/* A process that cannot be looked into: not known, which is not none. */
START_TEST(test_share_ksm_foreign_unknown)
{
	struct hs_ksm_foreign *found;
	struct hs_error err;
	char path[PATH_MAX];
	size_t nr;

	put_process(102, "qemu one\n", "9 9\n", NULL, VMA("1000-2000", "mg"));
	put_process(103, "out of reach\n", "9 9\n", NULL, NULL);
	(void)snprintf(path, sizeof(path), "%s/103/smaps", proc_dir);
	ck_assert_int_eq(mkdir(path, 0700), 0); /* opens, and cannot be read */
	ck_assert_int_lt(hs_ksm_find_foreign(&host, NULL, 0, &found, &nr, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "103"));
	ck_assert_ptr_null(found);
	ck_assert_uint_eq(nr, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("share/ksm");
	TCase *t = tcase_create("owner");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_share_ksm_gives_back);
	tcase_add_test(t, test_share_ksm_set_meanwhile);
	tcase_add_test(t, test_share_ksm_set_by_pace);
	tcase_add_loop_test(t, test_share_ksm_set_after_a_crash, 0, 2);
	tcase_add_test(t, test_share_ksm_old_kernel_lacks_knobs);
	tcase_add_test(t, test_share_ksm_no_ksm);
	tcase_add_test(t, test_share_ksm_one_owner);
	tcase_add_test(t, test_share_ksm_one_owner_whatever_the_state_folder);
	tcase_add_test(t, test_share_ksm_lock_for_a_moment);
	tcase_add_test(t, test_share_ksm_lock_removed);
	tcase_add_test(t, test_share_ksm_other_drivers);
	tcase_add_test(t, test_share_ksm_never_unmerges_all);
	tcase_add_test(t, test_share_ksm_dry_run);
	tcase_add_test(t, test_share_ksm_recover);
	tcase_add_test(t, test_share_ksm_acquire_recovers);
	tcase_add_loop_test(t, test_share_ksm_garbage_state, 0, (int)(sizeof(garbage) / sizeof(garbage[0])));
	tcase_add_test(t, test_share_ksm_state_needs_room);
	tcase_add_test(t, test_share_ksm_counters);
	tcase_add_test(t, test_share_ksm_foreign);
	tcase_add_test(t, test_share_ksm_foreign_unknown);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
