/* SPDX-License-Identifier: Apache-2.0 */
#include "remote_guest.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const struct hs_host rg_host = HS_HOST_DEFAULT;

#define SHADOW_LEAST (4UL << 30) /* bytes; no guest maps so much, only the address sanitizer does */
#define AREA_SIZE    (4UL << 20)

uint64_t rg_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

struct rg_guest rg_start(int (*body)(struct rg_report *r), void *ctx)
{
	struct rg_guest g = { .pid = -1 };
	void *shared = mmap(NULL, sizeof(*g.report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void *area = mmap(NULL, AREA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(shared, MAP_FAILED);
	ck_assert_ptr_ne(area, MAP_FAILED);
	g.report = shared;
	g.report->ctx = ctx;
	g.report->area = (uint64_t)(uintptr_t)area;
	g.report->area_size = AREA_SIZE;
	ck_assert_int_eq(pipe2(g.report->pipe, O_CLOEXEC), 0);
	g.pid = fork();
	ck_assert_int_ge(g.pid, 0);
	if (g.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (size_t i = 0; i < AREA_SIZE; i += 8)
			*(volatile uint64_t *)((char *)area + i) = i * 0x9e3779b97f4a7c15ULL;
		_exit(body(g.report));
	}
	(void)munmap(area, AREA_SIZE);
	return g;
}

char rg_state(pid_t pid, pid_t tid)
{
	char path[64], line[256], state = '?';
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "State: %c", &state) == 1)
			break;
	}
	if (f)
		(void)fclose(f);
	return state;
}

long rg_status(pid_t pid, pid_t tid, const char *name)
{
	char path[64], line[256];
	long value = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, tid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
			value = strtol(line + strlen(name) + 1, NULL, 0);
	}
	if (f)
		(void)fclose(f);
	return value;
}

void rg_wait_ready(const struct rg_guest *g, bool blocks)
{
	uint64_t start = rg_now_us();

	while (!atomic_load(&g->report->ready) || (blocks && rg_state(g->pid, g->pid) != 'S')) {
		ck_assert_msg(rg_now_us() - start < 20000000, "the guest is not ready after 20 s");
		(void)usleep(500);
	}
}

static void free_report(struct rg_guest *g)
{
	(void)close(g->report->pipe[0]);
	(void)close(g->report->pipe[1]);
	(void)munmap(g->report, sizeof(*g->report));
	g->pid = -1;
}

void rg_kill(struct rg_guest *g)
{
	if (g->pid <= 0)
		return;
	(void)kill(g->pid, SIGKILL);
	(void)waitpid(g->pid, NULL, 0);
	free_report(g);
}

int rg_finish(struct rg_guest *g)
{
	uint64_t start = rg_now_us();
	int status = 0;
	pid_t got;

	atomic_store(&g->report->stop, 1);
	(void)!write(g->report->pipe[1], "x", 1);
	while ((got = waitpid(g->pid, &status, WNOHANG)) == 0) {
		if (rg_now_us() - start > 10000000) {
			(void)kill(g->pid, SIGKILL);
			ck_abort_msg("the guest does not end when asked");
		}
		(void)usleep(500);
	}
	ck_assert_int_eq(got, g->pid);
	free_report(g);
	return status;
}

void rg_wrong(struct rg_report *r, int line)
{
	if (atomic_fetch_add(&r->wrong, 1) == 0) {
		atomic_store(&r->last_errno, errno);
		atomic_store(&r->line, line);
	}
}

int rg_body_parked(struct rg_report *r)
{
	struct pollfd p = { .fd = r->pipe[0], .events = POLLIN };

	atomic_store(&r->ready, 1);
	if (poll(&p, 1, -1) != 1)
		RG_WRONG(r);
	return atomic_load(&r->wrong) != 0;
}

/* ---- a guest whose every register is known ---- */

uint64_t rg_turns, rg_bad, rg_mask_words[16 * 4], rg_x87_out[2];
uint32_t rg_mxcsr_in = 0x1f80 | 0x6000, rg_mxcsr_out; /* rounds towards zero */
void rg_spin_loop(void);

