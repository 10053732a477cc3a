/* SPDX-License-Identifier: Apache-2.0 */
/* hs-lab sweep: what one setting of hs-share after the other does to saving, slowdown and CPU time. */
#include "lab.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB           (1024.0 * 1024)
#define MAX_VALUES    16
#define MAX_PARAMS    32
#define MAX_SCENARIOS 8

struct choice {
	const struct hs_setting *setting;
	uint32_t values[MAX_VALUES];
	size_t nr;
};

struct sweep {
	struct hs_lab_common common;
	const char *scenarios[MAX_SCENARIOS];
	size_t nr_scenarios;
	struct choice choices[MAX_PARAMS];
	size_t nr_choices;
};

static const struct argp_option options[] = {
	{ "param", 'P', "NAME=V1,V2,...", 0,
	  "A setting of hs-share and the values to try, the others as by default. Repeat it for more. Default: all "
	  "settings, with some values of each.",
	  0 },
	{ 0 },
};

static const struct hs_setting *setting_named(struct argp_state *state, const char *name, size_t len)
{
	char names[512] = "";

	for (size_t i = 0; i < hs_nr_settings; i++) {
		const char *its = hs_settings[i].sweep.name;

		if (!its)
			continue;
		if (strlen(its) == len && strncmp(its, name, len) == 0)
			return &hs_settings[i];
		(void)strncat(names, " ", sizeof(names) - strlen(names) - 1);
		(void)strncat(names, its, sizeof(names) - strlen(names) - 1);
	}
	argp_error(state, "--param: there is no setting \"%.*s\"; there are%s", (int)len, name, names);
	return NULL;
}

static uint32_t least(const struct hs_setting *s)
{
	return s->sweep.min ? s->sweep.min : s->min;
}

static uint32_t most(const struct hs_setting *s)
{
	return s->sweep.max ? s->sweep.max : s->max;
}

/* With what hangs on it. */
static void set(const struct hs_setting *s, struct hs_pipeline_config *cfg, uint32_t v)
{
	if (s->set)
		s->set(cfg, v);
	else
		hs_setting_put(s, cfg, v);
}

static void parse_param(struct sweep *s, struct argp_state *state, const char *arg)
{
	const char *at = strchr(arg, '=');
	struct choice *c = &s->choices[s->nr_choices];

	if (!at || s->nr_choices == MAX_PARAMS)
		argp_error(state, "--param: \"%s\" is not NAME=V1,V2,... (at most %d of them)", arg, MAX_PARAMS);
	*c = (struct choice){ .setting = setting_named(state, arg, (size_t)(at - arg)) };
	while (*at) {
		unsigned long v;
		char *end;

		v = strtoul(++at, &end, 10);
		if (end == at || (*end && *end != ',') || *at == '-' || v < least(c->setting) || v > most(c->setting) ||
		    c->nr == MAX_VALUES)
			argp_error(state, "--param: \"%s\": give at most %d numbers from %u to %u", arg, MAX_VALUES,
				   least(c->setting), most(c->setting));
		c->values[c->nr++] = (uint32_t)v;
		at = end;
	}
	s->nr_choices++;
}

