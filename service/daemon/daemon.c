/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop and the order of coming and going.
 *
 * Coming: the locks first (one daemon a folder), then what may fail for a reason that a person has to mend (the
 * socket), then the scan's thread, then libvirt's, which brings the guests. Ready is reported when requests can be
 * answered. Going, on SIGTERM or SIGINT: no new guests; the scan's thread ends its stage (mappings come back), undoes
 * the sharing if so configured, gives KSM back; then the rest is closed. Requests are answered meanwhile.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <hs_version.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "service/common/log.h"
#include "service/common/secret_file.h"

static int on_reconcile(sd_event_source *s, void *arg)
{
	(void)s;
	hs_daemon_reconcile_due(arg);
	return 0;
}

/* ---- ending ---- */

static void on_quit(void *arg, int rc, const char *text)
{
	struct hs_daemon *d = arg;

	if (rc)
		hs_log(HS_LOG_ERROR,
		       "not everything could be undone: %s. What is left is found and undone at the next start, or by "
		       "`hs-share unshare --pid PID`",
		       text);
	(void)sd_event_exit(d->loop, rc ? 1 : 0);
}

void hs_daemon_end(struct hs_daemon *d, const char *why)
{
	const struct hs_job job = { .kind = HS_JOB_QUIT,
				    .undo = d->cfg.on_exit == HS_AFTER_UNDO,
				    .done = { on_quit, d } };

	if (d->ending) {
		hs_log(HS_LOG_INFO, "%s: already ending, things are being put back", why);
		return;
	}
	d->ending = true;
	hs_log(HS_LOG_INFO, "%s: ending, what is shared is %s", why, job.undo ? "undone" : "kept");
	(void)sd_notify(0, "STOPPING=1\nSTATUS=ending");
	d->end_at_us = hs_daemon_now_us(d) + d->cfg.stop_timeout_s * UINT64_C(1000000);
	if (hs_scan_thread_post(d->scan, &job))
		(void)sd_event_exit(d->loop, 1);
	else
		hs_daemon_watch_end(d);
}

static void on_reloaded(void *arg, int rc, const char *text)
{
	(void)arg;
	if (!rc)
		hs_log(HS_LOG_INFO, "configuration read again: %s", text);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
	(void)s;
	if (si->ssi_signo != SIGHUP) {
		hs_daemon_end(arg, si->ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
		return 0;
	}
	(void)sd_notify(0, "STATUS=reading the configuration");
	hs_daemon_reload(arg, (struct hs_done){ on_reloaded, NULL });
	return 0;
}

/* ---- coming ---- */

static int add_signals(struct hs_daemon *d)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t set;

	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)sigaddset(&set, signals[i]);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -errno;
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		int rc = sd_event_add_signal(d->loop, NULL, signals[i], on_signal, d);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int start_loop(struct hs_daemon *d, struct hs_error *err)
{
	int rc = sd_event_new(&d->loop);

	if (rc >= 0)
		rc = add_signals(d);
	if (rc >= 0)
		rc = sd_event_add_defer(d->loop, &d->reconcile, on_reconcile, d);
	if (rc >= 0)
		rc = sd_event_source_set_enabled(d->reconcile, SD_EVENT_OFF);
	if (rc >= 0)
		rc = hs_daemon_start_timers(d);
	if (rc < 0)
		return hs_error_set(err, rc, "cannot set the event loop up: %s", strerror(-rc));
	return 0;
}

int hs_daemon_fleet_key(const struct hs_config *cfg, struct hs_fleet_key *out, struct hs_error *err)
{
	struct hs_secret_file f = { .what = "[service] fleet_key_file", .path = cfg->fleet_key_file, .secret = true };
	int rc = hs_secret_file_read(&f, err);

	if (!rc) {
		hs_secret_file_trim(&f);
		rc = hs_fleet_key_parse(out, f.text, f.len);
		if (rc)
			(void)hs_error_set(
			    err, rc,
			    "%s: %.200s is not one line of 64 hexadecimal digits; make one for all hosts "
			    "of the fleet: openssl rand -hex 32",
			    f.what, f.path);
	}
	hs_secret_file_forget(&f);
	return rc;
}

