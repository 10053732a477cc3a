/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zero pages alone: see hs/zero.h.
 *
 * The order in one apply: page frames are read, to know what is a huge folio and what is on the zero page already;
 * the record is written; then each huge page is split, one call each. A page whose frame is no part of a huge folio
 * cannot be freed this way, whatever it holds: it stays wanted, and the pipeline finds that it does not merge.
 */
#include "hs/zero.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/host_facts.h"
#include "base/room.h"
#include "zero_record.h"

struct zero_huge {
	struct hs_bits512 wanted;
	struct hs_bits512 shared; /* on the zero page, by us, as of the last verify */
	struct hs_bits512 before; /* was on the zero page before the first split: not our saving */
	uint32_t breaks;
	bool split; /* by us; on record */
	bool fresh; /* and since the last verify: what is on the zero page then, and was not before, is ours */
};

struct zero_guest {
	bool used, gone;
	struct hs_view *view;
	struct zero_huge *huge; /* [view->nr_huge] */
	uint64_t broken;
};

struct hs_zero {
	struct hs_host host;
	struct hs_share_config cfg;
	struct zero_guest *guests; /* [nr_guests], index is the id; slots are reused */
	uint32_t nr_guests;
};

int hs_zero_supported(struct hs_error *err)
{
	struct utsname u;

	if (uname(&u) == 0 && hs_facts_split_frees_zeros(u.release))
		return 0;
	return hs_error_set(
	    err, -ENOTSUP,
	    "share = zero needs Linux 6.12 or later: an older kernel frees zero pages by KSM alone, which "
	    "compares contents");
}

int hs_zero_create(struct hs_zero **out, const struct hs_host *host, const struct hs_share_config *cfg,
		   struct hs_error *err)
{
	int rc = hs_zero_supported(err);

	*out = NULL;
	if (rc)
		return rc;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return hs_error_set(err, -ENOMEM, "out of memory");
	(*out)->host = *host;
	(*out)->cfg = *cfg;
	return 0;
}

static void forget(struct zero_guest *g)
{
	free(g->huge);
	*g = (struct zero_guest){ 0 };
}

void hs_zero_destroy(struct hs_zero *z)
{
	if (!z)
		return;
	for (uint32_t i = 0; i < z->nr_guests; i++)
		forget(&z->guests[i]);
	free(z->guests);
	free(z);
}

static struct zero_guest *find(const struct hs_zero *z, uint32_t id)
{
	return id < z->nr_guests && z->guests[id].used && !z->guests[id].gone ? &z->guests[id] : NULL;
}

static int no_guest(const struct hs_zero *z, uint32_t id, struct hs_error *err)
{
	return id < z->nr_guests && z->guests[id].gone ? hs_error_set(err, -ESRCH, "the guest is gone")
						       : hs_error_set(err, -EINVAL, "no guest has the number %u", id);
}

static int note(struct zero_guest *g, int rc)
{
	g->gone |= rc == -ESRCH;
	return rc;
}

/* ---- guests ---- */

static bool huge_at(const struct hs_view *v, uint64_t addr, hs_huge_nr *out)
{
	for (size_t i = 0; i < v->nr_regions; i++) {
		const struct hs_region *r = &v->regions[i];

		if (addr < r->hva.v || addr >= r->hva.v + r->nr_huge * HS_HUGE_SIZE)
			continue;
		*out = r->first_huge + (hs_huge_nr)((addr - r->hva.v) >> HS_HUGE_SHIFT);
		return true;
	}
	return false;
}

/* All that is on the zero page in what is on record is taken for ours: what was so before is known to nobody now. */
static int adopt(struct hs_zero *z, struct zero_guest *g, struct hs_error *err)
{
	uint64_t *addr;
	hs_huge_nr h;
	size_t nr;
	int rc = hs_zero_record_read(&z->host, g->view->pid, &addr, &nr, err);

	for (size_t i = 0; i < nr && !rc; i++) {
		struct hs_frame frames[HS_BASE_PER_HUGE];

		if (!huge_at(g->view, addr[i], &h))
			continue;
		rc = hs_view_frames(g->view, h, frames, err);
		for (unsigned int k = 0; k < HS_BASE_PER_HUGE && !rc; k++)
			if (frames[k].flags & HS_FRAME_ZERO)
				hs_bits_set(&g->huge[h].shared, k);
		g->huge[h].wanted = g->huge[h].shared;
		g->huge[h].split = true;
	}
	free(addr);
	return rc;
}

