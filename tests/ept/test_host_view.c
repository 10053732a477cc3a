/* SPDX-License-Identifier: Apache-2.0 */
/* The view over the host's page tables on real processes: what it says against what the guest was told to do. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hs/view.h"
#include "hs_test.h"
#include "view_guest.h"

#define NR_HUGE 24

static const struct hs_host host = HS_HOST_DEFAULT;
static struct view_guest guest;
static struct hs_view *view;
static struct hs_error err;

static void open_view(enum vg_kind kind, uint32_t nr_huge)
{
	int rc;

	(void)vg_start(&guest, kind, nr_huge);
	rc = hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err);
	ck_assert_msg(!rc, "%s", err.text);
	ck_assert_uint_eq(view->nr_huge, nr_huge);
	ck_assert_uint_eq(view->regions[0].hva.v, guest.base);
}

static void close_view(void)
{
	hs_view_close(view);
	vg_stop(&guest);
}

static uint32_t random_below(uint32_t n)
{
	return (uint32_t)random() % n;
}

/* A random subset of 0 .. n - 1; its members in list[], the answer is how many. */
static uint32_t random_set(bool *in, uint32_t *list, uint32_t n)
{
	uint32_t one_in = 1 + random_below(12), nr = 0;

	for (uint32_t i = 0; i < n; i++) {
		in[i] = !random_below(one_in);
		if (in[i])
			list[nr++] = i;
	}
	return nr;
}

START_TEST(test_ept_host_regions)
{
	open_view(VG_HUGE, NR_HUGE);
	ck_assert_str_eq(hs_view_name(view), "host page tables");
	ck_assert_int_eq(view->pid, guest.pid);
	ck_assert_uint_eq(view->nr_regions, 1);
	ck_assert_uint_eq(view->regions[0].gpa.v, 0);
	ck_assert_uint_eq(view->regions[0].nr_huge, NR_HUGE);
	ck_assert_uint_eq(hs_view_hva(view, 3).v, guest.base + 3 * HS_HUGE_SIZE);
	ck_assert_uint_eq(hs_view_hva(view, NR_HUGE).v, 0);
	close_view();
}
END_TEST

/*
 * Whatever may clear accessed bits beside us (kswapd, DAMON) can make a touched page look untouched: that is tried
 * again, for as long. A page that looks touched and was not is never right.
 */
#define AGAIN_S 20

static bool again(uint32_t missing, time_t since, int round)
{
	ck_assert_msg(!missing || time(NULL) - since < AGAIN_S, "round %d: %u touched and not seen so in %d s", round,
		      missing, AGAIN_S);
	return missing != 0;
}

START_TEST(test_ept_host_huge_accessed_exactly)
{
	struct hs_huge_sample s[NR_HUGE];
	uint32_t list[NR_HUGE];
	bool in[NR_HUGE];

	open_view(VG_HUGE, NR_HUGE);
	srandom(7);
	for (int round = 0; round < hs_test_nr(150, 400); round++) {
		uint32_t nr = random_set(in, list, NR_HUGE), missing;
		const time_t since = time(NULL);

		for (uint32_t i = 0; i < nr; i++)
			list[i] = list[i] * HS_BASE_PER_HUGE + random_below(HS_BASE_PER_HUGE);
		do {
			missing = 0;
			ck_assert_int_eq(hs_view_age(view, &err), 0);
			vg_touch(&guest, list, nr, round & 1);
			ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
			for (uint32_t h = 0; h < NR_HUGE; h++) {
				ck_assert_int_eq(s[h].state, HS_MAP_HUGE);
				ck_assert_uint_eq(s[h].nr_present, 512);
				ck_assert_uint_eq(s[h].nr_accessed, s[h].accessed == HS_YES ? 512 : 0);
				ck_assert_int_ne(s[h].accessed, HS_UNKNOWN);
				ck_assert_msg(in[h] || s[h].accessed == HS_NO, "round %d: %u was not touched", round,
					      h);
				missing += in[h] && s[h].accessed != HS_YES;
			}
		} while (again(missing, since, round));
	}
	close_view();
}
END_TEST

/* What was accessed and does not look so; nothing may look accessed that was not. */
static uint32_t compare_sets(const struct hs_base_sample *s, const bool *in, uint32_t nr)
{
	uint32_t missing = 0;

	for (uint32_t p = 0; p < nr; p++) {
		bool seen = hs_bits_test(&s[p / 512].accessed, p % 512);

		ck_assert_msg(in[p] || !seen, "base page %u was not touched", p);
		missing += in[p] && !seen;
	}
	return missing;
}

