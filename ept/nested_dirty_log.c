/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splitting nested entries, and nothing else: the host's huge page, and what the kernel keeps of it, stays as it is.
 *
 * While dirty logging is on for a memory slot, KVM maps each page that is touched anew by a base entry. So a huge page
 * is split by switching logging on and dropping its entry (nested_age.c); the next touches come back as base entries,
 * one by one, whose being there, or accessed bit, stands for each. With logging off again KVM drops such tables, and
 * the next touch maps the huge page whole. In between, huge entries that nobody drops stay whole. (Where the VMM has
 * set "initially set", as QEMU does, switching logging on protects and splits nothing. Without that it would split all:
 * such a VM is left alone.)
 *
 * The VMM has another use for the same logging: migration, and the dirty rate. Not one dirty bit may be lost to it.
 *  - We never read or clear dirty bits. All of them are set when logging begins, so whoever uses them finds every page
 *    dirty until it has cleared its bit itself.
 *  - A window opens only while the guest's RAM proper is not logged. Slots that are logged then (a display's memory,
 * all the time; the first ones, when a migration is being set up in this instant) are neither split nor switched.
 *  - The one step that loses bits is switching logging off while the VMM relies on it. KVM does not know: to switch on
 *    what is on already leaves no trace. So the VMM's calls are watched from before logging is switched on
 *    (dirty_log_guard.bpf.c); if one of them switched logging on, or used it, or may have gone unseen, logging is left
 * to the VMM, which switches it off when it is done. The watch is pinned, and outlives us: when we are killed in a
 * window, the next run ends it by the same rule.
 *  - Both steps happen while all threads of the VMM stand still (hs_remote_run_still): between the look and the call no
 *    thread can be in a call on the VM, nor begin one. One that had already decided to switch logging on does so
 *    afterwards, and finds it off.
 * Slots are named by number and described in full in the call; the description is read in the same stop, so a slot that
 * has been moved or taken away is neither changed nor brought back.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hs/remote.h"
#include "base/host_facts.h"
#include "base/times.h"
#include "ept/bpf/dirty_log_guard_abi.h"
#include "nested_internal.h"

#define CLOSE_TRIES  20        /* at the end of the view, 50 ms apart */
#define RECOVERY_US  3000000U  /* between two attempts, for each of which the guest stands still */
#define ABANDONED_US 10000000U /* windows last some seconds; ending another's spoils a sample, no more */
/* No window of the fine phase is let last so long: its max_window_ms is 600,000 at most. */
#define FORGOTTEN_US 660000000U

/* A call's argument, with what distinguishes it from the VMM's own calls (dirty_log_guard.bpf.c). */
struct argument {
	struct kvm_userspace_memory_region region;
	uint64_t cookie;
};
_Static_assert(offsetof(struct argument, cookie) == HS_DIRTY_LOG_GUARD_COOKIE_AT,
	       "the guard looks behind the argument");

/* One step with its calls, in the guest's process. */
struct step {
	struct hs_nested_view *v;
	uint64_t min_us; /* slots that have been watched for less are not touched */
	unsigned int round;
	size_t nr;
	struct hs_remote_call calls[HS_KVM_MAX_SLOTS];
	struct argument arguments[HS_KVM_MAX_SLOTS];
	const struct hs_kvm_slot *which[HS_KVM_MAX_SLOTS]; /* behind each call */
	struct hs_kvm_slot slots[HS_KVM_MAX_SLOTS];        /* as read in the stop */
};

static uint64_t vm_of(const struct hs_nested_view *v)
{
	return v->aged.look.kvm;
}

/* Of a slot that has no flags but logging, by our doing. */
static void add_call(struct step *st, const struct hs_kvm_slot *s, bool log, uint64_t cookie)
{
	struct argument *a = &st->arguments[st->nr];

	a->region = (struct kvm_userspace_memory_region){
		.slot = hs_kvm_slot_number(s),
		.flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.guest_phys_addr = s->first_frame * HS_BASE_SIZE,
		.memory_size = s->nr_pages * HS_BASE_SIZE,
		.userspace_addr = s->hva,
	};
	a->cookie = cookie;
	st->calls[st->nr] = (struct hs_remote_call){
		.nr = SYS_ioctl,
		.args = { (uint64_t)st->v->their_fd, KVM_SET_USER_MEMORY_REGION },
		.data_arg = 2,
		.data = a,
		.data_size = sizeof(*a),
	};
	st->which[st->nr++] = s;
}

