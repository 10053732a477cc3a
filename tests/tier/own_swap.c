/* SPDX-License-Identifier: Apache-2.0 */
#include "own_swap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/swap.h>
#include <unistd.h>

#include "hs/types.h"
#include "hs_test.h"

static int device = -1; /* zram's number */

static int write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
	int rc = n < 0 ? -errno : 0;

	if (fd >= 0)
		(void)close(fd);
	return rc;
}

static int write_of_device(const char *name, const char *text)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/block/zram%d/%s", device, name);
	return write_to(path, text);
}

static const char *device_path(void)
{
	static char path[32];

	(void)snprintf(path, sizeof(path), "/dev/zram%d", device);
	return path;
}

/* What mkswap writes: version, last page, and the word at the end of the first page. */
static void make_swap(uint64_t kib)
{
	static char page[HS_BASE_SIZE];
	const uint32_t head[2] = { 1, (uint32_t)(kib / 4) - 1 };
	int fd;

	memset(page, 0, sizeof(page));
	memcpy(page + 1024, head, sizeof(head));
	memcpy(page + HS_BASE_SIZE - 10, "SWAPSPACE2", 10);
	fd = open(device_path(), O_WRONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, page, sizeof(page)), HS_BASE_SIZE);
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(close(fd), 0);
}

void swap_on(uint64_t kib)
{
	char text[32];

	(void)swapoff(device_path()); /* of a test that failed */
	ck_assert_int_eq(write_of_device("reset", "1"), 0);
	(void)snprintf(text, sizeof(text), "%lluK", (unsigned long long)kib);
	ck_assert_int_eq(write_of_device("disksize", text), 0);
	make_swap(kib);
	ck_assert_msg(swapon(device_path(), SWAP_FLAG_PREFER | 32767) == 0, "swapon: %s", strerror(errno));
}

void swap_off(void)
{
	ck_assert_msg(swapoff(device_path()) == 0, "swapoff: %s", strerror(errno));
}

static bool other_swap(void)
{
	char line[256];
	FILE *f = fopen("/proc/swaps", "re");
	int nr = 0;

	while (f && fgets(line, sizeof(line), f))
		nr++;
	if (f)
		(void)fclose(f);
	return nr > 1;
}

uint64_t swap_used(void)
{
	unsigned long long used = 0, size;
	char line[256], name[64];
	FILE *f = fopen("/proc/swaps", "re");

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %*s %llu %llu", name, &size, &used) == 3 && !strcmp(name, device_path()))
			break;
		else
			used = 0;
	(void)fclose(f);
	return used * 1024;
}

static bool add_device(void)
{
	char text[16] = "";
	int fd;

	if (access("/sys/class/zram-control/hot_add", F_OK))
		(void)!system("modprobe zram 2>/dev/null");
	fd = open("/sys/class/zram-control/hot_add", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) > 0)
		device = atoi(text);
	(void)close(fd);
	return device >= 0;
}

int own_swap_make(const char *suite)
{
	if (other_swap())
		return hs_test_skip(suite, "this machine has swap of its own, which would take pages as well");
	if (!add_device())
		return hs_test_skip(suite, "this kernel gives no zram device (modprobe zram, /sys/class/zram-control)");
	return 0;
}

void own_swap_remove(void)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", device);
	(void)swapoff(device_path());
	if (write_of_device("reset", "1") || write_to("/sys/class/zram-control/hot_remove", text))
		(void)fprintf(stderr, "%s could not be removed\n", device_path());
}
