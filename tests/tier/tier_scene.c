/* SPDX-License-Identifier: Apache-2.0 */
#include "tier_scene.h"

#include <time.h>
#include <unistd.h>

struct hs_host host = HS_HOST_DEFAULT;
struct hs_error err;
struct hs_guest *guest;
struct hs_view *view;

/* ---- time ---- */

static uint64_t now_us(void *ctx)
{
	struct timespec t;

	(void)ctx;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int sleep_us(void *ctx, uint64_t us)
{
	struct timespec t = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };

	(void)ctx;
	(void)nanosleep(&t, NULL);
	return 0;
}

struct hs_clock real_time = { .now_us = now_us, .sleep_us = sleep_us };

bool before(uint64_t *deadline_us, unsigned int seconds)
{
	if (!*deadline_us)
		*deadline_us = now_us(NULL) + seconds * UINT64_C(1000000);
	else
		(void)sleep_us(NULL, 2000);
	return now_us(NULL) < *deadline_us;
}

/* ---- the guest ---- */

void start_guest(const struct hs_guest_params *params)
{
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);

	cfg.params = *params;
	ck_assert_msg(hs_guest_start(&guest, &cfg, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_guest_wait_ready(guest, 60000, NULL, &err) == 0, "%s", err.text);
	ck_assert_msg(hs_view_open_host(&view, &host, hs_guest_pid(guest), NULL, 0, &err) == 0, "%s", err.text);
}

void stop_guest(void)
{
	hs_view_close(view);
	hs_guest_stop(guest);
}

hs_huge_nr view_huge(uint32_t huge)
{
	const hs_hva at = hs_guest_hva(guest, huge);

	for (hs_huge_nr h = 0; h < view->nr_huge; h++)
		if (hs_view_hva(view, h).v == at.v)
			return h;
	ck_abort_msg("the view has no huge page at %llx", (unsigned long long)at.v);
	return 0;
}

void check_bytes(void)
{
	struct hs_guest_verified v;

	ck_assert_msg(hs_guest_verify(guest, &v, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(v.checked_pages, hs_guest_layout(guest)->nr_pages);
	ck_assert_uint_eq(v.bad_pages, 0);
}

int tier_scene_main(const char *name, void (*add)(TCase *t))
{
	Suite *s;
	TCase *t;
	int rc;

	if (geteuid())
		return hs_test_skip(name, "moving other processes' memory needs root");
	rc = own_swap_make(name);
	if (rc)
		return rc;
	s = suite_create(name);
	t = tcase_create("live");
	tcase_set_timeout(t, 120);
	add(t);
	suite_add_tcase(s, t);
	rc = hs_test_run(s);
	own_swap_remove();
	return rc;
}
