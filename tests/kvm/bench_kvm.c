/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What looking at a guest under KVM costs, in counts: emulation makes times meaningless. Run by bench.sh in a KVM host
 * of its own; prints one table. All ways in one run, on the same guest.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "vmm.h"

#define NR_HUGE  256 /* 512 MiB */
#define NR_SPLIT 32
#define HOT_BASE 64 /* base pages touched in each huge page that is looked into */

static const struct hs_host host = HS_HOST_DEFAULT;
static struct hs_error err;
static struct vmm guest;
static struct hs_remote *remote;

struct counts {
	long long faults, exits, flushes, pages_2m;
	uint64_t minor, huge_kb, calls, stops;
};

static uint64_t minor_faults(pid_t pid)
{
	char path[64], line[1024], *s;
	unsigned long long minor = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f) && (s = strrchr(line, ')')) != NULL)
		(void)sscanf(s + 2, "%*c %*d %*d %*d %*d %*d %*u %llu", &minor);
	if (f)
		(void)fclose(f);
	return minor;
}

static struct counts now(void)
{
	struct hs_remote_stats st;

	hs_remote_stats(remote, &st);
	return (struct counts){ .faults = vmm_kvm_stat(&guest, "pf_taken"),
				.exits = vmm_kvm_stat(&guest, "exits"),
				.flushes = vmm_kvm_stat(&guest, "remote_tlb_flush_requests"),
				.pages_2m = vmm_kvm_stat(&guest, "pages_2m"),
				.minor = minor_faults(guest.pid),
				.huge_kb = vmm_smaps_kb(&guest, "AnonHugePages"),
				.calls = st.nr_calls,
				.stops = st.nr_sessions };
}

static void row(const char *what, const struct counts *a, const struct counts *b)
{
	printf("| %-70s | %8lld | %8" PRIu64 " | %8lld | %6lld | %6" PRIu64 " | %9lld | %9" PRId64 " |\n", what,
	       b->faults - a->faults, b->minor - a->minor, b->exits - a->exits, b->flushes - a->flushes,
	       b->calls - a->calls, b->pages_2m, (int64_t)b->huge_kb / 2048);
}

static void must(int rc)
{
	ck_assert_msg(!rc, "%s", err.text);
}

/* One base page in each of the first nr huge pages. */
static void touch(uint32_t nr)
{
	uint32_t pages[NR_HUGE];

	for (uint32_t i = 0; i < nr; i++)
		pages[i] = i * HS_BASE_PER_HUGE + 3;
	vmm_touch(&guest, pages, nr, true);
}

/* HOT_BASE base pages in each of the first NR_SPLIT huge pages. */
static void touch_inside(void)
{
	static uint32_t pages[NR_SPLIT * HOT_BASE];

	for (uint32_t i = 0; i < NR_SPLIT * HOT_BASE; i++)
		pages[i] = i / HOT_BASE * HS_BASE_PER_HUGE + i % HOT_BASE * (HS_BASE_PER_HUGE / HOT_BASE);
	vmm_touch(&guest, pages, NR_SPLIT * HOT_BASE, true);
}

static void bench_coarse(struct hs_view *v, uint32_t nr)
{
	static struct hs_huge_sample s[NR_HUGE];
	struct counts a, b;
	char what[96];
	uint32_t seen = 0;

	must(hs_view_age(v, &err));
	touch(nr);
	a = now();
	must(hs_view_age(v, &err));
	touch(nr);
	must(hs_view_sample_huge(v, 0, NR_HUGE, s, &err));
	b = now();
	for (uint32_t i = 0; i < NR_HUGE; i++)
		seen += s[i].accessed == HS_YES;
	(void)snprintf(what, sizeof(what), "a round: %u of %u huge pages in use, %u seen", nr, NR_HUGE, seen);
	row(what, &a, &b);
}

