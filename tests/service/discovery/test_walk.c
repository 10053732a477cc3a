/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over processes, on trees that are made up: who is found, and who only looks like a guest. A VMM is a file of
 * root's in the tree, so the suite runs as root.
 */
#include "hs_test.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "service/discovery/discovery.h"

static char root[64], proc[80];
static struct hs_host host;
static struct hs_rules *rules;
static struct hs_error err;
static struct hs_discovery_guest *found;
static size_t nr;
static bool complete;

/* ---- a tree ---- */

static void path_of(char out[300], const char *name)
{
	(void)snprintf(out, 300, "%s/%s", root, name);
	for (char *slash = strchr(out + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(out, 0755);
		*slash = '/';
	}
}

static void put_bytes(const char *name, const char *bytes, size_t len)
{
	char path[300];
	FILE *f;

	path_of(path, name);
	f = fopen(path, "we");
	ck_assert_msg(f, "%s: %s", path, strerror(errno));
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(path, 0644), 0);
}

static void put(const char *name, const char *text)
{
	put_bytes(name, text, strlen(text));
}

static void put_link(const char *name, const char *target)
{
	char path[300];

	path_of(path, name);
	(void)unlink(path);
	ck_assert_int_eq(symlink(target, path), 0);
}

struct made {
	int pid, ppid;
	const char *exe; /* in the tree, or an absolute path elsewhere */
	unsigned int uid;
	const char *cmdline; /* arguments, with '|' between */
	const char *cgroup;
	bool small, own_namespace;
};

static void put_process(struct made m)
{
	char name[100], text[1000], args[1000];
	size_t len;

	(void)snprintf(name, sizeof(name), "proc/%d/stat", m.pid);
	(void)snprintf(text, sizeof(text), "%d (x) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", m.pid,
		       m.ppid ? m.ppid : 2, m.pid * 10);
	put(name, text);
	(void)snprintf(name, sizeof(name), "proc/%d/status", m.pid);
	(void)snprintf(text, sizeof(text), "Name:\tUid: 0\nUid:\t%u\t%u\t%u\t%u\n", m.uid, m.uid, m.uid, m.uid);
	put(name, text);
	(void)snprintf(name, sizeof(name), "proc/%d/maps", m.pid);
	put(name, m.small ? "7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \n"
			  : "7f0000000000-7f0002000000 rw-p 00000000 00:00 0 \n7f0002000000-7f0004000000 rw-p 00000000 "
			    "00:00 0 \n");
	(void)snprintf(name, sizeof(name), "proc/%d/cgroup", m.pid);
	(void)snprintf(text, sizeof(text), "0::%s\n", m.cgroup ? m.cgroup : "/x.slice");
	put(name, text);
	(void)snprintf(args, sizeof(args), "%s", m.cmdline ? m.cmdline : "vmm");
	len = strlen(args) + 1;
	for (char *bar = args; (bar = strchr(bar, '|')); bar++)
		*bar = '\0';
	(void)snprintf(name, sizeof(name), "proc/%d/cmdline", m.pid);
	put_bytes(name, args, len);
	(void)snprintf(name, sizeof(name), "proc/%d/exe", m.pid);
	(void)snprintf(text, sizeof(text), "%s%s", m.exe[0] == '/' ? "" : root,
		       m.exe[0] == '/' ? m.exe : strchr(m.exe, '/'));
	if (m.exe[0] != '/')
		(void)snprintf(text, sizeof(text), "%s/%s", root, m.exe);
	put_link(name, text);
	(void)snprintf(name, sizeof(name), "proc/%d/ns/mnt", m.pid);
	(void)snprintf(text, sizeof(text), "%s/ns-%s", root, m.own_namespace ? "own" : "host");
	put_link(name, text);
}

