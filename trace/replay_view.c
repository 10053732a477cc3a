/*
 * Replay: the recorded answers are given again to the same calls.
 *
 * A call takes the next record of a call, which has to be the same one: of the same guest, with the same arguments.
 * Anything else means that the pipeline goes another way than the recorded one (other settings, another version), and
 * from there on the trace has no answers: the replay ends. What the recorded pipeline told of itself in between
 * (results, decisions) is passed over, unless it is asked for by hs_replay_decided.
 *
 * A page's bytes are made of its content's number: equal numbers give equal bytes, different ones different bytes, 0
 * gives zeros. That is all that digests and comparisons ask of them.
 */
#include "hs/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct hs_replay {
	struct hs_trace_reader *reader;
	struct hs_clock clock;
	const struct hs_trace_record *ahead; /* the next record, not yet taken; NULL: at the end, or failed */
	uint64_t time_us;                    /* of the record taken last */
	struct replay_view
	    *guests[HS_TRACE_MAX_GUESTS]; /* by the order of coming, each by its view of now; NULL: closed */
	uint32_t nr_guests;
	struct hs_replay_stats stats;
	int error;
	struct hs_error why;
};

struct replay_view {
	struct hs_view view;    /* first */
	struct hs_view_ops ops; /* with the abilities of the recorded view */
	struct hs_replay *replay;
	uint32_t guest;                 /* its number in the trace */
	uint32_t order;                 /* its place in replay->guests */
	struct hs_shared_huge *sharing; /* [nr_huge]; NULL: nothing was told of it yet */
};

static struct replay_view *replay_of(struct hs_view *v)
{
	return (struct replay_view *)(void *)v;
}

/* ---- the record ahead ---- */

static void advance(struct hs_replay *r)
{
	int rc;

	if (r->ahead)
		r->time_us = r->ahead->time_us;
	rc = hs_trace_next(r->reader, &r->ahead, &r->why);
	if (rc < 0)
		r->error = rc;
}

static bool is_call(const struct hs_trace_record *rec)
{
	switch ((enum hs_trace_type)rec->type) {
	case HS_TRACE_REFRESH:
	case HS_TRACE_AGE:
	case HS_TRACE_HUGE:
	case HS_TRACE_BASE:
	case HS_TRACE_CONTENT:
	case HS_TRACE_SPLIT:
	case HS_TRACE_RESTORE:
		return true;
	default:
		return false;
	}
}

static int diverged(struct hs_replay *r, const char *what)
{
	const char *instead = r->ahead ? hs_trace_type_name(r->ahead->type) : "its end";

	r->error = -EILSEQ;
	(void)hs_error_set(&r->why, r->error,
			   "the replay went another way than the recorded run, at %" PRIu64 ".%06" PRIu64
			   " s: %s, where the trace has: %s",
			   r->time_us / 1000000, r->time_us % 1000000, what, instead);
	return -ECANCELED;
}

/*
 * Goes on to the next record of a call, which is to be of this type and guest. 0: it is ahead, not yet taken;
 * -ECANCELED: the replay is at its end.
 */
static int expect(struct replay_view *v, enum hs_trace_type type)
{
	struct hs_replay *r = v->replay;
	char what[128];

	if (r->error)
		return -ECANCELED;
	while (r->ahead && !is_call(r->ahead) && r->ahead->type != HS_TRACE_CYCLE && r->ahead->type != HS_TRACE_GUEST)
		advance(r);
	if (r->error)
		return -ECANCELED;
	if (r->ahead && r->ahead->type == type && r->ahead->guest == v->guest)
		return 0;
	(void)snprintf(what, sizeof(what), "guest %u was asked for: %s", v->guest, hs_trace_type_name((uint8_t)type));
	return diverged(r, what);
}

static int answer(struct hs_replay *r, struct hs_error *err)
{
	const int rc = r->ahead->error;

	if (rc)
		(void)hs_error_set(err, rc, "as it was recorded: %s", strerror(-rc));
	r->stats.nr_answered++;
	advance(r);
	return rc;
}

