/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we marked is on record, with what was there before: nothing else is taken for ours, and an undo, by this engine
 * or by the next one, gives back just that.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine_scene.h"
#include "share/engine_internal.h"

static char record[PATH_MAX];

static void start_guests_with(int advice, bool mergeable)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		guests[i].advice = advice;
		guests[i].mergeable = mergeable;
		test_guest_start(&guests[i]);
	}
	(void)snprintf(record, sizeof(record), "%s/marks-%d", host.state_dir, (int)guests[0].pid);
}

static void unshare_rest(uint32_t first)
{
	struct hs_share_unshared u;

	for (uint32_t i = first; i < NR_GUESTS; i++)
		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
}

static void unshare_all(void)
{
	unshare_rest(0);
}

/* MERGEABLE and NOHUGEPAGE set by the guest's own VMM: not ours, not merged, and as it was in the end. */
START_TEST(test_share_engine_record_own_marks)
{
	struct hs_share_burst b;
	struct test_smaps before, now;
	struct hs_ledger l;

	start_guests_with(TEST_GUEST_NOHUGEPAGE, true);
	before = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(before.mg_bytes, NR_HUGE * HS_HUGE_SIZE);
	ck_assert_uint_eq(before.nh_bytes, NR_HUGE * HS_HUGE_SIZE);
	open_engine();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.wanted + l.marked, 0);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(now.ksm_bytes, 0);
	ck_assert_uint_eq(now.mg_bytes, 0); /* claimed */
	/* Also beside what is wanted. */
	share_all();
	ck_assert_uint_gt(test_guest_smaps(&guests[0]).ksm_bytes, 0);
	unshare_all();
	close_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		now = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(now.mg_bytes, before.mg_bytes);
		ck_assert_uint_eq(now.nh_bytes, before.nh_bytes);
		ck_assert_uint_eq(now.hg_bytes + now.huge_bytes + now.ksm_bytes, 0);
	}
	check_intact();
	check_knobs();
}
END_TEST

/* What the guest had said of huge pages holds again after an undo; _i 1: by the next engine. */
static void advice_comes_back(int advice, bool restart)
{
	struct test_smaps before, now;
	uint64_t bytes = 0;

	start_guests_with(advice, false);
	before = test_guest_smaps(&guests[0]);
	open_engine();
	share_all();
	if (restart) {
		close_engine();
		open_engine();
		ck_assert_int_eq(hs_share_find_marked(&host, guests[0].pid, &bytes, &err), 0);
		ck_assert_uint_eq(bytes, test_guest_smaps(&guests[0]).mg_bytes);
		ck_assert_uint_gt(bytes, 0);
	}
	ck_assert_int_eq(access(record, F_OK), 0);
	unshare_all();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		now = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(now.nh_bytes, before.nh_bytes);
		ck_assert_uint_eq(now.hg_bytes, before.hg_bytes);
		ck_assert_uint_eq(now.huge_bytes, before.huge_bytes);
		ck_assert_uint_eq(now.mg_bytes + now.ksm_bytes, 0);
	}
	ck_assert_int_ne(access(record, F_OK), 0); /* nothing is left to be undone */
	check_intact();
	close_engine();
	check_knobs();
}

START_TEST(test_share_engine_record_nohugepage)
{
	advice_comes_back(TEST_GUEST_NOHUGEPAGE, _i);
}
END_TEST

START_TEST(test_share_engine_record_hugepage)
{
	advice_comes_back(TEST_GUEST_HUGEPAGE, _i);
}
END_TEST

/* A folder that says `mode` of transparent huge pages, in the host's place. */
static void set_thp_mode(char dir[PATH_MAX], const char *mode)
{
	char path[PATH_MAX + 16];
	FILE *f;

	(void)snprintf(dir, PATH_MAX, "%s/thp", host.state_dir);
	ck_assert(mkdir(dir, 0700) == 0 || errno == EEXIST);
	(void)snprintf(path, sizeof(path), "%s/enabled", dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(mode, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	host.thp_dir = dir;
}

/* No advice before: none is set where khugepaged leaves such memory alone anyway. */
START_TEST(test_share_engine_record_plain)
{
	char dir[PATH_MAX];
	struct test_smaps now;

	set_thp_mode(dir, "always [madvise] never\n");
	start_guests_with(TEST_GUEST_PLAIN, false);
	open_engine();
	share_all();
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_gt(now.mg_bytes, 0);
	ck_assert_uint_eq(now.nh_bytes + now.hg_bytes, 0);
	close_engine();
	open_engine();
	unshare_all();
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(now.mg_bytes + now.nh_bytes + now.hg_bytes, 0);
	/* Where khugepaged would take it, it is kept off. */
	set_thp_mode(dir, "[always] madvise never\n");
	share_all();
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_gt(now.nh_bytes, 0);
	unshare_all();
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).nh_bytes, 0);
	check_intact();
	close_engine();
}
END_TEST

