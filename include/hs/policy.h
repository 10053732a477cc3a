/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy: a pure function from what is known of one huge page to what to do with it. No clock, no memory of its
 * own. It has two verbs: to share what others have as well, and, where `demote` says so, to demote what is cold and
 * exists once to a tier (hs/tier.h).
 */
#ifndef HS_POLICY_H
#define HS_POLICY_H

#include "hs/scan.h"
#include "hs/types.h"

struct hs_policy_config {
	uint32_t max_hot;   /* cold-dominated: at most so many of 512 base pages hot. Default 100 (HugeScope) */
	uint32_t hot_count; /* a base page is hot when accessed in at least so many fine samples. Default 1 */
	uint32_t
	    min_gain_cold; /* base pages to be freed, for a cold huge page. Default 2: see policy.c for the reason */
	uint32_t min_gain_hot; /* the same for a hot, cold-dominated one: it loses a huge mapping in use. Default 64 */
	uint32_t min_cold_rounds;    /* recency: a huge page counts as cold after so many rounds without access */
	uint32_t unshare_hot_rounds; /* a shared huge page is unshared when hot, accessed in at least so many of the
					coarse rounds, and in the last with more than `unshare_hot_pages` base pages */
	uint32_t unshare_hot_pages;  /* hysteresis: above max_hot. Default 160 */
	uint32_t ban_breaks;     /* so many breaks of sharing within a spell: unshare and ban. Default 64; 0: never */
	uint32_t ban_cycles;     /* length of a ban, in policy cycles; doubles each time up to 16 times. Default 2:
				    docs/tuning.md */
	uint32_t demote;         /* 1: demoting is an answer. Default 0; then nothing below counts */
	uint32_t demote_after_s; /* a base page goes when it has not been accessed for so many seconds. Default 120 */
	uint32_t max_compressed_percent; /* and what a sample of its huge page compresses to so much at most. Default
					    75; 0: it is not asked (a tier that does not compress) */
	uint32_t pressed_gain_hot; /* min_gain_hot where memory is as short as can be (`pressure` 100). Default 16 */
};
#define HS_POLICY_CONFIG_DEFAULT                                                                                       \
	((struct hs_policy_config){ .max_hot = 100,                                                                    \
				    .hot_count = 1,                                                                    \
				    .min_gain_cold = 2,                                                                \
				    .min_gain_hot = 64,                                                                \
				    .min_cold_rounds = 10,                                                             \
				    .unshare_hot_rounds = 6,                                                           \
				    .unshare_hot_pages = 160,                                                          \
				    .ban_breaks = 64,                                                                  \
				    .ban_cycles = 2,                                                                   \
				    .demote_after_s = 120,                                                             \
				    .max_compressed_percent = 75,                                                      \
				    .pressed_gain_hot = 16 })

/* What is known of one huge page. All zero means: nothing is known, and the answer is LEAVE. */
struct hs_policy_input {
	uint8_t state;                     /* enum hs_map_state */
	uint8_t heat;                      /* enum hs_heat, of the coarse phase */
	uint16_t cold_rounds;              /* recency */
	uint32_t nr_accessed_rounds;       /* coarse count */
	const struct hs_fine_result *fine; /* NULL: the fine phase has not looked, or too long ago */
	struct hs_bits512 present;
	struct hs_bits512 hashed; /* digest known and not accessed since */
	struct hs_bits512
	    duplicate; /* another page with this content exists (in the same group) that could share with it */
	struct hs_bits512 zero;
	struct hs_bits512 accessed; /* base pages accessed in the last round, where the mapping is split already */
	struct hs_bits512 shared;   /* really shared now, by page frames */
	struct hs_bits512 wanted;   /* asked to be shared by the decisions so far */
	struct hs_bits512 refused;  /* not merged by several bursts that settled: left alone for a while */
	uint32_t breaks;            /* base pages of this huge page whose sharing was broken in this spell */
	uint32_t ban_left;          /* cycles of a ban left */
	uint32_t new_left;          /* cycles for which memory that came to a known guest is only looked at */
	uint32_t nr_unshared; /* times it was unshared by this policy; the caller forgets them after a quiet time */
	/* For demoting; all zero: nothing is demoted, and nothing would be. */
	struct hs_bits512 swapped; /* on the tier already: not present */
	struct hs_bits512 idle;    /* not accessed for the last idle_s seconds, known without a gap */
	uint32_t idle_s;
	uint32_t watched_s;         /* it has been left split for so long for what could be demoted, and nothing was */
	uint8_t compressed_percent; /* what a sample of its contents compressed to; 0: unknown */
	uint8_t pressure;           /* how short memory is, 0 to 100 */
	struct hs_bits512 stuck;    /* was to be demoted before, and the kernel kept it: left alone for a while */
};

