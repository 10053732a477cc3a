/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cold page is cold only when nobody touches it: after the fill, this program reads and writes the hot pages alone,
 * through a list of their numbers that lies elsewhere. Two kinds of access make every hot page really hot: random ones,
 * each dependent on the one before so that a missing translation costs what it costs, and a steady sweep through the
 * list, which bounds the time in which every hot page is accessed at least once.
 */
#include "worker.h"

static void write_hot(struct worker *me, uint32_t entry)
{
	struct hs_work *w = me->work;
	struct hs_guest_page *page = &w->layout.pages[entry];
	uint64_t *word = hs_work_page(w, entry) + WORDS - 1;

	if (__atomic_load_n(word, __ATOMIC_RELAXED) != hs_guest_counter_word(page->id, page->counter))
		__atomic_store_n(&me->errors, me->errors + 1, __ATOMIC_RELAXED);
	page->counter++;
	__atomic_store_n(word, hs_guest_counter_word(page->id, page->counter), __ATOMIC_RELAXED);
}

/* `nr` random accesses; the next one's place depends on what this one read. */
static uint64_t access_randomly(struct worker *me, uint64_t x, uint32_t nr, uint32_t *writes)
{
	const struct hs_work *w = me->work;
	const uint32_t *hot = w->hot;
	const uint64_t nr_hot = w->nr_hot;
	const uint32_t write_below = (uint32_t)(w->layout.params.write_percent * 1024 / 100);

	for (uint32_t i = 0; i < nr; i++) {
		uint32_t k, entry;

		x = hs_guest_next(x);
		k = (uint32_t)((x >> 32) * nr_hot >> 32);
		entry = hot[k];
		if ((entry & ENTRY_WRITABLE) && ((x >> 20) & 1023) < write_below && k % w->nr_workers == me->nr) {
			write_hot(me, entry & ~ENTRY_WRITABLE);
			(*writes)++;
		} else {
			x += __atomic_load_n(hs_work_page(w, entry & ~ENTRY_WRITABLE) + (x & (WORDS - 1)),
					     __ATOMIC_RELAXED);
		}
	}
	return x ? x : 1;
}

static uint64_t sweep(const struct hs_work *w, uint32_t *at, uint32_t nr, uint64_t x)
{
	for (; nr > 0 && *at < w->nr_hot; nr--, (*at)++)
		x += __atomic_load_n(hs_work_page(w, w->hot[*at] & ~ENTRY_WRITABLE) + (x & (WORDS - 1)),
				     __ATOMIC_RELAXED);
	return x ? x : 1;
}

static bool park_if_asked(struct hs_work *w)
{
	if (!__atomic_load_n(&w->pause, __ATOMIC_ACQUIRE))
		return false;
	(void)pthread_mutex_lock(&w->lock);
	w->nr_parked++;
	(void)pthread_cond_broadcast(&w->changed);
	while (w->pause)
		(void)pthread_cond_wait(&w->changed, &w->lock);
	w->nr_parked--;
	(void)pthread_mutex_unlock(&w->lock);
	return true;
}

/* Keeps to the rate: sleeps when a batch was done before its time; never makes up for more than 100 ms. */
static uint64_t keep_rate(uint64_t due, uint64_t now, uint64_t accesses, uint64_t rate)
{
	due += accesses * 1000000000U / rate;
	if (due + 100000000U < now)
		return now;
	if (due > now + 50000U) {
		struct timespec t = { .tv_sec = (time_t)(due / 1000000000U), .tv_nsec = (long)(due % 1000000000U) };

		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	}
	return due;
}

void *hs_work_loop(void *arg)
{
	struct worker *me = arg;
	struct hs_work *w = me->work;
	const struct hs_guest_params *p = &w->layout.params;
	const uint32_t sweeping = (uint32_t)(p->batch * p->sweep_percent / 100);
	const uint32_t randomly = (uint32_t)p->batch - sweeping;
	uint64_t x = hs_guest_mix(p->seed, me->nr) | 1;
	uint64_t sweep_start = hs_work_now_ns();
	uint64_t due = sweep_start;
	uint32_t at = 0;

	for (;;) {
		uint64_t start, end;
		uint32_t writes = 0;

		if (park_if_asked(w)) {
			at = 0;
			sweep_start = due = hs_work_now_ns();
		}
		if (!w->nr_hot) { /* a guest that is cold all over */
			struct timespec t = { .tv_nsec = 10000000 };

			(void)nanosleep(&t, NULL);
			continue;
		}
		start = hs_work_now_ns();
		x = access_randomly(me, x, randomly, &writes);
		x = sweep(w, &at, sweeping, x);
		end = hs_work_now_ns();
		hs_latency_add(&me->latency, end - start);
		__atomic_store_n(&me->accesses, me->accesses + p->batch, __ATOMIC_RELAXED);
		__atomic_store_n(&me->writes, me->writes + writes, __ATOMIC_RELAXED);
		if (end - start > __atomic_load_n(&me->max_ns, __ATOMIC_RELAXED))
			__atomic_store_n(&me->max_ns, end - start, __ATOMIC_RELAXED);
		if (at >= w->nr_hot) {
			if (end - sweep_start > __atomic_load_n(&me->sweep_max_ns, __ATOMIC_RELAXED))
				__atomic_store_n(&me->sweep_max_ns, end - sweep_start, __ATOMIC_RELAXED);
			at = 0;
			sweep_start = end;
		}
		if (p->rate)
			due = keep_rate(due, end, p->batch, p->rate);
	}
	return NULL;
}
