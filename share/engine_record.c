/*
 * Keeps a guest's record of marks (mark_record.h) in step with what the engine does.
 *
 * Order, and what each step closes. Before operations that mark, the record is put on the disk with what is there and
 * what is about to be: a kill at any instant leaves no mark without a record. After operations, of which some may have
 * failed or taken marks away, it is written again as things are: a kill before that leaves a record that names too
 * much, and the next engine believes of it only what the kernel says as well. A call that had no known end (it failed,
 * perhaps half way; the guest was given up in it) counts as made: what it was to mark stays on record until it is
 * marked or taken away for certain.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/hostfile.h"
#include "engine_internal.h"
#include "runs.h"

/* What is about to be, beside what is. */
struct coming {
	struct hs_bits512 *marks; /* [nr_huge] */
	bool *nohuge;             /* [nr_huge] */
};

static void take_in(struct coming *c, const struct hs_engine_ops *ops)
{
	for (size_t i = 0; i < ops->nr; i++) {
		const struct hs_remote_op *op = &ops->op[i];
		const hs_base_nr end = ops->first[i] + (hs_base_nr)((op->end - op->start) >> HS_BASE_SHIFT);

		for (hs_base_nr p = ops->first[i]; p < end; p++) {
			if (op->advice == MADV_MERGEABLE)
				hs_bits_set(&c->marks[p / HS_BASE_PER_HUGE], p % HS_BASE_PER_HUGE);
			else if (op->advice == MADV_NOHUGEPAGE)
				c->nohuge[p / HS_BASE_PER_HUGE] = true;
			if (op->advice != MADV_MERGEABLE)
				p |= HS_BASE_PER_HUGE - 1; /* advice on huge pages is for whole ones */
		}
	}
}

static uint32_t kind_of(const struct hs_engine_huge *h, bool nohuge)
{
	uint32_t kind = h->was_huge ? HS_MARK_WHOLE_HUGE : 0;

	if (nohuge)
		kind |= h->thp == HS_ENGINE_HUGEPAGE ? HS_MARK_HUGEPAGE : HS_MARK_PLAIN;
	return kind;
}

static int build(struct hs_mark_record *r, const struct hs_engine_guest *g, const struct coming *c)
{
	int rc = 0;

	for (size_t i = 0; i < g->stray.nr && !rc; i++)
		if (g->stray.ranges[i].kind == HS_MARK_MERGEABLE)
			rc = hs_mark_record_add(r, g->stray.ranges[i].start, g->stray.ranges[i].end, HS_MARK_MERGEABLE);
	for (hs_huge_nr nr = 0; nr < g->nr_huge && !rc; nr++) {
		struct hs_bits512 marks = c->marks ? hs_bits_or(g->huge[nr].marked, c->marks[nr]) : g->huge[nr].marked;
		const uint64_t at = hs_view_hva(g->view, nr).v;

		for (unsigned int i = hs_bits_next(&marks, 0), len; i < HS_BASE_PER_HUGE && !rc;
		     i = hs_bits_next(&marks, i + len)) {
			len = hs_run_length(&marks, i);
			rc = hs_mark_record_add(r, at + i * HS_BASE_SIZE, at + (i + len) * HS_BASE_SIZE,
						HS_MARK_MERGEABLE);
		}
	}
	for (size_t i = 0; i < g->stray.nr && !rc; i++)
		if (g->stray.ranges[i].kind != HS_MARK_MERGEABLE)
			rc = hs_mark_record_add(r, g->stray.ranges[i].start, g->stray.ranges[i].end,
						g->stray.ranges[i].kind);
	for (hs_huge_nr nr = 0; nr < g->nr_huge && !rc; nr++) {
		const uint32_t kind = kind_of(&g->huge[nr], g->huge[nr].nohuge || (c->nohuge && c->nohuge[nr]));
		const uint64_t at = hs_view_hva(g->view, nr).v;

		if (kind)
			rc = hs_mark_record_add(r, at, at + HS_HUGE_SIZE, kind);
	}
	return rc;
}

