/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's limits on real guests: VMAs, time, ksmd's CPU, memory that is not ours, configurations. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "share/foreign_claim.h"
#include "engine_scene.h"
#include "base/hostfile.h"
#include "hs_test.h"

START_TEST(test_share_engine_vma_budget)
{
	uint64_t max_map_count;
	struct hs_share_applied a;
	struct test_smaps m;

	cfg.vma_percent = 1;
	start_guests();
	open_engine();
	ck_assert_int_eq(hs_hostfile_u64("/proc", "sys/vm/max_map_count", &max_map_count), 0);
	ck_assert_int_eq(want_all(0), 0); /* every other page, no gap may be filled */
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	m = test_guest_smaps(&guests[0]);
	ck_assert_uint_gt(a.pages_dropped, 0);
	ck_assert_uint_gt(a.pages_marked, 0);
	ck_assert_uint_eq(a.pages_marked * HS_BASE_SIZE, m.mg_bytes);
	ck_assert_uint_eq(a.nr_vmas, m.nr_vmas);
	ck_assert_uint_le(a.nr_vmas, max_map_count / 100);
	ck_assert_uint_ge(a.nr_vmas + 8, max_map_count / 100); /* and it is used */
	/* With gaps to fill nothing is dropped. */
	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++) {
		struct hs_bits512 pages = wants(&guests[0], h), full = hs_bits_full();

		ck_assert_int_eq(hs_share_want(share, ids[0], h, &pages, &full), 0);
	}
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.pages_dropped, 0);
	ck_assert_uint_le(test_guest_smaps(&guests[0]).nr_vmas, max_map_count / 100);
	check_intact();
	close_engine();
}
END_TEST

/* A guest that has more VMAs of its own than it may: nothing is marked, all of it is counted, and it gets no more. */
START_TEST(test_share_engine_vma_budget_used_up)
{
	const size_t nr = 1000;
	struct hs_share_applied a;
	struct hs_ledger l;
	uint64_t before;
	char *own;

	/* The guests, forked, have them, too. */
	own = mmap(NULL, nr * HS_BASE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(own, MAP_FAILED);
	for (size_t i = 0; i < nr; i += 2)
		ck_assert_int_eq(mprotect(own + i * HS_BASE_SIZE, HS_BASE_SIZE, PROT_NONE), 0);
	cfg.vma_percent = 1;
	start_guests();
	ck_assert_int_eq(munmap(own, nr * HS_BASE_SIZE), 0);
	before = test_guest_smaps(&guests[0]).nr_vmas;
	ck_assert_uint_gt(before, nr);
	open_engine();
	ck_assert_int_eq(want_all(0), 0);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(a.pages_marked, 0);
	ck_assert_uint_eq(a.pages_dropped, l.wanted);
	ck_assert_uint_gt(l.wanted, 0);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).nr_vmas, before);
	check_intact();
	close_engine();
}
END_TEST

/*
 * From one plan to another that has hardly a page in common: within the budget at the end of each apply, what the
 * engine books is what the kernel has, and after few of them the plan is carried out as far as the budget goes.
 */
START_TEST(test_share_engine_vma_budget_from_plan_to_plan)
{
	uint64_t max_map_count, best = 0;
	struct hs_share_applied a;

	cfg.vma_percent = 1;
	cfg.max_gap = 0;
	start_guests();
	open_engine();
	ck_assert_int_eq(hs_hostfile_u64("/proc", "sys/vm/max_map_count", &max_map_count), 0);
	for (uint32_t round = 0; round < 12; round++) {
		/* Runs of 2 to 13 pages, as many apart, each time at other places. */
		const uint32_t len = 2 + round, times = 3;

		for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++) {
			struct hs_bits512 pages = { 0 };

			for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
				if ((i + round) / len % 2)
					hs_bits_set(&pages, i);
			ck_assert_int_eq(hs_share_want(share, ids[0], h, &pages, NULL), 0);
		}
		for (uint32_t k = 0; k < times; k++) {
			struct test_smaps m;
			struct hs_ledger l;

			ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
			m = test_guest_smaps(&guests[0]);
			hs_share_ledger(share, ids[0], &l);
			ck_assert_uint_eq(l.marked * HS_BASE_SIZE, m.mg_bytes);
			ck_assert_uint_eq(a.nr_vmas, m.nr_vmas);
			ck_assert_uint_le(m.nr_vmas, max_map_count / 100);
			best = l.marked;
		}
		ck_assert_uint_gt(best, 300);
		ck_assert_uint_eq(a.nr_tried, 0); /* at rest: the same plan changes nothing any more */
	}
	check_intact();
	close_engine();
}
END_TEST

