/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy: what to do with one huge page. A pure function; the whole rule with every threshold is in docs/policy.md.
 *
 * Three ideas carry it. What is not known is left alone. A huge mapping that is in use is worth more than a few base
 * pages, one that is not in use is worth next to nothing. And what was decided is not undone for a reason as small as
 * the one it was done for.
 *
 * Why the thresholds are what they are:
 *
 * max_hot 100 is HugeScope's. Skew is bimodal (few huge pages have between 50 and 500 base pages touched), so the exact
 * figure matters little, and being comparable matters more.
 *
 * hot_count 1: a base page accessed in any sample is hot. Sharing a page that is written costs a fault and a copy in
 * the guest's path; leaving a page out that would have been fit costs 4 KiB.
 *
 * min_gain_cold 2: a cold huge page has no accesses to slow down, so what counts is memory and what it may cost later.
 * One lone base page needs up to four VMAs more (its own borders, and those of the huge page for NOHUGEPAGE) with their
 * anon_vma chains, 256 bytes or so each, and its items in ksmd's trees: some 1.2 KiB of the guest's side, while the
 * frame that it saves is its partner's as well, so 2 KiB for this side: hardly a gain, for the risk of a copy of 2 MiB
 * when the huge page turns hot. From two on, the huge page's borders are paid for. Going higher would lose real sharing
 * where identical pages are sparse: if a huge page has L of them on average, spread at random, huge pages with fewer
 * than 4 hold 24% of them at L = 4 and 1.4% at L = 8, those with fewer than 2 hold 1.8% and 0.03%.
 *
 * min_gain_hot 64: a hot, cold-dominated huge page loses a mapping that is in use. Splitting costs its accesses up to
 * half as much again (random reads: 260 to 385 ns when all of 2 GiB is read at random, so at worst), which is
 * worth a saving that can be seen, an eighth of the huge page, not a handful of pages.
 *
 * min_cold_rounds 10: the coarse phase's whole window, so that being cold is as well founded as being hot.
 *
 * unshare_hot_pages 160, unshare_hot_rounds 6: well above max_hot, so that a huge page on the border of one threshold
 * is far from the other; hot in the coarse phase's own sense.
 *
 * ban_breaks 64: an eighth of the huge page was written after it had been found cold. Each break was a copy in the
 * guest's path. The first ban of 2 cycles doubles up to 32, so a huge page that flaps for ever costs ever less, and one
 * that flapped once comes back soon. Most of those are pages that turned hot, which nobody would share meanwhile
 * anyway: where hot memory moves, longer bans kept memory unshared that had long been cold again (docs/tuning.md).
 */
/*
 * Demoting, where it is on, adds to what a huge page would gain: what is cold, exists once, and compresses.
 *
 * demote_after_s 120: a refault costs the guest some 12 to 50 us, sharing a page that is read nothing. What pays by the
 * time that it stays away has to have been away for long.
 *
 * max_compressed_percent 75: zram stores what does not go below three quarters of a page as it is, and gains nothing.
 *
 * pressed_gain_hot 16: the more memory is short, the more a base page is worth against a huge mapping; in between,
 * min_gain_hot goes down to it in proportion. A huge page of which less than 1 in 32 could go stays whole in any case.
 */
#include "hs/policy.h"

#define MAX_BAN_DOUBLINGS 4

/* What the input says, put so that the rules can be read. */
struct facts {
	const struct hs_policy_config *cfg;
	const struct hs_policy_input *in;
	struct hs_bits512 alike;  /* present, and the content promises that it can be shared */
	struct hs_bits512 shared; /* present and shared */
	struct hs_bits512 fresh;  /* could be shared newly: alike, digest still good, neither hot nor accessed */
	struct hs_bits512 single; /* could be demoted, once cold for long enough: read, like no other, neither hot nor
				     accessed, and it compresses */
	struct hs_bits512 ripe;   /* and has been cold for long enough */
	struct hs_bits512 away;   /* demoted */
	bool cold;                /* the huge page, for long enough */
	bool hot;                 /* the huge page */
	bool fine_known;
	bool evenly_hot; /* by the fine phase */
};

