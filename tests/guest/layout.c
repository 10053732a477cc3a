/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layout.h"

/* What a content number is made from, so that no two kinds meet. */
enum content_space { SPACE_UNIQUE = 1, SPACE_HOT_IDENTICAL, SPACE_COLD_IDENTICAL, SPACE_DUPLICATE, SPACE_WRITTEN };

#define DUPLICATES_OF_A_KIND 4U

uint64_t hs_guest_mix(uint64_t a, uint64_t b)
{
	uint64_t x = a + b * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x632be59bd9b4e019);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

static uint64_t content_id(enum content_space space, uint64_t seed, uint64_t nr)
{
	uint64_t id = hs_guest_mix(hs_guest_mix(seed, (uint64_t)space), nr);

	return id ? id : 1;
}

void hs_guest_fill_page(uint64_t id, void *page)
{
	uint64_t *w = page;
	uint64_t x = id;

	for (unsigned int i = 0; i < HS_BASE_SIZE / sizeof(*w); i++) {
		w[i] = x;
		x = hs_guest_next(x);
	}
}

uint64_t hs_guest_counter_word(uint64_t id, uint32_t counter)
{
	return (hs_guest_mix(id, counter) & ~UINT64_C(0xffffffff)) | counter;
}

bool hs_guest_page_matches(const struct hs_guest_page *page, const void *bytes, bool any_counter)
{
	const uint64_t *w = bytes;
	const unsigned int last = HS_BASE_SIZE / sizeof(*w) - 1;
	uint64_t x = page->id;
	uint64_t diff = 0;

	for (unsigned int i = 0; i < last; i++) {
		diff |= w[i] ^ x;
		x = hs_guest_next(x); /* of 0 is 0: a zero page needs no case of its own */
	}
	if (page->writable)
		x = hs_guest_counter_word(page->id, any_counter ? (uint32_t)w[last] : page->counter);
	return !(diff | (w[last] ^ x));
}

/* ---- who gets what ---- */

static void shuffle(uint32_t *list, uint32_t nr, uint64_t seed)
{
	uint64_t x = hs_guest_mix(seed, nr) | 1;

	for (uint32_t i = nr; i > 1; i--) {
		uint32_t k;
		uint32_t t;

		x = hs_guest_next(x);
		k = (uint32_t)((x >> 32) % i);
		t = list[i - 1];
		list[i - 1] = list[k];
		list[k] = t;
	}
}

static uint32_t part(uint64_t nr, uint64_t percent)
{
	return (uint32_t)((nr * percent + 50) / 100);
}

/* Classes of the huge pages. */
static int lay_classes(struct hs_guest_layout *l)
{
	const struct hs_guest_params *p = &l->params;
	uint32_t nr_hot = part(l->nr_huge, p->hot_percent);
	uint32_t nr_bloat = part(l->nr_huge, p->bloat_percent);
	uint32_t *order = calloc(l->nr_huge, sizeof(*order));

	if (!order)
		return -ENOMEM;
	if (nr_bloat > l->nr_huge - nr_hot) /* both were rounded up */
		nr_bloat = l->nr_huge - nr_hot;
	for (uint32_t i = 0; i < l->nr_huge; i++)
		order[i] = i;
	if (p->scatter)
		shuffle(order, l->nr_huge, hs_guest_mix(p->common_seed, 100));
	for (uint32_t i = 0; i < l->nr_huge; i++)
		l->classes[order[i]] = i < nr_hot              ? HS_GUEST_HOT
				       : i < nr_hot + nr_bloat ? HS_GUEST_BLOAT
							       : HS_GUEST_COLD;
	free(order);
	for (uint32_t h = 0; h < l->nr_huge; h++)
		if (l->classes[h] == HS_GUEST_COLD)
			l->cold[l->nr_cold++] = h;
	return 0;
}

/* Which base pages are hot: of a bloat page, one at a random place in each of bloat_hot equal stretches. */
static void lay_heat(struct hs_guest_layout *l, uint64_t place_seed)
{
	const uint32_t k = (uint32_t)l->params.bloat_hot;

	for (uint32_t h = 0; h < l->nr_huge; h++) {
		struct hs_guest_page *pages = &l->pages[h * HS_BASE_PER_HUGE];

		if (l->classes[h] == HS_GUEST_HOT) {
			for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
				pages[i].hot = true;
		} else if (l->classes[h] == HS_GUEST_BLOAT) {
			for (uint32_t j = 0; j < k; j++) {
				uint32_t start = j * HS_BASE_PER_HUGE / k;
				uint32_t end = (j + 1) * HS_BASE_PER_HUGE / k;
				uint64_t r = hs_guest_mix(hs_guest_mix(place_seed, h), j);

				pages[start + (uint32_t)(r % (end - start))].hot = true;
			}
		}
	}
}