/* ---- the clock ---- */

static uint64_t replay_now_us(void *ctx)
{
	struct hs_replay *r = ctx;

	if (!r->error && r->ahead && r->ahead->type == HS_TRACE_CLOCK && r->ahead->u.clock.op == HS_TRACE_CLOCK_NOW)
		advance(r);
	return r->time_us;
}

static int replay_sleep_us(void *ctx, uint64_t us)
{
	struct hs_replay *r = ctx;
	int rc;

	while (!r->error && r->ahead && r->ahead->type == HS_TRACE_CLOCK && r->ahead->u.clock.op == HS_TRACE_CLOCK_NOW)
		advance(r);
	if (r->error)
		return -ECANCELED;
	if (!r->ahead || r->ahead->type != HS_TRACE_CLOCK || r->ahead->u.clock.op != HS_TRACE_CLOCK_SLEEP ||
	    r->ahead->u.clock.asked_us != us) {
		char what[96];

		(void)snprintf(what, sizeof(what), "a sleep of %" PRIu64 " us was wanted", us);
		return diverged(r, what);
	}
	rc = r->ahead->error;
	advance(r);
	return rc;
}

const struct hs_clock *hs_replay_clock(struct hs_replay *r)
{
	return &r->clock;
}

/* ---- the view ---- */

static void replay_close(struct hs_view *view)
{
	struct replay_view *v = replay_of(view);

	if (v->replay->guests[v->order] == v)
		v->replay->guests[v->order] = NULL;
	free(v->sharing);
	free(view->regions);
	free(v);
}

static int replay_refresh(struct hs_view *view, struct hs_error *err)
{
	struct replay_view *v = replay_of(view);
	const int rc = expect(v, HS_TRACE_REFRESH);

	return rc ? rc : answer(v->replay, err);
}

static int new_view(struct hs_replay *r, const struct hs_trace_record *rec, uint32_t order, struct hs_view **out);

/* The guest comes again in the trace, or it was left with the view that it had. */
static int replay_reopen(struct hs_view *view, struct hs_view **out, struct hs_error *err)
{
	struct hs_replay *r = replay_of(view)->replay;
	int rc;

	while (!r->error && r->ahead && r->ahead->type == HS_TRACE_CLOCK)
		advance(r);
	if (r->error)
		return -ECANCELED;
	if (!r->ahead || r->ahead->type != HS_TRACE_GUEST)
		return hs_error_set(err, -ENODATA, "as it was recorded: it got no new view");
	rc = new_view(r, r->ahead, replay_of(view)->order, out);
	if (rc)
		return hs_error_set(err, rc, "out of memory for a replayed guest");
	advance(r);
	return 0;
}

static int replay_age(struct hs_view *view, struct hs_error *err)
{
	struct replay_view *v = replay_of(view);
	const int rc = expect(v, HS_TRACE_AGE);

	return rc ? rc : answer(v->replay, err);
}

static int replay_sample_huge(struct hs_view *view, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
			      struct hs_error *err)
{
	struct replay_view *v = replay_of(view);

