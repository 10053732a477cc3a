/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's guests: how one comes and leaves, what is wanted of its memory, and how much memory it may take.
 */
#include "engine_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/procstat.h"
#include "base/room.h"

void hs_engine_forget(struct hs_engine_guest *g)
{
	free(g->name);
	free(g->huge);
	hs_mark_record_finish(&g->stray);
	memset(g, 0, sizeof(*g));
}

struct hs_engine_guest *hs_engine_guest(struct hs_share *s, uint32_t id, int *rc, struct hs_error *err)
{
	struct hs_engine_guest *g = id < s->nr_guests ? &s->guests[id] : NULL;

	if (!g || !g->used) {
		*rc = hs_error_set(err, -EINVAL, "no guest has the number %u", id);
		return NULL;
	}
	if (g->gone) {
		*rc = hs_error_set(err, -ESRCH, "%s is gone", g->name);
		return NULL;
	}
	*rc = 0;
	return g;
}

int hs_engine_note(struct hs_engine_guest *g, int rc)
{
	if (rc == -ESRCH)
		g->gone = true;
	return rc;
}

uint64_t hs_engine_marked(const struct hs_engine_guest *g)
{
	uint64_t n = 0;

	for (uint32_t h = 0; h < g->nr_huge; h++)
		n += hs_bits_count(&g->huge[h].marked);
	return n;
}

static struct hs_engine_guest *new_slot(struct hs_share *s, uint32_t *id)
{
	struct hs_engine_guest *grown;

	for (*id = 0; *id < s->nr_guests; (*id)++)
		if (!s->guests[*id].used)
			return &s->guests[*id];
	grown = reallocarray(s->guests, s->nr_guests + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	s->guests = grown;
	memset(&grown[s->nr_guests], 0, sizeof(*grown));
	return &grown[s->nr_guests++];
}

/* Fills in a guest that is to be taken; after an error it is forgotten. */
static int learn(struct hs_share *s, struct hs_engine_guest *g, const struct hs_share_guest *guest, uint64_t *adopted,
		 struct hs_error *err)
{
	uint64_t none;
	int rc;

	g->used = true;
	g->view = guest->view;
	g->remote = guest->remote;
	g->nr_huge = guest->view->nr_huge;
	g->sums.rmap_items = UINT64_MAX;
	rc = hs_process_id_read(&s->host, g->view->pid, &g->process);
	g->name = strdup(guest->name);
	g->huge = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*g->huge));
	if (!adopted)
		adopted = &none;
	if (rc)
		(void)hs_error_set(err, rc, "which process has the number %d cannot be told: %s", (int)g->view->pid,
				   strerror(-rc));
	else
		rc = g->name && g->huge ? hs_engine_adopt(s, g, adopted, err)
					: hs_error_set(err, -ENOMEM, "out of memory");
	/* What is asked for next is decided by what is shared: that is to be known before. A guest that cannot be read
	 * now is taken all the same, to be undone. */
	if (!rc && *adopted && hs_engine_verify(s, g, HS_ENGINE_VERIFY_AT_ONCE, NULL) == -ESRCH)
		rc = hs_error_set(err, -ESRCH, "%s is gone", guest->name);
	if (rc)
		hs_engine_forget(g);
	return rc;
}

int hs_share_add_guest(struct hs_share *s, const struct hs_share_guest *guest, uint32_t *id, uint64_t *adopted,
		       struct hs_error *err)
{
	const struct hs_view *view = guest->view;
	const char *name = guest->name;
	struct hs_engine_guest *g;

	if (!view->pid || !guest->remote)
		return hs_error_set(err, -ENOTSUP, "%s has no process on this host: its memory cannot be shared", name);
	for (uint32_t i = 0; i < s->nr_guests; i++)
		if (s->guests[i].used && !s->guests[i].gone && s->guests[i].view->pid == view->pid)
			return hs_error_set(err, -EEXIST, "process %d is a guest already (%s)", (int)view->pid,
					    s->guests[i].name);
	hs_engine_halt(s);
	g = new_slot(s, id);
	if (!g)
		return hs_error_set(err, -ENOMEM, "out of memory");
	*g = (struct hs_engine_guest){ .joined = s->nr_joined++ };
	return learn(s, g, guest, adopted, err);
}

int hs_share_renew_guest(struct hs_share *s, uint32_t id, struct hs_view *view, struct hs_error *err)
{
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, err);
	struct hs_engine_guest fresh;

	if (!g)
		return rc;
	hs_engine_halt(s);
	fresh = (struct hs_engine_guest){
		.group = g->group, .joined = g->joined, .own_vmas = g->own_vmas, .broken = g->broken
	};
	rc =
	    learn(s, &fresh, &(struct hs_share_guest){ .name = g->name, .view = view, .remote = g->remote }, NULL, err);
	if (rc)
		return hs_engine_note(g, rc);
	hs_engine_forget(g);
	*g = fresh;
	return 0;
}

