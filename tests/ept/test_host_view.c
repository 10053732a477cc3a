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
	ck_assert_str_eq(view->ops->name, "host page tables");
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
 * again. A page that looks touched and was not is never right.
 */
START_TEST(test_ept_host_huge_accessed_exactly)
{
	struct hs_huge_sample s[NR_HUGE];
	uint32_t list[NR_HUGE], missing_rounds = 0;
	bool in[NR_HUGE];

	open_view(VG_HUGE, NR_HUGE);
	srandom(7);
	for (int round = 0; round < 400; round++) {
		uint32_t nr = random_set(in, list, NR_HUGE), missing = 0;

		for (uint32_t i = 0; i < nr; i++)
			list[i] = list[i] * HS_BASE_PER_HUGE + random_below(HS_BASE_PER_HUGE);
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		vg_touch(&guest, list, nr, round & 1);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
		for (uint32_t h = 0; h < NR_HUGE; h++) {
			ck_assert_int_eq(s[h].state, HS_MAP_HUGE);
			ck_assert_uint_eq(s[h].nr_present, 512);
			ck_assert_uint_eq(s[h].nr_accessed, s[h].accessed == HS_YES ? 512 : 0);
			ck_assert_int_ne(s[h].accessed, HS_UNKNOWN);
			ck_assert_msg(in[h] || s[h].accessed == HS_NO, "round %d: %u was not touched", round, h);
			missing += in[h] && s[h].accessed != HS_YES;
		}
		missing_rounds += missing != 0;
	}
	ck_assert_uint_le(missing_rounds, 20);
	close_view();
}
END_TEST

