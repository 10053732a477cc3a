/*
 * The mode from one life of the daemon to the next, over a reboot as well. What was asked for by request is stored,
 * with the mode that was configured then: who edits the configuration afterwards means that, so it counts only while
 * the two agree.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "service/common/log.h"

#define MODE_FILE "mode.json"

static const char *const after_names[] = { [HS_AFTER_KEEP] = "keep", [HS_AFTER_UNDO] = "undo" };

void hs_daemon_forget_mode(struct hs_daemon *d)
{
	hs_daemon_store_put(d, MODE_FILE, NULL, (struct hs_done){ NULL, NULL });
}

/* False: nothing was asked for in an earlier life that holds still. */
static bool recall(struct hs_daemon *d, enum hs_mode *mode, enum hs_after *after)
{
	const char *name = "", *sharing = "", *configured = "";
	enum hs_mode then = HS_MODE_OFF;
	char why[512];
	json_t *what = hs_daemon_store_load(d, MODE_FILE, why);
	bool right;

	if (!what && !why[0])
		return false;
	right = what &&
		!json_unpack(what, "{s:s,s:s,s:s}", "mode", &name, "sharing", &sharing, "configured", &configured) &&
		!hs_mode_parse(name, mode) && !hs_mode_parse(configured, &then) &&
		(!strcmp(sharing, after_names[HS_AFTER_KEEP]) || !strcmp(sharing, after_names[HS_AFTER_UNDO]));
	*after = right && !strcmp(sharing, after_names[HS_AFTER_UNDO]) ? HS_AFTER_UNDO : HS_AFTER_KEEP;
	json_decref(what);
	if (!right) {
		hs_log(HS_LOG_WARNING, "%s: it starts in the configured mode, %s",
		       why[0] ? why : MODE_FILE " cannot be read (it holds something else)", hs_mode_name(d->cfg.mode));
		return false;
	}
	if (then != d->cfg.mode)
		hs_log(HS_LOG_INFO,
		       "the configured mode is another than when mode %s was asked for (%s then, %s now): it counts",
		       hs_mode_name(*mode), hs_mode_name(then), hs_mode_name(d->cfg.mode));
	return then == d->cfg.mode;
}

/* A request for a mode, until it is known both whether it is stored and what holds. */
struct request {
	struct hs_daemon *d;
	struct hs_done done;
	unsigned int nr_open;
	int rc, store_rc;
	char text[1024], store_text[512];
};

static void answer_when_both(struct request *r)
{
	char why[2000];

	if (--r->nr_open)
		return;
	if (r->rc >= 0 && r->store_rc) {
		(void)snprintf(
		    why, sizeof(why),
		    "%s%smode %s holds now, but could not be stored in %s: the next start of hs-shared would "
		    "not know of it",
		    r->text, r->text[0] ? "; " : "", hs_mode_name(r->d->mode), r->store_text);
		r->rc = r->store_rc;
	} else {
		(void)snprintf(why, sizeof(why), "%s", r->text);
	}
	if (r->done.fn)
		r->done.fn(r->done.arg, r->rc, why);
	free(r);
}

static void on_set(void *arg, int rc, const char *text)
{
	struct request *r = arg;

	r->rc = rc;
	(void)snprintf(r->text, sizeof(r->text), "%s", text ? text : "");
	answer_when_both(r);
}

static void on_stored(void *arg, int rc, const char *text)
{
	struct request *r = arg;

	r->store_rc = rc;
	(void)snprintf(r->store_text, sizeof(r->store_text), "%s", text);
	answer_when_both(r);
}

void hs_daemon_request_mode(void *ctx, enum hs_mode mode, enum hs_after after, struct hs_done done)
{
	struct hs_daemon *d = ctx;
	struct request *r;
	json_t *what;

	if (d->ending || !d->cfg.remember_mode) {
		hs_daemon_set_mode(d, mode, after, done); /* which refuses it at the end */
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		if (done.fn)
			done.fn(done.arg, -ENOMEM, "out of memory: the mode is not changed");
		return;
	}
	*r = (struct request){ .d = d, .done = done, .nr_open = 2 };
	what = json_pack("{s:s,s:s,s:s}", "mode", hs_mode_name(mode), "sharing", after_names[after], "configured",
			 hs_mode_name(d->cfg.mode));
	hs_daemon_store_json(d, MODE_FILE, what, (struct hs_done){ on_stored, r });
	hs_daemon_set_mode(d, mode, after, (struct hs_done){ on_set, r });
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
