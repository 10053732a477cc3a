/* SPDX-License-Identifier: Apache-2.0 */
/* What is only asked of the daemon, and answered at once from its model. */
#include "api_internal.h"

#include <string.h>

#include "service/common/json.h"

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

json_t *hs_api_guest_summary(const struct hs_model_guest *g)
{
	const struct hs_guest_report *r = hs_model_report(g);
	const struct hs_ledger *l = &r->ledger;

	return json_pack(
	    "{s:s,s:s,s:s,s:i,s:b,s:s,s:I,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "id",
	    g->id, "uuid", g->uuid, "source", g->source == HS_SOURCE_LIBVIRT ? "libvirt" : "process", "pid",
	    (int)g->pid, "opted_in", g->opt_in.on, "group", g->opt_in.group, "max_shared_bytes",
	    num(g->opt_in.max_shared_bytes), "share", hs_opt_in_scope_name(g->scope), "rule", g->rule, "state",
	    hs_guest_state_name(g->state), "reason", hs_guest_reason_name(g->obstacle.reason), "reason_text",
	    g->obstacle.text, "memory_bytes", num(r->bytes), "shared_pages", num(l->shared), "zero_pages", num(l->zero),
	    "saved_bytes", num(l->saved_bytes), "net_saved_bytes", (json_int_t)l->net_saved_bytes, "could_save_bytes",
	    num(r->could_save_bytes), "could_save_at_most_bytes", num(r->could_save_at_most_bytes), "hot_huge_pages",
	    num(r->hot), "hot_huge_pages_still_huge", num(r->hot_still_huge), "cold_huge_pages", num(r->cold),
	    "huge_pages", num(r->nr_huge));
}

/* One for all: of several connections the first that is down, or else the first. */
static json_t *libvirt(const struct hs_model *m)
{
	json_t *list = json_array();
	size_t shown = 0;
	bool all = m->nr_links != 0;

	for (size_t i = 0; i < m->nr_links; i++) {
		const struct hs_model_link *l = &m->links[i];

		if (all && !l->connected)
			shown = i;
		all = all && l->connected;
		(void)json_array_append_new(
		    list, json_pack("{s:s,s:b,s:s}", "uri", l->uri, "connected", l->connected, "text", l->text));
	}
	return json_pack("{s:b,s:b,s:s,s:s,s:o}", "configured", m->nr_links != 0, "connected", all, "uri",
			 m->nr_links ? m->links[shown].uri : "", "text", m->nr_links ? m->links[shown].text : "",
			 "connections", list);
}

void hs_api_get_status(struct hs_api_request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);
	const struct hs_model_counts *c = &m->counts;
	json_t *out;

	out = json_pack("{s:s,s:I,s:I,s:s,s:s,s:s,s:I,s:b,s:s,s:s,s:s}", "version", m->version, "started_at",
			(json_int_t)m->started_at_s, "uptime_ms", num(m->uptime_ms), "mode", hs_mode_name(m->mode),
			"effective", hs_mode_name(m->effective), "mode_reason", m->mode_reason, "mode_changes",
			num(m->nr_mode_changes), "ksm_taken", m->engaged, "trouble", m->obstacle.text, "trouble_reason",
			hs_guest_reason_name(m->obstacle.reason), "undo_pending", m->undo_pending);
	(void)json_object_update_new(
	    out,
	    json_pack("{s:{s:s,s:I,s:I,s:I,s:I},s:{s:i,s:i,s:i},s:{s:I,s:I,s:I,s:I},s:o,s:{s:I,s:I,s:f},s:"
		      "{s:f,s:f,s:I}}",
		      "scan", "stage", m->stage, "stage_ms", num(m->stage_ms), "silent_ms", num(m->silent_ms), "cycles",
		      num(m->cycles), "last_cycle_ms", num(m->last_cycle_ms), "guests", "known", (int)c->nr_known,
		      "opted_in", (int)c->nr_opted_in, "sharing", (int)c->nr_sharing, "saving", "saved_bytes",
		      num(m->totals.ledger.saved_bytes), "net_saved_bytes",
		      (json_int_t)m->totals.ledger.net_saved_bytes, "could_save_bytes", num(c->could_save_bytes),
		      "could_save_at_most_bytes", num(c->could_save_at_most_bytes), "libvirt", libvirt(m), "memory",
		      "total_bytes", num(m->memory_total_bytes), "available_bytes", num(m->memory_available_bytes),
		      "psi_some_avg10", m->psi_some_avg10, "process", "cpu_seconds", (double)m->process_cpu_us / 1e6,
		      "scan_cpu_seconds", (double)m->scan_cpu_us / 1e6, "rss_bytes", num(m->rss_bytes)));
	(void)json_object_set_new(out, "share", json_string(hs_opt_in_scope_name(m->scope)));
	/* By the engine; what stays shared without one is below. */
	(void)json_object_set_new(out, "overcommit",
				  json_pack("{s:I,s:I,s:b}", "bytes", num(m->engaged ? m->totals.overcommit_bytes : 0),
					    "max_bytes", num(m->engaged ? m->totals.max_overcommit_bytes : 0),
					    "limit_reached", m->engaged && m->totals.overcommit_full));
	if (m->has_kept)
		(void)json_object_set_new(
		    out, "kept",
		    json_pack("{s:I,s:i}", "bytes", num(m->kept.bytes), "processes", (int)m->kept.nr_processes));
	if (m->has_totals)
		(void)json_object_set_new(out, "totals", hs_json_totals(&m->totals));
	if (m->has_ksm)
		(void)json_object_set_new(
		    out, "ksm",
		    json_pack("{s:b,s:I,s:I,s:I,s:I,s:I,s:I}", "current", m->ksm.ksmd_runs, "pages_shared",
			      num(m->ksm.pages_shared), "pages_sharing", num(m->ksm.pages_sharing), "pages_unshared",
			      num(m->ksm.pages_unshared), "pages_scanned", num(m->ksm.pages_scanned), "full_scans",
			      num(m->ksm.full_scans), "zero_pages", num(m->ksm.zero_pages)));
	hs_api_answer(r->x, 200, out, NULL);
}

void hs_api_get_guest(struct hs_api_request *r)
{
	const struct hs_model_guest *g = r->control->guest(r->control->ctx, r->guest);
	json_t *out;

	if (!g) {
		hs_api_fail(r->x, 404, "no-such-guest",
			    "there is no such guest; `hs-share guests` (/v1/guests) lists them");
		return;
	}
	out = hs_api_guest_summary(g);
	if (g->report)
		(void)json_object_set_new(out, "report", hs_json_guest(g->report));
	hs_api_answer(r->x, 200, out, NULL);
}

void hs_api_get_mode(struct hs_api_request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);

	hs_api_answer(r->x, 200,
		      json_pack("{s:s,s:s,s:s}", "mode", hs_mode_name(m->mode), "effective", hs_mode_name(m->effective),
				"reason", m->mode_reason),
		      NULL);
}

/* The text is JSON already. */
static void on_diagnosed(void *arg, int rc, const char *text)
{
	if (rc)
		hs_api_on_done(arg, rc, text);
	else
		hs_http_reply(arg, 200, HS_API_JSON, text, strlen(text), NULL);
}

void hs_api_get_diagnose(struct hs_api_request *r)
{
	r->control->diagnose(r->control->ctx, (struct hs_done){ on_diagnosed, r->x });
}
