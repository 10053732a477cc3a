/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files of the host (/proc, /sys): one value or one page of text each, read and written whole.
 */
#ifndef HS_BASE_HOSTFILE_H
#define HS_BASE_HOSTFILE_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

/* Reads dir/name into buf, terminated, without the newline at its end. Bytes read or -errno. */
HS_MUST_USE ssize_t hs_hostfile_read(const char *dir, const char *name, char *buf, size_t size);

/* What a file is read by: the kernel's, or those of a test in which they fail. */
struct hs_hostfile_calls {
	int (*openat)(int dir_fd, const char *path, int flags);
	ssize_t (*read)(int fd, void *buf, size_t size);
};
extern const struct hs_hostfile_calls hs_hostfile_kernel;

/* The same for a path below an open folder, which may be that of a process: it stays the folder of that one process. */
HS_MUST_USE ssize_t hs_hostfile_read_at(const struct hs_hostfile_calls *calls, int dir_fd, const char *path, char *buf,
					size_t size);

/* A descriptor to read it with, for what is read very often. -errno. */
HS_MUST_USE int hs_hostfile_open(const char *dir, const char *name);

/* 0, or -errno of the open or of the write (which is how the kernel refuses a value). */
HS_MUST_USE int hs_hostfile_write(const char *dir, const char *name, const char *text);

/* One decimal number, nothing else. -EINVAL when it is something else. */
HS_MUST_USE int hs_hostfile_u64(const char *dir, const char *name, uint64_t *out);
HS_MUST_USE int hs_hostfile_write_u64(const char *dir, const char *name, uint64_t value);

/* A file of process `pid` below proc_dir. */
HS_MUST_USE ssize_t hs_hostfile_read_pid(const struct hs_host *host, pid_t pid, const char *name, char *buf,
					 size_t size);

/* The whole decimal number at the start of `text`; *end (may be NULL) is what follows. -EINVAL, -ERANGE. */
HS_MUST_USE int hs_hostfile_parse_u64(const char *text, const char **end, uint64_t *out);

/* The number behind `key` at the start of a line of `text` ("MemAvailable:", "ksm_rmap_items "). -ENOENT. */
HS_MUST_USE int hs_hostfile_field(const char *text, const char *key, uint64_t *out);

/*
 * Calls `visit` with the number of each process; a result other than 0 ends the walk and is returned. -errno when
 * proc_dir cannot be read.
 */
HS_MUST_USE int hs_hostfile_each_pid(const struct hs_host *host, int (*visit)(void *ctx, pid_t pid), void *ctx);

#endif
