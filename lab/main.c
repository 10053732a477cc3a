/* SPDX-License-Identifier: Apache-2.0 */
/* hs-lab: its commands. */
#include "lab.h"

#include <hs_version.h>

const char *argp_program_version = "hs-lab " HS_VERSION;

static const struct hs_command commands[] = {
	{ "run", hs_lab_cmd_run, "policies side by side on one simulated host", NULL },
	{ "replay", hs_lab_cmd_replay, "policies side by side on recorded guests", NULL },
	{ "claims", hs_lab_cmd_claims, "the shape of HugeScope's comparison of page sharing", NULL },
	{ "sweep", hs_lab_cmd_sweep, "what hs-share's settings do, one after the other", NULL },
	{ "calibrate", hs_lab_cmd_calibrate, "measure what things cost on this machine", NULL },
	{ "scenarios", hs_lab_cmd_scenarios, "list the hosts that are built in", NULL },
};

int main(int argc, char **argv)
{
	static const struct hs_program program = {
		.name = "hs-lab",
		.what = "The policy lab: what memory sharing would save and cost, on simulated hosts.",
		.exit_status = "0 done, 1 failed, 2 wrong use",
		.commands = commands,
		.nr_commands = sizeof(commands) / sizeof(commands[0]),
	};

	return hs_program_main(&program, argc, argv);
}
