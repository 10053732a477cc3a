/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Diagnose, against hosts that are made up as trees of files: on one where all is well it finds nothing, and each thing
 * that is changed is found, with its level and, where one is needed, the way out.
 */
#include "hs_test.h"

#include <errno.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/common/diagnose.h"

static char root[64], proc[80], ksm[80], thp[80], sys[80], state[80];
static struct hs_host host;
static struct hs_probe probe;
static struct hs_finding *found;
static size_t nr;

/* ---- a tree ---- */

static void make_dirs(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0755);
		*slash = '/';
	}
}

static void path_of(char out[256], const char *name)
{
	(void)snprintf(out, 256, "%s/%s", root, name);
	make_dirs(out);
}

/* text NULL: the file is taken away. */
static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	path_of(path, name);
	if (!text) {
		ck_assert_msg(remove(path) == 0, "%s: %s", path, strerror(errno));
		return;
	}
	f = fopen(path, "we");
	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void put_link(const char *name, const char *target)
{
	char path[256];

	path_of(path, name);
	ck_assert_int_eq(symlink(target, path), 0);
}

static void put_process(int pid, const char *comm)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "proc/%d/comm", pid);
	put(name, comm);
	(void)snprintf(name, sizeof(name), "proc/%d/fd/0", pid);
	put_link(name, "/dev/null");
}

