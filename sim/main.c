/* hs-lab: finds the command and hands the rest over. */
#include "lab.h"

#include <string.h>

const char *argp_program_version = "hs-lab " HS_VERSION;

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{ "run", hs_lab_cmd_run, "policies side by side on one simulated host" },
	{ "replay", hs_lab_cmd_replay, "policies side by side on recorded guests" },
	{ "claims", hs_lab_cmd_claims, "the shape of HugeScope's comparison of page sharing" },
	{ "sweep", hs_lab_cmd_sweep, "what hs-share's settings do, one after the other" },
	{ "calibrate", hs_lab_cmd_calibrate, "measure what things cost on this machine" },
	{ "scenarios", hs_lab_cmd_scenarios, "list the hosts that are built in" },
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *f)
{
	(void)fprintf(f, "Usage: hs-lab COMMAND [OPTION...]\n\n"
			 "The policy lab: what memory sharing would save and cost, on simulated hosts.\n\n");
	for (size_t i = 0; i < NR_COMMANDS; i++)
		(void)fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].what);
	(void)fprintf(f, "\nhs-lab COMMAND --help tells the options. hs-lab --version tells the version.\n"
			 "Exit status: 0 done, 1 failed, 2 wrong use.\n");
}

int main(int argc, char **argv)
{
	char name[64];

	argp_err_exit_status = HS_LAB_EXIT_USAGE;
	if (argc < 2) {
		usage(stderr);
		return HS_LAB_EXIT_USAGE;
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
		(void)snprintf(name, sizeof(name), "hs-lab %s", commands[i].name);
		argv[1] = name;
		return commands[i].run(argc - 1, argv + 1);
	}
	(void)fprintf(stderr, "hs-lab: there is no command \"%s\"; the commands are:", argv[1]);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		(void)fprintf(stderr, " %s", commands[i].name);
	(void)fprintf(stderr, "\n");
	return HS_LAB_EXIT_USAGE;
}
