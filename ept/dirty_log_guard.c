/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `lock` guards the pointer `the_guard` with its count; the table is the kernel's.
 *
 * Two processes may come and go at the same time: one that takes the pins away may do so while another has just taken
 * them over. That one keeps what it holds open, and only the next run's knowledge of its crash is lost: logging would
 * be left to the VMM then, which is the safe side.
 */
#include "dirty_log_guard.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "dirty_log_guard.skel.h"

#include "base/bpf_load.h"
#include "base/times.h"
#include "ept/bpf/dirty_log_guard_abi.h"

/* The number changes with what the program counts and the table holds. */
#define PIN_ROOT  "/sys/fs/bpf"
#define PIN_DIR   PIN_ROOT "/hs-share"
#define PIN_TABLE PIN_DIR "/guard-4-slots"
#define PIN_LINK  PIN_DIR "/guard-4"

struct hs_dirty_log_guard {
	int table_fd;
	int link_fd; /* keeps the program attached, pinned or not */
	int prog_fd; /* for its count of misses */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct hs_dirty_log_guard *the_guard;
static unsigned int nr_refs;

static int look_up(const struct hs_dirty_log_guard *g, uint64_t kvm, uint32_t slot, struct hs_dirty_log_guard_slot *out)
{
	const struct hs_dirty_log_guard_key key = { .kvm = kvm, .slot = slot };

	return bpf_map_lookup_elem(g->table_fd, &key, out);
}

/* Runs that the kernel passed over since the program was loaded, on whichever VM's calls. -errno: unknown. */
static int read_misses(const struct hs_dirty_log_guard *g, __u64 *misses)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);
	int rc = bpf_obj_get_info_by_fd(g->prog_fd, &info, &len);

	*misses = info.recursion_misses;
	return rc;
}

/* ---- what is left over ---- */

/* A VM whose process is gone; where its number was taken anew, that process's end is waited for. */
static bool find_dead(const struct hs_dirty_log_guard *g, uint64_t *kvm)
{
	struct hs_dirty_log_guard_key key, next;
	struct hs_dirty_log_guard_slot all;
	bool more = !bpf_map_get_next_key(g->table_fd, NULL, &next);

	while (more) {
		key = next;
		more = !bpf_map_get_next_key(g->table_fd, &key, &next);
		*kvm = key.kvm;
		if (look_up(g, key.kvm, HS_DIRTY_LOG_GUARD_ALL, &all) || (kill((pid_t)all.pid, 0) && errno == ESRCH))
			return true;
	}
	return false;
}

/* Whether anything is watched still. */
static bool drop_dead(struct hs_dirty_log_guard *g)
{
	struct hs_dirty_log_guard_key first;
	uint64_t kvm;

	for (int i = 0; i < HS_DIRTY_LOG_GUARD_MAX && find_dead(g, &kvm); i++)
		hs_dirty_log_guard_end(g, kvm);
	return !bpf_map_get_next_key(g->table_fd, NULL, &first);
}

/* ---- life ---- */

static int open_program(int link_fd)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);
	int rc = bpf_obj_get_info_by_fd(link_fd, &info, &len);

	return rc ? rc : bpf_prog_get_fd_by_id(info.prog_id);
}

static int take_pinned(struct hs_dirty_log_guard *g, bool just_made)
{
	g->table_fd = bpf_obj_get(PIN_TABLE);
	g->link_fd = bpf_obj_get(PIN_LINK);
	/*
	 * One that watches nothing may be left over from before the module was loaded anew: of no use any more. While a
	 * VM is there, the module stays.
	 */
	g->prog_fd = g->link_fd >= 0 ? open_program(g->link_fd) : -1;
	if (g->table_fd >= 0 && g->prog_fd >= 0 && (just_made || drop_dead(g)))
		return 0;
	if (g->prog_fd >= 0)
		close(g->prog_fd);
	if (g->table_fd >= 0)
		close(g->table_fd);
	if (g->link_fd >= 0)
		close(g->link_fd);
	return -ENOENT;
}

bool hs_dirty_log_guard_can_pin(void)
{
	struct statfs fs;

	return statfs(PIN_ROOT, &fs) == 0 && fs.f_type == BPF_FS_MAGIC && access(PIN_ROOT, W_OK) == 0;
}

static void unpin(void)
{
	(void)unlink(PIN_LINK);
	(void)unlink(PIN_TABLE);
	(void)rmdir(PIN_DIR);
}

static int pin(struct dirty_log_guard_bpf *skel)
{
	int rc;

	if (mkdir(PIN_DIR, 0700) && errno != EEXIST)
		return -errno;
	rc = bpf_map__pin(skel->maps.watched, PIN_TABLE);
	if (!rc)
		rc = bpf_link__pin(skel->links.hs_dirty_log_guard, PIN_LINK);
	return rc;
}

static int make(struct hs_dirty_log_guard *g, struct hs_error *err)
{
	struct dirty_log_guard_bpf *skel;
	struct hs_error why = { "" };
	int rc, pinned = 0;

	hs_bpf_load_begin();
	skel = dirty_log_guard_bpf__open();
	rc = skel ? dirty_log_guard_bpf__load(skel) : -errno;
	if (!rc)
		rc = dirty_log_guard_bpf__attach(skel);
	if (!rc) {
		unpin(); /* what is of no use */
		pinned = pin(skel);
	}
	rc = hs_bpf_load_end(rc, "watches KVM's calls", &why);
	if (rc) {
		(void)hs_error_set(err, rc, "cannot watch KVM for a migration, which looking into guests needs: %s",
				   why.text);
		goto out;
	}
	rc = pinned ? pinned : take_pinned(g, true);
	if (rc)
		rc = hs_error_set(err, -ENOTSUP,
				  "cannot pin the watch on KVM at " PIN_DIR " (%s): mount -t bpf bpf /sys/fs/bpf",
				  strerror(-rc));
out:
	dirty_log_guard_bpf__destroy(skel);
	return rc;
}

