/* SPDX-License-Identifier: Apache-2.0 */
/* hs-share: its commands. */
#include "commands.h"

#include <hs_version.h>
#include <stdbool.h>
#include <string.h>

const char *argp_program_version = "hs-share " HS_VERSION;

/* unshare --pid works by itself; with a guest's name or --all it is the daemon's. */
static bool names_pid(int argc, char **argv)
{
	bool daemon = false;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--pid", 5) == 0 || strncmp(argv[i], "-p", 2) == 0)
			return true;
		daemon |= strcmp(argv[i], "--all") == 0 || strncmp(argv[i], "--socket", 8) == 0 || argv[i][0] != '-';
	}
	return !daemon;
}

static int run_unshare(int argc, char **argv)
{
	return names_pid(argc, argv) ? hs_cmd_unshare(argc, argv) : hs_cmd_ctl(argc, argv);
}

#define ALONE       "By itself:"
#define WITH_DAEMON "With the daemon hs-shared:"

static const struct hs_command commands[] = {
	{ "run", hs_cmd_run, "share the cold memory of guests", ALONE },
	{ "inspect", hs_cmd_inspect, "look at one guest's memory and change nothing", ALONE },
	{ "record", hs_cmd_record, "write a trace of guests' memory, for a replay with other policies", ALONE },
	{ "unshare", run_unshare, "undo what is shared: --pid PID without the daemon, GUEST or --all through it",
	  ALONE },
	{ "diagnose", hs_cmd_ctl, "what this host can do, and what stands in the way", ALONE },
	{ "fleet", hs_cmd_fleet, "many hosts, as a Prometheus has them, and which guests should live together", ALONE },
	{ "status", hs_cmd_ctl, "what the daemon does and what that saves", WITH_DAEMON },
	{ "guests", hs_cmd_ctl, "all guests, what is saved of each, and why nothing is", WITH_DAEMON },
	{ "show", hs_cmd_ctl, "one guest in full", WITH_DAEMON },
	{ "stats", hs_cmd_ctl, "the totals", WITH_DAEMON },
	{ "mode", hs_cmd_ctl, "show or set the mode: off, observe, save, auto", WITH_DAEMON },
	{ "opt-in", hs_cmd_ctl, "let a guest share inside its trust group", WITH_DAEMON },
	{ "opt-out", hs_cmd_ctl, "let a guest share no more, and undo its sharing", WITH_DAEMON },
	{ "watch", hs_cmd_ctl, "a live table", WITH_DAEMON },
	{ "report", hs_cmd_ctl, "what sharing would save, before it is turned on", WITH_DAEMON },
	{ "metrics", hs_cmd_metrics, "the figures for Prometheus, also as a file for node_exporter", WITH_DAEMON },
	{ "history", hs_cmd_ctl, "the last hours", WITH_DAEMON },
	{ "reload", hs_cmd_ctl, "let the daemon read its configuration again", WITH_DAEMON },
};

int main(int argc, char **argv)
{
	static const struct hs_program program = {
		.name = "hs-share",
		.what = "Saves memory across virtual machines: shares identical cold base pages, keeps hot huge pages "
			"whole.",
		.exit_status =
		    "0 done, 1 failed, 2 wrong use, 3 the daemon cannot be reached, 4 accepted and not done yet",
		.commands = commands,
		.nr_commands = sizeof(commands) / sizeof(commands[0]),
	};

	return hs_program_main(&program, argc, argv);
}
