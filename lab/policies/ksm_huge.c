/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ksm_huge: nothing is ever split. Huge pages match whole huge pages, base pages match base pages. A huge page is found
 * by a hash of its 512 contents and compared; as with base pages, it has to be found unchanged in a second pass.
 */
#include "lab/policy.h"
#include "scanner.h"

#include <errno.h>
#include <stdlib.h>

#include "lab/random.h"

/* A content of whole huge pages: who was the first to be found with it, and the set that was made of it. */
struct entry {
	uint64_t hash; /* 0: none */
	uint32_t guest;
	hs_huge_nr huge;
	uint32_t set; /* + 1; 0: nothing is merged yet */
};

struct ksm_huge {
	struct hs_lab_host *h;
	struct hs_lab_scanner *scanner; /* of base pages that are mapped alone */
	struct entry *table;            /* open addressing, a power of two */
	uint64_t size, used;
	uint64_t **last; /* [guest][huge]: its hash in the pass before */
	uint32_t guest;
	hs_huge_nr huge;
	uint64_t total; /* huge pages */
	double rate, credit;
};

static void mapped_alone(void *ctx, const struct hs_lab_guest *g, hs_huge_nr huge, struct hs_bits512 *out)
{
	(void)ctx;
	*out = hs_sim_state(g->view, huge) == HS_MAP_HUGE ? hs_bits_empty() : hs_bits_full();
}

/* 0 when some base page has a content of its own: nobody is equal to it. */
static uint64_t hash_of(const struct hs_lab_host *h, const struct hs_lab_guest *g, hs_huge_nr huge)
{
	uint64_t hash = 1;

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		const uint64_t content = hs_sim_content(g->view, huge * HS_BASE_PER_HUGE + i);

		if (content > h->nr_pooled)
			return 0;
		hash = hs_lab_mix(hash ^ content);
	}
	return hash | 1;
}

static bool equal(const struct hs_lab_guest *a, hs_huge_nr x, const struct hs_lab_guest *b, hs_huge_nr y)
{
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (hs_sim_content(a->view, x * HS_BASE_PER_HUGE + i) !=
		    hs_sim_content(b->view, y * HS_BASE_PER_HUGE + i))
			return false;
	return true;
}

static struct entry *find(struct ksm_huge *k, uint64_t hash)
{
	uint64_t at = hs_lab_mix(hash) & (k->size - 1);

	while (k->table[at].hash && k->table[at].hash != hash)
		at = (at + 1) & (k->size - 1);
	return &k->table[at];
}

/* Twice the room, when half of it is used. */
static int grow(struct ksm_huge *k)
{
	struct entry *old = k->table;
	const uint64_t old_size = k->size;

	if (2 * k->used < k->size)
		return 0;
	k->size = old_size ? 2 * old_size : 4096;
	k->table = calloc(k->size, sizeof(*k->table));
	if (!k->table) {
		k->table = old;
		k->size = old_size;
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < old_size; i++)
		if (old[i].hash)
			*find(k, old[i].hash) = old[i];
	free(old);
	return 0;
}

static int match(struct ksm_huge *k, struct hs_lab_guest *g, hs_huge_nr huge, uint64_t hash)
{
	struct entry *e;
	int rc = grow(k);

	if (rc)
		return rc;
	e = find(k, hash);
	if (!e->hash) {
		*e = (struct entry){ .hash = hash, .guest = g->nr, .huge = huge };
		k->used++;
		return 0;
	}
	if (!equal(&k->h->guests[e->guest], e->huge, g, huge) ||
	    hs_sim_state(k->h->guests[e->guest].view, e->huge) != HS_MAP_HUGE) {
		/* The first one changed since. */
		*e = (struct entry){ .hash = hash, .guest = g->nr, .huge = huge };
		return 0;
	}
	if (e->guest == g->nr && e->huge == huge)
		return 0;
	if (!e->set) {
		uint32_t set;

		rc = hs_lab_new_set(k->h, &set);
		if (rc)
			return rc;
		e->set = set + 1;
	}
	rc = hs_lab_merge_huge(k->h, &k->h->guests[e->guest], e->huge, e->set - 1);
	return rc ? rc : hs_lab_merge_huge(k->h, g, huge, e->set - 1);
}

