/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scene of the engine's live suites: three process guests, an engine over them, real time, and the knobs of KSM as
 * they were before. One scene a test, in the test's own process.
 */
#ifndef HS_TESTS_SHARE_ENGINE_SCENE_H
#define HS_TESTS_SHARE_ENGINE_SCENE_H

#include "engine_guest.h"
#include "hs/share.h"
#include "hs_test.h"

#define NR_GUESTS 3
#define NR_HUGE   12
#define HOT_HUGE  2 /* the first ones: nothing is ever wanted of them */

extern struct hs_host host;        /* the real one, with a state folder of the suite's own */
extern struct hs_share_config cfg; /* for open_engine; foreign memory is allowed, it shares nothing with ours */
extern struct hs_error err;
extern struct hs_share *share;
extern struct test_guest guests[NR_GUESTS];
extern uint32_t ids[NR_GUESTS]; /* of the guests in the engine */

extern const struct hs_clock wall; /* real time... */
extern int sleeps_left;            /* ...that answers -ECANCELED after so many sleeps; -1: never */

/*
 * Contents: of the pages in cold huge pages, each second one, in random order, is number 1, 2, ... in every guest; all
 * others are unique, from `unique` on. wants() leaves each sixteenth of the shared ones out: identical, not wanted.
 */
void set_contents(struct test_guest *g, uint32_t unique);
bool is_wanted(const struct test_guest *g, uint32_t page);
struct hs_bits512 wants(const struct test_guest *g, hs_huge_nr huge);

void start_guests(void);                                      /* with these contents */
void open_engine(void);                                       /* remotes, views, engine with cfg, guests added */
int enter_guest(uint32_t i, uint32_t *id, uint64_t *adopted); /* guests[i], as hs_share_add_guest */
int want_all(uint32_t i);
void apply_all(void);
void burst_and_verify(void);
void share_all(void); /* the two of them */
void close_engine(void);

void check_intact(void); /* every byte of every living guest */
void check_knobs(void);  /* all as before the test */
uint64_t ksm_run(void);

/* Runs the suite with the tests that `add` adds; skips with the reason where the machine lacks something. */
int engine_scene_main(const char *name, void (*add)(TCase *t));

#endif
