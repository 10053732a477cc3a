/*
 * Metrics. What is not known has no sample: a 0 would be a claim. A family is one call of family(), then its samples.
 * The two formats differ in three things: a counter's family is named without _total in OpenMetrics, OpenMetrics has
 * UNIT lines, and it ends with # EOF.
 */
#include "metrics.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct out {
	FILE *f;
	bool open;
	char name[96];
};

enum type { GAUGE, COUNTER, INFO, STATESET };

static void family(struct out *o, enum type type, const char *name, const char *unit, const char *help)
{
	/* The older format knows gauges and counters only, and names counters in full. */
	static const char *const open_names[] = { "gauge", "counter", "info", "stateset" };
	static const char *const suffix[] = { "", "_total", "_info", "" };
	const char *in_family = o->open ? "" : suffix[type];

	(void)snprintf(o->name, sizeof(o->name), "%s%s", name, suffix[type]);
	(void)fprintf(o->f, "# HELP %s%s %s\n", name, in_family, help);
	(void)fprintf(o->f, "# TYPE %s%s %s\n", name, in_family,
		      o->open           ? open_names[type]
		      : type == COUNTER ? "counter"
					: "gauge");
	if (o->open && unit)
		(void)fprintf(o->f, "# UNIT %s %s\n", name, unit);
}

static void label(struct out *o, const char *key, const char *value, bool first)
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
static void open_sample(struct out *o, const char *guest, const char *group)
{
	(void)fputs(o->name, o->f);
	if (group) {
		(void)fputc('{', o->f);
		if (guest)
			label(o, "guest", guest, true);
		label(o, "group", group, !guest);
		(void)fputc('}', o->f);
	}
	(void)fputc(' ', o->f);
}

static void number(struct out *o, double v)
{
	/* All digits of a whole number: bytes and times have ten and more. */
	(void)fprintf(o->f, "%.15g\n", v);
}

static void one(struct out *o, enum type type, const char *name, const char *unit, const char *help, double v)
{
	family(o, type, name, unit, help);
	open_sample(o, NULL, NULL);
	number(o, v);
}

/* ---- tables: a metric is a field of a record ---- */

enum known { REPORT, LEDGER }; /* since when it is known: once it was looked at; while the merge engine has it */
enum field { F_U32, F_U64, F_S64 };

struct metric {
	enum type type;
	const char *name, *unit, *help;
	size_t offset;
	enum field field;
	enum known known;
	double scale;
};
#define FIELD(record, member)                                                                                          \
	offsetof(struct record, member), _Generic(((struct record *)NULL)->member, uint32_t                            \
						  : F_U32, uint64_t                                                    \
						  : F_U64, int64_t                                                     \
						  : F_S64)
#define PAGES ((double)HS_BASE_SIZE)
#define US    1e-6
#define MS    1e-3
#define AS_IS 1.0

static double value_of(const struct metric *m, const void *record)
{
	const char *at = (const char *)record + m->offset;

	switch (m->field) {
	case F_U32:
		return *(const uint32_t *)at * m->scale;
	case F_U64:
		return (double)*(const uint64_t *)at * m->scale;
	case F_S64:
		return (double)*(const int64_t *)at * m->scale;
	}
	return 0;
}

/* ---- of the whole ---- */

#define TOTAL(member) FIELD(hs_pipeline_totals, member)

