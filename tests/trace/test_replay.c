/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run over simulated guests is recorded, and its trace replayed through the pipeline: the same decisions, page by
 * page. The guests' lives are made up from a seed: heat that moves, writes, memory given back, mappings that split and
 * collapse by themselves, failing calls, interrupts; calls take time, so that the fine phase's budget matters.
 */
#include "hs_test.h"

#include <errno.h>
#include <string.h>

#include "hs/sim_view.h"
#include "trace/pipeline_trace.h"

#define NR_GUESTS 3
#define NR_HUGE   15
#define NR_PAGES  (NR_HUGE * HS_BASE_PER_HUGE)
#define CYCLES    4

struct scene {
	uint64_t seed;
	struct hs_sim_clock sim;
	struct hs_clock clock;
	struct hs_view *views[NR_GUESTS]; /* the simulated ones, behind the recording ones */
	struct hs_view_ops ops[NR_GUESTS];
	bool dead[NR_GUESTS];
	struct hs_trace_writer *w;
	struct hs_recorder *rec;
	struct hs_pipeline *p;
	char *bytes;
	size_t nr_bytes;
	struct hs_guest_report reports[NR_GUESTS];
	struct hs_pipeline_totals totals;
	struct hs_shared_huge sharing[NR_GUESTS][NR_HUGE + 2 * CYCLES]; /* of the test's engine */
	uint64_t nr_unshared, nr_broken;
	uint64_t nr_after; /* calls that were recorded after the last cycle: what was brought back at the end */
};

static struct scene *scene; /* the one that is being recorded */

static int reopen(struct hs_view *v, struct hs_view **out, struct hs_error *err);

/* splitmix64 */
static uint64_t draw(struct scene *s, uint64_t below)
{
	uint64_t z = s->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

static hs_base_nr any_page(struct scene *s)
{
	return (hs_base_nr)draw(s, NR_PAGES);
}

/* A third of the huge pages is evenly hot, a third in some of its base pages, the rest is touched now and then. */
static void live(struct scene *s, struct hs_view *v)
{
	for (hs_huge_nr h = 0; h < NR_HUGE; h++) {
		const uint64_t nr = h % 3 == 0 ? 200 : h % 3 == 1 ? 1 + h : draw(s, h % 2 ? 5000 : 40) == 0;

		for (uint64_t i = 0; i < nr; i++)
			hs_sim_access(v, h * HS_BASE_PER_HUGE + (hs_base_nr)draw(s, h % 3 == 0 ? 512 : 2 + h), false);
	}
	if (draw(s, 3) == 0)
		hs_sim_write(v, any_page(s), draw(s, 50));
	if (draw(s, 20) == 0)
		hs_sim_break_huge(v, (hs_huge_nr)draw(s, NR_HUGE));
	if (draw(s, 20) == 0)
		hs_sim_collapse(v, (hs_huge_nr)draw(s, NR_HUGE));
	if (draw(s, 30) == 0) {
		const hs_base_nr at = any_page(s);

		hs_sim_drop(v, at, at + (hs_base_nr)draw(s, NR_PAGES - at > 700 ? 700 : NR_PAGES - at));
	}
	if (draw(s, 25) == 0)
		hs_sim_set_unknown(v, (hs_huge_nr)draw(s, NR_HUGE), draw(s, 2));
	if (draw(s, 25) == 0)
		hs_sim_fail_restore(v, (hs_huge_nr)draw(s, NR_HUGE), 2, -EAGAIN);
	if (draw(s, 25) == 0)
		hs_sim_fail_split(v, (hs_huge_nr)draw(s, NR_HUGE), draw(s, 2) ? -EAGAIN : 0);
}

static void run_guests(void *ctx, uint64_t us)
{
	struct scene *s = ctx;

	(void)us;
	for (int g = 0; g < NR_GUESTS; g++)
		if (!s->dead[g])
			live(s, s->views[g]);
}

static struct hs_view *new_guest(struct scene *s, uint32_t g, uint32_t nr_huge)
{
	const struct hs_sim_config sc = { .nr_huge = nr_huge, .nr_regions = 1 + g, .state = HS_MAP_HUGE, .guest = g };
	struct hs_view *v;

	ck_assert_int_eq(hs_view_open_sim(&v, &sc), 0);
	/* Mostly few contents, many times, some zero; and some that are each page's own. */
	for (hs_base_nr p = 0; p < nr_huge * HS_BASE_PER_HUGE; p++)
		hs_sim_set(v, p, draw(s, 4) ? draw(s, 3000) : 1000000 * (g + 1) + p);
	hs_sim_set_cost(v, &s->sim, draw(s, 2000), draw(s, 9000));
	s->ops[g] = *v->ops;
	s->ops[g].reopen = reopen;
	v->ops = &s->ops[g];
	return v;
}

/* Memory was added to the guest: its view is another one from then on. */
static int reopen(struct hs_view *v, struct hs_view **out, struct hs_error *err)
{
	struct scene *s = scene;

	for (uint32_t g = 0; g < NR_GUESTS; g++)
		if (s->views[g] == v && draw(s, 4)) {
			*out = s->views[g] = new_guest(s, g, v->nr_huge + 2);
			memset(s->sharing[g], 0, sizeof(s->sharing[g]));
			return 0;
		}
	return hs_error_set(err, -EAGAIN, "not now");
}

static void add_guest(struct scene *s, uint32_t g)
{
	char name[16];
	/* Two groups: what is in one must not count for the other, in the replay either. */
	const struct hs_guest_options opt = { .name = name, .group = g == 2 ? "other" : "" };

	(void)snprintf(name, sizeof(name), "guest %u", g);
	s->views[g] = new_guest(s, g, NR_HUGE);
	ck_assert_int_eq(hs_pipeline_add_view_as(s->p, &opt, s->views[g], NULL), 0);
}

static void mishaps(struct scene *s)
{
	struct hs_sim_stats st;
	const uint32_t g = (uint32_t)draw(s, NR_GUESTS);

	s->sim.cancel_at_us = 0;
	hs_sim_stats(s->views[g], &st);
	switch (draw(s, 5)) {
	case 0:
		s->sim.cancel_at_us = s->sim.now_us + draw(s, 9000000);
		break;
	case 1:
		hs_sim_fail_call(s->views[g], st.nr_calls + 1 + draw(s, 60), -EIO);
		break;
	case 2:
		hs_sim_fail_call(s->views[g], st.nr_calls + 1 + draw(s, 300), -ESRCH);
		break;
	case 3: /* the first call of a cycle reads the map again */
		hs_sim_fail_call(s->views[g], st.nr_calls + 1, -ESTALE);
		break;
	default:
		break;
	}
}

/* ---- an engine for simulated guests: what is wanted is merged at the end of each cycle, and looked at then ---- */

static int engine_enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*id = guest->number;
	return 0;
}

