/* SPDX-License-Identifier: Apache-2.0 */
/* Measurements and the report. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/median.h"
#include "base/times.h"
#include "bench.h"

#define FLUSH_BYTES ((size_t)128 << 20) /* several times a large last-level cache */

struct bench_report {
	bool json;
	json_t *root, *section;
	double kdamond_cpu_s;
	uint64_t start_ns;
};

uint64_t bench_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

uint64_t bench_cpu_ns(void)
{
	return hs_cpu_thread_ns();
}

void bench_flush_caches(void)
{
	static uint8_t *other;
	uint64_t sum = 0;

	if (!other) {
		other = malloc(FLUSH_BYTES);
		if (!other)
			return;
		memset(other, 1, FLUSH_BYTES);
	}
	for (size_t i = 0; i < FLUSH_BYTES; i += 64)
		sum += other[i]++;
	bench_use(sum);
}

void bench_add(struct bench_series *s, double v)
{
	if (s->n < BENCH_MAX_REPS)
		s->v[s->n++] = v;
}

double bench_median(const struct bench_series *s)
{
	struct bench_series sorted = *s;

	return s->n ? hs_median(sorted.v, sorted.n) : 0;
}

double bench_min(const struct bench_series *s)
{
	double v = s->n ? s->v[0] : 0;

	for (unsigned int i = 1; i < s->n; i++)
		v = s->v[i] < v ? s->v[i] : v;
	return v;
}

double bench_max(const struct bench_series *s)
{
	double v = s->n ? s->v[0] : 0;

	for (unsigned int i = 1; i < s->n; i++)
		v = s->v[i] > v ? s->v[i] : v;
	return v;
}

static void set(json_t *object, const char *key, json_t *value)
{
	if (!value || json_object_set_new(object, key, value)) {
		fputs("bench: no memory for the report\n", stderr);
		exit(EXIT_FAILURE);
	}
}

static void processor(char *out, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	(void)snprintf(out, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) == 0 && colon) {
			(void)snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
			break;
		}
	}
	if (f)
		fclose(f);
}

struct bench_report *bench_begin(const char *name, const char *what, bool json)
{
	struct bench_report *r = calloc(1, sizeof(*r));
	struct utsname u;
	char cpu[128];
	double load = 0;

	if (!r)
		exit(EXIT_FAILURE);
	r->json = json;
	r->root = json_object();
	r->section = r->root;
	r->kdamond_cpu_s = bench_kdamond_cpu_s();
	r->start_ns = bench_now_ns();
	processor(cpu, sizeof(cpu));
	(void)getloadavg(&load, 1);
	if (uname(&u))
		(void)snprintf(u.release, sizeof(u.release), "unknown");
	set(r->root, "bench", json_string(name));
	set(r->root, "what", json_string(what));
	set(r->root, "processor", json_string(cpu));
	set(r->root, "kernel", json_string(u.release));
	/* Others that run at the same time make every figure worse: so it is part of the result. */
	set(r->root, "load_before", json_real(load));
	if (!json)
		printf("%s\n%s, Linux %s, load %.1f before\n", what, cpu, u.release, load);
	return r;
}

void bench_section(struct bench_report *r, const char *key, const char *heading)
{
	json_t *section = json_object();

	set(r->root, key, section);
	r->section = section;
	if (!r->json)
		printf("\n%-44s %12s %14s\n", heading, "median", "spread");
}

static const char *form(double v)
{
	return v != 0 && v < 0.1 && v > -0.1 ? "%.4f" : v < 10 ? "%.2f" : v < 100 ? "%.1f" : "%.0f";
}

static void print_number(double v, int width)
{
	char text[32];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(text, sizeof(text), form(v), v);
#pragma GCC diagnostic pop
	printf("%*s", width, text);
}

void bench_row(struct bench_report *r, const char *key, const char *label, const char *unit,
	       const struct bench_series *s)
{
	json_t *o = json_object();

	set(r->section, key, o);
	set(o, "median", json_real(bench_median(s)));
	set(o, "min", json_real(bench_min(s)));
	set(o, "max", json_real(bench_max(s)));
	set(o, "repetitions", json_integer(s->n));
	set(o, "unit", json_string(unit));
	if (r->json)
		return;
	printf("  %-42s ", label);
	print_number(bench_median(s), 12);
	print_number(bench_min(s), 8);
	printf(" to");
	print_number(bench_max(s), 7);
	printf(" %s\n", unit);
	fflush(stdout);
}

void bench_value(struct bench_report *r, const char *key, const char *label, const char *unit, double v)
{
	json_t *o = json_object();

	set(r->section, key, o);
	set(o, "value", json_real(v));
	set(o, "unit", json_string(unit));
	if (r->json)
		return;
	printf("  %-42s ", label);
	print_number(v, 12);
	printf("%18s %s\n", "", unit);
	fflush(stdout);
}

void bench_text(struct bench_report *r, const char *key, const char *label, const char *text)
{
	set(r->section, key, json_string(text));
	if (!r->json)
		printf("  %-42s %12s\n", label, text);
}

int bench_end(struct bench_report *r)
{
	double kdamond = bench_kdamond_cpu_s() - r->kdamond_cpu_s,
	       elapsed = (double)(bench_now_ns() - r->start_ns) / 1e9;
	int rc = EXIT_SUCCESS;

	set(r->root, "elapsed_s", json_real(elapsed));
	set(r->root, "kdamond_cpu_s", json_real(kdamond));
	if (!r->json)
		printf("\n%.0f s in all; kernel threads that age memory (kdamond) took %.1f s of CPU time\n", elapsed,
		       kdamond);
	if (r->json) {
		if (json_dumpf(r->root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)))
			rc = EXIT_FAILURE;
		putchar('\n');
	}
	json_decref(r->root);
	free(r);
	return rc;
}

uint64_t bench_number(struct argp_state *state, const char *option, const char *arg, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long v = strtoul(arg, &end, 10);

	if (end == arg || *end || v < min || v > max)
		argp_error(state, "%s: \"%s\" is not a number from %lu to %lu", option, arg, (unsigned long)min,
			   (unsigned long)max);
	return v;
}