static unsigned int at_least_1(uint32_t n)
{
	return n ? n : 1;
}

static struct hs_policy_decision decide(enum hs_policy_action action, enum hs_policy_reason reason, unsigned int gain)
{
	return (
	    struct hs_policy_decision){ .action = (uint8_t)action, .reason = (uint8_t)reason, .gain = (uint16_t)gain };
}

/* Base pages that are hot by the fine phase. More samples cannot be asked for than were taken. */
static struct hs_bits512 hot_pages(const struct hs_policy_config *cfg, const struct hs_fine_result *fine)
{
	struct hs_bits512 hot = hs_bits_empty();
	unsigned int limit = at_least_1(cfg->hot_count < fine->samples ? cfg->hot_count : fine->samples);

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (fine->count[i] >= limit)
			hs_bits_set(&hot, i);
	return hot;
}

/* What may be demoted; `unfit`: hot, or accessed. */
static void look_at_single(struct facts *f, struct hs_bits512 unfit)
{
	const struct hs_policy_input *in = f->in;
	const uint32_t most = f->cfg->max_compressed_percent;
	struct hs_bits512 not_single;

	if (!f->cfg->demote)
		return;
	f->away = hs_bits_andnot(in->swapped, in->present);
	if (most && (!in->compressed_percent || in->compressed_percent > most))
		return;
	/* What is wanted may be shared any moment; what the kernel does not merge it may not move either. */
	not_single = hs_bits_or(hs_bits_or(in->duplicate, in->zero), hs_bits_or(in->wanted, in->refused));
	not_single = hs_bits_or(hs_bits_or(not_single, f->shared), hs_bits_or(unfit, in->stuck));
	f->single = hs_bits_andnot(hs_bits_and(in->present, in->hashed), not_single);
	if (in->idle_s >= f->cfg->demote_after_s)
		f->ripe = hs_bits_and(f->single, in->idle);
}

static void look_at(struct facts *f, const struct hs_policy_config *cfg, const struct hs_policy_input *in)
{
	struct hs_bits512 unfit = in->accessed;

	*f = (struct facts){ .cfg = cfg, .in = in };
	f->hot = in->heat == HS_HEAT_HOT;
	f->cold = in->heat == HS_HEAT_COLD && in->cold_rounds >= cfg->min_cold_rounds;
	if (in->fine) {
		struct hs_bits512 hot = hot_pages(cfg, in->fine);

		/* Even an answer that was cut short says which base pages it saw accessed. */
		unfit = hs_bits_or(unfit, hot);
		f->fine_known = in->fine->known == HS_YES && in->fine->samples;
		/* What was given up has more hot base pages than it had time to show. */
		f->evenly_hot = f->fine_known && (in->fine->gave_up || hs_bits_count(&hot) > cfg->max_hot);
	}
	f->alike = hs_bits_andnot(hs_bits_and(in->present, hs_bits_or(in->duplicate, in->zero)), in->refused);
	/* What is mapped huge shares nothing, whatever the last verification said. */
	if (in->state != HS_MAP_HUGE)
		f->shared = hs_bits_and(in->present, in->shared);
	f->fresh = hs_bits_and(f->alike, hs_bits_or(hs_bits_and(in->hashed, in->duplicate), in->zero));
	f->fresh = hs_bits_andnot(hs_bits_andnot(f->fresh, unfit), f->shared);
	look_at_single(f, unfit);
}

/* Base pages that a hot huge page has to gain, to lose its mapping. */
static unsigned int gain_hot(const struct facts *f)
{
	const uint32_t calm = f->cfg->min_gain_hot, pressed = f->cfg->pressed_gain_hot;
	const uint32_t pressure = f->in->pressure < 100 ? f->in->pressure : 100;

	if (!f->cfg->demote || pressed >= calm)
		return at_least_1(calm);
	return at_least_1(calm - (uint32_t)((uint64_t)(calm - pressed) * pressure / 100));
}

