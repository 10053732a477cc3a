/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench live: memory saved over time, guests' throughput and tail latency, huge pages kept, CPU time; for no sharing,
 * for KSM, for a rival's policy and for HS-Share, on fresh guests of the same kind, in one run. Every ratio of
 * throughput is taken within one set of guests, against the moments before the policy began.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/median.h"
#include "live.h"

#define BASELINE_TICKS 7

struct options {
	uint32_t seconds, guests, mib;
	bool json, chosen[16];
	bool any_chosen;
};

enum { OPT_SECONDS = 256, OPT_GUESTS, OPT_MIB, OPT_JSON, OPT_VARIANT };

static const struct argp_option option_list[] = {
	{ "seconds", OPT_SECONDS, "N", 0, "Seconds for each variant, 12 to 3600. Default: 40.", 0 },
	{ "guests", OPT_GUESTS, "N", 0, "Guests, 2 to 8. Default: 3.", 0 },
	{ "size", OPT_MIB, "MIB", 0, "Memory of each guest. Default: 768.", 0 },
	{ "variant", OPT_VARIANT, "NAME", 0, "Only this one; may be given several times. A wrong name lists them.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object with every figure and the series.", 0 },
	{ 0 },
};

static uint32_t number(struct argp_state *state, const char *name, const char *arg, unsigned long min,
		       unsigned long max)
{
	char *end;
	unsigned long v = strtoul(arg, &end, 10);

	if (end == arg || *end || v < min || v > max)
		argp_error(state, "%s: \"%s\" is not a number from %lu to %lu", name, arg, min, max);
	return (uint32_t)v;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	char names[256] = "";

	switch (key) {
	case OPT_SECONDS:
		o->seconds = number(state, "--seconds", arg, 12, 3600);
		break;
	case OPT_GUESTS:
		o->guests = number(state, "--guests", arg, 2, SCENE_MAX_GUESTS);
		break;
	case OPT_MIB:
		o->mib = number(state, "--size", arg, 64, 4096);
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_VARIANT:
		for (size_t i = 0; i < live_nr_variants; i++) {
			if (strcmp(arg, live_variants[i].name) == 0) {
				o->chosen[i] = o->any_chosen = true;
				return 0;
			}
			(void)snprintf(names + strlen(names), sizeof(names) - strlen(names), " %s",
				       live_variants[i].name);
		}
		argp_error(state, "--variant: there is no \"%s\"; there are:%s", arg, names);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* What there was before the policy began. */
struct before {
	uint64_t start_us, taken_bytes;
	struct hs_ksm_counters ksm;
};

/*
 * What the guests' memory takes of the host's: what is resident, less what KSM's pages stand for several times. KSM's
 * counters alone would not do to compare: they leave out the zero pages that the split of a huge page gives back (from
 * Linux 6.12 on); those, as KSM's own zero pages, are resident no more.
 */
static int taken_bytes(const struct scene *s, const struct hs_ksm_counters *ksm, uint64_t *out, struct hs_error *err)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < s->nr; i++) {
		unsigned long long resident = 0;
		char path[64];
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)hs_guest_pid(s->guests[i]));
		f = fopen(path, "re");
		if (f && fscanf(f, "%*u %llu", &resident) != 1)
			resident = 0;
		if (f)
			(void)fclose(f);
		if (!resident)
			return hs_error_set(err, -ESRCH, "cannot read %s", path);
		pages += resident;
	}
	*out = (pages > ksm->pages_sharing ? pages - ksm->pages_sharing : 0) * HS_BASE_SIZE;
	return 0;
}

static int take_point(struct scene *s, const struct live_variant *v, void *state, const struct before *before,
		      struct live_point *pt, struct hs_error *err)
{
	uint64_t taken;
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_ksm_counters ksm;
	struct scene_mapped mapped;
	struct scene_speed speed;
	int rc = scene_speed(s, LIVE_TICK_MS, &speed, err);

