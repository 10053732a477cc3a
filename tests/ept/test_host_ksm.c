/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the view says of memory that KSM has merged: frames, states, restoring. Runs the host's ksmd for a moment, and
 * gives its knobs back.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "view_guest.h"

#define NR_HUGE 8

static const struct hs_host host = HS_HOST_DEFAULT;
static struct view_guest guest;
static struct hs_view *view;
static struct hs_remote *remote;
static struct hs_error err;

/* ---- KSM's knobs ---- */

static const char *const knobs[] = { "pages_to_scan", "sleep_millisecs", "smart_scan", "run" };
enum { NR_KNOBS = sizeof(knobs) / sizeof(knobs[0]) };
static char saved[NR_KNOBS][32];

static bool read_knob(const char *name, char *text, size_t size)
{
	char path[128];
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void write_knob(const char *name, const char *text)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0) /* smart_scan is younger than 6.1 */
		return;
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void take_knobs(void)
{
	for (int i = 0; i < NR_KNOBS; i++)
		if (!read_knob(knobs[i], saved[i], sizeof(saved[i])))
			saved[i][0] = '\0';
}

static void give_knobs(void)
{
	for (int i = 0; i < NR_KNOBS; i++)
		if (saved[i][0])
			write_knob(knobs[i], saved[i]);
}

static unsigned long full_scans(void)
{
	char text[32];

	return read_knob("full_scans", text, sizeof(text)) ? strtoul(text, NULL, 10) : 0;
}

/* Two whole scans: the first one meets each page, the second one finds its like. At most half a minute. */
static void run_ksmd(void)
{
	struct timespec pause = { .tv_nsec = 20000000 };
	unsigned long until = full_scans() + 3;

	write_knob("smart_scan", "0");
	write_knob("pages_to_scan", "5000");
	write_knob("sleep_millisecs", "5");
	write_knob("run", "1");
	for (int i = 0; i < 1500 && full_scans() < until; i++)
		(void)nanosleep(&pause, NULL);
	write_knob("run", "0");
}

/* ---- the test ---- */

static unsigned int count_ksm(hs_huge_nr huge, uint64_t *pfn)
{
	struct hs_frame f[HS_BASE_PER_HUGE];
	unsigned int n = 0;

	ck_assert_int_eq(hs_view_frames(view, huge, f, &err), 0);
	for (unsigned int b = 0; b < HS_BASE_PER_HUGE; b++)
		if (f[b].flags & HS_FRAME_KSM) {
			ck_assert(f[b].pfn && !(f[b].flags & (HS_FRAME_HUGE | HS_FRAME_ZERO)));
			n++;
			*pfn = f[b].pfn;
		}
	return n;
}

START_TEST(test_ept_host_ksm)
{
	static const hs_huge_nr merged[] = { 1, 2 };
	int results[2];
	struct hs_base_sample s;
	struct hs_huge_sample huge[NR_HUGE];
	struct hs_frame f[HS_BASE_PER_HUGE];
	struct hs_bits512 want = hs_bits_full(), got;
	uint64_t *buf = malloc(HS_HUGE_SIZE), sum, pfn = 0;
	unsigned int n;

	(void)vg_start(&guest, VG_HUGE, NR_HUGE);
	ck_assert_int_eq(hs_remote_open(&remote, &host, guest.pid, &err), 0);
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err), 0);
	/* 1 and 2: page b of one has the content of page b of the other, but for the first 12. */
	for (uint32_t b = 0; b < 512; b++)
		for (uint32_t h = 1; h < 3; h++)
			vg_fill_as(&guest, h * 512 + b, h == 2 && b < 12 ? 5000 + b : b, 6);
	sum = vg_sum(&guest, 0, NR_HUGE * 512);
	ck_assert_int_eq(hs_view_split(view, merged, 2, results, &err), 0);
	ck_assert(!results[0] && !results[1]);
	ck_assert_int_eq(vg_madvise(&guest, 512, 1024, MADV_MERGEABLE), 0);
	run_ksmd();

	ck_assert_uint_eq(count_ksm(0, &pfn), 0);
	n = count_ksm(1, &pfn);
	ck_assert_uint_ge(n, 480); /* all 500, unless somebody used a page just then */
	ck_assert_uint_ge(count_ksm(2, &pfn), 480);
	ck_assert_int_eq(hs_view_sample_base(view, &merged[0], 1, &s, &err), 0);
	ck_assert_int_eq(s.state, HS_MAP_SPLIT);
	ck_assert_uint_eq(vg_sum(&guest, 0, NR_HUGE * 512), sum);

	/* Shared pages are read like others, and stay shared: a read that pinned them would give each its own copy. */
	ck_assert_int_eq(hs_view_read(view, 1, &want, buf, &got, &err), 0);
	ck_assert_uint_eq(hs_bits_count(&got), 512);
	for (uint32_t w = 0; w < HS_HUGE_SIZE / 8; w++)
		ck_assert_uint_eq(buf[w], vg_word(6, w / 512, w % 512));
	ck_assert_uint_eq(count_ksm(1, &pfn), n);

	/* Ageing with shared pages around; then back to huge pages, which ends the sharing and keeps the content. */
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	ck_assert_int_eq(hs_view_restore(view, merged, 2, results, &err), 0);
	ck_assert_msg(!results[0] && !results[1], "%d %d", results[0], results[1]);
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, huge, &err), 0);
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(huge[h].state, HS_MAP_HUGE);
	ck_assert_int_eq(hs_view_frames(view, 1, f, &err), 0);
	ck_assert_uint_eq(f[77].flags, HS_FRAME_HUGE);
	ck_assert_uint_eq(vg_sum(&guest, 0, NR_HUGE * 512), sum);
	hs_view_close(view);
	hs_remote_close(remote);
	vg_stop(&guest);
	free(buf);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;

	if (VG_SANITIZED)
		return hs_test_skip("ept_host_ksm", VG_SANITIZED_WHY);
	if (geteuid())
		return hs_test_skip("ept_host_ksm", "reading page tables needs root");
	if (access("/sys/kernel/mm/ksm/run", W_OK))
		return hs_test_skip("ept_host_ksm", "this kernel has no KSM");
	s = suite_create("ept_host_ksm");
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, take_knobs, give_knobs);
	tcase_add_test(t, test_ept_host_ksm);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
