/*
 * The pipeline's life: guests come and go, a cycle runs through the stages.
 *
 * The order inside one coarse round matters. Reading contents sets the accessed bit of a huge entry, so contents are
 * read after the sample of a round and before the ageing of the next: our own reads are never counted as the guest's.
 */
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_SLACK_US 20000 /* pace in steps that a sleep can keep */

const struct hs_pipeline_config hs_pipeline_config_default = {
	.coarse = HS_COARSE_CONFIG_DEFAULT,
	.fine = HS_FINE_CONFIG_DEFAULT,
	.policy = HS_POLICY_CONFIG_DEFAULT,
	.min_bytes = 0,
	.cpu_percent = 0,
	.hash_cold_rounds = 2,
	.look_again = 8,
};

static uint64_t thread_cpu_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void hs_pipeline_tell(struct hs_pipeline *p, enum hs_stage stage, uint64_t done, uint64_t total)
{
	if (p->progress)
		p->progress(p->progress_ctx, stage, done, total);
}

int hs_pipeline_pace(struct hs_pipeline *p)
{
	uint64_t wall, cpu, allowed;

	if (!p->cfg.cpu_percent)
		return 0;
	wall = p->clock->now_us(p->clock->ctx) - p->paced_wall_us;
	cpu = thread_cpu_us() - p->paced_cpu_us;
	allowed = wall * p->cfg.cpu_percent / 100;
	if (cpu <= allowed) {
		/* Idle time is not saved up for a burst of work later: forget all but a second. */
		if (wall > 1000000) {
			p->paced_wall_us += wall;
			p->paced_cpu_us += cpu;
		}
		return 0;
	}
	if (cpu - allowed < LIMIT_SLACK_US * p->cfg.cpu_percent / 100)
		return 0;
	return p->clock->sleep_us(p->clock->ctx, (cpu - allowed) * 100 / p->cfg.cpu_percent);
}

int hs_pipeline_create(struct hs_pipeline **out, const struct hs_host *host, const struct hs_pipeline_config *cfg,
		       const struct hs_clock *clock, struct hs_error *err)
{
	struct hs_pipeline *p = calloc(1, sizeof(*p));
	int rc = -ENOMEM;

	*out = NULL;
	if (!p)
		goto nomem;
	p->host = *host;
	p->cfg = *cfg;
	p->clock = clock;
	p->paced_wall_us = clock->now_us(clock->ctx);
	p->paced_cpu_us = thread_cpu_us();
	for (int i = 0; i < 2; i++) {
		p->buf[i] = aligned_alloc(HS_BASE_SIZE, HS_HUGE_SIZE);
		if (!p->buf[i])
			goto nomem;
	}
	rc = hs_digest_key_random(&p->key);
	if (rc) {
		hs_error_set(err, rc, "cannot get random bytes for the digest key: %s", strerror(-rc));
		goto out;
	}
	rc = hs_index_create(&p->index);
	if (rc)
		goto nomem;
	rc = hs_fine_create(&p->fine, &p->cfg.fine);
	if (rc) {
		hs_error_set(err, rc, "the fine phase refuses its settings: %s", strerror(-rc));
		goto out;
	}
	if (!p->cfg.observe) {
		rc = hs_share_create(&p->share, &p->host, &p->cfg.share, err);
		if (rc)
			goto out;
	}
	*out = p;
	return 0;
nomem:
	rc = hs_error_set(err, -ENOMEM, "out of memory");
out:
	hs_pipeline_destroy(p);
	return rc;
}

static void guest_free(struct hs_pipeline *p, struct guest *g)
{
	if (!g)
		return;
	if (g->pages && g->view)
		for (uint32_t h = 0; h < g->view->nr_huge; h++)
			free(g->pages[h].fine);
	free(g->pages);
	hs_coarse_destroy(g->coarse);
	if (g->view) {
		hs_fine_forget(p->fine, g->view);
		hs_view_close(g->view);
	}
	hs_remote_close(g->remote);
	free(g);
}

