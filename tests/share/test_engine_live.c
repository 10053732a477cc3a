/*
 * The merge engine on real guests: what it marks, what becomes shared, what that does to the guests' bytes, and what is
 * left when it goes.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine_guest.h"
#include "hostfile.h"
#include "hs/share.h"
#include "hs_test.h"

#define NR_GUESTS 3
#define NR_HUGE   12
#define HOT_HUGE  2 /* the first ones: nothing is ever wanted of them */

static char state_dir[64], knobs_before[1024];
static struct hs_host host;
static struct hs_share_config cfg;
static struct hs_error err;
static struct hs_share *share;
static struct test_guest guests[NR_GUESTS];
static uint32_t ids[NR_GUESTS];

/* ---- clock: real time, which can be told to end a wait ---- */

static int sleeps_left; /* -1: no limit */

static uint64_t now_us(void *ctx)
{
	struct timespec t;

	(void)ctx;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int sleep_us(void *ctx, uint64_t us)
{
	const struct timespec t = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 };

	(void)ctx;
	if (sleeps_left == 0)
		return -ECANCELED;
	if (sleeps_left > 0)
		sleeps_left--;
	(void)nanosleep(&t, NULL);
	return 0;
}

static const struct hs_clock wall = { .now_us = now_us, .sleep_us = sleep_us };

/* ---- the scene ---- */

static void read_knobs(char *out, size_t size)
{
	static const char *const names[] = { "run",         "pages_to_scan",  "sleep_millisecs",
					     "smart_scan",  "use_zero_pages", "max_page_sharing",
					     "advisor_mode" };
	size_t len = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char buf[128] = "-";

		(void)!hs_hostfile_read(host.ksm_dir, names[i], buf, sizeof(buf));
		len += (size_t)snprintf(out + len, size - len, "%s=%s\n", names[i], buf);
	}
}

static void check_knobs(void)
{
	char now[1024];

	read_knobs(now, sizeof(now));
	ck_assert_str_eq(now, knobs_before);
}

static uint64_t ksm_run(void)
{
	uint64_t run = 9;

	ck_assert_int_eq(hs_hostfile_u64(host.ksm_dir, "run", &run), 0);
	return run;
}

static uint32_t rnd_state = 1;

static uint32_t rnd(uint32_t below)
{
	rnd_state = rnd_state * 1664525U + 1013904223U;
	return (rnd_state >> 8) % below;
}

/*
 * Contents: of the pages in cold huge pages, each second one, in random order, is number 1, 2, ... in every guest; all
 * others are unique. Then each sixteenth of the shared ones is left out by wants(): identical, and not wanted.
 */
static void set_contents(struct test_guest *g, uint32_t unique)
{
	uint32_t first = HOT_HUGE * HS_BASE_PER_HUGE, nr = (g->nr_pages - first) / 2;
	uint32_t *order = calloc(nr, sizeof(*order));

	ck_assert_ptr_nonnull(order);
	for (uint32_t i = 0; i < nr; i++)
		order[i] = i + 1;
	for (uint32_t i = nr - 1; i > 0; i--) {
		uint32_t j = rnd(i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (uint32_t p = 0; p < g->nr_pages; p++)
		g->content[p] = p >= first && p % 2 ? order[(p - first) / 2] : unique + p;
	free(order);
}

static bool is_wanted(const struct test_guest *g, uint32_t page)
{
	uint32_t c = g->content[page];

	return c && c < 1000000 && c % 16;
}

static struct hs_bits512 wants(const struct test_guest *g, hs_huge_nr huge)
{
	struct hs_bits512 b = { 0 };

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (is_wanted(g, huge * HS_BASE_PER_HUGE + i))
			hs_bits_set(&b, i);
	return b;
}

static void start_guests(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		test_guest_start(&guests[i]);
	}
}

static void open_engine(void)
{
	ck_assert_msg(hs_share_create(&share, &host, &cfg, &err) == 0, "%s", err.text);
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		uint64_t adopted;

		guests[i].dry = cfg.dry_run;
		test_guest_open(&guests[i], &host);
		ck_assert_msg(
		    hs_share_add_guest(share, "guest", guests[i].view, guests[i].remote, &ids[i], &adopted, &err) == 0,
		    "%s", err.text);
	}
}

