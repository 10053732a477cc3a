/* SPDX-License-Identifier: Apache-2.0 */
#include "trace_samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "hs_test.h"
#include "trace/trace_internal.h"

static struct hs_bits512 bits_each(unsigned int from, unsigned int step)
{
	struct hs_bits512 b = { { 0 } };

	for (unsigned int i = from; i < HS_BASE_PER_HUGE; i += step)
		hs_bits_set(&b, i);
	return b;
}

struct hs_trace_header trace_sample_header(void)
{
	struct hs_trace_header h = { .base_bytes = HS_BASE_SIZE,
				     .huge_bytes = HS_HUGE_SIZE,
				     .started_s = 1700000000,
				     .memory_bytes = UINT64_C(1) << 40,
				     .nr_cpus = 96,
				     .program = "hs-share test",
				     .kernel = "6.1.0",
				     .settings = { .coarse = HS_COARSE_CONFIG_DEFAULT,
						   .fine = HS_FINE_CONFIG_DEFAULT,
						   .policy = HS_POLICY_CONFIG_DEFAULT,
						   .hash_cold_rounds = 2,
						   .look_again = UINT32_MAX,
						   .scope = HS_SCOPE_GUEST,
						   .fine_all = 1 } };

	memset(h.cpu, 'x', sizeof(h.cpu) - 1);
	return h;
}

static const hs_huge_nr some_huge[3] = { 0, TRACE_NR_HUGE - 1, 7 };

static const struct hs_trace_region regions[] = { { 0, TRACE_NR_HUGE - 3 }, { UINT64_C(1) << 44, 3 } };
static const struct hs_trace_region small_regions[] = { { 0, 3 } };

static void sample_guest(struct hs_trace_record *r, const char *name, const struct hs_trace_region *of, size_t nr)
{
	r->type = HS_TRACE_GUEST;
	r->nr = nr;
	r->u.guest.regions = of;
	for (size_t i = 0; i < nr; i++)
		r->u.guest.nr_huge += of[i].nr_huge;
	(void)snprintf(r->u.guest.name, sizeof(r->u.guest.name), "%s", name);
	(void)snprintf(r->u.guest.group, sizeof(r->u.guest.group), "group of %s", name);
	(void)snprintf(r->u.guest.view, sizeof(r->u.guest.view), "simulated");
	r->u.guest.can_split = nr == 1;
	r->u.guest.splits_nested = nr == 2;
}

static void sample_huge(struct hs_trace_record *r)
{
	static struct hs_huge_sample s[TRACE_NR_HUGE];

	for (size_t i = 0; i < TRACE_NR_HUGE; i++)
		s[i] = i % 10 ? (struct hs_huge_sample){ HS_MAP_HUGE, i % 7 ? HS_NO : HS_YES, 512, i % 7 ? 0 : 512, 0 }
			      : (struct hs_huge_sample){ (uint8_t)(i / 10 % 5), (uint8_t)(i / 50 % 3), 300, 17,
							 (uint16_t)(i % 213) };
	r->type = HS_TRACE_HUGE;
	r->nr = TRACE_NR_HUGE;
	r->u.huge.samples = s;
}

static void sample_base(struct hs_trace_record *r)
{
	static struct hs_base_sample s[3];

	s[0] =
	    (struct hs_base_sample){ .state = HS_MAP_SPLIT, .present = hs_bits_full(), .accessed = bits_each(3, 200) };
	s[1] = (struct hs_base_sample){ .state = HS_MAP_PARTIAL,
					.present = bits_each(0, 2),
					.accessed = bits_each(0, 4),
					.swapped = bits_each(1, 2) };
	s[2] = (struct hs_base_sample){ .state = HS_MAP_UNKNOWN, .present = bits_each(511, 1) };
	for (unsigned int i = 1; i < 40; i++) /* all but a few */
		hs_bits_clear(&s[0].present, i * 13 - 1);
	s[0].accessed = hs_bits_and(s[0].accessed, s[0].present);
	r->type = HS_TRACE_BASE;
	r->nr = 3;
	r->u.base.huge = some_huge;
	r->u.base.samples = s;
}

