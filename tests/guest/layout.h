/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's memory holds: which huge pages are hot, which base pages of them, and what every base page contains.
 * A pure function of the parameters, computed alike by the workload program inside the guest and by the library on the
 * host: so the host knows the truth about every base page without asking, and checks the service against it.
 */
#ifndef HS_TESTS_GUEST_LAYOUT_H
#define HS_TESTS_GUEST_LAYOUT_H

#include "hs/error.h"
#include "hs/types.h"

/* Everything that shapes a workload. All the same width: one table in params.c parses, prints and bounds them. */
struct hs_guest_params {
	uint64_t seed;                   /* of this guest: its unique pages, its random accesses */
	uint64_t common_seed;            /* of all guests that are to have pages in common */
	uint64_t nr_huge;                /* size of the workload's memory, in huge pages */
	uint64_t hot_percent;            /* of the huge pages: evenly hot, every base page accessed all the time */
	uint64_t bloat_percent;          /* of the huge pages: hot bloat, few base pages hot. The rest is cold */
	uint64_t bloat_hot;              /* hot base pages of a hot-bloat huge page, spread over it */
	uint64_t hot_identical_percent;  /* of the hot base pages: the same content in all guests; only ever read */
	uint64_t cold_identical_percent; /* of the cold base pages: the same content in all guests */
	uint64_t cold_zero_percent;      /* of the cold base pages: zeros */
	uint64_t cold_dup_percent;       /* of the cold base pages: four of a kind inside this guest only */
	uint64_t shuffle;                /* 1: what is identical lies elsewhere in each guest */
	uint64_t scatter;                /* 1: huge pages of the three classes mixed; 0: hot, bloat, cold in blocks */
	uint64_t threads;                /* that access the hot pages */
	uint64_t write_percent;          /* of the random accesses that meet a hot page of this guest alone: a write */
	uint64_t sweep_percent;          /* of the accesses: a steady pass over all hot pages; the others are random */
	uint64_t batch;                  /* accesses timed together: the unit of the latency figures */
	uint64_t rate;                   /* accesses per second and thread, at most; 0: as fast as it goes */
};
extern const struct hs_guest_params hs_guest_params_default;

/* Reads "--name=value" arguments over the values that are there. -EINVAL names the argument. */
HS_MUST_USE int hs_guest_params_parse(struct hs_guest_params *p, int argc, char *const *argv, struct hs_error *err);

/* Checks bounds, and that the percentages fit together. */
HS_MUST_USE int hs_guest_params_check(const struct hs_guest_params *p, struct hs_error *err);

/* Argument number i as text into buf; false when there are no more. */
bool hs_guest_params_format(const struct hs_guest_params *p, unsigned int i, char *buf, size_t size);

/* The list of parameters with defaults, one a line. */
void hs_guest_params_help(FILE *f);

enum hs_guest_class { HS_GUEST_HOT = 0, HS_GUEST_BLOAT, HS_GUEST_COLD, HS_GUEST_NR_CLASSES };

enum hs_guest_content {
	HS_GUEST_UNIQUE = 0, /* in this guest alone */
	HS_GUEST_IDENTICAL,  /* in every guest of the same common seed and the same percentages */
	HS_GUEST_DUPLICATE,  /* several times in this guest, in no other */
	HS_GUEST_ZERO,
	HS_GUEST_WRITTEN, /* was identical, and was overwritten on command: unique */
};

struct hs_guest_page {
	uint64_t id;      /* the content is a function of it; 0 when zero */
	uint8_t content;  /* enum hs_guest_content */
	bool hot;         /* accessed all the time */
	bool writable;    /* hot, and its last word is the workload's counter: see hs_guest_counter_word */
	uint32_t counter; /* written so often, as far as the program knows; the host's copy stays 0 */
};

struct hs_guest_counts {
	uint32_t nr_class[HS_GUEST_NR_CLASSES]; /* huge pages; those heated still count as cold here */
	uint32_t nr_hot;                        /* base pages from here on */
	uint32_t nr_hot_identical;
	uint32_t nr_cold;
	uint32_t nr_cold_identical;
	uint32_t nr_cold_duplicate;
	uint32_t nr_cold_zero;
	uint32_t nr_cold_unique; /* overwritten ones included */
};

struct hs_guest_layout {
	struct hs_guest_params params;
	uint32_t nr_huge;
	uint32_t nr_pages;           /* nr_huge * 512 */
	uint8_t *classes;            /* [nr_huge], enum hs_guest_class */
	struct hs_guest_page *pages; /* [nr_pages], in the order of the guest's virtual addresses */
	uint32_t *cold;              /* [nr_cold] the huge pages of class cold, ascending: heating takes them in turn */
	uint32_t nr_cold;
	uint32_t nr_heated; /* so many of them are hot now */
};

HS_MUST_USE int hs_guest_layout_init(struct hs_guest_layout *l, const struct hs_guest_params *p, struct hs_error *err);
void hs_guest_layout_finish(struct hs_guest_layout *l); /* takes NULL */

void hs_guest_layout_count(const struct hs_guest_layout *l, struct hs_guest_counts *out);

/*
 * Gives up to nr cold identical pages, chosen by `seed`, a new content of this guest's own; their numbers go to out[nr]
 * (may be NULL). Returns how many. Both sides choose the same ones.
 */
uint32_t hs_guest_layout_write(struct hs_guest_layout *l, uint32_t nr, uint64_t seed, uint32_t *out);

/* Turns the next nr cold huge pages evenly hot (they are read, never written); returns how many. */
uint32_t hs_guest_layout_heat(struct hs_guest_layout *l, uint32_t nr);

/* Turns all that were heated cold again. */
void hs_guest_layout_cool(struct hs_guest_layout *l);

/* Fills 4096 bytes with the content of `id`; each id other than 0 differs from all others within the first word. */
void hs_guest_fill_page(uint64_t id, void *page);

/* The last word of a writable page that was written `counter` times: the counter below, a checksum above. */
uint64_t hs_guest_counter_word(uint64_t id, uint32_t counter);

/*
 * Whether 4096 bytes are what the layout says of this page. A writable page may have any counter whose checksum is
 * right when any_counter is true (the host cannot know it), and must have the known one otherwise.
 */
bool hs_guest_page_matches(const struct hs_guest_page *page, const void *bytes, bool any_counter);

/* A mixer and a small generator: what "random" means here, the same on both sides. */
uint64_t hs_guest_mix(uint64_t a, uint64_t b);

static inline uint64_t hs_guest_next(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

#endif
