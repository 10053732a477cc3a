/* SPDX-License-Identifier: Apache-2.0 */
/* What the suites of both kinds of guest check alike. */
#ifndef HS_TESTS_GUEST_GUEST_CHECKS_H
#define HS_TESTS_GUEST_GUEST_CHECKS_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"
#include "hs_test.h"

#define OK(call)                                                                                                       \
	do {                                                                                                           \
		int ok_ret = (call);                                                                                   \
		ck_assert_msg(ok_ret == 0, #call ": %d: %s", ok_ret, err.text);                                        \
	} while (0)

static inline void sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&t, NULL);
}

static inline void read_page(const struct hs_guest *g, uint32_t page, void *buf)
{
	uint64_t at = hs_guest_hva(g, page / HS_BASE_PER_HUGE).v + page % HS_BASE_PER_HUGE * HS_BASE_SIZE;
	struct iovec local = { buf, HS_BASE_SIZE };
	struct iovec remote = { (void *)(uintptr_t)at, HS_BASE_SIZE };

	ck_assert_int_eq(process_vm_readv(hs_guest_pid(g), &local, 1, &remote, 1, 0), HS_BASE_SIZE);
}

/* Of pages all over two guests: equal exactly where the layout says so. */
static inline void check_identical(const struct hs_guest *a, const struct hs_guest *b)
{
	const struct hs_guest_layout *l = hs_guest_layout(a);
	uint32_t nr_same = 0, nr_other = 0;
	char x[HS_BASE_SIZE], y[HS_BASE_SIZE];

	for (uint32_t i = 0; i < l->nr_pages; i += 37) {
		bool same = l->pages[i].id == hs_guest_layout(b)->pages[i].id && !l->pages[i].writable;

		read_page(a, i, x);
		read_page(b, i, y);
		ck_assert_msg(!memcmp(x, y, sizeof(x)) == same, "page %u", i);
		nr_same += same;
		nr_other += !same;
	}
	ck_assert_uint_gt(nr_same, 10);
	ck_assert_uint_gt(nr_other, 10);
}

/* Every command once, and that memory is what it should be all the while. */
static inline void check_commands(struct hs_guest *g)
{
	const struct hs_guest_layout *l = hs_guest_layout(g);
	struct hs_guest_counts before, after;
	struct hs_guest_verified v;
	struct hs_error err = { "" };
	struct hs_guest_stats s;
	struct hs_guest_memory m;
	uint32_t done;

	OK(hs_guest_stats(g, &s, &err));
	sleep_ms(500);
	OK(hs_guest_stats(g, &s, &err));
	ck_assert_uint_gt(s.accesses, 0);
	ck_assert_uint_gt(s.writes, 0);
	ck_assert_uint_lt(s.writes, s.accesses / 10);
	ck_assert_uint_eq(s.accesses, s.batches * l->params.batch);
	ck_assert_uint_ge(s.p99_ns, s.p50_ns);
	ck_assert_uint_gt(s.p50_ns, 0);
	ck_assert_uint_gt(s.max_ns, 0);
	ck_assert_uint_gt(s.sweep_ns, 0);
	ck_assert_uint_ge(s.elapsed_ns, 100000000);
	ck_assert_uint_eq(s.hot_errors, 0);

	OK(hs_guest_verify(g, &v, &err));
	ck_assert_uint_eq(v.checked_pages, l->nr_pages);
	ck_assert_uint_eq(v.bad_pages, 0);
	ck_assert_uint_eq(v.first_bad, UINT32_MAX);
	OK(hs_guest_verify_from_host(g, &v, &err));
	ck_assert_uint_eq(v.checked_pages, l->nr_pages);
	ck_assert_uint_eq(v.bad_pages, 0);

	hs_guest_layout_count(l, &before);
	OK(hs_guest_write(g, 77, 3, &done, &err));
	ck_assert_uint_eq(done, 77);
	hs_guest_layout_count(l, &after);
	ck_assert_uint_eq(after.nr_cold_identical, before.nr_cold_identical - 77);
	OK(hs_guest_heat(g, 2, &done, &err));
	ck_assert_uint_eq(done, 2);
	sleep_ms(50);
	OK(hs_guest_cool(g, &err));
	OK(hs_guest_verify(g, &v, &err));
	ck_assert_uint_eq(v.bad_pages, 0);
	OK(hs_guest_verify_from_host(g, &v, &err));
	ck_assert_uint_eq(v.bad_pages, 0);

	OK(hs_guest_pause(g, &err));
	OK(hs_guest_stats(g, &s, &err));
	sleep_ms(50);
	OK(hs_guest_stats(g, &s, &err));
	ck_assert_uint_eq(s.accesses, 0);
	ck_assert_uint_eq(s.elapsed_ns, 0);
	OK(hs_guest_resume(g, &err));

	OK(hs_guest_memory(hs_guest_pid(g), &m, &err));
	ck_assert_uint_ge(m.rss_bytes, l->nr_huge * HS_HUGE_SIZE);
	ck_assert_uint_ge(m.huge_bytes, l->nr_huge * HS_HUGE_SIZE);
	ck_assert_uint_gt(m.cpu_ms, 0);
	OK(hs_guest_alive(g, &err));
}

