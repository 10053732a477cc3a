/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scene of the tier's live suites: a process guest with the truth about each of its pages, a view of it, and swap
 * of the suite's own: a zram device, made for it and removed after it. The machine's swap is as it was afterwards.
 */
#ifndef HS_TESTS_TIER_TIER_SCENE_H
#define HS_TESTS_TIER_TIER_SCENE_H

#include "guest/guest.h"
#include "hs/tier.h"
#include "hs_test.h"
#include "own_swap.h"

#define MIB (UINT64_C(1) << 20)

extern struct hs_host host;
extern struct hs_error err;
extern struct hs_clock real_time;

/* A deadline of a test's own, in seconds: for what the kernel does when it comes to it. */
bool before(uint64_t *deadline_us, unsigned int seconds);

/* A guest as `params` says; started, and its memory filled. */
extern struct hs_guest *guest;
extern struct hs_view *view;
void start_guest(const struct hs_guest_params *params);
void stop_guest(void);
hs_huge_nr view_huge(uint32_t huge); /* the layout's number into the view's */
void check_bytes(void);              /* every byte, from inside: everything is touched */

/* Adds the tests and runs them. Skips where the machine lacks something. */
int tier_scene_main(const char *name, void (*add)(TCase *t));

#endif
