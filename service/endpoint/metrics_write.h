/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text of metrics in Prometheus' two formats. A family is one call of hs_metrics_family, then its samples. The formats
 * differ in three things: a counter's family is named without _total in OpenMetrics, OpenMetrics has UNIT lines, and it
 * ends with # EOF.
 */
#ifndef HS_SERVICE_ENDPOINT_METRICS_WRITE_H
#define HS_SERVICE_ENDPOINT_METRICS_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct hs_metrics_out {
	FILE *f;
	bool open;
	char name[96]; /* of the family at hand, as its samples have it */
	char *text;
};

enum hs_metrics_type { HS_METRICS_GAUGE, HS_METRICS_COUNTER, HS_METRICS_INFO, HS_METRICS_STATESET };

/* False: out of memory. */
bool hs_metrics_begin(struct hs_metrics_out *o, bool openmetrics, size_t *len);
/* The text, malloc'ed, *len bytes; NULL: out of memory, or not `whole`. */
char *hs_metrics_end(struct hs_metrics_out *o, bool whole);

/* name: without _total or _info. unit: NULL: none. */
void hs_metrics_family(struct hs_metrics_out *o, enum hs_metrics_type type, const char *name, const char *unit,
		       const char *help);
/* key="value" with what has to be escaped, behind a comma unless it is the first one. */
void hs_metrics_label(struct hs_metrics_out *o, const char *key, const char *value, bool first);
/* The name, then {guest="",group=""}, {group=""}, or nothing, and a space. */
void hs_metrics_sample(struct hs_metrics_out *o, const char *guest, const char *group);
void hs_metrics_number(struct hs_metrics_out *o, double v);
/* A family of one sample without labels. */
void hs_metrics_one(struct hs_metrics_out *o, enum hs_metrics_type type, const char *name, const char *unit,
		    const char *help, double v);

#endif
