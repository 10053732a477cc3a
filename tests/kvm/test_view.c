/* SPDX-License-Identifier: Apache-2.0 */
/* The view over KVM's nested page tables: what it says against what the guest was told to do. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ept/host_internal.h"
#include "ept/nested_internal.h"
#include "hs/view.h"
#include "hs_test.h"
#include "age.h"
#include "vmm.h"

#define NR_HUGE 32
#define BITMAP  "/sys/kernel/mm/page_idle/bitmap"

static struct hs_host host = HS_HOST_DEFAULT;
static struct vmm guest;
static struct hs_view *view;
static struct hs_error err;

/* Two slots, the later memory at the lower address, in both address spaces. */
static const struct vmm_config two_slots = {
	.nr_huge = NR_HUGE,
	.nr_slots = 2,
	.slots = { { 0x40000000, 0, 20 }, { 0x10000000, 20, 12 } },
	.two_spaces = true,
};

static void open_view(const struct vmm_config *cfg)
{
	int rc;

	ck_assert(vmm_start(&guest, cfg));
	rc = hs_view_open(&view, &host, guest.pid, NULL, UINT64_C(8) << 20, &err);
	ck_assert_msg(!rc, "%s", err.text);
	ck_assert_uint_eq(view->nr_huge, cfg->nr_huge);
	ck_assert_uint_eq(view->regions[0].hva.v, guest.base);
}

static void close_view(void)
{
	hs_view_close(view);
	vmm_stop(&guest);
}

static void age(void)
{
	int rc = age_now(view, &err);

	ck_assert_msg(!rc, "%s", err.text);
}

static void sample(struct hs_huge_sample *s)
{
	int rc = hs_view_sample_huge(view, 0, view->nr_huge, s, &err);

	ck_assert_msg(!rc, "%s", err.text);
}

/* A random subset; list[] gets one base page of each member. */
static uint32_t random_set(bool *in, uint32_t *list, uint32_t n, uint32_t pages_each)
{
	uint32_t one_in = 1 + (uint32_t)random() % 12, nr = 0;

	for (uint32_t i = 0; i < n; i++) {
		in[i] = !((uint32_t)random() % one_in);
		if (in[i])
			list[nr++] = i * pages_each + (uint32_t)random() % pages_each;
	}
	return nr;
}

/* A host that is this one, but has no page_idle. */
static void hide_page_idle(void)
{
	host.sys_dir = "/none";
}

static bool has_page_idle(void)
{
	return !access(BITMAP, F_OK) && !strcmp(host.sys_dir, "/sys");
}

/* Told to the module, or so by the processor; see host.sh. */
static bool has_no_bits(void)
{
	char answer = 0;
	FILE *f = fopen("/sys/module/kvm_intel/parameters/eptad", "re");

	if (f) {
		ck_assert_uint_eq(fread(&answer, 1, 1, f), 1);
		(void)fclose(f);
	}
	return answer == 'N' && !strcmp(host.sys_dir, "/sys");
}

/* What this kernel offers, as its own files and its version say. */
static const char *best_way(void)
{
	struct utsname u;

	ck_assert_int_eq(uname(&u), 0);
	if (strncmp(u.release, "6.1.", 4) == 0)
		return "soft dirty";
	return has_page_idle() && !has_no_bits() ? "page_idle" : "PAGEMAP_SCAN";
}

static bool by_page_idle(void)
{
	return strcmp(best_way(), "page_idle") == 0;
}

START_TEST(test_ept_nested_name)
{
	char expected[96];

	open_view(&two_slots);
	(void)snprintf(expected, sizeof(expected), "nested page tables (%s), aged by %s",
		       access("/sys/module/kvm_intel", F_OK) ? "NPT" : "EPT", best_way());
	ck_assert_str_eq(hs_view_name(view), expected);
	close_view();
}
END_TEST

