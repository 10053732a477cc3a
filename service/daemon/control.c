/* SPDX-License-Identifier: Apache-2.0 */
/* What the endpoint, signals and timers ask for: the mode, opting in and out, undoing, and the configuration. */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "service/common/log.h"

static void finish(struct hs_done done, int rc, const char *text)
{
	if (done.fn)
		done.fn(done.arg, rc, text);
}

static const struct hs_model *ask_model(void *ctx)
{
	return hs_daemon_model(ctx);
}

static const struct hs_history *ask_history(void *ctx)
{
	return &((struct hs_daemon *)ctx)->history;
}

static void ask_work(void *ctx, const struct hs_work *work)
{
	hs_daemon_answer(ctx, work);
}

/* ---- the mode ---- */

/* A request for a mode, until it can be said what holds. */
struct mode_request {
	struct hs_daemon *d;
	enum hs_mode effective;
	bool undo;
	struct hs_done done;
};

/* Of mode off: the guest's sharing is not known to be undone. */
static bool is_left(const struct hs_daemon_guest *g)
{
	return g->undo_text[0] || g->place != HS_PLACE_OUT || (g->pid && !g->left_checked);
}

static void on_mode(void *arg, int rc, const char *text)
{
	struct mode_request *r = arg;
	const struct hs_daemon_guest *g = r->d->guests;
	char why[700];

	(void)snprintf(why, sizeof(why), "%s", text ? text : "");
	if (rc > 0) {
		(void)snprintf(why, sizeof(why),
			       "mode %s is set, but nothing is shared yet, and it is tried again: %.512s",
			       hs_mode_name(r->effective), text);
	} else if (rc < 0 && r->undo && r->effective != HS_MODE_OFF) {
		rc = HS_DONE_UNDER_WAY;
		(void)snprintf(why, sizeof(why),
			       "mode %s is set, but not everything is unshared yet, and it is tried again: %.512s",
			       hs_mode_name(r->effective), text);
	} else if (!rc && r->undo && r->effective == HS_MODE_OFF && r->d->effective == HS_MODE_OFF) {
		/*
		 * The guests left before the mode was set, and what came of each is known now; but for those that were
		 * just coming, or leaving with their sharing kept.
		 */
		while (g && !is_left(g))
			g = g->next;
		if (g) {
			rc = HS_DONE_UNDER_WAY;
			(void)snprintf(
			    why, sizeof(why),
			    "mode off is set, but not everything is unshared yet, and it is tried again: guest "
			    "%s: %.400s",
			    g->id, g->undo_text[0] ? g->undo_text : "it is being taken out");
		}
	}
	finish(r->done, rc, why);
	free(r);
}

void hs_daemon_set_effective(struct hs_daemon *d, enum hs_mode effective, enum hs_after after, const char *why,
			     struct hs_done done)
{
	const bool undo = after == HS_AFTER_UNDO;
	struct mode_request *r = malloc(sizeof(*r));
	struct hs_job job = { .kind = HS_JOB_MODE, .effective = effective, .undo = undo, .done = { on_mode, r } };

	if (!r) {
		finish(done, -ENOMEM, "out of memory: the mode is not changed");
		return;
	}
	*r = (struct mode_request){ .d = d, .effective = effective, .undo = undo, .done = done };

	if (strcmp(d->mode_reason, why) != 0)
		hs_log(HS_LOG_INFO, "%s -> %s: %s", hs_mode_name(d->effective), hs_mode_name(effective), why);
	d->nr_mode_changes += effective != d->effective;
	d->effective = effective;
	d->off_undo = effective == HS_MODE_OFF && after == HS_AFTER_UNDO;
	(void)snprintf(d->mode_reason, sizeof(d->mode_reason), "%s", why);
	/* Off: the guests leave one by one, and give back what they share, before the engine goes: so their jobs come
	 * first. Otherwise they stay, and the engine comes or goes. */
	if (effective == HS_MODE_OFF) {
		for (struct hs_daemon_guest *g = d->guests; g; g = g->next)
			g->retry_at_us = 0;
		hs_daemon_reconcile(d);
		job.undo = false;
	} else {
		hs_daemon_reconcile_soon(d);
	}
	if (hs_scan_thread_post(d->scan, &job)) {
		finish(done, -ENOMEM, "out of memory: the mode is not changed");
		free(r);
	}
}