static uint32_t ban(const struct hs_policy_config *cfg, uint32_t doublings)
{
	return cfg->ban_cycles << (doublings < MAX_BAN_DOUBLINGS ? doublings : MAX_BAN_DOUBLINGS);
}

static struct hs_policy_decision share(const struct facts *f, enum hs_policy_reason reason)
{
	struct hs_policy_decision d = decide(HS_ACT_SHARE, reason, hs_bits_count(&f->fresh) + hs_bits_count(&f->ripe));

	/*
	 * A shared page that the guest reads stays: its mapping is split either way, so it loses nothing, and taking it
	 * out would cost a copy and a mergeable range. One that is written leaves by itself.
	 */
	d.pages = hs_bits_or(f->shared, f->fresh);
	d.demote = f->ripe;
	return d;
}

static struct hs_policy_decision demote(const struct facts *f, enum hs_policy_reason reason)
{
	struct hs_policy_decision d = decide(HS_ACT_DEMOTE, reason, hs_bits_count(&f->ripe));

	d.demote = f->ripe;
	return d;
}

/* Whichever of the two there is something for. */
static struct hs_policy_decision free_some(const struct facts *f, enum hs_policy_reason reason)
{
	return hs_bits_any(&f->fresh) ? share(f, reason) : demote(f, reason);
}

/* Mapped by one huge entry: there is a mapping to lose. */
static struct hs_policy_decision decide_huge(const struct facts *f)
{
	unsigned int alike = hs_bits_count(&f->alike);
	unsigned int single = hs_bits_count(&f->single);
	unsigned int ripe = hs_bits_count(&f->ripe);
	unsigned int fresh = hs_bits_count(&f->fresh);

	if (f->cold) {
		if (fresh + ripe >= at_least_1(f->cfg->min_gain_cold))
			return free_some(f, HS_WHY_COLD);
		/* A cold huge page shows by its own accessed bit how long it has been so: it waits as it is. */
		if (fresh + single >= at_least_1(f->cfg->min_gain_cold))
			return decide(HS_ACT_LEAVE, HS_WHY_NOT_COLD_LONG, fresh + single);
		return decide(HS_ACT_LEAVE, HS_WHY_NOTHING_TO_GAIN, fresh);
	}
	if (!f->hot)
		return decide(HS_ACT_LEAVE, HS_WHY_WARM, fresh);
	if (!f->in->fine) {
		/* Digests age while the huge page is hot; as a promise, that the fine phase will look into, they do. */
		if (alike + single < gain_hot(f))
			return decide(HS_ACT_KEEP_HUGE, HS_WHY_NOTHING_TO_GAIN, alike + single);
		return decide(HS_ACT_LOOK_FINE, HS_WHY_UNKNOWN, alike + single);
	}
	if (!f->fine_known)
		return decide(HS_ACT_LEAVE, HS_WHY_UNKNOWN, fresh);
	if (f->evenly_hot)
		return decide(HS_ACT_KEEP_HUGE, HS_WHY_EVENLY_HOT, fresh);
	if (fresh + single < gain_hot(f))
		return decide(HS_ACT_KEEP_HUGE, HS_WHY_NOTHING_TO_GAIN, fresh + single);
	if (fresh)
		return share(f, HS_WHY_HOT_BLOAT);
	return decide(HS_ACT_WATCH, HS_WHY_HOT_BLOAT, single);
}

static bool turned_hot(const struct facts *f)
{
	const struct hs_bits512 accessed = hs_bits_and(f->in->accessed, f->in->present);

	return f->hot && f->in->nr_accessed_rounds >= f->cfg->unshare_hot_rounds &&
	       hs_bits_count(&accessed) > f->cfg->unshare_hot_pages;
}

