/*
 * The fine phase's own: shared by what goes into windows (fine.c), the window (fine_window.c), the way back to huge
 * mappings (fine_back.c), and what ageing takes (fine_ageing.c).
 */
#ifndef HS_SCAN_FINE_INTERNAL_H
#define HS_SCAN_FINE_INTERNAL_H

#define HASH_NONFATAL_OOM 1 /* what could not be put into a table has no table */
#include <uthash.h>

#include "hs/scan.h"

/* A mapping that we split and could not bring back. */
struct fine_pending {
	const struct hs_view *view;
	hs_huge_nr huge;
};

/* What an ageing of this view takes, as far as we have seen. */
struct fine_ageing {
	const struct hs_view *view;
	uint64_t us;
	bool measured; /* by hs_fine_took_to_age, since there was last no time for it */
	UT_hash_handle hh;
};

struct hs_fine {
	struct hs_fine_config cfg;
	struct hs_fine_stats stats; /* split_ms is kept in split_us */
	uint64_t split_us;
	uint64_t restore_us;          /* what bringing one mapping back takes, as far as we have seen */
	struct fine_pending *pending; /* the retry list, each huge page at most once */
	size_t nr_pending, room_pending;
	struct fine_ageing *ageings; /* by view */
};

/* How bringing a mapping back ended. */
enum fine_back {
	FINE_BACK_HUGE,   /* it is huge again, by us or by itself */
	FINE_BACK_FAILED, /* it is split; try later */
	FINE_BACK_PARTIAL /* the guest gave part of it back: left as it is, for it would take memory anew */
};

/*
 * Brings the mappings of huge[nr] back where they are still split. scratch[nr] and errors[nr] are the caller's to lend.
 * 0: see out[nr]. -ESRCH: the guest is gone. Any other error is in out[] alone.
 */
HS_MUST_USE int hs_fine_bring_back(struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *scratch,
				   int *errors, enum fine_back *out);

/* Microseconds that an ageing of this view takes; 0: not known. */
uint64_t hs_fine_age_us(const struct hs_fine *f, const struct hs_view *v);
void hs_fine_learn_age(struct hs_fine *f, const struct hs_view *v, uint64_t us);
void hs_fine_forget_age(struct hs_fine *f, const struct hs_view *v);
void hs_fine_forget_ages(struct hs_fine *f);
/*
 * By what is known, a window has no time for this view: what stands in the way fades, so that some runs later a window
 * is tried again, unless hs_fine_took_to_age says the same anew meanwhile.
 */
void hs_fine_no_time(struct hs_fine *f, const struct hs_view *v);

/* A huge page of a window. */
struct fine_slot {
	size_t target, index; /* targets[target].huge[index] */
	bool live;            /* being sampled; implies split */
	bool split;           /* we split it, and it has not been brought back, kept or lost */
	uint64_t split_at_us;
	struct hs_bits512 now;  /* accessed since the last ageing */
	struct hs_bits512 ever; /* accessed in a complete sample */
};

struct fine_window {
	struct hs_fine *f;
	struct hs_fine_target *targets;
	size_t nr_targets;
	const struct hs_clock *clock;
	uint64_t end_us; /* by then everything is to be huge again */
	struct fine_slot *slots;
	size_t nr, room;
	/* Of one guest's batch; room for all slots. */
	hs_huge_nr *huge;
	size_t *which; /* the slot of each */
	struct hs_base_sample *samples;
	enum fine_back *outcome;
	int *errors;
};

/* Looks at the window's huge pages, w->slots[0 .. nr). 0, or what concerns all. */
HS_MUST_USE int hs_fine_window(struct fine_window *w);

/* Room for so many more pending restores, so that none is ever lost for want of memory: asked for before anything is
 * split. */
HS_MUST_USE int hs_fine_reserve_pending(struct hs_fine *f, size_t nr);
void hs_fine_add_pending(struct hs_fine *f, const struct hs_view *v, hs_huge_nr huge);

#endif
