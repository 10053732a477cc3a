/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon knows, put together for the endpoint; and its history. */
#include "daemon_internal.h"

#include <errno.h>
#include <hs_version.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "service/common/descriptors.h"
#include "service/common/log.h"
#include "base/procstat.h"
#include "base/times.h"

static void because(struct hs_model_guest *m, enum hs_reason reason, const char *text)
{
	hs_model_obstacle_set(&m->obstacle, reason, text);
}

/* Watched and opted in, and still nothing is shared: why? */
static void why_nothing(const struct hs_daemon *d, struct hs_model_guest *m)
{
	const struct hs_guest_report *r = m->report;

	if (d->snap.obstacle.reason)
		because(m, d->snap.obstacle.reason, d->snap.obstacle.text);
	else if (r && r->merge_obstacle.error)
		because(m, r->merge_obstacle.error == -ENOTSUP ? HS_REASON_NO_FEATURE : HS_REASON_TROUBLE,
			r->merge_obstacle.text);
	else if (r && r->look_obstacle.error)
		because(m, HS_REASON_TROUBLE, r->look_obstacle.text);
	else if (!r || r->undecided * 2 > r->nr_huge - r->absent || !d->snap.cycles)
		because(m, HS_REASON_LEARNING,
			"it has not been watched for long enough yet: a first cycle takes some ten seconds");
	else if (d->effective == HS_MODE_OBSERVE)
		because(m, HS_REASON_OBSERVE_ONLY,
			"the service only observes; `hs-share mode save` shares, `hs-share report` says what that "
			"would save");
	else if (!r->ledger.shared && !r->ledger.zero && r->nr_vmas_dropped)
		because(m, HS_REASON_NO_MAPPINGS,
			"its process has so many mappings of its own that sharing would pass vma_percent ([merge]) of "
			"vm.max_map_count: raise one of the two, or let it map less");
	else if (r->overcommit_full)
		because(m, HS_REASON_OVERCOMMIT,
			"what is shared stays, and nothing further is shared: ending all sharing at once would take "
			"more memory than max_overcommit or max_overcommit_percent ([merge]) allow, of the host or of "
			"a limit of "
			"its memory cgroups");
	else if (!r->ledger.shared && !r->ledger.zero)
		because(m, HS_REASON_NOTHING_TO_GAIN,
			"none of its cold memory is zero, or identical to other cold memory of its group, as far as it "
			"was seen");
	else
		because(m, HS_REASON_NONE, "");
}

static void fill_guest(const struct hs_daemon *d, struct hs_daemon_guest *g, struct hs_model_guest *m)
{
	const struct hs_guest_report *r = hs_scan_thread_report_of(&d->snap, g->scan_pid, &g->report_at);

	memset(m, 0, sizeof(*m));
	memcpy(m->id, g->id, sizeof(m->id));
	memcpy(m->uuid, g->uuid, sizeof(m->uuid));
	m->source = g->source;
	m->pid = g->pid;
	m->opt_in = g->opt_in;
	if (g->opt_in.on && !g->in_metadata.on && !g->by_request.on)
		memcpy(m->rule, g->of_domain.found ? g->of_domain.rule : g->of_process.rule, HS_RULE_NAME_MAX);
	m->scope = g->opt_in.scope > d->cfg.pipeline.scope ? g->opt_in.scope : d->cfg.pipeline.scope;
	m->report = r;
	if (g->place == HS_PLACE_LEAVING || g->undo_text[0] ||
	    (g->place == HS_PLACE_IN &&
	     (!g->opt_in.on || (d->effective == HS_MODE_OFF && d->look.state != HS_LOOK_WAITING)))) {
		m->state = HS_GUEST_LEAVING;
		because(m,
			g->undo_text[0]     ? HS_REASON_UNDO_PENDING
			: g->refusal.reason ? g->refusal.reason
			: !g->opt_in.on     ? HS_REASON_NOT_OPTED_IN
					    : HS_REASON_MODE_OFF,
			g->undo_text[0]     ? g->undo_text
			: g->refusal.reason ? g->refusal.text
					    : "its sharing is being undone");
	} else if (!g->pid) {
		m->state = g->obstacle.reason == HS_REASON_NO_PROCESS ? HS_GUEST_REFUSED : HS_GUEST_NOT_RUNNING;
		because(m, g->obstacle.reason == HS_REASON_NO_PROCESS ? HS_REASON_NO_PROCESS : HS_REASON_NOT_RUNNING,
			g->obstacle.reason == HS_REASON_NO_PROCESS ? g->obstacle.text : "it is not running");
	} else if (g->obstacle.reason) {
		m->state = HS_GUEST_REFUSED;
		because(m, g->obstacle.reason, g->obstacle.text);
	} else if (!g->opt_in.on) {
		m->state = HS_GUEST_NOT_OPTED_IN;
		because(m, HS_REASON_NOT_OPTED_IN,
			g->of_domain.refused[0] ? g->of_domain.refused
						: "it is not opted in: `hs-share opt-in` does that");
	} else if (d->effective == HS_MODE_OFF) {
		m->state = HS_GUEST_WAITING;
		because(m, HS_REASON_MODE_OFF,
			"the service is off: `hs-share mode observe` or `hs-share mode save` turns it on");
	} else if (g->place == HS_PLACE_IN) {
		m->state = d->snap.engaged && d->effective == HS_MODE_SAVE ? HS_GUEST_SHARING : HS_GUEST_OBSERVED;
		why_nothing(d, m);
	} else if (g->refusal.reason) {
		m->state = HS_GUEST_REFUSED;
		because(m, g->refusal.reason, g->refusal.text);
	} else {
		m->state = HS_GUEST_WAITING;
		because(m, HS_REASON_LEARNING, "it will be taken up at the end of the running cycle");
	}
}

