/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With whom guests may share, and how much that may overcommit, over simulated guests. The table here takes what is
 * wanted for done at once: what is asked of it is what could be merged. Only what is wanted as zero and is not it
 * refuses, as the kernel does.
 */
#include "hs_test.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "hs/sim_view.h"
#include "pipeline/pipeline_internal.h"

#define NR_GUESTS 3
#define NR_HUGE   4
#define NR_PAGES  (NR_HUGE * HS_BASE_PER_HUGE)
#define MIB       (UINT64_C(1) << 20)

static char dir[64], proc_dir[96], sys_dir[96];
static struct hs_host host;
static struct hs_sim_clock sim;
static struct hs_clock sim_clock;
static struct hs_view *views[NR_GUESTS];
static struct hs_pipeline *pipeline;
static struct hs_pipeline_config cfg;
static struct hs_shared_huge state[NR_GUESTS][NR_HUGE];

/* ---- the table ---- */

static int enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*id = guest->number;
	return 0;
}

static int want(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
		const struct hs_bits512 *allowed)
{
	(void)ctx;
	(void)allowed;
	state[id][huge].wanted = *pages;
	return 0;
}

static void get_state(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	(void)ctx;
	*out = state[id][huge];
}

static int verify(void *ctx, uint32_t id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		const struct hs_bits512 *wanted = &state[id][h].wanted;

		state[id][h].shared = *wanted;
		hs_bits_for_each (i, wanted)
			if (cfg.scope == HS_SCOPE_ZERO && hs_sim_content(views[id], h * HS_BASE_PER_HUGE + i))
				hs_bits_clear(&state[id][h].shared, i);
	}
	return 0;
}

static int apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*out = (struct hs_share_applied){ .nr_tried = 1, .nr_applied = 1 };
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		const struct hs_bits512 open = hs_bits_andnot(state[id][h].wanted, state[id][h].shared);

		out->pages_marked += hs_bits_count(&open);
	}
	return 0;
}

static int burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	(void)ctx;
	(void)clock;
	(void)err;
	*out = (struct hs_share_burst){ .settled = true, .pages_scanned = 1 };
	return 0;
}

static void ledger(void *ctx, uint32_t id, struct hs_ledger *out)
{
	(void)ctx;
	*out = (struct hs_ledger){ 0 };
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < NR_HUGE && (id == UINT32_MAX || id == g); h++) {
			out->wanted += hs_bits_count(&state[g][h].wanted);
			out->shared += hs_bits_count(&state[g][h].shared);
		}
	out->saved_bytes = out->shared * HS_BASE_SIZE;
}

static const struct hs_merge_ops ops = {
	.name = "test",
	.merges = true,
	.enter = enter,
	.want = want,
	.state = get_state,
	.verify = verify,
	.apply = apply,
	.burst = burst,
	.ledger = ledger,
};

/* ---- the scene ---- */

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

static void available(uint64_t mib)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "MemTotal: 1048576 kB\nMemFree: 7 kB\nMemAvailable: %llu kB\n",
		       (unsigned long long)mib << 10);
	put(proc_dir, "meminfo", text);
}

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/hs-scope-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(proc_dir, sizeof(proc_dir), "%s/proc", dir);
	(void)snprintf(sys_dir, sizeof(sys_dir), "%s/sys", dir);
	host = (struct hs_host){ .proc_dir = proc_dir, .sys_dir = sys_dir, .state_dir = dir };
	available(512);
	memset(state, 0, sizeof(state));
	sim = (struct hs_sim_clock){ 0 };
	sim_clock = hs_sim_clock_ops(&sim);
	cfg = hs_pipeline_config_default;
	cfg.share = hs_share_config_default;
	cfg.observe = true;
}

