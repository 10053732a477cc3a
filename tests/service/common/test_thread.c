/* SPDX-License-Identifier: Apache-2.0 */
/* What a thread works on is freed once, by the last who lets go, whichever that is. */
#include "hs_test.h"

#include <semaphore.h>
#include <stdlib.h>

#include "service/common/thread.h"

struct work {
	struct hs_thread_owned thread;
	sem_t go;
};

static atomic_uint nr_released;
static sem_t released;

static void *run(void *arg)
{
	struct work *w = arg;

	while (sem_wait(&w->go)) {
	}
	return NULL;
}

static void release(void *arg)
{
	struct work *w = arg;

	(void)sem_destroy(&w->go);
	free(w);
	atomic_fetch_add(&nr_released, 1);
	(void)sem_post(&released);
}

static struct work *start(void)
{
	struct work *w = calloc(1, sizeof(*w));

	ck_assert_ptr_nonnull(w);
	ck_assert_int_eq(sem_init(&w->go, 0, 0), 0);
	w->thread.run = run;
	w->thread.release = release;
	w->thread.arg = w;
	ck_assert_int_eq(hs_thread_start_owned(&w->thread), 0);
	return w;
}

START_TEST(test_service_thread_ends_first)
{
	struct work *w;

	(void)sem_init(&released, 0, 0);
	atomic_store(&nr_released, 0);
	w = start();
	(void)sem_post(&w->go);
	ck_assert(hs_thread_wait(&w->thread, 60));
	ck_assert(hs_thread_wait(&w->thread, 0)); /* it has ended, and stays so */
	ck_assert_uint_eq(atomic_load(&nr_released), 0);
	hs_thread_let_go(&w->thread);
	ck_assert_uint_eq(atomic_load(&nr_released), 1);
}
END_TEST

START_TEST(test_service_thread_left_behind)
{
	struct work *w;
	struct timespec until;

	(void)sem_init(&released, 0, 0);
	atomic_store(&nr_released, 0);
	w = start();
	ck_assert(!hs_thread_wait(&w->thread, 0));
	hs_thread_let_go(&w->thread);
	ck_assert_uint_eq(atomic_load(&nr_released), 0);
	(void)sem_post(&w->go); /* its share keeps it */
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	ck_assert_int_eq(sem_timedwait(&released, &until), 0);
	ck_assert_uint_eq(atomic_load(&nr_released), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/thread");
	TCase *c = tcase_create("all");

	tcase_add_test(c, test_service_thread_ends_first);
	tcase_add_test(c, test_service_thread_left_behind);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
