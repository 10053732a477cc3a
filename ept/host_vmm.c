/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How small a piece of a process's memory may be and still count as guest memory, where nobody has said it.
 *
 * A VMM has one or a few large pieces, its guest's RAM, and beside them buffers of its own, up to some tens of MiB,
 * which are busy: 64 MiB tells them apart. Any other process has its memory in the pieces that its allocator asks for,
 * which may all be small (docs/tuning.md has what was measured): there the limit is what a look is made for, a whole
 * huge page, which a piece of twice its size holds wherever it begins.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host_internal.h"

#define VMM_MIN_BYTES   (UINT64_C(64) << 20)
#define OTHER_MIN_BYTES (2 * HS_HUGE_SIZE)

static bool links_to(int dir_fd, const char *name, const char *target)
{
	char text[64];
	const ssize_t n = readlinkat(dir_fd, name, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return strcmp(text, target) == 0;
}

static bool runs_qemu(int proc_dir_fd)
{
	char path[4096];
	const ssize_t n = readlinkat(proc_dir_fd, "exe", path, sizeof(path) - 1);
	const char *name;

	path[n > 0 ? n : 0] = '\0';
	name = strrchr(path, '/');
	return name && strncmp(name + 1, "qemu", 4) == 0;
}

static bool has_kvm(int proc_dir_fd)
{
	const int fd = openat(proc_dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool found = false;
	struct dirent *e;

	if (!d && fd >= 0)
		(void)close(fd);
	while (d && !found && (e = readdir(d)))
		found = links_to(dirfd(d), e->d_name, HS_HOST_VM_FILE) || links_to(dirfd(d), e->d_name, "/dev/kvm");
	if (d)
		(void)closedir(d);
	return found;
}

uint64_t hs_host_default_min_bytes(int proc_dir_fd)
{
	return runs_qemu(proc_dir_fd) || has_kvm(proc_dir_fd) ? VMM_MIN_BYTES : OTHER_MIN_BYTES;
}

int hs_host_vm_files(const struct hs_host_view *host, int *fds, int room)
{
	int dir_fd = openat(host->dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), nr = 0, rc = 0;
	DIR *d = dir_fd < 0 ? NULL : fdopendir(dir_fd);
	struct dirent *e;

	if (!d) {
		int error = errno;

		if (dir_fd >= 0)
			close(dir_fd);
		return error == ENOENT ? -ESRCH : -error;
	}
	while (nr < room && !rc && (errno = 0, e = readdir(d)) != NULL) {
		char target[64];
		ssize_t n;

		if (e->d_name[0] == '.')
			continue;
		n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		/* Closed since it was listed, it is none; of another one that cannot be read, it is not known. */
		if (n < 0 && errno != ENOENT)
			rc = -errno;
		if (n == (ssize_t)strlen(HS_HOST_VM_FILE) && memcmp(target, HS_HOST_VM_FILE, (size_t)n) == 0)
			fds[nr++] = atoi(e->d_name);
	}
	if (nr < room && !rc)
		rc = -errno;
	(void)closedir(d);
	return rc ? rc : nr;
}
