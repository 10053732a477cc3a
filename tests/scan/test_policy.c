/* SPDX-License-Identifier: Apache-2.0 */
/* The policy's rule in tables of cases. Defaults throughout, unless a case says otherwise. */
#include "hs_test.h"

#include <string.h>

#include "hs/policy.h"

static const struct hs_policy_config defaults = HS_POLICY_CONFIG_DEFAULT;

/* Base pages [from, to). */
static struct hs_bits512 span(unsigned int from, unsigned int to)
{
	struct hs_bits512 b = { { 0 } };

	for (unsigned int i = from; i < to; i++)
		hs_bits_set(&b, i);
	return b;
}

/* A half-open range of base pages; the empty one by default. */
struct range {
	unsigned int from, to;
};

/* One huge page. `fine_hot`: base pages hot by the fine phase; FINE_... what it answered. */
enum { FINE_NONE = 0, FINE_KNOWN, FINE_GAVE_UP, FINE_UNKNOWN };

struct page_case {
	const char *what;
	uint8_t state, heat;
	uint16_t cold_rounds;
	uint32_t accessed_rounds;
	struct range alike, zero, stale, accessed, shared; /* alike: duplicate and hashed, but for the stale ones */
	struct range wanted, refused;
	uint8_t fine;
	struct range fine_hot;
	uint32_t breaks, ban_left, new_left, nr_unshared;
	/* expected */
	uint8_t action, reason;
	unsigned int gain;
	struct range pages; /* for SHARE */
	uint32_t ban;
};

#define ALL                                                                                                            \
	{                                                                                                              \
		0, 512                                                                                                 \
	}

static struct hs_policy_decision decide_case(const struct page_case *c, const struct hs_policy_config *cfg)
{
	static struct hs_fine_result fine;
	struct hs_policy_input in = {
		.state = c->state,
		.heat = c->heat,
		.cold_rounds = c->cold_rounds,
		.nr_accessed_rounds = c->accessed_rounds,
		.present = span(0, c->state == HS_MAP_ABSENT ? 0 : 512),
		.duplicate = span(c->alike.from, c->alike.to),
		.zero = span(c->zero.from, c->zero.to),
		.accessed = span(c->accessed.from, c->accessed.to),
		.shared = span(c->shared.from, c->shared.to),
		.wanted = span(c->wanted.from, c->wanted.to),
		.refused = span(c->refused.from, c->refused.to),
		.breaks = c->breaks,
		.ban_left = c->ban_left,
		.new_left = c->new_left,
		.nr_unshared = c->nr_unshared,
	};

	in.hashed = hs_bits_andnot(in.duplicate, span(c->stale.from, c->stale.to));
	if (c->fine) {
		memset(&fine, 0, sizeof(fine));
		fine.known = c->fine == FINE_UNKNOWN ? HS_UNKNOWN : HS_YES;
		fine.gave_up = c->fine == FINE_GAVE_UP;
		fine.samples = 5;
		fine.nr_hot = (uint16_t)(c->fine_hot.to - c->fine_hot.from);
		for (unsigned int i = c->fine_hot.from; i < c->fine_hot.to; i++)
			fine.count[i] = 1;
		in.fine = &fine;
	}
	return hs_policy_decide(cfg, &in);
}

static void check_case(const struct page_case *c)
{
	struct hs_policy_decision d = decide_case(c, &defaults);
	struct hs_bits512 pages = span(c->pages.from, c->pages.to);

	ck_assert_msg(d.action == c->action && d.reason == c->reason, "%s: %s, %s instead of %s, %s", c->what,
		      hs_policy_action_name(d.action), hs_policy_reason_name(d.reason),
		      hs_policy_action_name(c->action), hs_policy_reason_name(c->reason));
	ck_assert_msg(d.gain == c->gain, "%s: gain %u instead of %u", c->what, d.gain, c->gain);
	ck_assert_msg(!memcmp(&d.pages, &pages, sizeof(pages)), "%s: other pages: %u instead of %u", c->what,
		      hs_bits_count(&d.pages), hs_bits_count(&pages));
	ck_assert_msg(d.ban == c->ban, "%s: ban %u instead of %u", c->what, d.ban, c->ban);
}

static void check_all(const struct page_case *cases, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		check_case(&cases[i]);
}

#define CHECK_ALL(cases) check_all(cases, sizeof(cases) / sizeof((cases)[0]))

