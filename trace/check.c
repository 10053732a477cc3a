/* SPDX-License-Identifier: Apache-2.0 */
/* What a record has to be: asked of each one that is written and of each one that was read. */
#include "trace_internal.h"

#define MAX_ERRNO 4095

static bool is_error(int rc)
{
	return rc <= 0 && rc >= -MAX_ERRNO;
}

static const char *check_guest(const struct hs_trace_state *s, const struct hs_trace_record *r)
{
	uint64_t sum = 0;

	if (r->guest != s->nr_guests || r->guest >= HS_TRACE_MAX_GUESTS)
		return "a guest has not the number that is next";
	for (size_t i = 0; i < r->nr; i++) {
		if (!r->u.guest.regions[i].nr_huge)
			return "a guest has an empty piece of memory";
		sum += r->u.guest.regions[i].nr_huge;
	}
	if (!sum || sum > HS_TRACE_MAX_GUEST_HUGE || sum != r->u.guest.nr_huge)
		return "a guest's memory is not the sum of its pieces, or out of its range";
	return NULL;
}

static const char *check_huge_samples(const struct hs_trace_record *r, uint32_t nr_huge)
{
	if (r->u.huge.first > nr_huge || r->nr > nr_huge - r->u.huge.first)
		return "a sample is of a huge page that the guest has not";
	for (size_t i = 0; i < r->nr; i++) {
		const struct hs_huge_sample *h = &r->u.huge.samples[i];

		if (h->state > HS_MAP_PARTIAL || h->accessed > HS_VIEW_YES_BEFORE || h->nr_present > HS_BASE_PER_HUGE ||
		    h->nr_accessed > h->nr_present || h->nr_swapped > HS_BASE_PER_HUGE - h->nr_present)
			return "a huge page's sample is out of its range";
	}
	return NULL;
}

static const char *check_base_samples(const struct hs_trace_record *r, uint32_t nr_huge)
{
	for (size_t i = 0; i < r->nr; i++) {
		const struct hs_base_sample *b = &r->u.base.samples[i];

		if (r->u.base.huge[i] >= nr_huge)
			return "a sample is of a huge page that the guest has not";
		const struct hs_bits512 both = hs_bits_and(b->swapped, b->present);

		if (b->state > HS_MAP_PARTIAL || !hs_bits_subset(&b->accessed, &b->present) || hs_bits_any(&both))
			return "a base page's sample is out of its range";
	}
	return NULL;
}

static const char *check_content(const struct hs_trace_record *r, uint32_t nr_huge)
{
	const struct hs_trace_content *c = &r->u.content;

	if (c->huge >= nr_huge)
		return "a content is of a huge page that the guest has not";
	return hs_bits_subset(&c->got, &c->want) ? NULL : "more was read than was asked for";
}

static const char *check_mapping(const struct hs_trace_record *r, uint32_t nr_huge)
{
	for (size_t i = 0; i < r->nr; i++) {
		if (r->u.mapping.huge[i] >= nr_huge)
			return "a mapping is of a huge page that the guest has not";
		if (!is_error(r->u.mapping.results[i]))
			return "a result is no error number";
	}
	return NULL;
}

static const char *check_fine(const struct hs_trace_record *r, uint32_t nr_huge)
{
	for (size_t i = 0; i < r->nr; i++) {
		const struct hs_fine_result *f = &r->u.fine[i];

		if (f->huge >= nr_huge)
			return "a fine phase's result is of a huge page that the guest has not";
		if ((f->known != HS_YES && f->known != HS_UNKNOWN) || f->nr_hot > HS_BASE_PER_HUGE)
			return "a fine phase's result is out of its range";
		for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
			if (f->count[k] > f->samples)
				return "a base page was accessed in more samples than were taken";
	}
	return NULL;
}

static const char *check_decisions(const struct hs_trace_record *r, uint32_t nr_huge)
{
	for (size_t i = 0; i < r->nr; i++) {
		const struct hs_policy_decision *d = &r->u.decisions[i].decision;

		if (r->u.decisions[i].huge >= nr_huge)
			return "a decision is on a huge page that the guest has not";
		if (d->action >= HS_NR_ACTIONS || d->reason >= HS_NR_REASONS || d->gain > HS_BASE_PER_HUGE)
			return "a decision is out of its range";
	}
	return NULL;
}

/* What is shared need not be wanted any more: it may come apart in the next cycle only. */
static const char *check_shared(const struct hs_trace_record *r, uint32_t nr_huge)
{
	for (size_t i = 0; i < r->nr; i++)
		if (r->u.shared[i].huge >= nr_huge)
			return "a huge page is shared that the guest has not";
	return NULL;
}

/* A record that is a guest's. */
static const char *check_guests_own(const struct hs_trace_state *s, const struct hs_trace_record *r)
{
	uint32_t nr_huge;

	if (r->guest >= s->nr_guests)
		return "the guest has not come yet";
	if (s->gone[r->guest])
		return "the guest is gone already";
	nr_huge = s->nr_huge[r->guest];
	switch ((enum hs_trace_type)r->type) {
	case HS_TRACE_HUGE:
		return check_huge_samples(r, nr_huge);
	case HS_TRACE_BASE:
		return check_base_samples(r, nr_huge);
	case HS_TRACE_CONTENT:
		return check_content(r, nr_huge);
	case HS_TRACE_SPLIT:
	case HS_TRACE_RESTORE:
		return check_mapping(r, nr_huge);
	case HS_TRACE_FINE:
		return check_fine(r, nr_huge);
	case HS_TRACE_DECISIONS:
		return check_decisions(r, nr_huge);
	case HS_TRACE_SHARED:
		return check_shared(r, nr_huge);
	default:
		return NULL;
	}
}

const char *hs_trace_check(const struct hs_trace_state *s, const struct hs_trace_record *r)
{
	if (!is_error(r->error))
		return "the answer is no error number";
	if (r->error && r->nr)
		return "a call that failed has results";
	switch ((enum hs_trace_type)r->type) {
	case HS_TRACE_GUEST:
		return check_guest(s, r);
	case HS_TRACE_CYCLE:
		return r->guest || !r->u.cycle ? "a cycle is malformed" : NULL;
	case HS_TRACE_CLOCK:
		return r->guest || r->u.clock.op > HS_TRACE_CLOCK_SLEEP ? "a reading of the clock is malformed" : NULL;
	default:
		return check_guests_own(s, r);
	}
}

void hs_trace_note(struct hs_trace_state *s, const struct hs_trace_record *r)
{
	if (r->type == HS_TRACE_GUEST)
		s->nr_huge[s->nr_guests++] = r->u.guest.nr_huge;
	else if (r->type == HS_TRACE_GONE)
		s->gone[r->guest] = 1;
}
