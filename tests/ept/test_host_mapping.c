/* SPDX-License-Identifier: Apache-2.0 */
/* Splitting and restoring mappings of real processes, with real calls inside them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hs/remote.h"
#include "ept/host_internal.h"
#include "hs/view.h"
#include "hs_test.h"
#include "view_guest.h"

#define NR_HUGE  24
#define NR_PAGES (NR_HUGE * HS_BASE_PER_HUGE)

static const struct hs_host host = HS_HOST_DEFAULT;
static struct view_guest guest;
static struct hs_view *view;
static struct hs_remote *remote;
static struct hs_error err;
static struct hs_huge_sample huge[NR_HUGE];

static void open_view(enum vg_kind kind)
{
	int rc;

	(void)vg_start(&guest, kind, NR_HUGE);
	rc = hs_remote_open(&remote, &host, guest.pid, &err);
	ck_assert_msg(!rc, "%s", err.text);
	rc = hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err);
	ck_assert_msg(!rc, "%s", err.text);
}

static void close_view(void)
{
	hs_view_close(view);
	hs_remote_close(remote);
	vg_stop(&guest);
}

static void sample(void)
{
	ck_assert_int_eq(hs_view_sample_huge(view, 0, NR_HUGE, huge, &err), 0);
}

/* Every dd flag of the guest's memory, as "smaps" has them: all set, none, or -1 for a mixture. */
static int dontdump(void)
{
	char path[64], line[512];
	int all = -2;
	bool in = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)guest.pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long long a, b;
		int now;

		if (sscanf(line, "%llx-%llx ", &a, &b) == 2)
			in = a >= guest.base && b <= guest.base + NR_HUGE * HS_HUGE_SIZE;
		if (!in || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		now = strstr(line, " dd") != NULL;
		all = all == -2 || all == now ? now : -1;
	}
	(void)fclose(f);
	return all;
}

START_TEST(test_ept_host_split_restore)
{
	static const hs_huge_nr some[] = { 3, 20, 4, 0 };
	int results[4], rc;
	uint64_t sum, rss;
	uint32_t vmas;

	open_view(VG_HUGE);
	if (_i) /* DONTDUMP already, as with libvirt's dumpCore='off': the order of steps turns round */
		ck_assert_int_eq(vg_madvise(&guest, 0, NR_PAGES, MADV_DONTDUMP), 0);
	vg_fill(&guest, 0, NR_PAGES, 5);
	sum = vg_sum(&guest, 0, NR_PAGES);
	vmas = vg_nr_vmas(&guest);
	rss = vg_smaps_kb(&guest, "Rss");

	rc = hs_view_split(view, some, 4, results, &err);
	ck_assert_msg(!rc, "%s", err.text);
	sample();
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(huge[h].state, h == 3 || h == 20 || h == 4 || h == 0 ? HS_MAP_SPLIT : HS_MAP_HUGE);
	for (int i = 0; i < 4; i++) {
		struct hs_frame f[HS_BASE_PER_HUGE];

		ck_assert_int_eq(results[i], 0);
		ck_assert_int_eq(hs_view_frames(view, some[i], f, &err), 0);
		for (uint32_t b = 0; b < 512; b++) /* the page itself is whole */
			ck_assert(f[b].pfn == f[0].pfn + b && f[b].flags == HS_FRAME_HUGE);
	}
	ck_assert_uint_eq(vg_nr_vmas(&guest), vmas);
	ck_assert_uint_le(vg_smaps_kb(&guest, "Rss"), rss + 32); /* a page of its stack, for the calls inside it */
	ck_assert_int_eq(dontdump(), _i);
	ck_assert_uint_eq(vg_sum(&guest, 0, NR_PAGES), sum);

	/* What is not mapped huge is not touched. */
	rc = hs_view_split(view, some, 2, results, &err);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(results[0], -ENOENT);
	ck_assert_int_eq(results[1], -ENOENT);

	/* 5 was never split, and counts as restored. */
	ck_assert_int_eq(hs_view_restore(view, (const hs_huge_nr[]){ 20, 5, 3 }, 3, results, &err), 0);
	ck_assert(!results[0] && !results[1] && !results[2]);
	ck_assert_int_eq(hs_view_restore(view, some, 4, NULL, &err), 0);
	sample();
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(huge[h].state, HS_MAP_HUGE);
	ck_assert_uint_eq(vg_smaps_kb(&guest, "AnonHugePages"), NR_HUGE * 2048);
	ck_assert_uint_eq(vg_nr_vmas(&guest), vmas);
	ck_assert_int_eq(dontdump(), _i);
	ck_assert_uint_eq(vg_sum(&guest, 0, NR_PAGES), sum);
	close_view();
}
END_TEST

