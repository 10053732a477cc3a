/*
 * What ageing takes of a window's time.
 *
 * Each sample begins with an ageing of every guest in the window, of all of its memory: a guest whose memory is split
 * for the most part takes 20 us for each huge page of that (docs/benchmarks.md), more than a window has for guests of
 * some tens of GiB. A window that ends before its samples are complete learns nothing and has cost splits for it. So
 * what an ageing takes is remembered for each view, and nothing of a guest is split that would not be done in time.
 */
#include "fine_internal.h"

#include <stdlib.h>

static struct fine_ageing *find(const struct hs_fine *f, const struct hs_view *v)
{
	struct fine_ageing *a;

	HASH_FIND_PTR(f->ageings, &v, a);
	return a;
}

uint64_t hs_fine_age_us(const struct hs_fine *f, const struct hs_view *v)
{
	const struct fine_ageing *a = find(f, v);

	return a ? a->us : 0;
}

void hs_fine_learn_age(struct hs_fine *f, const struct hs_view *v, uint64_t us)
{
	struct fine_ageing *a = find(f, v);

	if (a) {
		a->us = (3 * a->us + us) / 4;
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return; /* nothing is known of it then, as before its first ageing */
	*a = (struct fine_ageing){ .view = v, .us = us };
	HASH_ADD_PTR(f->ageings, view, a);
	if (!a->hh.tbl)
		free(a);
}

static void forget(struct hs_fine *f, struct fine_ageing *a)
{
	HASH_DEL(f->ageings, a);
	free(a);
}

void hs_fine_forget_age(struct hs_fine *f, const struct hs_view *v)
{
	struct fine_ageing *a = find(f, v);

	if (a)
		forget(f, a);
}

void hs_fine_forget_ages(struct hs_fine *f)
{
	while (f->ageings)
		forget(f, f->ageings);
}

static void fade(uint64_t *us)
{
	*us -= *us ? *us / 8 + 1 : 0;
}

void hs_fine_no_time(struct hs_fine *f, const struct hs_view *v)
{
	struct fine_ageing *a = find(f, v);

	if (!a || a->us <= f->restore_us)
		fade(&f->restore_us);
	else if (!a->measured)
		fade(&a->us);
	else
		a->measured = false;
}

void hs_fine_took_to_age(struct hs_fine *f, const struct hs_view *v, uint64_t us)
{
	struct fine_ageing *a;

	if (hs_view_splits_nested(v))
		return;
	hs_fine_learn_age(f, v, us);
	a = find(f, v);
	if (a)
		a->measured = true;
}
