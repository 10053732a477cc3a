/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands that talk to the daemon. All have --socket and --json; what else each takes stands in the table at the
 * end, from which its help and its checks are made.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service_commands.h"
#include "terminal.h"

enum {
	OPT_SOCKET = 256,
	OPT_JSON,
	OPT_GROUP,
	OPT_MAX,
	OPT_SHARE,
	OPT_PID,
	OPT_NO_WAIT,
	OPT_ALL,
	OPT_KEEP,
	OPT_UNDO,
	OPT_INTERVAL,
	OPT_COUNT,
	OPT_SECONDS,
	OPT_LOOK,
	OPT_STEP,
	OPT_CONFIG
};

struct command {
	const char *name;
	const char *doc;
	const char *args; /* for the usage; NULL: none */
	bool word_needed, word_allowed;
	const int *options; /* beside --socket and --json; 0 ends */
	int (*run)(const struct hs_ctl_options *o);
	const struct hs_table *table; /* whose columns can be chosen; NULL: it prints none */
};

struct parsing {
	const struct command *command;
	struct hs_ctl_options o;
};

/* ---- asking ---- */

const char *hs_ctl_guest(const struct hs_ctl_options *o, char buf[64])
{
	if (!o->pid)
		return o->word;
	(void)snprintf(buf, 64, "pid-%d", (int)o->pid);
	return buf;
}

json_t *hs_ctl_try(const struct hs_ctl_options *o, const struct hs_client_call *call, int *status, struct hs_error *err)
{
	json_t *out = NULL;
	int rc =
	    call->path ? hs_client_request(o->socket, call, &out, err) : hs_error_set(err, -ENOMEM, "out of memory");

	if (!rc)
		return out;
	json_decref(out);
	*status = rc == -ENOTCONN || rc == -EPROTO ? HS_EXIT_NO_DAEMON : HS_EXIT_FAILED;
	return NULL;
}

json_t *hs_ctl_ask(const struct hs_ctl_options *o, const struct hs_client_call *call, int *status)
{
	struct hs_error err = { "" };
	json_t *out = hs_ctl_try(o, call, status, &err);

	if (!out)
		hs_complain("%s", err.text);
	return out;
}

int hs_ctl_show(const struct hs_ctl_options *o, json_t *answer, const int *status, void (*fn)(const json_t *))
{
	if (!answer)
		return *status;
	if (o->json)
		return hs_json_print(answer);
	fn(answer);
	json_decref(answer);
	return fflush(stdout) ? HS_EXIT_FAILED : 0;
}

int hs_ctl_table(const struct hs_ctl_options *o, json_t *answer, const int *status, const struct hs_table *t,
		 const char *rows)
{
	int rc;

	if (!answer)
		return *status;
	if (o->json)
		return hs_json_print(answer);
	rc = hs_table_print(stdout, t, &o->table, json_object_get(answer, rows), hs_terminal_width());
	json_decref(answer);
	return rc;
}

int hs_ctl_get(const struct hs_ctl_options *o, const char *path, void (*fn)(const json_t *))
{
	const struct hs_client_call call = { .method = "GET", .path = path, .timeout_s = 30 };
	int status = 0;

	return hs_ctl_show(o, hs_ctl_ask(o, &call, &status), &status, fn);
}

/* For a script: one row. What is saved is known in mode save alone. */
static int show_status_row(const struct hs_ctl_options *o, json_t *s, const int *status)
{
	json_t *saving = json_object_get(s, "saving"), *answer;

	if (s && !json_is_true(json_object_get(s, "ksm_taken"))) {
		(void)json_object_del(saving, "saved_bytes");
		(void)json_object_del(saving, "net_saved_bytes");
		(void)json_object_del(json_object_get(s, "overcommit"), "bytes");
	}
	answer = s ? json_pack("{s:[o]}", "rows", s) : NULL;
	return hs_ctl_table(o, answer, status, &hs_table_status, "rows");
}

static int run_status(const struct hs_ctl_options *o)
{
	const struct hs_client_call call = { .method = "GET", .path = "/v1/status", .timeout_s = 30 };
	int status = HS_EXIT_FAILED;
	json_t *answer = hs_ctl_ask(o, &call, &status);

	return hs_table_for_script(&o->table) ? show_status_row(o, answer, &status)
					      : hs_ctl_show(o, answer, &status, hs_show_status);
}

