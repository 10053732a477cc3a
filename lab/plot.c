/* SPDX-License-Identifier: Apache-2.0 */
/* Plots as SVG, written by hand: three kinds, no library, nothing to load. Each stands alone and inside the report. */
#include "lab.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MIB (1024.0 * 1024)

/* Okabe and Ito's colours, which people with colour-blindness can tell apart, in the order of the policies. */
static const char *const colours[] = { "#7f7f7f", "#d55e00", "#cc79a7", "#0072b2",
				       "#e69f00", "#009e73", "#000000", "#56b4e9" };
#define NR_COLOURS (sizeof(colours) / sizeof(colours[0]))

static const char *colour_of(const struct hs_lab_policy *p)
{
	for (size_t i = 0; hs_lab_policies[i]; i++)
		if (hs_lab_policies[i] == p)
			return colours[i % NR_COLOURS];
	return colours[0];
}

void hs_lab_print_escaped(FILE *f, const char *text)
{
	for (; *text; text++)
		switch (*text) {
		case '&':
			(void)fputs("&amp;", f);
			break;
		case '<':
			(void)fputs("&lt;", f);
			break;
		case '>':
			(void)fputs("&gt;", f);
			break;
		case '"':
			(void)fputs("&quot;", f);
			break;
		default:
			(void)fputc(*text, f);
			break;
		}
}

/* A plot's place on the page, and what its borders mean. */
struct axes {
	double left, top, width, height;
	double x_max, y_max;
};

static void begin(FILE *f, double width, double height, const char *title, const char *scenario)
{
	(void)fprintf(
	    f,
	    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
	    "font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n"
	    "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n<text x=\"10\" y=\"20\" font-size=\"14\" "
	    "font-weight=\"bold\">%s: ",
	    width, height, width, height, title);
	hs_lab_print_escaped(f, scenario);
	(void)fprintf(f, "</text>\n");
}

/* 1, 2 or 5 times a power of ten, so that there are some five steps. */
static double nice_step(double max)
{
	const double raw = max / 5, power = pow(10, floor(log10(raw)));
	const double part = raw / power;

	return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

static double x_at(const struct axes *a, double x)
{
	return a->left + a->width * x / a->x_max;
}

static double y_at(const struct axes *a, double y)
{
	return a->top + a->height * (1 - y / a->y_max);
}

static void draw_axes(FILE *f, const struct axes *a, const char *x_label, const char *y_label)
{
	const double x_step = nice_step(a->x_max), y_step = nice_step(a->y_max);

	for (double y = 0; y <= a->y_max * 1.0001; y += y_step)
		(void)fprintf(f,
			      "<path d=\"M%.1f %.1fh%.1f\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%.1f\" "
			      "text-anchor=\"end\">%g</text>\n",
			      a->left, y_at(a, y), a->width, a->left - 6, y_at(a, y) + 4, y);
	for (double x = 0; x <= a->x_max * 1.0001; x += x_step)
		(void)fprintf(f,
			      "<path d=\"M%.1f %.1fv5\" stroke=\"#444\"/><text x=\"%.1f\" y=\"%.1f\" "
			      "text-anchor=\"middle\">%g</text>\n",
			      x_at(a, x), a->top + a->height, x_at(a, x), a->top + a->height + 18, x);
	(void)fprintf(f,
		      "<path d=\"M%.1f %.1fv%.1fh%.1f\" fill=\"none\" stroke=\"#444\"/>\n"
		      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n"
		      "<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n",
		      a->left, a->top, a->height, a->width, a->left + a->width / 2, a->top + a->height + 36, x_label,
		      a->top + a->height / 2, y_label);
}

static void draw_line(FILE *f, const struct axes *a, const struct hs_lab_result *r, bool possible)
{
	(void)fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s points=\"",
		      possible ? "#999" : colour_of(r->policy), possible ? " stroke-dasharray=\"2 4\"" : "");
	if (!possible)
		(void)fprintf(f, "%.1f,%.1f ", x_at(a, 0), y_at(a, 0));
	for (uint32_t i = 0; i < r->nr_points; i++)
		(void)fprintf(
		    f, "%.1f,%.1f ", x_at(a, r->points[i].seconds),
		    y_at(a, (double)(possible ? r->points[i].possible_bytes : r->points[i].saved_bytes) / MIB));
	(void)fprintf(f, "\"/>\n");
}

