/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The demo: real guests with hot, half-hot and cold memory; hs-share runs on them as on any others; and what the kernel
 * says before and after is printed. It ends as it began: guests ended, nothing left shared, KSM's knobs as they were.
 */
#include <argp.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "child.h"
#include "picture.h"
#include "scene.h"
#include "steps.h"

struct options {
	bool process, json, check;
	uint32_t guests, huge_pages, windows, rate;
	const char *html, *times;
};

/* Everything that is shown. */
struct figures {
	struct hs_guest_memory memory_before, memory_after;
	struct hs_ksm_counters ksm_before,
	    ksm_after; /* of them the processor time alone: the rest is as old as ksmd's last pass */
	struct scene_mapped mapped_before, mapped_after;
	struct scene_speeds speed_before, speed_after;
	struct scene_shared shared_before, shared;
	struct scene_huge *huge_before, *huge_after; /* [guests * huge pages of each] */
	uint64_t checked, bad, hot_errors;
	double start_s, run_s, service_cpu_s, ksmd_cpu_s;
	json_t *run; /* what hs-share printed */
};

enum { OPT_PROCESS = 256, OPT_JSON, OPT_GUESTS, OPT_SIZE, OPT_CHECK, OPT_RATE, OPT_HTML, OPT_TIMES };

