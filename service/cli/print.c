/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/times.h"
#include "table.h"
#include "terminal.h"

void hs_complain(const char *fmt, ...)
{
	char text[1024], safe[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "hs-share: %s\n", hs_terminal_safe(safe, sizeof(safe), text, sizeof(safe) - 1));
}

const char *hs_human_bytes(char buf[32], int64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes;
	int u = 0;

	while ((v >= 1024 || v <= -1024) && u < 4) {
		v /= 1024;
		u++;
	}
	(void)snprintf(buf, 32, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return buf;
}

double hs_own_cpu_seconds(void)
{
	return (double)hs_process_cpu_us() / 1e6;
}

const char *hs_json_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

int64_t hs_json_int(const json_t *o, const char *key)
{
	return (int64_t)json_integer_value(json_object_get(o, key));
}

double hs_json_double(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

int hs_json_print(json_t *object)
{
	const int rc = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;

	if (rc && !ferror(stdout))
		(void)fprintf(stderr, "hs-share: out of memory\n");
	json_decref(object);
	return rc || putchar('\n') == EOF || fflush(stdout) ? HS_EXIT_FAILED : 0;
}

int hs_print_table(const struct hs_guest_report *r, size_t nr, const struct hs_table_choice *choice)
{
	json_t *rows = json_array();
	int rc;

	for (size_t i = 0; i < nr; i++)
		(void)json_array_append_new(rows, hs_json_guest(&r[i]));
	rc = hs_table_print(stdout, &hs_table_run, choice, rows, hs_terminal_width());
	json_decref(rows);
	return rc;
}

void hs_print_totals(FILE *f, const struct hs_pipeline_totals *t)
{
	char a[32], b[32], c[32];

	(void)fprintf(f,
		      "saved %s, net of metadata %s; %" PRIu64 " base pages share %" PRIu64 " frames, %" PRIu64
		      " zero pages\n",
		      hs_human_bytes(a, (int64_t)t->ledger.saved_bytes), hs_human_bytes(b, t->ledger.net_saved_bytes),
		      t->ledger.shared, t->ledger.frames, t->ledger.zero);
	(void)fprintf(f,
		      "%u cycles, %" PRIu64 " rounds; %" PRIu64 " pages read and digested; fine phase: %" PRIu64
		      " mappings split, %" PRIu64 " restored, %" PRIu64 " not restored\n",
		      t->cycles, t->rounds, t->pages_hashed, t->fine.nr_split, t->fine.nr_restored,
		      t->fine.nr_restore_failed);
	(void)fprintf(f, "CPU: %.2f s ours, %.2f s ksmd; own memory %s\n", hs_own_cpu_seconds(),
		      (double)t->ksmd_cpu_us / 1e6, hs_human_bytes(c, (int64_t)t->own_bytes));
}

void hs_print_guest(FILE *f, const struct hs_guest_report *r, bool fine)
{
	char a[32];
	uint32_t most = 1;

	(void)fprintf(f, "process %d, seen through its %s: %s in %u huge pages\n\n", r->pid, r->view_name,
		      hs_human_bytes(a, (int64_t)r->bytes), r->nr_huge);
	(void)fprintf(f, "left out %s in pieces that are too small (--min-memory), ",
		      hs_human_bytes(a, (int64_t)r->left_out.too_small_bytes));
	(void)fprintf(f, "%s at borders, ", hs_human_bytes(a, (int64_t)r->left_out.borders_bytes));
	(void)fprintf(f, "%s of heap and stack\n", hs_human_bytes(a, (int64_t)r->left_out.heap_bytes));
	(void)fprintf(f, "mapped   huge %u, split %u, absent %u, unknown %u\n", r->mapped_huge, r->mapped_split,
		      r->absent, r->unknown);
	(void)fprintf(f, "heat     hot %u (still huge %u), warm %u, cold %u, undecided %u\n", r->hot, r->hot_still_huge,
		      r->warm, r->cold, r->undecided);
	if (fine)
		(void)fprintf(f, "skew     evenly hot %u, hot bloat %u (of %u looked at finely)\n", r->evenly_hot,
			      r->hot_bloat, r->fine_known);
	(void)fprintf(f,
		      "content  %" PRIu64 " base pages read: zero %" PRIu64 ", duplicate within this guest %" PRIu64
		      ", of them cold and proven identical %" PRIu64 "\n",
		      r->hashed_pages, r->zero_pages, r->duplicate_pages, r->cold_identical);
	if (!fine || !r->fine_known)
		return;
	(void)fprintf(f, "\nhot base pages in a hot huge page\n");
	for (int i = 0; i < 11; i++)
		most = r->skew[i] > most ? r->skew[i] : most;
	for (int i = 0; i < 11; i++)
		(void)fprintf(f, "%8s %6u %.*s\n", hs_skew_names[i], r->skew[i], (int)(r->skew[i] * 50 / most),
			      "##################################################");
}

/* ---- progress ---- */

void hs_progress_init(struct hs_progress *pr, bool quiet)
{
	*pr = (struct hs_progress){ .quiet = quiet, .tty = isatty(STDERR_FILENO) == 1, .last_stage = -1 };
}

void hs_progress_step(void *ctx, enum hs_stage stage, uint64_t done, uint64_t total)
{
	static const char *const names[] = { [HS_STAGE_COARSE] = "looking at huge pages, round",
					     [HS_STAGE_CONTENT] = "reading cold pages",
					     [HS_STAGE_FINE] = "looking inside hot huge pages",
					     [HS_STAGE_DECIDE] = "deciding",
					     [HS_STAGE_MERGE] = "merging base pages",
					     [HS_STAGE_VERIFY] = "reading page frames of guest",
					     [HS_STAGE_UNSHARE] = "unsharing huge pages",
					     [HS_STAGE_REST] = "resting, seconds" };
	struct hs_progress *pr = ctx;

	if (pr->quiet)
		return;
	if (pr->tty)
		(void)fprintf(stderr, "\r\033[K%s %" PRIu64 "/%" PRIu64, names[stage], done, total);
	else if ((int)stage != pr->last_stage)
		(void)fprintf(stderr, "%s (%" PRIu64 ")\n", names[stage], total);
	pr->last_stage = (int)stage;
}

void hs_progress_end(struct hs_progress *pr)
{
	if (!pr->quiet && pr->tty && pr->last_stage >= 0)
		(void)fprintf(stderr, "\r\033[K");
	pr->last_stage = -1;
}
