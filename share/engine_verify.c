/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is really shared: read from the page frames, never from what was asked for.
 *
 * A base page on a KSM frame saves something only when that frame has another mapping. How many it has is read from
 * /proc/kpagecount, after the frames of the whole guest: ksmd is stopped, so meanwhile sharing can only be lost, and
 * what is lost between the two reads shows as a count of 0 or 1 and is not booked. Each of a frame's n mappings bears
 * 1/n of it, whoever has the others, so the frames of all guests add up to the frames that there are.
 *
 * What it costs. A verify reads what may have come to be shared, and of the rest, of which pages can only have broken,
 * a part in turn: a guest of a terabyte takes no longer in a cycle than one of 8 GiB. Where there are several groups
 * all of it is read, since which group a frame belongs to hangs on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine_internal.h"
#include "base/hostfile.h"
#include "runs.h"

#define PACE_HUGE 8U /* huge pages from one pace to the next */

struct seen {
	uint64_t pfn;
	hs_base_nr page;
};

struct verify {
	struct hs_share *s;
	struct hs_engine_guest *g;
	bool *look; /* [nr_huge] */
	struct seen *seen;
	size_t nr, room;
	struct hs_bits512 *shared;    /* [nr_huge]: as it is now */
	struct hs_engine_part *parts; /* [nr_huge]: the same */
};

static int note_page(struct verify *v, uint64_t pfn, hs_base_nr page)
{
	if (v->nr == v->room) {
		size_t room = v->room ? v->room * 2 : 4096;
		struct seen *grown = reallocarray(v->seen, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		v->seen = grown;
		v->room = room;
	}
	v->seen[v->nr++] = (struct seen){ .pfn = pfn, .page = page };
	return 0;
}

static int look_at_huge(struct verify *v, hs_huge_nr nr, struct hs_error *err)
{
	struct hs_frame frames[HS_BASE_PER_HUGE];
	struct hs_engine_huge *h = &v->g->huge[nr];
	struct hs_engine_part *part = &v->parts[nr];
	struct hs_bits512 pages = hs_bits_or(h->wanted, h->marked);
	int rc = hs_view_frames(v->g->view, nr, frames, err);

	if (rc)
		return rc;
	part->marked = (uint16_t)hs_bits_count(&h->marked);
	hs_bits_for_each (i, &pages) {
		const struct hs_frame *f = &frames[i];

		if (!(f->flags & (HS_FRAME_KSM | HS_FRAME_ZERO)) && hs_bits_test(&h->marked, i) &&
		    !hs_bits_test(&h->unsure, i))
			part->unmerged++;
		if (!f->pfn)
			continue;
		if (f->flags & HS_FRAME_ZERO) {
			if (hs_bits_test(&h->marked, i) && !hs_bits_test(&h->zero_before, i)) {
				hs_bits_set(&v->shared[nr], i);
				part->zero++;
			}
		} else if (f->flags & HS_FRAME_KSM) {
			rc = note_page(v, f->pfn, nr * HS_BASE_PER_HUGE + i);
			if (rc)
				return rc;
		} else if (hs_bits_test(&h->shared, i) && hs_bits_test(&h->wanted, i)) {
			part->broken++;
		}
	}
	return 0;
}

/* ---- mappings of each frame ---- */

/* By pfn, 16 bits a round: frames lie anywhere, and the file is read in stretches. */
static int sort_seen(struct verify *v)
{
	struct seen *other = malloc((v->nr ? v->nr : 1) * sizeof(*other));
	size_t *at = malloc(65537 * sizeof(*at));
	uint64_t all = 0;

	if (!other || !at) {
		free(other);
		free(at);
		return -ENOMEM;
	}
	for (size_t i = 0; i < v->nr; i++)
		all |= v->seen[i].pfn;
	for (unsigned int shift = 0; shift < 64 && all >> shift; shift += 16) {
		struct seen *swap = v->seen;

		memset(at, 0, 65537 * sizeof(*at));
		for (size_t i = 0; i < v->nr; i++)
			at[(v->seen[i].pfn >> shift & 0xffff) + 1]++;
		for (size_t i = 0; i < 65536; i++)
			at[i + 1] += at[i];
		for (size_t i = 0; i < v->nr; i++)
			other[at[v->seen[i].pfn >> shift & 0xffff]++] = v->seen[i];
		v->seen = other;
		other = swap;
	}
	v->room = v->nr;
	free(other);
	free(at);
	return 0;
}

static void book(struct verify *v, const struct seen *p, uint64_t mappings)
{
	struct hs_engine_part *part = &v->parts[p->page / HS_BASE_PER_HUGE];

	if (mappings >= 2) {
		hs_bits_set(&v->shared[p->page / HS_BASE_PER_HUGE], p->page % HS_BASE_PER_HUGE);
		part->shared++;
		part->frame_parts += (UINT64_C(1) << HS_ENGINE_PART_BITS) / mappings;
	} else if (mappings == 1) {
		part->single++;
	}
}

#define WINDOW 512 /* frames a read: 4 KiB of counts */

static int count_mappings(struct verify *v, const struct hs_host *host, struct hs_error *err)
{
	uint64_t counts[WINDOW];
	char path[PATH_MAX];
	int fd, rc = 0;

	if (!v->nr)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/kpagecount", host->proc_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return hs_error_set(err, -errno, "cannot open %s (%s): it needs root and CONFIG_PROC_PAGE_MONITOR=y",
				    path, strerror(errno));
	for (size_t i = 0, end; i < v->nr && !rc; i = end) {
		uint64_t first = v->seen[i].pfn, last = first;
		ssize_t want, got;

		for (end = i; end < v->nr && v->seen[end].pfn < first + WINDOW; end++)
			last = v->seen[end].pfn;
		want = (ssize_t)((last - first + 1) * sizeof(counts[0]));
		do {
			got = pread(fd, counts, (size_t)want, (off_t)(first * sizeof(counts[0])));
		} while (got < 0 && errno == EINTR);
		if (got != want) {
			rc = got < 0 ? -errno : -EIO;
			(void)hs_error_set(err, rc, "cannot read %s: %s", path, strerror(-rc));
		}
		for (size_t k = i; k < end && !rc; k++)
			book(v, &v->seen[k], counts[v->seen[k].pfn - first]);
	}
	(void)close(fd);
	return rc;
}

