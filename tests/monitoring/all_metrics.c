/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every metric that the service has, each label included, as /metrics and /metrics/sketch write it of a host where all
 * is known: what
 * rules and boards may ask for. On a host of the tests' some are unknown, and so have no sample.
 */
#include <hs_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/endpoint/metrics.h"

#define GIB (UINT64_C(1) << 30)

static void fill_ledger(struct hs_ledger *l)
{
	*l = (struct hs_ledger){ .wanted = 300000,
				 .shared = 280000,
				 .zero = 1000,
				 .frames = 40000,
				 .broken = 20,
				 .saved_bytes = GIB,
				 .metadata_bytes = GIB >> 6,
				 .net_saved_bytes = (int64_t)(GIB - (GIB >> 6)) };
}

static void fill_guest(struct hs_model_guest *g, struct hs_guest_report *report, const char *id, const char *group)
{
	(void)snprintf(g->id, sizeof(g->id), "%s", id);
	(void)snprintf(g->opt_in.group, sizeof(g->opt_in.group), "%s", group);
	g->opt_in.on = true;
	g->state = HS_GUEST_SHARING;
	report->bytes = 4 * GIB;
	report->nr_huge = 2048;
	report->hot = 100;
	report->hot_still_huge = 90;
	report->cold = 1500;
	report->could_save_bytes = GIB;
	report->could_save_at_most_bytes = 2 * GIB;
	fill_ledger(&report->ledger);
	g->report = report;
}

static void fill_sketch(struct hs_guest_report *report, struct hs_sketch *s)
{
	s->contents = 100000;
	for (size_t i = 0; i < HS_SKETCH_SLOTS; i++)
		s->slot[i] = 1000 + i;
	report->sketch = s;
}

/* Without the line that ends it: more may follow. */
static bool put(char *(*make)(const struct hs_model *m, bool openmetrics, size_t *len), const struct hs_model *m)
{
	const size_t end = strlen("# EOF\n");
	size_t len = 0;
	char *text = make(m, true, &len);
	const bool whole = text && len > end && fwrite(text, 1, len - end, stdout) == len - end && !fflush(stdout);

	free(text);
	return whole;
}

int main(void)
{
	static struct hs_guest_report reports[2];
	static struct hs_model_guest guests[2];
	static struct hs_model m = {
		.version = HS_VERSION,
		.mode = HS_MODE_AUTO,
		.effective = HS_MODE_SAVE,
		.engaged = true,
		.has_kept = true,
		.kept = { .nr_processes = 1, .bytes = 4096 },
		.cycles = 10,
		.last_cycle_ms = 9000,
		.nr_links = 1,
		.links = { { .uri = "qemu:///system", .connected = true } },
		.memory_total_bytes = 64 * GIB,
		.memory_available_bytes = 16 * GIB,
		.psi_some_avg10 = 1,
		.scan_cpu_us = 1000000,
		.process_cpu_us = 2000000,
		.rss_bytes = GIB >> 4,
		.nr_descriptors = 40,
		.max_descriptors = 65536,
		.has_tls = true,
		.certificate_expires_s = 4102444800,
		.sketch_key = "0123456789abcdef",
		.has_totals = true,
		.totals = { .overcommit_bytes = 2 * GIB, .max_overcommit_bytes = 8 * GIB },
		.has_ksm = true,
		.ksm = { .ksmd_runs = true, .pages_shared = 40000, .pages_sharing = 240000 },
		.guests = guests,
		.nr_guests = 2,
	};
	static struct hs_sketch sketches[2];

	hs_model_obstacle_set(&m.obstacle, HS_REASON_FOREIGN, "somebody");
	fill_ledger(&m.totals.ledger);
	fill_guest(&guests[0], &reports[0], "web1", "web");
	fill_guest(&guests[1], &reports[1], "web2", "web");
	fill_sketch(&reports[0], &sketches[0]);
	fill_sketch(&reports[1], &sketches[1]);
	return put(hs_metrics_text, &m) && put(hs_metrics_sketch_text, &m) && puts("# EOF") >= 0 && !fflush(stdout) ? 0
														    : 1;
}
