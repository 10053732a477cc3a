/* SPDX-License-Identifier: Apache-2.0 */
/* A program that is made of commands, each with options of its own: hs-share and hs-lab. */
#ifndef HS_PROGRAM_H
#define HS_PROGRAM_H

#include <stddef.h>

#define HS_EXIT_FAILED 1
#define HS_EXIT_USAGE  2 /* argp ends with it, too */

struct hs_command {
	const char *name;
	/* argv[0] is "PROGRAM NAME". Returns the exit status. */
	int (*run)(int argc, char **argv);
	const char *what;    /* for the list of commands */
	const char *heading; /* above it, where it is another than the one before; NULL: none */
};

struct hs_program {
	const char *name;
	const char *what;        /* one paragraph */
	const char *exit_status; /* what each means, on one line */
	const struct hs_command *commands;
	size_t nr_commands;
};

/*
 * Finds the command and hands the rest over; --help, --version and wrong use are answered here. The exit status; where
 * something that was printed could not be written, standard error says so and it is not 0.
 */
int hs_program_main(const struct hs_program *p, int argc, char **argv);

#endif
