/*
 * Whether a process has rested: no thread in its address space ran since a certain moment, by what the scheduler
 * counts. What has not run has accessed nothing, whatever the processors have cached.
 */
#ifndef HS_EPT_HOST_REST_H
#define HS_EPT_HOST_REST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hs_host_rest {
	uint64_t *counts; /* of each thread: its id, nanoseconds run, times put on a processor */
	size_t nr, room;
};

/*
 * As it is now. `nr_users`: how many tasks use the address space, by the kernel's own count: with more than the process
 * has threads, another's may run in it. False, and nothing rests: one runs or waits for a processor, not all of them
 * can be seen, this kernel counts no runs (CONFIG_SCHED_INFO), or there is no memory.
 */
bool hs_host_rest_begin(struct hs_host_rest *r, int proc_dir_fd, int nr_users);

/* Whether nothing has run since then. False when it cannot be told. */
bool hs_host_rest_lasts(const struct hs_host_rest *r, int proc_dir_fd, int nr_users);

void hs_host_rest_finish(struct hs_host_rest *r);

#endif
