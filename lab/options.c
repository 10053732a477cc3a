/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that run policies have in common. */
#include "lab.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_SET = 256,
	OPT_SECONDS,
	OPT_SEED,
	OPT_JOBS,
	OPT_CALIBRATION,
	OPT_JSON,
	OPT_CSV,
	OPT_HTML,
	OPT_SVG,
	OPT_RATE,
	OPT_QUIRKS,
	OPT_GAIN_ALL,
};

/* Those of one group stand under the one heading, whichever part they come from. */
static const struct argp_option common_options[] = {
	{ NULL, 0, NULL, 0, "Results:", 10 },
	{ "json", OPT_JSON, "FILE", 0, "Write all results as JSON; - is standard output, instead of the table.", 10 },
	{ "csv", OPT_CSV, "FILE", 0, "Write a row for each run.", 10 },
	{ "calibration", OPT_CALIBRATION, "FILE", 0,
	  "What things cost, as hs-lab calibrate wrote it. Default: " HS_LAB_COSTS_OF_MACHINE
	  ", or where there is none "
	  "hs-lab/calibration.json in your cache folder.",
	  10 },
	{ NULL, 0, NULL, 0, "Hosts:", 11 },
	{ "seconds", OPT_SECONDS, "N", 0, "Simulated time. Default: as the scenario or the trace says.", 11 },
	{ NULL, 0, NULL, 0, "Work:", 13 },
	{ "jobs", OPT_JOBS, "N", 0, "Runs at a time. Default: as many as there are processors.", 13 },
	{ "quiet", 'q', NULL, 0, "No progress on standard error.", 13 },
	{ 0 },
};

static const struct argp_option hosts_options[] = {
	{ "set", OPT_SET, "KEY=VALUE", 0,
	  "Change a key of all guests of the scenario, or of one section: NAME.KEY=VALUE. Repeat it for more.", 11 },
	{ "seed", OPT_SEED, "N", 0, "Another host of the same kind. Default: as the scenario says.", 11 },
	{ 0 },
};

static const struct argp_option compare_options[] = {
	{ "html", OPT_HTML, "FILE", 0, "Write a report with plots, in one file that needs no network.", 10 },
	{ "svg", OPT_SVG, "FOLDER", 0, "Write the plots as SVG files.", 10 },
	{ NULL, 0, NULL, 0, "Policies:", 12 },
	{ "scan-rate", OPT_RATE, "PAGES", 0,
	  "Base pages a second that the rivals' scanner goes over; 0: all of them each second. Default: 125000, the "
	  "most that ksmtuned allows.",
	  12 },
	{ "quirks", OPT_QUIRKS, NULL, 0, "hugescope with what the artifact does by mistake.", 12 },
	{ "gain-all", OPT_GAIN_ALL, NULL, 0, "The oracle takes every saving, whatever it costs the guests.", 12 },
	{ 0 },
};

static double number(struct argp_state *state, const char *option, const char *arg, double min, double max)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !isfinite(v) || v < min || v > max)
		argp_error(state, "%s: \"%s\" is not a number from %g to %g", option, arg, min, max);
	return v;
}

