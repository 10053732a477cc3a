/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has to survive the daemon's own end: the lock that keeps a second one away, and the processes that were opted in
 * by request. (Of domains libvirt keeps it, and what is shared the kernel knows.)
 */
#include "daemon_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service/common/log.h"
#include "base/procstat.h"

#define OPT_INS_FILE "wishes.json"

int hs_daemon_lock(const char *state_dir, int *fd, struct hs_error *err)
{
	char path[4200], text[32] = "";
	ssize_t n;

	*fd = -1;
	if (mkdir(state_dir, 0700) && errno != EEXIST)
		return hs_error_set(err, -errno, "cannot make the state folder %s: %s", state_dir, strerror(errno));
	(void)snprintf(path, sizeof(path), "%s/hs-shared.lock", state_dir);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return hs_error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	if (flock(*fd, LOCK_EX | LOCK_NB)) {
		int rc = errno == EWOULDBLOCK ? -EBUSY : -errno;

		n = pread(*fd, text, sizeof(text) - 1, 0);
		text[n > 0 ? strcspn(text, "\n") : 0] = '\0';
		(void)close(*fd);
		*fd = -1;
		if (rc == -EBUSY)
			return hs_error_set(err, rc,
					    "hs-shared runs already (process %s holds %s): end it first, or give this "
					    "one a state_dir and socket of its own",
					    text[0] ? text : "unknown", path);
		return hs_error_set(err, rc, "cannot lock %s: %s", path, strerror(-rc));
	}
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(*fd, 0) || pwrite(*fd, text, (size_t)n, 0) != n)
		hs_log(HS_LOG_WARNING, "cannot write the process id into %s: %s", path, strerror(errno));
	return 0;
}

int hs_daemon_write_json(const char *path, json_t *what)
{
	char *text = what ? json_dumps(what, JSON_INDENT(1)) : NULL; /* one piece: the library writes token by token */
	const size_t len = text ? strlen(text) : 0;
	char tmp[4300];
	int fd, rc = text ? 0 : -ENOMEM;

	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	errno = EIO; /* of a write that ends early */
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (!rc && (fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd)))
		rc = -errno;
	if (fd >= 0)
		(void)close(fd);
	if (!rc && rename(tmp, path))
		rc = -errno;
	if (rc)
		(void)unlink(tmp);
	free(text);
	json_decref(what);
	return rc;
}

int hs_daemon_save_opt_ins(struct hs_daemon *d)
{
	char path[4200];
	json_t *list = json_array();
	int rc;

	for (const struct hs_daemon_guest *g = d->guests; g; g = g->next)
		if (g->pid && g->by_request.on && !g->forgotten)
			(void)json_array_append_new(list, json_pack("{s:i,s:I,s:s,s:I,s:s}", "pid", (int)g->pid,
								    "started", (json_int_t)g->started, "group",
								    g->by_request.group, "max_shared_bytes",
								    (json_int_t)g->by_request.max_shared_bytes, "share",
								    hs_opt_in_scope_name(g->by_request.scope)));
	for (const struct hs_daemon_guest *g = d->guests; g; g = g->next)
		if (g->pid && g->out_by_request && !hs_daemon_is_out(d, g) && !g->forgotten)
			(void)json_array_append_new(list, json_pack("{s:i,s:I,s:b}", "pid", (int)g->pid, "started",
								    (json_int_t)g->started, "out", 1));
	for (size_t i = 0; i < d->nr_outs; i++)
		(void)json_array_append_new(list, json_pack("{s:s,s:b}", "guest", d->outs[i], "out", 1));
	(void)snprintf(path, sizeof(path), "%s/" OPT_INS_FILE, d->host.state_dir);
	rc = hs_daemon_write_json(path, list);
	if (rc)
		hs_log(
		    HS_LOG_ERROR,
		    "cannot save in %s which processes are opted in (%s): after a restart it will be as it was before",
		    path, strerror(-rc));
	return rc;
}

void hs_daemon_load_opt_ins(struct hs_daemon *d)
{
	char path[4200];
	json_error_t je;
	json_t *list, *item;
	size_t i;

	(void)snprintf(path, sizeof(path), "%s/" OPT_INS_FILE, d->host.state_dir);
	if (access(path, F_OK))
		return;
	list = json_load_file(path, 0, &je);
	if (!json_is_array(list)) {
		hs_log(HS_LOG_WARNING, "%s cannot be read (%s): processes opted in earlier have to be opted in again",
		       path, list ? "it holds no list" : je.text);
		json_decref(list);
		return;
	}
	json_array_foreach(list, i, item)
	{
		struct hs_error err = { "" };
		struct hs_daemon_guest *g;
		const char *group = "", *key = NULL;
		const char *share = hs_opt_in_scope_name(HS_SCOPE_GROUP); /* older files do not have it */
		uint8_t scope = HS_SCOPE_GROUP;
		json_int_t started = 0, max = 0;
		int pid = 0, out = 0;

		if (json_unpack(item, "{s?s,s?b}", "guest", &key, "out", &out) == 0 && key && out) {
			(void)!hs_daemon_out_add(d, key);
			continue;
		}
		if (json_unpack(item, "{s:i,s:I}", "pid", &pid, "started", &started) || pid <= 0)
			continue;
		if (!out &&
		    (json_unpack(item, "{s:s,s:I,s?s}", "group", &group, "max_shared_bytes", &max, "share", &share) ||
		     hs_opt_in_scope_parse(share, &scope) || max < 0 || !hs_group_valid(group)))
			continue;
		/* Another process may have the number by now. */
		if (hs_start_time(&d->host, pid) != (uint64_t)started || !started)
			continue;
		if (hs_daemon_guest_pid(d, pid, &g, &err)) {
			hs_log(HS_LOG_WARNING, "process %d was opted in before and cannot be taken up: %s", pid,
			       err.text);
			continue;
		}
		g->out_by_request = out;
		g->by_request.on = !out;
		(void)snprintf(g->by_request.group, sizeof(g->by_request.group), "%s", group);
		g->by_request.max_shared_bytes = (uint64_t)max;
		g->by_request.scope = scope;
		hs_daemon_settle_opt_in(g);
	}
	json_decref(list);
}
