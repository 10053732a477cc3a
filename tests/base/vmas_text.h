/* SPDX-License-Identifier: Apache-2.0 */
/* A list of VMAs from a text, as if /proc/PID/maps or smaps said it. */
#ifndef HS_TESTS_BASE_VMAS_TEXT_H
#define HS_TESTS_BASE_VMAS_TEXT_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/vmas.h"

/* A descriptor on such a file. */
static inline int hs_test_vmas_fd(const char *text)
{
	int fd = memfd_create("vmas", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* An empty text is a process that is gone: an empty list then. */
static inline void hs_test_vmas(struct hs_vma_list *out, const char *text)
{
	int fd = hs_test_vmas_fd(text), dir_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[16];

	(void)snprintf(name, sizeof(name), "%d", fd);
	ck_assert_int_eq(hs_vmas_read(out, dir_fd, name), *text ? 0 : -ESRCH);
	ck_assert_int_eq(close(dir_fd), 0);
	ck_assert_int_eq(close(fd), 0);
}

#endif