/* clang-format off */
__asm__(
	".text\n"
	".globl rg_spin_loop\n"
	".type rg_spin_loop,@function\n"
	"rg_spin_loop:\n"
	"ldmxcsr rg_mxcsr_in(%rip)\n"
	"fldpi\n"
	".set i, 0\n"
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n"
	"vmovdqu rg_mask_words + 32 * \\n(%rip), %ymm\\n\n"
	".endr\n"
	"movq $0x11111101, %rax\n"  "movq $0x11111102, %rbx\n"  "movq $0x11111103, %rcx\n"  "movq $0x11111104, %rdx\n"
	"movq $0x11111105, %rsi\n"  "movq $0x11111106, %rdi\n"  "movq $0x11111107, %rbp\n"  "movq $0x11111108, %r8\n"
	"movq $0x11111109, %r9\n"   "movq $0x1111110a, %r10\n"  "movq $0x1111110b, %r11\n"  "movq $0x1111110c, %r12\n"
	"movq $0x1111110d, %r13\n"  "movq $0x1111110e, %r14\n"  "movq $0x1111110f, %r15\n"
	/* the red zone belongs to the thread as well */
	".irp o, 8,16,24,32,40,48,56,64,72,80,88,96,104,112,120,128\n"
	"movq $0x22220000 + \\o, -\\o(%rsp)\n"
	".endr\n"
	"std\n"
	"1:\n"
	"cmpq $0x11111101, %rax\n jne 2f\n"  "cmpq $0x11111102, %rbx\n jne 2f\n"
	"cmpq $0x11111103, %rcx\n jne 2f\n"  "cmpq $0x11111104, %rdx\n jne 2f\n"
	"cmpq $0x11111105, %rsi\n jne 2f\n"  "cmpq $0x11111106, %rdi\n jne 2f\n"
	"cmpq $0x11111107, %rbp\n jne 2f\n"  "cmpq $0x11111108, %r8\n jne 2f\n"
	"cmpq $0x11111109, %r9\n jne 2f\n"   "cmpq $0x1111110a, %r10\n jne 2f\n"
	"cmpq $0x1111110b, %r11\n jne 2f\n"  "cmpq $0x1111110c, %r12\n jne 2f\n"
	"cmpq $0x1111110d, %r13\n jne 2f\n"  "cmpq $0x1111110e, %r14\n jne 2f\n"
	"cmpq $0x1111110f, %r15\n jne 2f\n"
	".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14\n"
	"vpxor rg_mask_words + 32 * \\n(%rip), %ymm\\n, %ymm15\n"
	"vptest %ymm15, %ymm15\n"
	"jnz 2f\n"
	".endr\n"
	".irp o, 8,16,24,32,40,48,56,64,72,80,88,96,104,112,120,128\n"
	"cmpq $0x22220000 + \\o, -\\o(%rsp)\n"
	"jne 2f\n"
	".endr\n"
	"stmxcsr rg_mxcsr_out(%rip)\n"
	"cmpl $0x7f80, rg_mxcsr_out(%rip)\n"
	"jne 2f\n"
	"fld %st(0)\n"
	"fstpt rg_x87_out(%rip)\n"
	"cmpl $0x2168c235, rg_x87_out(%rip)\n" /* pi, the low half of its 64 digits */
	"jne 2f\n"
	"incq rg_turns(%rip)\n"
	"jmp 1b\n"
	"2:\n"
	"incq rg_bad(%rip)\n"
	"jmp 2b\n"
	".size rg_spin_loop, .-rg_spin_loop\n");
/* clang-format on */

bool rg_spin_possible(void)
{
	return __builtin_cpu_supports("avx2");
}

int rg_body_spin(struct rg_report *r)
{
	for (size_t i = 0; i < sizeof(rg_mask_words) / sizeof(*rg_mask_words); i++)
		rg_mask_words[i] = (i + 1) * 0x9e3779b97f4a7c15ULL;
	atomic_store(&r->ready, 1);
	rg_spin_loop();
	return 1;
}

static uint64_t peek(pid_t pid, const uint64_t *addr)
{
	uint64_t value = 0;
	struct iovec local = { &value, sizeof(value) }, remote = { (void *)(uintptr_t)addr, sizeof(value) };

	ck_assert_int_eq(process_vm_readv(pid, &local, 1, &remote, 1, 0), (ssize_t)sizeof(value));
	return value;
}

uint64_t rg_spin_turns(const struct rg_guest *g)
{
	return peek(g->pid, &rg_turns);
}

