/* SPDX-License-Identifier: Apache-2.0 */
/* hs-share inspect: one guest's memory, looked at and left as it is. */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>

#include "base/wallclock.h"

struct inspect_options {
	struct hs_scan_options look;
	bool json;
};

enum { OPT_JSON = 256, OPT_NO_FINE };

static const struct argp_option options[] = {
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object to standard output.", 0 },
	{ "no-fine", OPT_NO_FINE, NULL, 0,
	  "Do not look inside hot huge pages: for that their mappings are split for about a second.",
	  HS_SCAN_OPTIONS_GROUP },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct inspect_options *o = state->input;

	(void)arg;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->look;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_NO_FINE:
		o->look.cfg.no_fine = true;
		break;
	case ARGP_KEY_END:
		if (o->look.pids.nr != 1)
			argp_error(state, "inspect looks at one guest; give --pid PID once");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int hs_cmd_inspect(int argc, char **argv)
{
	const struct argp_child children[] = { { .argp = hs_scan_options_argp(HS_SETTING_ALL_COMMANDS) }, { 0 } };
	const struct argp argp = {
		.children = children,
		.options = options,
		.parser = parse,
		.doc =
		    "Look at one guest: how its memory is mapped, what is hot and cold, how hot its hot huge pages are "
		    "inside, what is zero or duplicate. Nothing is shared.",
	};
	struct inspect_options o = { .look.cfg = hs_pipeline_config_default };
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_pipeline *p = NULL;
	struct hs_guest_report guest;
	struct hs_error err = { "" };
	struct hs_progress pr;
	uint64_t news;
	int rc, status = 0;

	o.look.cfg.observe = true;
	o.look.cfg.fine_all = true;
	o.look.cfg.share = hs_share_config_default;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	hs_progress_init(&pr, o.look.quiet);
	hs_wallclock_catch_signals();
	rc = hs_pipeline_create(&p, &host, &o.look.cfg, &hs_wallclock, &err);
	if (!rc)
		rc = hs_pipeline_add_pid(p, o.look.pids.pids[0], &err);
	if (!rc) {
		hs_pipeline_on_progress(p, hs_progress_step, &pr);
		rc = hs_pipeline_cycle(p, &news, &err);
	}
	hs_progress_end(&pr);
	if (rc) {
		hs_complain("%s", rc == -ECANCELED ? "interrupted; nothing was changed" : err.text);
		status = HS_EXIT_FAILED;
	} else {
		(void)hs_pipeline_report(p, &guest, 1);
		if (o.json)
			status = hs_json_print(hs_json_guest(&guest));
		else
			hs_print_guest(stdout, &guest, !o.look.cfg.no_fine);
	}
	hs_pipeline_destroy(p);
	free(o.look.pids.pids);
	return status;
}
