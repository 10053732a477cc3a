/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that talk to the daemon: their options, and how each answer is shown. */
#ifndef HS_SERVICE_CLI_SERVICE_COMMANDS_H
#define HS_SERVICE_CLI_SERVICE_COMMANDS_H

#include "client.h"
#include "commands.h"
#include "service/common/model.h"
#include "table.h"

#define HS_EXIT_NO_DAEMON 3
#define HS_EXIT_UNDER_WAY 4 /* accepted; it does not hold yet, and goes on by itself */

struct hs_ctl_options {
	const char *socket;
	const char *word; /* a guest, or a mode */
	const char *group;
	const char *config;  /* of diagnose */
	uint64_t max_shared; /* 0: no limit */
	const char *share;   /* a scope; NULL: not named */
	bool has_max_shared;
	pid_t pid;
	bool json, no_wait, all, keep, undo, look;
	uint32_t interval_s, count, seconds, step;
	struct hs_table_choice table;
};

/* The guest as requests name it: the word, or "pid-N"; in a buffer of its own. */
const char *hs_ctl_guest(const struct hs_ctl_options *o, char buf[64]);

/* Asks; on failure says why and returns the exit status in *status. NULL then. A path that is NULL: out of memory. */
json_t *hs_ctl_ask(const struct hs_ctl_options *o, const struct hs_client_call *call, int *status);

/* The same without a word: the reason is in err. */
json_t *hs_ctl_try(const struct hs_ctl_options *o, const struct hs_client_call *call, int *status,
		   struct hs_error *err);

/* Prints the answer as it is, or by `fn`, and drops it. *status: what asking has left there when there is no answer.
 * Exit status. */
int hs_ctl_show(const struct hs_ctl_options *o, json_t *answer, const int *status, void (*fn)(const json_t *));
/* The same of an answer that has its rows under this key. */
int hs_ctl_table(const struct hs_ctl_options *o, json_t *answer, const int *status, const struct hs_table *t,
		 const char *rows);
/* Asks for it, and shows it. */
int hs_ctl_get(const struct hs_ctl_options *o, const char *path, void (*fn)(const json_t *));

/* ---- cmd_change.c ---- */

int hs_ctl_mode(const struct hs_ctl_options *o);
int hs_ctl_reload(const struct hs_ctl_options *o);
int hs_ctl_opt_in(const struct hs_ctl_options *o);
int hs_ctl_opt_out(const struct hs_ctl_options *o);
int hs_ctl_unshare(const struct hs_ctl_options *o);

/* ---- cmd_report.c ---- */

int hs_ctl_report(const struct hs_ctl_options *o);
/* ---- cmd_diagnose.c ---- */

int hs_ctl_diagnose(const struct hs_ctl_options *o);

/* ---- how answers are shown ---- */

void hs_show_status(const json_t *status);
/* What keeps the whole host from sharing, and what is still to be undone; nothing where nothing is. */
void hs_show_obstacles(const json_t *answer);
void hs_show_stats(const json_t *status);
void hs_show_guest(const json_t *guest);
void hs_show_diagnose(const json_t *answer);

/* A live table until Ctrl-C, or `count` times. Exit status. */
int hs_ctl_watch(const struct hs_ctl_options *o);

#endif
