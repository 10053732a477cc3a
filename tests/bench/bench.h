/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmarks share: repeated measurements with median and spread, a report as a table for people or as one
 * JSON object for programs, and a process that holds memory to look at.
 */
#ifndef HS_TESTS_BENCH_BENCH_H
#define HS_TESTS_BENCH_BENCH_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- measurements ---- */

#define BENCH_MAX_REPS 101U

struct bench_series {
	double v[BENCH_MAX_REPS];
	unsigned int n;
};

uint64_t bench_now_ns(void); /* monotonic */
uint64_t bench_cpu_ns(void); /* of this thread: what others on the machine take is left out */
/* Reads so much memory that nothing of before is left in the caches. */
void bench_flush_caches(void);
void bench_add(struct bench_series *s, double v);
double bench_median(const struct bench_series *s); /* 0 when empty */
double bench_min(const struct bench_series *s);
double bench_max(const struct bench_series *s);

/* Keeps the compiler from leaving out what is only measured. */
static inline void bench_use(uint64_t v)
{
	__asm__ volatile("" : : "r"(v) : "memory");
}

/* Small, and the same in every run. */
static inline uint64_t bench_mix(uint64_t x)
{
	x += UINT64_C(0x9E3779B97F4A7C15);
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

/* ---- the report ---- */

struct bench_report;

/* Ends the program when there is no memory: a benchmark has nothing to clean up for. */
struct bench_report *bench_begin(const char *name, const char *what, bool json);
/* A heading in the table; in JSON the figures that follow are members of `key`. */
void bench_section(struct bench_report *r, const char *key, const char *heading);
/* Median and spread. */
void bench_row(struct bench_report *r, const char *key, const char *label, const char *unit,
	       const struct bench_series *s);
/* A figure that was not repeated. */
void bench_value(struct bench_report *r, const char *key, const char *label, const char *unit, double v);
/* Words: "the digest's kernel", "avx2". */
void bench_text(struct bench_report *r, const char *key, const char *label, const char *text);
/* Prints the JSON object, if that was wanted, and frees the report. The program's exit status. */
int bench_end(struct bench_report *r);

/* ---- options ---- */

/* The number in `arg`, or argp's error with the option's name. */
uint64_t bench_number(struct argp_state *state, const char *option, const char *arg, uint64_t min, uint64_t max);

/* ---- a process with memory ---- */

struct bench_child {
	pid_t pid;
	uint64_t start; /* address of its memory, on a huge page's border */
	uint64_t bytes;
	int command, answer; /* pipes */
};

/*
 * Starts a process that writes so many bytes of memory, in huge pages, and then sleeps; `content`: all of it, each base
 * page with a content of its own, else the first word of each base page. Ends with this program. False, with a message:
 * no memory, or not in huge pages.
 */
bool bench_child_start(struct bench_child *c, uint64_t bytes, bool content);
/* Makes it read one byte of each `step` bytes; back when it has. */
bool bench_child_touch(struct bench_child *c, uint64_t step);
void bench_child_stop(struct bench_child *c);

/* A field of /proc/PID/<file> such as "AnonHugePages", in bytes; 0 when it cannot be read. */
uint64_t bench_proc_bytes(pid_t pid, const char *file, const char *field);
/* CPU seconds so far of kernel threads that age memory by DAMON: whose work they disturb wants to know of them. */
double bench_kdamond_cpu_s(void);
/* MemAvailable. */
uint64_t bench_available_bytes(void);

#endif
