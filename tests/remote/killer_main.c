/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The killer for any command:
 *   hs-killer [-n ROUNDS] [-a MIN_US] [-b MAX_US] [-s SEED] [-1] -p PID [-p PID]... COMMAND [ARGUMENT]...
 * -1: the time counts from the command's first byte of output. Ends with 0 when every process survived every round.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "killer.h"

#define GUESTS_MAX 64

int main(int argc, char **argv)
{
	struct killer k = { .rounds = 50, .min_us = 0, .max_us = 50000, .seed = (uint64_t)time(NULL) };
	struct killer_result res;
	pid_t guests[GUESTS_MAX];
	char why[512];
	int o, rc;

	while ((o = getopt(argc, argv, "+n:a:b:s:p:1")) != -1) {
		switch (o) {
		case 'n':
			k.rounds = (unsigned int)strtoul(optarg, NULL, 0);
			break;
		case 'a':
			k.min_us = (unsigned int)strtoul(optarg, NULL, 0);
			break;
		case 'b':
			k.max_us = (unsigned int)strtoul(optarg, NULL, 0);
			break;
		case 's':
			k.seed = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			if (k.nr_guests == GUESTS_MAX)
				return 2;
			guests[k.nr_guests++] = (pid_t)strtol(optarg, NULL, 0);
			break;
		case '1':
			k.first_byte = true;
			break;
		default:
			return 2;
		}
	}
	if (optind == argc || k.nr_guests == 0 || k.max_us < k.min_us) {
		(void)fprintf(stderr, "usage: hs-killer [-n ROUNDS] [-a MIN_US] [-b MAX_US] [-s SEED] [-1] -p PID... "
				      "COMMAND [ARGUMENT]...\n");
		return 2;
	}
	k.guests = guests;
	k.argv = argv + optind;
	rc = killer_run(&k, &res, why, sizeof(why));
	(void)printf("%u killed (%u of them while they held a guest, of the half that was looked at), %u ended first\n",
		     res.killed, res.held, res.ended);
	if (rc)
		(void)fprintf(stderr, "hs-killer: %s\n", why);
	return rc ? 1 : 0;
}
