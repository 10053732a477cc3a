/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replay view: a call takes the next record of a call, which has to be the same one, of the same guest, with the
 * same arguments.
 *
 * A page's bytes are made of its content's number: equal numbers give equal bytes, different ones different bytes, 0
 * gives zeros. That is all that digests and comparisons ask of them.
 */
#include "replay_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct hs_replay_view *replay_of(struct hs_view *v)
{
	return (struct hs_replay_view *)(void *)v;
}

/*
 * Goes on to the next record of a call, which is to be of this type and guest. 0: it is ahead, not yet taken;
 * -ECANCELED: the replay is at its end.
 */
static int expect(struct hs_replay_view *v, enum hs_trace_type type)
{
	struct hs_replay *r = v->replay;
	char what[128];

	if (r->error)
		return -ECANCELED;
	while (r->ahead && !hs_replay_is_call(r->ahead) && r->ahead->type != HS_TRACE_CYCLE &&
	       r->ahead->type != HS_TRACE_GUEST)
		hs_replay_advance(r);
	if (r->error)
		return -ECANCELED;
	if (r->ahead && r->ahead->type == type && r->ahead->guest == v->guest)
		return 0;
	(void)snprintf(what, sizeof(what), "guest %u was asked for: %s", v->guest, hs_trace_type_name((uint8_t)type));
	return hs_replay_diverged(r, what);
}

static int answer(struct hs_replay *r, struct hs_error *err)
{
	const int rc = r->ahead->error;

	if (rc)
		(void)hs_error_set(err, rc, "as it was recorded: %s", strerror(-rc));
	r->stats.nr_answered++;
	hs_replay_advance(r);
	return rc;
}

/* ---- the view ---- */

static void replay_close(struct hs_view *view)
{
	struct hs_replay_view *v = replay_of(view);

	if (v->replay->guests[v->order] == v)
		v->replay->guests[v->order] = NULL;
	free(v->sharing);
	free(view->regions);
	free(v);
}

static int replay_refresh(struct hs_view *view, struct hs_error *err)
{
	struct hs_replay_view *v = replay_of(view);
	const int rc = expect(v, HS_TRACE_REFRESH);

	return rc ? rc : answer(v->replay, err);
}

/* The guest comes again in the trace, or it was left with the view that it had. */
static int replay_reopen(struct hs_view *view, struct hs_view **out, struct hs_error *err)
{
	struct hs_replay *r = replay_of(view)->replay;
	int rc;

	while (!r->error && r->ahead && r->ahead->type == HS_TRACE_CLOCK)
		hs_replay_advance(r);
	if (r->error)
		return -ECANCELED;
	if (!r->ahead || r->ahead->type != HS_TRACE_GUEST)
		return hs_error_set(err, -ENODATA, "as it was recorded: it got no new view");
	rc = hs_replay_view_create(r, r->ahead, replay_of(view)->order, out);
	if (rc)
		return hs_error_set(err, rc, "out of memory for a replayed guest");
	hs_replay_advance(r);
	return 0;
}

static int replay_age(struct hs_view *view, struct hs_error *err)
{
	struct hs_replay_view *v = replay_of(view);
	const int rc = expect(v, HS_TRACE_AGE);

	return rc ? rc : answer(v->replay, err);
}

static int replay_sample_huge(struct hs_view *view, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			      struct hs_error *err)
{
	struct hs_replay_view *v = replay_of(view);

	for (uint32_t done = 0; done < nr;) {
		int rc = expect(v, HS_TRACE_HUGE);
		const struct hs_trace_record *rec = v->replay->ahead;

		if (!rc && (rec->u.huge.first != first + done || rec->nr > nr - done || (!rec->nr && !rec->error)))
			rc = hs_replay_diverged(v->replay, "samples of other huge pages were wanted");
		if (rc)
			return rc;
		for (size_t i = 0; i < rec->nr; i++)
			out[done + i] = rec->u.huge.samples[i];
		done += (uint32_t)rec->nr;
		rc = answer(v->replay, err);
		if (rc)
			return rc;
	}
	return 0;
}

/* A call on a list of huge pages: its records, and how element i of one is copied to element `at` of the call. */
struct list_call {
	enum hs_trace_type type;
	void (*take)(const struct hs_trace_record *rec, size_t i, void *out, size_t at);
};

/* Takes records of the call until all of the list is answered. */
static int replay_list(struct hs_view *view, const struct list_call *call, const hs_huge_nr *huge, size_t nr, void *out,
		       struct hs_error *err)
{
	struct hs_replay_view *v = replay_of(view);

