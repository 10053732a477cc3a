/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes shared on real guests: exactly what is wanted, and what writes, zero pages and old marks do to it. */
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
#include "share/engine_internal.h"

START_TEST(test_share_engine_exactly_what_is_wanted)
{
	struct hs_ledger all, one, sum = { 0 };
	uint64_t wanted = 0, contents = 0;

	start_guests();
	open_engine();
	share_all();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct test_smaps m = test_guest_smaps(&guests[i]);

		for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
			struct hs_bits512 pages = wants(&guests[i], h), w, s;
			struct hs_frame frames[HS_BASE_PER_HUGE];
			uint32_t breaks;

			hs_share_state(share, ids[i], h, &w, &s, &breaks);
			ck_assert_mem_eq(&w, &pages, sizeof(w));
			ck_assert_mem_eq(&s, &pages, sizeof(s));
			ck_assert_uint_eq(breaks, 0);
			ck_assert_int_eq(hs_view_frames(guests[i].view, h, frames, &err), 0);
			for (unsigned int p = 0; p < HS_BASE_PER_HUGE; p++)
				ck_assert_int_eq((frames[p].flags & HS_FRAME_KSM) != 0, hs_bits_test(&pages, p));
			wanted += hs_bits_count(&pages);
		}
		ck_assert_uint_eq(m.huge_bytes, HOT_HUGE * HS_HUGE_SIZE); /* the hot ones are whole */
		ck_assert_uint_eq(m.nh_bytes, (NR_HUGE - HOT_HUGE) * HS_HUGE_SIZE);
		hs_share_ledger(share, ids[i], &one);
		ck_assert_uint_eq(one.marked * HS_BASE_SIZE, m.mg_bytes);
		sum.frames += one.frames;
		sum.shared += one.shared;
		sum.saved_bytes += one.saved_bytes;
		sum.metadata_bytes += one.metadata_bytes;
	}
	for (uint32_t c = 1; c <= (NR_HUGE - HOT_HUGE) * HS_BASE_PER_HUGE / 2; c++)
		contents += c % 16 != 0;
	hs_share_ledger(share, UINT32_MAX, &all);
	ck_assert_uint_eq(all.wanted, wanted);
	ck_assert_uint_eq(all.marked, wanted);
	ck_assert_uint_eq(all.shared, wanted);
	ck_assert_uint_eq(all.frames, contents);
	ck_assert_uint_eq(all.single, 0);
	ck_assert_uint_eq(all.zero, 0);
	ck_assert_uint_eq(all.broken, 0);
	ck_assert_uint_eq(all.saved_bytes, (wanted - contents) * HS_BASE_SIZE);
	ck_assert_uint_gt(all.metadata_bytes, wanted * 64);
	ck_assert_int_eq(all.net_saved_bytes, (int64_t)all.saved_bytes - (int64_t)all.metadata_bytes);
	ck_assert_uint_eq(sum.frames, all.frames);
	ck_assert_uint_eq(sum.shared, all.shared);
	ck_assert_uint_eq(sum.saved_bytes, all.saved_bytes);
	ck_assert_uint_eq(sum.metadata_bytes, all.metadata_bytes);
	ck_assert_uint_eq(ksm_run(), 0);
	check_intact();
	close_engine();
	check_knobs();
	check_intact();
}
END_TEST

