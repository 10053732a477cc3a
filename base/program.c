/* SPDX-License-Identifier: Apache-2.0 */
#include "hs/program.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void usage(const struct hs_program *p, FILE *f)
{
	const char *heading = NULL;

	(void)fprintf(f, "Usage: %s COMMAND [OPTION...]\n\n%s\n\n", p->name, p->what);
	for (size_t i = 0; i < p->nr_commands; i++) {
		const struct hs_command *c = &p->commands[i];

		if (c->heading && (!heading || strcmp(c->heading, heading) != 0))
			(void)fprintf(f, "%s%s\n", heading ? "\n" : "", c->heading);
		heading = c->heading;
		(void)fprintf(f, "  %-10s %s\n", c->name, c->what);
	}
	(void)fprintf(f,
		      "\n%s COMMAND --help lists the options. %s --version prints the version.\n"
		      "Exit status: %s.\n",
		      p->name, p->name, p->exit_status);
}

static int run(const struct hs_program *p, int argc, char **argv)
{
	static char name[64];

	argp_err_exit_status = HS_EXIT_USAGE;
	if (argc < 2) {
		usage(p, stderr);
		return HS_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		usage(p, stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		(void)puts(argp_program_version);
		return 0;
	}
	for (size_t i = 0; i < p->nr_commands; i++) {
		if (strcmp(argv[1], p->commands[i].name) != 0)
			continue;
		(void)snprintf(name, sizeof(name), "%s %s", p->name, p->commands[i].name);
		argv[1] = name;
		return p->commands[i].run(argc - 1, argv + 1);
	}
	(void)fprintf(stderr, "%s: there is no command \"%s\"; the commands are:", p->name, argv[1]);
	for (size_t i = 0; i < p->nr_commands; i++)
		(void)fprintf(stderr, " %s", p->commands[i].name);
	(void)fprintf(stderr, "\n");
	return HS_EXIT_USAGE;
}

int hs_program_main(const struct hs_program *p, int argc, char **argv)
{
	const int status = run(p, argc, argv);

	/* What a command printed may lie in the buffer until now, and a disk may be full. */
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	/* Why an earlier write failed is no longer known. */
	(void)fprintf(stderr, "%s: cannot write all of standard output%s%s\n", p->name, errno ? ": " : "",
		      errno ? strerror(errno) : "");
	return status ? status : HS_EXIT_FAILED;
}
