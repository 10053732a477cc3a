/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ageing: clearing the accessed bits of the whole guest.
 *
 * Writing to /proc/PID/clear_refs clears them in the tables, but leaves the translations that the processors have
 * cached: as long as one is cached, the hardware does not look at the table, and sets no bit. The hottest pages of all
 * would look cold. (Measured on a guest that touches two huge pages all the time: 200 us after clear_refs alone both
 * were seen accessed in 9% of 200 rounds, with the steps below in 98%.) So a flush of the guest's translations has to
 * follow, and there is no call for that. It is provoked from outside, by two operations on one huge page:
 *
 *  1. clear_refs clears all bits. ("2": anonymous memory alone; the VMM's file mappings are none of our business.)
 *  2. One huge page is chosen that is mapped huge right now, writable (so it is no zero page and shared with nobody),
 * and has not been accessed; rather one that the last sample found cold, and not always the same. Where all are in
 * use, one of those.
 *  3. Its accessed bit is set, in software: process_vm_writev of one byte whose source cannot be read. The kernel takes
 *     the page for writing, which marks the entry accessed, and then fails to read the source: EFAULT, and not a byte
 * is written. (Taking it for reading, by process_vm_readv, marks no huge entry on x86.) That a kernel writes nothing is
 *     not taken on trust: it is tried on a page of our own first.
 *  4. process_madvise(MADV_COLD) of exactly this huge page takes an accessed huge entry out, flushes, and puts it back
 *     as not accessed. The flush is for the 512 base pages of that range, and for more than 33 x86 flushes the
 * process's whole address space instead: that is the flush we want, and it comes after step 1.
 *  5. A look at the entry: accessed after step 3 and not after step 4, so the flush did happen.
 *
 * Between 2 and 4 the guest could cut that huge mapping up (it would have to unmap a part of exactly this page in those
 * microseconds). MADV_COLD then works on base pages, and some kernels split a huge page that is mapped partly: no
 * content changes, and khugepaged repairs it. The page is put on the list of inactive pages, where a cold page belongs;
 * a hot one comes back from there by being used.
 *
 * When nothing is mapped huge any more, or only what cannot serve (read-only, as after a fork), two base pages do
 * (host_age_base.c). Without them, what is not seen accessed is unknown, unless no thread has run.
 *
 * clear_refs holds the process's mmap lock for all of its walk, so that the guest's page faults wait: 20 ns for each
 * base page, 80 ms for 4 GiB of them, and there is no call that does it for a part. What can be bounded is how often:
 * at most a twentieth of the time. The guest pays as well, for each entry that it uses again (host_bit_cost.h): so what
 * it had used is counted, and the more that is the longer it is left in peace. When it is not yet time again, nothing
 * is cleared, and what was accessed since the last time counts as accessed now: memory looks hotter than it is, and is
 * left alone rather than shared. Samples of base pages say so (HS_VIEW_YES_BEFORE).
 *
 * Locked memory (mlock, QEMU's mem-lock=on) refuses MADV_COLD. Another huge page serves then; when all of them are
 * locked, and whenever else there is a page and no flush, the ageing fails: hot memory must not look cold.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/times.h"
#include "base/vmas.h"
#include "host_internal.h"

/* Which huge pages serve, the better ones first. */
enum serves {
	SERVES_COLD, /* not accessed now, and cold at the last sample */
	SERVES_IDLE, /* not accessed now */
	SERVES_ANY,  /* in use: that it was flushed by is as far as is known, since it is accessed again at once */
	NR_SERVES
};

struct choice {
	struct hs_host_view *v;
	hs_huge_nr first; /* huge page behind the request's address */
	uint32_t nr;      /* entries to look at */
	enum serves which;
	hs_huge_nr found; /* UINT32_MAX: none */
};

static bool is_usable(uint64_t entry, enum serves which)
{
	return hs_x86_pmd(entry) == HS_X86_PAGE && (entry & HS_X86_WRITE) &&
	       (which == SERVES_ANY || !hs_x86_accessed(entry));
}

static void choose(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	struct choice *c = ctx;
	unsigned int index = (req->va >> HS_HUGE_SHIFT) & 511;

	(void)i;
	if (req->status != HS_WALK_COPIED)
		return;
	for (uint32_t n = 0; n < c->nr; n++) {
		hs_huge_nr h = c->first + n;

		if (is_usable(page[index + n], c->which) && !hs_host_is_off_limits(c->v, h) &&
		    !hs_bit_test(c->v->no_flush, h) && (c->which != SERVES_COLD || hs_bit_test(c->v->cold, h))) {
			c->found = h;
			return;
		}
	}
}

static const struct hs_region *region_of(const struct hs_view *view, hs_huge_nr huge)
{
	for (size_t r = 0; r < view->nr_regions; r++)
		if (huge - view->regions[r].first_huge < view->regions[r].nr_huge)
			return &view->regions[r];
	return NULL;
}

/* The next usable huge page from flush_next on, once around; UINT32_MAX: none. One table a step, as it is right now. */
static int find_page(struct hs_host_view *v, enum serves which, hs_huge_nr *found)
{
	hs_huge_nr h = v->flush_next < v->view.nr_huge ? v->flush_next : 0;

	*found = UINT32_MAX;
	for (uint32_t seen = 0; seen < v->view.nr_huge;) {
		const struct hs_region *region = region_of(&v->view, h);
		struct hs_walk_req req = { .kind = HS_WALK_PMD_PAGE };
		struct choice c = { .v = v, .first = h, .which = which, .found = UINT32_MAX };
		uint32_t in_table, in_region;
		int rc;

		if (!region)
			return 0;
		req.va = region->hva.v + (h - region->first_huge) * HS_HUGE_SIZE;
		in_table = HS_BASE_PER_HUGE - ((req.va >> HS_HUGE_SHIFT) & 511);
		in_region = region->first_huge + region->nr_huge - h;
		c.nr = in_table < in_region ? in_table : in_region;
		rc = hs_walk_run(v->walk, v->mm, &req, 1, choose, &c);
		if (rc)
			return rc;
		if (c.found != UINT32_MAX) {
			*found = c.found;
			return 0;
		}
		seen += c.nr;
		h += c.nr;
		if (h >= v->view.nr_huge)
			h = 0;
	}
	return 0;
}

static void take_entry(void *ctx, size_t i, const struct hs_walk_req *req, const uint64_t *page)
{
	(void)i;
	(void)page;
	*(uint64_t *)ctx = req->status == HS_WALK_ENTRY ? req->entry : 0;
}

/* Step 3: -1 and EFAULT is what we want; 0 then, else -errno. */
static int touch(pid_t pid, void *where, void *unreadable)
{
	struct iovec from = { unreadable, 1 }, to = { where, 1 };
	ssize_t n = process_vm_writev(pid, &from, 1, &to, 1, 0);

	if (n < 0)
		return errno == EFAULT ? 0 : -errno;
	return -EIO; /* it cannot be: the source has no byte to give */
}

/* Whether step 3 leaves the page alone, on this kernel: tried on ourselves. */
static bool touch_writes_nothing(void *unreadable)
{
	unsigned char *page = mmap(NULL, HS_BASE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool good;

	if (page == MAP_FAILED)
		return false;
	memset(page, 0xa5, HS_BASE_SIZE);
	good = !touch(getpid(), page, unreadable);
	for (size_t i = 0; i < HS_BASE_SIZE; i++)
		good &= page[i] == 0xa5;
	munmap(page, HS_BASE_SIZE);
	return good;
}

static int prepare(struct hs_host_view *v)
{
	void *page;

	if (v->unreadable)
		return 0;
	page = mmap(NULL, HS_BASE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	if (!touch_writes_nothing(page)) {
		munmap(page, HS_BASE_SIZE);
		return -ENOTSUP;
	}
	v->unreadable = page;
	return 0;
}

int hs_host_make_writable(struct hs_host_view *v, uint64_t va)
{
	int rc = prepare(v);

	return rc ? rc : touch(v->view.pid, (void *)(uintptr_t)va, v->unreadable);
}

enum flushed {
	FLUSH_NONE = 0, /* this page did not serve: it was split just then, say */
	FLUSH_MAYBE,    /* as far as is known: the guest touched the page just then */
	FLUSH_SURE
};

/* Steps 3 to 5 on one huge page. enum flushed, or -errno: -EINVAL when its memory is locked. */
static int flush_by(struct hs_host_view *v, hs_huge_nr huge)
{
	uint64_t va = hs_view_hva(&v->view, huge).v;
	struct hs_walk_req req = { .va = va, .kind = HS_WALK_PMD_ENTRY };
	struct iovec whole = { (void *)(uintptr_t)va, HS_HUGE_SIZE };
	uint64_t entry = 0;
	int rc;

	rc = touch(v->view.pid, whole.iov_base, v->unreadable);
	v->flush_doubt[v->nr_flush_doubt++] = huge;
	if (!rc)
		rc = hs_walk_run(v->walk, v->mm, &req, 1, take_entry, &entry);
	if (rc)
		return rc;
	if (hs_x86_pmd(entry) != HS_X86_PAGE || !hs_x86_accessed(entry))
		return FLUSH_NONE;
	if (syscall(SYS_process_madvise, v->pidfd, &whole, 1, MADV_COLD, 0) < 0)
		return errno == ENOMEM ? FLUSH_NONE : -errno; /* ENOMEM: unmapped meanwhile */
	rc = hs_walk_run(v->walk, v->mm, &req, 1, take_entry, &entry);
	if (rc)
		return rc;
	if (hs_x86_accessed(entry) || hs_x86_pmd(entry) != HS_X86_PAGE)
		return FLUSH_MAYBE;
	v->nr_flush_doubt--;
	return FLUSH_SURE;
}

/* The huge pages of the VMA around this one cannot serve. */
static int note_locked(struct hs_host_view *v, hs_huge_nr huge)
{
	const struct hs_region *region = region_of(&v->view, huge);
	uint64_t va = hs_view_hva(&v->view, huge).v;
	struct hs_vma_list maps;
	size_t i;
	int rc = hs_vmas_read(&maps, v->dir_fd, "maps");

	if (rc)
		return rc;
	hs_bit_put(v->no_flush, huge, true);
	i = hs_vmas_above(&maps, va);
	for (hs_huge_nr h = region->first_huge; i < maps.nr && h < region->first_huge + region->nr_huge; h++) {
		va = hs_view_hva(&v->view, h).v;
		if (va >= maps.vma[i].start && va < maps.vma[i].end)
			hs_bit_put(v->no_flush, h, true);
	}
	hs_vmas_finish(&maps);
	return 0;
}

/* By CPU time: a thread that waits for a processor between its page tables holds the lock as well, but not for our
 * sake. */
int hs_host_clear_refs(struct hs_host_view *v, enum hs_clear_refs what, bool *cleared)
{
	static const char *const words[] = { [HS_CLEAR_ANONYMOUS] = "2", [HS_CLEAR_SOFT_DIRTY] = "4" };
	uint64_t start_us, took_us;
	ssize_t n;

	*cleared = false;
	if (hs_monotonic_us() < v->next_clear_us[what])
		return 0;
	if (what == HS_CLEAR_ANONYMOUS) {
		if (!hs_host_bit_budget_allows(&v->bit_budget, hs_monotonic_us()))
			return 0;
		if (v->nr_marked)
			hs_host_bit_budget_spend(&v->bit_budget, v->nr_marked, hs_host_bit_cost_ns());
		v->nr_marked = 0;
	}
	start_us = hs_cpu_thread_us();
	do {
		n = pwrite(v->clear_refs_fd, words[what], 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	took_us = hs_cpu_thread_us() - start_us;
	v->next_clear_us[what] = took_us < HS_CLEAR_SHORT_US ? 0 : hs_monotonic_us() + took_us * (HS_CLEAR_PART - 1);
	*cleared = true;
	return 0;
}

/* 0, also when there is nothing to flush with; -EINVAL: all that there are are locked; -errno. */
static int flush(struct hs_host_view *v)
{
	bool maybe = false, locked = false, flushed = false;
	int rc = prepare(v);

	for (unsigned int tries = 0, nr_locked = 0; tries < HS_FLUSH_TRIES && nr_locked < HS_FLUSH_LOCKED && !rc;) {
		hs_huge_nr huge;

		huge = UINT32_MAX;
		for (int which = SERVES_COLD; which < NR_SERVES && !rc && huge == UINT32_MAX; which++)
			rc = find_page(v, (enum serves)which, &huge);
		if (rc)
			return rc;
		if (huge == UINT32_MAX) {
			size_t words = ((size_t)v->view.nr_huge + 63) / 64;

			for (size_t i = 0; i < words; i++)
				locked |= v->no_flush[i] != 0;
			/* The next ageing tries all of them anew: it may be unlocked by then. */
			memset(v->no_flush, 0, words * sizeof(*v->no_flush));
			if (maybe || (v->flush_optional && !locked))
				return 0;
			if (!v->flush_optional)
				rc = hs_host_flush_base(v, &flushed);
			if (rc || flushed)
				return rc;
			v->unflushed = !v->flush_optional;
			return locked ? -EINVAL : 0;
		}
		v->flush_next = huge + 1;
		rc = flush_by(v, huge);
		if (rc == FLUSH_SURE)
			return 0;
		maybe |= rc == FLUSH_MAYBE;
		if (rc == -EINVAL) {
			locked = true;
			rc = note_locked(v, huge);
			nr_locked++;
			continue;
		}
		tries++;
		rc = rc < 0 ? rc : 0;
	}
	if (rc || maybe)
		return rc;
	return locked ? -EINVAL : -EAGAIN;
}

static int flush_failed(struct hs_host_view *v, int rc, struct hs_error *err)
{
	const char *why = rc == -EINVAL   ? "it is locked, by mlock or QEMU's mem-lock=on: unlock it"
			  : rc == -EAGAIN ? "no huge page could serve just now"
					  : strerror(-rc);

	if (!v->flush_optional)
		return hs_error_set(
		    err, rc == -EINVAL ? -ENOTSUP : rc,
		    "process %d: what its memory's cached translations hide cannot be seen, so that its "
		    "hottest memory would look cold (%s): it is left alone",
		    (int)v->view.pid, why);
	if (!v->flush_reported)
		(void)fprintf(stderr,
			      "hs: process %d: no flush of its own cached translations (%s): what it touches itself, "
			      "beside its virtual machine, may look colder than it is\n",
			      (int)v->view.pid, why);
	v->flush_reported = true;
	v->unflushed = false;
	return 0;
}

int hs_host_age(struct hs_view *view, struct hs_error *err)
{
	struct hs_host_view *v = hs_host_view(view);
	bool cleared;
	int rc;

	/* What is armed is not what the flush works on. Its accessed bits go with the others': nobody goes by them. */
	(void)hs_host_armed_look(v);
	rc = hs_host_clear_refs(v, HS_CLEAR_ANONYMOUS, &cleared);
	v->old = !rc && !cleared;
	/* The bits are those since the last time, and so is what is known of them. */
	if (!rc && !cleared)
		return hs_walk_alive(v->walk, v->mm, NULL) ? hs_host_error(v, -ESRCH, "clear its accessed bits", err)
							   : 0;
	v->nr_flush_doubt = 0;
	v->unflushed = false;
	if (!rc) {
		rc = flush(v);
		if (rc && rc != -ESRCH && !hs_walk_alive(v->walk, v->mm, NULL))
			return flush_failed(v, rc, err);
	}
	/* clear_refs says nothing when the process has no memory left. */
	if (!rc || rc == -ESRCH)
		rc = hs_walk_alive(v->walk, v->mm, NULL) ? -ESRCH : rc;
	return rc ? hs_host_error(v, rc, "clear its accessed bits", err) : 0;
}
