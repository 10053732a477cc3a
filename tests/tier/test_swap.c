/* SPDX-License-Identifier: Apache-2.0 */
/* Swap as a tier, on real process guests: what goes, what stays, what comes back, and every byte of it. */
#include "tier_scene.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR_HUGE   6
#define SWAP_KIB  (64 * 1024) /* more than all of the guest */
#define BLOAT_HOT 16

static struct hs_tier *tier;
static struct hs_tier_guest *tg;

static struct hs_guest_params skewed(void)
{
	struct hs_guest_params p = hs_guest_params_default;

	p.nr_huge = NR_HUGE;
	p.hot_percent = 33;
	p.bloat_percent = 33;
	p.bloat_hot = BLOAT_HOT;
	p.threads = 1;
	p.rate = 2000000;
	p.cold_zero_percent = 0;
	return p;
}

static void open_tier(const struct hs_tier_config *cfg)
{
	ck_assert_msg(hs_tier_create(&tier, &host, cfg, &real_time, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_tier_open_guest(&tg, tier, view, &err) == 0, "%s", err.text);
}

static struct hs_tier_config no_budget(void)
{
	struct hs_tier_config cfg = HS_TIER_CONFIG_DEFAULT;

	cfg.pages_per_s = 0;
	return cfg;
}

static void start(uint64_t swap_kib, const struct hs_tier_config *cfg)
{
	const struct hs_guest_params p = skewed();

	start_guest(&p);
	swap_on(swap_kib);
	open_tier(cfg);
}

static void finish(void)
{
	hs_tier_close_guest(tg);
	hs_tier_destroy(tier);
	stop_guest();
	swap_off();
}

/* The base pages of one huge page that the guest never accesses. */
static struct hs_bits512 cold_of(uint32_t huge)
{
	const struct hs_guest_layout *l = hs_guest_layout(guest);
	struct hs_bits512 cold = { { 0 } };

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (!l->pages[huge * HS_BASE_PER_HUGE + i].hot)
			hs_bits_set(&cold, i);
	return cold;
}

static struct hs_bits512 demoted_of(hs_huge_nr h)
{
	struct hs_bits512 now;

	ck_assert_msg(hs_tier_where(tg, h, &now, &err) == 0, "%s", err.text);
	return now;
}

/* All of `want` goes; what a processor has just put into a list of its own, the kernel takes a moment later. */
static void demote_all(hs_huge_nr h, const struct hs_bits512 *want)
{
	struct hs_bits512 left = *want;
	uint64_t deadline = 0;

	while (hs_bits_any(&left)) {
		struct hs_tier_moved m;

		ck_assert_msg(before(&deadline, 30), "huge page %u: %u base pages do not go", h, hs_bits_count(&left));
		ck_assert_msg(hs_tier_demote(tg, h, &left, &m, &err) == 0, "%s", err.text);
		ck_assert(hs_bits_subset(&m.moved, &left));
		left = hs_bits_andnot(left, m.moved);
		ck_assert_uint_eq(m.not_moved[HS_TIER_KEPT], hs_bits_count(&left));
	}
}

static uint64_t demote_cold(void)
{
	uint64_t nr = 0;

	for (uint32_t h = 0; h < NR_HUGE; h++) {
		const struct hs_bits512 cold = cold_of(h);

		demote_all(view_huge(h), &cold);
		nr += hs_bits_count(&cold);
	}
	return nr;
}

static void check_hot_present(void)
{
	const struct hs_guest_layout *l = hs_guest_layout(guest);

	for (uint32_t h = 0; h < NR_HUGE; h++) {
		const struct hs_bits512 cold = cold_of(h), hot = hs_bits_andnot(hs_bits_full(), cold);
		const hs_huge_nr v = view_huge(h);
		const struct hs_bits512 gone = demoted_of(v);
		struct hs_huge_sample s;
		struct hs_base_sample b;

		ck_assert_int_eq(hs_view_sample_huge(view, v, 1, &s, &err), 0);
		ck_assert_int_eq(hs_view_sample_base(view, &v, 1, &b, &err), 0);
		ck_assert(hs_bits_equal(&gone, &cold));
		ck_assert(hs_bits_equal(&b.swapped, &cold));
		ck_assert(hs_bits_equal(&b.present, &hot));
		ck_assert(hs_bits_none(&b.empty));
		ck_assert_uint_eq(s.nr_swapped, hs_bits_count(&cold));
		if (l->classes[h] == HS_GUEST_HOT)
			ck_assert_int_eq(s.state, HS_MAP_HUGE);
	}
}

/* Cold base pages go, also from among hot ones; these stay, evenly hot huge pages stay whole, and nothing is lost. */
START_TEST(test_tier_swap_skewed)
{
	const struct hs_tier_config cfg = no_budget();
	struct hs_guest_memory before_it, after;
	struct hs_guest_stats stats;
	uint64_t nr;

	start(SWAP_KIB, &cfg);
	ck_assert_int_eq(hs_guest_memory(hs_guest_pid(guest), &before_it, &err), 0);
	nr = demote_cold();
	ck_assert_uint_gt(nr, NR_HUGE / 3 * HS_BASE_PER_HUGE);
	check_hot_present();
	ck_assert_int_eq(hs_guest_memory(hs_guest_pid(guest), &after, &err), 0);
	ck_assert_uint_ge(before_it.rss_bytes - after.rss_bytes, nr * HS_BASE_SIZE - MIB);
	ck_assert_uint_ge(swap_used(), nr * HS_BASE_SIZE);
	ck_assert_int_eq(hs_guest_stats(guest, &stats, &err), 0);
	ck_assert_uint_gt(stats.accesses, 0);
	check_bytes(); /* touches all: everything comes back by faults of the guest's own */
	ck_assert_int_eq(hs_guest_stats(guest, &stats, &err), 0);
	ck_assert_uint_eq(stats.hot_errors, 0);
	for (hs_huge_nr h = 0; h < view->nr_huge; h++) {
		const struct hs_bits512 gone = demoted_of(h);

		ck_assert(hs_bits_none(&gone));
	}
	finish();
}
END_TEST

/* Back in steps, and huge again; a restore brings nothing in that was demoted. */
START_TEST(test_tier_swap_promote)
{
	const struct hs_tier_config cfg = no_budget();
	const struct hs_bits512 all = hs_bits_full();
	struct hs_tier_moved m;
	uint64_t nr, back = 0;
	int result;

	start(SWAP_KIB, &cfg);
	nr = demote_cold();
	for (uint32_t h = 0; h < NR_HUGE; h++) {
		const hs_huge_nr v = view_huge(h);
		const struct hs_bits512 cold = cold_of(h);

		if (hs_bits_none(&cold))
			continue;
		ck_assert_int_eq(hs_view_restore(view, &v, 1, &result, &err), 0);
		ck_assert_int_eq(result, -EXDEV);
		ck_assert_msg(hs_tier_promote(tg, v, &all, &m, &err) == 0, "%s", err.text);
		ck_assert(hs_bits_equal(&m.moved, &cold));
		ck_assert_uint_eq(m.not_moved[HS_TIER_THERE], HS_BASE_PER_HUGE - hs_bits_count(&cold));
		back += hs_bits_count(&m.moved);
		ck_assert_int_eq(hs_view_restore(view, &v, 1, &result, &err), 0);
		ck_assert_int_eq(result, 0);
	}
	ck_assert_uint_eq(back, nr);
	ck_assert_uint_eq(hs_test_smaps_kb(hs_guest_pid(guest), "Swap"), 0);
	check_bytes();
	/* Nothing more to do. */
	ck_assert_int_eq(hs_tier_promote(tg, view_huge(0), &all, &m, &err), 0);
	ck_assert(hs_bits_none(&m.moved));
	ck_assert_uint_eq(m.not_moved[HS_TIER_THERE], HS_BASE_PER_HUGE);
	finish();
}
END_TEST

/* No memory for it: it stays where it is, and nothing is tried. */
START_TEST(test_tier_swap_promote_without_room)
{
	const struct hs_bits512 all = hs_bits_full();
	struct hs_tier_config cfg = no_budget();
	struct hs_tier_moved m;
	struct hs_bits512 now;
	hs_huge_nr h;

	start(SWAP_KIB, &cfg);
	h = view_huge(hs_guest_layout(guest)->cold[0]);
	demote_all(h, &all);
	hs_tier_close_guest(tg);
	hs_tier_destroy(tier);
	cfg.min_free_percent = 100;
	open_tier(&cfg);
	ck_assert_int_eq(hs_tier_promote(tg, h, &all, &m, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "the host"));
	ck_assert_int_eq(hs_tier_demote(tg, view_huge(hs_guest_layout(guest)->cold[1]), &all, &m, &err), -ENOSPC);
	now = demoted_of(h);
	ck_assert_uint_eq(hs_bits_count(&now), HS_BASE_PER_HUGE);
	check_bytes();
	finish();
}
END_TEST

/* A step is made to fit; a full tier is said. */
START_TEST(test_tier_swap_room)
{
	struct hs_tier_config cfg = no_budget();
	const struct hs_bits512 all = hs_bits_full();
	const uint64_t nr = 255; /* 1 MiB, less the page with the head */
	uint64_t there =
	    0; /* at least: the kernel may put a page of another process there, and no room is none for us */
	struct hs_tier_moved m;
	struct hs_tier_room r;
	hs_huge_nr h;

	cfg.min_free_percent = 0;
	start(1024, &cfg);
	ck_assert_int_eq(hs_tier_room(tier, tg, &r, &err), 0);
	ck_assert_uint_le(r.bytes, nr * HS_BASE_SIZE);
	ck_assert_uint_gt(r.bytes, nr * HS_BASE_SIZE / 2);
	ck_assert_ptr_nonnull(strstr(r.medium, "(zram)"));
	h = view_huge(hs_guest_layout(guest)->cold[0]);
	ck_assert_msg(hs_tier_demote(tg, h, &all, &m, &err) == 0, "%s", err.text);
	ck_assert_uint_ge(m.not_moved[HS_TIER_NO_ROOM], HS_BASE_PER_HUGE - nr);
	ck_assert_uint_eq(hs_bits_count(&m.moved) + m.not_moved[HS_TIER_KEPT] + m.not_moved[HS_TIER_NO_ROOM],
			  HS_BASE_PER_HUGE);
	there = hs_bits_count(&m.moved);
	for (uint64_t deadline = 0; hs_tier_demote(tg, h, &all, &m, &err) != -ENOSPC;) {
		ck_assert(before(&deadline, 30));
		there += hs_bits_count(&m.moved);
	}
	ck_assert_uint_le(there, nr);
	ck_assert_uint_gt(there, nr / 2);
	ck_assert_uint_eq(hs_test_smaps_kb(hs_guest_pid(guest), "Swap"), there * 4);
	ck_assert_ptr_nonnull(strstr(err.text, "swap"));
	check_bytes();
	finish();
}
END_TEST

static uint64_t test_now = 1000000;

static uint64_t test_now_us(void *ctx)
{
	(void)ctx;
	return test_now;
}

/* So many pages a second, whoever they belong to. */
START_TEST(test_tier_swap_budget)
{
	const struct hs_clock slow = { .now_us = test_now_us };
	const struct hs_guest_params p = skewed();
	struct hs_tier_config cfg = HS_TIER_CONFIG_DEFAULT;
	const struct hs_bits512 all = hs_bits_full();
	struct hs_tier_moved m;
	hs_huge_nr h;

	cfg.pages_per_s = 1000;
	start_guest(&p);
	swap_on(SWAP_KIB);
	ck_assert_int_eq(hs_tier_create(&tier, &host, &cfg, &slow, &err), 0);
	ck_assert_int_eq(hs_tier_open_guest(&tg, tier, view, &err), 0);
	h = view_huge(hs_guest_layout(guest)->cold[0]);
	ck_assert_int_eq(hs_tier_demote(tg, h, &all, &m, &err), -EAGAIN);
	test_now += 100000;
	ck_assert_int_eq(hs_tier_demote(tg, h, &all, &m, &err), 0);
	ck_assert_uint_eq(m.not_moved[HS_TIER_LATER], HS_BASE_PER_HUGE - 100);
	ck_assert_uint_eq(hs_bits_count(&m.moved) + m.not_moved[HS_TIER_KEPT], 100);
	ck_assert_int_eq(hs_tier_demote(tg, h, &all, &m, &err), -EAGAIN);
	/* Little by little no page is lost for the rounding; what was not used for long is no more than a step. */
	for (int i = 0; i < 9; i++) {
		test_now += 150;
		ck_assert_int_eq(hs_tier_demote(tg, h, &all, &m, &err), i == 6 ? 0 : -EAGAIN);
	}
	test_now += 3600000000;
	h = view_huge(hs_guest_layout(guest)->cold[1]);
	ck_assert_int_eq(hs_tier_demote(tg, h, &all, &m, &err), 0);
	ck_assert_uint_eq(m.not_moved[HS_TIER_LATER], 0);
	ck_assert_int_eq(hs_tier_demote(tg, h, &all, &m, &err), -EAGAIN);
	check_bytes();
	finish();
}
END_TEST

/* Without swap there is no tier; where it goes, nothing is tried, and what was demoted has come back. */
START_TEST(test_tier_swap_none)
{
	const struct hs_tier_config cfg = no_budget();
	const struct hs_bits512 all = hs_bits_full();
	struct hs_tier_moved m;
	struct hs_tier_room r;
	hs_huge_nr h;

	ck_assert_int_eq(hs_tier_create(&tier, &host, &cfg, &real_time, &err), -ENODATA);
	ck_assert_ptr_nonnull(strstr(err.text, "zram"));
	ck_assert_ptr_null(tier);
	start(SWAP_KIB, &cfg);
	h = view_huge(hs_guest_layout(guest)->cold[0]);
	demote_all(h, &all);
	swap_off();
	ck_assert_int_eq(hs_tier_room(tier, tg, &r, &err), 0);
	ck_assert_uint_eq(r.bytes, 0);
	ck_assert_str_eq(r.medium, "");
	ck_assert_int_eq(hs_tier_demote(tg, h, &all, &m, &err), -ENODATA);
	ck_assert_int_eq(hs_tier_promote(tg, h, &all, &m, &err), 0);
	ck_assert_uint_eq(m.not_moved[HS_TIER_THERE], HS_BASE_PER_HUGE);
	check_bytes();
	swap_on(SWAP_KIB);
	finish();
}
END_TEST

/* Killed at any instant, whoever demotes and promotes leaves nothing behind, and the guest every byte. */
START_TEST(test_tier_swap_killed)
{
	const struct hs_tier_config cfg = no_budget();
	const struct hs_guest_params p = skewed();
	uint64_t x = 88172645463325252;

	start_guest(&p);
	swap_on(SWAP_KIB);
	for (int round = 0; round < hs_test_nr(5, 1000); round++) {
		pid_t worker = fork();

		ck_assert_int_ge(worker, 0);
		if (!worker) {
			const struct hs_bits512 all = hs_bits_full();
			struct hs_tier_moved m;

			if (hs_tier_create(&tier, &host, &cfg, &real_time, &err) ||
			    hs_tier_open_guest(&tg, tier, view, &err))
				_exit(1);
			for (uint32_t i = 0;; i++) {
				const uint32_t huge = hs_guest_layout(guest)->cold[i % hs_guest_layout(guest)->nr_cold];

				if (hs_tier_demote(tg, view_huge(huge), &all, &m, &err) ||
				    (i % 3 == 2 && hs_tier_promote(tg, view_huge(huge), &all, &m, &err)))
					_exit(2);
			}
		}
		x = hs_guest_next(x);
		(void)real_time.sleep_us(NULL, 1000 + x % 150000);
		ck_assert_int_eq(kill(worker, SIGKILL), 0);
		{
			int status;

			ck_assert_int_eq(waitpid(worker, &status, 0), worker);
			ck_assert_msg(WIFSIGNALED(status), "it ended by itself: %d", WEXITSTATUS(status));
		}
		if (round % 8 == 2)
			check_bytes();
	}
	check_bytes();
	stop_guest();
	swap_off();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_tier_swap_skewed);
	tcase_add_test(t, test_tier_swap_promote);
	tcase_add_test(t, test_tier_swap_promote_without_room);
	tcase_add_test(t, test_tier_swap_room);
	tcase_add_test(t, test_tier_swap_budget);
	tcase_add_test(t, test_tier_swap_none);
	tcase_add_test(t, test_tier_swap_killed);
}

int main(void)
{
	return tier_scene_main("tier/swap", add);
}
