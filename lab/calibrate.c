/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calibration, the part that needs no privileges: on this process's own memory. Each constant is the median of several
 * measurements.
 */
#include "calibrate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hs/host.h"
#include "hs/index.h"
#include "base/median.h"
#include "base/procstat.h"
#include "base/times.h"
#include "random.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

#define NR_HUGE     64U /* huge pages to split, collapse and copy: 128 MiB */
#define MIN_READS   300000U
#define READ_BYTES  (UINT64_C(1) << 30) /* far beyond what any cache of translations reaches with base pages */
#define BREAK_PAGES 8192U

double hs_lab_cpu_ns(void)
{
	return (double)hs_cpu_thread_ns();
}

void hs_lab_fill_page(void *page, unsigned long long number)
{
	uint64_t *w = page, state = number;

	for (size_t i = 0; i < HS_BASE_SIZE / sizeof(*w); i++)
		w[i] = hs_lab_next(&state) | 1;
}

void hs_lab_unknown(struct hs_lab_costs *c, enum hs_lab_cost first, enum hs_lab_cost last, const char *why)
{
	for (int i = (int)first; i <= (int)last; i++) {
		c->ns[i] = NAN;
		(void)snprintf(c->reason[i], sizeof(c->reason[i]), "%.159s", why);
	}
}

static void unknown(struct hs_lab_costs *c, enum hs_lab_cost which, const char *why)
{
	hs_lab_unknown(c, which, which, why);
}

char *hs_lab_map(size_t bytes, int advice, void **slack)
{
	char *p = mmap(NULL, bytes + HS_HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*slack = p;
	if (p == MAP_FAILED)
		return NULL;
	p = (char *)(((uintptr_t)p + HS_HUGE_SIZE - 1) & ~(HS_HUGE_SIZE - 1));
	(void)madvise(p, bytes, advice);
	return p;
}

static void unmap_memory(void *slack, size_t bytes)
{
	(void)munmap(slack, bytes + HS_HUGE_SIZE);
}

/* ---- accesses ---- */

/* Reads at random places of `pages` base pages that lie scattered over the memory. Each place depends on the read
 * before, so none is made ahead of time. */
static double read_at_random(const char *mem, uint64_t bytes, uint64_t pages, uint64_t seed)
{
	const uint64_t stride = bytes / HS_BASE_SIZE / pages;
	const uint64_t nr = MIN_READS > 4 * pages ? MIN_READS : 4 * pages; /* each page is met several times */
	uint64_t x = seed;
	double start_ns;

	start_ns = hs_lab_cpu_ns();
	for (uint64_t i = 0; i < nr; i++) {
		const uint64_t page = (x >> 20) & (pages - 1);

		x = hs_lab_mix(x +
			       (uint64_t)(unsigned char)mem[page * stride * HS_BASE_SIZE + (x & (HS_BASE_SIZE - 1))]);
	}
	/* x is needed, or nothing were read at all */
	__asm__ volatile("" : : "r"(x) : "memory");
	return (hs_lab_cpu_ns() - start_ns) / (double)nr;
}

/* Whether the first of it is mapped by huge pages, as the kernel says. */
static bool is_huge(const char *mem)
{
	char line[256], wanted[64];
	bool here = false, huge = false;
	unsigned long long kib;
	FILE *f = fopen("/proc/self/smaps", "re");

	(void)snprintf(wanted, sizeof(wanted), "%llx-", (unsigned long long)(uintptr_t)mem);
	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, "-") && strchr(line, ':') && !strncmp(line, wanted, strlen(wanted)))
			here = true;
		else if (here && sscanf(line, "AnonHugePages: %llu", &kib) == 1) {
			huge = kib > 0;
			break;
		}
	}
	if (f)
		(void)fclose(f);
	return huge;
}

