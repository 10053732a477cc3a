/* SPDX-License-Identifier: Apache-2.0 */
/* Rules: what is accepted, what each error names, and what comes of names, groups and limits. */
#include "hs_test.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "service/discovery/rules.h"

static struct hs_rule_texts texts;
static struct hs_rules *rules;
static struct hs_error err;
static int line;

/* "key = value" lines below [discover r]. */
static int compile(const char *lines)
{
	char copy[2000], *save = NULL;
	int rc, n = 2;

	memset(&texts, 0, sizeof(texts));
	err.text[0] = '\0';
	hs_rules_unref(rules);
	rules = NULL;
	(void)snprintf(copy, sizeof(copy), "%s", lines);
	rc = hs_rule_begin(&texts, "r", 1, &err);
	for (char *l = strtok_r(copy, "\n", &save); l && !rc; l = strtok_r(NULL, "\n", &save)) {
		char *eq = strstr(l, " = ");

		*eq = '\0';
		rc = hs_rule_set(&texts, "r", l, eq + 3, n++, &err);
	}
	return rc ? rc : hs_rules_compile(&rules, &texts, &line, &err);
}

static void good(const char *lines)
{
	ck_assert_msg(compile(lines) == 0, "%s", err.text);
}

static const struct {
	const char *lines, *says;
	int line; /* 0: it is found before */
} bad[] = {
	{ "group = g\n", "[discover r] executable: it is missing", 1 },
	{ "executable = /x\n", "[discover r] group: it is missing", 1 },
	{ "executable = /x\ncolour = red\n", "there is no key colour in [discover r]; there are source, executable",
	  0 },
	{ "executable = /x\nexecutable = /y\n", "set a second time in [discover r]; the first is in line 2", 0 },
	{ "executable = /usr/bin/(kvm\ngroup = g\n", "[discover r] executable: at character 10: Unmatched ( or", 2 },
	{ "executable = /x\ngroup = g\ncgroup = a[0-9\n", "[discover r] cgroup: at character 2: ", 4 },
	{ "executable = /x\ngroup = g\ncommand_line = (a)\\1\n", "at character 4: \\1, a reference back", 4 },
	{ "executable = /x\ngroup = {cgroup.1}\n", "group: at character 1: the rule has no cgroup", 3 },
	{ "executable = /x/(.)\ngroup = g{executable.2}\n",
	  "group: at character 2: the pattern executable has 1 pairs of parentheses, and this asks for the 2th", 3 },
	{ "executable = /x\ngroup = a{b}\n", "at character 2: no placeholder; there are {executable.N}", 3 },
	{ "executable = /x\ngroup = a{pid\n", "at character 2: no placeholder", 3 },
	{ "executable = /x\ngroup = a}\n", "at character 2: } closes no placeholder", 3 },
	{ "executable = /x\ngroup = a b\n", "group: a group has 1 to 63 letters", 3 },
	{ "executable = /x\ngroup = g\nmax_shared = much\n", "max_shared: it takes none, bytes", 4 },
	{ "executable = /x\ngroup = g\nmin_memory = none\n", "min_memory: it takes bytes", 4 },
	{ "executable = /x\ngroup = g\nowner = root nobody-there\n",
	  "owner: at character 6: \"nobody-there\" is no user", 4 },
	{ "executable = /x\ngroup = g\nowner = 9-5\n", "owner: at character 1: \"9", 4 },
	{ "executable = /x\ngroup = g\nowner = any\nmount_namespace = any\n", "lets any user's process pass", 4 },
	{ "executable = /x\ngroup = g\nmount_namespace = none\n", "mount_namespace: it takes host or any", 4 },
	{ "executable = /x\ngroup = g\nsource = xen\n", "source: it takes process or libvirt", 4 },
	{ "executable = /x\ngroup = g\ndomain = x\n", "domain: it is for libvirt's domains: it needs source = libvirt",
	  4 },
	{ "source = libvirt\ngroup = g\nowner = root\ndomain = x\n", "owner: it is for processes", 4 },
	{ "source = libvirt\ngroup = g\n", "domain: it is missing, and so is metadata", 1 },
	{ "source = libvirt\ngroup = g\nmetadata = /domain/[x\n", "metadata: at character ", 4 },
	{ "source = libvirt\ngroup = g\nmetadata = /domain/other:x\n", "a namespace that there is not", 4 },
	{ "source = libvirt\ngroup = {pid}\ndomain = x\n", "the rule has no process", 3 },
	{ "executable = /x\ngroup = g\npid_file = vm.pid\n", "pid_file: it takes an absolute path", 4 },
	{ "executable = /x\ngroup = g\npid_file = /run/(a\n", "pid_file: at character 6: Unmatched (", 4 },
};

