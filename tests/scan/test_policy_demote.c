/* SPDX-License-Identifier: Apache-2.0 */
/* The policy's second verb in tables of cases: what is demoted, what waits, what goes back. */
#include "hs_test.h"

#include <string.h>

#include "hs/policy.h"

/* Base pages [from, to); empty by default. */
struct range {
	unsigned int from, to;
};

#define ALL                                                                                                            \
	{                                                                                                              \
		0, 512                                                                                                 \
	}

/* One huge page. All of it is read and compresses to 30 %, unless a case says otherwise. */
struct page_case {
	const char *what;
	uint8_t state, heat;
	uint16_t cold_rounds;
	uint32_t accessed_rounds;
	struct range duplicate, zero, unread, accessed, shared, wanted, refused, swapped, stuck;
	struct range idle;
	uint32_t idle_s, watched_s;
	uint8_t compressed, pressure;
	bool fine; /* has looked */
	struct range fine_hot;
	uint32_t ban_left, nr_unshared;
	/* expected */
	uint8_t action, reason;
	unsigned int gain;
	struct range pages, demote;
	uint32_t ban;
};

static struct hs_bits512 span(struct range r)
{
	struct hs_bits512 b = { { 0 } };

	hs_bits_set_range(&b, r.from, r.to);
	return b;
}

static struct hs_policy_config demoting(void)
{
	struct hs_policy_config cfg = HS_POLICY_CONFIG_DEFAULT;

	cfg.demote = 1;
	return cfg;
}

static struct hs_policy_decision decide(const struct hs_policy_config *cfg, const struct page_case *c)
{
	static struct hs_fine_result fine;
	struct hs_policy_input in = {
		.state = c->state,
		.heat = c->heat,
		.cold_rounds = c->cold_rounds,
		.nr_accessed_rounds = c->accessed_rounds,
		.duplicate = span(c->duplicate),
		.zero = span(c->zero),
		.accessed = span(c->accessed),
		.shared = span(c->shared),
		.wanted = span(c->wanted),
		.refused = span(c->refused),
		.swapped = span(c->swapped),
		.stuck = span(c->stuck),
		.idle = span(c->idle),
		.idle_s = c->idle_s,
		.watched_s = c->watched_s,
		.compressed_percent = c->compressed ? c->compressed : 30,
		.pressure = c->pressure,
		.ban_left = c->ban_left,
		.nr_unshared = c->nr_unshared,
	};

	in.present = c->state == HS_MAP_ABSENT ? hs_bits_empty() : hs_bits_andnot(hs_bits_full(), in.swapped);
	in.hashed = hs_bits_andnot(in.present, hs_bits_or(in.zero, span(c->unread)));
	if (c->compressed == UINT8_MAX)
		in.compressed_percent = 0;
	if (c->fine) {
		memset(&fine, 0, sizeof(fine));
		fine.known = HS_YES;
		fine.samples = 5;
		fine.nr_hot = (uint16_t)(c->fine_hot.to - c->fine_hot.from);
		for (unsigned int i = c->fine_hot.from; i < c->fine_hot.to; i++)
			fine.count[i] = 2;
		in.fine = &fine;
	}
	return hs_policy_decide(cfg, &in);
}

static void check(const struct hs_policy_config *cfg, const struct page_case *cases, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		const struct page_case *c = &cases[i];
		const struct hs_policy_decision d = decide(cfg, c);
		const struct hs_bits512 pages = span(c->pages), out = span(c->demote);

		ck_assert_msg(d.action == c->action && d.reason == c->reason, "%s: %s, %s instead of %s, %s", c->what,
			      hs_policy_action_name(d.action), hs_policy_reason_name(d.reason),
			      hs_policy_action_name(c->action), hs_policy_reason_name(c->reason));
		ck_assert_msg(d.gain == c->gain, "%s: gain %u instead of %u", c->what, d.gain, c->gain);
		ck_assert_msg(hs_bits_equal(&d.pages, &pages), "%s: %u pages to share", c->what,
			      hs_bits_count(&d.pages));
		ck_assert_msg(hs_bits_equal(&d.demote, &out), "%s: %u pages to demote", c->what,
			      hs_bits_count(&d.demote));
		ck_assert_msg(d.ban == c->ban, "%s: ban %u", c->what, d.ban);
	}
}

