/* SPDX-License-Identifier: Apache-2.0 */
/* The real clock, which an interrupt by SIGINT or SIGTERM makes end every wait. */
#ifndef HS_BASE_WALLCLOCK_H
#define HS_BASE_WALLCLOCK_H

#include <stdbool.h>

#include "hs/clock.h"

/*
 * Catches SIGINT and SIGTERM for this process: the first asks to end (waits answer -ECANCELED from then on), the next
 * ones are ignored while things are put back, so that an impatient Ctrl-C cannot leave a guest half restored.
 */
void hs_wallclock_catch_signals(void);

/* From now on, waits end with -ECANCELED `us` microseconds from now. 0: no deadline. */
void hs_wallclock_deadline_us(uint64_t us);

/* Waits work again: for putting things back after the end was asked for. */
void hs_wallclock_reset(void);

extern const struct hs_clock hs_wallclock;

#endif
