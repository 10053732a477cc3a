/*
 * A burst that is under way, between the file that runs it (engine_burst.c) and the one that watches it
 * (engine_watch.c).
 */
#ifndef HS_SHARE_ENGINE_BURST_H
#define HS_SHARE_ENGINE_BURST_H

#include "engine_internal.h"
#include "settle.h"

#define HS_ENGINE_STEER_SLEEP_MS 20 /* ksmd's sleep when its CPU time is steered: 50 short batches a second */
#define HS_ENGINE_MIN_PAGES      8  /* of a batch */

struct hs_engine_burst {
	struct hs_share *s;
	const struct hs_clock *clock;
	struct hs_ksm_counters before, at_pass, steered;
	uint64_t start_us, steered_us, pass_us; /* pass_us: when the pass began */
	uint64_t now_us;                        /* as of the last look */
	uint64_t checked_us, check_us;          /* the plan was checked then, and is to be in so long again */
	uint64_t counted_us, count_us;          /* the same of what is merged */
	uint64_t unmerged;                      /* marked base pages of our guests, before */
	struct hs_settle target;
	uint64_t merged; /* at the end of the last pass */
	uint64_t passes, passes_needed;
	uint32_t pages; /* pages_to_scan now */
	int scans_fd;   /* full_scans; -1: not open */
	bool settled;
};

/* Base pages that are mergeable; fills in what the burst is to merge, and what is merged now. */
uint64_t hs_engine_burst_expect(struct hs_engine_burst *b);
/* Sets the times that the watch goes by to now. */
void hs_engine_watch_from_now(struct hs_engine_burst *b);
/* A batch that keeps to the cap at what a page costs when it merges. */
uint32_t hs_engine_careful_pages(const struct hs_share_config *cfg);
/* One look: b->now_us and b->settled are set; ksmd's batches are made to keep to the cap. An error ends the burst. */
HS_MUST_USE int hs_engine_watch(struct hs_engine_burst *b, struct hs_error *err);

#endif