START_TEST(test_service_discovery_rules_bad)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(compile(bad[i].lines) == -EINVAL, "%zu: taken: %s", i, bad[i].lines);
		ck_assert_msg(strstr(err.text, bad[i].says), "%zu: %s, not: %s", i, err.text, bad[i].says);
		if (bad[i].line)
			ck_assert_msg(line == bad[i].line, "%zu: line %d: %s", i, line, err.text);
		ck_assert_ptr_null(rules);
	}
	ck_assert_int_eq(hs_rule_begin(&texts, "two words", 1, &err), -EINVAL);
	ck_assert_int_eq(hs_rule_begin(&texts, "", 1, &err), -EINVAL);
	ck_assert_int_eq(hs_rule_begin(&texts, "r", 9, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "the first is in line 1"), "%s", err.text);
}
END_TEST

/* ---- what is found ---- */

static struct hs_rule_result match(const struct hs_rule_process *p)
{
	struct hs_rule_result r;

	hs_rules_match_process(rules, 0, p, &r);
	return r;
}

START_TEST(test_service_discovery_rules_templates)
{
	struct hs_rule_process p = { .pid = 42, .executable = "/bin/vmm", .command_line = "vmm -n web_7 x" };
	struct hs_rule_result r;

	good("executable = /bin/vmm\ncommand_line = -n ([a-z]+)_([0-9]*)\nname = {command_line.1}-{pid}\n"
	     "group = t.{command_line.1}\nmax_shared = {command_line.2}M\n");
	r = match(&p);
	ck_assert(r.found && r.opt_in.on && !r.refused[0]);
	ck_assert_str_eq(r.rule, "r");
	ck_assert_str_eq(r.name, "web-42");
	ck_assert_str_eq(r.opt_in.group, "t.web");
	ck_assert_uint_eq(r.opt_in.max_shared_bytes, 7 << 20);
	/* A limit that cannot be known is none of the operator's making: not taken in. */
	p.command_line = "vmm -n web_ x";
	r = match(&p);
	ck_assert(r.found && !r.opt_in.on);
	ck_assert_msg(strstr(r.refused, "is no size"), "%s", r.refused);
	/* From the first to the last character. */
	p.executable = "/home/u/bin/vmm";
	ck_assert(!match(&p).found);
	p.executable = "/bin/vmm2";
	ck_assert(!match(&p).found);
	/* What was not looked up does not fit. */
	p = (struct hs_rule_process){ .pid = 42, .executable = "/bin/vmm" };
	ck_assert(!match(&p).found);
}
END_TEST

START_TEST(test_service_discovery_rules_groups_that_are_none)
{
	static const char *const names[] = { "a b", "a/b", "\xc3\xa4", "",
					     "x234567890123456789012345678901234567890123456789012345678901234" };
	struct hs_rule_process p = { .pid = 42, .executable = "/bin/vmm" };

	good("executable = /bin/vmm\ncommand_line = ^(.*)$\nname = {command_line.1}\ngroup = {command_line.1}\n");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct hs_rule_result r;

		p.command_line = names[i];
		r = match(&p);
		ck_assert_msg(r.found && !r.opt_in.on && strstr(r.refused, "trust group"), "%s: %s", names[i],
			      r.refused);
	}
	/* Never changed into one, which could be another tenant's. */
	p.command_line = "a-b";
	ck_assert_str_eq(match(&p).opt_in.group, "a-b");
	/* Names that could be taken for another guest's are none. */
	p.command_line = "pid-1";
	ck_assert_str_eq(match(&p).name, "");
	ck_assert(match(&p).opt_in.on);
}
END_TEST

static void domain(const char *name, const char *metadata, struct hs_rule_result *out)
{
	char xml[2000];

	(void)snprintf(xml, sizeof(xml), "<domain type='kvm'><name>%s</name><metadata>%s</metadata></domain>", name,
		       metadata);
	hs_rules_match_domain(rules, name, xml, out);
}

#define NOVA(projects)                                                                                                 \
	"<n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/1.1'><n:owner><n:user "                          \
	"uuid='u'>x</n:user>" projects "</n:owner></n:instance>"