void hs_daemon_set_mode(struct hs_daemon *d, enum hs_mode mode, enum hs_after after, struct hs_done done)
{
	char why[256];

	if (d->ending) {
		finish(done, -ECANCELED, "hs-shared is about to end");
		return;
	}
	d->mode = mode;
	if (mode != HS_MODE_AUTO) {
		(void)snprintf(why, sizeof(why), "mode %s was asked for", hs_mode_name(mode));
		hs_daemon_set_effective(d, mode, after, why, done);
		return;
	}
	/* Until the marks are crossed it observes; a mode that saves goes on as it is if the marks allow. */
	memset(&d->pressure_state, 0, sizeof(d->pressure_state));
	d->pressure_state.saving = d->effective == HS_MODE_SAVE;
	hs_daemon_poll_pressure(d);
	if (d->effective == HS_MODE_OFF)
		hs_daemon_set_effective(d, HS_MODE_OBSERVE, HS_AFTER_KEEP, "auto: no pressure has been seen yet",
					(struct hs_done){ NULL, NULL });
	finish(done, 0, "");
}

/* To look instead of to share undoes nothing by itself; off does as configured. */
static enum hs_after after_default(void *ctx, enum hs_mode mode)
{
	return mode == HS_MODE_OFF ? ((struct hs_daemon *)ctx)->cfg.on_off : HS_AFTER_KEEP;
}

void hs_daemon_poll_pressure(struct hs_daemon *d)
{
	struct hs_error err = { "" };
	char why[256] = "";

	if (hs_pressure_read(&d->host, &d->pressure, &err)) {
		hs_log(HS_LOG_WARNING, "%s", err.text);
		memset(&d->pressure, 0, sizeof(d->pressure));
		d->pressure.psi_some_avg10 = -1;
	}
	if (d->mode != HS_MODE_AUTO || d->ending)
		return;
	if (!hs_pressure_decide(&d->pressure_state, &d->cfg.pressure, &d->pressure, hs_daemon_now_us(d) / 1000, why) &&
	    d->effective != HS_MODE_OFF)
		return;
	hs_daemon_set_effective(d, d->pressure_state.saving ? HS_MODE_SAVE : HS_MODE_OBSERVE, d->cfg.pressure.after,
				why[0] ? why : "auto: no pressure has been seen yet", (struct hs_done){ NULL, NULL });
}

/* ---- guests ---- */

static void refuse_unknown(struct hs_done done, const char *guest)
{
	char text[256];

	(void)snprintf(text, sizeof(text),
		       "there is no guest \"%.100s\"; `hs-share guests` lists them, and pid-N names a process", guest);
	finish(done, -ENOENT, text);
}

/* A domain that was opted in as a process, before libvirt reported it, or by a rule, keeps what it has by that. */
static void opt_in_domain(struct hs_daemon *d, const struct hs_daemon_guest *g, const char *guest,
			  const struct hs_opt_in_change *change, struct hs_done done)
{
	struct hs_opt_in_change whole = *change;

	if (g && g->opt_in.on && !g->in_metadata.on) {
		struct hs_opt_in opt_in = g->opt_in;

		hs_opt_in_apply(&opt_in, change);
		whole.has_group = whole.has_max_shared = whole.has_scope = true;
		memcpy(whole.group, opt_in.group, sizeof(whole.group));
		whole.max_shared_bytes = opt_in.max_shared_bytes;
		whole.scope = opt_in.scope;
	}
	hs_daemon_set_domain_opt_in(d, g, guest, &whole, done);
}