/* The report that needs no guest says the same, and why page_idle is not used. */
START_TEST(test_ept_nested_report)
{
	const char *way;
	bool fine;

	way = hs_view_nested_ageing(&host, &fine, &err);
	ck_assert_str_eq(way, best_way());
	ck_assert_int_eq(fine, strcmp(way, "soft dirty") != 0);
	if (!by_page_idle())
		ck_assert_msg(strstr(err.text, has_no_bits()      ? "no accessed bits"
					       : !has_page_idle() ? "has no page_idle"
								  : "nothing flushes without PAGEMAP_SCAN") != NULL,
			      "%s", err.text);
}
END_TEST

START_TEST(test_ept_nested_unknown_before_ageing)
{
	struct hs_huge_sample s[NR_HUGE];
	const uint32_t page = 3 * HS_BASE_PER_HUGE;

	open_view(&two_slots);
	vmm_touch(&guest, &page, 1, false);
	sample(s);
	for (uint32_t i = 0; i < NR_HUGE; i++) {
		ck_assert_uint_eq(s[i].state, HS_MAP_HUGE);
		ck_assert_uint_ne(s[i].accessed, HS_NO);
	}
	close_view();
}
END_TEST

/* Every access is seen, none is made up, and the host's huge pages are what they were. */
START_TEST(test_ept_nested_huge_accessed_exactly)
{
	struct hs_huge_sample s[NR_HUGE];
	uint32_t list[NR_HUGE];
	bool in[NR_HUGE];

	open_view(&two_slots);
	srandom(11);
	for (int round = 0; round < 60; round++) {
		uint32_t nr = random_set(in, list, NR_HUGE, HS_BASE_PER_HUGE);

		age();
		vmm_touch(&guest, list, nr, round & 1);
		sample(s);
		for (uint32_t i = 0; i < NR_HUGE; i++) {
			ck_assert_uint_eq(s[i].state, HS_MAP_HUGE);
			ck_assert_uint_eq(s[i].nr_present, HS_BASE_PER_HUGE);
			ck_assert_msg(s[i].accessed == (in[i] ? HS_YES : HS_NO), "round %d, huge page %u: %u", round, i,
				      s[i].accessed);
			ck_assert_uint_eq(s[i].nr_accessed, in[i] ? HS_BASE_PER_HUGE : 0);
		}
	}
	ck_assert_uint_ge(vmm_smaps_kb(&guest, "AnonHugePages"), NR_HUGE * 2048);
	close_view();
}
END_TEST

/* A guest that never leaves its loop: no translation that the processor has cached hides its accesses. */
START_TEST(test_ept_nested_never_hidden)
{
	struct hs_huge_sample s[NR_HUGE];
	const uint32_t pages[] = { 2 * HS_BASE_PER_HUGE, 25 * HS_BASE_PER_HUGE };

	open_view(&two_slots);
	vmm_spin(&guest, pages, 2, false);
	for (int round = 0; round < 50; round++) {
		age();
		vmm_await_rounds(&guest, 3);
		sample(s);
		for (uint32_t i = 0; i < NR_HUGE; i++)
			ck_assert_uint_eq(s[i].accessed, i == 2 || i == 25 ? HS_YES : HS_NO);
	}
	vmm_unspin(&guest);
	close_view();
}
END_TEST

/* Where bits are cleared, the guest has no faults for it but one, and what it has cached is flushed each time. */
START_TEST(test_ept_nested_cost)
{
	enum { NR_BASE = 100 };
	struct vmm_config cfg = two_slots;
	struct hs_huge_sample s[NR_HUGE];
	uint32_t pages[NR_HUGE + NR_BASE], nr = 0;
	long long faults, flushes;

	for (uint32_t i = 0; i < NR_HUGE; i++)
		pages[nr++] = i * HS_BASE_PER_HUGE + 5;
	for (uint32_t i = 0; i < NR_BASE; i++)
		pages[nr++] = 21 * HS_BASE_PER_HUGE + 10 + i * 3;
	cfg.nr_split = 1;
	cfg.split_huge[0] = 21;
	cfg.cut_folios = _i;
	open_view(&cfg);
	vmm_touch(&guest, pages, nr, true);
	for (int round = 0; round < 20; round++) {
		faults = vmm_kvm_stat(&guest, "pf_taken");
		flushes = vmm_kvm_stat(&guest, "remote_tlb_flush_requests");
		age();
		ck_assert_int_gt(vmm_kvm_stat(&guest, "remote_tlb_flush_requests"), flushes);
		vmm_touch(&guest, pages, nr, round & 1);
		faults = vmm_kvm_stat(&guest, "pf_taken") - faults;
		if (by_page_idle())
			ck_assert_int_le(faults, 1);
		else
			ck_assert_int_ge(faults, nr);
		sample(s);
		for (uint32_t i = 0; i < NR_HUGE; i++)
			ck_assert_uint_eq(s[i].accessed, HS_YES);
		ck_assert_uint_eq(s[21].nr_accessed, NR_BASE + 1);
	}
	close_view();
}
END_TEST