static void teardown(void)
{
	char cmd[128];

	hs_pipeline_destroy(pipeline);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static void create(void)
{
	ck_assert_int_eq(hs_pipeline_create(&pipeline, &host, &cfg, &sim_clock, NULL), 0);
	ck_assert_int_eq(hs_pipeline_set_merge(pipeline, &(struct hs_merge){ &ops, NULL }), 0);
}

/* A guest that sleeps: content(g, page), 0 is a page of zeros. pid 0: it has none. */
static void add(uint32_t g, uint8_t scope, pid_t pid, uint64_t (*content)(uint32_t g, hs_base_nr page))
{
	const struct hs_sim_config sc = { .nr_huge = NR_HUGE, .state = HS_MAP_HUGE, .guest = g };
	char name[16];

	(void)snprintf(name, sizeof(name), "guest%u", g);
	ck_assert_int_eq(hs_view_open_sim(&views[g], &sc), 0);
	views[g]->pid = pid;
	for (hs_base_nr p = 0; p < NR_PAGES; p++)
		hs_sim_set(views[g], p, content(g, p));
	ck_assert_int_eq(hs_pipeline_add_view_as(pipeline, &(struct hs_guest_options){ .name = name, .scope = scope },
						 views[g], NULL),
			 0);
}

static void cycles(int nr)
{
	struct hs_error err = { "" };
	uint64_t news;

	while (nr--)
		ck_assert_msg(hs_pipeline_cycle(pipeline, &news, &err) == 0, "%s", err.text);
}

static uint64_t nr_wanted(uint32_t g)
{
	uint64_t n = 0;

	for (hs_huge_nr h = 0; h < NR_HUGE; h++)
		n += hs_bits_count(&state[g][h].wanted);
	return n;
}

static bool is_wanted(uint32_t g, hs_base_nr p)
{
	return hs_bits_test(&state[g][p / HS_BASE_PER_HUGE].wanted, p % HS_BASE_PER_HUGE);
}

static struct hs_pipeline_totals totals(void)
{
	struct hs_pipeline_totals t;

	hs_pipeline_totals(pipeline, &t);
	return t;
}

/* ---- with whom ---- */

/* A quarter each: zeros; twice in the guest and in no other; once in each guest; twice in each guest. */
enum part { ZEROS, OWN_PAIRS, COMMON, COMMON_PAIRS };

static enum part part_of(hs_base_nr page)
{
	return (enum part)(page % 16 / 4);
}

static uint64_t mixed(uint32_t g, hs_base_nr page)
{
	switch (part_of(page)) {
	case ZEROS:
		return 0;
	case OWN_PAIRS:
		return (g + 1) * UINT64_C(1000000) + page / 2;
	case COMMON:
		return 1000 + page;
	default:
		return 100000 + page / 2;
	}
}

/* Of each part, how much of the guest is wanted: all or nothing. */
static void check_parts(uint32_t g, bool zeros, bool own, bool common, bool common_pairs)
{
	const bool expected[] = { zeros, own, common, common_pairs };

	for (hs_base_nr p = 0; p < NR_PAGES; p++)
		ck_assert_msg(is_wanted(g, p) == expected[part_of(p)], "guest %u, page %u of part %d: %d", g, p,
			      (int)part_of(p), is_wanted(g, p));
}

static void check_report(uint32_t g, uint8_t scope, uint8_t own)
{
	struct hs_guest_report r[NR_GUESTS];

	ck_assert_uint_gt(hs_pipeline_report(pipeline, r, NR_GUESTS), g);
	ck_assert_uint_eq(r[g].scope, scope);
	ck_assert_uint_eq(r[g].own_scope, own);
	ck_assert_str_eq(r[g].group, "default");
}

START_TEST(test_pipeline_scope_group)
{
	create();
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		add(g, HS_SCOPE_GROUP, 0, mixed);
	cycles(3);
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		check_parts(g, true, true, true, true);
		check_report(g, HS_SCOPE_GROUP, HS_SCOPE_GROUP);
	}
}
END_TEST

/* KSM has one tree: of what several guests hold twice, one alone may share. */
START_TEST(test_pipeline_scope_guest)
{
	create();
	if (_i) { /* by one setting for all, or each guest for itself */
		hs_pipeline_destroy(pipeline);
		cfg.scope = HS_SCOPE_GUEST;
		create();
	}
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		add(g, _i ? HS_SCOPE_GROUP : HS_SCOPE_GUEST, 0, mixed);
	cycles(3);
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		check_parts(g, true, true, false, !g);
		check_report(g, HS_SCOPE_GUEST, _i ? HS_SCOPE_GROUP : HS_SCOPE_GUEST);
	}
}
END_TEST

