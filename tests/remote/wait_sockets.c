/* SPDX-License-Identifier: Apache-2.0 */
/* Those that wait on a socket. */
#include "wait_calls.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static char byte;

int wait_pair(int type, int option)
{
	struct timeval t = { .tv_sec = WAIT_HOUR };
	int sv[2];

	if (socketpair(AF_UNIX, type, 0, sv))
		return -1;
	if (option && setsockopt(sv[0], SOL_SOCKET, option, &t, sizeof(t)))
		return -1;
	return sv[0];
}

long wait_read_socket(void)
{
	return read(wait_pair(SOCK_STREAM, 0), &byte, 1);
}

long wait_read_socket_limit(void)
{
	return read(wait_pair(SOCK_STREAM, SO_RCVTIMEO), &byte, 1);
}

long wait_read_socket_send_limit(void)
{
	return read(wait_pair(SOCK_STREAM, SO_SNDTIMEO), &byte, 1);
}

long wait_readv_socket_limit(void)
{
	struct iovec v = { &byte, 1 };

	return readv(wait_pair(SOCK_STREAM, SO_RCVTIMEO), &v, 1);
}

long wait_recv_plain(void)
{
	return recv(wait_pair(SOCK_DGRAM, 0), &byte, 1, 0);
}

long wait_recv_limit(void)
{
	return recv(wait_pair(SOCK_DGRAM, SO_RCVTIMEO), &byte, 1, 0);
}

long wait_recv_whole(void)
{
	char buf[8];

	return recv(wait_pair(SOCK_STREAM, 0), buf, sizeof(buf), MSG_WAITALL);
}

static long recvmsg_on(int fd)
{
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return recvmsg(fd, &m, 0);
}

long wait_recvmsg_plain(void)
{
	return recvmsg_on(wait_pair(SOCK_DGRAM, 0));
}

long wait_recvmsg_limit(void)
{
	return recvmsg_on(wait_pair(SOCK_DGRAM, SO_RCVTIMEO));
}

long wait_recvmmsg_limit(void)
{
	struct iovec v = { &byte, 1 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };

	return recvmmsg(wait_pair(SOCK_DGRAM, SO_RCVTIMEO), &m, 1, 0, NULL);
}

static int listener(struct sockaddr_un *a, int option)
{
	struct timeval t = { .tv_sec = WAIT_HOUR };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	(void)snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "hs-test-waits-%d", getpid());
	if (bind(fd, (struct sockaddr *)a, sizeof(*a)) || listen(fd, 0) ||
	    (option && setsockopt(fd, SOL_SOCKET, option, &t, sizeof(t))))
		return -1;
	return fd;
}

long wait_accept_plain(void)
{
	struct sockaddr_un a;

	return accept(listener(&a, 0), NULL, NULL);
}

long wait_accept_limit(void)
{
	struct sockaddr_un a;

	return accept4(listener(&a, SO_RCVTIMEO), NULL, NULL, 0);
}

static long connect_full(bool limited)
{
	struct timeval t = { .tv_sec = WAIT_HOUR };
	struct sockaddr_un a;
	int fd;

	(void)listener(&a, 0);
	do
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	while (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (limited && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t)))
		return -1;
	return connect(fd, (struct sockaddr *)&a, sizeof(a));
}

long wait_connect_plain(void)
{
	return connect_full(false);
}

long wait_connect_limit(void)
{
	return connect_full(true);
}