static void bench_fine(struct hs_view *v, const char *way, int samples)
{
	static struct hs_base_sample s[NR_SPLIT];
	hs_huge_nr huge[NR_SPLIT];
	struct counts a, b;
	uint32_t seen = 0;
	char what[96];

	for (hs_huge_nr i = 0; i < NR_SPLIT; i++)
		huge[i] = i;
	touch(NR_HUGE);
	a = now();
	must(hs_view_split(v, huge, NR_SPLIT, NULL, &err));
	for (int i = 0; i < samples; i++) {
		must(hs_view_age(v, &err));
		touch_inside();
		must(hs_view_sample_base(v, huge, NR_SPLIT, s, &err));
	}
	b = now();
	for (int i = 0; i < NR_SPLIT; i++)
		seen += hs_bits_count(&s[i].accessed);
	(void)snprintf(what, sizeof(what), "%s: %d looked into, %d samples, %u base pages seen", way, NR_SPLIT, samples,
		       seen);
	row(what, &a, &b);
	must(hs_view_restore(v, huge, NR_SPLIT, NULL, &err));
	touch(NR_HUGE);
	a = now();
	row("... and back, every huge page touched once", &b, &a);
}

static struct hs_view *open_nested(const struct hs_host *of)
{
	struct hs_view *v;

	must(hs_view_open(&v, of, guest.pid, remote, UINT64_C(64) << 20, &err));
	printf("| %s |\n", hs_view_name(v));
	return v;
}

static void bench_nested(const struct hs_host *of)
{
	struct hs_view *v = open_nested(of);

	bench_coarse(v, 0);
	bench_coarse(v, NR_HUGE / 8);
	bench_coarse(v, NR_HUGE);
	if (hs_view_can_split(v))
		bench_fine(v, "nested entries split", 5);
	hs_view_close(v);
}

/* As after sharing: the host itself maps some huge pages by base pages. */
static void bench_base(const struct hs_host *of)
{
	static struct hs_huge_sample s[NR_SPLIT];
	struct hs_view *v = open_nested(of);
	struct counts a, b;
	char what[96];
	uint32_t seen = 0;

	must(hs_view_age(v, &err));
	touch_inside();
	a = now();
	must(hs_view_age(v, &err));
	touch_inside();
	must(hs_view_sample_huge(v, 0, NR_SPLIT, s, &err));
	b = now();
	for (uint32_t i = 0; i < NR_SPLIT; i++)
		seen += s[i].nr_accessed;
	(void)snprintf(what, sizeof(what), "a round: %d huge pages in base pages, %d of these in use, %u seen",
		       NR_SPLIT, NR_SPLIT * HOT_BASE, seen);
	row(what, &a, &b);
	hs_view_close(v);
}

/* A test in form, for what the guest's functions expect of their caller. */
START_TEST(bench_kvm)
{
	const struct vmm_config cfg = {
		.nr_huge = NR_HUGE, .nr_slots = 1, .slots = { { 0x40000000, 0, NR_HUGE } }, .two_spaces = true
	};
	struct hs_host hosts[2] = { HS_HOST_DEFAULT, HS_HOST_DEFAULT };
	const int nr_ways = access("/sys/kernel/mm/page_idle/bitmap", F_OK) ? 1 : 2;
	hs_huge_nr huge[NR_SPLIT];
	struct hs_view *plain;

	hosts[1].sys_dir = "/none"; /* without page_idle */
	for (hs_huge_nr i = 0; i < NR_SPLIT; i++)
		huge[i] = i;
	ck_assert(vmm_start(&guest, &cfg));
	must(hs_remote_open(&remote, &host, guest.pid, &err));
	touch(NR_HUGE);
	printf("a guest of %d MiB\n\n", NR_HUGE * 2);
	printf("| %-70s | %8s | %8s | %8s | %6s | %6s | %9s | %9s |\n", "what", "nested f.", "host f.", "exits",
	       "TLB f.", "calls", "nested 2M", "host 2M");
	printf("|---|---|---|---|---|---|---|---|\n");
	for (int i = 0; i < nr_ways; i++)
		bench_nested(&hosts[i]);
	must(hs_view_open_host(&plain, &host, guest.pid, remote, UINT64_C(64) << 20, &err));
	printf("| %s |\n", hs_view_name(plain));
	bench_fine(plain, "the host's mapping split", 5);
	must(hs_view_split(plain, huge, NR_SPLIT, NULL, &err));
	for (int i = 0; i < nr_ways; i++)
		bench_base(&hosts[i]);
	must(hs_view_restore(plain, huge, NR_SPLIT, NULL, &err));
	hs_view_close(plain);
	hs_remote_close(remote);
	vmm_stop(&guest);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/bench");
	TCase *t = tcase_create("bench");

	if (access("/dev/kvm", R_OK | W_OK))
		return hs_test_skip("kvm/bench", "there is no /dev/kvm");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, bench_kvm);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
