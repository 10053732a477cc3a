/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two phases of looking. Coarse: which huge pages are hot. Fine: which base pages of chosen hot huge pages are hot.
 * Both get a list of what to look at and keep records; what to do with them is the policy's.
 */
#ifndef HS_SCAN_H
#define HS_SCAN_H

#include "hs/clock.h"
#include "hs/error.h"
#include "hs/types.h"
#include "hs/view.h"

/* ---- coarse phase ---- */

struct hs_coarse_config {
	uint32_t rounds; /* R: rounds in the window that the count is taken over, 1..64. Default 10 (HugeScope's R) */
	uint32_t interval_ms; /* between ageing and sample. Default 600 (as in the paper) */
	uint32_t hot_rounds;  /* accessed in at least so many of the last R rounds: hot. Default 6 */
};
#define HS_COARSE_CONFIG_DEFAULT ((struct hs_coarse_config){ .rounds = 10, .interval_ms = 600, .hot_rounds = 6 })

enum hs_heat { HS_HEAT_UNKNOWN = 0, HS_HEAT_COLD, HS_HEAT_WARM, HS_HEAT_HOT };

/* What the coarse phase knows of one huge page. 16 bytes. */
struct hs_coarse_record {
	uint64_t history;     /* bit 0: the last round; 1 = accessed. Only the low nr_known bits mean something */
	uint8_t nr_known;     /* rounds with an answer since the last unknown or absent one, at most `rounds` */
	uint8_t state;        /* enum hs_map_state at the last round */
	uint16_t nr_present;  /* base pages at the last round */
	uint16_t nr_accessed; /* base pages at the last round (512 or 0 when huge) */
	uint16_t cold_rounds; /* rounds since the last access, saturating; the recency */
};

struct hs_coarse; /* records of one guest */

/* -EINVAL: rounds not in 1..64, hot_rounds not in 1..rounds. -ENOMEM. */
HS_MUST_USE int hs_coarse_create(struct hs_coarse **out, uint32_t nr_huge, const struct hs_coarse_config *cfg);
void hs_coarse_destroy(struct hs_coarse *c); /* takes NULL */

/*
 * Records one round: samples the whole view, which the caller aged `interval_ms` earlier. A huge page whose mapping
 * changed between states keeps its history; unknown or absent resets it. Same errors as hs_view_sample_huge; on error
 * nothing is recorded.
 */
HS_MUST_USE int hs_coarse_round(struct hs_coarse *c, struct hs_view *v, struct hs_error *err);

/*
 * The huge page's bits of this round do not count (for example: we read it ourselves). Call before hs_coarse_round; it
 * holds until a round has been recorded.
 */
void hs_coarse_skip(struct hs_coarse *c, hs_huge_nr huge);

/* Forgets what is known of the huge page: its accesses could not be seen for a while. */
void hs_coarse_forget(struct hs_coarse *c, hs_huge_nr huge);

/* NULL when the number is out of range. */
const struct hs_coarse_record *hs_coarse_get(const struct hs_coarse *c, hs_huge_nr huge);

/* Rounds accessed among the known ones. */
uint32_t hs_coarse_count(const struct hs_coarse_record *r);

/*
 * COLD: `rounds` known and accessed in none; HOT: accessed in at least hot_rounds (decided as soon as that many are);
 * WARM: `rounds` known and in between; UNKNOWN otherwise: fewer known rounds than a decision needs.
 */
enum hs_heat hs_coarse_heat(const struct hs_coarse *c, hs_huge_nr huge);

/* ---- fine phase ---- */

struct hs_fine_config {
	uint32_t samples;       /* base-page samples a window, 1..255 */
	uint32_t interval_ms;   /* between ageing and sample */
	uint32_t max_split;     /* budget: huge pages whose mapping is split at one time, over all guests of a window */
	uint32_t max_window_ms; /* budget: a mapping is never split longer than this, ageings included; what is not
				   sampled by then is unknown */
	uint32_t give_up_hot; /* more distinct base pages accessed than this: restore at once, it will not be shared. 0:
				 never */
};
#define HS_FINE_CONFIG_DEFAULT                                                                                         \
	((struct hs_fine_config){                                                                                      \
	    .samples = 5, .interval_ms = 200, .max_split = 512, .max_window_ms = 3000, .give_up_hot = 100 })