START_TEST(test_ept_host_base_accessed_exactly)
{
	enum { NR = 8, PAGES = NR * HS_BASE_PER_HUGE };
	static const hs_huge_nr all[NR] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	static uint32_t list[PAGES];
	static bool in[PAGES];
	struct hs_base_sample s[NR];
	struct hs_huge_sample huge[NR];
	uint32_t missing_rounds = 0;

	/* Base pages, and behind them a few huge pages: what ageing flushes with. */
	open_view(VG_HUGE, NR + 4);
	ck_assert_int_eq(vg_madvise(&guest, 0, PAGES, MADV_NOHUGEPAGE), 0);
	ck_assert_int_eq(vg_madvise(&guest, 0, PAGES, MADV_DONTNEED), 0);
	for (uint32_t i = 0; i < PAGES; i++)
		list[i] = i;
	vg_touch(&guest, list, PAGES, true);
	srandom(11);
	for (int round = 0; round < 200; round++) {
		uint32_t nr = random_set(in, list, PAGES), missing = 0;

		ck_assert_int_eq(hs_view_age(view, &err), 0);
		vg_touch(&guest, list, nr, round & 1);
		ck_assert_int_eq(hs_view_sample_base(view, all, NR, s, &err), 0);
		ck_assert_int_eq(hs_view_sample_huge(view, 0, NR, huge, &err), 0);
		for (uint32_t p = 0; p < PAGES; p++) {
			bool seen = hs_bits_test(&s[p / 512].accessed, p % 512);

			ck_assert_msg(in[p] || !seen, "round %d: base page %u was not touched", round, p);
			missing += in[p] && !seen;
		}
		for (uint32_t h = 0; h < NR; h++) {
			ck_assert_int_eq(s[h].state, HS_MAP_SPLIT);
			ck_assert_int_eq(huge[h].state, HS_MAP_SPLIT);
			ck_assert_uint_eq(huge[h].nr_present, 512);
			if (!missing)
				ck_assert_uint_eq(huge[h].nr_accessed, hs_bits_count(&s[h].accessed));
		}
		missing_rounds += missing != 0;
	}
	ck_assert_uint_le(missing_rounds, 10);
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
	for (int i = 0; i < 300; i++)
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
	for (int i = 0; i < 400; i++) {
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

START_TEST(test_ept_host_frames)
{
	static uint32_t list[600];
	struct hs_frame f[HS_BASE_PER_HUGE];
	struct hs_huge_sample s;

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_view_frames(view, 2, f, &err), 0);
	ck_assert_uint_ne(f[0].pfn, 0);
	ck_assert_uint_eq(f[0].pfn % 512, 0);
	for (uint32_t b = 0; b < 512; b++) {
		ck_assert_uint_eq(f[b].pfn, f[0].pfn + b);
		ck_assert_uint_eq(f[b].flags, HS_FRAME_HUGE);
	}
	close_view();

	/* Base pages: 0 and 1 written, 2 read only (the zero page), 3 absent. */
	open_view(VG_BASE, 8);
	list[0] = 0;
	list[1] = 1;
	vg_touch(&guest, list, 2, true);
	list[0] = 2;
	vg_touch(&guest, list, 1, false);
	ck_assert_int_eq(hs_view_frames(view, 0, f, &err), 0);
	ck_assert(f[0].pfn && f[1].pfn && f[0].pfn != f[1].pfn && f[2].pfn);
	ck_assert_uint_eq(f[0].flags, 0);
	ck_assert_uint_eq(f[2].flags, HS_FRAME_ZERO);
	ck_assert(!f[3].pfn && !f[3].flags);
	close_view();

	/* The huge zero page is an entry, but no memory. */
	open_view(VG_ABSENT, 8);
	list[0] = 3 * 512;
	vg_touch(&guest, list, 1, false);
	ck_assert_int_eq(hs_view_sample_huge(view, 3, 1, &s, &err), 0);
	ck_assert(s.state == HS_MAP_ABSENT || s.state == HS_MAP_PARTIAL);
	vg_touch(&guest, list, 1, true);
	ck_assert_int_eq(hs_view_sample_huge(view, 3, 1, &s, &err), 0);
	ck_assert(s.state != HS_MAP_UNKNOWN && s.nr_present > 0); /* huge, or a table: that differs between kernels */
	close_view();
}
END_TEST

START_TEST(test_ept_host_read)
{
	enum { NR = 8 };
	uint64_t *buf = malloc(HS_HUGE_SIZE);
	struct hs_bits512 want = hs_bits_full(), got;
	uint64_t rss;

	open_view(VG_HUGE, NR);
	vg_fill(&guest, 0, NR * 512, 9);
	memset(buf, 0x5a, HS_HUGE_SIZE);
	ck_assert_int_eq(hs_view_read(view, 5, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 512);
	for (uint32_t w = 0; w < HS_HUGE_SIZE / 8; w++)
		ck_assert_uint_eq(buf[w], vg_word(9, 5 * 512 + w / 512, w % 512));
	close_view();

	/* Every third page is there; every second page is wanted. What is not got is left as it was. */
	open_view(VG_BASE, NR);
	for (uint32_t b = 0; b < 512; b += 3)
		vg_fill(&guest, 512 + b, 1, 4);
	for (uint32_t b = 1; b < 512; b += 2)
		hs_bits_clear(&want, b);
	rss = vg_smaps_kb(&guest, "Rss");
	memset(buf, 0x5a, HS_HUGE_SIZE);
	ck_assert_int_eq(hs_view_read(view, 1, &want, buf, &got, &err), 0);
	for (uint32_t b = 0; b < 512; b++) {
		bool expect = b % 6 == 0;

		ck_assert_int_eq(hs_bits_test(&got, b), expect);
		ck_assert_uint_eq(buf[b * 512 + 7], expect ? vg_word(4, 512 + b, 7) : UINT64_C(0x5a5a5a5a5a5a5a5a));
	}
	/* Nothing there at all, and nothing wanted. */
	ck_assert_int_eq(hs_view_read(view, 2, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	memset(&want, 0, sizeof(want));
	ck_assert_int_eq(hs_view_read(view, 1, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	ck_assert_uint_eq(vg_smaps_kb(&guest, "Rss"), rss);
	close_view();
	free(buf);
}
END_TEST

/* process_vm_readv takes pages without marking them accessed: what we read does not look hot. */
START_TEST(test_ept_host_read_leaves_accessed_alone)
{
	struct hs_bits512 want = hs_bits_full(), got;
	struct hs_huge_sample s[NR_HUGE];
	void *buf = malloc(HS_HUGE_SIZE);

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(vg_madvise(&guest, 0, 512, MADV_NOHUGEPAGE), 0);
	ck_assert_int_eq(vg_madvise(&guest, 0, 512, MADV_DONTNEED), 0);
	vg_fill(&guest, 0, 512, 1);
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		ck_assert_int_eq(hs_view_read(view, h, &want, buf, &got, &err), 0);
		ck_assert_uint_eq(hs_bits_count(&got), 512);
	}
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(s[h].accessed, HS_NO);
	close_view();
	free(buf);
}
END_TEST

START_TEST(test_ept_host_refresh)
{
	struct hs_huge_sample s[NR_HUGE];
	struct hs_base_sample base;
	struct hs_frame f[HS_BASE_PER_HUGE];
	struct hs_bits512 want = hs_bits_full(), got;
	const hs_huge_nr gone = 7;
	void *buf = malloc(HS_HUGE_SIZE);

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	/* Flags that cut the memory into VMAs change nothing about the regions, for this view and for the next. */
	for (uint32_t p = 3; p < NR_HUGE * 512; p += 97)
		ck_assert_int_eq(vg_madvise(&guest, p, 1 + p % 5, p & 1 ? MADV_DONTDUMP : MADV_DONTFORK), 0);
	ck_assert_uint_gt(vg_nr_vmas(&guest), 200);
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	hs_view_close(view);
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err), 0);
	ck_assert_uint_eq(view->nr_regions, 1);
	ck_assert_uint_eq(view->nr_huge, NR_HUGE);

	/* New guest memory: said once asked, and the old numbers go on. */
	vg_map_more(&guest, 8);
	ck_assert_int_eq(hs_view_refresh(view, &err), -ESTALE);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	ck_assert_int_ne(s[gone].state, HS_MAP_UNKNOWN);

	/* Memory that goes: unknown from then on, in every call. */
	vg_unmap(&guest, gone * 512 + 100, 1);
	ck_assert_int_eq(hs_view_refresh(view, &err), -ESTALE);
	ck_assert_ptr_nonnull(strstr(err.text, "open a new view"));
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), 0);
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(s[h].state == HS_MAP_UNKNOWN, h == gone);
	ck_assert_int_eq(hs_view_sample_base(view, &gone, 1, &base, &err), 0);
	ck_assert_int_eq(base.state, HS_MAP_UNKNOWN);
	ck_assert_int_eq(hs_view_frames(view, gone, f, &err), 0);
	ck_assert_uint_eq(f[0].pfn, 0);
	ck_assert_int_eq(hs_view_read(view, gone, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 0);
	close_view();
	free(buf);
}
END_TEST

START_TEST(test_ept_host_numbers_out_of_range)
{
	struct hs_huge_sample s[2];
	struct hs_base_sample base;
	struct hs_bits512 want = { 0 }, got;
	struct hs_frame f[HS_BASE_PER_HUGE];
	hs_huge_nr beyond = NR_HUGE;
	char byte;

	open_view(VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE - 1, 2, s, &err), -EINVAL);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE + 1, 0, s, &err), -EINVAL);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE, 0, s, &err), 0);
	ck_assert_int_eq(hs_view_sample_huge(view, NR_HUGE - 1, 1, s, &err), 0);
	ck_assert_int_eq(hs_view_sample_base(view, &beyond, 1, &base, &err), -EINVAL);
	ck_assert_int_eq(hs_view_frames(view, beyond, f, &err), -EINVAL);
	ck_assert_int_eq(hs_view_split(view, &beyond, 1, NULL, &err), -EINVAL);
	ck_assert_int_eq(hs_view_restore(view, &beyond, 1, NULL, &err), -EINVAL);
	ck_assert_int_eq(hs_view_read(view, beyond, &want, &byte, &got, &err), -EINVAL);
	/* No means for system calls in the guest were given. */
	beyond = 0;
	ck_assert_int_eq(hs_view_split(view, &beyond, 1, NULL, &err), -ENOTSUP);
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
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_ept_host_regions);
	tcase_add_test(t, test_ept_host_huge_accessed_exactly);
	tcase_add_test(t, test_ept_host_base_accessed_exactly);
	tcase_add_test(t, test_ept_host_presence_with_holes);
	tcase_add_test(t, test_ept_host_age_changes_nothing_else);
	tcase_add_test(t, test_ept_host_age_flushes);
	tcase_add_test(t, test_ept_host_frames);
	tcase_add_test(t, test_ept_host_read);
	tcase_add_test(t, test_ept_host_read_leaves_accessed_alone);
	tcase_add_test(t, test_ept_host_refresh);
	tcase_add_test(t, test_ept_host_numbers_out_of_range);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