/* What other processes have accessed stays what it is, beside the guest's memory. */
START_TEST(test_ept_nested_others_untouched)
{
	enum { NR = 8 };
	const size_t len = NR * HS_HUGE_SIZE;
	struct hs_huge_sample s[NR];
	struct hs_view *other;
	hs_huge_nr first = 0;
	char *p;
	int rc;

	open_view(&two_slots); /* first: the guest's process is made from this one */
	p = mmap(NULL, len + HS_HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(p != MAP_FAILED);
	p += -(uintptr_t)p & (HS_HUGE_SIZE - 1);
	ck_assert_int_eq(madvise(p, len, MADV_HUGEPAGE), 0);
	memset(p, 1, len);
	rc = hs_view_open_host(&other, &host, getpid(), NULL, len, &err);
	ck_assert_msg(!rc, "%s", err.text);
	while (hs_view_hva(other, first).v != (uintptr_t)p)
		ck_assert_uint_lt(++first, other->nr_huge);
	for (int round = 0; round < 5; round++) {
		age();
		ck_assert_int_eq(hs_view_sample_huge(other, first, NR, s, &err), 0);
		for (int i = 0; i < NR; i++) {
			ck_assert_uint_eq(s[i].state, HS_MAP_HUGE);
			ck_assert_uint_eq(s[i].accessed, HS_YES);
		}
	}
	ck_assert_int_eq(hs_view_age(other, &err), 0);
	ck_assert_int_eq(hs_view_sample_huge(other, first, NR, s, &err), 0);
	for (int i = 0; i < NR; i++)
		ck_assert_uint_eq(s[i].accessed, HS_NO);
	hs_view_close(other);
	close_view();
}
END_TEST

/* Pages that a second process maps as well: the guest's accesses are seen, and the other's stay recorded. */
START_TEST(test_ept_nested_shared_by_fork)
{
	struct hs_huge_sample s[NR_HUGE];
	struct hs_view *other;
	uint32_t list[NR_HUGE], seen, ms = 0;
	bool in[NR_HUGE];

	open_view(&two_slots);
	ck_assert_int_eq(hs_view_open_host(&other, &host, vmm_copy(&guest), NULL, UINT64_C(8) << 20, &err), 0);
	ck_assert_uint_eq(other->nr_huge, NR_HUGE);
	do {
		(void)usleep(1000);
		ck_assert_int_eq(hs_view_sample_huge(other, 0, NR_HUGE, s, &err), 0);
		seen = 0;
		for (uint32_t i = 0; i < NR_HUGE; i++)
			seen += s[i].accessed == HS_YES;
	} while (seen < NR_HUGE && ms++ < 10000);
	ck_assert_uint_eq(seen, NR_HUGE);
	srandom(13);
	for (int round = 0; round < 20; round++) {
		uint32_t nr = random_set(in, list, NR_HUGE, HS_BASE_PER_HUGE);

		age();
		vmm_touch(&guest, list, nr, false);
		sample(s);
		for (uint32_t i = 0; i < NR_HUGE; i++)
			ck_assert_msg(s[i].accessed == (in[i] ? HS_YES : HS_NO), "round %d, huge page %u: %u", round, i,
				      s[i].accessed);
		ck_assert_int_eq(hs_view_sample_huge(other, 0, NR_HUGE, s, &err), 0);
		for (uint32_t i = 0; i < NR_HUGE; i++) {
			ck_assert_uint_eq(s[i].state, HS_MAP_HUGE);
			ck_assert_uint_eq(s[i].accessed, HS_YES);
		}
	}
	hs_view_close(other);
	close_view();
}
END_TEST

/* Base pages, where the host maps base pages: of what is one huge page for the kernel, or 512 pages. */
START_TEST(test_ept_nested_base_accessed_exactly)
{
	struct vmm_config cfg = two_slots;
	const hs_huge_nr huge[] = { 1, 21 };
	struct hs_base_sample s[2];
	struct hs_huge_sample h[NR_HUGE];
	static uint32_t list[2 * HS_BASE_PER_HUGE];
	static bool in[2 * HS_BASE_PER_HUGE];

	cfg.split_huge[0] = 1;
	cfg.split_huge[1] = 21;
	cfg.nr_split = 2;
	cfg.cut_folios = _i;
	open_view(&cfg);
	srandom(12);
	for (int round = 0; round < 40; round++) {
		uint32_t nr = random_set(in, list, 2 * HS_BASE_PER_HUGE, 1), counts[2] = { 0, 0 };

		for (uint32_t i = 0; i < nr; i++) {
			counts[list[i] / HS_BASE_PER_HUGE]++;
			list[i] = huge[list[i] / HS_BASE_PER_HUGE] * HS_BASE_PER_HUGE + list[i] % HS_BASE_PER_HUGE;
		}
		age();
		vmm_touch(&guest, list, nr, round & 1);
		ck_assert_int_eq(hs_view_sample_base(view, huge, 2, s, &err), 0);
		sample(h);
		for (uint32_t i = 0; i < 2 * HS_BASE_PER_HUGE; i++)
			ck_assert_msg(hs_bits_test(&s[i / 512].accessed, i % 512) == in[i], "round %d, page %u", round,
				      i);
		for (int k = 0; k < 2; k++) {
			ck_assert_uint_eq(s[k].state, HS_MAP_SPLIT);
			ck_assert_uint_eq(h[huge[k]].state, HS_MAP_SPLIT);
			ck_assert_uint_eq(h[huge[k]].nr_accessed, counts[k]);
			ck_assert_uint_eq(h[huge[k]].accessed, counts[k] ? HS_YES : HS_NO);
		}
	}
	close_view();
}
END_TEST

/* The VMM's own accesses are accesses, too. */
START_TEST(test_ept_nested_sees_the_vmm)
{
	struct hs_huge_sample s[NR_HUGE];

	open_view(&two_slots);
	age();
	vmm_touch_from_host(&guest, 9 * HS_BASE_PER_HUGE + 77);
	sample(s);
	for (uint32_t i = 0; i < NR_HUGE; i++)
		ck_assert_uint_eq(s[i].accessed, i == 9 ? HS_YES : HS_NO);
	close_view();
}
END_TEST

/* When memory is plugged, KVM begins all tables anew: what was recorded is lost, so nothing is known. */
START_TEST(test_ept_nested_unknown_after_slots_change)
{
	struct hs_huge_sample s[NR_HUGE];
	const uint32_t page = 3 * HS_BASE_PER_HUGE;

	open_view(&two_slots);
	age();
	vmm_touch(&guest, &page, 1, false);
	vmm_plug(&guest, false);
	sample(s);
	for (uint32_t i = 0; i < NR_HUGE; i++)
		ck_assert_uint_eq(s[i].accessed, HS_UNKNOWN);
	age();
	vmm_touch(&guest, &page, 1, false);
	sample(s);
	for (uint32_t i = 0; i < NR_HUGE; i++)
		ck_assert_uint_eq(s[i].accessed, i == 3 ? HS_YES : HS_NO);
	vmm_plug(&guest, true);
	age();
	sample(s);
	ck_assert_uint_eq(s[25].accessed, HS_NO);
	close_view();
}
END_TEST

/* A slot that is not on the host's huge-page grid: base pages of it are under two huge entries each. */
START_TEST(test_ept_nested_unknown_where_grids_differ)
{
	struct vmm_config cfg = two_slots;
	struct hs_huge_sample s[NR_HUGE];
	const uint32_t page = 25 * HS_BASE_PER_HUGE;

	cfg.slots[1].gpa += 0x1000;
	open_view(&cfg);
	age();
	vmm_touch(&guest, &page, 1, false);
	sample(s);
	for (uint32_t i = 0; i < NR_HUGE; i++)
		ck_assert_uint_eq(s[i].accessed, i < 20 ? HS_NO : HS_UNKNOWN);
	close_view();
}
END_TEST

/* Display memory, which the VMM logs all the time: never cold, and the guest's RAM is seen as ever. */
START_TEST(test_ept_nested_beside_a_display)
{
	struct vmm_config cfg = two_slots;
	struct hs_huge_sample s[NR_HUGE];
	uint32_t list[NR_HUGE];
	bool in[NR_HUGE];

	cfg.display = true;
	open_view(&cfg);
	srandom(14);
	for (int round = 0; round < 10; round++) {
		uint32_t nr = random_set(in, list, NR_HUGE, HS_BASE_PER_HUGE);

		age();
		vmm_touch(&guest, list, nr, round & 1);
		sample(s);
		for (uint32_t i = 0; i < NR_HUGE; i++)
			ck_assert_msg(i < 20 ? s[i].accessed == (in[i] ? HS_YES : HS_NO) : s[i].accessed != HS_NO,
				      "round %d, huge page %u: %u", round, i, s[i].accessed);
	}
	/* The RAM as well: a migration. */
	ck_assert_int_eq(vmm_log(&guest, true), 0);
	ck_assert_int_eq(hs_view_age(view, &err), -EBUSY);
	sample(s);
	for (uint32_t i = 0; i < NR_HUGE; i++)
		ck_assert_uint_ne(s[i].accessed, HS_NO);
	ck_assert_int_eq(vmm_log(&guest, false), 0);
	age();
	close_view();
}
END_TEST

START_TEST(test_ept_nested_guest_ends)
{
	struct hs_huge_sample s[NR_HUGE];

	open_view(&two_slots);
	age();
	vmm_stop(&guest);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, &err), -ESRCH);
	ck_assert_int_eq(hs_view_age(view, &err), -ESRCH);
	hs_view_close(view);
}
END_TEST

