/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics. What is not known has no sample: a 0 would be a claim. */
#include "metrics.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hs/report_fields.h"
#include "metrics_write.h"

/* ---- the fields of the reports, by their table ---- */

#define US 1e-6
#define MS 1e-3

enum scope { WHOLE, GUEST, GROUP };

static const struct hs_field_metric *metric_of(const struct hs_report_field *f, enum scope scope)
{
	return scope == WHOLE ? &f->whole : scope == GUEST ? &f->guest : &f->group;
}

/* Those without a place come last. */
static unsigned int place_of(const struct hs_report_field *f, enum scope scope)
{
	const uint8_t place = metric_of(f, scope)->place;

	return place ? place : UINT8_MAX + 1;
}

/* The next one in the order of their places, those of one place in the table's; NULL: that was the last. */
static const struct hs_report_field *next_field(enum scope scope, const struct hs_report_field *before)
{
	const struct hs_report_field *next = NULL;

	for (size_t i = 0; i < hs_nr_report_fields; i++) {
		const struct hs_report_field *f = &hs_report_fields[i];
		const unsigned int place = place_of(f, scope), last = before ? place_of(before, scope) : 0;

		if (metric_of(f, scope)->name && (place > last || (place == last && f > before)) &&
		    (!next || place < place_of(next, scope)))
			next = f;
	}
	return next;
}

static void begin_field(struct hs_metrics_out *o, const struct hs_report_field *f, enum scope scope)
{
	const struct hs_field_metric *m = metric_of(f, scope);

	hs_metrics_family(o, f->counter ? HS_METRICS_COUNTER : HS_METRICS_GAUGE, m->name, f->unit, m->help);
}

static double scaled(const struct hs_report_field *f, const void *of_guest_or_whole, const struct hs_ledger *ledger)
{
	return hs_report_field_number(f, f->record == HS_FIELD_OF_LEDGER ? ledger : of_guest_or_whole) * f->scale;
}

/* ---- of the whole ---- */

static void of_totals(struct hs_metrics_out *o, const struct hs_model *m)
{
	for (const struct hs_report_field *f = NULL; m->has_totals && (f = next_field(WHOLE, f));) {
		if (f->record == HS_FIELD_OF_LEDGER && !m->engaged)
			continue;
		begin_field(o, f, WHOLE);
		hs_metrics_sample(o, NULL, NULL);
		hs_metrics_number(o, scaled(f, &m->totals, &m->totals.ledger));
	}
}

