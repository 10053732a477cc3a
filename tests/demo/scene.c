/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 120000

uint64_t scene_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int scene_start(struct scene *s, struct hs_guest_config cfg, uint32_t nr, struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	char names[SCENE_MAX_GUESTS][16];
	int rc;

	memset(s, 0, sizeof(*s));
	if (nr > SCENE_MAX_GUESTS)
		return hs_error_set(err, -EINVAL, "at most %d guests", SCENE_MAX_GUESTS);
	for (uint32_t i = 0; i < nr; i++) {
		struct hs_guest_config one = cfg;

		(void)snprintf(names[i], sizeof(names[i]), "guest-%u", i + 1);
		one.name = names[i];
		one.params.seed = cfg.params.seed + i * 7919;
		rc = hs_guest_start(&s->guests[i], &one, err);
		if (rc)
			goto fail;
		s->nr++;
	}
	for (uint32_t i = 0; i < nr; i++) {
		rc = hs_guest_wait_ready(s->guests[i], READY_TIMEOUT_MS, NULL, err);
		if (!rc)
			rc = hs_view_open_host(&s->views[i], &host, hs_guest_pid(s->guests[i]), NULL, 0, err);
		if (rc)
			goto fail;
	}
	return 0;
fail:
	scene_stop(s);
	return rc;
}

void scene_stop(struct scene *s)
{
	for (uint32_t i = 0; i < s->nr; i++) {
		hs_view_close(s->views[i]);
		hs_guest_stop(s->guests[i]);
	}
	memset(s, 0, sizeof(*s));
}

int scene_speed(struct scene *s, uint32_t ms, struct scene_speed *out, struct hs_error *err)
{
	const struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
	struct hs_guest_stats st;
	int rc;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < s->nr; i++) {
		rc = hs_guest_stats(s->guests[i], &st, err); /* figures are since the last call */
		if (rc)
			return rc;
	}
	(void)nanosleep(&ts, NULL);
	for (uint32_t i = 0; i < s->nr; i++) {
		rc = hs_guest_stats(s->guests[i], &st, err);
		if (rc)
			return rc;
		out->accesses_per_s += st.accesses_per_s;
		if (st.p99_ns > out->p99_ns)
			out->p99_ns = st.p99_ns;
		out->hot_errors += st.hot_errors;
	}
	return 0;
}

static int by_speed(const void *a, const void *b)
{
	const struct scene_speed *x = a, *y = b;

	return (x->accesses_per_s > y->accesses_per_s) - (x->accesses_per_s < y->accesses_per_s);
}

int scene_speeds(struct scene *s, uint32_t nr, uint32_t ms, struct scene_speeds *out, struct hs_error *err)
{
	struct scene_speed *all = calloc(nr, sizeof(*all));
	int rc = all ? 0 : hs_error_set(err, -ENOMEM, "out of memory");

	for (uint32_t i = 0; !rc && i < nr; i++)
		rc = scene_speed(s, ms, &all[i], err);
	if (!rc) {
		qsort(all, nr, sizeof(*all), by_speed);
		out->median = all[nr / 2];
		out->low = all[0].accesses_per_s;
		out->high = all[nr - 1].accesses_per_s;
	}
	free(all);
	return rc;
}

/* The view's number of the huge page at this address. */
static bool huge_of(const struct hs_view *v, hs_hva hva, hs_huge_nr *out)
{
	for (size_t i = 0; i < v->nr_regions; i++) {
		const struct hs_region *r = &v->regions[i];

		if (hva.v >= r->hva.v && hva.v < r->hva.v + r->nr_huge * HS_HUGE_SIZE) {
			*out = r->first_huge + (hs_huge_nr)((hva.v - r->hva.v) >> HS_HUGE_SHIFT);
			return true;
		}
	}
	return false;
}

int scene_mapped(struct scene *s, struct scene_mapped *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < s->nr; i++) {
		const struct hs_guest_layout *l = hs_guest_layout(s->guests[i]);

		for (uint32_t k = 0; k < l->nr_huge; k++) {
			struct hs_huge_sample sample;
			hs_huge_nr h;
			int rc;

			out->total[l->classes[k]]++;
			if (!huge_of(s->views[i], hs_guest_hva(s->guests[i], k), &h))
				return hs_error_set(err, -EFAULT, "%s: huge page %u of its memory is not in view",
						    hs_guest_name(s->guests[i]), k);
			rc = hs_view_sample_huge(s->views[i], h, 1, &sample, err);
			if (rc)
				return rc;
			out->huge[l->classes[k]] += sample.state == HS_MAP_HUGE;
		}
	}
	return 0;
}

/* One base page on a KSM frame. */
struct mapping {
	uint64_t pfn;
	uint32_t kind; /* 0: cold identical, 1: hot, 2: neither */
	uint32_t huge; /* its number in the look */
};

/* What is being looked at: page frames of all guests, and each huge page where somebody asked. */
struct look {
	struct mapping *mappings;
	size_t nr;
	struct scene_huge *huge; /* NULL: nobody did */
	uint32_t nr_huge;        /* so far */
	struct scene_shared *shared;
};

static int by_pfn(const void *a, const void *b)
{
	const struct mapping *x = a, *y = b;

	return (x->pfn > y->pfn) - (x->pfn < y->pfn);
}