START_TEST(test_ept_host_base_accessed_exactly)
{
	enum { NR = 8, PAGES = NR * HS_BASE_PER_HUGE };
	static const hs_huge_nr all[NR] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	static uint32_t list[PAGES];
	static bool in[PAGES];
	struct hs_base_sample s[NR];
	struct hs_huge_sample huge[NR];

	/* Base pages, and behind them a few huge pages: what ageing flushes with. */
	open_view(VG_HUGE, NR + 4);
	ck_assert_int_eq(vg_madvise(&guest, 0, PAGES, MADV_NOHUGEPAGE), 0);
	ck_assert_int_eq(vg_madvise(&guest, 0, PAGES, MADV_DONTNEED), 0);
	for (uint32_t i = 0; i < PAGES; i++)
		list[i] = i;
	vg_touch(&guest, list, PAGES, true);
	srandom(11);
	for (int round = 0; round < hs_test_nr(60, 200); round++) {
		uint32_t nr = random_set(in, list, PAGES), missing;
		const time_t since = time(NULL);

		do {
			ck_assert_int_eq(hs_view_age(view, &err), 0);
			vg_touch(&guest, list, nr, round & 1);
			ck_assert_int_eq(hs_view_sample_base(view, all, NR, s, &err), 0);
			ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, huge, &err), 0);
			missing = compare_sets(s, in, PAGES);
			for (uint32_t h = 0; h < NR; h++) {
				ck_assert_int_eq(s[h].state, HS_MAP_SPLIT);
				ck_assert_int_eq(huge[h].state, HS_MAP_SPLIT);
				ck_assert_uint_eq(huge[h].nr_present, 512);
				if (!missing)
					ck_assert_uint_eq(huge[h].nr_accessed, hs_bits_count(&s[h].accessed));
			}
		} while (again(missing, since, round));
	}
	close_view();
}
END_TEST

static void same_frames(const struct hs_frame *a, const struct hs_frame *b)
{
	for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++) {
		ck_assert(a[i].pfn != 0);
		ck_assert_uint_eq(a[i].pfn, b[i].pfn);
		ck_assert_uint_eq(a[i].flags, b[i].flags);
	}
}

/* What NUMA balancing looks at is cold memory as soon as it is: PROT_NONE entries keep, lose and get their bits. */
START_TEST(test_ept_host_protnone_huge)
{
	enum { NR = 8 };
	static const uint32_t again[] = { 1 * 512 + 77, 4 * 512 };
	static struct hs_frame before[HS_BASE_PER_HUGE], after[HS_BASE_PER_HUGE];
	static char buf[HS_HUGE_SIZE];
	const struct hs_bits512 want = hs_bits_full();
	struct hs_huge_sample s[NR];
	struct hs_base_sample b;
	struct hs_bits512 got;
	uint32_t list[NR], missing = 0;
	hs_huge_nr six = 6;

	open_view(VG_HUGE, NR_HUGE);
	vg_fill(&guest, 0, NR * HS_BASE_PER_HUGE, 5);
	ck_assert_int_eq(hs_view_frames(view, 6, before, &err), 0);
	for (int round = 0; round < 20; round++) {
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		for (uint32_t h = 0; h < NR; h++)
			list[h] = h * HS_BASE_PER_HUGE + random_below(HS_BASE_PER_HUGE);
		vg_touch(&guest, list, NR - 1, round & 1);
		vg_protect(&guest, 0, NR * HS_BASE_PER_HUGE, true);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, s, &err), 0);
		for (uint32_t h = 0; h < NR; h++) {
			ck_assert_int_eq(s[h].state, HS_MAP_HUGE);
			ck_assert(s[h].accessed == HS_NO || (s[h].accessed == HS_YES && h < NR - 1));
			ck_assert_uint_eq(s[h].nr_present, 512);
			missing += s[h].accessed == HS_NO && h < NR - 1;
		}
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, s, &err), 0);
		for (uint32_t h = 0; h < NR; h++) {
			ck_assert_int_eq(s[h].state, HS_MAP_HUGE);
			ck_assert_int_eq(s[h].accessed, HS_NO);
		}
		ck_assert_int_eq(hs_view_sample_base(view, &six, 1, &b, &err), 0);
		ck_assert_int_eq(b.state, HS_MAP_HUGE);
		ck_assert_uint_eq(hs_bits_count(&b.accessed), 0);
		ck_assert_int_eq(hs_view_frames(view, 6, after, &err), 0);
		same_frames(before, after);
		vg_protect(&guest, 0, NR * HS_BASE_PER_HUGE, false);
		vg_touch(&guest, again, 2, !(round & 1));
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, s, &err), 0);
		for (uint32_t h = 0; h < NR; h++) {
			ck_assert(s[h].accessed == HS_NO || (s[h].accessed == HS_YES && (h == 1 || h == 4)));
			missing += s[h].accessed == HS_NO && (h == 1 || h == 4);
		}
	}
	ck_assert_uint_le(missing, 9); /* of 180: somebody else may age as well */
	vg_protect(&guest, 0, NR * HS_BASE_PER_HUGE, true);
	ck_assert_int_eq(hs_view_read(view, 6, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 512);
	for (uint32_t w = 0; w < HS_HUGE_SIZE / 8; w++)
		ck_assert_uint_eq(((uint64_t *)buf)[w], vg_word(5, 6 * 512 + w / 512, w % 512));
	close_view();
}
END_TEST