/* What most cases have in common. */
#define COLD_HUGE  .state = HS_MAP_HUGE, .heat = HS_HEAT_COLD, .cold_rounds = 10
#define HOT_HUGE   .state = HS_MAP_HUGE, .heat = HS_HEAT_HOT, .accessed_rounds = 10
#define WARM_HUGE  .state = HS_MAP_HUGE, .heat = HS_HEAT_WARM, .accessed_rounds = 3
#define SAYS(a, r) .action = HS_ACT_##a, .reason = HS_WHY_##r

START_TEST(test_scan_policy_unknown)
{
	static const struct hs_policy_input nothing;
	static const struct page_case cases[] = {
		{ "mapping unknown", .heat = HS_HEAT_COLD, .cold_rounds = 99, .alike = ALL, SAYS(LEAVE, UNKNOWN) },
		{ "no such mapping", .state = 77, .heat = HS_HEAT_COLD, .cold_rounds = 99, .alike = ALL,
		  SAYS(LEAVE, UNKNOWN) },
		{ "absent", .state = HS_MAP_ABSENT, .heat = HS_HEAT_COLD, .cold_rounds = 99, .alike = ALL,
		  SAYS(LEAVE, ABSENT) },
		{ "heat unknown", .state = HS_MAP_HUGE, .cold_rounds = 99, .alike = ALL, SAYS(LEAVE, UNKNOWN) },
		{ "heat unknown, split", .state = HS_MAP_SPLIT, .cold_rounds = 99, .alike = ALL, SAYS(LEAVE, UNKNOWN) },
		{ "heat unknown, shared", .state = HS_MAP_SPLIT, .shared = { 0, 9 }, .alike = ALL,
		  SAYS(LEAVE, UNKNOWN) },
		{ "no such heat", .state = HS_MAP_SPLIT, .heat = 55, .alike = ALL, SAYS(LEAVE, UNKNOWN) },
		{ "fine phase could not tell", HOT_HUGE, .alike = ALL, .fine = FINE_UNKNOWN, SAYS(LEAVE, UNKNOWN),
		  .gain = 512 },
		{ "fine phase could not tell, split", .state = HS_MAP_SPLIT, .heat = HS_HEAT_WARM, .alike = ALL,
		  .fine = FINE_UNKNOWN, .fine_hot = { 0, 12 }, SAYS(LEAVE, UNKNOWN), .gain = 500 },
		{ "contents unknown", COLD_HUGE, SAYS(LEAVE, NOTHING_TO_GAIN) },
	};
	struct hs_policy_decision d = hs_policy_decide(&defaults, &nothing);

	ck_assert_int_eq(d.action, HS_ACT_LEAVE);
	ck_assert_int_eq(d.reason, HS_WHY_UNKNOWN);
	ck_assert_uint_eq(d.gain, 0);
	CHECK_ALL(cases);
}
END_TEST

START_TEST(test_scan_policy_cold)
{
	static const struct page_case cases[] = {
		{ "all identical", COLD_HUGE, .alike = ALL, SAYS(SHARE, COLD), .gain = 512, .pages = ALL },
		{ "all zero", COLD_HUGE, .zero = ALL, SAYS(SHARE, COLD), .gain = 512, .pages = ALL },
		{ "half duplicate", COLD_HUGE, .alike = { 0, 256 }, SAYS(SHARE, COLD), .gain = 256,
		  .pages = { 0, 256 } },
		{ "duplicate and zero", COLD_HUGE, .alike = { 0, 10 }, .zero = { 10, 30 }, SAYS(SHARE, COLD),
		  .gain = 30, .pages = { 0, 30 } },
		{ "digests stale", COLD_HUGE, .alike = { 0, 100 }, .stale = { 0, 60 }, SAYS(SHARE, COLD), .gain = 40,
		  .pages = { 60, 100 } },
		{ "all digests stale", COLD_HUGE, .alike = ALL, .stale = ALL, SAYS(LEAVE, NOTHING_TO_GAIN) },
		{ "just enough", COLD_HUGE, .alike = { 7, 9 }, SAYS(SHARE, COLD), .gain = 2, .pages = { 7, 9 } },
		{ "one less", COLD_HUGE, .alike = { 7, 8 }, SAYS(LEAVE, NOTHING_TO_GAIN), .gain = 1 },
		{ "one, but split by itself", .state = HS_MAP_SPLIT, .heat = HS_HEAT_COLD, .cold_rounds = 10,
		  .alike = { 7, 8 }, SAYS(SHARE, COLD), .gain = 1, .pages = { 7, 8 } },
		{ "partly present", .state = HS_MAP_PARTIAL, .heat = HS_HEAT_COLD, .cold_rounds = 10, .alike = { 7, 8 },
		  SAYS(SHARE, COLD), .gain = 1, .pages = { 7, 8 } },
		{ "nothing", COLD_HUGE, SAYS(LEAVE, NOTHING_TO_GAIN) },
		{ "not for long", .state = HS_MAP_HUGE, .heat = HS_HEAT_COLD, .cold_rounds = 9, .alike = ALL,
		  SAYS(LEAVE, WARM), .gain = 512 },
		{ "warm", WARM_HUGE, .alike = ALL, SAYS(LEAVE, WARM), .gain = 512 },
		{ "warm, even if looked at", WARM_HUGE, .alike = ALL, .fine = FINE_KNOWN, SAYS(LEAVE, WARM),
		  .gain = 512 },
		{ "cold-dominated when last looked at", COLD_HUGE, .alike = { 0, 300 }, .fine = FINE_KNOWN,
		  .fine_hot = { 100, 512 }, SAYS(SHARE, COLD), .gain = 100, .pages = { 0, 100 } },
	};

	CHECK_ALL(cases);
}
END_TEST

