/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariant that ksmd runs under: what is mergeable on this host is exactly what we marked. It is asked of the
 * kernel, address space by address space (mergeable.h), before a burst, every 20 ms or so in it and after it, because
 * memory becomes mergeable while we look elsewhere: a VM starts, a DIMM is plugged into a guest of ours. Memory that a
 * userfaultfd watches is in no plan: when ksmd replaces a page, its write protection is gone, and a background snapshot
 * would hold what was written later.
 *
 * What is not known is not allowed: when the look fails, ksmd does not run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "engine_internal.h"
#include "foreign.h"
#include "foreign_claim.h"
#include "runs.h"

bool hs_engine_unmerge_keeps_uffd(void)
{
	unsigned int major, minor;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 2));
}

/* ---- what a userfaultfd watches ---- */

/* Sets the bits of the guest's pages in [start, end). */
static void set_pages(const struct hs_view *v, uint64_t start, uint64_t end, struct hs_bits512 *bits)
{
	for (uint64_t at = start, stop; at < end; at = stop) {
		hs_base_nr first;

		stop = end;
		if (!hs_engine_page_at(v, at, &stop, &first))
			continue;
		for (hs_base_nr p = first; p < first + ((stop - at) >> HS_BASE_SHIFT); p++)
			hs_bits_set(&bits[p / HS_BASE_PER_HUGE], p % HS_BASE_PER_HUGE);
	}
}

int hs_engine_find_armed(struct hs_share *s, struct hs_engine_guest *g, struct hs_bits512 *armed, bool *any,
			 struct hs_error *err)
{
	struct hs_mergeable look;
	int rc = hs_mergeable_look(&s->host, g->view->pid, &look, err);

	*any = false;
	for (size_t i = 0; i < look.nr && !rc; i++) {
		if (!look.vma[i].armed)
			continue;
		*any = true;
		set_pages(g->view, look.vma[i].start, look.vma[i].end, armed);
	}
	hs_mergeable_finish(&look);
	return rc;
}

int hs_engine_leave_armed(struct hs_share *s, struct hs_engine_guest *g, struct hs_bits512 *target,
			  struct hs_error *err)
{
	struct hs_bits512 *armed = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*armed));
	const bool keeps = hs_engine_unmerge_keeps_uffd();
	bool any = false;
	int rc = armed ? hs_engine_find_armed(s, g, armed, &any, err) : hs_error_set(err, -ENOMEM, "out of memory");

	for (hs_huge_nr nr = 0; nr < g->nr_huge && !rc && any; nr++) {
		const struct hs_bits512 stays = hs_bits_and(g->huge[nr].marked, armed[nr]);

		target[nr] = hs_bits_andnot(target[nr], armed[nr]);
		if (!keeps)
			target[nr] = hs_bits_or(target[nr], stays);
	}
	free(armed);
	return rc;
}

/* Marks of ours that a userfaultfd watches since. The guest goes on to be shared elsewhere. */
static int unmark_armed(struct hs_share *s, struct hs_engine_guest *g, struct hs_error *err)
{
	struct hs_bits512 *armed = calloc(g->nr_huge ? g->nr_huge : 1, sizeof(*armed));
	struct hs_share_applied applied;
	bool any = false, marked = false;
	int rc = armed ? hs_engine_find_armed(s, g, armed, &any, err) : hs_error_set(err, -ENOMEM, "out of memory");

	for (hs_huge_nr nr = 0; nr < g->nr_huge && !rc && any; nr++) {
		struct hs_engine_huge *h = &g->huge[nr];
		const struct hs_bits512 both = hs_bits_and(h->marked, armed[nr]);

		marked |= hs_bits_any(&both);
		h->wanted = hs_bits_andnot(h->wanted, armed[nr]);
		h->allowed = hs_bits_andnot(h->allowed, armed[nr]);
	}
	free(armed);
	if (!rc && marked)
		rc = hs_share_apply(s, (uint32_t)(g - s->guests), &applied, err);
	return rc;
}

/* ---- what is beyond the plan ---- */

static uint64_t not_marked(const struct hs_engine_guest *g, hs_base_nr first, hs_base_nr end)
{
	uint64_t pages = 0;

	while (first < end) {
		const struct hs_bits512 *marked = &g->huge[first / HS_BASE_PER_HUGE].marked;
		const unsigned int i = first % HS_BASE_PER_HUGE;
		const hs_base_nr rest = HS_BASE_PER_HUGE - i < end - first ? HS_BASE_PER_HUGE - i : end - first;
		const unsigned int run = hs_run_length(marked, i);

		if (run >= rest) {
			first += rest;
		} else {
			pages += !run;
			first += run ? run : 1;
		}
	}
	return pages;
}