	if (!rc)
		rc = hs_ksm_counters(&host, &ksm, err);
	if (!rc)
		rc = taken_bytes(s, &ksm, &taken, err);
	if (!rc)
		rc = scene_mapped(s, &mapped, err);
	if (rc)
		return rc;
	pt->t_s = (double)(scene_now_us() - before->start_us) / 1e6;
	pt->saved_bytes = before->taken_bytes > taken ? before->taken_bytes - taken : 0;
	pt->ksmd_cpu_s = (double)(ksm.ksmd_cpu_us - before->ksm.ksmd_cpu_us) / 1e6;
	pt->service_cpu_s = v->cpu_s ? v->cpu_s(state) : 0;
	pt->accesses_per_s = speed.accesses_per_s;
	pt->p99_ns = speed.p99_ns;
	pt->hot_huge = mapped.huge[HS_GUEST_HOT];
	return 0;
}

/*
 * KSM's counters go on counting the pages of guests that have ended until ksmd comes by. Between two variants it is let
 * by, so that each begins at zero.
 */
static int drain_ksm(struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_ksm_counters c;
	int rc = hs_ksm_counters(&host, &c, err);

	if (rc || !(c.pages_sharing + c.pages_shared + c.zero_pages))
		return rc;
	rc = live_ksm_knob("run", "1", err);
	for (int i = 0; !rc && i < 300 && c.pages_sharing + c.pages_shared; i++) {
		(void)nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
		rc = hs_ksm_counters(&host, &c, err);
	}
	if (live_ksm_knob("run", "0", rc ? NULL : err) && !rc)
		rc = -EIO;
	if (!rc && c.pages_sharing)
		rc = hs_error_set(err, -EBUSY,
				  "%llu pages are shared by somebody else: the figures would not be ours alone",
				  (unsigned long long)c.pages_sharing);
	return rc;
}

static int run_variant(const struct options *o, const struct live_variant *v, struct live_result *r,
		       struct hs_error *err)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	const struct hs_host host = HS_HOST_DEFAULT;
	const size_t max = o->seconds * 1000 / LIVE_TICK_MS + 2;
	struct before before;
	struct scene s = { .nr = 0 };
	void *state = NULL;
	bool begun = false;
	int rc;

	r->name = v->name;
	r->what = v->what;
	cfg.params.nr_huge = o->mib / 2;
	r->points = calloc(max, sizeof(*r->points));
	if (!r->points)
		return hs_error_set(err, -ENOMEM, "out of memory");
	rc = drain_ksm(err);
	if (!rc)
		rc = scene_start(&s, cfg, o->guests, err);
	if (!rc)
		rc = scene_speeds(&s, BASELINE_TICKS, LIVE_TICK_MS, &r->before, err);
	if (!rc)
		rc = hs_ksm_counters(&host, &before.ksm, err);
	if (!rc)
		rc = taken_bytes(&s, &before.ksm, &before.taken_bytes, err);
	before.start_us = scene_now_us();
	if (!rc && v->begin) {
		begun = true;
		rc = v->begin(&s, &state, err);
	}
	while (!rc && r->nr_points < max && scene_now_us() - before.start_us < o->seconds * UINT64_C(1000000)) {
		if (v->tick)
			rc = v->tick(&s, state, err);
		if (!rc)
			rc = take_point(&s, v, state, &before, &r->points[r->nr_points], err);
		r->nr_points += !rc;
	}
	if (begun && v->end) {
		int one = v->end(&s, state, rc ? NULL : err);

		rc = rc ? rc : one;
	}
	if (!rc)
		rc = scene_shared(&s, &r->shared, err);
	if (!rc)
		rc = scene_mapped(&s, &r->mapped, err);
	if (!rc)
		rc = scene_verify(&s, &r->checked, &r->bad, err);
	scene_stop(&s);
	return rc;
}

/* ---- what is made of the series ---- */

struct phase {
	double ratio, low, high; /* throughput against before: median, lowest, highest tick */
	double p99_ratio;        /* median of the ticks' p99, against the median before */
};

/* Of points [from, to); all NaN-free: an empty phase is all zero. */
static struct phase phase_of(const struct live_result *r, size_t from, size_t to)
{
	const size_t n = to > from ? to - from : 0;
	double *rate = calloc(n + 1, sizeof(*rate)), *p99 = calloc(n + 1, sizeof(*p99));
	struct phase p = { 0 };