static int want_all(uint32_t i)
{
	for (hs_huge_nr h = 0; h < guests[i].nr_huge; h++) {
		struct hs_bits512 pages = wants(&guests[i], h);
		int rc = hs_share_want(share, ids[i], h, &pages, NULL);

		if (rc)
			return rc;
	}
	return 0;
}

static void apply_all(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct hs_share_applied a;

		ck_assert_int_eq(want_all(i), 0);
		ck_assert_msg(hs_share_apply(share, ids[i], &a, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(a.nr_applied, a.nr_tried);
		ck_assert_uint_eq(a.pages_dropped, 0);
	}
}

/*
 * A burst ends when the few pages left (0.5%: those in use for a moment when their turn came) are not worth a pass; the
 * next one takes just these.
 */
static void burst_and_verify(void)
{
	for (int round = 0; round < 4; round++) {
		struct hs_share_burst b;
		struct hs_ledger l;

		ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
		ck_assert(b.settled);
		for (uint32_t i = 0; i < NR_GUESTS; i++)
			ck_assert_msg(hs_share_verify(share, ids[i], &err) == 0, "%s", err.text);
		hs_share_ledger(share, UINT32_MAX, &l);
		if (l.shared + l.zero == l.wanted)
			return;
		ck_assert_uint_ge(l.shared + l.zero + l.wanted / 200, l.wanted);
	}
}

static void share_all(void)
{
	apply_all();
	burst_and_verify();
}

static void close_engine(void)
{
	hs_share_destroy(share);
	share = NULL;
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		test_guest_close(&guests[i]);
}

static void setup(void)
{
	read_knobs(knobs_before, sizeof(knobs_before));
	cfg = hs_share_config_default;
	cfg.foreign = HS_FOREIGN_ALLOW; /* other guests of this machine share nothing with ours */
	sleeps_left = -1;
}

static void teardown(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		test_guest_kill(&guests[i]);
}

/* In the end, in the suite's own process: what a test that failed has left. */
static void clean_up(void)
{
	char cmd[128];

	if (hs_ksm_recover(&host, &err) < 0)
		(void)fprintf(stderr, "%s\n", err.text);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", state_dir);
	(void)!system(cmd);
}

static void check_intact(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		if (guests[i].pid)
			ck_assert_uint_eq(test_guest_bad(&guests[i]), 0);
}

/* ---- sharing ---- */

START_TEST(test_share_engine_exactly_what_is_wanted)
{
	struct hs_ledger all, one, sum = { 0 };
	uint64_t wanted = 0, contents = 0;

	start_guests();
	open_engine();
	share_all();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct test_smaps m = test_guest_smaps(&guests[i]);

		for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
			struct hs_bits512 pages = wants(&guests[i], h), w, s;
			struct hs_frame frames[HS_BASE_PER_HUGE];
			uint32_t breaks;

			hs_share_state(share, ids[i], h, &w, &s, &breaks);
			ck_assert_mem_eq(&w, &pages, sizeof(w));
			ck_assert_mem_eq(&s, &pages, sizeof(s));
			ck_assert_uint_eq(breaks, 0);
			ck_assert_int_eq(hs_view_frames(guests[i].view, h, frames, &err), 0);
			for (unsigned int p = 0; p < HS_BASE_PER_HUGE; p++)
				ck_assert_int_eq((frames[p].flags & HS_FRAME_KSM) != 0, hs_bits_test(&pages, p));
			wanted += hs_bits_count(&pages);
		}
		ck_assert_uint_eq(m.huge_bytes, HOT_HUGE * HS_HUGE_SIZE); /* the hot ones are whole */
		ck_assert_uint_eq(m.nh_bytes, (NR_HUGE - HOT_HUGE) * HS_HUGE_SIZE);
		hs_share_ledger(share, ids[i], &one);
		ck_assert_uint_eq(one.marked * HS_BASE_SIZE, m.mg_bytes);
		sum.frames += one.frames;
		sum.shared += one.shared;
		sum.saved_bytes += one.saved_bytes;
		sum.metadata_bytes += one.metadata_bytes;
	}
	for (uint32_t c = 1; c <= (NR_HUGE - HOT_HUGE) * HS_BASE_PER_HUGE / 2; c++)
		contents += c % 16 != 0;
	hs_share_ledger(share, UINT32_MAX, &all);
	ck_assert_uint_eq(all.wanted, wanted);
	ck_assert_uint_eq(all.marked, wanted);
	ck_assert_uint_eq(all.shared, wanted);
	ck_assert_uint_eq(all.frames, contents);
	ck_assert_uint_eq(all.single, 0);
	ck_assert_uint_eq(all.zero, 0);
	ck_assert_uint_eq(all.broken, 0);
	ck_assert_uint_eq(all.saved_bytes, (wanted - contents) * HS_BASE_SIZE);
	ck_assert_uint_gt(all.metadata_bytes, wanted * 64);
	ck_assert_int_eq(all.net_saved_bytes, (int64_t)all.saved_bytes - (int64_t)all.metadata_bytes);
	ck_assert_uint_eq(sum.frames, all.frames);
	ck_assert_uint_eq(sum.shared, all.shared);
	ck_assert_uint_eq(sum.saved_bytes, all.saved_bytes);
	ck_assert_uint_eq(sum.metadata_bytes, all.metadata_bytes);
	ck_assert_uint_eq(ksm_run(), 0);
	check_intact();
	close_engine();
	check_knobs();
	check_intact();
}
END_TEST

