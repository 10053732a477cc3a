/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-lab claims: the comparison that HugeScope's paper makes of page sharing, in its shape, on simulated guests: skewed
 * ones, unskewed ones, and skewed ones with nothing to share, which cost what tracking costs and nothing else.
 */
#include "lab.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct hs_lab_policy *const compared[] = { &hs_lab_ksm,       &hs_lab_ingens,   &hs_lab_zero_scan,
							&hs_lab_hugescope, &hs_lab_hs_share, &hs_lab_oracle };
#define NR_COMPARED (sizeof(compared) / sizeof(compared[0]))

static const char *const scenarios[] = { "skewed", "unskewed", "skewed, nothing to share" };
#define NR_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static const struct argp_child children[] = {
	{ .argp = &hs_lab_common_argp }, { .argp = &hs_lab_hosts_argp }, { .argp = &hs_lab_compare_argp }, { 0 }
};
#define NR_CHILDREN 3

static error_t parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARGP_KEY_INIT:
		for (int i = 0; i < NR_CHILDREN; i++)
			state->child_inputs[i] = state->input;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option; claims takes no further words", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int make_scenario(const struct hs_lab_common *c, size_t i, struct hs_lab_scenario *out, struct hs_error *err)
{
	int rc = hs_lab_common_scenario(c, i == 1 ? "unskewed" : "skewed", out, err);

	for (uint32_t k = 0; !rc && i == 2 && k < out->nr_kinds; k++) {
		out->kinds[k].zero = out->kinds[k].same_group = 0;
		out->kinds[k].same_host = out->kinds[k].same_within = 0;
	}
	return rc;
}

static const struct hs_lab_result *result_of(const struct hs_lab_job *jobs, size_t scenario,
					     const struct hs_lab_policy *p)
{
	for (size_t i = 0; i < NR_COMPARED; i++)
		if (compared[i] == p)
			return &jobs[scenario * NR_COMPARED + i].result;
	return NULL;
}

static double saved_percent(const struct hs_lab_result *r)
{
	return 100 * (double)r->saved_bytes / (double)r->memory_bytes;
}

static void against_ingens(const struct hs_lab_job *jobs, size_t scenario, const struct hs_lab_policy *p)
{
	const struct hs_lab_result *r = result_of(jobs, scenario, p),
				   *ingens = result_of(jobs, scenario, &hs_lab_ingens);

	(void)printf("  %-19s saves %5.1f%% of the memory, artifact ingens %5.1f%%: %+.1f points", p->label,
		     saved_percent(r), saved_percent(ingens), saved_percent(r) - saved_percent(ingens));
	if (!isnan(r->slowdown) && !isnan(ingens->slowdown))
		(void)printf("; slowdown %.2f%% against %.2f%%", 100 * r->slowdown, 100 * ingens->slowdown);
	(void)printf("\n");
}

static void conclude(const struct hs_lab_job *jobs)
{
	for (size_t i = 0; i < 2; i++) {
		(void)printf("\n%s guests:\n", scenarios[i]);
		against_ingens(jobs, i, &hs_lab_ksm);
		against_ingens(jobs, i, &hs_lab_hugescope);
		against_ingens(jobs, i, &hs_lab_hs_share);
	}
	(void)printf("\ntracking alone (nothing to share):\n");
	for (size_t k = 0; k < NR_COMPARED; k++) {
		const struct hs_lab_result *r = result_of(jobs, 2, compared[k]);

		(void)printf("  %-19s %.1f%% of the accesses lose their huge mapping", compared[k]->label,
			     100 * (1 - r->hot_huge));
		if (!isnan(r->slowdown))
			(void)printf(", slowdown %.2f%%", 100 * r->slowdown);
		if (!isnan(r->cpu_seconds))
			(void)printf(", CPU %.1f%% of one core", 100 * r->cpu_seconds / r->seconds);
		(void)printf("\n");
	}
	(void)printf(
	    "\npublished, for comparison of the shape only (docs/lab.md says what differs):\n"
	    "  abstract of the paper (USENIX ATC'24): saves 41%% more memory than Ingens at comparable performance, "
	    "tracking overhead below 4%%\n"
	    "  a reading note on it: 41%% saved at a loss of 3.6%%, Ingens 1.28%% saved\n");
}

int hs_lab_cmd_claims(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.doc = "Repeat the shape of HugeScope's comparison of page sharing: KSM, Ingens' policy, zero scan, "
		       "HugeScope's and ours, on skewed and unskewed guests, and what tracking costs by itself.",
		.children = children,
	};
	struct hs_lab_report report = {
		.title = "HugeScope's comparison of page sharing, in its shape",
		.what =
		    "The policies called artifact ... follow the rules of HugeScope's artifact; they approximate the "
		    "systems that they are named after, and are not those systems.",
		.nr = NR_SCENARIOS * NR_COMPARED,
	};
	struct hs_lab_job *jobs = calloc(NR_SCENARIOS * NR_COMPARED, sizeof(*jobs));
	struct hs_error err = { "" };
	struct hs_lab_common c;
	int rc, status;

	hs_lab_common_init(&c);
	argp_parse(&argp, argc, argv, 0, NULL, &c);
	rc = jobs ? hs_lab_common_finish(&c, &err) : hs_error_set(&err, -ENOMEM, "out of memory");
	for (size_t i = 0; !rc && i < report.nr; i++) {
		jobs[i].title = scenarios[i / NR_COMPARED];
		jobs[i].policy = compared[i % NR_COMPARED];
		jobs[i].options = c.options;
		rc = make_scenario(&c, i / NR_COMPARED, &jobs[i].scenario, &err);
	}
	if (!rc)
		rc = hs_lab_jobs_run(jobs, report.nr, c.jobs, c.quiet, &err);
	report.jobs = jobs;
	report.costs = &c.costs;
	status = rc ? hs_lab_fail(&err) : hs_lab_report_all(&report, &c);
	if (!status && hs_lab_wants_table(&c))
		conclude(jobs);
	free(jobs);
	return status;
}
