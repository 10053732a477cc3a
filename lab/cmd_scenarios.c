/* SPDX-License-Identifier: Apache-2.0 */
/* hs-lab scenarios: what is built in, to run as it is or to begin a file of one's own with. */
#include "lab.h"

#include <string.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const char **name = state->input;

	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	if (*name)
		argp_error(state, "\"%s\" is one word too many; name one scenario", arg);
	*name = arg;
	return 0;
}

int hs_lab_cmd_scenarios(int argc, char **argv)
{
	static const struct argp argp = {
		.parser = parse,
		.args_doc = "[NAME]",
		.doc = "List the scenarios that are built in, or print one: a file to begin one's own with.",
	};
	const char *name = NULL;

	argp_parse(&argp, argc, argv, 0, NULL, &name);
	for (size_t i = 0; hs_lab_scenario_name(i); i++) {
		const char *text = hs_lab_scenario_text(i);

		if (!name)
			(void)printf("%-10s %.*s\n", hs_lab_scenario_name(i), (int)strcspn(text + 2, "\n"), text + 2);
		else if (strcmp(name, hs_lab_scenario_name(i)) == 0)
			return fputs(text, stdout) == EOF ? HS_EXIT_FAILED : 0;
	}
	if (name) {
		struct hs_lab_scenario s;
		struct hs_error err = { "" };

		return hs_lab_scenario_built_in(&s, name, &err) ? hs_lab_fail(&err) : 0;
	}
	return 0;
}
