/*
 * The pipeline's guests: how one is taken in, put aside when it cannot be looked at, and let go; and the merge engine,
 * which comes and goes with the mode while the guests stay.
 */
#include "pipeline_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REOPEN_CYCLES 8 /* cycles from one new view to the next */

/* ---- the engine comes and goes ---- */

/* A guest whose memory cannot be shared at all (no process, or no way into it) is no error: it is only looked at. */
static int share_enter(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	uint64_t adopted;
	int rc;

	if (p->has_effects) {
		if (!g->reopened) /* otherwise it is the guest that it was */
			g->share_id = (uint32_t)p->nr_guests;
		g->shareable = true;
		return 0;
	}
	if (!p->share || !g->remote || g->gone || g->shareable)
		return 0;
	rc = hs_share_add_guest(p->share, g->name, g->view, g->remote, &g->share_id, &adopted, err);
	g->shareable = !rc;
	return rc ? rc : hs_share_set_group(p->share, g->share_id, g->group_nr);
}

/* The same for a guest that stays in any case, only looked at: the reason is kept for its report. False: it is gone. */
static bool share_enter_or_say_why(struct hs_pipeline *p, struct guest *g)
{
	struct hs_error why = { "" };
	int rc = share_enter(p, g, &why);

	if (hs_pipeline_guest_failed(p, g, rc))
		return false;
	if (rc)
		(void)snprintf(g->why_not, sizeof(g->why_not), "%s", why.text);
	return true;
}

int hs_pipeline_share_again(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	(void)err;
	if (!p->share || !g->remote || g->shareable)
		return 0;
	if (!share_enter_or_say_why(p, g))
		return -ESRCH;
	if (g->shareable) {
		g->why_not[0] = '\0';
		p->unsettled = true; /* as when the engine comes */
	}
	return 0;
}

void hs_pipeline_share_leave(struct hs_pipeline *p, struct guest *g)
{
	if (g->shareable && p->share)
		hs_share_remove_guest(p->share, g->share_id);
	g->shareable = false;
	g->why_not[0] = '\0';
}

static void on_unshare(void *ctx, uint64_t done, uint64_t total)
{
	hs_pipeline_tell(ctx, HS_STAGE_UNSHARE, done, total);
}

int hs_pipeline_engage(struct hs_pipeline *p, struct hs_error *err)
{
	int rc;

	if (p->has_effects)
		return hs_error_set(err, -EBUSY, "this pipeline's decisions go elsewhere: it takes no merge engine");
	rc = p->share ? 0 : hs_share_create(&p->share, &p->host, &p->cfg.share, err);
	if (rc)
		return rc;
	hs_share_on_progress(p->share, on_unshare, p);
	for (size_t i = 0; i < p->nr_guests; i++) {
		hs_pipeline_tell(p, HS_STAGE_VERIFY, i, p->nr_guests);
		(void)share_enter_or_say_why(p, p->guests[i]);
	}
	p->unsettled = true; /* what was marked before may not have been merged to the end */
	return 0;
}

void hs_pipeline_disengage(struct hs_pipeline *p)
{
	if (!p->share)
		return;
	for (size_t i = 0; i < p->nr_guests; i++)
		hs_pipeline_share_leave(p, p->guests[i]);
	hs_share_destroy(p->share);
	p->share = NULL;
	/* What stays shared is the kernel's from now on: nobody follows it, so nothing is told of it. */
	memset(&p->totals.ledger, 0, sizeof(p->totals.ledger));
}

bool hs_pipeline_engaged(const struct hs_pipeline *p)
{
	return p->share != NULL;
}

static void count_groups(struct hs_pipeline *p)
{
	p->several_groups = false;
	for (size_t i = 1; i < p->nr_guests; i++)
		p->several_groups |= p->guests[i]->group_nr != p->guests[0]->group_nr;
}

static void index_forget(struct hs_pipeline *p, struct guest *g)
{
	while (hs_index_remove_guest(p->index, g->index_id, UINT32_MAX) > 0)
		;
}

/* What is remembered of a guest's huge pages, for the view that it has now. On failure nothing is in the index. */
static int records_new(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = hs_watch_opened(p, g, err);

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
	index_forget(p, g);
	return hs_error_set(err, -ENOSPC, "more than %d guests", HS_MAX_GUESTS);
}

static void records_free(struct hs_pipeline *p, struct guest *g)
{
	if (g->pages && g->view)
		for (uint32_t h = 0; h < g->view->nr_huge; h++)
			free(g->pages[h].fine);
	free(g->pages);
	g->pages = NULL;
	hs_coarse_destroy(g->coarse);
	g->coarse = NULL;
	if (!g->view)
		return;
	hs_fine_forget(p->fine, g->view);
	hs_view_close(g->view);
	g->view = NULL;
}

void hs_pipeline_guest_free(struct hs_pipeline *p, struct guest *g)
{
	if (!g)
		return;
	records_free(p, g);
	hs_remote_close(g->remote);
	free(g);
}

