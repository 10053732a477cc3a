/* SPDX-License-Identifier: Apache-2.0 */
/* Giving it back: unsharing, guests that leave or are killed at any step, a crash of our own, and the dry run. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine_scene.h"
#include "base/hostfile.h"
#include "hs_test.h"

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
	uint64_t *sum = ctx;

	ck_assert_uint_eq(done, 0); /* a guest of these is one step */
	*sum += total;
}

START_TEST(test_share_engine_unshare)
{
	static const hs_huge_nr some[] = { 3, 4, 9 };
	struct test_smaps before[NR_GUESTS], now;
	struct hs_share_unshared u;
	uint64_t reported = 0;
	struct hs_ledger l;

	start_guests();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		before[i] = test_guest_smaps(&guests[i]);
	ck_assert_uint_eq(before[0].huge_bytes, NR_HUGE * HS_HUGE_SIZE);
	open_engine();
	share_all();
	hs_share_on_progress(share, on_progress, &reported);
	ck_assert_msg(hs_share_unshare(share, ids[0], some, 3, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(u.nr_huge, 3);
	ck_assert_uint_eq(u.nr_collapsed, 3);
	ck_assert_uint_eq(u.nr_failed, 0);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(now.huge_bytes, (HOT_HUGE + 3) * HS_HUGE_SIZE);
	ck_assert_uint_eq(now.hg_bytes, (HOT_HUGE + 3) * HS_HUGE_SIZE);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		struct hs_bits512 w, s;

		hs_share_state(share, ids[0], h, &w, &s, NULL);
		ck_assert_uint_eq(hs_bits_count(&w), hs_bits_count(&s));
		ck_assert_int_eq(hs_bits_count(&s) != 0, h >= HOT_HUGE && h != 3 && h != 4 && h != 9);
	}
	check_intact();

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(u.nr_huge, i ? NR_HUGE - HOT_HUGE : NR_HUGE - HOT_HUGE - 3);
		ck_assert_uint_eq(u.nr_collapsed, u.nr_huge);
		now = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(now.huge_bytes, before[i].huge_bytes);
		ck_assert_uint_eq(now.hg_bytes, before[i].hg_bytes);
		ck_assert_uint_eq(now.mg_bytes, 0);
		ck_assert_uint_eq(now.nh_bytes, 0);
		ck_assert_uint_eq(now.nr_vmas, before[i].nr_vmas);
	}
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared + l.single + l.frames + l.marked + l.wanted + l.saved_bytes, 0);
	ck_assert_uint_eq(reported, NR_GUESTS * (NR_HUGE - HOT_HUGE) - 3); /* of all of a guest, not of a few */
	close_engine();
	check_knobs();
	check_intact();
}
END_TEST