/* Bytes of [start, end) of a guest's process that we did not mark. */
static uint64_t unplanned(const struct hs_engine_guest *g, uint64_t start, uint64_t end)
{
	uint64_t bytes = 0;

	for (uint64_t at = start, stop; at < end; at = stop) {
		hs_base_nr first;

		stop = end;
		if (hs_engine_page_at(g->view, at, &stop, &first)) {
			bytes += not_marked(g, first, first + (hs_base_nr)((stop - at) >> HS_BASE_SHIFT))
				 << HS_BASE_SHIFT;
			continue;
		}
		bytes += stop - at;
		for (size_t i = 0; i < g->stray.nr; i++) {
			const struct hs_mark_range *m = &g->stray.ranges[i];
			const uint64_t from = m->start > at ? m->start : at, to = m->end < stop ? m->end : stop;

			if (m->kind == HS_MARK_MERGEABLE && from < to)
				bytes -= to - from;
		}
	}
	return bytes;
}

struct beyond {
	struct hs_ksm_foreign *found;
	size_t nr;
	bool armed_ours; /* a userfaultfd watches marks of ours */
};

/* The guest that each address space of the look belongs to: spaces[nr_guests]; 0: nothing of that guest is in there. */
static void find_spaces(const struct hs_share *s, const struct hs_mergeable *look, uint64_t *spaces)
{
	pid_t last = 0;

	for (size_t i = 0; i < look->nr; i++) {
		if (look->vma[i].pid == last)
			continue;
		last = look->vma[i].pid;
		for (uint32_t k = 0; k < s->nr_guests; k++)
			if (s->guests[k].used && !s->guests[k].gone && s->guests[k].view->pid == last)
				spaces[k] = look->vma[i].space;
	}
}

static struct hs_engine_guest *guest_in(const struct hs_share *s, const uint64_t *spaces, uint64_t space)
{
	for (uint32_t i = 0; i < s->nr_guests; i++)
		if (spaces[i] && spaces[i] == space)
			return &s->guests[i];
	return NULL;
}

static int find_beyond(struct hs_share *s, struct beyond *out, struct hs_error *err)
{
	uint64_t *spaces = calloc(s->nr_guests ? s->nr_guests : 1, sizeof(*spaces));
	struct hs_mergeable look = { 0 };
	int rc = spaces ? hs_mergeable_look(&s->host, 0, &look, err) : -ENOMEM;

	memset(out, 0, sizeof(*out));
	if (!rc)
		find_spaces(s, &look, spaces);
	for (size_t i = 0, end; i < look.nr && !rc; i = end) {
		struct hs_engine_guest *g = guest_in(s, spaces, look.vma[i].space);
		struct hs_mergeable_vma first = { 0 };
		uint64_t bytes = 0;

		for (end = i; end < look.nr && look.vma[end].space == look.vma[i].space; end++) {
			const struct hs_mergeable_vma *v = &look.vma[end];
			uint64_t more;

			if (!v->mergeable || (end > i && v[-1].start == v->start))
				continue;
			more = g ? unplanned(g, v->start, v->end) : v->end - v->start;
			if (s->cfg.foreign == HS_FOREIGN_ALLOW)
				more = 0;
			if (v->armed) {
				out->armed_ours |= g && unplanned(g, v->start, v->end) < v->end - v->start;
				more = v->end - v->start;
			}
			if (more && (!bytes || (v->armed && !first.armed)))
				first = *v;
			bytes += more;
		}
		if (g)
			first.pid = g->view->pid;
		if (bytes)
			rc = hs_foreign_add(&out->found, &out->nr, &s->host, &first, bytes);
	}
	hs_mergeable_finish(&look);
	free(spaces);
	if (rc == -ENOMEM)
		(void)hs_error_set(err, rc, "out of memory");
	return rc;
}

/* A process that is left alone because what we marked in it is not known: nothing but that ends it. */
static bool has_bad_record(const struct hs_share *s, pid_t pid, struct hs_error *why)
{
	struct hs_mark_record r;
	int rc = hs_mark_record_read(&s->host, pid, &r, why);

	hs_mark_record_finish(&r);
	return rc == -EBADMSG;
}