static int engine_want(void *ctx, uint32_t guest, hs_huge_nr huge, const struct hs_bits512 *pages,
		       const struct hs_bits512 *allowed)
{
	struct scene *s = ctx;

	(void)allowed;
	s->sharing[guest][huge].wanted = *pages;
	s->sharing[guest][huge].breaks = 0;
	return 0;
}

static void engine_state(void *ctx, uint32_t guest, hs_huge_nr huge, struct hs_shared_huge *out)
{
	*out = ((struct scene *)ctx)->sharing[guest][huge];
}

static int engine_unshare(void *ctx, uint32_t guest, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
			  struct hs_error *err)
{
	struct scene *s = ctx;

	(void)err;
	*out = (struct hs_share_unshared){ .nr_huge = nr };
	for (size_t i = 0; i < nr; i++) {
		for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
			hs_sim_unmerge(s->views[guest], huge[i] * HS_BASE_PER_HUGE + k);
		memset(&s->sharing[guest][huge[i]], 0, sizeof(s->sharing[0][0]));
		hs_sim_collapse(s->views[guest], huge[i]);
		s->nr_unshared++;
	}
	return 0;
}

static void engine_merge_huge(struct scene *s, struct hs_view *v, hs_huge_nr h, struct hs_shared_huge *of)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	struct hs_base_sample sample;
	struct hs_bits512 now = { { 0 } };

	hs_sim_set_cost(v, &s->sim, 0, 0); /* no time passes for the guests: nothing changes under our hands */
	if (hs_view_sample_base(v, &h, 1, &sample, NULL) || hs_view_frames(v, h, frames, NULL))
		return;
	for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
		if (frames[k].flags & (HS_FRAME_KSM | HS_FRAME_ZERO))
			hs_bits_set(&now, k);
	now = hs_bits_and(now, of->shared);
	of->breaks += hs_bits_count(&of->shared) - hs_bits_count(&now);
	s->nr_broken += hs_bits_count(&of->shared) - hs_bits_count(&now);
	if (hs_bits_count(&of->wanted))
		hs_sim_break_huge(v, h);
	of->shared = hs_bits_and(of->wanted, sample.present);
	for (unsigned int k = 7; k < HS_BASE_PER_HUGE; k += 50) /* held by somebody */
		hs_bits_clear(&of->shared, k);
	for (unsigned int k = 0; k < HS_BASE_PER_HUGE; k++)
		if (hs_bits_test(&of->shared, k))
			hs_sim_merge(v, h * HS_BASE_PER_HUGE + k);
}