static const struct metric totals[] = {
	{ COUNTER, "hs_share_ksmd_cpu_seconds", "seconds", "Processor time of ksmd while this service let it run.",
	  TOTAL(ksmd_cpu_us), REPORT, US },
	{ COUNTER, "hs_share_merging_seconds", "seconds", "Time for which ksmd was let run.", TOTAL(burst_ms), REPORT,
	  MS },
	{ GAUGE, "hs_share_index_bytes", "bytes", "Memory of the service for the index of cold pages.",
	  TOTAL(index_bytes), REPORT, AS_IS },
	{ COUNTER, "hs_share_rounds", NULL, "Rounds of the coarse phase.", TOTAL(rounds), REPORT, AS_IS },
	{ COUNTER, "hs_share_pages_digested", NULL, "Base pages read and digested.", TOTAL(pages_hashed), REPORT,
	  AS_IS },
	{ COUNTER, "hs_share_pages_compared", NULL, "Base pages compared byte by byte.", TOTAL(pages_compared), REPORT,
	  AS_IS },
	{ COUNTER, "hs_share_compares_failed", NULL, "Of them with an equal digest and other bytes.",
	  TOTAL(compare_failed), REPORT, AS_IS },
	{ COUNTER, "hs_share_fine_windows", NULL, "Windows of the fine phase.", TOTAL(fine.nr_windows), REPORT, AS_IS },
	{ COUNTER, "hs_share_fine_gave_up", NULL, "Huge pages that a window gave up early: evenly hot.",
	  TOTAL(fine.nr_gave_up), REPORT, AS_IS },
	{ COUNTER, "hs_share_fine_no_time", NULL,
	  "Huge pages not looked into: clearing their guest's accessed bits takes longer than a window has.",
	  TOTAL(fine.nr_no_time), REPORT, AS_IS },
	{ COUNTER, "hs_share_fine_out_of_time", NULL, "Huge pages split in vain: their window ended too early.",
	  TOTAL(fine.nr_out_of_time), REPORT, AS_IS },
	{ COUNTER, "hs_share_mappings_split", NULL, "Mappings of huge pages split for a look.", TOTAL(fine.nr_split),
	  REPORT, AS_IS },
	{ COUNTER, "hs_share_mappings_split_failed", NULL, "Mappings that could not be split.",
	  TOTAL(fine.nr_split_failed), REPORT, AS_IS },
	{ COUNTER, "hs_share_mappings_restored", NULL, "Split ones brought back.", TOTAL(fine.nr_restored), REPORT,
	  AS_IS },
	{ COUNTER, "hs_share_mappings_restore_failed", NULL, "Times that one could not be brought back at once.",
	  TOTAL(fine.nr_restore_failed), REPORT, AS_IS },
	{ GAUGE, "hs_share_wanted_bytes", "bytes", "Memory that is to be shared.", TOTAL(ledger.wanted), LEDGER,
	  PAGES },
	{ GAUGE, "hs_share_mergeable_bytes", "bytes", "Memory that ksmd may merge for it.", TOTAL(ledger.marked),
	  LEDGER, PAGES },
	{ GAUGE, "hs_share_shared_bytes", "bytes", "Memory that shares frames.", TOTAL(ledger.shared), LEDGER, PAGES },
	{ GAUGE, "hs_share_frames_bytes", "bytes", "Page frames behind it.", TOTAL(ledger.frames), LEDGER, PAGES },
	{ GAUGE, "hs_share_zero_bytes", "bytes", "Memory on the zero page because of sharing.", TOTAL(ledger.zero),
	  LEDGER, PAGES },
	{ GAUGE, "hs_share_single_bytes", "bytes", "Merged memory whose partners are gone: nothing is saved by it.",
	  TOTAL(ledger.single), LEDGER, PAGES },
	{ COUNTER, "hs_share_broken_pages", NULL, "Shared base pages that were written to.", TOTAL(ledger.broken),
	  LEDGER, AS_IS },
	{ GAUGE, "hs_share_saved_bytes", "bytes", "Page frames free because of sharing, gross, as the page tables say.",
	  TOTAL(ledger.saved_bytes), LEDGER, AS_IS },
	{ GAUGE, "hs_share_metadata_bytes", "bytes", "What the kernel and the service hold for it.",
	  TOTAL(ledger.metadata_bytes), LEDGER, AS_IS },
	{ GAUGE, "hs_share_net_saved_bytes", "bytes", "Saved, less that; may be negative.",
	  TOTAL(ledger.net_saved_bytes), LEDGER, AS_IS },
	{ COUNTER, "hs_share_group_conflicts", NULL,
	  "Base pages that ksmd merged across trust groups, and that were parted again.", TOTAL(ledger.group_conflicts),
	  LEDGER, AS_IS },
};

static void of_totals(struct out *o, const struct hs_model *m)
{
	for (size_t i = 0; m->has_totals && i < sizeof(totals) / sizeof(totals[0]); i++)
		if (totals[i].known == REPORT || m->engaged)
			one(o, totals[i].type, totals[i].name, totals[i].unit, totals[i].help,
			    value_of(&totals[i], &m->totals));
}

