/* SPDX-License-Identifier: Apache-2.0 */
/* The report: one HTML file, plots inside, that opens without a network. */
#include "lab.h"

#include <hs_version.h>
#include <inttypes.h>
#include <math.h>

#define MIB (1024.0 * 1024)

static void number_cell(FILE *f, const char *format, double v)
{
	(void)fputs("<td>", f);
	if (isnan(v))
		(void)fputs("&ndash;", f);
	else
		(void)fprintf(f, format, v);
	(void)fputs("</td>", f);
}

static void row(FILE *f, const struct hs_lab_result *r)
{
	(void)fprintf(f, "<tr><th scope=\"row\" title=\"%s\">%s</th>", r->policy->what, r->policy->label);
	number_cell(f, "%.1f", (double)r->saved_bytes / MIB);
	number_cell(f, "%.1f", r->saved_mean_bytes / MIB);
	number_cell(f, "%.1f%%", 100 * (double)r->saved_bytes / (double)r->memory_bytes);
	number_cell(f, "%.1f%%", 100 * r->hot_huge);
	number_cell(f, "%.2f%%", 100 * r->slowdown);
	number_cell(f, "%.2f", r->cpu_seconds);
	number_cell(f, "%.1f", r->converged_s);
	number_cell(f, "%.0f", (double)r->wrong_splits);
	number_cell(f, "%.1f", (double)r->missed_bytes / MIB);
	number_cell(f, "%.0f", (double)(r->counts.breaks + r->counts.breaks_huge));
	(void)fputs("</tr>\n", f);
}

static void section(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr)
{
	const struct hs_lab_job *j = &r->jobs[first];

	(void)fputs("<section><h2>", f);
	hs_lab_print_escaped(f, j->title);
	(void)fprintf(f,
		      "</h2>\n<p>%.0f MiB of guests, %.0f seconds, seed %" PRIu64 ".</p>\n"
		      "<div class=\"wide\"><table><thead><tr><th>policy</th><th>saved, MiB</th><th>on "
		      "average</th><th>of all</th><th>hot accesses "
		      "through huge mappings</th><th>slowdown</th><th>CPU, s</th><th>95%% saved at, s</th><th>wrong "
		      "splits</th><th>missed, MiB</th><th>breaks</th></tr></thead><tbody>\n",
		      (double)j->result.memory_bytes / MIB, j->result.seconds, j->scenario.seed);
	for (size_t i = first; i < first + nr; i++)
		row(f, &r->jobs[i].result);
	(void)fputs("</tbody></table></div>\n<div class=\"wide\">", f);
	hs_lab_plot_time(f, r, first, nr);
	hs_lab_plot_trade(f, r, first, nr);
	hs_lab_plot_skew(f, r, first, nr);
	(void)fputs("</div></section>\n", f);
}

static void costs(FILE *f, const struct hs_lab_costs *c)
{
	(void)fputs("<section><h2>What things cost</h2>\n", f);
	if (c->machine[0]) {
		(void)fputs("<p>Measured ", f);
		hs_lab_print_escaped(f, c->measured);
		(void)fputs(" on ", f);
		hs_lab_print_escaped(f, c->machine);
		(void)fputs(" with <code>hs-lab calibrate</code>.</p>\n", f);
	} else {
		(void)fputs(
		    "<p>Not calibrated: slowdown and CPU time are unknown, and work takes no simulated time.</p>\n", f);
	}
	(void)fputs("<table><thead><tr><th>what</th><th>nanoseconds</th></tr></thead><tbody>\n", f);
	for (int i = 0; i < HS_LAB_NR_COSTS; i++) {
		(void)fprintf(f, "<tr><th scope=\"row\">%s</th>", hs_lab_cost_what((enum hs_lab_cost)i));
		number_cell(f, "%.1f", c->ns[i]);
		(void)fputs("</tr>\n", f);
	}
	(void)fputs("</tbody></table></section>\n", f);
}

void hs_lab_report_html(FILE *f, const struct hs_lab_report *r)
{
	(void)fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>hs-lab: ", f);
	hs_lab_print_escaped(f, r->title);
	(void)fputs(
	    "</title>\n<meta name=\"viewport\" content=\"width=device-width\"><style>\n"
	    "body{font-family:sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;line-height:1.4;color:#222}\n"
	    "table{border-collapse:collapse;margin:1rem 0}th,td{border-bottom:1px solid #ddd;padding:.25rem .6rem}\n"
	    "td{text-align:right;font-variant-numeric:tabular-nums}tbody th{text-align:left;font-weight:normal}\n"
	    ".wide{overflow-x:auto}svg{display:block;margin:1rem 0}\n</style></head><body>\n<h1>",
	    f);
	hs_lab_print_escaped(f, r->title);
	(void)fputs("</h1>\n", f);
	if (r->what) {
		(void)fputs("<p>", f);
		hs_lab_print_escaped(f, r->what);
		(void)fputs("</p>\n", f);
	}
	for (size_t i = 0, n; i < r->nr; i += n) {
		n = hs_lab_report_group(r, i);
		section(f, r, i, n);
	}
	costs(f, r->costs);
	(void)fputs("<p>Made by hs-lab " HS_VERSION ". What the columns mean: docs/lab.md.</p>\n</body></html>\n", f);
}
