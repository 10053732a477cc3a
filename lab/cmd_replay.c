/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-lab replay: a recorded trace, twice. First exactly: the pipeline gets the recorded answers to the recorded calls,
 * and has to decide as it did. Then as guests of the lab, with every policy.
 */
#include "lab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "trace/pipeline_trace.h"
#include "trace_host.h"

struct replay_options {
	struct hs_lab_common common;
	struct hs_lab_choice choice;
	const char *trace;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct replay_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->choice;
		state->child_inputs[1] = &o->common;
		state->child_inputs[2] = &o->common;
		break;
	case ARGP_KEY_ARG:
		if (o->trace)
			argp_error(state, "\"%s\" is one word too many; replay takes one trace", arg);
		o->trace = arg;
		break;
	case ARGP_KEY_END:
		if (!o->trace)
			argp_error(state, "no trace is named; hs-share record writes one");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* The recorded run again, decision by decision. */
static int replay_exactly(const char *path, struct hs_replay_stats *out, struct hs_error *err)
{
	struct hs_pipeline *p = NULL;
	struct hs_replay *r = NULL;
	struct hs_trace_reader *reader;
	int rc = hs_trace_reader_open(&reader, path, err);

	if (!rc)
		rc = hs_replay_create(&r, reader, err);
	if (!rc)
		rc = hs_replay_pipeline(&p, r, err);
	if (!rc)
		hs_replay_stats(r, out);
	hs_pipeline_destroy(p);
	hs_replay_destroy(r);
	return rc;
}

static void print_exact(const struct hs_replay_stats *exact)
{
	(void)printf("the recorded run again: %" PRIu64 " decisions, %" PRIu64 " of them other than recorded\n",
		     exact->nr_decisions, exact->nr_differ);
}

/* A trace of a run that merged: other policies cannot be tried on it, but its own decisions can. */
static int replay_merging(const struct replay_options *o, const struct hs_error *why)
{
	const struct hs_lab_common *c = &o->common;
	struct hs_replay_stats exact = { 0 };
	struct hs_error err = { "" };

	if (c->json || c->csv || c->html || c->svg) {
		(void)hs_error_set(&err, -ENOTSUP,
				   "there are no results to write: %.380s; or replay it without --%s, which reports on "
				   "the recorded run alone",
				   why->text,
				   c->json   ? "json"
				   : c->csv  ? "csv"
				   : c->html ? "html"
					     : "svg");
		return hs_lab_fail(&err);
	}
	if (replay_exactly(o->trace, &exact, &err))
		return hs_lab_fail(&err);
	(void)fprintf(stderr, "hs-lab: no policy is tried: %s\n", why->text);
	print_exact(&exact);
	return 0;
}

static void make_jobs(const struct replay_options *o, const struct hs_lab_trace *t, struct hs_lab_job *jobs)
{
	for (size_t i = 0; i < o->choice.nr; i++) {
		hs_lab_trace_scenario(t, o->trace, &jobs[i].scenario);
		if (o->common.seconds > 0 && o->common.seconds < jobs[i].scenario.seconds)
			jobs[i].scenario.seconds = o->common.seconds;
		jobs[i].title = jobs[i].scenario.name;
		jobs[i].policy = o->choice.policies[i];
		jobs[i].options = o->common.options;
		jobs[i].options.pipeline.scope = t->scope;
	}
}

int hs_lab_cmd_replay(int argc, char **argv)
{
	static const struct argp_child children[] = { { .argp = &hs_lab_choice_argp },
						      { .argp = &hs_lab_common_argp },
						      { .argp = &hs_lab_compare_argp },
						      { 0 } };
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "TRACE",
		.doc =
		    "Replay a recorded trace: the recorded run again, decision by decision, and then its guests under "
		    "every policy. A trace has no rates of accesses, so there is no slowdown. Of a trace that was "
		    "recorded "
		    "with --merge only the recorded run is replayed.",
		.children = children,
	};
	struct replay_options o = { .trace = NULL };
	struct hs_lab_report report = { .title = "replay" };
	struct hs_replay_stats exact = { 0 };
	struct hs_lab_trace *trace = NULL;
	struct hs_lab_job *jobs = NULL;
	struct hs_error err = { "" };
	int rc, status;

	hs_lab_common_init(&o.common);
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	rc = hs_lab_common_finish(&o.common, &err);
	if (!rc)
		rc = hs_lab_trace_read(&trace, o.trace, &err);
	if (rc == -ENOTSUP)
		return replay_merging(&o, &err);
	if (rc)
		return hs_lab_fail(&err);
	if (trace->cut_off)
		(void)fprintf(stderr, "hs-lab: the recording was cut off; what came before is replayed\n");
	else
		rc = replay_exactly(o.trace, &exact, &err);
	jobs = calloc(o.choice.nr, sizeof(*jobs));
	if (!rc && !jobs)
		rc = hs_error_set(&err, -ENOMEM, "out of memory");
	if (!rc) {
		make_jobs(&o, trace, jobs);
		rc = hs_lab_jobs_run(jobs, o.choice.nr, o.common.jobs, o.common.quiet, &err);
	}
	report.jobs = jobs;
	report.nr = o.choice.nr;
	report.costs = &o.common.costs;
	status = rc ? hs_lab_fail(&err) : hs_lab_report_all(&report, &o.common);
	if (!status && !trace->cut_off && hs_lab_wants_table(&o.common))
		print_exact(&exact);
	free(jobs);
	hs_lab_trace_destroy(trace);
	return status;
}