static void sample_content(struct hs_trace_record *r, uint32_t first, uint32_t step)
{
	static uint32_t numbers[2][HS_BASE_PER_HUGE];
	uint32_t *n = numbers[step != 1];

	r->type = HS_TRACE_CONTENT;
	r->u.content.huge = TRACE_NR_HUGE - 1;
	r->u.content.want = bits_each(1, 1);
	r->u.content.got = bits_each(1, 3);
	for (unsigned int i = 1; i < HS_BASE_PER_HUGE; i += 3)
		n[i] = i % 5 ? first + i * step : 0;
	r->u.content.numbers = n;
}

static void sample_mapping(struct hs_trace_record *r, uint8_t type)
{
	static const int results[3] = { 0, -EAGAIN, -4095 };

	r->type = type;
	r->nr = 3;
	r->u.mapping.huge = some_huge;
	r->u.mapping.results = results;
}

static void sample_fine(struct hs_trace_record *r)
{
	static struct hs_fine_result f[3];

	f[0] = (struct hs_fine_result){ .huge = 0, .known = HS_YES, .gave_up = 1, .restored = 1, .samples = 1 };
	f[1] = (struct hs_fine_result){ .huge = TRACE_NR_HUGE - 1, .known = HS_UNKNOWN };
	f[2] = (struct hs_fine_result){ .huge = 7, .known = HS_YES, .samples = 255, .nr_hot = 512 };
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		f[2].count[i] = (uint8_t)i;
	f[0].count[511] = 1;
	r->type = HS_TRACE_FINE;
	r->nr = 3;
	r->u.fine = f;
}

static void sample_decisions(struct hs_trace_record *r)
{
	static struct hs_trace_decision d[TRACE_NR_HUGE];

	for (uint32_t i = 0; i < TRACE_NR_HUGE; i++)
		d[i] = (struct hs_trace_decision){ .huge = i,
						   .decision = { .action = (uint8_t)(i / 4 % HS_NR_ACTIONS),
								 .reason = (uint8_t)(i / 7 % HS_NR_REASONS),
								 .gain = (uint16_t)(i % 513),
								 .pages = bits_each(i, 1 + i % 90),
								 .demote = i % 3 ? bits_each(i, 2 + i % 50)
										 : (struct hs_bits512){ { 0 } },
								 .ban = i % 90 ? 0 : UINT32_MAX } };
	r->type = HS_TRACE_DECISIONS;
	r->nr = TRACE_NR_HUGE;
	r->u.decisions = d;
}

static void sample_shared(struct hs_trace_record *r)
{
	static struct hs_shared_huge s[2];

	s[0] = (struct hs_shared_huge){ 5, 0, bits_each(0, 4), bits_each(0, 2) };
	s[1] = (struct hs_shared_huge){ 9, UINT32_MAX, bits_each(100, 100), bits_each(500, 100) };
	r->type = HS_TRACE_SHARED;
	r->nr = 2;
	r->u.shared = s;
}

static void make_sample(struct hs_trace_record *r, unsigned int i)
{
	switch (i) {
	case 0:
		sample_guest(r, "first", regions, 2);
		break;
	case 1:
		sample_guest(r, "", small_regions, 1);
		r->guest = 1;
		break;
	case 2:
	case 3:
		r->type = HS_TRACE_CYCLE;
		r->u.cycle = i == 2 ? 1 : UINT32_MAX;
		break;
	case 4:
		r->type = HS_TRACE_REFRESH;
		r->error = -ESTALE;
		break;
	case 5:
		r->type = HS_TRACE_AGE;
		break;
	case 6:
	case 7:
		r->type = HS_TRACE_CLOCK;
		r->u.clock.op = i == 6 ? HS_TRACE_CLOCK_NOW : HS_TRACE_CLOCK_SLEEP;
		r->u.clock.asked_us = i == 6 ? 0 : UINT64_MAX;
		r->error = i == 6 ? 0 : -ECANCELED;
		break;
	case 8:
		sample_huge(r);
		break;
	case 9:
		sample_base(r);
		break;
	case 10:
		sample_content(r, 1, 1);
		break;
	case 11:
		sample_content(r, 0, UINT32_MAX / 512);
		break;
	case 12:
	case 13:
		sample_mapping(r, i == 12 ? HS_TRACE_SPLIT : HS_TRACE_RESTORE);
		break;
	case 14:
		sample_fine(r);
		break;
	case 15:
		sample_decisions(r);
		break;
	case 16:
		sample_shared(r);
		break;
	case 17:
		r->type = HS_TRACE_LEDGER;
		r->u.ledger = (struct hs_ledger){ 1, 2, 3, 4, 5, 6, 7, UINT64_MAX, 9, INT64_MIN, 11 };
		break;
	case 18:
		r->type = HS_TRACE_HUGE; /* a call that failed */
		r->error = -EIO;
		break;
	case 19:
		r->type = HS_TRACE_CONTENT; /* nothing could be read */
		break;
	case 20:
		r->type = HS_TRACE_SETTLED;
		r->u.settled = (struct hs_trace_settled){ .scanned = 1, .all_marked = 0 };
		break;
	case 21:
		r->type = HS_TRACE_SETTLED;
		r->u.settled = (struct hs_trace_settled){ .scanned = 0, .all_marked = 1 };
		break;
	case 22:
		r->type = HS_TRACE_GONE;
		break;
	default:
		r->type = HS_TRACE_AGE; /* the other guest goes on */
		r->guest = 1;
		r->error = -ESRCH;
	}
}

