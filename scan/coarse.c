/* The coarse phase: one bit a round for each huge page, and what follows from the last R of them. */
#include "hs/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct hs_coarse {
	struct hs_coarse_config cfg;
	uint32_t nr_huge;
	struct hs_coarse_record *records; /* [nr_huge] */
	struct hs_huge_sample *samples;   /* [nr_huge]: a round is recorded as a whole or not at all */
	uint64_t *skip;                   /* one bit for each huge page */
};

_Static_assert(sizeof(struct hs_coarse_record) == 16, "a record is 16 bytes");

static size_t skip_words(uint32_t nr_huge)
{
	return ((size_t)nr_huge + 63) / 64;
}

static uint64_t low_bits(uint32_t nr)
{
	return nr >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << nr) - 1;
}

int hs_coarse_create(struct hs_coarse **out, uint32_t nr_huge, const struct hs_coarse_config *cfg)
{
	struct hs_coarse *c;

	*out = NULL;
	if (!cfg->rounds || cfg->rounds > 64 || !cfg->hot_rounds || cfg->hot_rounds > cfg->rounds)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->cfg = *cfg;
	c->nr_huge = nr_huge;
	/* One more than needed: a guest without memory is odd, but not an error here. */
	c->records = calloc((size_t)nr_huge + 1, sizeof(*c->records));
	c->samples = calloc((size_t)nr_huge + 1, sizeof(*c->samples));
	c->skip = calloc(skip_words(nr_huge) + 1, sizeof(*c->skip));
	if (!c->records || !c->samples || !c->skip) {
		hs_coarse_destroy(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

void hs_coarse_destroy(struct hs_coarse *c)
{
	if (!c)
		return;
	free(c->records);
	free(c->samples);
	free(c->skip);
	free(c);
}

static void record(const struct hs_coarse *c, struct hs_coarse_record *r, const struct hs_huge_sample *s, bool skip)
{
	r->state = s->state;
	if (s->state == HS_MAP_UNKNOWN || s->state == HS_MAP_ABSENT || (s->accessed == HS_UNKNOWN && !skip)) {
		*r = (struct hs_coarse_record){ .state = s->state, .nr_present = s->nr_present };
		return;
	}
	r->nr_present = s->nr_present;
	/* What was seen accessed then, and was not cleared since: this round says nothing of it. */
	if (skip || (s->accessed == HS_YES_BEFORE && r->nr_known && (r->history & 1)))
		return;
	r->nr_accessed = s->nr_accessed;
	r->history = (r->history << 1) | (s->accessed >= HS_YES);
	if (r->nr_known < c->cfg.rounds)
		r->nr_known++;
	if (s->accessed >= HS_YES)
		r->cold_rounds = 0;
	else if (r->cold_rounds < UINT16_MAX)
		r->cold_rounds++;
}

int hs_coarse_round(struct hs_coarse *c, struct hs_view *v, struct hs_error *err)
{
	int rc;

	if (v->nr_huge != c->nr_huge)
		return hs_error_set(err, -EINVAL, "the view has %u huge pages, the records are of %u: make new records",
				    v->nr_huge, c->nr_huge);
	if (!c->nr_huge)
		return 0;
	rc = hs_view_sample_huge(v, 0, c->nr_huge, c->samples, err);
	if (rc)
		return rc;
	for (hs_huge_nr h = 0; h < c->nr_huge; h++)
		record(c, &c->records[h], &c->samples[h], (c->skip[h / 64] >> (h % 64)) & 1);
	memset(c->skip, 0, skip_words(c->nr_huge) * sizeof(*c->skip));
	return 0;
}

void hs_coarse_skip(struct hs_coarse *c, hs_huge_nr huge)
{
	if (huge < c->nr_huge)
		c->skip[huge / 64] |= UINT64_C(1) << (huge % 64);
}

void hs_coarse_forget(struct hs_coarse *c, hs_huge_nr huge)
{
	if (huge < c->nr_huge)
		c->records[huge] = (struct hs_coarse_record){ .state = c->records[huge].state };
}

const struct hs_coarse_record *hs_coarse_get(const struct hs_coarse *c, hs_huge_nr huge)
{
	return huge < c->nr_huge ? &c->records[huge] : NULL;
}

uint32_t hs_coarse_count(const struct hs_coarse_record *r)
{
	return (uint32_t)__builtin_popcountll(r->history & low_bits(r->nr_known));
}

enum hs_heat hs_coarse_heat(const struct hs_coarse *c, hs_huge_nr huge)
{
	const struct hs_coarse_record *r = hs_coarse_get(c, huge);
	uint32_t count;

	if (!r)
		return HS_HEAT_UNKNOWN;
	count = hs_coarse_count(r);
	if (count >= c->cfg.hot_rounds)
		return HS_HEAT_HOT;
	if (r->nr_known < c->cfg.rounds)
		return HS_HEAT_UNKNOWN;
	return count ? HS_HEAT_WARM : HS_HEAT_COLD;
}
