/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recorded traces: what a run of the pipeline saw of its guests and what it decided, as a stream of records in a file.
 * The format itself: docs/trace-format.md.
 *
 * A trace holds no content and no digest. Each distinct content that was read has a number (0: all zero), given in the
 * order of first sight by its XXH3-128 digest under a key that dies with the recorder: who has the trace can tell which
 * pages were equal, and nothing about what was in them. Numbers mean nothing outside their own trace.
 *
 * Records stand in the order of the calls: sample, read, age is not the same as age, sample, read. So a
 * replay can answer the same calls with the same results (hs/record.h).
 */
#ifndef HS_TRACE_H
#define HS_TRACE_H

#include <stdio.h>

#include "hs/error.h"
#include "hs/policy.h"
#include "hs/scan.h"
#include "hs/settings.h"
#include "hs/share.h"
#include "hs/types.h"
#include "hs/view.h"

#define HS_TRACE_VERSION 1

/*
 * Bounds of one record, on both sides. The writer parts longer arrays into several records of one time; a reader needs
 * no more memory than these bounds ask for (below 3 MiB), whatever a file claims.
 */
#define HS_TRACE_MAX_GUESTS    1024
#define HS_TRACE_MAX_HUGE      65536
#define HS_TRACE_MAX_BASE      1024
#define HS_TRACE_MAX_MAPPING   4096
#define HS_TRACE_MAX_FINE      512
#define HS_TRACE_MAX_DECISIONS 4096
#define HS_TRACE_MAX_SHARED    2048
#define HS_TRACE_MAX_REGIONS   8192
#define HS_TRACE_NAME_MAX      128 /* with the end; of a guest, its group and its view */
#define HS_TRACE_FACT_MAX      128 /* the same, of a fact about the machine */

/* Huge pages of one guest: as many as base pages can be numbered. */
#define HS_TRACE_MAX_GUEST_HUGE (UINT32_MAX / HS_BASE_PER_HUGE)

/* ---- the header ---- */

struct hs_trace_header {
	uint32_t base_bytes, huge_bytes; /* page sizes: 4096 and 2097152 */
	uint64_t started_s;              /* seconds since 1970, UTC */
	uint64_t memory_bytes;           /* of the machine */
	uint32_t nr_cpus;
	char program[HS_TRACE_FACT_MAX];    /* "hs-share VERSION" */
	char kernel[HS_TRACE_FACT_MAX];     /* "6.1.0" */
	char cpu[HS_TRACE_FACT_MAX];        /* the model's name */
	struct hs_pipeline_config settings; /* those that decisions hang on; a replay with the same makes the same */
	bool merging;                       /* pages were merged while it was recorded; otherwise nothing was changed */
};

/* ---- records ---- */

enum hs_trace_type {
	/* A guest came: u.guest. Or it had new memory, and comes again with the next number, in the place of the one of
	 * its name that is gone next. */
	HS_TRACE_GUEST = 1,
	HS_TRACE_GONE,      /* it was taken out, or has ended */
	HS_TRACE_CYCLE,     /* a cycle of the pipeline begins (again, after an interrupt): u.cycle; nobody's */
	HS_TRACE_CLOCK,     /* the clock was read, or slept on: u.clock; nobody's */
	HS_TRACE_REFRESH,   /* hs_view_refresh; no more to tell than its answer */
	HS_TRACE_AGE,       /* hs_view_age: accessed bits were cleared */
	HS_TRACE_HUGE,      /* hs_view_sample_huge: u.huge; one for each coarse round */
	HS_TRACE_BASE,      /* hs_view_sample_base: u.base */
	HS_TRACE_CONTENT,   /* hs_view_read: u.content */
	HS_TRACE_SPLIT,     /* hs_view_split: u.mapping */
	HS_TRACE_RESTORE,   /* hs_view_restore: u.mapping */
	HS_TRACE_FINE,      /* what the fine phase learnt, summed up from the records above: u.fine */
	HS_TRACE_DECISIONS, /* what the policy decided on each huge page of the guest: u.decisions */
	HS_TRACE_SHARED, /* what is shared by page frames, of huge pages of which anything is wanted or shared: u.shared
			  */
	HS_TRACE_LEDGER, /* the same in sums: u.ledger */
	HS_TRACE_END,    /* the recording was ended in order; the reader takes it, and never gives it to its caller */
	HS_TRACE_SETTLED, /* the cycle's burst settled, and what it left unmerged was judged: u.settled */
	HS_TRACE_NR_TYPES
};

/* A stretch of guest memory. Host addresses stay out of the trace; only how far stretches lie apart is kept. */
struct hs_trace_region {
	uint64_t hole_bytes; /* between the end of the stretch before and this one; 0 for the first */
	uint32_t nr_huge;
};

struct hs_trace_guest {
	char name[HS_TRACE_NAME_MAX];
	char group[HS_TRACE_NAME_MAX];
	char view[HS_TRACE_NAME_MAX];          /* how it was looked at: its view's name */
	uint8_t can_split;                     /* 1: as hs_view_can_split said */
	uint8_t splits_nested;                 /* 1: as in struct hs_view_ops */
	uint32_t nr_huge;                      /* sum over the regions, 1 .. HS_TRACE_MAX_GUEST_HUGE */
	const struct hs_trace_region *regions; /* [nr] */
};