/* Not everything can be marked each time. */
static int engine_apply(void *ctx, uint32_t guest, struct hs_share_applied *out, struct hs_error *err)
{
	(void)guest;
	(void)err;
	*out = (struct hs_share_applied){ .nr_tried = 1, .nr_applied = draw(ctx, 10) != 0, .pages_marked = 1 };
	return 0;
}

static int engine_burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	struct scene *s = ctx;

	(void)clock;
	(void)err;
	*out = (struct hs_share_burst){ .settled = draw(s, 6) != 0, .pages_scanned = draw(s, 10) };
	out->whole = out->settled;
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		for (hs_huge_nr h = 0; h < s->views[g]->nr_huge; h++)
			if (hs_bits_count(&s->sharing[g][h].wanted))
				engine_merge_huge(s, s->views[g], h, &s->sharing[g][h]);
	return 0;
}

#define SCOPED 1000 /* seeds from here on are of runs in the stricter scopes */

static struct hs_pipeline_config config_of(uint64_t seed)
{
	struct hs_pipeline_config cfg = hs_pipeline_config_default;

	cfg.share = hs_share_config_default;
	cfg.observe = true;
	cfg.fine_all = seed % 3 != 0;
	cfg.no_fine = seed % 7 == 6;
	cfg.look_again = 2;
	cfg.fine.max_split = 1 + (uint32_t)(seed % 5) * 8;
	cfg.scope = (uint8_t)(seed < SCOPED ? HS_SCOPE_GROUP : seed % 2 ? HS_SCOPE_ZERO : HS_SCOPE_GUEST);
	return cfg;
}

/* Records a run; s->bytes is its trace. */
static void record(struct scene *s, uint64_t seed, bool merging)
{
	static const struct hs_merge_ops engine = { .name = "test engine",
						    .merges = true,
						    .enter = engine_enter,
						    .want = engine_want,
						    .state = engine_state,
						    .unshare = engine_unshare,
						    .apply = engine_apply,
						    .burst = engine_burst };
	struct hs_pipeline_config cfg = config_of(seed);
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_trace_header header;
	struct hs_trace_writer_stats st;
	struct hs_error err = { "" };
	uint64_t news;

	memset(s, 0, sizeof(*s));
	scene = s;
	s->seed = seed;
	s->sim = (struct hs_sim_clock){ .run = run_guests, .ctx = s, .now_us = 5000000000 };
	s->clock = hs_sim_clock_ops(&s->sim);
	cfg.fine_all = cfg.fine_all && !merging;
	hs_record_header(&header, &host, &cfg);
	header.merging = merging;
	ck_assert_int_eq(hs_trace_writer_create(&s->w, open_memstream(&s->bytes, &s->nr_bytes), "m", &header, &err), 0);
	ck_assert_int_eq(hs_recorder_create(&s->rec, s->w, &s->clock, &err), 0);
	hs_recorder_part_contents(s->rec, cfg.scope == HS_SCOPE_ZERO);
	ck_assert_int_eq(hs_pipeline_create(&s->p, &host, &cfg, hs_recorder_clock(s->rec), &err), 0);
	if (merging)
		ck_assert_int_eq(hs_pipeline_set_merge(s->p, &(struct hs_merge){ &engine, s }), 0);
	hs_record_pipeline(s->p, s->rec);
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		add_guest(s, g);
	for (int i = 0; i < (merging ? 2 * CYCLES : CYCLES); i++) {
		mishaps(s);
		(void)!hs_pipeline_cycle(s->p, &news, &err);
		ck_assert_int_eq(hs_trace_flush(s->w, &err), 0);
	}
	ck_assert_uint_eq(hs_pipeline_report(s->p, s->reports, NR_GUESTS), NR_GUESTS);
	hs_pipeline_totals(s->p, &s->totals);
	hs_trace_writer_stats(s->w, &st);
	s->nr_after = st.nr_records;
	s->sim.run = NULL; /* their views are closed one by one */
	hs_pipeline_destroy(s->p);
	hs_trace_writer_stats(s->w, &st);
	s->nr_after = st.nr_records - s->nr_after - NR_GUESTS;
	ck_assert_msg(hs_recorder_error(s->rec, &err) == 0, "%s", err.text);
	hs_recorder_destroy(s->rec);
	ck_assert_msg(hs_trace_writer_close(s->w, &err) == 0, "%s", err.text);
}

