#include "commands.h"

enum { OPT_ROUNDS = 512, OPT_INTERVAL, OPT_MIN_MEMORY }; /* above those of the commands */

static const struct argp_option options[] = {
	{ "pid", 'p', "PID", 0, "A guest: the process that holds its memory. Give it once for each guest.", 0 },
	{ "quiet", 'q', NULL, 0, "No progress on standard error.", 0 },
	{ NULL, 0, NULL, 0, "How it looks:", HS_LOOKING_GROUP },
	{ "rounds", OPT_ROUNDS, "N", 0, "Coarse rounds in a cycle, 1 to 64. Default: 10.", HS_LOOKING_GROUP },
	{ "interval", OPT_INTERVAL, "MS", 0, "Milliseconds of a coarse round. Default: 600.", HS_LOOKING_GROUP },
	{ "min-memory", OPT_MIN_MEMORY, "SIZE", 0,
	  "Smallest piece of a process's memory that counts as guest memory. Default: 64M.", HS_LOOKING_GROUP },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct hs_looking *l = state->input;

	switch (key) {
	case 'p':
		hs_parse_pid(state, "--pid", arg, &l->pids);
		break;
	case 'q':
		l->quiet = true;
		break;
	case OPT_ROUNDS:
		hs_pipeline_config_set_rounds(&l->cfg, hs_parse_u32(state, "--rounds", arg, 1, 64));
		break;
	case OPT_INTERVAL:
		l->cfg.coarse.interval_ms = hs_parse_u32(state, "--interval", arg, 10, 600000);
		break;
	case OPT_MIN_MEMORY:
		l->cfg.min_bytes = hs_parse_bytes(state, "--min-memory", arg);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option; guests are named with --pid PID", arg);
		break;
	case ARGP_KEY_END:
		if (!l->pids.nr)
			argp_error(state, "no guest is named; give --pid PID for each (see: pgrep -a qemu)");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp hs_looking_argp = { .options = options, .parser = parse };