static void make(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/hs-walk-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	(void)snprintf(proc, sizeof(proc), "%s/proc", root);
	host = (struct hs_host){ .proc_dir = proc, .state_dir = root };
	put("ns-host", "");
	put("ns-own", "");
	put("bin/vmm", "x");
	put("bin/other", "x");
	put_process((struct made){ .pid = 1, .exe = "bin/other" });
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
	hs_rules_unref(rules);
	rules = NULL;
	ck_assert_int_eq(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* "%s" in a value is the tree's root. */
static void use(const char *const (*pairs)[2], size_t nr_pairs)
{
	static struct hs_rule_texts texts;
	int line, rc;

	memset(&texts, 0, sizeof(texts));
	for (size_t i = 0; i < nr_pairs; i++) {
		const char *percent = strstr(pairs[i][1], "%s");
		char value[200];

		if (!pairs[i][1][0]) {
			ck_assert_msg(hs_rule_begin(&texts, pairs[i][0], 1, &err) == 0, "%s", err.text);
			continue;
		}
		(void)snprintf(value, sizeof(value), "%.*s%s%s",
			       percent ? (int)(percent - pairs[i][1]) : (int)strlen(pairs[i][1]), pairs[i][1],
			       percent ? root : "", percent ? percent + 2 : "");
		rc = hs_rule_set(&texts, texts.rule[texts.nr - 1].name, pairs[i][0], value, 1, &err);
		ck_assert_msg(rc == 0, "%s", err.text);
	}
	hs_rules_unref(rules);
	ck_assert_msg(hs_rules_compile(&rules, &texts, &line, &err) == 0, "%s", err.text);
}
#define USE(...)                                                                                                       \
	do {                                                                                                           \
		static const char *const pairs_[][2] = { __VA_ARGS__ };                                                \
		use(pairs_, sizeof(pairs_) / sizeof(pairs_[0]));                                                       \
	} while (0)
#define RULE(name)                                                                                                     \
	{                                                                                                              \
		name, ""                                                                                               \
	}

static void walk(void)
{
	const struct hs_discovery_request q = { .host = &host, .rules = rules };

	free(found);
	ck_assert_msg(hs_discovery_walk(&q, &found, &nr, &complete, &err) == 0, "%s", err.text);
	ck_assert(complete);
}

static const struct hs_rule_result *of(pid_t pid)
{
	for (size_t i = 0; i < nr; i++)
		if (found[i].process.pid == pid)
			return &found[i].result;
	return NULL;
}

static void check_refused(pid_t pid, const char *why)
{
	const struct hs_rule_result *r = of(pid);

	ck_assert_msg(r, "process %d is not seen at all", (int)pid);
	ck_assert_msg(!r->opt_in.on && strstr(r->refused, why), "process %d: %s", (int)pid, r->refused);
}

static void check_taken(pid_t pid, const char *name, const char *group)
{
	const struct hs_rule_result *r = of(pid);

	ck_assert_msg(r && r->opt_in.on, "process %d: %s", (int)pid, r ? r->refused : "not seen");
	ck_assert_str_eq(r->name, name);
	ck_assert_str_eq(r->opt_in.group, group);
}

/* ---- the tests ---- */

START_TEST(test_service_discovery_walk_imitators)
{
	char path[300];

	USE(RULE("r"), { "executable", "%s/bin/vmm" }, { "command_line", "-id ([0-9]+)" },
	    { "name", "vm{command_line.1}" }, { "group", "g" });
	put_process((struct made){ .pid = 10, .exe = "bin/vmm", .cmdline = "vmm|-id|7" });
	/* Another user's; a program of another path by the same command line; one that says it all in one argument. */
	put_process((struct made){ .pid = 11, .exe = "bin/vmm", .uid = 1000, .cmdline = "vmm|-id|8" });
	put_process((struct made){ .pid = 12, .exe = "bin/other", .cmdline = "vmm|-id|9" });
	put_process((struct made){ .pid = 13, .exe = "bin/vmm", .cmdline = "vmm|-name|a -id 10" });
	put_process((struct made){ .pid = 14, .exe = "bin/vmm", .cmdline = "vmm|-id|11", .own_namespace = true });
	put_process((struct made){ .pid = 15, .exe = "bin/vmm", .cmdline = "vmm|-id|12", .small = true });
	walk();
	check_taken(10, "vm7", "g");
	ck_assert_uint_eq(found[0].process.pid ? of(10)->opt_in.on : 0, 1);
	check_refused(11, "user 1000 runs it");
	ck_assert_ptr_null(of(12));
	ck_assert_ptr_null(of(13));
	check_refused(14, "mount namespace of its own");
	check_refused(15, "no mapping of 64 MiB");
	ck_assert_ptr_null(of(1));

	/* The file is somebody else's, or somebody else may write it. */
	path_of(path, "bin/vmm");
	ck_assert_int_eq(chown(path, 1000, 0), 0);
	walk();
	check_refused(10, "not root's alone");
	ck_assert_int_eq(chown(path, 0, 0), 0);
	ck_assert_int_eq(chmod(path, 0775), 0);
	walk();
	check_refused(10, "not root's alone");
	ck_assert_int_eq(chmod(path, 0755), 0);
	walk();
	check_taken(10, "vm7", "g");
}
END_TEST

/* In a tree that is made up nobody can say whether two processes have one memory: the child may be a helper. */
START_TEST(test_service_discovery_walk_child_of_a_guest)
{
	USE(RULE("r"), { "executable", "%s/bin/vmm" }, { "group", "g" });
	put_process((struct made){ .pid = 10, .exe = "bin/vmm" });
	put_process((struct made){ .pid = 11, .ppid = 10, .exe = "bin/vmm" });
	put_process((struct made){ .pid = 12, .exe = "bin/vmm" });
	walk();
	ck_assert(of(10)->opt_in.on && of(12)->opt_in.on);
	check_refused(11, "cannot be told");
}
END_TEST

START_TEST(test_service_discovery_walk_says_who_and_where)
{
	USE(RULE("r"), { "executable", "%s/bin/vmm" }, { "owner", "1000-1999" }, { "mount_namespace", "any" },
	    { "cgroup", "^/vm-([a-z]+)\\.scope$" }, { "group", "{cgroup.1}" }, { "min_memory", "1M" });
	put_process(
	    (struct made){ .pid = 10, .exe = "bin/vmm", .uid = 1000, .cgroup = "/vm-a.scope", .own_namespace = true });
	put_process((struct made){ .pid = 11, .exe = "bin/vmm", .uid = 1999, .cgroup = "/vm-b.scope", .small = true });
	put_process((struct made){ .pid = 12, .exe = "bin/vmm", .uid = 2000, .cgroup = "/vm-c.scope" });
	put_process((struct made){ .pid = 13, .exe = "bin/vmm", .uid = 1000, .cgroup = "/x/vm-d.scope" });
	/* cgroup 1: the memory controller's path. */
	put_process((struct made){ .pid = 14, .exe = "bin/vmm", .uid = 1000 });
	put("proc/14/cgroup", "5:cpu:/vm-x.scope\n4:memory:/vm-e.scope\n1:name=systemd:/vm-y.scope\n0::/\n");
	walk();
	check_taken(10, "", "a");
	check_taken(11, "", "b");
	check_refused(12, "user 2000 runs it");
	ck_assert_ptr_null(of(13));
	check_taken(14, "", "e");
}
END_TEST

START_TEST(test_service_discovery_walk_pid_files)
{
	char path[300];

	USE(RULE("r"), { "executable", "%s/bin/vmm" }, { "pid_file", "%s/run/([0-9]+)\\.pid" },
	    { "name", "vm{pid_file.1}" }, { "group", "g" });
	put_process((struct made){ .pid = 10, .exe = "bin/vmm" });
	put_process((struct made){ .pid = 11, .exe = "bin/vmm" });
	put_process((struct made){ .pid = 12, .exe = "bin/vmm" });
	walk(); /* no such folder */
	ck_assert_uint_eq(nr, 0);
	put("run/100.pid", "10\n");
	put("run/x.pid", "11\n");
	put("run/102.pid", "12 and more\n");
	walk();
	ck_assert_uint_eq(nr, 2);
	check_taken(10, "vm100", "g");
	check_taken(12, "vm102", "g");
	/* Somebody else's file, a link, and a folder that somebody else may write. */
	path_of(path, "run/100.pid");
	ck_assert_int_eq(chown(path, 1000, 0), 0);
	path_of(path, "run/102.pid");
	ck_assert_int_eq(unlink(path), 0);
	put("elsewhere", "12\n");
	put_link("run/102.pid", "../elsewhere");
	walk();
	ck_assert_uint_eq(nr, 0);
	put("run/103.pid", "12\n");
	walk();
	check_taken(12, "vm103", "g");
	path_of(path, "run");
	ck_assert_int_eq(chmod(path, 0777), 0);
	walk();
	ck_assert_uint_eq(nr, 0);
}
END_TEST

/* The first rule that takes it counts; one that refuses does not keep another from taking it. */
START_TEST(test_service_discovery_walk_several_rules)
{
	USE(RULE("one"), { "executable", "%s/bin/vmm" }, { "command_line", "red" }, { "group", "red" }, RULE("two"),
	    { "executable", "%s/bin/.*" }, { "owner", "1000" }, { "group", "two" }, RULE("three"),
	    { "executable", "%s/bin/vmm" }, { "group", "three" });
	put_process((struct made){ .pid = 10, .exe = "bin/vmm", .cmdline = "vmm|red" });
	put_process((struct made){ .pid = 11, .exe = "bin/vmm", .cmdline = "vmm|blue" });
	put_process((struct made){ .pid = 12, .exe = "bin/other" });
	walk();
	check_taken(10, "", "red");
	check_taken(11, "", "three");
	check_refused(12, "user 0 runs it");
	ck_assert_str_eq(of(12)->rule, "two");
}
END_TEST

/* An upgrade of the VMM deletes the file; a name that only looks so is another file. */
START_TEST(test_service_discovery_walk_deleted)
{
	USE(RULE("r"), { "executable", "%s/bin/vmm" }, { "group", "g" });
	put("bin/vmm (deleted)", "x");
	put_process((struct made){ .pid = 10, .exe = "bin/vmm (deleted)" });
	walk();
	ck_assert_uint_eq(nr, 0);
}
END_TEST

START_TEST(test_service_discovery_walk_known)
{
	const struct hs_discovery_process known[] = { { 10, 100 }, { 11, 999 } };
	struct hs_discovery_request q = { .host = &host, .known = known, .nr_known = 2 };

	USE(RULE("r"), { "executable", "%s/bin/vmm" }, { "group", "g" });
	q.rules = rules;
	put_process((struct made){ .pid = 10, .exe = "bin/vmm", .small = true });
	put_process((struct made){ .pid = 11, .exe = "bin/vmm", .small = true });
	ck_assert_msg(hs_discovery_walk(&q, &found, &nr, &complete, &err) == 0, "%s", err.text);
	check_taken(10, "", "g");        /* whatever its guest has given back since */
	check_refused(11, "no mapping"); /* another process of that number */
}
END_TEST

START_TEST(test_service_discovery_walk_json)
{
	const struct hs_discovery_process known[] = { { 10, 100 } };
	struct hs_discovery_request q = { .host = &host, .known = known, .nr_known = 1 };
	json_t *json, *f;

	USE(RULE("r"), { "executable", "%s/bin/vmm" }, { "group", "g" }, { "max_shared", "2G" });
	q.rules = rules;
	put_process((struct made){ .pid = 10, .exe = "bin/vmm" });
	put_process((struct made){ .pid = 11, .exe = "bin/vmm", .uid = 5 });
	json = hs_discovery_json(&q);
	ck_assert_ptr_nonnull(json);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "rules")), 1);
	ck_assert_uint_eq(json_array_size(json_object_get(json, "found")), 2);
	for (size_t i = 0; i < 2; i++) {
		f = json_array_get(json_object_get(json, "found"), i);
		ck_assert_int_eq(json_is_true(json_object_get(f, "taken")),
				 json_integer_value(json_object_get(f, "pid")) == 10);
		ck_assert_int_eq(*json_string_value(json_object_get(f, "reason")) != '\0',
				 json_integer_value(json_object_get(f, "pid")) == 11);
	}
	json_decref(json);
}
END_TEST

