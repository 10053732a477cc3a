/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is reported of a guest, of the whole, and of what is shared: one table of the members of the reports, from which
 * the JSON and the metrics are made. A new figure is a member of a report, its counting, and a row.
 */
#ifndef HS_REPORT_FIELDS_H
#define HS_REPORT_FIELDS_H

#include "hs/pipeline.h"

enum hs_field_record {
	HS_FIELD_OF_GUEST = 0, /* struct hs_guest_report */
	HS_FIELD_OF_TOTALS,    /* struct hs_pipeline_totals */
	HS_FIELD_OF_LEDGER,    /* struct hs_ledger, of a guest or of the whole: known while the engine has it */
};

enum hs_field_kind {
	HS_FIELD_U32 = 0,
	HS_FIELD_U64,
	HS_FIELD_S64,
	HS_FIELD_PID,
	HS_FIELD_BOOL,
	HS_FIELD_TEXT,    /* const char *; NULL: "none" */
	HS_FIELD_CHARS,   /* the text itself; empty: "none" */
	HS_FIELD_REASONS, /* uint32_t[HS_NR_REASONS] */
	HS_FIELD_SKEW,    /* uint32_t[11], of hot base pages: 0, 1, 2-3, ... 512 */
	HS_FIELD_LEDGER,  /* struct hs_ledger */
};

/* A metric's family; name NULL: there is none. */
struct hs_field_metric {
	const char *name, *help; /* without "_total" */
	uint8_t place;           /* in the order in which they are listed; 0: behind those that have one */
};

struct hs_report_field {
	uint8_t record, kind;
	size_t offset;
	/* In JSON: a key, or "object.key" one level down; NULL: not there. Those of one object stand together. */
	const char *json;
	double json_per; /* it is reported divided by this; 0: as it is, a whole number */
	/* As metrics. */
	bool counter;     /* it only grows; otherwise a gauge */
	const char *unit; /* "bytes", "seconds"; NULL: it has none */
	double scale;     /* the member's unit, in the metric's */
	/* For OF_GUEST and OF_LEDGER of each guest, and of each group as the sum of its guests; for OF_TOTALS and
	 * OF_LEDGER of the whole. */
	struct hs_field_metric whole, guest, group;
};
extern const struct hs_report_field hs_report_fields[];
extern const size_t hs_nr_report_fields;

/* The number in a record of the field's own, unscaled. Kinds up to HS_FIELD_S64. */
double hs_report_field_number(const struct hs_report_field *f, const void *record);

#endif