bool rg_spin_wrong(const struct rg_guest *g)
{
	return peek(g->pid, &rg_bad) != 0;
}

/* ---- a guest's memory ---- */

static uint64_t stack_pointer(pid_t pid)
{
	char path[64], buf[512];
	uint64_t sp = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	if (fgets(buf, sizeof(buf), f))
		(void)sscanf(buf, "%*d %*x %*x %*x %*x %*x %*x %" SCNx64, &sp);
	(void)fclose(f);
	return sp;
}

static uint64_t mix(uint64_t h, const unsigned char *buf, size_t n)
{
	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint64_t w;

		memcpy(&w, buf + i, 8);
		h = (h ^ w) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 29;
	}
	return h;
}

/* The kernel itself writes there on which processor the guest's main thread runs. A fork has it where we have it. */
static void blank_rseq(unsigned char *buf, uint64_t start, size_t n)
{
	uint64_t rseq = (uint64_t)(uintptr_t)__builtin_thread_pointer() + (uint64_t)__rseq_offset;

	for (uint64_t at = rseq; at < rseq + 32; at++) {
		if (at >= start && at < start + n)
			buf[at - start] = 0;
	}
}

uint64_t rg_digest(pid_t pid, bool skip_stack)
{
	char path[64], line[512], perms[5];
	unsigned char *buf = malloc(1 << 20);
	uint64_t start, end, digest = 1, sp = skip_stack ? stack_pointer(pid) : 0;
	FILE *f;

	ck_assert_ptr_nonnull(buf);
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		ck_assert_int_eq(sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, perms), 3);
		if (perms[0] != 'r' || perms[1] != 'w' || perms[3] != 'p')
			continue;
		if (end - start > SHADOW_LEAST)
			continue;
		if (sp && strstr(line, "[stack]"))
			start = (sp - 128) & ~7ULL;
		for (; start < end; start += 1 << 20) {
			size_t n = end - start < 1 << 20 ? (size_t)(end - start) : 1 << 20;
			struct iovec local = { buf, n }, remote = { (void *)start, n };

			ck_assert_int_eq(process_vm_readv(pid, &local, 1, &remote, 1, 0), (ssize_t)n);
			blank_rseq(buf, start, n);
			digest = mix(digest, buf, n);
		}
	}
	(void)fclose(f);
	free(buf);
	return digest;
}

bool rg_vma_has(pid_t pid, uint64_t addr, const char *flag)
{
	char path[64], line[512];
	uint64_t start, end;
	bool inside = false, has = false;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			inside = addr >= start && addr < end;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			has = strstr(line, flag) != NULL;
	}
	(void)fclose(f);
	return has;
}

/* ---- calls in it ---- */

struct hs_remote *rg_open(pid_t pid)
{
	struct hs_remote *r;
	struct hs_error err = { "" };

	ck_assert_msg(hs_remote_open(&r, &rg_host, pid, &err) == 0, "%s", err.text);
	return r;
}

/* One pair of calls that leaves everything as it was. */
int rg_try_open(pid_t pid, struct hs_error *err)
{
	struct hs_remote *r = NULL;
	int rc;

	err->text[0] = 0;
	rc = hs_remote_open(&r, &rg_host, pid, err);
	ck_assert((rc == 0) == (r != NULL));
	ck_assert((rc != 0) == (err->text[0] != 0));
	hs_remote_close(r);
	return rc;
}

int rg_advise(struct hs_remote *r, uint64_t at, int advice, int *result, struct hs_error *err)
{
	struct hs_remote_op op = { at, at + RG_PAGE, advice, 1 };
	int rc = hs_remote_madvise(r, &op, 1, err);

	*result = op.result;
	return rc;
}

void *rg_sleep_on(void *arg)
{
	(void)arg;
	while (pause() != 0)
		;
	return NULL;
}

void rg_touch(struct hs_remote *r, uint64_t area)
{
	struct hs_remote_op op[2] = { { area, area + RG_PAGE, MADV_DONTDUMP, 1 },
				      { area, area + RG_PAGE, MADV_DODUMP, 1 } };
	struct hs_error err = { "" };
	int rc = hs_remote_madvise(r, op, 2, &err);

	ck_assert_msg(rc == 0, "%d: %s", rc, err.text);
	ck_assert_int_eq(op[0].result, 0);
	ck_assert_int_eq(op[1].result, 0);
}