void hs_share_remove_guest(struct hs_share *s, uint32_t id)
{
	if (id >= s->nr_guests)
		return;
	hs_engine_halt(s); /* it is in no plan any more */
	s->left_marked |= s->guests[id].used && !s->guests[id].gone && hs_engine_marked(&s->guests[id]);
	if (s->guests[id].gone && !s->cfg.dry_run)
		hs_mark_record_clean(&s->host);
	hs_engine_forget(&s->guests[id]);
}

int hs_share_want(struct hs_share *s, uint32_t id, hs_huge_nr huge, const struct hs_bits512 *pages,
		  const struct hs_bits512 *allowed)
{
	struct hs_engine_huge *h;
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, NULL);

	if (!g)
		return rc;
	if (huge >= g->nr_huge)
		return -EINVAL;
	h = &g->huge[huge];
	h->wanted = *pages;
	h->allowed = allowed ? hs_bits_or(*pages, *allowed) : *pages;
	if (hs_bits_none(pages))
		h->breaks = 0;
	return 0;
}

void hs_share_state(const struct hs_share *s, uint32_t id, hs_huge_nr huge, struct hs_bits512 *wanted,
		    struct hs_bits512 *shared, uint32_t *breaks)
{
	static const struct hs_engine_huge nothing;
	const struct hs_engine_huge *h = &nothing;

	if (id < s->nr_guests && huge < s->guests[id].nr_huge)
		h = &s->guests[id].huge[huge];
	if (wanted)
		*wanted = h->wanted;
	if (shared)
		*shared = h->shared;
	if (breaks)
		*breaks = h->breaks;
}

bool hs_engine_page_at(const struct hs_view *v, uint64_t addr, uint64_t *end, hs_base_nr *page)
{
	for (size_t i = 0; i < v->nr_regions; i++) {
		const struct hs_region *r = &v->regions[i];
		const uint64_t region_end = r->hva.v + r->nr_huge * HS_HUGE_SIZE;

		if (addr >= r->hva.v && addr < region_end) {
			*end = *end < region_end ? *end : region_end;
			*page = r->first_huge * HS_BASE_PER_HUGE + (hs_base_nr)((addr - r->hva.v) >> HS_BASE_SHIFT);
			return true;
		}
		if (r->hva.v > addr && r->hva.v < *end)
			*end = r->hva.v;
	}
	return false;
}

struct hs_bits512 hs_engine_need_frames(const struct hs_engine_guest *g, hs_huge_nr huge,
					const struct hs_frame frames[HS_BASE_PER_HUGE], const struct hs_bits512 *pages)
{
	struct hs_bits512 out = { 0 }, unknown = { 0 };
	struct hs_base_sample now;

	hs_bits_for_each (i, pages) {
		if (frames[i].flags & (HS_FRAME_KSM | HS_FRAME_ZERO))
			hs_bits_set(&out, i);
		else if (!frames[i].pfn)
			hs_bits_set(&unknown, i);
	}
	if (hs_bits_any(&unknown) && !hs_view_sample_base(g->view, &huge, 1, &now, NULL))
		unknown = hs_bits_andnot(unknown, hs_bits_or(now.empty, now.swapped));
	return hs_bits_or(out, unknown);
}

uint64_t hs_engine_room_bytes(const struct hs_share *s, pid_t pid, struct hs_room *room, struct hs_error *err)
{
	return hs_room_of(&s->host, pid, s->cfg.min_free_percent, room, err) ? 0 : room->bytes;
}

int hs_engine_room(const struct hs_share *s, pid_t pid, uint64_t bytes, const char *what, struct hs_error *err)
{
	struct hs_error why = { "" };
	struct hs_room room;
	int rc = hs_room_of(&s->host, pid, s->cfg.min_free_percent, &room, &why);

	if (rc)
		return hs_error_set(err, rc == -ESRCH ? rc : -ENOMEM,
				    "%s needs memory, and how much there is is not known: %.300s", what, why.text);
	if (bytes <= room.bytes)
		return 0;
	return hs_error_set(
	    err, -ENOMEM,
	    "%s needs %llu MiB, and of the %llu MiB that %s has left, %llu MiB are to stay free: make room, or lower "
	    "min_free_percent",
	    what, (unsigned long long)((bytes + (1 << 20) - 1) >> 20), (unsigned long long)(room.left >> 20),
	    room.where, (unsigned long long)(room.keep >> 20));
}
