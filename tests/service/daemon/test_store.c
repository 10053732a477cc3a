/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lasts over a reboot, on its way to the disk: who asked is answered when it is there, what comes together is
 * written together, and what the disk refuses is said to each who asked.
 */
#include "hs_test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "service/daemon/daemon_internal.h"

static struct hs_daemon d;
static char dir[] = "/tmp/hs-test-store-XXXXXX", path[128], old_dir[64], old_path[128];

static struct {
	int nr, nr_failed;
	int last;      /* the text that was there at the last answer */
	bool too_soon; /* a text was said to be stored, and an earlier one was there */
	char text[512];
} answers;

/* The number that the file holds; -1: there is none. */
static int stored(void)
{
	FILE *f = fopen(path, "re");
	int v = -1;

	if (f && fscanf(f, "%d", &v) != 1)
		v = -2;
	if (f)
		(void)fclose(f);
	return v;
}

static void on_stored(void *arg, int rc, const char *text)
{
	answers.nr++;
	answers.nr_failed += rc != 0;
	answers.last = stored();
	answers.too_soon |= !rc && answers.last < (int)(intptr_t)arg;
	(void)snprintf(answers.text, sizeof(answers.text), "%s", text);
}

static void put(int v)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%d\n", v);
	hs_daemon_store_put(&d, "f", strdup(text), (struct hs_done){ on_stored, (void *)(intptr_t)v });
}

