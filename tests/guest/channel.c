/* SPDX-License-Identifier: Apache-2.0 */
/* The control line: a command goes out as one line, one line comes back. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "guest_private.h"

uint64_t hs_guest_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

void hs_guest_log_tail(const struct hs_guest *g, char *buf, size_t size)
{
	off_t end = lseek(g->log_fd, 0, SEEK_END);
	off_t start = end > (off_t)size - 1 ? end - (off_t)size + 1 : 0;
	ssize_t n = end < 0 ? 0 : pread(g->log_fd, buf, size - 1, start);

	buf[n > 0 ? n : 0] = 0;
	for (char *p = buf; *p; p++) {
		if (*p == '\n' && p[1])
			*p = '|';
		else if ((unsigned char)*p < ' ')
			*p = ' ';
	}
}

/* The guest does not answer as it should: say why, as far as it can be known. */
static int broken(struct hs_guest *g, int code, const char *what, struct hs_error *err)
{
	char tail[300];
	int ret = hs_guest_alive(g, err);

	if (ret)
		return ret;
	hs_guest_log_tail(g, tail, sizeof(tail));
	return hs_error_set(err, code, "guest %s (pid %d) %s; its log ends: %s", g->name, (int)g->pid, what, tail);
}

/* The line has ended: the process is about to, or has closed it. Give it a moment, for the better message. */
static int hung_up(struct hs_guest *g, struct hs_error *err)
{
	for (int i = 0; i < 100; i++) {
		struct timespec t = { .tv_nsec = 10000000 };

		if (hs_guest_alive(g, err))
			return -EPIPE;
		(void)nanosleep(&t, NULL);
	}
	return broken(g, -EPIPE, "closed its control line", err);
}

int hs_guest_send(struct hs_guest *g, const char *line, struct hs_error *err)
{
	size_t len = strlen(line);

	while (len > 0) {
		ssize_t n = send(g->control_fd, line, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return hung_up(g, err);
		line += n;
		len -= (size_t)n;
	}
	return 0;
}

/* One whole line, without its end, into *line (malloc'ed). */
static int read_line(struct hs_guest *g, uint64_t deadline_ns, char **line, struct hs_error *err)
{
	for (;;) {
		char *end = g->line_len ? memchr(g->line, '\n', g->line_len) : NULL;
		struct pollfd p = { .fd = g->control_fd, .events = POLLIN };
		uint64_t now = hs_guest_now_ns();
		ssize_t n;
		int ready;

		if (end) {
			size_t used = (size_t)(end - g->line) + 1;

			*end = 0;
			*line = strdup(g->line);
			g->line_len -= used;
			memmove(g->line, g->line + used, g->line_len);
			return *line ? 0 : hs_error_set(err, -ENOMEM, "no memory");
		}
		if (now >= deadline_ns)
			return broken(g, -ETIMEDOUT, "did not answer in time", err);
		ready = poll(&p, 1, (int)((deadline_ns - now) / 1000000U) + 1);
		if (ready <= 0)
			continue;
		if (g->line_size - g->line_len < 4096) {
			char *more = realloc(g->line, g->line_size + 16384);

			if (!more)
				return hs_error_set(err, -ENOMEM, "no memory");
			g->line = more;
			g->line_size += 16384;
		}
		n = recv(g->control_fd, g->line + g->line_len, g->line_size - g->line_len, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return hung_up(g, err);
		g->line_len += (size_t)n;
	}
}

int hs_guest_receive(struct hs_guest *g, const char *name, int timeout_ms, char **json, struct hs_error *err)
{
	uint64_t deadline_ns = hs_guest_now_ns() + (uint64_t)timeout_ms * 1000000U;
	size_t len = strlen(name);
	char *line = NULL;
	int ret = read_line(g, deadline_ns, &line, err);

	if (ret)
		return ret;
	if (strncmp(line, name, len) != 0 || line[len] != ' ') {
		ret = hs_error_set(err, -EPROTO, "guest %s answers '%.200s' to '%s'", g->name, line, name);
		free(line);
		return ret;
	}
	memmove(line, line + len + 1, strlen(line + len + 1) + 1);
	*json = line;
	return 0;
}

int hs_guest_field(const char *json, const char *key, uint64_t *out)
{
	size_t len = strlen(key);

	for (const char *p = strchr(json, '"'); p; p = strchr(p + 1, '"')) {
		char *end;

		if (strncmp(p + 1, key, len) != 0 || p[len + 1] != '"' || p[len + 2] != ':')
			continue;
		errno = 0;
		*out = (uint64_t)strtoull(p + len + 3, &end, 10); /* -1 becomes UINT64_MAX */
		return errno || end == p + len + 3 ? -EPROTO : 0;
	}
	return -EPROTO;
}
