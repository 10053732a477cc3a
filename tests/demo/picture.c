/* SPDX-License-Identifier: Apache-2.0 */
/* Every text in it is the demo's own or a number: there is nothing to escape. */
#include "picture.h"

#include <errno.h>
#include <hs_version.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define ACROSS 20   /* huge pages in a row: as many as a phone shows */
#define CELL   16.0 /* of one huge page, with the gap to the next */
#define SIDE   14.0

static const char *const class_names[HS_GUEST_NR_CLASSES] = { "Evenly hot", "Hot bloat", "Cold" };
static const char *const class_texts[HS_GUEST_NR_CLASSES] = {
	"every base page in use: stays whole, whatever it has in common with others",
	"a few base pages in use: split for good only where that pays",
	"out of use: split, and its identical base pages are shared",
};

/* Okabe and Ito's colours, which people with colour-blindness can tell apart; and a pattern with each. */
static const char style[] =
    ":root{color-scheme:light dark;--page:#fff;--ink:#1a1a1a;--soft:#595959;--line:#c8c8c8;--whole:#0072b2;"
    "--own:#e69f00;--dots:#6b4a00;--shared:#009e73;--stripes:#fff;--zero:#fff}\n"
    "@media (prefers-color-scheme:dark){:root{--page:#16181b;--ink:#ececec;--soft:#b3b3b3;--line:#4a4f55;"
    "--whole:#56b4e9;--own:#e69f00;--dots:#3a2800;--shared:#009e73;--stripes:#16181b;--zero:#16181b}}\n"
    "@media print{:root{--page:#fff;--ink:#000;--soft:#333;--line:#999;--whole:#0072b2;--own:#e69f00;--dots:#6b4a00;"
    "--shared:#009e73;--stripes:#fff;--zero:#fff}svg,.key{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
    "section,.class,tr{break-inside:avoid}body{margin:0}}\n"
    "body{font:1rem/1.45 system-ui,sans-serif;max-width:50rem;margin:1.5rem auto;padding:0 1rem;background:var(--page);"
    "color:var(--ink)}\n"
    "h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.2rem;margin:1.8rem 0 .3rem}h3{font-size:1rem;margin:.9rem 0 "
    ".2rem}\n"
    "p{margin:.3rem 0}.soft,figcaption{color:var(--soft)}figcaption{font-size:.9rem}\n"
    ".facts{display:flex;flex-wrap:wrap;gap:.6rem;padding:0;margin:1rem 0;list-style:none}\n"
    ".facts li{flex:1 1 9rem;border:1px solid var(--line);border-radius:.4rem;padding:.5rem .7rem}\n"
    ".facts strong{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}\n"
    ".key{padding:0;list-style:none}.key li{display:flex;gap:.6rem;align-items:center;margin:.25rem 0}\n"
    ".key svg{width:1.4rem;height:1.4rem;flex:none}\n"
    ".pair{display:flex;flex-wrap:wrap;gap:.4rem 1.5rem}figure{margin:0;flex:1 1 18rem;max-width:23rem}\n"
    "figure svg{display:block;width:100%;height:auto}\n"
    ".whole{fill:var(--whole)}.own{fill:url(#own)}.shared{fill:url(#shared)}.zero{fill:var(--zero)}\n"
    ".edge{fill:none;stroke:var(--ink);stroke-width:.6}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;margin:.6rem 0}th,td{border-bottom:1px solid "
    "var(--line);padding:.3rem .6rem;text-align:right;font-variant-numeric:tabular-nums}\n"
    "tbody th,thead th:first-child{text-align:left}tbody th{font-weight:normal}\n";

/* Used by all pictures of the page. */
static const char patterns[] =
    "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs>"
    "<pattern id=\"own\" width=\"3.5\" height=\"3.5\" patternUnits=\"userSpaceOnUse\"><path d=\"M0 0h3.5v3.5H0z\" "
    "style=\"fill:var(--own)\"/><circle cx=\"1.75\" cy=\"1.75\" r=\".6\" style=\"fill:var(--dots)\"/></pattern>"
    "<pattern id=\"shared\" width=\"3\" height=\"3\" patternUnits=\"userSpaceOnUse\" "
    "patternTransform=\"rotate(45)\"><path d=\"M0 0h3v3H0z\" style=\"fill:var(--shared)\"/><path d=\"M0 0h1v3H0z\" "
    "style=\"fill:var(--stripes)\"/></pattern></defs></svg>\n";

static double mib(double bytes)
{
	return bytes / 1048576;
}

static double percent(double part, double whole)
{
	return whole > 0 ? 100 * part / whole : 0;
}

/* What is drawn of some huge pages together. */
struct sum {
	uint32_t huge, whole, split;
	uint64_t shared, zero, own; /* base pages of those that are split */
};

static bool in_class(const struct scene_huge *h, int cls)
{
	return h->cls == cls;
}

static struct sum sum_of(const struct scene_huge *h, uint64_t nr, int cls)
{
	struct sum out = { 0 };

