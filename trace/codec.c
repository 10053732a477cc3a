/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, texts and sets as bytes. */
#include "trace_internal.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* How a set of 512 is written: whichever takes the least. */
enum bits_form { BITS_NONE = 0, BITS_ALL, BITS_WORDS, BITS_FEW, BITS_ALL_BUT, NR_BITS_FORMS };

#define TOO_MANY  "there are more elements than a record may have"
#define TOO_LARGE "a number is out of its range"

/* With more members than this the words are shorter, at some 1.5 bytes a member. */
#define BITS_MAX_FEW 40

uint64_t hs_trace_checksum(uint32_t packed, uint32_t raw, const uint8_t *bytes)
{
	return XXH3_64bits_withSeed(bytes, packed, (uint64_t)packed << 32 | raw);
}

/* ---- out ---- */

void hs_put_bytes(struct hs_put *p, const void *from, size_t nr)
{
	if (nr > p->cap - p->len) {
		p->full = true;
		return;
	}
	memcpy(p->buf + p->len, from, nr);
	p->len += nr;
}

void hs_put_byte(struct hs_put *p, uint8_t v)
{
	hs_put_bytes(p, &v, 1);
}

void hs_put_int(struct hs_put *p, uint64_t v)
{
	uint8_t b[10];
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		b[n++] = (uint8_t)(v | 0x80);
	b[n++] = (uint8_t)v;
	hs_put_bytes(p, b, n);
}

void hs_put_signed(struct hs_put *p, int64_t v)
{
	hs_put_int(p, (uint64_t)v << 1 ^ (uint64_t)(v >> 63));
}

void hs_put_text(struct hs_put *p, const char *text)
{
	size_t n = strlen(text);

	hs_put_int(p, n);
	hs_put_bytes(p, text, n);
}

/* The number of members, and how far each is from the one before. */
static void put_few(struct hs_put *p, const struct hs_bits512 *b, unsigned int nr)
{
	unsigned int next = 0;

	hs_put_byte(p, (uint8_t)nr);
	hs_bits_for_each (i, b) {
		hs_put_int(p, i - next);
		next = i + 1;
	}
}

void hs_put_bits(struct hs_put *p, const struct hs_bits512 *b)
{
	const unsigned int nr = hs_bits_count(b);
	const struct hs_bits512 others = hs_bits_andnot(hs_bits_full(), *b);

	if (!nr) {
		hs_put_byte(p, BITS_NONE);
	} else if (nr == HS_BASE_PER_HUGE) {
		hs_put_byte(p, BITS_ALL);
	} else if (nr <= BITS_MAX_FEW) {
		hs_put_byte(p, BITS_FEW);
		put_few(p, b, nr);
	} else if (HS_BASE_PER_HUGE - nr <= BITS_MAX_FEW) {
		hs_put_byte(p, BITS_ALL_BUT);
		put_few(p, &others, HS_BASE_PER_HUGE - nr);
	} else {
		uint8_t words[sizeof(b->w)];

		for (int i = 0; i < 8; i++)
			hs_trace_put_le(words + 8 * i, b->w[i], 8);
		hs_put_byte(p, BITS_WORDS);
		hs_put_bytes(p, words, sizeof(words));
	}
}

void hs_put_huge(struct hs_put *p, hs_huge_nr *next, hs_huge_nr huge)
{
	hs_put_signed(p, (int64_t)huge - *next);
	*next = huge + 1;
}

/* ---- in ---- */

void hs_get_fail(struct hs_get *g, const char *why)
{
	if (!g->why)
		g->why = why;
}

static const uint8_t *get_bytes(struct hs_get *g, size_t nr)
{
	const uint8_t *at = g->at;

	if (g->why)
		return NULL;
	if (nr > (size_t)(g->end - g->at)) {
		hs_get_fail(g, "the record is shorter than what it holds");
		return NULL;
	}
	g->at += nr;
	return at;
}

uint8_t hs_get_byte(struct hs_get *g)
{
	const uint8_t *b = get_bytes(g, 1);

	return b ? *b : 0;
}

static uint64_t get_any(struct hs_get *g)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 70; shift += 7) {
		const uint8_t b = hs_get_byte(g);

		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return g->why ? 0 : v;
	}
	hs_get_fail(g, "a number has more than 64 bits");
	return 0;
}

uint64_t hs_get_int(struct hs_get *g, uint64_t max, const char *why)
{
	const uint64_t v = get_any(g);

	if (v > max)
		hs_get_fail(g, why);
	return g->why ? 0 : v;
}

int64_t hs_get_signed(struct hs_get *g)
{
	const uint64_t v = get_any(g);

	return (int64_t)(v >> 1 ^ (~(v & 1) + 1));
}

hs_huge_nr hs_get_huge(struct hs_get *g, hs_huge_nr *next)
{
	const int64_t step = hs_get_signed(g);

	if (step < -(int64_t)*next || step > (int64_t)UINT32_MAX - 1 - *next) {
		hs_get_fail(g, TOO_LARGE);
		return 0;
	}
	*next = (hs_huge_nr)(*next + step) + 1;
	return *next - 1;
}

uint32_t hs_get_u32(struct hs_get *g)
{
	return (uint32_t)hs_get_int(g, UINT32_MAX, TOO_LARGE);
}

uint64_t hs_get_u64(struct hs_get *g)
{
	return hs_get_int(g, UINT64_MAX, "");
}

uint16_t hs_get_u16(struct hs_get *g)
{
	return (uint16_t)hs_get_int(g, UINT16_MAX, TOO_LARGE);
}

size_t hs_get_nr(struct hs_get *g, size_t bound)
{
	return (size_t)hs_get_int(g, bound, TOO_MANY);
}

void hs_get_text(struct hs_get *g, char *out, size_t size)
{
	const size_t n = (size_t)hs_get_int(g, size - 1, "a text is too long");
	const uint8_t *b = get_bytes(g, n);

	out[0] = '\0';
	if (!b)
		return;
	if (memchr(b, '\0', n)) {
		hs_get_fail(g, "a text has a zero byte in it");
		return;
	}
	memcpy(out, b, n);
	out[n] = '\0';
}

static void get_few(struct hs_get *g, struct hs_bits512 *b)
{
	uint64_t next = 0;

	for (unsigned int left = hs_get_byte(g); left && !g->why; left--) {
		next += hs_get_int(g, HS_BASE_PER_HUGE - 1, "a set has a member above 511");
		if (next >= HS_BASE_PER_HUGE)
			hs_get_fail(g, "a set has a member above 511");
		else
			hs_bits_set(b, (unsigned int)next++);
	}
}

void hs_get_bits(struct hs_get *g, struct hs_bits512 *b)
{
	const uint8_t form = hs_get_byte(g);
	const uint8_t *words;

	hs_bits_clear_all(b);
	switch ((enum bits_form)form) {
	case BITS_NONE:
		break;
	case BITS_ALL:
		*b = hs_bits_full();
		break;
	case BITS_WORDS:
		words = get_bytes(g, sizeof(b->w));
		for (int i = 0; words && i < 8; i++)
			b->w[i] = hs_trace_get_le(words + 8 * i, 8);
		break;
	case BITS_FEW:
		get_few(g, b);
		break;
	case BITS_ALL_BUT:
		get_few(g, b);
		*b = hs_bits_andnot(hs_bits_full(), *b);
		break;
	case NR_BITS_FORMS:
	default:
		hs_get_fail(g, "a set is written in a form that is not known");
	}
	if (g->why)
		hs_bits_clear_all(b);
}