/* Of what is on the disk: a record that did not change is not written again. Never 0. */
static uint64_t digest_of(const struct hs_mark_record *r)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < r->nr; i++) {
		const uint64_t words[] = { r->ranges[i].start, r->ranges[i].end, r->ranges[i].kind };

		for (size_t k = 0; k < 3; k++)
			sum = (sum ^ words[k]) * UINT64_C(0x9e3779b97f4a7c15) + (sum >> 29);
	}
	return sum | 1;
}

static int write_record(struct hs_share *s, struct hs_engine_guest *g, const struct coming *c, struct hs_error *err)
{
	struct hs_mark_record r = { .pid = g->view->pid, .id = g->process };
	int rc = build(&r, g, c);
	uint64_t digest = digest_of(&r);

	if (rc)
		(void)hs_error_set(err, rc, "out of memory");
	else if (digest != g->record_digest)
		rc = hs_mark_record_write(&s->host, &r, err);
	g->record_digest = rc ? 0 : digest;
	hs_mark_record_finish(&r);
	return rc;
}

int hs_engine_run_ops(struct hs_share *s, struct hs_engine_guest *g, struct hs_engine_ops *ops, struct hs_error *err)
{
	struct hs_remote_stats before, after;
	struct coming c = { 0 };
	size_t taking = 0; /* operations that take away, before the first one that marks */
	int rc = 0;

	hs_engine_halt(s);
	while (taking < ops->nr && ops->op[taking].advice != MADV_MERGEABLE &&
	       ops->op[taking].advice != MADV_NOHUGEPAGE)
		taking++;
	if (taking < ops->nr && !s->cfg.dry_run) {
		c.marks = calloc(g->nr_huge, sizeof(*c.marks));
		c.nohuge = calloc(g->nr_huge, sizeof(*c.nohuge));
		if (c.marks && c.nohuge) {
			take_in(&c, ops);
			rc = write_record(s, g, &c, err);
		} else {
			rc = hs_error_set(err, -ENOMEM, "out of memory");
		}
		free(c.marks);
		free(c.nohuge);
	}
	/* Nothing new without a record (the state folder is full); to end sharing none is needed. */
	if (rc) {
		(void)!hs_remote_madvise(g->remote, ops->op, taking, NULL);
		return rc;
	}
	hs_remote_stats(g->remote, &before);
	rc = hs_remote_madvise(g->remote, ops->op, ops->nr, err);
	hs_remote_stats(g->remote, &after);
	ops->unsure = rc && after.nr_sessions != before.nr_sessions;
	return rc;
}

void hs_engine_record(struct hs_share *s, struct hs_engine_guest *g)
{
	const struct coming none = { 0 };

	/* When it cannot be written, the one on the disk names more than there is, which does no harm. */
	if (!s->cfg.dry_run && !g->gone)
		(void)!write_record(s, g, &none, NULL);
}

/* ---- huge-page advice ---- */

/* "always [madvise] never" with the word in brackets. */
static bool is_chosen(const char *dir, const char *name, const char *word)
{
	char text[128], chosen[32];

	(void)snprintf(chosen, sizeof(chosen), "[%s]", word);
	return hs_hostfile_read(dir, name, text, sizeof(text)) > 0 && strstr(text, chosen) != NULL;
}

/* Unknown counts as yes: then what is shared is kept from khugepaged by advice of its own. */
bool hs_engine_plain_collapses(const struct hs_host *host)
{
	static const char size[] = "hugepages-2048kB/enabled"; /* 6.8 and later */

	if (is_chosen(host->thp_dir, size, "madvise") || is_chosen(host->thp_dir, size, "never"))
		return false;
	if (is_chosen(host->thp_dir, size, "always"))
		return true;
	return !is_chosen(host->thp_dir, "enabled", "madvise") && !is_chosen(host->thp_dir, "enabled", "never");
}