#define CHECK(cfg, cases) check(cfg, cases, sizeof(cases) / sizeof((cases)[0]))

#define COLD_HUGE  .state = HS_MAP_HUGE, .heat = HS_HEAT_COLD, .cold_rounds = 10
#define HOT_HUGE   .state = HS_MAP_HUGE, .heat = HS_HEAT_HOT, .accessed_rounds = 10
#define HOT_SPLIT  .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .accessed_rounds = 10
#define LONG       .idle_s = 120
#define SAYS(a, r) .action = HS_ACT_##a, .reason = HS_WHY_##r

START_TEST(test_scan_policy_demote_cold)
{
	static const struct page_case cases[] = {
		{ "cold and unique, for long enough", COLD_HUGE, .idle = ALL, LONG, SAYS(DEMOTE, COLD), .gain = 512,
		  .demote = ALL },
		{ "one second too early", COLD_HUGE, .idle = ALL, .idle_s = 119, SAYS(LEAVE, NOT_COLD_LONG),
		  .gain = 512 },
		{ "cold, but nobody knows for how long", COLD_HUGE, SAYS(LEAVE, NOT_COLD_LONG), .gain = 512 },
		{ "does not compress", COLD_HUGE, .idle = ALL, LONG, .compressed = 76, SAYS(LEAVE, NOTHING_TO_GAIN) },
		{ "just compresses", COLD_HUGE, .idle = ALL, LONG, .compressed = 75, SAYS(DEMOTE, COLD), .gain = 512,
		  .demote = ALL },
		{ "not known whether it does", COLD_HUGE, .idle = ALL, LONG, .compressed = UINT8_MAX,
		  SAYS(LEAVE, NOTHING_TO_GAIN) },
		{ "not read", COLD_HUGE, .idle = ALL, LONG, .unread = ALL, SAYS(LEAVE, NOTHING_TO_GAIN) },
		{ "all that others have as well is shared, the rest demoted", COLD_HUGE, .idle = ALL, LONG,
		  .duplicate = { 0, 200 }, SAYS(SHARE, COLD), .gain = 512, .pages = { 0, 200 },
		  .demote = { 200, 512 } },
		{ "zero pages are shared, never demoted", COLD_HUGE, .idle = ALL, LONG, .zero = { 0, 512 },
		  SAYS(SHARE, COLD), .gain = 512, .pages = ALL },
		{ "shared at once, the rest waits", COLD_HUGE, .idle = ALL, .idle_s = 6, .duplicate = { 0, 200 },
		  SAYS(SHARE, COLD), .gain = 200, .pages = { 0, 200 } },
		{ "one and one are worth it together", COLD_HUGE, .idle = { 0, 2 }, LONG, .duplicate = { 0, 1 },
		  .unread = { 2, 512 }, SAYS(SHARE, COLD), .gain = 2, .pages = { 0, 1 }, .demote = { 1, 2 } },
		{ "one is not", COLD_HUGE, .idle = { 0, 1 }, LONG, .unread = { 1, 512 }, SAYS(LEAVE, NOTHING_TO_GAIN) },
		{ "what the kernel kept, or does not merge, stays", COLD_HUGE, .idle = ALL, LONG, .stuck = { 0, 100 },
		  .refused = { 100, 200 }, SAYS(DEMOTE, COLD), .gain = 312, .demote = { 200, 512 } },
		{ "what is wanted may be shared soon", COLD_HUGE, .idle = ALL, LONG, .wanted = { 0, 100 },
		  SAYS(DEMOTE, COLD), .gain = 412, .demote = { 100, 512 } },
		{ "banned", COLD_HUGE, .idle = ALL, LONG, .ban_left = 1, SAYS(LEAVE, BANNED) },
		{ "warm", .state = HS_MAP_HUGE, .heat = HS_HEAT_WARM, .idle = ALL, LONG, SAYS(LEAVE, WARM) },
		{ "all of it demoted", .state = HS_MAP_ABSENT, .heat = HS_HEAT_COLD, .cold_rounds = 99, .swapped = ALL,
		  SAYS(LEAVE, DEMOTED_ALREADY) },
		{ "absent", .state = HS_MAP_ABSENT, .heat = HS_HEAT_COLD, .cold_rounds = 99, SAYS(LEAVE, ABSENT) },
		{ "unknown", .state = HS_MAP_UNKNOWN, .heat = HS_HEAT_COLD, .cold_rounds = 99, .idle = ALL, LONG,
		  SAYS(LEAVE, UNKNOWN) },
	};
	const struct hs_policy_config cfg = demoting();

	CHECK(&cfg, cases);
}
END_TEST

