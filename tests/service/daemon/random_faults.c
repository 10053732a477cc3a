/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loaded into a program before its libraries (LD_PRELOAD): one system call in HS_FAULTS_ONE_IN of those that the
 * product makes by name fails, by chance (HS_FAULTS_SEED), with an error that the call may have. The file
 * HS_FAULTS_COUNTS, which is there already, counts for all who use it: two numbers of 8 bytes, calls and faults.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct counts {
	_Atomic uint64_t calls, faults;
};
static struct counts *counts;
static uint64_t one_in;
static _Atomic uint64_t state;

__attribute__((constructor)) static void begin(void)
{
	const char *in = getenv("HS_FAULTS_ONE_IN"), *file = getenv("HS_FAULTS_COUNTS"),
		   *seed = getenv("HS_FAULTS_SEED");
	void *at = MAP_FAILED;
	long fd;

	if (!in || !file)
		return;
	fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
	if (fd >= 0) {
		at = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
		(void)syscall(SYS_close, fd);
	}
	if (at == MAP_FAILED) {
		(void)dprintf(STDERR_FILENO, "random_faults: cannot map %s\n", file);
		abort();
	}
	one_in = strtoull(in, NULL, 10);
	atomic_store(&state, seed ? strtoull(seed, NULL, 10) : 1);
	counts = at;
}

/* errors: ends with 0. */
static bool fails(const int *errors)
{
	uint64_t x;
	size_t nr = 0;

	if (!counts || !one_in)
		return false;
	x = atomic_fetch_add(&state, UINT64_C(0x9e3779b97f4a7c15));
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	atomic_fetch_add(&counts->calls, 1);
	if (x % one_in)
		return false;
	atomic_fetch_add(&counts->faults, 1);
	while (errors[nr])
		nr++;
	errno = errors[(x >> 40) % nr];
	return true;
}

static const int no_file[] = { EMFILE, ENFILE, ENOMEM, EIO, 0 }, bad_read[] = { EIO, EINTR, 0 };
static const int bad_write[] = { ENOSPC, EIO, EINTR, 0 }, bad_name[] = { EIO, ENOSPC, 0 };
static const int bad_trace[] = { ESRCH, EIO, EPERM, 0 }, bad_memory[] = { EFAULT, ESRCH, ENOMEM, 0 };
static const int bad_ioctl[] = { EIO, EAGAIN, ENOMEM, 0 }, no_child[] = { ECHILD, EINTR, 0 };

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define WRAP(type, name, params, args, errors, failed)                                                                 \
	type name params;                                                                                              \
	type name params                                                                                               \
	{                                                                                                              \
		static __typeof__(&name) real;                                                                         \
                                                                                                                       \
		if (!real)                                                                                             \
			real = REAL(name);                                                                             \
		return fails(errors) ? (failed) : real args;                                                           \
	}

WRAP(ssize_t, read, (int fd, void *buf, size_t n), (fd, buf, n), bad_read, -1)
WRAP(ssize_t, pread, (int fd, void *buf, size_t n, off_t at), (fd, buf, n, at), bad_read, -1)
WRAP(ssize_t, pread64, (int fd, void *buf, size_t n, off64_t at), (fd, buf, n, at), bad_read, -1)
WRAP(ssize_t, write, (int fd, const void *buf, size_t n), (fd, buf, n), bad_write, -1)
WRAP(ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t at), (fd, buf, n, at), bad_write, -1)
WRAP(int, fsync, (int fd), (fd), bad_name, -1)
WRAP(int, rename, (const char *from, const char *to), (from, to), bad_name, -1)
WRAP(int, unlink, (const char *path), (path), bad_name, -1)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), no_file, NULL)
WRAP(FILE *, fdopen, (int fd, const char *mode), (fd, mode), no_file, NULL)
WRAP(DIR *, opendir, (const char *path), (path), no_file, NULL)
WRAP(ssize_t, process_vm_readv,
     (pid_t pid, const struct iovec *to, unsigned long nr_to, const struct iovec *from, unsigned long nr_from,
      unsigned long flags),
     (pid, to, nr_to, from, nr_from, flags), bad_memory, -1)
WRAP(ssize_t, process_vm_writev,
     (pid_t pid, const struct iovec *from, unsigned long nr_from, const struct iovec *to, unsigned long nr_to,
      unsigned long flags),
     (pid, from, nr_from, to, nr_to, flags), bad_memory, -1)
WRAP(int, waitid, (idtype_t type, id_t id, siginfo_t *info, int options), (type, id, info, options), no_child, -1)

#define WRAP_OPEN(name, params, args)                                                                                  \
	int name params;                                                                                               \
	int name params                                                                                                \
	{                                                                                                              \
		static __typeof__(&name) real;                                                                         \
		mode_t mode = 0;                                                                                       \
		va_list ap;                                                                                            \
                                                                                                                       \
		va_start(ap, flags);                                                                                   \
		if (flags & (O_CREAT | O_TMPFILE))                                                                     \
			mode = va_arg(ap, mode_t);                                                                     \
		va_end(ap);                                                                                            \
		if (!real)                                                                                             \
			real = REAL(name);                                                                             \
		return fails(no_file) ? -1 : real args;                                                                \
	}

WRAP_OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
WRAP_OPEN(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!real)
		real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	return fails(bad_ioctl) ? -1 : real(fd, request, arg);
}

long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(enum __ptrace_request, ...);
	void *addr, *data;
	va_list ap;
	pid_t pid;

	va_start(ap, request);
	pid = va_arg(ap, pid_t);
	addr = va_arg(ap, void *);
	data = va_arg(ap, void *);
	va_end(ap);
	if (!real)
		real = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	return fails(bad_trace) ? -1 : real(request, pid, addr, data);
}
