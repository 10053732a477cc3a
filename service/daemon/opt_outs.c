/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests that were asked to stay out, whatever a rule says. A guest that a rule finds again after a restart of its own
 * stays out by what names it for good: a domain's UUID, or the name that a rule gives it; over a reboot, too. One that
 * has no more than a process id stays out as long as that process lives (opt_ins.c).
 */
#include "daemon_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "service/common/log.h"

#define OUTS_FILE "opt-outs.json"
#define KEPT_FILE OUTS_FILE ".unreadable" /* what could not be read, once a new one has to be written */

/* NULL: nothing names it for good. */
static const char *key_of(const struct hs_daemon_guest *g)
{
	if (g->source == HS_SOURCE_LIBVIRT)
		return g->uuid;
	return hs_daemon_named_pid(g->id) ? NULL : g->id;
}

bool hs_daemon_is_named_for_good(const struct hs_daemon_guest *g)
{
	return key_of(g) != NULL;
}

static struct hs_daemon_out *find(const struct hs_daemon *d, const char *key)
{
	struct hs_daemon_out *out = NULL;

	if (key)
		HASH_FIND_STR(d->outs, key, out);
	return out;
}

/* While it is not known who was asked to stay out, everybody stays out who was not opted in by request. */
bool hs_daemon_is_out(const struct hs_daemon *d, const struct hs_daemon_guest *g)
{
	return find(d, key_of(g)) || (d->outs_unknown && !g->by_request.on);
}

static int add(struct hs_daemon *d, const char *key)
{
	struct hs_daemon_out *out = calloc(1, sizeof(*out));

	if (!out)
		return -ENOMEM;
	(void)snprintf(out->key, sizeof(out->key), "%s", key);
	HASH_ADD_STR(d->outs, key, out);
	if (out->hh.tbl)
		return 0;
	free(out);
	return -ENOMEM;
}

/* The file that cannot be read says who is out: it makes room for a new one, and stays. */
static int keep_unreadable(struct hs_daemon *d)
{
	const char *const dirs[] = { d->persistent_dir, d->host.state_dir };
	char path[4200], kept[4200];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/" OUTS_FILE, dirs[i]);
		(void)snprintf(kept, sizeof(kept), "%s/" KEPT_FILE, dirs[i]);
		if (renameat2(AT_FDCWD, path, AT_FDCWD, kept, RENAME_NOREPLACE) == 0)
			hs_log(HS_LOG_WARNING, "%s, which cannot be read, is kept as %s", path, kept);
		else if (errno != ENOENT)
			return -errno;
	}
	d->outs_unreadable = false;
	return 0;
}

static void store(struct hs_daemon *d, struct hs_done done)
{
	const int rc = d->outs_unreadable ? keep_unreadable(d) : 0;
	json_t *list;

	if (rc) {
		char text[4400];

		(void)snprintf(text, sizeof(text), "%s/" OUTS_FILE " (what it holds cannot be kept: %s)",
			       d->persistent_dir, strerror(-rc));
		hs_log(HS_LOG_ERROR, "no new list of who is to stay out is written in %s", text);
		if (done.fn)
			done.fn(done.arg, rc, text);
		return;
	}
	list = json_array();
	for (const struct hs_daemon_out *out = d->outs; out; out = out->hh.next)
		(void)json_array_append_new(list, json_string(out->key));
	hs_daemon_store_json(d, OUTS_FILE, list, done);
}

void hs_daemon_set_out(struct hs_daemon_guest *g, bool out, struct hs_done done)
{
	struct hs_daemon *d = g->daemon;
	const char *key = key_of(g);
	struct hs_daemon_out *known = find(d, key);
	int rc = 0;

	g->out_by_request = out;
	if (key && out != (known != NULL)) {
		if (out)
			rc = add(d, key);
		else
			HASH_DELETE(hh, d->outs, known);
		if (!out)
			free(known);
		if (!rc) {
			store(d, done);
			return;
		}
	}
	if (done.fn)
		done.fn(done.arg, rc, rc ? "out of memory" : "");
}

void hs_daemon_out_add(struct hs_daemon *d, const char *key)
{
	if (find(d, key) || !key[0] || strlen(key) >= HS_NAME_MAX)
		return;
	if (add(d, key))
		hs_log(HS_LOG_ERROR, "out of memory: that %s is to stay out is not known", key);
	else
		store(d, (struct hs_done){ NULL, NULL });
}

void hs_daemon_outs_are_unknown(struct hs_daemon *d, const char *why)
{
	d->outs_unknown = true;
	hs_log(HS_LOG_ERROR,
	       "%s: it is not known which guests were asked to stay out, so no rule takes a guest in until that is "
	       "mended (or the file removed) and hs-shared is started again; guests can be opted in by name",
	       why);
}

/* One that was kept may still be mended: until it is away, what it says is not known. */
static void look_for_kept(struct hs_daemon *d)
{
	const char *const dirs[] = { d->persistent_dir, d->host.state_dir };
	char path[4200];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/" KEPT_FILE, dirs[i]);
		if (access(path, F_OK) == 0 || errno != ENOENT) {
			hs_daemon_outs_are_unknown(d, path);
			return;
		}
	}
}

void hs_daemon_load_outs(struct hs_daemon *d)
{
	char why[512];
	json_t *list = hs_daemon_store_load(d, OUTS_FILE, why), *item;
	bool whole = !why[0] && (!list || json_is_array(list));
	size_t i;

	json_array_foreach(list, i, item)
	{
		const char *key = json_string_value(item);

		if (!key || !key[0] || strlen(key) >= HS_NAME_MAX || (!find(d, key) && add(d, key)))
			whole = false;
	}
	json_decref(list);
	d->outs_unreadable = !whole;
	if (!whole)
		hs_daemon_outs_are_unknown(d, why[0] ? why : OUTS_FILE " holds something else than a list of names");
	look_for_kept(d);
}

void hs_daemon_free_outs(struct hs_daemon *d)
{
	struct hs_daemon_out *out, *next;

	HASH_ITER (hh, d->outs, out, next) {
		HASH_DELETE(hh, d->outs, out);
		free(out);
	}
}
