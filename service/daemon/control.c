/* What the endpoint, signals and timers ask for: the mode, opting in and out, and undoing. */
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

static const struct hs_model_guest *ask_guest(void *ctx, const char *guest)
{
	return hs_daemon_model_guest(ctx, guest);
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

enum hs_after hs_daemon_after_default(void *ctx, enum hs_mode mode)
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

/* ---- what else is asked ---- */

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
					  .guest = ask_guest,
					  .history = ask_history,
					  .work = ask_work,
					  .set_mode = hs_daemon_request_mode,
					  .after_default = hs_daemon_after_default,
					  .opt_in = hs_daemon_request_opt_in,
					  .opt_out = hs_daemon_request_opt_out,
					  .unshare = hs_daemon_request_unshare,
					  .look = hs_daemon_look,
					  .reload = reload,
					  .diagnose = diagnose };
}
