/* SPDX-License-Identifier: Apache-2.0 */
/* Results as a table, as JSON and as CSV, and the files that were asked for. */
#include "lab.h"

#include <errno.h>
#include <hs_version.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (1024.0 * 1024)

size_t hs_lab_report_group(const struct hs_lab_report *r, size_t first)
{
	size_t n = 1;

	while (first + n < r->nr && strcmp(r->jobs[first + n].title, r->jobs[first].title) == 0)
		n++;
	return n;
}

const char *hs_lab_known(char buf[32], const char *format, double v)
{
	if (isnan(v))
		return "-";
	(void)snprintf(buf, 32, format, v);
	return buf;
}

void hs_lab_print_costs(FILE *f, const struct hs_lab_costs *c)
{
	bool any = false;

	if (c->machine[0])
		(void)fprintf(f, "costs, measured %s on %s:\n ", c->measured, c->machine);
	for (int i = 0; i < HS_LAB_NR_COSTS; i++) {
		if (isnan(c->ns[i]))
			continue;
		(void)fprintf(f, "%s %s %.4g;", i && i % 6 == 0 ? "\n " : "", hs_lab_cost_name((enum hs_lab_cost)i),
			      c->ns[i]);
		any = true;
	}
	(void)fprintf(f, any ? "\n" : "costs: not calibrated, so slowdown and CPU time are unknown\n");
	for (int i = 0; any && i < HS_LAB_NR_COSTS; i++)
		if (isnan(c->ns[i]))
			(void)fprintf(f, "  %s is unknown: %s\n", hs_lab_cost_name((enum hs_lab_cost)i), c->reason[i]);
}

static void print_row(FILE *f, const struct hs_lab_result *r)
{
	char a[32], b[32], c[32];

	(void)fprintf(f, "%-19s %10.1f %10.1f %7.1f%% %9.1f%% %10s %9s %9s %7" PRIu64 " %10.1f %9" PRIu64 "\n",
		      r->policy->label, (double)r->saved_bytes / MIB, r->saved_mean_bytes / MIB,
		      100 * (double)r->saved_bytes / (double)r->memory_bytes, 100 * r->hot_huge,
		      hs_lab_known(a, "%.2f%%", 100 * r->slowdown), hs_lab_known(b, "%.2f", r->cpu_seconds),
		      hs_lab_known(c, "%.1f", r->converged_s), r->wrong_splits, (double)r->missed_bytes / MIB,
		      r->counts.breaks + r->counts.breaks_huge);
}

void hs_lab_print_table(FILE *f, const struct hs_lab_report *r)
{
	for (size_t i = 0, n; i < r->nr; i += n) {
		const struct hs_lab_result *one = &r->jobs[i].result;
		uint64_t resident = 0;
		double wall = 0;

		n = hs_lab_report_group(r, i);
		(void)fprintf(f, "%s%s: %.0f MiB of guests, %.0f s, seed %" PRIu64 "\n", i ? "\n" : "",
			      r->jobs[i].title, (double)one->memory_bytes / MIB, one->seconds,
			      r->jobs[i].scenario.seed);
		(void)fprintf(f, "%-19s %10s %10s %8s %10s %10s %9s %9s %7s %10s %9s\n", "POLICY", "SAVED MiB",
			      "ON AVERAGE", "OF ALL", "HOT HUGE", "SLOWDOWN", "CPU s", "95% AT s", "WRONG",
			      "MISSED MiB", "BREAKS");
		for (size_t k = i; k < i + n; k++) {
			const struct hs_lab_result *res = &r->jobs[k].result;

			print_row(f, res);
			wall += res->wall_seconds;
			if (res->resident_bytes > resident)
				resident = res->resident_bytes;
		}
		(void)fprintf(f, "simulated in %.1f s, with at most %.0f MiB: %.1f bytes for each base page\n", wall,
			      (double)resident / MIB, (double)resident / ((double)one->memory_bytes / HS_BASE_SIZE));
	}
	(void)fprintf(f, "\n");
	hs_lab_print_costs(f, r->costs);
}

/* ---- JSON ---- */

static json_t *real_or_null(double v)
{
	return isnan(v) ? json_null() : json_real(v);
}

