/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ways to save, and each guest has the one that its scope allows: the merge engine, or zero pages alone.
 *
 * A guest that must not share is known to the engine all the same, where there is one: its VMM may have made its memory
 * mergeable, which the engine takes away, and what was shared of it before its scope was this is undone there. Nothing
 * is ever wanted of it. Where no guest may share there is no engine, and KSM is left to itself.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hs/zero.h"

struct slot {
	bool used, zero;
	uint32_t engine_id, zero_id; /* HS_MERGE_NO_GUEST: it is not known there */
};

struct scoped {
	struct hs_host host;
	struct hs_share_config cfg;
	struct hs_merge_engine_hooks hooks;
	struct hs_merge engine; /* ops NULL: there is none */
	struct hs_zero *zero;   /* NULL: until a guest asks for it, or this kernel cannot */
	struct slot slots[HS_MAX_GUESTS];
	uint32_t nr_sharing; /* guests that may share */
	uint64_t nr_split;   /* base pages in huge pages that were split since the last burst */
};

static void scoped_close(void *ctx)
{
	struct scoped *s = ctx;

	if (s->engine.ops)
		s->engine.ops->close(s->engine.ctx);
	hs_zero_destroy(s->zero);
	free(s);
}

/* ---- guests ---- */

/* What was shared of it while it was allowed to is undone. */
static int undo_shared(const struct hs_merge *engine, uint32_t id, struct hs_error *err)
{
	struct hs_share_unshared un;

	return engine->ops->unshare(engine->ctx, id, NULL, 0, &un, err);
}

static int undo_without_engine(struct scoped *s, const struct hs_merge_guest *guest, struct hs_error *err)
{
	struct hs_merge engine;
	uint64_t bytes = 0;
	uint32_t id;
	int rc = hs_share_find_marked(&s->host, guest->view->pid, &bytes, err);

	if (rc || !bytes)
		return rc;
	rc = hs_merge_engine_open(&engine, &s->host, &s->cfg, &s->hooks, err);
	if (rc)
		return rc;
	rc = engine.ops->enter(engine.ctx, guest, &id, err);
	if (!rc && id != HS_MERGE_NO_GUEST) {
		rc = undo_shared(&engine, id, err);
		engine.ops->leave(engine.ctx, id);
	}
	engine.ops->close(engine.ctx);
	return rc;
}

static int enter_zero(struct scoped *s, const struct hs_merge_guest *guest, struct slot *slot, struct hs_error *err)
{
	const struct hs_share_guest as = { .name = guest->name, .view = guest->view, .remote = guest->remote };
	int rc = slot->engine_id != HS_MERGE_NO_GUEST ? undo_shared(&s->engine, slot->engine_id, err)
						      : undo_without_engine(s, guest, err);

	if (!rc && !s->zero)
		rc = hs_zero_create(&s->zero, &s->host, &s->cfg, err);
	return rc ? rc : hs_zero_add_guest(s->zero, &as, &slot->zero_id, err);
}

/* It may share again: what was split for its zeros is the engine's to decide on. Best effort, as it harms nobody. */
static void undo_zero(struct scoped *s, const struct hs_merge_guest *guest)
{
	const struct hs_share_guest as = { .name = guest->name, .view = guest->view, .remote = guest->remote };
	struct hs_share_unshared un;
	uint64_t bytes = 0;
	uint32_t id;

	if (hs_zero_find_left(&s->host, guest->view->pid, &bytes, NULL) || !bytes ||
	    (!s->zero && hs_zero_create(&s->zero, &s->host, &s->cfg, NULL)) ||
	    hs_zero_add_guest(s->zero, &as, &id, NULL))
		return;
	(void)!hs_zero_unshare(s->zero, id, NULL, 0, &un, NULL);
	hs_zero_remove_guest(s->zero, id);
}

