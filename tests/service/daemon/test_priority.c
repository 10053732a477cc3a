/* SPDX-License-Identifier: Apache-2.0 */
/* When the scan gives way, and when that would get it nothing. */
#include "hs_test.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "service/daemon/priority.h"

#define MS UINT64_C(1000000)

static struct hs_priority p;
static uint64_t now_ms, run_ns, waited_ns;

/* The thread ran and waited so much more. */
static bool crowded(uint64_t run_ms, uint64_t waited_ms)
{
	now_ms += run_ms + waited_ms;
	run_ns += run_ms * MS;
	waited_ns += waited_ms * MS;
	return hs_priority_crowded(&p, now_ms, run_ns, waited_ns);
}

static void setup(void)
{
	p = (struct hs_priority){ 0 };
	now_ms = 5000000, run_ns = 77 * MS, waited_ns = 900000 * MS;
	hs_priority_skip(&p, run_ns, waited_ns);
}

START_TEST(test_service_priority_gives_way)
{
	ck_assert(!crowded(0, 0));
	for (int i = 0; i < 1000; i++)
		ck_assert(!crowded(10, 9));
	/* A moment's wait says nothing yet. */
	hs_priority_skip(&p, run_ns, waited_ns);
	ck_assert(!crowded(0, HS_PRIORITY_WAIT_MS - 1));
}
END_TEST

START_TEST(test_service_priority_crowded)
{
	ck_assert(!crowded(1, HS_PRIORITY_WAIT_MS / 2));
	ck_assert(crowded(1, HS_PRIORITY_WAIT_MS / 2));
	/* As an ordinary thread it is not asked for some time how it fares. */
	ck_assert(crowded(HS_PRIORITY_RETRY_MS - 1, 0));
	ck_assert(!crowded(1, 0));
}
END_TEST

/* A quiet hour does not hide that there is nothing now. */
START_TEST(test_service_priority_quiet_before)
{
	for (int i = 0; i < 3600; i++)
		ck_assert(!crowded(HS_PRIORITY_PIECE_MS, 0));
	ck_assert(crowded(HS_PRIORITY_WAIT_MS, HS_PRIORITY_WAIT_MS + 1));
}
END_TEST

/* On a host that is full all day giving way is tried ever less often; a try that goes well ends that. */
START_TEST(test_service_priority_tries_less_often)
{
	uint64_t retry_ms = HS_PRIORITY_RETRY_MS;

	for (int i = 0; i < 10; i++) {
		ck_assert(crowded(0, HS_PRIORITY_WAIT_MS));
		ck_assert(crowded(retry_ms - 1, 0));
		ck_assert(!crowded(1, 0));
		retry_ms = retry_ms * 2 < HS_PRIORITY_RETRY_MAX_MS ? retry_ms * 2 : HS_PRIORITY_RETRY_MAX_MS;
	}
	ck_assert_uint_eq(retry_ms, HS_PRIORITY_RETRY_MAX_MS);
	ck_assert(!crowded(HS_PRIORITY_PIECE_MS, 0));
	ck_assert(crowded(0, HS_PRIORITY_WAIT_MS));
	ck_assert(crowded(HS_PRIORITY_RETRY_MS - 1, 0));
	ck_assert(!crowded(1, 0));
}
END_TEST

/* Waiting as an ordinary thread is not held against giving way. */
START_TEST(test_service_priority_skip)
{
	run_ns += MS, waited_ns += 10000 * MS;
	hs_priority_skip(&p, run_ns, waited_ns);
	ck_assert(!crowded(0, 0));
}
END_TEST

START_TEST(test_service_priority_read)
{
	const struct hs_host none = { .proc_dir = "/nonexistent" }, real = HS_HOST_DEFAULT;
	volatile unsigned long work = 0;
	uint64_t before_ns, after_ns, waited;

	ck_assert_int_eq(hs_priority_read(&none, &before_ns, &waited), -ENOENT);
	ck_assert_int_eq(hs_priority_read(&real, &before_ns, &waited), 0);
	while (work < 50000000)
		work++;
	ck_assert_int_eq(hs_priority_read(&real, &after_ns, &waited), 0);
	ck_assert_uint_gt(after_ns, before_ns);
}
END_TEST

static void *go_through(void *arg)
{
	(void)arg;
	if (!hs_priority_set(HS_SCHED_IDLE))
		return "idle";
	if (sched_getscheduler(0) != SCHED_IDLE)
		return "SCHED_IDLE";
	/* Back again, which only a privileged thread may. */
	if (!hs_priority_set(HS_SCHED_KSMD))
		return NULL;
	if (sched_getscheduler(0) != SCHED_OTHER || getpriority(PRIO_PROCESS, 0) != 5)
		return "as ksmd";
	if (!hs_priority_set(HS_SCHED_IDLE) || !hs_priority_set(HS_SCHED_ORDINARY))
		return "to ordinary";
	if (sched_getscheduler(0) != SCHED_OTHER || getpriority(PRIO_PROCESS, 0) != 0)
		return "ordinary";
	return "well";
}

START_TEST(test_service_priority_set)
{
	pthread_t thread;
	void *said;

	ck_assert_int_eq(pthread_create(&thread, NULL, go_through, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, &said), 0);
	if (!said) {
		puts("SKIPPED test_service_priority_set: raising a priority is not allowed here");
		return;
	}
	ck_assert_str_eq(said, "well");
	ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER); /* of that thread alone */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/priority");
	TCase *c = tcase_create("priority");

	tcase_add_checked_fixture(c, setup, NULL);
	tcase_add_test(c, test_service_priority_gives_way);
	tcase_add_test(c, test_service_priority_crowded);
	tcase_add_test(c, test_service_priority_quiet_before);
	tcase_add_test(c, test_service_priority_tries_less_often);
	tcase_add_test(c, test_service_priority_skip);
	tcase_add_test(c, test_service_priority_read);
	tcase_add_test(c, test_service_priority_set);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