static json_t *points_json(const struct hs_lab_result *r)
{
	json_t *out = json_array();

	for (uint32_t i = 0; out && i < r->nr_points; i++)
		(void)json_array_append_new(out, json_pack("{s:f,s:I,s:I,s:f}", "seconds", r->points[i].seconds,
							   "saved_bytes", (json_int_t)r->points[i].saved_bytes,
							   "possible_bytes", (json_int_t)r->points[i].possible_bytes,
							   "hot_huge_pages_mapped_huge", r->points[i].huge));
	return out;
}

static json_t *counts_json(const struct hs_lab_result *r)
{
	const struct hs_lab_counts *c = &r->counts;
	const struct hs_lab_spent *s = &r->spent;

	return json_pack(
	    "{s:f,s:f,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "accesses_huge",
	    c->accesses_huge, "accesses_base", c->accesses_base, "breaks", (json_int_t)c->breaks, "breaks_huge",
	    (json_int_t)c->breaks_huge, "writes", (json_int_t)c->writes, "merged", (json_int_t)c->merged, "unmerged",
	    (json_int_t)c->unmerged, "broken_huge", (json_int_t)c->broken_huge, "collapsed", (json_int_t)c->collapsed,
	    "scanned", (json_int_t)c->scanned, "aged", (json_int_t)s->aged, "sampled", (json_int_t)s->sampled, "split",
	    (json_int_t)s->split, "restored", (json_int_t)s->restored, "read", (json_int_t)s->read, "hashed",
	    (json_int_t)s->hashed, "compared", (json_int_t)s->compared, "own_bytes", (json_int_t)s->own_bytes);
}

static json_t *run_json(const struct hs_lab_job *j)
{
	const struct hs_lab_result *r = &j->result;

	return json_pack(
	    "{s:s,s:s,s:s,s:I,s:f,s:I,s:I,s:f,s:I,s:f,s:o,s:o,s:o,s:I,s:I,s:o,s:o,s:f,s:I}", "scenario", j->title,
	    "policy", r->policy->name, "label", r->policy->label, "seed", (json_int_t)j->scenario.seed, "seconds",
	    r->seconds, "memory_bytes", (json_int_t)r->memory_bytes, "saved_bytes", (json_int_t)r->saved_bytes,
	    "saved_mean_bytes", r->saved_mean_bytes, "possible_bytes", (json_int_t)r->possible_bytes, "hot_huge",
	    r->hot_huge, "slowdown", real_or_null(r->slowdown), "cpu_seconds", real_or_null(r->cpu_seconds),
	    "converged_s", real_or_null(r->converged_s), "wrong_splits", (json_int_t)r->wrong_splits, "missed_bytes",
	    (json_int_t)r->missed_bytes, "counts", counts_json(r), "timeline", points_json(r), "wall_seconds",
	    r->wall_seconds, "resident_bytes", (json_int_t)r->resident_bytes);
}

json_t *hs_lab_report_json(const struct hs_lab_report *r)
{
	json_t *runs = json_array(), *out;

	for (size_t i = 0; runs && i < r->nr; i++)
		if (json_array_append_new(runs, run_json(&r->jobs[i]))) {
			json_decref(runs);
			return NULL;
		}
	out = json_pack("{s:s,s:s,s:o,s:o}", "version", HS_VERSION, "title", r->title, "costs",
			hs_lab_costs_json(r->costs), "runs", runs);
	return out;
}

/* ---- CSV ---- */

static void csv_text(FILE *f, const char *text)
{
	(void)fputc('"', f);
	for (; *text; text++) {
		if (*text == '"')
			(void)fputc('"', f);
		(void)fputc(*text, f);
	}
	(void)fputc('"', f);
}

static void csv_number(FILE *f, double v)
{
	if (isnan(v))
		(void)fputc(',', f);
	else
		(void)fprintf(f, ",%.9g", v);
}

void hs_lab_report_csv(FILE *f, const struct hs_lab_report *r)
{
	(void)fprintf(f,
		      "scenario,policy,seed,seconds,memory_bytes,saved_bytes,saved_mean_bytes,possible_bytes,hot_huge,"
		      "slowdown,cpu_seconds,converged_s,wrong_splits,missed_bytes,breaks,broken_huge,scanned,hashed\n");
	for (size_t i = 0; i < r->nr; i++) {
		const struct hs_lab_result *res = &r->jobs[i].result;

		csv_text(f, r->jobs[i].title);
		(void)fprintf(f, ",%s,%" PRIu64 ",%g,%" PRIu64 ",%" PRIu64 ",%.0f,%" PRIu64 ",%.9g", res->policy->name,
			      r->jobs[i].scenario.seed, res->seconds, res->memory_bytes, res->saved_bytes,
			      res->saved_mean_bytes, res->possible_bytes, res->hot_huge);
		csv_number(f, res->slowdown);
		csv_number(f, res->cpu_seconds);
		csv_number(f, res->converged_s);
		(void)fprintf(f, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
			      res->wrong_splits, res->missed_bytes, res->counts.breaks + res->counts.breaks_huge,
			      res->counts.broken_huge, res->counts.scanned, res->spent.hashed);
	}
}