static void setup(void)
{
	struct hs_error err = { "" };

	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/f", dir);
	(void)snprintf(old_dir, sizeof(old_dir), "%s/old", dir);
	(void)snprintf(old_path, sizeof(old_path), "%s/f", old_dir);
	ck_assert_int_eq(mkdir(old_dir, 0700), 0);
	memset(&answers, 0, sizeof(answers));
	d = (struct hs_daemon){ .host = HS_HOST_DEFAULT };
	d.host.state_dir = old_dir;
	(void)snprintf(d.persistent_dir, sizeof(d.persistent_dir), "%s", dir);
	ck_assert_int_ge(sd_event_new(&d.loop), 0);
	ck_assert_msg(hs_daemon_store_start(&d, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	hs_daemon_store_stop(&d);
	sd_event_unref(d.loop);
	(void)unlink(path);
	(void)unlink(old_path);
	(void)rmdir(old_dir);
	(void)rmdir(dir);
}

static void answered(int nr)
{
	const time_t end = time(NULL) + 60;

	while (answers.nr < nr) {
		ck_assert_msg(time(NULL) < end, "%d of %d are answered", answers.nr, nr);
		(void)sd_event_run(d.loop, 20000);
	}
}

START_TEST(test_service_store_answers_when_stored)
{
	put(1);
	answered(1);
	ck_assert_int_eq(answers.last, 1);
	for (int i = 2; i <= 1000; i++)
		put(i);
	answered(1000);
	ck_assert(!answers.too_soon);
	ck_assert_int_eq(answers.nr_failed, 0);
	ck_assert_int_eq(stored(), 1000);
	hs_daemon_store_put(&d, "f", NULL, (struct hs_done){ on_stored, (void *)(intptr_t)-1 });
	answered(1001);
	ck_assert_int_eq(stored(), -1);
}
END_TEST

/* All that comes while the disk is at work is one write, and answered together. */
START_TEST(test_service_store_writes_together)
{
	put(1);
	answered(1);
	for (int i = 2; i <= 500; i++)
		put(i);
	/* The thread has at most the first of them; no answer was taken yet. */
	ck_assert_int_eq(answers.nr, 1);
	answered(2);
	ck_assert_int_ge(answers.last, 2);
	while (answers.nr < 500) {
		const int before = answers.nr;

		answered(before + 1);
		ck_assert_int_eq(answers.nr, 500); /* the rest at once */
	}
	ck_assert_int_eq(stored(), 500);
}
END_TEST

START_TEST(test_service_store_refused)
{
	char tmp[160];

	put(1);
	answered(1);
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	ck_assert_int_eq(mkdir(tmp, 0700), 0);
	put(2);
	put(3);
	answered(3);
	ck_assert_int_eq(answers.nr_failed, 2);
	ck_assert_ptr_nonnull(strstr(answers.text, path));
	ck_assert_int_eq(stored(), 1);
	ck_assert_int_eq(rmdir(tmp), 0);
	put(4);
	answered(4);
	ck_assert_int_eq(answers.nr_failed, 2);
	ck_assert_int_eq(stored(), 4);
}
END_TEST

/* At the end nothing that was asked for is left out, and nobody without an answer. */
START_TEST(test_service_store_end)
{
	for (int i = 1; i <= 100; i++)
		put(i);
	hs_daemon_store_stop(&d);
	ck_assert_int_eq(answers.nr, 100);
	ck_assert_int_eq(answers.nr_failed, 0);
	ck_assert_int_eq(stored(), 100);
	put(101);
	ck_assert_int_eq(answers.nr, 101);
	ck_assert_int_eq(answers.nr_failed, 1);
	ck_assert_int_eq(stored(), 100);
}
END_TEST

/* What an earlier version has in the state folder counts until something newer is stored. */
START_TEST(test_service_store_earlier_version)
{
	char why[512];
	json_t *what;
	FILE *f = fopen(old_path, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs("[7]", f), 0);
	ck_assert_int_eq(fclose(f), 0);
	what = hs_daemon_store_load(&d, "f", why);
	ck_assert_int_eq(json_integer_value(json_array_get(what, 0)), 7);
	json_decref(what);
	put(8);
	answered(1);
	ck_assert_int_eq(access(old_path, F_OK), -1);
	what = hs_daemon_store_load(&d, "f", why);
	ck_assert(!what && strstr(why, path)); /* a number alone is no document */
	hs_daemon_store_put(&d, "f", NULL, (struct hs_done){ on_stored, (void *)(intptr_t)-1 });
	answered(2);
	ck_assert(!hs_daemon_store_load(&d, "f", why) && !why[0]);
}
END_TEST

static void put_outs(const char *text)
{
	char name[160];
	FILE *f;

	(void)snprintf(name, sizeof(name), "%s/opt-outs.json", dir);
	f = fopen(name, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void restart(void)
{
	hs_daemon_free_outs(&d);
	d.outs_unknown = d.outs_unreadable = false;
	hs_daemon_load_outs(&d);
}

/* Who is out cannot be read: everybody, but who was opted in by request; and what cannot be read is not lost. */
START_TEST(test_service_store_outs_unreadable)
{
	static const char *const damaged[] = { "[ \"a\", \"b", "{}", "[ 7 ]", "" };
	struct hs_daemon_guest a = { .daemon = &d, .source = HS_SOURCE_LIBVIRT, .uuid = "a" };
	struct hs_daemon_guest b = { .daemon = &d, .source = HS_SOURCE_LIBVIRT, .uuid = "b" };
	char kept[160];

	restart();
	ck_assert(!hs_daemon_is_out(&d, &a));
	put_outs("[ \"a\" ]");
	restart();
	ck_assert(hs_daemon_is_out(&d, &a) && !hs_daemon_is_out(&d, &b));
	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		put_outs(damaged[i]);
		restart();
		ck_assert(hs_daemon_is_out(&d, &a) && hs_daemon_is_out(&d, &b));
	}
	b.by_request.on = true;
	ck_assert(!hs_daemon_is_out(&d, &b));
	b.by_request.on = false;
	hs_daemon_set_out(&a, true, (struct hs_done){ on_stored, NULL });
	answered(1);
	ck_assert_int_eq(answers.nr_failed, 0);
	(void)snprintf(kept, sizeof(kept), "%s/opt-outs.json.unreadable", dir);
	ck_assert_int_eq(access(kept, F_OK), 0);
	restart();
	ck_assert(hs_daemon_is_out(&d, &a) && hs_daemon_is_out(&d, &b));
	ck_assert_int_eq(unlink(kept), 0);
	restart();
	ck_assert(hs_daemon_is_out(&d, &a) && !hs_daemon_is_out(&d, &b));
	hs_daemon_free_outs(&d);
	(void)snprintf(kept, sizeof(kept), "%s/opt-outs.json", dir);
	ck_assert_int_eq(unlink(kept), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/store");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_service_store_answers_when_stored);
	tcase_add_test(c, test_service_store_writes_together);
	tcase_add_test(c, test_service_store_refused);
	tcase_add_test(c, test_service_store_end);
	tcase_add_test(c, test_service_store_earlier_version);
	tcase_add_test(c, test_service_store_outs_unreadable);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
