/* SPDX-License-Identifier: Apache-2.0 */
/* Many hosts, as a Prometheus knows them: what is asked of it, as JSON, and how that is shown. */
#ifndef HS_SERVICE_CLI_FLEET_H
#define HS_SERVICE_CLI_FLEET_H

#include "prometheus.h"

/* Of a query: "name{match}", or a whole expression in which each %s stands for the matchers. `match`: "" is none. */
HS_MUST_USE int hs_hosts_query(struct hs_prometheus *p, const char *format, const char *match, json_t **out,
			       struct hs_error *err);

/*
 * {"hosts": [...], "total": {...}, "versions": {...}, "next": [...]}, a new reference. Errors as hs_prometheus_query;
 * -ENODATA: it has no figures of ours, the text says why that may be.
 */
HS_MUST_USE int hs_hosts_ask(struct hs_prometheus *p, const char *match, json_t **out, struct hs_error *err);
void hs_hosts_show(const json_t *fleet);

struct hs_together_options {
	const char *match;
	uint32_t least_percent; /* of what a group's guests hold: less to gain is no advice */
	uint32_t limit;         /* pairs that are named, of each group */
};

/*
 * {"keys": {...}, "groups": [...]}: what the guests have in common by their sketches, a new reference. -ENODATA: there
 * are no sketches.
 */
HS_MUST_USE int hs_together_ask(struct hs_prometheus *p, const struct hs_together_options *o, json_t **out,
				struct hs_error *err);
void hs_together_show(const json_t *together);

#endif