START_TEST(test_scan_policy_hot)
{
	static const struct page_case cases[] = {
		{ "nothing to share", HOT_HUGE, SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
		{ "promises enough", HOT_HUGE, .alike = { 0, 64 }, SAYS(LOOK_FINE, UNKNOWN), .gain = 64 },
		{ "promises it by old digests", HOT_HUGE, .alike = { 0, 64 }, .stale = ALL, SAYS(LOOK_FINE, UNKNOWN),
		  .gain = 64 },
		{ "promises zeros", HOT_HUGE, .zero = { 0, 64 }, SAYS(LOOK_FINE, UNKNOWN), .gain = 64 },
		{ "promises too little", HOT_HUGE, .alike = { 0, 63 }, SAYS(KEEP_HUGE, NOTHING_TO_GAIN), .gain = 63 },
		{ "evenly hot", HOT_HUGE, .alike = ALL, .fine = FINE_KNOWN, .fine_hot = ALL,
		  SAYS(KEEP_HUGE, EVENLY_HOT) },
		{ "given up", HOT_HUGE, .alike = ALL, .fine = FINE_GAVE_UP, .fine_hot = { 0, 101 },
		  SAYS(KEEP_HUGE, EVENLY_HOT), .gain = 411 },
		{ "given up sooner than need be", HOT_HUGE, .alike = ALL, .fine = FINE_GAVE_UP, .fine_hot = { 0, 12 },
		  SAYS(KEEP_HUGE, EVENLY_HOT), .gain = 500 },
	};

	CHECK_ALL(cases);
}
END_TEST

START_TEST(test_scan_policy_hot_bloat)
{
	static const struct page_case cases[] = {
		{ "few hot base pages", HOT_HUGE, .alike = ALL, .fine = FINE_KNOWN, .fine_hot = { 0, 16 },
		  SAYS(SHARE, HOT_BLOAT), .gain = 496, .pages = { 16, 512 } },
		{ "none hot in the window", HOT_HUGE, .alike = ALL, .fine = FINE_KNOWN, SAYS(SHARE, HOT_BLOAT),
		  .gain = 512, .pages = ALL },
		{ "as many as may be", HOT_HUGE, .alike = ALL, .fine = FINE_KNOWN, .fine_hot = { 0, 100 },
		  SAYS(SHARE, HOT_BLOAT), .gain = 412, .pages = { 100, 512 } },
		{ "one more", HOT_HUGE, .alike = ALL, .fine = FINE_KNOWN, .fine_hot = { 0, 101 },
		  SAYS(KEEP_HUGE, EVENLY_HOT), .gain = 411 },
		{ "just enough cold ones identical", HOT_HUGE, .alike = { 0, 114 }, .fine = FINE_KNOWN,
		  .fine_hot = { 0, 50 }, SAYS(SHARE, HOT_BLOAT), .gain = 64, .pages = { 50, 114 } },
		{ "one less", HOT_HUGE, .alike = { 0, 113 }, .fine = FINE_KNOWN, .fine_hot = { 0, 50 },
		  SAYS(KEEP_HUGE, NOTHING_TO_GAIN), .gain = 63 },
		{ "only the hot ones identical", HOT_HUGE, .alike = { 0, 100 }, .fine = FINE_KNOWN,
		  .fine_hot = { 0, 100 }, SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
		{ "identical by old digests only", HOT_HUGE, .alike = ALL, .stale = ALL, .fine = FINE_KNOWN,
		  SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
	};

	CHECK_ALL(cases);
}
END_TEST

START_TEST(test_scan_policy_split)
{
	static const struct page_case cases[] = {
		{ "hot, some cold pages", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .alike = { 0, 20 },
		  .accessed = { 15, 115 }, SAYS(SHARE, HOT_BLOAT), .gain = 15, .pages = { 0, 15 } },
		{ "hot, evenly", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .alike = { 0, 20 },
		  .accessed = { 15, 116 }, SAYS(KEEP_HUGE, EVENLY_HOT), .gain = 15 },
		{ "warm, many accessed", .state = HS_MAP_SPLIT, .heat = HS_HEAT_WARM, .alike = { 0, 20 },
		  .accessed = { 15, 116 }, SAYS(LEAVE, WARM), .gain = 15 },
		{ "warm, few accessed", .state = HS_MAP_PARTIAL, .heat = HS_HEAT_WARM, .alike = { 0, 20 },
		  .accessed = { 0, 19 }, SAYS(SHARE, HOT_BLOAT), .gain = 1, .pages = { 19, 20 } },
		{ "hot, evenly by the fine phase", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .alike = { 0, 20 },
		  .fine = FINE_KNOWN, .fine_hot = { 100, 300 }, SAYS(KEEP_HUGE, EVENLY_HOT), .gain = 20 },
		{ "left split by the fine phase", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .alike = ALL,
		  .accessed = { 0, 3 }, .fine = FINE_KNOWN, .fine_hot = { 2, 5 }, SAYS(SHARE, HOT_BLOAT), .gain = 507,
		  .pages = { 5, 512 } },
		{ "hot, nothing to gain: huge again", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT,
		  SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
		{ "cold, nothing to gain", .state = HS_MAP_SPLIT, .heat = HS_HEAT_COLD, .cold_rounds = 10,
		  SAYS(LEAVE, NOTHING_TO_GAIN) },
	};

	CHECK_ALL(cases);
}
END_TEST

#define SHARED(h) .state = HS_MAP_SPLIT, .heat = HS_HEAT_##h, .shared = { 0, 300 }

START_TEST(test_scan_policy_shared)
{
	static const struct page_case cases[] = {
		{ "as it should be", SHARED(COLD), .alike = { 0, 300 }, SAYS(LEAVE, SHARED_ALREADY) },
		{ "more found", SHARED(COLD), .alike = { 0, 310 }, SAYS(SHARE, SHARED_ALREADY), .gain = 10,
		  .pages = { 0, 310 } },
		{ "partners gone from the index: sharing stays", SHARED(COLD), SAYS(LEAVE, SHARED_ALREADY) },
		{ "read: no reason to take it apart", SHARED(HOT), .accessed = { 0, 160 }, .accessed_rounds = 10,
		  SAYS(LEAVE, SHARED_ALREADY) },
		{ "read, and more found", SHARED(WARM), .alike = { 0, 310 }, .accessed = { 0, 301 },
		  SAYS(SHARE, SHARED_ALREADY), .gain = 9, .pages = { 0, 0 } },
		{ "turned hot", SHARED(HOT), .accessed = { 0, 161 }, .accessed_rounds = 6, SAYS(UNSHARE, TURNED_HOT) },
		{ "hot, but not in enough rounds", SHARED(HOT), .accessed = { 0, 161 }, .accessed_rounds = 5,
		  SAYS(LEAVE, SHARED_ALREADY) },
		{ "many accessed once", SHARED(WARM), .accessed = ALL, .accessed_rounds = 5,
		  SAYS(LEAVE, SHARED_ALREADY) },
		{ "turned hot again", SHARED(HOT), .accessed = ALL, .accessed_rounds = 6, .nr_unshared = 1,
		  SAYS(UNSHARE, TURNED_HOT), .ban = 2 },
		{ "and again", SHARED(HOT), .accessed = ALL, .accessed_rounds = 6, .nr_unshared = 2,
		  SAYS(UNSHARE, TURNED_HOT), .ban = 4 },
		{ "and for ever", SHARED(HOT), .accessed = ALL, .accessed_rounds = 6, .nr_unshared = UINT32_MAX,
		  SAYS(UNSHARE, TURNED_HOT), .ban = 32 },
		{ "huge by now: what was verified is out of date", COLD_HUGE, .shared = { 0, 300 }, .alike = { 0, 100 },
		  SAYS(SHARE, COLD), .gain = 100, .pages = { 0, 100 } },
	};

	/* The pages of "read, and more found" are two stretches. */
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_policy_decision d;
		struct hs_bits512 pages;

		if (cases[i].action != HS_ACT_SHARE || cases[i].pages.to) {
			check_case(&cases[i]);
			continue;
		}
		d = decide_case(&cases[i], &defaults);
		pages = hs_bits_or(span(0, 300), span(301, 310));
		ck_assert_int_eq(d.action, cases[i].action);
		ck_assert_int_eq(d.reason, cases[i].reason);
		ck_assert_uint_eq(d.gain, cases[i].gain);
		ck_assert_mem_eq(&d.pages, &pages, sizeof(pages));
	}
}
END_TEST

START_TEST(test_scan_policy_banned)
{
	static const struct page_case cases[] = {
		{ "breaks, not enough", SHARED(COLD), .breaks = 63, SAYS(LEAVE, SHARED_ALREADY) },
		{ "breaks", SHARED(COLD), .breaks = 64, SAYS(UNSHARE, KEEPS_BREAKING), .ban = 2 },
		{ "all broken", .state = HS_MAP_SPLIT, .heat = HS_HEAT_COLD, .breaks = 64,
		  SAYS(UNSHARE, KEEPS_BREAKING), .ban = 2 },
		{ "breaks, heat unknown", .state = HS_MAP_SPLIT, .breaks = 64, SAYS(UNSHARE, KEEPS_BREAKING),
		  .ban = 2 },
		{ "breaks, mapping unknown", .breaks = 64, SAYS(LEAVE, UNKNOWN) },
		{ "breaks again", SHARED(HOT), .breaks = 512, .nr_unshared = 1, SAYS(UNSHARE, KEEPS_BREAKING),
		  .ban = 4 },
		{ "and again", SHARED(HOT), .breaks = 512, .nr_unshared = 4, SAYS(UNSHARE, KEEPS_BREAKING), .ban = 32 },
		{ "and for ever", SHARED(HOT), .breaks = 512, .nr_unshared = 5, SAYS(UNSHARE, KEEPS_BREAKING),
		  .ban = 32 },
		{ "new, cold", COLD_HUGE, .alike = ALL, .new_left = 1, SAYS(LEAVE, NEW) },
		{ "new, hot", HOT_HUGE, .alike = ALL, .new_left = 2, SAYS(LEAVE, NEW) },
		{ "new, merged by whoever marked it before", SHARED(COLD), .new_left = 2, SAYS(LEAVE, NEW) },
		{ "banned, cold", COLD_HUGE, .alike = ALL, .ban_left = 1, SAYS(LEAVE, BANNED) },
		{ "banned, hot", HOT_HUGE, .alike = ALL, .ban_left = 8, SAYS(LEAVE, BANNED) },
		{ "banned, not banned once more", .state = HS_MAP_SPLIT, .heat = HS_HEAT_COLD, .breaks = 99,
		  .ban_left = 3, SAYS(LEAVE, BANNED) },
		{ "banned, but could not be unshared yet", SHARED(COLD), .ban_left = 3, SAYS(UNSHARE, BANNED) },
		{ "ban over", COLD_HUGE, .alike = ALL, .nr_unshared = 3, SAYS(SHARE, COLD), .gain = 512, .pages = ALL },
	};
	struct hs_policy_config never = defaults;
	static const struct page_case broken = { "", SHARED(COLD), .breaks = UINT32_MAX };

	CHECK_ALL(cases);
	never.ban_breaks = 0;
	ck_assert_int_eq(decide_case(&broken, &never).action, HS_ACT_LEAVE);
}
END_TEST

START_TEST(test_scan_policy_flapping)
{
	/*
	 * A huge page that swings between cold and hot, and one that stays on the border of each threshold: cycle by
	 * cycle, with what the decisions before brought about.
	 */
	static const struct page_case swing[] = {
		{ "1 cold", COLD_HUGE, .alike = ALL, SAYS(SHARE, COLD), .gain = 512, .pages = ALL },
		{ "2 shared", .state = HS_MAP_SPLIT, .heat = HS_HEAT_COLD, .shared = ALL, .cold_rounds = 20,
		  SAYS(LEAVE, SHARED_ALREADY) },
		{ "3 hot", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .accessed_rounds = 8, .shared = { 0, 450 },
		  .accessed = ALL, .breaks = 62, SAYS(UNSHARE, TURNED_HOT) },
		{ "4 huge again, and hot", HOT_HUGE, .nr_unshared = 1, SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
		{ "5 cooling", WARM_HUGE, .nr_unshared = 1, .alike = ALL, SAYS(LEAVE, WARM), .gain = 512 },
		{ "6 cold once more", COLD_HUGE, .nr_unshared = 1, .alike = ALL, SAYS(SHARE, COLD), .gain = 512,
		  .pages = ALL },
		{ "7 hot once more", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .accessed_rounds = 8,
		  .shared = { 0, 450 }, .accessed = ALL, .nr_unshared = 1, SAYS(UNSHARE, TURNED_HOT), .ban = 2 },
		{ "8 cold under the ban", COLD_HUGE, .alike = ALL, .ban_left = 7, .nr_unshared = 2,
		  SAYS(LEAVE, BANNED) },
	};
	static const struct page_case border[] = {
		{ "100 hot: share", HOT_HUGE, .alike = ALL, .fine = FINE_KNOWN, .fine_hot = { 0, 100 },
		  SAYS(SHARE, HOT_BLOAT), .gain = 412, .pages = { 100, 512 } },
		{ "110 hot: stays shared", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .accessed_rounds = 10,
		  .shared = { 100, 512 }, .accessed = { 0, 110 }, SAYS(LEAVE, SHARED_ALREADY) },
		{ "160 hot: stays shared", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .accessed_rounds = 10,
		  .shared = { 100, 512 }, .accessed = { 0, 160 }, SAYS(LEAVE, SHARED_ALREADY) },
		{ "161 hot: unshare", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .accessed_rounds = 10,
		  .shared = { 100, 512 }, .accessed = { 0, 161 }, SAYS(UNSHARE, TURNED_HOT) },
		{ "150 hot: stays huge", HOT_HUGE, .alike = ALL, .fine = FINE_KNOWN, .fine_hot = { 0, 150 },
		  SAYS(KEEP_HUGE, EVENLY_HOT), .gain = 362 },
	};

	CHECK_ALL(swing);
	CHECK_ALL(border);
}
END_TEST

START_TEST(test_scan_policy_hot_count)
{
	/* Base page i was met in i samples of 5 (up to 5), for i < 100. */
	static const struct {
		uint32_t hot_count;
		uint8_t samples;
		unsigned int shared_from;
	} cases[] = { { 0, 5, 1 }, { 1, 5, 1 }, { 3, 5, 3 }, { 5, 5, 5 }, { 6, 5, 5 }, { 255, 5, 5 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hs_policy_config cfg = defaults;
		struct hs_fine_result fine = { .known = HS_YES, .samples = cases[i].samples };
		struct hs_policy_input in = { .state = HS_MAP_HUGE,
					      .heat = HS_HEAT_HOT,
					      .fine = &fine,
					      .present = span(0, 512),
					      .hashed = span(0, 512),
					      .duplicate = span(0, 512) };
		struct hs_policy_decision d;
		struct hs_bits512 pages;

		for (unsigned int p = 0; p < 100; p++)
			fine.count[p] = (uint8_t)(p < 5 ? p : 5);
		cfg.hot_count = cases[i].hot_count;
		d = hs_policy_decide(&cfg, &in);
		pages = hs_bits_or(span(0, cases[i].shared_from), span(100, 512));
		ck_assert_int_eq(d.action, HS_ACT_SHARE);
		ck_assert_mem_eq(&d.pages, &pages, sizeof(pages));
		/* An answer without a sample is none. */
		fine.samples = 0;
		ck_assert_int_eq(hs_policy_decide(&cfg, &in).action, HS_ACT_LEAVE);
	}
}
END_TEST

START_TEST(test_scan_policy_refused)
{
	static const struct page_case cases[] = {
		{ "some never merge: they are left out", SHARED(COLD), .alike = { 0, 310 }, .wanted = { 0, 310 },
		  .refused = { 300, 310 }, SAYS(SHARE, DOES_NOT_MERGE), .pages = { 0, 300 } },
		{ "and then it is as it should be", SHARED(COLD), .alike = { 0, 310 }, .wanted = { 0, 300 },
		  .refused = { 300, 310 }, SAYS(LEAVE, SHARED_ALREADY) },
		{ "all further ones refused", SHARED(COLD), .alike = { 0, 320 }, .wanted = { 0, 310 },
		  .refused = { 300, 320 }, SAYS(SHARE, DOES_NOT_MERGE), .pages = { 0, 300 } },
		{ "nothing of it ever merged, mapped huge", COLD_HUGE, .alike = ALL, .wanted = ALL, .refused = ALL,
		  SAYS(UNSHARE, DOES_NOT_MERGE) },
		{ "zero pages neither", COLD_HUGE, .zero = ALL, .wanted = ALL, .refused = ALL,
		  SAYS(UNSHARE, DOES_NOT_MERGE) },
		{ "given back", COLD_HUGE, .alike = ALL, .refused = ALL, SAYS(LEAVE, DOES_NOT_MERGE) },
		{ "something else to share", COLD_HUGE, .alike = ALL, .wanted = ALL, .refused = { 0, 400 },
		  SAYS(SHARE, COLD), .gain = 112, .pages = { 400, 512 } },
		{ "split, nothing of it ever merged", .state = HS_MAP_SPLIT, .heat = HS_HEAT_COLD, .cold_rounds = 10,
		  .alike = { 0, 9 }, .wanted = { 0, 9 }, .refused = { 0, 9 }, SAYS(UNSHARE, DOES_NOT_MERGE) },
		{ "warm since", WARM_HUGE, .alike = { 0, 9 }, .wanted = { 0, 9 }, .refused = { 0, 9 },
		  SAYS(UNSHARE, DOES_NOT_MERGE) },
		{ "hot since", HOT_HUGE, .alike = { 0, 9 }, .wanted = { 0, 9 }, .refused = { 0, 9 },
		  SAYS(UNSHARE, DOES_NOT_MERGE) },
		{ "no promise for the fine phase", HOT_HUGE, .alike = ALL, .refused = ALL,
		  SAYS(KEEP_HUGE, DOES_NOT_MERGE) },
		{ "heat unknown", .state = HS_MAP_HUGE, .alike = ALL, .wanted = ALL, .refused = ALL,
		  SAYS(LEAVE, UNKNOWN) },
		{ "shared after all", SHARED(COLD), .alike = { 0, 300 }, .wanted = { 0, 300 }, .refused = { 0, 300 },
		  SAYS(LEAVE, SHARED_ALREADY) },
	};

	CHECK_ALL(cases);
}
END_TEST

START_TEST(test_scan_policy_names)
{
	for (unsigned int r = 0; r < HS_NR_REASONS; r++)
		for (unsigned int q = 0; q < r; q++)
			ck_assert_str_ne(hs_policy_reason_name(r), hs_policy_reason_name(q));
	for (unsigned int a = HS_ACT_LEAVE; a < HS_NR_ACTIONS; a++)
		for (unsigned int b = HS_ACT_LEAVE; b < a; b++)
			ck_assert_str_ne(hs_policy_action_name(a), hs_policy_action_name(b));
	ck_assert_str_eq(hs_policy_reason_name(HS_WHY_EVENLY_HOT), "evenly hot");
	ck_assert_str_eq(hs_policy_reason_name(HS_WHY_HOT_BLOAT), "hot bloat");
	ck_assert_ptr_nonnull(hs_policy_reason_name(HS_NR_REASONS));
	ck_assert_ptr_nonnull(hs_policy_action_name((enum hs_policy_action)HS_NR_ACTIONS));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scan/policy");
	TCase *t = tcase_create("policy");

	tcase_add_test(t, test_scan_policy_unknown);
	tcase_add_test(t, test_scan_policy_cold);
	tcase_add_test(t, test_scan_policy_hot);
	tcase_add_test(t, test_scan_policy_hot_bloat);
	tcase_add_test(t, test_scan_policy_split);
	tcase_add_test(t, test_scan_policy_shared);
	tcase_add_test(t, test_scan_policy_banned);
	tcase_add_test(t, test_scan_policy_flapping);
	tcase_add_test(t, test_scan_policy_hot_count);
	tcase_add_test(t, test_scan_policy_refused);
	tcase_add_test(t, test_scan_policy_names);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
