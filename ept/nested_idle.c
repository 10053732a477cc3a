/*
 * Ageing of nested entries by /sys/kernel/mm/page_idle/bitmap: it clears accessed bits where they are, and the guest
 * has no fault for it.
 *
 * The file has one bit for each page frame, 64 in a little word. A bit that is written as 1 makes the kernel clear the
 * accessed bits of that frame's page in all page tables that map it, KVM's nested ones included; a 0 changes nothing,
 * so that a word can be written for one page alone. For a huge page the bit of its first frame stands for all of it:
 * nested entries of either size are cleared, and those of the process.
 *
 *  - Only what the process maps by a huge entry, and writable, is aged so: that is surely its own page and nobody
 *    else's. The rest (base pages, among them those that KSM shares between guests and zero pages, which page_idle
 *    passes over) has its nested entries dropped, as by PAGEMAP_SCAN alone (nested_age.c). An entry that is made anew
 *    has its accessed bit set, so the bit is the answer for both.
 *  - The kernel flushes no cached translation for it. As long as the processor has one, it sets no bit, and the hottest
 *    pages of all would look cold. So one base page's range is dropped afterwards: KVM flushes all that the virtual
 *    machine has cached, whatever it drops, if only something was mapped there. When nothing at all is mapped, nothing
 *    is cached. The flush has to come after the last bit is cleared, and so has the look for what is mapped.
 *  - The process's own bits are cleared unflushed as well: so the inner view's ageing, which flushes, comes after it.
 *  - A page that the kernel is just moving is passed over without a word. Its bit stays set: it looks hot for that
 *    round.
 *  - Between the look at the process's table and the write, a frame may pass to somebody else. Then one page elsewhere
 *    loses its accessed bit; the kernel remembers that for its own use (as "young").
 *  - Somebody else who uses page_idle (to measure working sets) finds our guests' pages idle that were in use.
 *
 * Without PAGEMAP_SCAN, before Linux 6.7, there is no call from outside that drops a single page: no flush, and no
 * page_idle.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nested_view.h"
#include "x86_entry.h"

#define FRAMES_PER_WORD 64

/* ---- what there is ---- */

static off_t word_of(uint64_t pfn)
{
	return (off_t)(pfn / FRAMES_PER_WORD * sizeof(uint64_t));
}

/* -ENXIO: there is no such frame. */
static int set_idle(int bitmap_fd, uint64_t pfn)
{
	const uint64_t word = UINT64_C(1) << (pfn % FRAMES_PER_WORD);
	ssize_t n;

	do {
		n = pwrite(bitmap_fd, &word, sizeof(word), word_of(pfn));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(word) ? 0 : -EIO;
}

static bool is_idle(int bitmap_fd, uint64_t pfn)
{
	uint64_t word;

	return pread(bitmap_fd, &word, sizeof(word), word_of(pfn)) == (ssize_t)sizeof(word) &&
	       (word >> (pfn % FRAMES_PER_WORD)) & 1;
}

/* Base pages that are new wait in a batch, some tens for each processor, and are passed over until that is full. */
#define TRIAL_PAGES 256

/* On pages of our own. 0, -EPERM: the kernel does not tell their frames; -EIO: it did nothing. */
static int try_bitmap(int bitmap_fd, int pagemap_fd)
{
	const uint64_t frame_bits = (UINT64_C(1) << 55) - 1;
	uint64_t entries[TRIAL_PAGES];
	volatile unsigned char *pages;
	off_t at;
	int rc = -EPERM;

	pages = mmap(NULL, TRIAL_PAGES * HS_BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return -errno;
	for (size_t i = 0; i < TRIAL_PAGES; i++)
		pages[i * HS_BASE_SIZE] = 1;
	at = (off_t)((uintptr_t)pages / HS_BASE_SIZE * sizeof(*entries));
	if (pread(pagemap_fd, entries, sizeof(entries), at) != (ssize_t)sizeof(entries))
		memset(entries, 0, sizeof(entries));
	for (size_t i = 0; i < TRIAL_PAGES && rc; i++) {
		uint64_t pfn = entries[i] & frame_bits;

		if (pfn)
			rc = !set_idle(bitmap_fd, pfn) && is_idle(bitmap_fd, pfn) ? 0 : -EIO;
	}
	munmap((void *)pages, TRIAL_PAGES * HS_BASE_SIZE);
	return rc;
}

int hs_nested_idle_open(const struct hs_host *host, struct hs_error *why)
{
	char path[512];
	int fd, pagemap_fd, rc;

	(void)snprintf(path, sizeof(path), "%s/kernel/mm/page_idle/bitmap", host->sys_dir ? host->sys_dir : "/sys");
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

/* ---- clearing ---- */

/* What one table of the process's huge entries maps. */
struct table {
	const struct hs_nested_view *v;
	uint32_t nr;
	uint64_t frames[HS_BASE_PER_HUGE]; /* the first one of each huge page to be aged by the bitmap; 0: it is not */
	struct hs_bits512 rest;            /* mapped in any other way */
};

static void take_table(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct table *t = ctx;
	const uint64_t mask = hs_walk_base(hs_host_view(t->v->inner)->walk)->phys_mask;
	unsigned int index = (req->va >> HS_HUGE_SHIFT) & 511;

	(void)i;
	for (uint32_t n = 0; n < t->nr; n++) {
		/* A table that cannot be read, for whatever reason: its pages are dropped. */
		uint64_t e = req->status == HS_WALK_COPIED ? page[index + n] : 0;
		bool told = req->status == HS_WALK_COPIED || req->status == HS_WALK_NONE;

		if (hs_x86_pmd(e) == HS_X86_PAGE && (e & HS_X86_WRITE))
			t->frames[n] = hs_x86_pmd_pfn(e, mask);
		else if (!told || hs_x86_pmd(e) != HS_X86_NONE)
			hs_bits_set(&t->rest, n);
	}
}

static int drop_rest(struct hs_nested_view *v, hs_huge_nr first, const struct table *t)
{
	int rc = 0;

	for (uint32_t a = 0, b; a < t->nr && !rc; a = b + 1) {
		for (b = a; b < t->nr && hs_bits_test(&t->rest, b); b++)
			;
		if (b > a)
			rc = hs_nested_drop(v, first + a, b - a);
	}
	return rc;
}

static int clear_table(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	struct hs_host_view *host = hs_nested_host(v);
	const struct hs_walk_req req = { .va = hs_view_hva(&v->view, first).v, .kind = HS_WALK_PMD_PAGE };
	struct table t = { .v = v, .nr = nr };
	int rc = hs_walk_run(host->walk, host->mm, &req, 1, take_table, &t);

	for (uint32_t n = 0; n < nr && !rc; n++)
		if (t.frames[n])
			rc = set_idle(v->idle_fd, t.frames[n]);
	return rc ? rc : drop_rest(v, first, &t);
}

int hs_nested_idle_clear(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	int rc = 0;

	for (hs_huge_nr h = first, next; h < first + nr && !rc; h = next) {
		uint32_t left = HS_BASE_PER_HUGE - ((hs_view_hva(&v->view, h).v >> HS_HUGE_SHIFT) & 511);

		next = left < first + nr - h ? h + left : first + nr;
		rc = clear_table(v, h, next - h);
	}
	return rc;
}

/* ---- flushing ---- */

int hs_nested_idle_flush(struct hs_nested_view *v, hs_huge_nr first, uint32_t nr)
{
	hs_huge_nr huge;
	unsigned int base;
	int rc = hs_nested_find_mapped(v, first, nr, &huge, &base);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = hs_nested_drop_base(v, huge, base);
	return rc ? rc : 1;
}
