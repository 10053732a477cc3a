/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline's guests: how one is taken in, gets a new view, is unshared on demand, and is let go.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REOPEN_CYCLES 8 /* cycles from one new view to the next */
/*
 * Windows in which memory that came to a known guest is looked at before the one that may decide to share it. It was
 * mapped to be filled and used, so that it is cold says less of it than of what was there before. Two, since the first
 * may have begun while it was being filled.
 */
#define NEW_WINDOWS 2

/* After one has gone. */
static void count_groups(struct hs_pipeline *p)
{
	const bool were_several = p->several_groups;

	p->several_groups = false;
	for (size_t i = 1; i < p->nr_guests && were_several && !p->several_groups; i++)
		p->several_groups = p->guests[i]->group_nr != p->guests[0]->group_nr;
}

/* What is remembered of a guest's huge pages, for the view that it has now. On failure nothing is in the index. */
static int records_new(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc;

	hs_fine_look_ask_for_room(p, g->view);
	rc = hs_observer_opened(p, g, err);
	if (rc)
		return rc;
	g->pages = calloc(g->view->nr_huge, sizeof(*g->pages));
	if (!g->pages)
		return hs_error_set(err, -ENOMEM, "out of memory for the records of %u huge pages", g->view->nr_huge);
	rc = hs_coarse_create(&g->coarse, g->view->nr_huge, &p->cfg.coarse);
	if (rc)
		return hs_error_set(err, rc, "the coarse phase refuses its settings: %s", strerror(-rc));
	rc = hs_index_add_guest(p->index, g->view->nr_huge, &g->index_id);
	if (rc)
		return hs_error_set(err, rc, "the index cannot take a guest of %u huge pages: %s", g->view->nr_huge,
				    strerror(-rc));
	if (g->index_id < HS_MAX_GUESTS)
		return 0;
	hs_guest_index_forget(p, g);
	return hs_error_set(err, -ENOSPC, "more than %d guests", HS_MAX_GUESTS);
}

/* Everything a guest needs besides its view; takes the view over, also on failure. */
static int guest_attach(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = records_new(p, g, err);

	if (rc)
		return rc;
	g->number = p->next_number;
	rc = hs_pipeline_share_enter(p, g, err);
	if (rc) {
		hs_guest_index_forget(p, g);
		return rc;
	}
	p->next_number++;
	p->guest_of_index[g->index_id] = (uint32_t)p->nr_guests;
	p->guests[p->nr_guests++] = g;
	p->several_groups |= g->group_nr != p->guests[0]->group_nr;
	return 0;
}

/* Who may share with itself alone is a group of its own: so it is kept apart as groups are. */
static uint32_t group_number(struct hs_pipeline *p, const char *group, uint8_t scope)
{
	for (size_t i = 0; i < p->nr_guests && scope == HS_SCOPE_GROUP; i++)
		if (p->guests[i]->scope == HS_SCOPE_GROUP && strcmp(p->guests[i]->group, group) == 0)
			return p->guests[i]->group_nr;
	return p->next_group_nr++;
}

static int guest_new(struct hs_pipeline *p, struct guest **out, const struct hs_guest_options *opt,
		     struct hs_error *err)
{
	const char *group = opt->group && opt->group[0] ? opt->group : HS_DEFAULT_GROUP;

	if (strlen(group) >= HS_GUEST_GROUP_MAX)
		return hs_error_set(err, -EINVAL, "the group's name is longer than %d characters",
				    HS_GUEST_GROUP_MAX - 1);
	if (p->nr_guests == HS_MAX_GUESTS)
		return hs_error_set(err, -ENOSPC, "more than %d guests", HS_MAX_GUESTS);
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return hs_error_set(err, -ENOMEM, "out of memory");
	(void)snprintf((*out)->name, sizeof((*out)->name), "%s", opt->name);
	(void)snprintf((*out)->group, sizeof((*out)->group), "%s", group);
	(*out)->max_shared_bytes = opt->max_shared_bytes;
	(*out)->own_scope = opt->scope;
	(*out)->scope = opt->scope > p->cfg.scope ? opt->scope : p->cfg.scope;
	(*out)->group_nr = group_number(p, group, (*out)->scope);
	hs_sketches_guest_keys(p, *out);
	return 0;
}

int hs_pipeline_add_pid(struct hs_pipeline *p, pid_t pid, struct hs_error *err)
{
	char name[32];

	(void)snprintf(name, sizeof(name), "%d", pid);
	return hs_pipeline_add(p, pid, &(struct hs_guest_options){ .name = name }, err);
}

