/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zero pages alone, in real guests: they are freed and come back, nothing else of the guest changes, and KSM is not
 * touched.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "engine_scene.h"
#include "hs/zero.h"
#include "share/zero_record.h"

#define COLD     (NR_HUGE - HOT_HUGE) /* huge pages with zeros in them */
#define NR_ZEROS (COLD * (uint32_t)HS_BASE_PER_HUGE / 2)

static struct hs_zero *zero;
static uint32_t id;
static struct test_smaps before;

static bool is_zero(uint32_t page)
{
	return page / HS_BASE_PER_HUGE >= HOT_HUGE && page % 2;
}

static void enter(void)
{
	const struct hs_share_guest as = { .name = "guest", .view = guests[0].view };

	ck_assert_msg(hs_zero_create(&zero, &host, &cfg, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_zero_add_guest(zero, &as, &id, &err) == 0, "%s", err.text);
}

static void start(void)
{
	test_guest_init(&guests[0], NR_HUGE);
	for (uint32_t p = 0; p < guests[0].nr_pages; p++)
		guests[0].content[p] = is_zero(p) ? 0 : p + 1;
	test_guest_start(&guests[0]);
	test_guest_open(&guests[0], &host);
	before = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(before.huge_bytes, NR_HUGE * HS_HUGE_SIZE);
	enter();
}

static struct hs_bits512 zeros(void)
{
	struct hs_bits512 out = { 0 };

	for (unsigned int i = 1; i < HS_BASE_PER_HUGE; i += 2)
		hs_bits_set(&out, i);
	return out;
}

static struct hs_share_applied apply(void)
{
	struct hs_share_applied a;

	ck_assert_msg(hs_zero_apply(zero, id, &a, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_zero_verify(zero, id, &err) == 0, "%s", err.text);
	return a;
}

static void want_zeros(void)
{
	const struct hs_bits512 pages = zeros();

	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++)
		ck_assert_int_eq(hs_zero_want(zero, id, h, &pages), 0);
}

static struct hs_ledger ledger(void)
{
	struct hs_ledger l;

	hs_zero_ledger(zero, id, &l);
	return l;
}

static uint64_t left(void)
{
	uint64_t bytes = 1;

	ck_assert_msg(hs_zero_find_left(&host, guests[0].pid, &bytes, &err) == 0, "%s", err.text);
	return bytes;
}

static void finish(void)
{
	hs_zero_destroy(zero);
	check_intact();
	check_knobs();
	test_guest_close(&guests[0]);
}

START_TEST(test_share_zero_frees_and_undoes)
{
	struct hs_share_unshared u;
	struct test_smaps now;
	struct hs_share_applied a;

	start();
	want_zeros();
	a = apply();
	ck_assert_uint_eq(a.nr_tried, COLD);
	ck_assert_uint_eq(a.nr_applied, COLD);
	ck_assert_uint_eq(a.pages_marked, NR_ZEROS);
	ck_assert_uint_eq(ledger().zero, NR_ZEROS);
	ck_assert_uint_eq(ledger().saved_bytes, NR_ZEROS * HS_BASE_SIZE);
	ck_assert_uint_eq(left(), COLD * HS_HUGE_SIZE);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(before.rss_bytes - now.rss_bytes, NR_ZEROS * HS_BASE_SIZE);
	ck_assert_uint_eq(now.huge_bytes, HOT_HUGE * HS_HUGE_SIZE);
	ck_assert_uint_eq(now.nr_vmas, before.nr_vmas);
	ck_assert_uint_eq(now.mg_bytes + now.nh_bytes, 0);
	ck_assert_uint_eq(test_guest_bad(&guests[0]), 0);
	/* Nothing is left to do. */
	ck_assert_uint_eq(apply().nr_tried, 0);
	/* One huge page by itself, and then all. */
	ck_assert_msg(hs_zero_unshare(zero, id, &(hs_huge_nr){ HOT_HUGE }, 1, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(u.nr_collapsed, 1);
	ck_assert_uint_eq(left(), (COLD - 1) * HS_HUGE_SIZE);
	ck_assert_msg(hs_zero_unshare(zero, id, NULL, 0, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(u.nr_collapsed, COLD - 1);
	ck_assert_uint_eq(left(), 0);
	ck_assert_uint_eq(ledger().zero, 0);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(now.huge_bytes, before.huge_bytes);
	ck_assert_uint_eq(now.rss_bytes, before.rss_bytes);
	finish();
}
END_TEST

/* Pages that are no zeros, whatever was taken them for, keep their frames and their bytes; so do zeros in base pages.
 */
START_TEST(test_share_zero_takes_nothing_else)
{
	const struct hs_bits512 all = hs_bits_full();
	struct hs_shared_huge now;

	start();
	test_guest_write(&guests[0], HOT_HUGE * HS_BASE_PER_HUGE + 1, 77);
	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++)
		ck_assert_int_eq(hs_zero_want(zero, id, h, &all), 0);
	(void)apply();
	ck_assert_uint_eq(ledger().zero, NR_ZEROS - 1);
	hs_zero_state(zero, id, HOT_HUGE, &now);
	ck_assert(!hs_bits_test(&now.shared, 0) && !hs_bits_test(&now.shared, 1) && hs_bits_test(&now.shared, 3));
	ck_assert_uint_eq(test_guest_bad(&guests[0]), 0);
	/* It is zeros again, but its huge page is split: the kernel looks at it no more. */
	test_guest_write(&guests[0], HOT_HUGE * HS_BASE_PER_HUGE + 1, 0);
	ck_assert_uint_eq(apply().nr_tried, 0);
	ck_assert_uint_eq(ledger().zero, NR_ZEROS - 1);
	finish();
}
END_TEST

/* What the guest writes it has again; what it gives back itself is no saving of ours. */
START_TEST(test_share_zero_breaks)
{
	struct hs_shared_huge now;

	start();
	want_zeros();
	(void)apply();
	for (uint32_t k = 0; k < 5; k++)
		test_guest_write(&guests[0], HOT_HUGE * HS_BASE_PER_HUGE + 2 * k + 1, 1000 + k);
	test_guest_drop(&guests[0], HOT_HUGE * HS_BASE_PER_HUGE + 20);
	test_guest_read(&guests[0], HOT_HUGE * HS_BASE_PER_HUGE + 20);
	ck_assert_msg(hs_zero_verify(zero, id, &err) == 0, "%s", err.text);
	hs_zero_state(zero, id, HOT_HUGE, &now);
	ck_assert_uint_eq(now.breaks, 5);
	ck_assert_uint_eq(ledger().broken, 5);
	ck_assert_uint_eq(ledger().zero, NR_ZEROS - 5);
	finish();
}
END_TEST

/* The next one knows what was split, and undoes it; of a process that had the number before, it knows nothing. */
START_TEST(test_share_zero_restart)
{
	struct hs_share_unshared u;
	char path[PATH_MAX];
	uint64_t *addr, bytes;
	size_t nr;
	FILE *f;

	start();
	want_zeros();
	(void)apply();
	hs_zero_destroy(zero);
	enter();
	ck_assert_uint_eq(ledger().zero, NR_ZEROS);
	ck_assert_msg(hs_zero_verify(zero, id, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(ledger().zero, NR_ZEROS);
	ck_assert_uint_eq(apply().nr_tried, 0);
	ck_assert_msg(hs_zero_unshare(zero, id, NULL, 0, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(u.nr_collapsed, COLD);

	ck_assert_int_eq(hs_zero_record_write(&host, guests[0].pid, (uint64_t[]){ guests[0].addr }, 1, &err), 0);
	ck_assert_uint_eq(left(), HS_HUGE_SIZE);
	(void)snprintf(path, sizeof(path), "%s/zeros-%d", host.state_dir, (int)guests[0].pid);
	ck_assert_int_eq(truncate(path, 40), 0);
	ck_assert_int_eq(hs_zero_record_read(&host, guests[0].pid, &addr, &nr, &err), -EBADMSG);
	ck_assert_int_eq(hs_zero_find_left(&host, guests[0].pid, &bytes, &err), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(err.text, path));
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_gt(
	    fprintf(f, "hs-share zeros 1\npid %d started 1 boot another\n200000\nend\n", (int)guests[0].pid), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_uint_eq(left(), 0);
	ck_assert_int_eq(hs_zero_find_left(&host, 4194303, &bytes, &err), -ESRCH);
	finish();
}
END_TEST

/* No memory for it: what is free stays so, and is known still. */
START_TEST(test_share_zero_no_room)
{
	struct hs_share_unshared u;

	cfg.min_free_percent = 100;
	start();
	want_zeros();
	(void)apply();
	ck_assert_int_eq(hs_zero_unshare(zero, id, NULL, 0, &u, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "min_free_percent"));
	ck_assert_uint_eq(u.nr_huge, 0);
	ck_assert_uint_eq(left(), COLD * HS_HUGE_SIZE);
	ck_assert_uint_eq(ledger().zero, NR_ZEROS);
	finish();
}
END_TEST

/* A guest that goes takes its record along. */
START_TEST(test_share_zero_guest_goes)
{
	struct hs_share_applied a;
	char path[PATH_MAX];

	start();
	want_zeros();
	(void)apply();
	(void)snprintf(path, sizeof(path), "%s/zeros-%d", host.state_dir, (int)guests[0].pid);
	ck_assert_int_eq(access(path, F_OK), 0);
	test_guest_kill(&guests[0]);
	ck_assert_int_eq(hs_zero_verify(zero, id, &err), -ESRCH);
	ck_assert_int_eq(hs_zero_apply(zero, id, &a, &err), -ESRCH);
	ck_assert_uint_eq(ledger().zero, 0);
	hs_zero_remove_guest(zero, id);
	ck_assert_int_ne(access(path, F_OK), 0);
	hs_zero_destroy(zero);
}
END_TEST

static void add(TCase *t)
{
	if (hs_zero_supported(&err)) {
		(void)fprintf(stderr, "SKIPPED test_share_zero: %s\n", err.text);
		return;
	}
	tcase_add_test(t, test_share_zero_frees_and_undoes);
	tcase_add_test(t, test_share_zero_takes_nothing_else);
	tcase_add_test(t, test_share_zero_breaks);
	tcase_add_test(t, test_share_zero_restart);
	tcase_add_test(t, test_share_zero_no_room);
	tcase_add_test(t, test_share_zero_guest_goes);
}

int main(void)
{
	return engine_scene_main("share/zero", add);
}
