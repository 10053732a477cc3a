/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests for the remote suites: forked processes that report through memory they share with the test.
 */
#ifndef HS_TESTS_REMOTE_REMOTE_GUEST_H
#define HS_TESTS_REMOTE_REMOTE_GUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hs/remote.h"

/* What a guest reports. */
struct rg_report {
	atomic_int ready;         /* the guest stands where the test wants it */
	atomic_int stop;          /* the test asks it to end by itself */
	atomic_ulong rounds;      /* of its work */
	atomic_ulong wrong;       /* rounds that found something changed */
	atomic_ulong eintr;       /* calls that returned EINTR */
	atomic_ulong handled;     /* signals */
	atomic_int last_errno;    /* of the first wrong round */
	atomic_int line;          /* where that was */
	int pipe[2];              /* test writes, guest reads */
	uint64_t area, area_size; /* private memory for the calls to work on */
	void *ctx;
};

struct rg_guest {
	pid_t pid;
	struct rg_report *report;
};

/* Forks; body runs in the guest, and its return ends it (0: well). */
struct rg_guest rg_start(int (*body)(struct rg_report *r), void *ctx);
/* Waits until the guest says ready, then until its main thread is blocked (or not, when it never blocks). */
void rg_wait_ready(const struct rg_guest *g, bool blocks);
/* Ends it by force and reaps it. */
void rg_kill(struct rg_guest *g);
/* Asks it to end and gives its wait status; aborts the test when it does not within 10 s. */
int rg_finish(struct rg_guest *g);

/* In the guest: counts a round that found something wrong. */
#define RG_WRONG(r) rg_wrong(r, __LINE__)
void rg_wrong(struct rg_report *r, int line);

/* Body: never calls the kernel; all its registers hold known values, which it checks in every turn. Needs AVX2. */
int rg_body_spin(struct rg_report *r);
bool rg_spin_possible(void);
uint64_t rg_spin_turns(const struct rg_guest *g);
bool rg_spin_wrong(const struct rg_guest *g);

/* Body: sits in poll without a limit until its pipe has a byte, then ends well if nothing was ever interrupted. */
int rg_body_parked(struct rg_report *r);

/* /proc/PID/status of a thread: the number behind a name, or -1. */
long rg_status(pid_t pid, pid_t tid, const char *name);
char rg_state(pid_t pid, pid_t tid);

/*
 * A digest over the bytes of every private writable mapping. skip_low..skip_high (0, 0: none) is left out.
 * skip_stack: leaves out what lies more than 128 bytes below the main thread's rsp in [stack].
 */
uint64_t rg_digest(pid_t pid, bool skip_stack);
/* VmFlags of the VMA that holds addr contain this two-letter flag. */
bool rg_vma_has(pid_t pid, uint64_t addr, const char *flag);

/* In a thread of the guest: it waits for good. */
void *rg_sleep_on(void *arg);

uint64_t rg_now_us(void);

extern const struct hs_host rg_host;
#define RG_PAGE 4096UL
/* Opens the process, or aborts the test. */
struct hs_remote *rg_open(pid_t pid);
/* Opens the process and closes it again; a refusal has its reason in err. */
int rg_try_open(pid_t pid, struct hs_error *err);
/* One advice for one page; *result: of the call. */
int rg_advise(struct hs_remote *r, uint64_t at, int advice, int *result, struct hs_error *err);
/* One pair of calls that leaves everything as it was; aborts the test when it fails. */
void rg_touch(struct hs_remote *r, uint64_t area);

#endif
