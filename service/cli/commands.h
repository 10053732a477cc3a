/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hs-share's commands: each parses its options, drives the pipeline, prints. Every one returns the exit status:
 * 0 done, 1 it failed (standard error says what and the way out), 2 wrong use, 3 the daemon cannot be reached,
 * 4 accepted and not done yet.
 */
#ifndef HS_SERVICE_CLI_COMMANDS_H
#define HS_SERVICE_CLI_COMMANDS_H

#include <argp.h>
#include <jansson.h>

#include "hs/program.h"
#include "service/common/json.h"
#include "hs/pipeline.h"

int hs_cmd_run(int argc, char **argv);
int hs_cmd_inspect(int argc, char **argv);
int hs_cmd_record(int argc, char **argv);
int hs_cmd_unshare(int argc, char **argv);
int hs_cmd_metrics(int argc, char **argv);
int hs_cmd_fleet(int argc, char **argv);
int hs_cmd_ctl(int argc, char **argv); /* all that talk to the daemon; argv[0] ends with the command's name */

/* ---- parse.c: option values, with errors that name the option ---- */

struct hs_pid_list {
	pid_t *pids;
	size_t nr;
};
void hs_parse_pid(struct argp_state *state, const char *option, const char *arg, struct hs_pid_list *list);
uint32_t hs_parse_u32(struct argp_state *state, const char *option, const char *arg, uint32_t min, uint32_t max);

/* Bytes with an optional suffix K, M or G (powers of 1024). */
uint64_t hs_parse_bytes(struct argp_state *state, const char *option, const char *arg);

/* ---- scan_options.c: what the commands that look at processes by themselves have in common ---- */

/* Option --pid, as a child of a command's own; input: a struct hs_pid_list. A word that is no option is an error, and
 * so is none at all. */
const struct argp *hs_pid_options_argp(void);

struct hs_scan_options {
	struct hs_pid_list pids; /* free(pids.pids) */
	struct hs_pipeline_config cfg;
	uint32_t duration_s, cycles, rest_s; /* of commands that run cycle after cycle; 0: no end, no rest */
	bool quiet;
};

/* Keys of what those commands have in common; what each says of it in its help is its own. */
enum { HS_ARGP_DURATION = 400, HS_ARGP_CYCLES, HS_ARGP_REST, HS_ARGP_ALLOW_FOREIGN };
/* False: it is none of these. */
bool hs_parse_loop_option(int key, const char *arg, struct argp_state *state, struct hs_scan_options *o);

/* Options --pid and --quiet, and those of the pipeline's settings, as a child of a command's own; input: a struct
 * hs_scan_options. A word that is no option is an error. `of`: the settings that this command takes. */
const struct argp *hs_scan_options_argp(enum hs_setting_commands of);
#define HS_SCAN_OPTIONS_GROUP 3 /* of the help: for a command's own options that belong there */

/* ---- print.c ---- */

/* Members of an answer. What is not there, or of another type, is "" and 0. */
const char *hs_json_text(const json_t *o, const char *key);
int64_t hs_json_int(const json_t *o, const char *key);
double hs_json_double(const json_t *o, const char *key); /* of an integer as well */

/* Prints the object to standard output, followed by a newline, and drops it. 0 or an exit status. */
int hs_json_print(json_t *object);

struct hs_table_choice;
/* What came of each guest, as a table. 0 or an exit status. */
int hs_print_table(const struct hs_guest_report *r, size_t nr, const struct hs_table_choice *choice);
void hs_print_totals(FILE *f, const struct hs_pipeline_totals *t);
void hs_print_guest(FILE *f, const struct hs_guest_report *r, bool fine);

/* Progress on standard error: one line that is written over on a terminal, a line a stage elsewhere. */
struct hs_progress {
	bool quiet, tty;
	int last_stage;
};
void hs_progress_init(struct hs_progress *pr, bool quiet);
void hs_progress_step(void *ctx, enum hs_stage stage, uint64_t done, uint64_t total);
void hs_progress_end(struct hs_progress *pr);

/* "hs-share: ..." to standard error. Names of others' are in such texts: nothing of it acts on a terminal. */
void hs_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "1.25 GiB" */
const char *hs_human_bytes(char buf[32], int64_t bytes);

/* User and system time of this process, seconds. */
double hs_own_cpu_seconds(void);

#endif