/* What has been unmapped while it was split cannot be brought back, now or later; the rest can. */
START_TEST(test_ept_host_restore_of_what_is_gone)
{
	static const hs_huge_nr some[] = { 3, 20 };
	int results[2];

	open_view(VG_HUGE);
	ck_assert_int_eq(hs_view_split(view, some, 2, NULL, &err), 0);
	vg_unmap(&guest, 20 * HS_BASE_PER_HUGE, HS_BASE_PER_HUGE);
	ck_assert_int_eq(hs_view_refresh(view, &err), -ESTALE);
	ck_assert_int_eq(hs_view_restore(view, some, 2, results, &err), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -ENOENT);
	close_view();
}
END_TEST

/* Split mappings, aged: each base page has an accessed bit of its own, the untouched huge pages have theirs. */
START_TEST(test_ept_host_split_accessed_exactly)
{
	enum { NR = 6 };
	static const hs_huge_nr split[NR] = { 1, 2, 7, 8, 9, 23 };
	struct hs_base_sample s[NR];
	uint32_t missing_rounds = 0;

	open_view(VG_HUGE);
	ck_assert_int_eq(hs_view_split(view, split, NR, NULL, &err), 0);
	srandom(17);
	for (int round = 0; round < 200; round++) {
		static uint32_t list[NR * 512];
		struct hs_bits512 in[NR] = { 0 };
		uint32_t nr = 0, missing = 0;

		for (uint32_t i = 0; i < NR; i++)
			for (uint32_t b = 0; b < 512; b++)
				if (random() % (1 + round % 9 * 20) == 0) {
					hs_bits_set(&in[i], b);
					list[nr++] = split[i] * 512 + b;
				}
		/* What it costs the guest is not the question here: each round is aged. */
		hs_host_view(view)->bit_budget = (struct hs_host_bit_budget){ 0 };
		ck_assert_int_eq(hs_view_age(view, &err), 0);
		vg_touch(&guest, list, nr, false);
		ck_assert_int_eq(hs_view_sample_base(view, split, NR, s, &err), 0);
		for (uint32_t i = 0; i < NR; i++) {
			struct hs_bits512 extra = hs_bits_andnot(s[i].accessed, in[i]);
			struct hs_bits512 lost = hs_bits_andnot(in[i], s[i].accessed);

			ck_assert_int_eq(s[i].state, HS_MAP_SPLIT);
			ck_assert_uint_eq(hs_bits_count(&extra), 0);
			missing += hs_bits_count(&lost);
		}
		sample();
		ck_assert(huge[0].accessed == HS_NO && huge[10].accessed == HS_NO);
		missing_rounds += missing != 0;
	}
	/* A hypervisor with shadow page tables loses an access now and then: 4 rounds of 200 on a quiet machine, 11
	 * seen on a busy one. A flush that does not work loses them in most rounds. */
	ck_assert_uint_le(missing_rounds, 20);
	close_view();
}
END_TEST

START_TEST(test_ept_host_split_without_huge_pages)
{
	uint32_t first = 0;
	int results[2];

	open_view(VG_BASE);
	vg_touch(&guest, &first, 1, true);
	ck_assert_int_eq(hs_view_split(view, (const hs_huge_nr[]){ 0, 1 }, 2, results, &err), 0);
	ck_assert_int_eq(results[0], -ENOENT); /* base pages already */
	ck_assert_int_eq(results[1], -ENOENT); /* absent */
	ck_assert_int_eq(hs_view_restore(view, (const hs_huge_nr[]){ 0, 1 }, 2, results, &err), 0);
	ck_assert_int_eq(results[0], -EINVAL); /* NOHUGEPAGE */
	ck_assert_int_eq(results[1], -ENOENT);
	close_view();
}
END_TEST

START_TEST(test_ept_host_close_restores)
{
	static const hs_huge_nr some[] = { 2, 3, 11, 12 };
	int said, screen = dup(STDERR_FILENO), paper = memfd_create("stderr", 0);
	uint64_t rss;

	open_view(VG_HUGE);
	ck_assert_int_eq(hs_view_split(view, some, 4, NULL, &err), 0);
	/* 11: given over to sharing; 12: the guest gave a page back. Both stay as they are. */
	ck_assert_int_eq(vg_madvise(&guest, 11 * 512, 512, MADV_NOHUGEPAGE), 0);
	ck_assert_int_eq(vg_madvise(&guest, 12 * 512 + 9, 1, MADV_DONTNEED), 0);
	rss = vg_smaps_kb(&guest, "Rss");
	ck_assert(screen >= 0 && dup2(paper, STDERR_FILENO) >= 0);
	hs_view_close(view);
	said = (int)lseek(paper, 0, SEEK_END);
	ck_assert(dup2(screen, STDERR_FILENO) >= 0);
	ck_assert_int_eq(said, 0); /* nothing to complain of */
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err), 0);
	sample();
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(huge[h].state, h == 11 ? HS_MAP_SPLIT : h == 12 ? HS_MAP_PARTIAL : HS_MAP_HUGE);
	ck_assert_uint_le(vg_smaps_kb(&guest, "Rss"), rss + 32);
	close_view();
}
END_TEST

