/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench hash: what a digest costs in the cache, and what reading another process's pages and hashing them costs
 * together, against reading alone. Reading is measured in several pieces of a huge page, since what was read in small
 * pieces is hashed from a nearer cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

/* The rival's hash, compiled in: ksmd uses XXH64. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bench.h"
#include "hash/digest_kernel.h"

struct options {
	uint64_t mib;
	unsigned int reps;
	bool json;
};

enum { OPT_JSON = 256, OPT_SIZE, OPT_REPS };

static const struct argp_option option_list[] = {
	{ "size", OPT_SIZE, "MIB", 0, "Memory of the process that is read. Default: 512.", 0 },
	{ "reps", OPT_REPS, "N", 0, "Repetitions, 7 to 101. Default: 15.", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print one JSON object.", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case OPT_SIZE:
		o->mib = bench_number(state, "--size", arg, 64, 65536) & ~UINT64_C(1);
		break;
	case OPT_REPS:
		o->reps = (unsigned int)bench_number(state, "--reps", arg, 7, BENCH_MAX_REPS);
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

static struct hs_digest_key key;

/* A way to go over `bytes` at `buf`. The result is used so that the work is done. */
struct work {
	const char *key, *label;
	uint64_t (*run)(const uint8_t *buf, size_t bytes);
};

static uint64_t with_memcpy(const uint8_t *buf, size_t bytes)
{
	static uint8_t to[HS_BASE_SIZE];

	for (size_t i = 0; i < bytes; i += HS_BASE_SIZE) {
		memcpy(to, buf + i, HS_BASE_SIZE);
		bench_use((uintptr_t)to);
	}
	return to[0];
}

static uint64_t with_xxh64(const uint8_t *buf, size_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < bytes; i += HS_BASE_SIZE)
		sum += XXH64(buf + i, HS_BASE_SIZE, 1);
	return sum;
}

/* As the pipeline does it: zero test, then digest. */
static uint64_t with_digest_huge(const uint8_t *buf, size_t bytes)
{
	static struct hs_digest digests[HS_BASE_PER_HUGE];
	struct hs_bits512 want = { 0 }, zero;

	for (unsigned int i = 0; i < bytes / HS_BASE_SIZE; i++)
		hs_bits_set(&want, i);
	hs_digest_huge(&key, buf, &want, digests, &zero);
	return digests[0].lo + zero.w[0];
}

static uint64_t with_digest_page(const uint8_t *buf, size_t bytes)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < bytes; i += HS_BASE_SIZE)
		sum += hs_digest_page(&key, buf + i).lo;
	return sum;
}

static uint64_t with_zero_test(const uint8_t *buf, size_t bytes)
{
	static const uint8_t zero[HS_BASE_SIZE] __attribute__((aligned(4096)));
	uint64_t sum = 0;

	(void)buf;
	for (size_t i = 0; i < bytes; i += HS_BASE_SIZE)
		sum += hs_page_is_zero(zero);
	return sum;
}

static const struct work works[] = {
	{ "memcpy", "memcpy to one page", with_memcpy },
	{ "xxh64", "XXH64", with_xxh64 },
	{ "digest_page", "digest, page by page", with_digest_page },
	{ "digest_huge", "digest, a huge page's pages", with_digest_huge },
	{ "zero_test", "test of a zero page", with_zero_test },
};
enum { XXH64_ = 1, DIGEST = 3 }; /* of these */
#define NR_WORKS (sizeof(works) / sizeof(works[0]))