static struct hs_replay *replay_of(const struct scene *s)
{
	struct hs_trace_reader *reader;
	struct hs_error err = { "" };
	struct hs_replay *r;

	ck_assert_msg(hs_trace_reader_create(&reader, fmemopen(s->bytes, s->nr_bytes, "r"), "m", &err) == 0, "%s",
		      err.text);
	ck_assert_msg(hs_replay_create(&r, reader, &err) == 0, "%s", err.text);
	return r;
}

static void same_report(const struct hs_guest_report *a, const struct hs_guest_report *b)
{
	ck_assert_str_eq(a->name, b->name);
	ck_assert_str_eq(a->group, b->group);
	ck_assert_int_eq(a->gone, b->gone);
	ck_assert_int_eq(a->look_obstacle.error, b->look_obstacle.error);
	ck_assert_uint_eq(a->hot, b->hot);
	ck_assert_uint_eq(a->cold, b->cold);
	ck_assert_uint_eq(a->hot_bloat, b->hot_bloat);
	ck_assert_uint_eq(a->zero_pages, b->zero_pages);
	ck_assert_uint_eq(a->cold_identical, b->cold_identical);
	ck_assert_uint_eq(a->could_save_bytes, b->could_save_bytes);
	ck_assert_mem_eq(a->by_reason, b->by_reason, sizeof(a->by_reason));
	ck_assert_mem_eq(a->skew, b->skew, sizeof(a->skew));
}

/* What happens in the scenes of some seeds: they are no worth if nothing does. */
static struct {
	uint64_t decisions, shares, splits, compared, again, unshared, broken, settled, refused, gone, troubled,
	    cancelled;
} events;

static void count_events(const struct scene *s, bool merging)
{
	struct hs_trace_reader *reader;
	const struct hs_trace_record *rec;

	ck_assert_int_eq(hs_trace_reader_create(&reader, fmemopen(s->bytes, s->nr_bytes, "r"), "m", NULL), 0);
	while (hs_trace_next(reader, &rec, NULL) == 1) {
		const size_t nr = rec->type == HS_TRACE_DECISIONS ? rec->nr : 0;

		if (merging) {
			events.settled += rec->type == HS_TRACE_SETTLED;
			for (size_t i = 0; i < nr; i++)
				events.refused += rec->u.decisions[i].decision.reason == HS_WHY_DOES_NOT_MERGE;
			continue;
		}
		events.again += rec->type == HS_TRACE_GUEST && rec->guest >= NR_GUESTS;
		events.gone += rec->error == -ESRCH;
		events.troubled += rec->error == -EIO;
		events.cancelled += rec->error == -ECANCELED;
		events.decisions += nr;
		for (size_t i = 0; i < nr; i++)
			events.shares += rec->u.decisions[i].decision.action == HS_ACT_SHARE;
	}
	hs_trace_reader_destroy(reader);
	if (merging) {
		events.unshared += s->nr_unshared;
		events.broken += s->nr_broken;
	} else {
		events.splits += s->totals.fine.nr_split;
		events.compared += s->totals.pages_compared;
	}
}

