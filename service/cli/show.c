/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the daemon as tables. What is missing in an answer (an older daemon) shows as 0 or nothing. */
#include <inttypes.h>
#include <string.h>

#include "service_commands.h"
#include "terminal.h"

static bool yes(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

/* Text of a guest or of the daemon, safe to print. */
#define SAFE_MAX 600
static const char *safe(char buf[SAFE_MAX], const char *text)
{
	return hs_terminal_safe(buf, SAFE_MAX, text, SAFE_MAX - 1);
}

static const char *column(char buf[SAFE_MAX], const char *text, size_t width)
{
	return hs_terminal_column(buf, SAFE_MAX, text, width);
}

static const char *colour(const char *code)
{
	return hs_terminal_colour() ? code : "";
}
#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define PLAIN  "\033[0m"

/* What it would take to end all sharing at once. */
static void show_overcommit(const json_t *o)
{
	const bool reached = yes(o, "limit_reached");
	char a[32], b[32];

	(void)printf("overcommit %s", hs_human_bytes(a, hs_json_int(o, "bytes")));
	if (hs_json_int(o, "max_bytes"))
		(void)printf(" of %s at most", hs_human_bytes(b, hs_json_int(o, "max_bytes")));
	(void)printf("%s%s%s\n", reached ? colour(YELLOW) : "",
		     reached ? "; the limit is reached, and some guests share nothing further" : "",
		     reached ? colour(PLAIN) : "");
}

/* What stays shared though the mode does not share. */
static void show_kept(const json_t *kept, const char *mode)
{
	char a[32], t[SAFE_MAX];

	if (hs_json_int(kept, "bytes"))
		(void)printf("%skept      %s in %" PRId64
			     " processes stay shared, and nothing follows them: `hs-share mode %s --undo` undoes "
			     "it%s\n",
			     colour(YELLOW), hs_human_bytes(a, hs_json_int(kept, "bytes")),
			     hs_json_int(kept, "processes"), safe(t, mode), colour(PLAIN));
}

void hs_show_obstacles(const json_t *answer)
{
	char t[SAFE_MAX];

	if (*hs_json_text(answer, "trouble"))
		(void)printf("%strouble   %s%s\n", colour(RED), safe(t, hs_json_text(answer, "trouble")),
			     colour(PLAIN));
	if (*hs_json_text(answer, "undo_pending"))
		(void)printf("%spending   %s%s\n", colour(YELLOW), safe(t, hs_json_text(answer, "undo_pending")),
			     colour(PLAIN));
}

void hs_show_status(const json_t *s)
{
	const json_t *scan = json_object_get(s, "scan"), *guests = json_object_get(s, "guests");
	const json_t *saving = json_object_get(s, "saving"), *virt = json_object_get(s, "libvirt");
	const json_t *memory = json_object_get(s, "memory"), *process = json_object_get(s, "process");
	const bool other = strcmp(hs_json_text(s, "mode"), hs_json_text(s, "effective")) != 0;
	char a[32], b[32], c[32], t[SAFE_MAX];
	const json_t *link;
	size_t i;

	(void)printf("hs-shared %s, up %" PRId64 " s\n", safe(t, hs_json_text(s, "version")),
		     hs_json_int(s, "uptime_ms") / 1000);
	(void)printf("mode      %s", safe(t, hs_json_text(s, "mode")));
	if (strcmp(hs_json_text(s, "share"), "guest") == 0)
		(void)printf(", within guests alone");
	else if (strcmp(hs_json_text(s, "share"), "zero") == 0)
		(void)printf(", zero pages alone");
	(void)printf("%s%s", other ? ", now " : "", other ? safe(t, hs_json_text(s, "effective")) : "");
	(void)printf(" (%s)\n", safe(t, hs_json_text(s, "mode_reason")));
	hs_show_obstacles(s);
	(void)printf("scan      %s for %.1f s, %" PRId64 " cycles, the last took %.1f s\n",
		     safe(t, hs_json_text(scan, "stage")), (double)hs_json_int(scan, "stage_ms") / 1e3,
		     hs_json_int(scan, "cycles"), (double)hs_json_int(scan, "last_cycle_ms") / 1e3);
	(void)printf("guests    %" PRId64 " known, %" PRId64 " opted in, %" PRId64 " sharing\n",
		     hs_json_int(guests, "known"), hs_json_int(guests, "opted_in"), hs_json_int(guests, "sharing"));
	if (yes(s, "ksm_taken"))
		(void)printf("saved     %s, net %s; ", hs_human_bytes(a, hs_json_int(saving, "saved_bytes")),
			     hs_human_bytes(b, hs_json_int(saving, "net_saved_bytes")));
	else
		(void)printf("saved     known in mode save only; ");
	(void)printf("could save %s\n", hs_human_bytes(c, hs_json_int(saving, "could_save_bytes")));
	if (yes(s, "ksm_taken"))
		show_overcommit(json_object_get(s, "overcommit"));
	show_kept(json_object_get(s, "kept"), hs_json_text(s, "mode"));
	(void)printf("memory    %s of %s available\n", hs_human_bytes(a, hs_json_int(memory, "available_bytes")),
		     hs_human_bytes(b, hs_json_int(memory, "total_bytes")));
	json_array_foreach(json_object_get(virt, "connections"), i, link)
	{
		(void)printf("libvirt   %s\n", safe(t, hs_json_text(link, "text")));
	}
	(void)printf("service   %.2f s CPU, %s of memory\n", json_number_value(json_object_get(process, "cpu_seconds")),
		     hs_human_bytes(a, hs_json_int(process, "rss_bytes")));
}

static void show_ledger(const json_t *l, bool known)
{
	char a[32], b[32], c[32];

	if (!known) {
		(void)printf("saved       known in mode save only\n");
		return;
	}
	(void)printf("saved       %s gross, %s metadata, %s net\n", hs_human_bytes(a, hs_json_int(l, "saved_bytes")),
		     hs_human_bytes(b, hs_json_int(l, "metadata_bytes")),
		     hs_human_bytes(c, hs_json_int(l, "net_saved_bytes")));
	(void)printf("base pages  %" PRId64 " wanted, %" PRId64 " mergeable, %" PRId64 " shared on %" PRId64
		     " frames, %" PRId64 " zero, %" PRId64 " single, %" PRId64 " broken\n",
		     hs_json_int(l, "wanted_pages"), hs_json_int(l, "mergeable_pages"), hs_json_int(l, "shared_pages"),
		     hs_json_int(l, "frames"), hs_json_int(l, "zero_pages"), hs_json_int(l, "single_pages"),
		     hs_json_int(l, "broken_pages"));
}

void hs_show_stats(const json_t *s)
{
	const json_t *t = json_object_get(s, "totals"), *fine = json_object_get(t, "fine"),
		     *l = json_object_get(t, "ledger");
	const json_t *ksm = json_object_get(s, "ksm");
	char a[32], b[32];

	show_ledger(l, yes(s, "ksm_taken"));
	(void)printf("looked      %" PRId64 " cycles, %" PRId64 " rounds, %" PRId64 " pages digested, %" PRId64
		     " compared (%" PRId64 " differed)\n",
		     hs_json_int(t, "cycles"), hs_json_int(t, "rounds"), hs_json_int(t, "pages_hashed"),
		     hs_json_int(t, "pages_compared"), hs_json_int(t, "compares_failed"));
	(void)printf("fine phase  %" PRId64 " windows, %" PRId64 " mappings split, %" PRId64 " restored, %" PRId64
		     " not restored at once\n",
		     hs_json_int(fine, "windows"), hs_json_int(fine, "split"), hs_json_int(fine, "restored"),
		     hs_json_int(fine, "restore_failed"));
	(void)printf("merging     %.1f s, ksmd %.2f s CPU\n", json_number_value(json_object_get(t, "merging_seconds")),
		     json_number_value(json_object_get(t, "ksmd_cpu_seconds")));
	(void)printf("own memory  %s, of it the index %s\n", hs_human_bytes(a, hs_json_int(t, "own_bytes")),
		     hs_human_bytes(b, hs_json_int(t, "index_bytes")));
	/* Of a ksmd that is stopped they are old: what has ended since is still in them. */
	if (yes(ksm, "current"))
		(void)printf("KSM         pages_shared %" PRId64 ", pages_sharing %" PRId64 " (the whole host)\n",
			     hs_json_int(ksm, "pages_shared"), hs_json_int(ksm, "pages_sharing"));
	else if (ksm)
		(void)printf(
		    "KSM         ksmd is stopped, and its counters say nothing of now: what is shared was read "
		    "from the page tables\n");
}

static const char *state_colour(const char *state)
{
	if (strcmp(state, "sharing") == 0)
		return colour(GREEN);
	if (strcmp(state, "refused") == 0)
		return colour(RED);
	return strcmp(state, "leaving") == 0 ? colour(YELLOW) : "";
}

void hs_show_guest(const json_t *g)
{
	const json_t *r = json_object_get(g, "report"), *huge = json_object_get(r, "huge_pages"),
		     *heat = json_object_get(r, "heat");
	const json_t *left = json_object_get(r, "left_out");
	const json_t *content = json_object_get(r, "content"), *l = json_object_get(r, "ledger"), *hist, *v;
	const bool has_reason =
	    hs_json_int(huge, "unknown") && strcmp(hs_json_text(huge, "unknown_reason"), "none") != 0;
	char a[32], b[32], t[SAFE_MAX];
	int64_t most = 1;
	const char *key;

	(void)printf("guest     %s", safe(t, hs_json_text(g, "id")));
	(void)printf("%s%s\n", *hs_json_text(g, "uuid") ? ", " : "", safe(t, hs_json_text(g, "uuid")));
	(void)printf("process   %" PRId64 "\n", hs_json_int(g, "pid"));
	(void)printf("opted in  %s", yes(g, "opted_in") ? "yes, group " : "no");
	(void)printf("%s", yes(g, "opted_in") ? safe(t, hs_json_text(g, "group")) : "");
	if (hs_json_int(g, "max_shared_bytes"))
		(void)printf(", at most %s", hs_human_bytes(a, hs_json_int(g, "max_shared_bytes")));
	if (yes(g, "opted_in") && strcmp(hs_json_text(g, "share"), "guest") == 0)
		(void)printf(", within itself alone");
	else if (yes(g, "opted_in") && strcmp(hs_json_text(g, "share"), "zero") == 0)
		(void)printf(", zero pages alone");
	(void)printf("\nstate     %s%s%s\n", state_colour(hs_json_text(g, "state")), safe(t, hs_json_text(g, "state")),
		     *state_colour(hs_json_text(g, "state")) ? colour(PLAIN) : "");
	if (*hs_json_text(g, "reason_text")) {
		(void)printf("why       %s", safe(t, hs_json_text(g, "reason")));
		(void)printf(": %s\n", safe(t, hs_json_text(g, "reason_text")));
	}
	if (!r)
		return;
	(void)printf("view      %s, %s\n", safe(t, hs_json_text(r, "view")),
		     hs_human_bytes(a, hs_json_int(r, "memory_bytes")));
	(void)printf("left out  %s in pieces below min_memory, ",
		     hs_human_bytes(a, hs_json_int(left, "too_small_bytes")));
	(void)printf("%s at borders, ", hs_human_bytes(a, hs_json_int(left, "borders_bytes")));
	(void)printf("%s of heap and stack, ", hs_human_bytes(a, hs_json_int(left, "heap_bytes")));
	(void)printf("%s executable, ", hs_human_bytes(a, hs_json_int(left, "executable_bytes")));
	(void)printf("%s that KSM cannot merge\n", hs_human_bytes(a, hs_json_int(left, "other_kind_bytes")));
	(void)printf("mapped    huge %" PRId64 ", split %" PRId64 ", absent %" PRId64 ", unknown %" PRId64,
		     hs_json_int(huge, "mapped_huge"), hs_json_int(huge, "mapped_split"), hs_json_int(huge, "absent"),
		     hs_json_int(huge, "unknown"));
	(void)printf("%s%s\n", has_reason ? ": " : "", has_reason ? safe(t, hs_json_text(huge, "unknown_reason")) : "");
	(void)printf("heat      hot %" PRId64 " (still huge %" PRId64 "), warm %" PRId64 ", cold %" PRId64
		     ", undecided %" PRId64 "\n",
		     hs_json_int(heat, "hot"), hs_json_int(heat, "hot_still_huge"), hs_json_int(heat, "warm"),
		     hs_json_int(heat, "cold"), hs_json_int(heat, "undecided"));
	(void)printf("content   %" PRId64 " base pages known: zero %" PRId64 ", duplicate %" PRId64
		     ", cold and identical %" PRId64 "\n",
		     hs_json_int(content, "known_pages"), hs_json_int(content, "zero_pages"),
		     hs_json_int(content, "duplicate_pages"), hs_json_int(content, "cold_identical_pages"));
	(void)printf("shared    %" PRId64 " base pages, %" PRId64 " zero; saved %s, could save %s",
		     hs_json_int(l, "shared_pages"), hs_json_int(l, "zero_pages"),
		     hs_human_bytes(a, hs_json_int(l, "saved_bytes")),
		     hs_human_bytes(b, hs_json_int(g, "could_save_bytes")));
	(void)printf(", up to %s\n", hs_human_bytes(a, hs_json_int(g, "could_save_at_most_bytes")));
	if (hs_json_int(r, "pages_pending"))
		(void)printf("pending   %" PRId64 " base pages that are to be shared no more stay so: %s\n",
			     hs_json_int(r, "pages_pending"), safe(t, hs_json_text(r, "pending_reason")));
	hist = json_object_get(r, "hot_base_pages_histogram");
	json_object_foreach((json_t *)(uintptr_t)hist, key, v) most =
	    json_integer_value(v) > most ? json_integer_value(v) : most;
	(void)printf("\nhot base pages in a hot huge page that was looked into\n");
	for (int i = 0; i < HS_NR_SKEW; i++) {
		int64_t n = hs_json_int(hist, hs_skew_names[i]);

		(void)printf("%8s %6" PRId64 " %.*s\n", hs_skew_names[i], n, (int)(n * 50 / most),
			     "##################################################");
	}
	(void)printf("\nwhat was decided, huge pages\n");
	json_object_foreach(json_object_get(r, "reasons"), key, v)
	{
		if (json_integer_value(v))
			(void)printf("%8" PRId64 "  %s\n", (int64_t)json_integer_value(v), safe(t, key));
	}
}

/* What rules find, where there are some. */
static void show_found(const json_t *d)
{
	char name[SAFE_MAX], group[SAFE_MAX], rule[SAFE_MAX], t[SAFE_MAX], a[32];
	const json_t *f;
	size_t i, taken = 0;

	if (*hs_json_text(d, "error"))
		(void)printf("%sguests by rules: %s%s\n", colour(RED), safe(t, hs_json_text(d, "error")),
			     colour(PLAIN));
	json_array_foreach(json_object_get(d, "found"), i, f)
	{
		taken += yes(f, "taken");
		(void)printf("%s%-7s%s rule %s: ", yes(f, "taken") ? colour(GREEN) : colour(YELLOW),
			     yes(f, "taken") ? "found" : "refused", colour(PLAIN), safe(rule, hs_json_text(f, "rule")));
		(void)printf("%s", safe(name, hs_json_text(f, "name")));
		if (hs_json_int(f, "pid"))
			(void)printf(" (process %" PRId64 ")", hs_json_int(f, "pid"));
		if (*hs_json_text(f, "group"))
			(void)printf(", group %s", safe(group, hs_json_text(f, "group")));
		if (hs_json_int(f, "max_shared_bytes"))
			(void)printf(", at most %s", hs_human_bytes(a, hs_json_int(f, "max_shared_bytes")));
		(void)printf("\n");
		if (!yes(f, "taken"))
			(void)printf("         -> %s\n", safe(t, hs_json_text(f, "reason")));
	}
	(void)printf("%zu rules find %zu guests", json_array_size(json_object_get(d, "rules")), taken);
	(void)printf("; %zu are refused\n", json_array_size(json_object_get(d, "found")) - taken);
}

void hs_show_diagnose(const json_t *answer)
{
	const json_t *f;
	char t[SAFE_MAX];
	size_t i;

	json_array_foreach(json_object_get(answer, "findings"), i, f)
	{
		const char *level = hs_json_text(f, "level");
		const char *c = strcmp(level, "obstacle") == 0  ? colour(RED)
				: strcmp(level, "warning") == 0 ? colour(YELLOW)
				: strcmp(level, "ok") == 0      ? colour(GREEN)
								: "";

		(void)printf("%s%s%s", c, column(t, level, 8), *c ? colour(PLAIN) : "");
		(void)printf(" %s\n", safe(t, hs_json_text(f, "text")));
		if (*hs_json_text(f, "advice"))
			(void)printf("         -> %s\n", safe(t, hs_json_text(f, "advice")));
	}
	(void)printf("%" PRId64 " obstacles, %" PRId64 " warnings\n", hs_json_int(answer, "obstacles"),
		     hs_json_int(answer, "warnings"));
	if (json_object_get(answer, "discovery"))
		show_found(json_object_get(answer, "discovery"));
}