static void legend(FILE *f, double x, double y, const char *colour, const char *text, bool dashed)
{
	(void)fprintf(
	    f, "<path d=\"M%.1f %.1fh18\" stroke=\"%s\" stroke-width=\"3\"%s/><text x=\"%.1f\" y=\"%.1f\">%s</text>\n",
	    x, y, colour, dashed ? " stroke-dasharray=\"2 4\"" : "", x + 24, y + 4, text);
}

void hs_lab_plot_time(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr)
{
	struct axes a = { .left = 70, .top = 36, .width = 520, .height = 260, .x_max = 1, .y_max = 1 };
	size_t most = first;

	begin(f, 800, 350, "Memory saved over time", r->jobs[first].title);
	for (size_t i = first; i < first + nr; i++) {
		const struct hs_lab_result *res = &r->jobs[i].result;

		a.x_max = fmax(a.x_max, res->seconds);
		for (uint32_t k = 0; k < res->nr_points; k++)
			a.y_max = fmax(a.y_max, (double)res->points[k].possible_bytes / MIB);
		if (res->possible_bytes > r->jobs[most].result.possible_bytes)
			most = i;
	}
	draw_axes(f, &a, "seconds", "MiB saved");
	draw_line(f, &a, &r->jobs[most].result, true);
	for (size_t i = first; i < first + nr; i++) {
		draw_line(f, &a, &r->jobs[i].result, false);
		legend(f, 610, 50 + 20.0 * (double)(i - first), colour_of(r->jobs[i].policy), r->jobs[i].policy->label,
		       false);
	}
	legend(f, 610, 50 + 20.0 * (double)nr, "#999", "all that is identical", true);
	(void)fprintf(f, "</svg>\n");
}

/* Slowdown in percent; where it is unknown, the share of accesses that lost their huge mapping. */
static double trade_x(const struct hs_lab_result *r, bool known)
{
	return 100 * (known ? r->slowdown : 1 - r->hot_huge);
}

void hs_lab_plot_trade(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr)
{
	struct axes a = { .left = 70, .top = 36, .width = 560, .height = 260, .x_max = 0.1, .y_max = 1 };
	bool known = true;

	begin(f, 800, 350, "Memory saved against slowdown", r->jobs[first].title);
	for (size_t i = first; i < first + nr; i++)
		known = known && !isnan(r->jobs[i].result.slowdown);
	for (size_t i = first; i < first + nr; i++) {
		a.x_max = fmax(a.x_max, 1.1 * trade_x(&r->jobs[i].result, known));
		a.y_max = fmax(a.y_max, 1.1 * (double)r->jobs[i].result.saved_bytes / MIB);
	}
	draw_axes(f, &a,
		  known ? "slowdown of the guests, percent"
			: "accesses through base mappings, percent (not calibrated)",
		  "MiB saved at the end");
	for (size_t i = first; i < first + nr; i++) {
		const struct hs_lab_result *res = &r->jobs[i].result;
		const double x = x_at(&a, trade_x(res, known)), y = y_at(&a, (double)res->saved_bytes / MIB);
		double at = y + 4;

		/* Labels of points that lie together stand one below the other. */
		for (size_t k = first; k < i; k++)
			if (fabs(y_at(&a, (double)r->jobs[k].result.saved_bytes / MIB) - y) < 12 &&
			    fabs(x_at(&a, trade_x(&r->jobs[k].result, known)) - x) < 110)
				at += 13;
		(void)fprintf(
		    f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\">%s</text>\n",
		    x, y, colour_of(res->policy), x + 9, at, res->policy->label);
	}
	(void)fprintf(f, "</svg>\n");
}

#define CELL        17.0
#define PANEL_W     (HS_LAB_SKEW_BINS * CELL + 16)
#define PANEL_H     (HS_LAB_RATE_BINS * CELL + 34)
#define PANELS_LEFT 90.0

