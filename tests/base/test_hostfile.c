/* SPDX-License-Identifier: Apache-2.0 */
/* Small files read whole, below a path and below an open folder, by calls that are interrupted, give little, or fail.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "hs_test.h"

static char dir[] = "/tmp/hs-hostfile-XXXXXX", buf[16];
static int dir_fd;

static void put(const char *name, const char *text)
{
	char path[64];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void setup(void)
{
	(void)strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir_fd, 0);
}

static void teardown(void)
{
	static const char *const names[] = { "some", "empty", "long", "7", "8" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(dir_fd, names[i], 0);
	(void)close(dir_fd);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* The lowest descriptor that is free: the same before and after, when none is left open. */
static int free_fd(void)
{
	int fd = dup(dir_fd);

	(void)close(fd);
	return fd;
}

START_TEST(test_base_hostfile_read)
{
	const int lowest = free_fd();

	put("some", "one\ntwo\n\n");
	put("empty", "");
	put("long", "0123456789abcdefghij");
	ck_assert_int_eq(hs_hostfile_read(dir, "some", buf, sizeof(buf)), 7);
	ck_assert_str_eq(buf, "one\ntwo");
	ck_assert_int_eq(hs_hostfile_read_at(&hs_hostfile_kernel, dir_fd, "some", buf, sizeof(buf)), 7);
	ck_assert_str_eq(buf, "one\ntwo");
	ck_assert_int_eq(hs_hostfile_read_at(&hs_hostfile_kernel, dir_fd, "empty", buf, sizeof(buf)), 0);
	ck_assert_str_eq(buf, "");
	/* As much as there is room for. */
	ck_assert_int_eq(hs_hostfile_read_at(&hs_hostfile_kernel, dir_fd, "long", buf, sizeof(buf)), sizeof(buf) - 1);
	ck_assert_str_eq(buf, "0123456789abcde");
	ck_assert_int_eq(hs_hostfile_read_at(&hs_hostfile_kernel, dir_fd, "none", buf, sizeof(buf)), -ENOENT);
	ck_assert_int_eq(hs_hostfile_read_at(&hs_hostfile_kernel, dir_fd, ".", buf, sizeof(buf)), -EISDIR);
	ck_assert_int_eq(free_fd(), lowest);
}
END_TEST

/* The folder is held by its descriptor: another that has its name meanwhile is not looked into. */
START_TEST(test_base_hostfile_read_at_holds_the_folder)
{
	char moved[sizeof(dir) + 2], path[64];

	put("some", "first\n");
	(void)snprintf(moved, sizeof(moved), "%s.m", dir);
	ck_assert_int_eq(rename(dir, moved), 0);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	put("some", "second\n");
	ck_assert_int_eq(hs_hostfile_read_at(&hs_hostfile_kernel, dir_fd, "some", buf, sizeof(buf)), 5);
	ck_assert_str_eq(buf, "first");
	ck_assert_int_eq(hs_hostfile_read(dir, "some", buf, sizeof(buf)), 6);
	ck_assert_str_eq(buf, "second");
	(void)snprintf(path, sizeof(path), "%s/some", dir);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(rename(moved, dir), 0);
}
END_TEST

static int turn;

/* By turns interrupted, and one byte. */
static ssize_t slow_read(int fd, void *at, size_t size)
{
	if (turn++ % 2 == 0) {
		errno = EINTR;
		return -1;
	}
	return read(fd, at, size ? 1 : 0);
}

static ssize_t failing_read(int fd, void *at, size_t size)
{
	if (turn++ < 2)
		return read(fd, at, size ? 1 : 0);
	errno = EIO;
	return -1;
}

static int failing_openat(int fd, const char *path, int flags)
{
	(void)fd;
	(void)path;
	(void)flags;
	errno = EMFILE;
	return -1;
}

START_TEST(test_base_hostfile_read_at_calls)
{
	const int lowest = free_fd();
	struct hs_hostfile_calls calls = hs_hostfile_kernel;

	put("some", "one\n");
	turn = 0;
	calls.read = slow_read;
	ck_assert_int_eq(hs_hostfile_read_at(&calls, dir_fd, "some", buf, sizeof(buf)), 3);
	ck_assert_str_eq(buf, "one");
	turn = 0;
	calls.read = failing_read;
	ck_assert_int_eq(hs_hostfile_read_at(&calls, dir_fd, "some", buf, sizeof(buf)), -EIO);
	calls.openat = failing_openat;
	ck_assert_int_eq(hs_hostfile_read_at(&calls, dir_fd, "some", buf, sizeof(buf)), -EMFILE);
	ck_assert_int_eq(free_fd(), lowest);
}
END_TEST

static bool breaks_off;

/* In place of the C library's, for the code under test as well: what it reads is not all. */
struct dirent *readdir(DIR *d)
{
	struct dirent *(*real)(DIR *) = (struct dirent * (*)(DIR *)) dlsym(RTLD_NEXT, "readdir64");
	struct dirent *e = real(d);

	if (breaks_off && e && strcmp(e->d_name, "8") == 0) {
		errno = EIO;
		return NULL;
	}
	return e;
}

static int count(void *ctx, pid_t pid)
{
	ck_assert(pid == 7 || pid == 8);
	errno = ENOENT; /* says nothing of the list */
	return ++*(int *)ctx < 0;
}

START_TEST(test_base_hostfile_each_pid)
{
	const struct hs_host host = { .proc_dir = dir };
	int nr = 0;

	put("7", "");
	put("8", "");
	put("some", "");
	ck_assert_int_eq(hs_hostfile_each_pid(&host, count, &nr), 0);
	ck_assert_int_eq(nr, 2);
	breaks_off = true;
	ck_assert_int_eq(hs_hostfile_each_pid(&host, count, &nr), -EIO);
	breaks_off = false;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/hostfile");
	TCase *t = tcase_create("read");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_base_hostfile_read);
	tcase_add_test(t, test_base_hostfile_read_at_holds_the_folder);
	tcase_add_test(t, test_base_hostfile_read_at_calls);
	tcase_add_test(t, test_base_hostfile_each_pid);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
