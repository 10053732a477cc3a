/* SPDX-License-Identifier: Apache-2.0 */
/* hs-lab run: policies side by side on one host. */
#include "lab.h"

#include <errno.h>
#include <stdlib.h>

struct run_options {
	struct hs_lab_common common;
	const char *scenario;
	struct hs_lab_choice choice;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->choice;
		state->child_inputs[1] = &o->common;
		state->child_inputs[2] = &o->common;
		state->child_inputs[3] = &o->common;
		break;
	case ARGP_KEY_ARG:
		if (o->scenario)
			argp_error(state, "\"%s\" is one word too many; run takes one scenario", arg);
		o->scenario = arg;
		break;
	case ARGP_KEY_END:
		if (!o->scenario)
			argp_error(state, "no scenario is named; hs-lab scenarios lists those that are built in");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int hs_lab_cmd_run(int argc, char **argv)
{
	static const struct argp_child children[] = { { .argp = &hs_lab_choice_argp },
						      { .argp = &hs_lab_common_argp },
						      { .argp = &hs_lab_hosts_argp },
						      { .argp = &hs_lab_compare_argp },
						      { 0 } };
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "SCENARIO",
		.doc = "Run policies on a simulated host and compare what they save and what that costs. SCENARIO is "
		       "the name of one that is built in, or a file; a file of such a name is given as ./NAME.",
		.children = children,
	};
	struct hs_error err = { "" };
	struct run_options o = { .scenario = NULL };
	struct hs_lab_report report = { .title = "run" };
	struct hs_lab_job *jobs;
	int rc, status;

	hs_lab_common_init(&o.common);
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	jobs = calloc(o.choice.nr, sizeof(*jobs));
	rc = jobs ? hs_lab_common_finish(&o.common, &err) : hs_error_set(&err, -ENOMEM, "out of memory");
	for (size_t i = 0; !rc && i < o.choice.nr; i++) {
		jobs[i].policy = o.choice.policies[i];
		jobs[i].options = o.common.options;
		rc = hs_lab_common_scenario(&o.common, o.scenario, &jobs[i].scenario, &err);
		jobs[i].title = jobs[i].scenario.name;
	}
	if (!rc)
		rc = hs_lab_jobs_run(jobs, o.choice.nr, o.common.jobs, o.common.quiet, &err);
	report.jobs = jobs;
	report.nr = o.choice.nr;
	report.costs = &o.common.costs;
	status = rc ? hs_lab_fail(&err) : hs_lab_report_all(&report, &o.common);
	free(jobs);
	return status;
}