	for (uint64_t i = 0; i < nr; i++) {
		if (!in_class(&h[i], cls))
			continue;
		out.huge++;
		out.whole += h[i].whole;
		if (h[i].whole)
			continue;
		out.split++;
		out.shared += h[i].shared;
		out.zero += h[i].zero;
		out.own += HS_BASE_PER_HUGE - (uint64_t)h[i].shared - h[i].zero;
	}
	return out;
}

static double part(FILE *f, const char *name, double left, double bottom, uint32_t pages)
{
	const double height = SIDE * pages / HS_BASE_PER_HUGE;

	if (pages)
		(void)fprintf(f, "<path class=\"%s\" d=\"M%.0f %.2fh%.0fv%.2fh-%.0fz\"/>", name, left, bottom - height,
			      SIDE, height, SIDE);
	return bottom - height;
}

/* A split one from below: what is shared, what is zero, what takes memory of its own. */
static void draw(FILE *f, const struct scene_huge *h, uint32_t number, double left, double top)
{
	double bottom = top + SIDE;

	if (h->whole) {
		(void)fprintf(f, "<g><title>huge page %" PRIu32 ": whole</title>", number);
		(void)part(f, "whole", left, bottom, HS_BASE_PER_HUGE);
	} else {
		(void)fprintf(
		    f, "<g><title>huge page %" PRIu32 ": split; %d base pages shared, %d zero, %d of its own</title>",
		    number, h->shared, h->zero, HS_BASE_PER_HUGE - h->shared - h->zero);
		bottom = part(f, "shared", left, bottom, h->shared);
		bottom = part(f, "zero", left, bottom, h->zero);
		(void)part(f, "own", left, bottom, (uint32_t)(HS_BASE_PER_HUGE - h->shared - h->zero));
		(void)fprintf(f, "<path class=\"edge\" d=\"M%.1f %.1fh%.1fv%.1fh-%.1fz\"/>", left + .3, top + .3,
			      SIDE - .6, SIDE - .6, SIDE - .6);
	}
	(void)fputs("</g>\n", f);
}

static void figure(FILE *f, const char *when, const struct scene_huge *h, uint32_t nr, int cls)
{
	const struct sum s = sum_of(h, nr, cls);
	const uint32_t rows = (s.huge + ACROSS - 1) / ACROSS;
	uint32_t at = 0;

	(void)fprintf(f,
		      "<figure><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s: %" PRIu32 " whole, %" PRIu32
		      " split\">\n",
		      ACROSS * CELL, rows * CELL, when, s.whole, s.split);
	for (uint32_t i = 0; i < nr; i++) {
		if (!in_class(&h[i], cls))
			continue;
		draw(f, &h[i], i, at % ACROSS * CELL, at / ACROSS * CELL);
		at++;
	}
	(void)fprintf(f, "</svg><figcaption>%s: %" PRIu32 " whole, %" PRIu32 " split", when, s.whole, s.split);
	if (s.split)
		(void)fprintf(f, "; %" PRIu64 " base pages shared, %" PRIu64 " zero", s.shared, s.zero);
	(void)fputs("</figcaption></figure>\n", f);
}

static void guest(FILE *f, const struct picture *p, uint32_t i)
{
	const struct scene_huge *before = p->before + (uint64_t)i * p->nr_huge,
				*after = p->after + (uint64_t)i * p->nr_huge;

	(void)fprintf(f, "<section><h2>Guest %" PRIu32 "</h2>\n", i + 1);
	for (int c = 0; c < HS_GUEST_NR_CLASSES; c++) {
		const struct sum s = sum_of(before, p->nr_huge, c);

		if (!s.huge)
			continue;
		(void)fprintf(f, "<div class=\"class\"><h3>%s: %" PRIu32 " huge pages</h3>\n<div class=\"pair\">",
			      class_names[c], s.huge);
		figure(f, "before", before, p->nr_huge, c);
		figure(f, "after", after, p->nr_huge, c);
		(void)fputs("</div></div>\n", f);
	}
	(void)fputs("</section>\n", f);
}

static void key_of(FILE *f, const struct scene_huge *h, const char *text)
{
	(void)fputs("<li><svg viewBox=\"0 0 14 14\" aria-hidden=\"true\">", f);
	draw(f, h, 0, 0, 0);
	(void)fprintf(f, "</svg><span>%s</span></li>\n", text);
}

static void key(FILE *f)
{
	(void)fputs(
	    "<section><h2>How to read it</h2>\n<p>Each square is a huge page of 2 MiB, which is 512 base pages.</p>\n"
	    "<ul class=\"key\">\n",
	    f);
	key_of(f, &(struct scene_huge){ .whole = true }, "solid: whole, mapped by one huge entry");
	key_of(f, &(struct scene_huge){ .zero = 0 }, "dotted: split into base pages that take memory of their own");
	key_of(f, &(struct scene_huge){ .shared = HS_BASE_PER_HUGE },
	       "striped: base pages that are shared with others");
	key_of(f, &(struct scene_huge){ .zero = HS_BASE_PER_HUGE }, "empty: zero pages, which take no memory");
	key_of(f, &(struct scene_huge){ .shared = 307, .zero = 51 },
	       "a split one is filled by how much there is of each");
	(void)fputs("</ul>\n", f);
	for (int c = 0; c < HS_GUEST_NR_CLASSES; c++)
		(void)fprintf(f, "<p><strong>%s</strong>: %s.</p>\n", class_names[c], class_texts[c]);
	(void)fputs("</section>\n", f);
}