/* A hot huge page gives up its mapping for both verbs together, and for nothing before the fine phase has looked. */
START_TEST(test_scan_policy_demote_hot)
{
	static const struct page_case cases[] = {
		{ "nothing duplicate: worth a look all the same", HOT_HUGE, SAYS(LOOK_FINE, UNKNOWN), .gain = 512 },
		{ "does not compress: no look", HOT_HUGE, .compressed = 90, SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
		{ "evenly hot", HOT_HUGE, .fine = true, .fine_hot = { 0, 101 }, SAYS(KEEP_HUGE, EVENLY_HOT) },
		{ "hot bloat, nothing duplicate: split, and watched", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 },
		  SAYS(WATCH, HOT_BLOAT), .gain = 496 },
		{ "hot bloat, some duplicate: shared at once", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 },
		  .duplicate = { 500, 512 }, SAYS(SHARE, HOT_BLOAT), .gain = 12, .pages = { 500, 512 } },
		{ "63 are too few", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 }, .unread = { 79, 512 },
		  SAYS(KEEP_HUGE, NOTHING_TO_GAIN), .gain = 63 },
		{ "32 and 32 are enough", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 }, .unread = { 80, 512 },
		  .duplicate = { 48, 80 }, SAYS(SHARE, HOT_BLOAT), .gain = 32, .pages = { 48, 80 } },
		{ "63 under half the pressure", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 }, .unread = { 79, 512 },
		  .pressure = 50, SAYS(WATCH, HOT_BLOAT), .gain = 63 },
		{ "16 under all of it", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 }, .unread = { 32, 512 },
		  .pressure = 100, SAYS(WATCH, HOT_BLOAT), .gain = 16 },
		{ "15 are never enough", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 }, .unread = { 31, 512 },
		  .pressure = 100, SAYS(KEEP_HUGE, NOTHING_TO_GAIN), .gain = 15 },
	};
	const struct hs_policy_config cfg = demoting();

	CHECK(&cfg, cases);
}
END_TEST

