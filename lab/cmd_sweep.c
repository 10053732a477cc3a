/* hs-lab sweep: what one setting of hs-share after the other does to saving, slowdown and CPU time. */
#include "lab.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIB           (1024.0 * 1024)
#define MAX_VALUES    16
#define MAX_PARAMS    24
#define MAX_SCENARIOS 8

/* A setting: how it is set, with what hangs on it, and which values are tried when none are named. */
struct param {
	const char *name;
	void (*set)(struct hs_lab_options *o, uint32_t v);
	uint32_t (*get)(const struct hs_lab_options *o);
	uint32_t min, max;
	uint32_t values[MAX_VALUES]; /* 0 ends the list, but as the first one */
};

#define PLAIN(name, field)                                                                                             \
	static void set_##name(struct hs_lab_options *o, uint32_t v)                                                   \
	{                                                                                                              \
		o->pipeline.field = v;                                                                                 \
	}                                                                                                              \
	static uint32_t get_##name(const struct hs_lab_options *o)                                                     \
	{                                                                                                              \
		return o->pipeline.field;                                                                              \
	}
PLAIN(interval_ms, coarse.interval_ms)
PLAIN(hot_rounds, coarse.hot_rounds)
PLAIN(hot_count, policy.hot_count)
PLAIN(min_gain_cold, policy.min_gain_cold)
PLAIN(min_gain_hot, policy.min_gain_hot)
PLAIN(min_cold_rounds, policy.min_cold_rounds)
PLAIN(unshare_hot_pages, policy.unshare_hot_pages)
PLAIN(ban_breaks, policy.ban_breaks)
PLAIN(ban_cycles, policy.ban_cycles)
PLAIN(unshare_hot_rounds, policy.unshare_hot_rounds)
PLAIN(fine_samples, fine.samples)
PLAIN(max_split, fine.max_split)
PLAIN(look_again, look_again)
PLAIN(hash_cold_rounds, hash_cold_rounds)

static void set_rounds(struct hs_lab_options *o, uint32_t v)
{
	hs_pipeline_config_set_rounds(&o->pipeline, v);
}

static uint32_t get_rounds(const struct hs_lab_options *o)
{
	return o->pipeline.coarse.rounds;
}

static void set_max_hot(struct hs_lab_options *o, uint32_t v)
{
	hs_pipeline_config_set_max_hot(&o->pipeline, v);
}

static uint32_t get_max_hot(const struct hs_lab_options *o)
{
	return o->pipeline.policy.max_hot;
}

/* The window has to be long enough for its samples. */
static void set_fine_interval_ms(struct hs_lab_options *o, uint32_t v)
{
	o->pipeline.fine.interval_ms = v;
	if (o->pipeline.fine.max_window_ms < o->pipeline.fine.samples * v * 3)
		o->pipeline.fine.max_window_ms = o->pipeline.fine.samples * v * 3;
}

static uint32_t get_fine_interval_ms(const struct hs_lab_options *o)
{
	return o->pipeline.fine.interval_ms;
}

#define PARAM(name, min, max, ...)                                                                                     \
	{                                                                                                              \
#name, set_##name, get_##name, min, max,                                                               \
		{                                                                                                      \
			__VA_ARGS__                                                                                    \
		}                                                                                                      \
	}
static const struct param params[] = {
	PARAM(rounds, 1, 64, 2, 5, 10, 20, 40),           PARAM(interval_ms, 10, 600000, 150, 300, 600, 1200, 2400),
	PARAM(hot_rounds, 1, 10, 2, 4, 6, 8, 10),         PARAM(min_cold_rounds, 1, 65535, 3, 5, 10, 20),
	PARAM(max_hot, 0, 511, 25, 50, 100, 200, 400),    PARAM(hot_count, 1, 255, 1, 2, 3),
	PARAM(min_gain_hot, 1, 512, 1, 16, 64, 128, 256), PARAM(min_gain_cold, 1, 512, 1, 2, 8, 32),
	PARAM(fine_samples, 1, 10, 1, 2, 5, 10),          PARAM(fine_interval_ms, 10, 60000, 50, 100, 200, 400),
	PARAM(max_split, 1, 1000000, 64, 512, 4096),      PARAM(unshare_hot_pages, 1, 512, 110, 160, 256, 400),
	PARAM(unshare_hot_rounds, 1, 64, 2, 4, 6, 8),     PARAM(ban_breaks, 0, 512, 16, 64, 256, 512),
	PARAM(ban_cycles, 1, 1000, 1, 2, 4, 8, 16),       PARAM(look_again, 1, 1000, 2, 8, 32),
	PARAM(hash_cold_rounds, 1, 64, 1, 2, 5, 10),
};
#define NR_PARAMS (sizeof(params) / sizeof(params[0]))

struct choice {
	const struct param *param;
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

static const struct param *param_named(struct argp_state *state, const char *name, size_t len)
{
	char names[512] = "";

	for (size_t i = 0; i < NR_PARAMS; i++) {
		if (strlen(params[i].name) == len && strncmp(params[i].name, name, len) == 0)
			return &params[i];
		(void)strncat(names, " ", sizeof(names) - strlen(names) - 1);
		(void)strncat(names, params[i].name, sizeof(names) - strlen(names) - 1);
	}
	argp_error(state, "--param: there is no setting \"%.*s\"; there are%s", (int)len, name, names);
	return NULL;
}

static void parse_param(struct sweep *s, struct argp_state *state, const char *arg)
{
	const char *at = strchr(arg, '=');
	struct choice *c = &s->choices[s->nr_choices];

	if (!at || s->nr_choices == MAX_PARAMS)
		argp_error(state, "--param: \"%s\" is not NAME=V1,V2,... (at most %d of them)", arg, MAX_PARAMS);
	*c = (struct choice){ .param = param_named(state, arg, (size_t)(at - arg)) };
	while (*at) {
		unsigned long v;
		char *end;

		v = strtoul(++at, &end, 10);
		if (end == at || (*end && *end != ',') || *at == '-' || v < c->param->min || v > c->param->max ||
		    c->nr == MAX_VALUES)
			argp_error(state, "--param: \"%s\": give at most %d numbers from %u to %u", arg, MAX_VALUES,
				   c->param->min, c->param->max);
		c->values[c->nr++] = (uint32_t)v;
		at = end;
	}
	s->nr_choices++;
}

static void take_all(struct sweep *s)
{
	for (size_t i = 0; i < NR_PARAMS && s->nr_choices < MAX_PARAMS; i++) {
		struct choice *c = &s->choices[s->nr_choices++];

		*c = (struct choice){ .param = &params[i] };
		while (c->nr < MAX_VALUES && params[i].values[c->nr]) {
			c->values[c->nr] = params[i].values[c->nr];
			c->nr++;
		}
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
				const struct param *p = s->choices[c].param;
				struct hs_lab_job *j = &jobs[nr];
				struct titled_job *t = &titles[nr];
				int rc = hs_lab_common_scenario(&s->common, s->scenarios[i], &j->scenario, err);

				if (rc)
					return rc;
				*t = (struct titled_job){ .choice = &s->choices[c], .value = s->choices[c].values[v] };
				(void)snprintf(t->title, sizeof(t->title), "%s %s=%u", j->scenario.name, p->name,
					       t->value);
				j->title = t->title;
				j->policy = &hs_lab_hs_share;
				j->options = s->common.options;
				t->is_default = p->get(&j->options) == t->value;
				p->set(&j->options, t->value);
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
			     titles[i].choice->param->name, titles[i].value, titles[i].is_default ? "*" : " ",
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