START_TEST(test_share_engine_writes_break)
{
	struct hs_ledger l;
	uint32_t written[5], nr = 0, breaks, total = 0;
	struct hs_bits512 s;

	start_guests();
	open_engine();
	share_all();
	for (uint32_t p = HOT_HUGE * HS_BASE_PER_HUGE; nr < 5; p += 301)
		if (is_wanted(&guests[0], p))
			written[nr++] = p;
	for (uint32_t i = 0; i < nr; i++)
		test_guest_write(&guests[0], written[i], 5000000 + i);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		hs_share_state(share, ids[0], h, NULL, &s, &breaks);
		total += breaks;
		for (uint32_t i = 0; i < nr; i++)
			if (written[i] / HS_BASE_PER_HUGE == h)
				ck_assert(!hs_bits_test(&s, written[i] % HS_BASE_PER_HUGE));
	}
	ck_assert_uint_eq(total, nr);
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.broken, nr);
	ck_assert_uint_eq(l.shared, l.wanted - nr);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0); /* counted once */
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.broken, nr);
	/* The copies in the other guests share with one another still, and lose nothing by it. */
	ck_assert_int_eq(hs_share_verify(share, ids[1], &err), 0);
	hs_share_ledger(share, ids[1], &l);
	ck_assert_uint_eq(l.broken, 0);
	ck_assert_uint_eq(l.shared, l.wanted);
	burst_and_verify(); /* what was written is unique now */
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.shared, l.wanted - nr);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_single)
{
	struct hs_ledger l;
	uint32_t page = HOT_HUGE * HS_BASE_PER_HUGE + 1, content;

	start_guests();
	open_engine();
	share_all();
	while (!is_wanted(&guests[0], page))
		page++;
	content = guests[0].content[page];
	test_guest_write(&guests[0], page, 5000000);
	for (uint32_t p = 0; p < guests[1].nr_pages; p++)
		if (guests[1].content[p] == content)
			test_guest_write(&guests[1], p, 5000001);
	/* The third guest's copy is a KSM page with one mapping: it saves nothing, and was not broken by its guest. */
	ck_assert_int_eq(hs_share_verify(share, ids[2], &err), 0);
	hs_share_ledger(share, ids[2], &l);
	ck_assert_uint_eq(l.single, 1);
	ck_assert_uint_eq(l.shared, l.wanted - 1);
	ck_assert_uint_eq(l.broken, 0);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_zero_pages)
{
	struct hs_ledger l;
	uint64_t zeros = 0;

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		for (uint32_t p = 3 * HS_BASE_PER_HUGE; p < 5 * HS_BASE_PER_HUGE; p += 3)
			guests[i].content[p] = 0;
		test_guest_start(&guests[i]);
	}
	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct hs_share_applied a;

		for (hs_huge_nr h = 3; h < 5; h++) {
			struct hs_bits512 pages = { 0 };

			for (unsigned int p = 0; p < HS_BASE_PER_HUGE; p++)
				if (!guests[i].content[h * HS_BASE_PER_HUGE + p])
					hs_bits_set(&pages, p);
			zeros += hs_bits_count(&pages);
			ck_assert_int_eq(hs_share_want(share, ids[i], h, &pages, NULL), 0);
		}
		ck_assert_msg(hs_share_apply(share, ids[i], &a, &err) == 0, "%s", err.text);
	}
	burst_and_verify();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.zero + l.shared, zeros);
	ck_assert_uint_eq(l.zero, zeros);
	ck_assert_uint_eq(l.saved_bytes, zeros * HS_BASE_SIZE);
	check_intact();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct hs_share_unshared u;

		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(u.nr_collapsed, 2);
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).huge_bytes, NR_HUGE * HS_HUGE_SIZE);
	}
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.zero, 0);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_unshare)
{
	static const hs_huge_nr some[] = { 3, 4, 9 };
	struct test_smaps before[NR_GUESTS], now;
	struct hs_share_unshared u;
	struct hs_ledger l;

	start_guests();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		before[i] = test_guest_smaps(&guests[i]);
	ck_assert_uint_eq(before[0].huge_bytes, NR_HUGE * HS_HUGE_SIZE);
	open_engine();
	share_all();
	ck_assert_msg(hs_share_unshare(share, ids[0], some, 3, &u, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(u.nr_huge, 3);
	ck_assert_uint_eq(u.nr_collapsed, 3);
	ck_assert_uint_eq(u.nr_failed, 0);
	now = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(now.huge_bytes, (HOT_HUGE + 3) * HS_HUGE_SIZE);
	ck_assert_uint_eq(now.hg_bytes, (HOT_HUGE + 3) * HS_HUGE_SIZE);
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		struct hs_bits512 w, s;

		hs_share_state(share, ids[0], h, &w, &s, NULL);
		ck_assert_uint_eq(hs_bits_count(&w), hs_bits_count(&s));
		ck_assert_int_eq(hs_bits_count(&s) != 0, h >= HOT_HUGE && h != 3 && h != 4 && h != 9);
	}
	check_intact();

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(u.nr_huge, i ? NR_HUGE - HOT_HUGE : NR_HUGE - HOT_HUGE - 3);
		ck_assert_uint_eq(u.nr_collapsed, u.nr_huge);
		now = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(now.huge_bytes, before[i].huge_bytes);
		ck_assert_uint_eq(now.hg_bytes, before[i].hg_bytes);
		ck_assert_uint_eq(now.mg_bytes, 0);
		ck_assert_uint_eq(now.nh_bytes, 0);
		ck_assert_uint_eq(now.nr_vmas, before[i].nr_vmas);
	}
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared + l.single + l.frames + l.marked + l.wanted + l.saved_bytes, 0);
	close_engine();
	check_knobs();
	check_intact();
}
END_TEST

