/* What is only asked of the daemon, and answered at once from its model. */
#include "api_internal.h"

#include <stdlib.h>
#include <string.h>

#include "accept_header.h"
#include "metrics.h"
#include "service/common/json.h"

static json_int_t num(uint64_t v)
{
	return (json_int_t)v;
}

static json_t *guest_summary(const struct hs_model_guest *g)
{
	const struct hs_guest_report *r = &g->report;
	const struct hs_ledger *l = &r->ledger;

	return json_pack("{s:s,s:s,s:s,s:i,s:b,s:s,s:I,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "id",
			 g->id, "uuid", g->uuid, "source", g->source == HS_SOURCE_LIBVIRT ? "libvirt" : "process",
			 "pid", (int)g->pid, "opted_in", g->opt_in.on, "group", g->opt_in.group, "max_shared_bytes",
			 num(g->opt_in.max_shared_bytes), "share", hs_opt_in_scope_name(g->scope), "state",
			 hs_guest_state_name(g->state), "reason", hs_guest_reason_name(g->obstacle.reason),
			 "reason_text", g->obstacle.text, "memory_bytes", num(r->bytes), "shared_pages", num(l->shared),
			 "zero_pages", num(l->zero), "saved_bytes", num(l->saved_bytes), "net_saved_bytes",
			 (json_int_t)l->net_saved_bytes, "could_save_bytes", num(r->could_save_bytes), "hot_huge_pages",
			 num(r->hot), "hot_huge_pages_still_huge", num(r->hot_still_huge), "cold_huge_pages",
			 num(r->cold), "huge_pages", num(r->nr_huge));
}

void hs_api_get_status(struct hs_api_request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);
	size_t opted_in = 0, sharing = 0;
	uint64_t could = 0;
	json_t *out;

	for (size_t i = 0; i < m->nr_guests; i++) {
		opted_in += m->guests[i].opt_in.on;
		sharing += m->guests[i].has_report && m->guests[i].report.ledger.saved_bytes > 0;
		could += m->guests[i].has_report ? m->guests[i].report.could_save_bytes : 0;
	}
	out = json_pack("{s:s,s:I,s:I,s:s,s:s,s:s,s:I,s:b,s:s,s:s,s:s}", "version", m->version, "started_at",
			(json_int_t)m->started_at_s, "uptime_ms", num(m->uptime_ms), "mode", hs_mode_name(m->mode),
			"effective", hs_mode_name(m->effective), "mode_reason", m->mode_reason, "mode_changes",
			num(m->nr_mode_changes), "ksm_taken", m->engaged, "trouble", m->obstacle.text, "trouble_reason",
			hs_guest_reason_name(m->obstacle.reason), "undo_pending", m->undo_pending);
	(void)json_object_update_new(
	    out, json_pack(
		     "{s:{s:s,s:I,s:I,s:I,s:I},s:{s:i,s:i,s:i},s:{s:I,s:I,s:I},s:{s:b,s:b,s:s,s:s},s:{s:I,s:I,s:f},s:"
		     "{s:f,s:f,s:I}}",
		     "scan", "stage", m->stage, "stage_ms", num(m->stage_ms), "silent_ms", num(m->silent_ms), "cycles",
		     num(m->cycles), "last_cycle_ms", num(m->last_cycle_ms), "guests", "known", (int)m->nr_guests,
		     "opted_in", (int)opted_in, "sharing", (int)sharing, "saving", "saved_bytes",
		     num(m->totals.ledger.saved_bytes), "net_saved_bytes", (json_int_t)m->totals.ledger.net_saved_bytes,
		     "could_save_bytes", num(could), "libvirt", "configured", m->libvirt_configured, "connected",
		     m->libvirt_connected, "uri", m->libvirt_uri, "text", m->libvirt_text, "memory", "total_bytes",
		     num(m->memory_total_bytes), "available_bytes", num(m->memory_available_bytes), "psi_some_avg10",
		     m->psi_some_avg10, "process", "cpu_seconds", (double)m->process_cpu_us / 1e6, "scan_cpu_seconds",
		     (double)m->scan_cpu_us / 1e6, "rss_bytes", num(m->rss_bytes)));
	/* What is not known is left out. */
	(void)json_object_set_new(out, "share", json_string(hs_opt_in_scope_name(m->scope)));
	if (m->engaged && m->has_totals)
		(void)json_object_set_new(out, "overcommit",
					  json_pack("{s:I,s:I,s:b}", "bytes", num(m->totals.overcommit_bytes),
						    "max_bytes", num(m->totals.max_overcommit_bytes), "limit_reached",
						    m->totals.overcommit_full != 0));
	if (m->has_kept)
		(void)json_object_set_new(
		    out, "kept",
		    json_pack("{s:I,s:i}", "bytes", num(m->kept.bytes), "processes", (int)m->kept.nr_processes));
	if (m->has_totals)
		(void)json_object_set_new(out, "totals", hs_json_totals(&m->totals));
	if (m->has_ksm)
		(void)json_object_set_new(
		    out, "ksm",
		    json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "pages_shared", num(m->ksm.pages_shared), "pages_sharing",
			      num(m->ksm.pages_sharing), "pages_unshared", num(m->ksm.pages_unshared), "pages_scanned",
			      num(m->ksm.pages_scanned), "full_scans", num(m->ksm.full_scans), "zero_pages",
			      num(m->ksm.zero_pages)));
	hs_api_answer(r->x, 200, out, NULL);
}

