/* SPDX-License-Identifier: Apache-2.0 */
#include "view_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hs_test.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
	OP_TOUCH,
	OP_FILL,
	OP_SUM,
	OP_MADVISE,
	OP_UNMAP,
	OP_MAP_MORE,
	OP_FORK,
	OP_STOP_CHILD,
	OP_SPIN,
	OP_PROTECT,
	OP_LOCK,
	OP_ARM
};

uint64_t vg_word(uint32_t seed, uint32_t page, uint32_t word)
{
	uint64_t x = ((uint64_t)seed << 42) ^ ((uint64_t)page << 9) ^ word;

	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ (x >> 29);
}

/* ---- in the guest ---- */

static pid_t child; /* the last one */

static char *map_aligned(size_t len, int flags, int fd)
{
	/* Borders without access around it, so that no other mapping becomes its neighbour. */
	char *all = mmap(NULL, len + 2 * HS_HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *p;

	if (all == MAP_FAILED)
		return NULL;
	p = (char *)(((uintptr_t)all + HS_HUGE_SIZE) & ~(uintptr_t)(HS_HUGE_SIZE - 1));
	p = mmap(p, len, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static char *make_memory(enum vg_kind kind, size_t len)
{
	char *p;

	if (kind == VG_SHARED) {
		int fd = memfd_create("guest-ram", 0);

		return fd < 0 || ftruncate(fd, (off_t)len) ? NULL : map_aligned(len, MAP_SHARED, fd);
	}
	if (kind == VG_HUGETLB)
		return map_aligned(len, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1);
	p = map_aligned(len, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!p)
		return NULL;
	if (kind == VG_HUGE) {
		/* Not by MADV_HUGEPAGE: khugepaged would bring back what a test has split. */
		for (size_t i = 0; i < len; i += HS_BASE_SIZE)
			p[i] = 1;
		for (int tries = 0; tries < 50; tries++)
			if (!madvise(p, len, MADV_COLLAPSE))
				return p;
		return NULL;
	}
	return madvise(p, len, kind == VG_BASE ? MADV_NOHUGEPAGE : MADV_HUGEPAGE) ? NULL : p;
}

static void touch(char *p, struct vg_box *box)
{
	for (uint32_t i = 0; i < box->nr; i++) {
		volatile char *byte = p + (size_t)box->pages[i] * HS_BASE_SIZE;

		if (box->arg)
			*byte = *byte;
		else
			(void)*byte;
	}
}

/* Registers with a userfaultfd, and with VG_ARM_WP protects against writing; VG_ARM_NONE closes all of them. */
static int arm(char *q, size_t len, enum vg_arm how)
{
	static int fds[16], nr;
	struct uffdio_api api = { .api = UFFD_API, .features = how == VG_ARM_WP ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0 };
	struct uffdio_register reg = { .range = { (uintptr_t)q, len },
				       .mode =
					   how == VG_ARM_WP ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_writeprotect protect = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd;

	if (how == VG_ARM_NONE) {
		while (nr)
			close(fds[--nr]);
		return 0;
	}
	fd = nr < 16 ? (int)syscall(SYS_userfaultfd, O_CLOEXEC) : -1;
	if (fd < 0)
		return -errno;
	fds[nr++] = fd;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    (how == VG_ARM_WP && ioctl(fd, UFFDIO_WRITEPROTECT, &protect)))
		return -errno;
	return 0;
}

static void serve(char *p, struct vg_box *box)
{
	char *q = p + box->start;
	uint32_t nr = (uint32_t)(box->len / HS_BASE_SIZE);

	box->error = 0;
	box->answer = 0;
	switch (box->op) {
	case OP_TOUCH:
		touch(p, box);
		break;
	case OP_FILL:
		for (uint32_t i = 0; i < nr; i++)
			for (uint32_t w = 0; w < HS_BASE_SIZE / 8; w++)
				((uint64_t *)q)[(size_t)i * 512 + w] = vg_word((uint32_t)box->arg, box->as + i, w);
		break;
	case OP_SUM:
		for (size_t w = 0; w < box->len / 8; w++)
			box->answer = box->answer * 31 + ((const uint64_t *)q)[w];
		break;
	case OP_MADVISE:
		box->error = madvise(q, box->len, box->arg) ? -errno : 0;
		break;
	case OP_PROTECT:
		box->error = mprotect(q, box->len, box->arg ? PROT_NONE : PROT_READ | PROT_WRITE) ? -errno : 0;
		break;
	case OP_LOCK:
		box->error = (box->arg ? mlock(q, box->len) : munlock(q, box->len)) ? -errno : 0;
		break;
	case OP_ARM:
		box->error = arm(q, box->len, (enum vg_arm)box->arg);
		break;
	case OP_UNMAP:
		box->error = munmap(q, box->len) ? -errno : 0;
		break;
	case OP_MAP_MORE:
		box->error = make_memory(VG_ABSENT, box->len) ? 0 : -ENOMEM;
		break;
	case OP_FORK:
		child = fork();
		if (!child) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				(void)pause();
		}
		break;
	case OP_STOP_CHILD:
		(void)kill(child, SIGKILL);
		(void)waitpid(child, NULL, 0);
		break;
	default:
		box->error = -EINVAL;
	}
}

static void guest_main(enum vg_kind kind, size_t len, struct vg_box *box, int in, int out)
{
	char *p = make_memory(kind, len), c;

	box->answer = (uintptr_t)p;
	if (write(out, "r", 1) != 1)
		_exit(1);
	while (read(in, &c, 1) == 1) {
		/* Once it has its answer the test may put the next request there. */
		const bool spin = box->op == OP_SPIN;

		if (!spin)
			serve(p, box);
		if (write(out, "r", 1) != 1)
			_exit(1);
		while (spin) {
			touch(p, box);
			box->spins++;
		}
	}
	_exit(0);
}

/* ---- in the test ---- */

bool vg_start(struct view_guest *g, enum vg_kind kind, uint32_t nr_huge)
{
	int to[2], from[2];
	char c;

	g->nr_huge = nr_huge;
	g->box = mmap(NULL, sizeof(*g->box), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(g->box, MAP_FAILED);
	ck_assert(!pipe(to) && !pipe(from));
	(void)signal(SIGPIPE, SIG_IGN);
	g->pid = fork();
	ck_assert_int_ge(g->pid, 0);
	if (!g->pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(to[1]);
		close(from[0]);
		guest_main(kind, nr_huge * HS_HUGE_SIZE, g->box, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	g->to = to[1];
	g->from = from[0];
	ck_assert_int_eq(read(g->from, &c, 1), 1);
	g->base = g->box->answer;
	if (!g->base && kind == VG_HUGETLB)
		return false;
	ck_assert(g->base != 0);
	return true;
}

void vg_stop(struct view_guest *g)
{
	kill(g->pid, SIGKILL);
	waitpid(g->pid, NULL, 0);
	close(g->to);
	close(g->from);
	munmap(g->box, sizeof(*g->box));
}

static void ask(struct view_guest *g, uint32_t op, uint32_t first_page, uint32_t nr_pages, int arg)
{
	char c;

	g->box->op = op;
	g->box->start = first_page * HS_BASE_SIZE;
	g->box->len = nr_pages * HS_BASE_SIZE;
	g->box->arg = arg;
	ck_assert_int_eq(write(g->to, "c", 1), 1);
	ck_assert_int_eq(read(g->from, &c, 1), 1);
}

/* The list is continued with its first page: what a processor reads ahead of the loop's end is in the list too. */
static void put_pages(struct view_guest *g, const uint32_t *pages, uint32_t nr)
{
	ck_assert_uint_le(nr, VG_MAX_PAGES);
	g->box->nr = nr;
	memcpy(g->box->pages, pages, nr * sizeof(*pages));
	for (uint32_t i = 0; i < 64; i++)
		g->box->pages[nr + i] = nr ? pages[0] : 0;
}

void vg_touch(struct view_guest *g, const uint32_t *pages, uint32_t nr, bool write)
{
	put_pages(g, pages, nr);
	ask(g, OP_TOUCH, 0, 0, write);
}

void vg_spin(struct view_guest *g, const uint32_t *pages, uint32_t nr)
{
	put_pages(g, pages, nr);
	ask(g, OP_SPIN, 0, 0, 0);
}

void vg_fill(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, uint32_t seed)
{
	g->box->as = first_page;
	ask(g, OP_FILL, first_page, nr_pages, (int)seed);
}

void vg_fill_as(struct view_guest *g, uint32_t page, uint32_t as, uint32_t seed)
{
	g->box->as = as;
	ask(g, OP_FILL, page, 1, (int)seed);
}

uint64_t vg_sum(struct view_guest *g, uint32_t first_page, uint32_t nr_pages)
{
	ask(g, OP_SUM, first_page, nr_pages, 0);
	return g->box->answer;
}

int vg_madvise(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, int advice)
{
	ask(g, OP_MADVISE, first_page, nr_pages, advice);
	return g->box->error;
}

int vg_lock(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, bool lock)
{
	ask(g, OP_LOCK, first_page, nr_pages, lock);
	return g->box->error;
}

int vg_arm(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, enum vg_arm how)
{
	ask(g, OP_ARM, first_page, nr_pages, (int)how);
	return g->box->error;
}

void vg_protect(struct view_guest *g, uint32_t first_page, uint32_t nr_pages, bool none)
{
	ask(g, OP_PROTECT, first_page, nr_pages, none);
	ck_assert_int_eq(g->box->error, 0);
}

void vg_unmap(struct view_guest *g, uint32_t first_page, uint32_t nr_pages)
{
	ask(g, OP_UNMAP, first_page, nr_pages, 0);
	ck_assert_int_eq(g->box->error, 0);
}

void vg_map_more(struct view_guest *g, uint32_t nr_huge)
{
	ask(g, OP_MAP_MORE, 0, nr_huge * HS_BASE_PER_HUGE, 0);
	ck_assert_int_eq(g->box->error, 0);
}

void vg_fork(struct view_guest *g)
{
	ask(g, OP_FORK, 0, 0, 0);
}

void vg_stop_child(struct view_guest *g)
{
	ask(g, OP_STOP_CHILD, 0, 0, 0);
}

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_PFN     ((UINT64_C(1) << 55) - 1)
#define KPF_ZERO        (UINT64_C(1) << 24)

static uint64_t word_of(const char *path, uint64_t index)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t word;

	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(pread(fd, &word, sizeof(word), (off_t)(index * sizeof(word))), sizeof(word));
	(void)close(fd);
	return word;
}

bool vg_zero_page(void)
{
	char *p = mmap(NULL, HS_BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t entry;

	ck_assert_ptr_ne(p, MAP_FAILED);
	(void)*(volatile char *)p;
	entry = word_of("/proc/self/pagemap", (uintptr_t)p >> HS_BASE_SHIFT);
	ck_assert((entry & PAGEMAP_PRESENT) && (entry & PAGEMAP_PFN));
	entry = word_of("/proc/kpageflags", entry & PAGEMAP_PFN);
	(void)munmap(p, HS_BASE_SIZE);
	return (entry & KPF_ZERO) != 0;
}

uint64_t vg_smaps_kb(const struct view_guest *g, const char *field)
{
	return hs_test_smaps_kb(g->pid, field);
}

uint32_t vg_nr_vmas(const struct view_guest *g)
{
	char path[64], line[512];
	uint32_t nr = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)g->pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		nr++;
	(void)fclose(f);
	return nr;
}