static void opt_in(void *ctx, const char *guest, const struct hs_opt_in_change *change, struct hs_done done)
{
	struct hs_daemon *d = ctx;
	struct hs_daemon_guest *g = hs_daemon_find(d, guest);
	struct hs_error err = { "" };
	struct hs_opt_in before;
	bool was_out;
	int rc;

	if (change->has_group && !hs_group_valid(change->group)) {
		finish(done, -EINVAL, "a group's name has 1 to 63 letters, digits, dots, dashes or underscores");
		return;
	}
	if (g ? g->source == HS_SOURCE_LIBVIRT : !hs_daemon_named_pid(guest)) {
		if (d->nr_links)
			opt_in_domain(d, g, guest, change, done);
		else
			refuse_unknown(done, guest);
		return;
	}
	rc = g ? 0 : hs_daemon_guest_pid(d, hs_daemon_named_pid(guest), &g, &err);
	if (rc) {
		finish(done, rc == -ESRCH ? -ENOENT : rc, err.text);
		return;
	}
	before = g->by_request;
	was_out = g->out_by_request;
	/* A rule may have put it into a group: there it stays unless the request names another. */
	if (!g->by_request.on && g->of_process.opt_in.on)
		g->by_request = g->of_process.opt_in;
	hs_opt_in_apply(&g->by_request, change);
	(void)!hs_daemon_set_out(g, false);
	rc = hs_daemon_save_opt_ins(d);
	if (rc) {
		char text[512];

		g->by_request = before;
		(void)!hs_daemon_set_out(g, was_out);
		(void)snprintf(text, sizeof(text), "nothing was changed, as it could not be stored in %.300s: %s",
			       d->host.state_dir, strerror(-rc));
		finish(done, rc, text);
		return;
	}
	hs_daemon_settle_opt_in(g);
	g->refusal.reason = HS_REASON_NONE;
	g->retry_at_us = 0;
	hs_log(HS_LOG_INFO, "process %d is opted in, group %s", (int)g->pid, g->opt_in.group);
	hs_daemon_reconcile_soon(d);
	finish(done, 0, "");
}

static void opt_out(void *ctx, const char *guest, struct hs_done done)
{
	struct hs_daemon *d = ctx;
	struct hs_daemon_guest *g = hs_daemon_find(d, guest);
	/* Without rules nobody else opts it in: there its element is taken away, as it was before. */
	const struct hs_opt_in_change off = { .on = false, .stay_off = hs_rules_nr(d->rules) != 0 };
	char text[512];
	int rc;

	if (!g) {
		if (d->nr_links && !hs_daemon_named_pid(guest))
			hs_daemon_set_domain_opt_in(d, NULL, guest, &off, done);
		else
			refuse_unknown(done, guest);
		return;
	}
	if (g->by_request.on)
		hs_log(HS_LOG_INFO, "process %d is opted out", (int)g->pid);
	g->by_request.on = false;
	rc = hs_daemon_set_out(g, true);
	hs_daemon_settle_opt_in(g);
	g->retry_at_us = 0;
	if (!rc)
		rc = hs_daemon_save_opt_ins(d);
	hs_daemon_reconcile_soon(d);
	(void)snprintf(
	    text, sizeof(text),
	    "it is opted out and being undone, but that could not be stored in %.300s (%s): the next start of "
	    "hs-shared would have it opted in again",
	    d->host.state_dir, strerror(-rc));
	if (g->source == HS_SOURCE_LIBVIRT)
		hs_daemon_set_domain_opt_in(d, g, guest, &off, done);
	else
		finish(done, rc, rc ? text : "");
}

static void unshare(void *ctx, const char *guest, struct hs_done done)
{
	struct hs_daemon *d = ctx;
	struct hs_daemon_guest *g = guest ? hs_daemon_find(d, guest) : NULL;
	struct hs_job job = { .kind = HS_JOB_UNSHARE, .done = done };

	if (guest && !g) {
		refuse_unknown(done, guest);
		return;
	}
	if (g && !g->pid) {
		finish(done, -ENOENT, "it is not running: it shares nothing");
		return;
	}
	if (g && g->place != HS_PLACE_IN) {
		/* Not the scan's now, but an earlier life, or mode off with keep, may have left something in it. */
		job.kind = HS_JOB_CHECK_LEFT;
		memcpy(job.name, g->id, sizeof(job.name));
		job.opt_in = g->opt_in;
	}
	job.pid = g ? g->pid : 0;
	if (hs_scan_thread_post(d->scan, &job))
		finish(done, -ENOMEM, "out of memory");
}

/* ---- configuration ---- */

struct changes {
	char *text;
	size_t size, nr, nr_restart;
};

static void note_change(void *ctx, const char *key, const char *from, const char *to, bool live)
{
	struct changes *c = ctx;
	size_t len = strlen(c->text);

	hs_log(HS_LOG_INFO, "configuration: %s: %s -> %s%s", key, from, to, live ? "" : " (after a restart)");
	(void)snprintf(c->text + len, c->size - len, "%s%s: %s -> %s%s", len ? "; " : "", key, from, to,
		       live ? "" : " (after a restart)");
	c->nr++;
	c->nr_restart += !live;
}

/* A reload that waits until the scan has the new settings, or would not take them. */
struct reload {
	struct hs_daemon *d;
	struct hs_config tried, old;
	struct hs_done done;
	char text[512];
};