static void scoped_leave(void *ctx, uint32_t id)
{
	struct scoped *s = ctx;
	struct slot *slot = &s->slots[id];

	if (slot->engine_id != HS_MERGE_NO_GUEST)
		s->engine.ops->leave(s->engine.ctx, slot->engine_id);
	if (slot->zero_id != HS_MERGE_NO_GUEST)
		hs_zero_remove_guest(s->zero, slot->zero_id);
	s->nr_sharing -= !slot->zero;
	*slot = (struct slot){ 0 };
}

static int scoped_enter(void *ctx, const struct hs_merge_guest *guest, uint32_t *id, struct hs_error *err)
{
	const bool zero = guest->scope == HS_SCOPE_ZERO;
	struct scoped *s = ctx;
	uint32_t at = 0;
	struct slot *slot;
	int rc = 0;

	*id = HS_MERGE_NO_GUEST;
	if (!guest->remote)
		return 0;
	while (at < HS_MAX_GUESTS && s->slots[at].used)
		at++;
	if (at == HS_MAX_GUESTS)
		return hs_error_set(err, -ENOSPC, "more than %d guests", HS_MAX_GUESTS);
	slot = &s->slots[at];
	*slot =
	    (struct slot){ .used = true, .zero = zero, .engine_id = HS_MERGE_NO_GUEST, .zero_id = HS_MERGE_NO_GUEST };
	s->nr_sharing += !zero;
	if (!zero)
		undo_zero(s, guest);
	if (s->engine.ops)
		rc = s->engine.ops->enter(s->engine.ctx, guest, &slot->engine_id, err);
	if (!rc && zero)
		rc = enter_zero(s, guest, slot, err);
	if (rc)
		scoped_leave(s, at);
	else
		*id = at;
	return rc;
}

/* ---- of one guest ---- */

static int scoped_want(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
		       const struct hs_bits512 *allowed)
{
	struct scoped *s = ctx;
	const struct slot *slot = &s->slots[id];

	return slot->zero ? hs_zero_want(s->zero, slot->zero_id, huge, pages)
			  : s->engine.ops->want(s->engine.ctx, slot->engine_id, huge, pages, allowed);
}

static int scoped_forgo(void *ctx, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages)
{
	struct scoped *s = ctx;
	const struct slot *slot = &s->slots[id];

	/* Of whom nothing is mergeable, nothing is another group's. */
	return slot->zero ? 0 : s->engine.ops->forgo(s->engine.ctx, slot->engine_id, huge, pages);
}

static void scoped_state(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	struct scoped *s = ctx;
	const struct slot *slot = &s->slots[id];

	if (slot->zero)
		hs_zero_state(s->zero, slot->zero_id, huge, out);
	else
		s->engine.ops->state(s->engine.ctx, slot->engine_id, huge, out);
}

static void scoped_claims(void *ctx, uint32_t id, hs_huge_nr huge, struct hs_bits512 *out)
{
	struct scoped *s = ctx;
	const struct slot *slot = &s->slots[id];

	if (slot->zero)
		hs_bits_clear_all(out);
	else
		s->engine.ops->claims(s->engine.ctx, slot->engine_id, huge, out);
}

static int scoped_unshare(void *ctx, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
			  struct hs_error *err)
{
	struct scoped *s = ctx;
	const struct slot *slot = &s->slots[id];

	return slot->zero ? hs_zero_unshare(s->zero, slot->zero_id, huge, nr, out, err)
			  : s->engine.ops->unshare(s->engine.ctx, slot->engine_id, huge, nr, out, err);
}

static int scoped_verify(void *ctx, uint32_t id, struct hs_error *err)
{
	struct scoped *s = ctx;
	const struct slot *slot = &s->slots[id];

	return slot->zero ? hs_zero_verify(s->zero, slot->zero_id, err)
			  : s->engine.ops->verify(s->engine.ctx, slot->engine_id, err);
}

static int scoped_apply(void *ctx, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	struct scoped *s = ctx;
	const struct slot *slot = &s->slots[id];
	int rc;

	if (!slot->zero)
		return s->engine.ops->apply(s->engine.ctx, slot->engine_id, out, err);
	rc = hs_zero_apply(s->zero, slot->zero_id, out, err);
	s->nr_split += out->pages_marked;
	return rc;
}

