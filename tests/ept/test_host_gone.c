/* SPDX-License-Identifier: Apache-2.0 */
/* Guests that end at any moment, and guests or hosts that cannot be viewed: what is answered then. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "view_guest.h"

#define NR_HUGE 8

static const struct hs_host host = HS_HOST_DEFAULT;
static struct view_guest guest;
static struct hs_view *view;
static struct hs_remote *remote;
static struct hs_error err;

/* ---- every operation, as something to repeat until the guest is gone ---- */

static int do_refresh(void)
{
	return hs_view_refresh(view, &err);
}

static int do_age(void)
{
	return hs_view_age(view, &err);
}

static int do_sample_huge(void)
{
	struct hs_huge_sample s[NR_HUGE];

	return hs_view_sample_huge(view, 0, NR_HUGE, s, &err);
}

static const hs_huge_nr all[NR_HUGE] = { 0, 1, 2, 3, 4, 5, 6, 7 };

static int do_sample_base(void)
{
	struct hs_base_sample s[NR_HUGE];

	return hs_view_sample_base(view, all, NR_HUGE, s, &err);
}

static int do_frames(void)
{
	struct hs_frame f[HS_BASE_PER_HUGE];

	return hs_view_frames(view, 3, f, &err);
}

static int do_read(void)
{
	static char buf[HS_HUGE_SIZE];
	struct hs_bits512 want = hs_bits_full(), got;

	return hs_view_read(view, 3, &want, buf, &got, &err);
}

static int do_split_restore(void)
{
	int rc = hs_view_split(view, all, NR_HUGE, NULL, &err);

	return rc ? rc : hs_view_restore(view, all, NR_HUGE, NULL, &err);
}

static int do_restore(void)
{
	return hs_view_restore(view, all, NR_HUGE, NULL, &err);
}

static const struct {
	const char *name;
	int (*run)(void);
} operations[] = {
	{ "refresh", do_refresh },
	{ "age", do_age },
	{ "sample_huge", do_sample_huge },
	{ "sample_base", do_sample_base },
	{ "frames", do_frames },
	{ "read", do_read },
	{ "split, restore", do_split_restore },
	{ "restore", do_restore },
};
enum { NR_OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

static void *kill_soon(void *us)
{
	struct timespec t = { .tv_nsec = *(long *)us * 1000 };

	(void)nanosleep(&t, NULL);
	kill(guest.pid, SIGKILL);
	return NULL;
}

static void open_view(void)
{
	int rc;

	(void)vg_start(&guest, VG_HUGE, NR_HUGE);
	rc = hs_remote_open(&remote, &host, guest.pid, &err);
	ck_assert_msg(!rc, "%s", err.text);
	rc = hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err);
	ck_assert_msg(!rc, "%s", err.text);
}

START_TEST(test_ept_host_guest_ends_in_mid_call)
{
	struct view_guest keeper_guest;
	struct hs_view *keeper; /* holds the program loaded, which the rounds would load each time anew */

	(void)vg_start(&keeper_guest, VG_ABSENT, NR_HUGE);
	ck_assert_int_eq(hs_view_open_host(&keeper, &host, keeper_guest.pid, NULL, VG_MIN_BYTES, &err), 0);
	srandom((unsigned int)_i);
	for (int round = 0; round < hs_test_nr(5, 15); round++) {
		long us = random() % 2000;
		pthread_t killer;
		int rc;

		open_view();
		ck_assert(!pthread_create(&killer, NULL, kill_soon, &us));
		do {
			rc = operations[_i].run();
			ck_assert_msg(!rc || rc == -ESRCH || rc == -EAGAIN || rc == -EBUSY, "%s: %d %s",
				      operations[_i].name, rc, err.text);
		} while (rc != -ESRCH);
		ck_assert_ptr_nonnull(strstr(err.text, "process"));
		ck_assert(!pthread_join(killer, NULL));
		hs_view_close(view);
		hs_remote_close(remote);
		vg_stop(&guest);
	}
	hs_view_close(keeper);
	vg_stop(&keeper_guest);
}
END_TEST

