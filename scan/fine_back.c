/* SPDX-License-Identifier: Apache-2.0 */
/* The way back to huge mappings: the look before it, and the list of what has to be tried again. */
#include "fine_internal.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Why look first: between the split and now khugepaged may have collapsed the page (nothing to do), or the guest may
 * have given part of it back (a collapse would fill the hole with new memory, on the guest's behalf; without us the
 * huge mapping would have been split by that as well). What changes between this look and the collapse is harmless: the
 * kernel checks everything again under its own locks, and a hole that opens right then costs one huge page at most.
 *
 * What can never come back is not kept as a pending restore: its memory is no guest memory any more, or the VMM will
 * not have it huge.
 */
int hs_fine_bring_back(struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *scratch,
		       int *errors, enum fine_back *out)
{
	int rc;

	for (size_t i = 0; i < nr; i++)
		out[i] = FINE_BACK_FAILED;
	if (!nr)
		return 0;
	rc = hs_view_sample_base(v, huge, nr, scratch, NULL);
	if (rc)
		return rc == -ESRCH ? rc : 0; /* a look that failed says nothing: they are tried again later */
	for (size_t i = 0; i < nr; i++) {
		if (scratch[i].state == HS_MAP_HUGE)
			out[i] = FINE_BACK_HUGE;
		else if (scratch[i].state == HS_MAP_PARTIAL || scratch[i].state == HS_MAP_ABSENT ||
			 hs_bits_any(&scratch[i].empty))
			out[i] = FINE_BACK_PARTIAL; /* holes are known also where accesses are not */
	}
	/* Batches are runs of what is to be restored: in the common case, all of it. */
	for (size_t from = 0, to; from < nr; from = to) {
		for (to = from; to < nr && out[to] == FINE_BACK_FAILED; to++)
			;
		if (to == from) {
			to++;
			continue;
		}
		rc = hs_view_restore(v, huge + from, to - from, errors + from, NULL);
		if (rc == -ESRCH)
			return rc;
		for (size_t i = from; !rc && i < to; i++)
			if (!errors[i])
				out[i] = FINE_BACK_HUGE;
			else if (errors[i] == -ENOENT || errors[i] == -EINVAL)
				out[i] = FINE_BACK_PARTIAL;
	}
	return 0;
}

int hs_fine_reserve_pending(struct hs_fine *f, size_t nr)
{
	struct fine_pending *pending;

	if (nr <= f->room_pending - f->nr_pending)
		return 0;
	pending = reallocarray(f->pending, f->nr_pending + nr, sizeof(*pending));
	if (!pending)
		return -ENOMEM;
	f->pending = pending;
	f->room_pending = f->nr_pending + nr;
	return 0;
}

void hs_fine_add_pending(struct hs_fine *f, const struct hs_view *v, hs_huge_nr huge)
{
	hs_fine_keep(f, v, huge);
	f->pending[f->nr_pending++] = (struct fine_pending){ .view = v, .huge = huge };
}

void hs_fine_keep(struct hs_fine *f, const struct hs_view *v, hs_huge_nr huge)
{
	for (size_t i = 0; i < f->nr_pending; i++)
		if (f->pending[i].view == v && f->pending[i].huge == huge)
			f->pending[i--] = f->pending[--f->nr_pending];
}

void hs_fine_forget(struct hs_fine *f, const struct hs_view *v)
{
	for (size_t i = 0; i < f->nr_pending; i++)
		if (f->pending[i].view == v)
			f->pending[i--] = f->pending[--f->nr_pending];
	hs_fine_forget_age(f, v);
}

size_t hs_fine_pending(const struct hs_fine *f, const struct hs_view *v, hs_huge_nr *out, size_t max)
{
	size_t nr = 0;

	for (size_t i = 0; i < f->nr_pending; i++) {
		if (f->pending[i].view != v)
			continue;
		if (nr < max)
			out[nr] = f->pending[i].huge;
		nr++;
	}
	return nr;
}

int hs_fine_retry(struct hs_fine *f, struct hs_view *v, size_t *left, struct hs_error *err)
{
	struct hs_base_sample *scratch;
	enum fine_back *outcome;
	hs_huge_nr *huge;
	int *errors;
	size_t nr = 0;
	int rc = 0;

	*left = 0;
	for (size_t i = 0; i < f->nr_pending; i++)
		nr += f->pending[i].view == v;
	if (!nr)
		return 0;
	*left = nr;
	scratch = calloc(nr, sizeof(*scratch));
	outcome = calloc(nr, sizeof(*outcome));
	huge = calloc(nr, sizeof(*huge));
	errors = calloc(nr, sizeof(*errors));
	if (!scratch || !outcome || !huge || !errors) {
		rc = hs_error_set(err, -ENOMEM, "no memory to bring %zu mappings back; they stay on the list", nr);
		goto out;
	}
	nr = 0;
	for (size_t i = 0; i < f->nr_pending; i++)
		if (f->pending[i].view == v)
			huge[nr++] = f->pending[i].huge;
	rc = hs_fine_bring_back(v, huge, nr, scratch, errors, outcome);
	if (rc) {
		hs_fine_forget(f, v);
		*left = 0;
		(void)hs_error_set(err, rc, "the guest is gone, and its %zu split mappings with it", nr);
		goto out;
	}
	for (size_t i = 0; i < nr; i++) {
		if (outcome[i] == FINE_BACK_FAILED)
			continue;
		hs_fine_keep(f, v, huge[i]);
		f->stats.nr_restored += outcome[i] == FINE_BACK_HUGE;
		(*left)--;
	}
out:
	free(scratch);
	free(outcome);
	free(huge);
	free(errors);
	return rc;
}

int hs_fine_give_back(struct hs_fine *f, struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_error *err)
{
	size_t left;

	if (hs_fine_reserve_pending(f, nr))
		return hs_error_set(err, -ENOMEM, "no memory to bring %zu mappings back", nr);
	for (size_t i = 0; i < nr; i++)
		hs_fine_add_pending(f, v, huge[i]);
	return hs_fine_retry(f, v, &left, err);
}
