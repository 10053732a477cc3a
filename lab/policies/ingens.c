/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two policies of the artifact that look at heat.
 *
 * ingens: candidates are the base pages of cold huge pages (accessed in fewer than 6 of 10 rounds of 600 ms) and all
 * base pages that are mapped alone. A hot huge page is never split.
 *
 * hugescope: as ingens, and after each ten rounds the mappings of hot huge pages are split for one window of 5 s; those
 * with at most 100 base pages touched in it are candidates too, but for the touched ones. What a window showed is kept
 * for as long as the huge page stays hot.
 *
 * The artifact's quirks, with `quirks`:
 *   - base page 0 of each huge page is never a candidate
 *   - the first holder of a content is never split by a later match
 *   - a huge page whose tracking was aborted counts as having none touched
 *   - the back-off of its coarse phase: an access is counted again for each round that is skipped after it, none, 1, 3
 *     and so on, so that three accesses can score six
 *   - hot base pages are offered for sharing
 */
#include "lab/policy.h"
#include "scanner.h"
#include "tracker.h"

#include <errno.h>
#include <stdlib.h>

#define HOT_ROUNDS 6U
#define ROUNDS     10U
#define WINDOW_MS  5000U

/* What the fine window showed of a huge page. */
struct look {
	struct hs_bits512 touched;
	uint16_t nr_touched;
	bool known;
};

struct ingens {
	struct hs_lab_host *h;
	struct hs_lab_scanner *scanner;
	struct hs_lab_tracker *tracker;
	bool fine, quirks;
	struct hs_fine *phase;
	struct look **looks; /* [guest][huge] */
};

/* The artifact's score of a history: rounds after an access are skipped and count as accessed. */
static uint32_t score_with_back_off(const struct hs_coarse_record *r)
{
	uint32_t score = 0, skip = 0;

	for (uint32_t at = r->nr_known; at-- > 0;) {
		if (!(r->history >> at & 1)) {
			skip = 0;
			continue;
		}
		score += 1 + (skip < at ? skip : at);
		at -= skip < at ? skip : at;
		skip = 2 * skip + 1;
	}
	return score;
}

static uint32_t score(const struct ingens *x, const struct hs_coarse_record *r)
{
	return x->fine && x->quirks ? score_with_back_off(r) : hs_coarse_count(r);
}

/* Ten rounds known and hot, or cold; neither while less is known. */
static bool is_hot(const struct ingens *x, const struct hs_coarse_record *r)
{
	return r->nr_known >= ROUNDS && score(x, r) >= HOT_ROUNDS;
}

static bool is_cold(const struct ingens *x, const struct hs_coarse_record *r)
{
	return r->nr_known >= ROUNDS && score(x, r) < HOT_ROUNDS;
}

static void candidates(void *ctx, const struct hs_lab_guest *g, hs_huge_nr huge, struct hs_bits512 *out)
{
	const struct ingens *x = ctx;
	const struct hs_coarse_record *r = hs_coarse_get(x->tracker->coarse[g->nr], huge);
	const uint8_t state = hs_sim_state(g->view, huge);
	const struct look *l = x->fine ? &x->looks[g->nr][huge] : NULL;

	hs_bits_clear_all(out);
	/* Split for a look is not mapped alone: it comes back. */
	if ((state != HS_MAP_HUGE && !hs_sim_is_split_by_view(g->view, huge)) || is_cold(x, r))
		*out = hs_bits_full();
	else if (l && l->known && l->nr_touched <= HS_LAB_MAX_HOT)
		*out = x->quirks ? hs_bits_full() : hs_bits_andnot(hs_bits_full(), l->touched);
	if (x->fine && x->quirks)
		hs_bits_clear(out, 0);
}

static int wants_look(const struct ingens *x, const struct hs_lab_guest *g, hs_huge_nr huge)
{
	const struct hs_coarse_record *r = hs_coarse_get(x->tracker->coarse[g->nr], huge);
	struct look *l = &x->looks[g->nr][huge];

	if (!is_hot(x, r)) {
		l->known = false;
		return false;
	}
	return !l->known && r->state == HS_MAP_HUGE;
}

static void take(const struct ingens *x, const struct hs_lab_guest *g, const struct hs_fine_result *r)
{
	struct look *l = &x->looks[g->nr][r->huge];

	*l = (struct look){ .known = r->known == HS_YES, .nr_touched = r->nr_hot };
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (r->count[i])
			hs_bits_set(&l->touched, i);
	/* Quirk: tracking that was aborted looks like nothing touched. */
	if (!l->known && x->quirks)
		*l = (struct look){ .known = true };
}

