/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replay: the recorded answers are given again to the same calls.
 *
 * A call that the trace does not have next means that the pipeline goes another way than the recorded one (other
 * settings, another version), and from there on the trace has no answers: the replay ends. What the recorded pipeline
 * reported of itself in between (results, decisions) is passed over, unless it is asked for by hs_replay_decided.
 */
#include "replay_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the record ahead ---- */

void hs_replay_advance(struct hs_replay *r)
{
	int rc;

	if (r->ahead)
		r->time_us = r->ahead->time_us;
	rc = hs_trace_next(r->reader, &r->ahead, &r->why);
	if (rc < 0)
		r->error = rc;
}

bool hs_replay_is_call(const struct hs_trace_record *rec)
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

int hs_replay_diverged(struct hs_replay *r, const char *what)
{
	const char *instead = r->ahead ? hs_trace_type_name(r->ahead->type) : "its end";

	r->error = -EILSEQ;
	(void)hs_error_set(&r->why, r->error,
			   "the replay went another way than the recorded run, at %" PRIu64 ".%06" PRIu64
			   " s: %s, where the trace has: %s",
			   r->time_us / 1000000, r->time_us % 1000000, what, instead);
	return -ECANCELED;
}

/* ---- the clock ---- */

static uint64_t replay_now_us(void *ctx)
{
	struct hs_replay *r = ctx;

	if (!r->error && r->ahead && r->ahead->type == HS_TRACE_CLOCK && r->ahead->u.clock.op == HS_TRACE_CLOCK_NOW)
		hs_replay_advance(r);
	return r->time_us;
}

static int replay_sleep_us(void *ctx, uint64_t us)
{
	struct hs_replay *r = ctx;
	int rc;

	while (!r->error && r->ahead && r->ahead->type == HS_TRACE_CLOCK && r->ahead->u.clock.op == HS_TRACE_CLOCK_NOW)
		hs_replay_advance(r);
	if (r->error)
		return -ECANCELED;
	if (!r->ahead || r->ahead->type != HS_TRACE_CLOCK || r->ahead->u.clock.op != HS_TRACE_CLOCK_SLEEP ||
	    r->ahead->u.clock.asked_us != us) {
		char what[96];

		(void)snprintf(what, sizeof(what), "a sleep of %" PRIu64 " us was wanted", us);
		return hs_replay_diverged(r, what);
	}
	rc = r->ahead->error;
	hs_replay_advance(r);
	return rc;
}

const struct hs_clock *hs_replay_clock(struct hs_replay *r)
{
	return &r->clock;
}

/* ---- what was shared ---- */

static struct hs_replay_view *view_of(struct hs_replay *r, uint32_t guest)
{
	for (uint32_t i = 0; i < r->nr_guests; i++)
		if (r->guests[i] && r->guests[i]->guest == guest)
			return r->guests[i];
	return NULL;
}

/* Replaces what was recorded of the guest before; the next parts of a long list (*last: whose the last one was) are
 * added.
 */
