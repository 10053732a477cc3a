/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "worker.h"

#define MADV_COLLAPSE_1 25 /* MADV_COLLAPSE, which older headers lack */

/* ---- memory ---- */

static void fill_page(const struct hs_work *w, uint32_t nr)
{
	const struct hs_guest_page *page = &w->layout.pages[nr];
	uint64_t *bytes = hs_work_page(w, nr);

	if (page->id)
		hs_guest_fill_page(page->id, bytes);
	else
		memset(bytes, 0, HS_BASE_SIZE);
	if (page->writable)
		bytes[WORDS - 1] = hs_guest_counter_word(page->id, 0);
}

static int map_and_fill(struct hs_work *w, struct hs_error *err)
{
	size_t size = (size_t)w->layout.nr_huge * HS_HUGE_SIZE;
	char *p = mmap(NULL, size + HS_HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t start = hs_work_now_ns();

	if (p == MAP_FAILED)
		return hs_error_set(err, -errno, "no %zu bytes of address space", size);
	p = (char *)(((uintptr_t)p + HS_HUGE_SIZE - 1) & ~(uintptr_t)(HS_HUGE_SIZE - 1));
	if (mprotect(p, size, PROT_READ | PROT_WRITE))
		return hs_error_set(err, -errno, "cannot map %zu bytes: %s", size, strerror(errno));
	if (madvise(p, size, MADV_HUGEPAGE))
		return hs_error_set(err, -errno, "this kernel has no transparent huge pages");
	w->base = (uint64_t *)(void *)p;
	for (uint32_t i = 0; i < w->layout.nr_pages; i++)
		fill_page(w, i);
	/* Where the kernel had no huge page at hand, it makes one now; where it cannot, the caller sees it. */
	(void)madvise(p, size, MADV_COLLAPSE_1);
	w->fill_ns = hs_work_now_ns() - start;
	return 0;
}

/* The list of hot pages, heated ones last and in the order of heating, so that the others keep their places. */
static void list_hot(struct hs_work *w)
{
	const struct hs_guest_layout *l = &w->layout;

	if (!w->nr_hot_at_start) {
		for (uint32_t i = 0; i < l->nr_pages; i++)
			if (l->pages[i].hot)
				w->hot[w->nr_hot_at_start++] = i | (l->pages[i].writable ? ENTRY_WRITABLE : 0);
	}
	w->nr_hot = w->nr_hot_at_start;
	for (uint32_t k = 0; k < l->nr_heated; k++)
		for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
			w->hot[w->nr_hot++] = l->cold[k] * HS_BASE_PER_HUGE + i;
}

int hs_work_create(struct hs_work **out, const struct hs_guest_params *p, struct hs_error *err)
{
	struct hs_work *w = calloc(1, sizeof(*w));
	int ret;

	if (!w)
		return hs_error_set(err, -ENOMEM, "no memory");
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->changed, NULL);
	ret = hs_guest_layout_init(&w->layout, p, err);
	if (ret) {
		free(w);
		return ret;
	}
	w->hot = calloc(w->layout.nr_pages, sizeof(*w->hot));
	w->workers = aligned_alloc(128, p->threads * sizeof(*w->workers));
	if (!w->hot || !w->workers) {
		ret = hs_error_set(err, -ENOMEM, "no memory for the lists");
		goto out;
	}
	memset(w->workers, 0, p->threads * sizeof(*w->workers));
	w->nr_workers = (uint32_t)p->threads;
	ret = map_and_fill(w, err);
	if (ret)
		goto out;
	list_hot(w);
	*out = w;
	return 0;
out:
	hs_guest_layout_finish(&w->layout);
	free(w->hot);
	free(w->workers);
	free(w);
	return ret;
}

int hs_work_start(struct hs_work *w, struct hs_error *err)
{
	w->running_since_ns = hs_work_now_ns();
	for (uint32_t i = 0; i < w->nr_workers; i++) {
		int ret;

		w->workers[i].work = w;
		w->workers[i].nr = i;
		ret = pthread_create(&w->workers[i].thread, NULL, hs_work_loop, &w->workers[i]);
		if (ret)
			return hs_error_set(err, -ret, "cannot start thread %u: %s", i, strerror(ret));
	}
	return 0;
}

void hs_work_pause(struct hs_work *w)
{
	(void)pthread_mutex_lock(&w->lock);
	__atomic_store_n(&w->pause, 1, __ATOMIC_RELEASE);
	while (w->nr_parked < w->nr_workers)
		(void)pthread_cond_wait(&w->changed, &w->lock);
	(void)pthread_mutex_unlock(&w->lock);
	if (w->running_since_ns)
		w->ran_ns += hs_work_now_ns() - w->running_since_ns;
	w->running_since_ns = 0;
}

