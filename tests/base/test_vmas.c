/* SPDX-License-Identifier: Apache-2.0 */
/* The one parser of /proc/PID/maps and smaps. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/vmas_text.h"
#include "hs_test.h"

static const struct hs_host real = HS_HOST_DEFAULT;

START_TEST(test_base_vmas_parse)
{
	struct hs_vma_list list;
	const struct hs_vma *v;

	hs_test_vmas(&list, "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a b (deleted)\n"
			    "00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n"
			    "35b1800000-35b1820000 rw-s 00001000 08:02 135522  /memfd:ram\n"
			    "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
			    "7f0000001000-7f0000003000 ---p 00000000 00:00 0 \n"
			    "7f0000003000-7f0000004000 rw-p 00000000 00:00 0   [anon:heap of mine]\n"
			    "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]");
	ck_assert_uint_eq(list.nr, 7);
	v = list.vma;
	ck_assert_uint_eq(v[0].start, 0x400000);
	ck_assert_uint_eq(v[0].end, 0x452000);
	ck_assert(v[0].read && !v[0].write && v[0].exec && !v[0].shared && v[0].file && !v[0].anon && !v[0].special);
	ck_assert_str_eq(v[0].name, "/usr/bin/a b (deleted)");
	ck_assert(v[1].read && v[1].write && !v[1].exec && v[1].special && !v[1].anon && !v[1].file);
	ck_assert(v[2].shared && v[2].file && !v[2].anon && !v[2].special);
	ck_assert(v[3].read && v[3].write && v[3].anon && !v[3].special && !v[3].file);
	ck_assert_str_eq(v[3].name, "");
	ck_assert(v[4].anon && !v[4].read && !v[4].write);
	ck_assert(v[5].anon && !v[5].special);
	ck_assert_str_eq(v[5].name, "[anon:heap of mine]");
	ck_assert_uint_eq(v[6].start, UINT64_C(0xffffffffff600000));
	for (size_t i = 0; i < list.nr; i++) /* maps says nothing of flags */
		ck_assert(!v[i].has_flags && !v[i].mergeable && !hs_vma_has_uffd(&v[i]));

	ck_assert_uint_eq(hs_vmas_above(&list, 0), 0);
	ck_assert_uint_eq(hs_vmas_above(&list, 0x451fff), 0);
	ck_assert_uint_eq(hs_vmas_above(&list, 0x452000), 1);
	ck_assert_uint_eq(hs_vmas_above(&list, 0x7f0000001000), 4);
	ck_assert_uint_eq(hs_vmas_above(&list, UINT64_MAX), 7);
	hs_vmas_finish(&list);

	hs_test_vmas(&list, "");
	ck_assert_uint_eq(list.nr, 0);
	hs_vmas_finish(&list);
}
END_TEST

/* Each flag alone, by its bit in the order of this list. */
static unsigned int flags_of(const struct hs_vma *v)
{
	return (unsigned int)v->mergeable << 0 | (unsigned int)v->hugepage << 1 | (unsigned int)v->nohugepage << 2 |
	       (unsigned int)v->dontdump << 3 | (unsigned int)v->hugetlb << 4 | (unsigned int)v->locked << 5 |
	       (unsigned int)v->io << 6 | (unsigned int)v->pfnmap << 7 | (unsigned int)v->uffd_wp << 8 |
	       (unsigned int)v->uffd_missing << 9 | (unsigned int)v->uffd_minor << 10;
}

