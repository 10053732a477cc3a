/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scan's place among the threads of the host. It gives way to everybody (SCHED_IDLE) as long as the host's
 * processors have moments to spare. Where they have none, giving way would mean to get nothing, for hours, on the very
 * hosts that are filled up; there it goes as an ordinary thread at ksmd's nice value, and what it takes is bounded by
 * the operator's cap ([scan] cpu_percent), which is an allowance as well as a limit.
 */
#ifndef HS_SERVICE_DAEMON_PRIORITY_H
#define HS_SERVICE_DAEMON_PRIORITY_H

#include <stdbool.h>
#include <stdint.h>

#include "hs/host.h"

/* As much waiting says that there is nothing to spare; less is the chance of a moment. ms. */
#define HS_PRIORITY_WAIT_MS 100
/* Waiting is set against running in pieces of so much, so that a quiet hour does not hide a busy minute. ms. */
#define HS_PRIORITY_PIECE_MS 1000
/* Giving way is tried again after so long; twice as long after each try that fails, up to the second. ms. */
#define HS_PRIORITY_RETRY_MS     10000
#define HS_PRIORITY_RETRY_MAX_MS 160000

/* Filled with zeroes: gives way. */
struct hs_priority {
	bool crowded;               /* giving way got too little */
	uint64_t retry_ms;          /* how long to be an ordinary thread after the next such; 0: none was yet */
	uint64_t until_ms;          /* crowded: giving way is tried again then */
	uint64_t run_ns, waited_ns; /* at the beginning of this piece */
};

/*
 * Is the thread to be an ordinary one for now? `run_ns`, `waited_ns`: how long it has run and has waited for a
 * processor since it started.
 */
bool hs_priority_crowded(struct hs_priority *p, uint64_t now_ms, uint64_t run_ns, uint64_t waited_ns);

/* The thread did not give way up to here: what these two grew by says nothing. */
void hs_priority_skip(struct hs_priority *p, uint64_t run_ns, uint64_t waited_ns);

/* How long this thread has run and waited (/proc/thread-self/schedstat). -errno: this kernel does not say. */
int hs_priority_read(const struct hs_host *host, uint64_t *run_ns, uint64_t *waited_ns);

enum hs_sched_class {
	HS_SCHED_ORDINARY = 0, /* as guests */
	HS_SCHED_KSMD,         /* nice 5, as ksmd (mm/ksm.c) */
	HS_SCHED_IDLE,         /* SCHED_IDLE */
};

/* Puts this thread there. false: not allowed, it stays where it is. */
bool hs_priority_set(enum hs_sched_class sched_class);

#endif