static bool same_scan(const struct hs_config *a, const struct hs_config *b)
{
	return memcmp(&a->pipeline, &b->pipeline, sizeof(a->pipeline)) == 0 && a->rest_min_s == b->rest_min_s &&
	       a->rest_max_s == b->rest_max_s;
}

static void keep_scan(struct hs_config *cfg, const struct hs_config *old)
{
	cfg->pipeline = old->pipeline;
	cfg->rest_min_s = old->rest_min_s;
	cfg->rest_max_s = old->rest_max_s;
}

static void on_configured(void *arg, int rc, const char *text)
{
	struct reload *r = arg;
	char why[512];

	if (rc < 0) {
		(void)snprintf(why, sizeof(why), "the scan goes on with the old settings: %.400s", text);
		hs_log(HS_LOG_ERROR, "%s", why);
		/* So that the next reload sees that they differ, and tries again; unless one came already. */
		if (same_scan(&r->d->cfg, &r->tried))
			keep_scan(&r->d->cfg, &r->old);
	} else if (rc > 0) {
		hs_daemon_reconcile_soon(r->d); /* which finds who was lost */
	}
	finish(r->done, rc < 0 ? rc : 0, rc < 0 ? why : r->text);
	free(r);
}

static int configure(struct hs_daemon *d, const struct hs_config *old, const char *text, struct hs_done done)
{
	struct hs_job job = { .kind = HS_JOB_CONFIGURE,
			      .config = d->cfg.pipeline,
			      .rest_min_s = d->cfg.rest_min_s,
			      .rest_max_s = d->cfg.rest_max_s };
	struct reload *r = malloc(sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->d = d;
	r->tried = d->cfg;
	r->old = *old;
	r->done = done;
	(void)snprintf(r->text, sizeof(r->text), "%s", text);
	job.done = (struct hs_done){ on_configured, r };
	if (!hs_scan_thread_post(d->scan, &job))
		return 0;
	free(r);
	return -ENOMEM;
}

void hs_daemon_reload(struct hs_daemon *d, struct hs_done done)
{
	char text[512] = "";
	struct changes c = { .text = text, .size = sizeof(text) };
	struct hs_config fresh, old = d->cfg;
	struct hs_error err = { "" };
	int rc;

	if (d->ending) {
		finish(done, -ECANCELED, "hs-shared is about to end");
		return;
	}
	rc = hs_config_load(&fresh, d->config_path, &err);
	if (rc && !(rc == -ENOENT && !d->config_named)) {
		hs_log(HS_LOG_ERROR, "the configuration stays as it was: %s", err.text);
		finish(done, rc, err.text);
		return;
	}
	(void)hs_config_diff(&old, &fresh, note_change, &c);
	if (!c.nr) {
		finish(done, 0, "nothing changed");
		return;
	}
	/* What needs a restart stays as it is until then. */
	hs_config_keep_static(&fresh, &old);
	d->cfg = fresh;
	hs_log_level(fresh.log_level);
	hs_daemon_retime(d);
	hs_daemon_discover_again(d);
	rc = same_scan(&fresh, &old) ? 1 : configure(d, &old, text, done);
	if (rc < 0) {
		keep_scan(&d->cfg, &old);
		hs_log(HS_LOG_ERROR, "out of memory: the scan goes on with the old settings");
		finish(done, rc, "out of memory: the scan goes on with the old settings");
	}
	/* A mode that was set by request, or on the command line, stays, unless the file itself now says something
	 * else than it did. */
	if (fresh.mode != old.mode) {
		hs_daemon_forget_mode(d);
		hs_daemon_set_mode(d, fresh.mode, after_default(d, fresh.mode), (struct hs_done){ NULL, NULL });
	}
	if (rc > 0)
		finish(done, 0, text);
}

static void reload(void *ctx, struct hs_done done)
{
	hs_daemon_reload(ctx, done);
}

static void diagnose(void *ctx, struct hs_done done)
{
	hs_daemon_diagnose(ctx, done);
}

void hs_daemon_control_init(struct hs_daemon *d)
{
	d->control = (struct hs_control){ .ctx = d,
					  .model = ask_model,
					  .history = ask_history,
					  .work = ask_work,
					  .set_mode = hs_daemon_request_mode,
					  .after_default = after_default,
					  .opt_in = opt_in,
					  .opt_out = opt_out,
					  .unshare = unshare,
					  .look = hs_daemon_look,
					  .reload = reload,
					  .diagnose = diagnose };
}
