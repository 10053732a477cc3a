/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of diagnose share. */
#ifndef HS_SERVICE_COMMON_DIAGNOSE_INTERNAL_H
#define HS_SERVICE_COMMON_DIAGNOSE_INTERNAL_H

#include <stdbool.h>
#include <stdio.h>

#include "diagnose.h"

struct hs_findings {
	const struct hs_host *host;
	const struct hs_probe *probe;
	struct hs_finding *f;
	size_t nr, room;
	bool nomem;
};

/* Adds a finding whose text is formatted; `advice` as it is. */
__attribute__((format(printf, 5, 6))) void hs_found(struct hs_findings *l, enum hs_finding_level level,
						    const char *name, const char *advice, const char *fmt, ...);

/* The file's first bytes, without the last newlines; false: it cannot be read. */
bool hs_slurp(const char *dir, const char *name, char *buf, size_t size);

/* ---- diagnose_memory.c ---- */

void hs_find_memory(struct hs_findings *l);

/* ---- diagnose_processes.c: what a walk over all processes finds ---- */

/* Those that have a say in KSM or in accessed bits, and guests under KVM. */
void hs_find_processes(struct hs_findings *l);
/* Mergeable memory of others than pids[nr]. */
void hs_find_foreign(struct hs_findings *l, const pid_t *pids, size_t nr);

#endif
