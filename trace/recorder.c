/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recording view: each call goes to the guest's own view first, then what it answered is written down. So the
 * records stand in the order of the answers, which is the order in which the pipeline learnt of them.
 */
#include "hs/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contents_internal.h"

struct hs_recorder {
	struct hs_trace_writer *w;
	const struct hs_clock *inner; /* the clock behind `clock` */
	struct hs_clock clock;
	uint64_t start_us;
	struct hs_digest_key key;
	struct hs_contents contents;
	struct hs_digest digests[HS_BASE_PER_HUGE]; /* of the huge page that is being read */
	uint32_t numbers[HS_BASE_PER_HUGE];
	uint32_t nr_guests;
	bool parted; /* each base page's contents have numbers of their own */
	int error;
	struct hs_error why;
};

struct record_view {
	struct hs_view view;    /* first */
	struct hs_view_ops ops; /* with the name and the abilities of the guest's own view */
	struct hs_view *inner;
	struct hs_recorder *rec;
	uint32_t guest;
};

static struct record_view *record_of(struct hs_view *v)
{
	return (struct record_view *)(void *)v;
}

static uint32_t guest_of(const struct hs_view *v)
{
	return ((const struct record_view *)(const void *)v)->guest;
}

static void fail(struct hs_recorder *r, int rc, const char *what)
{
	if (!r->error) {
		r->error = rc;
		(void)hs_error_set(&r->why, rc, "%s", what);
	}
}

/* Writes a record whose time is given: relative to the start. */
static void put_at(struct hs_recorder *r, struct hs_trace_record *rec, uint64_t now_us)
{
	if (r->error)
		return;
	rec->time_us = now_us - r->start_us;
	r->error = hs_trace_write(r->w, rec, &r->why);
}

static void put(struct hs_recorder *r, struct hs_trace_record *rec)
{
	put_at(r, rec, r->inner->now_us(r->inner->ctx));
}

/* A call of a view that returns nothing but its answer. */
static void put_answer(struct record_view *v, enum hs_trace_type type, int rc)
{
	struct hs_trace_record rec = { .type = (uint8_t)type, .guest = v->guest, .error = rc };

	put(v->rec, &rec);
}

/* ---- the clock ---- */

static void put_clock(struct hs_recorder *r, uint8_t op, uint64_t now_us, uint64_t asked_us, int rc)
{
	struct hs_trace_record rec = { .type = HS_TRACE_CLOCK, .error = rc };

	rec.u.clock = (struct hs_trace_clock){ .op = op, .asked_us = asked_us };
	put_at(r, &rec, now_us);
}

static uint64_t record_now_us(void *ctx)
{
	struct hs_recorder *r = ctx;
	const uint64_t now_us = r->inner->now_us(r->inner->ctx);

	put_clock(r, HS_TRACE_CLOCK_NOW, now_us, 0, 0);
	return now_us;
}

static int record_sleep_us(void *ctx, uint64_t us)
{
	struct hs_recorder *r = ctx;
	const int rc = r->inner->sleep_us(r->inner->ctx, us);

	put_clock(r, HS_TRACE_CLOCK_SLEEP, r->inner->now_us(r->inner->ctx), us, rc);
	return rc;
}

const struct hs_clock *hs_recorder_clock(struct hs_recorder *r)
{
	return &r->clock;
}

/* ---- the view ---- */

static void record_close(struct hs_view *view)
{
	struct record_view *v = record_of(view);

	/* First: closing may bring mappings back, but nobody looks at that any more. */
	put_answer(v, HS_TRACE_GONE, 0);
	hs_view_close(v->inner);
	free(v);
}

static int record_refresh(struct hs_view *view, struct hs_error *err)
{
	struct record_view *v = record_of(view);
	const int rc = hs_view_refresh(v->inner, err);

	put_answer(v, HS_TRACE_REFRESH, rc);
	return rc;
}

