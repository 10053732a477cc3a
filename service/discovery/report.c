/* SPDX-License-Identifier: Apache-2.0 */
/* What rules would find, for people. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "discovery.h"
#include "hs/remote.h"

static void add(json_t *json, pid_t pid, const char *name, const struct hs_rule_result *r, const char *reason)
{
	char safe_name[HS_NAME_MAX], safe[512];

	(void)snprintf(safe_name, sizeof(safe_name), "%s", name);
	(void)snprintf(safe, sizeof(safe), "%s", reason);
	hs_text_mend(safe_name);
	hs_text_mend(safe);
	(void)json_array_append_new(json_object_get(json, "found"),
				    json_pack("{s:s,s:i,s:s,s:s,s:I,s:b,s:s}", "rule", r->rule, "pid", (int)pid, "name",
					      safe_name, "group", r->opt_in.group, "max_shared_bytes",
					      (json_int_t)r->opt_in.max_shared_bytes, "taken", !safe[0], "reason",
					      safe));
}

/* A guest in which no call may be made cannot share: its seccomp filter is put to the question. */
static void ask(const struct hs_host *host, pid_t pid, struct hs_error *err)
{
	struct hs_remote *r = NULL;

	err->text[0] = '\0';
	if (hs_remote_open_dry(&r, host, pid, err) && !err->text[0])
		(void)snprintf(err->text, sizeof(err->text), "no call can be made in it");
	hs_remote_close(r);
}

static bool is_known(const struct hs_discovery_request *q, pid_t pid)
{
	for (size_t i = 0; i < q->nr_known; i++)
		if (q->known[i].pid == pid)
			return true;
	return false;
}

json_t *hs_discovery_json(const struct hs_discovery_request *q)
{
	json_t *json = json_pack("{s:[],s:[],s:s}", "rules", "found", "error", "");
	struct hs_discovery_guest *guest = NULL;
	struct hs_error err = { "" };
	bool complete = true;
	size_t nr = 0;

	for (size_t i = 0; json && i < hs_rules_nr(q->rules); i++)
		(void)json_array_append_new(json_object_get(json, "rules"),
					    json_pack("{s:s,s:s}", "rule", hs_rules_name(q->rules, i), "source",
						      hs_rules_is_of_domains(q->rules, i) ? "libvirt" : "process"));
	if (!json)
		return NULL;
	if (hs_discovery_walk(q, &guest, &nr, &complete, &err) == 0 && !complete)
		(void)snprintf(err.text, sizeof(err.text),
			       "some processes could not be looked at, for want of memory or descriptors");
	(void)json_object_set_new(json, "error", json_string(err.text));
	for (size_t i = 0; i < nr; i++) {
		const struct hs_discovery_guest *g = &guest[i];
		char name[HS_NAME_MAX];
		struct hs_error why = { "" };

		(void)snprintf(name, sizeof(name), "pid-%d", (int)g->process.pid);
		if (!g->result.refused[0] && !is_known(q, g->process.pid))
			ask(q->host, g->process.pid, &why);
		add(json, g->process.pid, g->result.name[0] ? g->result.name : name, &g->result,
		    g->result.refused[0] ? g->result.refused : why.text);
	}
	free(guest);
	return json;
}

void hs_discovery_json_domain(json_t *json, const char *name, const struct hs_rule_result *result)
{
	if (result->found)
		add(json, 0, name, result, result->refused);
}
