/* SPDX-License-Identifier: Apache-2.0 */
/* Runs hs-share as a user would: a process of its own, its JSON read from its standard output, its CPU time counted. */
#ifndef HS_TESTS_DEMO_CHILD_H
#define HS_TESTS_DEMO_CHILD_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "hs/error.h"

struct child {
	pid_t pid;
	int out_fd;
	char *text;
	size_t len;
	double cpu_s; /* user and system, once it has ended */
	int status;   /* exit status, -1: ended by a signal */
};

/* argv[0] is the program; NULL-terminated. Its standard error is ours, or nowhere when quiet. */
HS_MUST_USE int child_start(struct child *c, char *const *argv, bool quiet, struct hs_error *err);

/* Reads what it printed so far, and sees whether it has ended, for at most `ms`: 1 it has, 0 it has not, -errno. */
HS_MUST_USE int child_poll(struct child *c, int ms, struct hs_error *err);

/* CPU time so far of a child that still runs, from /proc, seconds; after the end: the whole. */
double child_cpu_s(const struct child *c);

/* The JSON object it printed; NULL with the text in err. The caller drops it. */
json_t *child_json(struct child *c, struct hs_error *err);

/* Ends it if it runs (SIGTERM, it puts things back; after 60 s SIGKILL) and frees. A cleared one is fine. */
void child_finish(struct child *c);

#endif
