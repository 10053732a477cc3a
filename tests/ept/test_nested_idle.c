/* SPDX-License-Identifier: Apache-2.0 */
/* When page_idle is not used, and what is said then. (Its use: tests/kvm/test_view.c, on a kernel that has it.) */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hs_test.h"
#include "ept/nested_internal.h"

static char root[] = "/tmp/hs-idle-XXXXXX", folder[64], bitmap[80];
static struct hs_host host;
static struct hs_error err;
static int fd;

static void setup(void)
{
	static const char *const parts[] = { "kernel", "kernel/mm", "kernel/mm/page_idle" };

	(void)strcpy(root + sizeof(root) - 7, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	ck_assert_int_eq(chmod(root, 0755), 0);
	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(folder, sizeof(folder), "%s/%s", root, parts[i]);
		ck_assert_int_eq(mkdir(folder, 0755), 0);
	}
	(void)snprintf(bitmap, sizeof(bitmap), "%s/bitmap", folder);
	host = HS_HOST_DEFAULT;
	host.sys_dir = root;
	err = (struct hs_error){ "" };
}

static void teardown(void)
{
	char *end;

	if (unlink(bitmap))
		(void)rmdir(bitmap);
	while (strlen(folder) >= strlen(root)) {
		ck_assert_int_eq(rmdir(folder), 0);
		end = strrchr(folder, '/');
		*end = 0;
	}
}

START_TEST(test_ept_nested_idle_absent)
{
	ck_assert_int_eq(hs_nested_age_idle.open(&host, &fd, &err), -ENOENT);
	ck_assert_msg(strstr(err.text, "no page_idle (CONFIG_IDLE_PAGE_TRACKING)") != NULL, "%s", err.text);
}
END_TEST

START_TEST(test_ept_nested_idle_unopenable)
{
	ck_assert_int_eq(mkdir(bitmap, 0700), 0);
	ck_assert_int_eq(hs_nested_age_idle.open(&host, &fd, &err), -EISDIR);
	ck_assert_msg(strstr(err.text, bitmap) != NULL, "%s", err.text);
}
END_TEST

static void say_eptad(const char *answer)
{
	static const char *const parts[] = { "module", "module/kvm_intel", "module/kvm_intel/parameters" };
	char path[96];
	FILE *f;

	for (size_t i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", root, parts[i]);
		(void)mkdir(path, 0755);
	}
	(void)snprintf(path, sizeof(path), "%s/%s/eptad", root, parts[2]);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(answer, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void forget_eptad(void)
{
	static const char *const parts[] = { "module/kvm_intel/parameters/eptad", "module/kvm_intel/parameters",
					     "module/kvm_intel", "module" };
	char path[96];

	for (size_t i = 0; i < 4; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", root, parts[i]);
		ck_assert_int_eq(remove(path), 0);
	}
}

/* Without accessed bits it is not even looked for; what is not a clear answer counts as none. */
START_TEST(test_ept_nested_idle_no_bits)
{
	static const char *const none[] = { "N\n", "" };

	for (size_t i = 0; i < 2; i++) {
		say_eptad(none[i]);
		ck_assert_int_eq(hs_nested_age_idle.open(&host, &fd, &err), -ENOTSUP);
		ck_assert_msg(strstr(err.text, "eptad") != NULL, "%s", err.text);
	}
	say_eptad("Y\n");
	ck_assert_int_eq(hs_nested_age_idle.open(&host, &fd, &err), -ENOENT);
	forget_eptad();
}
END_TEST

/* It takes what is written, and nothing comes of it. */
START_TEST(test_ept_nested_idle_without_effect)
{
	if (geteuid()) {
		printf("SKIPPED test_ept_nested_idle_without_effect: it takes root to see page frames\n");
		return;
	}
	ck_assert_int_eq(symlink("/dev/null", bitmap), 0);
	ck_assert_int_eq(hs_nested_age_idle.open(&host, &fd, &err), -EIO);
	ck_assert_msg(strstr(err.text, "does nothing") != NULL, "%s", err.text);
}
END_TEST

/* No frame is known, so nothing is written. */
START_TEST(test_ept_nested_idle_hidden_frames)
{
	struct stat st;
	int made = open(bitmap, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	ck_assert_int_ge(made, 0);
	ck_assert_int_eq(fchmod(made, 0666), 0);
	if (!geteuid())
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(hs_nested_age_idle.open(&host, &fd, &err), -EPERM);
	ck_assert_msg(strstr(err.text, "CAP_SYS_ADMIN") != NULL, "%s", err.text);
	if (!getuid())
		ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(fstat(made, &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	close(made);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/nested_idle");
	TCase *t = tcase_create("nested_idle");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_ept_nested_idle_absent);
	tcase_add_test(t, test_ept_nested_idle_unopenable);
	tcase_add_test(t, test_ept_nested_idle_no_bits);
	tcase_add_test(t, test_ept_nested_idle_without_effect);
	tcase_add_test(t, test_ept_nested_idle_hidden_frames);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
