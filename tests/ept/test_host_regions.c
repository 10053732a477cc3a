/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory from the text of /proc/PID/maps. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ept/host_internal.h"
#include "ept/host_regions.h"
#include "base/vmas_text.h"
#include "hs_test.h"

#define MIB (UINT64_C(1) << 20)

static struct hs_vma_list list;
static struct hs_region *regions;
static size_t nr;
static uint32_t nr_huge;
static struct hs_error err;

static void parse(const char *text)
{
	hs_test_vmas(&list, text);
}

static int find(const char *text, uint64_t min_bytes)
{
	int rc;

	parse(text);
	rc = hs_host_regions_find(&list, min_bytes, &regions, &nr, &nr_huge, &err);
	hs_vmas_finish(&list);
	return rc;
}

START_TEST(test_ept_host_regions_find)
{
	/* Four VMAs side by side are one region, on huge-page borders; the small one and the others are none. */
	ck_assert_int_eq(find("10001000-18000000 rw-p 00000000 00:00 0 \n"
			      "18000000-18001000 rw-p 00000000 00:00 0 \n"
			      "18001000-19000000 rw-p 00000000 00:00 0 [anon:ram]\n"
			      "19000000-20001000 rw-p 00000000 00:00 0 \n"
			      "30000000-33f00000 rw-p 00000000 00:00 0 \n"
			      "40000000-50000000 rw-p 00000000 00:00 0 [heap]\n"
			      "50000000-58000000 r--p 00000000 00:00 0 \n"
			      "58000000-60000000 rwxp 00000000 00:00 0 \n"
			      "60000000-70000000 rw-s 00000000 00:01 77 /memfd:x\n"
			      "70000000-80000000 rw-p 00000000 00:01 78 /dev/shm/x\n"
			      "80000000-84000000 rw-p 00000000 00:00 0 \n",
			      64 * MIB),
			 0);
	ck_assert_uint_eq(nr, 2);
	ck_assert_uint_eq(regions[0].hva.v, 0x10200000);
	ck_assert_uint_eq(regions[0].nr_huge, (0x20000000 - 0x10200000) / HS_HUGE_SIZE);
	ck_assert_uint_eq(regions[0].gpa.v, 0);
	ck_assert_uint_eq(regions[0].first_huge, 0);
	ck_assert_uint_eq(regions[1].hva.v, 0x80000000);
	ck_assert_uint_eq(regions[1].nr_huge, 32);
	ck_assert_uint_eq(regions[1].gpa.v, 0x80000000 - 0x10200000);
	ck_assert_uint_eq(regions[1].first_huge, regions[0].nr_huge);
	ck_assert_uint_eq(nr_huge, regions[0].nr_huge + 32);
	free(regions);
}
END_TEST

/* Every writable byte is in a region or is left out for one reason. */
START_TEST(test_ept_host_regions_left_out)
{
	struct hs_left_out left;

	parse("10001000-18000000 rw-p 00000000 00:00 0 \n"
	      "18000000-20001000 rw-p 00000000 00:00 0 \n"
	      "30000000-33f00000 rw-p 00000000 00:00 0 \n"
	      "40000000-50000000 rw-p 00000000 00:00 0 [heap]\n"
	      "50000000-58000000 r--p 00000000 00:00 0 \n"
	      "58000000-60000000 rwxp 00000000 00:00 0 \n"
	      "60000000-70000000 rw-s 00000000 00:01 77 /memfd:x\n"
	      "70000000-80000000 rw-p 00000000 00:01 78 /dev/shm/x\n"
	      "90000000-90001000 rw-p 00000000 00:00 0 [stack]\n");
	hs_host_regions_left_out(&list, 64 * MIB, &left);
	ck_assert_uint_eq(left.too_small_bytes, 0x3f00000);
	ck_assert_uint_eq(left.borders_bytes, 0x1ff000 + 0x1000);
	ck_assert_uint_eq(left.heap_bytes, 0x10001000);
	ck_assert_uint_eq(left.executable_bytes, 0x8000000);
	ck_assert_uint_eq(left.other_kind_bytes, 0x20000000);
	hs_host_regions_left_out(&list, 4 * MIB, &left);
	ck_assert_uint_eq(left.too_small_bytes, 0);
	ck_assert_uint_eq(left.borders_bytes, 0x1ff000 + 0x1000 + 0x100000);
	hs_vmas_finish(&list);
}
END_TEST