/* What the fine phase learnt of one huge page. */
struct hs_fine_result {
	hs_huge_nr huge;
	uint8_t known;    /* HS_YES when all samples were taken or it was given up as evenly hot, else HS_UNKNOWN */
	uint8_t gave_up;  /* restored early: `nr_hot` is a lower bound */
	uint8_t samples;  /* taken */
	uint8_t restored; /* the mapping is huge; 0: never split, left split as the caller asked, or to be retried */
	uint16_t nr_hot;  /* skew: distinct base pages accessed in any sample */
	uint8_t count[HS_BASE_PER_HUGE]; /* samples in which each base page was accessed */
};

/* The huge pages of one guest to look at in a window. */
struct hs_fine_target {
	struct hs_view *view;
	const hs_huge_nr *huge;
	size_t nr;
	struct hs_fine_result *results; /* [nr], filled in the same order */
	/* Asked once, at the end of the window, for each known result that was not given up, before the mapping is
	 * brought back; true leaves it split (the policy will share it). NULL: always bring it back. All of the
	 * window's mappings wait for it: when the window's time is over the rest is brought back unasked. It may read
	 * from the view, but neither split nor restore. */
	bool (*keep_split)(void *ctx, const struct hs_fine_result *r);
	void *ctx;
	int error; /* out: 0, or what happened to this guest (-ESRCH: it is gone); its later results are unknown */
};

struct hs_fine_stats {
	uint64_t nr_windows;
	uint64_t nr_split;
	uint64_t nr_split_failed;
	uint64_t nr_restored;
	uint64_t nr_restore_failed; /* still split at the end, and put on the retry list */
	uint64_t nr_gave_up;
	uint64_t nr_no_time;     /* not split: ageing their guest takes so long that no window would end in time */
	uint64_t nr_out_of_time; /* split for nothing: the window's time was over before all samples were taken */
	uint64_t split_ms;       /* huge-page milliseconds spent split */
};

struct hs_fine;

/* -EINVAL: samples not in 1..255, a zero where no zero is allowed, or samples that do not fit in max_window_ms. */
HS_MUST_USE int hs_fine_create(struct hs_fine **out, const struct hs_fine_config *cfg);
/* Takes NULL. What is still on the retry list is tried a last time by hs_fine_retry, which the caller calls first. */
void hs_fine_destroy(struct hs_fine *f);

/*
 * Looks at all targets, window after window within the budget, several guests in one window. A guest whose ageings, as
 * far as they are known, do not fit in max_window_ms with the samples is not split: its results are unknown, and
 * counted in nr_no_time. Whatever happens
 * (-ECANCELED by the clock, a guest that goes), every mapping it split and should not keep is brought back before it
 * returns, or is on the retry list. 0, or the first error that concerns all; a guest's own error makes its results
 * unknown and the others go on.
 */
HS_MUST_USE int hs_fine_run(struct hs_fine *f, struct hs_fine_target *targets, size_t nr, const struct hs_clock *clock,
			    struct hs_error *err);

/*
 * An ageing of this view, outside of a window, took so many microseconds: the fine phase counts on the same in its
 * windows. (It learns from those of its own as well. A view that splits nested entries ages less there: it is not
 * counted.) Lasts until hs_fine_forget.
 */
void hs_fine_took_to_age(struct hs_fine *f, const struct hs_view *v, uint64_t us);

/*
 * Tries to bring back the mappings of this view that could not be restored before. *left: how many remain. One that the
 * guest has meanwhile given back, in part or as a whole, is dropped from the list: no huge page can come back without
 * taking memory anew; so is one that the VMM has marked NOHUGEPAGE. -ESRCH: the guest is gone, and with it its part of
 * the list.
 */
HS_MUST_USE int hs_fine_retry(struct hs_fine *f, struct hs_view *v, size_t *left, struct hs_error *err);

/* The mappings of this view on the list, the first `max` of them into out (NULL with 0); their number. */
size_t hs_fine_pending(const struct hs_fine *f, const struct hs_view *v, hs_huge_nr *out, size_t max);

/*
 * Brings mappings back that keep_split had left split, now that nothing comes of it; what cannot be brought back now is
 * on the retry list. -ESRCH, -ENOMEM (then nothing was done).
 */
HS_MUST_USE int hs_fine_give_back(struct hs_fine *f, struct hs_view *v, const hs_huge_nr *huge, size_t nr,
				  struct hs_error *err);

/* The policy shares this huge page now: it is not to be brought back any more. */
void hs_fine_keep(struct hs_fine *f, const struct hs_view *v, hs_huge_nr huge);

/* Forgets a view that is about to be closed. */
void hs_fine_forget(struct hs_fine *f, const struct hs_view *v);

void hs_fine_stats(const struct hs_fine *f, struct hs_fine_stats *out);

#endif