static void make(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/hs-diagnose-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	(void)snprintf(proc, sizeof(proc), "%s/proc", root);
	(void)snprintf(sys, sizeof(sys), "%s/sys", root);
	(void)snprintf(ksm, sizeof(ksm), "%s/ksm", root);
	(void)snprintf(thp, sizeof(thp), "%s/thp", root);
	(void)snprintf(state, sizeof(state), "%s/state", root);
	host = (struct hs_host){ .proc_dir = proc, .ksm_dir = ksm, .thp_dir = thp, .sys_dir = sys, .state_dir = state };
	probe = (struct hs_probe){ .release = "6.12.9-amd64",
				   .machine = "x86_64",
				   .root = true,
				   .nested_ageing = "PAGEMAP_SCAN",
				   .nested_fine = true };
	put("sys/kernel/btf/vmlinux", "btf");
	put("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
	put("sys/module/kvm/version", "");
	put("proc/sys/kernel/yama/ptrace_scope", "1\n");
	put("proc/sys/vm/max_map_count", "65530\n");
	put("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n"
			    "SwapTotal:             0 kB\nSwapFree:              0 kB\n");
	put("thp/enabled", "always [madvise] never\n");
	put("thp/khugepaged/defrag", "1\n");
	put("ksm/run", "0\n");
	put("proc/1/ksm_stat", "ksm_rmap_items 300\nksm_zero_pages 256\nksm_merging_pages 256\n");
	put("proc/1/smaps_rollup", "Rss: 9 kB\nKSM:                1024 kB\n");
	put("ksm/advisor_mode", "[none] scan-time\n");
	put("ksm/smart_scan", "0\n");
	put("ksm/pages_shared", "10\n");
	put("ksm/pages_sharing", "256\n");
	put("ksm/pages_unshared", "0\n");
	put("ksm/pages_volatile", "0\n");
	put("ksm/pages_scanned", "0\n");
	put("ksm/full_scans", "3\n");
	put("ksm/ksm_zero_pages", "256\n");
	put_process(1, "init\n");
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void unmake(void)
{
	free(found);
	found = NULL;
	ck_assert_int_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void look(void)
{
	struct hs_error err = { "" };

	free(found);
	ck_assert_msg(hs_diagnose(&(struct hs_diagnose_request){ .host = &host, .probe = &probe }, &found, &nr, &err) ==
			  0,
		      "%s", err.text);
}

static const struct hs_finding *find(const char *name)
{
	for (size_t i = 0; i < nr; i++)
		if (strcmp(found[i].name, name) == 0)
			return &found[i];
	return NULL;
}

/* All that is no more than a note has to be unasked; what is worse has to say what to do. */
static void check(const char *name, enum hs_finding_level level, const char *text)
{
	const struct hs_finding *f = find(name);

	ck_assert_msg(f, "%s was not found", name);
	ck_assert_msg(f->level == level, "%s: level %d: %s", name, (int)f->level, f->text);
	ck_assert_msg(strstr(f->text, text), "%s: %s", name, f->text);
	ck_assert_msg(level < HS_FINDING_WARNING || f->advice[0], "%s: no advice", name);
}

/* ---- tests ---- */

START_TEST(test_service_diagnose_well)
{
	look();
	for (size_t i = 0; i < nr; i++)
		ck_assert_msg(found[i].level == HS_FINDING_OK, "%s: %s", found[i].name, found[i].text);
	check("kernel", HS_FINDING_OK, "6.12.9");
	check("memory", HS_FINDING_OK, "8192 MiB of 16384 MiB");
	check("memory-to-unshare", HS_FINDING_OK, "2 MiB"); /* 256 mappings and 256 zero pages */
	check("swap", HS_FINDING_OK, "no swap");
	check("foreign-mergeable", HS_FINDING_OK, "no mergeable");
}
END_TEST

static const struct {
	const char *file, *content;
	const char *name, *text;
	enum hs_finding_level level;
} changes[] = {
	{ "sys/kernel/btf/vmlinux", NULL, "btf", "sys/kernel/btf/vmlinux cannot be read", HS_FINDING_OBSTACLE },
	{ "sys/kernel/security/lockdown", "none integrity [confidentiality]\n", "lockdown", "confidentiality",
	  HS_FINDING_OBSTACLE },
	{ "proc/sys/kernel/yama/ptrace_scope", "3\n", "ptrace", "ptrace_scope is 3", HS_FINDING_OBSTACLE },
	{ "proc/sys/kernel/yama/ptrace_scope", "2\n", "ptrace", "ptrace_scope is 2", HS_FINDING_OK },
	{ "proc/sys/vm/max_map_count", "1000\n", "max-map-count", "1000", HS_FINDING_WARNING },
	{ "proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 409600 kB\n", "memory", "400 MiB of 16384",
	  HS_FINDING_WARNING },
	{ "proc/meminfo",
	  "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nSwapTotal: 2097152 kB\nSwapFree: 1048576 kB\n", "swap",
	  "2048 MiB, 1024 MiB of it in use", HS_FINDING_NOTE },
	{ "proc/1/smaps_rollup", "KSM: 16777216 kB\n", "memory-to-unshare", "would take at most 16385 MiB; 8192 MiB",
	  HS_FINDING_WARNING },
	{ "ksm/run", NULL, "ksm", "no KSM", HS_FINDING_OBSTACLE },
	{ "ksm/run", "1\n", "ksm", "is running", HS_FINDING_NOTE },
	{ "ksm/run", "2\n", "ksm", "unmerge", HS_FINDING_NOTE },
	{ "ksm/advisor_mode", "none [scan-time]\n", "ksm-advisor", "advisor", HS_FINDING_NOTE },
	{ "ksm/smart_scan", "1\n", "ksm-smart-scan", "smart_scan", HS_FINDING_NOTE },
	{ "thp/enabled", NULL, "transparent-huge-pages", "has no transparent", HS_FINDING_OBSTACLE },
	{ "thp/enabled", "always madvise [never]\n", "transparent-huge-pages", "are off", HS_FINDING_WARNING },
	{ "thp/khugepaged/defrag", "0\n", "khugepaged", "does not", HS_FINDING_OK },
	{ "sys/kernel/mm/lru_gen/enabled", "0x0007\n", "mglru", "0x0007", HS_FINDING_NOTE },
	{ "sys/module/kvm/parameters/tdp_mmu", "N\n", "kvm", "TDP MMU is off", HS_FINDING_WARNING },
	{ "state/ksm.lock", "77\n/run/hs-share\n", "ksm-owner", "process 77", HS_FINDING_NOTE },
	{ "state/ksm.state", "run 0\n", "ksm-state", "saved", HS_FINDING_NOTE },
	{ "state/split-88.4711", "x", "split-mappings", "process 88", HS_FINDING_NOTE },
	{ "proc/50/comm", "ksmtuned\n", "ksmtuned", "process 50", HS_FINDING_OBSTACLE },
	{ "proc/50/comm", "uksmd\n", "uksmd", "process 50", HS_FINDING_WARNING },
	{ "proc/50/comm", "kdamond.0\n", "damon", "process 50", HS_FINDING_NOTE },
};

START_TEST(test_service_diagnose_files)
{
	size_t others = 0;

	put(changes[_i].file, changes[_i].content);
	look();
	check(changes[_i].name, changes[_i].level, changes[_i].text);
	for (size_t i = 0; i < nr; i++)
		others += found[i].level != HS_FINDING_OK && strcmp(found[i].name, changes[_i].name) != 0;
	ck_assert_uint_eq(others, 0);
}
END_TEST

/* What KSM's counters still hold of what has ended, or was unshared, since ksmd was stopped, is not reported as a fact.
 */
START_TEST(test_service_diagnose_stale_counters)
{
	static const struct {
		const char *file, *content, *text;
	} steps[] = {
		/* A guest has ended: what it had stays in the host's counters. */
		{ "ksm/pages_sharing", "58368\n", "would take at most 2 MiB;" },
		/* The other was unshared: its own counter has not followed, its page tables have. */
		{ "proc/1/smaps_rollup", "Rss: 9 kB\nKSM:                   0 kB\n", "would take 1 MiB;" },
		{ "ksm/ksm_zero_pages", "0\n", "would take 0 MiB;" },
		/* A kernel that does not say it of page tables, and one that says nothing of a process. */
		{ "proc/1/smaps_rollup", "Rss: 9 kB\n", "would take at most 1 MiB;" },
		{ "proc/1/ksm_stat", NULL, "would take at most 228 MiB, by the counters that ksmd left" },
		/* ksmd works. */
		{ "ksm/run", "1\n", "would take 228 MiB;" },
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		put(steps[i].file, steps[i].content);
		look();
		check("memory-to-unshare", HS_FINDING_OK, steps[i].text);
	}
}
END_TEST

START_TEST(test_service_diagnose_probe)
{
	(void)snprintf(probe.release, sizeof(probe.release), "5.10.0-28-amd64");
	(void)snprintf(probe.machine, sizeof(probe.machine), "aarch64");
	probe.root = false;
	probe.bpf = -EPERM;
	probe.nested_ageing = "soft dirty";
	probe.nested_fine = false;
	(void)hs_error_set(&probe.nested_why, -ENOENT, "this kernel has no page_idle");
	look();
	check("kernel", HS_FINDING_OBSTACLE, "older than 6.1");
	check("machine", HS_FINDING_OBSTACLE, "aarch64");
	check("root", HS_FINDING_WARNING, "not run as root");
	check("bpf", HS_FINDING_OBSTACLE, "no permission");
	check("kvm", HS_FINDING_NOTE, "aged by soft dirty, for this kernel has no page_idle; hot huge pages are not");
	probe.bpf = -ENOSYS;
	probe.nested_ageing = NULL;
	(void)hs_error_set(&probe.nested_why, -ENOTSUP, "no way to age");
	(void)snprintf(probe.release, sizeof(probe.release), "6.0.0");
	look();
	check("bpf", HS_FINDING_OBSTACLE, "takes no BPF program");
	check("kvm", HS_FINDING_WARNING, "left alone: no way to age");
	check("kernel", HS_FINDING_OBSTACLE, "older than 6.1");
	(void)snprintf(probe.release, sizeof(probe.release), "6.1.0-18-cloud-amd64");
	look();
	check("kernel", HS_FINDING_OK, "6.1.0");
}
END_TEST

START_TEST(test_service_diagnose_kvm_guests)
{
	char name[64];

	for (int pid = 60; pid < 90; pid++) {
		put_process(pid, "qemu-system-x86\n");
		(void)snprintf(name, sizeof(name), "proc/%d/fd/11", pid);
		put_link(name, pid % 3 ? "anon_inode:kvm-vm" : "anon_inode:kvm-vcpu:0");
	}
	look();
	check("kvm-guests", HS_FINDING_NOTE, "20 guests run under KVM");
	ck_assert_ptr_nonnull(strstr(find("kvm-guests")->text, "qemu-system-x86 (6"));
}
END_TEST

/* A process may have any name: one that is no text, or has line breaks, is reported, on one line. */
START_TEST(test_service_diagnose_names)
{
	json_t *out, *f;
	size_t i, same = 0;

	put_process(60, "a\xff\n<0>b\033c\n");
	put_link("proc/60/fd/11", "anon_inode:kvm-vm");
	look();
	check("kvm-guests", HS_FINDING_NOTE, "a?\?<0>b?c (60)");
	out = hs_diagnose_json(found, nr);
	json_array_foreach(json_object_get(out, "findings"), i, f) same += json_is_string(json_object_get(f, "text"));
	ck_assert_uint_eq(same, nr);
	json_decref(out);
}
END_TEST

/* Who is not root cannot keep the engine away by the name of a program. */
START_TEST(test_service_diagnose_only_root_counts)
{
	put("proc/50/comm", "ksmtuned\n");
	put("proc/50/status", "Name:\tksmtuned\nUid:\t65534\t0\t0\t0\n");
	look();
	ck_assert_ptr_null(find("ksmtuned"));
	put("proc/50/status", "Name:\tksmtuned\nUid:\t0\t0\t0\t0\n");
	look();
	check("ksmtuned", HS_FINDING_OBSTACLE, "process 50");
}
END_TEST

/* What else is missing is no reason to fail. */
START_TEST(test_service_diagnose_empty)
{
	static char none[80];

	(void)snprintf(none, sizeof(none), "%s/none", root);
	host =
	    (struct hs_host){ .proc_dir = none, .ksm_dir = none, .thp_dir = none, .sys_dir = none, .state_dir = none };
	look();
	check("btf", HS_FINDING_OBSTACLE, "cannot be read");
	check("ksm", HS_FINDING_OBSTACLE, "no KSM");
	ck_assert_ptr_null(find("memory"));
	ck_assert_ptr_null(find("ptrace"));
}
END_TEST

/* The real one, of this host: whatever it finds, it is asked without an effect and ends. */
START_TEST(test_service_diagnose_here)
{
	const struct hs_host here = HS_HOST_DEFAULT;

	hs_diagnose_probe(&here, &probe);
	ck_assert_str_eq(probe.machine, "x86_64");
	ck_assert_int_eq(probe.root, geteuid() == 0);
	ck_assert(probe.nested_ageing || probe.nested_why.text[0]);
	host = here;
	look();
	ck_assert_ptr_nonnull(find("kernel"));
	ck_assert_ptr_nonnull(find("memory"));
}
END_TEST

START_TEST(test_service_diagnose_json)
{
	json_t *out;

	put("ksm/run", NULL);
	put("proc/sys/vm/max_map_count", "1000\n");
	look();
	out = hs_diagnose_json(found, nr);
	ck_assert_int_eq(json_integer_value(json_object_get(out, "obstacles")), 1);
	ck_assert_int_eq(json_integer_value(json_object_get(out, "warnings")), 1);
	ck_assert_uint_eq(json_array_size(json_object_get(out, "findings")), nr);
	json_decref(out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/diagnose");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, make, unmake);
	tcase_add_test(c, test_service_diagnose_well);
	tcase_add_loop_test(c, test_service_diagnose_files, 0, sizeof(changes) / sizeof(changes[0]));
	tcase_add_test(c, test_service_diagnose_stale_counters);
	tcase_add_test(c, test_service_diagnose_probe);
	tcase_add_test(c, test_service_diagnose_kvm_guests);
	tcase_add_test(c, test_service_diagnose_names);
	tcase_add_test(c, test_service_diagnose_only_root_counts);
	tcase_add_test(c, test_service_diagnose_empty);
	tcase_add_test(c, test_service_diagnose_here);
	tcase_add_test(c, test_service_diagnose_json);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