/* Nothing but zeros is wanted, and no content is compared with, or looked up for, any other. */
START_TEST(test_pipeline_scope_zero)
{
	cfg.scope = HS_SCOPE_ZERO;
	create();
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		add(g, HS_SCOPE_GROUP, 0, mixed);
	cycles(3);
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		struct hs_guest_report r[NR_GUESTS];

		check_parts(g, true, false, false, false);
		(void)hs_pipeline_report(pipeline, r, NR_GUESTS);
		ck_assert_uint_eq(r[g].duplicate_pages, 0);
		ck_assert_uint_eq(r[g].could_save_bytes, NR_PAGES / 4 * HS_BASE_SIZE);
	}
	ck_assert_uint_eq(totals().pages_compared, 0);
}
END_TEST

/* One is stricter than the others, who go on; its contents are found by nobody. */
START_TEST(test_pipeline_scope_of_one)
{
	create();
	add(0, _i ? HS_SCOPE_ZERO : HS_SCOPE_GUEST, 0, mixed);
	add(1, HS_SCOPE_GROUP, 0, mixed);
	cycles(3);
	check_parts(0, true, !_i, false, !_i);
	check_parts(1, true, true, false, _i); /* the other one came first, and has these */
	add(2, HS_SCOPE_GROUP, 0, mixed);
	cycles(3);
	check_parts(0, true, !_i, false, !_i);
	check_parts(1, true, true, true, _i);
	check_parts(2, true, true, true, _i);
}
END_TEST

/* A zero page that is written counts as none any more, also where nobody saw that it was. */
START_TEST(test_pipeline_scope_zero_written)
{
	struct hs_guest_report r[NR_GUESTS];

	cfg.scope = HS_SCOPE_ZERO;
	create();
	add(0, HS_SCOPE_GROUP, 0, mixed);
	cycles(2);
	ck_assert(is_wanted(0, 0));
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		hs_sim_break_huge(views[0], h);
		memset(&state[0][h], 0, sizeof(state[0][h]));
	}
	hs_sim_write(views[0], 0, 7);
	cycles(3);
	(void)hs_pipeline_report(pipeline, r, NR_GUESTS);
	ck_assert_uint_eq(r[0].zero_pages, NR_PAGES / 4 - 1);
	ck_assert_uint_eq(r[0].could_save_bytes, (NR_PAGES / 4 - 1) * HS_BASE_SIZE);
	ck_assert(!hs_bits_test(&state[0][0].shared, 0) && hs_bits_test(&state[0][0].shared, 1));
}
END_TEST

/* ---- how much it may overcommit ---- */

#define PAGES_OF(bytes) ((bytes) / HS_BASE_SIZE)

/* A fixed size: it is kept within a cycle, and over cycles; more room is used, less undoes nothing. */
START_TEST(test_pipeline_scope_used_bytes)
{
	uint64_t wanted;

	cfg.max_overcommit_bytes = 5 * MIB;
	create();
	for (uint32_t g = 0; g < 2; g++)
		add(g, HS_SCOPE_GROUP, 0, mixed);
	for (int i = 0; i < 3; i++) {
		cycles(1);
		wanted = nr_wanted(0) + nr_wanted(1);
		ck_assert_uint_le(wanted, PAGES_OF(5 * MIB));
		ck_assert_uint_gt(wanted, PAGES_OF(5 * MIB) - HS_BASE_PER_HUGE); /* huge page by huge page */
		ck_assert_uint_eq(totals().overcommit_full, 1);
		ck_assert_uint_eq(totals().max_overcommit_bytes, 5 * MIB);
		ck_assert_uint_eq(totals().overcommit_bytes, wanted * HS_BASE_SIZE);
	}
}
END_TEST

/* A percentage of what is available on the host. */
START_TEST(test_pipeline_scope_overcommit_percent)
{
	struct hs_guest_report r[NR_GUESTS];

	cfg.max_overcommit_percent = 50;
	create();
	available(6);
	for (uint32_t g = 0; g < 2; g++)
		add(g, HS_SCOPE_GROUP, 0, mixed);
	cycles(2);
	ck_assert_uint_eq(totals().max_overcommit_bytes, 3 * MIB);
	/* Of 2 MiB each, three: 6 MiB are half of what is available then. */
	ck_assert_uint_eq(nr_wanted(0) + nr_wanted(1), 3 * HS_BASE_PER_HUGE);
	ck_assert_uint_eq(totals().overcommit_full, 1);
	(void)hs_pipeline_report(pipeline, r, NR_GUESTS);
	ck_assert(r[0].overcommit_full && r[1].overcommit_full);
	available(512);
	cycles(1);
	ck_assert_uint_eq(nr_wanted(0) + nr_wanted(1), 2 * NR_PAGES);
	ck_assert_uint_eq(totals().overcommit_full, 0);
	/* What is shared stays. */
	available(1);
	cycles(2);
	ck_assert_uint_eq(nr_wanted(0) + nr_wanted(1), 2 * NR_PAGES);
	ck_assert_uint_eq(totals().overcommit_full, 0); /* nothing further was asked for */
}
END_TEST

