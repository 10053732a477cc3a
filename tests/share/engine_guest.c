/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hs_test.h"

#define MIN_BYTES (8U << 20)
#define UNMAPPED  UINT32_MAX /* as content */

struct command {
	char op; /* 'w'rite, 'r'ead, 'v'erify, 'u'nmap a huge page, 'd'rop a page, 'm'ap mergeable memory of its own,
		    'a'rm a userfaultfd, count its 'e'vents, 'h'old */
	uint32_t page, content;
};

static uint32_t salt;

static void fill(uint64_t *page, uint32_t content)
{
	uint64_t x = ((uint64_t)salt << 32 | content) * UINT64_C(0x9e3779b97f4a7c15) | 1;

	for (size_t i = 0; i < HS_BASE_SIZE / sizeof(*page); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page[i] = content ? x : 0;
	}
}

static void *spin(void *arg)
{
	static volatile uint64_t count;

	for (;;)
		count++;
	return arg;
}

/* A pipe has the page itself, not a copy of it, until somebody reads from it. */
static bool hold(char *page)
{
	struct iovec io = { .iov_base = page, .iov_len = HS_BASE_SIZE };
	int ends[2];

	return pipe(ends) == 0 && vmsplice(ends[1], &io, 1, 0) == HS_BASE_SIZE;
}

static uint32_t count_bad(const struct test_guest *g, const char *mem)
{
	static uint64_t want[HS_BASE_SIZE / sizeof(uint64_t)];
	uint32_t bad = 0;

	for (uint32_t p = 0; p < g->nr_pages; p++) {
		if (g->content[p] == UNMAPPED)
			continue;
		fill(want, g->content[p]);
		bad += memcmp(want, mem + p * HS_BASE_SIZE, HS_BASE_SIZE) != 0;
	}
	return bad;
}

/* ---- a userfaultfd that write-protects, as a background snapshot does ---- */

static int uffd = -1;
static _Atomic uint64_t events;

static void *serve(void *arg)
{
	struct uffd_msg m;

	while (read(uffd, &m, sizeof(m)) == sizeof(m)) {
		struct uffdio_writeprotect off = { .range = { m.arg.pagefault.address & ~(HS_BASE_SIZE - 1),
							      HS_BASE_SIZE } };

		events++;
		(void)ioctl(uffd, UFFDIO_WRITEPROTECT, &off);
	}
	return arg;
}

static uint64_t arm(char *mem, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .range = { (uintptr_t)mem, len }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect on = { .range = { (uintptr_t)mem, len }, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	pthread_t thread;

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg) ||
	    ioctl(uffd, UFFDIO_WRITEPROTECT, &on))
		return (uint64_t)errno;
	return (uint64_t)pthread_create(&thread, NULL, serve, NULL);
}

/* Memory that the view does not count as the guest's: less than MIN_BYTES. */
static uint64_t map_mergeable(uint32_t content)
{
	const size_t len = 2 * HS_HUGE_SIZE;
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return (uint64_t)errno;
	for (size_t at = 0; at < len; at += HS_BASE_SIZE)
		fill((uint64_t *)(void *)(mem + at), content + (uint32_t)(at / HS_BASE_SIZE) + 1);
	return madvise(mem, len, MADV_MERGEABLE) ? (uint64_t)errno : 0;
}

static int advise_first(const struct test_guest *g, char *mem, size_t len)
{
	static const int advice[] = {
		[TEST_GUEST_HUGEPAGE] = MADV_HUGEPAGE, [TEST_GUEST_NOHUGEPAGE] = MADV_NOHUGEPAGE
	};

	if (g->advice != TEST_GUEST_PLAIN && madvise(mem, len, advice[g->advice]))
		return -1;
	return g->mergeable ? madvise(mem, len, MADV_MERGEABLE) : 0;
}

