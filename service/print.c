#include "commands.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const skew_names[11] = { "0",     "1",      "2-3",     "4-7",     "8-15", "16-31",
					    "32-63", "64-127", "128-255", "256-511", "512" };

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
	struct rusage ru;

	(void)getrusage(RUSAGE_SELF, &ru);
	return (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

json_t *hs_json_ledger(const struct hs_ledger *l)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "wanted_pages", num(l->wanted), "mergeable_pages",
			 num(l->marked), "shared_pages", num(l->shared), "zero_pages", num(l->zero), "frames",
			 num(l->frames), "single_pages", num(l->single), "broken_pages", num(l->broken), "saved_bytes",
			 num(l->saved_bytes), "metadata_bytes", num(l->metadata_bytes), "net_saved_bytes",
			 (json_int_t)l->net_saved_bytes);
}

json_t *hs_json_totals(const struct hs_pipeline_totals *t)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:I,s:I,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:o}", "cycles",
			 num(t->cycles), "rounds", num(t->rounds), "pages_hashed", num(t->pages_hashed),
			 "pages_compared", num(t->pages_compared), "compares_failed", num(t->compare_failed),
			 "ksmd_cpu_seconds", (double)t->ksmd_cpu_us / 1e6, "merging_seconds", (double)t->burst_ms / 1e3,
			 "index_bytes", num(t->index_bytes), "own_bytes", num(t->own_bytes), "fine", "windows",
			 num(t->fine.nr_windows), "split", num(t->fine.nr_split), "split_failed",
			 num(t->fine.nr_split_failed), "restored", num(t->fine.nr_restored), "restore_failed",
			 num(t->fine.nr_restore_failed), "gave_up", num(t->fine.nr_gave_up), "split_huge_page_ms",
			 num(t->fine.split_ms), "ledger", hs_json_ledger(&t->ledger));
}

json_t *hs_json_guest(const struct hs_guest_report *r)
{
	json_t *reasons = json_object(), *skew = json_object();

	for (int i = 0; i < HS_NR_REASONS; i++)
		json_object_set_new(reasons, hs_policy_reason_name((enum hs_policy_reason)i),
				    json_integer(r->by_reason[i]));
	for (int i = 0; i < 11; i++)
		json_object_set_new(skew, skew_names[i], json_integer(r->skew[i]));
	return json_pack(
	    "{s:i,s:b,s:s,s:I,s:{s:I,s:I,s:I,s:I,s:I},s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:{s:I,s:I,s:I,s:I},"
	    "s:o,s:o,s:I,s:o,s:{s:I,s:I,s:I,s:I,s:I,s:I}}",
	    "pid", (int)r->pid, "gone", r->gone, "view", r->view_name ? r->view_name : "none", "memory_bytes",
	    num(r->bytes), "huge_pages", "total", num(r->nr_huge), "mapped_huge", num(r->mapped_huge), "mapped_split",
	    num(r->mapped_split), "absent", num(r->absent), "unknown", num(r->unknown), "heat", "hot", num(r->hot),
	    "hot_still_huge", num(r->hot_still_huge), "hot_bloat", num(r->hot_bloat), "evenly_hot", num(r->evenly_hot),
	    "warm", num(r->warm), "cold", num(r->cold), "undecided", num(r->undecided), "content", "known_pages",
	    num(r->hashed_pages), "zero_pages", num(r->zero_pages), "duplicate_pages", num(r->duplicate_pages),
	    "cold_identical_pages", num(r->cold_identical), "reasons", reasons, "hot_base_pages_histogram", skew,
	    "pages_without_vma", num(r->nr_vmas_dropped), "ledger", hs_json_ledger(&r->ledger), "calls_in_guest",
	    "sessions", num(r->remote.nr_sessions), "system_calls", num(r->remote.nr_calls), "operations",
	    num(r->remote.nr_ops), "retries", num(r->remote.nr_retries), "stopped_us", num(r->remote.stopped_us),
	    "longest_stop_us", num(r->remote.longest_stop_us));
}

int hs_json_print(json_t *object)
{
	int rc = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;

	json_decref(object);
	if (rc || putchar('\n') == EOF || fflush(stdout)) {
		(void)fprintf(stderr, "hs-share: cannot write the JSON object to standard output\n");
		return HS_EXIT_FAILED;
	}
	return 0;
}

void hs_print_table(FILE *f, const struct hs_guest_report *r, size_t nr, const struct hs_pipeline_totals *t)
{
	char a[32], b[32], c[32];

	(void)fprintf(f, "%8s %10s %6s %6s %6s %6s %6s %6s %10s %10s %10s %10s  %s\n", "PID", "MEMORY", "HUGE", "SPLIT",
		      "HOT", "BLOAT", "WARM", "COLD", "COLD-IDENT", "SHARED", "ZERO", "SAVED", "");
	for (size_t i = 0; i < nr; i++)
		(void)fprintf(
		    f, "%8d %10s %6u %6u %6u %6u %6u %6u %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10s  %s\n",
		    r[i].pid, hs_human_bytes(a, (int64_t)r[i].bytes), r[i].mapped_huge, r[i].mapped_split, r[i].hot,
		    r[i].hot_bloat, r[i].warm, r[i].cold, r[i].cold_identical, r[i].ledger.shared, r[i].ledger.zero,
		    hs_human_bytes(b, (int64_t)r[i].ledger.saved_bytes), r[i].gone ? "(ended)" : "");
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
		(void)fprintf(f, "%8s %6u %.*s\n", skew_names[i], r->skew[i], (int)(r->skew[i] * 50 / most),
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