START_TEST(test_ept_host_protnone_base)
{
	enum { NR = 2, PAGES = NR * HS_BASE_PER_HUGE };
	static const hs_huge_nr all[NR] = { 0, 1 };
	static struct hs_frame before[HS_BASE_PER_HUGE], after[HS_BASE_PER_HUGE];
	static uint32_t list[PAGES];
	static bool in[PAGES];
	struct hs_base_sample s[NR];
	struct hs_huge_sample huge[NR];
	uint32_t missing_rounds = 0;

	open_view(VG_HUGE, NR + 4);
	ck_assert_int_eq(vg_madvise(&guest, 0, PAGES, MADV_NOHUGEPAGE), 0);
	ck_assert_int_eq(vg_madvise(&guest, 0, PAGES, MADV_DONTNEED), 0);
	vg_fill(&guest, 0, PAGES, 9);
	ck_assert_int_eq(hs_view_frames(view, 1, before, &err), 0);
	srandom(17);
	for (int round = 0; round < 40; round++) {
		/* Some of the first huge page's, all of the second's. */
		uint32_t first = random_below(400), nr_none = PAGES - first - (round & 1 ? HS_BASE_PER_HUGE + 3 : 0);
		uint32_t nr = random_set(in, list, PAGES), missing;

		ck_assert_int_eq(hs_view_age(view, &err), 0);
		vg_touch(&guest, list, nr, round & 1);
		vg_protect(&guest, first, nr_none, true);
		ck_assert_int_eq(hs_view_sample_base(view, all, NR, s, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, huge, &err), 0);
		missing = compare_sets(s, in, PAGES);
		for (uint32_t h = 0; h < NR; h++) {
			ck_assert_int_eq(s[h].state, HS_MAP_SPLIT);
			ck_assert_int_eq(huge[h].state, HS_MAP_SPLIT);
			if (!missing)
				ck_assert_uint_eq(huge[h].nr_accessed, hs_bits_count(&s[h].accessed));
		}
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, huge, &err), 0);
		ck_assert(huge[0].accessed == HS_NO && huge[1].accessed == HS_NO);
		ck_assert_int_eq(hs_view_frames(view, 1, after, &err), 0);
		same_frames(before, after);
		vg_protect(&guest, first, nr_none, false);
		vg_touch(&guest, list, nr, !(round & 1));
		ck_assert_int_eq(hs_view_sample_base(view, all, NR, s, &err), 0);
		missing_rounds += missing || compare_sets(s, in, PAGES);
	}
	ck_assert_uint_le(missing_rounds, 4);
	close_view();
}
END_TEST

START_TEST(test_ept_host_presence_with_holes)
{
	enum { NR = 6, PAGES = NR * HS_BASE_PER_HUGE };
	static const hs_huge_nr all[NR] = { 5, 1, 2, 3, 4, 0 }; /* any order */
	static uint32_t list[PAGES];
	static bool in[PAGES];
	struct hs_base_sample s[NR];
	struct hs_huge_sample huge[NR];

	open_view(VG_BASE, NR);
	srandom(13);
	for (int round = 0; round < 40; round++) {
		uint32_t nr, want[NR] = { 0 };

		ck_assert_int_eq(vg_madvise(&guest, 0, PAGES, MADV_DONTNEED), 0);
		nr = random_set(in, list, PAGES);
		if (round % 3 == 0) /* one of them full, one empty */
			for (nr = 0; nr < 512; nr++)
				list[nr] = 512 + nr;
		memset(in, 0, sizeof(in));
		for (uint32_t i = 0; i < nr; i++) {
			in[list[i]] = true;
			want[list[i] / 512]++;
		}
		vg_touch(&guest, list, nr, true);
		ck_assert_int_eq(hs_view_sample_base(view, all, NR, s, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, huge, &err), 0);
		for (uint32_t i = 0; i < NR; i++) {
			uint32_t n = want[all[i]];
			int state = n == 512 ? HS_MAP_SPLIT : n ? HS_MAP_PARTIAL : HS_MAP_ABSENT;

			ck_assert_int_eq(s[i].state, state);
			ck_assert_int_eq(huge[all[i]].state, state);
			ck_assert_uint_eq(huge[all[i]].nr_present, n);
			for (uint32_t b = 0; b < 512; b++)
				ck_assert_int_eq(hs_bits_test(&s[i].present, b), in[all[i] * 512 + b]);
		}
	}
	close_view();
}
END_TEST