/* In the stop: the slots as they are, and whether the number that we make calls on is still this VM's. */
static int look(struct step *st, struct hs_kvm_seen *now)
{
	struct hs_nested_view *v = st->v;
	int rc = hs_kvm_walk_look(v->kvm, v->vm_fd, now, st->slots);

	if (!rc && now->look.end != HS_KVM_LOOK_OK)
		rc = -EAGAIN;
	return rc ? rc : hs_nested_check_fd(v, now->look.kvm);
}

/* ---- opening ---- */

/* The guard has to have seen our own calls: so it sees what the VMM's threads do. */
static int check_opened(struct step *st)
{
	struct hs_nested_dirty_log *log = &st->v->log;

	for (size_t i = 0; i < st->nr; i++) {
		if (st->calls[i].result < 0)
			return (int)st->calls[i].result;
		if (hs_dirty_log_guard_ours(log->guard, vm_of(st->v), st->which[i], 0) != HS_YES)
			return -EXDEV;
	}
	return 0;
}

static int ask_open(void *ctx, struct hs_remote_call **calls, size_t *nr)
{
	struct step *st = ctx;
	struct hs_nested_dirty_log *log = &st->v->log;
	struct hs_kvm_seen now;
	uint64_t cookie;
	int rc;

	*nr = 0;
	if (st->round++)
		return check_opened(st);
	rc = look(st, &now);
	if (rc)
		return rc;
	if (hs_nested_dirty_logs_ram(st->v, &now.look, st->slots))
		return -EALREADY;
	for (uint32_t i = 0; i < now.look.nr_slots; i++) {
		const struct hs_kvm_slot *s = &st->slots[i];

		if (!hs_nested_touches(st->v, s) || s->flags)
			continue; /* logged for a display, read-only, or memory of a kind that KVM alone knows */
		rc = hs_dirty_log_guard_watch(log->guard, vm_of(st->v), s, &cookie);
		if (rc)
			return rc;
		add_call(st, s, true, cookie);
	}
	*calls = st->calls;
	*nr = st->nr;
	log->open = st->nr > 0;
	log->blind = false;
	return 0;
}

/* ---- closing ---- */

/* What was counted is believed only while calls are seen; what went unseen once stays unknown for this window. */
static void check_sight(struct hs_nested_view *v)
{
	v->log.blind |= hs_dirty_log_guard_prove(v->log.guard, vm_of(v), v->vm_fd) != 0;
}

static int ask_close(void *ctx, struct hs_remote_call **calls, size_t *nr)
{
	struct step *st = ctx;
	struct hs_nested_dirty_log *log = &st->v->log;
	struct hs_kvm_seen now;
	int rc;

	*nr = 0;
	if (st->round++) {
		for (size_t i = 0; i < st->nr; i++)
			if (st->calls[i].result < 0)
				return (int)st->calls[i].result;
		return 0;
	}
	rc = look(st, &now);
	check_sight(st->v);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < now.look.nr_slots; i++) {
		const struct hs_kvm_slot *s = &st->slots[i];

		if (!hs_nested_touches(st->v, s) || !(s->flags & KVM_MEM_LOG_DIRTY_PAGES))
			continue;
		switch (log->blind ? HS_NO : hs_dirty_log_guard_ours(log->guard, vm_of(st->v), s, st->min_us)) {
		case HS_YES:
			add_call(st, s, false, 0);
			break;
		case HS_UNKNOWN:
			return -EAGAIN;
		case HS_NO: /* the VMM relies on it, or it is the VMM's altogether */
			break;
		}
	}
	*calls = st->calls;
	*nr = st->nr;
	return 0;
}

/* ---- both ---- */

static int run_step(struct hs_nested_view *v, hs_remote_still_fn ask, uint64_t min_us, struct hs_error *err)
{
	const struct hs_remote_call like = { .nr = SYS_ioctl,
					     .args = { (uint64_t)v->their_fd, KVM_SET_USER_MEMORY_REGION },
					     .data_arg = 2 };
	struct step *st = calloc(1, sizeof(*st));
	struct hs_error why = { "" };
	int rc = -ENOMEM;

	if (st) {
		st->v = v;
		st->min_us = min_us;
		rc = hs_remote_run_still(hs_nested_host(v)->remote, &like, ask, st, &why);
	}
	free(st);
	if (rc && why.text[0])
		return hs_error_set(err, rc, "%s", why.text);
	return rc ? hs_error_set(err, rc, "process %d: dirty logging of its guest's memory cannot be changed: %s",
				 (int)v->view.pid, strerror(-rc))
		  : 0;
}

