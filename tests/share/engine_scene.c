/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_scene.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hostfile.h"

static char state_dir[64], knobs_before[1024];
struct hs_host host;
struct hs_share_config cfg;
struct hs_error err;
struct hs_share *share;
struct test_guest guests[NR_GUESTS];
uint32_t ids[NR_GUESTS];

/* ---- clock: real time, which can be told to end a wait ---- */

int sleeps_left; /* -1: no limit */

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

const struct hs_clock wall = { .now_us = now_us, .sleep_us = sleep_us };

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

void check_knobs(void)
{
	char now[1024];

	read_knobs(now, sizeof(now));
	ck_assert_str_eq(now, knobs_before);
}

uint64_t ksm_run(void)
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

void set_contents(struct test_guest *g, uint32_t unique)
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

bool is_wanted(const struct test_guest *g, uint32_t page)
{
	uint32_t c = g->content[page];

	return c && c < 1000000 && c % 16;
}

struct hs_bits512 wants(const struct test_guest *g, hs_huge_nr huge)
{
	struct hs_bits512 b = { 0 };

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		if (is_wanted(g, huge * HS_BASE_PER_HUGE + i))
			hs_bits_set(&b, i);
	return b;
}

void start_guests(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		test_guest_init(&guests[i], NR_HUGE);
		set_contents(&guests[i], (i + 1) * 1000000);
		test_guest_start(&guests[i]);
	}
}

int enter_guest(uint32_t i, uint32_t *id, uint64_t *adopted)
{
	return hs_share_add_guest(
	    share, &(struct hs_share_guest){ .name = "guest", .view = guests[i].view, .remote = guests[i].remote }, id,
	    adopted, &err);
}

void open_engine(void)
{
	ck_assert_msg(hs_share_create(&share, &host, &cfg, &err) == 0, "%s", err.text);
	for (uint32_t i = 0; i < NR_GUESTS; i++) {
		uint64_t adopted;

		guests[i].dry = cfg.dry_run;
		test_guest_open(&guests[i], &host);
		ck_assert_msg(enter_guest(i, &ids[i], &adopted) == 0, "%s", err.text);
	}
}

int want_all(uint32_t i)
{
	for (hs_huge_nr h = 0; h < guests[i].nr_huge; h++) {
		struct hs_bits512 pages = wants(&guests[i], h);
		int rc = hs_share_want(share, ids[i], h, &pages, NULL);

		if (rc)
			return rc;
	}
	return 0;
}

void apply_all(void)
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
void burst_and_verify(void)
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

void share_all(void)
{
	apply_all();
	burst_and_verify();
}

void close_engine(void)
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

void check_intact(void)
{
	for (uint32_t i = 0; i < NR_GUESTS; i++)
		if (guests[i].pid)
			ck_assert_uint_eq(test_guest_bad(&guests[i]), 0);
}

int engine_scene_main(const char *name, void (*add)(TCase *t))
{
	Suite *s;
	TCase *t;
	uint64_t run;
	int rc;

#ifdef __SANITIZE_ADDRESS__
	/* Forked guests would have its shadow: terabytes of private memory that look like a guest's. */
	return hs_test_skip(name, "built with the address sanitizer");
#endif
	if (geteuid() != 0)
		return hs_test_skip(name, "needs root");
	if (hs_hostfile_u64(HS_HOST_DEFAULT.ksm_dir, "run", &run))
		return hs_test_skip(name, "this kernel has no KSM");
	if (run == 1)
		return hs_test_skip(name, "KSM runs already, for somebody else");
	host = HS_HOST_DEFAULT;
	(void)snprintf(state_dir, sizeof(state_dir), "/tmp/hs-test-engine-XXXXXX");
	if (!mkdtemp(state_dir))
		return EXIT_FAILURE;
	host.state_dir = state_dir;
	s = suite_create(name);
	t = tcase_create("engine");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 150); /* more than a burst's deadline */
	add(t);
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	clean_up();
	return rc;
}