/* Memory that the guest has given up since the view last looked, before it is marked or after: the rest is undone. */
START_TEST(test_share_engine_unshare_unmapped)
{
	struct hs_share_unshared u;
	struct hs_share_applied a;
	struct hs_ledger l;
	struct test_smaps m;

	start_guests();
	open_engine();
	if (_i) {
		share_all();
		test_guest_unmap(&guests[0], 5);
	} else {
		ck_assert_int_eq(want_all(0), 0);
		test_guest_unmap(&guests[0], 5);
		ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
		/* What became mergeable is known to be. */
		hs_share_ledger(share, ids[0], &l);
		ck_assert_uint_gt(test_guest_smaps(&guests[0]).mg_bytes, 0);
		ck_assert_uint_ge(l.marked * HS_BASE_SIZE, test_guest_smaps(&guests[0]).mg_bytes);
	}
	ck_assert_msg(hs_share_unshare(share, ids[0], NULL, 0, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(u.nr_huge, NR_HUGE - HOT_HUGE);
	m = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(u.nr_collapsed, NR_HUGE - HOT_HUGE - 1);
	ck_assert_uint_eq(m.mg_bytes + m.nh_bytes, 0);
	ck_assert_uint_eq(m.huge_bytes, (NR_HUGE - 1) * HS_HUGE_SIZE);
	check_intact();
	close_engine();
}
END_TEST

/* Our marks in a process are found without an engine, and are gone when it was unshared. */
START_TEST(test_share_engine_owed)
{
	struct hs_share_unshared u;
	uint64_t bytes = 1;

	start_guests();
	ck_assert_int_eq(hs_share_find_marked(&host, guests[0].pid, &bytes, &err), 0);
	ck_assert_uint_eq(bytes, 0);
	open_engine();
	share_all();
	ck_assert_int_eq(hs_share_find_marked(&host, guests[0].pid, &bytes, &err), 0);
	ck_assert_uint_gt(bytes, 0);
	ck_assert_uint_eq(bytes, test_guest_smaps(&guests[0]).mg_bytes);
	ck_assert_int_eq(hs_share_unshare(share, ids[0], NULL, 0, &u, &err), 0);
	ck_assert_int_eq(hs_share_find_marked(&host, guests[0].pid, &bytes, &err), 0);
	ck_assert_uint_eq(bytes, 0);
	ck_assert_int_eq(hs_share_find_marked(&host, 4194303, &bytes, &err), -ESRCH);
	close_engine();
}
END_TEST

START_TEST(test_share_engine_unshare_needs_room)
{
	struct hs_share_unshared u;
	struct test_smaps m;
	struct hs_ledger l;

	cfg.min_free_percent = 100;
	start_guests();
	open_engine();
	share_all();
	m = test_guest_smaps(&guests[0]);
	ck_assert_int_eq(hs_share_unshare(share, ids[0], NULL, 0, &u, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "min_free_percent"));
	ck_assert_uint_eq(u.nr_collapsed + u.nr_failed, 0);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes, m.mg_bytes);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_guest_leaves)
{
	struct hs_ledger l;
	uint32_t id;

	start_guests();
	open_engine();
	share_all();
	hs_share_remove_guest(share, ids[1]);
	ck_assert_int_eq(hs_share_verify(share, ids[1], &err), -EINVAL);
	ck_assert_int_eq(hs_share_want(share, ids[1], 0, &(struct hs_bits512){ 0 }, NULL), -EINVAL);
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	ck_assert_uint_gt(test_guest_smaps(&guests[1]).mg_bytes, 0); /* what is shared stays */
	/* It comes again: its marks are taken over, under the same number, and what is shared is known at once. */
	ck_assert_msg(enter_guest(1, &id, NULL) == 0, "%s", err.text);
	ck_assert_uint_eq(id, ids[1]);
	hs_share_ledger(share, id, &l);
	ck_assert_uint_gt(l.wanted, 0);
	ck_assert_uint_eq(l.shared, l.wanted);
	ck_assert_int_eq(enter_guest(1, &id, NULL), -EEXIST);
	check_intact();
	close_engine();
}
END_TEST

/* Guest 1 is killed before step _i; the other two go on and share. */
START_TEST(test_share_engine_guest_killed)
{
	struct hs_share_unshared u;
	struct hs_share_applied a;
	struct hs_share_burst b;
	struct hs_ledger l;
	int step = 0;

#define STEP()                                                                                                         \
	do {                                                                                                           \
		if (step++ == _i)                                                                                      \
			test_guest_kill(&guests[1]);                                                                   \
	} while (0)
#define EXPECT(i, call)                                                                                                \
	do {                                                                                                           \
		int got = call;                                                                                        \
		ck_assert_msg(got == ((i) == 1 && !guests[1].pid ? -ESRCH : 0), "guest %u, step %d: %d, %s", i, step,  \
			      got, err.text);                                                                          \
	} while (0)

	start_guests();
	open_engine();
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		ck_assert_int_eq(want_all(i), 0);
		EXPECT(i, hs_share_apply(share, ids[i], &a, &err));
	}
	STEP();
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		EXPECT(i, hs_share_verify(share, ids[i], &err));
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		EXPECT(i, hs_share_verify(share, ids[i], &err));
	for (uint32_t i = 0; i < NR_GUESTS; i += 2) {
		hs_share_ledger(share, ids[i], &l);
		ck_assert_uint_ge(l.shared + l.wanted / 100, l.wanted);
	}
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_gt(l.wanted, 0);
	ck_assert_uint_ge(l.shared + l.wanted / 100, l.wanted); /* the dead one counts no more */
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		EXPECT(i, hs_share_unshare(share, ids[i], NULL, 0, &u, &err));
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* Killed in the middle of a burst; the next one gives KSM back, takes the marks over, and can undo all. */
START_TEST(test_share_engine_crash)
{
	struct hs_share_unshared u;
	struct hs_ledger l;
	pid_t child;
	int status;

	start_guests();
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		struct hs_share_burst b;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		cfg.burst_pages = 200; /* so that its end is a second away */
		open_engine();
		apply_all();
		(void)!hs_share_burst(share, &wall, &b, &err);
		_exit(1);
	}
	while (ksm_run() != 1)
		(void)usleep(500);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_uint_eq(ksm_run(), 1);
	ck_assert_int_eq(hs_ksm_recover(&host, &err), 1);
	check_knobs();
	check_intact();

	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		uint64_t wanted = 0;

		for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
			struct hs_bits512 w, pages = wants(&guests[i], h);

			hs_share_state(share, ids[i], h, &w, NULL, NULL);
			ck_assert_mem_eq(&w, &pages, sizeof(w));
			wanted += hs_bits_count(&w);
		}
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, wanted * HS_BASE_SIZE);
	}
	burst_and_verify();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct test_smaps m;

		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		m = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(m.huge_bytes, NR_HUGE * HS_HUGE_SIZE);
		ck_assert_uint_eq(m.hg_bytes, NR_HUGE * HS_HUGE_SIZE);
		ck_assert_uint_eq(m.mg_bytes + m.nh_bytes, 0);
	}
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

START_TEST(test_share_engine_dry_run)
{
	struct test_smaps before[NR_GUESTS];
	struct hs_share_unshared u;
	struct hs_share_burst b;
	char path[PATH_MAX];
	struct hs_ledger l;

	cfg.dry_run = true;
	start_guests();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		before[i] = test_guest_smaps(&guests[i]);
	open_engine();
	apply_all(); /* every range counts as applied */
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_gt(l.marked, 0);
	ck_assert_uint_eq(l.marked, l.wanted);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(b.sharing_before, b.sharing_after);
	check_knobs();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_int_eq(hs_share_verify(share, ids[i], &err), 0);
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, 0); /* the truth */
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct test_smaps now;

		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(u.nr_collapsed, NR_HUGE - HOT_HUGE);
		now = test_guest_smaps(&guests[i]);
		ck_assert_mem_eq(&now, &before[i], sizeof(now));
	}
	close_engine();
	check_knobs();
	check_intact();
	(void)snprintf(path, sizeof(path), "%s/ksm.state", host.state_dir);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_unshare);
	tcase_add_loop_test(t, test_share_engine_unshare_unmapped, 0, 2);
	tcase_add_test(t, test_share_engine_owed);
	tcase_add_test(t, test_share_engine_unshare_needs_room);
	tcase_add_test(t, test_share_engine_guest_leaves);
	tcase_add_loop_test(t, test_share_engine_guest_killed, 0, 5);
	tcase_add_test(t, test_share_engine_crash);
	tcase_add_test(t, test_share_engine_dry_run);
}

int main(void)
{
	return engine_scene_main("share/engine_undo", add);
}
