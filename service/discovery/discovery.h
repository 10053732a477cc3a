/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests found by rules: one walk over the processes of the host. It opens each process's folder once, so all that is
 * read is of one and the same process, and reads of most no more than which file they run: 5 us a process. Nothing is
 * read that a process could make to hang (its command line lies in its own memory) before it is known to be root's
 * doing: the file it runs is root's, its user one that the rule names, its mount namespace the host's or expressly any.
 *
 * A walk blocks on the processes that fit: it belongs on a thread of its own.
 */
#ifndef HS_SERVICE_DISCOVERY_DISCOVERY_H
#define HS_SERVICE_DISCOVERY_DISCOVERY_H

#include <jansson.h>

#include "hs/host.h"
#include "rules.h"

/* A process, for good: another one may have its number later. */
struct hs_discovery_process {
	pid_t pid;
	uint64_t start_ticks; /* since the boot */
};

/* A process that a rule's executable fits. */
struct hs_discovery_guest {
	struct hs_discovery_process process;
	pid_t parent;
	struct hs_rule_result result; /* found; refused or not */
};

struct hs_discovery_request {
	const struct hs_host *host;
	struct hs_rules *rules;
	/* [nr_known]: guests already; whether they have the memory of one is not asked again. */
	const struct hs_discovery_process *known;
	size_t nr_known;
};

/*
 * *out is malloc'ed, [*nr], in no order. *complete: false when something could not be read that says nothing of the
 * process (no memory, no descriptor): then who is missing may be there all the same. -ENOMEM, -errno.
 */
HS_MUST_USE int hs_discovery_walk(const struct hs_discovery_request *request, struct hs_discovery_guest **out,
				  size_t *nr, bool *complete, struct hs_error *err);

/*
 * What the rules would find, for people: {"rules":[{"rule","source"}],"found":[{"rule","pid","name","group",
 * "max_shared_bytes","taken","reason"}]}. A process that is no guest yet is asked whether calls can be made in it: its
 * seccomp filter is read, for which one of its threads may be stopped for some 0.1 ms. NULL: out of memory.
 */
json_t *hs_discovery_json(const struct hs_discovery_request *request);

/* Adds what a rule says of a domain to the above. */
void hs_discovery_json_domain(json_t *json, const char *name, const struct hs_rule_result *result);

#endif
