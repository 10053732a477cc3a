/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills a command with SIGKILL at random instants, round after round, and sees after each that the guests it worked on
 * were let go.
 */
#ifndef HS_TESTS_REMOTE_KILLER_H
#define HS_TESTS_REMOTE_KILLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct killer {
	char *const *argv;   /* the command, argv[0] a path */
	const pid_t *guests; /* processes that have to survive it */
	size_t nr_guests;
	unsigned int rounds;
	unsigned int min_us, max_us; /* from its start (or its first byte of output) to its end */
	bool first_byte;             /* wait for a first byte on its standard output, then count */
	uint64_t seed;
	/* After each round; 0, or ends the whole with a text in why[size]. May be NULL. */
	int (*check)(void *ctx, char *why, size_t size);
	void *ctx;
};

struct killer_result {
	unsigned int killed;
	unsigned int ended; /* by itself, before its time */
	unsigned int held;  /* killed while it held a thread of a guest */
};

/* 0, or -1 with the reason in why[size]. */
int killer_run(const struct killer *k, struct killer_result *out, char *why, size_t size);

#endif
