/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diagnose: through the daemon, which knows its guests; without one, or with another configuration than its own, from
 * here, as well as it goes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/common/diagnose.h"
#include "service/discovery/discovery.h"
#include "service_commands.h"
#include "terminal.h"

#define CONFIG_PATH "/etc/hs-share/hs-share.conf"

/* What the rules of this file find. NULL: there are none. An error is a finding of its own. */
static json_t *look_by_rules(const char *path, const struct hs_host *host)
{
	struct hs_rule_texts *texts = malloc(sizeof(*texts));
	struct hs_rules *rules = NULL;
	struct hs_error err = { "" };
	json_t *out = NULL;
	int line = 0, rc = texts ? hs_rules_load(texts, path, &err) : hs_error_set(&err, -ENOMEM, "out of memory");

	if (!rc && texts->nr)
		rc = hs_rules_compile(&rules, texts, &line, &err);
	if (rc)
		out = json_pack("{s:[],s:[],s:s}", "rules", "found", "error", err.text);
	else if (rules)
		out = hs_discovery_json(&(struct hs_discovery_request){ .host = host, .rules = rules });
	hs_rules_unref(rules);
	free(texts);
	return out;
}

static json_t *look_from_here(const struct hs_ctl_options *o, int *status)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_finding *found = NULL;
	struct hs_error err = { "" };
	struct hs_probe probe;
	json_t *answer, *by_rules;
	size_t nr;

	hs_diagnose_probe(&host, &probe);
	if (hs_diagnose(&(struct hs_diagnose_request){ .host = &host, .probe = &probe }, &found, &nr, &err)) {
		hs_complain("%s", err.text);
		*status = HS_EXIT_FAILED;
		return NULL;
	}
	answer = hs_diagnose_json(found, nr);
	free(found);
	by_rules = look_by_rules(o->config ? o->config : CONFIG_PATH, &host);
	/* Without a configuration there are no rules, unless one was named. */
	if (by_rules &&
	    (o->config || !*json_string_value(json_object_get(by_rules, "error")) || !access(CONFIG_PATH, F_OK)))
		(void)json_object_set(answer, "discovery", by_rules);
	json_decref(by_rules);
	return answer;
}

int hs_ctl_diagnose(const struct hs_ctl_options *o)
{
	const struct hs_client_call call = { .method = "GET", .path = "/v1/diagnose", .timeout_s = 60 };
	const int failed = HS_EXIT_FAILED;
	struct hs_error err = { "" };
	int status = 0, obstacles;
	json_t *answer = NULL;

	if (!o->config) {
		answer = hs_ctl_try(o, &call, &status, &err);
		if (!answer && status != HS_EXIT_NO_DAEMON) {
			hs_complain("%s", err.text);
			return status;
		}
	}
	if (!answer) {
		char safe[520];

		if (!o->json)
			(void)printf("(looked at from here%s%s)\n", err.text[0] ? ": " : "",
				     hs_terminal_safe(safe, sizeof(safe), err.text, sizeof(safe) - 1));
		answer = look_from_here(o, &status);
		if (!answer)
			return status;
	}
	obstacles = (int)json_integer_value(json_object_get(answer, "obstacles"));
	if (*(json_string_value(json_object_get(json_object_get(answer, "discovery"), "error")) ?: ""))
		obstacles++;
	status = hs_ctl_show(o, answer, &failed, hs_show_diagnose);
	return status ? status : obstacles ? HS_EXIT_FAILED : 0;
}
