/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory a process may take: the host's, and every cgroup's above it, v1 and v2, from trees of files. */
#include "hs_test.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/room.h"
#include "base/swaps.h"

#define MIB (UINT64_C(1) << 20)

static char dir[64], proc_dir[96], sys_dir[96];
static struct hs_host host;
static struct hs_error err;

/* Writes root/name, with the folders above it. */
static void put(const char *root, const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	for (char *p = path + strlen(dir); (p = strchr(p + 1, '/'));) {
		*p = '\0';
		ck_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
		*p = '/';
	}
	f = fopen(path, "we");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/hs-room-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(proc_dir, sizeof(proc_dir), "%s/proc", dir);
	(void)snprintf(sys_dir, sizeof(sys_dir), "%s/sys", dir);
	host = (struct hs_host){ .proc_dir = proc_dir, .sys_dir = sys_dir };
	put(proc_dir, "meminfo",
	    "MemTotal: 1048576 kB\nMemFree: 7 kB\nMemAvailable: 524288 kB\n"); /* 1 GiB, half of it */
}

static void teardown(void)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static uint64_t room(pid_t pid, unsigned int keep_percent, const char *where)
{
	struct hs_room r;

	ck_assert_msg(hs_room_of(&host, pid, keep_percent, &r, &err) == 0, "%s", err.text);
	ck_assert_msg(strstr(r.where, where) != NULL, "%s", r.where);
	return r.bytes;
}

START_TEST(test_base_room_host)
{
	struct hs_room r;

	ck_assert_uint_eq(room(0, 0, "the host"), 512 * MIB);
	ck_assert_uint_eq(room(0, 100, "the host"), 0);
	ck_assert_uint_eq(room(0, 10, "the host"), 512 * MIB - (1024 * MIB / 100 * 10));
	ck_assert_int_eq(hs_room_of(&host, 7, 0, &r, &err), -ESRCH);
	put(proc_dir, "7/comm", "a kernel without cgroups\n");
	ck_assert_uint_eq(room(7, 0, "the host"), 512 * MIB);
	put(proc_dir, "meminfo", "MemTotal: 1048576 kB\n");
	ck_assert_int_eq(hs_room_of(&host, 0, 0, &r, &err), -ENODATA);
}
END_TEST

START_TEST(test_base_room_v2)
{
	put(proc_dir, "7/cgroup", "0::/machine.slice/vm1\n");
	put(sys_dir, "fs/cgroup/cgroup.procs", ""); /* the root has no limit */
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.max", "max\n");
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.high", "max\n");
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.current", "209715200\n");
	ck_assert_uint_eq(room(7, 0, "the host"), 512 * MIB);
	/* The level above has one: 300 MiB, 200 used. */
	put(sys_dir, "fs/cgroup/machine.slice/memory.max", "314572800\n");
	put(sys_dir, "fs/cgroup/machine.slice/memory.current", "209715200\n");
	ck_assert_uint_eq(room(7, 0, "machine.slice/memory.max"), 100 * MIB);
	ck_assert_uint_eq(room(7, 10, "machine.slice/memory.max"), 70 * MIB);
	/* Clean cache that was not used of late counts half. */
	put(sys_dir, "fs/cgroup/machine.slice/memory.stat",
	    "anon 1\nfile 99999999\ninactive_file 52428800\nfile_dirty 10485760\nfile_writeback 0\n");
	ck_assert_uint_eq(room(7, 0, "machine.slice/memory.max"), 120 * MIB);
	/* Above memory.high the guest would be throttled. */
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.high", "219152384\n");
	ck_assert_uint_eq(room(7, 0, "vm1/memory.high"), 9 * MIB);
	/* Full, and over. */
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.max", "209715200\n");
	ck_assert_uint_eq(room(7, 0, "vm1/memory.max"), 0);
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.max", "0\n");
	ck_assert_uint_eq(room(7, 0, "vm1/memory.max"), 0);
}
END_TEST