static void of_mode(struct hs_metrics_out *o, const struct hs_model *m)
{
	hs_metrics_family(o, HS_METRICS_INFO, "hs_share_build", NULL, "The version that runs.");
	(void)fprintf(o->f, "%s{", o->name);
	hs_metrics_label(o, "version", m->version, true);
	(void)fputs("} 1\n", o->f);
	hs_metrics_family(o, HS_METRICS_STATESET, "hs_share_mode", NULL, "What is done now.");
	for (int i = 0; i < HS_MODE_AUTO; i++)
		(void)fprintf(o->f, "%s{hs_share_mode=\"%s\"} %d\n", o->name, hs_mode_name((enum hs_mode)i),
			      m->effective == (enum hs_mode)i);
	hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_mode_auto", NULL, "1 when the mode follows the memory pressure.",
		       m->mode == HS_MODE_AUTO);
	hs_metrics_one(o, HS_METRICS_COUNTER, "hs_share_mode_changes", NULL, "Switches of what is done.",
		       (double)m->nr_mode_changes);
	hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_ksm_taken", NULL,
		       "1 while the merge engine is in use, and, but with share = zero, KSM driven by it.", m->engaged);
	hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_trouble", NULL,
		       "1 when something keeps the whole host from sharing.", m->obstacle.reason != HS_REASON_NONE);
	hs_metrics_family(o, HS_METRICS_GAUGE, "hs_share_trouble_reason", NULL,
			  "What keeps it from sharing: 1 for the reason that holds.");
	if (m->obstacle.reason) {
		(void)fprintf(o->f, "%s{", o->name);
		hs_metrics_label(o, "reason", hs_guest_reason_name(m->obstacle.reason), true);
		(void)fputs("} 1\n", o->f);
	}
	hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_undo_pending", NULL,
		       "1 while something that is to be unshared could not be yet: it is tried again.",
		       m->undo_pending[0] != '\0');
	if (m->engaged && m->has_totals) {
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_overcommit_bytes", "bytes",
			       "Memory that it would take to end all sharing at once.",
			       (double)m->totals.overcommit_bytes);
		if (m->totals.max_overcommit_bytes)
			hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_max_overcommit_bytes", "bytes",
				       "What that may be at most.", (double)m->totals.max_overcommit_bytes);
		hs_metrics_one(
		    o, HS_METRICS_GAUGE, "hs_share_overcommit_limit_reached", NULL,
		    "1 while nothing further is shared of some guest, since a limit of overcommit is reached.",
		    m->totals.overcommit_full);
	}
	if (m->has_kept) {
		hs_metrics_one(
		    o, HS_METRICS_GAUGE, "hs_share_kept_bytes", "bytes",
		    "Memory that stays shared while no mode follows it: after mode save, or from before this start.",
		    (double)m->kept.bytes);
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_kept_processes", NULL, "Processes that it is in.",
			       m->kept.nr_processes);
	}
	hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_start_time_seconds", "seconds", "Unix time of the start.",
		       (double)m->started_at_s);
	if (m->has_tls) {
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_certificate_expiry_timestamp_seconds", "seconds",
			       "Unix time after which the certificate of the port for other hosts holds no more.",
			       (double)m->certificate_expires_s);
		hs_metrics_one(o, HS_METRICS_COUNTER, "hs_share_unauthorized_requests", NULL,
			       "Requests to that port without its token.", (double)m->nr_unauthorized);
	}
	if (m->nr_links)
		hs_metrics_family(o, HS_METRICS_GAUGE, "hs_share_libvirt_connected", NULL,
				  "1 while this connection to libvirt is there.");
	for (size_t i = 0; i < m->nr_links; i++) {
		(void)fprintf(o->f, "%s{", o->name);
		hs_metrics_label(o, "uri", m->links[i].uri, true);
		(void)fprintf(o->f, "} %d\n", m->links[i].connected);
	}
}

static void of_process(struct hs_metrics_out *o, const struct hs_model *m)
{
	hs_metrics_one(o, HS_METRICS_COUNTER, "hs_share_cpu_seconds", "seconds", "Processor time of the service.",
		       (double)m->process_cpu_us * US);
	hs_metrics_one(o, HS_METRICS_COUNTER, "hs_share_scan_cpu_seconds", "seconds", "Of it, of the scan's thread.",
		       (double)m->scan_cpu_us * US);
	if (m->rss_bytes)
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_resident_memory_bytes", "bytes", "Memory of the service.",
			       (double)m->rss_bytes);
	if (m->nr_descriptors)
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_open_descriptors", NULL,
			       "File descriptors that the service has open.", (double)m->nr_descriptors);
	if (m->max_descriptors)
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_max_descriptors", NULL,
			       "File descriptors that it may have open.", (double)m->max_descriptors);
	hs_metrics_one(o, HS_METRICS_COUNTER, "hs_share_cycles", NULL, "Cycles that came to their end.",
		       (double)m->cycles);
	if (m->cycles)
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_last_cycle_seconds", "seconds", "Length of the last one.",
			       (double)m->last_cycle_ms * MS);
}