static int run_stats(const struct hs_ctl_options *o)
{
	return hs_ctl_get(o, "/v1/status", hs_show_stats);
}

static int run_guests(const struct hs_ctl_options *o)
{
	const struct hs_client_call call = { .method = "GET", .path = "/v1/guests", .timeout_s = 30 };
	int status = 0;

	return hs_ctl_table(o, hs_ctl_ask(o, &call, &status), &status, &hs_table_guests, "guests");
}

static int run_show(const struct hs_ctl_options *o)
{
	char buf[64], *path = hs_client_path("/v1/guests/", hs_ctl_guest(o, buf), "");
	int status = hs_ctl_get(o, path, hs_show_guest);

	free(path);
	return status;
}

/* The next page's points come behind those that are there. */
static void append_page(json_t *all, json_t *page)
{
	(void)json_array_extend(json_object_get(all, "points"), json_object_get(page, "points"));
	(void)json_object_set(all, "more", json_object_get(page, "more"));
	(void)json_object_set(all, "next", json_object_get(page, "next"));
	json_decref(page);
}

/* All of it, page by page: each is bounded, and so is what the daemon keeps. */
static int run_history(const struct hs_ctl_options *o)
{
	struct hs_client_call call = { .method = "GET", .timeout_s = 30 };
	json_t *all = NULL, *page;
	char seconds[32] = "", path[256];
	int status = 0;

	if (o->seconds)
		(void)snprintf(seconds, sizeof(seconds), "&seconds=%u", o->seconds);
	do {
		const char *next = json_string_value(json_object_get(all, "next"));

		(void)snprintf(path, sizeof(path), "/v1/history?limit=1000&step=%u%s%s%.80s", o->step ? o->step : 1,
			       all ? "" : seconds, next ? "&after=" : "", next ? next : "");
		call.path = path;
		page = hs_ctl_ask(o, &call, &status);
		if (!page) {
			json_decref(all);
			return status;
		}
		if (all)
			append_page(all, page);
		else
			all = page;
	} while (json_is_true(json_object_get(all, "more")));
	return hs_ctl_table(o, all, &status, &hs_table_history, "points");
}

/* ---- options ---- */