static void guest_main(struct test_guest *g, int in, int out)
{
	size_t len = g->nr_huge * HS_HUGE_SIZE;
	struct command c;
	uint64_t answer;
	pthread_t thread;
	char *raw, *mem;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	raw = mmap(NULL, len + 2 * HS_HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (raw == MAP_FAILED)
		_exit(2);
	mem = (char *)(((uintptr_t)raw + HS_HUGE_SIZE) & ~(HS_HUGE_SIZE - 1));
	if (mprotect(mem, len, PROT_READ | PROT_WRITE) || advise_first(g, mem, len))
		_exit(3);
	memset(mem, 1, len); /* huge pages at once, and never the huge zero page */
	for (uint32_t p = 0; p < g->nr_pages; p++)
		fill((uint64_t *)(void *)(mem + p * HS_BASE_SIZE), g->content[p]);
	if (g->busy && pthread_create(&thread, NULL, spin, NULL))
		_exit(4);
	answer = (uintptr_t)mem;
	while (write(out, &answer, sizeof(answer)) == sizeof(answer) && read(in, &c, sizeof(c)) == sizeof(c)) {
		answer = 0;
		if (c.op == 'v')
			answer = count_bad(g, mem);
		else if (c.op == 'r')
			answer = *(volatile uint64_t *)(void *)(mem + c.page * HS_BASE_SIZE);
		else if (c.op == 'u')
			answer = (uint64_t)munmap(mem + c.page * HS_BASE_SIZE, HS_HUGE_SIZE);
		else if (c.op == 'd')
			answer = (uint64_t)madvise(mem + c.page * HS_BASE_SIZE, HS_BASE_SIZE, MADV_DONTNEED);
		else if (c.op == 'm')
			answer = map_mergeable(c.content);
		else if (c.op == 'a')
			answer = arm(mem, len);
		else if (c.op == 'e')
			answer = events;
		else if (c.op == 'h')
			answer = hold(mem + c.page * HS_BASE_SIZE);
		else
			fill((uint64_t *)(void *)(mem + c.page * HS_BASE_SIZE), g->content[c.page] = c.content);
	}
	_exit(0);
}

void test_guest_init(struct test_guest *g, uint32_t nr_huge)
{
	memset(g, 0, sizeof(*g));
	g->nr_huge = nr_huge;
	g->nr_pages = nr_huge * HS_BASE_PER_HUGE;
	g->content =
	    mmap(NULL, g->nr_pages * sizeof(*g->content), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(g->content != MAP_FAILED);
	salt = (uint32_t)getpid();
}

void test_guest_start(struct test_guest *g)
{
	int to[2], from[2];

	ck_assert_int_eq(pipe(to), 0);
	ck_assert_int_eq(pipe(from), 0);
	g->pid = fork();
	ck_assert_int_ge(g->pid, 0);
	if (!g->pid) {
		(void)close(to[1]);
		(void)close(from[0]);
		guest_main(g, to[0], from[1]);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	g->to = to[1];
	g->from = from[0];
	ck_assert_int_eq(read(g->from, &g->addr, sizeof(g->addr)), sizeof(g->addr));
}

void test_guest_open(struct test_guest *g, const struct hs_host *host)
{
	struct hs_error err = { "" };

	ck_assert_msg((g->dry ? hs_remote_open_dry : hs_remote_open)(&g->remote, host, g->pid, &err) == 0, "%s",
		      err.text);
	ck_assert_msg(hs_view_open_host(&g->view, host, g->pid, g->remote, MIN_BYTES, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(g->view->nr_huge, g->nr_huge);
	ck_assert_uint_eq(hs_view_hva(g->view, 0).v, g->addr);
}

void test_guest_close(struct test_guest *g)
{
	hs_view_close(g->view);
	hs_remote_close(g->remote);
	g->view = NULL;
	g->remote = NULL;
}

static uint64_t ask(struct test_guest *g, struct command c)
{
	uint64_t answer;

	ck_assert_int_eq(write(g->to, &c, sizeof(c)), sizeof(c));
	ck_assert_int_eq(read(g->from, &answer, sizeof(answer)), sizeof(answer));
	return answer;
}

void test_guest_write(struct test_guest *g, uint32_t page, uint32_t content)
{
	(void)ask(g, (struct command){ .op = 'w', .page = page, .content = content });
}

void test_guest_read(struct test_guest *g, uint32_t page)
{
	(void)ask(g, (struct command){ .op = 'r', .page = page });
}

void test_guest_unmap(struct test_guest *g, hs_huge_nr huge)
{
	for (uint32_t i = 0; i < HS_BASE_PER_HUGE; i++)
		g->content[huge * HS_BASE_PER_HUGE + i] = UNMAPPED;
	ck_assert_uint_eq(ask(g, (struct command){ .op = 'u', .page = huge * HS_BASE_PER_HUGE }), 0);
}

void test_guest_drop(struct test_guest *g, uint32_t page)
{
	g->content[page] = 0;
	ck_assert_uint_eq(ask(g, (struct command){ .op = 'd', .page = page }), 0);
}

void test_guest_map_mergeable(struct test_guest *g, uint32_t content)
{
	ck_assert_uint_eq(ask(g, (struct command){ .op = 'm', .content = content }), 0);
}

uint64_t test_guest_arm(struct test_guest *g)
{
	return ask(g, (struct command){ .op = 'a' });
}

uint64_t test_guest_events(struct test_guest *g)
{
	return ask(g, (struct command){ .op = 'e' });
}

void test_guest_hold(struct test_guest *g, uint32_t page)
{
	ck_assert_uint_eq(ask(g, (struct command){ .op = 'h', .page = page }), 1);
}

uint32_t test_guest_bad(struct test_guest *g)
{
	return (uint32_t)ask(g, (struct command){ .op = 'v' });
}

void test_guest_kill(struct test_guest *g)
{
	if (g->pid <= 0)
		return;
	ck_assert_int_eq(kill(g->pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(g->pid, NULL, 0), g->pid);
	(void)close(g->to);
	(void)close(g->from);
	g->pid = 0;
}

struct test_smaps test_guest_smaps(const struct test_guest *g)
{
	struct test_smaps out;
	uint64_t start = 0, end = 0, kib;
	char path[64], line[512];
	FILE *f;

	memset(&out, 0, sizeof(out)); /* its padding as well: tests compare bytes */
	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)g->pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		bool ours = start >= g->addr && end <= g->addr + g->nr_huge * HS_HUGE_SIZE;
		uint64_t from, to; /* "A..." reads as a number, too */

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
			start = from;
			end = to;
			out.nr_vmas++;
		} else if (ours && sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1) {
			out.huge_bytes += kib << 10;
		} else if (ours && sscanf(line, "Rss: %" SCNu64, &kib) == 1) {
			out.rss_bytes += kib << 10;
		} else if (ours && sscanf(line, "KSM: %" SCNu64, &kib) == 1) {
			out.ksm_bytes += kib << 10;
		} else if (ours && !strncmp(line, "VmFlags:", 8)) {
			out.mg_bytes += strstr(line, " mg") ? end - start : 0;
			out.nh_bytes += strstr(line, " nh") ? end - start : 0;
			out.hg_bytes += strstr(line, " hg") ? end - start : 0;
		}
	}
	(void)fclose(f);
	return out;
}
