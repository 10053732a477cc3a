/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes wrong between the look and the move, with the calls in between replaced (the linker's --wrap): swap that is
 * full although it had room, none at all although there was one, a guest that ends, a cgroup that fills up.
 */
#include "tier_scene.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/room.h"
#include "base/swaps.h"
#include "tier/tier_internal.h"

#define NR_HUGE 8

static struct hs_tier *tier;
static struct hs_tier_guest *tg;
static bool room_lies, ends_before, ends_after;

int __real_hs_swaps_next(const struct hs_host *h, struct hs_swap_area *out);
int __wrap_hs_swaps_next(const struct hs_host *h, struct hs_swap_area *out);
int __real_hs_room_in_swap(const struct hs_host *h, pid_t pid, unsigned int keep, struct hs_room *out,
			   struct hs_error *e);
int __wrap_hs_room_in_swap(const struct hs_host *h, pid_t pid, unsigned int keep, struct hs_room *out,
			   struct hs_error *e);
int __real_hs_tier_advise(const struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, int advice);
int __wrap_hs_tier_advise(const struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, int advice);

int __wrap_hs_swaps_next(const struct hs_host *h, struct hs_swap_area *out)
{
	if (!room_lies)
		return __real_hs_swaps_next(h, out);
	*out = (struct hs_swap_area){ .name = "/dev/nowhere", .kind = HS_SWAP_FILE, .all_bytes = 64 * MIB };
	return 0;
}

int __wrap_hs_room_in_swap(const struct hs_host *h, pid_t pid, unsigned int keep, struct hs_room *out,
			   struct hs_error *e)
{
	if (!room_lies)
		return __real_hs_room_in_swap(h, pid, keep, out, e);
	*out = (struct hs_room){ .bytes = 64 * MIB, .limit = 64 * MIB, .left = 64 * MIB, .where = "nowhere" };
	return 0;
}

static void end_guest(void)
{
	uint64_t deadline = 0;

	ck_assert_int_eq(kill(hs_guest_pid(guest), SIGKILL), 0);
	while (hs_guest_alive(guest, &err) == 0)
		ck_assert(before(&deadline, 30));
}

int __wrap_hs_tier_advise(const struct hs_tier_guest *g, hs_huge_nr huge, const struct hs_bits512 *pages, int advice)
{
	int rc;

	if (ends_before)
		end_guest();
	rc = __real_hs_tier_advise(g, huge, pages, advice);
	if (ends_after)
		end_guest();
	return rc;
}

static void start(void)
{
	struct hs_guest_params p = hs_guest_params_default;
	struct hs_tier_config cfg = HS_TIER_CONFIG_DEFAULT;

	p.nr_huge = NR_HUGE;
	p.hot_percent = 0;
	p.bloat_percent = 25;
	p.cold_zero_percent = 0;
	p.rate = 100000;
	p.threads = 1;
	cfg.pages_per_s = 0;
	cfg.min_free_percent = 0;
	start_guest(&p);
	ck_assert_msg(hs_tier_create(&tier, &host, &cfg, &real_time, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_tier_open_guest(&tg, tier, view, &err) == 0, "%s", err.text);
}

static void finish(void)
{
	hs_tier_close_guest(tg);
	hs_tier_destroy(tier);
	stop_guest();
}

static hs_huge_nr cold(uint32_t i)
{
	return view_huge(hs_guest_layout(guest)->cold[i]);
}

/* It fills up between the question and the step: what left is known, what did not is still there. */
START_TEST(test_tier_faults_swap_fills_up)
{
	const struct hs_bits512 all = hs_bits_full();
	struct hs_bits512 now;
	struct hs_tier_moved m;

	swap_on(1024);
	start();
	room_lies = true;
	ck_assert_msg(hs_tier_demote(tg, cold(0), &all, &m, &err) == 0, "%s", err.text);
	ck_assert_uint_le(hs_bits_count(&m.moved), 255);
	ck_assert_uint_eq(m.not_moved[HS_TIER_KEPT], HS_BASE_PER_HUGE - hs_bits_count(&m.moved));
	ck_assert_int_eq(hs_tier_where(tg, cold(0), &now, &err), 0);
	ck_assert(hs_bits_equal(&now, &m.moved));
	check_bytes();
	finish();
	swap_off();
}
END_TEST

/* The kernel reports success, and nothing has left. */
START_TEST(test_tier_faults_no_swap)
{
	const struct hs_bits512 all = hs_bits_full();
	struct hs_huge_sample s;
	struct hs_tier_moved m;

	room_lies = true;
	start();
	ck_assert_msg(hs_tier_demote(tg, cold(0), &all, &m, &err) == 0, "%s", err.text);
	ck_assert(hs_bits_none(&m.moved));
	ck_assert_uint_eq(m.not_moved[HS_TIER_KEPT], HS_BASE_PER_HUGE);
	ck_assert_int_eq(hs_view_sample_huge(view, cold(0), 1, &s, &err), 0);
	ck_assert_uint_eq(s.nr_present, HS_BASE_PER_HUGE);
	ck_assert_uint_eq(s.nr_swapped, 0);
	check_bytes();
	finish();
}
END_TEST

START_TEST(test_tier_faults_guest_ends)
{
	const struct hs_bits512 all = hs_bits_full();
	struct hs_tier_moved m;

	swap_on(32 * 1024);
	start();
	ends_before = _i == 0;
	ends_after = _i == 1;
	if (_i == 2)
		end_guest();
	ck_assert_int_eq(hs_tier_demote(tg, cold(0), &all, &m, &err), -ESRCH);
	ck_assert(hs_bits_none(&m.moved));
	ends_before = ends_after = false;
	ck_assert_int_eq(hs_tier_promote(tg, cold(0), &all, &m, &err), -ESRCH);
	ck_assert_int_eq(hs_tier_where(tg, cold(0), &(struct hs_bits512){ 0 }, &err), -ESRCH);
	hs_tier_close_guest(tg);
	ck_assert_int_eq(hs_tier_open_guest(&tg, tier, view, &err), -ESRCH);
	hs_tier_destroy(tier);
	stop_guest();
	/* What it had in swap goes with it. (Some of others may be there: the kernel has reclaim of its own.) */
	for (uint64_t deadline = 0; swap_used() >= MIB;)
		ck_assert_msg(before(&deadline, 30), "%llu bytes of it are in use", (unsigned long long)swap_used());
	swap_off();
}
END_TEST

/* ---- a cgroup's limit, of whichever version this machine has ---- */

static const struct {
	const char *dir, *limit, *no_limit;
} groups[] = {
	{ "/sys/fs/cgroup/memory/hs-tier-test", "memory.limit_in_bytes", "-1" },
	{ "/sys/fs/cgroup/hs-tier-test", "memory.max", "max" },
};

static bool put(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;
	bool ok;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	ok = f && fputs(text, f) >= 0;
	return f && fclose(f) == 0 && ok;
}

static uint64_t usage(const char *dir)
{
	static const char *const names[] = { "memory.usage_in_bytes", "memory.current" };
	unsigned long long bytes = 0;

	for (size_t i = 0; i < 2 && !bytes; i++) {
		char path[256];
		FILE *f;

		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		f = fopen(path, "re");
		if (f && fscanf(f, "%llu", &bytes) != 1)
			bytes = 0;
		if (f)
			(void)fclose(f);
	}
	return bytes;
}

/* Index into groups; -1: this machine has no memory cgroup that we may make. */
static int make_group(void)
{
	for (int i = 0; i < 2; i++) {
		char path[256];

		(void)snprintf(path, sizeof(path), "%s/%s", groups[i].dir, groups[i].limit);
		if ((mkdir(groups[i].dir, 0755) == 0 || errno == EEXIST) && access(path, W_OK) == 0)
			return i;
		(void)rmdir(groups[i].dir);
	}
	return -1;
}

/* What comes back would be charged: it stays where it is, the host may have as much as it will. */
START_TEST(test_tier_faults_cgroup_without_room)
{
	const struct hs_bits512 all = hs_bits_full();
	const int group = make_group();
	struct hs_tier_moved m;
	uint64_t deadline = 0;
	char text[32];

	if (group < 0) {
		(void)printf("SKIPPED test_tier_faults_cgroup_without_room: there is no memory cgroup to be made\n");
		return;
	}
	swap_on(32 * 1024);
	(void)snprintf(text, sizeof(text), "%d", (int)getpid());
	ck_assert(put(groups[group].dir, "cgroup.procs", text)); /* the guest is born in it */
	start();
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_msg(hs_tier_demote(tg, cold(i), &all, &m, &err) == 0, "%s", err.text);
	ck_assert(hs_bits_any(&m.moved));
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)usage(groups[group].dir));
	ck_assert(put(groups[group].dir, groups[group].limit, text));
	/* The limit keeps a page or so, and some cache may go: until that is used up. */
	while (hs_tier_promote(tg, cold(3), &all, &m, &err) != -ENOMEM && hs_bits_any(&m.moved))
		ck_assert(before(&deadline, 30));
	ck_assert_int_eq(hs_tier_promote(tg, cold(2), &all, &m, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, groups[group].limit));
	ck_assert(put(groups[group].dir, groups[group].limit, groups[group].no_limit));
	ck_assert_msg(hs_tier_promote(tg, cold(2), &all, &m, &err) == 0, "%s", err.text);
	ck_assert(hs_bits_any(&m.moved));
	check_bytes();
	finish();
	swap_off();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_tier_faults_swap_fills_up);
	tcase_add_test(t, test_tier_faults_no_swap);
	tcase_add_loop_test(t, test_tier_faults_guest_ends, 0, 3);
	tcase_add_test(t, test_tier_faults_cgroup_without_room);
}

int main(void)
{
	const int rc = tier_scene_main("tier/faults", add);

	for (int i = 0; i < 2; i++)
		(void)rmdir(groups[i].dir);
	return rc;
}
