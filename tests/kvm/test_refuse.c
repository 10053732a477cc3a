/* SPDX-License-Identifier: Apache-2.0 */
/* Guests under KVM that cannot be seen: reported so, and left alone. The host has KVM with tdp_mmu=0. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hs/view.h"
#include "hs_test.h"
#include "vmm.h"

START_TEST(test_ept_nested_refuses_shadow_tables)
{
	const struct vmm_config cfg = { .nr_huge = 16, .nr_slots = 1, .slots = { { 0x10000000, 0, 16 } } };
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_error err = { "" };
	struct hs_view *view;
	struct vmm guest;

	ck_assert(vmm_start(&guest, &cfg));
	ck_assert_int_eq(hs_view_open(&view, &host, guest.pid, NULL, UINT64_C(16) << 20, &err), -ENOTSUP);
	ck_assert_msg(strstr(err.text, "shadow page tables") != NULL, "%s", err.text);
	ck_assert_msg(strstr(err.text, "tdp_mmu=1") != NULL, "%s", err.text);
	vmm_stop(&guest);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/refuse");
	TCase *t = tcase_create("refuse");

	if (access("/dev/kvm", R_OK | W_OK))
		return hs_test_skip("kvm/refuse", "there is no /dev/kvm");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_ept_nested_refuses_shadow_tables);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
