/* SPDX-License-Identifier: Apache-2.0 */
/* Why BPF programs do not load on a host: the sentence for each cause; what a processor says of itself. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/host_facts.h"
#include "hs_test.h"

START_TEST(test_base_host_facts_explain)
{
	static const struct {
		struct hs_facts facts;
		int rc, code;
		const char *text;
	} cases[] = {
		{ { true, true, true, false }, -ENOMEM, -ENOMEM, "counts sheep" },
		{ { false, true, true, false }, -EPERM, -EPERM, "CAP_BPF" },
		{ { true, true, true, true }, -EINVAL, -EPERM, "lockdown" },
		{ { true, true, true, true }, -EPERM, -EPERM, "lockdown" },
		{ { true, true, false, false }, -ESRCH, -ENOTSUP, "CONFIG_DEBUG_INFO_BTF" },
		{ { true, false, false, false }, -ENOSYS, -ENOTSUP, "CONFIG_BPF_SYSCALL" },
		{ { true, true, true, false }, -EPERM, -EPERM, "security module" },
		{ { true, true, true, false }, -EACCES, -EPERM, "the last words" },
		{ { true, true, true, false }, -EINVAL, -ENOTSUP, "the last words" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_error err = { "" };

		ck_assert_int_eq(hs_facts_explain(&cases[i].facts, cases[i].rc, "counts sheep", "the last words", &err),
				 cases[i].code);
		ck_assert_msg(strstr(err.text, cases[i].text) != NULL, "case %zu: %s", i, err.text);
		ck_assert_int_eq(hs_facts_explain(&cases[i].facts, cases[i].rc, "counts sheep", NULL, NULL),
				 cases[i].code);
	}
}
END_TEST

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (!text) {
		ck_assert_int_eq(mkdir(path, 0700), 0);
		return;
	}
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(test_base_host_facts_read)
{
	static const char *const made[] = { "kernel/security/lockdown", "kernel/security", "kernel/btf/vmlinux",
					    "kernel/btf", "kernel" };
	char dir[] = "/tmp/hs-facts-XXXXXX";
	struct hs_facts f;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	hs_facts_read(dir, &f);
	ck_assert(!f.has_btf && !f.locked_down);
	put(dir, "kernel", NULL);
	put(dir, "kernel/btf", NULL);
	put(dir, "kernel/btf/vmlinux", "");
	put(dir, "kernel/security", NULL);
	put(dir, "kernel/security/lockdown", "none [integrity] confidentiality\n");
	hs_facts_read(dir, &f);
	ck_assert(f.has_btf && !f.locked_down);
	put(dir, "kernel/security/lockdown", "none integrity [confidentiality]\n");
	hs_facts_read(dir, &f);
	ck_assert(f.locked_down);
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		char path[256];

		(void)snprintf(path, sizeof(path), "%s/%s", dir, made[i]);
		ck_assert_int_eq(remove(path), 0);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(test_base_host_facts_numa)
{
	static const struct {
		const char *mode, *nodes; /* NULL: a folder, which cannot be read; "": no such file */
		bool balances;
	} cases[] = {
		{ "0\n", "0-1\n", false }, { "1\n", "0-1\n", true }, { "2\n", "0,2\n", true },
		{ "1\n", "0\n", false },   { "", "0-1\n", false },   { NULL, "0-1\n", true },
		{ NULL, "0\n", false },    { "1\n", NULL, true },    { "1\n", "", true },
	};
	static const char *const folders[] = { "sys", "sys/kernel", "devices", "devices/system",
					       "devices/system/node" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const names[] = { "sys/kernel/numa_balancing", "devices/system/node/online" };
		const char *const texts[] = { cases[i].mode, cases[i].nodes };
		char dir[] = "/tmp/hs-facts-XXXXXX", path[256];
		const struct hs_host host = { .proc_dir = dir, .sys_dir = dir };

		ck_assert_ptr_nonnull(mkdtemp(dir));
		for (size_t f = 0; f < 5; f++)
			put(dir, folders[f], NULL);
		for (int f = 0; f < 2; f++)
			if (!texts[f] || texts[f][0])
				put(dir, names[f], texts[f]);
		ck_assert_msg(hs_facts_numa_balances(&host) == cases[i].balances, "case %zu", i);
		for (int f = 0; f < 2; f++) {
			(void)snprintf(path, sizeof(path), "%s/%s", dir, names[f]);
			ck_assert_int_eq(remove(path), !texts[f] || texts[f][0] ? 0 : -1);
		}
		for (size_t f = 5; f--;) {
			(void)snprintf(path, sizeof(path), "%s/%s", dir, folders[f]);
			ck_assert_int_eq(rmdir(path), 0);
		}
		ck_assert_int_eq(rmdir(dir), 0);
	}
}
END_TEST

START_TEST(test_base_host_facts_ksmd_is_blind)
{
	static const struct {
		const char *release;
		bool blind;
	} cases[] = { { "6.1.0-56-cloud-amd64", true },
		      { "6.5.13", true },
		      { "6.6.0-rc1", false },
		      { "6.12.117+deb12", false },
		      { "6.18.44", false },
		      { "7.0.1", false },
		      { "16.1.2", false },
		      { "5.19.0", false },
		      { "", false } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ck_assert_int_eq(hs_facts_ksmd_is_blind(cases[i].release), cases[i].blind);
}
END_TEST

START_TEST(test_base_host_facts_cpuinfo)
{
	static const char intel[] = "processor\t: 0\nflags\t\t: fpu vme la57 rdpid\nbogomips\t: 1\n"
				    "address sizes\t: 52 bits physical, 57 bits virtual\n";
	static const char amd[] = "processor\t: 0\nflags\t\t: fpu vme la570 xla57\nvmx flags\t: la57\n"
				  "address sizes\t: 43 bits physical, 48 bits virtual\n";

	ck_assert_uint_eq(hs_facts_phys_bits(intel), 52);
	ck_assert_uint_eq(hs_facts_phys_bits(amd), 43);
	ck_assert_uint_eq(hs_facts_phys_bits("model name: none\n"), 0);
	ck_assert_uint_eq(hs_facts_phys_bits("address sizes\t: many\n"), 0);
	ck_assert_uint_eq(hs_facts_phys_bits("address sizes\t: 99 bits physical\n"), 0);
	ck_assert(hs_facts_has_flag(intel, "la57"));
	ck_assert(!hs_facts_has_flag(amd, "la57"));
	ck_assert(!hs_facts_has_flag("", "la57"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base_host_facts");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_base_host_facts_explain);
	tcase_add_test(t, test_base_host_facts_ksmd_is_blind);
	tcase_add_test(t, test_base_host_facts_read);
	tcase_add_test(t, test_base_host_facts_numa);
	tcase_add_test(t, test_base_host_facts_cpuinfo);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