static int view_open(struct hs_pipeline *p, struct guest *g, struct hs_view **out, struct hs_error *err)
{
	if (g->view && hs_view_can_reopen(g->view))
		return hs_view_reopen(g->view, out, err);
	return hs_view_open(out, &p->host, g->pid, g->remote, p->cfg.min_bytes, err);
}

int hs_pipeline_add(struct hs_pipeline *p, pid_t pid, const struct hs_guest_options *opt, struct hs_error *err)
{
	struct guest *g;
	int rc;

	for (size_t i = 0; i < p->nr_guests; i++)
		if (p->guests[i]->pid == pid && !p->guests[i]->gone)
			return hs_error_set(err, -EEXIST, "pid %d was given twice", pid);
	rc = guest_new(p, &g, opt, err);
	if (rc)
		return rc;
	g->pid = pid;
	if (p->cfg.share.dry_run && !p->cfg.observe)
		rc = hs_remote_open_dry(&g->remote, &p->host, pid, err);
	else
		rc = hs_remote_open(&g->remote, &p->host, pid, err);
	if (rc)
		goto fail;
	rc = view_open(p, g, &g->view, err);
	if (rc)
		goto fail;
	hs_fine_look_ask_for_room(p, g->view);
	(void)hs_split_journal_recover(&p->host, g->view, p->fine);
	g->noted = true; /* what is brought back now needs no note any more */
	rc = guest_attach(p, g, err);
	if (rc)
		goto fail;
	return 0;
fail:
	hs_pipeline_guest_free(p, g);
	return rc;
}

int hs_pipeline_add_view(struct hs_pipeline *p, const char *name, struct hs_view *view, struct hs_error *err)
{
	return hs_pipeline_add_view_as(p, &(struct hs_guest_options){ .name = name }, view, err);
}

int hs_pipeline_add_view_as(struct hs_pipeline *p, const struct hs_guest_options *opt, struct hs_view *view,
			    struct hs_error *err)
{
	struct guest *g;
	int rc = guest_new(p, &g, opt, err);

	if (rc) {
		hs_view_close(view);
		return rc;
	}
	g->view = view;
	g->pid = view->pid;
	rc = guest_attach(p, g, err);
	if (rc)
		hs_pipeline_guest_free(p, g);
	return rc;
}

/* What the old view did not know is new; the rest waits as long as it had to before. */
static void note_new_memory(const struct hs_pipeline *p, const struct guest *old, struct guest *fresh)
{
	for (hs_huge_nr h = 0; h < fresh->view->nr_huge; h++)
		fresh->pages[h].new_until = p->totals.cycles + NEW_WINDOWS;
	for (size_t i = 0; i < fresh->view->nr_regions; i++) {
		const struct hs_region *now = &fresh->view->regions[i];

		for (size_t k = 0; k < old->view->nr_regions; k++) {
			const struct hs_region *was = &old->view->regions[k];
			const uint64_t from = was->hva.v > now->hva.v ? was->hva.v : now->hva.v;
			const uint64_t was_end = was->hva.v + was->nr_huge * HS_HUGE_SIZE;
			const uint64_t now_end = now->hva.v + now->nr_huge * HS_HUGE_SIZE;
			const uint64_t end = was_end < now_end ? was_end : now_end;

			for (uint64_t at = from; at < end; at += HS_HUGE_SIZE)
				fresh->pages[now->first_huge + (at - now->hva.v) / HS_HUGE_SIZE].new_until =
				    old->pages[was->first_huge + (at - was->hva.v) / HS_HUGE_SIZE].new_until;
		}
	}
}

/*
 * A guest that has new memory (hot-plugged, or mapped after we came) gets a new view, and is learnt anew: what is
 * shared of it is read back as from an earlier run. Not often, or a process whose map never rests would never be known.
 */
int hs_pipeline_reopen(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	struct hs_error why = { "" };
	struct guest fresh = *g;
	size_t left = 0, at = 0;
	bool renewed;
	int rc;

	if ((!g->remote && !hs_view_can_reopen(g->view)) ||
	    (g->reopened && p->totals.cycles - g->reopened < REOPEN_CYCLES))
		return 0;
	/* A mapping that is split for a look is known to the old view alone. */
	rc = hs_fine_retry(p->fine, g->view, &left, err);
	if (rc || left)
		return rc;
	fresh.view = NULL;
	fresh.pages = NULL;
	fresh.coarse = NULL;
	fresh.tier = NULL;
	fresh.cold_age = NULL;
	rc = view_open(p, g, &fresh.view, err);
	if (rc)
		return rc == -ESRCH ? rc : 0; /* the old view still serves */
	rc = records_new(p, &fresh, err);
	if (rc) {
		hs_guest_records_free(p, &fresh);
		return rc;
	}
	note_new_memory(p, g, &fresh);
	/* Were it let go first and not taken again, what is marked in it would be nobody's, and keep ksmd from running
	 * for anybody. */
	renewed = g->shareable && p->merge.ops->renew;
	rc = hs_merge_renew(p, &fresh, &why);
	if (rc) {
		hs_guest_index_forget(p, &fresh);
		hs_guest_records_free(p, &fresh);
		g->reopened = p->totals.cycles;
		return rc == -ESRCH ? rc : 0; /* the old view still serves */
	}
	if (!renewed)
		hs_pipeline_share_leave(p, g);
	hs_guest_index_forget(p, g);
	hs_guest_records_free(p, g);
	*g = fresh;
	g->shareable = renewed;
	g->all_marked = false;
	g->reopened = p->totals.cycles;
	while (p->guests[at] != g)
		at++;
	p->guest_of_index[g->index_id] = (uint32_t)at;
	return g->shareable || hs_pipeline_share_enter_or_note(p, g) ? 0 : -ESRCH;
}

