/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench view: the coarse scan (ageing, then a sample of every huge page) of a real process through the host's page
 * tables, the fine phase's steps for each huge page, and reading with digests through the view.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "hs/index.h"
#include "hs/remote.h"
#include "hs/view.h"

#define MAX_BATCH 512U

struct options {
	uint64_t gib;
	unsigned int reps, batch;
	bool json;
};

enum { OPT_JSON = 256, OPT_GIB, OPT_REPS, OPT_BATCH };

static const struct argp_option option_list[] = {
	{ "gib", OPT_GIB, "N", 0, "GiB of the process that is scanned. Default: 16, or 60% of what is available.", 0 },
	{ "reps", OPT_REPS, "N", 0, "Repetitions, 7 to 101. Default: 21.", 0 },
	{ "batch", OPT_BATCH, "N", 0, "Huge pages in a batch of the fine phase, 1 to 512. Default: 64.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object.", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case OPT_GIB:
		o->gib = bench_number(state, "--gib", arg, 1, 1024);
		break;
	case OPT_REPS:
		o->reps = (unsigned int)bench_number(state, "--reps", arg, 7, BENCH_MAX_REPS);
		break;
	case OPT_BATCH:
		o->batch = (unsigned int)bench_number(state, "--batch", arg, 1, MAX_BATCH);
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

/* The process, seen. */
struct seen {
	struct bench_child child;
	struct hs_remote *remote;
	struct hs_view *view;
	struct hs_error err;
};

static void finish(struct seen *s)
{
	hs_view_close(s->view);
	hs_remote_close(s->remote);
	bench_child_stop(&s->child);
}

static _Noreturn void give_up(struct seen *s, const char *what)
{
	fprintf(stderr, "bench view: %s: %s\n", what, s->err.text);
	finish(s);
	exit(EXIT_FAILURE);
}

static void check(struct seen *s, int rc, const char *what)
{
	if (rc)
		give_up(s, what);
}

static void touch(struct seen *s, uint64_t step)
{
	if (!bench_child_touch(&s->child, step)) {
		(void)hs_error_set(&s->err, -1, "the process ended");
		give_up(s, "touching its memory");
	}
}

static double ms_since(uint64_t start)
{
	return (double)(bench_now_ns() - start) / 1e6;
}

static uint64_t nr_accessed(const struct hs_huge_sample *out, uint32_t nr)
{
	uint64_t n = 0;

	for (uint32_t h = 0; h < nr; h++)
		n += out[h].state == HS_MAP_HUGE && out[h].accessed == HS_YES;
	return n;
}

static void coarse(struct bench_report *r, struct seen *s, const struct options *o)
{
	struct bench_series age = { 0 }, sample = { 0 }, both = { 0 }, per_gib = { 0 }, cpu = { 0 }, hit = { 0 },
			    miss = { 0 };
	const uint32_t nr = s->view->nr_huge;
	const double gib = (double)nr / 512;
	struct hs_huge_sample *out = calloc(nr, sizeof(*out));

	if (!out)
		exit(EXIT_FAILURE);
	for (unsigned int rep = 0; rep < o->reps; rep++) {
		uint64_t start, cpu_start;
		double age_ms, sample_ms;

		/* All accessed, as the worst guest is. */
		touch(s, HS_HUGE_SIZE);
		cpu_start = bench_cpu_ns();
		start = bench_now_ns();
		check(s, hs_view_age(s->view, &s->err), "ageing");
		age_ms = ms_since(start);
		start = bench_now_ns();
		check(s, hs_view_sample_huge(s->view, 0, nr, out, &s->err), "sampling");
		sample_ms = ms_since(start);
		bench_add(&cpu, (double)(bench_cpu_ns() - cpu_start) / 1e6);
		bench_add(&miss, 100 * (double)nr_accessed(out, nr) / nr);
		bench_add(&age, age_ms);
		bench_add(&sample, sample_ms);
		bench_add(&both, age_ms + sample_ms);
		bench_add(&per_gib, (age_ms + sample_ms) / gib);
		/* And that it measures what it says: every huge page was touched since. */
		touch(s, HS_HUGE_SIZE);
		check(s, hs_view_sample_huge(s->view, 0, nr, out, &s->err), "sampling");
		bench_add(&hit, 100 * (double)nr_accessed(out, nr) / nr);
	}
	free(out);
	bench_section(r, "coarse", "Coarse phase, one round");
	bench_value(r, "gib", "memory", "GiB", gib);
	bench_row(r, "age_ms", "ageing", "ms", &age);
	bench_row(r, "sample_ms", "sample of all huge pages", "ms", &sample);
	bench_row(r, "round_ms", "both", "ms", &both);
	bench_row(r, "round_cpu_ms", "both, CPU time", "ms", &cpu);
	bench_row(r, "round_ms_per_gib", "both, for each GiB", "ms/GiB", &per_gib);
	bench_row(r, "seen_touched_percent", "seen accessed, of those touched since", "%", &hit);
	bench_row(r, "seen_untouched_percent", "seen accessed, of those not touched", "%", &miss);
}

static double us_each(uint64_t start, unsigned int nr)
{
	return (double)(bench_now_ns() - start) / 1e3 / nr;
}

static uint64_t bits_accessed(const struct hs_base_sample *out, unsigned int nr)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < nr; i++)
		n += out[i].state == HS_MAP_SPLIT ? hs_bits_count(&out[i].accessed) : 0;
	return n;
}