/* In turns, so that what else the machine does meets both alike; the same places, so that data caches do. */
static void measure_walks(struct hs_lab_costs *c, const struct hs_clock *clock)
{
	void *slack[2];
	char *mem[2];

	mem[0] = hs_lab_map(READ_BYTES, MADV_NOHUGEPAGE, &slack[0]);
	mem[1] = hs_lab_map(READ_BYTES, MADV_HUGEPAGE, &slack[1]);
	if (!mem[0] || !mem[1]) {
		hs_lab_unknown(c, HS_LAB_COST_WALK, HS_LAB_COST_WALK_LAST, "no memory");
		goto out;
	}
	for (int huge = 0; huge < 2; huge++)
		memset(mem[huge], 1, READ_BYTES);
	if (!is_huge(mem[1])) {
		hs_lab_unknown(c, HS_LAB_COST_WALK, HS_LAB_COST_WALK_LAST,
			       "the kernel gives no huge pages: transparent huge pages are off");
		goto out;
	}
	for (unsigned int w = 0; w < HS_LAB_NR_WALKS && !hs_lab_cancelled(clock); w++) {
		double v[HS_LAB_REPS];

		for (unsigned int i = 0; i < HS_LAB_REPS; i++)
			v[i] = read_at_random(mem[0], READ_BYTES, UINT64_C(1) << (HS_LAB_WALK_FIRST + w), i + 1) -
			       read_at_random(mem[1], READ_BYTES, UINT64_C(1) << (HS_LAB_WALK_FIRST + w), i + 1);
		c->ns[HS_LAB_COST_WALK + w] = hs_median(v, HS_LAB_REPS);
		/* Where both are alike the difference is noise, which may be below nothing. */
		if (c->ns[HS_LAB_COST_WALK + w] < 0)
			c->ns[HS_LAB_COST_WALK + w] = 0;
	}
out:
	for (int huge = 0; huge < 2; huge++)
		if (mem[huge])
			unmap_memory(slack[huge], READ_BYTES);
}

/* ---- breaks ---- */

/*
 * In a child: a write to each page that it has in common with its parent. The kernel does the same for a page that KSM
 * shares: a fault, a new page, a copy.
 */
static double write_shared(char *mem)
{
	double ns = NAN;
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		return ns;
	pid = fork();
	if (pid == 0) {
		double start_ns = hs_lab_cpu_ns();
		bool sent;

		for (uint32_t i = 0; i < BREAK_PAGES; i++)
			((volatile char *)mem)[i * HS_BASE_SIZE] = 2;
		ns = (hs_lab_cpu_ns() - start_ns) / BREAK_PAGES;
		sent = write(fds[1], &ns, sizeof(ns)) == sizeof(ns);
		_exit(sent ? 0 : 1);
	}
	(void)close(fds[1]);
	if (pid > 0) {
		if (read(fds[0], &ns, sizeof(ns)) != sizeof(ns))
			ns = NAN;
		(void)waitpid(pid, NULL, 0);
	}
	(void)close(fds[0]);
	return ns;
}

static void measure_breaks(struct hs_lab_costs *c)
{
	double v[HS_LAB_REPS];
	void *slack;
	char *mem = hs_lab_map(BREAK_PAGES * HS_BASE_SIZE, MADV_NOHUGEPAGE, &slack);

	if (!mem) {
		unknown(c, HS_LAB_COST_BREAK, "no memory");
		return;
	}
	memset(mem, 1, BREAK_PAGES * HS_BASE_SIZE);
	for (unsigned int i = 0; i < HS_LAB_REPS; i++)
		v[i] = write_shared(mem);
	c->ns[HS_LAB_COST_BREAK] = hs_median(v, HS_LAB_REPS);
	if (isnan(c->ns[HS_LAB_COST_BREAK]))
		unknown(c, HS_LAB_COST_BREAK, "no process could be started");
	unmap_memory(slack, BREAK_PAGES * HS_BASE_SIZE);
}