/* Flips one byte from outside: both checks have to find it, and find it there. */
static inline void check_finds_damage(struct hs_guest *g, uint32_t page)
{
	uint64_t at = hs_guest_hva(g, page / HS_BASE_PER_HUGE).v + page % HS_BASE_PER_HUGE * HS_BASE_SIZE + 1234;
	struct iovec remote = { (void *)(uintptr_t)at, 1 };
	struct hs_guest_verified v;
	struct hs_error err = { "" };
	unsigned char byte;
	struct iovec local = { &byte, 1 };

	ck_assert_int_eq(process_vm_readv(hs_guest_pid(g), &local, 1, &remote, 1, 0), 1);
	byte ^= 0x10;
	ck_assert_int_eq(process_vm_writev(hs_guest_pid(g), &local, 1, &remote, 1, 0), 1);
	OK(hs_guest_verify(g, &v, &err));
	ck_assert_uint_eq(v.bad_pages, 1);
	ck_assert_uint_eq(v.first_bad, page);
	OK(hs_guest_verify_from_host(g, &v, &err));
	ck_assert_uint_eq(v.bad_pages, 1);
	ck_assert_uint_eq(v.first_bad, page);
}

/* A process that starts a guest is killed: the guest has to end too. */
static inline void check_dies_with_starter(const struct hs_guest_config *cfg)
{
	struct pollfd p = { .events = POLLIN };
	int ends[2];
	pid_t starter, guest = 0;

	ck_assert_int_eq(pipe(ends), 0);
	starter = fork();
	ck_assert_int_ge(starter, 0);
	if (starter == 0) {
		struct hs_guest *g;

		if (hs_guest_start(&g, cfg, NULL))
			_exit(1);
		guest = hs_guest_pid(g);
		(void)!write(ends[1], &guest, sizeof(guest));
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ends[0], &guest, sizeof(guest)), sizeof(guest));
	p.fd = (int)syscall(SYS_pidfd_open, guest, 0);
	ck_assert_int_ge(p.fd, 0);
	ck_assert_int_eq(poll(&p, 1, 100), 0);
	ck_assert_int_eq(kill(starter, SIGKILL), 0);
	ck_assert_int_eq(waitpid(starter, NULL, 0), starter);
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
}

/* A guest that is killed: every call says so and how. */
static inline void check_killed(struct hs_guest *g)
{
	struct hs_guest_stats s;
	struct hs_error err = { "" };

	ck_assert_int_eq(kill(hs_guest_pid(g), SIGKILL), 0);
	ck_assert_int_eq(hs_guest_stats(g, &s, &err), -EPIPE);
	ck_assert_ptr_nonnull(strstr(err.text, "signal 9"));
	ck_assert_int_eq(hs_guest_alive(g, &err), -EPIPE);
	ck_assert_int_eq(hs_guest_verify_from_host(g, &(struct hs_guest_verified){ 0 }, &err), -ESRCH);
}

#endif
