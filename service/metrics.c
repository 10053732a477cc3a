/*
 * Metrics. A family is one call of family(), then its samples. The two formats differ in three things: a counter's
 * family is named without _total in OpenMetrics, OpenMetrics has UNIT lines, and it ends with # EOF.
 */
#include "metrics.h"

#include <inttypes.h>
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

static void open_sample(struct out *o, const struct hs_model_guest *g)
{
	(void)fputs(o->name, o->f);
	if (g) {
		(void)fputc('{', o->f);
		label(o, "guest", g->id, true);
		label(o, "group", g->opt_in.group, false);
		(void)fputc('}', o->f);
	}
	(void)fputc(' ', o->f);
}

static void whole(struct out *o, const struct hs_model_guest *g, uint64_t v)
{
	open_sample(o, g);
	(void)fprintf(o->f, "%" PRIu64 "\n", v);
}

static void number(struct out *o, const struct hs_model_guest *g, double v)
{
	open_sample(o, g);
	/* All digits of a whole number: bytes and times have ten and more. */
	(void)fprintf(o->f, "%.15g\n", v);
}

static void one(struct out *o, enum type type, const char *name, const char *unit, const char *help, double v)
{
	family(o, type, name, unit, help);
	number(o, NULL, v);
}

/* ---- of the whole ---- */

static void service(struct out *o, const struct hs_model *m)
{
	const struct hs_pipeline_totals *t = &m->totals;

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
	one(o, GAUGE, "hs_share_libvirt_connected", NULL, "1 while libvirt can be reached.", m->libvirt_connected);
	one(o, COUNTER, "hs_share_cpu_seconds", "seconds", "Processor time of the service.",
	    (double)m->process_cpu_us / 1e6);
	one(o, COUNTER, "hs_share_scan_cpu_seconds", "seconds", "Of it, of the scan's thread.",
	    (double)m->scan_cpu_us / 1e6);
	one(o, COUNTER, "hs_share_ksmd_cpu_seconds", "seconds", "Processor time of ksmd while this service let it run.",
	    (double)t->ksmd_cpu_us / 1e6);
	one(o, COUNTER, "hs_share_merging_seconds", "seconds", "Time for which ksmd was let run.",
	    (double)t->burst_ms / 1e3);
	one(o, GAUGE, "hs_share_resident_memory_bytes", "bytes", "Memory of the service.", (double)m->rss_bytes);
	one(o, GAUGE, "hs_share_index_bytes", "bytes", "Of it, the index of cold pages.", (double)t->index_bytes);
	one(o, COUNTER, "hs_share_cycles", NULL, "Cycles that came to their end.", (double)m->cycles);
	one(o, GAUGE, "hs_share_last_cycle_seconds", "seconds", "Length of the last one.",
	    (double)m->last_cycle_ms / 1e3);
	one(o, COUNTER, "hs_share_rounds", NULL, "Rounds of the coarse phase.", (double)t->rounds);
	one(o, COUNTER, "hs_share_pages_digested", NULL, "Base pages read and digested.", (double)t->pages_hashed);
	one(o, COUNTER, "hs_share_pages_compared", NULL, "Base pages compared byte by byte.",
	    (double)t->pages_compared);
	one(o, COUNTER, "hs_share_compares_failed", NULL, "Of them with an equal digest and other bytes.",
	    (double)t->compare_failed);
	one(o, COUNTER, "hs_share_fine_windows", NULL, "Windows of the fine phase.", (double)t->fine.nr_windows);
	one(o, COUNTER, "hs_share_mappings_split", NULL, "Mappings of huge pages split for a look.",
	    (double)t->fine.nr_split);
	one(o, COUNTER, "hs_share_mappings_restored", NULL, "Of them brought back.", (double)t->fine.nr_restored);
	one(o, COUNTER, "hs_share_mappings_restore_failed", NULL, "Times that one could not be brought back at once.",
	    (double)t->fine.nr_restore_failed);
	one(o, GAUGE, "hs_share_host_memory_bytes", "bytes", "The host's memory.", (double)m->memory_total_bytes);
	one(o, GAUGE, "hs_share_host_memory_available_bytes", "bytes", "Of it available.",
	    (double)m->memory_available_bytes);
	if (m->psi_some_avg10 >= 0)
		one(o, GAUGE, "hs_share_host_memory_pressure_ratio", "ratio",
		    "Share of the last 10 s in which some task waited for memory.", m->psi_some_avg10 / 100);
	one(o, GAUGE, "hs_share_saved_bytes", "bytes",
	    "Page frames free because of sharing, gross, as the page tables say.", (double)t->ledger.saved_bytes);
	one(o, GAUGE, "hs_share_metadata_bytes", "bytes", "What the kernel and the service hold for it.",
	    (double)t->ledger.metadata_bytes);
	one(o, GAUGE, "hs_share_net_saved_bytes", "bytes", "Saved, less that; may be negative.",
	    (double)t->ledger.net_saved_bytes);
	one(o, COUNTER, "hs_share_group_conflicts", NULL,
	    "Base pages that ksmd merged across trust groups, and that were parted again.",
	    (double)t->ledger.group_conflicts);
	if (!m->has_ksm)
		return;
	one(o, GAUGE, "hs_share_kernel_ksm_pages_shared", NULL, "KSM's own count of frames, of the whole host.",
	    (double)m->ksm.pages_shared);
	one(o, GAUGE, "hs_share_kernel_ksm_pages_sharing", NULL, "KSM's own count of further mappings of them.",
	    (double)m->ksm.pages_sharing);
	one(o, COUNTER, "hs_share_kernel_ksm_full_scans", NULL, "Passes of ksmd.", (double)m->ksm.full_scans);
}

