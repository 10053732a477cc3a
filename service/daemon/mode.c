/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mode from one life of the daemon to the next. What was asked for by request stands in a file in the state folder,
 * with the mode that was configured then: who edits the configuration afterwards means that, so the file counts only
 * while the two agree. A reboot empties the state folder, and begins with the configuration.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/common/log.h"

#define MODE_FILE "mode.json"

static const char *const after_names[] = { [HS_AFTER_KEEP] = "keep", [HS_AFTER_UNDO] = "undo" };

static void mode_path(const struct hs_daemon *d, char *out, size_t size)
{
	(void)snprintf(out, size, "%s/" MODE_FILE, d->host.state_dir);
}

void hs_daemon_forget_mode(struct hs_daemon *d)
{
	char path[4200];

	mode_path(d, path, sizeof(path));
	if (unlink(path) && errno != ENOENT)
		hs_log(HS_LOG_ERROR, "cannot remove %s, so the next start may begin in the mode that it holds: %s",
		       path, strerror(errno));
}

static int remember(struct hs_daemon *d, enum hs_mode mode, enum hs_after after)
{
	char path[4200];
	json_t *what;

	if (!d->cfg.remember_mode)
		return 0;
	mode_path(d, path, sizeof(path));
	what = json_pack("{s:s,s:s,s:s}", "mode", hs_mode_name(mode), "sharing", after_names[after], "configured",
			 hs_mode_name(d->cfg.mode));
	return hs_daemon_write_json(path, what);
}

/* False: nothing was asked for in an earlier life that holds still. */
static bool recall(struct hs_daemon *d, enum hs_mode *mode, enum hs_after *after)
{
	const char *name = "", *sharing = "", *configured = "";
	enum hs_mode then = HS_MODE_OFF;
	char path[4200];
	json_error_t je;
	json_t *what;
	bool right;

	mode_path(d, path, sizeof(path));
	if (access(path, F_OK))
		return false;
	what = json_load_file(path, 0, &je);
	right = what &&
		!json_unpack(what, "{s:s,s:s,s:s}", "mode", &name, "sharing", &sharing, "configured", &configured) &&
		!hs_mode_parse(name, mode) && !hs_mode_parse(configured, &then) &&
		(!strcmp(sharing, after_names[HS_AFTER_KEEP]) || !strcmp(sharing, after_names[HS_AFTER_UNDO]));
	*after = right && !strcmp(sharing, after_names[HS_AFTER_UNDO]) ? HS_AFTER_UNDO : HS_AFTER_KEEP;
	json_decref(what);
	if (!right) {
		hs_log(HS_LOG_WARNING, "%s cannot be read: it starts in the configured mode, %s", path,
		       hs_mode_name(d->cfg.mode));
		return false;
	}
	if (then != d->cfg.mode)
		hs_log(HS_LOG_INFO,
		       "the configured mode is another than when mode %s was asked for (%s then, %s now): it counts",
		       hs_mode_name(*mode), hs_mode_name(then), hs_mode_name(d->cfg.mode));
	return then == d->cfg.mode;
}

/* A request whose mode could not be stored, until it can be said what holds. */
struct unstored {
	struct hs_daemon *d;
	int rc;
	struct hs_done done;
};

static void on_unstored(void *arg, int rc, const char *text)
{
	struct unstored *u = arg;
	char why[1024];

	if (rc >= 0) {
		(void)snprintf(why, sizeof(why),
			       "%.500s%smode %s holds now, but could not be stored in %.200s (%s): the next start of "
			       "hs-shared would not know of it",
			       text ? text : "", text && *text ? "; " : "", hs_mode_name(u->d->mode),
			       u->d->host.state_dir, strerror(-u->rc));
		rc = u->rc;
		text = why;
	}
	if (u->done.fn)
		u->done.fn(u->done.arg, rc, text);
	free(u);
}

void hs_daemon_request_mode(void *ctx, enum hs_mode mode, enum hs_after after, struct hs_done done)
{
	struct hs_daemon *d = ctx;
	struct unstored *u;
	int rc;

	if (d->ending) {
		hs_daemon_set_mode(d, mode, after, done); /* which refuses it */
		return;
	}
	rc = remember(d, mode, after);
	u = rc ? malloc(sizeof(*u)) : NULL;
	if (rc)
		hs_log(HS_LOG_ERROR, "cannot store mode %s in %s: %s", hs_mode_name(mode), d->host.state_dir,
		       strerror(-rc));
	if (u) {
		*u = (struct unstored){ .d = d, .rc = rc, .done = done };
		done = (struct hs_done){ on_unstored, u };
	}
	hs_daemon_set_mode(d, mode, after, done);
}

enum hs_after hs_daemon_after_start(const struct hs_daemon *d, enum hs_mode mode)
{
	return mode == HS_MODE_OFF || mode == HS_MODE_OBSERVE ? d->cfg.on_off : HS_AFTER_KEEP;
}

void hs_daemon_start_mode(struct hs_daemon *d, const enum hs_mode *named)
{
	enum hs_mode mode = named ? *named : d->cfg.mode, asked;
	enum hs_after after = hs_daemon_after_start(d, mode), asked_after;

	if (!d->cfg.remember_mode) {
		hs_daemon_forget_mode(d);
	} else if (!named && recall(d, &asked, &asked_after)) {
		hs_log(HS_LOG_INFO, "it goes on in mode %s, which was asked for before this start",
		       hs_mode_name(asked));
		mode = asked;
		after = asked_after;
	} else if (!named) {
		hs_daemon_forget_mode(d); /* so that it does not count again when the configuration is put back */
	}
	hs_daemon_set_mode(d, mode, after, (struct hs_done){ NULL, NULL });
}
