/* What the index holds: bytes a page at every size, against the kernel's own figures; and what it does without memory.
 */
#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "hs_test.h"
#include "index_help.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define MILLION 1000000U

static struct hs_index *fresh(uint32_t nr_huge)
{
	struct hs_index *x;
	uint32_t guest;

	help_check(hs_index_create(&x) == 0);
	help_check(hs_index_add_guest(x, nr_huge, &guest) == 0);
	return x;
}

static struct hs_index_stats stats(const struct hs_index *x)
{
	struct hs_index_stats s;

	hs_index_stats(x, &s);
	return s;
}

/* A field of /proc/self/status, in bytes. */
static uint64_t status(const char *field)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	unsigned long kib = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, field, strlen(field)) == 0)
			help_check(sscanf(line + strlen(field), ": %lu", &kib) == 1);
	fclose(f);
	ck_assert_uint_gt(kib, 0);
	return kib * 1024;
}

static int insert(struct hs_index *x, uint32_t page)
{
	return hs_index_insert(x, (struct hs_page){ 0, page }, help_digest(page));
}

/* Right after every step of growth, not only at lucky sizes. */
START_TEST(test_hash_index_bytes_a_page)
{
	/* Past the size from which huge pages are asked for, which are nothing to the sanitizers. */
	const uint32_t nr = (SANITIZED ? 1 : 5) * MILLION + MILLION / 2;
	struct hs_index *x = fresh(nr / HS_BASE_PER_HUGE + 1);
	double worst = 0, at_million = 0;

	for (uint32_t i = 0; i < nr; i++) {
		double each;

		help_check(insert(x, i) == 0);
		if (i + 1 < MILLION || i % 64)
			continue;
		each = (double)stats(x).bytes / (i + 1);
		if (at_million == 0)
			at_million = each;
		if (each > worst)
			worst = each;
	}
	printf("bytes a page: %.2f at a million, %.2f at worst from there to %u\n", at_million, worst, nr);
	ck_assert_msg(worst <= 16.0, "%.2f bytes a page", worst);
	hs_index_destroy(x);
}
END_TEST

/* The figure is true: neither less than what the kernel and malloc count, nor made larger to be safe. */
START_TEST(test_hash_index_bytes_are_true)
{
	uint64_t before, held, said, heap;
	struct hs_index *x;

	if (SANITIZED) {
		printf("SKIPPED test_hash_index_bytes_are_true: the sanitizer's own memory is counted too\n");
		return;
	}
	before = status("RssAnon");
	heap = mallinfo2().uordblks + mallinfo2().hblkhd;
	x = fresh(MILLION / HS_BASE_PER_HUGE + 1);
	for (uint32_t i = 0; i < MILLION; i++)
		help_check(insert(x, i) == 0);
	held = status("RssAnon") - before;
	said = stats(x).bytes;
	heap = mallinfo2().uordblks + mallinfo2().hblkhd - heap;
	printf("a million pages: %lu bytes said, %lu resident, %lu of the heap's\n", (unsigned long)said,
	       (unsigned long)held, (unsigned long)heap);
	ck_assert_msg(held <= said + said / 50, "%lu resident, %lu said", (unsigned long)held, (unsigned long)said);
	ck_assert_msg(held >= said - said / 50, "%lu resident, %lu said", (unsigned long)held, (unsigned long)said);
	/* The handle, whose tables are touched only as far as they are used, and the guest's table. */
	ck_assert_msg(heap < 700 << 10, "%lu bytes of the heap", (unsigned long)heap);
	hs_index_destroy(x);
	held = status("RssAnon");
	ck_assert_msg(held < before + (1 << 20), "%lu bytes are left", (unsigned long)(held - before));
}
END_TEST

/* Memory comes back when pages go, not only at the end. */
START_TEST(test_hash_index_shrinks)
{
	struct hs_index *x;
	uint64_t full, empty = 0;
	uint32_t guest[2];

	help_check(hs_index_create(&x) == 0);
	for (int i = 0; i < 2; i++)
		help_check(hs_index_add_guest(x, 6000, &guest[i]) == 0);
	for (int i = 0; i < 2; i++)
		for (uint32_t p = 0; p < 6000 * HS_BASE_PER_HUGE; p += 2)
			help_check(hs_index_insert(x, (struct hs_page){ guest[i], p },
						   help_digest((uint64_t)i << 40 | p)) == 0);
	full = stats(x).bytes;
	while (hs_index_remove_guest(x, guest[0], 50000) == 1)
		;
	empty = stats(x).bytes;
	ck_assert_msg(empty < full * 65 / 100, "%lu of %lu bytes after half of it left", (unsigned long)empty,
		      (unsigned long)full);
	for (uint32_t h = 0; h < 6000; h++)
		hs_index_remove_huge(x, guest[1], h);
	empty = stats(x).bytes;
	help_check(stats(x).nr_pages == 0);
	ck_assert_msg(empty < full / 5, "%lu of %lu bytes when empty", (unsigned long)empty, (unsigned long)full);
	hs_index_destroy(x);
}
END_TEST