static void fine(struct bench_report *r, struct seen *s, const struct options *o)
{
	struct bench_series split = { 0 }, age = { 0 }, sample = { 0 }, restore = { 0 }, all = { 0 }, hit = { 0 },
			    back = { 0 }, done = { 0 }, still = { 0 };
	static struct hs_base_sample out[MAX_BATCH];
	static hs_huge_nr huge[MAX_BATCH];
	static int results[MAX_BATCH];
	const unsigned int nr = o->batch < s->view->nr_huge ? o->batch : s->view->nr_huge;

	for (unsigned int rep = 0; rep < o->reps; rep++) {
		const uint32_t from = (uint32_t)(bench_mix(rep) % (s->view->nr_huge - nr + 1));
		unsigned int parted = 0, kept = 0, restored = 0;
		double us[4];
		uint64_t start;

		for (unsigned int i = 0; i < nr; i++)
			huge[i] = from + i;
		start = bench_now_ns();
		check(s, hs_view_split(s->view, huge, nr, results, &s->err), "splitting");
		us[0] = us_each(start, nr);
		for (unsigned int i = 0; i < nr; i++)
			parted += results[i] == 0;
		bench_add(&done, 100.0 * parted / nr);
		start = bench_now_ns();
		check(s, hs_view_age(s->view, &s->err), "ageing");
		us[1] = us_each(start, nr);
		touch(s, 2 * HS_BASE_SIZE); /* every second base page */
		start = bench_now_ns();
		check(s, hs_view_sample_base(s->view, huge, nr, out, &s->err), "sampling base pages");
		us[2] = us_each(start, nr);
		bench_add(&hit, 100 * (double)bits_accessed(out, nr) / nr / HS_BASE_PER_HUGE);
		for (unsigned int i = 0; i < nr; i++)
			kept += out[i].state == HS_MAP_SPLIT;
		bench_add(&still, 100.0 * kept / nr);
		start = bench_now_ns();
		check(s, hs_view_restore(s->view, huge, nr, results, &s->err), "restoring");
		us[3] = us_each(start, nr);
		for (unsigned int i = 0; i < nr; i++)
			restored += results[i] == 0;
		bench_add(&back, 100.0 * restored / nr);
		bench_add(&split, us[0]);
		bench_add(&age, us[1]);
		bench_add(&sample, us[2]);
		bench_add(&restore, us[3]);
		bench_add(&all, us[0] + us[1] + us[2] + us[3]);
	}
	bench_section(r, "fine", "Fine phase, for each huge page");
	bench_value(r, "batch", "huge pages in a batch", "", nr);
	bench_row(r, "split_us", "split the mapping", "us", &split);
	bench_row(r, "age_us", "its part of one ageing of the whole process", "us", &age);
	bench_row(r, "sample_us", "sample of its base pages", "us", &sample);
	bench_row(r, "restore_us", "restore the mapping", "us", &restore);
	bench_row(r, "all_us", "all of these", "us", &all);
	bench_row(r, "seen_accessed_percent", "base pages seen accessed (half were touched)", "%", &hit);
	bench_row(r, "split_percent", "split", "%", &done);
	bench_row(r, "still_split_percent", "still split when sampled", "%", &still);
	bench_row(r, "restored_percent", "restored", "%", &back);
}

