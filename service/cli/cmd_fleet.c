/* SPDX-License-Identifier: Apache-2.0 */
/* Many hosts at a look, asked of the Prometheus that has their figures; no service is needed where it runs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "fleet.h"

#define TIMEOUT_S     30
#define LEAST_PERCENT 5
#define LIMIT         10

enum {
	OPT_URL = 256,
	OPT_TOGETHER,
	OPT_JSON,
	OPT_MATCH,
	OPT_CA,
	OPT_CERTIFICATE,
	OPT_KEY,
	OPT_TOKEN,
	OPT_TIMEOUT,
	OPT_AT_LEAST,
	OPT_LIMIT
};

struct options {
	struct hs_prometheus_config prometheus;
	struct hs_together_options together;
	bool wants_together, json, has_of_together;
};

static const struct argp_option option_list[] = {
	{ "url", OPT_URL, "URL", 0,
	  "Prometheus, VictoriaMetrics or Thanos: what stands before /api in its URLs. Default: http://127.0.0.1:9090.",
	  1 },
	{ "match", OPT_MATCH, "MATCHERS", 0, "Of these hosts alone, by their labels, such as cluster=\"east\".", 1 },
	{ "together", OPT_TOGETHER, NULL, 0,
	  "Also how much guests of different hosts have in common, by their sketches, and which should live together.",
	  2 },
	{ "at-least", OPT_AT_LEAST, "PERCENT", 0,
	  "No advice where placement gains less of what a group's guests hold. Default: 5.", 2 },
	{ "limit", OPT_LIMIT, "N", 0, "Name at most so many pairs of guests a group. Default: 10.", 2 },
	{ "json", OPT_JSON, NULL, 0, "Print JSON.", 3 },
	{ "token-file", OPT_TOKEN, "FILE", 0, "Send what stands in it as bearer token; of its owner alone (0600).", 4 },
	{ "ca", OPT_CA, "FILE", 0, "Trust this CA for https, in PEM. Default: those of the system.", 4 },
	{ "certificate", OPT_CERTIFICATE, "FILE", 0, "Show this certificate, in PEM.", 4 },
	{ "key", OPT_KEY, "FILE", 0, "Its key.", 4 },
	{ "timeout", OPT_TIMEOUT, "SECONDS", 0, "Wait for an answer so long. Default: 30.", 4 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case OPT_URL:
		o->prometheus.url = arg;
		break;
	case OPT_MATCH:
		o->together.match = arg;
		break;
	case OPT_TOGETHER:
		o->wants_together = true;
		break;
	case OPT_AT_LEAST:
		o->together.least_percent = hs_parse_u32(state, "--at-least", arg, 1, 100);
		o->has_of_together = true;
		break;
	case OPT_LIMIT:
		o->together.limit = hs_parse_u32(state, "--limit", arg, 1, 100000);
		o->has_of_together = true;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_TOKEN:
		o->prometheus.token_file = arg;
		break;
	case OPT_CA:
		o->prometheus.ca = arg;
		break;
	case OPT_CERTIFICATE:
		o->prometheus.certificate = arg;
		break;
	case OPT_KEY:
		o->prometheus.key = arg;
		break;
	case OPT_TIMEOUT:
		o->prometheus.timeout_s = hs_parse_u32(state, "--timeout", arg, 1, 3600);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is one word too many", arg);
		break;
	case ARGP_KEY_END:
		if (o->has_of_together && !o->wants_together)
			argp_error(state, "--at-least and --limit are of use with --together alone");
		if (!o->prometheus.certificate != !o->prometheus.key)
			argp_error(state, "--certificate and --key go together");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int ask(const struct options *o, json_t **out, struct hs_error *err)
{
	struct hs_prometheus *p = NULL;
	json_t *together = NULL;
	int rc = hs_prometheus_open(&p, &o->prometheus, err);

	if (!rc)
		rc = hs_hosts_ask(p, o->together.match, out, err);
	if (!rc && o->wants_together)
		rc = hs_together_ask(p, &o->together, &together, err);
	if (!rc && o->wants_together)
		(void)json_object_set_new(*out, "together", together);
	hs_prometheus_close(p);
	return rc;
}

int hs_cmd_fleet(int argc, char **argv)
{
	static const struct argp argp = {
		.options = option_list,
		.parser = parse,
		.doc =
		    "All hosts that a Prometheus has figures of: what is saved, overcommitted (what it would take to "
		    "end all sharing), and could be saved, their troubles and versions, and where to turn it on next.\v"
		    "Exit status: 0 done, 1 failed, 2 wrong use.",
	};
	struct options o = { .prometheus = { .url = "http://127.0.0.1:9090", .timeout_s = TIMEOUT_S },
			     .together = { .match = "", .least_percent = LEAST_PERCENT, .limit = LIMIT } };
	struct hs_error err = { "" };
	json_t *fleet = NULL;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (ask(&o, &fleet, &err)) {
		json_decref(fleet);
		hs_complain("%s", err.text);
		return HS_EXIT_FAILED;
	}
	if (o.json)
		return hs_json_print(fleet);
	hs_hosts_show(fleet);
	if (o.wants_together)
		hs_together_show(json_object_get(fleet, "together"));
	json_decref(fleet);
	return fflush(stdout) ? HS_EXIT_FAILED : 0;
}
