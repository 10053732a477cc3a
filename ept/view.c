/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dispatchers: what every view's callers may rely on is checked here once. Results are cleared before an
 * implementation fills them, so that after an error they say unknown, and numbers out of range never reach it.
 */
#include "hs/view.h"

#include <errno.h>
#include <string.h>

static int check_numbers(const struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_error *err)
{
	for (size_t i = 0; i < nr; i++)
		if (huge[i] >= v->nr_huge)
			return hs_error_set(err, -EINVAL, "there is no huge page %u: the guest has %u", huge[i],
					    v->nr_huge);
	return 0;
}

void hs_view_close(struct hs_view *v)
{
	if (v)
		v->ops->close(v);
}

const char *hs_view_name(const struct hs_view *v)
{
	return v->ops->name;
}

bool hs_view_splits_nested(const struct hs_view *v)
{
	return v->ops->splits_nested;
}

bool hs_view_can_reopen(const struct hs_view *v)
{
	return v->ops->reopen != NULL;
}

int hs_view_reopen(struct hs_view *v, struct hs_view **out, struct hs_error *err)
{
	*out = NULL;
	if (!v->ops->reopen)
		return hs_error_set(err, -ENOTSUP, "a view over %s is opened anew by its process", v->ops->name);
	return v->ops->reopen(v, out, err);
}

int hs_view_refresh(struct hs_view *v, struct hs_error *err)
{
	return v->ops->refresh(v, err);
}

int hs_view_age(struct hs_view *v, struct hs_error *err)
{
	return v->ops->age(v, err);
}

int hs_view_sample_huge(struct hs_view *v, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			struct hs_error *err)
{
	memset(out, 0, nr * sizeof(*out));
	if (first > v->nr_huge || nr > v->nr_huge - first)
		return hs_error_set(err, -EINVAL, "there are no huge pages %u to %llu: the guest has %u", first,
				    (unsigned long long)first + nr, v->nr_huge);
	return nr ? v->ops->sample_huge(v, first, nr, out, err) : 0;
}

int hs_view_sample_base(struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			struct hs_error *err)
{
	int rc = check_numbers(v, huge, nr, err);

	memset(out, 0, nr * sizeof(*out));
	if (rc || !nr)
		return rc;
	return v->ops->sample_base(v, huge, nr, out, err);
}

int hs_view_frames(struct hs_view *v, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	int rc = check_numbers(v, &huge, 1, err);

	memset(out, 0, HS_BASE_PER_HUGE * sizeof(*out));
	return rc ? rc : v->ops->frames(v, huge, out, err);
}

bool hs_view_can_split(const struct hs_view *v)
{
	return v->ops->split != NULL;
}

void hs_view_on_huge(struct hs_view *v, hs_view_room *room, void *ctx)
{
	v->room = room;
	v->room_ctx = ctx;
}

void hs_view_slow_nodes(struct hs_view *v, uint64_t nodes)
{
	v->slow_nodes = nodes;
	if (v->ops->slow_nodes)
		v->ops->slow_nodes(v, nodes);
}

int hs_view_nodes(struct hs_view *v, hs_huge_nr huge, hs_node_1 out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	int rc = check_numbers(v, &huge, 1, err);

	memset(out, 0, HS_BASE_PER_HUGE * sizeof(*out));
	if (rc)
		return rc;
	if (!v->ops->nodes)
		return hs_error_set(err, -ENOTSUP, "%s do not tell which node memory is on", v->ops->name);
	return v->ops->nodes(v, huge, out, err);
}

/* False: each result says so. */
static bool has_room(struct hs_view *v, size_t nr, int *results)
{
	if (!v->room || v->room(v->room_ctx, v))
		return true;
	for (size_t i = 0; i < nr && results; i++)
		results[i] = -ENOMEM;
	return false;
}

int hs_view_split(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	int rc = check_numbers(v, huge, nr, err);

	if (rc || !nr)
		return rc;
	if (!v->ops->split)
		return hs_error_set(err, -ENOTSUP, "huge pages cannot be looked into through %s", v->ops->name);
	return has_room(v, nr, results) ? v->ops->split(v, huge, nr, results, err) : 0;
}

int hs_view_restore(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	int rc = check_numbers(v, huge, nr, err);

	if (rc || !nr)
		return rc;
	return has_room(v, nr, results) ? v->ops->restore(v, huge, nr, results, err) : 0;
}

int hs_view_split_page(struct hs_view *v, hs_huge_nr huge, unsigned int base, struct hs_error *err)
{
	int rc = check_numbers(v, &huge, 1, err);

	if (rc)
		return rc;
	if (base >= HS_BASE_PER_HUGE)
		return hs_error_set(err, -EINVAL, "a huge page has no base page %u", base);
	if (!v->ops->split_page)
		return hs_error_set(err, -ENOTSUP, "huge pages cannot be split for good through %s", v->ops->name);
	return v->ops->split_page(v, huge, base, err);
}

int hs_view_read(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *want, void *buf, struct hs_bits512 *got,
		 struct hs_error *err)
{
	int rc = check_numbers(v, &huge, 1, err);

	hs_bits_clear_all(got);
	return rc ? rc : v->ops->read(v, huge, want, buf, got, err);
}

int hs_view_reach(struct hs_view *v, hs_huge_nr huge, const struct hs_bits512 *which, struct hs_error *err)
{
	int rc = check_numbers(v, &huge, 1, err);

	return rc || !v->ops->reach ? rc : v->ops->reach(v, huge, which, err);
}

enum hs_view_reason hs_view_why(struct hs_view *v, hs_huge_nr huge)
{
	return huge < v->nr_huge && v->ops->why ? v->ops->why(v, huge) : HS_VIEW_NO_REASON;
}

const char *hs_view_reason_text(enum hs_view_reason reason)
{
	switch (reason) {
	case HS_VIEW_NO_REASON:
		break;
	case HS_VIEW_GONE:
		return "it is no guest memory any more";
	case HS_VIEW_USERFAULTFD:
		return "a userfaultfd is registered with it (a snapshot, dirty tracking, or a postcopy migration)";
	case HS_VIEW_FLAGS_UNREAD:
		return "whether a userfaultfd is registered with it could not be read";
	case HS_VIEW_VMM_LOGS:
		return "its virtual machine monitor logs writes to it, or its nested page tables cannot be found";
	}
	return "";
}

hs_hva hs_view_hva(const struct hs_view *v, hs_huge_nr huge)
{
	for (size_t r = 0; r < v->nr_regions; r++) {
		const struct hs_region *region = &v->regions[r];

		if (huge >= region->first_huge && huge - region->first_huge < region->nr_huge)
			return (hs_hva){ region->hva.v + (huge - region->first_huge) * HS_HUGE_SIZE };
	}
	return (hs_hva){ 0 };
}
