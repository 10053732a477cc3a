#include "pipeline_trace.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/procstat.h"

/* ---- the header ---- */

void hs_record_header(struct hs_trace_header *out, const struct hs_host *host, const struct hs_pipeline_config *cfg)
{
	struct utsname u;

	memset(out, 0, sizeof(*out));
	out->base_bytes = HS_BASE_SIZE;
	out->huge_bytes = HS_HUGE_SIZE;
	out->started_s = (uint64_t)time(NULL);
	out->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	out->nr_cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
	(void)snprintf(out->program, sizeof(out->program), "hs-share %s", HS_VERSION);
	if (uname(&u) == 0)
		(void)snprintf(out->kernel, sizeof(out->kernel), "%.127s", u.release);
	hs_cpu_model(host, out->cpu, sizeof(out->cpu));
	hs_settings_copy_traced(&out->settings, cfg);
	out->merging = !cfg->observe;
}

/* ---- recording ---- */

static int on_opened(void *ctx, const char *name, const char *group, struct hs_view **view, struct hs_error *err)
{
	struct hs_view *wrapped;
	int rc = hs_recorder_wrap(ctx, *view, name, group, &wrapped, err);

	if (!rc)
		*view = wrapped;
	return rc;
}

static void on_cycle(void *ctx, uint32_t cycle)
{
	hs_recorder_cycle(ctx, cycle);
}

static void on_fine(void *ctx, const struct hs_view *view, const struct hs_fine_result *results, size_t nr)
{
	hs_recorder_fine(ctx, view, results, nr);
}

static void on_decided(void *ctx, const struct hs_view *view, const struct hs_policy_decision *decisions)
{
	hs_recorder_decided(ctx, view, decisions);
}

static void on_merged(void *ctx, const struct hs_view *view, const struct hs_ledger *ledger,
		      const struct hs_shared_huge *shared, size_t nr)
{
	hs_recorder_shared(ctx, view, ledger, shared, nr);
}

static void on_settled(void *ctx, const struct hs_view *view, bool scanned, bool all_marked)
{
	hs_recorder_settled(ctx, view, &(struct hs_trace_settled){ .scanned = scanned, .all_marked = all_marked });
}

void hs_record_pipeline(struct hs_pipeline *p, struct hs_recorder *rec)
{
	const struct hs_pipeline_observer w = {
		.ctx = rec,
		.opened = on_opened,
		.cycle = on_cycle,
		.fine = on_fine,
		.decided = on_decided,
		.settled = on_settled,
		.merged = on_merged,
	};

	hs_pipeline_set_observer(p, &w);
}

/* ---- replay ---- */

static void check_decided(void *ctx, const struct hs_view *view, const struct hs_policy_decision *decisions)
{
	hs_replay_decided(ctx, view, decisions);
}

/*
 * The merge operations where the recorded run had an engine: decisions have no effect of their own, what was shared is
 * what was shared then.
 */
static int replay_enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	(void)ctx;
	(void)err;
	*id = guest->number; /* a replay has its guests in the same order */
	return 0;
}

static void replay_state(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	hs_replay_state(ctx, id, huge, &out->wanted, &out->shared, &out->breaks);
}

static int replay_unshare(void *ctx, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
			  struct hs_error *err)
{
	(void)ctx;
	(void)id;
	(void)huge;
	(void)err;
	*out = (struct hs_share_unshared){ .nr_huge = nr };
	return 0;
}

/* What was recorded of the guest; something is always marked, so that there is a burst, which answers the rest. */
static int replay_apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	struct hs_trace_settled of;

	hs_replay_merged(ctx);
	(void)hs_replay_settled(ctx, id, &of);
	*out = (struct hs_share_applied){ .nr_tried = 1, .nr_applied = of.all_marked, .pages_marked = 1 };
	return hs_replay_error(ctx, err);
}

static int replay_burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	struct hs_trace_settled of = { 0 };

	(void)clock;
	*out = (struct hs_share_burst){ 0 };
	hs_replay_merged(ctx);
	for (uint32_t i = 0; i < HS_TRACE_MAX_GUESTS && !out->pages_scanned; i++) {
		out->settled = out->whole = hs_replay_settled(ctx, i, &of);
		out->pages_scanned = of.scanned;
	}
	return hs_replay_error(ctx, err);
}

static const struct hs_merge_ops replay_ops = {
	.name = "replay",
	.merges = true,
	.enter = replay_enter,
	.state = replay_state,
	.unshare = replay_unshare,
	.apply = replay_apply,
	.burst = replay_burst,
};

/* Takes the steps that the recorded run took. */
static int take_steps(struct hs_pipeline *p, struct hs_replay *r, struct hs_error *err)
{
	struct hs_replay_next step;
	uint64_t news;
	int rc;

	for (;;) {
		rc = hs_replay_next(r, &step, err);
		if (rc || step.step == HS_REPLAY_END)
			return rc;
		if (step.step == HS_REPLAY_GUEST) {
			const struct hs_guest_options opt = { .name = step.guest.name, .group = step.guest.group };

			rc = hs_pipeline_add_view_as(p, &opt, step.view, err);
			if (rc)
				return rc;
			continue;
		}
		/* A cycle that failed in the recorded run fails here as well; what counts is whether this is the same
		 * run. */
		(void)!hs_pipeline_cycle(p, &news, err);
		rc = hs_replay_error(r, err);
		if (rc)
			return rc;
	}
}

int hs_replay_pipeline(struct hs_pipeline **out, struct hs_replay *r, struct hs_error *err)
{
	const struct hs_pipeline_observer w = { .ctx = r, .decided = check_decided };
	const struct hs_host host = HS_HOST_DEFAULT;
	struct hs_pipeline_config cfg;
	struct hs_pipeline *p;
	int rc;

	*out = NULL;
	/* Without the merge engine that the recorded run may have had. */
	cfg = hs_pipeline_config_default;
	hs_settings_copy_traced(&cfg, &hs_replay_header(r)->settings);
	cfg.observe = true;
	/* A trace has none of its settings; whether pages of zeros have an owner is one of them. */
	cfg.share = hs_share_config_default;
	rc = hs_pipeline_create(&p, &host, &cfg, hs_replay_clock(r), err);
	if (rc)
		return rc;
	if (hs_replay_header(r)->merging)
		rc = hs_pipeline_set_merge(p, &(struct hs_merge){ &replay_ops, r });
	hs_pipeline_set_observer(p, &w);
	if (!rc)
		rc = take_steps(p, r, err);
	if (rc)
		hs_pipeline_destroy(p);
	else
		*out = p;
	return rc;
}