/* The new view is a guest's own one: it comes to be recorded as the first did. */
static int record_reopen(struct hs_view *view, struct hs_view **out, struct hs_error *err)
{
	return hs_view_reopen(record_of(view)->inner, out, err);
}

static int record_age(struct hs_view *view, struct hs_error *err)
{
	struct record_view *v = record_of(view);
	const int rc = hs_view_age(v->inner, err);

	put_answer(v, HS_TRACE_AGE, rc);
	return rc;
}

static int record_sample_huge(struct hs_view *view, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			      struct hs_error *err)
{
	struct record_view *v = record_of(view);
	const int rc = hs_view_sample_huge(v->inner, first, nr, out, err);
	struct hs_trace_record rec = {
		.type = HS_TRACE_HUGE, .guest = v->guest, .error = rc, .nr = rc ? 0 : nr, .u.huge = { first, out }
	};

	put(v->rec, &rec);
	return rc;
}

static int record_sample_base(struct hs_view *view, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			      struct hs_error *err)
{
	struct record_view *v = record_of(view);
	const int rc = hs_view_sample_base(v->inner, huge, nr, out, err);
	struct hs_trace_record rec = {
		.type = HS_TRACE_BASE, .guest = v->guest, .error = rc, .nr = rc ? 0 : nr, .u.base = { huge, out }
	};

	put(v->rec, &rec);
	return rc;
}

/* What is shared is reported by the pipeline, which asks for frames for nothing else: frames would be of no more use.
 */
static int record_frames(struct hs_view *view, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE],
			 struct hs_error *err)
{
	return hs_view_frames(record_of(view)->inner, huge, out, err);
}

/* A call that changes mappings, and the record of it. */
struct mapping {
	enum hs_trace_type type;
	int (*call)(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err);
};

static int record_mapping(struct hs_view *view, const struct mapping *m, const hs_huge_nr *huge, size_t nr,
			  int *results, struct hs_error *err)
{
	struct record_view *v = record_of(view);
	int *own = results ? NULL : calloc(nr, sizeof(*own)), rc;
	struct hs_trace_record rec = { .type = (uint8_t)m->type, .guest = v->guest };

	if (!results && !own)
		fail(v->rec, -ENOMEM, "out of memory for the record of a split");
	rc = m->call(v->inner, huge, nr, results ? results : own, err);
	rec.error = rc;
	rec.nr = rc ? 0 : nr;
	rec.u.mapping.huge = huge;
	rec.u.mapping.results = results ? results : own;
	put(v->rec, &rec);
	free(own);
	return rc;
}

static int record_split(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	static const struct mapping split = { HS_TRACE_SPLIT, hs_view_split };

	return record_mapping(v, &split, huge, nr, results, err);
}

static int record_restore(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	static const struct mapping restore = { HS_TRACE_RESTORE, hs_view_restore };

	return record_mapping(v, &restore, huge, nr, results, err);
}

/* Makes a base page's digests differ from those of all others for equal contents; its own stay comparable. */
static void part(struct hs_recorder *r, uint32_t guest, hs_huge_nr huge, const struct hs_bits512 *of)
{
	hs_bits_for_each (i, of) {
		const uint64_t page = (uint64_t)guest << 40 | ((uint64_t)huge * HS_BASE_PER_HUGE + i);

		r->digests[i].hi ^= (page + 1) * UINT64_C(0x9e3779b97f4a7c15);
	}
}

/* The numbers of what was read. */
static void number(struct hs_recorder *r, uint32_t guest, hs_huge_nr huge, const void *buf,
		   const struct hs_bits512 *got)
{
	struct hs_bits512 zero, other;

	memset(r->numbers, 0, sizeof(r->numbers));
	hs_digest_huge(&r->key, buf, got, r->digests, &zero);
	other = hs_bits_andnot(*got, zero);
	if (r->parted)
		part(r, guest, huge, &other);
	hs_bits_for_each (i, &other) {
		r->numbers[i] = hs_contents_number(&r->contents, r->digests[i]);
		if (!r->numbers[i]) {
			fail(r, -ENOMEM, "out of memory for the digests of what was read");
			return;
		}
	}
}