/* All of what is available: what sharing frees is available too, so it may begin on a host that is nearly full. When
 * others take what was freed, it goes no further. */
START_TEST(test_pipeline_scope_overcommit_all)
{
	cfg.max_overcommit_percent = 100;
	create();
	available(1);
	for (uint32_t g = 0; g < 2; g++)
		add(g, HS_SCOPE_GROUP, 0, mixed);
	cycles(2);
	ck_assert_uint_eq(nr_wanted(0) + nr_wanted(1), 2 * NR_PAGES);
	ck_assert_uint_eq(totals().overcommit_full, 0);
	add(2, HS_SCOPE_GROUP, 0, mixed);
	cycles(2);
	ck_assert_uint_eq(nr_wanted(2), 0);
	ck_assert_uint_eq(totals().overcommit_full, 1);
	available(2 * NR_HUGE * 2); /* as much as is saved */
	cycles(1);
	ck_assert_uint_eq(nr_wanted(2), NR_PAGES);
}
END_TEST

/* What is available is unknown: nothing is shared. */
START_TEST(test_pipeline_scope_overcommit_unknown)
{
	cfg.max_overcommit_percent = 100;
	create();
	put(proc_dir, "meminfo", "MemTotal: 1048576 kB\n");
	add(0, HS_SCOPE_GROUP, 0, mixed);
	cycles(2);
	ck_assert_uint_eq(nr_wanted(0), 0);
	ck_assert_uint_eq(totals().overcommit_full, 1);
}
END_TEST

/* Two guests below one limit have it in common; the third is not below it, and goes on. */
START_TEST(test_pipeline_scope_overcommit_cgroup)
{
	struct hs_guest_report r[NR_GUESTS];
	char name[32];

	cfg.max_overcommit_percent = 50;
	create();
	put(proc_dir, "mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
	put(sys_dir, "fs/cgroup/slice/memory.max", "8388608\n");
	put(sys_dir, "fs/cgroup/slice/memory.current", "3145728\n"); /* 5 MiB are left */
	put(sys_dir, "fs/cgroup/slice/memory.stat", "inactive_file 0\nfile_dirty 0\nfile_writeback 0\n");
	for (uint32_t g = 0; g < NR_GUESTS; g++) {
		(void)snprintf(name, sizeof(name), "%u/cgroup", 7 + g);
		put(proc_dir, name, g < 2 ? "0::/slice\n" : "0::/\n");
		(void)snprintf(name, sizeof(name), "%u/stat", 7 + g);
		put(proc_dir, name, "7 (g) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5000 0 0\n");
		add(g, HS_SCOPE_GROUP, (pid_t)(7 + g), mixed);
	}
	cycles(3);
	ck_assert_uint_eq(nr_wanted(0) + nr_wanted(1), 2 * HS_BASE_PER_HUGE); /* of 2 MiB each, two fit */
	ck_assert_uint_eq(nr_wanted(2), NR_PAGES);
	(void)hs_pipeline_report(pipeline, r, NR_GUESTS);
	ck_assert(r[0].overcommit_full && r[1].overcommit_full && !r[2].overcommit_full);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pipeline/scope");
	TCase *c = tcase_create("scene");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_pipeline_scope_group);
	tcase_add_loop_test(c, test_pipeline_scope_guest, 0, 2);
	tcase_add_test(c, test_pipeline_scope_zero);
	tcase_add_loop_test(c, test_pipeline_scope_of_one, 0, 2);
	tcase_add_test(c, test_pipeline_scope_zero_written);
	tcase_add_test(c, test_pipeline_scope_used_bytes);
	tcase_add_test(c, test_pipeline_scope_overcommit_percent);
	tcase_add_test(c, test_pipeline_scope_overcommit_all);
	tcase_add_test(c, test_pipeline_scope_overcommit_unknown);
	tcase_add_test(c, test_pipeline_scope_overcommit_cgroup);
	tcase_set_timeout(c, 120);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
