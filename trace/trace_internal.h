/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The trace's own, for its files alone: numbers and sets as bytes, records as bytes, and the frame of a block. What the
 * bytes mean stands in docs/trace-format.md; reading and writing of each record stand side by side in kinds.c and
 * kinds_reported.c.
 */
#ifndef HS_TRACE_TRACE_INTERNAL_H
#define HS_TRACE_TRACE_INTERNAL_H

#include <string.h>

#include "hs/trace.h"

/* ---- the file ---- */

/* A byte that no text has, a name, and line ends that a transfer as text would spoil. */
#define HS_TRACE_MAGIC       "\x89HST\r\n\x1a\n"
#define HS_TRACE_MAGIC_SIZE  8
#define HS_TRACE_FILE_HEAD   (HS_TRACE_MAGIC_SIZE + 4) /* magic, version */
#define HS_TRACE_BLOCK_HEAD  20                        /* magic, packed bytes, raw bytes, checksum of 8 bytes */
#define HS_TRACE_BLOCK_MAGIC UINT32_C(0x4b4c4248)      /* "HBLK" */

#define HS_TRACE_MAX_RAW (1U << 20) /* bytes of a block before compression */
#define HS_TRACE_FULL_BLOCK                                                                                            \
	(1U << 18) /* a block is written when it has so many: larger ones compress little better                       \
		    */

/* Type of the record that begins every trace; not in enum hs_trace_type, since the caller gets it in another way. */
#define HS_TRACE_HEADER 0

static inline void hs_trace_put_le(uint8_t *at, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t hs_trace_get_le(const uint8_t *at, int bytes)
{
	uint64_t v = 0;

	for (int i = 0; i < bytes; i++)
		v |= (uint64_t)at[i] << (8 * i);
	return v;
}

/* Over the sizes and the packed bytes. */
uint64_t hs_trace_checksum(uint32_t packed, uint32_t raw, const uint8_t *bytes);

/* ---- out ---- */

struct hs_put {
	uint8_t *buf;
	size_t len, cap;
	bool full; /* something did not fit: the rest was left out */
};

void hs_put_byte(struct hs_put *p, uint8_t v);
void hs_put_bytes(struct hs_put *p, const void *from, size_t nr);
void hs_put_int(struct hs_put *p, uint64_t v);   /* 7 bits a byte, low ones first */
void hs_put_signed(struct hs_put *p, int64_t v); /* the sign in the lowest bit */
void hs_put_text(struct hs_put *p, const char *text);
void hs_put_bits(struct hs_put *p, const struct hs_bits512 *b);
/* Numbers of huge pages are mostly one after the other: the step from *next, the one expected, is mostly 0. *next: 0
 * before the first. */
void hs_put_huge(struct hs_put *p, hs_huge_nr *next, hs_huge_nr huge);

/* ---- in ---- */

/* The first thing that is wrong stays in `why`; from then on everything reads as 0. */
struct hs_get {
	const uint8_t *start, *at, *end;
	const char *why; /* NULL: all is well */
};

void hs_get_fail(struct hs_get *g, const char *why);
uint8_t hs_get_byte(struct hs_get *g);
uint64_t hs_get_int(struct hs_get *g, uint64_t max, const char *why); /* `why`: when it is above max */
uint16_t hs_get_u16(struct hs_get *g);
uint32_t hs_get_u32(struct hs_get *g);
uint64_t hs_get_u64(struct hs_get *g);
size_t hs_get_nr(struct hs_get *g, size_t bound); /* elements of a record's array */
hs_huge_nr hs_get_huge(struct hs_get *g, hs_huge_nr *next);
int64_t hs_get_signed(struct hs_get *g);
void hs_get_text(struct hs_get *g, char *out, size_t size);
void hs_get_bits(struct hs_get *g, struct hs_bits512 *b);

/* ---- records ---- */

/* What has to be remembered from one record to the next, on both sides. */
struct hs_trace_state {
	uint64_t time_us;
	uint64_t nr_records;
	uint32_t nr_guests;
	uint32_t nr_huge[HS_TRACE_MAX_GUESTS]; /* of each guest that came */
	uint8_t gone[HS_TRACE_MAX_GUESTS];
};

/* Room for the arrays of any one record. */
struct hs_trace_room {
	hs_huge_nr huge[HS_TRACE_MAX_MAPPING];
	union {
		struct hs_trace_region regions[HS_TRACE_MAX_REGIONS];
		struct hs_huge_sample huge_samples[HS_TRACE_MAX_HUGE];
		struct hs_base_sample base_samples[HS_TRACE_MAX_BASE];
		uint32_t numbers[HS_BASE_PER_HUGE];
		int results[HS_TRACE_MAX_MAPPING];
		struct hs_fine_result fine[HS_TRACE_MAX_FINE];
		struct hs_trace_decision decisions[HS_TRACE_MAX_DECISIONS];
		struct hs_shared_huge shared[HS_TRACE_MAX_SHARED];
	} u;
};

typedef void hs_put_kind(struct hs_put *p, const struct hs_trace_record *r, size_t from, size_t nr);
typedef void hs_get_kind(struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room);

/* What one kind of record holds: kinds.c; and, of what the pipeline reports of itself, kinds_reported.c. */
struct hs_trace_kind {
	const char *name;
	size_t bound; /* elements that one record may have; 0: it has no array */
	/* Elements [from, from + nr); kinds without an array do not look at these. */
	hs_put_kind *put;
	hs_get_kind *get;
};

hs_put_kind hs_put_fine, hs_put_decisions, hs_put_shared, hs_put_ledger, hs_put_settled;
hs_get_kind hs_get_fine, hs_get_decisions, hs_get_shared, hs_get_ledger, hs_get_settled;

/* NULL: there is no such kind, or it is the end. */
const struct hs_trace_kind *hs_trace_kind(uint8_t type);

/*
 * Appends elements [from, from + nr) of the record as one record; nr within the type's bound. Takes the time and guest
 * as the state has them, and moves it on. What is wrong with the record, or NULL.
 */
const char *hs_trace_encode(struct hs_trace_state *s, struct hs_put *p, const struct hs_trace_record *r, size_t from,
			    size_t nr);

/* Elements that one record of this type may have. */
size_t hs_trace_bound(uint8_t type);

/*
 * Takes one record. 1: *r is it; 0: it is of a kind that this version does not know, or the end (*ended); -1: g->why
 * says what is wrong, at g->at.
 */
int hs_trace_decode(struct hs_trace_state *s, struct hs_get *g, struct hs_trace_record *r, struct hs_trace_room *room,
		    bool *ended);

/* What is wrong with the record, or NULL: asked of each one that is written and of each one that was read. */
const char *hs_trace_check(const struct hs_trace_state *s, const struct hs_trace_record *r);

/* The record is good: what later ones stand on is remembered. */
void hs_trace_note(struct hs_trace_state *s, const struct hs_trace_record *r);

/* ---- the header's record ---- */

void hs_trace_encode_header(struct hs_put *p, const struct hs_trace_header *h);
void hs_trace_decode_header(struct hs_get *g, struct hs_trace_header *h); /* g->why: what is wrong */

#endif
