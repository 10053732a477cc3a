/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics as text, for who reads them by hand, and as a file that node_exporter passes on: figures leave the host
 * without a listener of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "service_commands.h"

#define ENDS ".prom" /* node_exporter reads no other */

enum { OPT_SOCKET = 256, OPT_TEXTFILE, OPT_SKETCH };

struct options {
	const char *socket, *textfile;
	bool sketch;
};

static const struct argp_option option_list[] = {
	{ "textfile", OPT_TEXTFILE, "PATH", 0,
	  "Write them to this file for node_exporter, as a whole; without the daemon it is removed. Its name ends in "
	  ".prom.",
	  0 },
	{ "sketch", OPT_SKETCH, NULL, 0, "Those of the guests' sketches, which a fleet needs, instead of the others.",
	  0 },
	{ "socket", OPT_SOCKET, "PATH", 0, "The daemon's socket. Default: " HS_CLIENT_SOCKET ".", 9 },
	{ 0 },
};

static bool ends_right(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	const size_t len = strlen(name);

	return len > strlen(ENDS) && strcmp(name + len - strlen(ENDS), ENDS) == 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case OPT_SOCKET:
		o->socket = arg;
		break;
	case OPT_TEXTFILE:
		if (!ends_right(arg))
			argp_error(state,
				   "--textfile: \"%s\" does not end in %s, and node_exporter reads no other file", arg,
				   ENDS);
		o->textfile = arg;
		break;
	case OPT_SKETCH:
		o->sketch = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is one word too many", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		const ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/*
 * A file beside it, under a name that nobody has and node_exporter does not read, takes its place: whoever reads sees
 * the one before or this one. It is made anew and never followed, as the folder may be another user's.
 */
static int put_file(const char *path, const char *text, size_t len, struct hs_error *err)
{
	const char *slash = strrchr(path, '/');
	const int dir_len = slash ? (int)(slash + 1 - path) : 0;
	char *tmp = NULL;
	int fd, rc = 0;

	if (asprintf(&tmp, "%.*s.hs-share-XXXXXX", dir_len, path) < 0)
		return hs_error_set(err, -ENOMEM, "out of memory");
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0) {
		rc = hs_error_set(err, -errno,
				  "cannot make a file beside %s: %s; node_exporter's folder has to be there", path,
				  strerror(errno));
		free(tmp);
		return rc;
	}
	rc = write_all(fd, text, len);
	if (!rc && fchmod(fd, 0644))
		rc = -errno;
	if (close(fd) && !rc)
		rc = -errno;
	if (!rc && rename(tmp, path))
		rc = -errno;
	if (rc) {
		(void)unlink(tmp);
		(void)hs_error_set(err, rc, "cannot write %s: %s", path, strerror(-rc));
	}
	free(tmp);
	return rc;
}

int hs_cmd_metrics(int argc, char **argv)
{
	static const struct argp argp = {
		.options = option_list,
		.parser = parse,
		.doc =
		    "The figures for Prometheus, in its text format, to standard output or for node_exporter's "
		    "textfile collector.\vExit status: 0 done, 1 failed, 2 wrong use, 3 the daemon cannot be reached.",
	};
	struct options o = { .socket = HS_CLIENT_SOCKET };
	struct hs_error err = { "" };
	char *text = NULL;
	size_t len = 0;
	int rc, status;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	rc = hs_client_metrics(o.socket, o.sketch, &text, &len, &err);
	status = rc == -ENOTCONN || rc == -EPROTO ? HS_EXIT_NO_DAEMON : HS_EXIT_FAILED;
	if (!rc && o.textfile)
		rc = put_file(o.textfile, text, len, &err);
	else if (!rc && (fwrite(text, 1, len, stdout) != len || fflush(stdout)))
		rc = hs_error_set(&err, -EIO, "cannot write to standard output");
	free(text);
	if (!rc)
		return 0;
	hs_complain("%s", err.text);
	/* Figures of before would be passed on as those of now. */
	if (o.textfile && unlink(o.textfile) && errno != ENOENT)
		hs_complain("cannot remove %s, whose figures are old: %s", o.textfile, strerror(errno));
	return status;
}