int hs_dirty_log_guard_get(struct hs_dirty_log_guard **out, bool existing, struct hs_error *err)
{
	struct hs_dirty_log_guard *g;
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (!the_guard) {
		g = calloc(1, sizeof(*g));
		rc = g ? take_pinned(g, false) : hs_error_set(err, -ENOMEM, "no memory to watch KVM");
		if (rc == -ENOENT && !existing)
			rc = make(g, err);
		if (rc)
			free(g);
		else
			the_guard = g;
	}
	if (!rc) {
		nr_refs++;
		*out = the_guard;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

void hs_dirty_log_guard_put(struct hs_dirty_log_guard *g)
{
	if (!g)
		return;
	pthread_mutex_lock(&lock);
	if (!--nr_refs) {
		if (!drop_dead(g))
			unpin();
		close(g->prog_fd);
		close(g->link_fd);
		close(g->table_fd);
		free(g);
		the_guard = NULL;
	}
	pthread_mutex_unlock(&lock);
}

/* ---- what is watched ---- */

int hs_dirty_log_guard_prove(struct hs_dirty_log_guard *g, uint64_t kvm, int vm_fd)
{
	struct hs_dirty_log_guard_slot before, after;
	int rc = look_up(g, kvm, HS_DIRTY_LOG_GUARD_ALL, &before);

	if (rc)
		return rc;
	(void)ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY);
	rc = look_up(g, kvm, HS_DIRTY_LOG_GUARD_ALL, &after);
	return !rc && after.calls <= before.calls ? -ENOTSUP : rc;
}

int hs_dirty_log_guard_begin(struct hs_dirty_log_guard *g, uint64_t kvm, pid_t pid, int vm_fd, bool *made)
{
	const struct hs_dirty_log_guard_key key = { .kvm = kvm, .slot = HS_DIRTY_LOG_GUARD_ALL };
	const struct hs_dirty_log_guard_slot empty = { .pid = (__u32)pid };
	int rc = bpf_map_update_elem(g->table_fd, &key, &empty, BPF_NOEXIST);

	*made = !rc;
	if (rc && rc != -EEXIST)
		return rc;
	rc = hs_dirty_log_guard_prove(g, kvm, vm_fd);
	if (rc && *made)
		hs_dirty_log_guard_end(g, kvm);
	return rc;
}

void hs_dirty_log_guard_end(struct hs_dirty_log_guard *g, uint64_t kvm)
{
	struct hs_dirty_log_guard_key key, next;
	bool more = !bpf_map_get_next_key(g->table_fd, NULL, &next);

	while (more) {
		key = next;
		more = !bpf_map_get_next_key(g->table_fd, &key, &next);
		if (key.kvm == kvm)
			(void)bpf_map_delete_elem(g->table_fd, &key);
	}
}

bool hs_dirty_log_guard_watches(struct hs_dirty_log_guard *g, uint64_t kvm)
{
	struct hs_dirty_log_guard_slot all;

	return !look_up(g, kvm, HS_DIRTY_LOG_GUARD_ALL, &all);
}

int hs_dirty_log_guard_watch(struct hs_dirty_log_guard *g, uint64_t kvm, const struct hs_kvm_slot *slot,
			     uint64_t *cookie)
{
	const struct hs_dirty_log_guard_key key = { .kvm = kvm, .slot = hs_kvm_slot_number(slot) };
	struct hs_dirty_log_guard_slot all, one = { .since_us = hs_boottime_us(),
						    .first_frame = slot->first_frame,
						    .nr_pages = slot->nr_pages,
						    .hva = slot->hva };
	int rc = read_misses(g, &one.misses);

	if (!rc)
		rc = look_up(g, kvm, HS_DIRTY_LOG_GUARD_ALL, &all);
	if (rc)
		return rc;
	if (getrandom(&one.cookie, sizeof(one.cookie), 0) != (ssize_t)sizeof(one.cookie) || !one.cookie)
		return -EIO;
	*cookie = one.cookie;
	one.vm_logging = all.logging;
	return bpf_map_update_elem(g->table_fd, &key, &one, BPF_ANY);
}

enum hs_tri hs_dirty_log_guard_ours(struct hs_dirty_log_guard *g, uint64_t kvm, const struct hs_kvm_slot *slot,
				    uint64_t min_us)
{
	struct hs_dirty_log_guard_slot all, one;
	__u64 misses;

	if (look_up(g, kvm, HS_DIRTY_LOG_GUARD_ALL, &all) || look_up(g, kvm, hs_kvm_slot_number(slot), &one) ||
	    !one.ours || one.logging || all.logging != one.vm_logging || slot->first_frame != one.first_frame ||
	    slot->nr_pages != one.nr_pages || slot->hva != one.hva)
		return HS_NO;
	/* One that was passed over may have been the VMM's "logging on". */
	if (read_misses(g, &misses) || misses != one.misses)
		return HS_NO;
	return hs_boottime_us() - one.since_us < min_us ? HS_UNKNOWN : HS_YES;
}