static void reading(struct bench_report *r, struct seen *s, const struct options *o)
{
	static struct hs_digest digests[HS_BASE_PER_HUGE];
	struct bench_series alone = { 0 }, both = { 0 }, rate = { 0 };
	const struct hs_bits512 all = hs_bits_full();
	uint32_t nr = s->view->nr_huge < 256 ? s->view->nr_huge : 256;
	uint8_t *buf = aligned_alloc(HS_HUGE_SIZE, HS_HUGE_SIZE);
	struct hs_digest_key key;

	if (!buf || hs_digest_key_random(&key))
		exit(EXIT_FAILURE);
	(void)madvise(buf, HS_HUGE_SIZE, MADV_HUGEPAGE);
	memset(buf, 0, HS_HUGE_SIZE);
	for (unsigned int rep = 0; rep < o->reps; rep++) {
		double ns[2];

		for (int digest = 0; digest < 2; digest++) {
			uint64_t start = bench_cpu_ns();

			for (uint32_t h = 0; h < nr; h++) {
				struct hs_bits512 got = { 0 }, zero;

				check(s, hs_view_read(s->view, h, &all, buf, &got, &s->err), "reading");
				if (digest)
					hs_digest_huge(&key, buf, &got, digests, &zero);
			}
			ns[digest] = (double)(bench_cpu_ns() - start) / nr / HS_BASE_PER_HUGE;
		}
		bench_add(&alone, ns[0]);
		bench_add(&both, ns[1]);
		bench_add(&rate, 100 * ns[0] / ns[1]);
	}
	free(buf);
	bench_section(r, "read", "Reading whole huge pages through the view");
	bench_row(r, "read_ns", "read, CPU time", "ns/page", &alone);
	bench_row(r, "read_digest_ns", "read and digest, CPU time", "ns/page", &both);
	bench_row(r, "rate_percent", "rate of read and digest, of reading's", "%", &rate);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		option_list, parse, NULL, "Scanning a process through the host's page tables.", 0, 0, 0
	};
	const struct hs_host host = HS_HOST_DEFAULT;
	struct options o = { .reps = 21, .batch = 64 };
	struct bench_report *r;
	struct seen s = { 0 };

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return EXIT_FAILURE;
	if (!o.gib) {
		o.gib = bench_available_bytes() / 10 * 6 >> 30;
		o.gib = o.gib > 16 ? 16 : o.gib < 1 ? 1 : o.gib;
	}
	if (!bench_child_start(&s.child, o.gib << 30, false))
		return EXIT_FAILURE;
	check(&s, hs_remote_open(&s.remote, &host, s.child.pid, &s.err), "system calls in the process");
	check(&s, hs_view_open_host(&s.view, &host, s.child.pid, s.remote, 0, &s.err), "the process's page tables");
	r = bench_begin("view", "Scan of a real process through the host's page tables, times as they pass", o.json);
	coarse(r, &s, &o);
	fine(r, &s, &o);
	reading(r, &s, &o);
	finish(&s);
	return bench_end(r);
}