/* ---- */

static bool is_marked(const struct hs_engine_huge *h)
{
	return hs_bits_any(&h->wanted) || hs_bits_any(&h->marked);
}

/* What may have come to be shared since it was read last, or lost its mark. */
static bool may_differ(const struct hs_engine_huge *h)
{
	const struct hs_bits512 wanted = hs_bits_and(h->wanted, h->marked), left = hs_bits_andnot(wanted, h->shared);

	return hs_bits_any(&left) || hs_bits_count(&h->marked) != h->part.marked ||
	       hs_bits_count(&h->shared) != (unsigned int)h->part.shared + h->part.zero;
}

/* Chooses what is read. */
static void choose(struct verify *v, size_t in_turn)
{
	struct hs_engine_guest *g = v->g;
	hs_huge_nr at = g->verify_next < g->nr_huge ? g->verify_next : 0;

	for (hs_huge_nr h = 0; h < g->nr_huge; h++)
		v->look[h] = is_marked(&g->huge[h]) && may_differ(&g->huge[h]);
	for (hs_huge_nr i = 0; i < g->nr_huge && in_turn; i++) {
		if (is_marked(&g->huge[at]) && !v->look[at]) {
			v->look[at] = true;
			in_turn--;
		}
		at = at + 1 < g->nr_huge ? at + 1 : 0;
	}
	g->verify_next = at;
}

static int look(struct verify *v, bool paced, struct hs_error *err)
{
	unsigned int nr = 0;
	int rc = 0;

	for (hs_huge_nr h = 0; h < v->g->nr_huge && !rc; h++) {
		if (!v->look[h])
			continue;
		rc = look_at_huge(v, h, err);
		if (!rc && paced && v->s->pace && !(++nr % PACE_HUGE))
			rc = v->s->pace(v->s->pace_ctx);
	}
	return rc;
}

static void take_results(struct verify *v)
{
	struct hs_engine_guest *g = v->g;
	char text[1024];

	g->sums = (struct hs_engine_sums){ 0 };
	g->unmerged = 0;
	for (hs_huge_nr h = 0; h < g->nr_huge; h++) {
		struct hs_engine_huge *huge = &g->huge[h];

		if (v->look[h] || !is_marked(huge)) {
			huge->shared = v->shared[h];
			huge->part = v->parts[h];
			huge->breaks += huge->part.broken;
			g->broken += huge->part.broken;
		}
		g->sums.shared += huge->part.shared;
		g->sums.zero += huge->part.zero;
		g->sums.single += huge->part.single;
		g->sums.frame_parts += huge->part.frame_parts;
		g->unmerged += huge->part.unmerged;
	}
	if (hs_hostfile_read_pid(&v->s->host, g->view->pid, "ksm_stat", text, sizeof(text)) <= 0 ||
	    hs_hostfile_field(text, "ksm_rmap_items", &g->sums.rmap_items))
		g->sums.rmap_items = UINT64_MAX;
}

int hs_engine_verify(struct hs_share *s, struct hs_engine_guest *g, enum hs_engine_verify_what what,
		     struct hs_error *err)
{
	struct verify v = { .s = s, .g = g };
	const size_t nr = g->nr_huge ? g->nr_huge : 1;
	int rc = -ENOMEM;

	v.shared = calloc(nr, sizeof(*v.shared));
	v.parts = calloc(nr, sizeof(*v.parts));
	v.look = calloc(nr, sizeof(*v.look));
	if (v.shared && v.parts && v.look) {
		choose(&v, what == HS_ENGINE_VERIFY_IN_TURN ? s->verify_turn : g->nr_huge);
		rc = look(&v, what != HS_ENGINE_VERIFY_AT_ONCE, err);
	}
	if (!rc)
		rc = sort_seen(&v);
	if (rc == -ENOMEM)
		(void)hs_error_set(err, rc, "out of memory");
	if (!rc)
		rc = count_mappings(&v, &s->host, err);
	if (!rc)
		take_results(&v);
	free(v.seen);
	free(v.shared);
	free(v.parts);
	free(v.look);
	return hs_engine_note(g, rc);
}

void hs_share_on_pace(struct hs_share *s, hs_share_pace *fn, void *ctx)
{
	s->pace = fn;
	s->pace_ctx = ctx;
}

int hs_share_verify(struct hs_share *s, uint32_t id, struct hs_error *err)
{
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, err);

	return g ? hs_engine_verify(
		       s, g, hs_engine_has_several_groups(s) ? HS_ENGINE_VERIFY_ALL_PACED : HS_ENGINE_VERIFY_IN_TURN,
		       err)
		 : rc;
}