/*
 * Single huge pages given back from the middle of what is marked cost VMAs, too: a guest that has used its budget up
 * does not pass it by that, and is marked anew as far as it goes.
 */
START_TEST(test_share_engine_vma_budget_unshare)
{
	static const hs_huge_nr huge[] = { 5, 7, 9 };
	uint64_t max_map_count, limit;
	struct hs_share_unshared u;
	struct hs_share_applied a;
	struct hs_ledger l;

	cfg.vma_percent = 1;
	cfg.max_gap = 0;
	start_guests();
	open_engine();
	ck_assert_int_eq(hs_hostfile_u64("/proc", "sys/vm/max_map_count", &max_map_count), 0);
	limit = max_map_count / 100;
	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++) {
		struct hs_bits512 pages = hs_bits_full();

		for (unsigned int i = 0; h < HOT_HUGE + 2 && i < HS_BASE_PER_HUGE; i += 2)
			hs_bits_clear(&pages, i);
		ck_assert_int_eq(hs_share_want(share, ids[0], h, &pages, NULL), 0);
	}
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(a.pages_dropped, 0);
	ck_assert_uint_ge(a.nr_vmas + 8, limit);
	ck_assert_msg(hs_share_unshare(share, ids[0], huge, 3, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(u.nr_huge, 3);
	ck_assert_uint_eq(u.nr_collapsed + u.nr_failed + u.nr_base, 3);
	ck_assert_uint_le(test_guest_smaps(&guests[0]).nr_vmas, limit);
	for (int i = 0; i < 3; i++) {
		ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
		ck_assert_uint_le(test_guest_smaps(&guests[0]).nr_vmas, limit);
	}
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.marked * HS_BASE_SIZE, test_guest_smaps(&guests[0]).mg_bytes);
	ck_assert_uint_ge(l.marked, 5 * HS_BASE_PER_HUGE); /* the five between and beside them, for certain */
	for (int i = 0; i < 3; i++) {
		struct hs_bits512 claims;

		hs_share_claims(share, ids[0], huge[i], &claims);
		ck_assert_uint_eq(hs_bits_count(&claims), 0);
	}
	ck_assert_msg(hs_share_unshare(share, ids[0], NULL, 0, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes + test_guest_smaps(&guests[0]).nh_bytes, 0);
	check_intact();
	close_engine();
}
END_TEST

static void dump(uint32_t guest, hs_huge_nr huge, int advice)
{
	struct hs_remote_op ops[3] = { 0 };

	for (uint64_t i = 0; i < 3; i++) {
		ops[i].start = hs_view_hva(guests[guest].view, huge).v + (16 * i + 8) * HS_BASE_SIZE;
		ops[i].end = ops[i].start + HS_BASE_SIZE;
		ops[i].advice = advice;
	}
	ck_assert_msg(hs_remote_madvise(guests[guest].remote, ops, 3, &err) == 0, "%s", err.text);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(ops[i].result, 0);
}

/* The guest's own VMAs become more and fewer by six, again and again: marks are taken away once. */
START_TEST(test_share_engine_vma_budget_of_a_restless_guest)
{
	uint64_t max_map_count, before;
	struct hs_share_applied a;

	cfg.vma_percent = 1;
	start_guests();
	open_engine();
	ck_assert_int_eq(hs_hostfile_u64("/proc", "sys/vm/max_map_count", &max_map_count), 0);
	ck_assert_int_eq(want_all(0), 0);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	before = test_guest_smaps(&guests[0]).mg_bytes;
	for (int i = 0; i < 3; i++) {
		dump(0, 0, MADV_DONTDUMP);
		ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(a.nr_tried == 0, i > 0);
		ck_assert_uint_le(a.nr_vmas, max_map_count / 100);
		ck_assert_uint_lt(test_guest_smaps(&guests[0]).mg_bytes, before);
		dump(0, 0, MADV_DODUMP);
		ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(a.nr_tried, 0);
	}
	check_intact();
	close_engine();
}
END_TEST

/* No room to part what is not wanted any more: that stays shared, and the rest of what is wanted is done. */
START_TEST(test_share_engine_apply_without_room)
{
	const struct hs_bits512 none = { 0 };
	struct hs_bits512 pages, shared;
	struct hs_share_applied a;
	uint64_t mergeable;

	cfg.min_free_percent = 100;
	start_guests();
	open_engine();
	share_all();
	mergeable = test_guest_smaps(&guests[0]).mg_bytes;
	pages = wants(&guests[0], 6);
	for (unsigned int i = 0; i < 40; i += 2) /* each guest's own */
		hs_bits_set(&pages, i);
	ck_assert_int_eq(hs_share_want(share, ids[0], 6, &pages, NULL), 0);
	ck_assert_int_eq(hs_share_want(share, ids[0], 5, &none, NULL), 0);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.pages_marked, 20);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes, mergeable + 20 * HS_BASE_SIZE);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_state(share, ids[0], 5, NULL, &shared, NULL);
	ck_assert_uint_gt(hs_bits_count(&shared), 0);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_deadline)
{
	struct hs_share_burst b;
	struct hs_ledger l;

	cfg.burst_deadline_ms = 1;
	cfg.burst_pages = 100;
	start_guests();
	open_engine();
	apply_all();
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert(!b.settled);
	ck_assert_uint_eq(ksm_run(), 0);
	close_engine();
	check_knobs();
	/* Another engine goes on with what this one has left. */
	cfg = hs_share_config_default;
	cfg.foreign = HS_FOREIGN_ALLOW;
	open_engine();
	burst_and_verify();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_gt(l.wanted, 0);
	ck_assert_uint_eq(l.shared, l.wanted);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_cancelled)
{
	struct hs_share_burst b;

	start_guests();
	open_engine();
	apply_all();
	sleeps_left = 2;
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -ECANCELED);
	ck_assert(!b.settled);
	ck_assert_uint_eq(ksm_run(), 0);
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* Between two pieces ksmd stands still: nobody sees then what else becomes mergeable. */
START_TEST(test_share_engine_in_pieces)
{
	struct hs_share_applied applied;
	struct hs_share_burst b;
	struct hs_ledger l;

	cfg.burst_pages = 500;
	start_guests();
	open_engine();
	apply_all();
	for (int i = 0; i < 2; i++) {
		ck_assert_msg(hs_share_burst_for(share, &wall, 1000, &b, &err) == 0, "%s", err.text);
		ck_assert(b.running && !b.settled);
		ck_assert_uint_eq(ksm_run(), 0);
	}
	ck_assert_int_eq(hs_share_apply(share, ids[0], &applied, &err), 0);
	ck_assert_uint_eq(ksm_run(), 0);
	ck_assert_int_eq(hs_share_burst_stop(share, &b, &err), 0);
	ck_assert(!b.settled && !b.pages_scanned);
	ck_assert_int_eq(hs_share_burst_for(share, &wall, 0, &b, &err), 0);
	ck_assert(b.running);
	ck_assert_int_eq(hs_share_burst_stop(share, &b, &err), 0);
	ck_assert(!b.running && !b.settled && !b.whole);
	ck_assert_uint_eq(ksm_run(), 0);
	do
		ck_assert_msg(hs_share_burst_for(share, &wall, 50000, &b, &err) == 0, "%s", err.text);
	while (b.running);
	ck_assert(b.settled);
	ck_assert_uint_gt(b.pages_scanned, 0);
	ck_assert_uint_eq(ksm_run(), 0);
	burst_and_verify();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_gt(l.wanted, 0);
	ck_assert_uint_eq(l.shared, l.wanted);
	/* Nothing is left to merge: ksmd is not started for it. */
	ck_assert_int_eq(hs_share_burst_for(share, &wall, 50000, &b, &err), 0);
	ck_assert(b.settled && b.whole && !b.running && !b.pages_scanned);
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* The engine ends while a burst is under way. */
START_TEST(test_share_engine_ends_between_pieces)
{
	struct hs_share_burst b;

	cfg.burst_pages = 500;
	start_guests();
	open_engine();
	apply_all();
	ck_assert_msg(hs_share_burst_for(share, &wall, 1000, &b, &err) == 0, "%s", err.text);
	ck_assert(b.running);
	if (_i == 0) {
		hs_share_remove_guest(share, ids[0]);
		ck_assert_uint_eq(ksm_run(), 0);
	}
	close_engine();
	check_knobs();
	check_intact();
}
END_TEST

/* ksmd's share of a core, coarsely: within twice the cap. */
START_TEST(test_share_engine_cpu_cap)
{
	struct hs_share_burst b;
	struct hs_ledger l;

	cfg.cpu_percent = 10;
	start_guests();
	open_engine();
	apply_all();
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert(b.settled);
	ck_assert_uint_gt(b.ksmd_cpu_us, 0);
	ck_assert_msg(b.ksmd_cpu_us <= 2 * b.elapsed_ms * 1000 * cfg.cpu_percent / 100, "%lu us of CPU in %lu ms",
		      b.ksmd_cpu_us, b.elapsed_ms);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_int_eq(hs_share_verify(share, ids[i], &err), 0);
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_ge(l.shared + l.wanted / 100, l.wanted);
	close_engine();
}
END_TEST

START_TEST(test_share_engine_foreign_refused)
{
	struct test_guest other;
	struct hs_share_burst b;

	cfg.foreign = HS_FOREIGN_REFUSE;
	start_guests();
	test_guest_init(&other, 4);
	for (uint32_t p = 0; p < other.nr_pages; p++)
		other.content[p] = 9000000 + p;
	other.mergeable = true;
	test_guest_start(&other);
	open_engine();
	apply_all();
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "not ours"));
	check_knobs(); /* nothing was run */
	close_engine();
	test_guest_kill(&other);
}
END_TEST

