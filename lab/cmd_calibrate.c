/* SPDX-License-Identifier: Apache-2.0 */
/* hs-lab calibrate: what things cost on this machine. */
#include "lab.h"

#include <math.h>
#include <string.h>

#include "base/wallclock.h"

struct calibrate_options {
	const char *output;
	bool json;
};

enum { OPT_OUTPUT = 'o', OPT_JSON = 256 };

static const struct argp_option options[] = {
	{ "output", OPT_OUTPUT, "FILE", 0,
	  "Where to write it; - writes no file. Default: " HS_LAB_COSTS_OF_MACHINE " as root, which the other commands "
	  "read whoever runs them; as another user hs-lab/calibration.json in the cache folder, which they read where "
	  "there is no such file.",
	  0 },
	{ "json", OPT_JSON, NULL, 0, "Print JSON instead of a table.", 0 },
	{ "quiet", 'q', NULL, 0, "No progress on standard error.", 0 },
	{ 0 },
};

static bool be_quiet;

static void progress(const char *what)
{
	if (!be_quiet)
		(void)fprintf(stderr, "measuring %s\n", what);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct calibrate_options *o = state->input;

	switch (key) {
	case OPT_OUTPUT:
		o->output = arg;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case 'q':
		be_quiet = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option; calibrate takes no further words", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int print_json(const struct hs_lab_costs *c)
{
	json_t *j = hs_lab_costs_json(c);
	int rc = j ? json_dumpf(j, stdout, JSON_INDENT(2)) : -1;

	json_decref(j);
	return rc || putchar('\n') == EOF ? HS_EXIT_FAILED : 0;
}

int hs_lab_cmd_calibrate(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Measure what things cost on this machine: accesses through huge and base mappings, faults, "
		       "splits, digests, ksmd. Takes some twenty seconds and 2 GiB of memory for a moment. Needs root "
		       "for page tables and ksmd; without it those constants stay unknown. KSM is used for a moment "
		       "and given back as it was.",
	};
	struct calibrate_options o = { .output = NULL };
	struct hs_error err = { "" };
	struct hs_lab_costs costs;
	char path[4096];
	int status = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	hs_wallclock_catch_signals(); /* KSM is given back first */
	if (hs_lab_calibrate(&costs, &hs_wallclock, progress, &err))
		return hs_lab_fail(&err);
	if (o.json) {
		status = print_json(&costs);
	} else {
		(void)printf("%s\n\n", costs.machine);
		for (int i = 0; i < HS_LAB_NR_COSTS; i++)
			if (isnan(costs.ns[i]))
				(void)printf("%12s    %s (%s)\n", "-", hs_lab_cost_what((enum hs_lab_cost)i),
					     costs.reason[i]);
			else
				(void)printf("%12.1f ns %s\n", costs.ns[i], hs_lab_cost_what((enum hs_lab_cost)i));
	}
	hs_lab_costs_path_to_write(path, sizeof(path));
	if (o.output && strcmp(o.output, "-") == 0)
		return status;
	if (hs_lab_costs_write(&costs, o.output ? o.output : path, &err))
		return hs_lab_fail(&err);
	(void)fprintf(stderr, "written to %s\n", o.output ? o.output : path);
	return status;
}