START_TEST(test_share_engine_unshare_needs_room)
{
	struct hs_share_unshared u;
	struct test_smaps m;
	struct hs_ledger l;

	cfg.min_free_percent = 100;
	start_guests();
	open_engine();
	share_all();
	m = test_guest_smaps(&guests[0]);
	ck_assert_int_eq(hs_share_unshare(share, ids[0], NULL, 0, &u, &err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.text, "min_free_percent"));
	ck_assert_uint_eq(u.nr_collapsed + u.nr_failed, 0);
	ck_assert_uint_eq(test_guest_smaps(&guests[0]).mg_bytes, m.mg_bytes);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	check_intact();
	close_engine();
}
END_TEST

/* Not wanted any more: the marks go at the next apply, the advice of before comes back, the rest stays shared. */
START_TEST(test_share_engine_want_less)
{
	const struct hs_bits512 none = { 0 };
	struct hs_share_applied a;
	struct test_smaps m;
	struct hs_ledger l;
	uint64_t marked;

	start_guests();
	open_engine();
	share_all();
	hs_share_ledger(share, ids[0], &l);
	marked = l.marked;
	for (hs_huge_nr h = HOT_HUGE; h < HOT_HUGE + 2; h++) {
		struct hs_bits512 w;

		hs_share_state(share, ids[0], h, &w, NULL, NULL);
		marked -= hs_bits_count(&w);
		ck_assert_int_eq(hs_share_want(share, ids[0], h, &none, NULL), 0);
	}
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.pages_marked, 0);
	ck_assert_int_eq(hs_share_verify(share, ids[0], &err), 0);
	hs_share_ledger(share, ids[0], &l);
	m = test_guest_smaps(&guests[0]);
	ck_assert_uint_eq(l.marked, marked);
	ck_assert_uint_eq(l.shared, marked);
	ck_assert_uint_eq(l.broken, 0);
	ck_assert_uint_eq(m.mg_bytes, marked * HS_BASE_SIZE);
	ck_assert_uint_eq(m.nh_bytes, (NR_HUGE - HOT_HUGE - 2) * HS_HUGE_SIZE);
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.nr_tried, 0); /* nothing differs */
	check_intact();
	close_engine();
}
END_TEST

