/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls in a guest that fail half way, or that have no known end, and a state folder that takes nothing more: no mark
 * is left without a record, none is lost, and ending the sharing needs no room in the folder.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine_scene.h"

int __real_hs_remote_madvise(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *e);
int __wrap_hs_remote_madvise(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *e);

enum fault {
	NO_FAULT,
	HALF_MARKED,  /* a call that marks stops half way, for want of memory */
	GIVEN_UP,     /* all calls are made, and the guest is given up: no result is known */
	NOT_REACHED,  /* the guest is frozen: nothing was made */
	HALF_UNMARKED /* a call that takes away stops half way */
};
static enum fault fault;

static bool marks(int advice)
{
	return advice == MADV_MERGEABLE || advice == MADV_NOHUGEPAGE;
}

/* The first half of one range, and then an answer for all of it. */
static int half(struct hs_remote *r, struct hs_remote_op *op, struct hs_error *e)
{
	struct hs_remote_op part = *op;
	int rc;

	part.end = part.start + ((part.end - part.start) / 2 / HS_BASE_SIZE) * HS_BASE_SIZE;
	rc = __real_hs_remote_madvise(r, &part, 1, e);
	op->result = -EAGAIN;
	return rc;
}

int __wrap_hs_remote_madvise(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *e)
{
	const enum fault now = fault;
	int rc = 0;

	if (now == NOT_REACHED)
		return hs_error_set(e, -EBUSY, "frozen");
	if (now == NO_FAULT || now == GIVEN_UP)
		rc = __real_hs_remote_madvise(r, ops, nr, e);
	for (size_t i = 0; i < nr && now == GIVEN_UP; i++)
		ops[i].result = -ECANCELED;
	for (size_t i = 0; i < nr && !rc && (now == HALF_MARKED || now == HALF_UNMARKED); i++) {
		const bool hit = now == HALF_MARKED ? marks(ops[i].advice) : ops[i].advice == MADV_UNMERGEABLE;

		rc = hit ? half(r, &ops[i], e) : __real_hs_remote_madvise(r, &ops[i], 1, e);
	}
	return now == GIVEN_UP && !rc ? hs_error_set(e, -EAGAIN, "given up") : rc;
}

/* All that the kernel says is marked is on record. */
static void check_on_record(void)
{
	uint64_t bytes = 0;
	struct test_smaps m = test_guest_smaps(&guests[0]);

	ck_assert_msg(hs_share_find_marked(&host, guests[0].pid, &bytes, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(bytes, m.mg_bytes ? m.mg_bytes : m.nh_bytes);
}

static void check_undone(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct hs_share_unshared u;
		struct test_smaps m;

		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		m = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(m.mg_bytes + m.nh_bytes + m.ksm_bytes, 0);
		ck_assert_uint_eq(m.hg_bytes, NR_HUGE * HS_HUGE_SIZE);
	}
	check_intact();
}

static const enum fault marking[] = { HALF_MARKED, GIVEN_UP, NOT_REACHED };

/* The first marks fail; what was made of them is on record, and undone by this engine, by the next one, or made whole.
 */
START_TEST(test_share_engine_faults_marking)
{
	const enum fault f = marking[_i / 3];
	struct hs_share_applied a;
	struct test_smaps m;
	struct hs_ledger l;
	int rc;

	start_guests();
	open_engine();
	ck_assert_int_eq(want_all(0), 0);
	fault = f;
	rc = hs_share_apply(share, ids[0], &a, &err);
	fault = NO_FAULT;
	ck_assert_int_eq(rc, f == HALF_MARKED ? 0 : f == GIVEN_UP ? -EAGAIN : -EBUSY);
	m = test_guest_smaps(&guests[0]);
	if (f == NOT_REACHED)
		ck_assert_uint_eq(m.mg_bytes + m.nh_bytes, 0);
	else
		ck_assert_uint_gt(m.nh_bytes, 0);
	hs_share_ledger(share, ids[0], &l);
	ck_assert(f == NOT_REACHED ? l.marked == 0 : l.marked * HS_BASE_SIZE >= m.mg_bytes);
	check_on_record();
	if (_i % 3 == 1) { /* killed then, in effect */
		close_engine();
		open_engine();
	} else if (_i % 3 == 2) {
		share_all();
		m = test_guest_smaps(&guests[0]);
		hs_share_ledger(share, ids[0], &l);
		ck_assert_uint_eq(l.marked * HS_BASE_SIZE, m.mg_bytes);
		ck_assert_uint_eq(l.marked, l.wanted);
		check_on_record();
	}
	check_undone();
	close_engine();
	check_knobs();
}
END_TEST

/* Marks that go half way only: they are on record still. */
START_TEST(test_share_engine_faults_unmarking)
{
	struct hs_share_unshared u;

	start_guests();
	open_engine();
	share_all();
	fault = _i ? GIVEN_UP : HALF_UNMARKED;
	ck_assert_int_ne(hs_share_unshare(share, ids[0], NULL, 0, &u, &err), 0);
	fault = NO_FAULT;
	check_on_record();
	check_undone();
	close_engine();
	check_knobs();
}
END_TEST

/* The state folder is full: nothing new is marked, and what is not wanted any more is unmarked all the same. */
START_TEST(test_share_engine_faults_full_folder)
{
	const struct hs_bits512 none = { 0 };
	struct rlimit limit, full;
	struct hs_share_applied a;
	struct test_smaps before, now;
	char half_written[PATH_MAX];

	start_guests();
	open_engine();
	ck_assert_int_eq(want_all(0), 0);
	ck_assert_int_eq(hs_share_want(share, ids[0], NR_HUGE - 1, &none, NULL), 0);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	before = test_guest_smaps(&guests[0]);
	ck_assert_int_eq(want_all(0), 0); /* the last one, too */
	ck_assert_int_eq(hs_share_want(share, ids[0], HOT_HUGE, &none, NULL), 0);

	ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	full = limit;
	full.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &full), 0);
	ck_assert_int_lt(hs_share_apply(share, ids[0], &a, &err), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);

	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_lt(now.mg_bytes, before.mg_bytes);
	ck_assert_uint_eq(a.pages_marked, 0);
	check_on_record(); /* the old one, which names more */
	(void)snprintf(half_written, sizeof(half_written), "%s/marks-%d.new", host.state_dir, (int)guests[0].pid);
	ck_assert_int_ne(access(half_written, F_OK), 0);
	share_all();
	check_on_record();
	check_undone();
	close_engine();
	check_knobs();
}
END_TEST

/* What is another group's by now, is mergeable and not merged, and cannot be unmarked: no burst until it can. */
START_TEST(test_share_engine_faults_barred)
{
	const struct hs_bits512 some = { { 0xff } };
	struct hs_share_burst b;

	start_guests();
	open_engine();
	apply_all();
	ck_assert_int_eq(hs_share_set_group(share, ids[1], 7), 0);
	ck_assert_int_eq(hs_share_forgo(share, ids[1], HOT_HUGE, &some), 0);
	fault = NOT_REACHED;
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err.text, "across trust groups"));
	ck_assert_uint_eq(ksm_run(), 0);
	fault = NO_FAULT;
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	check_intact();
	close_engine();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_faults_barred);
	tcase_add_loop_test(t, test_share_engine_faults_marking, 0, 9);
	tcase_add_loop_test(t, test_share_engine_faults_unmarking, 0, 2);
	tcase_add_test(t, test_share_engine_faults_full_folder);
}

int main(void)
{
	return engine_scene_main("share/engine_faults", add);
}
