/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests below a limit of a memory cgroup, on a host that has gigabytes free: what ends sharing asks the cgroup first,
 * takes steps that fit, and leaves the rest shared with the reason. Nobody is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "engine_scene.h"

#define MIB (UINT64_C(1) << 20)

static char parent[PATH_MAX], group[PATH_MAX]; /* the test's own cgroup, and the one that it makes */
static bool is_v1;

static void put(const char *dir, const char *name, uint64_t value)
{
	ck_assert_int_eq(hs_hostfile_write_u64(dir, name, value), 0);
}

static uint64_t used(void)
{
	uint64_t bytes = 0;

	ck_assert_int_eq(hs_hostfile_u64(group, is_v1 ? "memory.usage_in_bytes" : "memory.current", &bytes), 0);
	return bytes;
}

static void limit(uint64_t bytes)
{
	put(group, is_v1 ? "memory.limit_in_bytes" : "memory.max", bytes);
}

/* Where memory is limited on this machine, and where this process is in it. NULL, or why there is nothing to test. */
static const char *find_hierarchy(void)
{
	char text[8192], *line, *rest = text;

	if (hs_hostfile_read("/proc/self", "cgroup", text, sizeof(text)) <= 0)
		return "no cgroups";
	while ((line = strsep(&rest, "\n"))) {
		char *path = strrchr(line, ':');

		if (path && strstr(line, ":memory:")) {
			(void)snprintf(parent, sizeof(parent), "/sys/fs/cgroup/memory%s", path + 1);
			(void)snprintf(group, sizeof(group), "/sys/fs/cgroup/memory/hs-test-room-%d", (int)getpid());
			is_v1 = true;
			return access(parent, W_OK) ? "its memory cgroup cannot be written" : NULL;
		}
		if (path && !strncmp(line, "0::", 3))
			(void)snprintf(parent, sizeof(parent), "/sys/fs/cgroup%s", path + 1);
	}
	(void)snprintf(group, sizeof(group), "/sys/fs/cgroup/hs-test-room-%d", (int)getpid());
	if (hs_hostfile_read("/sys/fs/cgroup", "cgroup.subtree_control", text, sizeof(text)) < 0 ||
	    !strstr(text, "memory"))
		return "no cgroup limits memory here";
	return access(parent, W_OK) ? "its cgroup cannot be written" : NULL;
}

/* Guests whose memory is charged to the new cgroup: they are born in it. */
static void start_guests_in_group(void)
{
	(void)rmdir(group); /* of a test that failed */
	ck_assert_int_eq(mkdir(group, 0755), 0);
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
	}
	put(group, "cgroup.procs", (uint64_t)getpid());
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		test_guest_start(&guests[i]);
	put(parent, "cgroup.procs", (uint64_t)getpid());
}

static void end_guests(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		test_guest_kill(&guests[i]);
	for (int i = 0; rmdir(group) && i < 100; i++)
		(void)usleep(20000);
}

static void check_alive(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_int_eq(kill(guests[i].pid, 0), 0);
	check_intact();
}

START_TEST(test_share_engine_room_unshare)
{
	struct hs_share_unshared u;
	struct hs_ledger before, now;

	start_guests_in_group();
	open_engine();
	share_all();
	hs_share_ledger(share, ids[0], &before);
	ck_assert_uint_gt(before.shared * HS_BASE_SIZE, 6 * MIB);
	/* Nothing fits. */
	limit(used() + MIB);
	ck_assert_int_eq(hs_share_unshare(share, ids[0], NULL, 0, &u, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, group));
	ck_assert_uint_eq(u.nr_collapsed + u.nr_failed, 0);
	check_alive();
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &now);
	ck_assert_uint_eq(now.shared, before.shared);
	/* Some of it fits, and what does not stays shared. */
	cfg.min_free_percent = 0;
	limit(used() + 5 * MIB + used() / 16);
	ck_assert_int_eq(hs_share_unshare(share, ids[0], NULL, 0, &u, &err), -ENOMEM);
	ck_assert_uint_gt(u.nr_collapsed, 0);
	ck_assert_uint_lt(u.nr_collapsed, u.nr_huge);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &now);
	ck_assert_uint_gt(now.shared, 0);
	ck_assert_uint_lt(now.shared, before.shared);
	check_alive();
	/* With room, all of it. */
	limit(used() + 256 * MIB);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
	hs_share_ledger(share, UINT32_MAX, &now);
	ck_assert_uint_eq(now.shared + now.marked, 0);
	check_alive();
	close_engine();
	end_guests();
	check_knobs();
}
END_TEST

/* What is not wanted any more is ended as far as there is room for it. */
START_TEST(test_share_engine_room_apply)
{
	const struct hs_bits512 none = { 0 };
	struct hs_share_applied a;
	struct hs_ledger before, now;

	start_guests_in_group();
	open_engine();
	share_all();
	hs_share_ledger(share, ids[0], &before);
	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++)
		ck_assert_int_eq(hs_share_want(share, ids[0], h, &none, NULL), 0);
	limit(used() + 3 * MIB + used() / 16);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_gt(a.pages_pending, 0);
	ck_assert_uint_lt(a.pages_pending, before.shared);
	ck_assert_ptr_nonnull(strstr(a.pending_reason, group));
	ck_assert_uint_ge(test_guest_smaps(&guests[0]).mg_bytes, a.pages_pending * HS_BASE_SIZE);
	check_alive();
	limit(used() + 256 * MIB);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.pages_pending, 0);
	ck_assert_str_eq(a.pending_reason, "");
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &now);
	ck_assert_uint_eq(now.shared + now.marked, 0);
	check_alive();
	close_engine();
	end_guests();
}
END_TEST

static void add(TCase *t)
{
	tcase_add_test(t, test_share_engine_room_unshare);
	tcase_add_test(t, test_share_engine_room_apply);
}

int main(void)
{
	const char *why = find_hierarchy();
	int rc;

	if (geteuid() == 0 && why)
		return hs_test_skip("share/engine_room", why);
	rc = engine_scene_main("share/engine_room", add);
	(void)rmdir(group);
	return rc;
}