uint32_t hs_pipeline_nr_guests(const struct hs_pipeline *p)
{
	uint32_t n = 0;

	for (size_t i = 0; i < p->nr_guests; i++)
		n += !p->guests[i]->gone;
	return n;
}

static struct guest *find(struct hs_pipeline *p, pid_t pid, size_t *at)
{
	for (*at = 0; *at < p->nr_guests; (*at)++)
		if (p->guests[*at]->pid == pid)
			return p->guests[*at];
	return NULL;
}

static int no_such(pid_t pid, struct hs_error *err)
{
	return hs_error_set(err, -ENOENT, "process %d is no guest", (int)pid);
}

int hs_pipeline_set_limits(struct hs_pipeline *p, pid_t pid, uint64_t max_shared_bytes)
{
	size_t at;
	struct guest *g = find(p, pid, &at);

	if (!g)
		return -ENOENT;
	g->max_shared_bytes = max_shared_bytes;
	return 0;
}

static int unshare(struct hs_pipeline *p, struct guest *g, struct hs_share_unshared *out, struct hs_error *err)
{
	int rc;

	if (g->gone)
		return 0;
	if (!g->shareable)
		return hs_error_set(err, -ENOTCONN, "guest %s cannot be unshared: %s", g->name,
				    g->merge_obstacle.error ? g->merge_obstacle.text
							    : "the merge engine is not in use");
	rc = hs_demote_bring_back_all(p, g, err);
	if (!rc)
		rc = hs_merge_unshare(p, g, NULL, 0, out, err);
	return hs_pipeline_guest_failed(p, g, rc) ? 0 : rc;
}

int hs_pipeline_unshare_pid(struct hs_pipeline *p, pid_t pid, struct hs_share_unshared *out, struct hs_error *err)
{
	size_t at;
	struct guest *g = find(p, pid, &at);

	memset(out, 0, sizeof(*out));
	return g ? unshare(p, g, out, err) : no_such(pid, err);
}

int hs_pipeline_remove(struct hs_pipeline *p, pid_t pid, bool undo, struct hs_share_unshared *out, struct hs_error *err)
{
	size_t at, left;
	struct guest *g = find(p, pid, &at);
	int rc;

	memset(out, 0, sizeof(*out));
	if (!g)
		return no_such(pid, err);
	if (undo) {
		rc = unshare(p, g, out, err);
		if (rc)
			return rc;
	}
	if (!g->gone) {
		if (hs_fine_retry(p->fine, g->view, &left, NULL) == 0 && !left)
			hs_split_journal_remove(&p->host, g->pid);
		hs_pipeline_share_leave(p, g);
		hs_guest_index_forget(p, g);
	}
	hs_pipeline_guest_free(p, g);
	/* The last one takes its place. */
	p->guests[at] = p->guests[--p->nr_guests];
	count_groups(p);
	if (at < p->nr_guests && !p->guests[at]->gone)
		p->guest_of_index[p->guests[at]->index_id] = (uint32_t)at;
	return 0;
}

int hs_pipeline_unshare_all(struct hs_pipeline *p, struct hs_share_unshared *out, struct hs_error *err)
{
	int rc = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		struct hs_share_unshared one;
		int one_rc;

		if (g->gone || !g->shareable)
			continue;
		memset(&one, 0, sizeof(one));
		one_rc = hs_demote_bring_back_all(p, g, err);
		if (!one_rc)
			one_rc = hs_merge_unshare(p, g, NULL, 0, &one, err);
		out->nr_huge += one.nr_huge;
		out->nr_collapsed += one.nr_collapsed;
		out->nr_failed += one.nr_failed;
		out->nr_base += one.nr_base;
		if (one_rc && !hs_pipeline_guest_failed(p, g, one_rc))
			rc = one_rc;
	}
	return rc;
}