struct cell {
	double x, y;
	uint64_t n, huge; /* huge pages, and those of them that are mapped huge */
	const char *where;
};

/* From orange (all split) to blue (all huge), paler where there are few. */
static void draw_cell(FILE *f, const struct cell *c, uint64_t most)
{
	const double share = c->n ? (double)c->huge / (double)c->n : 0;
	const double opacity = c->n ? 0.25 + 0.75 * log((double)c->n + 1) / log((double)most + 1) : 0;

	(void)fprintf(f,
		      "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.0f\" height=\"%.0f\" fill=\"rgb(%.0f,%.0f,%.0f)\" "
		      "fill-opacity=\"%.2f\" stroke=\"#ccc\" stroke-width=\"0.5\"><title>%s: %" PRIu64
		      " huge pages, %.0f%% of "
		      "them mapped huge</title></rect>\n",
		      c->x, c->y, CELL, CELL, 213 - 213 * share, 94 + 20 * share, 178 * share, opacity, c->where, c->n,
		      100 * share);
}

/* Where a policy's panel stands, and which of the axes it names. */
struct panel {
	double left, top;
	bool rates, skews;
};

static void draw_panel(FILE *f, const struct hs_lab_result *r, const struct panel *p, uint64_t most)
{
	const double left = p->left, top = p->top;
	char where[96];

	(void)fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" font-weight=\"bold\">%s</text>\n", left, top - 5,
		      r->policy->label);
	for (int rate = 0; rate < HS_LAB_RATE_BINS; rate++) {
		const double y = top + (HS_LAB_RATE_BINS - 1 - rate) * CELL;

		if (p->rates)
			(void)fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" font-size=\"10\">%s</text>\n",
				      left - 4, y + 12, hs_lab_rate_names[rate]);
		for (int skew = 0; skew < HS_LAB_SKEW_BINS; skew++) {
			(void)snprintf(where, sizeof(where), "%s hot base pages, accesses a second: %s",
				       hs_lab_skew_names[skew], hs_lab_rate_names[rate]);
			draw_cell(f,
				  &(struct cell){ .x = left + skew * CELL,
						  .y = y,
						  .n = r->cells[rate][skew],
						  .huge = r->cells_huge[rate][skew],
						  .where = where },
				  most);
		}
	}
	for (int skew = 0; p->skews && skew < HS_LAB_SKEW_BINS; skew++)
		(void)fprintf(f, "<text transform=\"translate(%.1f %.1f) rotate(60)\" font-size=\"10\">%s</text>\n",
			      left + (skew + 0.3) * CELL, top + HS_LAB_RATE_BINS * CELL + 10, hs_lab_skew_names[skew]);
}

void hs_lab_plot_skew(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr)
{
	const size_t columns = nr < 4 ? nr : 4, rows = (nr + columns - 1) / columns;
	uint64_t most = 1;

	begin(f, PANELS_LEFT + (double)columns * PANEL_W, 60 + (double)rows * PANEL_H + 70,
	      "Huge pages by hot base pages (across) and accesses a second (up); blue is mapped huge, orange split",
	      r->jobs[first].title);
	for (size_t i = first; i < first + nr; i++)
		for (int k = 0; k < HS_LAB_RATE_BINS * HS_LAB_SKEW_BINS; k++)
			if (r->jobs[i].result.cells[k / HS_LAB_SKEW_BINS][k % HS_LAB_SKEW_BINS] > most)
				most = r->jobs[i].result.cells[k / HS_LAB_SKEW_BINS][k % HS_LAB_SKEW_BINS];
	for (size_t i = 0; i < nr; i++)
		draw_panel(f, &r->jobs[first + i].result,
			   &(struct panel){ .left = PANELS_LEFT + (double)(i % columns) * PANEL_W,
					    .top = 60 + (double)(i / columns) * PANEL_H,
					    .rates = i % columns == 0,
					    .skews = i + columns >= nr },
			   most);
	(void)fprintf(f, "</svg>\n");
}