static int scan_huge(struct ksm_huge *k, struct hs_lab_guest *g, hs_huge_nr huge)
{
	uint64_t hash;

	if (hs_sim_state(g->view, huge) != HS_MAP_HUGE)
		return 0;
	k->credit -= HS_BASE_PER_HUGE;
	k->h->counts.scanned += HS_BASE_PER_HUGE;
	if (hs_lab_is_merged_huge(g, huge))
		return 0;
	hash = hash_of(k->h, g, huge);
	if (hash && hash == k->last[g->nr][huge])
		return match(k, g, huge, hash);
	k->last[g->nr][huge] = hash;
	return 0;
}

static int step(void *self, struct hs_error *err)
{
	struct ksm_huge *k = self;
	const struct hs_clock *clock = hs_lab_scanner_clock(k->scanner);
	const double whole = (double)k->total * HS_BASE_PER_HUGE;
	int rc = clock->sleep_us(clock->ctx, 100000);

	(void)err;
	k->credit += (k->rate > 0 ? k->rate : whole) / 10;
	for (uint64_t n = 0; !rc && k->credit > 0 && n < k->total; n++) {
		rc = scan_huge(k, &k->h->guests[k->guest], k->huge);
		if (++k->huge < k->h->guests[k->guest].nr_huge)
			continue;
		k->huge = 0;
		k->guest = (k->guest + 1) % k->h->nr_guests;
	}
	return rc;
}

static void end(void *self)
{
	struct ksm_huge *k = self;

	if (!k)
		return;
	for (uint32_t i = 0; k->last && i < k->h->nr_guests; i++)
		free(k->last[i]);
	free(k->last);
	free(k->table);
	hs_lab_scanner_destroy(k->scanner);
	free(k);
}

static int start(void **self, struct hs_lab_host *h, const struct hs_lab_options *o, struct hs_error *err)
{
	const struct hs_lab_scan_rules rules = { .candidates = mapped_alone, .rate = o->scan_rate };
	struct ksm_huge *k = calloc(1, sizeof(*k));
	int rc = -ENOMEM;

	*self = k;
	if (!k)
		return hs_error_set(err, rc, "out of memory");
	k->h = h;
	k->rate = o->scan_rate;
	k->last = calloc(h->nr_guests, sizeof(*k->last));
	for (uint32_t i = 0; k->last && i < h->nr_guests; i++) {
		k->last[i] = calloc(h->guests[i].nr_huge, sizeof(**k->last));
		if (!k->last[i])
			goto nomem;
		k->total += h->guests[i].nr_huge;
	}
	if (!k->last)
		goto nomem;
	rc = hs_lab_scanner_create(&k->scanner, h, &rules, err);
	if (!rc)
		return 0;
	goto out;
nomem:
	(void)hs_error_set(err, rc, "out of memory for the records of huge pages");
out:
	end(k);
	*self = NULL;
	return rc;
}

static void spent(void *self, struct hs_lab_spent *out)
{
	const struct ksm_huge *k = self;

	*out = (struct hs_lab_spent){ .own_bytes = hs_lab_scanner_bytes(k->scanner) + k->size * sizeof(*k->table) +
						   k->total * sizeof(**k->last) };
}

const struct hs_lab_policy hs_lab_ksm_huge = {
	.name = "ksm_huge",
	.label = "artifact ksm_huge",
	.what = "huge pages match whole huge pages only; nothing is split",
	.blind = true,
	.start = start,
	.step = step,
	.spent = spent,
	.end = end,
};