static void replay_observing(const struct scene *s)
{
	struct hs_guest_report again[NR_GUESTS];
	struct hs_pipeline_totals totals;
	struct hs_replay_stats st;
	struct hs_error err = { "" };
	struct hs_replay *r = replay_of(s);
	struct hs_pipeline *p;

	ck_assert_msg(hs_replay_pipeline(&p, r, &err) == 0, "%s", err.text);
	hs_replay_stats(r, &st);
	ck_assert_uint_eq(st.nr_differ, 0);
	ck_assert_uint_eq(st.nr_passed, s->nr_after);
	ck_assert_uint_gt(st.nr_answered, 20);
	ck_assert_uint_eq(hs_pipeline_report(p, again, NR_GUESTS), NR_GUESTS);
	for (int g = 0; g < NR_GUESTS; g++)
		same_report(&again[g], &s->reports[g]);
	hs_pipeline_totals(p, &totals);
	ck_assert_uint_eq(totals.pages_hashed, s->totals.pages_hashed);
	ck_assert_uint_eq(totals.pages_compared, s->totals.pages_compared);
	ck_assert_uint_eq(totals.compare_failed, s->totals.compare_failed);
	ck_assert_uint_eq(totals.fine.nr_split, s->totals.fine.nr_split);
	hs_pipeline_destroy(p);
	hs_replay_destroy(r);
}

static void replay_merging(const struct scene *s)
{
	struct hs_replay_stats st;
	struct hs_error err = { "" };
	struct hs_replay *r = replay_of(s);
	struct hs_pipeline *p;

	ck_assert_msg(hs_replay_pipeline(&p, r, &err) == 0, "%s", err.text);
	hs_replay_stats(r, &st);
	ck_assert_uint_eq(st.nr_differ, 0);
	ck_assert_uint_gt(st.nr_decisions, 0);
	ck_assert_uint_eq(st.nr_passed, s->nr_after);
	hs_pipeline_destroy(p);
	hs_replay_destroy(r);
}

static void record_and_replay(struct scene *s, uint64_t seed, bool merging)
{
	record(s, seed, merging);
	count_events(s, merging);
	if (merging)
		replay_merging(s);
	else
		replay_observing(s);
	free(s->bytes);
}

/*
 * Each seed in a run that observes, and in one that merges: there what is shared decides as well, guests that write
 * break it, hot ones are unshared, some banned. The bounds are for eight seeds.
 */
START_TEST(test_service_replay_makes_the_same_decisions)
{
	const uint64_t nr = (uint64_t)hs_test_nr(HS_TEST_SANITIZED ? 4 : 8, 20);
	static struct scene s;

	memset(&events, 0, sizeof(events));
	for (uint64_t seed = 0; seed < nr; seed++) {
		record_and_replay(&s, seed, false);
		record_and_replay(&s, seed, true);
	}
	for (uint64_t seed = SCOPED; nr >= 8 && seed < SCOPED + 4; seed++)
		record_and_replay(&s, seed, seed >= SCOPED + 2);
	if (nr < 8)
		return;
	ck_assert_uint_gt(events.decisions, 280);
	ck_assert_uint_gt(events.shares, 40);
	ck_assert_uint_gt(events.splits, 20);
	ck_assert_uint_gt(events.compared, 1600);
	ck_assert_uint_gt(events.again, 1);
	ck_assert_uint_gt(events.unshared, 1);
	ck_assert_uint_gt(events.broken, 12);
	ck_assert_uint_gt(events.settled, 40);
	ck_assert_uint_gt(events.refused, 4);
	ck_assert_uint_gt(events.gone, 1);
	ck_assert_uint_gt(events.troubled, 1);
	ck_assert_uint_gt(events.cancelled, 1);
}
END_TEST

/* The same records under a header with another policy. */
static void change_policy(struct scene *s)
{
	struct hs_trace_reader *reader;
	struct hs_trace_header header;
	const struct hs_trace_record *rec;
	struct hs_trace_writer *w;
	char *bytes;
	size_t nr;

	ck_assert_int_eq(hs_trace_reader_create(&reader, fmemopen(s->bytes, s->nr_bytes, "r"), "m", NULL), 0);
	header = *hs_trace_reader_header(reader);
	header.settings.policy.min_gain_cold = 512;
	ck_assert_int_eq(hs_trace_writer_create(&w, open_memstream(&bytes, &nr), "m", &header, NULL), 0);
	while (hs_trace_next(reader, &rec, NULL) == 1)
		ck_assert_int_eq(hs_trace_write(w, rec, NULL), 0);
	ck_assert_int_eq(hs_trace_writer_close(w, NULL), 0);
	hs_trace_reader_destroy(reader);
	free(s->bytes);
	s->bytes = bytes;
	s->nr_bytes = nr;
}