/*
 * The same of what the guest has given back in part, where accesses cannot be told (nothing is writable after a fork,
 * so that nothing can be flushed): it gets no memory for the hole.
 */
START_TEST(test_ept_host_close_leaves_holes)
{
	static const uint32_t some[] = { 5 };
	const hs_huge_nr holey = 3;
	struct hs_base_sample s;

	open_view(VG_HUGE);
	ck_assert_int_eq(hs_view_split(view, &holey, 1, NULL, &err), 0);
	ck_assert_int_eq(vg_madvise(&guest, 3 * HS_BASE_PER_HUGE, 100, MADV_DONTNEED), 0);
	vg_fork(&guest);
	ck_assert_int_eq(hs_view_age(view, &err), 0);
	vg_touch(&guest, some, 1, false);
	ck_assert_int_eq(hs_view_sample_base(view, &holey, 1, &s, &err), 0);
	ck_assert_int_eq(s.state, HS_MAP_UNKNOWN);
	ck_assert_uint_eq(hs_bits_count(&s.empty), 100);
	hs_view_close(view);
	ck_assert_msg(!hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err), "%s", err.text);
	sample();
	ck_assert_int_eq(huge[3].state, HS_MAP_PARTIAL);
	ck_assert_uint_eq(huge[3].nr_present, HS_BASE_PER_HUGE - 100);
	close_view();
}
END_TEST

/*
 * What a child of the guest has in common with it would be doubled by a collapse, which copies it: it stays as it is,
 * and comes back when the child has ended. Nothing of it is split meanwhile.
 */
START_TEST(test_ept_host_restore_after_fork)
{
	static const hs_huge_nr some[] = { 3, 4 }, others[] = { 7, 8 };
	uint64_t rss;
	int results[2];

	open_view(VG_HUGE);
	vg_fill(&guest, 0, NR_PAGES, 5);
	ck_assert_int_eq(hs_view_split(view, some, 2, NULL, &err), 0);
	vg_fork(&guest);
	vg_fill(&guest, 4 * HS_BASE_PER_HUGE, HS_BASE_PER_HUGE, 6); /* this one is the guest's alone again */
	rss = vg_smaps_kb(&guest, "Private_Dirty") + vg_smaps_kb(&guest, "Private_Clean");
	ck_assert_int_eq(hs_view_restore(view, some, 2, results, &err), 0);
	ck_assert_int_eq(results[0], -EAGAIN);
	ck_assert_int_eq(results[1], 0);
	ck_assert_int_eq(hs_view_split(view, others, 2, results, &err), 0);
	ck_assert_int_eq(results[0], -EAGAIN);
	ck_assert_int_eq(results[1], -EAGAIN);
	ck_assert_uint_le(vg_smaps_kb(&guest, "Private_Dirty") + vg_smaps_kb(&guest, "Private_Clean"), rss + 64);
	sample();
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(huge[h].state, h == 3 ? HS_MAP_SPLIT : HS_MAP_HUGE);
	vg_stop_child(&guest);
	ck_assert_int_eq(hs_view_restore(view, some, 2, results, &err), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(hs_view_split(view, others, 2, results, &err), 0);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], 0);
	close_view();
}
END_TEST

/*
 * A process that comes to have a virtual machine, as its folder in /proc says: what it accesses is not seen in its own
 * tables, so nothing is known of it, nor split, until a new view is opened; what was split comes back.
 */
START_TEST(test_ept_host_split_under_a_late_vm)
{
	struct hs_host_view *v;
	const hs_huge_nr before = 3, after = 7;
	char dir[] = "/tmp/hs-late-vm-XXXXXX", path[64], cmd[64];
	int proc_dir, result;

	open_view(VG_HUGE);
	v = hs_host_view(view);
	ck_assert_int_eq(hs_view_split(view, &before, 1, NULL, &err), 0);
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	proc_dir = v->dir_fd;
	ck_assert_ptr_nonnull(mkdtemp(dir));
	v->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)guest.pid);
	ck_assert_int_eq(symlinkat(path, v->dir_fd, "maps"), 0);
	ck_assert_int_eq(mkdirat(v->dir_fd, "fd", 0700), 0);
	ck_assert_int_eq(symlinkat(HS_HOST_VM_FILE, v->dir_fd, "fd/12"), 0);
	ck_assert_int_eq(hs_view_refresh(view, &err), -ESTALE);
	(void)close(v->dir_fd);
	v->dir_fd = proc_dir;
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(cmd), 0);

	sample();
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(huge[h].state, HS_MAP_UNKNOWN);
	ck_assert_int_eq(hs_view_why(view, after), HS_VIEW_VMM_LOGS);
	ck_assert_int_eq(hs_view_split(view, &after, 1, &result, &err), 0);
	ck_assert_int_eq(result, -EAGAIN);
	ck_assert_int_eq(hs_view_restore(view, &before, 1, &result, &err), 0);
	ck_assert_int_eq(result, 0);
	/* It has none any more. */
	ck_assert_int_eq(hs_view_refresh(view, &err), 0);
	sample();
	for (uint32_t h = 0; h < NR_HUGE; h++)
		ck_assert_int_eq(huge[h].state, HS_MAP_HUGE);
	close_view();
}
END_TEST

