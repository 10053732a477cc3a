/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lab's host: guests as simulated views (hs/sim_view.h), their contents and what is shared of them, the work that
 * they do in simulated time, and a count of everything that costs.
 *
 * Contents are numbers. 0 is zero; 1 .. nr_pooled are contents that several pages may have; from HS_LAB_OWN on each
 * page's content is its own and equal to no other. The frames that a host needs follow from them: all merged pages of
 * one content, inside a trust group, have one frame; merged zero pages have none.
 *
 * One thread. Page numbers outside a guest are a mistake of the caller and abort, as in hs/sim_view.h.
 */
#ifndef HS_LAB_LAB_HOST_H
#define HS_LAB_LAB_HOST_H

#include "hs/sim_view.h"
#include "scenario.h"

#define HS_LAB_OWN       (UINT64_C(1) << 40)
#define HS_LAB_MAX_HOT   100U   /* base pages: HugeScope's border between cold-dominated and evenly hot */
#define HS_LAB_SPELL_S   6.0    /* what counts as hot: an access is to be expected within ten rounds of 600 ms */
#define HS_LAB_TICK_US   100000 /* writes and streams happen at whole ticks, whoever looks in between */
#define HS_LAB_PAGE_BINS 33
#define HS_LAB_STEP_US   12500 /* the shortest sleep there is: the fine phase's first look */

/* What a huge page is to its guest; the truth, which no policy knows but the oracle. */
enum hs_lab_class { HS_LAB_COLD = 0, HS_LAB_EVEN, HS_LAB_SKEWED, HS_LAB_WARM, HS_LAB_STREAM, HS_LAB_ABSENT };

/* Everything that costs somebody something, counted since the start. */
struct hs_lab_counts {
	double accesses_huge; /* accesses of guests through huge mappings */
	double accesses_base; /* through base mappings */
	/* Of them, by the base pages that their guest had in use: from 2 to the power of the index on. */
	double base_by_pages[HS_LAB_PAGE_BINS];
	uint64_t breaks;      /* writes to merged pages: a fault and a copy of a base page each */
	uint64_t breaks_huge; /* writes to merged huge pages: a copy of a huge page each */
	uint64_t writes;      /* that changed a content */
	uint64_t merged;      /* base pages that became merged */
	uint64_t unmerged;    /* base pages taken apart again by the policy: a copy each */
	uint64_t broken_huge; /* huge pages split for good */
	uint64_t collapsed;   /* split huge pages made huge again by the policy, for good: copies */
	uint64_t scanned;     /* base pages that a scanner in the way of ksmd went over */
};

struct hs_lab_guest {
	struct hs_view *view;
	bool lent; /* somebody else closes the view */
	const struct hs_lab_kind *kind;
	char name[2 * HS_LAB_NAME_MAX];
	uint32_t nr; /* of the host */
	uint32_t group;
	uint32_t nr_huge;
	uint64_t pool_first, pool_size; /* contents that rewrites leave behind; size 0: none */
	const struct hs_lab_work_ops *ops;
	void *work;              /* of those */
	uint32_t *huge_set;      /* [nr_huge]: the set of merged huge pages it is in, + 1; NULL until the first */
	struct hs_bits512 *held; /* [nr_huge]: see hs_lab_hold; NULL until the first */
};

struct hs_lab_host;

/* Called after each write that changes who is equal to whom; merged pages were taken apart before. */
typedef void hs_lab_on_write(void *ctx, struct hs_lab_guest *g, hs_base_nr page);

struct hs_lab_host {
	struct hs_lab_scenario scenario;
	struct hs_sim_clock sim;
	struct hs_clock clock;
	struct hs_lab_guest *guests;
	uint32_t nr_guests, nr_groups;
	bool blind; /* sharing takes no account of trust groups; set before anything is merged */

	uint64_t nr_pooled;
	uint32_t *live;   /* [content * nr_groups + group]: present pages */
	uint32_t *merged; /* [hs_lab_cell]: merged ones */
	uint64_t next_own;
	uint64_t present;        /* base pages that have memory when nothing is shared */
	uint64_t saved;          /* frames that sharing spares, now */
	uint64_t possible;       /* frames that could be spared at most, groups kept apart, whatever it costs */
	uint64_t possible_blind; /* the same across groups */
	uint32_t *huge_set_size; /* members of each set of merged huge pages */
	uint32_t nr_huge_sets, room_huge_sets;

	struct hs_lab_counts counts;
	uint64_t pending_us; /* time that passed and was not worked in yet */
	uint64_t done_us;    /* worked until here */
	uint64_t done_ticks;
	uint64_t samples_done, sample_us;
	void (*on_sample)(void *ctx, uint64_t now_us); /* each sample_us; NULL: never */
	void *sample_ctx;
	hs_lab_on_write *on_write; /* NULL: nobody wants to know */
	void *write_ctx;
};

/* Makes the guests, their contents and their work. -ENOMEM; -ENOSPC: more contents than can be counted. */
HS_MUST_USE int hs_lab_host_create(struct hs_lab_host **out, const struct hs_lab_scenario *s, struct hs_error *err);
void hs_lab_host_destroy(struct hs_lab_host *h); /* takes NULL; closes the views that were not taken over */

