/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tier: a slower place for base pages that are cold, and that nobody has twice. It is swap of any kind (zram, zswap,
 * a disk), or a NUMA node. Base pages of a huge page are demoted to it and promoted back, from outside: no call is made
 * inside the guest, no advice stays with its memory, and nothing is on record, since the kernel knows at any time what
 * is where. A guest that touches a demoted page has it back at once, by a fault of its own.
 *
 * What a call moved is read back from the kernel afterwards (page tables, or the nodes that it names); what a system
 * call answers proves nothing: without swap, MADV_PAGEOUT reports success.
 *
 * A tier and its guests belong to one thread at a time. All calls on a guest may answer -ESRCH: it is gone; close it.
 */
#ifndef HS_TIER_H
#define HS_TIER_H

#include "hs/clock.h"
#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"
#include "hs/view.h"

struct hs_tier;
struct hs_tier_guest;

enum hs_tier_kind { HS_TIER_SWAP = 0, HS_TIER_NODE };

struct hs_tier_config {
	uint8_t kind;              /* enum hs_tier_kind */
	uint32_t node;             /* HS_TIER_NODE: which one, below 64 */
	uint32_t min_free_percent; /* of the tier, of the host's memory and of each limit of the guest's memory
				      cgroups: stays free. Default 5, as for the end of sharing */
	uint32_t pages_per_s;      /* base pages that are demoted in a second, of all guests; 0: no limit. Default 8000:
				      at 12 us a page (docs/tier.md) a tenth of a core */
};
#define HS_TIER_CONFIG_DEFAULT ((struct hs_tier_config){ .min_free_percent = 5, .pages_per_s = 8000 })

/* Why a base page that was asked for did not move. */
enum hs_tier_why {
	HS_TIER_UNKNOWN = 0, /* what it is could not be told, or changed meanwhile */
	HS_TIER_THERE,       /* it is where it was to go already */
	HS_TIER_EMPTY,       /* there is none: never touched, or given back */
	HS_TIER_MERGED,      /* KSM's */
	HS_TIER_ZERO,        /* the kernel's zero page */
	HS_TIER_LOCKED,      /* locked into memory */
	HS_TIER_SHARED,      /* mapped by others, too, or of a file */
	HS_TIER_WATCHED,     /* a userfaultfd is registered with it */
	HS_TIER_SPECIAL,     /* of a device, or hugetlbfs */
	HS_TIER_BOUND,       /* the guest's memory policy (mbind, set_mempolicy) keeps it off that node */
	HS_TIER_NO_ROOM,     /* there is no room for it */
	HS_TIER_LATER,       /* the budget is used up */
	HS_TIER_KEPT,        /* the kernel left it where it is: held by somebody, or just in use by the kernel itself */
	HS_TIER_NR_WHY
};
/* "merged", "no room", ...: for tables and JSON; never NULL. */
const char *hs_tier_why_name(enum hs_tier_why why);

struct hs_tier_moved {
	struct hs_bits512 moved;            /* known to have moved by this call */
	uint16_t not_moved[HS_TIER_NR_WHY]; /* base pages that were asked for and did not, by why */
};

/* How much fits, by whatever is tightest. */
struct hs_tier_room {
	uint64_t bytes;       /* that may be moved now; what is to stay free is off already */
	uint64_t limit, left; /* of the one that is tightest: all of it, and what it has left */
	char where[256];      /* which one that is */
	char medium[160];     /* what a page would go to: "/dev/zram0 (zram)", "node 1"; "": there is nothing */
};

/*
 * Errors: -ENODATA there is no such tier on this host now: no swap, no such node, or one without memory (the text says
 * how to have it; it may come later, so ask again); -ENOTSUP, -EPERM, the kernel's BPF as for a view; -EINVAL; -ENOMEM.
 * `clock` is what the budget goes by.
 */
HS_MUST_USE int hs_tier_create(struct hs_tier **out, const struct hs_host *host, const struct hs_tier_config *cfg,
			       const struct hs_clock *clock, struct hs_error *err);
void hs_tier_destroy(struct hs_tier *t); /* after its guests; what is demoted stays so; takes NULL */

/* Room for what is demoted of that guest; NULL: of a guest without limits. Errors: it is not known, so there is none.
 */
HS_MUST_USE int hs_tier_room(struct hs_tier *t, const struct hs_tier_guest *g, struct hs_tier_room *out,
			     struct hs_error *err);

/*
 * Takes the guest behind a view, which must outlive it here. -EBUSY: none of its memory can move, a device is passed
 * through to it or its memory is pinned (the text says by what); -ENOTSUP: it is no process of this host; -ESRCH.
 */
HS_MUST_USE int hs_tier_open_guest(struct hs_tier_guest **out, struct hs_tier *t, struct hs_view *view,
				   struct hs_error *err);
void hs_tier_close_guest(struct hs_tier_guest *g); /* what is demoted stays so; takes NULL */

/*
 * Demotes those of the wanted base pages of one huge page that may go and that there is room for, within the budget. A
 * huge page of which a part goes is split for good; what is mapped huge and goes as a whole need not be. Never touched
 * are merged, zero, locked and pinned pages, what others map as well, what a userfaultfd watches, and what cannot be
 * said (hs_tier_why). 0: out->moved says what is demoted now, out->not_moved the rest; it may be nothing. -ENOSPC:
 * nothing was tried, for there is no room (the text says where); -EAGAIN: the budget is used up; -EBUSY: as
 * hs_tier_open_guest, since it was opened. -ENODATA: the tier is gone.
 */
HS_MUST_USE int hs_tier_demote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *want,
			       struct hs_tier_moved *out, struct hs_error *err);

/*
 * Brings those of the wanted base pages back that are demoted, as many as there is room for on the host, below the
 * limits of the guest's memory cgroups and, for a node, on the nodes that the guest may use. They come as base pages;
 * the huge page can be restored afterwards. No budget: one huge page a call is a step. Their accessed bits are set. 0,
 * as above (HS_TIER_THERE: it is in fast memory already); -ENOMEM: nothing was tried, for there is no room.
 */
HS_MUST_USE int hs_tier_promote(struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *want,
				struct hs_tier_moved *out, struct hs_error *err);

/* Which base pages of one huge page are on the tier now, by whomever. */
HS_MUST_USE int hs_tier_where(struct hs_tier_guest *g, hs_huge_nr huge, struct hs_bits512 *demoted,
			      struct hs_error *err);

#endif