enum hs_policy_action {
	HS_ACT_LEAVE = 0, /* leave alone */
	HS_ACT_KEEP_HUGE, /* hot, evenly: leave whole; restore the mapping if we split it */
	HS_ACT_LOOK_FINE, /* hot, with something to gain: let the fine phase look */
	HS_ACT_SHARE,     /* split for good and share `pages` */
	HS_ACT_UNSHARE,   /* unshare and collapse */
	/* Where `demote` is on: */
	HS_ACT_WATCH,   /* leave it split, or split it for good: what is cold in it is to be demoted when it has been
			   so for long enough */
	HS_ACT_DEMOTE,  /* demote `demote`; nothing is to be shared newly, and what is shared stays */
	HS_ACT_PROMOTE, /* bring back what is demoted, and collapse; nothing of it is shared */
};
#define HS_NR_ACTIONS (HS_ACT_PROMOTE + 1)

enum hs_policy_reason {
	HS_WHY_UNKNOWN = 0, /* not enough is known */
	HS_WHY_BANNED,
	HS_WHY_ABSENT,
	HS_WHY_NOTHING_TO_GAIN, /* nothing identical or zero, or less than the minimum gain */
	HS_WHY_EVENLY_HOT,
	HS_WHY_WARM,      /* neither hot nor cold for long enough: wait */
	HS_WHY_HOT_BLOAT, /* hot, cold-dominated */
	HS_WHY_COLD,
	HS_WHY_TURNED_HOT,
	HS_WHY_KEEPS_BREAKING,
	HS_WHY_SHARED_ALREADY,
	HS_WHY_DOES_NOT_MERGE, /* what could be shared of it was wanted, and the kernel never merged it */
	HS_WHY_NEW,            /* memory that came to a known guest, and was not looked at for long enough */
	HS_WHY_NOT_COLD_LONG,  /* cold, and to be demoted when it has been so for demote_after_s */
	HS_WHY_DEMOTED_ALREADY,
	HS_NR_REASONS
};

struct hs_policy_decision {
	uint8_t action; /* enum hs_policy_action */
	uint8_t reason; /* enum hs_policy_reason */
	uint16_t gain;  /* base pages that sharing and demoting would newly free here; LOOK_FINE, WATCH: at most, if all
			   of them are cold */
	/*
	 * SHARE: all that is to be shared from now on, zero pages included: what is newly found, none of it hot or
	 * accessed, and what is shared already. Subset of present. Otherwise empty.
	 */
	struct hs_bits512 pages;
	/* SHARE, DEMOTE: all that is to be demoted now; present, none of it hot, accessed, zero, shared or in `pages`.
	 */
	struct hs_bits512 demote;
	uint32_t ban; /* cycles to ban it for from now on; 0: none */
};

struct hs_policy_decision hs_policy_decide(const struct hs_policy_config *cfg, const struct hs_policy_input *in);

/* "evenly hot", "hot bloat", ...: for tables and JSON; never NULL. */
const char *hs_policy_reason_name(enum hs_policy_reason reason);
const char *hs_policy_action_name(enum hs_policy_action action);

#endif