static void of_host(struct hs_metrics_out *o, const struct hs_model *m)
{
	if (m->memory_total_bytes) {
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_host_memory_bytes", "bytes", "The host's memory.",
			       (double)m->memory_total_bytes);
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_host_memory_available_bytes", "bytes", "Of it available.",
			       (double)m->memory_available_bytes);
	}
	if (m->psi_some_avg10 >= 0)
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_host_memory_pressure_ratio", "ratio",
			       "Share of the last 10 s in which some task waited for memory.", m->psi_some_avg10 / 100);
	if (!m->has_ksm)
		return;
	/* While ksmd is stopped they are as it left them, whatever has ended since. */
	if (m->ksm.ksmd_runs) {
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_kernel_ksm_pages_shared", NULL,
			       "KSM's own count of frames, of the whole host, while ksmd runs.",
			       (double)m->ksm.pages_shared);
		hs_metrics_one(o, HS_METRICS_GAUGE, "hs_share_kernel_ksm_pages_sharing", NULL,
			       "KSM's own count of further mappings of them, while ksmd runs.",
			       (double)m->ksm.pages_sharing);
	}
	hs_metrics_one(o, HS_METRICS_COUNTER, "hs_share_kernel_ksm_full_scans", NULL, "Passes of ksmd.",
		       (double)m->ksm.full_scans);
}

/* ---- of each guest ---- */

/* What is shared of it, as far as the merge engine has it: otherwise nothing is known of that, not even that it is 0.
 */
static bool is_known(const struct hs_model *m, const struct hs_model_guest *g, const struct hs_report_field *f)
{
	return g->report && (f->record != HS_FIELD_OF_LEDGER || (m->engaged && !g->report->merge_obstacle.error));
}

static void guests(struct hs_metrics_out *o, const struct hs_model *m)
{
	size_t states[HS_NR_GUEST_STATES] = { 0 };

	for (size_t i = 0; i < m->nr_guests; i++)
		states[m->guests[i].state]++;
	hs_metrics_family(o, HS_METRICS_GAUGE, "hs_share_guests", NULL, "Guests by state.");
	for (int i = 0; i < HS_NR_GUEST_STATES; i++) {
		(void)fprintf(o->f, "%s{", o->name);
		hs_metrics_label(o, "state", hs_guest_state_name((enum hs_guest_state)i), true);
		(void)fprintf(o->f, "} %zu\n", states[i]);
	}
	hs_metrics_family(o, HS_METRICS_GAUGE, "hs_share_guest_reason", NULL,
			  "Why nothing is shared of the guest: 1 for the reason that holds.");
	for (size_t i = 0; i < m->nr_guests; i++) {
		(void)fprintf(o->f, "%s{", o->name);
		hs_metrics_label(o, "guest", m->guests[i].id, true);
		hs_metrics_label(o, "group", m->guests[i].opt_in.group, false);
		hs_metrics_label(o, "reason", hs_guest_reason_name(m->guests[i].obstacle.reason), false);
		(void)fputs("} 1\n", o->f);
	}
	for (const struct hs_report_field *f = NULL; (f = next_field(GUEST, f));) {
		begin_field(o, f, GUEST);
		for (size_t i = 0; i < m->nr_guests; i++) {
			const struct hs_model_guest *g = &m->guests[i];

			if (!is_known(m, g, f))
				continue;
			hs_metrics_sample(o, g->id, g->opt_in.group);
			hs_metrics_number(o, scaled(f, g->report, &g->report->ledger));
		}
	}
}

/* ---- of each trust group ---- */

/* Which guests are opted in to which group; found once, since there may be as many groups as guests. */
struct groups {
	size_t *of;         /* [nr_guests]: the group's number; NO_GROUP: not opted in */
	const char **names; /* [nr], in the order of each group's first guest in the model */
	double *sums;       /* [nr] */
	size_t *counts;     /* [nr]: guests in the sum */
	size_t nr;
};
#define NO_GROUP SIZE_MAX

static int by_group(const void *a, const void *b, void *arg)
{
	const struct hs_model *m = arg;
	const size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const int order = strcmp(m->guests[x].opt_in.group, m->guests[y].opt_in.group);

	return order ? order : (x > y) - (x < y);
}

