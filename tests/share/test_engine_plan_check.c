/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariant that ksmd runs under: what is mergeable on the host is what was planned, and no userfaultfd watches it.
 * Held before a burst, in it and after it, address space by address space.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine_scene.h"
#include "share/engine_internal.h"
#include "share/mergeable.h"

/* A process that marks its memory mergeable after so many milliseconds. */
static pid_t start_other(unsigned int after_ms)
{
	const size_t len = 4 * HS_HUGE_SIZE;
	pid_t pid = fork();
	char *mem;

	ck_assert_int_ge(pid, 0);
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)usleep(after_ms * 1000);
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		_exit(1);
	memset(mem, 7, len);
	if (madvise(mem, len, MADV_MERGEABLE))
		_exit(1);
	for (;;)
		(void)pause();
}

static void end(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static uint64_t all_mergeable(const struct test_guest *g)
{
	struct hs_mergeable look;
	uint64_t bytes = 0;

	ck_assert_msg(hs_mergeable_look(&host, g->pid, &look, &err) == 0, "%s", err.text);
	for (size_t i = 0; i < look.nr; i++)
		bytes += look.vma[i].mergeable ? look.vma[i].end - look.vma[i].start : 0;
	hs_mergeable_finish(&look);
	return bytes;
}

/* A guest's VMM marks memory that we know nothing of: ksmd does not see it, and the mark is back in the end. _i: the
 * rule. */
START_TEST(test_share_engine_plan_check_new_region)
{
	struct hs_share_unshared u;
	struct test_smaps m;

	cfg.foreign = (uint8_t)(_i ? HS_FOREIGN_CLAIM : HS_FOREIGN_REFUSE);
	start_guests();
	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		test_guest_map_mergeable(&guests[i], 6000000); /* the same in all */
	ck_assert_uint_eq(all_mergeable(&guests[0]), 2 * HS_HUGE_SIZE);
	share_all();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		m = test_guest_smaps(&guests[i]);
		ck_assert_uint_gt(m.ksm_bytes, 0);
		ck_assert_uint_eq(hs_test_smaps_kb(guests[i].pid, "KSM") << 10, m.ksm_bytes);
		ck_assert_uint_eq(all_mergeable(&guests[i]), m.mg_bytes);
		ck_assert_int_eq(hs_share_unshare(share, ids[i], NULL, 0, &u, &err), 0);
	}
	close_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_uint_eq(all_mergeable(&guests[i]), 2 * HS_HUGE_SIZE);
	check_intact();
	check_knobs();
}
END_TEST

/* A VM starts in the middle of a burst: ksmd is stopped within a second or so, and the error names it. */
START_TEST(test_share_engine_plan_check_in_a_burst)
{
	struct hs_share_burst b;
	char name[32];
	pid_t other;

	cfg.foreign = HS_FOREIGN_REFUSE;
	cfg.burst_pages = 20; /* so that its end is far */
	start_guests();
	open_engine();
	apply_all();
	other = start_other(500);
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -EBUSY);
	ck_assert_uint_eq(ksm_run(), 0);
	(void)snprintf(name, sizeof(name), "pid %d,", (int)other);
	ck_assert_msg(strstr(err.text, name) != NULL, "%s", err.text);
	ck_assert(!b.settled);
	ck_assert_uint_lt(b.elapsed_ms, 5000);
	/* Still there: nothing is run. */
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -EBUSY);
	ck_assert_uint_eq(b.elapsed_ms, 0);
	end(other);
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* After a restart the guests come one by one: what an earlier run marked in them is no obstacle that is foreign. */
START_TEST(test_share_engine_plan_check_ready_at_start)
{
	char name[32];
	pid_t other;

	cfg.foreign = HS_FOREIGN_REFUSE;
	start_guests();
	open_engine();
	share_all();
	hs_share_destroy(share);
	ck_assert_msg(hs_share_create(&share, &host, &cfg, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_share_ready(share, &err) == 0, "%s", err.text);
	other = start_other(0);
	for (int ms = 0; hs_share_ready(share, &err) == 0; ms++) {
		ck_assert_int_lt(ms, 20000);
		(void)usleep(1000);
	}
	(void)snprintf(name, sizeof(name), "pid %d,", (int)other);
	ck_assert_msg(strstr(err.text, name) != NULL, "%s", err.text);
	(void)snprintf(name, sizeof(name), "pid %d,", (int)guests[0].pid);
	ck_assert_msg(strstr(err.text, name) == NULL, "%s", err.text);
	end(other);
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

static char stack[65536];

static int cleaner(void *arg)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		(void)pause();
	return arg != NULL;
}

/* A second process in a guest's address space (QEMU's -async-teardown) is no stranger. _i: from smaps. */
START_TEST(test_share_engine_plan_check_one_space)
{
	struct hs_mergeable look;
	struct hs_share_burst b;
	pid_t first, second = 0;
	uint64_t space;
	int pipes[2];

	/* This process is the mergeable one, and a helper shares its space. */
	hs_mergeable_force_slow(_i);
	ck_assert_int_eq(pipe(pipes), 0);
	first = fork();
	ck_assert_int_ge(first, 0);
	if (!first) {
		char *mem = mmap(NULL, HS_HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		pid_t pid;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (mem == MAP_FAILED || madvise(mem, HS_HUGE_SIZE, MADV_MERGEABLE))
			_exit(1);
		pid = clone(cleaner, stack + sizeof(stack) - 64, CLONE_VM, NULL);
		(void)!write(pipes[1], &pid, sizeof(pid));
		for (;;)
			(void)pause();
	}
	ck_assert_int_eq(read(pipes[0], &second, sizeof(second)), sizeof(second));
	ck_assert_msg(hs_mergeable_look(&host, 0, &look, &err) == 0, "%s", err.text);
	ck_assert_int_eq(look.slow, _i != 0);
	space = hs_mergeable_space(&look, first);
	ck_assert_uint_ne(space, 0);
	ck_assert_uint_eq(hs_mergeable_space(&look, second), space);
	ck_assert_uint_eq(hs_mergeable_space(&look, getpid()), 0);
	hs_mergeable_finish(&look);
	{
		struct hs_ksm_foreign *found;
		size_t nr, of_it = 0;

		ck_assert_int_eq(hs_ksm_find_foreign(&host, &second, 1, &found, &nr, &err), 0);
		for (size_t i = 0; i < nr; i++)
			of_it += found[i].pid == first || found[i].pid == second;
		ck_assert_uint_eq(of_it, 0);
		free(found);
	}
	ck_assert_int_eq(kill(second, SIGKILL), 0);
	end(first);
	/* The burst goes by the same. */
	cfg.foreign = HS_FOREIGN_REFUSE;
	start_guests();
	open_engine();
	apply_all();
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	close_engine();
	hs_mergeable_force_slow(false);
}
END_TEST

/* Writes to every page; each has to be reported to whoever write-protected it. */
static void write_all(struct test_guest *g)
{
	for (uint32_t p = 0; p < g->nr_pages; p++)
		test_guest_write(g, p, 3000000 + p);
	ck_assert_uint_eq(test_guest_events(g), g->nr_pages);
}

/* A background snapshot runs on one guest: nothing of it is marked, and the others are shared. */
START_TEST(test_share_engine_plan_check_armed_before)
{
	struct hs_share_applied a;
	struct hs_share_burst b;
	int rc;

	cfg.foreign = HS_FOREIGN_REFUSE;
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		guests[i].advice = TEST_GUEST_NOHUGEPAGE; /* base pages: each write is reported */
		test_guest_start(&guests[i]);
	}
	open_engine();
	rc = (int)test_guest_arm(&guests[0]);
	ck_assert_msg(rc == 0, "userfaultfd: %s", strerror(rc));
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		ck_assert_int_eq(want_all(i), 0);
		ck_assert_msg(hs_share_apply(share, ids[i], &a, &err) == 0, "%s", err.text);
		ck_assert_int_eq(a.pages_marked != 0, i != 0);
	}
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes, 0);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).ksm_bytes, 0);
	ck_assert_uint_gt(test_guest_smaps(&guests[1]).ksm_bytes, 0);
	write_all(&guests[0]);
	check_intact();
	close_engine();
}
END_TEST