/* ---- huge pages ---- */

static void measure_copies(struct hs_lab_costs *c, const char *from)
{
	double v[HS_LAB_REPS];

	for (unsigned int i = 0; i < HS_LAB_REPS; i++) {
		double start_ns;
		void *slack;
		char *to = hs_lab_map(NR_HUGE * HS_HUGE_SIZE, MADV_HUGEPAGE, &slack);

		if (!to) {
			unknown(c, HS_LAB_COST_COPY_HUGE, "no memory");
			return;
		}
		start_ns = hs_lab_cpu_ns();
		memcpy(to, from, NR_HUGE * HS_HUGE_SIZE);
		v[i] = (hs_lab_cpu_ns() - start_ns) / NR_HUGE;
		unmap_memory(slack, NR_HUGE * HS_HUGE_SIZE);
	}
	c->ns[HS_LAB_COST_COPY_HUGE] = hs_median(v, HS_LAB_REPS);
}

/* As the host view splits: the first base page's mapping parts from the others', and joins again. */
static bool split_all(char *mem)
{
	for (uint32_t i = 0; i < NR_HUGE; i++)
		if (madvise(mem + i * HS_HUGE_SIZE, HS_BASE_SIZE, MADV_DONTDUMP) ||
		    madvise(mem + i * HS_HUGE_SIZE, HS_BASE_SIZE, MADV_DODUMP))
			return false;
	return true;
}

static bool collapse_all(char *mem)
{
	for (uint32_t i = 0; i < NR_HUGE; i++)
		if (madvise(mem + i * HS_HUGE_SIZE, HS_HUGE_SIZE, MADV_COLLAPSE))
			return false;
	return true;
}

static void measure_splits(struct hs_lab_costs *c, char *mem)
{
	double split[HS_LAB_REPS], restore[HS_LAB_REPS];

	for (unsigned int i = 0; i < HS_LAB_REPS; i++) {
		double start_ns = hs_lab_cpu_ns(), split_ns;

		if (!split_all(mem)) {
			unknown(c, HS_LAB_COST_SPLIT, strerror(errno));
			unknown(c, HS_LAB_COST_RESTORE, "no mapping could be split");
			return;
		}
		split_ns = hs_lab_cpu_ns();
		if (!collapse_all(mem)) {
			unknown(c, HS_LAB_COST_RESTORE,
				errno == EINVAL ? "MADV_COLLAPSE fails: transparent huge pages are off, or the kernel "
						  "is older than 6.1"
						: strerror(errno));
			return;
		}
		split[i] = (split_ns - start_ns) / NR_HUGE;
		restore[i] = (hs_lab_cpu_ns() - split_ns) / NR_HUGE;
	}
	c->ns[HS_LAB_COST_SPLIT] = hs_median(split, HS_LAB_REPS);
	c->ns[HS_LAB_COST_RESTORE] = hs_median(restore, HS_LAB_REPS);
}

/* ---- contents ---- */