/* Milliseconds of processor time. */
static double walk_real(struct hs_discovery_request *q)
{
	struct timespec begin, end;

	free(found);
	q->rules = rules;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
	ck_assert_msg(hs_discovery_walk(q, &found, &nr, &complete, &err) == 0, "%s", err.text);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	return (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
}

/*
 * What a walk over real processes costs: of 50, or as many as HS_WALK_PROCESSES says. They run this very
 * file.
 */
START_TEST(test_service_discovery_walk_real)
{
	const char *text = getenv("HS_WALK_PROCESSES");
	const size_t nr_children = text ? strtoul(text, NULL, 10) : 50;
	const struct hs_host real = HS_HOST_DEFAULT;
	struct hs_discovery_request q = { .host = &real };
	pid_t *child = calloc(nr_children, sizeof(*child));
	size_t ours = 0, refused = 0;

	for (size_t i = 0; i < nr_children; i++) {
		child[i] = fork();
		ck_assert_int_ge(child[i], 0);
		if (!child[i])
			for (;;)
				(void)pause();
	}
	/* As most of a host's processes are: no rule fits. */
	USE(RULE("a"), { "executable", "/usr/bin/(kvm|qemu-system-x86_64)" }, { "group", "g" }, RULE("b"),
	    { "executable", "/usr/libexec/qemu-kvm" }, { "group", "g" }, RULE("c"),
	    { "executable", "(/opt/kata/bin|/usr/bin)/cloud-hypervisor" }, { "group", "g" });
	printf("%zu processes, 3 rules of which none fits: %.1f ms of processor time\n", nr_children, walk_real(&q));
	USE(RULE("a"), { "executable", "/.*/test_walk" }, { "mount_namespace", "any" }, { "command_line", "test_walk" },
	    { "group", "g" }, { "min_memory", "200T" });
	printf("%zu processes that a rule fits: %.1f ms\n", nr_children, walk_real(&q));
	for (size_t i = 0; i < nr_children; i++) {
		const struct hs_rule_result *r = of(child[i]);

		ours += r != NULL;
		refused += r && r->refused[0];
		(void)kill(child[i], SIGKILL);
		(void)waitpid(child[i], NULL, 0);
	}
	free(child);
	ck_assert_uint_eq(ours, nr_children);
	ck_assert_uint_eq(refused, nr_children);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/discovery walk");
	TCase *c = tcase_create("all");

	if (geteuid() != 0)
		return hs_test_skip("service/discovery walk", "files of root's can be made by root alone");
	tcase_add_checked_fixture(c, make, unmake);
	tcase_add_test(c, test_service_discovery_walk_imitators);
	tcase_add_test(c, test_service_discovery_walk_says_who_and_where);
	tcase_add_test(c, test_service_discovery_walk_child_of_a_guest);
	tcase_add_test(c, test_service_discovery_walk_pid_files);
	tcase_add_test(c, test_service_discovery_walk_several_rules);
	tcase_add_test(c, test_service_discovery_walk_deleted);
	tcase_add_test(c, test_service_discovery_walk_known);
	tcase_add_test(c, test_service_discovery_walk_json);
	tcase_add_test(c, test_service_discovery_walk_real);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