/* Once may happen to any memory; what does it again is not taken again so soon. */
static struct hs_policy_decision back_to_huge(const struct facts *f, enum hs_policy_action action)
{
	struct hs_policy_decision d = decide(action, HS_WHY_TURNED_HOT, 0);

	if (f->in->nr_unshared)
		d.ban = ban(f->cfg, f->in->nr_unshared - 1);
	return d;
}

/* Mapped by base entries, and nothing of it shared yet: no mapping to lose, so any gain is one. */
static struct hs_policy_decision decide_split(const struct facts *f)
{
	struct hs_bits512 accessed = hs_bits_and(f->in->accessed, f->in->present);
	unsigned int fresh = hs_bits_count(&f->fresh);

	if (hs_bits_any(&f->away) && turned_hot(f))
		return back_to_huge(f, HS_ACT_PROMOTE);
	if (!f->cold) {
		if (f->in->fine && !f->fine_known)
			return decide(HS_ACT_LEAVE, HS_WHY_UNKNOWN, fresh);
		/* Evenly hot, it should become huge again; sharing would stand in the way. */
		if (f->evenly_hot || hs_bits_count(&accessed) > f->cfg->max_hot)
			return f->hot ? decide(HS_ACT_KEEP_HUGE, HS_WHY_EVENLY_HOT, fresh)
				      : decide(HS_ACT_LEAVE, HS_WHY_WARM, fresh);
	}
	if (fresh || hs_bits_any(&f->ripe))
		return free_some(f, f->cold ? HS_WHY_COLD : HS_WHY_HOT_BLOAT);
	if (hs_bits_any(&f->away))
		return decide(HS_ACT_LEAVE, HS_WHY_DEMOTED_ALREADY, 0);
	if (hs_bits_count(&f->single) >= (f->hot ? gain_hot(f) : 1)) {
		struct hs_policy_decision d = decide(f->hot ? HS_ACT_KEEP_HUGE : HS_ACT_LEAVE, HS_WHY_NOT_COLD_LONG, 0);

		if (f->in->watched_s < 2 * f->cfg->demote_after_s)
			return decide(HS_ACT_WATCH, HS_WHY_NOT_COLD_LONG, hs_bits_count(&f->single));
		/* Used now and then, each of them: it was split for nothing. */
		d.ban = ban(f->cfg, f->in->nr_unshared);
		return d;
	}
	return decide(f->hot ? HS_ACT_KEEP_HUGE : HS_ACT_LEAVE, HS_WHY_NOTHING_TO_GAIN, 0);
}

/* Something of it is shared. */
static struct hs_policy_decision decide_shared(const struct facts *f)
{
	/* What of it is demoted comes back as well. */
	if (turned_hot(f))
		return back_to_huge(f, HS_ACT_UNSHARE);
	if (hs_bits_none(&f->fresh) && hs_bits_none(&f->ripe))
		return decide(HS_ACT_LEAVE, HS_WHY_SHARED_ALREADY, 0);
	return free_some(f, HS_WHY_SHARED_ALREADY);
}

/*
 * What is wanted and never merges is wanted no longer: its mark costs the guest a mapping, ksmd a search in each burst,
 * and khugepaged's help. What is shared beside it stays; where nothing is, the huge page is given back.
 */
static struct hs_policy_decision without_refused(const struct facts *f, struct hs_policy_decision d)
{
	const struct hs_bits512 for_nothing = hs_bits_andnot(hs_bits_and(f->in->refused, f->in->wanted), f->shared);

	if (d.action == HS_ACT_SHARE || d.action == HS_ACT_UNSHARE || d.action == HS_ACT_PROMOTE)
		return d;
	if (hs_bits_any(&for_nothing))
		return hs_bits_any(&f->shared) ? share(f, HS_WHY_DOES_NOT_MERGE)
					       : decide(HS_ACT_UNSHARE, HS_WHY_DOES_NOT_MERGE, 0);
	if (d.reason == HS_WHY_NOTHING_TO_GAIN && hs_bits_any(&f->in->refused))
		d.reason = HS_WHY_DOES_NOT_MERGE;
	return d;
}

