/* SPDX-License-Identifier: Apache-2.0 */
/* bench index: bytes a page, and nanoseconds an operation, at several sizes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "hs/index.h"

#define MAX_SIZES 8
#define PER_REP   200U /* huge pages, so some 100,000 pages, for each repetition of an operation */

struct options {
	uint64_t millions[MAX_SIZES];
	unsigned int nr_sizes, reps, duplicates;
	bool json;
};

enum { OPT_JSON = 256, OPT_MILLIONS, OPT_REPS, OPT_DUPLICATES };

static const struct argp_option option_list[] = {
	{ "millions", OPT_MILLIONS, "N", 0, "Millions of pages; may be given several times. Default: 1, 10 and 50.",
	  0 },
	{ "reps", OPT_REPS, "N", 0, "Repetitions, 7 to 101. Default: 11.", 0 },
	{ "duplicates", OPT_DUPLICATES, "PERCENT", 0,
	  "Pages whose content another page has, 0 to 90. Default: 0, which takes most memory.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object.", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case OPT_MILLIONS:
		if (o->nr_sizes == MAX_SIZES)
			argp_error(state, "--millions: at most %d sizes", MAX_SIZES);
		o->millions[o->nr_sizes++] = bench_number(state, "--millions", arg, 1, 1000);
		break;
	case OPT_REPS:
		o->reps = (unsigned int)bench_number(state, "--reps", arg, 7, BENCH_MAX_REPS);
		break;
	case OPT_DUPLICATES:
		o->duplicates = (unsigned int)bench_number(state, "--duplicates", arg, 0, 90);
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is not an option", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct options *opt;

/* The digest of a page: its own, or one of the frequent contents, which 8 pages have each. */
static struct hs_digest digest_of(uint64_t page, uint64_t nr_pages)
{
	uint64_t content = page;

	if (opt->duplicates && bench_mix(page) % 100 < opt->duplicates)
		content = UINT64_MAX - bench_mix(page ^ UINT64_C(0x1234567)) % (nr_pages / 800 * opt->duplicates + 1);
	return (struct hs_digest){ .lo = bench_mix(content), .hi = bench_mix(~content) };
}

static void digests_of(uint32_t huge, uint64_t nr_pages, struct hs_digest d[HS_BASE_PER_HUGE])
{
	for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
		d[i] = digest_of((uint64_t)huge * HS_BASE_PER_HUGE + i, nr_pages);
}

static void no_memory(void)
{
	fputs("bench index: no memory for so many pages; choose fewer --millions\n", stderr);
	exit(EXIT_FAILURE);
}

/* One operation, on the huge pages chosen for this repetition; returns ns a page. */
static double measure(struct hs_index *x, const char *op, const uint32_t *huge, uint32_t nr_huge,
		      struct hs_digest (*d)[HS_BASE_PER_HUGE], uint64_t salt)
{
	const struct hs_bits512 all = hs_bits_full();
	uint64_t start, sum = 0;
	struct hs_page out[4];

	/* As in life, where the pages that are hashed pass through the caches between one insert and the next. */
	bench_flush_caches();
	start = bench_cpu_ns();
	for (uint32_t k = 0; k < nr_huge; k++) {
		uint32_t h = huge[k];

		if (strcmp(op, "insert_huge") == 0) {
			if (hs_index_insert_huge(x, 0, h, &all, d[k]))
				no_memory();
			continue;
		}
		if (strcmp(op, "remove_huge") == 0) {
			hs_index_remove_huge(x, 0, h);
			continue;
		}
		if (strcmp(op, "duplicates") == 0) {
			struct hs_bits512 dup;

			hs_index_duplicates(x, 0, h, &dup);
			sum += dup.w[0];
			continue;
		}
		for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++) {
			struct hs_page p = { 0, h * HS_BASE_PER_HUGE + i };

			switch (op[0]) {
			case 'i':
				if (hs_index_insert(x, p, d[k][i]))
					no_memory();
				break;
			case 'r':
				hs_index_remove(x, p);
				break;
			case 'f':
				sum += hs_index_find(x, d[k][i], out, 4);
				break;
			case 's':
				sum += hs_index_same(x, p, out, 4);
				break;
			default: /* absent */
				sum += hs_index_find(x, (struct hs_digest){ d[k][i].lo + salt, i }, out, 4);
			}
		}
	}
	bench_use(sum);
	return (double)(bench_cpu_ns() - start) / nr_huge / HS_BASE_PER_HUGE;
}

/* In this order: what is removed is inserted again by the next one. */
static const struct {
	const char *key, *label;
} operations[] = {
	{ "find", "find a digest" },
	{ "absent", "find a digest that is not there" },
	{ "same", "find the pages equal to a page" },
	{ "duplicates", "which pages of a huge page have equals" },
	{ "remove", "remove" },
	{ "insert", "insert" },
	{ "remove_huge", "remove, a huge page at once" },
	{ "insert_huge", "insert, a huge page at once" },
};
#define NR_OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* Different huge pages, spread over all, from another start for each salt. */
static void choose(uint32_t chosen[PER_REP], struct hs_digest (*d)[HS_BASE_PER_HUGE], uint64_t salt, uint32_t nr_huge)
{
	uint64_t from = bench_mix(salt), stride = nr_huge / PER_REP;

	for (uint32_t k = 0; k < PER_REP; k++) {
		chosen[k] = (uint32_t)((from + k * stride) % nr_huge);
		digests_of(chosen[k], (uint64_t)nr_huge * HS_BASE_PER_HUGE, d[k]);
	}
}

static void size(struct bench_report *r, uint64_t millions)
{
	static struct hs_digest d[PER_REP][HS_BASE_PER_HUGE];
	const struct hs_bits512 all = hs_bits_full();
	const uint32_t nr_huge = (uint32_t)(millions * 1000000 / HS_BASE_PER_HUGE) + 1;
	const uint64_t nr_pages = (uint64_t)nr_huge * HS_BASE_PER_HUGE;
	struct bench_series s[NR_OPERATIONS] = { 0 };
	uint64_t resident, start, building = 0;
	struct hs_index_stats stats;
	uint32_t guest, chosen[PER_REP];
	char key[32], heading[64];
	struct hs_index *x;

	resident = bench_proc_bytes(getpid(), "status", "RssAnon");
	if (hs_index_create(&x) || hs_index_add_guest(x, nr_huge, &guest))
		no_memory();
	for (uint32_t h = 0; h < nr_huge; h++) {
		digests_of(h, nr_pages, d[0]);
		start = bench_cpu_ns();
		if (hs_index_insert_huge(x, 0, h, &all, d[0]))
			no_memory();
		building += bench_cpu_ns() - start;
	}
	resident = bench_proc_bytes(getpid(), "status", "RssAnon") - resident;
	hs_index_stats(x, &stats);

	for (unsigned int rep = 0; rep < opt->reps; rep++) {
		for (size_t o = 0; o < NR_OPERATIONS; o++) {
			/* Fresh pages for each operation, but for an insert: those that were just removed. A page that
			 * was inserted last stands first in its chain, so its removal would be too cheap. */
			if (operations[o].key[0] != 'i')
				choose(chosen, d, rep * NR_OPERATIONS + o, nr_huge);
			bench_add(&s[o], measure(x, operations[o].key, chosen, PER_REP, d, rep + 1));
		}
	}

	(void)snprintf(key, sizeof(key), "%lu_million", (unsigned long)millions);
	(void)snprintf(heading, sizeof(heading), "%lu million pages", (unsigned long)millions);
	bench_section(r, key, heading);
	bench_value(r, "bytes_per_page", "memory, as the index says", "bytes/page",
		    (double)stats.bytes / (double)stats.nr_pages);
	bench_value(r, "resident_bytes_per_page", "memory, as the kernel says (RssAnon)", "bytes/page",
		    (double)resident / (double)stats.nr_pages);
	bench_value(r, "build", "built from nothing", "ns/page", (double)building / (double)nr_pages);
	for (size_t o = 0; o < NR_OPERATIONS; o++)
		bench_row(r, operations[o].key, operations[o].label, "ns/page", &s[o]);
	start = bench_cpu_ns();
	while (hs_index_remove_guest(x, guest, 1 << 20) == 1)
		;
	bench_value(r, "remove_guest", "remove the guest", "ns/page",
		    (double)(bench_cpu_ns() - start) / (double)nr_pages);
	hs_index_destroy(x);
}

/* Slots come 64 at a time, so pages that are not indexed cost something when they lie between those that are. */
static void holes(struct bench_report *r)
{
	static const unsigned int percents[] = { 100, 90, 80, 50 };
	static struct hs_digest d[HS_BASE_PER_HUGE];

	bench_section(r, "holes", "A million pages with holes between them");
	for (size_t k = 0; k < sizeof(percents) / sizeof(percents[0]); k++) {
		const uint32_t nr_huge = 1000000 / HS_BASE_PER_HUGE * 100 / percents[k] + 1;
		struct hs_index_stats stats;
		char key[32], label[64];
		struct hs_index *x;
		uint32_t guest;

		if (hs_index_create(&x) || hs_index_add_guest(x, nr_huge, &guest))
			no_memory();
		for (uint32_t h = 0; h < nr_huge; h++) {
			struct hs_bits512 which = { 0 };

			digests_of(h, (uint64_t)nr_huge * HS_BASE_PER_HUGE, d);
			for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
				if (bench_mix(d[i].lo) % 100 < percents[k])
					hs_bits_set(&which, i);
			if (hs_index_insert_huge(x, guest, h, &which, d))
				no_memory();
		}
		hs_index_stats(x, &stats);
		(void)snprintf(key, sizeof(key), "indexed_%u_percent", percents[k]);
		(void)snprintf(label, sizeof(label), "%u%% of the pages indexed, evenly spread", percents[k]);
		bench_value(r, key, label, "bytes/page", (double)stats.bytes / (double)stats.nr_pages);
		hs_index_destroy(x);
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = { option_list, parse, NULL, "Bytes and time of the index of pages.", 0, 0, 0 };
	struct options o = { .reps = 11 };
	struct bench_report *r;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return EXIT_FAILURE;
	if (!o.nr_sizes) {
		static const uint64_t usual[] = { 1, 10, 50 };

		for (size_t i = 0; i < 3; i++)
			o.millions[o.nr_sizes++] = usual[i];
	}
	opt = &o;
	r = bench_begin("index", "Index of pages: memory, and CPU time with cold caches; huge pages in random places",
			o.json);
	for (unsigned int i = 0; i < o.nr_sizes; i++)
		size(r, o.millions[i]);
	holes(r);
	return bench_end(r);
}