const struct hs_trace_record *trace_sample(unsigned int i)
{
	static struct hs_trace_record samples[TRACE_NR_SAMPLES];

	if (!samples[i].type) {
		samples[i].time_us = i * i * UINT64_C(123456);
		make_sample(&samples[i], i);
	}
	return &samples[i];
}

struct trace_bytes trace_file_of(const struct hs_trace_record *const *records, size_t nr)
{
	const struct hs_trace_header header = trace_sample_header();
	struct hs_error err = { "" };
	struct hs_trace_writer *w;
	struct trace_bytes b;
	FILE *f = open_memstream(&b.bytes, &b.nr);

	ck_assert_ptr_nonnull(f);
	ck_assert_msg(hs_trace_writer_create(&w, f, "memory", &header, &err) == 0, "%s", err.text);
	for (size_t i = 0; i < nr; i++) {
		ck_assert_msg(hs_trace_write(w, records[i], &err) == 0, "record %zu: %s", i, err.text);
		if (i % 5 == 4) /* several blocks */
			ck_assert_int_eq(hs_trace_flush(w, &err), 0);
	}
	ck_assert_msg(hs_trace_writer_close(w, &err) == 0, "%s", err.text);
	return b;
}

struct trace_bytes trace_sample_file(void)
{
	const struct hs_trace_record *all[TRACE_NR_SAMPLES];

	for (unsigned int i = 0; i < TRACE_NR_SAMPLES; i++)
		all[i] = trace_sample(i);
	return trace_file_of(all, TRACE_NR_SAMPLES);
}

struct trace_bytes trace_block_of(const void *raw, size_t nr)
{
	struct trace_bytes b = { .nr = HS_TRACE_BLOCK_HEAD + ZSTD_compressBound(nr) };
	uint8_t *at;
	size_t n;

	b.bytes = malloc(b.nr);
	ck_assert_ptr_nonnull(b.bytes);
	at = (uint8_t *)b.bytes;
	n = ZSTD_compress(at + HS_TRACE_BLOCK_HEAD, b.nr - HS_TRACE_BLOCK_HEAD, raw, nr, 1);
	ck_assert(!ZSTD_isError(n));
	hs_trace_put_le(at, HS_TRACE_BLOCK_MAGIC, 4);
	hs_trace_put_le(at + 4, n, 4);
	hs_trace_put_le(at + 8, nr, 4);
	hs_trace_put_le(at + 12, hs_trace_checksum((uint32_t)n, (uint32_t)nr, at + HS_TRACE_BLOCK_HEAD), 8);
	b.nr = HS_TRACE_BLOCK_HEAD + n;
	return b;
}

/* ---- comparison ---- */

bool trace_same_header(const struct hs_trace_header *a, const struct hs_trace_header *b)
{
	return a->base_bytes == b->base_bytes && a->huge_bytes == b->huge_bytes && a->started_s == b->started_s &&
	       a->memory_bytes == b->memory_bytes && a->nr_cpus == b->nr_cpus && !strcmp(a->program, b->program) &&
	       !strcmp(a->kernel, b->kernel) && !strcmp(a->cpu, b->cpu) &&
	       !memcmp(&a->settings, &b->settings, sizeof(a->settings));
}

