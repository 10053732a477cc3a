/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGKILL of hs-share at any instant: most of the kills are aimed inside a system call that it makes in a guest (the
 * guest has a tracer at that moment), the others at random. After each, the guest's work goes on and nobody traces it;
 * at the end every byte of every guest is compared, and a last run gives back what the killed ones left.
 *
 * HS_KILLS: how many (default 12).
 */
#include "hs_test.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "scene.h"

#define NR_GUESTS 2
#define NR_HUGE   10     /* a run has to be short: a thousand are killed */
#define MAX_HOLDS 12     /* of a guest in one run that are aimed at; it has many more when it unshares */
#define RATE      200000 /* accesses a second; more would leave hs-share no processor */

static struct scene scene;

static int tracer_of(pid_t pid)
{
	char path[64], line[256];
	int tracer = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "TracerPid: %d", &tracer) == 1)
			break;
	(void)fclose(f);
	return tracer;
}

static void start_run(struct child *c, struct hs_error *err)
{
	static char pids[NR_GUESTS][16];
	char *argv[] = { (char *)(uintptr_t)HS_SHARE_PROGRAM,
			 (char *)(uintptr_t) "run",
			 (char *)(uintptr_t) "--pid",
			 pids[0],
			 (char *)(uintptr_t) "--pid",
			 pids[1],
			 (char *)(uintptr_t) "--rounds",
			 (char *)(uintptr_t) "3",
			 (char *)(uintptr_t) "--interval",
			 (char *)(uintptr_t) "20",
			 (char *)(uintptr_t) "--min-memory",
			 (char *)(uintptr_t) "8M",
			 (char *)(uintptr_t) "--cycles",
			 (char *)(uintptr_t) "1",
			 (char *)(uintptr_t) "--quiet",
			 (char *)(uintptr_t) "--json",
			 NULL };

	for (int i = 0; i < NR_GUESTS; i++)
		(void)snprintf(pids[i], sizeof(pids[i]), "%d", hs_guest_pid(scene.guests[i]));
	ck_assert_msg(child_start(c, argv, false, err) == 0, "%s", err->text);
}

/*
 * Kills it inside its nth hold of a guest (counted from 0), or after `us`, whichever comes first. True: inside one.
 * *seen: the holds that could be seen before.
 */
static bool kill_at(struct child *c, unsigned int nth, uint64_t us, unsigned int *seen)
{
	const uint64_t end_us = scene_now_us() + us;
	siginfo_t ended = { .si_pid = 0 };
	bool held = false;

	*seen = 0;
	while (scene_now_us() < end_us) {
		bool now = false;

		for (int i = 0; i < NR_GUESTS; i++)
			now = now || tracer_of(hs_guest_pid(scene.guests[i])) > 0;
		if (now && !held && (*seen)++ == nth) {
			(void)kill(c->pid, SIGKILL);
			return true;
		}
		held = now;
		if (waitid(P_PID, (id_t)c->pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid)
			break;
	}
	(void)kill(c->pid, SIGKILL);
	return false;
}

static void check_guests(int round)
{
	struct hs_error err = { "" };

	for (int i = 0; i < NR_GUESTS; i++) {
		struct hs_guest_stats st;
		const pid_t pid = hs_guest_pid(scene.guests[i]);
		const uint64_t end_us = scene_now_us() + 5000000;

		while (tracer_of(pid) != 0 && scene_now_us() < end_us)
			(void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		ck_assert_msg(tracer_of(pid) == 0, "kill %d: guest %d is still traced", round, i);
		ck_assert_msg(hs_guest_alive(scene.guests[i], &err) == 0, "kill %d: %s", round, err.text);
		ck_assert_msg(hs_guest_stats(scene.guests[i], &st, &err) == 0, "kill %d: %s", round, err.text);
		ck_assert_msg(st.hot_errors == 0, "kill %d", round);
	}
}

START_TEST(test_service_kill_at_any_instant)
{
	const char *env = getenv("HS_KILLS");
	const int kills = env ? atoi(env) : 12;
	struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_PROCESS);
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_ksm_counters ksm;
	struct hs_error err = { "" };
	struct hs_guest_stats st;
	uint64_t checked, bad, began_us, seed = (uint64_t)time(NULL);
	unsigned int holds = MAX_HOLDS, seen;
	int inside = 0;
	struct child c;
	json_t *j;

	ck_assert_int_gt(kills, 0);
	(void)printf("seed %llu\n", (unsigned long long)seed);
	cfg.params.nr_huge = NR_HUGE;
	cfg.params.rate = RATE;
	ck_assert_msg(scene_start(&scene, cfg, NR_GUESTS, &err) == 0, "%s", err.text);
	began_us = scene_now_us();
	for (int k = 0; k < kills; k++) {
		seed = hs_guest_next(seed);
		start_run(&c, &err);
		/* Four of five inside a call: in one of as many as the last run had that ended before its turn. */
		if (k % 5 == 0) {
			(void)kill_at(&c, UINT32_MAX, 1 + (seed >> 8) % 1500000, &seen);
		} else if (kill_at(&c, (unsigned int)(seed >> 8) % holds, 5000000, &seen)) {
			inside++;
			holds += holds < MAX_HOLDS; /* a later one next time */
		} else {
			holds = seen ? seen : 1;
		}
		child_finish(&c);
		check_guests(k);
	}
	(void)printf("%d kills, %d of them inside a system call in a guest, %.2f s each\n", kills, inside,
		     (double)(scene_now_us() - began_us) / 1e6 / kills);
	ck_assert_int_ge(inside, kills / 4);
	/* A run that is left alone gives back what the killed ones left, and undoes its sharing. */
	start_run(&c, &err);
	ck_assert_int_eq(child_poll(&c, 60000, &err), 1);
	j = child_json(&c, &err);
	ck_assert_msg(j != NULL, "%s", err.text);
	json_decref(j);
	child_finish(&c);
	ck_assert_int_eq(hs_ksm_counters(&host, &ksm, &err), 0);
	ck_assert_uint_eq(ksm.pages_sharing, 0);
	ck_assert_msg(scene_verify(&scene, &checked, &bad, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(checked, NR_GUESTS * NR_HUGE * 512);
	ck_assert_uint_eq(bad, 0);
	for (int i = 0; i < NR_GUESTS; i++) {
		ck_assert_int_eq(hs_guest_stats(scene.guests[i], &st, &err), 0);
		ck_assert_uint_gt(st.accesses, 0);
	}
	scene_stop(&scene);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/kill");
	TCase *c = tcase_create("kill");

	tcase_add_test(c, test_service_kill_at_any_instant);
	tcase_set_timeout(c, 0);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