static int guest_frames(struct scene *s, uint32_t i, struct look *look, struct hs_error *err)
{
	const struct hs_guest_layout *l = hs_guest_layout(s->guests[i]);
	struct scene_shared *sh = look->shared;
	struct hs_frame frames[HS_BASE_PER_HUGE];

	for (uint32_t k = 0; k < l->nr_huge; k++, look->nr_huge++) {
		struct scene_huge one = { .cls = l->classes[k] };
		struct hs_huge_sample sample;
		hs_huge_nr h;
		int rc;

		if (!huge_of(s->views[i], hs_guest_hva(s->guests[i], k), &h))
			return hs_error_set(err, -EFAULT, "%s: huge page %u of its memory is not in view",
					    hs_guest_name(s->guests[i]), k);
		rc = hs_view_frames(s->views[i], h, frames, err);
		if (!rc)
			rc = hs_view_sample_huge(s->views[i], h, 1, &sample, err);
		if (rc)
			return rc;
		one.whole = sample.state == HS_MAP_HUGE;
		for (uint32_t b = 0; b < HS_BASE_PER_HUGE; b++) {
			const struct hs_guest_page *p = &l->pages[k * HS_BASE_PER_HUGE + b];
			const bool same = p->content == HS_GUEST_IDENTICAL || p->content == HS_GUEST_DUPLICATE;

			if (!p->hot) {
				sh->cold_identical += same;
				sh->cold_zero += p->content == HS_GUEST_ZERO;
				if (p->content == HS_GUEST_ZERO)
					sh->cold_zero_shared += (frames[b].flags & (HS_FRAME_ZERO | HS_FRAME_KSM)) != 0;
			}
			one.zero = (uint16_t)(one.zero + ((frames[b].flags & HS_FRAME_ZERO) != 0));
			if (frames[b].pfn && (frames[b].flags & HS_FRAME_KSM))
				look->mappings[look->nr++] = (struct mapping){
					.pfn = frames[b].pfn,
					.kind = p->hot ? 1
						: same ? 0
						       : 2,
					.huge = look->nr_huge,
				};
			else
				sh->hot_shared += p->hot && (frames[b].flags & HS_FRAME_ZERO);
		}
		sh->zero += one.zero;
		if (look->huge)
			look->huge[look->nr_huge] = one;
	}
	return 0;
}

static int look_at_all(struct scene *s, struct look *look, struct hs_error *err)
{
	struct scene_shared *out = look->shared;
	struct mapping *m;
	size_t total = 0;
	int rc = 0;

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < s->nr; i++)
		total += hs_guest_layout(s->guests[i])->nr_pages;
	m = malloc((total + 1) * sizeof(*m));
	if (!m)
		return hs_error_set(err, -ENOMEM, "out of memory");
	look->mappings = m;
	for (uint32_t i = 0; !rc && i < s->nr; i++)
		rc = guest_frames(s, i, look, err);
	qsort(m, look->nr, sizeof(*m), by_pfn);
	for (size_t i = 0, end; !rc && i < look->nr; i = end) {
		for (end = i; end < look->nr && m[end].pfn == m[i].pfn; end++)
			;
		for (size_t k = i; end - i > 1 && k < end; k++) {
			out->mappings++;
			out->cold_identical_shared += m[k].kind == 0;
			out->hot_shared += m[k].kind == 1;
			if (look->huge)
				look->huge[m[k].huge].shared++;
		}
	}
	free(m);
	return rc;
}

int scene_shared(struct scene *s, struct scene_shared *out, struct hs_error *err)
{
	return look_at_all(s, &(struct look){ .shared = out }, err);
}

int scene_look(struct scene *s, uint32_t nr_huge, struct scene_huge *out, struct scene_shared *shared,
	       struct hs_error *err)
{
	for (uint32_t i = 0; i < s->nr; i++)
		if (hs_guest_layout(s->guests[i])->nr_huge != nr_huge)
			return hs_error_set(err, -EINVAL, "%s has not %u huge pages", hs_guest_name(s->guests[i]),
					    nr_huge);
	return look_at_all(s, &(struct look){ .shared = shared, .huge = out }, err);
}

int scene_memory(struct scene *s, struct hs_guest_memory *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < s->nr; i++) {
		struct hs_guest_memory m;
		int rc = hs_guest_memory(hs_guest_pid(s->guests[i]), &m, err);

		if (rc)
			return rc;
		out->rss_bytes += m.rss_bytes;
		out->pss_bytes += m.pss_bytes;
		out->anonymous_bytes += m.anonymous_bytes;
		out->huge_bytes += m.huge_bytes;
		out->ksm_bytes += m.ksm_bytes;
		out->ksm_merging_pages += m.ksm_merging_pages;
		out->ksm_rmap_items += m.ksm_rmap_items;
		out->ksm_zero_pages += m.ksm_zero_pages;
		out->cpu_ms += m.cpu_ms;
	}
	return 0;
}

int scene_verify(struct scene *s, uint64_t *checked, uint64_t *bad, struct hs_error *err)
{
	int rc = 0;

	*checked = *bad = 0;
	for (uint32_t i = 0; !rc && i < s->nr; i++)
		rc = hs_guest_verify_begin(s->guests[i], err);
	for (uint32_t i = 0; !rc && i < s->nr; i++) {
		struct hs_guest_verified v;

		rc = hs_guest_verify_end(s->guests[i], &v, err);
		if (!rc) {
			*checked += v.checked_pages;
			*bad += v.bad_pages;
		}
	}
	return rc;
}