/* ---- guests that leave ---- */

START_TEST(test_share_engine_guest_leaves)
{
	struct hs_ledger l;
	uint32_t id;

	start_guests();
	open_engine();
	share_all();
	hs_share_remove_guest(share, ids[1]);
	ck_assert_int_eq(hs_share_verify(share, ids[1], &err), -EINVAL);
	ck_assert_int_eq(hs_share_want(share, ids[1], 0, &(struct hs_bits512){ 0 }, NULL), -EINVAL);
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	ck_assert_uint_gt(test_guest_smaps(&guests[1]).mg_bytes, 0); /* what is shared stays */
	/* It comes again: its marks are taken over, under the same number. */
	ck_assert_msg(hs_share_add_guest(share, "again", guests[1].view, guests[1].remote, &id, NULL, &err) == 0, "%s",
		      err.text);
	ck_assert_uint_eq(id, ids[1]);
	ck_assert_int_eq(hs_share_add_guest(share, "twice", guests[1].view, guests[1].remote, &id, NULL, &err),
			 -EEXIST);
	check_intact();
	close_engine();
}
END_TEST

/* Guest 1 is killed before step _i; the other two go on and share. */
START_TEST(test_share_engine_guest_killed)
{
	struct hs_share_unshared u;
	struct hs_share_applied a;
	struct hs_share_burst b;
	struct hs_ledger l;
	int step = 0;

#define STEP()                                                                                                         \
	do {                                                                                                           \
		if (step++ == _i)                                                                                      \
			test_guest_kill(&guests[1]);                                                                   \
	} while (0)
#define EXPECT(i, call)                                                                                                \
	do {                                                                                                           \
		int got = call;                                                                                        \
		ck_assert_msg(got == ((i) == 1 && !guests[1].pid ? -ESRCH : 0), "guest %u, step %d: %d, %s", i, step,  \
			      got, err.text);                                                                          \
	} while (0)

	start_guests();
	open_engine();
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		ck_assert_int_eq(want_all(i), 0);
		EXPECT(i, hs_share_apply(share, ids[i], &a, &err));
	}
	STEP();
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		EXPECT(i, hs_share_verify(share, ids[i], &err));
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		EXPECT(i, hs_share_verify(share, ids[i], &err));
	for (uint32_t i = 0; i < NR_GUESTS; i += 2) {
		hs_share_ledger(share, ids[i], &l);
		ck_assert_uint_ge(l.shared + l.wanted / 100, l.wanted);
	}
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_gt(l.wanted, 0);
	ck_assert_uint_ge(l.shared + l.wanted / 100, l.wanted); /* the dead one counts no more */
	STEP();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		EXPECT(i, hs_share_unshare(share, ids[i], NULL, 0, &u, &err));
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* ---- limits ---- */