START_TEST(test_service_discovery_rules_domains)
{
	struct hs_rule_result r;

	good("source = libvirt\nmetadata = /domain/metadata/nova:instance/nova:owner/nova:project/@uuid\n"
	     "group = project.{metadata}\nmax_shared = 1G\n");
	domain("instance-1", NOVA("<n:project uuid='b1f5d9'>web</n:project>"), &r);
	ck_assert_msg(r.found && r.opt_in.on, "%s", r.refused);
	ck_assert_str_eq(r.opt_in.group, "project.b1f5d9");
	ck_assert_uint_eq(r.opt_in.max_shared_bytes, 1 << 30);
	domain("instance-1", "", &r);
	ck_assert(!r.found);
	domain("instance-1", NOVA("<n:project uuid=''>web</n:project>"), &r);
	ck_assert(!r.found);
	domain("instance-1", NOVA("<n:project uuid='a'/><n:project uuid='b'/>"), &r);
	ck_assert(r.found && !r.opt_in.on);
	ck_assert_msg(strstr(r.refused, "2 texts"), "%s", r.refused);
	/* Another's element of the same name. */
	domain("instance-1", "<n:instance xmlns:n='urn:x'><n:owner><n:project uuid='a'/></n:owner></n:instance>", &r);
	ck_assert(!r.found);
	hs_rules_match_domain(rules, "x", "<no xml", &r);
	ck_assert(!r.found);

	good("source = libvirt\ndomain = ([a-z]+)-[0-9]+\ngroup = {domain.1}\n");
	domain("web-12", "", &r);
	ck_assert_str_eq(r.opt_in.group, "web");
	domain("web-12x", "", &r);
	ck_assert(!r.found);
	domain("x web-12", "", &r);
	ck_assert(!r.found);
	hs_rules_match_domain(NULL, "web-12", "<domain/>", &r);
	ck_assert(!r.found);
}
END_TEST

/* ---- the ready rules ---- */

#define HEX32 "0123456789abcdef0123456789abcdef"
#define POD   "1f0c2a4e-5b6d-4f70-8a9b-c0d1e2f3a4b5"

static const struct {
	const char *rule;
	struct hs_rule_process p;
	const char *name, *group; /* NULL: it does not fit */
} vmms[] = {
	{ "proxmox",
	  { .executable = "/usr/bin/qemu-system-x86_64",
	    .cgroup = "/qemu.slice/100.scope",
	    .pid_file = "100.pid",
	    .command_line = "/usr/bin/kvm -id 100 -name web,debug-threads=on -no-shutdown -pidfile "
			    "/var/run/qemu-server/100.pid -daemonize" },
	  "vm100",
	  "proxmox" },
	/* Root's own QEMU in a slice of its own; and one without a pid file of Proxmox's. */
	{ "proxmox",
	  { .executable = "/usr/bin/qemu-system-x86_64",
	    .cgroup = "/user.slice/100.scope",
	    .pid_file = "100.pid",
	    .command_line = "kvm -id 100 -name web" },
	  NULL,
	  NULL },
	{ "proxmox",
	  { .executable = "/usr/bin/qemu-system-x86_64",
	    .cgroup = "/qemu.slice/100.scope",
	    .command_line = "kvm -id 100 -name web" },
	  NULL,
	  NULL },
	{ "kubevirt",
	  { .executable = "/usr/libexec/qemu-kvm",
	    .cgroup = "/kubepods.slice/kubepods-burstable.slice/"
		      "kubepods-burstable-pod1f0c2a4e_5b6d_4f70_8a9b_c0d1e2f3a4b5.slice"
		      "/cri-containerd-aa.scope",
	    .command_line = "/usr/libexec/qemu-kvm -name guest=team-a_web.1,debug-threads=on -S" },
	  "team-a.web.1",
	  "k8s.team-a" },
	{ "kubevirt",
	  { .executable = "/usr/bin/qemu-system-x86_64",
	    .cgroup = "/kubepods/burstable/pod" POD "/aa",
	    .command_line = "qemu-system-x86_64 -name guest=b_vm" },
	  "b.vm",
	  "k8s.b" },
	{ "kubevirt",
	  { .executable = "/usr/libexec/qemu-kvm",
	    .cgroup = "/machine.slice/machine-qemu.scope",
	    .command_line = "qemu-kvm -name guest=team-a_web" },
	  NULL,
	  NULL },
	{ "kata",
	  { .executable = "/opt/kata/bin/qemu-system-x86_64",
	    .command_line = "/opt/kata/bin/qemu-system-x86_64 -name sandbox-" HEX32 HEX32 ",debug-threads=on -uuid x" },
	  "kata-" HEX32 HEX32,
	  "kata." HEX32 },
	{ "kata",
	  { .executable = "/opt/kata/bin/cloud-hypervisor",
	    .command_line = "/opt/kata/bin/cloud-hypervisor --api-socket /run/vc/vm/" HEX32 HEX32 "/clh-api.sock" },
	  "kata-" HEX32 HEX32,
	  "kata." HEX32 },
	{ "kata",
	  { .executable = "/usr/bin/cloud-hypervisor", .command_line = "cloud-hypervisor --api-socket /run/web.sock" },
	  NULL,
	  NULL },
	{ "cloud-hypervisor",
	  { .executable = "/usr/bin/cloud-hypervisor",
	    .command_line = "cloud-hypervisor --api-socket path=/run/ch/web.sock --memory size=1G" },
	  "web",
	  "cloud-hypervisor" },
	{ "cloud-hypervisor",
	  { .executable = "/usr/local/bin/cloud-hypervisor",
	    .command_line = "cloud-hypervisor --api-socket /run/web-2.sock" },
	  "web-2",
	  "cloud-hypervisor" },
	{ "firecracker",
	  { .executable = "/usr/bin/firecracker",
	    .command_line = "firecracker --id anonymous-1 --api-sock /tmp/f.sock" },
	  "anonymous-1",
	  "firecracker" },
	{ "firecracker",
	  { .executable = "/firecracker", .command_line = "/firecracker --id=551e7604" },
	  "551e7604",
	  "firecracker" },
};