START_TEST(test_base_vmas_flags)
{
	static const struct {
		const char *text;
		unsigned int flags;
	} cases[] = {
		{ " mg", 1U << 0 },
		{ " hg", 1U << 1 },
		{ " nh", 1U << 2 },
		{ " dd", 1U << 3 },
		{ " ht", 1U << 4 },
		{ " lo", 1U << 5 },
		{ " io", 1U << 6 },
		{ " pf", 1U << 7 },
		{ " uw", 1U << 8 },
		{ " um", 1U << 9 },
		{ " ui", 1U << 10 },
		{ "", 0 },
		{ " rd wr mr mw me ac sd gd dc de nr ms wf ar mm ss", 0 },
		{ " rd wr mr mw me dd nh mg ", 1U << 3 | 1U << 2 | 1U << 0 },
		{ " rd  uw um", 1U << 8 | 1U << 9 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_vma_list list;
		char text[512];

		(void)snprintf(text, sizeof(text),
			       "7f0000000000-7f0000001000 rw-p 00000000 00:00 0    [anon:x]\n"
			       "Size:                  4 kB\nRss: 4 kB\nKSM:   %zu kB\nTHPeligible:    0\nVmFlags:%s\n"
			       "7f0000001000-7f0000002000 rw-p 00000000 00:00 0 \n",
			       i, cases[i].text);
		hs_test_vmas(&list, text);
		ck_assert_uint_eq(list.nr, 2);
		ck_assert(list.vma[0].has_flags && !list.vma[1].has_flags);
		ck_assert_msg(flags_of(&list.vma[0]) == cases[i].flags, "%s: %x", cases[i].text,
			      flags_of(&list.vma[0]));
		ck_assert_uint_eq(flags_of(&list.vma[1]), 0);
		ck_assert_uint_eq(list.vma[0].ksm_bytes, i * 1024);
		ck_assert_str_eq(list.vma[0].name, "[anon:x]");
		ck_assert_int_eq(hs_vma_has_uffd(&list.vma[0]), cases[i].flags >> 8 != 0);
		hs_vmas_finish(&list);
	}
}
END_TEST

static int count_to(void *ctx, const struct hs_vma *vma)
{
	unsigned int *left = ctx;

	ck_assert_uint_lt(vma->start, vma->end);
	return --*left ? 0 : -ENOENT; /* its own answer, not "gone" */
}

START_TEST(test_base_vmas_stream)
{
	enum { NR = 5000 }; /* more than the reader's buffer holds */
	char *text = malloc(NR * 100), *p = text;
	unsigned int left = NR + 1;
	int fd;

	ck_assert_ptr_nonnull(text);
	for (unsigned int i = 0; i < NR; i++)
		p += sprintf(p, "%x000-%x000 rw-p 00000000 00:00 0          /some/name/of/%u\n", i + 1, i + 2, i);
	fd = hs_test_vmas_fd(text);
	free(text);
	ck_assert_int_eq(hs_vmas_each_fd(fd, count_to, &left), 0);
	ck_assert_uint_eq(left, 1);
	left = 4711;
	ck_assert_int_eq(hs_vmas_each_fd(fd, count_to, &left), -ENOENT);
	ck_assert_uint_eq(left, 0);
	ck_assert_int_eq(close(fd), 0);
	fd = hs_test_vmas_fd("");
	ck_assert_int_eq(hs_vmas_each_fd(fd, count_to, &left), -ESRCH);
	ck_assert_int_eq(close(fd), 0);
}
END_TEST

static int find_page(void *ctx, const struct hs_vma *vma)
{
	struct hs_vma *wanted = ctx;

	if (vma->start <= wanted->start && wanted->start < vma->end) {
		*wanted = *vma;
		wanted->name = "";
	}
	return 0;
}

/* The kernel's own text, and what cannot be read: an error, never "no flags". */
START_TEST(test_base_vmas_each)
{
	char dir[] = "/tmp/hs-vmas-XXXXXX", path[128];
	struct hs_host made = { .proc_dir = dir };
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct hs_vma found = { .start = (uint64_t)(uintptr_t)page };
	unsigned int left = 1000;
	siginfo_t end;
	pid_t pid;
	FILE *f;

	ck_assert_ptr_ne(page, MAP_FAILED);
	ck_assert_int_eq(madvise(page, 4096, MADV_DONTDUMP), 0);
	ck_assert_int_eq(hs_vmas_each(&real, getpid(), find_page, &found), 0);
	ck_assert(found.has_flags && found.dontdump && found.anon && !found.uffd_wp);
	ck_assert_int_gt(hs_vmas_count(&real, getpid()), 3);
	munmap(page, 4096);

	pid = fork();
	if (!pid)
		_exit(0);
	ck_assert_int_eq(waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT), 0);
	ck_assert_int_eq(hs_vmas_each(&real, pid, find_page, &found), -ESRCH); /* it has left its memory */
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(hs_vmas_each(&real, pid, find_page, &found), -ESRCH);
	ck_assert_int_eq(hs_vmas_count(&real, pid), -ESRCH);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/7", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/7/smaps", dir);
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs("1000-2000 rw-p 00000000 00:00 0 \nRss: 4 kB\n"
			       "3000-4000 rw-p 00000000 00:00 0 \nVmFlags: rd mg\n",
			       f),
			 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(hs_vmas_each(&made, 7, count_to, &left), -EPROTO);
	ck_assert_uint_eq(left, 1000);
	ck_assert_int_eq(remove(path), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0); /* cannot be read */
	ck_assert_int_eq(hs_vmas_each(&made, 7, count_to, &left), -EISDIR);
	ck_assert_int_eq(rmdir(path), 0);
	(void)snprintf(path, sizeof(path), "%s/7", dir);
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base_vmas");
	TCase *t = tcase_create("unit");

	tcase_add_test(t, test_base_vmas_parse);
	tcase_add_test(t, test_base_vmas_flags);
	tcase_add_test(t, test_base_vmas_stream);
	tcase_add_test(t, test_base_vmas_each);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
