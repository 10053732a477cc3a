/* The commands that talk to the daemon: their options, and how each answer is shown. */
#ifndef HS_SERVICE_CLI_SERVICE_COMMANDS_H
#define HS_SERVICE_CLI_SERVICE_COMMANDS_H

#include "client.h"
#include "commands.h"
#include "service/common/model.h"

#define HS_EXIT_NO_DAEMON 3
#define HS_EXIT_UNDER_WAY 4 /* accepted; it does not hold yet, and goes on by itself */

struct hs_ctl_options {
	const char *socket;
	const char *word; /* a guest, or a mode */
	const char *group;
	uint64_t max_shared; /* 0: no limit */
	bool has_max_shared;
	pid_t pid;
	bool json, no_wait, all, keep, undo;
	uint32_t interval_s, count, seconds;
};

/* The guest as requests name it: the word, or "pid-N"; in a buffer of its own. */
const char *hs_ctl_guest(const struct hs_ctl_options *o, char buf[64]);

/* Asks; on failure says why and returns the exit status in *status. NULL then. */
json_t *hs_ctl_ask(const struct hs_ctl_options *o, const char *method, const char *path, const json_t *body,
		   long timeout_s, int *status);

/* The same without a word: the reason is in err. */
json_t *hs_ctl_try(const struct hs_ctl_options *o, const char *method, const char *path, const json_t *body,
		   long timeout_s, int *status, struct hs_error *err);

/* ---- how answers are shown ---- */

void hs_show_status(const json_t *status);
void hs_show_stats(const json_t *status);
void hs_show_guests(const json_t *answer, int width);
void hs_show_guest(const json_t *guest);
void hs_show_report(const json_t *report);
void hs_show_diagnose(const json_t *answer);
void hs_show_history(const json_t *answer);

/* A live table until Ctrl-C, or `count` times. Exit status. */
int hs_ctl_watch(const struct hs_ctl_options *o);

#endif
