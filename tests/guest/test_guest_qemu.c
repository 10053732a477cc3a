/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU guests: two machines at once, with and without mergeable RAM, and QEMU's sandbox. */
#include <inttypes.h>

#include "guest_checks.h"

#define NR_HUGE 48U

static struct hs_guest_config config(uint64_t seed)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_QEMU);

	cfg.params.nr_huge = NR_HUGE;
	cfg.params.seed = seed;
	return cfg;
}

/* Whether the RAM is marked mergeable (VmFlags mg) in QEMU's process. */
static bool is_mergeable(const struct hs_guest *g)
{
	char path[64], line[1024];
	uint64_t start = 0, end = 0;
	bool mergeable = false, found = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)hs_guest_pid(g));
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		uint64_t from, to;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
			start = from;
			end = to;
		} else if (!strncmp(line, "VmFlags:", 8) && start <= hs_guest_hva(g, 0).v &&
			   hs_guest_hva(g, 0).v < end) {
			found = true;
			mergeable = strstr(line, " mg") != NULL;
		}
	}
	(void)fclose(f);
	ck_assert(found);
	return mergeable;
}

START_TEST(test_guest_qemu_commands)
{
	struct hs_guest_config cfg_a = config(1), cfg_b = config(2);
	struct hs_guest_info info;
	struct hs_guest_stats s;
	struct hs_error err = { "" };
	struct hs_guest *a = NULL, *b = NULL;

	cfg_b.mem_merge_off = true;
	cfg_b.sandbox = true;
	OK(hs_guest_start(&a, &cfg_a, &err));
	OK(hs_guest_start(&b, &cfg_b, &err));
	OK(hs_guest_wait_ready(a, 120000, &info, &err));
	OK(hs_guest_wait_ready(b, 120000, NULL, &err));
	ck_assert_uint_gt(info.ready_ns, info.fill_ns);
	ck_assert(is_mergeable(a));
	ck_assert(!is_mergeable(b));
	check_identical(a, b);
	check_commands(a);
	OK(hs_guest_stats(b, &s, &err));
	ck_assert_uint_gt(s.accesses, 0);
	OK(hs_guest_locate(b, &err));
	check_finds_damage(a, 40 * 512 + 100);
	check_killed(b);
	hs_guest_stop(a);
	hs_guest_stop(b);
}
END_TEST

START_TEST(test_guest_qemu_ends)
{
	struct hs_guest_config cfg = config(1);

	check_dies_with_starter(&cfg);
}
END_TEST

START_TEST(test_guest_qemu_refusals)
{
	struct hs_guest_config cfg = config(1);
	struct hs_error err = { "" };
	struct hs_guest *g = NULL;

	cfg.ram_mib = 2048;
	ck_assert_int_eq(hs_guest_start(&g, &cfg, &err), -EINVAL);
	cfg.ram_mib = 32;
	ck_assert_int_eq(hs_guest_start(&g, &cfg, &err), -EINVAL);
	cfg.ram_mib = 0;
	cfg.qemu = "qemu-system-nonexistent";
	ck_assert_int_eq(hs_guest_start(&g, &cfg, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "qemu-system-nonexistent"));
	cfg.qemu = NULL;
	cfg.program = "/nonexistent/init";
	ck_assert_int_eq(hs_guest_start(&g, &cfg, &err), -ENOENT);
	cfg.program = NULL;
	/* QEMU's own complaint reaches whoever waits. */
	cfg.kernel = "/nonexistent/vmlinuz";
	OK(hs_guest_start(&g, &cfg, &err));
	ck_assert_int_eq(hs_guest_wait_ready(g, 30000, NULL, &err), -EPIPE);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/vmlinuz"));
	hs_guest_stop(g);
	/* And the guest kernel's: no memory for what the workload wants ends the machine at once. */
	cfg.kernel = NULL;
	cfg.ram_mib = 128;
	OK(hs_guest_start(&g, &cfg, &err));
	ck_assert_int_eq(hs_guest_wait_ready(g, 120000, NULL, &err), -EPIPE);
	hs_guest_stop(g);
}
END_TEST

int main(void)
{
	struct hs_guest_config cfg = config(1);
	struct hs_error err = { "" };
	Suite *s = suite_create("guest qemu");
	TCase *c = tcase_create("qemu");

	if (geteuid() != 0)
		return hs_test_skip("guest qemu", "reading other processes' memory needs root");
	if (hs_guest_qemu_available(&cfg, &err))
		return hs_test_skip("guest qemu", err.text);
	tcase_set_timeout(c, 280);
	tcase_add_test(c, test_guest_qemu_commands);
	tcase_add_test(c, test_guest_qemu_ends);
	tcase_add_test(c, test_guest_qemu_refusals);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
