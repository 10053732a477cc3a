/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics_write.h"

#include <stdlib.h>

bool hs_metrics_begin(struct hs_metrics_out *o, bool openmetrics, size_t *len)
{
	*o = (struct hs_metrics_out){ .open = openmetrics };
	o->f = open_memstream(&o->text, len);
	return o->f != NULL;
}

char *hs_metrics_end(struct hs_metrics_out *o, bool whole)
{
	if (o->open)
		(void)fputs("# EOF\n", o->f);
	if (!fclose(o->f) && whole)
		return o->text;
	free(o->text);
	return NULL;
}

void hs_metrics_family(struct hs_metrics_out *o, enum hs_metrics_type type, const char *name, const char *unit,
		       const char *help)
{
	/* The older format knows gauges and counters only, and names counters in full. */
	static const char *const open_names[] = { "gauge", "counter", "info", "stateset" };
	static const char *const suffix[] = { "", "_total", "_info", "" };
	const char *in_family = o->open ? "" : suffix[type];

	(void)snprintf(o->name, sizeof(o->name), "%s%s", name, suffix[type]);
	(void)fprintf(o->f, "# HELP %s%s %s\n", name, in_family, help);
	(void)fprintf(o->f, "# TYPE %s%s %s\n", name, in_family,
		      o->open                      ? open_names[type]
		      : type == HS_METRICS_COUNTER ? "counter"
						   : "gauge");
	if (o->open && unit)
		(void)fprintf(o->f, "# UNIT %s %s\n", name, unit);
}

void hs_metrics_label(struct hs_metrics_out *o, const char *key, const char *value, bool first)
{
	(void)fprintf(o->f, "%s%s=\"", first ? "" : ",", key);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			(void)fprintf(o->f, "\\%c", *value);
		else if (*value == '\n')
			(void)fputs("\\n", o->f);
		else
			(void)fputc(*value, o->f);
	}
	(void)fputc('"', o->f);
}

/* {guest="",group=""}, {group=""}, or nothing. */
void hs_metrics_sample(struct hs_metrics_out *o, const char *guest, const char *group)
{
	(void)fputs(o->name, o->f);
	if (group) {
		(void)fputc('{', o->f);
		if (guest)
			hs_metrics_label(o, "guest", guest, true);
		hs_metrics_label(o, "group", group, !guest);
		(void)fputc('}', o->f);
	}
	(void)fputc(' ', o->f);
}

void hs_metrics_number(struct hs_metrics_out *o, double v)
{
	/* All digits of a whole number: bytes and times have ten and more. */
	(void)fprintf(o->f, "%.15g\n", v);
}

void hs_metrics_one(struct hs_metrics_out *o, enum hs_metrics_type type, const char *name, const char *unit,
		    const char *help, double v)
{
	hs_metrics_family(o, type, name, unit, help);
	hs_metrics_sample(o, NULL, NULL);
	hs_metrics_number(o, v);
}
