/* SPDX-License-Identifier: Apache-2.0 */
#include "raw_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 10000

uint64_t hs_raw_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static int connected(int family, const struct sockaddr *addr, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), saved;

	if (fd < 0 || connect(fd, addr, len) == 0)
		return fd;
	saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}

int hs_raw_unix(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return connected(AF_UNIX, (struct sockaddr *)&addr, sizeof(addr));
}

int hs_raw_tcp(const char *address, uint16_t port)
{
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (inet_pton(AF_INET, address, &a4.sin_addr) == 1)
		return connected(AF_INET, (struct sockaddr *)&a4, sizeof(a4));
	(void)inet_pton(AF_INET6, address, &a6.sin6_addr);
	return connected(AF_INET6, (struct sockaddr *)&a6, sizeof(a6));
}

bool hs_raw_send(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

bool hs_raw_say(int fd, const char *text)
{
	return hs_raw_send(fd, text, strlen(text));
}

static bool is_whole(const char *text, size_t len)
{
	const char *end = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "\r\nContent-Length:");

	return end && length && length < end &&
	       len >= (size_t)(end + 4 - text) + strtoull(length + strlen("\r\nContent-Length:"), NULL, 10);
}

size_t hs_raw_read(int fd, char *out, size_t size, int timeout_ms, bool *closed)
{
	const uint64_t until = hs_raw_now_us() + (uint64_t)timeout_ms * 1000;
	size_t len = 0;

	*closed = false;
	out[0] = '\0';
	while (len < size - 1 && !is_whole(out, len)) {
		const uint64_t now = hs_raw_now_us();
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (now >= until || poll(&p, 1, (int)((until - now) / 1000) + 1) == 0)
			break;
		n = recv(fd, out + len, size - 1 - len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*closed = true;
			break;
		}
		len += (size_t)n;
		out[len] = '\0';
	}
	return len;
}

int hs_raw_status(int fd, const char *request, char *out, size_t size)
{
	bool closed;
	int status = 0;

	/* One that is refused early may be answered before it is all sent. */
	(void)hs_raw_say(fd, request);
	(void)hs_raw_read(fd, out, size, ANSWER_MS, &closed);
	return sscanf(out, "HTTP/1.%*1d %3d", &status) == 1 ? status : 0;
}