/* Claimed: ksmd never sees it, and it is mergeable again when the engine has gone, or by the next engine after a crash.
 */
START_TEST(test_share_engine_foreign_claimed)
{
	struct test_guest other;
	struct test_smaps before;

	cfg.foreign = HS_FOREIGN_CLAIM;
	start_guests();
	test_guest_init(&other, 4);
	/* What the guests share: ksmd would merge it if it could. */
	memcpy(other.content, guests[0].content, other.nr_pages * sizeof(other.content[0]));
	other.mergeable = true;
	test_guest_start(&other);
	before = test_guest_smaps(&other);
	ck_assert_uint_gt(before.mg_bytes, 0);
	open_engine();
	share_all();
	ck_assert_uint_eq(test_guest_smaps(&other).mg_bytes, 0);
	ck_assert_uint_eq(test_guest_smaps(&other).huge_bytes, before.huge_bytes);
	if (_i) {
		/* As after SIGKILL: nothing of the engine's end has run. Its lock is this process's own. */
		const pid_t child = fork();

		ck_assert_int_ge(child, 0);
		if (!child)
			_exit(hs_foreign_claim_give_back(&host) == 1 ? 0 : 1);
		ck_assert_int_eq(waitpid(child, &(int){ 0 }, 0), child);
	}
	close_engine();
	ck_assert_uint_eq(test_guest_smaps(&other).mg_bytes, before.mg_bytes);
	ck_assert_uint_eq(test_guest_bad(&other), 0);
	check_intact();
	check_knobs();
	test_guest_kill(&other);
}
END_TEST

