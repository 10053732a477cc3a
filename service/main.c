/* hs-share: finds the command and hands the rest over. */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "hs-share " HS_VERSION;

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{ "run", hs_cmd_run, "share the cold memory of guests" },
	{ "inspect", hs_cmd_inspect, "look at one guest's memory and change nothing" },
	{ "unshare", hs_cmd_unshare, "undo what an earlier run left shared" },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	(void)fprintf(f, "Usage: hs-share COMMAND [OPTION...]\n\n"
			 "Saves memory across virtual machines: shares identical cold base pages, keeps hot huge pages "
			 "whole.\n\n");
	for (size_t i = 0; i < NR_COMMANDS; i++)
		(void)fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].what);
	(void)fprintf(f, "\nhs-share COMMAND --help tells the options. hs-share --version tells the version.\n"
			 "Exit status: 0 done, 1 failed, 2 wrong use.\n");
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
		return commands[i].run(argc - 1, argv + 1);
	}
	(void)fprintf(stderr, "hs-share: there is no command \"%s\"; the commands are:", argv[1]);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		(void)fprintf(stderr, " %s", commands[i].name);
	(void)fprintf(stderr, "\n");
	return HS_EXIT_USAGE;
}
