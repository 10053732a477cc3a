/* SPDX-License-Identifier: Apache-2.0 */
/* What work.c (memory, commands) and worker.c (the threads) know in common; nobody else's. */
#ifndef HS_TESTS_GUEST_WORKER_H
#define HS_TESTS_GUEST_WORKER_H

#include <pthread.h>
#include <time.h>

#include "latency.h"
#include "work.h"

#define WORDS          (HS_BASE_SIZE / sizeof(uint64_t))
#define ENTRY_WRITABLE (UINT32_C(1) << 31)

struct worker {
	struct hs_work *work;
	uint32_t nr; /* its number; it writes every nr_threads-th page of the list, from its number on */
	pthread_t thread;
	uint64_t accesses, writes, errors, max_ns, sweep_max_ns; /* written by the thread alone */
	struct hs_latency latency;
} __attribute__((aligned(128)));

struct hs_work {
	struct hs_guest_layout layout;
	uint64_t *base;
	uint32_t *hot; /* list of hot page numbers, ENTRY_WRITABLE set in some; heated ones at its end */
	uint32_t nr_hot;
	uint32_t nr_hot_at_start;
	uint64_t fill_ns;

	struct worker *workers;
	uint32_t nr_workers;

	/* Guards what follows; `pause` is also read without it, at the border of batches. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int pause;
	uint32_t nr_parked;

	/* The commanding thread's own. */
	uint64_t running_since_ns; /* 0 while paused */
	uint64_t ran_ns;
	uint64_t told_accesses, told_writes;
	struct hs_latency reported;
};

static inline uint64_t hs_work_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static inline uint64_t *hs_work_page(const struct hs_work *w, uint32_t page)
{
	return w->base + (size_t)page * WORDS;
}

/* A thread's main function; arg: its struct worker. */
void *hs_work_loop(void *arg);

#endif
