/*
 * Loads the page-table walk (host_walk.bpf.c) and runs it.
 *
 * The order of steps, and why the answer can be trusted as far as it goes:
 *  1. The program is loaded once for the process. Loading takes tens of milliseconds, a run about a microsecond.
 *  2. Where physical memory is mapped is found by trial on ourselves (host_base.c): a random page of ours has to come
 *     back through the very same walk that later reads guests. So layouts that we do not understand are refused here,
 *     before any guest has been looked at.
 *  3. A guest's address space is taken from an open file of its /proc folder, which pins it: it can become empty, but
 *     its memory cannot be used for something else while the file is open.
 *
 * `lock` guards everything in struct hs_walk, and the pointer `the_walk` with its count.
 */
#include "host_walk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "host_walk.skel.h"

#include "base/bpf_load.h"
#include "base/host_facts.h"
#include "x86_entry.h"

struct hs_walk {
	struct host_walk_bpf *skel;
	uint64_t *pages; /* the result map, HS_WALK_MAX_REQS pages, mapped read-only */
	int run_fd;
	int find_fd;
	struct hs_base base;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hs_walk *the_walk;
static unsigned int nr_refs;

#define RESULT_BYTES ((size_t)HS_WALK_MAX_REQS * HS_WALK_PAGE)

/* ---- runs, with the lock held ---- */

/* top NULL: the process's own tables. */
static int run_batch(struct hs_walk *w, uint64_t mm, const struct hs_base *base, const struct hs_walk_top *top,
		     size_t nr)
{
	struct hs_walk_run *run = &w->skel->bss->run;
	int rc;

	run->mm = mm;
	run->base = base->base;
	run->phys_mask = base->phys_mask;
	run->top = top ? top->table : 0;
	run->levels = top ? top->levels : base->levels;
	run->present = top ? top->present : HS_X86_PRESENT;
	run->nr = (uint32_t)nr;
	run->users_before = 0;
	run->users_after = 0;
	rc = hs_bpf_run(w->run_fd);
	if (rc)
		return rc;
	return run->users_before > 0 && run->users_after > 0 ? 0 : -ESRCH;
}

/* ---- the direct map ---- */

struct known_page {
	struct hs_walk *w;
	uint8_t *bytes; /* HS_WALK_PAGE random bytes */
};

static bool try_guess(void *ctx, const struct hs_base *guess)
{
	const struct known_page *known = ctx;
	struct hs_walk_req *req = &known->w->skel->bss->reqs[0];

	*req = (struct hs_walk_req){ .va = (uint64_t)(uintptr_t)known->bytes, .kind = HS_WALK_DATA };
	return !run_batch(known->w, 0, guess, NULL, 1) && req->status == HS_WALK_COPIED &&
	       !memcmp(known->w->pages, known->bytes, HS_WALK_PAGE);
}

static int find_base(struct hs_walk *w, const struct hs_host *host, struct hs_error *err)
{
	char *cpuinfo = hs_facts_cpuinfo(host->proc_dir);
	struct known_page known = { .w = w };
	struct hs_base_search search = { .try_guess = try_guess, .ctx = &known };
	int rc;

	if (!cpuinfo)
		return hs_error_set(err, -ENOMEM, "no memory to read %s/cpuinfo", host->proc_dir);
	search.phys_bits = hs_facts_phys_bits(cpuinfo);
	search.likely_levels = hs_facts_has_flag(cpuinfo, "la57") ? 5 : 4;
	free(cpuinfo);
	if (!search.phys_bits)
		return hs_error_set(err, -ENOTSUP,
				    "%s/cpuinfo does not say how long a physical address is ('address sizes')",
				    host->proc_dir);

	known.bytes =
	    mmap(NULL, HS_WALK_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (known.bytes == MAP_FAILED)
		return hs_error_set(err, -ENOMEM, "no memory for a page");
	/* Twice: the kernel may move our page just while we look for it. */
	for (int attempt = 0; attempt < 2; attempt++) {
		if (getrandom(known.bytes, 256, 0) != 256)
			known.bytes[0] = (uint8_t)(attempt + 1);
		for (size_t i = 256; i < HS_WALK_PAGE; i++)
			known.bytes[i] = (uint8_t)(known.bytes[i - 256] * 5 + i);
		rc = run_batch(w, 0, &w->base, NULL, 0);
		if (!rc)
			search.pgd = w->skel->bss->run.pgd;
		if (!rc)
			rc = hs_base_find(&search, &w->base);
		if (!rc)
			break;
	}
	munmap(known.bytes, HS_WALK_PAGE);
	if (rc)
		return hs_error_set(
		    err, -ENOTSUP,
		    "cannot find where this kernel maps physical memory, tried on a page of our own (%s): "
		    "its page tables are laid out in a way that is not known here",
		    strerror(-rc));
	return 0;
}

/* ---- life ---- */

static void unload(struct hs_walk *w)
{
	if (!w)
		return;
	if (w->pages)
		munmap(w->pages, RESULT_BYTES);
	host_walk_bpf__destroy(w->skel);
	free(w);
}

static int load(struct hs_walk **out, const struct hs_host *host, struct hs_error *err)
{
	struct hs_walk *w;
	void *pages;
	int rc = 0;

#ifndef __x86_64__
	return hs_error_set(err, -ENOTSUP, "page tables are only understood on x86-64");
#endif
	w = calloc(1, sizeof(*w));
	if (!w)
		return hs_error_set(err, -ENOMEM, "no memory to load the BPF program that reads page tables");
	hs_bpf_load_begin();
	w->skel = host_walk_bpf__open();
	if (!w->skel)
		rc = -errno;
	else
		rc = host_walk_bpf__load(w->skel);
	rc = hs_bpf_load_end(rc, "reads page tables", err);
	if (rc)
		goto fail;
	w->run_fd = bpf_program__fd(w->skel->progs.hs_walk_tables);
	w->find_fd = bpf_program__fd(w->skel->progs.hs_walk_find_mm);
	pages = mmap(NULL, RESULT_BYTES, PROT_READ, MAP_SHARED, bpf_map__fd(w->skel->maps.pages), 0);
	if (pages == MAP_FAILED) {
		rc = hs_error_set(err, -errno, "cannot map the BPF program's results: %s", strerror(errno));
		goto fail;
	}
	w->pages = pages;
	rc = find_base(w, host, err);
	if (rc)
		goto fail;
	*out = w;
	return 0;
fail:
	unload(w);
	return rc;
}

int hs_walk_get(struct hs_walk **out, const struct hs_host *host, struct hs_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (!the_walk)
		rc = load(&the_walk, host, err);
	if (!rc) {
		nr_refs++;
		*out = the_walk;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

void hs_walk_put(struct hs_walk *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&lock);
	if (!--nr_refs) {
		unload(the_walk);
		the_walk = NULL;
	}
	pthread_mutex_unlock(&lock);
}

const struct hs_base *hs_walk_base(const struct hs_walk *w)
{
	return &w->base;
}

/* ---- use ---- */

int hs_walk_find_mm(struct hs_walk *w, int pagemap_fd, int mem_fd, uint64_t *mm, struct hs_error *err)
{
	struct hs_walk_find *find = &w->skel->bss->find;
	const int fds[] = { pagemap_fd, mem_fd };
	uint64_t found[2] = { 0, 0 }, pgd = 0;
	int rc = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < 2 && !rc; i++) {
		find->fd = (uint32_t)fds[i];
		rc = hs_bpf_run(w->find_fd);
		found[i] = find->mm;
		pgd = find->pgd;
	}
	pthread_mutex_unlock(&lock);
	if (rc)
		return hs_error_set(err, rc, "cannot run the BPF program that finds a guest's address space: %s",
				    strerror(-rc));
	/* A kernel thread has no address space, nor has a process that has ended. */
	if (!found[0] && !found[1])
		return -ESRCH;
	/* A top page table lies on a page border of the direct map. */
	if (!found[0] || found[0] != found[1] || (pgd & (HS_BASE_SIZE - 1)) || pgd < w->base.base ||
	    pgd - w->base.base > w->base.phys_mask)
		return hs_error_set(err, -ENOTSUP,
				    "this kernel does not keep a process's address space where /proc/PID/pagemap and "
				    "/proc/PID/mem had it up to Linux 6.18");
	*mm = found[0];
	return 0;
}

int hs_walk_run(struct hs_walk *w, uint64_t mm, const struct hs_walk_req *reqs, size_t nr, hs_walk_fn fn, void *ctx)
{
	return hs_walk_run_from(w, &(struct hs_walk_top){ .mm = mm }, reqs, nr, fn, ctx);
}

int hs_walk_run_from(struct hs_walk *w, const struct hs_walk_top *top, const struct hs_walk_req *reqs, size_t nr,
		     hs_walk_fn fn, void *ctx)
{
	struct hs_walk_req *slots = w->skel->bss->reqs;
	int rc = 0;

	pthread_mutex_lock(&lock);
	for (size_t done = 0; done < nr && !rc;) {
		size_t part = nr - done < HS_WALK_MAX_REQS ? nr - done : HS_WALK_MAX_REQS;

		memcpy(slots, reqs + done, part * sizeof(*slots));
		rc = run_batch(w, top->mm, &w->base, top->table ? top : NULL, part);
		for (size_t i = 0; i < part && !rc; i++)
			fn(ctx, done + i, &slots[i], w->pages + i * HS_BASE_PER_HUGE);
		done += part;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

int hs_walk_alive(struct hs_walk *w, uint64_t mm, int *nr_vmas)
{
	int rc;

	pthread_mutex_lock(&lock);
	rc = run_batch(w, mm, &w->base, NULL, 0);
	if (nr_vmas)
		*nr_vmas = w->skel->bss->run.map_count;
	pthread_mutex_unlock(&lock);
	return rc;
}

int hs_walk_users(struct hs_walk *w, uint64_t mm)
{
	int nr;

	pthread_mutex_lock(&lock);
	nr = run_batch(w, mm, &w->base, NULL, 0) ? 0 : w->skel->bss->run.users_after;
	pthread_mutex_unlock(&lock);
	return nr;
}