START_TEST(test_ept_host_age_changes_nothing_else)
{
	uint64_t huge_kb, rss_kb, sum;
	uint32_t vmas;

	open_view(VG_HUGE, NR_HUGE);
	vg_fill(&guest, 0, NR_HUGE * HS_BASE_PER_HUGE, 3);
	sum = vg_sum(&guest, 0, NR_HUGE * HS_BASE_PER_HUGE);
	huge_kb = vg_smaps_kb(&guest, "AnonHugePages");
	rss_kb = vg_smaps_kb(&guest, "Rss");
	vmas = vg_nr_vmas(&guest);
	ck_assert_uint_eq(huge_kb, NR_HUGE * 2048);
	for (int i = 0; i < hs_test_nr(100, 300); i++)
		ck_assert_int_eq(hs_view_age(view, &err), 0);
	ck_assert_uint_eq(vg_smaps_kb(&guest, "AnonHugePages"), huge_kb);
	ck_assert_uint_eq(vg_smaps_kb(&guest, "Rss"), rss_kb);
	ck_assert_uint_eq(vg_nr_vmas(&guest), vmas);
	ck_assert_uint_eq(vg_sum(&guest, 0, NR_HUGE * HS_BASE_PER_HUGE), sum);
	close_view();
}
END_TEST

/* Without giving our processor away: the guest stays on its own, with what that has cached. */
static void wait_busily(long us)
{
	struct timespec start, now;

	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < us);
}

/* Two pages in use without a pause stay in the processor's cache of translations: only a flush brings their bits back.
 */
START_TEST(test_ept_host_age_flushes)
{
	static const uint32_t hot[] = { 0, 2 * 512 };
	struct hs_huge_sample s[3];
	int valid = 0, seen = 0;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		return; /* it cannot run beside us then */
	open_view(VG_HUGE, NR_HUGE);
	vg_spin(&guest, hot, 2);
	for (int i = 0; i < hs_test_nr(150, 400); i++) {
		uint64_t before;

		ck_assert_int_eq(hs_view_age(view, &err), 0);
		before = guest.box->spins;
		wait_busily(300);
		if (guest.box->spins - before < 1000) /* somebody else had its processor */
			continue;
		ck_assert_int_eq(hs_view_sample_huge(view, 0, 3, s, &err), 0);
		valid++;
		seen += s[0].accessed == HS_YES && s[2].accessed == HS_YES;
		ck_assert_int_ne(s[1].state, HS_MAP_UNKNOWN);
	}
	if (valid >= 50)
		ck_assert_int_ge(seen * 10, valid * 8);
	close_view();
}
END_TEST

/* Locked memory does not serve for the flush; what is not locked serves for all. */
START_TEST(test_ept_host_age_locked_in_part)
{
	enum { LOCKED = 16 };
	static const uint32_t hot[] = { 0, 2 * 512 };
	struct hs_huge_sample s[NR_HUGE];
	int valid = 0, seen = 0;

	open_view(VG_HUGE, NR_HUGE);
	/* Every second one: many VMAs. */
	for (uint32_t h = 0; h < LOCKED; h += 2)
		ck_assert_int_eq(vg_lock(&guest, h * 512, 512, true), 0);
	vg_spin(&guest, hot, 2);
	for (int i = 0; i < hs_test_nr(100, 200); i++) {
		uint64_t before;

		ck_assert_msg(!hs_view_age(view, &err), "%s", err.text);
		before = guest.box->spins;
		wait_busily(300);
		if (guest.box->spins - before < 1000)
			continue;
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
		valid++;
		seen += s[0].accessed == HS_YES && s[2].accessed == HS_YES;
		ck_assert_int_ne(s[NR_HUGE - 1].state, HS_MAP_UNKNOWN);
	}
	if (sysconf(_SC_NPROCESSORS_ONLN) >= 2 && valid >= 50)
		ck_assert_int_ge(seen * 10, valid * 8);
	close_view();
}
END_TEST