void hs_pipeline_destroy(struct hs_pipeline *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		size_t left;

		if (!g->gone) {
			if (hs_fine_retry(p->fine, g->view, &left, NULL) == 0 && !left)
				hs_journal_remove(&p->host, g->pid);
			if (g->shareable)
				hs_share_remove_guest(p->share, g->share_id);
		}
		guest_free(p, g);
	}
	hs_share_destroy(p->share);
	hs_fine_destroy(p->fine);
	hs_index_destroy(p->index);
	free(p->buf[0]);
	free(p->buf[1]);
	explicit_bzero(&p->key, sizeof(p->key));
	free(p);
}

/* Everything a guest needs besides its view; takes the view over, also on failure. */
static int guest_attach(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	uint64_t adopted = 0;
	int rc;

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
	if (g->index_id >= HS_MAX_GUESTS)
		return hs_error_set(err, -ENOSPC, "more than %d guests", HS_MAX_GUESTS);
	if (p->share && g->remote) {
		rc = hs_share_add_guest(p->share, g->name, g->view, g->remote, &g->share_id, &adopted, err);
		if (rc) {
			while (hs_index_remove_guest(p->index, g->index_id, UINT32_MAX) > 0)
				;
			return rc;
		}
		g->shareable = true;
	}
	p->guest_of_index[g->index_id] = (uint32_t)p->nr_guests;
	p->guests[p->nr_guests++] = g;
	return 0;
}

static int guest_new(struct hs_pipeline *p, struct guest **out, const char *name, struct hs_error *err)
{
	if (p->nr_guests == HS_MAX_GUESTS)
		return hs_error_set(err, -ENOSPC, "more than %d guests", HS_MAX_GUESTS);
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return hs_error_set(err, -ENOMEM, "out of memory");
	(void)snprintf((*out)->name, sizeof((*out)->name), "%s", name);
	return 0;
}

/*
 * A guest under KVM reaches its memory through nested page tables, whose accessed bits the host's own do not show:
 * every page of it would look cold, and hot pages would be shared. So such a guest is refused, not misjudged.
 */
static int refuse_kvm(const struct hs_host *host, pid_t pid, struct hs_error *err)
{
	char path[4096], target[64];
	struct dirent *e;
	bool found = false;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/%d/fd", host->proc_dir, pid);
	d = opendir(path);
	if (!d)
		return hs_error_set(err, errno == ENOENT ? -ESRCH : -errno, "process %d: cannot list %s: %s", pid, path,
				    errno == ENOENT ? "there is no such process" : strerror(errno));
	while (!found && (e = readdir(d)) != NULL) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		if (n <= 0)
			continue;
		target[n] = '\0';
		found = strcmp(target, "anon_inode:kvm-vm") == 0;
	}
	(void)closedir(d);
	if (!found)
		return 0;
	return hs_error_set(
	    err, -ENOTSUP,
	    "process %d runs its guest under KVM: its accesses are recorded in nested page tables, which this "
	    "version cannot read, so hot memory would look cold. It is left alone; guests under software "
	    "emulation and other processes can be shared",
	    pid);
}

int hs_pipeline_add_pid(struct hs_pipeline *p, pid_t pid, struct hs_error *err)
{
	struct guest *g;
	char name[32];
	int rc;

	for (size_t i = 0; i < p->nr_guests; i++)
		if (p->guests[i]->pid == pid && !p->guests[i]->gone)
			return hs_error_set(err, -EEXIST, "pid %d was given twice", pid);
	rc = refuse_kvm(&p->host, pid, err);
	if (rc)
		return rc;
	(void)snprintf(name, sizeof(name), "%d", pid);
	rc = guest_new(p, &g, name, err);
	if (rc)
		return rc;
	g->pid = pid;
	if (p->cfg.share.dry_run && !p->cfg.observe)
		rc = hs_remote_open_dry(&g->remote, &p->host, pid, err);
	else
		rc = hs_remote_open(&g->remote, &p->host, pid, err);
	if (rc)
		goto fail;
	rc = hs_view_open_host(&g->view, &p->host, pid, g->remote, p->cfg.min_bytes, err);
	if (rc)
		goto fail;
	(void)hs_journal_recover(&p->host, g->view);
	rc = guest_attach(p, g, err);
	if (rc)
		goto fail;
	return 0;
fail:
	guest_free(p, g);
	return rc;
}

int hs_pipeline_add_view(struct hs_pipeline *p, const char *name, struct hs_view *view, struct hs_error *err)
{
	struct guest *g;
	int rc = guest_new(p, &g, name, err);

	if (rc) {
		hs_view_close(view);
		return rc;
	}
	g->view = view;
	g->pid = view->pid;
	rc = guest_attach(p, g, err);
	if (rc)
		guest_free(p, g);
	return rc;
}

