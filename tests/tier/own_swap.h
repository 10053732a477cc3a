/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swap of a suite's own: a zram device, made for it and removed after it. The machine's swap is as it was afterwards.
 */
#ifndef HS_TESTS_TIER_OWN_SWAP_H
#define HS_TESTS_TIER_OWN_SWAP_H

#include <stdint.h>

/*
 * In the suite's main function, before any test and after all. Skips (with its answer, when that is not 0) where the
 * machine has no zram, or swap of its own, with which nobody could say what is in which.
 */
int own_swap_make(const char *suite);
void own_swap_remove(void);

/* Swap of so many KiB, with the highest priority; off again. */
void swap_on(uint64_t kib);
void swap_off(void);
uint64_t swap_used(void); /* bytes; some may be of other processes: the kernel has reclaim of its own */

#endif