	if (n && rate && p99 && r->before.median.accesses_per_s > 0) {
		for (size_t i = 0; i < n; i++) {
			rate[i] = r->points[from + i].accesses_per_s / r->before.median.accesses_per_s;
			p99[i] = (double)r->points[from + i].p99_ns / (double)r->before.median.p99_ns;
		}
		p.ratio = hs_median(rate, n); /* which sorts them */
		p.low = rate[0];
		p.high = rate[n - 1];
		p.p99_ratio = hs_median(p99, n);
	}
	free(rate);
	free(p99);
	return p;
}

static uint64_t final_saved(const struct live_result *r)
{
	return r->nr_points ? r->points[r->nr_points - 1].saved_bytes : 0;
}

/* The first point with so much saved; nr_points when there is none. */
static size_t reached(const struct live_result *r, uint64_t bytes)
{
	for (size_t i = 0; i < r->nr_points; i++)
		if (r->points[i].saved_bytes >= bytes)
			return i;
	return r->nr_points;
}

struct summary {
	double saved_mib, reach_s, reach_cpu_s, cpu_s, ksmd_s, service_s;
	bool did_reach;
	struct phase merging, settled;
	double hot_kept, identical, zero;
};

static struct summary summarize(const struct live_result *r, uint64_t goal)
{
	const size_t at = reached(r, goal), own = reached(r, final_saved(r) - final_saved(r) / 100);
	const struct live_point *last = &r->points[r->nr_points - 1];
	struct summary s = { .saved_mib = (double)final_saved(r) / 1048576,
			     .ksmd_s = last->ksmd_cpu_s,
			     .service_s = last->service_cpu_s,
			     .cpu_s = last->ksmd_cpu_s + last->service_cpu_s };

	s.did_reach = goal && at < r->nr_points;
	if (s.did_reach) {
		s.reach_s = r->points[at].t_s;
		s.reach_cpu_s = r->points[at].ksmd_cpu_s + r->points[at].service_cpu_s;
	}
	/* While merging: from the first tick with a hundredth of its own final saving to the tick with 99 % of it. */
	s.merging = phase_of(r, reached(r, final_saved(r) / 100 + 1), own < r->nr_points ? own + 1 : own);
	s.settled = phase_of(r, r->nr_points - r->nr_points / 4, r->nr_points);
	if (r->mapped.total[HS_GUEST_HOT])
		s.hot_kept = (double)r->mapped.huge[HS_GUEST_HOT] / r->mapped.total[HS_GUEST_HOT];
	if (r->shared.cold_identical)
		s.identical = (double)r->shared.cold_identical_shared / (double)r->shared.cold_identical;
	if (r->shared.cold_zero)
		s.zero = (double)r->shared.cold_zero_shared / (double)r->shared.cold_zero;
	return s;
}

static void print_table(const struct live_result *r, size_t nr, uint64_t goal, const struct options *o)
{
	(void)printf("%u guests of %u MiB, %u s each; saving to reach: %.0f MiB\n\n", o->guests, o->mib, o->seconds,
		     (double)goal / 1048576);
	(void)printf("%-12s %9s %9s %9s %9s %9s %9s %18s %18s %9s %9s\n", "", "saved", "identical", "hot huge",
		     "reached", "CPU till", "CPU in", "throughput while", "throughput once", "p99 while", "p99 once");
	(void)printf("%-12s %9s %9s %9s %9s %9s %9s %18s %18s %9s %9s\n", "", "MiB", "shared", "kept", "after s",
		     "then s", "all s", "merging", "settled", "merging", "settled");
	for (size_t i = 0; i < nr; i++) {
		const struct summary s = summarize(&r[i], goal);
		char a[16] = "not", b[16] = "-";

		if (s.did_reach) {
			(void)snprintf(a, sizeof(a), "%.1f", s.reach_s);
			(void)snprintf(b, sizeof(b), "%.2f", s.reach_cpu_s);
		}
		(void)printf(
		    "%-12s %9.0f %8.1f%% %8.1f%% %9s %9s %9.2f %.3f (%.2f-%.2f) %.3f (%.2f-%.2f) %9.2f %9.2f\n",
		    r[i].name, s.saved_mib, 100 * s.identical, 100 * s.hot_kept, a, b, s.cpu_s, s.merging.ratio,
		    s.merging.low, s.merging.high, s.settled.ratio, s.settled.low, s.settled.high, s.merging.p99_ratio,
		    s.settled.p99_ratio);
		if (r[i].bad)
			(void)printf("%-12s %" PRIu64 " of %" PRIu64 " pages are not what they were\n", "", r[i].bad,
				     r[i].checked);
	}
	(void)printf(
	    "\nthroughput and p99: against the same guests before the policy began; median tick (lowest-highest)\n");
	for (size_t i = 0; i < nr; i++)
		(void)printf("%-12s %s\n", r[i].name, r[i].what);
}