static void table(FILE *f, const struct picture *p)
{
	const uint64_t nr = (uint64_t)p->guests * p->nr_huge;

	(void)fputs("<section><h2>In figures, all guests</h2>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" "
		    "aria-label=\"In figures\"><table><thead><tr><th scope=\"col\">huge "
		    "pages</th><th scope=\"col\">all</th><th scope=\"col\">whole before</th><th scope=\"col\">whole "
		    "after</th><th scope=\"col\">base pages shared</th><th scope=\"col\">zero</th><th "
		    "scope=\"col\">split, of their own</th></tr></thead><tbody>\n",
		    f);
	for (int c = 0; c < HS_GUEST_NR_CLASSES; c++) {
		const struct sum b = sum_of(p->before, nr, c), a = sum_of(p->after, nr, c);

		(void)fprintf(f,
			      "<tr><th scope=\"row\">%s</th><td>%" PRIu32 "</td><td>%" PRIu32 "</td><td>%" PRIu32
			      "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td></tr>\n",
			      class_names[c], b.huge, b.whole, a.whole, a.shared, a.zero, a.own);
	}
	(void)fprintf(f,
		      "</tbody></table></div>\n<p>Guests&#8217; memory (Pss): %.1f MiB before, %.1f MiB after.</p>\n",
		      mib(p->pss_before_bytes), mib(p->pss_after_bytes));
	(void)fprintf(
	    f,
	    "<p>Accesses a second: %.0f before (single seconds: %.0f to %.0f), %.0f after (%.0f to %.0f). What else "
	    "this machine did meanwhile is in them.</p>\n",
	    p->speed_before.median.accesses_per_s, p->speed_before.low, p->speed_before.high,
	    p->speed_after.median.accesses_per_s, p->speed_after.low, p->speed_after.high);
	(void)fprintf(f, "<p>Processor time: hs-share %.2f s, ", p->service_cpu_s);
	if (isnan(p->ksmd_cpu_s))
		(void)fputs("ksmd unknown", f);
	else
		(void)fprintf(f, "ksmd %.2f s", p->ksmd_cpu_s);
	(void)fprintf(f, ", in %.1f s.</p>\n</section>\n", p->run_s);
}

static void facts(FILE *f, const struct picture *p)
{
	const uint64_t nr = (uint64_t)p->guests * p->nr_huge;
	const struct sum b = sum_of(p->before, nr, HS_GUEST_HOT), a = sum_of(p->after, nr, HS_GUEST_HOT);

	(void)fprintf(f, "<ul class=\"facts\">\n<li><strong>%.0f MiB</strong> saved; %.0f net of metadata</li>\n",
		      mib(p->saved_bytes), mib(p->net_saved_bytes));
	(void)fprintf(
	    f, "<li><strong>%" PRIu32 " of %" PRIu32 "</strong> evenly hot huge pages that were whole are whole</li>\n",
	    a.whole < b.whole ? a.whole : b.whole, b.whole);
	(void)fprintf(f, "<li><strong>%.1f %%</strong> of the guests&#8217; speed before</li>\n",
		      percent(p->speed_after.median.accesses_per_s, p->speed_before.median.accesses_per_s));
	(void)fprintf(
	    f, "<li><strong>%" PRIu64 " wrong</strong> of %" PRIu64 " base pages, compared by the guests</li>\n</ul>\n",
	    p->bad, p->checked);
}

void picture_print(FILE *f, const struct picture *p)
{
	(void)fprintf(
	    f,
	    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>HS-Share: what the demo "
	    "did</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
	    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
	    "'unsafe-inline'\"/>\n<style>\n%s</style></head><body>\n%s<main>\n<h1>What the demo did</h1>\n"
	    "<p>%" PRIu32 " %s guests, %" PRIu32 " MiB of workload each, before and after <code>hs-share run</code>. "
	    "What is drawn was read from the page tables.</p>\n",
	    style, patterns, p->guests, p->kind, p->nr_huge * 2);
	facts(f, p);
	key(f);
	for (uint32_t i = 0; i < p->guests; i++)
		guest(f, p, i);
	table(f, p);
	(void)fputs("<p class=\"soft\">Made by the demo of HS-Share " HS_VERSION ".</p>\n</main></body></html>\n", f);
}

int picture_write(const char *path, const struct picture *p, struct hs_error *err)
{
	FILE *f = fopen(path, "we");
	int rc;

	if (!f)
		return hs_error_set(err, -errno, "cannot write the picture %s: %s", path, strerror(errno));
	errno = 0;
	picture_print(f, p);
	rc = ferror(f) ? (errno ? -errno : -EIO) : 0;
	if (fclose(f) && !rc)
		rc = -errno;
	return rc ? hs_error_set(err, rc, "cannot write the picture %s: %s", path, strerror(-rc)) : 0;
}
