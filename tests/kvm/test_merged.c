/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses to pages that KSM has merged: seen exactly, as those of any other page are. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "age.h"
#include "vmm.h"

#define NR_HUGE   8
#define NR_MERGED 2 /* the first ones */
#define NR_PAGES  (NR_MERGED * HS_BASE_PER_HUGE)

static struct hs_host host = HS_HOST_DEFAULT;
static struct vmm guest;
static struct hs_view *view;
static struct hs_remote *remote;
static struct hs_error err;

static const struct vmm_config one_slot = {
	.nr_huge = NR_HUGE, .nr_slots = 1, .slots = { { 0x40000000, 0, NR_HUGE } }, .two_spaces = true
};

static void good(int rc)
{
	ck_assert_msg(!rc, "%d: %s", rc, err.text);
}

static void put_knob(const char *name, const char *value)
{
	char path[96];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", host.ksm_dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_msg(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value), "%s", path);
	close(fd);
}

static unsigned long full_scans(void)
{
	char path[96], text[32] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "%s/full_scans", host.ksm_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	return strtoul(text, NULL, 10);
}

static uint32_t contents[NR_HUGE * HS_BASE_PER_HUGE];

static void merge(void)
{
	struct hs_remote_op op = { .start = guest.base,
				   .end = guest.base + NR_MERGED * HS_HUGE_SIZE,
				   .advice = MADV_MERGEABLE };
	unsigned long from;

	vmm_fill(&guest, contents);
	good(hs_remote_madvise(remote, &op, 1, &err));
	good(op.result);
	put_knob("use_zero_pages", "1");
	put_knob("pages_to_scan", "4096");
	put_knob("sleep_millisecs", "5");
	put_knob("run", "1");
	from = full_scans();
	for (int ms = 0; full_scans() < from + 5; ms += 10) {
		ck_assert_int_lt(ms, 60000);
		(void)usleep(10000);
	}
	put_knob("run", "0");
}

static void check_merged(void)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	uint32_t ksm = 0, zero = 0;

	for (hs_huge_nr h = 0; h < NR_MERGED; h++) {
		good(hs_view_frames(view, h, frames, &err));
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
			zero += (frames[i].flags & HS_FRAME_ZERO) != 0;
			ksm += (frames[i].flags & (HS_FRAME_KSM | HS_FRAME_ZERO)) == HS_FRAME_KSM;
		}
	}
	ck_assert_uint_eq(ksm, NR_PAGES / 2);
	ck_assert_uint_eq(zero, NR_PAGES / 4);
}

/* _i: without page_idle, where the kernel has it. */
START_TEST(test_ept_nested_merged_exactly)
{
	const hs_huge_nr huge[NR_MERGED] = { 0, 1 };
	struct hs_base_sample s[NR_MERGED];
	static uint32_t list[NR_PAGES];
	static bool in[NR_PAGES];

	if (_i)
		host.sys_dir = "/none";
	ck_assert(vmm_start(&guest, &one_slot));
	good(hs_remote_open(&remote, &host, guest.pid, &err));
	good(hs_view_open(&view, &host, guest.pid, remote, UINT64_C(8) << 20, &err));
	/* Of four pages one is zero, one is the guest's own, two are as their neighbours in the other huge page. */
	for (uint32_t i = 0; i < NR_HUGE * HS_BASE_PER_HUGE; i++)
		contents[i] = i % 4 == 0 ? 0 : i % 4 == 1 ? 5000 + i : 100 + i % HS_BASE_PER_HUGE;
	merge();
	check_merged();
	srandom(31);
	for (int round = 0; round < 30; round++) {
		uint32_t one_in = 1 + (uint32_t)random() % 20, nr = 0;

		for (uint32_t i = 0; i < NR_PAGES; i++) {
			in[i] = !((uint32_t)random() % one_in);
			if (in[i])
				list[nr++] = i;
		}
		good(age_now(view, &err));
		vmm_touch(&guest, list, nr, false);
		good(hs_view_sample_base(view, huge, NR_MERGED, s, &err));
		for (uint32_t i = 0; i < NR_PAGES; i++)
			ck_assert_msg(hs_bits_test(&s[i / 512].accessed, i % 512) == in[i],
				      "round %d, page %u: state %d, touched %d", round, i, s[i / 512].state, in[i]);
	}
	check_merged();
	hs_view_close(view);
	hs_remote_close(remote);
	vmm_stop(&guest);
}
END_TEST

/* Ending the sharing leaves entries read-only in many kernels, and those refuse to collapse what is that throughout. */
START_TEST(test_ept_nested_merged_and_back)
{
	const hs_huge_nr huge[NR_MERGED] = { 0, 1 };
	struct hs_remote_op op = { .advice = MADV_UNMERGEABLE };
	struct hs_huge_sample s[NR_HUGE];
	int results[NR_MERGED];

	ck_assert(vmm_start(&guest, &one_slot));
	good(hs_remote_open(&remote, &host, guest.pid, &err));
	good(hs_view_open(&view, &host, guest.pid, remote, UINT64_C(8) << 20, &err));
	for (uint32_t i = 0; i < NR_HUGE * HS_BASE_PER_HUGE; i++)
		contents[i] = i < NR_PAGES ? 100 + i % HS_BASE_PER_HUGE : 5000 + i;
	merge();
	op.start = guest.base;
	op.end = guest.base + NR_MERGED * HS_HUGE_SIZE;
	good(hs_remote_madvise(remote, &op, 1, &err));
	good(op.result);
	good(hs_view_sample_huge(view, 0, NR_HUGE, s, &err));
	ck_assert(s[0].state == HS_MAP_SPLIT && s[1].state == HS_MAP_SPLIT);
	good(hs_view_restore(view, huge, NR_MERGED, results, &err));
	ck_assert_msg(!results[0] && !results[1], "%d %d", results[0], results[1]);
	good(hs_view_sample_huge(view, 0, NR_HUGE, s, &err));
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(s[h].state, HS_MAP_HUGE);
	ck_assert_uint_eq(vmm_bad_pages(&guest, contents), 0);
	hs_view_close(view);
	hs_remote_close(remote);
	vmm_stop(&guest);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/merged");
	TCase *t = tcase_create("merged");

	if (access("/dev/kvm", R_OK | W_OK))
		return hs_test_skip("kvm/merged", "there is no /dev/kvm");
	tcase_set_timeout(t, 150);
	tcase_add_loop_test(t, test_ept_nested_merged_exactly, 0,
			    access("/sys/kernel/mm/page_idle/bitmap", F_OK) ? 1 : 2);
	tcase_add_test(t, test_ept_nested_merged_and_back);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
