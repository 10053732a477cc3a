/* SPDX-License-Identifier: Apache-2.0 */
/* Address spaces told apart as the kernel does. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/address_space.h"
#include "hs_test.h"

static const struct hs_host host = HS_HOST_DEFAULT;
static char stack[65536];

static int wait_for_ever(void *arg)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		(void)pause();
	return arg != NULL;
}

static pid_t start(int flags)
{
	pid_t pid = clone(wait_for_ever, stack + sizeof(stack) - 64, flags | SIGCHLD, NULL);

	ck_assert_int_gt(pid, 0);
	return pid;
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(test_base_address_space_same)
{
	pid_t shared = start(CLONE_VM), own = start(0), gone = start(0);
	int rc = hs_same_address_space(&host, getpid(), getpid());

	end(gone);
	if (rc == -ENOSYS) {
		printf("SKIPPED test_base_address_space_same: a kernel without CONFIG_KCMP\n");
	} else {
		ck_assert_int_eq(rc, 1);
		ck_assert_int_eq(hs_same_address_space(&host, getpid(), shared), 1);
		ck_assert_int_eq(hs_same_address_space(&host, shared, getpid()), 1);
		ck_assert_int_eq(hs_same_address_space(&host, getpid(), own), 0);
		ck_assert_int_eq(hs_same_address_space(&host, shared, own), 0);
		ck_assert_int_eq(hs_same_address_space(&host, getpid(), gone), -ESRCH);
	}
	end(shared);
	end(own);
}
END_TEST

struct found {
	pid_t pid[8];
	int nr, stop_at;
};

static int note(void *ctx, pid_t other)
{
	struct found *f = ctx;

	f->pid[f->nr++] = other;
	return f->nr == f->stop_at ? -EXDEV : 0;
}

/* Without memory all are alike to the kernel: one that has ended and is not waited for, a thread of the kernel's. */
START_TEST(test_base_address_space_none)
{
	pid_t ended[2] = { start(0), start(0) };
	struct found f = { .nr = 0 };
	siginfo_t si;

	for (int i = 0; i < 2; i++) {
		(void)kill(ended[i], SIGKILL);
		ck_assert_int_eq(waitid(P_PID, (id_t)ended[i], &si, WEXITED | WNOWAIT), 0);
	}
	if (hs_same_address_space(&host, getpid(), getpid()) == -ENOSYS) {
		printf("SKIPPED test_base_address_space_none: a kernel without CONFIG_KCMP\n");
	} else {
		ck_assert_int_eq(hs_same_address_space(&host, ended[0], ended[1]), -ESRCH);
		ck_assert_int_eq(hs_address_space_each(&host, ended[0], note, &f), -ESRCH);
		ck_assert_int_eq(f.nr, 0);
	}
	end(ended[0]);
	end(ended[1]);
}
END_TEST

/* What cannot be known is never taken for the same: a tree that is no /proc, one that names others. */
START_TEST(test_base_address_space_unknown)
{
	char dir[] = "/tmp/hs-test-XXXXXX";
	struct hs_host tree = host;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	tree.proc_dir = dir;
	ck_assert_int_eq(hs_same_address_space(&tree, getpid(), getpid()), -ENOTSUP);
	ck_assert_int_eq(hs_address_space_each(&tree, getpid(), NULL, NULL), -ENOTSUP);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(test_base_address_space_each)
{
	static char second[65536];
	pid_t shared = start(CLONE_VM), own = fork(), other;
	struct found f = { .nr = 0 };

	if (own == 0)
		wait_for_ever(NULL);
	other = clone(wait_for_ever, second + sizeof(second) - 64, CLONE_VM | SIGCHLD, NULL);
	ck_assert_int_gt(other, 0);
	if (hs_same_address_space(&host, getpid(), getpid()) == -ENOSYS) {
		printf("SKIPPED test_base_address_space_each: a kernel without CONFIG_KCMP\n");
	} else {
		ck_assert_int_eq(hs_address_space_each(&host, getpid(), note, &f), 0);
		ck_assert_int_eq(f.nr, 2);
		ck_assert((f.pid[0] == shared && f.pid[1] == other) || (f.pid[0] == other && f.pid[1] == shared));
		f = (struct found){ .stop_at = 1 };
		ck_assert_int_eq(hs_address_space_each(&host, shared, note, &f), -EXDEV);
		ck_assert_int_eq(f.nr, 1);
		f = (struct found){ .nr = 0 };
		ck_assert_int_eq(hs_address_space_each(&host, own, note, &f), 0);
		ck_assert_int_eq(f.nr, 0);
	}
	end(shared);
	end(other);
	end(own);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/address_space");
	TCase *t = tcase_create("address spaces");

	tcase_add_test(t, test_base_address_space_same);
	tcase_add_test(t, test_base_address_space_none);
	tcase_add_test(t, test_base_address_space_unknown);
	tcase_add_test(t, test_base_address_space_each);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