START_TEST(test_share_engine_writes_break)
{
	struct hs_ledger l;
	uint32_t written[5], nr = 0, breaks, total = 0;
	struct hs_bits512 s;

	start_guests();
	open_engine();
	share_all();
	for (uint32_t p = HOT_HUGE * HS_BASE_PER_HUGE; nr < 5; p += 301)
		if (is_wanted(&guests[0], p))
			written[nr++] = p;
	for (uint32_t i = 0; i < nr; i++)
		test_guest_write(&guests[0], written[i], 5000000 + i);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		hs_share_state(share, ids[0], h, NULL, &s, &breaks);
		total += breaks;
		for (uint32_t i = 0; i < nr; i++)
			if (written[i] / HS_BASE_PER_HUGE == h)
				ck_assert(!hs_bits_test(&s, written[i] % HS_BASE_PER_HUGE));
	}
	ck_assert_uint_eq(total, nr);
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.broken, nr);
	ck_assert_uint_eq(l.shared, l.wanted - nr);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0); /* counted once */
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.broken, nr);
	/* The copies in the other guests share with one another still, and lose nothing by it. */
	ck_assert_int_eq(hs_share_verify(share, ids[1], &err), 0);
	hs_share_ledger(share, ids[1], &l);
	ck_assert_uint_eq(l.broken, 0);
	ck_assert_uint_eq(l.shared, l.wanted);
	burst_and_verify(); /* what was written is unique now */
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.shared, l.wanted - nr);
	check_intact();
	close_engine();
}
END_TEST

static int nr_paces, pace_answer;

static int count_pace(void *ctx)
{
	ck_assert_ptr_eq(ctx, &nr_paces);
	nr_paces++;
	return pace_answer;
}

/* Of what is shared already a verify reads a part, in turn, and all of it is read in the end; it is paced, and what
 * ends it half way leaves what is known as it was. */
START_TEST(test_share_engine_verify_in_turn)
{
	struct hs_ledger before, now;
	const uint32_t nr_cold = NR_HUGE - HOT_HUGE;
	uint64_t last = 0;

	start_guests();
	open_engine();
	share_all();
	hs_share_ledger(share, ids[0], &before);
	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++) {
		struct hs_bits512 shared;

		hs_share_state(share, ids[0], h, NULL, &shared, NULL);
		test_guest_write(&guests[0], h * HS_BASE_PER_HUGE + hs_bits_next(&shared, 0), 2000000);
	}
	pace_answer = -ECANCELED;
	hs_share_on_pace(share, count_pace, &nr_paces);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), -ECANCELED);
	ck_assert_int_eq(nr_paces, 1);
	hs_share_ledger(share, ids[0], &now);
	ck_assert_uint_eq(now.shared, before.shared);
	ck_assert_uint_eq(now.broken, before.broken);
	pace_answer = 0;
	share->verify_turn = 2;
	for (uint32_t i = 0; i < nr_cold / 2; i++) {
		ck_assert_msg(hs_share_verify(share, ids[0], &err) == 0, "%s", err.text);
		hs_share_ledger(share, ids[0], &now);
		/* What was not merged by then is read in any case. */
		if (before.shared + before.zero == before.wanted)
			ck_assert_uint_eq(now.broken, before.broken + 2 * (i + 1));
		ck_assert_uint_ge(now.broken, before.broken + 2 * (i + 1));
		ck_assert_uint_eq(now.shared + now.broken, before.shared + before.broken);
		last = now.frames;
	}
	/* What was broken and is wanted still is read each time, and nothing is booked twice. */
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &now);
	ck_assert_uint_eq(now.broken, before.broken + nr_cold);
	ck_assert_uint_le(last, before.frames);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_single)
{
	struct hs_ledger l;
	uint32_t page = HOT_HUGE * HS_BASE_PER_HUGE + 1, content;

	start_guests();
	open_engine();
	share_all();
	while (!is_wanted(&guests[0], page))
		page++;
	content = guests[0].content[page];
	test_guest_write(&guests[0], page, 5000000);
	for (uint32_t p = 0; p < guests[1].nr_pages; p++)
		if (guests[1].content[p] == content)
			test_guest_write(&guests[1], p, 5000001);
	/* The third guest's copy is a KSM page with one mapping: it saves nothing, and was not broken by its guest. */
	ck_assert_int_eq(hs_share_verify(share, ids[2], &err), 0);
	hs_share_ledger(share, ids[2], &l);
	ck_assert_uint_eq(l.single, 1);
	ck_assert_uint_eq(l.shared, l.wanted - 1);
	ck_assert_uint_eq(l.broken, 0);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_zero_pages)
{
	struct hs_ledger l;
	uint64_t zeros = 0;

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		for (uint32_t p = 3 * HS_BASE_PER_HUGE; p < 5 * HS_BASE_PER_HUGE; p += 3)
			guests[i].content[p] = 0;
		test_guest_start(&guests[i]);
	}
	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct hs_share_applied a;

		for (hs_huge_nr h = 3; h < 5; h++) {
			struct hs_bits512 pages = { 0 };

			for (unsigned int p = 0; p < HS_BASE_PER_HUGE; p++)
				if (!guests[i].content[h * HS_BASE_PER_HUGE + p])
					hs_bits_set(&pages, p);
			zeros += hs_bits_count(&pages);
			ck_assert_int_eq(hs_share_want(share, ids[i], h, &pages, NULL), 0);
		}
		ck_assert_msg(hs_share_apply(share, ids[i], &a, &err) == 0, "%s", err.text);
	}
	burst_and_verify();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.zero + l.shared, zeros);
	ck_assert_uint_eq(l.zero, zeros);
	ck_assert_uint_eq(l.saved_bytes, zeros * HS_BASE_SIZE);
	check_intact();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct hs_share_unshared u;

		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(u.nr_collapsed, 2);
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).huge_bytes, NR_HUGE * HS_HUGE_SIZE);
	}
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.zero, 0);
	check_intact();
	close_engine();
}
END_TEST