static struct zero_guest *new_slot(struct hs_zero *z, uint32_t *id)
{
	struct zero_guest *grown;

	for (*id = 0; *id < z->nr_guests; (*id)++)
		if (!z->guests[*id].used)
			return &z->guests[*id];
	grown = reallocarray(z->guests, z->nr_guests + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	z->guests = grown;
	return &grown[z->nr_guests++];
}

int hs_zero_add_guest(struct hs_zero *z, const struct hs_share_guest *guest, uint32_t *id, struct hs_error *err)
{
	struct zero_guest *g;
	int rc;

	if (!guest->view->pid)
		return hs_error_set(err, -ENOTSUP, "%s has no process on this host: nothing of it can be freed",
				    guest->name);
	g = new_slot(z, id);
	if (!g)
		return hs_error_set(err, -ENOMEM, "out of memory");
	*g = (struct zero_guest){ .used = true, .view = guest->view };
	g->huge = calloc(g->view->nr_huge ? g->view->nr_huge : 1, sizeof(*g->huge));
	rc = g->huge ? adopt(z, g, err) : hs_error_set(err, -ENOMEM, "out of memory");
	if (rc)
		forget(g);
	return rc;
}

void hs_zero_remove_guest(struct hs_zero *z, uint32_t id)
{
	if (id >= z->nr_guests)
		return;
	if (z->guests[id].used && z->guests[id].gone)
		(void)!hs_zero_record_write(&z->host, z->guests[id].view->pid, NULL, 0, NULL);
	forget(&z->guests[id]);
}

int hs_zero_want(struct hs_zero *z, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages)
{
	struct zero_guest *g = find(z, id);

	if (!g)
		return no_guest(z, id, NULL);
	if (huge >= g->view->nr_huge)
		return -EINVAL;
	g->huge[huge].wanted = *pages;
	if (hs_bits_none(pages))
		g->huge[huge].breaks = 0;
	return 0;
}

void hs_zero_state(const struct hs_zero *z, uint32_t id, hs_huge_nr huge, struct hs_shared_huge *out)
{
	static const struct zero_huge nothing;
	const struct zero_guest *g = find(z, id);
	const struct zero_huge *zh = g && huge < g->view->nr_huge ? &g->huge[huge] : &nothing;

	out->wanted = zh->wanted;
	out->shared = zh->shared;
	out->breaks = zh->breaks;
}

/* ---- splitting ---- */

/* On the disk before anything of it is so. */
static int record(struct hs_zero *z, const struct zero_guest *g, struct hs_error *err)
{
	uint64_t *addr = malloc((g->view->nr_huge + 1) * sizeof(*addr));
	size_t nr = 0;
	int rc;

	if (!addr)
		return hs_error_set(err, -ENOMEM, "out of memory");
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++)
		if (g->huge[h].split)
			addr[nr++] = hs_view_hva(g->view, h).v;
	rc = hs_zero_record_write(&z->host, g->view->pid, addr, nr, err);
	free(addr);
	return rc;
}

struct todo {
	hs_huge_nr huge;
	uint16_t base;
	bool first; /* it is split for the first time */
};

