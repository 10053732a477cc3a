/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the remote part asks of the kernel, in one table: a test puts another in its place, which fails where the test
 * says to, and does the rest by this one.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "remote_internal.h"

static long sys_ptrace(enum __ptrace_request request, pid_t tid, void *addr, void *data)
{
	return ptrace(request, tid, addr, data);
}

static ssize_t sys_vm_read(pid_t tid, const struct iovec *local, const struct iovec *remote, size_t nr)
{
	return process_vm_readv(tid, local, nr, remote, nr, 0);
}

static ssize_t sys_vm_write(pid_t tid, const struct iovec *local, const struct iovec *remote, size_t nr)
{
	return process_vm_writev(tid, local, nr, remote, nr, 0);
}

static int sys_look(pid_t tid, siginfo_t *si)
{
	return waitid(P_PID, (id_t)tid, si, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL | __WNOTHREAD);
}

static int sys_openat(int dir_fd, const char *path, int flags)
{
	return openat(dir_fd, path, flags);
}

static int sys_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

const struct hs_remote_sys hs_remote_sys_kernel = {
	.ptrace = sys_ptrace,
	.vm_read = sys_vm_read,
	.vm_write = sys_vm_write,
	.look = sys_look,
	.openat = sys_openat,
	.read = read,
	.ioctl = sys_ioctl,
	.alloc = calloc,
	.resize = reallocarray,
	.thread = pthread_create,
};

const struct hs_remote_sys *hs_remote_sys = &hs_remote_sys_kernel;