/* Everything a guest needs besides its view; takes the view over, also on failure. */
static int guest_attach(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = records_new(p, g, err);

	if (rc)
		return rc;
	rc = share_enter(p, g, err);
	if (rc) {
		index_forget(p, g);
		return rc;
	}
	p->guest_of_index[g->index_id] = (uint32_t)p->nr_guests;
	p->guests[p->nr_guests++] = g;
	count_groups(p);
	return 0;
}

static uint32_t group_number(struct hs_pipeline *p, const char *group)
{
	for (size_t i = 0; i < p->nr_guests; i++)
		if (strcmp(p->guests[i]->group, group) == 0)
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
	(*out)->group_nr = group_number(p, group);
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
	(void)hs_journal_recover(&p->host, g->view, p->fine);
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

/*
 * A guest that has new memory (hot-plugged, or mapped after we came) gets a new view, and is learnt anew: what is
 * shared of it is read back as from an earlier run. Not often, or a process whose map never rests would never be known.
 */
int hs_pipeline_reopen(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	struct guest fresh = *g;
	size_t left = 0, at = 0;
	int rc;

	if ((!g->remote && !hs_view_can_reopen(g->view)) || (g->reopened && p->totals.cycles - g->reopened < REOPEN_CYCLES))
		return 0;
	/* A mapping that is split for a look is known to the old view alone. */
	rc = hs_fine_retry(p->fine, g->view, &left, err);
	if (rc || left)
		return rc;
	fresh.view = NULL;
	fresh.pages = NULL;
	fresh.coarse = NULL;
	rc = view_open(p, g, &fresh.view, err);
	if (rc)
		return rc == -ESRCH ? rc : 0; /* the old view still serves */
	rc = records_new(p, &fresh, err);
	if (rc) {
		records_free(p, &fresh);
		return rc;
	}
	hs_pipeline_share_leave(p, g);
	index_forget(p, g);
	records_free(p, g);
	*g = fresh;
	g->shareable = false;
	g->reopened = p->totals.cycles;
	while (p->guests[at] != g)
		at++;
	p->guest_of_index[g->index_id] = (uint32_t)at;
	return share_enter_or_say_why(p, g) ? 0 : -ESRCH;
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
	if (!g->shareable || !p->share)
		return hs_error_set(err, -ENOTCONN, "guest %s cannot be unshared: %s", g->name,
				    g->why_not[0] ? g->why_not : "the merge engine is not in use");
	rc = hs_share_unshare(p->share, g->share_id, NULL, 0, out, err);
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
			hs_journal_remove(&p->host, g->pid);
		hs_pipeline_share_leave(p, g);
		index_forget(p, g);
	}
	hs_pipeline_guest_free(p, g);
	/* The last one takes its place. */
	p->guests[at] = p->guests[--p->nr_guests];
	count_groups(p);
	if (at < p->nr_guests && !p->guests[at]->gone)
		p->guest_of_index[p->guests[at]->index_id] = (uint32_t)at;
	return 0;
}

bool hs_pipeline_guest_failed(struct hs_pipeline *p, struct guest *g, int rc)
{
	if (rc != -ESRCH)
		return false;
	if (g->gone)
		return true;
	g->gone = true;
	g->last.gone = true;
	hs_pipeline_share_leave(p, g);
	hs_fine_forget(p->fine, g->view);
	hs_journal_remove(&p->host, g->pid);
	index_forget(p, g);
	return true;
}

bool hs_pipeline_guest_aside(struct hs_pipeline *p, struct guest *g, int rc, const struct hs_error *err)
{
	if (hs_pipeline_guest_failed(p, g, rc))
		return true;
	if (!rc || rc == -ECANCELED || rc == -ENOMEM)
		return false;
	g->aside = true;
	(void)snprintf(g->trouble, sizeof(g->trouble), "%s", err && err->text[0] ? err->text : strerror(-rc));
	for (hs_huge_nr h = 0; h < g->view->nr_huge; h++) {
		struct page_record *pg = &g->pages[h];

		memset(&pg->hashed, 0, sizeof(pg->hashed));
		memset(&pg->zero, 0, sizeof(pg->zero));
		memset(&pg->candidate, 0, sizeof(pg->candidate));
		memset(&pg->same, 0, sizeof(pg->same));
		memset(&pg->decision, 0, sizeof(pg->decision));
		if (pg->kept_split)
			(void)!hs_fine_give_back(p->fine, g->view, &h, 1, NULL);
		pg->kept_split = 0;
		hs_coarse_forget(g->coarse, h);
	}
	return true;
}

int hs_pipeline_unshare_all(struct hs_pipeline *p, struct hs_share_unshared *out, struct hs_error *err)
{
	int rc = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		struct hs_share_unshared one = { 0 };
		int one_rc;

		if (g->gone || !g->shareable || !p->share)
			continue;
		one_rc = hs_share_unshare(p->share, g->share_id, NULL, 0, &one, err);
		out->nr_huge += one.nr_huge;
		out->nr_collapsed += one.nr_collapsed;
		out->nr_failed += one.nr_failed;
		if (one_rc && !hs_pipeline_guest_failed(p, g, one_rc))
			rc = one_rc;
	}
	return rc;
}
