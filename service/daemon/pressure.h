/* SPDX-License-Identifier: Apache-2.0 */
/* Mode auto: when memory is short, save. A pure rule, and the two readings it needs. */
#ifndef HS_SERVICE_DAEMON_PRESSURE_H
#define HS_SERVICE_DAEMON_PRESSURE_H

#include "config.h"

struct hs_pressure {
	uint64_t total_bytes, available_bytes; /* /proc/meminfo; total 0: unknown */
	double psi_some_avg10;                 /* /proc/pressure/memory, percent; negative: the kernel does not say */
};

/* -errno: meminfo cannot be read. No PSI is no error. */
HS_MUST_USE int hs_pressure_read(const struct hs_host *host, struct hs_pressure *out, struct hs_error *err);

struct hs_pressure_state {
	bool saving;
	bool decided;      /* `since_ms` means something */
	uint64_t since_ms; /* monotonic, of the last switch */
};

/*
 * Whether to save from now on. Switches on below the on mark (or above the PSI mark), off only above both off marks,
 * and never within the dwell after the last switch. Unknown readings change nothing. why[256]: for the statistics, with
 * the figures. True when it switched.
 */
bool hs_pressure_decide(struct hs_pressure_state *s, const struct hs_pressure_config *cfg, const struct hs_pressure *p,
			uint64_t now_ms, char why[256]);

#endif