/* Ended, and not waited for yet: a zombie has its number and its folder, but no memory. */
START_TEST(test_ept_host_guest_has_ended)
{
	siginfo_t info;

	open_view();
	ck_assert_int_eq(hs_view_split(view, all, 2, NULL, &err), 0);
	kill(guest.pid, SIGKILL);
	ck_assert_int_eq(waitid(P_PID, (id_t)guest.pid, &info, WEXITED | WNOWAIT), 0);
	for (int i = 0; i < NR_OPERATIONS; i++)
		ck_assert_msg(operations[i].run() == -ESRCH, "%s", operations[i].name);
	hs_view_close(view);
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err), -ESRCH);
	hs_remote_close(remote);
	vg_stop(&guest);
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err), -ESRCH);
}
END_TEST

/* ---- refusals ---- */

START_TEST(test_ept_host_refuses_memory)
{
	static const struct {
		enum vg_kind kind;
		uint64_t min_bytes;
		const char *text;
	} cases[] = {
		{ VG_SHARED, VG_MIN_BYTES, "shared memory" },
		{ VG_HUGETLB, VG_MIN_BYTES, "hugetlbfs" },
		{ VG_ABSENT, UINT64_C(1) << 40, "too small" },
	};
	int rc;

	if (!vg_start(&guest, cases[_i].kind, NR_HUGE)) {
		vg_stop(&guest);
		return; /* no hugetlbfs on this machine */
	}
	rc = hs_view_open_host(&view, &host, guest.pid, NULL, cases[_i].min_bytes, &err);
	ck_assert_int_eq(rc, strcmp(cases[_i].text, "too small") ? -EMEDIUMTYPE : -ENODATA);
	ck_assert_msg(strstr(err.text, cases[_i].text) != NULL, "%s", err.text);
	vg_stop(&guest);
}
END_TEST

START_TEST(test_ept_host_refuses_nobody)
{
	int status;
	pid_t child;

	(void)vg_start(&guest, VG_ABSENT, NR_HUGE);
	child = fork();
	if (!child) {
		if (setgid(65534) || setuid(65534))
			_exit(2);
		if (hs_view_open_host(&view, &host, guest.pid, NULL, VG_MIN_BYTES, &err) != -EPERM)
			_exit(3);
		_exit(strstr(err.text, "CAP_BPF") ? 0 : 4);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	vg_stop(&guest);
}
END_TEST

START_TEST(test_ept_host_refuses_no_process)
{
	struct hs_host elsewhere = HS_HOST_DEFAULT;

	ck_assert_int_eq(hs_view_open_host(&view, &host, 0x3ffffff, NULL, 0, &err), -ESRCH);
	ck_assert_int_eq(hs_view_open_host(&view, &host, -1, NULL, 0, &err), -ESRCH);
	/* A kernel thread has no memory; kthreadd is 2 where we see the host's processes. */
	if (!access("/proc/2/maps", F_OK) && access("/proc/2/exe", F_OK))
		ck_assert_int_eq(hs_view_open_host(&view, &host, 2, NULL, 0, &err), -ESRCH);
	elsewhere.proc_dir = "/nowhere";
	ck_assert_int_eq(hs_view_open_host(&view, &elsewhere, getpid(), NULL, 0, &err), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/cpuinfo"));
}
END_TEST

/* Views share one loaded program; the last one out unloads it, and the next one loads it again. */
START_TEST(test_ept_host_many_views)
{
	struct hs_view *views[5];
	struct hs_huge_sample s;

	(void)vg_start(&guest, VG_HUGE, NR_HUGE);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5; i++)
			ck_assert_int_eq(hs_view_open_host(&views[i], &host, guest.pid, NULL, VG_MIN_BYTES, &err), 0);
		for (int i = 0; i < 5; i++) {
			ck_assert_int_eq(hs_view_sample_huge(views[i], 0, 1, &s, &err), 0);
			ck_assert_int_eq(s.state, HS_MAP_HUGE);
			hs_view_close(views[i]);
		}
	}
	hs_view_close(NULL);
	vg_stop(&guest);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;

	if (VG_SANITIZED)
		return hs_test_skip("ept_host_gone", VG_SANITIZED_WHY);
	if (geteuid())
		return hs_test_skip("ept_host_gone", "reading page tables needs root");
	s = suite_create("ept_host_gone");
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_ept_host_guest_ends_in_mid_call, 0, NR_OPERATIONS);
	tcase_add_test(t, test_ept_host_guest_has_ended);
	tcase_add_loop_test(t, test_ept_host_refuses_memory, 0, 3);
	tcase_add_test(t, test_ept_host_refuses_nobody);
	tcase_add_test(t, test_ept_host_refuses_no_process);
	tcase_add_test(t, test_ept_host_many_views);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
