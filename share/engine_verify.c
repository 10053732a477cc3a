/*
 * What is really shared: read from the page frames, never from what was asked for.
 *
 * A base page on a KSM frame saves something only when that frame has another mapping. How many it has is read from
 * /proc/kpagecount, after the frames of the whole guest: ksmd is stopped, so meanwhile sharing can only be lost, and
 * what is lost between the two reads shows as a count of 0 or 1 and is not booked. Each of a frame's n mappings bears
 * 1/n of it, whoever has the others, so the frames of all guests add up to the frames that there are.
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

struct seen {
	uint64_t pfn;
	hs_base_nr page;
};

struct verify {
	struct hs_engine_guest *g;
	struct seen *seen;
	size_t nr, room;
	struct hs_bits512 *shared; /* [nr_huge]: as it is now */
	struct hs_engine_sums sums;
	uint64_t broken, unmerged;
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
	struct hs_bits512 pages = hs_bits_or(h->wanted, h->marked);
	int rc = hs_view_frames(v->g->view, nr, frames, err);

	if (rc)
		return rc;
	hs_bits_for_each (i, &pages) {
		const struct hs_frame *f = &frames[i];

		if (!(f->flags & (HS_FRAME_KSM | HS_FRAME_ZERO)) && hs_bits_test(&h->marked, i) &&
		    !hs_bits_test(&h->unsure, i))
			v->unmerged++;
		if (!f->pfn)
			continue;
		if (f->flags & HS_FRAME_ZERO) {
			if (hs_bits_test(&h->marked, i) && !hs_bits_test(&h->zero_before, i)) {
				hs_bits_set(&v->shared[nr], i);
				v->sums.zero++;
			}
		} else if (f->flags & HS_FRAME_KSM) {
			rc = note_page(v, f->pfn, nr * HS_BASE_PER_HUGE + i);
			if (rc)
				return rc;
		} else if (hs_bits_test(&h->shared, i) && hs_bits_test(&h->wanted, i)) {
			h->breaks++;
			v->broken++;
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
	if (mappings >= 2) {
		hs_bits_set(&v->shared[p->page / HS_BASE_PER_HUGE], p->page % HS_BASE_PER_HUGE);
		v->sums.shared++;
		v->sums.frame_parts += (UINT64_C(1) << HS_ENGINE_PART_BITS) / mappings;
	} else if (mappings == 1) {
		v->sums.single++;
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

static void read_rmap_items(struct verify *v, const struct hs_host *host)
{
	char text[1024];

	if (hs_hostfile_read_pid(host, v->g->view->pid, "ksm_stat", text, sizeof(text)) <= 0 ||
	    hs_hostfile_field(text, "ksm_rmap_items", &v->sums.rmap_items))
		v->sums.rmap_items = UINT64_MAX;
}

int hs_engine_verify(struct hs_share *s, struct hs_engine_guest *g, struct hs_error *err)
{
	struct verify v = { .g = g };
	int rc = 0;

	v.shared = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*v.shared));
	if (!v.shared)
		return hs_error_set(err, -ENOMEM, "out of memory");
	for (hs_huge_nr h = 0; h < g->nr_huge && !rc; h++)
		if (hs_bits_any(&g->huge[h].wanted) || hs_bits_any(&g->huge[h].marked))
			rc = look_at_huge(&v, h, err);
	if (!rc)
		rc = sort_seen(&v);
	if (rc == -ENOMEM)
		(void)hs_error_set(err, rc, "out of memory");
	if (!rc)
		rc = count_mappings(&v, &s->host, err);
	if (!rc) {
		read_rmap_items(&v, &s->host);
		for (hs_huge_nr h = 0; h < g->nr_huge; h++)
			g->huge[h].shared = v.shared[h];
		g->sums = v.sums;
		g->unmerged = v.unmerged;
	}
	g->broken += v.broken;
	free(v.seen);
	free(v.shared);
	return hs_engine_note(g, rc);
}

int hs_share_verify(struct hs_share *s, uint32_t id, struct hs_error *err)
{
	int rc;
	struct hs_engine_guest *g = hs_engine_guest(s, id, &rc, err);

	return g ? hs_engine_verify(s, g, err) : rc;
}