/* Not wanted any more: the marks go at the next apply, the advice of before comes back, the rest stays shared. */
START_TEST(test_share_engine_want_less)
{
	const struct hs_bits512 none = { 0 };
	struct hs_share_applied a;
	struct test_smaps m;
	struct hs_ledger l;
	uint64_t marked;

	start_guests();
	open_engine();
	share_all();
	hs_share_ledger(share, ids[0], &l);
	marked = l.marked;
	for (hs_huge_nr h = HOT_HUGE; h < HOT_HUGE + 2; h++) {
		struct hs_bits512 w;

		hs_share_state(share, ids[0], h, &w, NULL, NULL);
		marked -= hs_bits_count(&w);
		ck_assert_int_eq(hs_share_want(share, ids[0], h, &none, NULL), 0);
	}
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.pages_marked, 0);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &l);
	m = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(l.marked, marked);
	ck_assert_uint_eq(l.shared, marked);
	ck_assert_uint_eq(l.broken, 0);
	ck_assert_uint_eq(m.mg_bytes, marked * HS_BASE_SIZE);
	ck_assert_uint_eq(m.nh_bytes, (NR_HUGE - HOT_HUGE - 2) * HS_HUGE_SIZE);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.nr_tried, 0); /* nothing differs */
	check_intact();
	close_engine();
}
END_TEST

/* Like QEMU's: mergeable as a whole. That is ended first, and only what is wanted becomes mergeable. */
START_TEST(test_share_engine_guest_was_mergeable)
{
	struct hs_ledger l;

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		guests[i].mergeable = true;
		test_guest_start(&guests[i]);
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, NR_HUGE * HS_HUGE_SIZE);
	}
	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, 0);
	share_all();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).huge_bytes, HOT_HUGE * HS_HUGE_SIZE);
	check_intact();
	close_engine();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_exactly_what_is_wanted);
	tcase_add_test(t, test_share_engine_writes_break);
	tcase_add_test(t, test_share_engine_verify_in_turn);
	tcase_add_test(t, test_share_engine_single);
	tcase_add_test(t, test_share_engine_zero_pages);
	tcase_add_test(t, test_share_engine_want_less);
	tcase_add_test(t, test_share_engine_guest_was_mergeable);
}

int main(void)
{
	return engine_scene_main("share/engine_share", add);
}
