/* SPDX-License-Identifier: Apache-2.0 */
/* Calls in real processes: their effect, and that memory and registers are what they were. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs_test.h"
#include "remote/remote_internal.h"
#include "remote_guest.h"

/* ---- effects ---- */

START_TEST(test_remote_madvise_effect)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	uint64_t a = g.report->area, end = a + g.report->area_size;
	struct hs_remote_op ops[] = {
		{ a, a + RG_PAGE, MADV_MERGEABLE, 1 },
		{ a + 2 * RG_PAGE, a + 3 * RG_PAGE, MADV_MERGEABLE, 1 },
		{ a + 3 * RG_PAGE, a + 3 * RG_PAGE, MADV_MERGEABLE, 1 },
		{ a + 5 * RG_PAGE, a + 4 * RG_PAGE, MADV_MERGEABLE, 1 },
		{ a + 1, a + RG_PAGE, MADV_MERGEABLE, 1 },
		{ a + 6 * RG_PAGE, a + 7 * RG_PAGE, MADV_MERGEABLE, 1 },
		{ 0, RG_PAGE, MADV_MERGEABLE, 1 },
		{ a + 8 * RG_PAGE, a + 9 * RG_PAGE, MADV_MERGEABLE, 1 },
		{ a + 8 * RG_PAGE, a + 9 * RG_PAGE, MADV_UNMERGEABLE, 1 },
		{ a + 10 * RG_PAGE, a + 11 * RG_PAGE, 12345, 1 },
		{ end - RG_PAGE, end, MADV_DONTDUMP, 1 },
	};
	static const int expected[] = { 0, 0, 0, -EINVAL, -EINVAL, 0, -ENOMEM, 0, 0, -EINVAL, 0 };
	struct hs_remote *r;
	struct hs_remote_stats st;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	ck_assert_int_eq(hs_remote_madvise(r, ops, sizeof(ops) / sizeof(*ops), NULL), 0);
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		ck_assert_msg(ops[i].result == expected[i], "op %zu: %d", i, ops[i].result);
	ck_assert(rg_vma_has(g.pid, a, " mg"));
	ck_assert(!rg_vma_has(g.pid, a + RG_PAGE, " mg"));
	ck_assert(rg_vma_has(g.pid, a + 2 * RG_PAGE, " mg"));
	ck_assert(!rg_vma_has(g.pid, a + 4 * RG_PAGE, " mg"));
	ck_assert(rg_vma_has(g.pid, a + 6 * RG_PAGE, " mg"));
	ck_assert(!rg_vma_has(g.pid, a + 8 * RG_PAGE, " mg"));
	ck_assert(rg_vma_has(g.pid, end - RG_PAGE, " dd"));
	hs_remote_stats(r, &st);
	ck_assert_uint_eq(st.nr_ops, sizeof(ops) / sizeof(*ops));
	ck_assert_uint_ge(st.nr_sessions, 1);
	ck_assert_uint_ge(st.stopped_us, st.longest_stop_us);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Many ranges, in one vectored call or one by one: the same end; and where one fails, only that one. */