static int start_parts(struct hs_daemon *d, struct hs_error *err)
{
	const struct hs_scan_thread_config scan = {
		.host = d->host,
		.pipeline = d->cfg.pipeline,
		.in_fleet = d->in_fleet,
		.fleet_key = d->fleet_key,
		.rest_min_s = d->cfg.rest_min_s,
		.rest_max_s = d->cfg.rest_max_s,
		.loop = d->loop,
	};
	int rc = hs_daemon_history_init(d);

	if (rc)
		return hs_error_set(err, rc, "out of memory for the history");
	rc = hs_daemon_answers_start(d, err);
	if (rc)
		return rc;
	rc = hs_daemon_store_start(d, err);
	if (rc)
		return rc;
	hs_daemon_control_init(d);
	/* Nobody can connect before the loop runs, but a second daemon is found out now. */
	rc = hs_daemon_endpoint_start(d, err);
	if (rc)
		return rc;
	/* What a crashed one left of KSM's knobs is given back in any mode. */
	rc = hs_ksm_recover(&d->host, err);
	if (rc == 1)
		hs_log(HS_LOG_INFO, "KSM's settings, which an earlier run had changed, are given back");
	else if (rc < 0)
		hs_log(HS_LOG_WARNING, "%s", err->text);
	rc = hs_scan_thread_start(&d->scan, &scan, err);
	if (rc)
		return rc;
	hs_daemon_load_outs(d);
	hs_daemon_load_opt_ins(d);
	rc = hs_daemon_discover_start(d, err);
	return rc ? rc : hs_daemon_links_start(d, err);
}

static void stop_parts(struct hs_daemon *d)
{
	hs_daemon_diagnose_stop(d);
	hs_daemon_answers_stop(d);
	hs_daemon_discover_stop(d);
	hs_daemon_links_stop(d);
	hs_daemon_store_stop(d);
	hs_scan_thread_release(&d->snap);
	if (d->abandon)
		hs_scan_thread_leave(d->scan);
	else
		hs_scan_thread_destroy(d->scan);
	hs_http_stop(d->http);
	hs_daemon_free_guests(d);
	json_decref(d->look.report);
	sd_event_source_unref(d->tick);
	sd_event_source_unref(d->history_timer);
	sd_event_source_unref(d->watchdog);
	sd_event_source_unref(d->reconcile);
	sd_event_unref(d->loop);
	free(d->history.points);
	hs_daemon_free_outs(d);
	hs_rules_unref(d->rules);
	if (d->lock_fd >= 0)
		(void)close(d->lock_fd);
	if (d->persistent_lock_fd >= 0)
		(void)close(d->persistent_lock_fd);
}

/* A host whose disk is read-only is served all the same: then requests say that what they ask for does not last. */
static int open_persistent_dir(struct hs_daemon *d, struct hs_error *err)
{
	int rc;

	hs_config_persistent_dir(&d->cfg, d->persistent_dir, sizeof(d->persistent_dir));
	if (strcmp(d->persistent_dir, d->host.state_dir) == 0)
		return 0;
	rc = hs_daemon_lock(d->persistent_dir, &d->persistent_lock_fd, err);
	if (!rc || rc == -EBUSY)
		return rc;
	hs_log(HS_LOG_WARNING, "%s: a mode that is asked for, and who is to stay out, will not last over a reboot",
	       err->text);
	return 0;
}

int hs_daemon_run(const struct hs_config *cfg, const enum hs_mode *mode, const char *config_path, bool config_named)
{
	struct hs_daemon d = {
		.cfg = *cfg,
		.config_path = config_path,
		.config_named = config_named,
		.host = HS_HOST_DEFAULT,
		.lock_fd = -1,
		.persistent_lock_fd = -1,
		.started_at_s = (int64_t)time(NULL),
		.pressure = { .psi_some_avg10 = -1 },
	};
	struct hs_error err = { "" };
	int rc;

	hs_log_level(cfg->log_level);
	d.host.state_dir = d.cfg.state_dir;
	d.in_fleet = d.cfg.fleet_key_file[0] != '\0';
	rc = hs_daemon_lock(d.host.state_dir, &d.lock_fd, &err);
	if (!rc)
		rc = open_persistent_dir(&d, &err);
	if (!rc && d.in_fleet)
		rc = hs_daemon_fleet_key(&d.cfg, &d.fleet_key, &err);
	if (!rc)
		rc = start_loop(&d, &err);
	if (!rc)
		rc = start_parts(&d, &err);
	if (rc) {
		hs_log(HS_LOG_ERROR, "%s", err.text);
		rc = 1;
		goto out;
	}
	d.started_us = hs_daemon_now_us(&d);
	hs_log(HS_LOG_INFO, "hs-shared " HS_VERSION ": requests on %s", d.cfg.socket);
	hs_daemon_poll_pressure(&d);
	hs_daemon_start_mode(&d, mode);
	(void)sd_notifyf(0, "READY=1\nSTATUS=mode %s", hs_mode_name(d.mode));
	rc = sd_event_loop(d.loop);
	if (rc < 0) {
		hs_log(HS_LOG_ERROR, "the event loop failed: %s", strerror(-rc));
		rc = 1;
	}
out:
	stop_parts(&d);
	/* A thread that was left uses what would be taken down on the way out, and may hold the lock of a stream. */
	if (d.abandon || d.left_thread)
		_exit(rc);
	return rc;
}
