/* SPDX-License-Identifier: Apache-2.0 */
#include "hs_test.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

#define NR_HUGE 8

static char dir[64];
static struct hs_host host;
static struct hs_view *view;
static struct hs_fine *fine;

static void setup(void)
{
	const struct hs_sim_config cfg = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE };

	(void)snprintf(dir, sizeof(dir), "/tmp/hs-journal-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	host = HS_HOST_DEFAULT;
	host.state_dir = dir;
	ck_assert_int_eq(hs_view_open_sim(&view, &cfg), 0);
	ck_assert_int_eq(hs_fine_create(&fine, &HS_FINE_CONFIG_DEFAULT), 0);
	view->pid = getpid(); /* the note is about a process, and this one is surely there */
}

static void teardown(void)
{
	hs_view_close(view);
	hs_fine_destroy(fine);
	hs_split_journal_remove(&host, getpid());
	(void)rmdir(dir);
}

static uint32_t nr_mapped_huge(void)
{
	struct hs_huge_sample s[NR_HUGE];
	uint32_t n = 0;

	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, s, NULL), 0);
	for (int i = 0; i < NR_HUGE; i++)
		n += s[i].state == HS_MAP_HUGE;
	return n;
}

START_TEST(test_service_journal_brings_back)
{
	const hs_huge_nr split[] = { 1, 4, 5 };

	ck_assert_int_eq(hs_split_journal_write(&host, view, split, 3, NULL), 0);
	ck_assert_int_eq(hs_view_split(view, split, 3, NULL, NULL), 0);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE - 3);
	ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 0);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE);
	/* The note is used once. */
	ck_assert_int_eq(hs_view_split(view, split, 3, NULL, NULL), 0);
	ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 0);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE - 3);
}
END_TEST

/* What cannot be brought back now is tried again, by this run or the next one. */
START_TEST(test_service_journal_later)
{
	const hs_huge_nr split[] = { 1, 4, 5 };
	hs_huge_nr pending[3];
	size_t left = 9;

	ck_assert_int_eq(hs_split_journal_write(&host, view, split, 3, NULL), 0);
	ck_assert_int_eq(hs_view_split(view, split, 3, NULL, NULL), 0);
	hs_sim_fail_restore(view, 4, 2, -ENOMEM);
	ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 1);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE - 1);
	ck_assert_uint_eq(hs_fine_pending(fine, view, pending, 3), 1);
	ck_assert_uint_eq(pending[0], 4);
	hs_fine_forget(fine, view); /* killed again */
	ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 1);
	ck_assert_int_eq(hs_fine_retry(fine, view, &left, NULL), 0);
	ck_assert_uint_eq(left, 0);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE);
}
END_TEST

START_TEST(test_service_journal_of_another_process)
{
	const hs_huge_nr split[] = { 2 };
	char path[128], text[64];
	FILE *f;

	ck_assert_int_eq(hs_view_split(view, split, 1, NULL, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/split-%d", dir, getpid());
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	/* the same pid, started at another time: a reused number */
	(void)snprintf(text, sizeof(text), "hs-share split 1\npid %d started 1\n", getpid());
	(void)fputs(text, f);
	(void)fprintf(f, "%llx\n", (unsigned long long)hs_view_hva(view, 2).v);
	(void)fclose(f);
	ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 0);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE - 1);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(test_service_journal_garbage)
{
	static const char *const texts[] = { "", "x", "hs-share split 1\n", "hs-share split 1\npid\n",
					     "hs-share split 9\nzzz\n" };
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/split-%d", dir, getpid());
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		FILE *f = fopen(path, "w");

		ck_assert_ptr_nonnull(f);
		(void)fputs(texts[i], f);
		(void)fclose(f);
		ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 0);
		ck_assert_int_eq(access(path, F_OK), -1);
	}
}
END_TEST

/* Two look at one guest: what the other has split is his while he lives, and is brought back when he was killed. */
START_TEST(test_service_journal_of_another_owner)
{
	const hs_huge_nr split[] = { 1, 4 };
	const pid_t other = fork();
	char path[128];
	int status;

	if (!other) {
		view->pid = getppid();
		if (hs_split_journal_write(&host, view, split, 2, NULL))
			_exit(1);
		(void)pause();
		_exit(1);
	}
	ck_assert_int_gt(other, 0);
	(void)snprintf(path, sizeof(path), "%s/split-%d.%d", dir, getpid(), (int)other);
	for (const time_t end = time(NULL) + 60; access(path, F_OK) && time(NULL) < end;)
		(void)usleep(1000);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(hs_view_split(view, split, 2, NULL, NULL), 0);
	ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 0);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE - 2);
	hs_split_journal_remove(&host, getpid());
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(kill(other, SIGKILL), 0);
	ck_assert_int_eq(waitpid(other, &status, 0), other);
	ck_assert_uint_eq(hs_split_journal_recover(&host, view, fine), 0);
	ck_assert_uint_eq(nr_mapped_huge(), NR_HUGE);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(test_service_journal_unwritable_folder)
{
	const hs_huge_nr split[] = { 1 };
	struct hs_error err = { "" };

	host.state_dir = "/proc/none";
	ck_assert_int_lt(hs_split_journal_write(&host, view, split, 1, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.text, "/proc/none"));
	host.state_dir = dir;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/journal");
	TCase *c = tcase_create("journal");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_service_journal_brings_back);
	tcase_add_test(c, test_service_journal_later);
	tcase_add_test(c, test_service_journal_of_another_process);
	tcase_add_test(c, test_service_journal_garbage);
	tcase_add_test(c, test_service_journal_of_another_owner);
	tcase_add_test(c, test_service_journal_unwritable_folder);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