static const struct argp_option all_options[] = {
	{ "socket", OPT_SOCKET, "PATH", 0, "The daemon's socket. Default: " HS_CLIENT_SOCKET ".", 9 },
	{ "json", OPT_JSON, NULL, 0, "Print the daemon's JSON as it is.", 9 },
	{ "group", OPT_GROUP, "NAME", 0,
	  "Trust group: guests share only inside their group. Default: as it is; at first: default.", 0 },
	{ "max-shared", OPT_MAX, "SIZE", 0,
	  "Share at most so much of its memory; none: no limit. Default: as it is; at first: none.", 0 },
	{ "share", OPT_SHARE, "SCOPE", 0,
	  "With whom it may share, where that is stricter than the configuration: group, guest (within itself), zero "
	  "(its zero pages alone). Default: as it is; at first: group.",
	  0 },
	{ "pid", OPT_PID, "PID", 0, "A process instead of a libvirt domain.", 0 },
	{ "no-wait", OPT_NO_WAIT, NULL, 0, "Do not wait until it is done.", 0 },
	{ "all", OPT_ALL, NULL, 0, "All guests.", 0 },
	{ "keep", OPT_KEEP, NULL, 0, "Leave what is shared as it is.", 0 },
	{ "undo", OPT_UNDO, NULL, 0, "Undo what is shared.", 0 },
	{ "interval", OPT_INTERVAL, "SECONDS", 0, "Between two refreshes. Default: 2.", 0 },
	{ "count", OPT_COUNT, "N", 0, "End after N refreshes. Default: go on until interrupted.", 0 },
	{ "config", OPT_CONFIG, "FILE", 0,
	  "Look from here, with the rules of this configuration, which may be one that is still to be tried.", 0 },
	{ "seconds", OPT_SECONDS, "N", 0, "The last N seconds only.", 0 },
	{ "look", OPT_LOOK, NULL, 0,
	  "Look into hot huge pages first, once, which makes it exact: their mappings are split for a second or two "
	  "and "
	  "brought back. Nothing is shared for it, in no mode.",
	  0 },
	{ "step", OPT_STEP, "SECONDS", 0, "Between two points. Default: as they were taken.", 0 },
	HS_TABLE_OPTIONS,
};
#define NR_OPTIONS (sizeof(all_options) / sizeof(all_options[0]))

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct parsing *p = state->input;
	struct hs_ctl_options *o = &p->o;
	struct hs_pid_list pids = { 0 };
	uint8_t scope;

	switch (key) {
	case OPT_SOCKET:
		o->socket = arg;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_GROUP:
		if (!hs_group_valid(arg))
			argp_error(state,
				   "--group: \"%s\" is no group; it takes 1 to 63 letters, digits, dots, dashes or "
				   "underscores",
				   arg);
		o->group = arg;
		break;
	case OPT_MAX:
		if (strcmp(arg, "0") == 0)
			argp_error(state,
				   "--max-shared: 0 is no limit to share by; none lifts it, opt-out ends sharing");
		o->max_shared = strcmp(arg, "none") == 0 ? 0 : hs_parse_bytes(state, "--max-shared", arg);
		o->has_max_shared = true;
		break;
	case OPT_SHARE:
		if (hs_opt_in_scope_parse(arg, &scope))
			argp_error(state, "--share: \"%s\" is not allowed; it takes group, guest or zero", arg);
		o->share = arg;
		break;
	case OPT_PID:
		hs_parse_pid(state, "--pid", arg, &pids);
		o->pid = pids.nr ? pids.pids[0] : 0;
		free(pids.pids);
		break;
	case OPT_LOOK:
		o->look = true;
		break;
	case OPT_NO_WAIT:
		o->no_wait = true;
		break;
	case OPT_CONFIG:
		o->config = arg;
		break;
	case OPT_ALL:
		o->all = true;
		break;
	case OPT_KEEP:
		o->keep = true;
		break;
	case OPT_UNDO:
		o->undo = true;
		break;
	case OPT_INTERVAL:
		o->interval_s = hs_parse_u32(state, "--interval", arg, 1, 3600);
		break;
	case OPT_COUNT:
		o->count = hs_parse_u32(state, "--count", arg, 1, 1000000000);
		break;
	case OPT_SECONDS:
		o->seconds = hs_parse_u32(state, "--seconds", arg, 1, 31536000);
		break;
	case OPT_STEP:
		o->step = hs_parse_u32(state, "--step", arg, 1, 31536000);
		break;
	case ARGP_KEY_ARG:
		if (!p->command->word_allowed || o->word)
			argp_error(state, "\"%s\" is one word too many", arg);
		if (strlen(arg) >= HS_NAME_MAX || !*arg || strcmp(arg, ".") == 0 || strcmp(arg, "..") == 0)
			argp_error(state, "\"%s\" is no name: it has 1 to %d characters, and is not \".\" or \"..\"",
				   arg, HS_NAME_MAX - 1);
		o->word = arg;
		break;
	case ARGP_KEY_END:
		if (p->command->run == hs_ctl_report && o->no_wait && !o->look)
			argp_error(state, "--no-wait is of use with --look alone");
		if (o->json && hs_table_for_script(&o->table))
			argp_error(state, "--json prints all there is: it excludes the options of the table");
		if (o->keep && o->undo)
			argp_error(state, "--keep and --undo exclude one another");
		if (o->pid && o->word)
			argp_error(state, "name a domain or give --pid, not both");
		if (o->all && o->word)
			argp_error(state, "name a guest or give --all, not both");
		if (p->command->word_needed && !o->word && !o->pid && !o->all)
			argp_error(state, "no guest is named; `hs-share guests` lists them");
		break;
	default:
		return p->command->table && hs_table_parse(key, arg, state, p->command->table, &o->table)
			   ? 0
			   : ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const int none[] = { 0 };
static const int for_show[] = { OPT_PID, 0 };
static const int for_mode[] = { OPT_KEEP, OPT_UNDO, 0 };
static const int for_opt_in[] = { OPT_PID, OPT_GROUP, OPT_MAX, OPT_SHARE, 0 };
static const int for_opt_out[] = { OPT_PID, OPT_NO_WAIT, 0 };
static const int for_unshare[] = { OPT_ALL, 0 };
static const int for_watch[] = { OPT_INTERVAL, OPT_COUNT, 0 };
static const int for_report[] = { OPT_LOOK, OPT_NO_WAIT, 0 };
static const int for_history[] = { OPT_SECONDS, OPT_STEP, 0 };
static const int for_diagnose[] = { OPT_CONFIG, 0 };

static const struct command commands[] = {
	{ "status", "What the daemon does and what that saves.", NULL, false, false, none, run_status,
	  &hs_table_status },
	{ "guests", "All guests that are known, what is saved of each, and why nothing is.", NULL, false, false, none,
	  run_guests, &hs_table_guests },
	{ "show", "One guest in full.", "GUEST", true, true, for_show, run_show, NULL },
	{ "stats", "The totals.", NULL, false, false, none, run_stats, NULL },
	{ "mode",
	  "Show the mode, or set it: off, observe (look, change nothing), save (share), auto (save under memory "
	  "pressure).",
	  "[MODE]", false, true, for_mode, hs_ctl_mode, NULL },
	{ "opt-in", "Let a guest share inside its trust group.", "GUEST", true, true, for_opt_in, hs_ctl_opt_in, NULL },
	{ "opt-out", "Let a guest share no more, and undo its sharing.", "GUEST", true, true, for_opt_out,
	  hs_ctl_opt_out, NULL },
	{ "unshare", "Undo what is shared now; later cycles may share again.", "GUEST", true, true, for_unshare,
	  hs_ctl_unshare, NULL },
	{ "watch", "A live table.", NULL, false, false, for_watch, hs_ctl_watch, NULL },
	{ "report",
	  "What sharing saves, or would save, guest by guest and group by group: of pages of zeros, within the guest, "
	  "and "
	  "across guests. SURE is by what was looked at, UP-TO if all is cold that hot huge pages promise.",
	  NULL, false, false, for_report, hs_ctl_report, &hs_table_report },
	{ "history", "The last hours.", NULL, false, false, for_history, run_history, &hs_table_history },
	{ "diagnose",
	  "What this host can do, what stands in the way, and which guests the configured rules find. Works without "
	  "the "
	  "daemon as well.",
	  NULL, false, false, for_diagnose, hs_ctl_diagnose, NULL },
	{ "reload", "Let the daemon read its configuration again.", NULL, false, false, none, hs_ctl_reload, NULL },
};

int hs_cmd_ctl(int argc, char **argv)
{
	/* argv[0] is "hs-share NAME". */
	const char *name = strrchr(argv[0], ' ') + 1;
	struct argp_option options[NR_OPTIONS + 1] = { 0 };
	struct argp argp = { .options = options, .parser = parse };
	struct parsing p = { .o = { .socket = HS_CLIENT_SOCKET, .interval_s = 2 } };
	char doc[600];
	size_t nr = 0;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			p.command = &commands[i];
	if (!p.command)
		return HS_EXIT_USAGE;
	for (size_t i = 0; i < NR_OPTIONS; i++) {
		bool wanted = all_options[i].key == OPT_SOCKET || all_options[i].key == OPT_JSON;

		wanted |=
		    p.command->table && all_options[i].key >= HS_ARGP_COLUMNS && all_options[i].key <= HS_ARGP_RAW;
		for (const int *key = p.command->options; *key; key++)
			wanted |= *key == all_options[i].key;
		if (wanted)
			options[nr++] = all_options[i];
	}
	(void)snprintf(doc, sizeof(doc),
		       "%s\vExit status: 0 done, 1 failed, 2 wrong use, 3 the daemon cannot be reached, 4 accepted and "
		       "not done yet.",
		       p.command->doc);
	argp.doc = doc;
	argp.args_doc = p.command->args;
	argp_parse(&argp, argc, argv, 0, NULL, &p);
	return p.command->run(&p.o);
}
