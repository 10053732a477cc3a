/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host can do for us and what stands in the way: kernel features, KSM's state, who else drives it, mergeable
 * memory that is not ours, who else ages pages. Looks and changes nothing; works with and without the daemon.
 */
#ifndef HS_SERVICE_COMMON_DIAGNOSE_H
#define HS_SERVICE_COMMON_DIAGNOSE_H

#include "hs/host.h"
#include "hs/error.h"

#include <jansson.h>
#include <stdbool.h>

enum hs_finding_level { HS_FINDING_OK = 0, HS_FINDING_NOTE, HS_FINDING_WARNING, HS_FINDING_OBSTACLE };

struct hs_finding {
	enum hs_finding_level level;
	char name[48];    /* "ksm", "transparent huge pages", "ksmtuned", ... stable, for programs */
	char text[384];   /* what was found */
	char advice[384]; /* the way out; "" when none is needed */
};

/* What no file says. */
struct hs_probe {
	char release[65], machine[65]; /* as uname has them */
	bool root;
	int bpf; /* 0: a BPF program of our kind can be loaded; -errno */
	/* As hs_view_nested_ageing has them. */
	const char *nested_ageing;
	bool nested_fine;
	struct hs_error nested_why;
};
void hs_diagnose_probe(const struct hs_host *host, struct hs_probe *out);

/* What is looked at; all is borrowed. */
struct hs_diagnose_request {
	const struct hs_host *host;
	const struct hs_probe *probe;
	const pid_t *pids; /* [nr_pids]: processes that are ours (guests), left out of the foreign ones */
	size_t nr_pids;
};

/* Walks all processes, which takes a while on a large host, and may wait for one of them. *out is malloc'ed, [*nr].
 * -ENOMEM. */
HS_MUST_USE int hs_diagnose(const struct hs_diagnose_request *request, struct hs_finding **out, size_t *nr,
			    struct hs_error *err);

/* {"findings":[{"level","name","text","advice"}], "obstacles": N, "warnings": N} */
json_t *hs_diagnose_json(const struct hs_finding *f, size_t nr);

#endif
