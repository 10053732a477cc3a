/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rivals, run for real. "artifact ingens" is the policy of HugeScope's artifact under that name, not Ingens itself:
 * candidates are the base pages of huge pages accessed in fewer than 6 of 10 rounds of 600 ms; hot huge pages are never
 * split. ksmd merges its candidates at ksmtuned's maximum.
 */
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"

static double thread_cpu_s(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int live_ksm_knob(const char *name, const char *value, struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	char path[256];
	ssize_t n;
	int fd, e;

	(void)snprintf(path, sizeof(path), "%s/%s", host.ksm_dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : write(fd, value, strlen(value));
	e = errno;
	if (fd >= 0)
		(void)close(fd);
	return n < 0 ? hs_error_set(err, -e, "cannot write %s to %s: %s", value, path, strerror(e)) : 0;
}

/* One advice on whole stretches of one guest's memory: huge pages [first, first + nr). */
static int advise(struct hs_remote *r, const struct hs_view *v, const bool *which, bool wanted, int advice,
		  struct hs_error *err)
{
	struct hs_remote_op *ops = calloc(v->nr_huge, sizeof(*ops));
	size_t nr = 0;
	int rc = ops ? 0 : hs_error_set(err, -ENOMEM, "out of memory");

	for (hs_huge_nr h = 0; !rc && h < v->nr_huge; h++) {
		const uint64_t at = hs_view_hva(v, h).v;

		if (which && which[h] != wanted)
			continue;
		if (nr && ops[nr - 1].end == at)
			ops[nr - 1].end += HS_HUGE_SIZE;
		else
			ops[nr++] = (struct hs_remote_op){ .start = at, .end = at + HS_HUGE_SIZE, .advice = advice };
	}
	if (!rc && nr)
		rc = hs_remote_madvise(r, ops, nr, err);
	free(ops);
	return rc;
}

/* What a rival sets, and its ways to set it: run comes last when it starts and first when it ends. */
static const char *const knobs[] = { "pages_to_scan", "sleep_millisecs" };
#define NR_KNOBS (sizeof(knobs) / sizeof(knobs[0]))

struct rival {
	char before[NR_KNOBS][32];
	bool started;
	struct hs_remote *remotes[SCENE_MAX_GUESTS];
	struct hs_coarse *coarse[SCENE_MAX_GUESTS];
	bool *marked[SCENE_MAX_GUESTS];
	bool aged;
	double cpu_s;
};

static int rival_end(struct scene *s, void *state, struct hs_error *err)
{
	struct rival *r = state;

	int rc = 0;

	(void)s;
	if (!r)
		return 0;
	if (r->started) {
		rc = live_ksm_knob("run", "0", err);
		for (size_t i = 0; i < NR_KNOBS; i++) {
			int one = live_ksm_knob(knobs[i], r->before[i], err);

			rc = rc ? rc : one;
		}
	}
	for (int i = 0; i < SCENE_MAX_GUESTS; i++) {
		hs_remote_close(r->remotes[i]);
		hs_coarse_destroy(r->coarse[i]);
		free(r->marked[i]);
	}
	free(r);
	return rc;
}

static int knob_read(const char *name, char *out, size_t size, struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	char path[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", host.ksm_dir, name);
	f = fopen(path, "re");
	if (!f || !fgets(out, (int)size, f)) {
		if (f)
			(void)fclose(f);
		return hs_error_set(err, -EIO, "cannot read %s", path);
	}
	(void)fclose(f);
	return 0;
}

/* Sets KSM going. Nothing is mergeable yet unless all is. */
static int rival_begin(struct scene *s, void **state, const char *pages_to_scan, const char *sleep_ms, bool all,
		       struct hs_error *err)
{
	const struct hs_host host = HS_HOST_DEFAULT;
	struct rival *r = calloc(1, sizeof(*r));
	char running[32];
	int rc = r ? knob_read("run", running, sizeof(running), err) : hs_error_set(err, -ENOMEM, "out of memory");

	*state = r;
	if (!rc && running[0] != '0')
		rc = hs_error_set(err, -EBUSY, "KSM runs already: end what drives it before it is compared");
	for (size_t i = 0; !rc && i < NR_KNOBS; i++)
		rc = knob_read(knobs[i], r->before[i], sizeof(r->before[i]), err);
	if (!rc)
		r->started = true;
	for (uint32_t i = 0; !rc && i < s->nr; i++) {
		rc = hs_remote_open(&r->remotes[i], &host, hs_guest_pid(s->guests[i]), err);
		if (!rc && all)
			rc = advise(r->remotes[i], s->views[i], NULL, true, MADV_MERGEABLE, err);
	}
	if (!rc)
		rc = live_ksm_knob("pages_to_scan", pages_to_scan, err);
	if (!rc)
		rc = live_ksm_knob("sleep_millisecs", sleep_ms, err);
	if (!rc)
		rc = live_ksm_knob("run", "1", err);
	return rc;
}

/* 100 pages each 20 ms: what the kernel ships with. */
static int default_begin(struct scene *s, void **state, struct hs_error *err)
{
	return rival_begin(s, state, "100", "20", true, err);
}

/* 1250 pages each 10 ms: the most that ksmtuned's shipped configuration goes up to. */
static int ksmtuned_begin(struct scene *s, void **state, struct hs_error *err)
{
	return rival_begin(s, state, "1250", "10", true, err);
}

static int ingens_begin(struct scene *s, void **state, struct hs_error *err)
{
	static const struct hs_coarse_config cfg = HS_COARSE_CONFIG_DEFAULT;
	int rc = rival_begin(s, state, "1250", "10", false, err);
	struct rival *r = *state;

	for (uint32_t i = 0; !rc && i < s->nr; i++) {
		rc = hs_coarse_create(&r->coarse[i], s->views[i]->nr_huge, &cfg);
		r->marked[i] = calloc(s->views[i]->nr_huge, sizeof(bool));
		if (rc || !r->marked[i])
			rc = hs_error_set(err, -ENOMEM, "out of memory");
	}
	return rc;
}

static int ingens_tick(struct scene *s, void *state, struct hs_error *err)
{
	const double start_s = thread_cpu_s();
	struct rival *r = state;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < s->nr; i++) {
		struct hs_view *v = s->views[i];
		bool *mark = calloc(v->nr_huge, sizeof(*mark)), any = false;

		if (!mark)
			return hs_error_set(err, -ENOMEM, "out of memory");
		if (r->aged)
			rc = hs_coarse_round(r->coarse[i], v, err);
		for (hs_huge_nr h = 0; !rc && h < v->nr_huge; h++) {
			const struct hs_coarse_record *c = hs_coarse_get(r->coarse[i], h);

			mark[h] = c->nr_known >= 10 && hs_coarse_count(c) < 6 && !r->marked[i][h];
			any = any || mark[h];
		}
		if (!rc && any) {
			rc = advise(r->remotes[i], v, mark, true, MADV_MERGEABLE, err);
			for (hs_huge_nr h = 0; h < v->nr_huge; h++)
				r->marked[i][h] = r->marked[i][h] || mark[h];
		}
		free(mark);
		if (!rc)
			rc = hs_view_age(v, err);
	}
	r->aged = true;
	r->cpu_s += thread_cpu_s() - start_s;
	return rc;
}

static double rival_cpu_s(void *state)
{
	return ((struct rival *)state)->cpu_s;
}

/* ---- HS-Share, as a user runs it ---- */

static int share_begin(struct scene *s, void **state, const char *cpu_percent, struct hs_error *err)
{
	char pids[SCENE_MAX_GUESTS][16], *argv[32];
	struct child *c = calloc(1, sizeof(*c));
	int n = 0;

	*state = c;
	if (!c)
		return hs_error_set(err, -ENOMEM, "out of memory");
	argv[n++] = (char *)(uintptr_t)HS_SHARE_PROGRAM;
	argv[n++] = (char *)(uintptr_t) "run";
	argv[n++] = (char *)(uintptr_t) "--quiet";
	argv[n++] = (char *)(uintptr_t) "--json";
	argv[n++] = (char *)(uintptr_t) "--keep-shared";
	for (uint32_t i = 0; i < s->nr; i++) {
		(void)snprintf(pids[i], sizeof(pids[i]), "%d", hs_guest_pid(s->guests[i]));
		argv[n++] = (char *)(uintptr_t) "--pid";
		argv[n++] = pids[i];
	}
	if (cpu_percent) {
		argv[n++] = (char *)(uintptr_t) "--cpu-percent";
		argv[n++] = (char *)(uintptr_t)cpu_percent;
	}
	argv[n] = NULL;
	return child_start(c, argv, false, err);
}

static int hs_begin(struct scene *s, void **state, struct hs_error *err)
{
	return share_begin(s, state, NULL, err);
}

static int hs10_begin(struct scene *s, void **state, struct hs_error *err)
{
	return share_begin(s, state, "10", err);
}

static int hs_tick(struct scene *s, void *state, struct hs_error *err)
{
	struct child *c = state;

	(void)s;
	if (child_poll(c, 0, err) == 1)
		return hs_error_set(err, -EPROTO, "hs-share ended by itself, with exit status %d", c->status);
	return 0;
}

static double hs_cpu_s(void *state)
{
	return child_cpu_s(state);
}

static int hs_end(struct scene *s, void *state, struct hs_error *err)
{
	(void)s;
	(void)err;
	if (state)
		child_finish(state);
	free(state);
	return 0;
}

const struct live_variant live_variants[] = {
	{ .name = "none", .what = "no sharing" },
	{ .name = "ksm-default",
	  .what = "KSM as the kernel ships it (100 pages each 20 ms), all memory mergeable",
	  .begin = default_begin,
	  .end = rival_end },
	{ .name = "ksm-max",
	  .what = "KSM at ksmtuned's maximum (1250 pages each 10 ms), all memory mergeable",
	  .begin = ksmtuned_begin,
	  .end = rival_end },
	{ .name = "ingens",
	  .what = "artifact ingens: base pages of cold huge pages only, ksmd at ksmtuned's maximum",
	  .begin = ingens_begin,
	  .tick = ingens_tick,
	  .cpu_s = rival_cpu_s,
	  .end = rival_end },
	{ .name = "hs-share",
	  .what = "HS-Share",
	  .begin = hs_begin,
	  .tick = hs_tick,
	  .cpu_s = hs_cpu_s,
	  .end = hs_end },
	{ .name = "hs-share-10",
	  .what = "HS-Share with --cpu-percent 10",
	  .begin = hs10_begin,
	  .tick = hs_tick,
	  .cpu_s = hs_cpu_s,
	  .end = hs_end },
};
const size_t live_nr_variants = sizeof(live_variants) / sizeof(live_variants[0]);