/* A run that was killed between the two steps leaves a page with the wrong flag: the next view puts it right. */
START_TEST(test_ept_host_open_repairs_flags)
{
	uint32_t vmas;

	open_view(VG_HUGE);
	if (_i)
		ck_assert_int_eq(vg_madvise(&guest, 0, NR_PAGES, MADV_DONTDUMP), 0);
	hs_view_close(view);
	vmas = vg_nr_vmas(&guest);
	ck_assert_int_eq(vg_madvise(&guest, 5 * 512, 1, _i ? MADV_DODUMP : MADV_DONTDUMP), 0);
	ck_assert_int_eq(vg_madvise(&guest, 9 * 512, 1, _i ? MADV_DODUMP : MADV_DONTDUMP), 0);
	ck_assert_int_eq(dontdump(), -1);
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err), 0);
	ck_assert_int_eq(dontdump(), _i);
	ck_assert_uint_eq(vg_nr_vmas(&guest), vmas);
	close_view();
}
END_TEST

/* The guest changes the flag of all its memory after the view has read it: nothing is left changed all the same. */
START_TEST(test_ept_host_split_after_flags_changed)
{
	uint32_t vmas;
	int result;

	open_view(VG_HUGE);
	ck_assert_int_eq(hs_view_split(view, (const hs_huge_nr[]){ 1 }, 1, NULL, &err), 0);
	ck_assert_int_eq(vg_madvise(&guest, 0, NR_PAGES, MADV_DONTDUMP), 0);
	vmas = vg_nr_vmas(&guest);
	ck_assert_int_eq(hs_view_split(view, (const hs_huge_nr[]){ 2 }, 1, &result, &err), 0);
	ck_assert_int_eq(dontdump(), 1);
	ck_assert_uint_eq(vg_nr_vmas(&guest), vmas);
	close_view();
}
END_TEST

/* A flag that stands alone for another reason is none of ours: two pages, or not the first of a huge page. */
START_TEST(test_ept_host_open_leaves_other_flags)
{
	uint32_t vmas;

	open_view(VG_HUGE);
	hs_view_close(view);
	ck_assert_int_eq(vg_madvise(&guest, 5 * 512, 2, MADV_DONTDUMP), 0);
	ck_assert_int_eq(vg_madvise(&guest, 9 * 512 + 1, 1, MADV_DONTDUMP), 0);
	ck_assert_int_eq(vg_madvise(&guest, 12 * 512, 1, MADV_DONTFORK), 0);
	vmas = vg_nr_vmas(&guest);
	ck_assert_int_eq(hs_view_open_host(&view, &host, guest.pid, remote, VG_MIN_BYTES, &err), 0);
	ck_assert_uint_eq(vg_nr_vmas(&guest), vmas);
	close_view();
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;

	if (VG_SANITIZED)
		return hs_test_skip("ept_host_mapping", VG_SANITIZED_WHY);
	if (geteuid())
		return hs_test_skip("ept_host_mapping", "reading page tables needs root");
	s = suite_create("ept_host_mapping");
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_ept_host_split_restore, 0, 2);
	tcase_add_test(t, test_ept_host_restore_of_what_is_gone);
	tcase_add_test(t, test_ept_host_split_accessed_exactly);
	tcase_add_test(t, test_ept_host_split_without_huge_pages);
	tcase_add_test(t, test_ept_host_close_restores);
	tcase_add_test(t, test_ept_host_close_leaves_holes);
	tcase_add_test(t, test_ept_host_restore_after_fork);
	tcase_add_test(t, test_ept_host_split_under_a_late_vm);
	tcase_add_loop_test(t, test_ept_host_open_repairs_flags, 0, 2);
	tcase_add_test(t, test_ept_host_split_after_flags_changed);
	tcase_add_test(t, test_ept_host_open_leaves_other_flags);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
