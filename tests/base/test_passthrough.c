/* SPDX-License-Identifier: Apache-2.0 */
/* Passthrough is seen in a process's open files and pins: on a made tree, and on a process that has neither. */
#include "hs_test.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/passthrough.h"

static char root[64];
static struct hs_host host;

/* One process, 7, with three open files, one of which is the case's. */
static const struct {
	const char *link, *status;
	int rc;
	const char *says;
} cases[] = {
	{ "/dev/kvm", "VmPin:\t       0 kB\nVmRSS:\t 1000000 kB\n", 0, "" },
	{ "/dev/vfio/12", "", 1, "VFIO" },
	{ "/dev/vfio/vfio", "", 1, "VFIO" },
	{ "/dev/vfio/devices/vfio0", "", 1, "VFIO" },
	{ "anon_inode:[vfio-device]", "", 1, "VFIO" },
	{ "/dev/iommu", "", 1, "iommufd" },
	{ "/dev/vhost-vdpa-0", "", 1, "vDPA" },
	{ "/dev/vhost-net", "VmPin:\t       0 kB\nVmRSS:\t 1000000 kB\n", 0, "" },
	{ "/dev/vhost-vsock", "VmRSS:\t 1000000 kB\n", 0, "" },
	/* A ring's buffers are a small part; all of its memory is not. */
	{ "anon_inode:[io_uring]", "VmPin:\t    4096 kB\nVmRSS:\t 1000000 kB\n", 0, "" },
	{ "/dev/infiniband/uverbs0", "VmPin:\t  900000 kB\nVmRSS:\t 1000000 kB\n", 1, "pinned" },
};

static void make(const char *name, const char *text, bool is_link)
{
	char path[PATH_MAX];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	if (is_link) {
		ck_assert_int_eq(symlink(text, path), 0);
	} else if (!text) {
		ck_assert_int_eq(mkdir(path, 0700), 0);
	} else {
		f = fopen(path, "we");
		ck_assert_ptr_nonnull(f);
		ck_assert_int_ge(fputs(text, f), 0);
		ck_assert_int_eq(fclose(f), 0);
	}
}

static void setup(void)
{
	(void)snprintf(root, sizeof(root), "/tmp/hs-passthrough-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	host = (struct hs_host){ .proc_dir = root };
	make("7", NULL, false);
}

static void teardown(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", root);
	ck_assert_int_eq(system(cmd), 0);
}

START_TEST(test_base_passthrough_seen)
{
	struct hs_error err = { "" };

	make("7/fd", NULL, false);
	make("7/fd/0", "/dev/null", true);
	make("7/fd/3", cases[_i].link, true);
	make("7/fd/4", "socket:[4711]", true);
	make("7/status", cases[_i].status, false);
	ck_assert_int_eq(hs_passthrough_look(&host, 7, &err), cases[_i].rc);
	ck_assert_msg(strstr(err.text, cases[_i].says) && !err.text[0] == !cases[_i].rc, "%s", err.text);
}
END_TEST

/* What cannot be read is not taken for "none"; a process that is gone has none. */
START_TEST(test_base_passthrough_unknown)
{
	struct hs_error err = { "" };

	ck_assert_int_eq(hs_passthrough_look(&host, 8, &err), 0);
	make("7/fd", "no folder", false);
	ck_assert_int_eq(hs_passthrough_look(&host, 7, &err), -ENOTDIR);
	ck_assert_ptr_nonnull(strstr(err.text, "cannot be told"));
	/* Nor is what one of its files is; and so long as another one says that there is a device, that is known. */
	make("9", NULL, false);
	make("9/fd", NULL, false);
	make("9/fd/3", "no link", false);
	make("9/status", "VmPin:\t       0 kB\nVmRSS:\t 1000000 kB\n", false);
	ck_assert_int_eq(hs_passthrough_look(&host, 9, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "cannot be told"));
	make("9/fd/4", "/dev/vfio/vfio", true);
	ck_assert_int_eq(hs_passthrough_look(&host, 9, &err), 1);
	ck_assert_int_eq(hs_passthrough_look(&HS_HOST_DEFAULT, getpid(), &err), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/passthrough");
	TCase *t = tcase_create("passthrough");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_base_passthrough_seen, 0, (int)(sizeof(cases) / sizeof(cases[0])));
	tcase_add_test(t, test_base_passthrough_unknown);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