/* Guests that their VMM had made mergeable, as QEMU does: only what is wanted is merged, and they get their mark back.
 */
START_TEST(test_share_engine_claims_its_own_guests)
{
	struct hs_share_unshared un;
	uint64_t before[NR_GUESTS];

	cfg.foreign = HS_FOREIGN_CLAIM;
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		/* Identical in all guests, and hot: not wanted. */
		for (uint32_t p = 0; p < HOT_HUGE * HS_BASE_PER_HUGE; p++)
			guests[i].content[p] = 8000000 + p;
		guests[i].mergeable = true;
		test_guest_start(&guests[i]);
		before[i] = test_guest_smaps(&guests[i]).mg_bytes;
		ck_assert_uint_ge(before[i], NR_HUGE * HS_HUGE_SIZE);
	}
	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, 0);
	share_all();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).huge_bytes, HOT_HUGE * HS_HUGE_SIZE);
		ck_assert_int_eq(hs_share_unshare(share, ids[i], NULL, 0, &un, &err), 0);
	}
	close_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, before[i]);
	check_intact();
	check_knobs();
}
END_TEST

/* Killed between the record and the call; a record of another process that had the number before; a torn record. */
START_TEST(test_share_engine_claim_records)
{
	struct test_guest other;
	struct test_smaps before;
	struct hs_foreign_claim c;
	char path[PATH_MAX];
	FILE *f;

	test_guest_init(&other, 4);
	for (uint32_t p = 0; p < other.nr_pages; p++)
		other.content[p] = 9000000 + p;
	other.mergeable = true;
	test_guest_start(&other);
	before = test_guest_smaps(&other);
	ck_assert_int_eq(hs_foreign_claim_find(&host, other.pid, &c, &err), 0);
	ck_assert_uint_gt(c.nr, 0);
	(void)snprintf(path, sizeof(path), "%s/claim-%d", host.state_dir, (int)other.pid);

	ck_assert_msg(hs_foreign_claim_record(&host, &c, &err) == 0, "%s", err.text);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_uint_eq(hs_foreign_claim_give_back(&host), 1);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_uint_eq(test_guest_smaps(&other).mg_bytes, before.mg_bytes);

	/* Taken; a record that is not believed gives nothing back, and goes. */
	ck_assert_msg(hs_foreign_claim_record(&host, &c, &err) == 0 &&
			  hs_foreign_claim_take(&host, &c, NULL, &err) == 0,
		      "%s", err.text);
	ck_assert_uint_eq(test_guest_smaps(&other).mg_bytes, 0);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	if (_i)
		(void)fprintf(f, "hs-share claim 1\npid %d started 1\n%lx %lx\nend\n", (int)other.pid,
			      c.ranges[0].start, c.ranges[0].end);
	else
		(void)fprintf(f, "hs-share claim 1\npid %d st", (int)other.pid);
	(void)fclose(f);
	ck_assert_uint_eq(hs_foreign_claim_give_back(&host), 0);
	ck_assert_uint_eq(test_guest_smaps(&other).mg_bytes, 0);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_uint_eq(test_guest_bad(&other), 0);
	hs_foreign_claim_finish(&c);
	test_guest_kill(&other);
}
END_TEST