/* Another policy on the same trace decides otherwise, and that is noticed. */
START_TEST(test_service_replay_notices_other_decisions)
{
	uint64_t differ = 0;

	/* With these seeds the fine phase looks at all that is hot: the policy changes no call. */
	for (uint64_t seed = 1; seed < 12 && !differ; seed += 3) {
		static struct scene s;
		struct hs_replay_stats st;
		struct hs_error err = { "" };
		struct hs_pipeline *p;
		struct hs_replay *r;

		record(&s, seed, false);
		change_policy(&s);
		r = replay_of(&s);
		ck_assert_msg(hs_replay_pipeline(&p, r, &err) == 0, "%s", err.text);
		hs_replay_stats(r, &st);
		differ += st.nr_differ;
		hs_pipeline_destroy(p);
		hs_replay_destroy(r);
		free(s.bytes);
	}
	ck_assert_uint_gt(differ, 0);
}
END_TEST

/* A trace that ends too early, or a pipeline that goes another way, ends the replay with the reason. */
START_TEST(test_service_replay_of_a_trace_cut_off)
{
	static struct scene s;
	struct hs_error err = { "" };
	struct hs_pipeline *p;
	struct hs_replay *r;

	record(&s, 1, false);
	s.nr_bytes = s.nr_bytes - s.nr_bytes / 10;
	r = replay_of(&s);
	ck_assert_int_eq(hs_replay_pipeline(&p, r, &err), -ENODATA);
	ck_assert_ptr_null(p);
	ck_assert_ptr_nonnull(strstr(err.text, "cut off"));
	hs_replay_destroy(r);
	free(s.bytes);
}
END_TEST

START_TEST(test_service_replay_goes_another_way)
{
	static struct scene s;
	struct hs_replay_next step;
	struct hs_huge_sample sample;
	struct hs_error err = { "" };
	struct hs_replay *r;

	record(&s, 1, false);
	r = replay_of(&s);
	ck_assert_int_eq(hs_replay_next(r, &step, &err), 0);
	ck_assert_int_eq(step.step, HS_REPLAY_GUEST);
	ck_assert_str_eq(step.guest.name, "guest 0");
	ck_assert_str_eq(step.guest.view, "simulated");
	/* the recorded run took another guest in next */
	ck_assert_int_eq(hs_view_sample_huge(step.view, 0, 1, &sample, &err), -ECANCELED);
	ck_assert_int_eq(hs_view_age(step.view, &err), -ECANCELED);
	ck_assert_int_eq(hs_replay_clock(r)->sleep_us(hs_replay_clock(r)->ctx, 1), -ECANCELED);
	hs_view_close(step.view);
	ck_assert_int_eq(hs_replay_next(r, &step, &err), -EILSEQ);
	ck_assert_ptr_nonnull(strstr(err.text, "guest 0 was asked for: huge page samples, where the trace has: guest"));
	hs_replay_destroy(r);
	free(s.bytes);
}
END_TEST

/* Equal contents have equal numbers, different ones different numbers, zero is 0; that is all that is in a trace. In
 * scope zero (the second time) each base page has numbers of its own. */