static void of_mode(struct out *o, const struct hs_model *m)
{
	family(o, INFO, "hs_share_build", NULL, "The version that runs.");
	(void)fprintf(o->f, "%s{", o->name);
	label(o, "version", m->version, true);
	(void)fputs("} 1\n", o->f);
	family(o, STATESET, "hs_share_mode", NULL, "What is done now.");
	for (int i = 0; i < HS_MODE_AUTO; i++)
		(void)fprintf(o->f, "%s{hs_share_mode=\"%s\"} %d\n", o->name, hs_mode_name((enum hs_mode)i),
			      m->effective == (enum hs_mode)i);
	one(o, GAUGE, "hs_share_mode_auto", NULL, "1 when the mode follows the memory pressure.",
	    m->mode == HS_MODE_AUTO);
	one(o, COUNTER, "hs_share_mode_changes", NULL, "Switches of what is done.", (double)m->nr_mode_changes);
	one(o, GAUGE, "hs_share_ksm_taken", NULL, "1 while the kernel's KSM is driven by this service.", m->engaged);
	one(o, GAUGE, "hs_share_trouble", NULL, "1 when something keeps the whole host from sharing.",
	    m->trouble[0] != '\0');
	one(o, GAUGE, "hs_share_start_time_seconds", "seconds", "Unix time of the start.", (double)m->started_at_s);
	if (m->libvirt_configured)
		one(o, GAUGE, "hs_share_libvirt_connected", NULL, "1 while libvirt can be reached.",
		    m->libvirt_connected);
}

static void of_process(struct out *o, const struct hs_model *m)
{
	one(o, COUNTER, "hs_share_cpu_seconds", "seconds", "Processor time of the service.",
	    (double)m->process_cpu_us * US);
	one(o, COUNTER, "hs_share_scan_cpu_seconds", "seconds", "Of it, of the scan's thread.",
	    (double)m->scan_cpu_us * US);
	if (m->rss_bytes)
		one(o, GAUGE, "hs_share_resident_memory_bytes", "bytes", "Memory of the service.",
		    (double)m->rss_bytes);
	one(o, COUNTER, "hs_share_cycles", NULL, "Cycles that came to their end.", (double)m->cycles);
	if (m->cycles)
		one(o, GAUGE, "hs_share_last_cycle_seconds", "seconds", "Length of the last one.",
		    (double)m->last_cycle_ms * MS);
}

static void of_host(struct out *o, const struct hs_model *m)
{
	if (m->memory_total_bytes) {
		one(o, GAUGE, "hs_share_host_memory_bytes", "bytes", "The host's memory.",
		    (double)m->memory_total_bytes);
		one(o, GAUGE, "hs_share_host_memory_available_bytes", "bytes", "Of it available.",
		    (double)m->memory_available_bytes);
	}
	if (m->psi_some_avg10 >= 0)
		one(o, GAUGE, "hs_share_host_memory_pressure_ratio", "ratio",
		    "Share of the last 10 s in which some task waited for memory.", m->psi_some_avg10 / 100);
	if (!m->has_ksm)
		return;
	one(o, GAUGE, "hs_share_kernel_ksm_pages_shared", NULL, "KSM's own count of frames, of the whole host.",
	    (double)m->ksm.pages_shared);
	one(o, GAUGE, "hs_share_kernel_ksm_pages_sharing", NULL, "KSM's own count of further mappings of them.",
	    (double)m->ksm.pages_sharing);
	one(o, COUNTER, "hs_share_kernel_ksm_full_scans", NULL, "Passes of ksmd.", (double)m->ksm.full_scans);
}

/* ---- of each guest ---- */

#define GUEST(member) FIELD(hs_guest_report, member)