START_TEST(test_share_engine_vma_budget)
{
	uint64_t max_map_count;
	struct hs_share_applied a;
	struct test_smaps m;

	cfg.vma_percent = 1;
	start_guests();
	open_engine();
	ck_assert_int_eq(hs_hostfile_u64("/proc", "sys/vm/max_map_count", &max_map_count), 0);
	ck_assert_int_eq(want_all(0), 0); /* every other page, no gap may be filled */
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	m = test_guest_smaps(&guests[0]);
	ck_assert_uint_gt(a.pages_dropped, 0);
	ck_assert_uint_gt(a.pages_marked, 0);
	ck_assert_uint_eq(a.pages_marked * HS_BASE_SIZE, m.mg_bytes);
	ck_assert_uint_eq(a.nr_vmas, m.nr_vmas);
	ck_assert_uint_le(a.nr_vmas, max_map_count / 100);
	ck_assert_uint_ge(a.nr_vmas + 8, max_map_count / 100); /* and it is used */
	/* With gaps to fill nothing is dropped. */
	for (hs_huge_nr h = HOT_HUGE; h < NR_HUGE; h++) {
		struct hs_bits512 pages = wants(&guests[0], h), full = hs_bits_full();

		ck_assert_int_eq(hs_share_want(share, ids[0], h, &pages, &full), 0);
	}
	ck_assert_msg(hs_share_apply(share, ids[0], &a, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(a.pages_dropped, 0);
	ck_assert_uint_le(test_guest_smaps(&guests[0]).nr_vmas, max_map_count / 100);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_deadline)
{
	struct hs_share_burst b;
	struct hs_ledger l;

	cfg.burst_deadline_ms = 1;
	cfg.burst_pages = 100;
	start_guests();
	open_engine();
	apply_all();
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert(!b.settled);
	ck_assert_uint_eq(ksm_run(), 0);
	close_engine();
	check_knobs();
	/* Another engine goes on with what this one has left. */
	cfg = hs_share_config_default;
	cfg.foreign = HS_FOREIGN_ALLOW;
	open_engine();
	burst_and_verify();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_gt(l.wanted, 0);
	ck_assert_uint_eq(l.shared, l.wanted);
	check_intact();
	close_engine();
}
END_TEST

START_TEST(test_share_engine_cancelled)
{
	struct hs_share_burst b;

	start_guests();
	open_engine();
	apply_all();
	sleeps_left = 2;
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -ECANCELED);
	ck_assert(!b.settled);
	ck_assert_uint_eq(ksm_run(), 0);
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

/* ksmd's share of a core, coarsely: within twice the cap. */
START_TEST(test_share_engine_cpu_cap)
{
	struct hs_share_burst b;
	struct hs_ledger l;

	cfg.cpu_percent = 10;
	start_guests();
	open_engine();
	apply_all();
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert(b.settled);
	ck_assert_uint_gt(b.ksmd_cpu_us, 0);
	ck_assert_msg(b.ksmd_cpu_us <= 2 * b.elapsed_ms * 1000 * cfg.cpu_percent / 100, "%lu us of CPU in %lu ms",
		      b.ksmd_cpu_us, b.elapsed_ms);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_int_eq(hs_share_verify(share, ids[i], &err), 0);
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_ge(l.shared + l.wanted / 100, l.wanted);
	close_engine();
}
END_TEST

/* ---- what is not ours ---- */

START_TEST(test_share_engine_foreign_refused)
{
	struct test_guest other;
	struct hs_share_burst b;

	cfg.foreign = HS_FOREIGN_REFUSE;
	start_guests();
	test_guest_init(&other, 4);
	for (uint32_t p = 0; p < other.nr_pages; p++)
		other.content[p] = 9000000 + p;
	other.mergeable = true;
	test_guest_start(&other);
	open_engine();
	apply_all();
	ck_assert_int_eq(hs_share_burst(share, &wall, &b, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "not ours"));
	check_knobs(); /* nothing was run */
	close_engine();
	test_guest_kill(&other);
}
END_TEST

/* Like QEMU's: mergeable as a whole. That is ended first, and only what is wanted becomes mergeable. */
START_TEST(test_share_engine_guest_was_mergeable)
{
	struct hs_ledger l;

	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		guests[i].mergeable = true;
		test_guest_start(&guests[i]);
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, NR_HUGE * HS_HUGE_SIZE);
	}
	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, 0);
	share_all();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).huge_bytes, HOT_HUGE * HS_HUGE_SIZE);
	check_intact();
	close_engine();
}
END_TEST