/* Whether the huge page has to be split for what is wanted of it: *base is wanted, and part of a huge folio. */
static int look_at(struct zero_guest *g, hs_huge_nr h, unsigned int *base, uint64_t *pages, struct hs_error *err)
{
	struct zero_huge *zh = &g->huge[h];
	struct hs_frame frames[HS_BASE_PER_HUGE];
	int rc = hs_view_frames(g->view, h, frames, err);

	*base = HS_BASE_PER_HUGE;
	*pages = 0;
	if (!zh->split)
		hs_bits_clear_all(&zh->before);
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE && !rc; i++) {
		if (!zh->split && (frames[i].flags & HS_FRAME_ZERO))
			hs_bits_set(&zh->before, i);
		if (!hs_bits_test(&zh->wanted, i) || !(frames[i].flags & HS_FRAME_HUGE))
			continue;
		*base = i;
		(*pages)++;
	}
	return rc;
}

static int choose(struct zero_guest *g, struct todo *todo, size_t *nr, uint64_t *pages, struct hs_error *err)
{
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct zero_huge *zh = &g->huge[h];
		const struct hs_bits512 open = hs_bits_andnot(zh->wanted, zh->shared);
		unsigned int base;
		uint64_t n;
		int rc;

		if (hs_bits_none(&open))
			continue;
		rc = look_at(g, h, &base, &n, err);
		if (rc)
			return rc;
		if (!n)
			continue;
		*pages += n;
		todo[(*nr)++] = (struct todo){ .huge = h, .base = (uint16_t)base, .first = !zh->split };
	}
	return 0;
}

int hs_zero_apply(struct hs_zero *z, uint32_t id, struct hs_share_applied *out, struct hs_error *err)
{
	struct zero_guest *g = find(z, id);
	struct todo *todo;
	size_t nr = 0;
	int rc;

	*out = (struct hs_share_applied){ 0 };
	if (!g)
		return no_guest(z, id, err);
	todo = malloc((g->view->nr_huge + 1) * sizeof(*todo));
	if (!todo)
		return hs_error_set(err, -ENOMEM, "out of memory");
	rc = choose(g, todo, &nr, &out->pages_marked, err);
	out->nr_tried = nr;
	if (rc || !nr || z->cfg.dry_run)
		goto out;
	for (size_t i = 0; i < nr; i++)
		g->huge[todo[i].huge].split = true;
	rc = record(z, g, err);
	for (size_t i = 0; i < nr; i++) {
		const int one = rc ? rc : hs_view_split_page(g->view, todo[i].huge, todo[i].base, err);

		out->nr_applied += !one;
		g->huge[todo[i].huge].fresh |= !one;
		if (one && todo[i].first)
			g->huge[todo[i].huge].split = false; /* on record until the next time it is written */
		if (one && one != -EAGAIN)
			rc = one;
	}
out:
	free(todo);
	return note(g, rc);
}

int hs_zero_verify(struct hs_zero *z, uint32_t id, struct hs_error *err)
{
	struct zero_guest *g = find(z, id);
	int rc = 0;

	if (!g)
		return no_guest(z, id, err);
	for (hs_huge_nr h = 0; h < g->view->nr_huge && !rc; h++) {
		struct zero_huge *zh = &g->huge[h];
		struct hs_frame frames[HS_BASE_PER_HUGE];
		struct hs_bits512 now = { 0 }, broken;

		if (!zh->split)
			continue;
		rc = hs_view_frames(g->view, h, frames, err);
		if (rc)
			break;
		for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
			if (frames[i].flags & HS_FRAME_ZERO)
				hs_bits_set(&now, i);
		zh->before = hs_bits_and(zh->before, now);
		/* What the guest itself has given back, and reads again, is not our saving. */
		now = zh->fresh ? hs_bits_andnot(now, zh->before) : hs_bits_and(now, zh->shared);
		zh->fresh = false;
		broken = hs_bits_and(hs_bits_andnot(zh->shared, now), zh->wanted);
		zh->breaks += hs_bits_count(&broken);
		g->broken += hs_bits_count(&broken);
		zh->shared = now;
	}
	return note(g, rc);
}

/* ---- undoing ---- */