	for (uint32_t done = 0; done < nr;) {
		int rc = expect(v, HS_TRACE_HUGE);
		const struct hs_trace_record *rec = v->replay->ahead;

		if (!rc && (rec->u.huge.first != first + done || rec->nr > nr - done || (!rec->nr && !rec->error)))
			rc = diverged(v->replay, "samples of other huge pages were wanted");
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

/*
 * Takes records of a call on a list of huge pages until all of the list is answered. `take` copies what record `rec`
 * has of element i to element `at` of the call.
 */
static int replay_list(struct replay_view *v, enum hs_trace_type type, const hs_huge_nr *huge, size_t nr,
		       void (*take)(const struct hs_trace_record *rec, size_t i, void *out, size_t at), void *out,
		       struct hs_error *err)
{
	for (size_t done = 0; done < nr;) {
		int rc = expect(v, type);
		const struct hs_trace_record *rec = v->replay->ahead;
		const hs_huge_nr *recorded;
		bool same;

		if (rc)
			return rc;
		recorded = type == HS_TRACE_BASE ? rec->u.base.huge : rec->u.mapping.huge;
		same = rec->error || (rec->nr && rec->nr <= nr - done);
		for (size_t i = 0; same && i < rec->nr; i++)
			same = recorded[i] == huge[done + i];
		if (!same)
			return diverged(v->replay, "other huge pages were meant");
		for (size_t i = 0; i < rec->nr; i++)
			take(rec, i, out, done + i);
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
	return replay_list(replay_of(view), HS_TRACE_BASE, huge, nr, take_base, out, err);
}

static int replay_split(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	return replay_list(replay_of(view), HS_TRACE_SPLIT, huge, nr, take_result, results, err);
}

static int replay_restore(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	return replay_list(replay_of(view), HS_TRACE_RESTORE, huge, nr, take_result, results, err);
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
	struct replay_view *v = replay_of(view);
	const struct hs_trace_content *c;
	int rc = expect(v, HS_TRACE_CONTENT);

	if (rc)
		return rc;
	c = &v->replay->ahead->u.content;
	if (c->huge != huge || memcmp(&c->want, want, sizeof(*want)) != 0)
		return diverged(v->replay, "the content of other base pages was wanted");
	*got = c->got;
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (hs_bits_test(got, i))
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

/* The view of the guest whose coming is told by the record. Addresses begin at 0: nobody goes there. */
static int new_view(struct hs_replay *r, const struct hs_trace_record *rec, uint32_t order, struct hs_view **out)
{
	struct replay_view *v = calloc(1, sizeof(*v));
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

/* ---- what was shared ---- */

static struct replay_view *view_of(struct hs_replay *r, uint32_t guest)
{
	for (uint32_t i = 0; i < r->nr_guests; i++)
		if (r->guests[i] && r->guests[i]->guest == guest)
			return r->guests[i];
	return NULL;
}

/* Replaces what was told of the guest before; the next parts of a long list (*last: whose the last one was) are added.
 */
static void take_shared(struct hs_replay *r, const struct hs_trace_record *rec, uint32_t *last)
{
	struct replay_view *v = view_of(r, rec->guest);

	if (!v)
		return;
	if (!v->sharing)
		v->sharing = calloc(v->view.nr_huge, sizeof(*v->sharing));
	if (!v->sharing) {
		r->error = hs_error_set(&r->why, -ENOMEM, "out of memory for what a replayed guest shares");
		return;
	}
	if (*last != rec->guest)
		memset(v->sharing, 0, v->view.nr_huge * sizeof(*v->sharing));
	*last = rec->guest;
	for (size_t i = 0; i < rec->nr; i++)
		v->sharing[rec->u.shared[i].huge] = rec->u.shared[i];
}

void hs_replay_merged(struct hs_replay *r)
{
	uint32_t last = UINT32_MAX;

	/* The engine's own calls of the view and the clock are passed over with the rest. */
	while (!r->error && r->ahead && r->ahead->type != HS_TRACE_CYCLE && r->ahead->type != HS_TRACE_GUEST &&
	       r->ahead->type != HS_TRACE_GONE) {
		if (r->ahead->type == HS_TRACE_SHARED)
			take_shared(r, r->ahead, &last);
		r->stats.nr_passed += is_call(r->ahead);
		advance(r);
	}
}

void hs_replay_state(const struct hs_replay *r, uint32_t guest, hs_huge_nr huge, struct hs_bits512 *wanted,
		     struct hs_bits512 *shared, uint32_t *breaks)
{
	const struct replay_view *v = guest < r->nr_guests ? r->guests[guest] : NULL;
	struct hs_shared_huge s = { 0 };

	if (v && v->sharing && huge < v->view.nr_huge)
		s = v->sharing[huge];
	if (wanted)
		*wanted = s.wanted;
	if (shared)
		*shared = s.shared;
	if (breaks)
		*breaks = s.breaks;
}

/* ---- its life ---- */

int hs_replay_create(struct hs_replay **out, struct hs_trace_reader *reader, struct hs_error *err)
{
	struct hs_replay *r = calloc(1, sizeof(*r));
	int rc;

	*out = NULL;
	if (!r) {
		hs_trace_reader_destroy(reader);
		return hs_error_set(err, -ENOMEM, "out of memory for a replay");
	}
	r->reader = reader;
	r->clock = (struct hs_clock){ .ctx = r, .now_us = replay_now_us, .sleep_us = replay_sleep_us };
	advance(r);
	if (r->error) {
		rc = hs_replay_error(r, err);
		hs_replay_destroy(r);
		return rc;
	}
	*out = r;
	return 0;
}

void hs_replay_destroy(struct hs_replay *r)
{
	if (!r)
		return;
	hs_trace_reader_destroy(r->reader);
	free(r);
}

const struct hs_trace_header *hs_replay_header(const struct hs_replay *r)
{
	return hs_trace_reader_header(r->reader);
}

int hs_replay_next(struct hs_replay *r, struct hs_replay_next *out, struct hs_error *err)
{
	memset(out, 0, sizeof(*out));
	while (!r->error && r->ahead && r->ahead->type != HS_TRACE_GUEST && r->ahead->type != HS_TRACE_CYCLE) {
		r->stats.nr_passed += is_call(r->ahead);
		advance(r);
	}
	if (r->error)
		return hs_replay_error(r, err);
	if (!r->ahead)
		return 0;
	if (r->ahead->type == HS_TRACE_GUEST) {
		int rc = r->nr_guests < HS_TRACE_MAX_GUESTS ? new_view(r, r->ahead, r->nr_guests, &out->view) : -ENOSPC;

		if (rc)
			return hs_error_set(err, rc, "no room for a replayed guest: %s", strerror(-rc));
		r->nr_guests++;
		out->guest = r->ahead->u.guest;
		out->guest.regions = NULL;
		out->step = HS_REPLAY_GUEST;
	} else {
		out->step = HS_REPLAY_CYCLE;
	}
	advance(r);
	return 0;
}

static bool same_decision(const struct hs_policy_decision *a, const struct hs_policy_decision *b)
{
	return a->action == b->action && a->reason == b->reason && a->gain == b->gain && a->ban == b->ban &&
	       memcmp(&a->pages, &b->pages, sizeof(a->pages)) == 0;
}

void hs_replay_decided(struct hs_replay *r, const struct hs_view *view, const struct hs_policy_decision *decisions)
{
	const uint32_t guest = ((const struct replay_view *)(const void *)view)->guest;
	uint64_t seen = 0;

	while (!r->error && r->ahead && (r->ahead->type == HS_TRACE_CLOCK || r->ahead->type == HS_TRACE_FINE))
		advance(r);
	while (!r->error && r->ahead && r->ahead->type == HS_TRACE_DECISIONS && r->ahead->guest == guest &&
	       seen < view->nr_huge) {
		for (size_t i = 0; i < r->ahead->nr; i++) {
			const struct hs_trace_decision *d = &r->ahead->u.decisions[i];

			r->stats.nr_differ += !same_decision(&d->decision, &decisions[d->huge]);
		}
		seen += r->ahead->nr;
		advance(r);
	}
	r->stats.nr_decisions += seen;
	if (!r->error && seen != view->nr_huge)
		(void)diverged(r, "decisions were made on a guest");
}

int hs_replay_error(const struct hs_replay *r, struct hs_error *err)
{
	return r->error ? hs_error_set(err, r->error, "%s", r->why.text) : 0;
}

void hs_replay_stats(const struct hs_replay *r, struct hs_replay_stats *out)
{
	*out = r->stats;
}