START_TEST(test_scan_policy_demote_split)
{
	static const struct page_case cases[] = {
		{ "watched, and some are cold for long enough", HOT_SPLIT, .accessed = { 0, 16 }, .idle = { 16, 300 },
		  LONG, SAYS(DEMOTE, HOT_BLOAT), .gain = 284, .demote = { 16, 300 } },
		{ "watched, and none is yet", HOT_SPLIT, .accessed = { 0, 16 }, .watched_s = 100,
		  SAYS(WATCH, NOT_COLD_LONG), .gain = 496 },
		{ "watched for nothing: huge again, and left alone for a while", HOT_SPLIT, .accessed = { 0, 16 },
		  .watched_s = 240, SAYS(KEEP_HUGE, NOT_COLD_LONG), .ban = 2 },
		{ "the second time for longer", HOT_SPLIT, .accessed = { 0, 16 }, .watched_s = 240, .nr_unshared = 1,
		  SAYS(KEEP_HUGE, NOT_COLD_LONG), .ban = 4 },
		{ "too few left to watch", HOT_SPLIT, .accessed = { 0, 16 }, .unread = { 60, 512 },
		  SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
		{ "what is hot never goes, however long it was idle", HOT_SPLIT, .accessed = { 0, 16 }, .idle = ALL,
		  LONG, SAYS(DEMOTE, HOT_BLOAT), .gain = 496, .demote = { 16, 512 } },
		{ "demoted in part: stays so", HOT_SPLIT, .accessed = { 0, 16 }, .swapped = { 16, 512 },
		  SAYS(LEAVE, DEMOTED_ALREADY) },
		{ "more of it becomes cold", HOT_SPLIT, .accessed = { 0, 16 }, .swapped = { 100, 512 },
		  .idle = { 16, 100 }, LONG, SAYS(DEMOTE, HOT_BLOAT), .gain = 84, .demote = { 16, 100 } },
		{ "turned hot by what is present: back", HOT_SPLIT, .accessed = { 0, 161 }, .swapped = { 200, 512 },
		  SAYS(PROMOTE, TURNED_HOT) },
		{ "again: banned as well", HOT_SPLIT, .accessed = { 0, 161 }, .swapped = { 200, 512 }, .nr_unshared = 2,
		  SAYS(PROMOTE, TURNED_HOT), .ban = 4 },
		{ "not quite", HOT_SPLIT, .accessed = { 0, 160 }, .swapped = { 200, 512 }, SAYS(KEEP_HUGE, EVENLY_HOT),
		  .gain = 0 },
		{ "hot, but not in enough rounds", .state = HS_MAP_SPLIT, .heat = HS_HEAT_HOT, .accessed_rounds = 5,
		  .accessed = { 0, 161 }, .swapped = { 200, 512 }, SAYS(KEEP_HUGE, EVENLY_HOT) },
		{ "shared in part, and turned hot: all of it back", HOT_SPLIT, .accessed = { 0, 161 },
		  .shared = { 170, 180 }, .swapped = { 200, 512 }, SAYS(UNSHARE, TURNED_HOT) },
		{ "shared in part: the rest is demoted", HOT_SPLIT, .accessed = { 0, 16 }, .shared = { 16, 100 },
		  .wanted = { 16, 100 }, .idle = { 16, 512 }, LONG, SAYS(DEMOTE, SHARED_ALREADY), .gain = 412,
		  .demote = { 100, 512 } },
		{ "shared in part, and more to share and to demote", HOT_SPLIT, .accessed = { 0, 16 },
		  .shared = { 16, 100 }, .duplicate = { 100, 120 }, .idle = { 16, 512 }, LONG,
		  SAYS(SHARE, SHARED_ALREADY), .gain = 412, .pages = { 16, 120 }, .demote = { 120, 512 } },
		{ "nothing more: as it is", HOT_SPLIT, .accessed = { 0, 16 }, .shared = { 16, 100 },
		  SAYS(LEAVE, SHARED_ALREADY) },
	};
	const struct hs_policy_config cfg = demoting();

	CHECK(&cfg, cases);
}
END_TEST

/* A tier that does not compress; another time; off. */
START_TEST(test_scan_policy_demote_settings)
{
	static const struct page_case plain = { "incompressible, to a tier that does not compress",
						COLD_HUGE,
						.idle = ALL,
						LONG,
						.compressed = 100,
						SAYS(DEMOTE, COLD),
						.gain = 512,
						.demote = ALL };
	static const struct page_case soon = { "at once",          COLD_HUGE,   .idle = ALL,
					       SAYS(DEMOTE, COLD), .gain = 512, .demote = ALL };
	static const struct page_case off[] = {
		{ "off: cold", COLD_HUGE, .idle = ALL, LONG, SAYS(LEAVE, NOTHING_TO_GAIN) },
		{ "off: hot", HOT_HUGE, SAYS(KEEP_HUGE, NOTHING_TO_GAIN) },
		{ "off: pressure changes nothing", HOT_HUGE, .fine = true, .fine_hot = { 0, 16 }, .pressure = 100,
		  .duplicate = { 100, 150 }, SAYS(KEEP_HUGE, NOTHING_TO_GAIN), .gain = 50 },
		{ "off: in swap by others", HOT_SPLIT, .accessed = { 0, 200 }, .swapped = { 200, 512 },
		  SAYS(KEEP_HUGE, EVENLY_HOT) },
	};
	struct hs_policy_config cfg = demoting();

	cfg.max_compressed_percent = 0;
	check(&cfg, &plain, 1);
	cfg = demoting();
	cfg.demote_after_s = 0;
	check(&cfg, &soon, 1);
	cfg = (struct hs_policy_config)HS_POLICY_CONFIG_DEFAULT;
	CHECK(&cfg, off);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scan/policy_demote");
	TCase *t = tcase_create("table");

	tcase_add_test(t, test_scan_policy_demote_cold);
	tcase_add_test(t, test_scan_policy_demote_hot);
	tcase_add_test(t, test_scan_policy_demote_split);
	tcase_add_test(t, test_scan_policy_demote_settings);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