static void measure_contents(struct hs_lab_costs *c, const char *mem)
{
	static struct hs_digest digests[HS_BASE_PER_HUGE];
	const struct hs_bits512 full = hs_bits_full();
	double hash[HS_LAB_REPS], compare[HS_LAB_REPS];
	char *copy = malloc(NR_HUGE / 2 * HS_HUGE_SIZE);
	struct hs_digest_key key;
	struct hs_bits512 zero;
	int differ = 0;

	if (!copy || hs_digest_key_random(&key)) {
		unknown(c, HS_LAB_COST_HASH, "no memory");
		unknown(c, HS_LAB_COST_COMPARE, "no memory");
		free(copy);
		return;
	}
	memcpy(copy, mem, NR_HUGE / 2 * HS_HUGE_SIZE);
	for (unsigned int i = 0; i < HS_LAB_REPS; i++) {
		double start_ns = hs_lab_cpu_ns();

		for (uint32_t h = 0; h < NR_HUGE; h++)
			hs_digest_huge(&key, mem + h * HS_HUGE_SIZE, &full, digests, &zero);
		hash[i] = (hs_lab_cpu_ns() - start_ns) / (NR_HUGE * HS_BASE_PER_HUGE);
		start_ns = hs_lab_cpu_ns();
		for (uint32_t p = 0; p < NR_HUGE / 2 * HS_BASE_PER_HUGE; p++)
			differ += memcmp(mem + p * HS_BASE_SIZE, copy + p * HS_BASE_SIZE, HS_BASE_SIZE) != 0;
		compare[i] = (hs_lab_cpu_ns() - start_ns) / (NR_HUGE / 2 * HS_BASE_PER_HUGE);
	}
	free(copy);
	c->ns[HS_LAB_COST_HASH] = hs_median(hash, HS_LAB_REPS);
	c->ns[HS_LAB_COST_COMPARE] = hs_median(compare, HS_LAB_REPS);
	if (differ)
		unknown(c, HS_LAB_COST_COMPARE, "a copy differed");
}

/* ---- */

static void name_machine(struct hs_lab_costs *c)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	char cpu[80];
	struct utsname u;
	struct sysinfo si;
	time_t now = time(NULL);
	struct tm tm;

	hs_cpu_model(&host, cpu, sizeof(cpu));
	if (uname(&u) || sysinfo(&si))
		return;
	(void)snprintf(c->machine, sizeof(c->machine), "%s, %ld processors, %.0f GiB, Linux %.32s",
		       cpu[0] ? cpu : "unknown processor", sysconf(_SC_NPROCESSORS_ONLN),
		       (double)si.totalram * si.mem_unit / (1 << 30), u.release);
	if (gmtime_r(&now, &tm))
		(void)strftime(c->measured, sizeof(c->measured), "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* Contents, copies and splits, on memory in huge pages. */
static int measure_huge_pages(struct hs_lab_costs *out, void (*progress)(const char *what), struct hs_error *err)
{
	void *slack;
	char *mem = hs_lab_map(NR_HUGE * HS_HUGE_SIZE, MADV_HUGEPAGE, &slack);

	if (!mem)
		return hs_error_set(err, -ENOMEM, "no memory to calibrate with: %u MiB are needed", 2 * NR_HUGE);
	for (uint32_t p = 0; p < NR_HUGE * HS_BASE_PER_HUGE; p++)
		hs_lab_fill_page(mem + p * HS_BASE_SIZE, p);
	progress("digests and compares");
	measure_contents(out, mem);
	progress("copies, splits and collapses of huge pages");
	measure_copies(out, mem);
	measure_splits(out, mem);
	unmap_memory(slack, NR_HUGE * HS_HUGE_SIZE);
	return 0;
}

int hs_lab_calibrate(struct hs_lab_costs *out, const struct hs_clock *clock, void (*progress)(const char *what),
		     struct hs_error *err)
{
	struct sysinfo si;
	int rc;

	hs_lab_costs_none(out);
	name_machine(out);
	progress("random reads through huge and base mappings");
	if (sysinfo(&si) == 0 && (uint64_t)si.freeram * si.mem_unit > 3 * READ_BYTES)
		measure_walks(out, clock);
	else
		hs_lab_unknown(out, HS_LAB_COST_WALK, HS_LAB_COST_WALK_LAST, "3 GiB of free memory are needed");
	if (hs_lab_cancelled(clock))
		goto cancelled;
	progress("writes to shared pages");
	measure_breaks(out);
	rc = measure_huge_pages(out, progress, err);
	if (rc)
		return rc;
	if (!hs_lab_cancelled(clock))
		hs_lab_calibrate_live(out, clock, progress);
	if (!hs_lab_cancelled(clock))
		return 0;
cancelled:
	return hs_error_set(err, -ECANCELED, "interrupted");
}
