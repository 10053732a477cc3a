/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of KSM's owner share with one another and with the engine: knobs, the state file, bursts.
 */
#ifndef HS_SHARE_KSM_H
#define HS_SHARE_KSM_H

#include <limits.h>

#include "hs/share.h"

/* ---- the lock: one owner a host, whatever his state folder ---- */

struct hs_ksm_lock {
	int fd; /* -1: it is not held */
	char owner[16];
	char left_dir[PATH_MAX]; /* the state folder of an owner who was killed; "": the last one ended in order */
};
/* -EBUSY: the text names who has it. */
HS_MUST_USE int hs_ksm_lock_take(const struct hs_host *host, struct hs_ksm_lock *out, struct hs_error *err);
void hs_ksm_lock_drop(struct hs_ksm_lock *lock);

enum hs_ksm_knob {
	HS_KSM_RUN,
	HS_KSM_PAGES_TO_SCAN,
	HS_KSM_SLEEP_MS,
	HS_KSM_SMART_SCAN,
	HS_KSM_USE_ZERO_PAGES,
	HS_KSM_MAX_PAGE_SHARING,
	HS_KSM_NR_KNOBS,
};
extern const char *const hs_ksm_knob_name[HS_KSM_NR_KNOBS]; /* file names below ksm_dir */

struct hs_ksm_knobs {
	bool has[HS_KSM_NR_KNOBS]; /* false: this kernel has no such knob, or nothing is to be given back */
	uint64_t value[HS_KSM_NR_KNOBS];
	char advisor[16]; /* advisor_mode; empty: as above */
	/* What we set since, so that what somebody else sets meanwhile is told apart and left: values from least to
	 * most. has_set false in all: not known (an older state file), so all of it counts as ours. */
	bool has_set[HS_KSM_NR_KNOBS];
	uint64_t least[HS_KSM_NR_KNOBS], most[HS_KSM_NR_KNOBS];
};

HS_MUST_USE int hs_ksm_knobs_read(const struct hs_host *host, struct hs_ksm_knobs *out, struct hs_error *err);

struct hs_ksm_restored {
	struct hs_ksm_knobs left; /* what the kernel does not take back yet: max_page_sharing while pages are shared */
	char theirs[256]; /* knobs that somebody else has set meanwhile, with their values: left so. Empty: none */
};

/* Sets knobs to what they were, where they still hold what we set. Goes on after an error and returns the first. */
HS_MUST_USE int hs_ksm_knobs_restore(const struct hs_host *host, const struct hs_ksm_knobs *knobs,
				     struct hs_ksm_restored *out, struct hs_error *err);

/* Notes that we are about to set a knob to values from least to most. Whether that widens what was noted. */
bool hs_ksm_knobs_note(struct hs_ksm_knobs *knobs, enum hs_ksm_knob knob, uint64_t least, uint64_t most);

/* ---- the state file: on the disk, complete, before the first knob is changed ---- */

HS_MUST_USE int hs_ksm_state_write(const struct hs_host *host, const struct hs_ksm_knobs *knobs, struct hs_error *err);
/* -ENOENT: there is none. -EINVAL: somebody else wrote it; the text names it. */
HS_MUST_USE int hs_ksm_state_read(const struct hs_host *host, struct hs_ksm_knobs *knobs, struct hs_error *err);
HS_MUST_USE int hs_ksm_state_remove(const struct hs_host *host, struct hs_error *err);

/* ---- bursts ---- */

struct hs_ksm_setup {
	uint32_t pages_to_scan, sleep_ms;
	uint32_t least_pages, most_pages; /* that hs_ksm_pace may set; 0: none but pages_to_scan */
	uint32_t max_page_sharing;        /* 0: as it is */
	bool use_zero_pages;
};

/* Saves the knobs, when that has not been done, then sets them and lets ksmd run. -EBUSY: somebody else runs it now. */
HS_MUST_USE int hs_ksm_start(struct hs_ksm *k, const struct hs_ksm_setup *setup, struct hs_error *err);
/* Changes the length of ksmd's next batch, within what the setup said. */
HS_MUST_USE int hs_ksm_pace(struct hs_ksm *k, uint32_t pages_to_scan);
/* Stops ksmd. Waits for the end of its batch: the kernel holds the knob until then. */
HS_MUST_USE int hs_ksm_stop(struct hs_ksm *k, struct hs_error *err);
/* As hs_ksm_counters, without looking for ksmd each time. */
HS_MUST_USE int hs_ksm_sample(struct hs_ksm *k, struct hs_ksm_counters *out, struct hs_error *err);

HS_MUST_USE int hs_ksm_counters_of(const struct hs_host *host, pid_t *ksmd, struct hs_ksm_counters *out,
				   struct hs_error *err);

#endif