/* ---- crash and dry run ---- */

/* Killed in the middle of a burst; the next one gives KSM back, takes the marks over, and can undo all. */
START_TEST(test_share_engine_crash)
{
	struct hs_share_unshared u;
	struct hs_ledger l;
	pid_t child;
	int status;

	start_guests();
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		struct hs_share_burst b;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		cfg.burst_pages = 200; /* so that it is far from its end */
		open_engine();
		apply_all();
		sleeps_left = 5;
		if (hs_share_burst(share, &(struct hs_clock){ .now_us = now_us, .sleep_us = sleep_us }, &b, &err) ==
		    -ECANCELED)
			_exit(3);
		_exit(1);
	}
	/* Not through its clean way out: killed while ksmd runs for it. */
	while (ksm_run() != 1 && waitpid(child, &status, WNOHANG) == 0)
		(void)usleep(500);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		ck_assert_int_eq(hs_ksm_recover(&host, &err), 1);
	check_knobs();
	check_intact();

	open_engine();
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		uint64_t wanted = 0;

		for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
			struct hs_bits512 w, pages = wants(&guests[i], h);

			hs_share_state(share, ids[i], h, &w, NULL, NULL);
			ck_assert_mem_eq(&w, &pages, sizeof(w));
			wanted += hs_bits_count(&w);
		}
		ck_assert_uint_eq(test_guest_smaps(&guests[i]).mg_bytes, wanted * HS_BASE_SIZE);
	}
	burst_and_verify();
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, l.wanted);
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct test_smaps m;

		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		m = test_guest_smaps(&guests[i]);
		ck_assert_uint_eq(m.huge_bytes, NR_HUGE * HS_HUGE_SIZE);
		ck_assert_uint_eq(m.hg_bytes, NR_HUGE * HS_HUGE_SIZE);
		ck_assert_uint_eq(m.mg_bytes + m.nh_bytes, 0);
	}
	check_intact();
	close_engine();
	check_knobs();
}
END_TEST