/* The examples as they are taken over: each comment's sign taken away. */
static void load_examples(void)
{
	char path[] = "/tmp/hs-rules-XXXXXX", *copy = strdup(hs_rules_examples), *save = NULL;
	FILE *f = fdopen(mkstemp(path), "w");

	for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		ck_assert_msg(l[0] == '#', "%s", l); /* so that none is active */
		ck_assert_msg(strlen(l) < 199, "%s", l);
		if (strncmp(l, "#  ", 3) == 0)
			(void)fprintf(f, "%s\n", l + 3);
	}
	free(copy);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_msg(hs_rules_load(&texts, path, &err) == 0, "%s", err.text);
	(void)unlink(path);
	ck_assert_msg(hs_rules_compile(&rules, &texts, &line, &err) == 0, "%s", err.text);
}

START_TEST(test_service_discovery_rules_examples)
{
	struct hs_rule_result r;

	load_examples();
	ck_assert_uint_eq(hs_rules_nr(rules), 7);
	for (size_t i = 0; i < sizeof(vmms) / sizeof(vmms[0]); i++) {
		size_t n = 0;

		while (strcmp(hs_rules_name(rules, n), vmms[i].rule) != 0)
			n++;
		hs_rules_match_process(rules, n, &vmms[i].p, &r);
		ck_assert_msg(r.found == (vmms[i].name != NULL), "%zu: %s", i, vmms[i].p.command_line);
		if (!r.found)
			continue;
		ck_assert_msg(r.opt_in.on, "%zu: %s", i, r.refused);
		ck_assert_str_eq(r.name, vmms[i].name);
		ck_assert_str_eq(r.opt_in.group, vmms[i].group);
	}
	domain("web-1", "", &r);
	ck_assert_str_eq(r.rule, "by-name");
	ck_assert_uint_eq(r.opt_in.max_shared_bytes, UINT64_C(2) << 30);
}
END_TEST

START_TEST(test_service_discovery_rules_load)
{
	char path[] = "/tmp/hs-rules-XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");

	/* Of a whole configuration only the rules, as the service reads them: keys may be indented. */
	(void)fputs("# x\n[service]\nmode = off\n  [discover a]\n  executable = /x\n  group = g\n[discover b]\n", f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(hs_rules_load(&texts, path, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, ":7: [discover b] executable: it is missing"), "%s", err.text);
	ck_assert_int_eq(hs_rules_load(&texts, "/nonexistent/x", &err), -ENOENT);
	(void)unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/discovery rules");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_service_discovery_rules_bad);
	tcase_add_test(c, test_service_discovery_rules_templates);
	tcase_add_test(c, test_service_discovery_rules_groups_that_are_none);
	tcase_add_test(c, test_service_discovery_rules_domains);
	tcase_add_test(c, test_service_discovery_rules_examples);
	tcase_add_test(c, test_service_discovery_rules_load);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
