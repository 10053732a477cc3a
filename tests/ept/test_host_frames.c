/* SPDX-License-Identifier: Apache-2.0 */
/* The flags of page frames that lie anywhere: right for each, and read together where they lie together. */
#include "hs_test.h"

#include <fcntl.h>
#include <unistd.h>

#include "ept/host_internal.h"

#define NR_FRAMES 20000U

/* A file of the kernel's form, in which each frame's word is made of its number. */
static int open_flags(void)
{
	char path[] = "/tmp/hs-test-frames-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(unlink(path), 0);
	for (uint64_t pfn = 0; pfn < NR_FRAMES; pfn++) {
		const uint64_t word = pfn * 7 + 1;

		ck_assert_int_eq(write(fd, &word, sizeof(word)), sizeof(word));
	}
	return fd;
}

static uint64_t nr_reads(void)
{
	unsigned long long n = 0;
	char line[128];
	FILE *f = fopen("/proc/self/io", "re");

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "syscr: %llu", &n) == 1)
			break;
	ck_assert_int_eq(fclose(f), 0);
	return n;
}

/* Reads the flags, checks each, and answers how many reads it took. */
static uint64_t read_all(int fd, const uint64_t pfn[HS_BASE_PER_HUGE], struct hs_bits512 *bad)
{
	uint64_t flags[HS_BASE_PER_HUGE] = { 0 }, idle, before, after;

	idle = nr_reads();
	before = nr_reads();
	idle = before - idle; /* what the question itself takes */
	ck_assert_int_eq(hs_host_frame_flags(fd, pfn, flags, bad), 0);
	after = nr_reads();
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (pfn[i] && !hs_bits_test(bad, i))
			ck_assert_uint_eq(flags[i], pfn[i] * 7 + 1);
	return after - before - idle;
}

START_TEST(test_ept_host_frames_together)
{
	uint64_t pfn[HS_BASE_PER_HUGE] = { 0 };
	struct hs_bits512 bad;
	int fd = open_flags();

	ck_assert_uint_eq(read_all(fd, pfn, &bad), 0);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		pfn[i] = 1024 + i;
	ck_assert_uint_eq(read_all(fd, pfn, &bad), 1);
	/* In any order, with some missing, some twice. */
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		pfn[i] = i % 5 ? 3000 + (i * 37 % HS_BASE_PER_HUGE) / 2 : 0;
	ck_assert_uint_eq(read_all(fd, pfn, &bad), 1);
	/* In eight places. */
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		pfn[i] = 1000 + i % 8 * 2000 + i / 8;
	ck_assert_uint_eq(read_all(fd, pfn, &bad), 8);
	ck_assert(hs_bits_none(&bad));
	(void)close(fd);
}
END_TEST

START_TEST(test_ept_host_frames_past_the_end)
{
	uint64_t pfn[HS_BASE_PER_HUGE] = { 0 };
	struct hs_bits512 bad;
	int fd = open_flags();

	pfn[3] = 5;
	pfn[4] = NR_FRAMES + 1000;
	pfn[511] = NR_FRAMES - 1;
	ck_assert_uint_eq(read_all(fd, pfn, &bad), 3);
	ck_assert_uint_eq(hs_bits_count(&bad), 1);
	ck_assert(hs_bits_test(&bad, 4));
	(void)close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept/host_frames");
	TCase *c = tcase_create("frames");

	tcase_add_test(c, test_ept_host_frames_together);
	tcase_add_test(c, test_ept_host_frames_past_the_end);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
