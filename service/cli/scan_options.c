/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options that the commands which look at processes by themselves have in common: which processes, for how long,
 * and the pipeline's settings, made from the settings' table.
 */
#include "commands.h"

#include <string.h>

enum { OPT_SETTING = 512 }; /* and the setting's number: above those of the commands */

#define MAX_OPTIONS 64

/* ---- which processes ---- */

static error_t parse_pids(int key, char *arg, struct argp_state *state)
{
	struct hs_pid_list *pids = state->input;

	switch (key) {
	case 'p':
		hs_parse_pid(state, "--pid", arg, pids);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option; guests are named with --pid PID", arg);
		break;
	case ARGP_KEY_END:
		if (!pids->nr)
			argp_error(state, "no guest is named; give --pid PID for each (see: pgrep -a qemu)");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp *hs_pid_options_argp(void)
{
	static const struct argp_option options[] = {
		{ "pid", 'p', "PID", 0, "A guest: the process that holds its memory. Give it once for each guest.", 0 },
		{ 0 },
	};
	static const struct argp argp = { .options = options, .parser = parse_pids };

	return &argp;
}

/* ---- for how long, and beside whom ---- */

bool hs_parse_loop_option(int key, const char *arg, struct argp_state *state, struct hs_scan_options *o)
{
	switch (key) {
	case HS_ARGP_DURATION:
		o->duration_s = hs_parse_u32(state, "--duration", arg, 1, 31536000);
		return true;
	case HS_ARGP_CYCLES:
		o->cycles = hs_parse_u32(state, "--cycles", arg, 1, 1000000000);
		return true;
	case HS_ARGP_REST:
		o->rest_s = hs_parse_u32(state, "--rest", arg, 0, 86400);
		return true;
	case HS_ARGP_ALLOW_FOREIGN:
		o->cfg.share.foreign = HS_FOREIGN_ALLOW;
		return true;
	default:
		return false;
	}
}

/* ---- the settings ---- */

static const struct argp_option own_options[] = {
	{ "quiet", 'q', NULL, 0, "No progress on standard error.", 0 },
	{ NULL, 0, NULL, 0, "How it looks:", HS_SCAN_OPTIONS_GROUP },
};
#define NR_OWN (sizeof(own_options) / sizeof(own_options[0]))

static uint32_t name_among(struct argp_state *state, const struct hs_setting *s, const char *option, const char *arg)
{
	uint32_t i = 0;

	while (s->names[i] && strcmp(s->names[i], arg) != 0)
		i++;
	if (!s->names[i])
		argp_error(state, "%s: \"%s\" is not allowed; it takes %s", option, arg, s->allowed);
	return i;
}

/* The option's value, with what hangs on it. */
static void set(struct argp_state *state, const struct hs_setting *s, struct hs_pipeline_config *cfg, const char *arg)
{
	const uint32_t min = s->option.min ? s->option.min : s->min;
	char option[64];

	(void)snprintf(option, sizeof(option), "--%s", s->option.name);
	if (s->type == HS_SETTING_SIZE)
		hs_setting_put(s, cfg, hs_parse_bytes(state, option, arg));
	else if (s->type == HS_SETTING_NAME)
		hs_setting_put(s, cfg, name_among(state, s, option, arg));
	else if (s->set)
		s->set(cfg, hs_parse_u32(state, option, arg, min, s->max));
	else
		hs_setting_put(s, cfg, hs_parse_u32(state, option, arg, min, s->max));
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct hs_scan_options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->pids;
		break;
	case 'q':
		o->quiet = true;
		break;
	default:
		if (key < OPT_SETTING || key >= OPT_SETTING + (int)hs_nr_settings)
			return ARGP_ERR_UNKNOWN;
		set(state, &hs_settings[key - OPT_SETTING], &o->cfg, arg);
		break;
	}
	return 0;
}

const struct argp *hs_scan_options_argp(enum hs_setting_commands of)
{
	static struct argp_option options[MAX_OPTIONS];
	static struct argp_child children[2];
	static const struct argp argp = { .options = options, .parser = parse, .children = children };
	size_t nr = NR_OWN;

	children[0] = (struct argp_child){ .argp = hs_pid_options_argp() };
	memcpy(options, own_options, sizeof(own_options));
	for (size_t i = 0; i < hs_nr_settings && nr < MAX_OPTIONS - 1; i++) {
		const struct hs_setting *s = &hs_settings[i];

		if (s->option.commands != HS_SETTING_NO_COMMAND && s->option.commands <= (unsigned int)of)
			options[nr++] = (struct argp_option){ s->option.name, OPT_SETTING + (int)i, s->option.arg, 0,
							      s->option.help, s->option.group };
	}
	options[nr] = (struct argp_option){ 0 };
	return &argp;
}