static void groups_finish(struct groups *g)
{
	free(g->of);
	free(g->names);
	free(g->sums);
	free(g->counts);
}

/* false: out of memory */
static bool groups_init(struct groups *g, const struct hs_model *m)
{
	const size_t room = m->nr_guests ? m->nr_guests : 1;
	size_t *sorted = calloc(room, sizeof(*sorted)), nr = 0;

	*g = (struct groups){ .of = calloc(room, sizeof(*g->of)),
			      .names = calloc(room, sizeof(*g->names)),
			      .sums = calloc(room, sizeof(*g->sums)),
			      .counts = calloc(room, sizeof(*g->counts)) };
	if (!sorted || !g->of || !g->names || !g->sums || !g->counts) {
		free(sorted);
		return false;
	}
	for (size_t i = 0; i < m->nr_guests; i++) {
		g->of[i] = NO_GROUP;
		if (m->guests[i].opt_in.on)
			sorted[nr++] = i;
	}
	qsort_r(sorted, nr, sizeof(*sorted), by_group, (void *)(uintptr_t)m);
	/* For now the number of a group is that of its first guest. */
	for (size_t k = 0; k < nr; k++)
		g->of[sorted[k]] =
		    k && strcmp(m->guests[sorted[k]].opt_in.group, m->guests[sorted[k - 1]].opt_in.group) == 0
			? g->of[sorted[k - 1]]
			: sorted[k];
	free(sorted);
	for (size_t i = 0; i < m->nr_guests; i++) {
		if (g->of[i] == NO_GROUP)
			continue;
		if (g->of[i] == i) {
			g->names[g->nr] = m->guests[i].opt_in.group;
			g->of[i] = g->nr++;
		} else {
			g->of[i] = g->of[g->of[i]]; /* which stands before it, and has its number */
		}
	}
	return true;
}

/* The sum over each group's guests of which it is known; f NULL: their number. */
static void group_samples(struct hs_metrics_out *o, const struct hs_model *m, struct groups *g,
			  const struct hs_report_field *f)
{
	memset(g->sums, 0, g->nr * sizeof(*g->sums));
	memset(g->counts, 0, g->nr * sizeof(*g->counts));
	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_model_guest *guest = &m->guests[i];

		if (g->of[i] == NO_GROUP || (f && !is_known(m, guest, f)))
			continue;
		g->sums[g->of[i]] += f ? scaled(f, guest->report, &guest->report->ledger) : 1;
		g->counts[g->of[i]]++;
	}
	for (size_t k = 0; k < g->nr; k++) {
		if (!g->counts[k])
			continue;
		hs_metrics_sample(o, NULL, g->names[k]);
		hs_metrics_number(o, g->sums[k]);
	}
}

/* false: out of memory */
static bool groups(struct hs_metrics_out *o, const struct hs_model *m)
{
	struct groups g;
	const bool there = groups_init(&g, m);

	if (there) {
		hs_metrics_family(o, HS_METRICS_GAUGE, "hs_share_group_guests", NULL,
				  "Guests that are opted in to the trust group.");
		group_samples(o, m, &g, NULL);
	}
	for (const struct hs_report_field *f = NULL; there && (f = next_field(GROUP, f));) {
		begin_field(o, f, GROUP);
		group_samples(o, m, &g, f);
	}
	groups_finish(&g);
	return there;
}

char *hs_metrics_text(const struct hs_model *m, bool openmetrics, size_t *len)
{
	struct hs_metrics_out o;
	bool whole;

	if (!hs_metrics_begin(&o, openmetrics, len))
		return NULL;
	of_mode(&o, m);
	of_process(&o, m);
	of_host(&o, m);
	of_totals(&o, m);
	guests(&o, m);
	whole = groups(&o, m);
	return hs_metrics_end(&o, whole);
}
