/* SPDX-License-Identifier: Apache-2.0 */
#include "scanner.h"

#include <errno.h>
#include <stdlib.h>

#define SLICE_US 100000

/* The unstable tree: who was found unchanged with this content, in this pass. */
struct unstable {
	uint32_t pass, guest;
	hs_base_nr page;
};

struct hs_lab_scanner {
	struct hs_lab_host *h;
	struct hs_lab_scan_rules rules;
	struct hs_clock clock;
	struct hs_bits512 **seen;  /* [guest][huge]: found in an earlier pass, not written since */
	struct unstable *unstable; /* [content] */
	uint32_t pass, guest;      /* where it is */
	hs_huge_nr huge;
	double credit;  /* base pages that it may go over by now */
	uint64_t total; /* huge pages of the host */
};

static void on_write(void *ctx, struct hs_lab_guest *g, hs_base_nr page)
{
	struct hs_lab_scanner *s = ctx;

	hs_bits_clear(&s->seen[g->nr][hs_lab_huge(page)], page % HS_BASE_PER_HUGE);
}

static bool is_candidate(struct hs_lab_scanner *s, const struct hs_lab_guest *g, hs_base_nr page)
{
	struct hs_bits512 bits;

	s->rules.candidates(s->rules.ctx, g, hs_lab_huge(page), &bits);
	return hs_bits_test(&bits, page % HS_BASE_PER_HUGE);
}

/* The page that the unstable tree has for this content, if it is still what it was. */
static struct hs_lab_guest *unstable_partner(struct hs_lab_scanner *s, uint64_t content, hs_base_nr *page)
{
	const struct unstable *u = &s->unstable[content];
	struct hs_lab_guest *g;

	if (u->pass != s->pass)
		return NULL;
	g = &s->h->guests[u->guest];
	*page = u->page;
	if (hs_sim_state(g->view, hs_lab_huge(u->page)) == HS_MAP_ABSENT ||
	    hs_sim_content(g->view, u->page) != content || hs_lab_is_merged(s->h, g, u->page) ||
	    !is_candidate(s, g, u->page))
		return NULL;
	return g;
}

static int match(struct hs_lab_scanner *s, struct hs_lab_guest *g, hs_base_nr page, uint64_t content)
{
	struct hs_lab_guest *other;
	hs_base_nr other_page;
	int rc = 0;

	if (content == 0 || hs_lab_merged_alike(s->h, g, content)) {
		hs_lab_merge(s->h, g, page);
		return 0;
	}
	if (!hs_bits_test(&s->seen[g->nr][hs_lab_huge(page)], page % HS_BASE_PER_HUGE)) {
		hs_bits_set(&s->seen[g->nr][hs_lab_huge(page)], page % HS_BASE_PER_HUGE);
		return 0;
	}
	other = unstable_partner(s, content, &other_page);
	if (!other) {
		s->unstable[content] = (struct unstable){ .pass = s->pass, .guest = g->nr, .page = page };
		return 0;
	}
	if (other == g && other_page == page)
		return 0;
	if (s->rules.hold_first && hs_sim_state(other->view, hs_lab_huge(other_page)) == HS_MAP_HUGE)
		rc = hs_lab_hold(s->h, other, other_page);
	else
		hs_lab_merge(s->h, other, other_page);
	hs_lab_merge(s->h, g, page);
	return rc;
}

static int scan_huge(struct hs_lab_scanner *s, struct hs_lab_guest *g, hs_huge_nr huge)
{
	struct hs_bits512 bits;

	if (hs_sim_state(g->view, huge) == HS_MAP_ABSENT)
		return 0;
	s->rules.candidates(s->rules.ctx, g, huge, &bits);
	s->credit -= hs_bits_count(&bits);
	hs_bits_for_each (i, &bits) {
		const hs_base_nr page = huge * HS_BASE_PER_HUGE + i;
		uint64_t content;
		int rc;

		/* ksmd passes over what it has merged almost for nothing. */
		if (hs_lab_is_merged(s->h, g, page))
			continue;
		s->h->counts.scanned++;
		content = hs_sim_content(g->view, page);
		if (content > s->h->nr_pooled || (s->rules.zero_only && content))
			continue;
		rc = match(s, g, page, content);
		if (rc)
			return rc;
	}
	return 0;
}

static int scan(struct hs_lab_scanner *s, uint64_t us)
{
	const double whole = (double)s->total * HS_BASE_PER_HUGE;
	int rc = 0;

	s->credit += (s->rules.rate > 0 ? s->rules.rate : whole) * (double)us / 1e6;
	/* What is not there cannot be gone over: no credit for a second round without end. */
	for (uint64_t n = 0; !rc && s->credit > 0 && n < s->total; n++) {
		rc = scan_huge(s, &s->h->guests[s->guest], s->huge);
		if (++s->huge < s->h->guests[s->guest].nr_huge)
			continue;
		s->huge = 0;
		if (++s->guest < s->h->nr_guests)
			continue;
		s->guest = 0;
		s->pass++;
	}
	if (s->credit > whole)
		s->credit = whole;
	return rc;
}

static uint64_t now_us(void *ctx)
{
	const struct hs_lab_scanner *s = ctx;

	return s->h->clock.now_us(s->h->clock.ctx);
}

static int sleep_us(void *ctx, uint64_t us)
{
	struct hs_lab_scanner *s = ctx;

	for (uint64_t slice; us; us -= slice) {
		int rc;

		slice = us < SLICE_US ? us : SLICE_US;
		rc = s->h->clock.sleep_us(s->h->clock.ctx, slice);
		if (!rc)
			rc = scan(s, slice);
		if (rc)
			return rc;
	}
	return 0;
}

const struct hs_clock *hs_lab_scanner_clock(struct hs_lab_scanner *s)
{
	return &s->clock;
}

uint64_t hs_lab_scanner_bytes(const struct hs_lab_scanner *s)
{
	return s->total * sizeof(struct hs_bits512) + (s->h->nr_pooled + 1) * sizeof(*s->unstable);
}

int hs_lab_scanner_create(struct hs_lab_scanner **out, struct hs_lab_host *h, const struct hs_lab_scan_rules *rules,
			  struct hs_error *err)
{
	struct hs_lab_scanner *s = calloc(1, sizeof(*s));
	bool ok;

	*out = NULL;
	if (!s)
		return hs_error_set(err, -ENOMEM, "out of memory");
	s->h = h;
	s->rules = *rules;
	s->clock = (struct hs_clock){ .ctx = s, .now_us = now_us, .sleep_us = sleep_us };
	s->pass = 1;
	s->seen = calloc(h->nr_guests, sizeof(*s->seen));
	s->unstable = calloc(h->nr_pooled + 1, sizeof(*s->unstable));
	ok = s->seen && s->unstable;
	for (uint32_t i = 0; ok && i < h->nr_guests; i++) {
		s->seen[i] = calloc(h->guests[i].nr_huge, sizeof(**s->seen));
		ok = s->seen[i] != NULL;
		s->total += h->guests[i].nr_huge;
	}
	if (!ok) {
		hs_lab_scanner_destroy(s);
		return hs_error_set(err, -ENOMEM, "out of memory for the scanner's records");
	}
	h->on_write = on_write;
	h->write_ctx = s;
	*out = s;
	return 0;
}

void hs_lab_scanner_destroy(struct hs_lab_scanner *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; s->seen && i < s->h->nr_guests; i++)
		free(s->seen[i]);
	if (s->h->write_ctx == s) {
		s->h->on_write = NULL;
		s->h->write_ctx = NULL;
	}
	free(s->seen);
	free(s->unstable);
	free(s);
}