void hs_work_resume(struct hs_work *w)
{
	(void)pthread_mutex_lock(&w->lock);
	__atomic_store_n(&w->pause, 0, __ATOMIC_RELEASE);
	(void)pthread_cond_broadcast(&w->changed);
	(void)pthread_mutex_unlock(&w->lock);
	if (!w->running_since_ns)
		w->running_since_ns = hs_work_now_ns();
}

/* ---- what the commands do ---- */

void hs_work_stats(struct hs_work *w, struct hs_work_stats *out)
{
	static struct hs_latency now; /* large; there is one commanding thread */
	uint64_t t = hs_work_now_ns();

	*out = (struct hs_work_stats){ 0 };
	memset(&now, 0, sizeof(now));
	for (uint32_t i = 0; i < w->nr_workers; i++) {
		struct worker *k = &w->workers[i];
		uint64_t ns;

		out->accesses += __atomic_load_n(&k->accesses, __ATOMIC_RELAXED);
		out->writes += __atomic_load_n(&k->writes, __ATOMIC_RELAXED);
		out->hot_errors += __atomic_load_n(&k->errors, __ATOMIC_RELAXED);
		ns = __atomic_exchange_n(&k->max_ns, 0, __ATOMIC_RELAXED);
		out->max_ns = ns > out->max_ns ? ns : out->max_ns;
		ns = __atomic_exchange_n(&k->sweep_max_ns, 0, __ATOMIC_RELAXED);
		out->sweep_ns = ns > out->sweep_ns ? ns : out->sweep_ns;
		for (uint64_t b = 0; b < HS_LATENCY_BUCKETS; b++)
			now.buckets[b] += __atomic_load_n(&k->latency.buckets[b], __ATOMIC_RELAXED);
	}
	if (w->running_since_ns) {
		w->ran_ns += t - w->running_since_ns;
		w->running_since_ns = t;
	}
	out->elapsed_ns = w->ran_ns;
	w->ran_ns = 0;
	out->accesses -= w->told_accesses;
	out->writes -= w->told_writes;
	w->told_accesses += out->accesses;
	w->told_writes += out->writes;
	for (uint64_t b = 0; b < HS_LATENCY_BUCKETS; b++) {
		uint64_t all = now.buckets[b];

		now.buckets[b] -= w->reported.buckets[b];
		w->reported.buckets[b] = all;
		out->batches += now.buckets[b];
	}
	out->p50_ns = hs_latency_at(&now, out->batches, 500);
	out->p99_ns = hs_latency_at(&now, out->batches, 990);
	out->p999_ns = hs_latency_at(&now, out->batches, 999);
}

static bool pause_for_command(struct hs_work *w)
{
	bool was_running = w->running_since_ns != 0;

	hs_work_pause(w);
	return was_running;
}

void hs_work_verify(struct hs_work *w, struct hs_work_verified *out)
{
	bool was_running = pause_for_command(w);

	*out = (struct hs_work_verified){ .first_bad = UINT64_MAX };
	for (uint32_t i = 0; i < w->layout.nr_pages; i++) {
		out->checked_pages++;
		if (hs_guest_page_matches(&w->layout.pages[i], hs_work_page(w, i), false))
			continue;
		if (!out->bad_pages++)
			out->first_bad = i;
	}
	if (was_running)
		hs_work_resume(w);
}

uint32_t hs_work_write(struct hs_work *w, uint32_t nr, uint64_t seed)
{
	uint32_t *list = calloc(w->layout.nr_pages, sizeof(*list));
	uint32_t done;

	if (!list)
		return 0;
	done = hs_guest_layout_write(&w->layout, nr, seed, list);
	for (uint32_t i = 0; i < done; i++)
		fill_page(w, list[i]);
	free(list);
	return done;
}

uint32_t hs_work_heat(struct hs_work *w, uint32_t nr)
{
	bool was_running = pause_for_command(w);
	uint32_t done = hs_guest_layout_heat(&w->layout, nr);

	list_hot(w);
	if (was_running)
		hs_work_resume(w);
	return done;
}

void hs_work_cool(struct hs_work *w)
{
	bool was_running = pause_for_command(w);

	hs_guest_layout_cool(&w->layout);
	list_hot(w);
	if (was_running)
		hs_work_resume(w);
}

const struct hs_guest_layout *hs_work_layout(const struct hs_work *w)
{
	return &w->layout;
}

void *hs_work_base(const struct hs_work *w)
{
	return w->base;
}

uint64_t hs_work_fill_ns(const struct hs_work *w)
{
	return w->fill_ns;
}