START_TEST(test_service_replay_numbers_for_contents)
{
	const bool parted = _i == 1;
	static struct scene s;
	static uint32_t number_of[4000000]; /* by the simulated content's id; 0: not seen */
	static uint64_t id_of[200000];      /* by number */
	struct hs_trace_reader *reader;
	const struct hs_trace_record *rec;
	uint64_t pages = 0;

	/* Dead guests: what they hold at the end is what was read. */
	memset(&s, 0, sizeof(s));
	for (int g = 0; g < NR_GUESTS; g++)
		s.dead[g] = true;
	{
		const struct hs_pipeline_config cfg = config_of(1);
		const struct hs_host host = HS_HOST_DEFAULT;
		struct hs_trace_header header;
		uint64_t news;

		s.sim = (struct hs_sim_clock){ .now_us = 1 };
		s.clock = hs_sim_clock_ops(&s.sim);
		hs_record_header(&header, &host, &cfg);
		ck_assert_int_eq(
		    hs_trace_writer_create(&s.w, open_memstream(&s.bytes, &s.nr_bytes), "m", &header, NULL), 0);
		ck_assert_int_eq(hs_recorder_create(&s.rec, s.w, &s.clock, NULL), 0);
		hs_recorder_part_contents(s.rec, parted);
		ck_assert_int_eq(hs_pipeline_create(&s.p, &host, &cfg, hs_recorder_clock(s.rec), NULL), 0);
		hs_record_pipeline(s.p, s.rec);
		for (uint32_t g = 0; g < NR_GUESTS; g++)
			add_guest(&s, g);
		ck_assert_int_eq(hs_pipeline_cycle(s.p, &news, NULL), 0);
		ck_assert_int_eq(hs_trace_flush(s.w, NULL), 0);
	}
	ck_assert_int_eq(hs_trace_reader_create(&reader, fmemopen(s.bytes, s.nr_bytes, "r"), "m", NULL), 0);
	while (hs_trace_next(reader, &rec, NULL) == 1) {
		for (unsigned int i = 0; rec->type == HS_TRACE_CONTENT && i < HS_BASE_PER_HUGE; i++) {
			const hs_base_nr page = rec->u.content.huge * HS_BASE_PER_HUGE + i;
			const uint32_t n = rec->u.content.numbers[i];
			uint64_t id;

			if (!hs_bits_test(&rec->u.content.got, i))
				continue;
			id = hs_sim_content(s.views[rec->guest], page);
			ck_assert_uint_eq(n == 0, id == 0);
			if (!n)
				continue;
			if (parted)
				id = 1 + (uint64_t)rec->guest * NR_PAGES + page;
			ck_assert(number_of[id] == 0 || number_of[id] == n);
			ck_assert(id_of[n] == 0 || id_of[n] == id);
			number_of[id] = n;
			id_of[n] = id;
			pages++;
		}
	}
	ck_assert_uint_gt(pages, (uint64_t)NR_GUESTS * NR_PAGES / 2);
	hs_trace_reader_destroy(reader);
	hs_pipeline_destroy(s.p);
	hs_recorder_destroy(s.rec);
	ck_assert_int_eq(hs_trace_writer_close(s.w, NULL), 0);
	free(s.bytes);
}
END_TEST

/* A full disk ends the recording, not the run. */
START_TEST(test_service_replay_recording_fails_alone)
{
	const struct hs_pipeline_config cfg = config_of(1);
	const struct hs_host host = HS_HOST_DEFAULT;
	static struct scene s;
	struct hs_trace_header header;
	struct hs_error err = { "" };
	uint64_t news;

	memset(&s, 0, sizeof(s));
	s.sim = (struct hs_sim_clock){ .run = run_guests, .ctx = &s };
	s.clock = hs_sim_clock_ops(&s.sim);
	hs_record_header(&header, &host, &cfg);
	ck_assert_int_eq(hs_trace_writer_create(&s.w, fopen("/dev/full", "w"), "/dev/full", &header, &err), 0);
	ck_assert_int_eq(hs_recorder_create(&s.rec, s.w, &s.clock, &err), 0);
	ck_assert_int_eq(hs_pipeline_create(&s.p, &host, &cfg, hs_recorder_clock(s.rec), &err), 0);
	hs_record_pipeline(s.p, s.rec);
	for (uint32_t g = 0; g < NR_GUESTS; g++)
		add_guest(&s, g);
	for (int i = 0; i < CYCLES; i++) {
		ck_assert_int_eq(hs_pipeline_cycle(s.p, &news, &err), 0);
		(void)!hs_trace_flush(s.w, NULL);
	}
	s.sim.run = NULL;
	hs_pipeline_destroy(s.p);
	ck_assert_int_eq(hs_recorder_error(s.rec, &err), -ENOSPC);
	ck_assert_str_eq(err.text, "/dev/full: cannot write: No space left on device");
	hs_recorder_destroy(s.rec);
	ck_assert_int_eq(hs_trace_writer_close(s.w, NULL), -ENOSPC);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace/replay");
	TCase *c = tcase_create("replay");

	tcase_add_test(c, test_service_replay_makes_the_same_decisions);
	tcase_add_test(c, test_service_replay_notices_other_decisions);
	tcase_add_test(c, test_service_replay_of_a_trace_cut_off);
	tcase_add_test(c, test_service_replay_goes_another_way);
	tcase_add_loop_test(c, test_service_replay_numbers_for_contents, 0, 2);
	tcase_add_test(c, test_service_replay_recording_fails_alone);
	tcase_set_timeout(c, 200);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
