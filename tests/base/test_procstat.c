/* SPDX-License-Identifier: Apache-2.0 */
/* What is read below /proc of processes and of the machine, and what is made of what cannot be read. */
#include "hs_test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/procstat.h"
#include "base/state_file.h"

static const struct hs_host real = HS_HOST_DEFAULT;
static char dir[64];
static struct hs_host made;

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/hs-procstat-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	made = (struct hs_host){ .proc_dir = dir };
}

static void path_of(char out[128], const char *name)
{
	(void)snprintf(out, 128, "%s/%s", dir, name);
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	path_of(path, name);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void teardown(void)
{
	static const char *const names[] = { "cpuinfo", "self/statm", "self", "7/stat", "7" };
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		path_of(path, names[i]);
		ck_assert(remove(path) == 0 || errno == ENOENT);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}

static void make_folder(const char *name)
{
	char path[128];

	path_of(path, name);
	ck_assert_int_eq(mkdir(path, 0700), 0);
}

START_TEST(test_service_procstat_start_time)
{
	struct hs_procstat st;
	pid_t pid;

	ck_assert_uint_gt(hs_start_time(&real, getpid()), 0);
	/* A process that has ended and was waited for is gone. */
	pid = fork();
	if (!pid)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_uint_eq(hs_start_time(&real, pid), 0);
	/* A name may hold anything. */
	make_folder("7");
	write_file("7/stat", "7 (a) b) 9 (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n");
	ck_assert_uint_eq(hs_start_time(&made, 7), 4711);
	ck_assert_int_eq(hs_procstat_read(&made, 7, &st), 0);
	ck_assert_int_eq(st.ppid, 1);
	ck_assert_uint_eq(st.cpu_ticks, 11 + 12);
	ck_assert_uint_eq(st.start_ticks, 4711);
	write_file("7/stat", "7 (abridged) S 2\n");
	ck_assert_int_eq(hs_procstat_read(&made, 7, &st), 0);
	ck_assert_int_eq(st.ppid, 2);
	ck_assert_uint_eq(st.cpu_ticks, 0);
	write_file("7/stat", "no such thing\n");
	ck_assert_int_eq(hs_procstat_read(&made, 7, &st), -EPROTO);
	ck_assert_int_lt(hs_procstat_read(&made, 8, &st), 0);
}
END_TEST

/* Exec keeps number and start time, and is recognized by where the new program's stack is. */
START_TEST(test_service_procstat_process_id)
{
	struct hs_process_id before, after, other = { .started = 5 };
	int up[2], down[2];
	char c;
	pid_t pid;

	ck_assert_int_eq(pipe(up), 0);
	ck_assert_int_eq(pipe(down), 0);
	pid = fork();
	if (!pid) {
		if (write(up[1], "x", 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		(void)execl("/bin/sleep", "sleep", "60", NULL);
		_exit(1);
	}
	ck_assert_int_eq(read(up[0], &c, 1), 1);
	ck_assert_int_eq(hs_process_id_read(&real, pid, &before), 0);
	ck_assert_uint_gt(before.started, 0);
	ck_assert_int_eq(hs_process_id_read(&real, pid, &after), 0);
	ck_assert(hs_process_id_same(&before, &after));
	ck_assert(!hs_process_id_same(&before, &other));
	if (before.program) { /* else the process that reads may not know */
		ck_assert_int_eq(write(down[1], "x", 1), 1);
		for (uint64_t i = 0; i < 60000 && hs_process_id_same(&before, &after); i++) {
			(void)usleep(1000);
			ck_assert_int_eq(hs_process_id_read(&real, pid, &after), 0);
		}
		ck_assert_uint_eq(after.started, before.started);
		ck_assert(!hs_process_id_same(&before, &after));
	}
	(void)kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(hs_process_id_read(&real, pid, &after), -ESRCH);
	ck_assert_uint_eq(after.started, 0);
}
END_TEST

START_TEST(test_service_procstat_resident_bytes)
{
	ck_assert_uint_gt(hs_resident_bytes(&real), 0);
	ck_assert_uint_eq(hs_resident_bytes(&made), 0);
	make_folder("self");
	write_file("self/statm", "5000 321 1 1 1 1 1\n");
	ck_assert_uint_eq(hs_resident_bytes(&made), 321 * (uint64_t)sysconf(_SC_PAGESIZE));
	write_file("self/statm", "none\n");
	ck_assert_uint_eq(hs_resident_bytes(&made), 0);
}
END_TEST

START_TEST(test_service_procstat_cpu_model)
{
	char model[16] = "before";

	hs_cpu_model(&made, model, sizeof(model));
	ck_assert_str_eq(model, "");
	write_file("cpuinfo", "processor\t: 0\nmodel\t\t: 49\nmodel name\t: First 9000\nmodel name\t: Second\n");
	hs_cpu_model(&made, model, sizeof(model));
	ck_assert_str_eq(model, "First 9000");
	write_file("cpuinfo", "model name\t: One that has a long name\n");
	hs_cpu_model(&made, model, sizeof(model));
	ck_assert_str_eq(model, "One that has a ");
	write_file("cpuinfo", "processor\t: 0\n");
	hs_cpu_model(&made, model, sizeof(model));
	ck_assert_str_eq(model, "");
}
END_TEST

/* The same number and start time come again in another boot: one that names no boot may be of any. */
START_TEST(test_service_procstat_owner_of_a_boot)
{
	struct hs_state_owner now, was;

	ck_assert_int_eq(hs_state_owner_now(&real, getpid(), &now), 0);
	was = now;
	ck_assert(hs_state_owner_same(&was, &now));
	was.boot[0] = '\0';
	ck_assert(!hs_state_owner_same(&was, &now) && !hs_state_owner_same(&now, &was) &&
		  !hs_state_owner_same(&was, &was));
	(void)snprintf(was.boot, sizeof(was.boot), "another");
	ck_assert(!hs_state_owner_same(&was, &now));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/procstat");
	TCase *c = tcase_create("procstat");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_service_procstat_start_time);
	tcase_add_test(c, test_service_procstat_process_id);
	tcase_add_test(c, test_service_procstat_resident_bytes);
	tcase_add_test(c, test_service_procstat_cpu_model);
	tcase_add_test(c, test_service_procstat_owner_of_a_boot);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