static const struct {
	const char *word;
	struct hs_share_config cfg;
} bad_configs[] = {
	{ "vma_percent", { .vma_percent = 0, .burst_pages = 1, .burst_deadline_ms = 1 } },
	{ "vma_percent", { .vma_percent = 101, .burst_pages = 1, .burst_deadline_ms = 1 } },
	{ "burst_pages", { .vma_percent = 1, .burst_pages = 0, .burst_deadline_ms = 1 } },
	{ "burst_deadline_ms", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 0 } },
	{ "cpu_percent", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .cpu_percent = 101 } },
	{ "min_free_percent", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .min_free_percent = 101 } },
	{ "max_page_sharing", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .max_page_sharing = 1 } },
	{ "foreign", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .foreign = 3 } },
};

START_TEST(test_share_engine_config)
{
	ck_assert_int_eq(hs_share_create(&share, &host, &bad_configs[_i].cfg, &err), -EINVAL);
	ck_assert_ptr_null(share);
	ck_assert_ptr_nonnull(strstr(err.text, bad_configs[_i].word));
	hs_share_destroy(NULL);
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_vma_budget);
	tcase_add_test(t, test_share_engine_vma_budget_used_up);
	tcase_add_test(t, test_share_engine_vma_budget_from_plan_to_plan);
	tcase_add_test(t, test_share_engine_vma_budget_unshare);
	tcase_add_test(t, test_share_engine_vma_budget_of_a_restless_guest);
	tcase_add_test(t, test_share_engine_apply_without_room);
	tcase_add_test(t, test_share_engine_deadline);
	tcase_add_test(t, test_share_engine_cancelled);
	tcase_add_test(t, test_share_engine_in_pieces);
	tcase_add_loop_test(t, test_share_engine_ends_between_pieces, 0, 2);
	tcase_add_test(t, test_share_engine_cpu_cap);
	tcase_add_test(t, test_share_engine_foreign_refused);
	tcase_add_loop_test(t, test_share_engine_foreign_claimed, 0, 2);
	tcase_add_test(t, test_share_engine_claims_its_own_guests);
	tcase_add_loop_test(t, test_share_engine_claim_records, 0, 2);
	tcase_add_loop_test(t, test_share_engine_config, 0, (int)(sizeof(bad_configs) / sizeof(bad_configs[0])));
}

int main(void)
{
	return engine_scene_main("share/engine_limits", add);
}
