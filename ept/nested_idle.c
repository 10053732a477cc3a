/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ageing of nested entries by /sys/kernel/mm/page_idle/bitmap: it clears accessed bits where they are, and the guest
 * has no fault for it.
 *
 * The file has one bit for each page frame, 64 in a little word. A bit that is written as 1 makes the kernel clear the
 * accessed bits of that frame's page in all page tables that map it, KVM's nested ones included; a 0 changes nothing,
 * so that a word can be written for one page alone. For a huge page the bit of its first frame stands for all of it:
 * nested entries of either size are cleared, and those of the process. The steps, and why in this order:
 *
 *  1. The nested tables are read. Only what has its accessed bit set there is written to the bitmap: what is cold,
 * which is most, costs nothing. Only what the process maps writable, too: that is its own and no other process's. (Of a
 *     huge page that the process maps by base entries, and has shared with a fork of itself, parts may be both.)
 *  2. The inner view ages the process's own tables, and flushes their cached translations. page_idle has cleared bits
 *     there as well, unflushed; so this comes after it.
 *  3. The nested tables are read again. What is accessed still is dropped, as by PAGEMAP_SCAN alone (nested_age.c):
 *     KSM's pages and other pages that are not writable, zero pages, those that the kernel was just moving. An entry
 *     that is made anew has its accessed bit set, so the bit is the answer for all.
 *  4. The kernel flushes no cached translation for page_idle. As long as the processor has one, it sets no bit, and the
 *     hottest pages of all would look cold. But when anything is dropped, KVM flushes all that the virtual machine has
 *     cached. So when step 3 had nothing to drop, one base page that is mapped is dropped for the flush. When nothing
 *     at all is mapped, nothing is cached.
 *
 * Between the look at a table and the write, a frame may pass to somebody else. Then one page elsewhere loses its
 * accessed bit; the kernel remembers that for its own use (as "young"). And somebody else who uses page_idle, to
 * measure working sets, finds our guests' pages idle that were in use.
 *
 * The other way round, whoever clears accessed bits between our ageing and our sample (reclaim when memory is short,
 * DAMON, page_idle) takes from us that a page was accessed before that. A hot one is accessed again at once; one that
 * is touched once in an interval may look cold, and costs a fault when it was shared.
 *
 * Without PAGEMAP_SCAN, before Linux 6.7, there is no call from outside that drops a single page: no flush, and no
 * page_idle.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/pagemap.h"
#include "nested_internal.h"
#include "x86_entry.h"

#define FRAMES_PER_WORD 64

/* ---- what there is ---- */

static int write_word(int bitmap_fd, uint64_t word_nr, uint64_t word)
{
	ssize_t n;

	do {
		n = pwrite(bitmap_fd, &word, sizeof(word), (off_t)(word_nr * sizeof(word)));
	} while (n < 0 && errno == EINTR);
	/*
	 * The kernel takes the last word of all, when memory ends within it, and says 0 (or -ENXIO for what has no
	 * frame). Whether bits were taken is not relied upon: what is accessed still is dropped.
	 */
	return n < 0 && errno != ENXIO ? -errno : 0;
}

/* Frames that follow one another share their words. */
static int set_idle(int bitmap_fd, const uint64_t *frames, uint32_t nr)
{
	int rc = 0;

	for (uint32_t i = 0, next; i < nr && !rc; i = next) {
		const uint64_t word_nr = frames[i] / FRAMES_PER_WORD;
		uint64_t word = 0;

		for (next = i; next < nr && frames[next] / FRAMES_PER_WORD == word_nr; next++)
			word |= UINT64_C(1) << (frames[next] % FRAMES_PER_WORD);
		rc = write_word(bitmap_fd, word_nr, word);
	}
	return rc;
}

static bool is_idle(int bitmap_fd, uint64_t frame)
{
	const off_t at = (off_t)(frame / FRAMES_PER_WORD * sizeof(uint64_t));
	uint64_t word;

	return pread(bitmap_fd, &word, sizeof(word), at) == (ssize_t)sizeof(word) &&
	       (word >> (frame % FRAMES_PER_WORD)) & 1;
}

/* Base pages that are new wait in a batch, some tens for each processor, and are passed over until that is full. */
#define TRIAL_PAGES 256

