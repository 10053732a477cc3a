/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host with two nodes whose kernel moves memory between them: it takes entries out of KVM's tables in a window. No
 * huge page that was not looked into may be left split after it.
 */
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "base/host_facts.h"
#include "age.h"
#include "vmm.h"

#define NR_HUGE 64

static const struct hs_host host = HS_HOST_DEFAULT;
static struct hs_error err;

static void good(int rc)
{
	ck_assert_msg(!rc, "%d: %s", rc, err.text);
}

static void put(const char *path, const char *text)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

#define LIMIT_MS 30000 /* for what has to happen, on a machine of whatever speed */

/* All huge pages are mapped by 2 MiB entries again, however often some are taken out. */
static void await_huge(struct vmm *m)
{
	for (int ms = 0; ms < LIMIT_MS && vmm_kvm_stat(m, "pages_2m") < NR_HUGE; ms++) {
		vmm_await_rounds(m, 1);
		(void)usleep(1000);
	}
	ck_assert_int_eq(vmm_kvm_stat(m, "pages_2m"), NR_HUGE);
}

/* A window ends at the first ageing that finds others split, and they are huge again. */
START_TEST(test_ept_nested_numa_bystanders)
{
	const struct vmm_config cfg = { .nr_huge = NR_HUGE, .nr_slots = 1, .slots = { { 0x10000000, 0, NR_HUGE } } };
	const hs_huge_nr chosen[] = { 7 };
	uint32_t pages[NR_HUGE], nr_disturbed = 0;
	struct hs_remote *remote;
	struct hs_view *view;
	struct vmm guest;
	long long small;

	/* As often as it goes, so that it happens in a window. */
	put("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "10\n");
	put("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "100\n");
	put("/sys/kernel/debug/sched/numa_balancing/scan_period_max_ms", "100\n");
	ck_assert(hs_facts_numa_balances(&host));
	ck_assert(vmm_start(&guest, &cfg));
	good(hs_remote_open(&remote, &host, guest.pid, &err));
	good(hs_view_open(&view, &host, guest.pid, remote, UINT64_C(16) << 20, &err));
	for (uint32_t i = 0; i < NR_HUGE; i++)
		pages[i] = i * HS_BASE_PER_HUGE + 9;
	vmm_spin(&guest, pages, NR_HUGE, false);
	for (int window = 0; window < 20 && nr_disturbed < 2; window++) {
		struct hs_base_sample s[1] = { 0 };

		good(age_now(view, &err));
		await_huge(&guest);
		small = vmm_kvm_stat(&guest, "pages_4k");
		good(hs_view_split(view, chosen, 1, NULL, &err));
		for (int age = 0; age < 25; age++) {
			bool disturbed;

			(void)usleep(100000);
			vmm_await_rounds(&guest, 1);
			/* More than the one page that is touched of the chosen one. */
			disturbed = vmm_kvm_stat(&guest, "pages_4k") > small + 1;
			good(age_now(view, &err));
			vmm_await_rounds(&guest, 1);
			good(hs_view_sample_base(view, chosen, 1, s, &err));
			if (disturbed)
				ck_assert_uint_ne(s[0].state, HS_MAP_SPLIT);
			if (s[0].state == HS_MAP_SPLIT)
				continue;
			nr_disturbed++;
			await_huge(&guest);
			break;
		}
		good(hs_view_restore(view, chosen, 1, NULL, &err));
		await_huge(&guest);
	}
	ck_assert_uint_ge(nr_disturbed, 2);
	vmm_unspin(&guest);
	hs_view_close(view);
	hs_remote_close(remote);
	vmm_stop(&guest);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/numa");
	TCase *t = tcase_create("numa");

	tcase_set_timeout(t, 150);
	tcase_add_test(t, test_ept_nested_numa_bystanders);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
