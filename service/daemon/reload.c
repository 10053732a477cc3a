/* The configuration, and the files that it names, read again while the service runs: all of it counts, or nothing. */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service/common/log.h"

static void finish(struct hs_done done, int rc, const char *text)
{
	if (done.fn)
		done.fn(done.arg, rc, text);
}

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
	bool files_changed = false;
	int rc;

	if (d->ending) {
		finish(done, -ECANCELED, "hs-shared is about to end");
		return;
	}
	rc = hs_config_load(&fresh, d->config_path, &err);
	if (!rc || (rc == -ENOENT && !d->config_named))
		rc = hs_daemon_endpoint_reload(d, &fresh, &files_changed, &err);
	if (rc) {
		hs_log(HS_LOG_ERROR, "the configuration stays as it was: %s", err.text);
		finish(done, rc, err.text);
		return;
	}
	if (files_changed)
		(void)snprintf(text, sizeof(text), "[tls] certificates or token: read again");
	(void)hs_config_diff(&old, &fresh, note_change, &c);
	if (!c.nr) {
		finish(done, 0, files_changed ? text : "nothing changed");
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
		hs_daemon_set_mode(d, fresh.mode, hs_daemon_after_default(d, fresh.mode),
				   (struct hs_done){ NULL, NULL });
	}
	if (rc > 0)
		finish(done, 0, text);
}
