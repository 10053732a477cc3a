/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-share run: shares the cold memory of the named guests, cycle after cycle, until its time is over or it is
 * interrupted; then puts everything back, or leaves the sharing in place when asked to.
 */
#include "commands.h"

#include <errno.h>
#include <hs_version.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/passthrough.h"
#include "base/times.h"
#include "base/wallclock.h"
#include "service/common/descriptors.h"
#include "table.h"

#define REST_FIRST_MS 5000 /* rest after a cycle that changed something */
#define REST_SECONDS  60   /* default of --rest: the longest rest, reached by doubling while nothing changes */

struct run_options {
	struct hs_scan_options look;
	bool json, keep, inside;
	struct hs_table_choice table;
};

enum { OPT_JSON = 256, OPT_DRY_RUN, OPT_KEEP, OPT_LOOK };

static const struct argp_option options[] = {
	{ "duration", HS_ARGP_DURATION, "SECONDS", 0, "End after so many seconds. Default: run until interrupted.", 0 },
	{ "cycles", HS_ARGP_CYCLES, "N", 0, "End after N cycles (look, decide, merge).", 0 },
	{ "keep-shared", OPT_KEEP, NULL, 0, "Leave the sharing in place at the end. Default: undo it.", 0 },
	{ "dry-run", OPT_DRY_RUN, NULL, 0,
	  "Look, digest and plan, but change nothing: no mapping is split, nothing is merged.", 0 },
	{ "look", OPT_LOOK, NULL, 0,
	  "With --dry-run: look inside hot huge pages, which makes what it says exact. Their mappings are split for a "
	  "second or two and brought back; nothing is merged.",
	  0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object to standard output at the end instead of a table.", 0 },
	HS_TABLE_OPTIONS,
	{ NULL, 0, NULL, 0, "Limits:", 1 },
	{ "rest", HS_ARGP_REST, "SECONDS", 0,
	  "Longest rest between cycles; rests start at 5 seconds and double while nothing changes. Default: 60.", 1 },
	{ NULL, 0, NULL, 0, "Policy:", 2 },
	{ "allow-foreign", HS_ARGP_ALLOW_FOREIGN, NULL, 0,
	  "Run ksmd although memory of other processes is mergeable: it will be merged as well.", 2 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->look;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_DRY_RUN:
		o->look.cfg.share.dry_run = true;
		o->look.cfg.no_fine = true;
		break;
	case OPT_LOOK:
		o->inside = true;
		break;
	case OPT_KEEP:
		o->keep = true;
		break;
	case ARGP_KEY_END:
		if (o->keep && o->look.cfg.share.dry_run)
			argp_error(state, "--keep-shared and --dry-run exclude one another: a dry run shares nothing");
		if (o->json && hs_table_for_script(&o->table))
			argp_error(state, "--json prints all there is: it excludes the options of the table");
		if (o->inside && !o->look.cfg.share.dry_run)
			argp_error(state, "--look is of use with --dry-run alone: what shares looks inside anyway");
		/* No engine, not even a dry one: it would keep system calls away from the guest, which a look needs. */
		o->look.cfg.observe = o->inside;
		break;
	default:
		if (hs_table_parse(key, arg, state, &hs_table_run, &o->table))
			return 0;
		return hs_parse_loop_option(key, arg, state, &o->look) ? 0 : ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* What came of the run, beside what the pipeline has of it. */
struct outcome {
	struct hs_guest_report *guests; /* [nr] */
	size_t nr;
	struct hs_share_unshared undone;
	double seconds;
	bool interrupted;
};

/* What the guests could save together. */
static struct hs_guest_report sum_savings(const struct hs_guest_report *guests, size_t nr)
{
	struct hs_guest_report sum = { 0 };

	for (size_t i = 0; i < nr; i++) {
		sum.sure.zero_bytes += guests[i].sure.zero_bytes;
		sum.sure.within_bytes += guests[i].sure.within_bytes;
		sum.sure.across_bytes += guests[i].sure.across_bytes;
		sum.could_save_bytes += guests[i].could_save_bytes;
		sum.could_save_at_most_bytes += guests[i].could_save_at_most_bytes;
		sum.nr_promising += guests[i].nr_promising;
	}
	return sum;
}

static void print_dry_run(const struct run_options *o, const struct hs_guest_report *guests, size_t nr)
{
	const struct hs_guest_report sum = sum_savings(guests, nr);
	char a[32], b[32], c[32], d[32];

	(void)printf(
	    "dry run: nothing was %s. Sharing would save %s: %s of zeros, %s within the guests, %s across them\n",
	    o->inside ? "shared" : "changed", hs_human_bytes(a, (int64_t)sum.could_save_bytes),
	    hs_human_bytes(b, (int64_t)sum.sure.zero_bytes), hs_human_bytes(c, (int64_t)sum.sure.within_bytes),
	    hs_human_bytes(d, (int64_t)sum.sure.across_bytes));
	if (sum.nr_promising)
		(void)printf("it is up to %s if %u hot huge pages prove cold inside%s\n",
			     hs_human_bytes(a, (int64_t)sum.could_save_at_most_bytes), sum.nr_promising,
			     o->inside ? ", which could not be looked into now" : ": --look looks into them");
}

static int report(struct hs_pipeline *p, const struct run_options *o, const struct outcome *r)
{
	const struct hs_share_unshared *undone = &r->undone;
	struct hs_guest_report *guests = r->guests;
	const size_t nr = r->nr;
	const struct hs_guest_report sum = sum_savings(guests, nr);
	struct hs_pipeline_totals t;
	uint64_t cold_identical = 0, hot = 0, hot_huge = 0;
	json_t *list, *out;

	hs_pipeline_totals(p, &t);
	/* The ledger and the guests are as they were before anything was undone: the caller took them then. */
	memset(&t.ledger, 0, sizeof(t.ledger));
	for (size_t i = 0; i < nr; i++) {
		const struct hs_ledger *l = &guests[i].ledger;

		t.ledger.wanted += l->wanted;
		t.ledger.marked += l->marked;
		t.ledger.shared += l->shared;
		t.ledger.zero += l->zero;
		t.ledger.frames += l->frames;
		t.ledger.single += l->single;
		t.ledger.broken += l->broken;
		t.ledger.saved_bytes += l->saved_bytes;
		t.ledger.metadata_bytes += l->metadata_bytes;
		cold_identical += guests[i].cold_identical;
		hot += guests[i].hot;
		hot_huge += guests[i].hot_still_huge;
	}
	t.ledger.metadata_bytes += t.own_bytes;
	t.ledger.net_saved_bytes = (int64_t)t.ledger.saved_bytes - (int64_t)t.ledger.metadata_bytes;
	if (!o->json) {
		const int rc = hs_print_table(guests, nr, &o->table);

		if (rc || hs_table_for_script(&o->table))
			return rc;
		hs_print_totals(stdout, &t);
		if (o->look.cfg.share.dry_run)
			print_dry_run(o, guests, nr);
		else if (o->keep)
			(void)printf("sharing is kept; undo it with: hs-share unshare --pid PID\n");
		else
			(void)printf("sharing was undone: %llu huge pages, %llu of them huge again\n",
				     (unsigned long long)undone->nr_huge, (unsigned long long)undone->nr_collapsed);
		return fflush(stdout) ? HS_EXIT_FAILED : 0;
	}
	list = json_array();
	for (size_t i = 0; i < nr; i++)
		json_array_append_new(list, hs_json_guest(&guests[i]));
	out = json_pack("{s:s,s:f,s:b,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:o,s:{s:I,s:I,s:I,s:I},s:o}",
			"version", HS_VERSION, "duration_seconds", r->seconds, "interrupted", r->interrupted, "dry_run",
			o->look.cfg.share.dry_run, "kept", o->keep, "saved_bytes", (json_int_t)t.ledger.saved_bytes,
			"net_saved_bytes", (json_int_t)t.ledger.net_saved_bytes, "could_save_bytes",
			(json_int_t)sum.could_save_bytes, "could_save_at_most_bytes",
			(json_int_t)sum.could_save_at_most_bytes, "cold_identical_pages", (json_int_t)cold_identical,
			"shared_pages", (json_int_t)t.ledger.shared, "zero_pages", (json_int_t)t.ledger.zero,
			"hot_huge_pages", (json_int_t)hot, "hot_huge_pages_still_huge", (json_int_t)hot_huge,
			"service_cpu_seconds", hs_own_cpu_seconds(), "ksmd_cpu_seconds", (double)t.ksmd_cpu_us / 1e6,
			"totals", hs_json_totals(&t), "unshared", "huge_pages", (json_int_t)undone->nr_huge,
			"huge_again", (json_int_t)undone->nr_collapsed, "base_as_before", (json_int_t)undone->nr_base,
			"failed", (json_int_t)undone->nr_failed, "guests", list);
	return hs_json_print(out);
}

/* Cycles and rests until the time is over, an interrupt, or an error. */
static int loop(struct hs_pipeline *p, const struct run_options *o, struct hs_progress *pr, struct hs_error *err)
{
	const uint64_t longest_ms = o->look.rest_s * UINT64_C(1000);
	uint64_t rest_ms = 0, news = 1;

	for (uint32_t cycle = 0; !o->look.cycles || cycle < o->look.cycles; cycle++) {
		int rc;

		if (cycle) {
			rest_ms = hs_rest_next(rest_ms, news, REST_FIRST_MS, longest_ms);
			hs_progress_step(pr, HS_STAGE_REST, 0, rest_ms / 1000);
			rc = hs_wallclock.sleep_us(NULL, rest_ms * 1000);
			if (rc)
				return rc;
		}
		hs_pipeline_ask_look(p, o->inside);
		rc = hs_pipeline_cycle(p, &news, err);
		if (rc)
			return rc;
	}
	return 0;
}

int hs_cmd_run(int argc, char **argv)
{
	const struct argp_child children[] = { { .argp = hs_scan_options_argp(HS_SETTING_RUN_ALONE) }, { 0 } };
	const struct argp argp = {
		.children = children,
		.options = options,
		.parser = parse,
		.doc =
		    "Share the identical cold memory of guests. Hot huge pages stay whole; what is shared is read back "
		    "from the kernel. At the end everything is undone unless --keep-shared is given.",
	};
	struct run_options o = { .look.cfg = hs_pipeline_config_default, .look.rest_s = REST_SECONDS };
	const struct hs_host host = HS_HOST_DEFAULT;
	struct outcome r = { 0 };
	struct hs_pipeline *p = NULL;
	struct hs_error err = { "" };
	struct hs_progress pr;
	uint64_t start_us;
	int rc, status = 0;

	o.look.cfg.share = hs_share_config_default;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	hs_progress_init(&pr, o.look.quiet);
	hs_descriptors_raise();
	hs_wallclock_catch_signals();
	start_us = hs_wallclock.now_us(NULL);
	rc = hs_pipeline_create(&p, &host, &o.look.cfg, &hs_wallclock, &err);
	for (size_t i = 0; !rc && i < o.look.pids.nr; i++) {
		rc = hs_passthrough_look(&host, o.look.pids.pids[i], &err);
		rc = rc > 0 ? -EMEDIUMTYPE : rc;
		if (!rc)
			rc = hs_pipeline_add_pid(p, o.look.pids.pids[i], &err);
	}
	if (rc)
		goto fail;
	if (o.look.duration_s)
		hs_wallclock_deadline_us((uint64_t)o.look.duration_s * 1000000);
	hs_pipeline_on_progress(p, hs_progress_step, &pr);
	rc = loop(p, &o, &pr, &err);
	hs_progress_end(&pr);
	r.interrupted = rc == -ECANCELED;
	if (rc && !r.interrupted)
		status = HS_EXIT_FAILED;
	r.guests = calloc(o.look.pids.nr, sizeof(*r.guests));
	if (!r.guests) {
		(void)snprintf(err.text, sizeof(err.text), "out of memory for the report");
		goto fail;
	}
	r.nr = hs_pipeline_report(p, r.guests, o.look.pids.nr);
	if (status)
		hs_complain("%s", err.text);
	hs_wallclock_reset();
	if (!o.keep && !o.look.cfg.share.dry_run) {
		rc = hs_pipeline_unshare_all(p, &r.undone, &err);
		if (rc) {
			hs_complain("not everything could be undone: %s", err.text);
			hs_complain("try again later with: hs-share unshare --pid PID");
			status = HS_EXIT_FAILED;
		}
	}
	r.seconds = (double)(hs_wallclock.now_us(NULL) - start_us) / 1e6;
	rc = report(p, &o, &r);
	if (rc)
		status = rc;
	goto out;
fail:
	hs_progress_end(&pr);
	hs_complain("%s", err.text);
	status = HS_EXIT_FAILED;
out:
	hs_pipeline_destroy(p);
	free(r.guests);
	free(o.look.pids.pids);
	return status;
}
