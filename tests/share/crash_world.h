/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host for the model of crash records: one guest whose memory is two huge pages and a small piece beside them, its
 * advice and marks kept by simulation; files are real. The suite links with --wrap, so that each effect of the engine
 * on files and on the guest is a step, before which the service may be killed, the guest may change, or the step fails.
 */
#ifndef HS_TESTS_SHARE_CRASH_WORLD_H
#define HS_TESTS_SHARE_CRASH_WORLD_H

#include "hs/share.h"

enum {
	WORLD_HUGE = 2,  /* huge pages of guest memory */
	WORLD_SMALL = 8, /* base pages in another place that are no guest memory to the view */
	WORLD_PAGES = WORLD_HUGE * HS_BASE_PER_HUGE + WORLD_SMALL,
	WORLD_PID = 4242,
};
#define WORLD_SMALL_AT UINT64_C(0x7f0000000000) /* where these are */

/* What a program has of its own: its first advice and marks. */
enum world_kind {
	WORLD_PLAIN,      /* no advice */
	WORLD_HUGEPAGE,   /* advised HUGEPAGE */
	WORLD_NOHUGEPAGE, /* advised NOHUGEPAGE */
	WORLD_MERGEABLE,  /* its guest memory MERGEABLE and HUGEPAGE, as QEMU has it */
	WORLD_ALIKE,      /* all MERGEABLE and NOHUGEPAGE, as our own marks look */
	WORLD_NR_KINDS,
};

/* What happens before a step. */
enum world_event {
	WORLD_KILL,        /* the service is killed: neither this step nor any later one has an effect */
	WORLD_FAIL,        /* the step fails, once */
	WORLD_FAIL_ON,     /* it and all later steps on files fail: no room, no descriptors */
	WORLD_EXIT,        /* the guest ends */
	WORLD_REUSE,       /* it ends, and a WORLD_ALIKE process has its number */
	WORLD_REUSE_PLAIN, /* the same, a WORLD_PLAIN one */
	WORLD_EXEC,        /* it runs another program, a WORLD_ALIKE one */
	WORLD_NR_EVENTS,
};

extern struct hs_host world_host;

void world_make(void);
void world_remove(void);

/* A guest of that kind, and an empty state folder. */
void world_begin(enum world_kind kind);
/* The event comes before step `at` of those that follow; at UINT_MAX: never. */
void world_life(enum world_event event, unsigned int at);
/* How many steps this life has had; whether its event has come. */
unsigned int world_steps(void);
bool world_came(void);
/* The life is over: what follows is a test's own look. */
void world_over(void);
/* Between lives. WORLD_KILL stands for a reboot, after which a WORLD_ALIKE process has number, start time and stack. */
void world_between(enum world_event event);
bool world_alive(void);

struct hs_view *world_view(void);
/* Which frames its memory is on cannot be told; the room that there is for more of it. */
void world_hide_frames(bool hide);
void world_set_room(uint64_t bytes);
struct hs_remote *world_remote(void); /* of the program that runs now */

uint64_t world_knob(const char *name);
void world_set_knob(const char *name, uint64_t value);

uint64_t world_small_mergeable(void); /* of WORLD_SMALL */
/* Base pages that are mergeable by us. */
uint64_t world_ours(void);
/* Of what is ours in the living process, everything is on record; nobody else's memory has changed. */
void world_check_record(void);
/* All is as the program had it; no record is left. */
void world_check_undone(void);

/* The test fails with what led to it. */
void world_fail(const char *what, uint64_t place) __attribute__((noreturn));
extern char world_story[256];

#endif
