/* SPDX-License-Identifier: Apache-2.0 */
/* Process guests: protocol, contents, what is touched and what is not, ends. */
#include <fcntl.h>
#include <inttypes.h>

#include "guest_checks.h"

#define NR_HUGE 32U

static struct hs_guest *start(uint64_t seed, const struct hs_guest_config *from)
{
	struct hs_guest_config cfg = from ? *from : hs_guest_config_default(HS_GUEST_PROCESS);
	struct hs_error err = { "" };
	struct hs_guest *g = NULL;

	cfg.params.nr_huge = NR_HUGE;
	cfg.params.seed = seed;
	OK(hs_guest_start(&g, &cfg, &err));
	return g;
}

static struct hs_guest *start_ready(uint64_t seed, const struct hs_guest_config *from)
{
	struct hs_guest *g = start(seed, from);
	struct hs_error err = { "" };

	OK(hs_guest_wait_ready(g, 60000, NULL, &err));
	return g;
}

START_TEST(test_guest_process_commands)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	struct hs_guest *g;

	cfg.params.threads = 2;
	g = start_ready(1, &cfg);
	check_commands(g);
	check_finds_damage(g, 20 * 512 + 100);
	hs_guest_stop(g);
}
END_TEST

START_TEST(test_guest_process_identical)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	struct hs_guest *a, *b;
	struct hs_error err = { "" };

	cfg.params.scatter = 1;
	cfg.params.cold_dup_percent = 10;
	a = start(1, &cfg);
	b = start(2, &cfg);
	OK(hs_guest_wait_ready(a, 60000, NULL, &err));
	OK(hs_guest_wait_ready(b, 60000, NULL, &err));
	check_identical(a, b);
	hs_guest_stop(a);
	hs_guest_stop(b);
}
END_TEST

START_TEST(test_guest_process_addresses)
{
	struct hs_guest *g = start_ready(1, NULL);
	struct hs_guest_counts c;
	hs_hva hva[NR_HUGE];
	uint32_t nr = 0;

	hs_guest_layout_count(hs_guest_layout(g), &c);
	for (unsigned int cls = 0; cls < HS_GUEST_NR_CLASSES; cls++) {
		uint32_t n = hs_guest_class_hva(g, (enum hs_guest_class)cls, hva + nr, NR_HUGE - nr);

		ck_assert_uint_eq(n, c.nr_class[cls]);
		nr += n;
	}
	ck_assert_uint_eq(nr, NR_HUGE);
	for (uint32_t h = 0; h < NR_HUGE; h++) {
		ck_assert_uint_eq(hva[h].v % HS_HUGE_SIZE, 0);
		ck_assert_uint_eq(hs_guest_huge_at(g, (hs_hva){ hva[h].v + HS_HUGE_SIZE - 1 }), h);
	}
	ck_assert_uint_eq(hs_guest_huge_at(g, (hs_hva){ hva[0].v - 1 }), UINT32_MAX);
	ck_assert_uint_eq(hs_guest_hva(g, NR_HUGE).v, 0);
	hs_guest_stop(g);
}
END_TEST

/* Bytes of the workload's memory that were accessed since the bits were cleared. */
static uint64_t referenced_bytes(const struct hs_guest *g)
{
	char path[64], line[1024];
	uint64_t start = 0, kb = UINT64_MAX;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)hs_guest_pid(g));
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		uint64_t from, to;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			start = from;
		else if (start == hs_guest_hva(g, 0).v)
			(void)sscanf(line, "Referenced: %" SCNu64, &kb);
	}
	(void)fclose(f);
	ck_assert_uint_ne(kb, UINT64_MAX);
	return kb * 1024;
}

/*
 * "1" clears the accessed bits but leaves the hardware's cached translations, which would hide accesses; "4" (which is
 * about another bit) flushes those of the whole process.
 */