static const struct metric of_guest[] = {
	{ GAUGE, "hs_share_guest_memory_bytes", "bytes", "Memory of the guest that is looked at.", GUEST(bytes), REPORT,
	  AS_IS },
	{ GAUGE, "hs_share_guest_could_save_bytes", "bytes",
	  "What sharing its cold identical pages would save at most.", GUEST(could_save_bytes), REPORT, AS_IS },
	{ GAUGE, "hs_share_guest_saved_bytes", "bytes", "Its share of what is saved, gross.", GUEST(ledger.saved_bytes),
	  LEDGER, AS_IS },
	{ GAUGE, "hs_share_guest_net_saved_bytes", "bytes", "The same, less what is held for it; may be negative.",
	  GUEST(ledger.net_saved_bytes), LEDGER, AS_IS },
	{ GAUGE, "hs_share_guest_wanted_bytes", "bytes", "Its memory that is to be shared.", GUEST(ledger.wanted),
	  LEDGER, PAGES },
	{ GAUGE, "hs_share_guest_shared_bytes", "bytes", "Its memory that shares frames with others.",
	  GUEST(ledger.shared), LEDGER, PAGES },
	{ GAUGE, "hs_share_guest_frames_bytes", "bytes",
	  "Page frames behind it; those that guests have in common are divided among them.", GUEST(ledger.frames),
	  LEDGER, PAGES },
	{ GAUGE, "hs_share_guest_zero_bytes", "bytes", "Its memory on the zero page because of sharing.",
	  GUEST(ledger.zero), LEDGER, PAGES },
	{ COUNTER, "hs_share_guest_broken_pages", NULL, "Shared base pages that it wrote to.", GUEST(ledger.broken),
	  LEDGER, AS_IS },
	{ GAUGE, "hs_share_guest_mapped_huge_pages", NULL, "Its huge pages that are mapped huge.", GUEST(mapped_huge),
	  REPORT, AS_IS },
	{ GAUGE, "hs_share_guest_hot_huge_pages", NULL, "Its hot huge pages.", GUEST(hot), REPORT, AS_IS },
	{ GAUGE, "hs_share_guest_hot_huge_pages_still_huge", NULL, "Of them still mapped huge.", GUEST(hot_still_huge),
	  REPORT, AS_IS },
	{ GAUGE, "hs_share_guest_cold_huge_pages", NULL, "Its cold huge pages.", GUEST(cold), REPORT, AS_IS },
	{ GAUGE, "hs_share_guest_hot_bloat_huge_pages", NULL, "Hot ones that are cold inside for the most part.",
	  GUEST(hot_bloat), REPORT, AS_IS },
	{ GAUGE, "hs_share_guest_pages_without_vma", NULL,
	  "Base pages left unshared to keep the number of mappings low.", GUEST(nr_vmas_dropped), REPORT, AS_IS },
	{ COUNTER, "hs_share_guest_calls", NULL, "System calls made inside its process.", GUEST(remote.nr_calls),
	  REPORT, AS_IS },
	{ COUNTER, "hs_share_guest_call_sessions", NULL, "Times that a thread of it was held for calls.",
	  GUEST(remote.nr_sessions), REPORT, AS_IS },
	{ COUNTER, "hs_share_guest_call_retries", NULL, "Of them given up and tried again.", GUEST(remote.nr_retries),
	  REPORT, AS_IS },
	{ COUNTER, "hs_share_guest_stopped_seconds", "seconds", "Time for which a thread of it was held for calls.",
	  GUEST(remote.stopped_us), REPORT, US },
	{ GAUGE, "hs_share_guest_longest_stop_seconds", "seconds", "The longest of them.",
	  GUEST(remote.longest_stop_us), REPORT, US },
};
#define NR_OF_GUEST (sizeof(of_guest) / sizeof(of_guest[0]))

/* What is shared of it, as far as the merge engine has it: otherwise nothing is known of that, not even that it is 0.
 */
static bool is_known(const struct hs_model *m, const struct hs_model_guest *g, enum known what)
{
	return g->has_report && (what == REPORT || (m->engaged && !g->report.merge_obstacle.error));
}

static void guests(struct out *o, const struct hs_model *m)
{
	size_t states[HS_NR_GUEST_STATES] = { 0 };

	for (size_t i = 0; i < m->nr_guests; i++)
		states[m->guests[i].state]++;
	family(o, GAUGE, "hs_share_guests", NULL, "Guests by state.");
	for (int i = 0; i < HS_NR_GUEST_STATES; i++) {
		(void)fprintf(o->f, "%s{", o->name);
		label(o, "state", hs_guest_state_name((enum hs_guest_state)i), true);
		(void)fprintf(o->f, "} %zu\n", states[i]);
	}
	family(o, GAUGE, "hs_share_guest_reason", NULL,
	       "Why nothing is shared of the guest: 1 for the reason that holds.");
	for (size_t i = 0; i < m->nr_guests; i++) {
		(void)fprintf(o->f, "%s{", o->name);
		label(o, "guest", m->guests[i].id, true);
		label(o, "group", m->guests[i].opt_in.group, false);
		label(o, "reason", hs_guest_reason_name(m->guests[i].reason), false);
		(void)fputs("} 1\n", o->f);
	}
	for (size_t c = 0; c < NR_OF_GUEST; c++) {
		family(o, of_guest[c].type, of_guest[c].name, of_guest[c].unit, of_guest[c].help);
		for (size_t i = 0; i < m->nr_guests; i++) {
			const struct hs_model_guest *g = &m->guests[i];

			if (!is_known(m, g, of_guest[c].known))
				continue;
			open_sample(o, g->id, g->opt_in.group);
			number(o, value_of(&of_guest[c], &g->report));
		}
	}
}