static int record_read(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		       struct hs_bits512 *got, struct hs_error *err)
{
	struct record_view *v = record_of(view);
	struct hs_recorder *r = v->rec;
	const int rc = hs_view_read(v->inner, huge, want, buf, got, err);
	struct hs_trace_record rec = { .type = HS_TRACE_CONTENT, .guest = v->guest, .error = rc };

	rec.u.content = (struct hs_trace_content){ .huge = huge, .want = *want, .numbers = r->numbers };
	if (!rc && !r->error) {
		rec.u.content.got = *got;
		number(r, v->guest, huge, buf, got);
	}
	put(r, &rec);
	return rc;
}

/* Returns nothing to the pipeline: not recorded. */
static int record_reach(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *which, struct hs_error *err)
{
	return hs_view_reach(record_of(view)->inner, huge, which, err);
}

/* Nothing that a decision is made from: not recorded. */
static enum hs_view_reason record_why(struct hs_view *view, hs_huge_nr huge)
{
	return hs_view_why(record_of(view)->inner, huge);
}

static const struct hs_view_ops record_ops = {
	.close = record_close,
	.refresh = record_refresh,
	.reopen = record_reopen,
	.age = record_age,
	.sample_huge = record_sample_huge,
	.sample_base = record_sample_base,
	.frames = record_frames,
	.split = record_split,
	.restore = record_restore,
	.read = record_read,
	.reach = record_reach,
	.why = record_why,
};

static int put_guest(struct record_view *v, const char *name, const char *group, struct hs_error *err)
{
	const struct hs_view *in = v->inner;
	struct hs_trace_region *regions = calloc(in->nr_regions + 1, sizeof(*regions));
	struct hs_trace_record rec = { .type = HS_TRACE_GUEST, .guest = v->guest, .nr = in->nr_regions };
	uint64_t end = 0;

	if (!regions)
		return hs_error_set(err, -ENOMEM, "out of memory for the recording of guest %s", name);
	for (size_t i = 0; i < in->nr_regions; i++) {
		const struct hs_region *region = &in->regions[i];

		regions[i].hole_bytes = i ? region->hva.v - end : 0;
		regions[i].nr_huge = region->nr_huge;
		end = region->hva.v + region->nr_huge * HS_HUGE_SIZE;
	}
	rec.u.guest = (struct hs_trace_guest){ .nr_huge = in->nr_huge,
					       .regions = regions,
					       .can_split = hs_view_can_split(in),
					       .splits_nested = hs_view_splits_nested(in) };
	(void)snprintf(rec.u.guest.name, sizeof(rec.u.guest.name), "%s", name);
	(void)snprintf(rec.u.guest.group, sizeof(rec.u.guest.group), "%s", group);
	(void)snprintf(rec.u.guest.view, sizeof(rec.u.guest.view), "%s", hs_view_name(in));
	put(v->rec, &rec);
	free(regions);
	return hs_recorder_error(v->rec, err);
}

int hs_recorder_wrap(struct hs_recorder *r, struct hs_view *inner, const char *name, const char *group,
		     struct hs_view **out, struct hs_error *err)
{
	struct record_view *v;
	int rc;

	*out = NULL;
	if (r->nr_guests == HS_TRACE_MAX_GUESTS)
		return hs_error_set(err, -ENOSPC, "a trace holds at most %d guests", HS_TRACE_MAX_GUESTS);
	v = calloc(1, sizeof(*v));
	if (!v)
		return hs_error_set(err, -ENOMEM, "out of memory for the recording of guest %s", name);
	v->view = *inner; /* regions and numbers stay as they are while a view lives */
	v->ops = record_ops;
	v->ops.name = hs_view_name(inner);
	v->ops.splits_nested = hs_view_splits_nested(inner);
	if (!hs_view_can_reopen(inner))
		v->ops.reopen = NULL;
	if (!hs_view_can_split(inner))
		v->ops.split = NULL;
	v->view.ops = &v->ops;
	v->inner = inner;
	v->rec = r;
	v->guest = r->nr_guests;
	rc = put_guest(v, name, group, err);
	if (rc) {
		free(v);
		return rc;
	}
	r->nr_guests++;
	*out = &v->view;
	return 0;
}