static void add_tests(TCase *t)
{
	tcase_set_timeout(t, 100);
	tcase_add_test(t, test_ept_nested_name);
	tcase_add_test(t, test_ept_nested_report);
	tcase_add_test(t, test_ept_nested_unknown_before_ageing);
	tcase_add_test(t, test_ept_nested_huge_accessed_exactly);
	tcase_add_test(t, test_ept_nested_never_hidden);
	tcase_add_loop_test(t, test_ept_nested_cost, 0, 2);
	tcase_add_test(t, test_ept_nested_others_untouched);
	tcase_add_test(t, test_ept_nested_shared_by_fork);
	tcase_add_loop_test(t, test_ept_nested_base_accessed_exactly, 0, 2);
	tcase_add_test(t, test_ept_nested_sees_the_vmm);
	tcase_add_test(t, test_ept_nested_unknown_after_slots_change);
	tcase_add_test(t, test_ept_nested_unknown_where_grids_differ);
	tcase_add_test(t, test_ept_nested_beside_a_display);
	tcase_add_test(t, test_ept_nested_guest_ends);
}

int main(void)
{
	Suite *s = suite_create("kvm/view");
	TCase *t = tcase_create("view");

	if (access("/dev/kvm", R_OK | W_OK))
		return hs_test_skip("kvm/view", "there is no /dev/kvm");
	add_tests(t);
	suite_add_tcase(s, t);
	if (!access(BITMAP, F_OK)) { /* the next best way, too */
		t = tcase_create("view without page_idle");
		tcase_add_checked_fixture(t, hide_page_idle, NULL);
		add_tests(t);
		suite_add_tcase(s, t);
	}
	return hs_test_run(s);
}