static int name_them(const struct hs_share *s, const struct beyond *b, struct hs_error *err)
{
	struct hs_error why = { "" };
	char names[384] = "";
	bool armed = false;

	for (size_t i = 0; i < b->nr; i++)
		if (has_bad_record(s, b->found[i].pid, &why))
			return hs_error_set(err, -EBUSY, "ksmd may not run for anybody: %.400s", why.text);
	for (size_t i = 0, len; i < b->nr; i++) {
		const struct hs_ksm_foreign *f = &b->found[i];

		armed |= f->armed;
		len = strlen(names);
		if (len < sizeof(names) - 96)
			(void)snprintf(names + len, sizeof(names) - len, "%s%s (pid %d, %llu MiB, at %llx-%llx%s)",
				       i ? ", " : "", f->comm, (int)f->pid,
				       (unsigned long long)((f->mergeable_bytes + (1 << 20) - 1) >> 20),
				       (unsigned long long)f->start, (unsigned long long)f->end,
				       f->armed ? ", watched by a userfaultfd" : "");
	}
	return hs_error_set(err, -EBUSY, "ksmd would merge memory that is not ours as well: %.300s; %s", names,
			    armed ? "wait until the snapshot or migration that watches it has ended"
				  : "opt it in, start it with QEMU's -machine mem-merge=off (libvirt: nosharepages), "
				    "or claim or allow foreign memory");
}

int hs_engine_check_plan(struct hs_share *s, struct hs_error *err)
{
	struct beyond b;
	int rc = find_beyond(s, &b, err);

	if (!rc && b.nr)
		rc = name_them(s, &b, err);
	free(b.found);
	return rc;
}

/* ---- before a burst ---- */

static bool is_guest(const struct hs_share *s, pid_t pid)
{
	for (uint32_t i = 0; i < s->nr_guests; i++)
		if (s->guests[i].used && !s->guests[i].gone && s->guests[i].view->pid == pid)
			return true;
	return false;
}

static int claim_one(struct hs_share *s, const struct hs_ksm_foreign *f, struct hs_error *err)
{
	struct hs_error why = { "" };
	struct hs_foreign_claim c;
	int rc = hs_foreign_claim_find(&s->host, f->pid, &c, &why);

	if (!rc && c.nr) {
		rc = hs_engine_room(s, f->pid, hs_foreign_claim_ksm_bytes(&s->host, &c),
				    "ending the sharing that somebody else began", &why);
		if (!rc)
			rc = hs_foreign_claim_record(&s->host, &c, &why);
		if (!rc)
			rc = hs_foreign_claim_take(&s->host, &c, NULL, &why);
	}
	hs_foreign_claim_finish(&c);
	if (!rc || rc == -ESRCH)
		return 0;
	return hs_error_set(err, -EBUSY,
			    "memory of %s (process %d) is mergeable and could not be claimed, so ksmd may not run: "
			    "%.200s",
			    f->comm, (int)f->pid, why.text);
}

/* That the next burst could not make unmergeable by itself: for it there is no way but to wait. */
static bool stays(const struct hs_share *s, const struct hs_ksm_foreign *f)
{
	return f->armed || (s->cfg.foreign != HS_FOREIGN_CLAIM && !is_guest(s, f->pid));
}

/* Marked by an earlier run: its guest is only not here yet. */
static bool is_on_record(const struct hs_share *s, pid_t pid)
{
	struct hs_mark_record r;
	const bool on_record = !hs_mark_record_read(&s->host, pid, &r, NULL) && r.nr;

	hs_mark_record_finish(&r);
	return on_record;
}

int hs_share_ready(struct hs_share *s, struct hs_error *err)
{
	struct beyond b;
	size_t left = 0;
	int rc = find_beyond(s, &b, err);

	for (size_t i = 0; i < b.nr && !rc; i++)
		if (stays(s, &b.found[i]) && (b.found[i].armed || !is_on_record(s, b.found[i].pid)))
			b.found[left++] = b.found[i];
	b.nr = rc ? b.nr : left;
	if (!rc && b.nr)
		rc = name_them(s, &b, err);
	free(b.found);
	return rc;
}

int hs_engine_clear_way(struct hs_share *s, struct hs_error *err)
{
	bool acted = false;
	struct beyond b;
	int rc = find_beyond(s, &b, err);

	if (!rc && b.armed_ours && !s->cfg.dry_run && hs_engine_unmerge_keeps_uffd()) {
		acted = true;
		for (uint32_t i = 0; i < s->nr_guests && !rc; i++)
			if (s->guests[i].used && !s->guests[i].gone)
				rc = unmark_armed(s, &s->guests[i], err);
	}
	for (size_t i = 0; i < b.nr && !rc && !s->cfg.dry_run; i++) {
		if (stays(s, &b.found[i]))
			continue;
		acted = true;
		rc = claim_one(s, &b.found[i], err);
	}
	/* What could not be taken away is left: for that there is no way but to wait. */
	if (!rc && acted)
		rc = hs_engine_check_plan(s, err);
	else if (!rc && b.nr)
		rc = name_them(s, &b, err);
	free(b.found);
	return rc == -ESRCH ? hs_error_set(err, -EBUSY, "a guest left while it was looked at") : rc;
}