static void take_shared(struct hs_replay *r, const struct hs_trace_record *rec, uint32_t *last)
{
	struct hs_replay_view *v = view_of(r, rec->guest);

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

static void take_settled(struct hs_replay *r, const struct hs_trace_record *rec)
{
	struct hs_replay_view *v = view_of(r, rec->guest);

	r->settled = true;
	if (v)
		v->settled = rec->u.settled;
}

bool hs_replay_settled(const struct hs_replay *r, uint32_t guest, struct hs_trace_settled *out)
{
	const struct hs_replay_view *v = guest < r->nr_guests ? r->guests[guest] : NULL;

	*out = v ? v->settled : (struct hs_trace_settled){ 0 };
	return r->settled;
}

void hs_replay_merged(struct hs_replay *r)
{
	uint32_t last = UINT32_MAX;

	if (r->taken)
		return;
	r->taken = true;
	r->settled = false;
	for (uint32_t i = 0; i < r->nr_guests; i++)
		if (r->guests[i])
			r->guests[i]->settled = (struct hs_trace_settled){ 0 };
	/* The engine's own calls of the view and the clock are passed over with the rest. */
	while (!r->error && r->ahead && r->ahead->type != HS_TRACE_CYCLE && r->ahead->type != HS_TRACE_GUEST &&
	       r->ahead->type != HS_TRACE_GONE) {
		if (r->ahead->type == HS_TRACE_SHARED)
			take_shared(r, r->ahead, &last);
		else if (r->ahead->type == HS_TRACE_SETTLED)
			take_settled(r, r->ahead);
		r->stats.nr_passed += hs_replay_is_call(r->ahead);
		hs_replay_advance(r);
	}
}

void hs_replay_state(const struct hs_replay *r, uint32_t guest, hs_huge_nr huge, struct hs_bits512 *wanted,
		     struct hs_bits512 *shared, uint32_t *breaks)
{
	const struct hs_replay_view *v = guest < r->nr_guests ? r->guests[guest] : NULL;
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
	r->taken = true; /* no cycle is under way */
	hs_replay_advance(r);
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
	/* Nobody asked for it: all guests were put aside in that cycle. */
	if (hs_replay_header(r)->merging)
		hs_replay_merged(r);
	while (!r->error && r->ahead && r->ahead->type != HS_TRACE_GUEST && r->ahead->type != HS_TRACE_CYCLE) {
		r->stats.nr_passed += hs_replay_is_call(r->ahead);
		hs_replay_advance(r);
	}
	if (r->error)
		return hs_replay_error(r, err);
	if (!r->ahead)
		return 0;
	if (r->ahead->type == HS_TRACE_GUEST) {
		int rc = r->nr_guests < HS_TRACE_MAX_GUESTS
			     ? hs_replay_view_create(r, r->ahead, r->nr_guests, &out->view)
			     : -ENOSPC;

		if (rc)
			return hs_error_set(err, rc, "no room for a replayed guest: %s", strerror(-rc));
		r->nr_guests++;
		out->guest = r->ahead->u.guest;
		out->guest.regions = NULL;
		out->step = HS_REPLAY_GUEST;
	} else {
		out->step = HS_REPLAY_CYCLE;
		r->taken = false;
	}
	hs_replay_advance(r);
	return 0;
}

static bool same_decision(const struct hs_policy_decision *a, const struct hs_policy_decision *b)
{
	return a->action == b->action && a->reason == b->reason && a->gain == b->gain && a->ban == b->ban &&
	       hs_bits_equal(&a->pages, &b->pages);
}

void hs_replay_decided(struct hs_replay *r, const struct hs_view *view, const struct hs_policy_decision *decisions)
{
	const uint32_t guest = ((const struct hs_replay_view *)(const void *)view)->guest;
	uint64_t seen = 0;

	while (!r->error && r->ahead && (r->ahead->type == HS_TRACE_CLOCK || r->ahead->type == HS_TRACE_FINE))
		hs_replay_advance(r);
	while (!r->error && r->ahead && r->ahead->type == HS_TRACE_DECISIONS && r->ahead->guest == guest &&
	       seen < view->nr_huge) {
		for (size_t i = 0; i < r->ahead->nr; i++) {
			const struct hs_trace_decision *d = &r->ahead->u.decisions[i];

			r->stats.nr_differ += !same_decision(&d->decision, &decisions[d->huge]);
		}
		seen += r->ahead->nr;
		hs_replay_advance(r);
	}
	r->stats.nr_decisions += seen;
	if (!r->error && seen != view->nr_huge)
		(void)hs_replay_diverged(r, "decisions were made on a guest");
}

int hs_replay_error(const struct hs_replay *r, struct hs_error *err)
{
	return r->error ? hs_error_set(err, r->error, "%s", r->why.text) : 0;
}

void hs_replay_stats(const struct hs_replay *r, struct hs_replay_stats *out)
{
	*out = r->stats;
}