uint32_t hs_pipeline_nr_guests(const struct hs_pipeline *p)
{
	uint32_t n = 0;

	for (size_t i = 0; i < p->nr_guests; i++)
		n += !p->guests[i]->gone;
	return n;
}

void hs_pipeline_on_progress(struct hs_pipeline *p, hs_pipeline_progress *fn, void *ctx)
{
	p->progress = fn;
	p->progress_ctx = ctx;
}

bool hs_pipeline_guest_failed(struct hs_pipeline *p, struct guest *g, int rc)
{
	if (rc != -ESRCH)
		return false;
	if (g->gone)
		return true;
	g->gone = true;
	g->last.gone = true;
	if (g->shareable)
		hs_share_remove_guest(p->share, g->share_id);
	g->shareable = false;
	hs_fine_forget(p->fine, g->view);
	hs_journal_remove(&p->host, g->pid);
	while (hs_index_remove_guest(p->index, g->index_id, UINT32_MAX) > 0)
		;
	return true;
}

/* Runs one step for each living guest; a guest that is gone is dropped, any other error ends the loop. */
static int for_guests(struct hs_pipeline *p, int (*step)(struct hs_pipeline *, struct guest *, struct hs_error *),
		      struct hs_error *err)
{
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		int rc;

		if (g->gone)
			continue;
		rc = step(p, g, err);
		if (rc && !hs_pipeline_guest_failed(p, g, rc))
			return rc;
	}
	if (hs_pipeline_nr_guests(p))
		return 0;
	return hs_error_set(err, -ESRCH, "no guest is left: the last one has ended");
}

static int step_age(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	(void)p;
	return hs_view_age(g->view, err);
}

static int step_sample(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = hs_coarse_round(g->coarse, g->view, err);

	return rc ? rc : hs_content_note_round(p, g, err);
}

static int step_refresh(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	int rc = hs_view_refresh(g->view, err);

	(void)p;
	return rc == -ESTALE ? 0 : rc; /* what is gone answers unknown from now on */
}

static int coarse_window(struct hs_pipeline *p, struct hs_error *err)
{
	const uint32_t rounds = p->cfg.coarse.rounds;
	int rc = 0;

	for (uint32_t r = 0; r < rounds; r++) {
		hs_pipeline_tell(p, HS_STAGE_COARSE, r, rounds);
		rc = for_guests(p, step_age, err);
		if (!rc)
			rc = p->clock->sleep_us(p->clock->ctx, (uint64_t)p->cfg.coarse.interval_ms * 1000);
		if (!rc)
			rc = for_guests(p, step_sample, err);
		if (!rc)
			rc = for_guests(p, hs_content_hash_due, err);
		if (rc)
			return rc;
		p->totals.rounds++;
	}
	return 0;
}

/* Mappings that could not be brought back earlier get another chance in each cycle. */
static int step_retry(struct hs_pipeline *p, struct guest *g, struct hs_error *err)
{
	size_t left;
	int rc = hs_fine_retry(p->fine, g->view, &left, err);

	if (!rc && !left)
		hs_journal_remove(&p->host, g->pid);
	return rc == -ESRCH ? rc : 0;
}

int hs_pipeline_cycle(struct hs_pipeline *p, uint64_t *news, struct hs_error *err)
{
	int rc;

	*news = 0;
	p->totals.cycles++;
	rc = for_guests(p, step_refresh, err);
	if (!rc)
		rc = for_guests(p, step_retry, err);
	if (!rc)
		rc = coarse_window(p, err);
	if (!rc && !p->cfg.no_fine)
		rc = hs_decide_fine(p, err);
	if (!rc)
		rc = hs_decide_all(p, err);
	if (!rc && p->share)
		rc = hs_decide_merge(p, news, err);
	return rc;
}

int hs_pipeline_unshare_all(struct hs_pipeline *p, struct hs_share_unshared *out, struct hs_error *err)
{
	int rc = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < p->nr_guests; i++) {
		struct guest *g = p->guests[i];
		struct hs_share_unshared one = { 0 };
		int one_rc;

		if (g->gone || !g->shareable)
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