/* On pages of our own. 0, -EPERM: the kernel does not show their frames; -EIO: it did nothing. */
static int try_bitmap(int bitmap_fd, int pagemap_fd)
{
	uint64_t entries[TRIAL_PAGES];
	volatile unsigned char *pages;
	off_t at;
	int rc = -EPERM;

	pages = mmap(NULL, TRIAL_PAGES * HS_BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return -errno;
	/* In a huge page only the first one would count. */
	(void)madvise((void *)pages, TRIAL_PAGES * HS_BASE_SIZE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < TRIAL_PAGES; i++)
		pages[i * HS_BASE_SIZE] = 1;
	at = (off_t)((uintptr_t)pages / HS_BASE_SIZE * sizeof(*entries));
	if (pread(pagemap_fd, entries, sizeof(entries), at) != (ssize_t)sizeof(entries))
		memset(entries, 0, sizeof(entries));
	for (size_t i = 0; i < TRIAL_PAGES && rc; i++) {
		const uint64_t frame = entries[i] & HS_PM_PFN;

		if (frame && (entries[i] & HS_PM_PRESENT))
			rc = !set_idle(bitmap_fd, &frame, 1) && is_idle(bitmap_fd, frame) ? 0 : -EIO;
	}
	munmap((void *)pages, TRIAL_PAGES * HS_BASE_SIZE);
	return rc;
}

/* Intel's processors before Haswell keep no accessed bits in nested tables, and kvm_intel can be told not to. */
static bool has_no_bits(const char *sys_dir)
{
	char path[512], answer = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/module/kvm_intel/parameters/eptad", sys_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, &answer, 1) != 1)
		answer = 'N';
	close(fd);
	return answer == 'N';
}

static int open_bitmap(const struct hs_host *host, struct hs_error *why)
{
	const char *sys_dir = host->sys_dir ? host->sys_dir : "/sys";
	char path[512];
	int fd, pagemap_fd, rc;

	if (has_no_bits(sys_dir))
		return hs_error_set(why, -ENOTSUP,
				    "KVM keeps no accessed bits in nested page tables here (kvm_intel's eptad is N)");
	(void)snprintf(path, sizeof(path), "%s/kernel/mm/page_idle/bitmap", sys_dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return hs_error_set(why, -ENOENT, "this kernel has no page_idle (CONFIG_IDLE_PAGE_TRACKING)");
	if (fd < 0)
		return hs_error_set(why, -errno, "%s cannot be opened: %s", path, strerror(errno));
	(void)snprintf(path, sizeof(path), "%s/self/pagemap", host->proc_dir);
	pagemap_fd = open(path, O_RDONLY | O_CLOEXEC);
	rc = pagemap_fd < 0 ? -EPERM : try_bitmap(fd, pagemap_fd);
	if (pagemap_fd >= 0)
		close(pagemap_fd);
	if (!rc)
		return fd;
	close(fd);
	if (rc == -EPERM)
		return hs_error_set(why, rc,
				    "page_idle takes page frames, which are hidden from this process: it "
				    "lacks CAP_SYS_ADMIN");
	return hs_error_set(why, rc, "page_idle does nothing to pages of this process (%s)", strerror(-rc));
}

static int open_idle(const struct hs_host *host, int *fd, struct hs_error *why)
{
	*fd = open_bitmap(host, why);
	if (*fd < 0)
		return *fd;
	if (hs_nested_can_drop(host))
		return 0;
	close(*fd);
	*fd = -1;
	return hs_error_set(why, -ENOTSUP,
			    "page_idle leaves cached translations, which nothing flushes without PAGEMAP_SCAN (Linux "
			    "6.7)");
}

/* ---- clearing ---- */

/* What is accessed of the huge pages behind one table of the process's huge entries. */
struct work {
	uint64_t phys_mask;
	uint32_t nr;
	struct hs_nested_mark marks[HS_BASE_PER_HUGE];
	const struct hs_bits512 *base;     /* of the table of base entries that is being looked at: those accessed */
	struct hs_bits512 tables;          /* huge pages that the process maps by such a table */
	uint64_t frames[HS_BASE_PER_HUGE]; /* to be written */
	uint32_t nr_frames;
};

static void take_huge(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct work *w = ctx;
	unsigned int index = (req->va >> HS_HUGE_SHIFT) & 511;

	(void)i;
	for (uint32_t n = 0; n < w->nr && req->status == HS_WALK_COPIED; n++) {
		uint64_t e = page[index + n];

		if (hs_bits_none(&w->marks[n].accessed))
			continue;
		if (hs_x86_pmd(e) == HS_X86_TABLE)
			hs_bits_set(&w->tables, n);
		else if (hs_x86_pmd(e) == HS_X86_PAGE && (e & HS_X86_WRITE))
			w->frames[w->nr_frames++] = hs_x86_pmd_pfn(e, w->phys_mask);
	}
}

/* The first one in any case: the huge page may still be one for the kernel, and then its bit stands for all. */
static void take_base(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct work *w = ctx;

	(void)i;
	for (unsigned int n = 0; n < HS_BASE_PER_HUGE && req->status == HS_WALK_COPIED; n++)
		if ((!n || hs_bits_test(w->base, n)) && hs_x86_pte(page[n]) == HS_X86_PAGE && (page[n] & HS_X86_WRITE))
			w->frames[w->nr_frames++] = hs_x86_pte_pfn(page[n], w->phys_mask);
}

/* Looks at one table, and writes what is found there, right away. */
static int clear_table(struct hs_nested_view *v, struct work *w, hs_huge_nr huge, uint32_t kind, hs_walk_fn fn)
{
	struct hs_host_view *host = hs_nested_host(v);
	const struct hs_walk_req req = { .va = hs_view_hva(&v->view, huge).v, .kind = kind };
	int rc;

	w->nr_frames = 0;
	rc = hs_walk_run(host->walk, host->mm, &req, 1, fn, w);
	return rc ? rc : set_idle(v->ageing_fd, w->frames, w->nr_frames);
}

static int clear_marked(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, struct work *w)
{
	int rc = hs_nested_mark_range(v, first, nr, w->marks);

	w->phys_mask = hs_walk_base(hs_nested_host(v)->walk)->phys_mask;
	w->nr = nr;
	if (!rc)
		rc = clear_table(v, w, first, HS_WALK_PMD_PAGE, take_huge);
	for (uint32_t n = 0; n < nr && !rc; n++) {
		if (!hs_bits_test(&w->tables, n))
			continue;
		w->base = &w->marks[n].accessed;
		rc = clear_table(v, w, first + n, HS_WALK_PTE_PAGE, take_base);
	}
	return rc;
}

/* ---- what is left ---- */

/*
 * By one call, since each makes KVM flush all that the virtual machine has cached. What lies between and was not
 * accessed goes as well: it comes back with its accessed bit set when it is touched.
 */
static int drop_marked(struct hs_nested_view *v, hs_huge_nr huge, const struct hs_bits512 *accessed)
{
	const unsigned int a = hs_bits_next(accessed, 0);
	unsigned int b = a;
	int rc;

	hs_bits_for_each (i, accessed)
		b = i + 1;
	rc = hs_nested_drop_base(v, huge, a, b - a);
	v->flushed |= !rc;
	return rc;
}

static int drop_left(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, struct work *w)
{
	int rc = hs_nested_mark_range(v, first, nr, w->marks);

	for (uint32_t n = 0; n < nr && !rc; n++)
		if (hs_bits_any(&w->marks[n].accessed))
			rc = drop_marked(v, first + n, &w->marks[n].accessed);
	return rc;
}

/* ---- the steps ---- */

/* fn for each of the process's tables of huge entries. */
static int each_table(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr,
		      int (*fn)(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr, struct work *w))
{
	struct work *w = malloc(sizeof(*w));
	int rc = w ? 0 : -ENOMEM;

	for (hs_huge_nr h = first, next; h < first + nr && !rc; h = next) {
		uint32_t left = HS_BASE_PER_HUGE - ((hs_view_hva(&v->view, h).v >> HS_HUGE_SHIFT) & 511);

		next = left < first + nr - h ? h + left : first + nr;
		memset(w, 0, sizeof(*w));
		rc = fn(v, h, next - h, w);
	}
	free(w);
	return rc;
}

static int idle_clear(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	return each_table(v, first, nr, clear_marked);
}

static int idle_drop_left(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	return each_table(v, first, nr, drop_left);
}

static int idle_flush(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	hs_huge_nr huge;
	unsigned int base;
	int rc;

	if (v->flushed)
		return 0;
	rc = hs_nested_find_mapped(v, first, nr, &huge, &base);
	if (!rc)
		rc = hs_nested_drop_base(v, huge, base, 1);
	v->flushed = !rc;
	return rc == -ENOENT ? 0 : rc;
}

/* What KVM records without the hardware's help has no accessed bit. */
static bool keeps_bits(const struct hs_kvm_seen *now)
{
	for (uint32_t i = 0; i < now->look.nr_roots; i++)
		if (now->roots[i].ad_disabled && !now->roots[i].invalid)
			return false;
	return true;
}

static int age(struct hs_nested_view *v, struct hs_error *err)
{
	int rc;

	if (!keeps_bits(&v->aged))
		return hs_nested_age_scan.age(v, err);
	v->by_bit = true;
	rc = hs_nested_each_run(v, idle_clear);
	if (rc)
		return hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err);
	rc = hs_view_age(v->inner, err);
	if (rc)
		return rc;
	v->flushed = false;
	rc = hs_nested_each_run(v, idle_drop_left);
	if (!rc)
		rc = hs_nested_each_run(v, idle_flush);
	if (rc == -EAGAIN) { /* the tables are being built anew: the next sample knows nothing */
		v->has_aged = false;
		return 0;
	}
	return rc ? hs_host_error(hs_nested_host(v), rc, "age its nested page tables", err) : 0;
}

const struct hs_nested_ageing hs_nested_age_idle = {
	.name = "page_idle", .ranges = true, .open = open_idle, .age = age
};
