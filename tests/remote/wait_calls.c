/* SPDX-License-Identifier: Apache-2.0 */
#include "wait_calls.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const struct timespec hour = { .tv_sec = WAIT_HOUR };
static char byte;

static long fill(int fd)
{
	static char buf[4096];
	int flags = fcntl(fd, F_GETFL);

	(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	while (write(fd, buf, sizeof(buf)) > 0)
		;
	(void)fcntl(fd, F_SETFL, flags);
	return write(fd, buf, sizeof(buf));
}

static long write_pipe(void)
{
	int p[2];

	return pipe(p) ? -1 : fill(p[1]);
}

static long write_socket(void)
{
	return fill(wait_pair(SOCK_STREAM, 0));
}

static long read_pipe(void)
{
	int p[2];

	return pipe(p) ? -1 : read(p[0], &byte, 1);
}

static long read_fifo(void)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/tmp/hs-test-fifo-%d", getpid());
	if (mkfifo(path, 0600))
		return -1;
	fd = open(path, O_RDWR);
	(void)unlink(path);
	return read(fd, &byte, 1);
}

static long read_terminal(void)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY), s;

	if (m < 0 || grantpt(m) || unlockpt(m))
		return -2;
	s = open(ptsname(m), O_RDWR | O_NOCTTY);
	return s < 0 ? -2 : read(s, &byte, 1);
}

static long read_eventfd(void)
{
	uint64_t v;

	return read(eventfd(0, 0), &v, sizeof(v));
}

static long read_timerfd(void)
{
	struct itimerspec at = { .it_value = hour };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	uint64_t v;

	(void)timerfd_settime(fd, 0, &at, NULL);
	return read(fd, &v, sizeof(v));
}

static long read_signalfd(void)
{
	struct signalfd_siginfo si;
	sigset_t mask;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	return read(signalfd(-1, &mask, 0), &si, sizeof(si));
}

static long read_inotify(void)
{
	char buf[4096];

	return read(inotify_init1(0), buf, sizeof(buf));
}

static long epoll_endless(void)
{
	struct epoll_event e;

	return epoll_wait(epoll_create1(0), &e, 1, -1);
}

static long epoll_limit(void)
{
	struct epoll_event e;

	return epoll_wait(epoll_create1(0), &e, 1, WAIT_HOUR * 1000);
}

static long epoll_limit_pwait2(void)
{
	struct epoll_event e;

	return syscall(SYS_epoll_pwait2, epoll_create1(0), &e, 1, &hour, NULL, 8);
}

static long semaphore(const struct timespec *limit)
{
	int id = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf op = { .sem_num = 0, .sem_op = -1 };
	pid_t parent = getpid();

	/* It is removed when this process has ended. */
	if (fork() == 0) {
		while (getppid() == parent)
			(void)usleep(20000);
		(void)semctl(id, 0, IPC_RMID);
		_exit(0);
	}
	return limit ? semtimedop(id, &op, 1, limit) : semop(id, &op, 1);
}

static long semop_endless(void)
{
	return semaphore(NULL);
}

static long semop_limit(void)
{
	return semaphore(&hour);
}

static long msgrcv_endless(void)
{
	struct {
		long type;
		char text[8];
	} m;
	int id = msgget(IPC_PRIVATE, 0600);
	pid_t parent = getpid();

	if (fork() == 0) {
		while (getppid() == parent)
			(void)usleep(20000);
		(void)msgctl(id, IPC_RMID, NULL);
		_exit(0);
	}
	return msgrcv(id, &m, sizeof(m.text), 0, 0);
}

static long mq_endless(void)
{
	char name[32], buf[16];
	struct mq_attr a = { .mq_maxmsg = 1, .mq_msgsize = sizeof(buf) };
	mqd_t q;

	(void)snprintf(name, sizeof(name), "/hs-test-%d", getpid());
	q = mq_open(name, O_RDWR | O_CREAT, 0600, &a);
	if (q < 0)
		return -2;
	(void)mq_unlink(name);
	return mq_receive(q, buf, sizeof(buf), NULL);
}

static long sigtimedwait_limit(void)
{
	sigset_t mask;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	return sigtimedwait(&mask, NULL, &hour);
}

static long aio(const struct timespec *limit)
{
	aio_context_t ctx = 0;
	struct io_event e;

	if (syscall(SYS_io_setup, 1, &ctx))
		return -2;
	return syscall(SYS_io_getevents, ctx, 1, 1, &e, limit);
}

static long aio_endless(void)
{
	return aio(NULL);
}

