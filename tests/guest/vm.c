/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine has one purpose, so process 1 is the workload. It wants whole huge pages: the guest's kernel turns them
 * off by itself on machines under 512 MiB, and gives them at the first touch only when asked to look for one hard.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "hs/types.h"
#include "vm.h"

#define CONTROL_LINE "/dev/ttyS1"
#define THP_DIR      "/sys/kernel/mm/transparent_hugepage/"

static int write_file(const char *path, const char *text, struct hs_error *err)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int e = errno;

	if (fd >= 0)
		(void)close(fd);
	return n < 0 ? hs_error_set(err, -e, "%s: %s", path, strerror(e)) : 0;
}

static int mount_one(const char *type, const char *where, struct hs_error *err)
{
	(void)mkdir(where, 0755);
	if (mount(type, where, type, 0, NULL) && errno != EBUSY)
		return hs_error_set(err, -errno, "cannot mount %s: %s", where, strerror(errno));
	return 0;
}

/* Bytes as they are: no echo, no line editing, no translation of line ends. */
static int open_control(struct hs_error *err)
{
	struct termios t;
	int fd = open(CONTROL_LINE, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || tcgetattr(fd, &t))
		return hs_error_set(err, -errno, "%s: %s", CONTROL_LINE, strerror(errno));
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL;
	(void)cfsetspeed(&t, B115200);
	if (tcsetattr(fd, TCSANOW, &t) || dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		return hs_error_set(err, -errno, "%s: %s", CONTROL_LINE, strerror(errno));
	(void)close(fd);
	return 0;
}

int hs_vm_prepare(struct hs_error *err)
{
	int ret = mount_one("devtmpfs", "/dev", err);

	if (!ret)
		ret = mount_one("proc", "/proc", err);
	if (!ret)
		ret = mount_one("sysfs", "/sys", err);
	if (!ret)
		ret = write_file(THP_DIR "enabled", "always", err);
	if (!ret)
		ret = write_file(THP_DIR "defrag", "always", err);
	if (!ret)
		ret = open_control(err);
	return ret;
}

int hs_vm_physical(const void *base, uint32_t nr, uint64_t *out)
{
	const uint64_t present = UINT64_C(1) << 63;
	const uint64_t pfn_mask = (UINT64_C(1) << 55) - 1;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	for (uint32_t h = 0; h < nr && !ret; h++) {
		uint64_t map[HS_BASE_PER_HUGE];
		off_t at = (off_t)(((uintptr_t)base + h * HS_HUGE_SIZE) >> HS_BASE_SHIFT) * (off_t)sizeof(map[0]);

		if (pread(fd, map, sizeof(map), at) != (ssize_t)sizeof(map)) {
			ret = errno ? -errno : -EIO;
			break;
		}
		for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
			if (!(map[i] & present) || (map[i] & pfn_mask) != (map[0] & pfn_mask) + i)
				ret = -ENXIO;
		out[h] = (map[0] & pfn_mask) << HS_BASE_SHIFT;
		if (!out[h] || out[h] % HS_HUGE_SIZE)
			ret = -ENXIO;
	}
	(void)close(fd);
	return ret;
}

void hs_vm_power_off(void)
{
	(void)tcdrain(STDOUT_FILENO);
	(void)reboot(RB_POWER_OFF);
	_exit(EXIT_FAILURE); /* the kernel panics, and the machine ends by that */
}
