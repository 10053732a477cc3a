/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The view over KVM's nested page tables (NPT on AMD, EPT on Intel): right for guests under KVM, whose accesses leave
 * no trace in the host's page tables.
 *
 * It stands around the view over the host's page tables and asks that one for everything but accesses: what is mapped
 * how, page frames, bytes. Whether something is present is the host's to say: a nested entry comes and goes with
 * ageing. Of accesses both are asked, since the VMM's own (emulated devices, vhost) show in the host's tables alone.
 *
 * The parts: kvm_walk.bpf.c looks at KVM's description of the VM, nested_vm.c makes sense of it, nested_read.c reads
 * the tables by the walk that reads the host's, nested_age.c has the ways of ageing.
 */
#include "nested_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/host_facts.h"

#define MANUAL_BOTH 3U /* KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, KVM_DIRTY_LOG_INITIALLY_SET */

/* ---- life ---- */

static void close_view(struct hs_view *view)
{
	struct hs_nested_view *v = hs_nested_view(view);

	hs_nested_dirty_log_finish(v);
	hs_view_close(v->inner);
	hs_kvm_walk_put(v->kvm);
	if (v->vm_fd >= 0)
		close(v->vm_fd);
	if (v->ageing_fd >= 0)
		close(v->ageing_fd);
	free(v->pieces);
	free(v->blind);
	free(v->split);
	free(v);
}

static int refresh(struct hs_view *view, struct hs_error *err)
{
	const int rc = hs_view_refresh(hs_nested_view(view)->inner, err);

	view->left_out = hs_nested_view(view)->inner->left_out;
	return rc;
}

/* ---- samples ---- */

static void merge_huge(struct hs_huge_sample *s, const struct hs_nested_mark *m)
{
	uint16_t nr = (uint16_t)hs_bits_count(&m->accessed);

	if (s->state == HS_MAP_UNKNOWN || s->state == HS_MAP_ABSENT)
		return;
	/* Base pages that both saw are counted once; that these are the same is the cautious guess. */
	if (nr > s->nr_accessed)
		s->nr_accessed = nr < s->nr_present ? nr : s->nr_present;
	if (nr)
		s->accessed = HS_YES;
	if (s->accessed == HS_YES && s->state == HS_MAP_HUGE)
		s->nr_accessed = HS_BASE_PER_HUGE;
	if (m->unknown && s->accessed < HS_YES) {
		s->accessed = HS_UNKNOWN;
		s->nr_accessed = 0;
	}
}

static int sample_huge(struct hs_view *view, hs_huge_nr first, uint32_t nr, struct hs_huge_sample *out,
		       struct hs_error *err)
{
	struct hs_nested_view *v = hs_nested_view(view);
	struct hs_nested_mark *marks = calloc(nr, sizeof(*marks));
	int rc = marks ? hs_view_sample_huge(v->inner, first, nr, out, err)
		       : hs_error_set(err, -ENOMEM, "no memory for a sample of %u huge pages", nr);

	if (!rc) {
		rc = hs_nested_mark_range(v, first, nr, marks);
		if (rc)
			rc = hs_host_error(hs_nested_host(v), rc, "read its nested page tables", err);
	}
	for (uint32_t i = 0; i < nr && !rc; i++)
		merge_huge(&out[i], &marks[i]);
	if (rc)
		memset(out, 0, nr * sizeof(*out));
	free(marks);
	return rc;
}

/*
 * A huge page whose nested mapping we split: its base pages' accesses are in the nested tables alone, for the host has
 * one bit for all of them. When that is set, or a huge entry is back (somebody switched logging off), or the host's
 * mapping is huge no longer, nothing is known.
 */
static void merge_split(struct hs_base_sample *s, const struct hs_nested_mark *m)
{
	bool known = s->state == HS_MAP_HUGE && hs_bits_none(&s->accessed) && !m->unknown && !m->huge;

	*s = known
		 ? (struct hs_base_sample){ .state = HS_MAP_SPLIT, .present = hs_bits_full(), .accessed = m->accessed }
		 : (struct hs_base_sample){ .swapped = s->swapped, .empty = s->empty };
}

static void merge_base(struct hs_base_sample *s, const struct hs_nested_mark *m)
{
	if (s->state == HS_MAP_UNKNOWN)
		return;
	/* Here is no place for "unknown" but the state. */
	if (m->unknown) {
		*s = (struct hs_base_sample){ .swapped = s->swapped, .empty = s->empty };
		return;
	}
	s->accessed = hs_bits_and(hs_bits_or(s->accessed, m->accessed), s->present);
	if (s->state == HS_MAP_HUGE && hs_bits_any(&s->accessed))
		s->accessed = hs_bits_full();
}

static int sample_base(struct hs_view *view, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
		       struct hs_error *err)
{
	struct hs_nested_view *v = hs_nested_view(view);
	struct hs_nested_mark *marks = calloc(nr, sizeof(*marks));
	int rc = marks ? hs_view_sample_base(v->inner, huge, nr, out, err)
		       : hs_error_set(err, -ENOMEM, "no memory for a sample of %zu huge pages", nr);

	if (!rc) {
		rc = hs_nested_mark_list(v, huge, nr, marks);
		if (rc)
			rc = hs_host_error(hs_nested_host(v), rc, "read its nested page tables", err);
	}
	for (size_t i = 0; i < nr && !rc; i++)
		(hs_bit_test(v->split, huge[i]) ? merge_split : merge_base)(&out[i], &marks[i]);
	if (rc)
		memset(out, 0, nr * sizeof(*out));
	free(marks);
	return rc;
}

/* ---- the rest ---- */

static int frames(struct hs_view *view, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	return hs_view_frames(hs_nested_view(view)->inner, huge, out, err);
}