static const struct argp_option option_list[] = {
	{ "process", OPT_PROCESS, NULL, 0, "Guests are plain processes at native speed instead of QEMU machines.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object to standard output.", 0 },
	{ "guests", OPT_GUESTS, "N", 0, "Number of guests, 2 to 8. Default: 3.", 0 },
	{ "size", OPT_SIZE, "MIB", 0,
	  "Memory of each guest's workload, 32 to 1536 MiB. Default: 320, or 512 for processes.", 0 },
	{ "rate", OPT_RATE, "N", 0,
	  "Accesses a second that each guest makes at most; 0: as fast as it goes, which is the default for processes. "
	  "Default for QEMU: 400000, since emulated guests that take every processor leave ksmd next to nothing.",
	  0 },
	{ "html", OPT_HTML, "FILE", 0,
	  "Draw every huge page of every guest, before and after, into this file. Default: no picture; ./run demo: "
	  "build/demo.html.",
	  0 },
	{ "times", OPT_TIMES, "FILE", 0, "Keep in this file what each step took, to say it beforehand the next time.",
	  0 },
	{ "check", OPT_CHECK, NULL, 0, "Fail unless nearly all that could be shared is, and nothing hot was touched.",
	  0 },
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

	switch (key) {
	case OPT_PROCESS:
		o->process = true;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_RATE:
		o->rate = number(state, "--rate", arg, 0, 100000000);
		break;
	case OPT_HTML:
		o->html = arg;
		break;
	case OPT_TIMES:
		o->times = arg;
		break;
	case OPT_CHECK:
		o->check = true;
		break;
	case OPT_GUESTS:
		o->guests = number(state, "--guests", arg, 2, SCENE_MAX_GUESTS);
		break;
	case OPT_SIZE:
		o->huge_pages = number(state, "--size", arg, 32, 1536) / 2;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* hs-share run on all guests, until nothing more is found to share. */
static int share(const struct options *o, struct scene *s, struct figures *f, struct hs_error *err)
{
	char pids[SCENE_MAX_GUESTS][16], *argv[32];
	const uint64_t start_us = scene_now_us();
	struct child c;
	int n = 0, rc;

	argv[n++] = (char *)(uintptr_t)HS_SHARE_PROGRAM;
	argv[n++] = (char *)(uintptr_t) "run";
	for (uint32_t i = 0; i < s->nr; i++) {
		(void)snprintf(pids[i], sizeof(pids[i]), "%d", hs_guest_pid(s->guests[i]));
		argv[n++] = (char *)(uintptr_t) "--pid";
		argv[n++] = pids[i];
	}
	argv[n++] = (char *)(uintptr_t) "--keep-shared";
	argv[n++] = (char *)(uintptr_t) "--cycles";
	argv[n++] = (char *)(uintptr_t) "2";
	argv[n++] = (char *)(uintptr_t) "--rest";
	argv[n++] = (char *)(uintptr_t) "1";
	argv[n++] = (char *)(uintptr_t) "--json";
	if (o->json)
		argv[n++] = (char *)(uintptr_t) "--quiet";
	argv[n] = NULL;
	rc = child_start(&c, argv, false, err);
	if (rc)
		return rc;
	rc = child_poll(&c, 300000, err);
	if (rc == 0)
		rc = hs_error_set(err, -ETIMEDOUT, "hs-share did not end within 5 minutes");
	if (rc == 1) {
		f->run = child_json(&c, err);
		rc = f->run ? 0 : -EPROTO;
		f->service_cpu_s = c.cpu_s;
		f->run_s = (double)(scene_now_us() - start_us) / 1e6;
	}
	child_finish(&c);
	return rc;
}

static double at(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

static double throughput_ratio(const struct figures *f)
{
	return f->speed_before.median.accesses_per_s > 0
		   ? f->speed_after.median.accesses_per_s / f->speed_before.median.accesses_per_s
		   : 0;
}

static int print_json(const struct figures *f, uint32_t guests, const char *kind)
{
	const struct scene_mapped *b = &f->mapped_before, *a = &f->mapped_after;
	json_t *j = json_pack(
	    "{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:I,s:I,s:I,s:f,s:o,s:f,s:O}",
	    "guest_kind", kind, "guests", (json_int_t)guests, "saved_bytes", (json_int_t)at(f->run, "saved_bytes"),
	    "net_saved_bytes", (json_int_t)at(f->run, "net_saved_bytes"), "cold_identical_pages",
	    (json_int_t)f->shared.cold_identical, "cold_identical_pages_shared",
	    (json_int_t)f->shared.cold_identical_shared, "cold_zero_pages", (json_int_t)f->shared.cold_zero,
	    "cold_zero_pages_shared", (json_int_t)f->shared.cold_zero_shared, "shared_pages",
	    (json_int_t)at(f->run, "shared_pages"), "hot_pages_shared", (json_int_t)f->shared.hot_shared,
	    "hot_huge_pages_before", (json_int_t)b->huge[HS_GUEST_HOT], "hot_huge_pages_after",
	    (json_int_t)a->huge[HS_GUEST_HOT], "cold_huge_pages_before",
	    (json_int_t)(b->huge[HS_GUEST_COLD] + b->huge[HS_GUEST_BLOAT]), "cold_huge_pages_after",
	    (json_int_t)(a->huge[HS_GUEST_COLD] + a->huge[HS_GUEST_BLOAT]), "hot_huge_pages_existing",
	    (json_int_t)b->total[HS_GUEST_HOT], "throughput_before", f->speed_before.median.accesses_per_s,
	    "throughput_after", f->speed_after.median.accesses_per_s, "throughput_ratio", throughput_ratio(f),
	    "integrity_errors", (json_int_t)(f->bad + f->hot_errors), "integrity_checked_pages", (json_int_t)f->checked,
	    "pss_saved_bytes", (json_int_t)(f->memory_before.pss_bytes - f->memory_after.pss_bytes),
	    "service_cpu_seconds", f->service_cpu_s, "ksmd_cpu_seconds",
	    isnan(f->ksmd_cpu_s) ? json_null() : json_real(f->ksmd_cpu_s), "run_seconds", f->run_s, "run", f->run);
	int rc = j ? json_dumpf(j, stdout, JSON_INDENT(2)) : -1;

	json_decref(j);
	(void)putchar('\n');
	return rc || fflush(stdout) ? -EIO : 0;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / 1048576;
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_table(const struct figures *f)
{
	static const char *const classes[] = { "evenly hot", "hot bloat", "cold" };

	(void)printf("\n%-44s %12s %12s\n", "", "before", "after");
	(void)printf("%-44s %12.1f %12.1f\n", "guests' memory (Pss), MiB", mib(f->memory_before.pss_bytes),
		     mib(f->memory_after.pss_bytes));
	(void)printf("%-44s %12" PRIu64 " %12" PRIu64 "\n", "base pages on a shared frame", f->shared_before.mappings,
		     f->shared.mappings);
	(void)printf("%-44s %12" PRIu64 " %12" PRIu64 "\n", "base pages on the kernel's zero page",
		     f->shared_before.zero, f->shared.zero);
	for (int c = 0; c < HS_GUEST_NR_CLASSES; c++) {
		char label[64];

		(void)snprintf(label, sizeof(label), "huge pages mapped huge, of %u %s", f->mapped_before.total[c],
			       classes[c]);
		(void)printf("%-44s %12u %12u\n", label, f->mapped_before.huge[c], f->mapped_after.huge[c]);
	}
	(void)printf("%-44s %12.0f %12.0f\n", "guests' throughput, accesses a second",
		     f->speed_before.median.accesses_per_s, f->speed_after.median.accesses_per_s);
	(void)printf("%-44s %5.0f..%.0f %5.0f..%.0f\n", "  lowest and highest window", f->speed_before.low,
		     f->speed_before.high, f->speed_after.low, f->speed_after.high);
	(void)printf("%-44s %12" PRIu64 " %12" PRIu64 "\n", "p99 of a batch of accesses, ns",
		     f->speed_before.median.p99_ns, f->speed_after.median.p99_ns);
	(void)printf("\nsaved %.1f MiB, net of metadata %.1f MiB\n", at(f->run, "saved_bytes") / 1048576,
		     at(f->run, "net_saved_bytes") / 1048576);
	(void)printf("cold identical base pages: %" PRIu64 " exist, %" PRIu64 " are really shared (%.2f %%)\n",
		     f->shared.cold_identical, f->shared.cold_identical_shared,
		     percent(f->shared.cold_identical_shared, f->shared.cold_identical));
	(void)printf("cold zero base pages:      %" PRIu64 " exist, %" PRIu64 " are really shared (%.2f %%)\n",
		     f->shared.cold_zero, f->shared.cold_zero_shared,
		     percent(f->shared.cold_zero_shared, f->shared.cold_zero));
	(void)printf("hot base pages shared: %" PRIu64 "\n", f->shared.hot_shared);
	(void)printf("throughput after against before: %.3f\n", throughput_ratio(f));
	(void)printf("CPU: hs-share %.2f s, ", f->service_cpu_s);
	if (isnan(f->ksmd_cpu_s))
		(void)printf("ksmd unknown, in %.1f s\n", f->run_s);
	else
		(void)printf("ksmd %.2f s, in %.1f s\n", f->ksmd_cpu_s, f->run_s);
	(void)printf("integrity: %" PRIu64 " base pages compared by the guests, %" PRIu64 " wrong\n", f->checked,
		     f->bad + f->hot_errors);
}

/* What must hold on any machine, however slow; nothing of speed. Says what does not. */
static int check(const struct figures *f)
{
	const struct scene_mapped *b = &f->mapped_before, *a = &f->mapped_after;
	const struct {
		const char *what;
		uint64_t part, whole;
		double least_percent;
	} rules[] = {
		{ "cold identical base pages really shared", f->shared.cold_identical_shared, f->shared.cold_identical,
		  97 },
		{ "cold zero base pages really shared", f->shared.cold_zero_shared, f->shared.cold_zero, 97 },
		{ "evenly hot huge pages still huge", a->huge[HS_GUEST_HOT], b->huge[HS_GUEST_HOT], 97 },
		{ "guests' pages that are what they were", f->checked - f->bad - f->hot_errors, f->checked, 100 },
	};
	int failed = 0;

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const double got = percent(rules[i].part, rules[i].whole);

		if (got >= rules[i].least_percent)
			continue;
		failed = 1;
		(void)fprintf(stderr, "demo: check failed: %s: %.2f %%, at least %.0f %% are needed\n", rules[i].what,
			      got, rules[i].least_percent);
	}
	if (f->shared.hot_shared) {
		failed = 1;
		(void)fprintf(stderr, "demo: check failed: %" PRIu64 " hot base pages are shared\n",
			      f->shared.hot_shared);
	}
	return failed;
}

/* What the kernel says of the guests: the same before and after. */
struct seen {
	struct hs_guest_memory *memory;
	struct scene_mapped *mapped;
	struct scene_shared *shared;
	struct scene_huge *huge;
	struct hs_ksm_counters *ksm;
};

static int look(struct scene *s, uint32_t nr_huge, const struct seen *out, struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	int rc = scene_memory(s, out->memory, err);

	if (!rc)
		rc = scene_mapped(s, out->mapped, err);
	if (!rc)
		rc = hs_ksm_counters(&host, out->ksm, err);
	return rc ? rc : scene_look(s, nr_huge, out->huge, out->shared, err);
}

static int play(const struct options *o, struct scene *s, const struct hs_guest_config *cfg, struct figures *f,
		struct hs_error *err)
{
	const uint32_t nr_huge = (uint32_t)cfg->params.nr_huge;
	struct steps steps = { .quiet = o->json,
			       .process = o->process,
			       .guests = o->guests,
			       .size_mib = nr_huge * 2,
			       .speed_s = o->windows,
			       .processors = (uint32_t)get_nprocs(),
			       .file = o->times };
	int rc;

	f->huge_before = calloc((size_t)o->guests * nr_huge, sizeof(*f->huge_before));
	f->huge_after = calloc((size_t)o->guests * nr_huge, sizeof(*f->huge_after));
	if (!f->huge_before || !f->huge_after)
		return hs_error_set(err, -ENOMEM, "out of memory");
	steps_expect(&steps);
	steps_plan(&steps);
	steps_begin(&steps, STEP_START);
	rc = scene_start(s, *cfg, o->guests, err);
	if (rc)
		return rc;
	steps_end(&steps, STEP_START);
	f->start_s = steps.took_s[STEP_START];
	steps_begin(&steps, STEP_SPEED_BEFORE);
	rc = scene_speeds(s, o->windows, 1000, &f->speed_before, err);
	if (!rc)
		rc = look(s, nr_huge,
			  &(struct seen){ &f->memory_before, &f->mapped_before, &f->shared_before, f->huge_before,
					  &f->ksm_before },
			  err);
	if (rc)
		return rc;
	steps_end(&steps, STEP_SPEED_BEFORE);
	steps_begin(&steps, STEP_SHARE);
	rc = share(o, s, f, err);
	if (!rc)
		rc =
		    look(s, nr_huge,
			 &(struct seen){ &f->memory_after, &f->mapped_after, &f->shared, f->huge_after, &f->ksm_after },
			 err);
	if (rc)
		return rc;
	steps_end(&steps, STEP_SHARE);
	/* Among processes of its own (a container) ksmd is not seen, and its time is not known. */
	f->ksmd_cpu_s = f->ksm_after.ksmd_cpu_us == UINT64_MAX || f->ksm_before.ksmd_cpu_us == UINT64_MAX
			    ? NAN
			    : (double)(f->ksm_after.ksmd_cpu_us - f->ksm_before.ksmd_cpu_us) / 1e6;
	steps_begin(&steps, STEP_SPEED_AFTER);
	rc = scene_speeds(s, o->windows, 1000, &f->speed_after, err);
	if (rc)
		return rc;
	steps_end(&steps, STEP_SPEED_AFTER);
	f->hot_errors = f->speed_after.median.hot_errors;
	steps_begin(&steps, STEP_COMPARE);
	rc = scene_verify(s, &f->checked, &f->bad, err);
	if (rc)
		return rc;
	steps_end(&steps, STEP_COMPARE);
	rc = steps_keep(&steps);
	if (rc) /* what was seen is worth more than that */
		(void)fprintf(stderr, "demo: cannot write %s: %s\n", o->times, strerror(-rc));
	return 0;
}

static int draw(const struct options *o, const struct figures *f, uint32_t nr_huge, struct hs_error *err)
{
	const struct picture p = {
		.kind = o->process ? "process" : "QEMU",
		.guests = o->guests,
		.nr_huge = nr_huge,
		.before = f->huge_before,
		.after = f->huge_after,
		.saved_bytes = at(f->run, "saved_bytes"),
		.net_saved_bytes = at(f->run, "net_saved_bytes"),
		.pss_before_bytes = (double)f->memory_before.pss_bytes,
		.pss_after_bytes = (double)f->memory_after.pss_bytes,
		.speed_before = f->speed_before,
		.speed_after = f->speed_after,
		.service_cpu_s = f->service_cpu_s,
		.ksmd_cpu_s = f->ksmd_cpu_s,
		.run_s = f->run_s,
		.checked = f->checked,
		.bad = f->bad + f->hot_errors,
	};
	int rc = picture_write(o->html, &p, err);

	if (!rc)
		(void)fprintf(o->json ? stderr : stdout, "\nthe picture of it, huge page by huge page: %s\n", o->html);
	return rc;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = option_list,
		.parser = parse,
		.doc = "Share the cold memory of real guests and show, by the kernel's figures, what was saved.",
	};
	struct options o = { .guests = 3, .windows = 5, .rate = UINT32_MAX };
	struct hs_guest_config cfg;
	struct hs_error err = { "" };
	struct figures f = { .run = NULL };
	struct scene s = { .nr = 0 };
	int rc;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (o.check) /* which judges no speed */
		o.windows = 1;
	(void)signal(SIGPIPE, SIG_IGN);
	cfg = hs_guest_config_default(o.process ? HS_GUEST_PROCESS : HS_GUEST_QEMU);
	cfg.params.nr_huge = o.huge_pages ? o.huge_pages : o.process ? 256 : 160;
	cfg.params.rate = o.rate != UINT32_MAX ? o.rate : o.process ? 0 : 400000;
	rc = o.process ? 0 : hs_guest_qemu_available(&cfg, &err);
	if (!rc)
		rc = play(&o, &s, &cfg, &f, &err);
	if (!rc && o.json)
		rc = print_json(&f, o.guests, o.process ? "process" : "qemu");
	else if (!rc)
		print_table(&f);
	if (!rc && o.html)
		rc = draw(&o, &f, (uint32_t)cfg.params.nr_huge, &err);
	scene_stop(&s);
	json_decref(f.run);
	free(f.huge_before);
	free(f.huge_after);
	if (rc) {
		(void)fprintf(stderr, "demo: %s\n", err.text);
		return 1;
	}
	if (f.bad + f.hot_errors) {
		(void)fprintf(stderr, "demo: memory of a guest is not what it was\n");
		return 1;
	}
	return o.check ? check(&f) : 0;
}
