/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was asked for of processes, so that a restart knows it: one record for each, opt-ins/opt-in-PID in the state
 * folder, so that what a request costs does not grow with the number of guests; in a folder of their own, since the
 * state folder is read through for each guest. (Of domains libvirt keeps it, and what is shared the kernel knows.) It
 * was asked for of this process, in this boot: a record of another says nothing, and goes. Exec does not change that.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/procstat.h"
#include "base/state_file.h"
#include "service/common/log.h"

#define FOLDER   "opt-ins"
#define PREFIX   "opt-in-"
#define OLD_FILE "wishes.json" /* all of them, as an earlier version had them; also who stays out by name */

/* The host, with the folder of these records as the state folder. */
static struct hs_host records_of(const struct hs_daemon *d, char dir[4200])
{
	struct hs_host host = d->host;

	(void)snprintf(dir, 4200, "%s/" FOLDER, d->host.state_dir);
	host.state_dir = dir;
	return host;
}

static void record_name(const struct hs_daemon_guest *g, char out[32])
{
	(void)snprintf(out, 32, PREFIX "%d", (int)g->pid);
}

static void print_text(FILE *f, const void *ctx)
{
	(void)fputs(ctx, f);
}

/* NULL: out of memory. */
static char *text_of(const struct hs_daemon_guest *g, const char *boot)
{
	const struct hs_opt_in *o = &g->by_request;
	json_t *what = json_pack("{s:i,s:I,s:s}", "pid", (int)g->pid, "started", (json_int_t)g->started, "boot", boot);
	char *text;

	if (o->on)
		(void)json_object_update_new(what, json_pack("{s:s,s:I,s:s}", "group", o->group, "max_shared_bytes",
							     (json_int_t)o->max_shared_bytes, "share",
							     hs_opt_in_scope_name(o->scope)));
	else
		(void)json_object_set_new(what, "out", json_true());
	text = what ? json_dumps(what, JSON_COMPACT) : NULL;
	json_decref(what);
	return text;
}

int hs_daemon_record_opt_in(struct hs_daemon_guest *g)
{
	struct hs_daemon *d = g->daemon;
	const bool out = g->out_by_request && !hs_daemon_is_named_for_good(g);
	char dir[4200], name[32], boot[HS_STATE_BOOT_MAX], *text;
	const struct hs_host host = records_of(d, dir);
	int rc;

	if (!g->pid)
		return 0;
	record_name(g, name);
	if (!g->by_request.on && !out) {
		rc = g->on_record ? hs_state_file_remove(&host, name) : 0;
		g->on_record = rc != 0;
	} else {
		rc = hs_state_file_boot(&d->host, boot);
		text = rc ? NULL : text_of(g, boot);
		if (!rc)
			rc = text ? hs_state_file_put_for_boot(&host, name, print_text, text) : -ENOMEM;
		free(text);
		g->on_record |= !rc;
	}
	if (rc)
		hs_log(HS_LOG_ERROR,
		       "cannot store in %s/%s what was asked for (%s): after a restart it would be as it was before",
		       dir, name, strerror(-rc));
	return rc;
}

void hs_daemon_forget_opt_in(struct hs_daemon_guest *g)
{
	char dir[4200], name[32];
	const struct hs_host host = records_of(g->daemon, dir);

	if (!g->on_record || !g->pid)
		return;
	record_name(g, name);
	(void)!hs_state_file_remove(&host, name); /* what is left names a process that has ended */
	g->on_record = false;
}

/* ---- taking up ---- */

/* -ESRCH: it says nothing of a process that is there. -EBADMSG: it cannot be understood. Another error: whether it is
 * of the process that has the number cannot be told now. */
