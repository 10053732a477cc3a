/* SPDX-License-Identifier: Apache-2.0 */
/* The test guest itself: that it touches what it is told, through nested page tables, and that these show it. */
#include <unistd.h>

#include "hs_test.h"
#include "vmm.h"

static const struct vmm_config two_slots = {
	.nr_huge = 32,
	.nr_slots = 2,
	.slots = { { 0x40000000, 0, 20 }, { 0x10000000, 20, 12 } },
	.two_spaces = true,
};

START_TEST(test_kvm_vmm_maps_what_it_touches)
{
	struct vmm m;
	uint32_t pages[32];

	ck_assert(vmm_start(&m, &two_slots));
	ck_assert_uint_ge(vmm_smaps_kb(&m, "AnonHugePages"), 32 * 2048);
	ck_assert_int_eq(vmm_kvm_stat(&m, "pages_2m"), 0);
	for (uint32_t i = 0; i < 32; i++)
		pages[i] = i * HS_BASE_PER_HUGE + 5;
	vmm_touch(&m, pages, 7, false);
	ck_assert_int_eq(vmm_kvm_stat(&m, "pages_2m"), 7);
	vmm_touch(&m, pages, 32, true);
	ck_assert_int_eq(vmm_kvm_stat(&m, "pages_2m"), 32);
	vmm_stop(&m);
}
END_TEST

START_TEST(test_kvm_vmm_spins)
{
	struct vmm m;
	const uint32_t pages[] = { 0, 31 * HS_BASE_PER_HUGE };

	ck_assert(vmm_start(&m, &two_slots));
	vmm_spin(&m, pages, 2, false);
	vmm_await_rounds(&m, 100);
	vmm_unspin(&m);
	vmm_stop(&m);
}
END_TEST

/* Logging on splits nothing by itself; what is dropped and touched again while it is on comes back in base pages. */
START_TEST(test_kvm_vmm_logs)
{
	struct vmm m;
	const uint32_t pages[] = { 0, 1, 25 * HS_BASE_PER_HUGE };

	ck_assert(vmm_start(&m, &two_slots));
	vmm_touch(&m, pages, 3, true);
	ck_assert_int_eq(vmm_dirty(&m, 0), -2);
	ck_assert_int_eq(vmm_log(&m, true), 0);
	ck_assert_int_eq(vmm_dirty(&m, 0), 20 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_kvm_stat(&m, "pages_2m"), 2);
	ck_assert_int_eq(vmm_log(&m, false), 0);
	ck_assert_int_eq(vmm_dirty(&m, 0), -2);
	vmm_stop(&m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/vmm");
	TCase *t = tcase_create("vmm");

	if (access("/dev/kvm", R_OK | W_OK))
		return hs_test_skip("kvm/vmm", "there is no /dev/kvm");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_kvm_vmm_maps_what_it_touches);
	tcase_add_test(t, test_kvm_vmm_spins);
	tcase_add_test(t, test_kvm_vmm_logs);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