static uint8_t *buffer(void)
{
	uint8_t *b = aligned_alloc(HS_HUGE_SIZE, HS_HUGE_SIZE);

	if (!b) {
		fputs("bench hash: no memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	(void)madvise(b, HS_HUGE_SIZE, MADV_HUGEPAGE);
	for (size_t i = 0; i < HS_HUGE_SIZE / 8; i++)
		((uint64_t *)(void *)b)[i] = bench_mix(i);
	return b;
}

static void in_cache(struct bench_report *r, unsigned int reps, const uint8_t *buf, size_t bytes)
{
	struct bench_series s[NR_WORKS] = { 0 }, ratio = { 0 };
	char section[32], heading[64];

	for (unsigned int rep = 0; rep <= reps; rep++) {
		double ns[NR_WORKS];

		for (size_t w = 0; w < NR_WORKS; w++) {
			uint64_t start = bench_cpu_ns(), pages = 0;

			for (; pages < 8192; pages += bytes / HS_BASE_SIZE)
				bench_use(works[w].run(buf, bytes));
			ns[w] = (double)(bench_cpu_ns() - start) / (double)pages;
			if (rep) /* the first one warms up */
				bench_add(&s[w], ns[w]);
		}
		if (rep)
			bench_add(&ratio, ns[XXH64_] / ns[DIGEST]);
	}
	(void)snprintf(section, sizeof(section), "cached_%zu_kib", bytes >> 10);
	(void)snprintf(heading, sizeof(heading), "In the cache, %zu KiB over and over", bytes >> 10);
	bench_section(r, section, heading);
	for (size_t w = 0; w < NR_WORKS; w++)
		bench_row(r, works[w].key, works[w].label, "ns/page", &s[w]);
	bench_row(r, "xxh64_by_digest", "XXH64's time by the digest's", "times", &ratio);
}

/* Two ways to another process's memory: the view's, and one that would end the sharing of KSM pages. */
static int mem_fd = -1;

static ssize_t read_mem(const struct bench_child *c, uint64_t at, void *to, size_t n)
{
	(void)c;
	return pread(mem_fd, to, n, (off_t)at);
}

static ssize_t read_readv(const struct bench_child *c, uint64_t at, void *to, size_t n)
{
	struct iovec local = { to, n }, remote = { (void *)(uintptr_t)at, n };

	return process_vm_readv(c->pid, &local, 1, &remote, 1, 0);
}

struct reading {
	const char *key, *label;
	ssize_t (*read)(const struct bench_child *c, uint64_t at, void *to, size_t n);
};

static const struct reading by_mem = { "mem", "/proc/PID/mem", read_mem };
static const struct reading by_readv = { "readv", "process_vm_readv", read_readv };

/*
 * Reads all of the process's memory in pieces, with or without work on each; ns a page. A piece goes where it lies in
 * the buffer of a whole huge page, as a view reads it, or (near) always to the buffer's start, so that a small piece
 * stays in the second-level cache.
 */
static double read_all(const struct bench_child *c, const struct reading *how, uint8_t *buf, size_t piece, bool near,
		       const struct work *w)
{
	uint64_t start = bench_cpu_ns();

	for (uint64_t at = 0; at < c->bytes; at += piece) {
		uint8_t *to = near ? buf : buf + at % HS_HUGE_SIZE;

		if (how->read(c, c->start + at, to, piece) != (ssize_t)piece) {
			fprintf(stderr, "bench hash: %s: %s\n", how->label, strerror(errno));
			exit(EXIT_FAILURE);
		}
		if (w)
			bench_use(w->run(to, piece));
	}
	return (double)(bench_cpu_ns() - start) / ((double)c->bytes / (double)HS_BASE_SIZE);
}

/* How much is read at a time, and whether always to one place. */
struct piece {
	size_t kib;
	bool near;
};

static void with_reading(struct bench_report *r, unsigned int reps, const struct bench_child *c,
			 const struct reading *how, uint8_t *buf, struct piece of)
{
	const size_t piece = of.kib << 10;
	const bool near = of.near;
	struct bench_series alone = { 0 }, digest = { 0 }, xxh64 = { 0 }, rate = { 0 }, rate64 = { 0 };
	char section[48], heading[80];

	for (unsigned int rep = 0; rep < reps; rep++) {
		double a = read_all(c, how, buf, piece, near, NULL),
		       d = read_all(c, how, buf, piece, near, &works[DIGEST]),
		       x = read_all(c, how, buf, piece, near, &works[XXH64_]);

		bench_add(&alone, a);
		bench_add(&digest, d);
		bench_add(&xxh64, x);
		bench_add(&rate, 100 * a / d);
		bench_add(&rate64, 100 * a / x);
	}
	(void)snprintf(section, sizeof(section), "%s_%zu_kib%s", how->key, piece >> 10, near ? "_same_place" : "");
	(void)snprintf(heading, sizeof(heading), "%s, %zu KiB at a time%s", how->label, piece >> 10,
		       near ? ", to one place" : "");
	bench_section(r, section, heading);
	bench_row(r, "read", "read", "ns/page", &alone);
	bench_row(r, "read_digest", "read and digest", "ns/page", &digest);
	bench_row(r, "read_xxh64", "read and XXH64", "ns/page", &xxh64);
	bench_row(r, "rate_percent", "rate of read and digest, of reading's", "%", &rate);
	bench_row(r, "rate_xxh64_percent", "rate of read and XXH64, of reading's", "%", &rate64);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		option_list, parse, NULL, "Digests in the cache, and with reading.", 0, 0, 0
	};
	static const struct piece pieces[] = { { 2048, false }, { 1024, false }, { 512, false }, { 256, false },
					       { 512, true },   { 256, true },   { 128, true },  { 64, true } };
	struct options o = { .mib = 512, .reps = 15 };
	struct bench_report *r;
	struct bench_child c;
	char path[32];
	uint8_t *buf;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return EXIT_FAILURE;
	/* First, while there is nothing else that the process would inherit. */
	if (!bench_child_start(&c, o.mib << 20, true))
		return EXIT_FAILURE;
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)c.pid);
	mem_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (mem_fd < 0) {
		fprintf(stderr, "bench hash: %s: %s\n", path, strerror(errno));
		return EXIT_FAILURE;
	}
	if (hs_digest_key_random(&key)) {
		fputs("bench hash: no random numbers\n", stderr);
		return EXIT_FAILURE;
	}
	buf = buffer();
	r = bench_begin("hash", "Digests of base pages: CPU time, in the cache and with reading", o.json);
	bench_text(r, "kernel_of_digest", "instruction set of the digest", hs_digest_kernel_best()->name);
	in_cache(r, o.reps, buf, 16 << 10);
	in_cache(r, o.reps, buf, 256 << 10);
	in_cache(r, o.reps, buf, 2 << 20);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		with_reading(r, o.reps, &c, &by_mem, buf, pieces[i]);
	with_reading(r, o.reps, &c, &by_readv, buf, (struct piece){ HS_HUGE_SIZE >> 10, false });
	close(mem_fd);
	bench_child_stop(&c);
	return bench_end(r);
}