/* ---- what the pipeline reports ---- */

void hs_recorder_cycle(struct hs_recorder *r, uint32_t cycle)
{
	struct hs_trace_record rec = { .type = HS_TRACE_CYCLE, .u.cycle = cycle };

	put(r, &rec);
}

void hs_recorder_fine(struct hs_recorder *r, const struct hs_view *v, const struct hs_fine_result *results, size_t nr)
{
	struct hs_trace_record rec = { .type = HS_TRACE_FINE, .guest = guest_of(v), .nr = nr, .u.fine = results };

	put(r, &rec);
}

void hs_recorder_decided(struct hs_recorder *r, const struct hs_view *v, const struct hs_policy_decision *decisions)
{
	struct hs_trace_decision *list = calloc((size_t)v->nr_huge + 1, sizeof(*list));
	struct hs_trace_record rec = { .type = HS_TRACE_DECISIONS, .guest = guest_of(v), .nr = v->nr_huge };

	if (!list) {
		fail(r, -ENOMEM, "out of memory for the record of decisions");
		return;
	}
	for (hs_huge_nr h = 0; h < v->nr_huge; h++)
		list[h] = (struct hs_trace_decision){ .huge = h, .decision = decisions[h] };
	rec.u.decisions = list;
	put(r, &rec);
	free(list);
}

void hs_recorder_shared(struct hs_recorder *r, const struct hs_view *v, const struct hs_ledger *ledger,
			const struct hs_shared_huge *shared, size_t nr)
{
	struct hs_trace_record rec = { .type = HS_TRACE_SHARED, .guest = guest_of(v), .nr = nr, .u.shared = shared };
	struct hs_trace_record sums = { .type = HS_TRACE_LEDGER, .guest = guest_of(v), .u.ledger = *ledger };

	put(r, &rec);
	put(r, &sums);
}

void hs_recorder_settled(struct hs_recorder *r, const struct hs_view *v, const struct hs_trace_settled *settled)
{
	struct hs_trace_record rec = { .type = HS_TRACE_SETTLED, .guest = guest_of(v), .u.settled = *settled };

	put(r, &rec);
}

/* ---- its life ---- */

int hs_recorder_create(struct hs_recorder **out, struct hs_trace_writer *w, const struct hs_clock *clock,
		       struct hs_error *err)
{
	struct hs_recorder *r = calloc(1, sizeof(*r));
	int rc;

	*out = NULL;
	if (!r)
		return hs_error_set(err, -ENOMEM, "out of memory for a recorder");
	rc = hs_digest_key_random(&r->key);
	if (rc) {
		free(r);
		return hs_error_set(err, rc, "cannot get random bytes for the digest key: %s", strerror(-rc));
	}
	r->w = w;
	r->inner = clock;
	r->clock = (struct hs_clock){ .ctx = r, .now_us = record_now_us, .sleep_us = record_sleep_us };
	r->start_us = clock->now_us(clock->ctx);
	*out = r;
	return 0;
}

void hs_recorder_part_contents(struct hs_recorder *r, bool on)
{
	r->parted = on;
}

int hs_recorder_error(const struct hs_recorder *r, struct hs_error *err)
{
	return r->error ? hs_error_set(err, r->error, "%s", r->why.text) : 0;
}

uint32_t hs_recorder_nr_contents(const struct hs_recorder *r)
{
	return r->contents.nr;
}

void hs_recorder_destroy(struct hs_recorder *r)
{
	if (!r)
		return;
	hs_contents_finish(&r->contents);
	explicit_bzero(&r->key, sizeof(r->key));
	free(r);
}