/* ---- files ---- */

static int cannot_write(const char *path)
{
	(void)fprintf(stderr, "hs-lab: cannot write %s: %s\n", path, strerror(errno ? errno : EIO));
	return HS_EXIT_FAILED;
}

/* f: as fopen gave it, and written to; errno was 0 before that. */
static int close_file(FILE *f, const char *path)
{
	const bool ok = f && !ferror(f);

	return (f && fclose(f)) || !ok ? cannot_write(path) : 0;
}

static int write_file(const char *path, const struct hs_lab_report *r,
		      void (*write)(FILE *f, const struct hs_lab_report *r))
{
	FILE *f = fopen(path, "we");

	errno = f ? 0 : errno;
	if (f)
		write(f, r);
	return close_file(f, path);
}

/* What the stream cannot take is reported by whoever closes it. */
static int print_json(FILE *f, const json_t *j)
{
	if (!json_dumpf(j, f, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) && fputc('\n', f) != EOF)
		return 0;
	if (!ferror(f))
		(void)fprintf(stderr, "hs-lab: out of memory for the JSON of the results\n");
	return HS_EXIT_FAILED;
}

static int write_json(const char *path, const struct hs_lab_report *r, bool to_stdout)
{
	json_t *j = hs_lab_report_json(r);
	FILE *f = NULL;
	int status;

	if (!j) {
		(void)fprintf(stderr, "hs-lab: out of memory for the JSON of the results\n");
		return HS_EXIT_FAILED;
	}
	if (to_stdout) {
		status = print_json(stdout, j);
	} else {
		f = fopen(path, "we");
		errno = f ? 0 : errno;
		status = f ? print_json(f, j) : 0;
		status |= close_file(f, path);
	}
	json_decref(j);
	return status;
}

typedef void plot(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr);

static int write_plots(const char *folder, const struct hs_lab_report *r)
{
	static const struct {
		const char *name;
		plot *draw;
	} plots[] = { { "saved", hs_lab_plot_time }, { "trade", hs_lab_plot_trade }, { "skew", hs_lab_plot_skew } };
	char path[4096];

	if (mkdir(folder, 0777) && errno != EEXIST) {
		(void)fprintf(stderr, "hs-lab: cannot make the folder %s: %s\n", folder, strerror(errno));
		return HS_EXIT_FAILED;
	}
	for (size_t i = 0, n; i < r->nr; i += n) {
		n = hs_lab_report_group(r, i);
		for (size_t k = 0; k < sizeof(plots) / sizeof(plots[0]); k++) {
			FILE *f;

			(void)snprintf(path, sizeof(path), "%s/%s-%s.svg", folder, r->jobs[i].title, plots[k].name);
			f = fopen(path, "we");
			errno = f ? 0 : errno;
			if (f)
				plots[k].draw(f, r, i, n);
			if (close_file(f, path))
				return HS_EXIT_FAILED;
		}
	}
	return 0;
}

bool hs_lab_wants_table(const struct hs_lab_common *c)
{
	return !c->json || strcmp(c->json, "-") != 0;
}

int hs_lab_report_all(const struct hs_lab_report *r, const struct hs_lab_common *c)
{
	if (hs_lab_wants_table(c))
		hs_lab_print_table(stdout, r);
	return hs_lab_report_files(r, c);
}

int hs_lab_report_files(const struct hs_lab_report *r, const struct hs_lab_common *c)
{
	int status = 0;

	if (c->json)
		status = write_json(c->json, r, !hs_lab_wants_table(c));
	if (c->csv)
		status |= write_file(c->csv, r, hs_lab_report_csv);
	if (c->html)
		status |= write_file(c->html, r, hs_lab_report_html);
	if (c->svg)
		status |= write_plots(c->svg, r);
	return status;
}