static long aio_limit(void)
{
	return aio(&hour);
}

static long uring_endless(void)
{
	struct io_uring_params p = { .flags = 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p);

	return fd < 0 ? -2 : syscall(SYS_io_uring_enter, fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
}

/* A read that a thread of the kernel's makes for this process: its end is seen in the ring. */
static long uring_worker(void)
{
	struct io_uring_params p = { .flags = 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p), pp[2];
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	struct io_uring_sqe *s;
	char *q;

	if (fd < 0 || pipe(pp))
		return -2;
	q = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	if (q == MAP_FAILED || s == MAP_FAILED)
		return -2;
	s->opcode = IORING_OP_READ;
	s->flags = IOSQE_ASYNC;
	s->fd = pp[0];
	s->addr = (uintptr_t)&byte;
	s->len = 1;
	*(unsigned int *)(void *)(q + p.sq_off.tail) = 1;
	if (syscall(SYS_io_uring_enter, fd, 1, 0, 0, NULL, 0) != 1)
		return -2;
	return poll(&wait, 1, -1);
}

static int locked_file(void)
{
	char path[] = "/tmp/hs-test-lock-XXXXXX";
	int fd = mkstemp(path), other = open(path, O_RDWR);

	(void)unlink(path);
	return flock(fd, LOCK_EX) ? -1 : other;
}

static long flock_other(void)
{
	return flock(locked_file(), LOCK_EX);
}

static long lock_range(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_len = 1 };
	char path[] = "/tmp/hs-test-lock-XXXXXX";
	int fd = mkstemp(path), other = open(path, O_RDWR);

	(void)unlink(path);
	return fcntl(fd, F_OFD_SETLK, &l) ? -1 : fcntl(other, F_OFD_SETLKW, &l);
}

static long select_limit(void)
{
	struct timeval t = { .tv_sec = WAIT_HOUR };

	return select(0, NULL, NULL, NULL, &t);
}

static long wait_child(void)
{
	pid_t parent = getpid();
	siginfo_t si;

	if (fork() == 0) {
		while (getppid() == parent)
			(void)usleep(20000);
		_exit(0);
	}
	return waitid(P_ALL, 0, &si, WEXITED);
}

const struct wait_call wait_calls[] = {
	{ "read, socket", wait_read_socket, true },
	{ "read, socket with a receive limit", wait_read_socket_limit, false },
	{ "read, socket with a send limit", wait_read_socket_send_limit, true },
	{ "readv, socket with a receive limit", wait_readv_socket_limit, false },
	{ "recv", wait_recv_plain, true },
	{ "recv, limit", wait_recv_limit, false },
	{ "recv, MSG_WAITALL", wait_recv_whole, false },
	{ "recvmsg", wait_recvmsg_plain, true },
	{ "recvmsg, limit", wait_recvmsg_limit, false },
	{ "recvmmsg, limit", wait_recvmmsg_limit, false },
	{ "accept", wait_accept_plain, true },
	{ "accept4, limit", wait_accept_limit, false },
	{ "connect", wait_connect_plain, true },
	{ "connect, limit", wait_connect_limit, false },
	{ "write, pipe", write_pipe, false },
	{ "write, socket", write_socket, false },
	{ "read, pipe", read_pipe, true },
	{ "read, fifo", read_fifo, true },
	{ "read, terminal", read_terminal, true },
	{ "read, eventfd", read_eventfd, true },
	{ "read, timerfd", read_timerfd, true },
	{ "read, signalfd", read_signalfd, true },
	{ "read, inotify", read_inotify, true },
	{ "epoll_wait", epoll_endless, true },
	{ "epoll_wait, limit", epoll_limit, false },
	{ "epoll_pwait2, limit", epoll_limit_pwait2, false },
	{ "semop", semop_endless, true },
	{ "semtimedop", semop_limit, false },
	{ "msgrcv", msgrcv_endless, true },
	{ "mq_receive", mq_endless, true },
	{ "sigtimedwait", sigtimedwait_limit, false },
	{ "io_getevents", aio_endless, true },
	{ "io_getevents, limit", aio_limit, false },
	{ "io_uring_enter", uring_endless, true },
	{ "io_uring's worker", uring_worker, true },
	{ "flock", flock_other, true },
	{ "fcntl, lock", lock_range, false },
	{ "select, limit", select_limit, true },
	{ "waitid", wait_child, true },
};

const size_t wait_nr_calls = sizeof(wait_calls) / sizeof(wait_calls[0]);