static void forget(struct hs_nested_view *v)
{
	hs_dirty_log_guard_end(v->log.guard, vm_of(v));
	v->log.open = false;
	v->reread = true; /* what is logged still is the VMM's from now on */
}

int hs_nested_dirty_log_close(struct hs_nested_view *v, struct hs_error *err)
{
	int rc;

	if (!v->log.open)
		return 0;
	rc = run_step(v, ask_close, 0, err);
	if (!rc || rc == -ESRCH)
		forget(v);
	return rc;
}

static int open_log(struct hs_nested_view *v, struct hs_error *err)
{
	struct hs_nested_dirty_log *log = &v->log;
	bool made = false;
	int rc = 0;

	if (log->open)
		return 0;
	if (!log->guard)
		rc = hs_dirty_log_guard_get(&log->guard, false, err);
	if (rc)
		return rc;
	rc = hs_dirty_log_guard_begin(log->guard, vm_of(v), v->view.pid, v->vm_fd, &made);
	if (rc)
		return hs_error_set(
		    err, -ENOTSUP,
		    "the calls that process %d makes on its virtual machine cannot be watched (%s): it is "
		    "not looked into",
		    (int)v->view.pid, strerror(-rc));
	rc = run_step(v, ask_open, 0, err);
	log->since_us = hs_monotonic_us();
	log->balanced = hs_facts_numa_balances(&v->host);
	if (!rc && log->balanced && hs_nested_count_small(v, &log->nr_small))
		log->nr_small = 0; /* any is one too many then */
	if (!rc && log->open)
		return 0;
	if (rc == -EALREADY)
		rc = hs_error_set(err, -EBUSY,
				  "process %d logs the pages that its guest writes (a migration, or a dirty-rate "
				  "calculation): it is not looked into meanwhile",
				  (int)v->view.pid);
	/* Whatever has been switched on by then is switched off again, as far as that is ours to do. */
	if (log->open)
		(void)!hs_nested_dirty_log_close(v, NULL);
	else if (made)
		hs_dirty_log_guard_end(log->guard, vm_of(v));
	return rc ? rc : hs_error_set(err, -ENOENT, "process %d: none of its memory can be logged", (int)v->view.pid);
}

/* ---- the view's operations ---- */

static void drop_bits(struct hs_nested_view *v)
{
	memset(v->split, 0, ((size_t)v->view.nr_huge + 63) / 64 * sizeof(*v->split));
	v->nr_split = 0;
}

static void put_split(struct hs_nested_view *v, hs_huge_nr huge, bool on)
{
	if (hs_bit_test(v->split, huge) == on)
		return;
	hs_bit_put(v->split, huge, on);
	v->nr_split = on ? v->nr_split + 1 : v->nr_split - 1;
}

/* Mapped by one huge entry in the host's tables, and whole in one of the slots that are logged. */
static bool can_split(const struct hs_nested_view *v, hs_huge_nr huge, uint8_t state)
{
	if (state != HS_MAP_HUGE || hs_bit_test(v->blind, huge))
		return false;
	for (size_t i = 0; i < v->nr_pieces; i++) {
		const struct hs_nested_piece *p = &v->pieces[i];

		if (huge >= p->first && huge - p->first < p->nr && p->to - p->from == (int)HS_BASE_PER_HUGE)
			return true;
	}
	return false;
}

int hs_nested_split(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	struct hs_nested_view *v = hs_nested_view(view);
	uint8_t *states = calloc(nr, sizeof(*states)); /* then: whether it can be split */
	bool any = false;
	int rc = -ENOMEM;

	(void)hs_host_armed_look(hs_nested_host(v));
	if (states)
		rc = hs_host_entries(hs_nested_host(v), huge, nr, states);

	if (rc) {
		free(states);
		return hs_host_error(hs_nested_host(v), rc, "read its page tables", err);
	}
	for (size_t i = 0; i < nr; i++) {
		states[i] = can_split(v, huge[i], states[i]);
		any |= states[i];
	}
	if (any)
		rc = open_log(v, err);
	for (size_t i = 0; i < nr && !rc; i++) {
		int one = states[i] ? hs_nested_drop(v, huge[i], 1) : -ENOENT;

		if (!one)
			put_split(v, huge[i], true);
		if (results)
			results[i] = one;
	}
	/* Nothing will be restored, so nothing would end it. */
	if (v->log.open && !v->nr_split)
		(void)!hs_nested_dirty_log_close(v, NULL);
	free(states);
	return rc;
}