/* The clock ends all sleeping after so many seconds of the host. */
void hs_lab_host_end_after(struct hs_lab_host *h, double seconds);

/* Tables of a number for each content and group: their size, and a guest's cell; all are in group 0 when blind. */
static inline size_t hs_lab_cells(const struct hs_lab_host *h)
{
	return (h->nr_pooled + 1) * h->nr_groups;
}

static inline size_t hs_lab_cell(const struct hs_lab_host *h, const struct hs_lab_guest *g, uint64_t content)
{
	return content * h->nr_groups + (h->blind ? 0 : g->group);
}

static inline hs_huge_nr hs_lab_huge(hs_base_nr page)
{
	return page / HS_BASE_PER_HUGE;
}

/* ---- contents; host_content.c ---- */

HS_MUST_USE int hs_lab_fill(struct hs_lab_host *h, struct hs_error *err);
/* The guest writes: new content, its sharing breaks. */
void hs_lab_write(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page, uint64_t content);
uint64_t hs_lab_own_content(struct hs_lab_host *h);
/* Some content of the guest's first pool, or zero when it has none. */
uint64_t hs_lab_pool_content(const struct hs_lab_guest *g, uint64_t random);

/* ---- sharing; host_share.c ---- */

/* Whether another page could share with this one: present, not of its own content. */
bool hs_lab_can_share(const struct hs_lab_host *h, const struct hs_lab_guest *g, hs_base_nr page);
/* Merged pages that have this content where guest g may share; a set of n needs one frame (zero: none). */
uint32_t hs_lab_merged_alike(const struct hs_lab_host *h, const struct hs_lab_guest *g, uint64_t content);

/* KSM merges the page: with all others of its content. A huge page under it is split. Nothing when it is merged. */
void hs_lab_merge(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page);
/* Counts it as merged but leaves it as it is mapped: the artifact's first holder of a content, which is never split. */
HS_MUST_USE int hs_lab_hold(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page);
bool hs_lab_is_merged(const struct hs_lab_host *h, const struct hs_lab_guest *g, hs_base_nr page); /* or held */
/* Takes one merged page out; its huge page stays split. */
void hs_lab_unmerge(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page);
/* Takes all sharing of a huge page apart and makes it huge again. */
void hs_lab_unshare(struct hs_lab_host *h, struct hs_lab_guest *g, hs_huge_nr huge);

/* Merges a huge page, as it is, with the set number `set` (of hs_lab_new_set): the caller knows that they are equal. */
HS_MUST_USE int hs_lab_merge_huge(struct hs_lab_host *h, struct hs_lab_guest *g, hs_huge_nr huge, uint32_t set);
HS_MUST_USE int hs_lab_new_set(struct hs_lab_host *h, uint32_t *set);
bool hs_lab_is_merged_huge(const struct hs_lab_guest *g, hs_huge_nr huge);
/* Before a write: what is merged at this page is so no more. */
void hs_lab_break(struct hs_lab_host *h, struct hs_lab_guest *g, hs_base_nr page);

/* Counts everything anew from pages and mappings. False, with the reason: some count is not what it should be. */
bool hs_lab_consistent(const struct hs_lab_host *h, struct hs_error *err);

/* ---- work ---- */

/* What a guest does, and the truth about it, which no policy knows but the oracle. */
struct hs_lab_work_ops {
	enum hs_lab_class (*class_of)(const struct hs_lab_guest *g, hs_huge_nr huge);
	double (*rate_of)(const struct hs_lab_guest *g, hs_huge_nr huge);
	struct hs_bits512 (*hot_pages)(const struct hs_lab_guest *g, hs_huge_nr huge);
	uint32_t (*phase_of)(const struct hs_lab_guest *g);
	/* The accesses of so many seconds, which end at now_us. */
	void (*access)(struct hs_lab_host *h, struct hs_lab_guest *g, double seconds, uint64_t now_us);
	/* The writes of one tick. */
	void (*tick)(struct hs_lab_host *h, struct hs_lab_guest *g, uint64_t nr);
	void (*destroy)(struct hs_lab_guest *g);
};

/* workload.c: work made up from the scenario; -ENOMEM. */
HS_MUST_USE int hs_lab_work_create(struct hs_lab_host *h, struct hs_lab_guest *g);
/* Accesses through base mappings, while the guest has so many base pages in use. */
void hs_lab_count_base(struct hs_lab_host *h, uint64_t pages, double accesses);

static inline enum hs_lab_class hs_lab_class_of(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	return g->ops->class_of(g, huge);
}

/* Accesses a second. */
static inline double hs_lab_rate_of(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	return g->ops->rate_of(g, huge);
}

/* Base pages that are hot: an access is to be expected within HS_LAB_SPELL_S. */
static inline struct hs_bits512 hs_lab_hot_pages(const struct hs_lab_guest *g, hs_huge_nr huge)
{
	return g->ops->hot_pages(g, huge);
}

/* Changes when what is hot changes. */
static inline uint32_t hs_lab_phase_of(const struct hs_lab_guest *g)
{
	return g->ops->phase_of(g);
}

#endif
