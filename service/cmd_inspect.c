/* hs-share inspect: one guest's memory, looked at and left as it is. */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>

#include "wallclock.h"

struct inspect_options {
	struct hs_pid_list pids;
	struct hs_pipeline_config cfg;
	bool json, quiet;
};

enum { OPT_JSON = 256, OPT_NO_FINE, OPT_ROUNDS, OPT_INTERVAL, OPT_MIN_MEMORY };

static const struct argp_option options[] = {
	{ "pid", 'p', "PID", 0, "The guest: the process that holds its memory.", 0 },
	{ "rounds", OPT_ROUNDS, "N", 0, "Rounds to watch it for, 1 to 64. Default: 10.", 0 },
	{ "interval", OPT_INTERVAL, "MS", 0, "Milliseconds of a round. Default: 600.", 0 },
	{ "no-fine", OPT_NO_FINE, NULL, 0,
	  "Do not look inside hot huge pages: for that their mappings are split for about a second.", 0 },
	{ "min-memory", OPT_MIN_MEMORY, "SIZE", 0,
	  "Smallest piece of memory that counts as guest memory. Default: 64M.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object to standard output.", 0 },
	{ "quiet", 'q', NULL, 0, "No progress on standard error.", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct inspect_options *o = state->input;

	switch (key) {
	case 'p':
		hs_parse_pid(state, "--pid", arg, &o->pids);
		break;
	case 'q':
		o->quiet = true;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_NO_FINE:
		o->cfg.no_fine = true;
		break;
	case OPT_ROUNDS:
		hs_parse_rounds(state, arg, &o->cfg);
		break;
	case OPT_INTERVAL:
		o->cfg.coarse.interval_ms = hs_parse_u32(state, "--interval", arg, 10, 600000);
		break;
	case OPT_MIN_MEMORY:
		o->cfg.min_bytes = hs_parse_bytes(state, "--min-memory", arg);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option; the guest is named with --pid PID", arg);
		break;
	case ARGP_KEY_END:
		if (o->pids.nr != 1)
			argp_error(state, "inspect looks at one guest; give --pid PID once");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int hs_cmd_inspect(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc =
		    "Look at one guest: how its memory is mapped, what is hot and cold, how hot its hot huge pages are "
		    "inside, what is zero or duplicate. Nothing is shared.",
	};
	struct inspect_options o = { .cfg = hs_pipeline_config_default };
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_pipeline *p = NULL;
	struct hs_guest_report guest;
	struct hs_error err = { "" };
	struct hs_progress pr;
	uint64_t news;
	int rc, status = 0;

	o.cfg.observe = true;
	o.cfg.fine_all = true;
	o.cfg.share = hs_share_config_default;
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	hs_progress_init(&pr, o.quiet);
	hs_wallclock_catch_signals();
	rc = hs_pipeline_create(&p, &host, &o.cfg, &hs_wallclock, &err);
	if (!rc)
		rc = hs_pipeline_add_pid(p, o.pids.pids[0], &err);
	if (!rc) {
		hs_pipeline_on_progress(p, hs_progress_step, &pr);
		rc = hs_pipeline_cycle(p, &news, &err);
	}
	hs_progress_end(&pr);
	if (rc) {
		(void)fprintf(stderr, "hs-share: %s\n",
			      rc == -ECANCELED ? "interrupted; nothing was changed" : err.text);
		status = HS_EXIT_FAILED;
	} else {
		(void)hs_pipeline_report(p, &guest, 1);
		if (o.json)
			status = hs_json_print(hs_json_guest(&guest));
		else
			hs_print_guest(stdout, &guest, !o.cfg.no_fine);
	}
	hs_pipeline_destroy(p);
	free(o.pids.pids);
	return status;
}