/* Killed at any instant: no mark without a record, and the next engine undoes all of it. */
START_TEST(test_share_engine_record_killed)
{
	struct test_smaps now;
	pid_t child;
	int status;

	start_guests_with(TEST_GUEST_HUGEPAGE, false);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		open_engine();
		for (;;) { /* marks come and go */
			apply_all();
			unshare_all();
		}
	}
	while (access(record, F_OK))
		(void)usleep(200);
	(void)usleep((useconds_t)_i * 3400);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		uint64_t bytes = 0;

		/* The guest carries out to the end the calls that it was sent into, as soon as it finds a processor. */
		for (int ms = 0; ms < 20000; ms++) {
			ck_assert_msg(hs_share_find_marked(&host, guests[i].pid, &bytes, &err) == 0, "%s", err.text);
			/* Killed after the last mark was taken away: the advice on huge pages is to be undone still. */
			now = test_guest_smaps(&guests[i]);
			if (bytes == (now.mg_bytes ? now.mg_bytes : now.nh_bytes))
				break;
			(void)usleep(1000);
		}
		ck_assert_uint_eq(bytes, now.mg_bytes ? now.mg_bytes : now.nh_bytes);
	}
	open_engine();
	unshare_all();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		now = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(now.mg_bytes + now.nh_bytes, 0);
		ck_assert_uint_eq(now.hg_bytes, NR_HUGE * HS_HUGE_SIZE);
	}
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* A guest with a new view keeps what it shares; where it cannot be learnt anew, it stays as it was: it is never
 * nobody's, so that its marks do not keep ksmd from running for the others. */
START_TEST(test_share_engine_record_renewed)
{
	struct hs_ledger before, now;
	struct hs_share_burst b;
	char moved[PATH_MAX + 8];
	struct hs_view *view;
	FILE *f;

	start_guests_with(TEST_GUEST_HUGEPAGE, false);
	open_engine();
	share_all();
	hs_share_ledger(share, ids[0], &before);
	ck_assert_int_eq(hs_share_set_group(share, ids[0], 0), 0);
	ck_assert_msg(hs_view_open_host(&view, &host, guests[0].pid, guests[0].remote, HS_HUGE_SIZE, &err) == 0, "%s",
		      err.text);
	ck_assert_uint_eq(view->nr_huge, NR_HUGE);
	(void)snprintf(moved, sizeof(moved), "%s.moved", record);
	ck_assert_int_eq(rename(record, moved), 0);
	f = fopen(record, "we");
	ck_assert_ptr_nonnull(f);
	(void)fputs("hs-share marks 1\npid 1 st", f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(hs_share_renew_guest(share, ids[0], view, &err), -EBADMSG);
	ck_assert_ptr_eq(share->guests[ids[0]].view, guests[0].view);
	hs_share_ledger(share, ids[0], &now);
	ck_assert_uint_eq(now.shared, before.shared);
	ck_assert_int_eq(rename(moved, record), 0);

	ck_assert_msg(hs_share_renew_guest(share, ids[0], view, &err) == 0, "%s", err.text);
	hs_view_close(guests[0].view);
	guests[0].view = view;
	hs_share_ledger(share, ids[0], &now);
	ck_assert_uint_eq(now.shared, before.shared);
	ck_assert_uint_eq(now.marked, before.marked);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_msg(hs_share_verify(share, ids[i], &err) == 0, "%s", err.text);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	unshare_all();
	check_intact();
	close_engine();
}
END_TEST

/* A record that cannot be believed: the guest is left as it is, and the error names the record. */
START_TEST(test_share_engine_record_damaged)
{
	struct test_smaps before, now;
	struct hs_share_burst b;
	char moved[PATH_MAX + 8];
	uint32_t id;
	uint64_t bytes;
	FILE *f;

	start_guests_with(TEST_GUEST_HUGEPAGE, false);
	open_engine();
	share_all();
	before = test_guest_smaps(&guests[0]);
	hs_share_remove_guest(share, ids[0]);
	(void)snprintf(moved, sizeof(moved), "%s.moved", record);
	ck_assert_int_eq(rename(record, moved), 0);
	f = fopen(record, "we");
	ck_assert_ptr_nonnull(f);
	(void)fputs("hs-share marks 1\npid 1 st", f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(enter_guest(0, &id, NULL), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(err.text, record));
	ck_assert_int_eq(hs_share_find_marked(&host, guests[0].pid, &bytes, &err), -EBADMSG);
	now = test_guest_smaps(&guests[0]);
	ck_assert_mem_eq(&now, &before, sizeof(now));
	/* While it is so ksmd runs for nobody, and that is said with the reason. */
	share->cfg.foreign = HS_FOREIGN_REFUSE;
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "ksmd may not run for anybody"));
	ck_assert_ptr_nonnull(strstr(err.text, record));
	share->cfg.foreign = HS_FOREIGN_ALLOW;
	/* With the right one it is taken again. */
	ck_assert_int_eq(rename(moved, record), 0);
	ck_assert_msg(enter_guest(0, &ids[0], NULL) == 0, "%s", err.text);
	unshare_all();
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes, 0);
	check_intact();
	close_engine();
}
END_TEST