void hs_api_get_guests(struct hs_api_request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);
	json_t *list = json_array();

	for (size_t i = 0; i < m->nr_guests; i++)
		(void)json_array_append_new(list, guest_summary(&m->guests[i]));
	hs_api_answer(r->x, 200, json_pack("{s:o}", "guests", list), NULL);
}

/* By name, UUID, or "pid-N", which a domain's process has as well. */
static const struct hs_model_guest *find(const struct hs_model *m, const char *guest)
{
	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_model_guest *g = &m->guests[i];
		char pid[32];

		(void)snprintf(pid, sizeof(pid), "pid-%d", (int)g->pid);
		if (strcmp(g->id, guest) == 0 || (g->uuid[0] && strcmp(g->uuid, guest) == 0) ||
		    (g->pid && strcmp(pid, guest) == 0))
			return g;
	}
	return NULL;
}

void hs_api_get_guest(struct hs_api_request *r)
{
	const struct hs_model_guest *g = find(r->control->model(r->control->ctx), r->guest);
	json_t *out;

	if (!g) {
		hs_api_fail(r->x, 404, "no-such-guest", "there is no such guest; /v1/guests lists them");
		return;
	}
	out = guest_summary(g);
	if (g->has_report)
		(void)json_object_set_new(out, "report", hs_json_guest(&g->report));
	hs_api_answer(r->x, 200, out, NULL);
}

void hs_api_get_history(struct hs_api_request *r)
{
	const struct hs_history *h = r->control->history(r->control->ctx);
	const char *text = hs_http_query(r->x, "seconds");
	json_t *list;
	size_t skip = 0;

	if (text) {
		char *end;
		unsigned long long s = strtoull(text, &end, 10);

		if (*text < '0' || *text > '9' || *end || s > 31536000) {
			hs_api_fail(r->x, 400, "bad-request", "seconds: a number of seconds is wanted, such as 3600");
			return;
		}
		skip = s / h->resolution_s < h->nr ? h->nr - (size_t)(s / h->resolution_s) : 0;
	}
	list = json_array();
	for (size_t i = skip; i < h->nr; i++) {
		const struct hs_history_point *p = &h->points[(h->first + i) % h->room];

		(void)json_array_append_new(
		    list, json_pack("{s:I,s:s,s:i,s:i,s:I,s:I,s:I,s:I,s:f,s:f}", "at", (json_int_t)p->at_s, "mode",
				    hs_mode_name((enum hs_mode)p->mode), "guests", (int)p->nr_guests, "sharing",
				    (int)p->nr_sharing, "saved_bytes", num(p->saved_bytes), "net_saved_bytes",
				    (json_int_t)p->net_saved_bytes, "could_save_bytes", num(p->could_save_bytes),
				    "memory_available_bytes", num(p->memory_available_bytes), "cpu_seconds",
				    (double)p->process_cpu_us / 1e6, "ksmd_cpu_seconds", (double)p->ksmd_cpu_us / 1e6));
	}
	hs_api_answer(r->x, 200, json_pack("{s:i,s:o}", "resolution_s", (int)h->resolution_s, "points", list), NULL);
}

