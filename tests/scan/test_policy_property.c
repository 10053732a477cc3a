/* SPDX-License-Identifier: Apache-2.0 */
/* What holds of the policy for any input: random inputs from a fixed seed, checked against the promises one by one. */
#include "hs_test.h"

#include <string.h>

#include "hs/policy.h"

#define NR_INPUTS 200000

/* Check notes each of its own assertions that is passed, which is far too slow for so many. */
#define HOLDS(what)                                                                                                    \
	do {                                                                                                           \
		if (!(what))                                                                                           \
			ck_abort_msg("input %d: does not hold: %s", input_nr, #what);                                  \
	} while (0)

static int input_nr;

static uint64_t seed;

static uint64_t random_bits(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(random_bits() % n);
}

/* Empty, full, or of any density in between. */
static struct hs_bits512 random_set(void)
{
	struct hs_bits512 b = { { 0 } };
	uint32_t kind = below(6);

	if (kind == 0)
		return b;
	if (kind == 1)
		return hs_bits_full();
	for (int i = 0; i < 8; i++) {
		b.w[i] = random_bits();
		if (kind >= 3)
			b.w[i] &= random_bits();
		if (kind >= 4)
			b.w[i] &= random_bits();
		if (kind >= 5)
			b.w[i] |= random_bits() | random_bits();
	}
	return b;
}

static void random_fine(struct hs_fine_result *f)
{
	struct hs_bits512 hot = random_set();

	memset(f, 0, sizeof(*f));
	f->known = (uint8_t)(below(4) ? HS_YES : HS_UNKNOWN);
	f->gave_up = (uint8_t)(below(4) == 0);
	f->samples = (uint8_t)below(7);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (f->samples && hs_bits_test(&hot, i))
			f->count[i] = (uint8_t)(1 + below(f->samples));
	f->nr_hot = (uint16_t)hs_bits_count(&hot);
}

static void random_config(struct hs_policy_config *cfg)
{
	*cfg = HS_POLICY_CONFIG_DEFAULT;
	if (below(3))
		return;
	cfg->max_hot = below(513);
	cfg->hot_count = below(7);
	cfg->min_gain_cold = below(600);
	cfg->min_gain_hot = below(600);
	cfg->min_cold_rounds = below(20);
	cfg->unshare_hot_rounds = below(11);
	cfg->unshare_hot_pages = below(513);
	cfg->ban_breaks = below(100);
	cfg->ban_cycles = below(20);
}

/* With what demoting asks for. */
static void random_demoting(struct hs_policy_config *cfg, struct hs_policy_input *in)
{
	cfg->demote = 1;
	cfg->max_compressed_percent = below(3) ? 75 : below(101);
	cfg->pressed_gain_hot = below(3) ? 16 : below(600);
	cfg->demote_after_s = below(3) ? 120 : below(300);
	in->swapped = below(2) ? hs_bits_andnot(random_set(), in->present) : (struct hs_bits512){ { 0 } };
	in->idle = below(3) ? random_set() : (struct hs_bits512){ { 0 } };
	in->idle_s = below(300);
	in->watched_s = below(2) ? 0 : below(600);
	in->compressed_percent = (uint8_t)below(101);
	in->pressure = (uint8_t)below(130);
	in->stuck = below(3) ? (struct hs_bits512){ { 0 } } : random_set();
}

static void random_input(struct hs_policy_input *in, struct hs_fine_result *fine)
{
	memset(in, 0, sizeof(*in));
	in->state = (uint8_t)below(HS_MAP_PARTIAL + 1);
	in->heat = (uint8_t)below(HS_HEAT_HOT + 1);
	in->cold_rounds = (uint16_t)(in->heat == HS_HEAT_HOT ? below(5) : below(30));
	in->nr_accessed_rounds = below(11);
	if (below(2)) {
		random_fine(fine);
		in->fine = fine;
	}
	in->present = in->state == HS_MAP_HUGE ? hs_bits_full() : random_set();
	in->hashed = random_set();
	in->duplicate = random_set();
	in->zero = below(2) ? random_set() : (struct hs_bits512){ { 0 } };
	in->accessed = below(2) ? random_set() : (struct hs_bits512){ { 0 } };
	in->shared = below(2) ? random_set() : (struct hs_bits512){ { 0 } };
	in->wanted = below(2) ? random_set() : in->shared;
	in->refused = below(4) ? (struct hs_bits512){ { 0 } } : random_set();
	in->breaks = below(3) ? 0 : below(200);
	in->ban_left = below(4) ? 0 : below(100);
	in->new_left = below(4) ? 0 : below(3);
	in->nr_unshared = below(3) ? 0 : below(40);
}

static bool is_empty(struct hs_bits512 b)
{
	return hs_bits_count(&b) == 0;
}

/* Hot by the fine phase, told apart from the policy's own arithmetic. */
static bool is_hot(const struct hs_policy_config *cfg, const struct hs_fine_result *fine, unsigned int i)
{
	if (!fine || !fine->count[i])
		return false;
	return fine->count[i] >= cfg->hot_count || fine->count[i] == fine->samples;
}

static void check_share(const struct hs_policy_config *cfg, const struct hs_policy_input *in,
			const struct hs_policy_decision *d)
{
	struct hs_bits512 shared = in->state == HS_MAP_HUGE ? (struct hs_bits512){ { 0 } } : in->shared;
	struct hs_bits512 fresh = hs_bits_andnot(d->pages, shared);

	HOLDS(is_empty(hs_bits_andnot(d->pages, in->present)));
	HOLDS(is_empty(hs_bits_and(fresh, in->accessed)));
	HOLDS(is_empty(hs_bits_andnot(fresh, hs_bits_or(in->zero, hs_bits_and(in->hashed, in->duplicate)))));
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		HOLDS(!hs_bits_test(&fresh, i) || !is_hot(cfg, in->fine, i));
	HOLDS(is_empty(hs_bits_and(fresh, in->refused)));
	/* Something new, or something to take back, or there were no reason to touch anything; and sharing is not taken
	 * away by the way. */
	HOLDS(d->gain > 0 || !is_empty(hs_bits_and(in->wanted, in->refused)));
	HOLDS(d->gain == hs_bits_count(&fresh));
	HOLDS(is_empty(hs_bits_andnot(hs_bits_and(shared, in->present), d->pages)));
	HOLDS(in->ban_left == 0 && in->new_left == 0);
	HOLDS(in->state == HS_MAP_HUGE || in->state == HS_MAP_SPLIT || in->state == HS_MAP_PARTIAL);
	HOLDS(in->heat != HS_HEAT_UNKNOWN);
	if (in->state != HS_MAP_HUGE)
		return;
	/* A huge mapping is given up for a long cold one, or for what the fine phase answered for. */
	if (in->heat == HS_HEAT_COLD) {
		HOLDS(in->cold_rounds >= cfg->min_cold_rounds);
		HOLDS(d->gain >= cfg->min_gain_cold);
		return;
	}
	HOLDS(in->heat == HS_HEAT_HOT);
	HOLDS(in->fine);
	HOLDS(in->fine->known == HS_YES);
	HOLDS(in->fine->gave_up == 0);
	HOLDS(d->gain >= cfg->min_gain_hot);
}

START_TEST(test_scan_policy_property_promises)
{
	uint32_t seen[HS_ACT_UNSHARE + 1] = { 0 };

	seed = 1;
	for (input_nr = 0; input_nr < NR_INPUTS; input_nr++) {
		struct hs_policy_config cfg;
		struct hs_policy_input in;
		struct hs_fine_result fine;
		struct hs_policy_decision d, again;

		random_config(&cfg);
		random_input(&in, &fine);
		d = hs_policy_decide(&cfg, &in);
		again = hs_policy_decide(&cfg, &in);
		HOLDS(!memcmp(&d, &again, sizeof(d)));
		HOLDS(d.action <= HS_ACT_UNSHARE);
		HOLDS(d.reason < HS_NR_REASONS);
		HOLDS(d.gain <= HS_BASE_PER_HUGE);
		seen[d.action]++;
		if (d.action == HS_ACT_SHARE)
			check_share(&cfg, &in, &d);
		else
			HOLDS(is_empty(d.pages));
		if (d.ban) {
			HOLDS(d.action == HS_ACT_UNSHARE);
			HOLDS(d.ban <= cfg.ban_cycles * 16);
			HOLDS(d.ban >= cfg.ban_cycles);
		}
		/* Nothing that is unknown is acted on. */
		if (in.state == HS_MAP_UNKNOWN || in.state == HS_MAP_ABSENT)
			HOLDS(d.action == HS_ACT_LEAVE);
		if (in.heat == HS_HEAT_UNKNOWN)
			HOLDS(d.action == HS_ACT_LEAVE || d.action == HS_ACT_UNSHARE);
		if (in.heat == HS_HEAT_HOT && in.state == HS_MAP_HUGE && in.fine && in.fine->known != HS_YES)
			HOLDS(d.action == HS_ACT_LEAVE || d.action == HS_ACT_UNSHARE);
		/* The fine phase is for hot huge mappings that promise something. */
		if (d.action == HS_ACT_LOOK_FINE) {
			HOLDS(in.state == HS_MAP_HUGE);
			HOLDS(in.heat == HS_HEAT_HOT);
			HOLDS(!in.fine);
			HOLDS(d.gain >= cfg.min_gain_hot);
		}
		if (d.action == HS_ACT_KEEP_HUGE)
			HOLDS(in.heat == HS_HEAT_HOT);
	}
	/* The inputs reach everything. */
	for (int a = 0; a <= HS_ACT_UNSHARE; a++)
		HOLDS(seen[a] > NR_INPUTS / 1000);
}
END_TEST

/* Which base pages may be demoted, told apart from the policy's own arithmetic. */
static void check_demote(const struct hs_policy_config *cfg, const struct hs_policy_input *in,
			 const struct hs_policy_decision *d)
{
	struct hs_bits512 shared = in->state == HS_MAP_HUGE ? (struct hs_bits512){ { 0 } } : in->shared;

	HOLDS(d->action == HS_ACT_SHARE || d->action == HS_ACT_DEMOTE);
	HOLDS(!in->ban_left && in->heat != HS_HEAT_UNKNOWN);
	HOLDS(in->idle_s >= cfg->demote_after_s);
	HOLDS(!cfg->max_compressed_percent ||
	      (in->compressed_percent && in->compressed_percent <= cfg->max_compressed_percent));
	HOLDS(hs_bits_subset(&d->demote, &in->present) && hs_bits_subset(&d->demote, &in->hashed));
	HOLDS(hs_bits_subset(&d->demote, &in->idle));
	HOLDS(is_empty(hs_bits_and(d->demote, hs_bits_or(in->accessed, in->zero))));
	HOLDS(is_empty(hs_bits_and(d->demote, hs_bits_or(in->duplicate, in->wanted))));
	HOLDS(is_empty(hs_bits_and(d->demote, hs_bits_or(shared, d->pages))));
	HOLDS(is_empty(hs_bits_and(d->demote, hs_bits_or(in->stuck, in->refused))));
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		HOLDS(!hs_bits_test(&d->demote, i) || !is_hot(cfg, in->fine, i));
	/* A huge mapping in use is not lost for it before the fine phase has looked. */
	if (in->state == HS_MAP_HUGE && in->heat == HS_HEAT_HOT)
		HOLDS(in->fine && in->fine->known == HS_YES && !in->fine->gave_up);
}

START_TEST(test_scan_policy_property_demoting)
{
	uint32_t seen[HS_NR_ACTIONS] = { 0 }, both = 0;

	seed = 5;
	for (input_nr = 0; input_nr < NR_INPUTS; input_nr++) {
		struct hs_policy_decision d, without;
		struct hs_policy_config cfg, off;
		struct hs_policy_input in, bare;
		struct hs_fine_result fine;

		random_config(&cfg);
		random_input(&in, &fine);
		bare = in;
		off = cfg;
		random_demoting(&cfg, &in);
		d = hs_policy_decide(&cfg, &in);
		seen[d.action]++;
		HOLDS(d.gain <= HS_BASE_PER_HUGE);
		HOLDS(d.action == HS_ACT_SHARE || is_empty(d.pages));
		HOLDS(d.action != HS_ACT_DEMOTE || !is_empty(d.demote));
		if (!is_empty(d.demote))
			check_demote(&cfg, &in, &d);
		both += d.action == HS_ACT_SHARE && !is_empty(d.demote);
		if (in.state == HS_MAP_UNKNOWN || in.state == HS_MAP_ABSENT)
			HOLDS(d.action == HS_ACT_LEAVE);
		if (d.action == HS_ACT_PROMOTE) {
			HOLDS(in.heat == HS_HEAT_HOT && !is_empty(in.swapped));
			HOLDS(is_empty(hs_bits_and(in.shared, in.present)));
		}
		if (d.action == HS_ACT_KEEP_HUGE)
			HOLDS(in.heat == HS_HEAT_HOT);
		/* Sharing loses nothing by it: what would be shared without it is shared with it. */
		without = hs_policy_decide(&off, &bare);
		if (without.action == HS_ACT_SHARE && d.action != HS_ACT_PROMOTE) {
			HOLDS(d.action == HS_ACT_SHARE);
			HOLDS(hs_bits_subset(&without.pages, &d.pages));
		}
		/* Off, none of it counts. */
		in.idle_s = 1000;
		off.demote = 0;
		d = hs_policy_decide(&off, &in);
		HOLDS(!memcmp(&d, &without, sizeof(d)));
	}
	for (int a = 0; a < HS_NR_ACTIONS; a++)
		ck_assert_msg(seen[a] > NR_INPUTS / 5000, "%s: %u", hs_policy_action_name((enum hs_policy_action)a),
			      seen[a]);
	HOLDS(both > NR_INPUTS / 2000);
}
END_TEST

/* Knowing a base page to be hot never makes more of the others shared, and never gets it shared itself. */
START_TEST(test_scan_policy_property_hot_pages_only_take_away)
{
	const struct hs_policy_config cfg = HS_POLICY_CONFIG_DEFAULT;

	seed = 2;
	for (input_nr = 0; input_nr < NR_INPUTS / 4; input_nr++) {
		struct hs_policy_input in, hotter;
		struct hs_fine_result fine;
		struct hs_policy_decision d, e;
		unsigned int i = below(HS_BASE_PER_HUGE);

		random_input(&in, &fine);
		hotter = in;
		hs_bits_set(&hotter.accessed, i);
		d = hs_policy_decide(&cfg, &in);
		e = hs_policy_decide(&cfg, &hotter);
		if (e.action != HS_ACT_SHARE)
			continue;
		HOLDS(d.action == HS_ACT_SHARE);
		HOLDS(is_empty(hs_bits_andnot(e.pages, d.pages)));
		HOLDS(in.state != HS_MAP_HUGE && hs_bits_test(&in.shared, i) ? true : !hs_bits_test(&e.pages, i));
	}
}
END_TEST

/* Doing what it says and asking again gives no change: decisions do not chase each other. */
START_TEST(test_scan_policy_property_settles)
{
	const struct hs_policy_config cfg = HS_POLICY_CONFIG_DEFAULT;

	seed = 3;
	for (input_nr = 0; input_nr < NR_INPUTS / 4; input_nr++) {
		struct hs_policy_input in;
		struct hs_fine_result fine;
		struct hs_policy_decision d;
		bool refused;

		random_input(&in, &fine);
		in.breaks = 0;
		d = hs_policy_decide(&cfg, &in);
		if (d.action == HS_ACT_SHARE) {
			in.state = HS_MAP_SPLIT;
			in.shared = in.wanted = d.pages;
		} else if (d.action == HS_ACT_UNSHARE) {
			in.state = HS_MAP_HUGE;
			in.present = hs_bits_full();
			memset(&in.shared, 0, sizeof(in.shared));
			memset(&in.wanted, 0, sizeof(in.wanted));
			memset(&in.accessed, 0, sizeof(in.accessed));
			in.fine = NULL;
			in.nr_unshared++;
			in.ban_left = in.ban_left ? in.ban_left : d.ban;
		} else {
			continue;
		}
		refused = d.reason == HS_WHY_DOES_NOT_MERGE;
		d = hs_policy_decide(&cfg, &in);
		/* Given back because it does not merge, it may be shared without what did not. */
		HOLDS(is_empty(hs_bits_and(hs_bits_andnot(d.pages, in.shared), in.refused)));
		if (refused && d.action == HS_ACT_SHARE)
			continue;
		/* Shared again right after it was unshared, or unshared right after it was shared: never, for the same
		 * huge page in the same heat. */
		HOLDS(d.action != HS_ACT_SHARE);
		if (in.state == HS_MAP_SPLIT && !(in.heat == HS_HEAT_HOT && hs_bits_count(&in.accessed) > 100))
			HOLDS(d.action != HS_ACT_UNSHARE);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scan/policy_property");
	TCase *t = tcase_create("policy_property");

	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_scan_policy_property_demoting);
	tcase_add_test(t, test_scan_policy_property_promises);
	tcase_add_test(t, test_scan_policy_property_hot_pages_only_take_away);
	tcase_add_test(t, test_scan_policy_property_settles);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