/* All of it locked: no flush, and so no word of what is cold. */
START_TEST(test_ept_host_age_locked)
{
	static const uint32_t some[] = { 5, 7 * 512 };
	struct hs_huge_sample s[NR_HUGE];

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	ck_assert_int_eq(vg_lock(&guest, 0, NR_HUGE * 512, true), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(hs_view_age(view, &err), -ENOTSUP);
		ck_assert_msg(strstr(err.text, "locked") != NULL, "%s", err.text);
	}
	/* In more pieces than one ageing tries. */
	ck_assert_int_eq(vg_lock(&guest, 0, NR_HUGE * 512, false), 0);
	for (uint32_t h = 0; h < NR_HUGE; h++) {
		ck_assert_int_eq(vg_madvise(&guest, h * 512, 512, h % 2 ? MADV_NOHUGEPAGE : MADV_HUGEPAGE), 0);
		ck_assert_int_eq(vg_lock(&guest, h * 512, 512, true), 0);
	}
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(hs_view_age(view, &err), -ENOTSUP);
	/* One page that is not locked serves, as soon as it is not: at the second ageing at the latest. */
	ck_assert_int_eq(vg_lock(&guest, 3 * 512, 512, false), 0);
	(void)!hs_view_age(view, &err);
	for (int i = 0; i < 10; i++) {
		ck_assert_msg(!hs_view_age(view, &err), "%s", err.text);
		vg_touch(&guest, some, 2, false);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
		for (uint32_t h = 0; h < NR_HUGE; h++)
			ck_assert(s[h].accessed == HS_NO || h == 0 || h == 7 || s[h].accessed == HS_UNKNOWN);
	}
	ck_assert_int_eq(s[10].accessed, HS_NO);
	close_view();
}
END_TEST

/* Read-only huge entries, as after a fork, cannot serve either: as long as their bit is not set they are unknown. */
START_TEST(test_ept_host_age_without_a_page)
{
	static const uint32_t some[] = { 5 };
	struct hs_huge_sample s[NR_HUGE];
	struct hs_base_sample b;
	hs_huge_nr three = 3;

	open_view(VG_HUGE, NR_HUGE);
	vg_fork(&guest);
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	vg_touch(&guest, some, 1, false);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	for (uint32_t h = 0; h < NR_HUGE; h++) {
		ck_assert_int_eq(s[h].state, HS_MAP_HUGE);
		ck_assert_int_eq(s[h].accessed, h ? HS_UNKNOWN : HS_YES);
	}
	ck_assert_int_eq(hs_view_sample_base(view, &three, 1, &b, &err), 0);
	ck_assert_int_eq(b.state, HS_MAP_UNKNOWN);
	/* What nobody can have cached is known to be cold all the same. */
	vg_protect(&guest, 3 * 512, 512, true);
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	ck_assert_int_eq(s[3].accessed, HS_NO);
	/* Nothing has run since the ageing: nothing was accessed. Until something has. */
	ck_assert_int_eq(s[4].accessed, HS_NO);
	vg_touch(&guest, some, 1, false);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	ck_assert_int_eq(s[3].accessed, HS_NO);
	ck_assert_int_eq(s[4].accessed, HS_UNKNOWN);
	close_view();
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;

	if (VG_SANITIZED)
		return hs_test_skip("ept_host_view", VG_SANITIZED_WHY);
	if (geteuid())
		return hs_test_skip("ept_host_view", "reading page tables needs root");
	s = suite_create("ept_host_view");
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_ept_host_regions);
	tcase_add_test(t, test_ept_host_huge_accessed_exactly);
	tcase_add_test(t, test_ept_host_base_accessed_exactly);
	tcase_add_test(t, test_ept_host_protnone_huge);
	tcase_add_test(t, test_ept_host_protnone_base);
	tcase_add_test(t, test_ept_host_presence_with_holes);
	tcase_add_test(t, test_ept_host_age_changes_nothing_else);
	tcase_add_test(t, test_ept_host_age_flushes);
	tcase_add_test(t, test_ept_host_age_locked_in_part);
	tcase_add_test(t, test_ept_host_age_locked);
	tcase_add_test(t, test_ept_host_age_without_a_page);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