static json_t *phase_json(const struct phase *p)
{
	return json_pack("{s:f,s:f,s:f,s:f}", "throughput_ratio", p->ratio, "lowest", p->low, "highest", p->high,
			 "p99_ratio", p->p99_ratio);
}

static int print_json(const struct live_result *r, size_t nr, uint64_t goal, const struct options *o)
{
	json_t *list = json_array(), *out;
	int rc;

	for (size_t i = 0; i < nr; i++) {
		const struct summary s = summarize(&r[i], goal);
		json_t *series = json_array();

		for (size_t k = 0; k < r[i].nr_points; k++) {
			const struct live_point *p = &r[i].points[k];

			json_array_append_new(
			    series,
			    json_pack("{s:f,s:I,s:f,s:f,s:f,s:I,s:I}", "t_seconds", p->t_s, "saved_bytes",
				      (json_int_t)p->saved_bytes, "ksmd_cpu_seconds", p->ksmd_cpu_s,
				      "service_cpu_seconds", p->service_cpu_s, "accesses_per_second", p->accesses_per_s,
				      "p99_ns", (json_int_t)p->p99_ns, "hot_huge_pages", (json_int_t)p->hot_huge));
		}
		json_array_append_new(
		    list, json_pack("{s:s,s:s,s:I,s:b,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:o,s:o,s:I,s:o}", "name", r[i].name,
				    "what", r[i].what, "saved_bytes", (json_int_t)final_saved(&r[i]), "reached_goal",
				    s.did_reach, "seconds_to_goal", s.reach_s, "cpu_seconds_to_goal", s.reach_cpu_s,
				    "ksmd_cpu_seconds", s.ksmd_s, "service_cpu_seconds", s.service_s, "hot_huge_kept",
				    s.hot_kept, "cold_identical_shared", s.identical, "cold_zero_shared", s.zero,
				    "merging", phase_json(&s.merging), "settled", phase_json(&s.settled),
				    "integrity_errors", (json_int_t)r[i].bad, "series", series));
	}
	out = json_pack("{s:s,s:i,s:i,s:i,s:I,s:o}", "benchmark", "live", "guests", (int)o->guests, "guest_mib",
			(int)o->mib, "seconds", (int)o->seconds, "goal_bytes", (json_int_t)goal, "variants", list);
	rc = out ? json_dumpf(out, stdout, JSON_INDENT(1)) : -1;
	json_decref(out);
	(void)putchar('\n');
	return rc || fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = option_list,
		.parser = parse,
		.doc = "Compare ways to save memory on the same guests: saving over time, throughput, latency, CPU.",
	};
	struct options o = { .seconds = 40, .guests = 3, .mib = 768 };
	struct live_result results[16];
	struct hs_error err = { "" };
	uint64_t goal = 0, bad = 0;
	size_t nr = 0;
	int rc = 0;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	(void)signal(SIGPIPE, SIG_IGN);
	memset(results, 0, sizeof(results));
	for (size_t i = 0; !rc && i < live_nr_variants; i++) {
		if (o.any_chosen && !o.chosen[i])
			continue;
		(void)fprintf(stderr, "%s ...\n", live_variants[i].what);
		rc = run_variant(&o, &live_variants[i], &results[nr], &err);
		if (rc)
			break;
		/* The saving to reach is HS-Share's own: the others are asked when they had as much. */
		if (strcmp(results[nr].name, "hs-share") == 0)
			goal = final_saved(&results[nr]) / 100 * 99;
		bad += results[nr].bad;
		nr++;
	}
	if (rc)
		(void)fprintf(stderr, "bench live: %s\n", err.text);
	else if (o.json)
		rc = print_json(results, nr, goal, &o);
	else
		print_table(results, nr, goal, &o);
	for (size_t i = 0; i < live_nr_variants; i++)
		free(results[i].points);
	return rc || bad ? 1 : 0;
}