/* A VMM is known by its program or by what it has open: a folder as /proc has it. */
START_TEST(test_ept_host_regions_default)
{
	static const struct {
		const char *exe, *file;
		uint64_t mib;
	} cases[] = {
		{ "/usr/bin/redis-server", "socket:[7]", 4 },
		{ "/opt/qemu/bin/redis-server", "anon_inode:[eventfd]", 4 },
		{ NULL, "anon_inode:kvm-vcpu:0", 4 },
		{ "/usr/bin/qemu-system-x86_64 (deleted)", "socket:[7]", 64 },
		{ "/usr/libexec/qemu-kvm", "socket:[7]", 64 },
		{ "/usr/bin/firecracker", "anon_inode:kvm-vm", 64 },
		{ "/usr/bin/cloud-hypervisor", "/dev/kvm", 64 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char dir[] = "/tmp/hs-test-vmm-XXXXXX";
		int fd;

		ck_assert_ptr_nonnull(mkdtemp(dir));
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(mkdirat(fd, "fd", 0700), 0);
		ck_assert(!cases[i].exe || !symlinkat(cases[i].exe, fd, "exe"));
		ck_assert_int_eq(symlinkat(cases[i].file, fd, "fd/9"), 0);
		ck_assert_msg(hs_host_default_min_bytes(fd) == cases[i].mib * MIB, "case %zu", i);
		(void)unlinkat(fd, "fd/9", 0);
		(void)unlinkat(fd, "exe", 0);
		(void)unlinkat(fd, "fd", AT_REMOVEDIR);
		(void)close(fd);
		(void)rmdir(dir);
	}
}
END_TEST

START_TEST(test_ept_host_regions_no_region)
{
	static const struct {
		const char *maps, *text;
	} cases[] = {
		{ "10000000-13fff000 rw-p 00000000 00:00 0 \n", "too small" },
		{ "", "too small" },
		{ "10000000-20000000 rw-s 00000000 00:01 77 /memfd:pc.ram (deleted)\n", "memfd:pc.ram" },
		{ "10000000-20000000 rw-s 00000000 00:01 77 /dev/hugepages/ram\n", "hugetlbfs" },
		{ "10000000-20000000 rw-p 00000000 00:0f 77 /anon_hugepage (deleted)\n", "hugetlbfs" },
		{ "10000000-20000000 rw-p 00000000 00:0f 77 /mnt/x\nVmFlags: rd wr ht\n", "hugetlbfs" },
		{ "10000000-20000000 rw-p 00000000 08:01 77 /var/ram\n", "private mapping of a file" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(find(cases[i].maps, 64 * MIB),
				 strcmp(cases[i].text, "too small") ? -EMEDIUMTYPE : -ENODATA);
		ck_assert_msg(strstr(err.text, cases[i].text) != NULL, "case %zu: %s", i, err.text);
	}
}
END_TEST

static uint32_t gone[1024], nr_gone;

static void note(void *ctx, hs_huge_nr huge, bool is_gone)
{
	ck_assert_ptr_eq(ctx, &list);
	if (is_gone)
		gone[nr_gone++] = huge;
}

static bool compare(const char *text)
{
	bool changed;

	nr_gone = 0;
	parse(text);
	changed = hs_host_regions_compare(&list, 64 * MIB, regions, nr, note, &list);
	hs_vmas_finish(&list);
	return changed;
}

START_TEST(test_ept_host_regions_compare)
{
	const char *const first = "10000000-14000000 rw-p 00000000 00:00 0 \n"
				  "20000000-24000000 rw-p 00000000 00:00 0 \n";

	ck_assert_int_eq(find(first, 64 * MIB), 0);
	ck_assert(!compare(first) && !nr_gone);
	/* cut into VMAs, and a little longer: the same */
	ck_assert(!compare("0fc00000-10001000 rw-p 00000000 00:00 0 \n"
			   "10001000-12000000 rw-p 00000000 00:00 0 \n"
			   "12000000-14800000 rw-p 00000000 00:00 0 \n"
			   "20000000-24000000 rw-p 00000000 00:00 0 \n"));
	ck_assert_uint_eq(nr_gone, 0);
	/* new memory: before, between, behind, and grown by as much as a guest */
	ck_assert(compare("01000000-05000000 rw-p 00000000 00:00 0 \n"
			  "10000000-14000000 rw-p 00000000 00:00 0 \n"
			  "20000000-24000000 rw-p 00000000 00:00 0 \n"));
	ck_assert(compare("10000000-14000000 rw-p 00000000 00:00 0 \n"
			  "18000000-1c000000 rw-p 00000000 00:00 0 \n"
			  "20000000-24000000 rw-p 00000000 00:00 0 \n"));
	ck_assert(compare("10000000-14000000 rw-p 00000000 00:00 0 \n"
			  "20000000-24000000 rw-p 00000000 00:00 0 \n"
			  "30000000-34000000 rw-p 00000000 00:00 0 \n"));
	ck_assert(compare("10000000-14000000 rw-p 00000000 00:00 0 \n"
			  "20000000-28000000 rw-p 00000000 00:00 0 \n"));
	ck_assert_uint_eq(nr_gone, 0);
	/* a hole of one base page, a region that is gone, a mapping that is not guest memory any more */
	ck_assert(compare("10000000-10200000 rw-p 00000000 00:00 0 \n"
			  "10201000-14000000 rw-p 00000000 00:00 0 \n"
			  "20000000-24000000 rw-p 00000000 00:00 0 \n"));
	ck_assert_uint_eq(nr_gone, 1);
	ck_assert_uint_eq(gone[0], 1);
	ck_assert(compare("20000000-24000000 rw-p 00000000 00:00 0 \n"));
	ck_assert_uint_eq(nr_gone, 32);
	ck_assert_uint_eq(gone[31], 31);
	ck_assert(compare("10000000-14000000 rw-p 00000000 00:00 0 \n"
			  "20000000-23f00000 rw-p 00000000 00:00 0 \n"
			  "23f00000-24000000 r--p 00000000 00:00 0 \n"));
	ck_assert_uint_eq(nr_gone, 1);
	ck_assert_uint_eq(gone[0], 63);
	ck_assert(compare(""));
	ck_assert_uint_eq(nr_gone, 64);
	free(regions);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ept_host_regions");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_ept_host_regions_find);
	tcase_add_test(t, test_ept_host_regions_left_out);
	tcase_add_test(t, test_ept_host_regions_default);
	tcase_add_test(t, test_ept_host_regions_no_region);
	tcase_add_test(t, test_ept_host_regions_compare);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