enum hs_trace_clock_op { HS_TRACE_CLOCK_NOW = 0, HS_TRACE_CLOCK_SLEEP };

struct hs_trace_clock {
	uint8_t op;        /* enum hs_trace_clock_op; the record's time is what was read, or when the sleep ended */
	uint64_t asked_us; /* SLEEP: for how long */
};

/* A huge page that was read. */
struct hs_trace_content {
	hs_huge_nr huge;
	struct hs_bits512 want, got; /* base pages that were asked for, and that were read */
	const uint32_t *numbers;     /* [512]: each got page's content; 0: all zero, or not got */
};

/* Of a guest, at the end of a cycle whose burst settled. */
struct hs_trace_settled {
	uint8_t scanned;    /* 1: ksmd ran */
	uint8_t all_marked; /* 1: all that was wanted of the guest was mergeable */
};

struct hs_trace_decision {
	hs_huge_nr huge;
	struct hs_policy_decision decision;
};

struct hs_trace_record {
	uint8_t type;     /* enum hs_trace_type */
	uint32_t guest;   /* whose: 0 .. HS_TRACE_MAX_GUESTS - 1, in the order of coming; 0 where it is nobody's */
	uint64_t time_us; /* since the recording began; never goes back */
	int error;        /* what the call answered: 0 or -errno; with an error there is nothing else to tell */
	size_t nr;        /* elements of the array below */
	union {
		struct hs_trace_guest guest; /* nr: regions */
		uint32_t cycle;              /* from 1 */
		struct hs_trace_clock clock;
		struct {
			hs_huge_nr first;
			const struct hs_huge_sample *samples; /* [nr]: of huge pages [first, first + nr) */
		} huge;
		struct {
			const hs_huge_nr *huge;               /* [nr] */
			const struct hs_base_sample *samples; /* [nr] */
		} base;
		struct hs_trace_content content;
		struct {
			const hs_huge_nr *huge; /* [nr] */
			const int *results;     /* [nr]: 0 or -errno */
		} mapping;
		const struct hs_fine_result *fine;         /* [nr] */
		const struct hs_trace_decision *decisions; /* [nr] */
		const struct hs_shared_huge *shared;       /* [nr] */
		struct hs_ledger ledger;
		struct hs_trace_settled settled;
	} u;
};

/* "huge samples", ...; never NULL. */
const char *hs_trace_type_name(uint8_t type);

/* ---- writing ---- */

struct hs_trace_writer;

/*
 * Begins a trace in `f`, which is owned from then on, also after an error; it needs no seeking. `name`: for errors.
 * -ENOMEM, or what writing gave.
 */
HS_MUST_USE int hs_trace_writer_create(struct hs_trace_writer **out, FILE *f, const char *name,
				       const struct hs_trace_header *header, struct hs_error *err);

/*
 * Writes a record; arrays longer than the bounds become several records. A time before the last one's counts as the
 * last one's. -EINVAL: what no reader would take (the text says what). Errors of writing last: each later call answers
 * the first one.
 */
HS_MUST_USE int hs_trace_write(struct hs_trace_writer *w, const struct hs_trace_record *r, struct hs_error *err);

/* Gives what has been written so far to the operating system: after a crash the trace is readable up to here. */
HS_MUST_USE int hs_trace_flush(struct hs_trace_writer *w, struct hs_error *err);

struct hs_trace_writer_stats {
	uint64_t nr_records;
	uint64_t file_bytes; /* written */
};
void hs_trace_writer_stats(const struct hs_trace_writer *w, struct hs_trace_writer_stats *out);

/* Ends the trace and closes the file; the writer is gone afterwards, whatever is answered. Takes NULL. */
HS_MUST_USE int hs_trace_writer_close(struct hs_trace_writer *w, struct hs_error *err);

/* ---- reading ---- */

struct hs_trace_reader;

/*
 * Reads a trace from `f`, which is owned from then on, also after an error; it needs no seeking. `name`: for errors,
 * each of which names the place in bytes from the start of the file and the reason. -EINVAL: it is no trace;
 * -EPROTONOSUPPORT: another version of the format; -ENODATA: it ends too early; -EBADMSG: it is damaged; -ENOMEM; or
 * what reading gave.
 */
HS_MUST_USE int hs_trace_reader_create(struct hs_trace_reader **out, FILE *f, const char *name, struct hs_error *err);

/* The same of a file by its path, which names it in errors; or -errno of opening it. */
HS_MUST_USE int hs_trace_reader_open(struct hs_trace_reader **out, const char *path, struct hs_error *err);

const struct hs_trace_header *hs_trace_reader_header(const struct hs_trace_reader *r);

/*
 * The next record: 1, and *out is valid until the next call; 0: the trace is at its end, in order. -ENODATA: the
 * recording was cut off here: what came before is as it was recorded. Errors as above; after one nothing more is read.
 * Numbers of guests and huge pages in a record are those of a guest that came before, results are valid values of
 * their enums, sets that are subsets by contract are subsets; times do not go back.
 */
HS_MUST_USE int hs_trace_next(struct hs_trace_reader *r, const struct hs_trace_record **out, struct hs_error *err);

void hs_trace_reader_destroy(struct hs_trace_reader *r); /* takes NULL */

#endif
