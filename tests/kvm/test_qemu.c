/* SPDX-License-Identifier: Apache-2.0 */
/* The command on real guests: two QEMU machines under KVM with a skewed workload, looked at and shared. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "hs_test.h"

#define NR_HUGE     40
#define PATIENCE_MS 100000 /* a guest is up after 10 to 25 s */
#define NOT_UP      "/tmp/not-up"
#define TRY_AGAIN   75 /* EX_TEMPFAIL: host.sh does */

static struct hs_error err;

#define OK(call)                                                                                                       \
	do {                                                                                                           \
		int ok_rc = (call);                                                                                    \
		ck_assert_msg(!ok_rc, "%s: %d: %s", #call, ok_rc, err.text);                                           \
	} while (0)

static void start(struct hs_guest **g, uint64_t seed)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_QEMU);

	cfg.name = seed == 1 ? "a" : "b";
	cfg.params.nr_huge = NR_HUGE;
	cfg.params.seed = seed;
	cfg.params.rate = 50000; /* emulated processors */
	cfg.accel = "kvm";
	cfg.program = "/bin/hs-guest-init";
	cfg.kernel = "/bin/vmlinuz";
	OK(hs_guest_start(g, &cfg, &err));
}

static json_t *run(const char *command)
{
	json_error_t bad;
	FILE *f = popen(command, "r");
	json_t *j;
	int status;

	ck_assert_ptr_nonnull(f);
	j = json_loadf(f, 0, &bad);
	status = pclose(f);
	ck_assert_msg(j && !status, "%s: status %#x: %s", command, status, j ? "" : bad.text);
	return j;
}

static long long number(const json_t *j, const char *object, const char *name)
{
	const json_t *n = json_object_get(json_object_get(j, object), name);

	ck_assert_msg(json_is_integer(n), "no %s.%s", object, name);
	return json_integer_value(n);
}

START_TEST(test_kvm_qemu_shares)
{
	struct hs_guest *g[2];
	struct hs_guest_counts truth;
	struct hs_guest_verified v;
	struct hs_guest_memory m;
	struct hs_guest_stats st;
	char command[256];
	json_t *j;

	start(&g[0], 1);
	start(&g[1], 2);
	for (int i = 0; i < 2; i++) {
		int rc = hs_guest_wait_ready(g[i], PATIENCE_MS, NULL, &err);

		/* Nothing of ours has touched it yet: the emulation's fault. */
		if (rc)
			(void)close(open(NOT_UP, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		ck_assert_msg(!rc, "%s", err.text);
	}
	hs_guest_layout_count(hs_guest_layout(g[0]), &truth);

	(void)snprintf(command, sizeof(command), "hs-share inspect --pid %d --interval 400 --json --quiet",
		       (int)hs_guest_pid(g[0]));
	j = run(command);
	printf("%s: hot %lld, hot bloat %lld, cold %lld\n", json_string_value(json_object_get(j, "view")),
	       number(j, "heat", "hot"), number(j, "heat", "hot_bloat"), number(j, "heat", "cold"));
	ck_assert(!strncmp(json_string_value(json_object_get(j, "view")), "nested page tables (NPT)", 24));
	ck_assert_int_ge(number(j, "heat", "hot"), truth.nr_class[HS_GUEST_HOT]);
	json_decref(j);

	(void)snprintf(command, sizeof(command),
		       "hs-share run --pid %d --pid %d --interval 400 --cycles 2 --rest 0 --keep-shared --json --quiet",
		       (int)hs_guest_pid(g[0]), (int)hs_guest_pid(g[1]));
	j = run(command);
	for (int i = 0; i < 2; i++) {
		const json_t *guest = json_array_get(json_object_get(j, "guests"), (size_t)i);

		OK(hs_guest_memory(hs_guest_pid(g[i]), &m, &err));
		printf("guest %d: shared %lld, zero %lld; truth: cold %u, identical %u, zero %u; still huge %llu MiB\n",
		       i, number(guest, "ledger", "shared_pages"), number(guest, "ledger", "zero_pages"), truth.nr_cold,
		       truth.nr_cold_identical, truth.nr_cold_zero, (unsigned long long)m.huge_bytes >> 20);
		/* Half of what could be at least: the rest depends on what the machine's scheduler lets them do. */
		ck_assert_int_ge(number(guest, "ledger", "shared_pages"), truth.nr_cold_identical / 2);
		ck_assert_uint_ge(m.huge_bytes, truth.nr_class[HS_GUEST_HOT] * HS_HUGE_SIZE);
		OK(hs_guest_verify_from_host(g[i], &v, &err));
		ck_assert_uint_eq(v.bad_pages, 0);
		OK(hs_guest_stats(g[i], &st, &err));
		ck_assert_uint_gt(st.accesses, 0);
		ck_assert_uint_eq(st.hot_errors, 0);
	}
	json_decref(j);
	for (int i = 0; i < 2; i++)
		hs_guest_stop(g[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/qemu");
	TCase *t = tcase_create("qemu");
	int rc;

	if (access("/dev/kvm", R_OK | W_OK) || access("/bin/vmlinuz", R_OK))
		return hs_test_skip("kvm/qemu", "there is no /dev/kvm, or no guest kernel");
	tcase_set_timeout(t, 380);
	tcase_add_test(t, test_kvm_qemu_shares);
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	return access(NOT_UP, F_OK) ? rc : TRY_AGAIN;
}