struct hs_policy_decision hs_policy_decide(const struct hs_policy_config *cfg, const struct hs_policy_input *in)
{
	struct hs_policy_decision d;
	struct facts f;
	bool any_shared;

	if (in->state == HS_MAP_ABSENT)
		return decide(HS_ACT_LEAVE,
			      cfg->demote && hs_bits_any(&in->swapped) ? HS_WHY_DEMOTED_ALREADY : HS_WHY_ABSENT, 0);
	if (in->state != HS_MAP_HUGE && in->state != HS_MAP_SPLIT && in->state != HS_MAP_PARTIAL)
		return decide(HS_ACT_LEAVE, HS_WHY_UNKNOWN, 0);
	if (in->new_left)
		return decide(HS_ACT_LEAVE, HS_WHY_NEW, 0);
	look_at(&f, cfg, in);
	any_shared = hs_bits_any(&f.shared);
	/* Still shared under a ban: it could not be unshared when it was banned; again. */
	if (in->ban_left)
		return decide(any_shared ? HS_ACT_UNSHARE : HS_ACT_LEAVE, HS_WHY_BANNED, 0);
	if (cfg->ban_breaks && in->breaks >= cfg->ban_breaks) {
		d = decide(HS_ACT_UNSHARE, HS_WHY_KEEPS_BREAKING, 0);
		d.ban = ban(cfg, in->nr_unshared);
		return d;
	}
	if (in->heat != HS_HEAT_COLD && in->heat != HS_HEAT_WARM && in->heat != HS_HEAT_HOT)
		return decide(HS_ACT_LEAVE, HS_WHY_UNKNOWN, 0);
	d = in->state == HS_MAP_HUGE ? decide_huge(&f) : any_shared ? decide_shared(&f) : decide_split(&f);
	return without_refused(&f, d);
}

const char *hs_policy_reason_name(enum hs_policy_reason reason)
{
	static const char *const names[HS_NR_REASONS] = {
		[HS_WHY_UNKNOWN] = "unknown",
		[HS_WHY_BANNED] = "banned",
		[HS_WHY_ABSENT] = "absent",
		[HS_WHY_NOTHING_TO_GAIN] = "nothing to gain",
		[HS_WHY_EVENLY_HOT] = "evenly hot",
		[HS_WHY_WARM] = "warm",
		[HS_WHY_HOT_BLOAT] = "hot bloat",
		[HS_WHY_COLD] = "cold",
		[HS_WHY_TURNED_HOT] = "turned hot",
		[HS_WHY_KEEPS_BREAKING] = "keeps breaking",
		[HS_WHY_SHARED_ALREADY] = "shared already",
		[HS_WHY_DOES_NOT_MERGE] = "does not merge",
		[HS_WHY_NEW] = "new",
		[HS_WHY_NOT_COLD_LONG] = "not cold for long",
		[HS_WHY_DEMOTED_ALREADY] = "demoted already",
	};

	return (unsigned int)reason < HS_NR_REASONS && names[reason] ? names[reason] : names[HS_WHY_UNKNOWN];
}

const char *hs_policy_action_name(enum hs_policy_action action)
{
	switch (action) {
	case HS_ACT_LEAVE:
		return "leave";
	case HS_ACT_KEEP_HUGE:
		return "keep huge";
	case HS_ACT_LOOK_FINE:
		return "look fine";
	case HS_ACT_SHARE:
		return "share";
	case HS_ACT_UNSHARE:
		return "unshare";
	case HS_ACT_WATCH:
		return "watch";
	case HS_ACT_DEMOTE:
		return "demote";
	case HS_ACT_PROMOTE:
		return "promote";
	}
	return "unknown";
}
