/* hs-share: finds the command and hands the rest over. */
#include "commands.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "hs-share " HS_VERSION;

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
	bool daemon; /* talks to hs-shared */
} commands[] = {
	{ "run", hs_cmd_run, "share the cold memory of guests", false },
	{ "inspect", hs_cmd_inspect, "look at one guest's memory and change nothing", false },
	{ "record", hs_cmd_record, "write a trace of guests' memory, for a replay with other policies", false },
	{ "unshare", hs_cmd_unshare, "undo what is shared: --pid PID without the daemon, GUEST or --all through it",
	  false },
	{ "diagnose", hs_cmd_remote, "what this host can do, and what stands in the way", false },
	{ "status", hs_cmd_remote, "what the daemon does and what that saves", true },
	{ "guests", hs_cmd_remote, "all guests, what is saved of each, and why nothing is", true },
	{ "show", hs_cmd_remote, "one guest in full", true },
	{ "stats", hs_cmd_remote, "the totals", true },
	{ "mode", hs_cmd_remote, "show or set the mode: off, observe, save, auto", true },
	{ "opt-in", hs_cmd_remote, "let a guest share inside its trust group", true },
	{ "opt-out", hs_cmd_remote, "let a guest share no more, and undo its sharing", true },
	{ "watch", hs_cmd_remote, "a live table", true },
	{ "report", hs_cmd_remote, "what sharing would save, before it is turned on", true },
	{ "history", hs_cmd_remote, "the last hours", true },
	{ "reload", hs_cmd_remote, "let the daemon read its configuration again", true },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	(void)fprintf(f, "Usage: hs-share COMMAND [OPTION...]\n\n"
			 "Saves memory across virtual machines: shares identical cold base pages, keeps hot huge pages "
			 "whole.\n\n");
	for (int daemon = 0; daemon < 2; daemon++) {
		(void)fprintf(f, daemon ? "\nWith the daemon hs-shared:\n" : "By itself:\n");
		for (size_t i = 0; i < NR_COMMANDS; i++)
			if (commands[i].daemon == daemon)
				(void)fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].what);
	}
	(void)fprintf(f, "\nhs-share COMMAND --help tells the options. hs-share --version tells the version.\n"
			 "Exit status: 0 done, 1 failed, 2 wrong use, 3 the daemon cannot be reached.\n");
}

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

int main(int argc, char **argv)
{
	char name[64];

	argp_err_exit_status = HS_EXIT_USAGE;
	if (argc < 2) {
		usage(stderr);
		return HS_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		(void)puts(argp_program_version);
		return 0;
	}
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		(void)snprintf(name, sizeof(name), "hs-share %s", commands[i].name);
		argv[1] = name;
		if (commands[i].run == hs_cmd_unshare && !names_pid(argc - 1, argv + 1))
			return hs_cmd_remote(argc - 1, argv + 1);
		return commands[i].run(argc - 1, argv + 1);
	}
	(void)fprintf(stderr, "hs-share: there is no command \"%s\"; the commands are:", argv[1]);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		(void)fprintf(stderr, " %s", commands[i].name);
	(void)fprintf(stderr, "\n");
	return HS_EXIT_USAGE;
}