/* A guest that has ended leaves no record behind. */
START_TEST(test_share_engine_record_of_the_dead)
{
	start_guests_with(TEST_GUEST_HUGEPAGE, false);
	open_engine();
	share_all();
	ck_assert_int_eq(access(record, F_OK), 0);
	test_guest_kill(&guests[0]);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), -ESRCH);
	hs_share_remove_guest(share, ids[0]);
	ck_assert_int_ne(access(record, F_OK), 0);
	unshare_rest(1);
	close_engine();
}
END_TEST

/* Nothing is marked when it cannot be put on record. */
START_TEST(test_share_engine_record_not_written)
{
	struct hs_share_applied a;
	char path[PATH_MAX + 8];

	start_guests_with(TEST_GUEST_HUGEPAGE, false);
	open_engine();
	(void)snprintf(path, sizeof(path), "%s.new", record);
	ck_assert_int_eq(mkdir(path, 0700), 0); /* in the way */
	ck_assert_int_eq(want_all(0), 0);
	ck_assert_int_lt(hs_share_apply(share, ids[0], &a, &err), 0);
	ck_assert_uint_eq(a.pages_marked, 0);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes, 0);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(test_guest_smaps(&guests[0]).mg_bytes, 0);
	unshare_all();
	close_engine();
}
END_TEST

/* Memory was unplugged, and what is left on one side is too small to count as the guest's: it is undone all the same.
 */
START_TEST(test_share_engine_record_small_piece)
{
	struct hs_share_unshared u;
	struct test_smaps now;
	uint64_t adopted;

	start_guests_with(TEST_GUEST_HUGEPAGE, false);
	open_engine();
	share_all();
	close_engine();
	test_guest_unmap(&guests[0], 3); /* the first three are less than the view's least */
	ck_assert_msg(hs_share_create(&share, &host, &cfg, &err) == 0, "%s", err.text);
	ck_assert_int_eq(hs_remote_open(&guests[0].remote, &host, guests[0].pid, &err), 0);
	ck_assert_int_eq(
	    hs_view_open_host(&guests[0].view, &host, guests[0].pid, guests[0].remote, 4 * HS_HUGE_SIZE, &err), 0);
	ck_assert_uint_eq(guests[0].view->nr_huge, NR_HUGE - 4);
	ck_assert_msg(enter_guest(0, &ids[0], &adopted) == 0, "%s", err.text);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_gt(now.mg_bytes, adopted * HS_BASE_SIZE);
	ck_assert_msg(hs_share_unshare(share, ids[0], NULL, 0, &u, &err) == 0, "%s", err.text);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(now.mg_bytes + now.nh_bytes + now.ksm_bytes, 0);
	ck_assert_int_ne(access(record, F_OK), 0);
	check_intact();
	close_engine();
}
END_TEST

/* A sparse guest of base pages is given back as sparse as it was; _i 1: a huge page that the guest has given back in
 * part. */
START_TEST(test_share_engine_record_holes)
{
	struct hs_share_unshared u;
	struct test_smaps before, now;
	char dir[PATH_MAX];

	set_thp_mode(dir, "always [madvise] never\n");
	start_guests_with(_i ? TEST_GUEST_HUGEPAGE : TEST_GUEST_NOHUGEPAGE, false);
	open_engine();
	if (_i)
		share_all();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		for (uint32_t p = 5 * HS_BASE_PER_HUGE; p < 9 * HS_BASE_PER_HUGE; p += 16)
			if (p % 64 == 0 || !_i)
				test_guest_drop(&guests[i], p);
	if (!_i)
		share_all();
	before = test_guest_smaps(&guests[0]);
	ck_assert_msg(hs_share_unshare(share, ids[0], NULL, 0, &u, &err) == 0, "%s", err.text);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(now.rss_bytes, before.rss_bytes);
	ck_assert_uint_eq(u.nr_base, _i ? 4 : u.nr_huge);
	ck_assert_uint_eq(u.nr_base + u.nr_collapsed, u.nr_huge);
	check_intact();
	close_engine();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_record_own_marks);
	tcase_add_loop_test(t, test_share_engine_record_nohugepage, 0, 2);
	tcase_add_loop_test(t, test_share_engine_record_hugepage, 0, 2);
	tcase_add_test(t, test_share_engine_record_plain);
	tcase_add_loop_test(t, test_share_engine_record_killed, 0, 6);
	tcase_add_test(t, test_share_engine_record_damaged);
	tcase_add_test(t, test_share_engine_record_renewed);
	tcase_add_test(t, test_share_engine_record_of_the_dead);
	tcase_add_test(t, test_share_engine_record_not_written);
	tcase_add_test(t, test_share_engine_record_small_piece);
	tcase_add_loop_test(t, test_share_engine_record_holes, 0, 2);
}

int main(void)
{
	return engine_scene_main("share/engine_record", add);
}
