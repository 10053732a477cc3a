/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An initramfs: a cpio archive ("newc": a header of hexadecimal numbers, the name, the content, each padded to four
 * bytes) that holds the workload as /init and the console's device. Not compressed: the kernel unpacks it faster so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest_private.h"

static int put(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size > 0) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

static int pad(int fd, size_t size)
{
	static const char zeros[4];

	return put(fd, zeros, (4 - size % 4) % 4);
}

struct entry {
	const char *name;
	uint32_t inode, mode, device_major, device_minor;
	size_t size;
};

static int put_header(int fd, const struct entry *e)
{
	char header[111];
	size_t name_size = strlen(e->name) + 1;
	int ret;

	(void)snprintf(header, sizeof(header), "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", e->inode,
		       e->mode, 0U, 0U, 1U, 0U, (unsigned int)e->size, 0U, 0U, e->device_major, e->device_minor,
		       (unsigned int)name_size, 0U);
	ret = put(fd, header, 110);
	if (!ret)
		ret = put(fd, e->name, name_size);
	return ret ? ret : pad(fd, 110 + name_size);
}

static int put_file(int fd, const struct entry *e, int from)
{
	char buf[65536];
	size_t left = e->size;
	int ret = put_header(fd, e);

	while (!ret && left > 0) {
		ssize_t n = read(from, buf, left < sizeof(buf) ? left : sizeof(buf));

		if (n <= 0)
			return n ? -errno : -EIO;
		ret = put(fd, buf, (size_t)n);
		left -= (size_t)n;
	}
	return ret ? ret : pad(fd, e->size);
}

int hs_guest_initramfs(int *fd, const char *program, struct hs_error *err)
{
	const struct entry dev = { "dev", 1, S_IFDIR | 0755, 0, 0, 0 };
	const struct entry console = { "dev/console", 2, S_IFCHR | 0600, 5, 1, 0 };
	const struct entry trailer = { "TRAILER!!!", 0, 0, 0, 0, 0 };
	struct entry init = { "init", 3, S_IFREG | 0755, 0, 0, 0 };
	struct stat st;
	int from = open(program, O_RDONLY | O_CLOEXEC);
	int out = -1;
	int ret;

	if (from < 0 || fstat(from, &st)) {
		ret = hs_error_set(err, -errno, "guest program %s: %s; build the target hs-guest-init", program,
				   strerror(errno));
		goto out;
	}
	init.size = (size_t)st.st_size;
	out = memfd_create("hs-guest-initramfs", MFD_CLOEXEC);
	ret = out < 0 ? -errno : put_header(out, &dev);
	if (!ret)
		ret = put_header(out, &console);
	if (!ret)
		ret = put_file(out, &init, from);
	if (!ret)
		ret = put_header(out, &trailer);
	if (ret)
		(void)hs_error_set(err, ret, "cannot write the initramfs: %s", strerror(-ret));
out:
	if (from >= 0)
		(void)close(from);
	if (ret && out >= 0)
		(void)close(out);
	if (!ret)
		*fd = out;
	return ret;
}