void hs_daemon_mend_guest(struct hs_model_guest *m)
{
	hs_text_mend(m->id);
	hs_text_mend(m->obstacle.text);
}

/*
 * The scan's thread may hang where no check of ours can be: in a guest's memory that somebody serves by userfaultfd and
 * does not, in a lock of the kernel's. Undoing all sharing of a large host takes minutes, and gives a sign at each
 * step.
 */
static void note_silence(struct hs_daemon *d)
{
	const bool silent = d->snap.alive_ms >= HS_DAEMON_SILENT_MS;

	if (silent && !d->snap.obstacle.reason) {
		d->snap.obstacle.reason = HS_REASON_TROUBLE;
		(void)snprintf(d->snap.obstacle.text, sizeof(d->snap.obstacle.text),
			       "the scan's thread (hs-scan) has given no sign of life for %" PRIu64
			       " s, in stage %s: /proc/%d/task/*/stack shows what it waits for in the kernel",
			       d->snap.alive_ms / 1000, d->snap.stage, (int)getpid());
	}
	if (silent && !d->silence_reported)
		hs_log(HS_LOG_ERROR, "%s", d->snap.obstacle.text);
	else if (!silent && d->silence_reported)
		hs_log(HS_LOG_WARNING, "the scan's thread goes on");
	d->silence_reported = silent;
}

/* The first guest's that has one, and how many others there are: each of them has its own text as its reason. */
static void fill_undo_pending(struct hs_daemon *d, struct hs_model *m)
{
	const struct hs_daemon_guest *g = d->nr_undo ? d->guests : NULL;
	char others[48] = "";

	memcpy(m->undo_pending, d->snap.undo_pending, sizeof(m->undo_pending));
	while (g && !g->undo_text[0])
		g = g->next;
	if (d->nr_undo > 1)
		(void)snprintf(others, sizeof(others), "; and of %zu further guests", d->nr_undo - 1);
	if (g)
		(void)snprintf(m->undo_pending, sizeof(m->undo_pending), "guest %s: %.320s%s", g->id, g->undo_text,
			       others);
	hs_text_mend(m->undo_pending);
}

static void fill_links(const struct hs_daemon *d, struct hs_model *m)
{
	m->nr_links = d->nr_links;
	for (size_t i = 0; i < d->nr_links; i++) {
		struct hs_model_link *l = &m->links[i];

		memcpy(l->uri, d->links[i].uri, sizeof(l->uri));
		memcpy(l->text, d->links[i].text, sizeof(l->text));
		l->connected = d->links[i].up;
		hs_text_mend(l->uri);
		hs_text_mend(l->text);
	}
}

static void fill_counts(struct hs_daemon *d, struct hs_model *m)
{
	const struct hs_scan_reports *r = d->snap.reports;

	m->counts = d->counts;
	if (!r)
		return;
	m->counts.nr_sharing = r->nr_sharing;
	m->counts.could_save_bytes = r->could_save_bytes;
	m->counts.could_save_at_most_bytes = r->could_save_at_most_bytes;
}