START_TEST(test_share_engine_dry_run)
{
	struct test_smaps before[NR_GUESTS];
	struct hs_share_unshared u;
	struct hs_share_burst b;
	char path[PATH_MAX];
	struct hs_ledger l;

	cfg.dry_run = true;
	start_guests();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		before[i] = test_guest_smaps(&guests[i]);
	open_engine();
	apply_all(); /* every range counts as applied */
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_gt(l.marked, 0);
	ck_assert_uint_eq(l.marked, l.wanted);
	ck_assert_msg(hs_share_burst(share, &wall, &b, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(b.sharing_before, b.sharing_after);
	check_knobs();
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		ck_assert_int_eq(hs_share_verify(share, ids[i], &err), 0);
	hs_share_ledger(share, UINT32_MAX, &l);
	ck_assert_uint_eq(l.shared, 0); /* the truth */
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		struct test_smaps now;

		ck_assert_msg(hs_share_unshare(share, ids[i], NULL, 0, &u, &err) == 0, "%s", err.text);
		ck_assert_uint_eq(u.nr_collapsed, NR_HUGE - HOT_HUGE);
		now = test_guest_smaps(&guests[i]);
		ck_assert_mem_eq(&now, &before[i], sizeof(now));
	}
	close_engine();
	check_knobs();
	check_intact();
	(void)snprintf(path, sizeof(path), "%s/ksm.state", host.state_dir);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

static const struct {
	const char *word;
	struct hs_share_config cfg;
} bad_configs[] = {
	{ "vma_percent", { .vma_percent = 0, .burst_pages = 1, .burst_deadline_ms = 1 } },
	{ "vma_percent", { .vma_percent = 101, .burst_pages = 1, .burst_deadline_ms = 1 } },
	{ "burst_pages", { .vma_percent = 1, .burst_pages = 0, .burst_deadline_ms = 1 } },
	{ "burst_deadline_ms", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 0 } },
	{ "cpu_percent", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .cpu_percent = 101 } },
	{ "min_free_percent", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .min_free_percent = 101 } },
	{ "max_page_sharing", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .max_page_sharing = 1 } },
	{ "foreign", { .vma_percent = 1, .burst_pages = 1, .burst_deadline_ms = 1, .foreign = 2 } },
};

START_TEST(test_share_engine_config)
{
	ck_assert_int_eq(hs_share_create(&share, &host, &bad_configs[_i].cfg, &err), -EINVAL);
	ck_assert_ptr_null(share);
	ck_assert_ptr_nonnull(strstr(err.text, bad_configs[_i].word));
	hs_share_destroy(NULL);
}
END_TEST

int main(void)
{
	Suite *s;
	TCase *t;
	uint64_t run;
	int rc;

#ifdef __SANITIZE_ADDRESS__
	/* Forked guests would have its shadow: terabytes of private memory that look like a guest's. */
	return hs_test_skip("share/engine_live", "built with the address sanitizer");
#endif
	if (geteuid() != 0)
		return hs_test_skip("share/engine_live", "needs root");
	if (hs_hostfile_u64(HS_HOST_DEFAULT.ksm_dir, "run", &run))
		return hs_test_skip("share/engine_live", "this kernel has no KSM");
	if (run == 1)
		return hs_test_skip("share/engine_live", "KSM runs already, for somebody else");
	host = HS_HOST_DEFAULT;
	(void)snprintf(state_dir, sizeof(state_dir), "/tmp/hs-test-engine-XXXXXX");
	if (!mkdtemp(state_dir))
		return EXIT_FAILURE;
	host.state_dir = state_dir;
	s = suite_create("share/engine_live");
	t = tcase_create("engine");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 150); /* more than a burst's deadline */
	tcase_add_test(t, test_share_engine_exactly_what_is_wanted);
	tcase_add_test(t, test_share_engine_writes_break);
	tcase_add_test(t, test_share_engine_single);
	tcase_add_test(t, test_share_engine_zero_pages);
	tcase_add_test(t, test_share_engine_unshare);
	tcase_add_test(t, test_share_engine_unshare_needs_room);
	tcase_add_test(t, test_share_engine_want_less);
	tcase_add_test(t, test_share_engine_guest_leaves);
	tcase_add_loop_test(t, test_share_engine_guest_killed, 0, 5);
	tcase_add_test(t, test_share_engine_vma_budget);
	tcase_add_test(t, test_share_engine_deadline);
	tcase_add_test(t, test_share_engine_cancelled);
	tcase_add_test(t, test_share_engine_cpu_cap);
	tcase_add_test(t, test_share_engine_foreign_refused);
	tcase_add_test(t, test_share_engine_guest_was_mergeable);
	tcase_add_test(t, test_share_engine_crash);
	tcase_add_test(t, test_share_engine_dry_run);
	tcase_add_loop_test(t, test_share_engine_config, 0, (int)(sizeof(bad_configs) / sizeof(bad_configs[0])));
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	clean_up();
	return rc;
}
