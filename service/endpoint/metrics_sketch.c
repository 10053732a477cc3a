/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guests' sketches as metrics, on a path of their own: they are many, and tell more than the others do
 * (docs/security.md). An empty slot has no sample.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "metrics_write.h"

static void slots(struct hs_metrics_out *o, const struct hs_model_guest *g, const struct hs_sketch *s)
{
	char *labels = NULL;
	size_t len;
	FILE *f = o->f;

	/* Once for all slots. */
	o->f = open_memstream(&labels, &len);
	if (!o->f) {
		o->f = f;
		return;
	}
	hs_metrics_label(o, "guest", g->id, true);
	hs_metrics_label(o, "group", g->opt_in.group, false);
	if (fclose(o->f) == 0)
		for (unsigned int i = 0; i < HS_SKETCH_SLOTS; i++)
			if (s->slot[i] != HS_SKETCH_EMPTY)
				(void)fprintf(f, "%s{%s,slot=\"%u\"} %" PRIu64 "\n", o->name, labels, i, s->slot[i]);
	free(labels);
	o->f = f;
}

static const struct hs_sketch *sketch_of(const struct hs_model_guest *g)
{
	return g->report && g->opt_in.on ? g->report->sketch : NULL;
}

char *hs_metrics_sketch_text(const struct hs_model *m, bool openmetrics, size_t *len)
{
	struct hs_metrics_out o;

	if (!hs_metrics_begin(&o, openmetrics, len))
		return NULL;
	hs_metrics_family(&o, HS_METRICS_INFO, "hs_share_sketch_key", NULL,
			  "Hosts can be compared that have the same key here; it does not tell the key.");
	(void)fprintf(o.f, "%s{", o.name);
	hs_metrics_label(&o, "key", m->sketch_key, true);
	(void)fputs("} 1\n", o.f);
	hs_metrics_family(&o, HS_METRICS_GAUGE, "hs_share_sketch_contents", NULL,
			  "Estimate of how many different contents its cold base pages have, without zeros.");
	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_sketch *s = sketch_of(&m->guests[i]);

		if (!s)
			continue;
		hs_metrics_sample(&o, m->guests[i].id, m->guests[i].opt_in.group);
		hs_metrics_number(&o, s->contents);
	}
	hs_metrics_family(
	    &o, HS_METRICS_GAUGE, "hs_share_sketch_slot", NULL,
	    "Of the contents that fall into this slot the one of the least value, under the fleet's key.");
	for (size_t i = 0; i < m->nr_guests; i++)
		if (sketch_of(&m->guests[i]))
			slots(&o, &m->guests[i], sketch_of(&m->guests[i]));
	return hs_metrics_end(&o, true);
}
