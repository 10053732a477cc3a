/* SPDX-License-Identifier: Apache-2.0 */
/* A tier, as its own files share it. See tier.c for the order of steps. */
#ifndef HS_TIER_INTERNAL_H
#define HS_TIER_INTERNAL_H

#include "hs/tier.h"

struct bpf_link;
struct hs_vma_marks_program;
struct hs_tier_map;

/* How one kind of tier does it. Pages are those of one huge page of the guest at `hva`. */
struct hs_tier_ops {
	/* Whether it is there. */
	int (*check)(struct hs_tier *t, struct hs_error *err);
	/* g may be NULL. Sets all of *out. */
	int (*room)(struct hs_tier *t, const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err);
	/* What of the guest may not go there, into g->bound; NULL: nothing more than everywhere. -EBUSY.
	 */
	int (*look)(struct hs_tier_guest *g, struct hs_error *err);
	/* Tries to move them. What came of it is asked afterwards, by `where`. */
	int (*demote)(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, struct hs_error *err);
	int (*promote)(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, struct hs_error *err);
	/* Bytes that may be promoted. */
	int (*room_back)(const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err);
	/* `map`: as it was read just before. */
	int (*where)(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_tier_map *map,
		     struct hs_bits512 *demoted, struct hs_error *err);
};
extern const struct hs_tier_ops hs_tier_swap_ops, hs_tier_node_ops;

struct hs_tier {
	struct hs_host host;
	struct hs_tier_config cfg;
	struct hs_clock clock;
	const struct hs_tier_ops *ops;
	struct hs_vma_marks_program *marks;
	uint64_t tokens;    /* base pages that may be demoted now */
	uint64_t filled_us; /* tokens were added up to then */
};

/* Memory that is left alone, and why. */
struct hs_tier_range {
	uint64_t start, end;
	uint8_t why; /* enum hs_tier_why */
};

struct hs_tier_ranges {
	struct hs_tier_range *range; /* [nr], in any order */
	size_t nr;
};

struct hs_tier_guest {
	struct hs_tier *tier;
	struct hs_view *view;
	int pidfd, pagemap_fd, mem_fd;   /* all of the same process: the view's */
	struct bpf_link *link;           /* its VMAs */
	struct hs_tier_ranges off;       /* by the flags of its VMAs, as of the last look */
	struct hs_tier_ranges bound;     /* node.c: by its memory policies, as of `policies_us` */
	uint64_t looked_us, policies_us; /* 0: not yet */
};

HS_MUST_USE int hs_tier_add_range(struct hs_tier_ranges *r, uint64_t start, uint64_t end, enum hs_tier_why why);

/* What of the guest is to be left alone, at most a second old. What cannot be known leaves all of it alone. -EBUSY. */
HS_MUST_USE int hs_tier_look(struct hs_tier_guest *g, struct hs_error *err);

/* -ESRCH, when the guest's process has ended; else rc with a text. */
int hs_tier_error(const struct hs_tier_guest *g, int rc, const char *what, struct hs_error *err);
bool hs_tier_has_ended(const struct hs_tier_guest *g);

/* One system call for the runs of `pages`; a run that the kernel refuses is passed over. -ESRCH, -EPERM. */
HS_MUST_USE int hs_tier_advise(const struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages,
			       int advice);

/* What /proc/PID/pagemap says of one huge page's base pages. */
struct hs_tier_map {
	uint64_t pfn[HS_BASE_PER_HUGE];                   /* 0: not present */
	struct hs_bits512 present, swapped, empty, alone; /* alone: nobody else maps it, and it is of no file */
};
HS_MUST_USE int hs_tier_read_map(const struct hs_tier_guest *g, hs_huge_nr huge, struct hs_tier_map *out);

struct hs_room;
/* All of *out but the medium. */
void hs_tier_take_room(struct hs_tier_room *out, const struct hs_room *from);

/* room_back of swap: of the host, and of the guest's memory cgroups. */
int hs_tier_memory_room(const struct hs_tier_guest *g, struct hs_tier_room *out, struct hs_error *err);

#endif