/* ---- of each trust group ---- */

static const struct metric of_group[] = {
	{ GAUGE, "hs_share_group_memory_bytes", "bytes", "Memory of the group's guests that is looked at.",
	  GUEST(bytes), REPORT, AS_IS },
	{ GAUGE, "hs_share_group_could_save_bytes", "bytes", "What sharing inside the group would save at most.",
	  GUEST(could_save_bytes), REPORT, AS_IS },
	{ GAUGE, "hs_share_group_saved_bytes", "bytes", "What is saved inside the group, gross.",
	  GUEST(ledger.saved_bytes), LEDGER, AS_IS },
	{ GAUGE, "hs_share_group_shared_bytes", "bytes", "Memory of the group that shares frames.",
	  GUEST(ledger.shared), LEDGER, PAGES },
	{ GAUGE, "hs_share_group_frames_bytes", "bytes", "Page frames behind it.", GUEST(ledger.frames), LEDGER,
	  PAGES },
	{ GAUGE, "hs_share_group_zero_bytes", "bytes", "Memory of the group on the zero page because of sharing.",
	  GUEST(ledger.zero), LEDGER, PAGES },
};

/* A group is told by the first guest, in the model's order, that is opted in to it. */
static bool is_first_of_group(const struct hs_model *m, size_t i)
{
	if (!m->guests[i].opt_in.on)
		return false;
	for (size_t k = 0; k < i; k++)
		if (m->guests[k].opt_in.on && strcmp(m->guests[k].opt_in.group, m->guests[i].opt_in.group) == 0)
			return false;
	return true;
}

/* The sum over the group's guests of which it is known; metric NULL: their number. */
static size_t sum_group(const struct hs_model *m, const char *group, const struct metric *metric, double *sum)
{
	size_t nr = 0;

	*sum = 0;
	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_model_guest *g = &m->guests[i];

		if (!g->opt_in.on || strcmp(g->opt_in.group, group) != 0 || (metric && !is_known(m, g, metric->known)))
			continue;
		*sum += metric ? value_of(metric, &g->report) : 1;
		nr++;
	}
	return nr;
}

static void group_family(struct out *o, const struct hs_model *m, const struct metric *metric)
{
	double sum;

	for (size_t i = 0; i < m->nr_guests; i++) {
		const char *group = m->guests[i].opt_in.group;

		if (!is_first_of_group(m, i) || !sum_group(m, group, metric, &sum))
			continue;
		open_sample(o, NULL, group);
		number(o, sum);
	}
}

static void groups(struct out *o, const struct hs_model *m)
{
	family(o, GAUGE, "hs_share_group_guests", NULL, "Guests that are opted in to the trust group.");
	group_family(o, m, NULL);
	for (size_t c = 0; c < sizeof(of_group) / sizeof(of_group[0]); c++) {
		family(o, of_group[c].type, of_group[c].name, of_group[c].unit, of_group[c].help);
		group_family(o, m, &of_group[c]);
	}
}

char *hs_metrics_text(const struct hs_model *m, bool openmetrics, size_t *len)
{
	struct out o = { .open = openmetrics };
	char *text = NULL;

	o.f = open_memstream(&text, len);
	if (!o.f)
		return NULL;
	of_mode(&o, m);
	of_process(&o, m);
	of_host(&o, m);
	of_totals(&o, m);
	guests(&o, m);
	groups(&o, m);
	if (openmetrics)
		(void)fputs("# EOF\n", o.f);
	if (fclose(o.f)) {
		free(text);
		return NULL;
	}
	return text;
}
