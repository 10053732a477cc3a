/* What the endpoint asks for of guests: opting in and out, and undoing. */
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

static void refuse_unknown(struct hs_done done, const char *guest)
{
	char text[256];

	(void)snprintf(text, sizeof(text),
		       "there is no guest \"%.100s\"; `hs-share guests` lists them, and pid-N names a process", guest);
	finish(done, -ENOENT, text);
}

/* It holds, and is said to be done when it is stored; or with what the next start does when it could not be. */
struct storing {
	const char *otherwise;
	struct hs_done done;
};

static void on_stored(void *arg, int rc, const char *text)
{
	struct storing *s = arg;
	char why[5000];

	(void)snprintf(why, sizeof(why), "it holds now, but could not be stored in %s: %s", text, s->otherwise);
	finish(s->done, rc, rc ? why : "");
	free(s);
}

/* `otherwise` is kept. */
static void set_out(struct hs_daemon_guest *g, bool out, const char *otherwise, struct hs_done done)
{
	struct storing *s = malloc(sizeof(*s));

	if (s)
		*s = (struct storing){ otherwise, done };
	hs_daemon_set_out(g, out, s ? (struct hs_done){ on_stored, s } : (struct hs_done){ NULL, NULL });
	if (!s)
		finish(done, -ENOMEM, "it holds now, but there is no memory to wait until it is stored");
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

void hs_daemon_request_opt_in(void *ctx, const char *guest, const struct hs_opt_in_change *change, struct hs_done done)
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
	g->out_by_request = false;
	rc = hs_daemon_record_opt_in(g);
	if (rc) {
		char text[512];

		g->by_request = before;
		g->out_by_request = was_out;
		(void)snprintf(text, sizeof(text), "nothing was changed, as it could not be stored in %.300s: %s",
			       d->host.state_dir, strerror(-rc));
		finish(done, rc, text);
		return;
	}
	hs_daemon_settle_opt_in(g);
	g->refusal.reason = HS_REASON_NONE;
	g->retry_at_us = 0;
	hs_log(HS_LOG_INFO, "process %d is opted in, group %s", (int)g->pid, g->opt_in.group);
	hs_daemon_guest_due(g);
	set_out(g, false, "when this process has ended, the next one of its name would stay out", done);
}

void hs_daemon_request_opt_out(void *ctx, const char *guest, struct hs_done done)
{
	static const char otherwise[] = "the next start of hs-shared would have it opted in again";
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
	g->retry_at_us = 0;
	if (g->source == HS_SOURCE_LIBVIRT) {
		hs_daemon_set_out(g, true, (struct hs_done){ NULL, NULL });
		(void)!hs_daemon_record_opt_in(g);
		hs_daemon_settle_opt_in(g);
		hs_daemon_guest_due(g);
		hs_daemon_set_domain_opt_in(d, g, guest, &off, done);
		return;
	}
	g->out_by_request = true;
	rc = hs_daemon_record_opt_in(g);
	hs_daemon_settle_opt_in(g);
	hs_daemon_guest_due(g);
	if (!rc) {
		set_out(g, true, otherwise, done);
		return;
	}
	hs_daemon_set_out(g, true, (struct hs_done){ NULL, NULL });
	(void)snprintf(text, sizeof(text),
		       "it is opted out and being undone, but that could not be stored in %.300s "
		       "(%s): %s",
		       d->host.state_dir, strerror(-rc), otherwise);
	finish(done, rc, text);
}

void hs_daemon_request_unshare(void *ctx, const char *guest, struct hs_done done)
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