static int split_page(struct hs_view *view, hs_huge_nr huge, unsigned int base, struct hs_error *err)
{
	return hs_view_split_page(hs_nested_view(view)->inner, huge, base, err);
}

static int read_bytes(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *want, void *buf,
		      struct hs_bits512 *got, struct hs_error *err)
{
	return hs_view_read(hs_nested_view(view)->inner, huge, want, buf, got, err);
}

static int reach(struct hs_view *view, hs_huge_nr huge, const struct hs_bits512 *which, struct hs_error *err)
{
	return hs_view_reach(hs_nested_view(view)->inner, huge, which, err);
}

static int nodes(struct hs_view *view, hs_huge_nr huge, hs_node_1 out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	return hs_view_nodes(hs_nested_view(view)->inner, huge, out, err);
}

static void slow_nodes(struct hs_view *view, uint64_t which)
{
	hs_view_slow_nodes(hs_nested_view(view)->inner, which);
}

static enum hs_view_reason why(struct hs_view *view, hs_huge_nr huge)
{
	struct hs_nested_view *v = hs_nested_view(view);
	enum hs_view_reason inner = hs_view_why(v->inner, huge);

	return inner ? inner : hs_bit_test(v->blind, huge) ? HS_VIEW_VMM_LOGS : HS_VIEW_NO_REASON;
}

static const struct hs_view_ops nested_ops = {
	.close = close_view,
	.refresh = refresh,
	.age = hs_nested_age,
	.sample_huge = sample_huge,
	.sample_base = sample_base,
	.frames = frames,
	.splits_nested = true,
	.split = hs_nested_split,
	.restore = hs_nested_restore,
	.split_page = split_page,
	.read = read_bytes,
	.reach = reach,
	.nodes = nodes,
	.slow_nodes = slow_nodes,
	.why = why,
};

/* ---- opening ---- */

static int choose_kind(struct hs_nested_view *v, const struct hs_host *host, struct hs_error *err)
{
	if (hs_facts_cpu_has(host->proc_dir, "svm"))
		v->kind = HS_NESTED_NPT;
	else if (hs_facts_cpu_has(host->proc_dir, "vmx"))
		v->kind = HS_NESTED_EPT;
	else
		return hs_error_set(err, -ENOTSUP,
				    "process %d runs a guest under KVM on a processor with neither svm nor vmx in "
				    "%s/cpuinfo: its nested page tables cannot be understood",
				    (int)v->view.pid, host->proc_dir);
	return 0;
}

/* Takes the inner view over in any case. */
static int open_nested(struct hs_view **out, const struct hs_host *host, struct hs_view *inner,
		       const struct hs_nested_vm *vm, struct hs_error *err)
{
	struct hs_nested_view *v = calloc(1, sizeof(*v));
	struct hs_error why = { "" };
	struct hs_kvm_seen now;
	int rc;

	if (!v) {
		hs_view_close(inner);
		hs_kvm_walk_put(vm->kvm);
		close(vm->vm_fd);
		return hs_error_set(err, -ENOMEM, "no memory for a view");
	}
	v->view = *inner; /* regions and numbers */
	v->host = *host;
	v->ops = nested_ops;
	v->ops.name = v->name;
	v->view.ops = &v->ops;
	v->inner = inner;
	v->kvm = vm->kvm;
	v->vm_fd = vm->vm_fd;
	v->their_fd = vm->their_fd;
	v->ageing_fd = -1;
	hs_nested_host(v)->flush_optional = true;
	v->blind = calloc(((size_t)inner->nr_huge + 63) / 64, sizeof(*v->blind));
	v->split = calloc(((size_t)inner->nr_huge + 63) / 64, sizeof(*v->split));
	rc = v->blind && v->split ? choose_kind(v, host, err) : hs_error_set(err, -ENOMEM, "no memory for a view");
	if (!rc) {
		v->ageing = hs_nested_choose_ageing(host, &v->ageing_fd, &why);
		if (!v->ageing)
			rc = hs_error_set(err, -ENOTSUP, "process %d: %s", (int)v->view.pid, why.text);
	}
	if (!rc)
		rc = hs_nested_look(v, &now, err);
	if (rc) {
		close_view(&v->view);
		return rc;
	}
	v->aged = now; /* for the generation of its slots */
	/*
	 * Logging without "manual" and "initially set" would protect and split everything; with a ring it would fill
	 * that. And ageing has to be of exactly what is split.
	 */
	if (!v->ageing->ranges || now.look.dirty_ring || (now.look.manual & MANUAL_BOTH) != MANUAL_BOTH ||
	    !hs_nested_host(v)->remote)
		v->ops.split = NULL;
	(void)snprintf(v->name, sizeof(v->name), "nested page tables (%s), aged by %s%s",
		       v->kind == HS_NESTED_NPT ? "NPT" : "EPT", v->ageing->name,
		       v->ops.split && hs_facts_numa_balances(host)
			   ? "; NUMA balancing is on: a window ends when it splits what is not looked into"
			   : "");
	*out = &v->view;
	return 0;
}

int hs_view_open(struct hs_view **out, const struct hs_host *host, pid_t pid, struct hs_remote *remote,
		 uint64_t min_bytes, struct hs_error *err)
{
	struct hs_nested_vm vm;
	struct hs_view *inner;
	int rc = hs_view_open_host(&inner, host, pid, remote, min_bytes, err);

	if (rc)
		return rc;
	rc = hs_nested_find_vm(hs_host_view(inner), &vm, err);
	if (rc) {
		hs_view_close(inner);
		return rc;
	}
	if (vm.vm_fd < 0) {
		*out = inner;
		return 0;
	}
	return open_nested(out, host, inner, &vm, err);
}