START_TEST(test_remote_madvise_many)
{
	static struct hs_remote_op ops[512];
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	uint64_t a = g.report->area, wrong = 300;
	struct hs_remote_stats st;
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	r->vectored = (uint8_t)(_i == 0 ? HS_UNKNOWN : HS_NO);
	for (uint64_t i = 0; i < 512; i++)
		ops[i] = (struct hs_remote_op){ a + 2 * i * RG_PAGE, a + (2 * i + 1) * RG_PAGE, MADV_MERGEABLE, 1 };
	ops[wrong].start = RG_PAGE;
	ops[wrong].end = 2 * RG_PAGE;
	ck_assert_int_eq(hs_remote_madvise(r, ops, 512, NULL), 0);
	for (uint64_t i = 0; i < 512; i++)
		ck_assert_int_eq(ops[i].result, i == wrong ? -ENOMEM : 0);
	for (uint64_t i = 0; i < 1024; i += 93)
		ck_assert(rg_vma_has(g.pid, a + i * RG_PAGE, " mg") == (i % 2 == 0 && i != 2 * wrong));
	ck_assert(rg_vma_has(g.pid, a + (2 * wrong + 2) * RG_PAGE, " mg"));
	hs_remote_stats(r, &st);
	if (_i == 1)
		ck_assert_uint_ge(st.nr_calls, 512);
	else if (r->vectored == HS_YES)
		ck_assert_uint_lt(st.nr_calls, 256);
	ck_assert_uint_eq(st.nr_ops, 512);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Work on pages is cut into pieces; the whole of it is done. */
START_TEST(test_remote_madvise_pieces)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote_call map = { .nr = SYS_mmap,
				      .args = { 0, 64UL << 20, PROT_READ | PROT_WRITE,
						MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, (uint64_t)-1, 0 },
				      .data_arg = -1 };
	struct hs_remote_stats before, after;
	struct hs_remote_op op[2];
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	ck_assert_int_eq(hs_remote_run(r, &map, 1, NULL), 0);
	ck_assert_int_gt(map.result, 0);
	op[0] = (struct hs_remote_op){ (uint64_t)map.result, (uint64_t)map.result + (64UL << 20), MADV_MERGEABLE, 1 };
	op[1] = op[0];
	op[1].advice = MADV_UNMERGEABLE;
	hs_remote_stats(r, &before);
	ck_assert_int_eq(hs_remote_madvise(r, &op[0], 1, NULL), 0);
	ck_assert_int_eq(op[0].result, 0);
	ck_assert(rg_vma_has(g.pid, op[0].end - RG_PAGE, " mg"));
	hs_remote_stats(r, &after);
	ck_assert_uint_eq(after.nr_calls - before.nr_calls, 1);
	ck_assert_int_eq(hs_remote_madvise(r, &op[1], 1, NULL), 0);
	ck_assert_int_eq(op[1].result, 0);
	for (uint64_t at = op[0].start; at < op[0].end; at += 1 << 20)
		ck_assert(!rg_vma_has(g.pid, at, " mg"));
	hs_remote_stats(r, &before);
	ck_assert_uint_ge(before.nr_calls - after.nr_calls, 8);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

START_TEST(test_remote_run_data)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	static char out[16384], in[16384];
	int fds[2] = { -1, -1 };
	struct hs_remote_call calls[] = {
		{ .nr = SYS_getpid, .data_arg = -1, .result = -1 },
		{ .nr = SYS_pipe2, .data_arg = 0, .data = fds, .data_size = sizeof(fds) },
		{ .nr = SYS_close, .args = { 9999 }, .data_arg = -1 },
	};
	uint64_t digest;
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	digest = rg_digest(g.pid, false);
	r = rg_open(g.pid);
	ck_assert_int_eq(hs_remote_run(r, calls, 3, NULL), 0);
	ck_assert_int_eq(calls[0].result, g.pid);
	ck_assert_int_eq(calls[1].result, 0);
	ck_assert_int_ge(fds[0], 3);
	ck_assert_int_eq(fds[1], fds[0] + 1);
	ck_assert_int_eq(calls[2].result, -EBADF);

	memset(out, 0x5a, sizeof(out));
	struct hs_remote_call move[] = {
		{ .nr = SYS_write,
		  .args = { (uint64_t)fds[1], 0, sizeof(out) },
		  .data_arg = 1,
		  .data = out,
		  .data_size = sizeof(out) },
		{ .nr = SYS_read,
		  .args = { (uint64_t)fds[0], 0, sizeof(in) },
		  .data_arg = 1,
		  .data = in,
		  .data_size = sizeof(in) },
		{ .nr = SYS_close, .args = { (uint64_t)fds[0] }, .data_arg = -1 },
		{ .nr = SYS_close, .args = { (uint64_t)fds[1] }, .data_arg = -1 },
	};
	ck_assert_int_eq(hs_remote_run(r, move, 4, NULL), 0);
	ck_assert_int_eq(move[0].result, (long)sizeof(out));
	ck_assert_int_eq(move[1].result, (long)sizeof(in));
	ck_assert_mem_eq(in, out, sizeof(in));
	ck_assert_uint_eq(rg_digest(g.pid, false), digest);

	move[0].data_size = sizeof(out) + 1;
	ck_assert_int_eq(hs_remote_run(r, move, 1, NULL), -EINVAL);
	ck_assert_int_eq(move[0].result, -ECANCELED);
	move[0].data_size = 8;
	move[0].data_arg = 6;
	ck_assert_int_eq(hs_remote_run(r, move, 1, NULL), -EINVAL);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

START_TEST(test_remote_dry)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	uint64_t a = g.report->area;
	struct hs_remote_op op = { a, a + RG_PAGE, MADV_MERGEABLE, 1 };
	struct hs_remote_call call = { .nr = SYS_getpid, .data_arg = -1, .result = 5 };
	struct hs_remote_stats st;
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	ck_assert_int_eq(hs_remote_open_dry(&r, &rg_host, g.pid, NULL), 0);
	ck_assert_int_eq(hs_remote_madvise(r, &op, 1, NULL), 0);
	ck_assert_int_eq(op.result, 0);
	ck_assert_int_eq(hs_remote_run(r, &call, 1, NULL), 0);
	ck_assert_int_eq(call.result, 0);
	ck_assert(!rg_vma_has(g.pid, a, " mg"));
	hs_remote_stats(r, &st);
	ck_assert_uint_eq(st.nr_sessions, 0);
	ck_assert_uint_eq(st.nr_ops, 1);
	hs_remote_close(r);
	hs_remote_close(NULL);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Every byte of the guest is what it was, and so is its list of mappings. */
START_TEST(test_remote_memory_untouched)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote *r;
	uint64_t digest;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	rg_touch(r, g.report->area); /* stack pages that the guest has not touched come to be, all zero */
	digest = rg_digest(g.pid, false);
	for (int i = 0; i < 500; i++)
		rg_touch(r, g.report->area);
	ck_assert_uint_eq(rg_digest(g.pid, false), digest);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* Without the kernel's VMA query (before 6.11) the text of maps says the same. */
START_TEST(test_remote_without_query)
{
	struct rg_guest g = rg_start(rg_body_parked, NULL);
	struct hs_remote *r;

	rg_wait_ready(&g, true);
	r = rg_open(g.pid);
	r->no_query = true;
	for (int i = 0; i < 20; i++)
		rg_touch(r, g.report->area);
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

/* ---- registers ---- */

START_TEST(test_remote_registers)
{
	struct rg_guest g;
	struct hs_remote *r;
	uint64_t turns;

	if (!rg_spin_possible()) {
		printf("SKIPPED test_remote_registers: no AVX2\n");
		return;
	}
	g = rg_start(rg_body_spin, NULL);
	rg_wait_ready(&g, false);
	r = rg_open(g.pid);
	turns = rg_spin_turns(&g);
	for (int i = 0; i < 500; i++) {
		rg_touch(r, g.report->area);
		if (i % 50 == 49) {
			(void)usleep(1000);
			ck_assert(!rg_spin_wrong(&g));
		}
	}
	ck_assert(!rg_spin_wrong(&g));
	ck_assert_uint_gt(rg_spin_turns(&g), turns);
	ck_assert_int_eq(rg_state(g.pid, g.pid), 'R');
	hs_remote_close(r);
	rg_kill(&g);
}
END_TEST

/* ---- a restartable sequence ---- */

struct rseq_cs_abi {
	uint32_t version, flags;
	uint64_t start, length, abort;
} __attribute__((aligned(32)));

/*
 * Half of the time inside a sequence, half outside. The kernel forgets a sequence when it sees the thread elsewhere: so
 * if its pointer is gone at the sequence's end, though no abort was taken, somebody led the thread out and back in.
 */
static int body_rseq(struct rg_report *r)
{
	static struct rseq_cs_abi cs;
	uint64_t *slot = (uint64_t *)(uintptr_t)((char *)__builtin_thread_pointer() + __rseq_offset + 8);

	atomic_store(&r->ready, 1);
	while (!atomic_load(&r->stop)) {
		uint64_t end = 0;

		__asm__ volatile("leaq 1f(%%rip), %%rax\n"
				 "movq %%rax, 8(%[cs])\n"
				 "leaq 2f(%%rip), %%rcx\n"
				 "subq %%rax, %%rcx\n"
				 "movq %%rcx, 16(%[cs])\n"
				 "leaq 3f(%%rip), %%rax\n"
				 "movq %%rax, 24(%[cs])\n"
				 "movq %[cs], (%[slot])\n"
				 "1:\n"
				 "movl $2000000, %%ecx\n"
				 "4: decl %%ecx\n"
				 "jnz 4b\n"
				 "movq (%[slot]), %[end]\n"
				 "2:\n"
				 "jmp 5f\n"
				 ".long 0x53053053\n" /* the signature that the C library registered */
				 "3: movq $1, %[end]\n"
				 "5:\n"
				 : [end] "+r"(end)
				 : [cs] "r"(&cs), [slot] "r"(slot)
				 : "rax", "rcx", "memory");
		*(volatile uint64_t *)slot = 0;
		if (end == 1)
			atomic_fetch_add(&r->handled, 1); /* aborted: well */
		else if (end != (uint64_t)(uintptr_t)&cs)
			RG_WRONG(r);
		for (volatile int i = 0; i < 500000; i++)
			;
		atomic_fetch_add(&r->rounds, 1);
	}
	return atomic_load(&r->wrong) != 0;
}

START_TEST(test_remote_restartable_sequence)
{
	struct rg_guest g;
	struct hs_remote_stats st;
	struct hs_remote *r;

	if (__rseq_size == 0) {
		printf("SKIPPED test_remote_restartable_sequence: the C library registered none\n");
		return;
	}
	g = rg_start(body_rseq, NULL);
	rg_wait_ready(&g, false);
	r = rg_open(g.pid);
	for (int i = 0; i < 100; i++)
		rg_touch(r, g.report->area);
	hs_remote_stats(r, &st);
	ck_assert_uint_eq(atomic_load(&g.report->wrong), 0);
	ck_assert_uint_gt(atomic_load(&g.report->rounds), 0);
	ck_assert_uint_gt(st.nr_retries, 0); /* it was found inside, and left alone */
	hs_remote_close(r);
	ck_assert_int_eq(rg_finish(&g), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote/effects");
	TCase *t = tcase_create("effects");

	if (geteuid() != 0)
		return hs_test_skip("remote/effects", "needs root");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_remote_madvise_effect);
	tcase_add_loop_test(t, test_remote_madvise_many, 0, 2);
	tcase_add_test(t, test_remote_madvise_pieces);
	tcase_add_test(t, test_remote_run_data);
	tcase_add_test(t, test_remote_dry);
	tcase_add_test(t, test_remote_memory_untouched);
	tcase_add_test(t, test_remote_without_query);
	tcase_add_test(t, test_remote_registers);
	tcase_add_test(t, test_remote_restartable_sequence);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
