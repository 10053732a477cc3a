/* What the loop does now and then: the pressure, the history, systemd's watchdog, and asking for time at the end. */
#include "daemon_internal.h"

#include <stdlib.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "service/common/log.h"

#define STUCK_MS        600000   /* no sign of life from the scan's thread for so long: the watchdog may bite */
#define EXTEND_US       30000000 /* asked of systemd while the end takes its time... */
#define EXTEND_EVERY_US 10000000 /* ...so often */

uint64_t hs_daemon_now_us(struct hs_daemon *d)
{
	uint64_t us;

	return sd_event_now(d->loop, CLOCK_MONOTONIC, &us) < 0 ? 0 : us;
}

static int again(sd_event_source *s, uint64_t us)
{
	int rc = sd_event_source_set_time_relative(s, us);

	return rc < 0 ? rc : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Says what is left to the next start, and ends the loop without the scan's thread. */
static void abandon(struct hs_daemon *d, const char *why)
{
	const struct hs_model *m = hs_daemon_model(d);

	hs_log(
	    HS_LOG_ERROR,
	    "%s: not waiting any longer for the scan's thread, in stage %s. The next start gives back KSM's settings, "
	    "mergeable marks and split mappings%s%s",
	    why, m->stage, m->undo_pending[0] ? "; not unshared: " : "", m->undo_pending);
	d->abandon = true;
	(void)sd_event_exit(d->loop, 1);
}

void hs_daemon_watch_end(struct hs_daemon *d)
{
	const uint64_t now_us = hs_daemon_now_us(d);
	const bool silent = hs_daemon_model(d)->silent_ms >= HS_DAEMON_SILENT_MS;
	uint64_t next_us = EXTEND_EVERY_US;

	if (silent || now_us >= d->end_at_us) {
		abandon(d, silent ? "the scan's thread hangs" : "the end takes longer than stop_timeout_s");
		return;
	}
	(void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%d", EXTEND_US);
	if (next_us > d->end_at_us - now_us)
		next_us = d->end_at_us - now_us;
	(void)again(d->tick, next_us);
}

static int on_tick(sd_event_source *s, uint64_t us, void *arg)
{
	struct hs_daemon *d = arg;

	(void)us;
	if (d->ending) {
		hs_daemon_watch_end(d);
		return 0;
	}
	hs_daemon_poll_pressure(d);
	hs_daemon_reconcile(d);
	return again(s, d->cfg.pressure.poll_s * UINT64_C(1000000));
}

static int on_history(sd_event_source *s, uint64_t us, void *arg)
{
	struct hs_daemon *d = arg;
	const struct hs_model *m = &d->model;
	char saved[64] = ""; /* without the engine it is not known */

	(void)us;
	hs_daemon_history_add(d); /* makes the model anew */
	if (m->engaged)
		(void)snprintf(saved, sizeof(saved), ", %llu MiB saved",
			       (unsigned long long)(m->totals.ledger.saved_bytes >> 20));
	(void)sd_notifyf(0, "STATUS=mode %s, %zu guests%s", hs_mode_name(m->effective), m->counts.nr_known, saved);
	return again(s, d->history.resolution_s * UINT64_C(1000000));
}

static int on_watchdog(sd_event_source *s, uint64_t us, void *arg)
{
	struct hs_daemon *d = arg;
	bool alive;

	(void)us;
	hs_scan_thread_snapshot(d->scan, &d->snap);
	alive = d->snap.alive_ms < (d->ending ? HS_DAEMON_SILENT_MS : STUCK_MS);
	if (alive)
		(void)sd_notify(0, "WATCHDOG=1");
	else if (!d->ending)
		hs_log(HS_LOG_ERROR, "the scan's thread has given no sign of life for %d s", STUCK_MS / 1000);
	return again(s, d->watchdog_us / 3);
}

void hs_daemon_retime(struct hs_daemon *d)
{
	(void)again(d->tick, d->cfg.pressure.poll_s * UINT64_C(1000000));
}

static int add_timer(struct hs_daemon *d, sd_event_source **out, uint64_t us, sd_event_time_handler_t fn)
{
	return sd_event_add_time_relative(d->loop, out, CLOCK_MONOTONIC, us, 0, fn, d);
}

int hs_daemon_start_timers(struct hs_daemon *d)
{
	int rc = add_timer(d, &d->tick, d->cfg.pressure.poll_s * UINT64_C(1000000), on_tick);

	if (rc >= 0)
		rc = add_timer(d, &d->history_timer, d->cfg.history_resolution_s * UINT64_C(1000000), on_history);
	if (rc >= 0 && sd_watchdog_enabled(0, &d->watchdog_us) > 0)
		rc = add_timer(d, &d->watchdog, d->watchdog_us / 3, on_watchdog);
	return rc;
}
