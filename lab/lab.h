/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-lab's commands: each parses its options, runs the lab, prints. Exit status: 0 done, 1 it failed (standard error
 * says what and the way out), 2 wrong use.
 */
#ifndef HS_LAB_LAB_H
#define HS_LAB_LAB_H

#include <argp.h>
#include <stdio.h>

#include "hs/program.h"
#include "run.h"

int hs_lab_cmd_run(int argc, char **argv);
int hs_lab_cmd_replay(int argc, char **argv);
int hs_lab_cmd_claims(int argc, char **argv);
int hs_lab_cmd_sweep(int argc, char **argv);
int hs_lab_cmd_calibrate(int argc, char **argv);
int hs_lab_cmd_scenarios(int argc, char **argv);

/* ---- jobs.c: many runs, several at a time ---- */

struct hs_lab_job {
	const char *title; /* in progress and messages */
	struct hs_lab_scenario scenario;
	const struct hs_lab_policy *policy;
	struct hs_lab_options options;
	struct hs_lab_result result; /* out */
};

/*
 * Runs all jobs, each in a process of its own, at most `parallel` at a time (0: as many as there are processors).
 * Progress goes to standard error unless quiet. The first error ends it; so does SIGINT or SIGTERM (-ECANCELED), and no
 * process is left behind. 0: every result is there.
 */
HS_MUST_USE int hs_lab_jobs_run(struct hs_lab_job *jobs, size_t nr, uint32_t parallel, bool quiet,
				struct hs_error *err);

/* ---- options.c: what several commands take ---- */

#define HS_LAB_MAX_SETS 64

struct hs_lab_common {
	const char *calibration, *json, *csv, *html, *svg; /* NULL: not asked for; json "-": standard output */
	const char *sets[HS_LAB_MAX_SETS];                 /* KEY=VALUE or KIND.KEY=VALUE */
	size_t nr_sets;
	double seconds; /* 0: as the scenario says */
	uint64_t seed;
	bool has_seed, quiet;
	uint32_t jobs;
	struct hs_lab_options options;
	struct hs_lab_costs costs;
};
/* For a struct hs_lab_common; a command takes the parts that it honours: all of them the first, those with made-up
 * hosts the second, those that set policies side by side the third. */
extern const struct argp hs_lab_common_argp, hs_lab_hosts_argp, hs_lab_compare_argp;

/* Before parsing; and after: reads the calibration, or says that there is none. */
void hs_lab_common_init(struct hs_lab_common *c);
HS_MUST_USE int hs_lab_common_finish(struct hs_lab_common *c, struct hs_error *err);

/* --policy NAME of run and replay: the named ones, or all. argp, for a struct hs_lab_choice. */
struct hs_lab_choice {
	const struct hs_lab_policy *policies[16];
	size_t nr;
};
extern const struct argp hs_lab_choice_argp;

/* A scenario by its name or its file, with --set, --seconds and --seed applied. */
HS_MUST_USE int hs_lab_common_scenario(const struct hs_lab_common *c, const char *name, struct hs_lab_scenario *out,
				       struct hs_error *err);

/* "hs-lab: ..." to standard error; the exit status. */
int hs_lab_fail(const struct hs_error *err);

/* ---- results: several scenarios, each with a row a policy ---- */

struct hs_lab_report {
	const char *title, *what;      /* what: a paragraph, plain text; may be NULL */
	const struct hs_lab_job *jobs; /* those of one scenario stand together */
	size_t nr;
	const struct hs_lab_costs *costs;
};

/* Whether the table is printed: JSON on standard output comes instead of it. */
bool hs_lab_wants_table(const struct hs_lab_common *c);
/* A number, or a dash where it is unknown. */
const char *hs_lab_known(char buf[32], const char *format, double v);

/* Prints the table, and writes what was asked for. 0 or the exit status. */
int hs_lab_report_all(const struct hs_lab_report *r, const struct hs_lab_common *c);
/* The same without the table. */
int hs_lab_report_files(const struct hs_lab_report *r, const struct hs_lab_common *c);

void hs_lab_print_table(FILE *f, const struct hs_lab_report *r);
void hs_lab_print_costs(FILE *f, const struct hs_lab_costs *c);
json_t *hs_lab_report_json(const struct hs_lab_report *r); /* NULL: out of memory */
void hs_lab_report_csv(FILE *f, const struct hs_lab_report *r);
void hs_lab_report_html(FILE *f, const struct hs_lab_report *r);

/* Text for HTML and SVG. */
void hs_lab_print_escaped(FILE *f, const char *text);

/* plot.c: SVG of the jobs [first, first + nr), which are of one scenario. */
void hs_lab_plot_time(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr);
void hs_lab_plot_trade(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr);
void hs_lab_plot_skew(FILE *f, const struct hs_lab_report *r, size_t first, size_t nr);

/* The number of jobs from `first` on that are of its scenario. */
size_t hs_lab_report_group(const struct hs_lab_report *r, size_t first);

#endif