static void clear_referenced(const struct hs_guest *g)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/clear_refs", (int)hs_guest_pid(g));
	for (const char *what = "14"; *what; what++) {
		int fd = open(path, O_WRONLY | O_CLOEXEC);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(write(fd, what, 1), 1);
		ck_assert_int_eq(close(fd), 0);
	}
}

START_TEST(test_guest_process_cold_is_not_touched)
{
	static const struct {
		uint64_t hot, bloat;
	} cases[] = { { 25, 25 }, { 0, 0 }, { 0, 50 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
		struct hs_guest_verified v;
		struct hs_guest_stats s;
		struct hs_guest_counts c;
		struct hs_error err = { "" };
		struct hs_guest *g;
		uint64_t most;

		cfg.params.hot_percent = cases[i].hot;
		cfg.params.bloat_percent = cases[i].bloat;
		g = start_ready(1, &cfg);
		hs_guest_layout_count(hs_guest_layout(g), &c);
		most = (c.nr_class[HS_GUEST_HOT] + c.nr_class[HS_GUEST_BLOAT]) * HS_HUGE_SIZE;
		clear_referenced(g);
		sleep_ms(500);
		OK(hs_guest_stats(g, &s, &err));
		ck_assert_uint_le(referenced_bytes(g), most);
		ck_assert_int_eq(most > 0, referenced_bytes(g) > 0);
		/* The check can fail: whoever reads everything is seen. */
		OK(hs_guest_verify(g, &v, &err));
		ck_assert_uint_eq(v.bad_pages, 0);
		ck_assert_uint_gt(referenced_bytes(g), most);
		hs_guest_stop(g);
	}
}
END_TEST

START_TEST(test_guest_process_rate)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	struct hs_guest_stats s;
	struct hs_error err = { "" };
	struct hs_guest *g;

	cfg.params.rate = 100000;
	g = start_ready(1, &cfg);
	OK(hs_guest_stats(g, &s, &err));
	sleep_ms(1000);
	OK(hs_guest_stats(g, &s, &err));
	/* Never faster; how much slower is the machine's affair. */
	ck_assert(s.accesses_per_s < 115000);
	ck_assert(s.accesses > 0);
	hs_guest_stop(g);
}
END_TEST

START_TEST(test_guest_process_ends)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	struct hs_guest *g = start_ready(1, NULL);

	check_killed(g);
	hs_guest_stop(g);
	hs_guest_stop(NULL);
	cfg.params.nr_huge = NR_HUGE;
	check_dies_with_starter(&cfg);
}
END_TEST

START_TEST(test_guest_process_refusals)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	struct hs_error err = { "" };
	struct hs_guest *g = NULL;

	cfg.params.nr_huge = 0;
	ck_assert_int_eq(hs_guest_start(&g, &cfg, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "--huge=0"));
	cfg.params.nr_huge = 4;
	cfg.program = "/nonexistent/hs-guest";
	ck_assert_int_eq(hs_guest_start(&g, &cfg, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/hs-guest"));
	cfg.program = "/bin/false";
	OK(hs_guest_start(&g, &cfg, &err));
	ck_assert_int_eq(hs_guest_wait_ready(g, 10000, NULL, &err), -EPIPE);
	ck_assert_ptr_nonnull(strstr(err.text, "exit status 1"));
	hs_guest_stop(g);
	/* One that says something else than it should. */
	cfg.program = "/bin/echo";
	OK(hs_guest_start(&g, &cfg, &err));
	ck_assert_int_eq(hs_guest_wait_ready(g, 10000, NULL, &err), -EPROTO);
	hs_guest_stop(g);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("guest");
	TCase *c = tcase_create("process");

	if (geteuid() != 0)
		return hs_test_skip("guest", "reading other processes' memory needs root");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, test_guest_process_commands);
	tcase_add_test(c, test_guest_process_identical);
	tcase_add_test(c, test_guest_process_addresses);
	tcase_add_test(c, test_guest_process_cold_is_not_touched);
	tcase_add_test(c, test_guest_process_rate);
	tcase_add_test(c, test_guest_process_ends);
	tcase_add_test(c, test_guest_process_refusals);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