/* Lets the process have so many bytes of address space more than now; UINT64_MAX: any number. */
static void allow(uint64_t more)
{
	struct rlimit l = { RLIM_INFINITY, RLIM_INFINITY };

	if (more != UINT64_MAX)
		l.rlim_cur = status("VmSize") + more;
	help_check(setrlimit(RLIMIT_AS, &l) == 0);
}

START_TEST(test_hash_index_no_memory)
{
	static struct hs_digest d[HS_BASE_PER_HUGE];
	struct hs_bits512 all = hs_bits_full(), bits;
	struct hs_index *x, *y;
	struct hs_page out[2];
	uint32_t i = 0, guest;
	int rc;

	if (SANITIZED) {
		printf("SKIPPED test_hash_index_no_memory: the sanitizer needs the address space\n");
		return;
	}
	x = fresh(4096);
	allow(20 << 20);
	while ((rc = insert(x, i)) == 0)
		i++;
	help_check(rc == -ENOMEM);
	ck_assert_uint_gt(i, 10000);
	/* The page is not in it, all others are, and what is there can be replaced, removed and put back. */
	help_check(stats(x).nr_pages == i);
	help_check(hs_index_count_same(x, (struct hs_page){ 0, i }, 2) == 0);
	help_check(hs_index_find(x, help_digest(i), out, 2) == 0);
	for (uint32_t p = 0; p < i; p += 101)
		help_check(hs_index_find(x, help_digest(p), out, 2) == 1);
	help_check(insert(x, 5) == 0);
	hs_index_remove(x, (struct hs_page){ 0, 5 });
	help_check(insert(x, 5) == 0);
	for (uint64_t k = 0; k < HS_BASE_PER_HUGE; k++)
		d[k] = help_digest(k + (UINT64_C(1) << 40));
	help_check(hs_index_insert_huge(x, 0, 4000, &all, d) == -ENOMEM);
	hs_index_indexed(x, 0, 4000, &bits);
	help_check(hs_bits_count(&bits) == 0);
	help_check(hs_index_add_guest(x, 1 << 22, &guest) == -ENOMEM);
	allow(1 << 10);
	help_check(hs_index_create(&y) == -ENOMEM);
	/* One block free: just that much of a huge page goes in. */
	for (uint32_t p = 64; p < 128; p++)
		hs_index_remove(x, (struct hs_page){ 0, p });
	help_check(hs_index_insert_huge(x, 0, 4000, &all, d) == -ENOMEM);
	hs_index_indexed(x, 0, 4000, &bits);
	help_check(hs_bits_count(&bits) == 64);
	allow(UINT64_MAX);
	help_check(hs_index_insert_huge(x, 0, 4000, &all, d) == 0);
	help_check(insert(x, i) == 0);
	help_check(stats(x).nr_pages == i + 1 - 64 + 512);
	hs_index_destroy(x);
}
END_TEST

/* No memory for more buckets only makes chains longer; the table catches up when there is memory again. */
START_TEST(test_hash_index_no_memory_for_buckets)
{
	const uint32_t full = 1 << 20; /* two slabs of slots, and one segment of buckets with two pages each */
	struct hs_index *x;
	struct hs_page out[2];
	uint64_t before;

	if (SANITIZED) {
		printf("SKIPPED test_hash_index_no_memory_for_buckets: the sanitizer needs the address space\n");
		return;
	}
	x = fresh(4096);
	for (uint32_t i = 0; i < full; i++)
		help_check(insert(x, i) == 0);
	/* Room for one slab (6 and 2 MiB, and while it is made 2 MiB more), and not for a segment (4 MiB). */
	allow(11 << 20);
	for (uint32_t i = full; i < full + 50000; i++)
		help_check(insert(x, i) == 0);
	before = stats(x).bytes;
	for (uint32_t i = 0; i < full + 50000; i += 17)
		help_check(hs_index_find(x, help_digest(i), out, 2) == 1);
	allow(UINT64_MAX);
	for (uint32_t i = full + 50000; i < full + 51000; i++)
		help_check(insert(x, i) == 0);
	ck_assert_uint_gt(stats(x).bytes, before + 1000 * 12); /* a segment began */
	for (uint32_t i = 0; i < full + 51000; i += 17)
		help_check(hs_index_find(x, help_digest(i), out, 2) == 1);
	for (uint32_t h = 0; h < 4096; h++)
		hs_index_remove_huge(x, 0, h);
	help_check(stats(x).nr_pages == 0);
	hs_index_destroy(x);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hash/index_memory");
	TCase *t = tcase_create("memory");

	tcase_set_timeout(t, 110);
	tcase_add_test(t, test_hash_index_bytes_a_page);
	tcase_add_test(t, test_hash_index_bytes_are_true);
	tcase_add_test(t, test_hash_index_shrinks);
	tcase_add_test(t, test_hash_index_no_memory);
	tcase_add_test(t, test_hash_index_no_memory_for_buckets);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