/* ---- of all ---- */

/* The zeros are free when their huge pages are split: for them the burst is over before it begins. */
static int scoped_burst_for(void *ctx, const struct hs_clock *clock, uint64_t us, struct hs_share_burst *out,
			    struct hs_error *err)
{
	struct scoped *s = ctx;
	int rc = 0;

	*out = (struct hs_share_burst){ .settled = true, .whole = true };
	if (s->engine.ops && s->nr_sharing)
		rc = s->engine.ops->burst_for(s->engine.ctx, clock, us, out, err);
	if (out->running)
		return rc;
	out->pages_scanned += s->nr_split;
	s->nr_split = 0;
	return rc;
}

static int scoped_burst(void *ctx, const struct hs_clock *clock, struct hs_share_burst *out, struct hs_error *err)
{
	return scoped_burst_for(ctx, clock, UINT64_MAX, out, err);
}

static int scoped_burst_stop(void *ctx, struct hs_share_burst *out, struct hs_error *err)
{
	struct scoped *s = ctx;

	return s->engine.ops ? s->engine.ops->burst_stop(s->engine.ctx, out, err) : 0;
}

static int scoped_ready(void *ctx, struct hs_error *err)
{
	struct scoped *s = ctx;

	return s->engine.ops ? s->engine.ops->ready(s->engine.ctx, err) : 0;
}

static int scoped_part_groups(void *ctx, uint64_t *nr_parted, struct hs_error *err)
{
	struct scoped *s = ctx;

	*nr_parted = 0;
	return s->engine.ops ? s->engine.ops->part_groups(s->engine.ctx, nr_parted, err) : 0;
}

static void scoped_ledger(void *ctx, uint32_t id, struct hs_ledger *out)
{
	struct scoped *s = ctx;
	const struct slot *slot = id == UINT32_MAX ? NULL : &s->slots[id];
	struct hs_ledger zero = { 0 };

	memset(out, 0, sizeof(*out));
	if (s->engine.ops && (!slot || !slot->zero))
		s->engine.ops->ledger(s->engine.ctx, slot ? slot->engine_id : UINT32_MAX, out);
	if (s->zero && (!slot || slot->zero))
		hs_zero_ledger(s->zero, slot ? slot->zero_id : UINT32_MAX, &zero);
	out->wanted += zero.wanted;
	out->zero += zero.zero;
	out->broken += zero.broken;
	out->saved_bytes += zero.saved_bytes;
	out->metadata_bytes += zero.metadata_bytes;
	out->net_saved_bytes += zero.net_saved_bytes;
}

static const struct hs_merge_ops scoped_ops = {
	.name = "merge engine",
	.merges = true,
	.compares = true,
	.close = scoped_close,
	.enter = scoped_enter,
	.leave = scoped_leave,
	.want = scoped_want,
	.forgo = scoped_forgo,
	.state = scoped_state,
	.claims = scoped_claims,
	.unshare = scoped_unshare,
	.verify = scoped_verify,
	.apply = scoped_apply,
	.burst = scoped_burst,
	.ready = scoped_ready,
	.part_groups = scoped_part_groups,
	.burst_for = scoped_burst_for,
	.burst_stop = scoped_burst_stop,
	.ledger = scoped_ledger,
};

int hs_merge_scoped_open(struct hs_merge *out, const struct hs_host *host, const struct hs_pipeline_config *cfg,
			 const struct hs_merge_engine_hooks *hooks, struct hs_error *err)
{
	struct scoped *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return hs_error_set(err, -ENOMEM, "out of memory");
	s->host = *host;
	s->cfg = cfg->share;
	s->hooks = *hooks;
	rc = cfg->scope == HS_SCOPE_ZERO ? 0 : hs_merge_engine_open(&s->engine, host, &cfg->share, hooks, err);
	if (rc) {
		free(s);
		return rc;
	}
	*out = (struct hs_merge){ &scoped_ops, s };
	return 0;
}