START_TEST(test_base_room_v1)
{
	put(proc_dir, "7/cgroup", "3:cpuset:/\n4:cpu,memory:/qemu/vm1\n1:name=systemd:/x\n0::/other\n");
	put(sys_dir, "fs/cgroup/unified/other/memory.max", "1\n"); /* v1 has the controller */
	put(sys_dir, "fs/cgroup/unified/other/memory.current", "1\n");
	put(sys_dir, "fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put(sys_dir, "fs/cgroup/memory/memory.usage_in_bytes", "5\n");
	put(sys_dir, "fs/cgroup/memory/qemu/memory.limit_in_bytes", "251658240\n");
	put(sys_dir, "fs/cgroup/memory/qemu/memory.usage_in_bytes", "209715200\n");
	put(sys_dir, "fs/cgroup/memory/qemu/vm1/memory.limit_in_bytes", "9223372036854771712\n");
	put(sys_dir, "fs/cgroup/memory/qemu/vm1/memory.usage_in_bytes", "209715200\n");
	ck_assert_uint_eq(room(7, 0, "qemu/memory.limit_in_bytes"), 40 * MIB);
	put(sys_dir, "fs/cgroup/memory/qemu/memory.stat",
	    "inactive_file 5\ntotal_inactive_file 4194304\ntotal_dirty 0\ntotal_writeback 0\n");
	ck_assert_uint_eq(room(7, 0, "qemu/memory.limit_in_bytes"), 42 * MIB);
	/* Memory and swap together. */
	put(sys_dir, "fs/cgroup/memory/qemu/vm1/memory.memsw.limit_in_bytes", "211812352\n");
	put(sys_dir, "fs/cgroup/memory/qemu/vm1/memory.memsw.usage_in_bytes", "209715200\n");
	ck_assert_uint_eq(room(7, 0, "vm1/memory.memsw.limit_in_bytes"), 2 * MIB);
}
END_TEST

/* What cannot be known is no room: a cgroup outside of our namespace, removed, or with files that say nothing. */
START_TEST(test_base_room_unknown)
{
	struct hs_room r;

	put(sys_dir, "fs/cgroup/vm1/memory.max", "1000\n");
	put(proc_dir, "7/cgroup", "0::/../vm1\n");
	ck_assert_int_eq(hs_room_of(&host, 7, 0, &r, &err), -ENODATA);
	put(proc_dir, "7/cgroup", "0::/vm2 (deleted)\n");
	ck_assert_int_eq(hs_room_of(&host, 7, 0, &r, &err), -ENODATA);
	put(proc_dir, "7/cgroup", "0::/vm1\n");
	ck_assert_int_eq(hs_room_of(&host, 7, 0, &r, &err), -ENOENT); /* no memory.current */
	put(sys_dir, "fs/cgroup/vm1/memory.current", "500\n");
	ck_assert_uint_eq(room(7, 0, "vm1/memory.max"), 500);
	put(sys_dir, "fs/cgroup/vm1/memory.max", "lots\n");
	ck_assert_int_eq(hs_room_of(&host, 7, 0, &r, &err), -EINVAL);
	host.sys_dir = NULL;
	ck_assert_int_eq(hs_room_of(&host, 7, 0, &r, &err), -ENODATA);
}
END_TEST

/* v1's hierarchy at another place than the usual one: the list of mounts has it. */
START_TEST(test_base_room_v1_elsewhere)
{
	char mounts[PATH_MAX + 256];
	struct hs_room r;

	put(proc_dir, "7/cgroup", "4:memory:/vm1\n0::/\n");
	ck_assert_int_eq(hs_room_of(&host, 7, 0, &r, &err), -ENODATA);
	ck_assert_ptr_nonnull(strstr(err.text, "mount the cgroup file system"));
	put(sys_dir, "else/where/vm1/memory.limit_in_bytes", "104857600\n");
	put(sys_dir, "else/where/vm1/memory.usage_in_bytes", "52428800\n");
	(void)snprintf(mounts, sizeof(mounts),
		       "31 30 0:28 / %s/else/cpu rw - cgroup cgroup rw,cpu,memory_not\n"
		       "32 30 0:29 /part %s/else/part rw - cgroup cgroup rw,memory\n"
		       "33 30 0:31 / %s/else/where rw,relatime shared:9 - cgroup cgroup rw,memory\n",
		       sys_dir, sys_dir, sys_dir);
	put(proc_dir, "self/mountinfo", mounts);
	ck_assert_uint_eq(room(7, 0, "vm1/memory.limit_in_bytes"), 50 * MIB);
}
END_TEST

static uint64_t in_swap(pid_t pid, unsigned int keep_percent, const char *where)
{
	struct hs_room r;

	ck_assert_msg(hs_room_in_swap(&host, pid, keep_percent, &r, &err) == 0, "%s", err.text);
	ck_assert_msg(strstr(r.where, where) != NULL, "%s", r.where);
	return r.bytes;
}

/* Of swap: all areas together, and each cgroup's own limit; v1 has none of swap alone. */
START_TEST(test_base_room_in_swap)
{
	struct hs_room r;

	put(proc_dir, "7/cgroup", "0::/machine.slice/vm1\n");
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.swap.max", "max\n");
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.swap.current", "4096\n");
	ck_assert_uint_eq(in_swap(7, 0, "there is none"), 0); /* no such file */
	put(proc_dir, "swaps", "Filename Type Size Used Priority\n");
	ck_assert_uint_eq(in_swap(7, 0, "there is none"), 0);
	put(proc_dir, "swaps",
	    "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 102400 2048 100\n/swap file 10240 0 -2\n");
	ck_assert_uint_eq(in_swap(7, 0, "swap"), 108 * MIB);
	ck_assert_uint_eq(in_swap(7, 100, "swap"), 0);
	put(sys_dir, "fs/cgroup/machine.slice/memory.swap.max", "20971520\n");
	put(sys_dir, "fs/cgroup/machine.slice/memory.swap.current", "10485760\n");
	ck_assert_uint_eq(in_swap(7, 0, "machine.slice/memory.swap.max"), 10 * MIB);
	/* Cache does not make room in swap. */
	put(sys_dir, "fs/cgroup/machine.slice/memory.stat", "inactive_file 52428800\nfile_dirty 0\nfile_writeback 0\n");
	ck_assert_uint_eq(in_swap(7, 0, "machine.slice/memory.swap.max"), 10 * MIB);
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.swap.high", "1052672\n");
	ck_assert_uint_eq(in_swap(7, 0, "vm1/memory.swap.high"), 1 * MIB);
	put(sys_dir, "fs/cgroup/machine.slice/vm1/memory.swap.max", "0\n");
	ck_assert_uint_eq(in_swap(7, 0, "vm1/memory.swap.max"), 0);
	put(proc_dir, "7/cgroup", "4:memory:/vm1\n0::/machine.slice/vm1\n");
	put(sys_dir, "fs/cgroup/memory/vm1/memory.limit_in_bytes", "4096\n");
	put(sys_dir, "fs/cgroup/memory/vm1/memory.usage_in_bytes", "4096\n");
	ck_assert_uint_eq(in_swap(7, 0, "swap"), 108 * MIB);
	put(proc_dir, "7/cgroup", "0::/../vm1\n");
	ck_assert_int_eq(hs_room_in_swap(&host, 7, 0, &r, &err), -ENODATA);
	put(proc_dir, "swaps", "Filename\nnothing to understand\n");
	ck_assert_int_eq(hs_room_in_swap(&host, 7, 0, &r, &err), -EPROTO);
}
END_TEST

/* Which area is next, of what kind, and what a zram's own limit of memory leaves. */
START_TEST(test_base_room_swap_areas)
{
	struct hs_swap_area a;

	ck_assert_int_eq(hs_swaps_next(&host, &a), -ENOENT);
	put(proc_dir, "swaps",
	    "Filename\tType\tSize\tUsed\tPriority\n/swap file 10240 1024 -2\n/dev/zram3 partition 102400 2048 100\n"
	    "/dev/vdb2 partition 4096 0 5\n");
	put(sys_dir, "block/zram3/mm_stat", "1 2 3145728 0 5 6 7 8 9\n");
	ck_assert_int_eq(hs_swaps_next(&host, &a), 0);
	ck_assert_str_eq(a.name, "/dev/zram3");
	ck_assert_int_eq(a.kind, HS_SWAP_ZRAM);
	ck_assert_uint_eq(a.free_bytes, 98 * MIB);
	ck_assert(!a.memory_limit_bytes && !a.zswap);
	put(sys_dir, "block/zram3/mm_stat", "1 2 3145728 4194304 5 6 7 8 9\n");
	put(sys_dir, "module/zswap/parameters/enabled", "Y\n");
	ck_assert_int_eq(hs_swaps_next(&host, &a), 0);
	ck_assert_uint_eq(a.free_bytes, MIB);
	ck_assert_uint_eq(a.memory_limit_bytes, 4 * MIB);
	ck_assert_uint_eq(a.all_free_bytes, 14 * MIB);
	ck_assert(a.zswap);
	/* Full: the next. */
	put(sys_dir, "block/zram3/mm_stat", "1 2 4194305 4194304 5 6 7 8 9\n");
	ck_assert_int_eq(hs_swaps_next(&host, &a), 0);
	ck_assert_str_eq(a.name, "/dev/vdb2");
	ck_assert_int_eq(a.kind, HS_SWAP_PARTITION);
	put(proc_dir, "swaps", "Filename\n/swap\\040file file 10240 10240 -2\n");
	ck_assert_int_eq(hs_swaps_next(&host, &a), 0);
	ck_assert_int_eq(a.kind, HS_SWAP_FILE);
	ck_assert_uint_eq(a.all_free_bytes, 0);
	put(proc_dir, "swaps", "Filename\n/swap file 10240 10241 -2\n");
	ck_assert_int_eq(hs_swaps_next(&host, &a), -EPROTO);
	ck_assert_uint_eq(a.all_bytes, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("base/room");
	TCase *t = tcase_create("room");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_base_room_host);
	tcase_add_test(t, test_base_room_v2);
	tcase_add_test(t, test_base_room_v1);
	tcase_add_test(t, test_base_room_v1_elsewhere);
	tcase_add_test(t, test_base_room_unknown);
	tcase_add_test(t, test_base_room_in_swap);
	tcase_add_test(t, test_base_room_swap_areas);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