/* The snapshot begins when the guest is shared already: no burst over it, its marks go, and no write is lost. */
START_TEST(test_share_engine_plan_check_armed_after)
{
	struct hs_share_burst b;

	if (!hs_engine_unmerge_keeps_uffd())
		return;
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		guests[i].advice = TEST_GUEST_NOHUGEPAGE;
		test_guest_start(&guests[i]);
	}
	open_engine();
	share_all();
	ck_assert_uint_eq(test_guest_arm(&guests[0]), 0);
	ck_assert_int_eq(want_all(1), 0);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes, 0);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).ksm_bytes, 0);
	ck_assert_uint_gt(test_guest_smaps(&guests[1]).ksm_bytes, 0);
	write_all(&guests[0]);
	check_intact();
	close_engine();
}
END_TEST

/* Both ways of looking see the same. */
START_TEST(test_share_engine_plan_check_looks_agree)
{
	struct hs_mergeable fast, slow;

	start_guests();
	open_engine();
	apply_all();
	test_guest_map_mergeable(&guests[0], 6000000);
	ck_assert_msg(hs_mergeable_look(&host, guests[0].pid, &fast, &err) == 0, "%s", err.text);
	hs_mergeable_force_slow(true);
	ck_assert_msg(hs_mergeable_look(&host, guests[0].pid, &slow, &err) == 0, "%s", err.text);
	hs_mergeable_force_slow(false);
	ck_assert(slow.slow);
	ck_assert_uint_gt(fast.nr, 0);
	ck_assert_uint_eq(fast.nr, slow.nr);
	for (size_t i = 0; i < fast.nr; i++) {
		ck_assert_uint_eq(fast.vma[i].start, slow.vma[i].start);
		ck_assert_uint_eq(fast.vma[i].end, slow.vma[i].end);
		ck_assert_int_eq(fast.vma[i].mergeable, slow.vma[i].mergeable);
		ck_assert_int_eq(fast.vma[i].armed, slow.vma[i].armed);
	}
	hs_mergeable_finish(&fast);
	hs_mergeable_finish(&slow);
	close_engine();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_loop_test(t, test_share_engine_plan_check_new_region, 0, 2);
	tcase_add_test(t, test_share_engine_plan_check_in_a_burst);
	tcase_add_test(t, test_share_engine_plan_check_ready_at_start);
	tcase_add_loop_test(t, test_share_engine_plan_check_one_space, 0, 2);
	tcase_add_test(t, test_share_engine_plan_check_armed_before);
	tcase_add_test(t, test_share_engine_plan_check_armed_after);
	tcase_add_test(t, test_share_engine_plan_check_looks_agree);
}

int main(void)
{
	return engine_scene_main("share/engine_plan_check", add);
}