	for (size_t done = 0; done < nr;) {
		int rc = expect(v, call->type);
		const struct hs_trace_record *rec = v->replay->ahead;
		const hs_huge_nr *recorded;
		bool same;

		if (rc)
			return rc;
		recorded = call->type == HS_TRACE_BASE ? rec->u.base.huge : rec->u.mapping.huge;
		same = rec->error || (rec->nr && rec->nr <= nr - done);
		for (size_t i = 0; same && i < rec->nr; i++)
			same = recorded[i] == huge[done + i];
		if (!same)
			return hs_replay_diverged(v->replay, "other huge pages were meant");
		for (size_t i = 0; i < rec->nr; i++)
			call->take(rec, i, out, done + i);
		done += rec->nr;
		rc = answer(v->replay, err);
		if (rc)
			return rc;
	}
	return 0;
}

static void take_base(const struct hs_trace_record *rec, size_t i, void *out, size_t at)
{
	((struct hs_base_sample *)out)[at] = rec->u.base.samples[i];
}

static void take_result(const struct hs_trace_record *rec, size_t i, void *out, size_t at)
{
	if (out)
		((int *)out)[at] = rec->u.mapping.results[i];
}

static int replay_sample_base(struct hs_view *view, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			      struct hs_error *err)
{
	static const struct list_call base = { HS_TRACE_BASE, take_base };

	return replay_list(view, &base, huge, nr, out, err);
}

static int replay_split(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	static const struct list_call split = { HS_TRACE_SPLIT, take_result };

	return replay_list(view, &split, huge, nr, results, err);
}

static int replay_restore(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	static const struct list_call restore = { HS_TRACE_RESTORE, take_result };

	return replay_list(view, &restore, huge, nr, results, err);
}

/* A trace knows no frames: they are all unknown. */
static int replay_frames(struct hs_view *view, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE],
			 struct hs_error *err)
{
	(void)view;
	(void)huge;
	(void)out;
	(void)err;
	return 0;
}

static void make_page(uint32_t content, void *page)
{
	const uint64_t word = content;

	memset(page, 0, HS_BASE_SIZE);
	memcpy(page, &word, sizeof(word));
}

static int replay_read(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		       struct hs_bits512 *got, struct hs_error *err)
{
	struct hs_replay_view *v = replay_of(view);
	const struct hs_trace_content *c;
	int rc = expect(v, HS_TRACE_CONTENT);

	if (rc)
		return rc;
	c = &v->replay->ahead->u.content;
	if (c->huge != huge || !hs_bits_equal(&c->want, want))
		return hs_replay_diverged(v->replay, "the content of other base pages was wanted");
	*got = c->got;
	hs_bits_for_each (i, got)
		make_page(c->numbers[i], (char *)buf + i * HS_BASE_SIZE);
	return answer(v->replay, err);
}

static const struct hs_view_ops replay_ops = {
	.name = "replayed",
	.close = replay_close,
	.refresh = replay_refresh,
	.reopen = replay_reopen,
	.age = replay_age,
	.sample_huge = replay_sample_huge,
	.sample_base = replay_sample_base,
	.frames = replay_frames,
	.split = replay_split,
	.restore = replay_restore,
	.read = replay_read,
};

/* Addresses begin at 0: nobody goes there. */
int hs_replay_view_create(struct hs_replay *r, const struct hs_trace_record *rec, uint32_t order, struct hs_view **out)
{
	struct hs_replay_view *v = calloc(1, sizeof(*v));
	uint64_t at = 0;

	if (!v)
		return -ENOMEM;
	v->ops = replay_ops;
	v->ops.splits_nested = rec->u.guest.splits_nested;
	if (!rec->u.guest.can_split)
		v->ops.split = NULL;
	v->view.ops = &v->ops;
	v->view.nr_huge = rec->u.guest.nr_huge;
	v->view.nr_regions = rec->nr;
	v->view.regions = calloc(rec->nr, sizeof(*v->view.regions));
	v->replay = r;
	v->guest = rec->guest;
	v->order = order;
	if (!v->view.regions) {
		free(v);
		return -ENOMEM;
	}
	for (size_t i = 0, first = 0; i < rec->nr; i++) {
		const struct hs_trace_region *region = &rec->u.guest.regions[i];

		at += region->hole_bytes;
		v->view.regions[i] = (struct hs_region){
			.hva = { at }, .gpa = { at }, .first_huge = (hs_huge_nr)first, .nr_huge = region->nr_huge
		};
		at += region->nr_huge * HS_HUGE_SIZE;
		first += region->nr_huge;
	}
	r->guests[order] = v;
	*out = &v->view;
	return 0;
}
