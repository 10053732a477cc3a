/* SPDX-License-Identifier: Apache-2.0 */
#include "tier_scene.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>

struct hs_host host = HS_HOST_DEFAULT;
struct hs_error err;
struct hs_guest *guest;
struct hs_view *view;

static int device = -1; /* zram's number */

/* ---- time ---- */

static uint64_t now_us(void *ctx)
{
	struct timespec t;

	(void)ctx;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int sleep_us(void *ctx, uint64_t us)
{
	struct timespec t = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };

	(void)ctx;
	(void)nanosleep(&t, NULL);
	return 0;
}

struct hs_clock real_time = { .now_us = now_us, .sleep_us = sleep_us };

bool before(uint64_t *deadline_us, unsigned int seconds)
{
	if (!*deadline_us)
		*deadline_us = now_us(NULL) + seconds * UINT64_C(1000000);
	else
		(void)sleep_us(NULL, 2000);
	return now_us(NULL) < *deadline_us;
}

/* ---- swap ---- */

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

static void remove_device(void)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", device);
	(void)swapoff(device_path());
	if (write_of_device("reset", "1") || write_to("/sys/class/zram-control/hot_remove", text))
		(void)fprintf(stderr, "%s could not be removed\n", device_path());
}

/* ---- the guest ---- */

void start_guest(const struct hs_guest_params *params)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);

	cfg.params = *params;
	ck_assert_msg(hs_guest_start(&guest, &cfg, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_guest_wait_ready(guest, 60000, NULL, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_view_open_host(&view, &host, hs_guest_pid(guest), NULL, 0, &err) == 0, "%s", err.text);
}

void stop_guest(void)
{
	hs_view_close(view);
	hs_guest_stop(guest);
}

hs_huge_nr view_huge(uint32_t huge)
{
	const hs_hva at = hs_guest_hva(guest, huge);

	for (hs_huge_nr h = 0; h < view->nr_huge; h++)
		if (hs_view_hva(view, h).v == at.v)
			return h;
	ck_abort_msg("the view has no huge page at %llx", (unsigned long long)at.v);
	return 0;
}

void check_bytes(void)
{
	struct hs_guest_verified v;

	ck_assert_msg(hs_guest_verify(guest, &v, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(v.checked_pages, hs_guest_layout(guest)->nr_pages);
	ck_assert_uint_eq(v.bad_pages, 0);
}

int tier_scene_main(const char *name, void (*add)(TCase *t))
{
	Suite *s;
	TCase *t;
	int rc;

	if (HS_TEST_SANITIZED)
		return hs_test_skip(name, "the address sanitizer maps terabytes that look like guest memory");
	if (geteuid())
		return hs_test_skip(name, "moving other processes' memory needs root");
	if (other_swap())
		return hs_test_skip(name, "this machine has swap of its own, which would take pages as well");
	if (!add_device())
		return hs_test_skip(name, "this kernel gives no zram device (modprobe zram, /sys/class/zram-control)");
	s = suite_create(name);
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	add(t);
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	remove_device();
	return rc;
}