int hs_nested_restore(struct hs_view *view, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	struct hs_nested_view *v = hs_nested_view(view);
	size_t nr_ours = 0;
	int rc = 0;

	for (size_t i = 0; i < nr; i++)
		nr_ours += hs_bit_test(v->split, huge[i]);
	/* What is not ours was split in the host's tables, by an earlier run or for sharing: that takes memory. */
	hs_view_on_huge(v->inner, view->room, view->room_ctx);
	if (!nr_ours)
		return hs_view_restore(v->inner, huge, nr, results, err);
	for (size_t i = 0; i < nr && !rc; i++) {
		if (!hs_bit_test(v->split, huge[i]))
			rc = hs_view_restore(v->inner, &huge[i], 1, results ? &results[i] : NULL, err);
		else if (results)
			results[i] = 0;
	}
	if (rc)
		return rc;
	if (nr_ours == v->nr_split) {
		rc = hs_nested_dirty_log_close(v, err);
		if (rc == -ESRCH)
			return rc;
	}
	for (size_t i = 0; i < nr; i++) {
		if (!hs_bit_test(v->split, huge[i]))
			continue;
		if (!rc)
			put_split(v, huge[i], false);
		else if (results)
			results[i] = -EAGAIN;
	}
	return 0;
}

/*
 * NUMA balancing takes up to 256 MiB a second out of KVM's tables, what is not split as well, and while logging is on
 * that comes back by base entries. A window in which it has happened ends: then the next touch maps 2 MiB again.
 */
static bool others_suffer(struct hs_nested_view *v)
{
	uint32_t nr;

	return v->log.balanced && (hs_nested_count_small(v, &nr) || nr > v->log.nr_small);
}

int hs_nested_dirty_log_check(struct hs_nested_view *v, struct hs_error *err)
{
	int rc;

	if (v->log.open)
		check_sight(v); /* at each ageing of a window */
	/* Nothing split: it could be neither opened in full nor closed at once. Nobody will restore anything of it. */
	if (!v->log.open || (v->nr_split && hs_monotonic_us() - v->log.since_us < FORGOTTEN_US && !others_suffer(v)))
		return 0;
	rc = hs_nested_dirty_log_close(v, err);
	if (!rc)
		drop_bits(v);
	return rc;
}

/*
 * Logging that is on and not by this view's doing: perhaps a run that was killed in a window left it. What the guard
 * has kept says whether it is still ours.
 */
void hs_nested_dirty_log_recover(struct hs_nested_view *v)
{
	struct hs_nested_dirty_log *log = &v->log;
	bool made;

	if (log->open || !v->ops.split || hs_monotonic_us() < log->next_recovery_us)
		return;
	if (!log->guard && hs_dirty_log_guard_get(&log->guard, true, NULL))
		return;
	if (!hs_dirty_log_guard_watches(log->guard, vm_of(v)))
		return;
	log->next_recovery_us = hs_monotonic_us() + RECOVERY_US;
	/* What was kept is believed only while it is proven that calls are seen. */
	if (hs_dirty_log_guard_begin(log->guard, vm_of(v), v->view.pid, v->vm_fd, &made))
		return;
	if (!run_step(v, ask_close, ABANDONED_US, NULL) || made)
		hs_dirty_log_guard_end(log->guard, vm_of(v));
}

void hs_nested_dirty_log_finish(struct hs_nested_view *v)
{
	struct hs_error err = { "" };

	for (int i = 0; i < CLOSE_TRIES && hs_nested_dirty_log_close(v, &err); i++)
		(void)usleep(50000);
	if (v->log.open) {
		(void)fprintf(
		    stderr,
		    "hs: process %d: its guest's pages are left mapped by base entries (%s): a migration, or a "
		    "restart of the guest, makes them huge again\n",
		    (int)v->view.pid, err.text);
		v->log.open = false; /* what is watched stays: the next run tries again */
	}
	hs_dirty_log_guard_put(v->log.guard);
}