static int has_room(const struct hs_zero *z, const struct zero_guest *g, struct hs_error *err)
{
	struct hs_error why = { "" };
	struct hs_room room;
	int rc = hs_room_of(&z->host, g->view->pid, z->cfg.min_free_percent, &room, &why);

	if (rc)
		return hs_error_set(err, rc == -ESRCH ? rc : -ENOMEM,
				    "making a huge page whole again needs memory, and how much there is is not known: "
				    "%.300s",
				    why.text);
	if (room.bytes >= HS_HUGE_SIZE)
		return 0;
	return hs_error_set(
	    err, -ENOMEM,
	    "making a huge page whole again needs 2 MiB, and of the %llu MiB that %s has left, %llu MiB "
	    "are to stay free: make room, or lower min_free_percent",
	    (unsigned long long)(room.left >> 20), room.where, (unsigned long long)(room.keep >> 20));
}

/* Only what is known to be there as a whole: to collapse a table with holes fills them, and the guest would grow. */
static int make_whole(struct zero_guest *g, hs_huge_nr h, int *result, struct hs_error *err)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	int rc = hs_view_frames(g->view, h, frames, err);

	for (unsigned int i = 0; i < HS_BASE_PER_HUGE && !rc; i++)
		if (!frames[i].pfn)
			*result = -ENOENT;
	return rc || *result ? rc : hs_view_restore(g->view, &h, 1, result, err);
}

static int unshare_one(struct hs_zero *z, struct zero_guest *g, hs_huge_nr h, struct hs_share_unshared *out,
		       struct hs_error *err)
{
	int result = 0, rc;

	if (!g->huge[h].split) {
		g->huge[h] = (struct zero_huge){ 0 };
		return 0;
	}
	rc = has_room(z, g, err);
	if (!rc && !z->cfg.dry_run)
		rc = make_whole(g, h, &result, err);
	if (rc)
		return rc;
	out->nr_huge++;
	out->nr_collapsed += !result;
	out->nr_base += result == -ENOENT;
	out->nr_failed += result && result != -ENOENT;
	/* What could not be made huge now khugepaged does in time: nothing of it is shared with anybody. */
	g->huge[h] = (struct zero_huge){ 0 };
	return 0;
}

int hs_zero_unshare(struct hs_zero *z, uint32_t id, const hs_huge_nr *huge, size_t nr, struct hs_share_unshared *out,
		    struct hs_error *err)
{
	struct zero_guest *g = find(z, id);
	int rc = 0, written;

	memset(out, 0, sizeof(*out));
	if (!g)
		return no_guest(z, id, err);
	for (size_t i = 0; i < (huge ? nr : g->view->nr_huge) && !rc; i++)
		rc = huge && huge[i] >= g->view->nr_huge
			 ? hs_error_set(err, -EINVAL, "there is no huge page %u", huge[i])
			 : unshare_one(z, g, huge ? huge[i] : (hs_huge_nr)i, out, err);
	written = out->nr_huge && rc != -ESRCH ? record(z, g, rc ? NULL : err) : 0;
	return note(g, rc ? rc : written);
}

/* ---- reports ---- */

void hs_zero_ledger(const struct hs_zero *z, uint32_t id, struct hs_ledger *out)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < z->nr_guests; i++) {
		const struct zero_guest *g = find(z, i);

		if (!g || (id != UINT32_MAX && id != i))
			continue;
		for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
			out->wanted += hs_bits_count(&g->huge[h].wanted);
			out->zero += hs_bits_count(&g->huge[h].shared);
		}
		out->broken += g->broken;
		out->metadata_bytes += g->view->nr_huge * sizeof(*g->huge) + sizeof(*g);
	}
	out->saved_bytes = out->zero * HS_BASE_SIZE;
	out->net_saved_bytes = (int64_t)out->saved_bytes - (int64_t)out->metadata_bytes;
}

int hs_zero_find_left(const struct hs_host *host, pid_t pid, uint64_t *bytes, struct hs_error *err)
{
	uint64_t *addr;
	size_t nr;
	int rc = hs_zero_record_read(host, pid, &addr, &nr, err);

	*bytes = nr * HS_HUGE_SIZE;
	free(addr);
	return rc;
}
