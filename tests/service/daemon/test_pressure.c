/* SPDX-License-Identifier: Apache-2.0 */
/* Mode auto: its two readings, from files that are made up here, and the rule. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/daemon/pressure.h"

/* ---- the rule ---- */

static const struct {
	const char *what;
	bool saving, decided;
	uint64_t since_ms, now_ms;
	double available, psi; /* percent */
	bool switches;
} decisions[] = {
	{ "enough memory", false, false, 0, 0, 30, 0, false },
	{ "memory short", false, false, 0, 0, 19, 0, true },
	{ "at the mark", false, false, 0, 0, 20, 0, false },
	{ "tasks wait", false, false, 0, 0, 50, 11, true },
	{ "the kernel does not say", false, false, 0, 0, 50, -1, false },
	{ "between the marks it goes on", true, true, 0, 1000000, 30, 0, false },
	{ "enough again", true, true, 0, 1000000, 36, 0, true },
	{ "enough, but tasks wait", true, true, 0, 1000000, 36, 2, false },
	{ "enough, no PSI", true, true, 0, 1000000, 36, -1, true },
	{ "too soon", true, true, 900000, 1000000, 36, 0, false },
	{ "too soon to save again", false, true, 900000, 1000000, 5, 0, false },
};

START_TEST(test_service_pressure_decide)
{
	struct hs_pressure_state s = { decisions[_i].saving, decisions[_i].decided, decisions[_i].since_ms };
	const struct hs_pressure p = { .total_bytes = 1000000,
				       .available_bytes = (uint64_t)(decisions[_i].available * 10000),
				       .psi_some_avg10 = decisions[_i].psi };
	struct hs_pressure_config c;
	struct hs_config cfg;
	char why[256] = "";

	hs_config_defaults(&cfg);
	c = cfg.pressure;
	ck_assert_msg(hs_pressure_decide(&s, &c, &p, decisions[_i].now_ms, why) == decisions[_i].switches, "%s",
		      decisions[_i].what);
	ck_assert_int_eq(s.saving, decisions[_i].saving != decisions[_i].switches);
	ck_assert_int_eq(why[0] != '\0', decisions[_i].switches);
}
END_TEST

START_TEST(test_service_pressure_unknown_changes_nothing)
{
	struct hs_pressure_state s = { .saving = true };
	const struct hs_pressure p = { .psi_some_avg10 = 99 };
	struct hs_config cfg;
	char why[256];

	hs_config_defaults(&cfg);
	ck_assert(!hs_pressure_decide(&s, &cfg.pressure, &p, 5, why));
}
END_TEST

/* ---- the readings ---- */

#define MEMINFO "MemTotal:       24683124 kB\nMemFree:          100000 kB\nMemAvailable:    6170781 kB\nBuffers: 5 kB\n"

static const struct {
	const char *what;
	const char *meminfo, *pressure; /* NULL: no such file */
	int rc;
	uint64_t total_kib, available_kib;
	double psi;
} readings[] = {
	{ "as it is", MEMINFO,
	  "some avg10=12.34 avg60=1.00 avg300=0.50 total=5\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=5\n", 0,
	  24683124, 6170781, 12.34 },
	{ "no pressure", MEMINFO, "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", 0, 24683124, 6170781, 0 },
	{ "all of the time", MEMINFO, "some avg10=100.00 avg60=0.00 avg300=0.00 total=0\n", 0, 24683124, 6170781, 100 },
	{ "a kernel without PSI", MEMINFO, NULL, 0, 24683124, 6170781, -1 },
	{ "PSI that is turned off", MEMINFO, "", 0, 24683124, 6170781, -1 },
	{ "PSI of another shape", MEMINFO, "some avg20=1.00\n", 0, 24683124, 6170781, -1 },
	{ "PSI without a number", MEMINFO, "some avg10=much\n", 0, 24683124, 6170781, -1 },
	{ "the other line first", MEMINFO, "full avg10=9.00\nsome avg10=3.00\n", 0, 24683124, 6170781, 3 },
	{ "the other order", "MemAvailable: 7 kB\nMemTotal: 9 kB\n", NULL, 0, 9, 7, -1 },
	{ "terabytes", "MemTotal: 17179869184 kB\nMemAvailable: 8589934592 kB\n", NULL, 0, UINT64_C(17179869184),
	  UINT64_C(8589934592), -1 },
	{ "no end of line", "MemTotal: 9 kB\nMemAvailable: 7 kB", NULL, 0, 9, 7, -1 },
	{ "no file", NULL, "some avg10=1.00\n", -ENOENT, 0, 0, -1 },
	{ "an empty file", "", NULL, -ENODATA, 0, 0, -1 },
	{ "a kernel that does not say what is available", "MemTotal: 9 kB\nMemFree: 7 kB\n", NULL, -ENODATA, 0, 0, -1 },
	{ "no total", "MemAvailable: 7 kB\n", NULL, -ENODATA, 0, 0, -1 },
	{ "no number", "MemTotal: many kB\nMemAvailable: 7 kB\n", NULL, -ENODATA, 0, 0, -1 },
};

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	if (!text)
		return;
	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(test_service_pressure_pressure_read)
{
	static const char *const names[] = { "meminfo", "pressure/memory", "pressure", "" };
	char dir[] = "/tmp/hs-auto-XXXXXX", path[256];
	const struct hs_host host = { .proc_dir = dir };
	struct hs_pressure p = { .total_bytes = 1, .available_bytes = 1, .psi_some_avg10 = 1 };
	struct hs_error err = { "" };

	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/pressure", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	put(dir, "meminfo", readings[_i].meminfo);
	put(dir, "pressure/memory", readings[_i].pressure);
	ck_assert_msg(hs_pressure_read(&host, &p, &err) == readings[_i].rc, "%s: %s", readings[_i].what, err.text);
	ck_assert_msg(p.total_bytes == readings[_i].total_kib * 1024, "%s", readings[_i].what);
	ck_assert_msg(p.available_bytes == readings[_i].available_kib * 1024, "%s", readings[_i].what);
	ck_assert_msg(p.psi_some_avg10 > readings[_i].psi - 0.001 && p.psi_some_avg10 < readings[_i].psi + 0.001,
		      "%s: %g", readings[_i].what, p.psi_some_avg10);
	if (readings[_i].rc)
		ck_assert_msg(strstr(err.text, "/meminfo"), "%s", err.text); /* names the file */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)remove(path);
	}
}
END_TEST

/* This host's own. */
START_TEST(test_service_pressure_pressure_here)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_pressure p;
	struct hs_error err = { "" };

	ck_assert_msg(hs_pressure_read(&host, &p, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(p.available_bytes, 0);
	ck_assert_uint_le(p.available_bytes, p.total_bytes);
	ck_assert(p.psi_some_avg10 <= 100);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/auto");
	TCase *c = tcase_create("all");

	tcase_add_loop_test(c, test_service_pressure_decide, 0, sizeof(decisions) / sizeof(decisions[0]));
	tcase_add_test(c, test_service_pressure_unknown_changes_nothing);
	tcase_add_loop_test(c, test_service_pressure_pressure_read, 0, sizeof(readings) / sizeof(readings[0]));
	tcase_add_test(c, test_service_pressure_pressure_here);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