static uint64_t whole(struct argp_state *state, const char *option, const char *arg, uint64_t max)
{
	unsigned long long v = 0;
	char *end = NULL;

	errno = 0;
	if (arg[0] >= '0' && arg[0] <= '9')
		v = strtoull(arg, &end, 10);
	if (!end || *end || errno || v > max)
		argp_error(state, "%s: \"%s\" is not a whole number up to %llu", option, arg, (unsigned long long)max);
	return v;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct hs_lab_common *c = state->input;

	switch (key) {
	case 'q':
		c->quiet = true;
		break;
	case OPT_SET:
		if (!strchr(arg, '=') || c->nr_sets == HS_LAB_MAX_SETS)
			argp_error(state, "--set: \"%s\" is not KEY=VALUE (at most %d of them)", arg, HS_LAB_MAX_SETS);
		c->sets[c->nr_sets++] = arg;
		break;
	case OPT_SECONDS:
		c->seconds = number(state, "--seconds", arg, 0.1, 1e7);
		break;
	case OPT_SEED:
		c->seed = whole(state, "--seed", arg, HS_LAB_MAX_SEED);
		c->has_seed = true;
		break;
	case OPT_JOBS:
		c->jobs = (uint32_t)whole(state, "--jobs", arg, 1024);
		break;
	case OPT_RATE:
		c->options.scan_rate = number(state, "--scan-rate", arg, 0, 1e12);
		break;
	case OPT_QUIRKS:
		c->options.quirks = true;
		break;
	case OPT_GAIN_ALL:
		c->options.gain_all = true;
		break;
	case OPT_CALIBRATION:
		c->calibration = arg;
		break;
	case OPT_JSON:
		c->json = arg;
		break;
	case OPT_CSV:
		c->csv = arg;
		break;
	case OPT_HTML:
		c->html = arg;
		break;
	case OPT_SVG:
		c->svg = arg;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp hs_lab_common_argp = { .options = common_options, .parser = parse };
const struct argp hs_lab_hosts_argp = { .options = hosts_options, .parser = parse };
const struct argp hs_lab_compare_argp = { .options = compare_options, .parser = parse };

/* ---- which policies ---- */

static const struct argp_option choice_options[] = {
	{ "policy", 'p', "NAME", 0,
	  "A policy: none, ksm, ksm_huge, ingens, zero_scan, hugescope, hs-share, oracle. Repeat it for more. Default: "
	  "all.",
	  0 },
	{ 0 },
};

static error_t parse_choice(int key, char *arg, struct argp_state *state)
{
	struct hs_lab_choice *c = state->input;
	const struct hs_lab_policy *p;

	switch (key) {
	case 'p':
		p = hs_lab_policy_named(arg);
		if (!p)
			argp_error(state,
				   "--policy: there is no \"%s\"; there are none, ksm, ksm_huge, ingens, zero_scan, "
				   "hugescope, hs-share and oracle",
				   arg);
		for (size_t i = 0; i < c->nr; i++)
			if (c->policies[i] == p)
				argp_error(state, "--policy: %s is named twice", p->name);
		c->policies[c->nr++] = p;
		break;
	case ARGP_KEY_END:
		if (c->nr)
			break;
		while (hs_lab_policies[c->nr]) {
			c->policies[c->nr] = hs_lab_policies[c->nr];
			c->nr++;
		}
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp hs_lab_choice_argp = { .options = choice_options, .parser = parse_choice };

void hs_lab_common_init(struct hs_lab_common *c)
{
	*c = (struct hs_lab_common){ .quiet = false };
	hs_lab_costs_none(&c->costs);
	c->options = hs_lab_options_default(NULL);
}

int hs_lab_common_finish(struct hs_lab_common *c, struct hs_error *err)
{
	char path[4096];
	int rc;

	hs_lab_costs_path_to_read(path, sizeof(path));
	c->options.costs = &c->costs;
	rc = hs_lab_costs_read(&c->costs, c->calibration ? c->calibration : path, err);
	if (rc != -ENOENT || c->calibration)
		return rc;
	if (!c->quiet)
		(void)fprintf(stderr,
			      "hs-lab: this machine is not calibrated, so slowdown and CPU time are left out, and work "
			      "takes no simulated time; sudo hs-lab calibrate measures what they need\n");
	return 0;
}

/* KEY=VALUE for all kinds, or KIND.KEY=VALUE. */
static int set(struct hs_lab_scenario *s, const char *text, struct hs_error *err)
{
	char key[128], *dot;
	const char *value = strchr(text, '=') + 1, *name = NULL;
	bool any = false;
	int rc = 0;

	if (value - text > (int)sizeof(key))
		return hs_error_set(err, -EINVAL, "--set %s: there is no such key", text);
	(void)snprintf(key, sizeof(key), "%.*s", (int)(value - text - 1), text);
	dot = strrchr(key, '.');
	if (dot) {
		*dot = '\0';
		name = key;
	}
	for (uint32_t i = 0; !rc && i < s->nr_kinds; i++) {
		if (name && strcmp(s->kinds[i].name, name) != 0)
			continue;
		any = true;
		rc = hs_lab_scenario_set(s, &s->kinds[i], dot ? dot + 1 : key, value, err);
	}
	if (!any)
		return hs_error_set(err, -ENOENT, "--set %s: the scenario %s has no [guests %s]", text, s->name, name);
	return rc;
}

int hs_lab_common_scenario(const struct hs_lab_common *c, const char *name, struct hs_lab_scenario *out,
			   struct hs_error *err)
{
	const bool path = strpbrk(name, "/.") != NULL;
	int rc = path ? -ENOENT : hs_lab_scenario_built_in(out, name, err);

	/* What lies in the working folder does not stand before what is built in. */
	if (rc == -ENOENT && (path || access(name, F_OK) == 0))
		rc = hs_lab_scenario_read(out, name, err);
	for (size_t i = 0; !rc && i < c->nr_sets; i++)
		rc = set(out, c->sets[i], err);
	if (c->seconds > 0)
		out->seconds = c->seconds;
	if (c->has_seed)
		out->seed = c->seed;
	return rc ? rc : hs_lab_scenario_check(out, err);
}

int hs_lab_fail(const struct hs_error *err)
{
	(void)fprintf(stderr, "hs-lab: %s\n", err->text);
	return HS_EXIT_FAILED;
}
