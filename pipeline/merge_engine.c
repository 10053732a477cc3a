/* SPDX-License-Identifier: Apache-2.0 */
/* The merge engine of share/ as a table of merge operations: each call is passed on. */
#include "pipeline_internal.h"

static void engine_close(void *ctx)
{
	hs_share_destroy(ctx);
}

static int engine_enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	uint64_t adopted;
	uint32_t taken;
	int rc;

	*id = HS_MERGE_NO_GUEST;
	if (!guest->remote)
		return 0;
	rc = hs_share_add_guest(
	    ctx, &(struct hs_share_guest){ .name = guest->name, .view = guest->view, .remote = guest->remote }, &taken,
	    &adopted, err);
	if (rc)
		return rc;
	rc = hs_share_set_group(ctx, taken, guest->group);
	if (rc)
		hs_share_remove_guest(ctx, taken);
	else
		*id = taken;
	return rc;
}

static int engine_renew(void *ctx, uint32_t id, const struct hs_merge_guest *guest, struct hs_error *err)
{
	return hs_share_renew_guest(ctx, id, guest->view, err);
}

static void engine_leave(void *ctx, uint32_t id)
{
	hs_share_remove_guest(ctx, id);
}

static int engine_want(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
		       const struct hs_bits512 *allowed)
{
	return hs_share_want(ctx, id, huge, pages, allowed);
}

static int engine_forgo(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages)
{
	return hs_share_forgo(ctx, id, huge, pages);
}

static void engine_state(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	hs_share_state(ctx, id, huge, &out->wanted, &out->shared, &out->breaks);
}

static void engine_claims(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_bits512 *out)
{
	hs_share_claims(ctx, id, huge, out);
}

static int engine_unshare(void *ctx, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
			  struct hs_error *err)
{
	return hs_share_unshare(ctx, id, huge, nr, out, err);
}

static int engine_verify(void *ctx, uint32_t id, struct hs_error *err)
{
	return hs_share_verify(ctx, id, err);
}

static int engine_apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	return hs_share_apply(ctx, id, out, err);
}

static int engine_burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	return hs_share_burst(ctx, clock, out, err);
}

static int engine_ready(void *ctx, struct hs_error *err)
{
	return hs_share_ready(ctx, err);
}

static int engine_burst_for(void *ctx, const struct hs_clock *clock, uint64_t us, struct hs_share_burst *out,
			    struct hs_error *err)
{
	return hs_share_burst_for(ctx, clock, us, out, err);
}

static int engine_burst_stop(void *ctx, struct hs_share_burst *out, struct hs_error *err)
{
	return hs_share_burst_stop(ctx, out, err);
}

static int engine_part_groups(void *ctx, uint64_t *nr_parted, struct hs_error *err)
{
	return hs_share_part_groups(ctx, nr_parted, err);
}

static void engine_ledger(void *ctx, uint32_t id, struct hs_ledger *out)
{
	hs_share_ledger(ctx, id, out);
}

static const struct hs_merge_ops engine_ops = {
	.name = "merge engine",
	.merges = true,
	.compares = true,
	.close = engine_close,
	.enter = engine_enter,
	.renew = engine_renew,
	.leave = engine_leave,
	.want = engine_want,
	.forgo = engine_forgo,
	.state = engine_state,
	.claims = engine_claims,
	.unshare = engine_unshare,
	.verify = engine_verify,
	.apply = engine_apply,
	.burst = engine_burst,
	.ready = engine_ready,
	.part_groups = engine_part_groups,
	.burst_for = engine_burst_for,
	.burst_stop = engine_burst_stop,
	.ledger = engine_ledger,
};

int hs_merge_engine_open(struct hs_merge *out, const struct hs_host *host, const struct hs_share_config *cfg,
			 const struct hs_merge_engine_hooks *hooks, struct hs_error *err)
{
	struct hs_share *share;
	int rc = hs_share_create(&share, host, cfg, err);

	if (rc)
		return rc;
	hs_share_on_progress(share, hooks->progress, hooks->ctx);
	hs_share_on_pace(share, hooks->pace, hooks->ctx);
	*out = (struct hs_merge){ &engine_ops, share };
	return 0;
}