static bool same_bits(const struct hs_bits512 *a, const struct hs_bits512 *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Arrays of structures without gaps. */
static bool same_array(const void *a, const void *b, size_t nr, size_t size)
{
	return !nr || memcmp(a, b, nr * size) == 0;
}

static bool same_base(const struct hs_trace_record *a, const struct hs_trace_record *b)
{
	for (size_t i = 0; i < a->nr; i++)
		if (a->u.base.samples[i].state != b->u.base.samples[i].state ||
		    !same_bits(&a->u.base.samples[i].present, &b->u.base.samples[i].present) ||
		    !same_bits(&a->u.base.samples[i].accessed, &b->u.base.samples[i].accessed) ||
		    !same_bits(&a->u.base.samples[i].swapped, &b->u.base.samples[i].swapped))
			return false;
	return same_array(a->u.base.huge, b->u.base.huge, a->nr, sizeof(hs_huge_nr));
}

static bool same_content(const struct hs_trace_content *a, const struct hs_trace_content *b)
{
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (hs_bits_test(&a->got, i) && a->numbers[i] != b->numbers[i])
			return false;
	return a->huge == b->huge && same_bits(&a->want, &b->want) && same_bits(&a->got, &b->got);
}

static bool same_decisions(const struct hs_trace_record *a, const struct hs_trace_record *b)
{
	for (size_t i = 0; i < a->nr; i++) {
		const struct hs_policy_decision *x = &a->u.decisions[i].decision, *y = &b->u.decisions[i].decision;

		if (a->u.decisions[i].huge != b->u.decisions[i].huge || x->action != y->action ||
		    x->reason != y->reason || x->gain != y->gain || x->ban != y->ban ||
		    !same_bits(&x->pages, &y->pages) || !same_bits(&x->demote, &y->demote))
			return false;
	}
	return true;
}

static bool same_guest(const struct hs_trace_record *a, const struct hs_trace_record *b)
{
	const struct hs_trace_guest *x = &a->u.guest, *y = &b->u.guest;

	for (size_t i = 0; i < a->nr; i++)
		if (x->regions[i].hole_bytes != y->regions[i].hole_bytes ||
		    x->regions[i].nr_huge != y->regions[i].nr_huge)
			return false;
	return x->nr_huge == y->nr_huge && !strcmp(x->name, y->name) && !strcmp(x->group, y->group) &&
	       !strcmp(x->view, y->view) && x->can_split == y->can_split && x->splits_nested == y->splits_nested;
}

bool trace_same_record(const struct hs_trace_record *a, const struct hs_trace_record *b)
{
	if (a->type != b->type || a->guest != b->guest || a->time_us != b->time_us || a->error != b->error ||
	    a->nr != b->nr)
		return false;
	switch ((enum hs_trace_type)a->type) {
	case HS_TRACE_GUEST:
		return same_guest(a, b);
	case HS_TRACE_CYCLE:
		return a->u.cycle == b->u.cycle;
	case HS_TRACE_CLOCK:
		return a->u.clock.op == b->u.clock.op && a->u.clock.asked_us == b->u.clock.asked_us;
	case HS_TRACE_HUGE:
		return a->u.huge.first == b->u.huge.first &&
		       same_array(a->u.huge.samples, b->u.huge.samples, a->nr, sizeof(struct hs_huge_sample));
	case HS_TRACE_BASE:
		return same_base(a, b);
	case HS_TRACE_CONTENT:
		return same_content(&a->u.content, &b->u.content);
	case HS_TRACE_SPLIT:
	case HS_TRACE_RESTORE:
		return same_array(a->u.mapping.huge, b->u.mapping.huge, a->nr, sizeof(hs_huge_nr)) &&
		       same_array(a->u.mapping.results, b->u.mapping.results, a->nr, sizeof(int));
	case HS_TRACE_FINE:
		return same_array(a->u.fine, b->u.fine, a->nr, sizeof(struct hs_fine_result));
	case HS_TRACE_DECISIONS:
		return same_decisions(a, b);
	case HS_TRACE_SHARED:
		return same_array(a->u.shared, b->u.shared, a->nr, sizeof(struct hs_shared_huge));
	case HS_TRACE_SETTLED:
		return memcmp(&a->u.settled, &b->u.settled, sizeof(a->u.settled)) == 0;
	case HS_TRACE_LEDGER:
		return memcmp(&a->u.ledger, &b->u.ledger, sizeof(a->u.ledger)) == 0;
	default:
		return true;
	}
}
