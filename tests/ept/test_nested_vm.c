/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a process runs a virtual machine under KVM: what cannot be read of its files is not taken for "none". */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ept/nested_internal.h"
#include "hs_test.h"

static char dir[] = "/tmp/hs-nested-vm-XXXXXX";

START_TEST(test_ept_nested_vm_unknown)
{
	struct hs_host_view host = { .pidfd = -1 };
	struct hs_error err = { "" };
	struct hs_nested_vm vm;
	int fd_dir, fd;

	host.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(host.dir_fd, 0);
	ck_assert_int_eq(hs_nested_find_vm(&host, &vm, &err), -ESRCH);
	ck_assert_int_eq(mkdirat(host.dir_fd, "fd", 0700), 0);
	fd_dir = openat(host.dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(symlinkat("/dev/null", fd_dir, "0"), 0);
	ck_assert_int_eq(symlinkat("anon_inode:kvm-vcpu:0", fd_dir, "1"), 0);
	ck_assert_int_eq(hs_nested_find_vm(&host, &vm, &err), 0);
	ck_assert_int_eq(vm.vm_fd, -1);
	/* What is no link cannot be read as one. */
	fd = openat(fd_dir, "2", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(hs_nested_find_vm(&host, &vm, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "list its files"));
	(void)close(fd);
	(void)close(fd_dir);
	(void)close(host.dir_fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/nested_vm");
	TCase *t = tcase_create("files");
	char cmd[64];
	int rc;

	if (!mkdtemp(dir))
		return EXIT_FAILURE;
	tcase_add_test(t, test_ept_nested_vm_unknown);
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	return system(cmd) ? EXIT_FAILURE : rc;
}