/* Contents of one heat: the first of a shuffled list are identical, and number k of them is page k of the pool. */
static void lay_contents(struct hs_guest_layout *l, uint32_t *list, bool hot, uint64_t place_seed)
{
	const struct hs_guest_params *p = &l->params;
	uint32_t nr = 0;
	uint32_t identical, zero, dup;

	for (uint32_t i = 0; i < l->nr_pages; i++)
		if (l->pages[i].hot == hot)
			list[nr++] = i;
	shuffle(list, nr, hs_guest_mix(place_seed, 200 + hot));
	identical = part(nr, hot ? p->hot_identical_percent : p->cold_identical_percent);
	zero = identical + (hot ? 0 : part(nr, p->cold_zero_percent));
	dup = zero + (hot ? 0 : part(nr, p->cold_dup_percent) / DUPLICATES_OF_A_KIND * DUPLICATES_OF_A_KIND);
	for (uint32_t i = 0; i < nr; i++) {
		struct hs_guest_page *page = &l->pages[list[i]];

		if (i < identical) {
			page->content = HS_GUEST_IDENTICAL;
			page->id = content_id(hot ? SPACE_HOT_IDENTICAL : SPACE_COLD_IDENTICAL, p->common_seed, i);
		} else if (i < zero) {
			page->content = HS_GUEST_ZERO;
			page->id = 0;
		} else if (i < dup) {
			page->content = HS_GUEST_DUPLICATE;
			page->id = content_id(SPACE_DUPLICATE, hs_guest_mix(p->common_seed, p->seed),
					      (i - zero) / DUPLICATES_OF_A_KIND);
		} else {
			page->content = HS_GUEST_UNIQUE;
			page->id = content_id(SPACE_UNIQUE, hs_guest_mix(p->common_seed, p->seed), list[i]);
			page->writable = hot;
		}
	}
}

int hs_guest_layout_init(struct hs_guest_layout *l, const struct hs_guest_params *p, struct hs_error *err)
{
	uint64_t place_seed = p->shuffle ? hs_guest_mix(p->common_seed, p->seed) : p->common_seed;
	uint32_t *list = NULL;
	int ret;

	*l = (struct hs_guest_layout){ .params = *p };
	ret = hs_guest_params_check(p, err);
	if (ret)
		return ret;
	l->nr_huge = (uint32_t)p->nr_huge;
	l->nr_pages = l->nr_huge * HS_BASE_PER_HUGE;
	l->classes = calloc(l->nr_huge, sizeof(*l->classes));
	l->cold = calloc(l->nr_huge, sizeof(*l->cold));
	l->pages = calloc(l->nr_pages, sizeof(*l->pages));
	list = calloc(l->nr_pages, sizeof(*list));
	if (!l->classes || !l->cold || !l->pages || !list || lay_classes(l)) {
		ret = hs_error_set(err, -ENOMEM, "no memory for the tables of a guest of %u huge pages", l->nr_huge);
		goto out;
	}
	lay_heat(l, place_seed);
	lay_contents(l, list, true, place_seed);
	lay_contents(l, list, false, place_seed);
out:
	free(list);
	if (ret)
		hs_guest_layout_finish(l);
	return ret;
}

void hs_guest_layout_finish(struct hs_guest_layout *l)
{
	if (!l)
		return;
	free(l->classes);
	free(l->cold);
	free(l->pages);
	*l = (struct hs_guest_layout){ 0 };
}

void hs_guest_layout_count(const struct hs_guest_layout *l, struct hs_guest_counts *out)
{
	*out = (struct hs_guest_counts){ 0 };
	for (uint32_t h = 0; h < l->nr_huge; h++)
		out->nr_class[l->classes[h]]++;
	for (uint32_t i = 0; i < l->nr_pages; i++) {
		const struct hs_guest_page *page = &l->pages[i];

		if (page->hot) {
			out->nr_hot++;
			out->nr_hot_identical += page->content == HS_GUEST_IDENTICAL;
			continue;
		}
		out->nr_cold++;
		out->nr_cold_identical += page->content == HS_GUEST_IDENTICAL;
		out->nr_cold_duplicate += page->content == HS_GUEST_DUPLICATE;
		out->nr_cold_zero += page->content == HS_GUEST_ZERO;
		out->nr_cold_unique += page->content == HS_GUEST_UNIQUE || page->content == HS_GUEST_WRITTEN;
	}
}

/* ---- changes on command ---- */

uint32_t hs_guest_layout_write(struct hs_guest_layout *l, uint32_t nr, uint64_t seed, uint32_t *out)
{
	uint64_t own = hs_guest_mix(hs_guest_mix(l->params.common_seed, l->params.seed), seed);
	uint32_t start = (uint32_t)(hs_guest_mix(l->params.common_seed, seed) % l->nr_pages);
	uint32_t done = 0;

	/* A stride that has no factor in common with the number of pages: 521 is prime, and odd steps visit all. */
	for (uint32_t i = 0; i < l->nr_pages && done < nr; i++) {
		uint32_t nr_page = (uint32_t)((start + (uint64_t)i * (l->nr_huge % 521 ? 521 : 523)) % l->nr_pages);
		struct hs_guest_page *page = &l->pages[nr_page];

		if (page->hot || page->content != HS_GUEST_IDENTICAL)
			continue;
		page->content = HS_GUEST_WRITTEN;
		page->id = content_id(SPACE_WRITTEN, own, nr_page);
		if (out)
			out[done] = nr_page;
		done++;
	}
	return done;
}

uint32_t hs_guest_layout_heat(struct hs_guest_layout *l, uint32_t nr)
{
	uint32_t done = 0;

	for (; done < nr && l->nr_heated < l->nr_cold; done++) {
		struct hs_guest_page *pages = &l->pages[l->cold[l->nr_heated++] * HS_BASE_PER_HUGE];

		for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
			pages[i].hot = true;
	}
	return done;
}

void hs_guest_layout_cool(struct hs_guest_layout *l)
{
	while (l->nr_heated > 0) {
		struct hs_guest_page *pages = &l->pages[l->cold[--l->nr_heated] * HS_BASE_PER_HUGE];

		for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
			pages[i].hot = false;
	}
}