static int look_finely(struct ingens *x, struct hs_error *err)
{
	struct hs_fine_target *t = calloc(x->h->nr_guests, sizeof(*t));
	int rc = t ? 0 : -ENOMEM;

	for (uint32_t i = 0; !rc && i < x->h->nr_guests; i++) {
		struct hs_lab_guest *g = &x->h->guests[i];
		hs_huge_nr *list = malloc(g->nr_huge * sizeof(*list));

		t[i].view = g->view;
		t[i].huge = list;
		for (hs_huge_nr huge = 0; list && huge < g->nr_huge; huge++)
			if (wants_look(x, g, huge))
				list[t[i].nr++] = huge;
		t[i].results = calloc(t[i].nr + 1, sizeof(*t[i].results));
		rc = list && t[i].results ? 0 : -ENOMEM;
	}
	if (!rc)
		rc = hs_fine_run(x->phase, t, x->h->nr_guests, hs_lab_scanner_clock(x->scanner), err);
	for (uint32_t i = 0; t && i < x->h->nr_guests; i++) {
		for (size_t k = 0; !rc && k < t[i].nr; k++)
			take(x, &x->h->guests[i], &t[i].results[k]);
		free((void *)(uintptr_t)t[i].huge);
		free(t[i].results);
	}
	free(t);
	return rc == -ENOMEM ? hs_error_set(err, rc, "out of memory for a fine window") : rc;
}

static int step(void *self, struct hs_error *err)
{
	struct ingens *x = self;
	int rc = hs_lab_tracker_round(x->tracker, hs_lab_scanner_clock(x->scanner), err);

	if (!rc && x->fine && x->tracker->rounds % ROUNDS == 0)
		rc = look_finely(x, err);
	return rc;
}

static void end(void *self)
{
	struct ingens *x = self;

	if (!x)
		return;
	for (uint32_t i = 0; x->looks && i < x->h->nr_guests; i++)
		free(x->looks[i]);
	free(x->looks);
	hs_fine_destroy(x->phase);
	hs_lab_scanner_destroy(x->scanner);
	hs_lab_tracker_destroy(x->tracker);
	free(x);
}

static int start_fine(struct ingens *x, struct hs_error *err)
{
	/* One sample a window, all hot huge pages at once, nothing is given up early: as the artifact does. */
	const struct hs_fine_config cfg = { .samples = 1,
					    .interval_ms = WINDOW_MS,
					    .max_split = UINT32_MAX,
					    .max_window_ms = UINT32_MAX,
					    .give_up_hot = 0 };
	int rc;

	x->looks = calloc(x->h->nr_guests, sizeof(*x->looks));
	rc = x->looks ? 0 : -ENOMEM;
	for (uint32_t i = 0; !rc && i < x->h->nr_guests; i++) {
		x->looks[i] = calloc(x->h->guests[i].nr_huge, sizeof(**x->looks));
		rc = x->looks[i] ? 0 : -ENOMEM;
	}
	if (!rc)
		rc = hs_fine_create(&x->phase, &cfg);
	return rc ? hs_error_set(err, rc, "cannot make the fine phase") : 0;
}

static int start_with(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, bool fine,
		      struct hs_error *err)
{
	struct ingens *x = calloc(1, sizeof(*x));
	const struct hs_lab_scan_rules rules = {
		.ctx = x, .candidates = candidates, .hold_first = fine && o->quirks, .rate = o->scan_rate
	};
	int rc;

	*self = NULL;
	if (!x)
		return hs_error_set(err, -ENOMEM, "out of memory");
	x->h = h;
	x->fine = fine;
	x->quirks = o->quirks;
	rc = hs_lab_tracker_create(&x->tracker, h, err);
	if (!rc)
		rc = hs_lab_scanner_create(&x->scanner, h, &rules, err);
	if (!rc && fine)
		rc = start_fine(x, err);
	if (rc) {
		end(x);
		return rc;
	}
	*self = x;
	return 0;
}

static int start_ingens(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err)
{
	return start_with(self, h, o, false, err);
}

static int start_hugescope(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err)
{
	return start_with(self, h, o, true, err);
}

static void spent(void *self, struct hs_lab_spent *out)
{
	const struct ingens *x = self;
	uint64_t nr_huge = 0;

	for (uint32_t i = 0; i < x->h->nr_guests; i++)
		nr_huge += x->h->guests[i].nr_huge;
	*out = (struct hs_lab_spent){
		.aged = x->tracker->aged,
		.sampled = x->tracker->sampled,
		.own_bytes = hs_lab_scanner_bytes(x->scanner) + nr_huge * sizeof(struct hs_coarse_record),
	};
	if (x->fine) {
		struct hs_fine_stats st;

		hs_fine_stats(x->phase, &st);
		out->split = st.nr_split;
		out->restored = st.nr_restored;
		out->own_bytes += nr_huge * sizeof(struct look);
	}
}

const struct hs_lab_policy hs_lab_ingens = {
	.name = "ingens",
	.label = "artifact ingens",
	.what = "base pages of cold huge pages are candidates; hot huge pages stay whole",
	.blind = true,
	.start = start_ingens,
	.step = step,
	.spent = spent,
	.end = end,
};

const struct hs_lab_policy hs_lab_hugescope = {
	.name = "hugescope",
	.label = "artifact hugescope",
	.what = "as ingens, and hot huge pages with at most 100 base pages touched in 5 s are split at one match",
	.blind = true,
	.start = start_hugescope,
	.step = step,
	.spent = spent,
	.end = end,
};