static void fill_whole(struct hs_daemon *d, struct hs_model *m)
{
	hs_scan_thread_snapshot(d->scan, &d->snap);
	note_silence(d);
	m->version = HS_VERSION;
	m->started_at_s = d->started_at_s;
	m->uptime_ms = (hs_daemon_now_us(d) - d->started_us) / 1000;
	m->mode = d->mode;
	m->effective = d->effective;
	memcpy(m->mode_reason, d->mode_reason, sizeof(m->mode_reason));
	m->nr_mode_changes = d->nr_mode_changes;
	m->engaged = d->snap.engaged;
	m->obstacle = d->snap.obstacle;
	fill_undo_pending(d, m);
	m->look = d->look;
	m->scope = d->cfg.pipeline.scope;
	m->has_kept = d->snap.has_kept;
	m->kept = d->snap.kept;
	m->stage = d->snap.stage;
	m->stage_ms = d->snap.stage_ms;
	m->silent_ms = d->snap.alive_ms;
	m->cycles = d->snap.cycles;
	m->last_cycle_ms = d->snap.last_cycle_ms;
	fill_links(d, m);
	hs_text_mend(m->obstacle.text);
	m->memory_total_bytes = d->pressure.total_bytes;
	m->memory_available_bytes = d->pressure.available_bytes;
	m->psi_some_avg10 = d->pressure.psi_some_avg10;
	m->scan_cpu_us = d->snap.cpu_us;
	m->process_cpu_us = hs_process_cpu_us();
	m->rss_bytes = hs_resident_bytes(&d->host);
	hs_descriptors_read(&d->host, &m->nr_descriptors, &m->max_descriptors);
	m->has_tls = hs_http_tls_state(d->http, &m->certificate_expires_s, &m->nr_unauthorized);
	if (d->in_fleet)
		hs_fleet_key_name(&d->fleet_key, m->sketch_key);
	m->has_totals = d->snap.has_totals;
	m->totals = d->snap.totals;
	m->has_ksm = hs_ksm_pages(&d->host, &m->ksm, NULL) == 0;
	fill_counts(d, m);
}

const struct hs_model *hs_daemon_model(struct hs_daemon *d)
{
	fill_whole(d, &d->model);
	return &d->model;
}

const struct hs_model_guest *hs_daemon_model_guest(struct hs_daemon *d, const char *guest)
{
	struct hs_daemon_guest *g = hs_daemon_find(d, guest);

	if (!g)
		return NULL;
	hs_scan_thread_snapshot(d->scan, &d->snap);
	note_silence(d);
	fill_guest(d, g, &d->asked);
	hs_daemon_mend_guest(&d->asked);
	return &d->asked;
}

void hs_daemon_fill_model(struct hs_daemon *d, struct hs_model *m, size_t *room)
{
	const size_t nr = d->counts.nr_known;

	fill_whole(d, m);
	m->nr_guests = 0;
	if (nr > *room) {
		free(m->guests);
		m->guests = calloc(nr, sizeof(*m->guests));
		*room = m->guests ? nr : 0;
	}
	for (struct hs_daemon_guest *g = d->guests; g; g = g->next)
		if (!g->forgotten && m->nr_guests < *room)
			fill_guest(d, g, &m->guests[m->nr_guests++]);
}

/* ---- history ---- */

int hs_daemon_history_init(struct hs_daemon *d)
{
	struct hs_history *h = &d->history;

	h->resolution_s = d->cfg.history_resolution_s;
	h->room = (size_t)d->cfg.history_hours * 3600 / h->resolution_s + 1;
	h->started_at_s = d->started_at_s;
	h->points = calloc(h->room, sizeof(*h->points));
	return h->points ? 0 : -ENOMEM;
}

void hs_daemon_history_add(struct hs_daemon *d)
{
	const struct hs_model *m = hs_daemon_model(d);
	struct hs_history *h = &d->history;
	struct hs_history_point *p = &h->points[(h->first + h->nr) % h->room];

	*p = (struct hs_history_point){ .at_s = (int64_t)time(NULL),
					.mode = (uint8_t)m->effective,
					.saved_bytes = m->totals.ledger.saved_bytes,
					.net_saved_bytes = m->totals.ledger.net_saved_bytes,
					.memory_available_bytes = m->memory_available_bytes,
					.process_cpu_us = m->process_cpu_us,
					.ksmd_cpu_us = m->totals.ksmd_cpu_us,
					.nr_guests = (uint32_t)m->counts.nr_running,
					.nr_sharing = (uint32_t)m->counts.nr_sharing,
					.could_save_bytes = m->counts.could_save_bytes };
	h->taken++;
	if (h->nr < h->room)
		h->nr++;
	else
		h->first = (h->first + 1) % h->room;
}