static int take_up(struct hs_daemon *d, json_t *item, const char *boot)
{
	struct hs_error err = { "" };
	struct hs_daemon_guest *g;
	const char *group = "", *of_boot = boot; /* older files do not name it, and were gone with it */
	const char *share = hs_opt_in_scope_name(HS_SCOPE_GROUP);
	uint8_t scope = HS_SCOPE_GROUP;
	json_int_t started = 0, max = 0;
	struct hs_process_id now;
	int pid = 0, out = 0, rc;

	if (json_unpack(item, "{s:i,s:I,s?s,s?b}", "pid", &pid, "started", &started, "boot", &of_boot, "out", &out) ||
	    pid <= 0 || started <= 0)
		return -EBADMSG;
	if (strcmp(of_boot, boot) != 0)
		return -ESRCH;
	if (!out && (json_unpack(item, "{s:s,s:I,s?s}", "group", &group, "max_shared_bytes", &max, "share", &share) ||
		     hs_opt_in_scope_parse(share, &scope) || max < 0 || !hs_group_valid(group)))
		return -EBADMSG;
	/* Another process may have the number by now. */
	rc = hs_process_id_read(&d->host, pid, &now);
	if (rc)
		return rc;
	if (now.started != (uint64_t)started)
		return -ESRCH;
	if (hs_daemon_guest_pid(d, pid, &g, &err)) {
		hs_log(HS_LOG_WARNING, "what was asked for of process %d before cannot be taken up: %s", pid, err.text);
		return 0;
	}
	g->on_record = true;
	g->out_by_request = out;
	g->by_request.on = !out;
	(void)snprintf(g->by_request.group, sizeof(g->by_request.group), "%s", group);
	g->by_request.max_shared_bytes = (uint64_t)max;
	g->by_request.scope = scope;
	hs_daemon_settle_opt_in(g);
	return 0;
}

/* Something was asked for of the process, and what is not known: it may have been to stay out. So it does, whatever a
 * rule says, and the record stays with it. */
static void leave_alone(struct hs_daemon *d, pid_t pid, const char *path, const char *why)
{
	struct hs_error err = { "" };
	struct hs_daemon_guest *g;

	hs_log(HS_LOG_WARNING,
	       "what was asked for of process %d cannot be read from %s (%s): it stays out until it is "
	       "opted in again",
	       (int)pid, path, why);
	if (hs_daemon_guest_pid(d, pid, &g, &err)) {
		hs_log(HS_LOG_WARNING, "%s", err.text);
		return;
	}
	g->on_record = true;
	g->out_by_request = true;
	hs_daemon_settle_opt_in(g);
}

struct taking {
	struct hs_daemon *d;
	char boot[HS_STATE_BOOT_MAX];
};

static void visit(void *ctx, const struct hs_host *host, pid_t pid, const char *path)
{
	const struct taking *t = ctx;
	json_error_t je = { .text = "" };
	json_t *item = json_load_file(path, 0, &je);
	int rc = item ? take_up(t->d, item, t->boot) : -EBADMSG;
	struct hs_process_id now;

	(void)host;
	if (rc && rc != -ESRCH && hs_process_id_read(&t->d->host, pid, &now) == -ESRCH)
		rc = -ESRCH;
	if (rc == -ESRCH)
		(void)unlink(path);
	else if (rc)
		leave_alone(t->d, pid, path, je.text[0] ? je.text : strerror(-rc));
	json_decref(item);
}

/* What an earlier version has left: from now on it stands where everything stands. */
static void load_old(struct taking *t)
{
	struct hs_daemon *d = t->d;
	struct hs_daemon_guest *g;
	char path[4200];
	json_error_t je;
	json_t *list, *item;
	int pid, rc = 0;
	size_t i;

	(void)snprintf(path, sizeof(path), "%s/" OLD_FILE, d->host.state_dir);
	if (access(path, F_OK) && errno == ENOENT)
		return;
	list = json_load_file(path, 0, &je);
	if (!json_is_array(list)) {
		hs_log(HS_LOG_WARNING, "%s cannot be read (%s): processes opted in earlier have to be opted in again",
		       path, list ? "it holds no list" : je.text);
		hs_daemon_outs_are_unknown(d, path);
		json_decref(list);
		return;
	}
	json_array_foreach(list, i, item)
	{
		const char *key = json_string_value(json_object_get(item, "guest"));

		if (key)
			hs_daemon_out_add(d, key);
		else if (!take_up(d, item, t->boot) && json_unpack(item, "{s:i}", "pid", &pid) == 0 &&
			 (g = hs_daemon_find_pid(d, pid)))
			rc = hs_daemon_record_opt_in(g) ? -EIO : rc;
	}
	json_decref(list);
	if (!rc)
		(void)unlink(path);
}

void hs_daemon_load_opt_ins(struct hs_daemon *d)
{
	struct taking t = { .d = d };
	char dir[4200];
	const struct hs_host host = records_of(d, dir);

	if (hs_state_file_boot(&d->host, t.boot)) {
		hs_log(HS_LOG_ERROR, "it cannot be told which boot this is: processes have to be opted in again");
		hs_daemon_outs_are_unknown(d, "whether records of processes are of this boot cannot be told");
		return;
	}
	if (hs_state_file_each(&host, PREFIX, visit, &t))
		hs_daemon_outs_are_unknown(d, dir);
	load_old(&t);
}