/* ---- of each guest ---- */

static uint64_t memory_of(const struct hs_model_guest *g)
{
	return g->report.bytes;
}

static uint64_t saved_of(const struct hs_model_guest *g)
{
	return g->report.ledger.saved_bytes;
}

static uint64_t could_of(const struct hs_model_guest *g)
{
	return g->report.could_save_bytes;
}

static uint64_t shared_of(const struct hs_model_guest *g)
{
	return g->report.ledger.shared * HS_BASE_SIZE;
}

static uint64_t zero_of(const struct hs_model_guest *g)
{
	return g->report.ledger.zero * HS_BASE_SIZE;
}

static uint64_t broken_of(const struct hs_model_guest *g)
{
	return g->report.ledger.broken;
}

static uint64_t huge_of(const struct hs_model_guest *g)
{
	return g->report.mapped_huge;
}

static uint64_t hot_of(const struct hs_model_guest *g)
{
	return g->report.hot;
}

static uint64_t hot_huge_of(const struct hs_model_guest *g)
{
	return g->report.hot_still_huge;
}

static uint64_t cold_of(const struct hs_model_guest *g)
{
	return g->report.cold;
}

static uint64_t bloat_of(const struct hs_model_guest *g)
{
	return g->report.hot_bloat;
}

static uint64_t calls_of(const struct hs_model_guest *g)
{
	return g->report.remote.nr_calls;
}

static uint64_t without_vma_of(const struct hs_model_guest *g)
{
	return g->report.nr_vmas_dropped;
}

static const struct {
	enum type type;
	const char *name, *unit, *help;
	uint64_t (*get)(const struct hs_model_guest *g);
} columns[] = {
	{ GAUGE, "hs_share_guest_memory_bytes", "bytes", "Memory of the guest that is looked at.", memory_of },
	{ GAUGE, "hs_share_guest_saved_bytes", "bytes", "Its share of what is saved, gross.", saved_of },
	{ GAUGE, "hs_share_guest_could_save_bytes", "bytes",
	  "What sharing its cold identical pages would save at most.", could_of },
	{ GAUGE, "hs_share_guest_shared_bytes", "bytes", "Its memory that shares frames with others.", shared_of },
	{ GAUGE, "hs_share_guest_zero_bytes", "bytes", "Its memory on the zero page because of sharing.", zero_of },
	{ COUNTER, "hs_share_guest_broken_pages", NULL, "Shared base pages that it wrote to.", broken_of },
	{ GAUGE, "hs_share_guest_mapped_huge_pages", NULL, "Its huge pages that are mapped huge.", huge_of },
	{ GAUGE, "hs_share_guest_hot_huge_pages", NULL, "Its hot huge pages.", hot_of },
	{ GAUGE, "hs_share_guest_hot_huge_pages_still_huge", NULL, "Of them still mapped huge.", hot_huge_of },
	{ GAUGE, "hs_share_guest_cold_huge_pages", NULL, "Its cold huge pages.", cold_of },
	{ GAUGE, "hs_share_guest_hot_bloat_huge_pages", NULL, "Hot ones that are cold inside for the most part.",
	  bloat_of },
	{ COUNTER, "hs_share_guest_calls", NULL, "System calls made inside its process.", calls_of },
	{ GAUGE, "hs_share_guest_pages_without_vma", NULL,
	  "Base pages left unshared to keep the number of mappings low.", without_vma_of },
};

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
	for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++) {
		family(o, columns[c].type, columns[c].name, columns[c].unit, columns[c].help);
		for (size_t i = 0; i < m->nr_guests; i++)
			if (m->guests[i].has_report)
				whole(o, &m->guests[i], columns[c].get(&m->guests[i]));
	}
	family(o, COUNTER, "hs_share_guest_stopped_seconds", "seconds",
	       "Time for which a thread of it was held for calls.");
	for (size_t i = 0; i < m->nr_guests; i++)
		if (m->guests[i].has_report)
			number(o, &m->guests[i], (double)m->guests[i].report.remote.stopped_us / 1e6);
}

char *hs_metrics_text(const struct hs_model *m, bool openmetrics, size_t *len)
{
	struct out o = { .open = openmetrics };
	char *text = NULL;

	o.f = open_memstream(&text, len);
	if (!o.f)
		return NULL;
	service(&o, m);
	guests(&o, m);
	if (openmetrics)
		(void)fputs("# EOF\n", o.f);
	if (fclose(o.f)) {
		free(text);
		return NULL;
	}
	return text;
}