/* What would be saved, by guest and by group. */
void hs_api_get_report(struct hs_api_request *r)
{
	const struct hs_model *m = r->control->model(r->control->ctx);
	json_t *guests = json_array(), *groups = json_object();
	uint64_t could = 0, saved = 0, memory = 0;

	for (size_t i = 0; i < m->nr_guests; i++) {
		const struct hs_model_guest *g = &m->guests[i];
		const struct hs_guest_report *p = &g->report;
		json_t *group;

		if (!g->opt_in.on)
			continue;
		(void)json_array_append_new(
		    guests,
		    json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "id", g->id, "group", g->opt_in.group,
			      "reason", hs_guest_reason_name(g->obstacle.reason), "reason_text", g->obstacle.text,
			      "memory_bytes", num(p->bytes), "could_save_bytes", num(p->could_save_bytes),
			      "saved_bytes", num(p->ledger.saved_bytes), "zero_pages", num(p->zero_pages),
			      "duplicate_pages", num(p->duplicate_pages), "cold_identical_pages",
			      num(p->cold_identical), "known_pages", num(p->hashed_pages)));
		group = json_object_get(groups, g->opt_in.group);
		if (!group) {
			group = json_pack("{s:I,s:I,s:I,s:I}", "guests", (json_int_t)0, "memory_bytes", (json_int_t)0,
					  "could_save_bytes", (json_int_t)0, "saved_bytes", (json_int_t)0);
			(void)json_object_set_new(groups, g->opt_in.group, group);
		}
		json_integer_set(json_object_get(group, "guests"),
				 json_integer_value(json_object_get(group, "guests")) + 1);
		json_integer_set(json_object_get(group, "memory_bytes"),
				 json_integer_value(json_object_get(group, "memory_bytes")) + num(p->bytes));
		json_integer_set(json_object_get(group, "could_save_bytes"),
				 json_integer_value(json_object_get(group, "could_save_bytes")) +
				     num(p->could_save_bytes));
		json_integer_set(json_object_get(group, "saved_bytes"),
				 json_integer_value(json_object_get(group, "saved_bytes")) +
				     num(p->ledger.saved_bytes));
		could += p->could_save_bytes;
		saved += p->ledger.saved_bytes;
		memory += p->bytes;
	}
	hs_api_answer(r->x, 200,
		      json_pack("{s:s,s:I,s:I,s:I,s:I,s:o,s:o}", "effective", hs_mode_name(m->effective), "cycles",
				num(m->cycles), "memory_bytes", num(memory), "could_save_bytes", num(could),
				"saved_bytes", num(saved), "groups", groups, "guests", guests),
		      NULL);
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

void hs_api_get_metrics(struct hs_api_request *r)
{
	const bool open = hs_accept_header_openmetrics(hs_http_header(r->x, "Accept"));
	size_t len;
	char *text = hs_metrics_text(r->control->model(r->control->ctx), open, &len);

	if (text)
		hs_http_reply(r->x, 200,
			      open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				   : "text/plain; version=0.0.4; charset=utf-8",
			      text, len, NULL);
	else
		hs_api_fail(r->x, 500, "out-of-memory", "out of memory");
	free(text);
}