static void take_all(struct sweep *s)
{
	for (size_t i = 0; i < hs_nr_settings && s->nr_choices < MAX_PARAMS; i++) {
		struct choice *c = &s->choices[s->nr_choices];

		if (!hs_settings[i].sweep.name)
			continue;
		*c = (struct choice){ .setting = &hs_settings[i] };
		for (; c->nr < HS_SETTING_SWEEP_MAX && hs_settings[i].sweep.values[c->nr]; c->nr++)
			c->values[c->nr] = hs_settings[i].sweep.values[c->nr];
		s->nr_choices++;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct sweep *s = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &s->common;
		state->child_inputs[1] = &s->common;
		break;
	case 'P':
		parse_param(s, state, arg);
		break;
	case ARGP_KEY_ARG:
		if (s->nr_scenarios == MAX_SCENARIOS)
			argp_error(state, "\"%s\" is one scenario too many; at most %d", arg, MAX_SCENARIOS);
		s->scenarios[s->nr_scenarios++] = arg;
		break;
	case ARGP_KEY_END:
		if (!s->nr_scenarios)
			argp_error(state, "no scenario is named; hs-lab scenarios lists those that are built in");
		if (!s->nr_choices)
			take_all(s);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* ---- */

struct titled_job {
	char title[128];
	const struct choice *choice;
	uint32_t value;
	bool is_default;
};

static int make_jobs(const struct sweep *s, struct hs_lab_job *jobs, struct titled_job *titles, struct hs_error *err)
{
	size_t nr = 0;

	for (size_t i = 0; i < s->nr_scenarios; i++)
		for (size_t c = 0; c < s->nr_choices; c++)
			for (size_t v = 0; v < s->choices[c].nr; v++, nr++) {
				const struct hs_setting *setting = s->choices[c].setting;
				struct hs_lab_job *j = &jobs[nr];
				struct titled_job *t = &titles[nr];
				int rc = hs_lab_common_scenario(&s->common, s->scenarios[i], &j->scenario, err);

				if (rc)
					return rc;
				*t = (struct titled_job){ .choice = &s->choices[c], .value = s->choices[c].values[v] };
				(void)snprintf(t->title, sizeof(t->title), "%s %s=%u", j->scenario.name,
					       setting->sweep.name, t->value);
				j->title = t->title;
				j->policy = &hs_lab_hs_share;
				j->options = s->common.options;
				t->is_default = hs_setting_get(setting, &j->options.pipeline) == t->value;
				set(setting, &j->options.pipeline, t->value);
			}
	return 0;
}

static void print(const struct hs_lab_job *jobs, const struct titled_job *titles, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		const struct hs_lab_result *r = &jobs[i].result;
		char a[32], b[32], c[32];

		if (!i || strcmp(jobs[i].scenario.name, jobs[i - 1].scenario.name) != 0)
			(void)printf("%s%s: %.0f MiB of guests, %.0f s, seed %" PRIu64
				     "\n%-19s %7s %10s %10s %10s %10s %9s %9s "
				     "%7s %10s %9s\n",
				     i ? "\n" : "", jobs[i].scenario.name, (double)r->memory_bytes / MIB, r->seconds,
				     jobs[i].scenario.seed, "SETTING", "VALUE", "SAVED MiB", "ON AVERAGE", "HOT HUGE",
				     "SLOWDOWN", "CPU s", "95% AT s", "WRONG", "MISSED MiB", "BREAKS");
		(void)printf("%-19s %6u%s %10.1f %10.1f %9.1f%% %10s %9s %9s %7" PRIu64 " %10.1f %9" PRIu64 "\n",
			     titles[i].choice->setting->sweep.name, titles[i].value, titles[i].is_default ? "*" : " ",
			     (double)r->saved_bytes / MIB, r->saved_mean_bytes / MIB, 100 * r->hot_huge,
			     hs_lab_known(a, "%.3f%%", 100 * r->slowdown), hs_lab_known(b, "%.2f", r->cpu_seconds),
			     hs_lab_known(c, "%.1f", r->converged_s), r->wrong_splits, (double)r->missed_bytes / MIB,
			     r->counts.breaks);
	}
	(void)printf("* the default\n");
}

int hs_lab_cmd_sweep(int argc, char **argv)
{
	static const struct argp_child children[] = { { .argp = &hs_lab_common_argp },
						      { .argp = &hs_lab_hosts_argp },
						      { 0 } };
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "SCENARIO...",
		.doc = "Try values of hs-share's settings, one setting at a time, and show what each does to saving, "
		       "slowdown and CPU time. Runs in parallel.",
		.children = children,
	};
	struct hs_lab_report report = { .title = "sweep" };
	struct titled_job *titles = NULL;
	struct hs_lab_job *jobs = NULL;
	struct hs_error err = { "" };
	struct sweep s = { .nr_scenarios = 0 };
	int rc, status;

	hs_lab_common_init(&s.common);
	argp_parse(&argp, argc, argv, 0, NULL, &s);
	for (size_t i = 0; i < s.nr_choices; i++)
		report.nr += s.choices[i].nr * s.nr_scenarios;
	jobs = calloc(report.nr, sizeof(*jobs));
	titles = calloc(report.nr, sizeof(*titles));
	rc = jobs && titles ? hs_lab_common_finish(&s.common, &err) : hs_error_set(&err, -ENOMEM, "out of memory");
	if (!rc)
		rc = make_jobs(&s, jobs, titles, &err);
	if (!rc)
		rc = hs_lab_jobs_run(jobs, report.nr, s.common.jobs, s.common.quiet, &err);
	report.jobs = jobs;
	report.costs = &s.common.costs;
	if (!rc && hs_lab_wants_table(&s.common)) {
		print(jobs, titles, report.nr);
		(void)putchar('\n');
		hs_lab_print_costs(stdout, &s.common.costs);
	}
	status = rc ? hs_lab_fail(&err) : hs_lab_report_files(&report, &s.common);
	free(jobs);
	free(titles);
	return status;
}
