/* SPDX-License-Identifier: Apache-2.0 */
/* Looking into huge pages of a guest under KVM: what is split, what is seen, and that the VMM's own logging is safe. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "ept/bpf/dirty_log_guard_abi.h"
#include "ept/dirty_log_guard.h"
#include "ept/kvm_walk.h"
#include "ept/nested_internal.h"
#include "age.h"
#include "vmm.h"

#define NR_HUGE 32

static const struct hs_host host = HS_HOST_DEFAULT;
static struct vmm guest;
static struct hs_view *view;
static struct hs_remote *remote;
static struct hs_error err;

static const struct vmm_config two_slots = {
	.nr_huge = NR_HUGE,
	.nr_slots = 2,
	.slots = { { 0x40000000, 0, 20 }, { 0x10000000, 20, 12 } },
	.two_spaces = true,
};
static const hs_huge_nr chosen[] = { 1, 5, 21 };
#define NR_CHOSEN 3

static void good(int rc)
{
	ck_assert_msg(!rc, "%d: %s", rc, err.text);
}

static void open_view(const struct vmm_config *cfg)
{
	ck_assert(vmm_start(&guest, cfg));
	good(hs_remote_open(&remote, &host, guest.pid, &err));
	good(hs_view_open(&view, &host, guest.pid, remote, UINT64_C(16) << 20, &err));
	ck_assert_uint_eq(view->nr_huge, cfg->nr_huge);
}

static void close_view(void)
{
	hs_view_close(view);
	hs_remote_close(remote);
	vmm_stop(&guest);
}

/* The guest touches one base page of each huge page in [0, NR_HUGE). */
static void touch_all(bool write)
{
	uint32_t pages[NR_HUGE];

	for (uint32_t i = 0; i < NR_HUGE; i++)
		pages[i] = i * HS_BASE_PER_HUGE + 9;
	vmm_touch(&guest, pages, NR_HUGE, write);
}

static void split_chosen(void)
{
	int results[NR_CHOSEN] = { 1, 1, 1 };

	good(hs_view_split(view, chosen, NR_CHOSEN, results, &err));
	for (int i = 0; i < NR_CHOSEN; i++)
		ck_assert_int_eq(results[i], 0);
}

static void restore_chosen(void)
{
	int results[NR_CHOSEN] = { 1, 1, 1 };

	good(hs_view_restore(view, chosen, NR_CHOSEN, results, &err));
	for (int i = 0; i < NR_CHOSEN; i++)
		ck_assert_int_eq(results[i], 0);
}

/* Only the chosen ones are split, nothing of the host's changes, every access is seen, and all comes back. */
START_TEST(test_ept_nested_fine_exactly)
{
	static uint32_t list[NR_CHOSEN * HS_BASE_PER_HUGE];
	static bool in[NR_CHOSEN * HS_BASE_PER_HUGE];
	struct hs_base_sample s[NR_CHOSEN];
	uint64_t huge_kb;

	open_view(&two_slots);
	huge_kb = vmm_smaps_kb(&guest, "AnonHugePages");
	ck_assert_uint_ge(huge_kb, NR_HUGE * 2048);
	srandom(21);
	touch_all(true);
	ck_assert_int_eq(vmm_kvm_stat(&guest, "pages_2m"), NR_HUGE);
	for (int window = 0; window < 5; window++) {
		split_chosen();
		for (int round = 0; round < 8; round++) {
			uint32_t one_in = 1 + (uint32_t)random() % 20, nr = 0;

			for (uint32_t i = 0; i < NR_CHOSEN * HS_BASE_PER_HUGE; i++) {
				in[i] = !((uint32_t)random() % one_in);
				if (in[i])
					list[nr++] =
					    chosen[i / HS_BASE_PER_HUGE] * HS_BASE_PER_HUGE + i % HS_BASE_PER_HUGE;
			}
			good(age_now(view, &err));
			vmm_touch(&guest, list, nr, round & 1);
			good(hs_view_sample_base(view, chosen, NR_CHOSEN, s, &err));
			for (uint32_t i = 0; i < NR_CHOSEN * HS_BASE_PER_HUGE; i++) {
				ck_assert_uint_eq(s[i / 512].state, HS_MAP_SPLIT);
				ck_assert_msg(hs_bits_test(&s[i / 512].accessed, i % 512) == in[i],
					      "window %d, round %d, page %u", window, round, i);
			}
		}
		ck_assert_int_eq(vmm_kvm_stat(&guest, "pages_2m"), NR_HUGE - NR_CHOSEN);
		ck_assert_uint_eq(vmm_smaps_kb(&guest, "AnonHugePages"), huge_kb);
		restore_chosen();
		ck_assert_int_eq(vmm_dirty(&guest, 0), -ENOENT);
		ck_assert_int_eq(vmm_dirty(&guest, 1), -ENOENT);
		touch_all(window & 1);
		ck_assert_int_eq(vmm_kvm_stat(&guest, "pages_2m"), NR_HUGE);
		ck_assert_uint_eq(vmm_smaps_kb(&guest, "AnonHugePages"), huge_kb);
	}
	close_view();
}
END_TEST

/* The VMM logs already: no window, and nothing of it is touched. */
START_TEST(test_ept_nested_fine_not_while_vmm_logs)
{
	open_view(&two_slots);
	good(age_now(view, &err));
	ck_assert_int_eq(vmm_log(&guest, true), 0);
	ck_assert_int_eq(hs_view_split(view, chosen, NR_CHOSEN, NULL, &err), -EBUSY);
	ck_assert_msg(strstr(err.text, "migration") != NULL, "%s", err.text);
	ck_assert_int_eq(hs_view_age(view, &err), -EBUSY);
	ck_assert_int_eq(vmm_dirty(&guest, 0), 20 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_dirty(&guest, 1), 12 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_log(&guest, false), 0);
	good(age_now(view, &err));
	split_chosen();
	restore_chosen();
	close_view();
}
END_TEST

/* Display memory, which the VMM logs, and reads the log of, all the time: windows of the RAM leave it alone. */
START_TEST(test_ept_nested_fine_beside_a_display)
{
	struct vmm_config cfg = two_slots;
	const int display = 12 * HS_BASE_PER_HUGE;
	int results[NR_CHOSEN];

	cfg.display = true;
	open_view(&cfg);
	for (int round = 0; round < 3; round++) {
		const bool migrates = round == 1;
		struct hs_base_sample s[NR_CHOSEN];
		const uint32_t page = 5 * HS_BASE_PER_HUGE + 77;

		good(age_now(view, &err));
		touch_all(true);
		good(hs_view_split(view, chosen, NR_CHOSEN, results, &err));
		ck_assert_int_eq(results[0], 0);
		ck_assert_int_eq(results[1], 0);
		ck_assert_int_eq(results[2], -ENOENT); /* the display's */
		good(age_now(view, &err));
		ck_assert_int_eq(vmm_dirty(&guest, 1), display);
		vmm_touch(&guest, &page, 1, true);
		good(hs_view_sample_base(view, chosen, 2, s, &err));
		ck_assert_uint_eq(s[0].state, HS_MAP_SPLIT);
		ck_assert_uint_eq(hs_bits_count(&s[0].accessed), 0);
		ck_assert_uint_eq(hs_bits_count(&s[1].accessed), 1);
		if (migrates)
			ck_assert_int_eq(vmm_log(&guest, true), 0);
		restore_chosen();
		ck_assert_int_eq(vmm_dirty(&guest, 0), migrates ? 20 * (int)HS_BASE_PER_HUGE : -ENOENT);
		ck_assert_int_eq(vmm_dirty(&guest, 1), display);
		if (!migrates)
			continue;
		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(hs_view_split(view, chosen, NR_CHOSEN, NULL, &err), -EBUSY);
			ck_assert_int_eq(hs_view_age(view, &err), -EBUSY);
		}
		ck_assert_int_eq(vmm_log(&guest, false), 0);
	}
	/* As large as the RAM, and more: it may be a migration as well. */
	close_view();
	cfg.slots[0].nr_huge = 16;
	cfg.slots[1].first_huge = 16;
	cfg.slots[1].nr_huge = 16;
	open_view(&cfg);
	ck_assert_int_eq(hs_view_age(view, &err), -EBUSY);
	ck_assert_int_eq(hs_view_split(view, chosen, 1, NULL, &err), -EBUSY);
	close_view();
}
END_TEST

/* A window that could not be opened leaves no watch behind. */
START_TEST(test_ept_nested_fine_refused_leaves_nothing)
{
	open_view(&two_slots);
	good(age_now(view, &err));
	ck_assert_int_eq(vmm_log(&guest, true), 0);
	ck_assert_int_eq(hs_view_split(view, chosen, NR_CHOSEN, NULL, &err), -EBUSY);
	close_view();
	ck_assert_int_eq(access("/sys/fs/bpf/hs-share", F_OK), -1);
}
END_TEST

/* The VMM begins to log in a window: it finds every page dirty, and its logging outlives the window. */
START_TEST(test_ept_nested_fine_vmm_begins_to_log)
{
	open_view(&two_slots);
	for (int round = 0; round < 3; round++) {
		touch_all(true);
		split_chosen();
		if (round == 1) /* to use it is enough */
			ck_assert_int_ge(vmm_dirty(&guest, 0), 0);
		else
			ck_assert_int_eq(vmm_log(&guest, true), 0);
		restore_chosen();
		ck_assert_int_eq(vmm_dirty(&guest, 0), 20 * HS_BASE_PER_HUGE);
		ck_assert_int_eq(hs_view_split(view, chosen, NR_CHOSEN, NULL, &err), -EBUSY);
		ck_assert_int_eq(hs_view_age(view, &err), -EBUSY);
		ck_assert_int_eq(vmm_log(&guest, false), 0);
		ck_assert_int_eq(vmm_dirty(&guest, 0), -ENOENT);
		good(age_now(view, &err));
	}
	/* Closing the view in a window that the VMM shares leaves it, too. */
	split_chosen();
	ck_assert_int_eq(vmm_log(&guest, true), 0);
	hs_view_close(view);
	ck_assert_int_eq(vmm_dirty(&guest, 1), 12 * HS_BASE_PER_HUGE);
	hs_remote_close(remote);
	vmm_stop(&guest);
}
END_TEST

/* A view that is closed in a window leaves no logging behind. */
START_TEST(test_ept_nested_fine_closed_in_a_window)
{
	open_view(&two_slots);
	split_chosen();
	hs_view_close(view);
	ck_assert_int_eq(vmm_dirty(&guest, 0), -ENOENT);
	ck_assert_int_eq(vmm_dirty(&guest, 1), -ENOENT);
	hs_remote_close(remote);
	vmm_stop(&guest);
}
END_TEST

static void set_ftrace(const char *on)
{
	int fd = open("/proc/sys/kernel/ftrace_enabled", O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, on, 2), 2);
	close(fd);
}

/* The watch sees nothing while ftrace is off: the VMM's "logging on" of that time is not undone, not even afterwards.
 */
START_TEST(test_ept_nested_fine_watch_off)
{
	const bool on_again = _i; /* after an ageing has noticed */

	open_view(&two_slots);
	split_chosen();
	set_ftrace("0\n");
	ck_assert_int_eq(vmm_log(&guest, true), 0);
	if (on_again) {
		good(age_now(view, &err));
		set_ftrace("1\n");
	}
	restore_chosen();
	set_ftrace("1\n");
	ck_assert_int_eq(vmm_dirty(&guest, 0), 20 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_dirty(&guest, 1), 12 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_log(&guest, false), 0);
	good(age_now(view, &err));
	split_chosen();
	restore_chosen();
	close_view();
}
END_TEST

/*
 * A run of the watch that the kernel passed over in a window may have been the VMM's "logging on": it is left on. (Such
 * a run cannot be brought about at will; so what was noted of their number is changed instead.)
 */
START_TEST(test_ept_nested_fine_watch_missed)
{
	struct hs_dirty_log_guard_key key, next;
	struct hs_dirty_log_guard_slot slot;
	int changed = 0, fd;
	bool more;

	open_view(&two_slots);
	split_chosen();
	fd = bpf_obj_get("/sys/fs/bpf/hs-share/guard-4-slots");
	ck_assert_int_ge(fd, 0);
	for (more = !bpf_map_get_next_key(fd, NULL, &next); more; more = !bpf_map_get_next_key(fd, &key, &next)) {
		key = next;
		ck_assert_int_eq(bpf_map_lookup_elem(fd, &key, &slot), 0);
		if (key.slot == HS_DIRTY_LOG_GUARD_ALL)
			continue;
		ck_assert_uint_eq(slot.misses, 0);
		slot.misses--;
		ck_assert_int_eq(bpf_map_update_elem(fd, &key, &slot, BPF_EXIST), 0);
		changed++;
	}
	close(fd);
	ck_assert_int_eq(changed, 4); /* two slots, in two address spaces */
	restore_chosen();
	ck_assert_int_eq(vmm_dirty(&guest, 0), 20 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_dirty(&guest, 1), 12 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_log(&guest, false), 0);
	good(age_now(view, &err));
	close_view();
}
END_TEST

/* A watch that sees nothing any more proves nothing: logging stays on. */
START_TEST(test_ept_nested_fine_watch_blind)
{
	struct hs_dirty_log_guard_key key = { .slot = 0 };
	int fd;

	open_view(&two_slots);
	split_chosen();
	fd = bpf_obj_get("/sys/fs/bpf/hs-share/guard-4-slots");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bpf_map_get_next_key(fd, NULL, &key), 0);
	key.slot = HS_DIRTY_LOG_GUARD_ALL;
	ck_assert_int_eq(bpf_map_delete_elem(fd, &key), 0); /* so the program counts nothing of this VM */
	close(fd);
	restore_chosen();
	ck_assert_int_eq(vmm_dirty(&guest, 0), 20 * HS_BASE_PER_HUGE);
	ck_assert_int_eq(vmm_log(&guest, false), 0);
	good(age_now(view, &err));
	close_view();
}
END_TEST

/* A slot that goes in a window stays gone. */
/* Another process looks into the guest, and is killed in the window. */
static void killed_in_a_window(void)
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (!child) {
		if (hs_remote_open(&remote, &host, guest.pid, &err) ||
		    hs_view_open(&view, &host, guest.pid, remote, UINT64_C(16) << 20, &err) ||
		    hs_view_split(view, chosen, NR_CHOSEN, NULL, &err))
			_exit(1);
		(void)kill(getpid(), SIGKILL);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFSIGNALED(status), "status %d", status);
}

/* Logging that a killed run has left on is switched off by the next one, unless the VMM has come to rely on it. */
START_TEST(test_ept_nested_fine_killed)
{
	const bool vmm_logs = _i;
	int rc = -EBUSY;

	ck_assert(vmm_start(&guest, &two_slots));
	killed_in_a_window();
	if (vmm_logs)
		ck_assert_int_eq(vmm_log(&guest, true), 0);
	good(hs_remote_open(&remote, &host, guest.pid, &err));
	good(hs_view_open(&view, &host, guest.pid, remote, UINT64_C(16) << 20, &err));
	for (int s = 0; s < 15 && rc == -EBUSY; s++) {
		rc = hs_view_age(view, &err);
		sleep(1);
	}
	if (vmm_logs) {
		ck_assert_int_eq(rc, -EBUSY);
		ck_assert_int_eq(vmm_dirty(&guest, 0), 20 * HS_BASE_PER_HUGE);
		ck_assert_int_eq(vmm_log(&guest, false), 0);
		good(age_now(view, &err));
	} else {
		ck_assert_msg(!rc, "%s", err.text);
		ck_assert_int_eq(vmm_dirty(&guest, 0), -ENOENT);
		ck_assert_int_eq(vmm_dirty(&guest, 1), -ENOENT);
	}
	split_chosen();
	restore_chosen();
	close_view();
	ck_assert_int_eq(access("/sys/fs/bpf/hs-share", F_OK), -1);
}
END_TEST

/* The guest of a killed run ends, too: what was kept of it goes, with the watch, which may be older than the module. */
START_TEST(test_ept_nested_fine_killed_and_guest_ends)
{
	ck_assert(vmm_start(&guest, &two_slots));
	killed_in_a_window();
	vmm_stop(&guest);
	ck_assert_int_eq(access("/sys/fs/bpf/hs-share", F_OK), 0);
	open_view(&two_slots);
	good(age_now(view, &err));
	split_chosen();
	restore_chosen();
	close_view();
	ck_assert_int_eq(access("/sys/fs/bpf/hs-share", F_OK), -1);
}
END_TEST

/* What the VMM switches on is never taken for ours, not even where our call was announced and did not come about. */
START_TEST(test_ept_nested_fine_guard)
{
	bool made = false;
	static struct hs_kvm_slot slots[HS_KVM_MAX_SLOTS];
	int pidfd, their_fd = -1, fd;
	struct hs_dirty_log_guard *guard;
	struct hs_kvm_walk *walk;
	struct hs_kvm_seen seen;
	uint64_t cookie;

	ck_assert(vmm_start(&guest, &two_slots));
	for (int i = 0; i < 64 && their_fd < 0; i++) {
		char path[64], target[64] = "";

		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)guest.pid, i);
		if (readlink(path, target, sizeof(target) - 1) > 0 && !strcmp(target, "anon_inode:kvm-vm"))
			their_fd = i;
	}
	pidfd = (int)syscall(SYS_pidfd_open, guest.pid, 0);
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, their_fd, 0);
	good(hs_kvm_walk_get(&walk, &err));
	good(hs_kvm_walk_look(walk, fd, &seen, slots));
	ck_assert_uint_eq(seen.look.nr_slots, 5);
	ck_assert_int_eq(hs_dirty_log_guard_get(&guard, true, &err), -ENOENT);
	good(hs_dirty_log_guard_get(&guard, false, &err));
	good(hs_dirty_log_guard_begin(guard, seen.look.kvm, guest.pid, fd, &made));
	ck_assert(made);
	for (uint32_t i = 0; i < seen.look.nr_slots; i++) {
		good(hs_dirty_log_guard_watch(guard, seen.look.kvm, &slots[i], &cookie));
		ck_assert_int_eq(hs_dirty_log_guard_ours(guard, seen.look.kvm, &slots[i], 0), HS_NO);
	}
	ck_assert_int_eq(vmm_log(&guest, true), 0);
	for (uint32_t i = 0; i < seen.look.nr_slots; i++)
		ck_assert_int_eq(hs_dirty_log_guard_ours(guard, seen.look.kvm, &slots[i], 0), HS_NO);
	ck_assert(hs_dirty_log_guard_watches(guard, seen.look.kvm));
	hs_dirty_log_guard_end(guard, seen.look.kvm);
	ck_assert(!hs_dirty_log_guard_watches(guard, seen.look.kvm));
	hs_dirty_log_guard_put(guard);
	hs_kvm_walk_put(walk);
	close(fd);
	close(pidfd);
	vmm_stop(&guest);
}
END_TEST

START_TEST(test_ept_nested_fine_slot_goes)
{
	open_view(&two_slots);
	split_chosen();
	vmm_plug(&guest, false);
	restore_chosen();
	ck_assert_int_eq(vmm_dirty(&guest, 0), -ENOENT);
	ck_assert_int_eq(vmm_dirty(&guest, 1), -ENOENT);
	/* As one that is not there; one that is would refuse another size. */
	vmm_plug(&guest, true);
	touch_all(true);
	good(age_now(view, &err));
	close_view();
}
END_TEST

START_TEST(test_ept_nested_fine_guest_ends)
{
	open_view(&two_slots);
	split_chosen();
	vmm_stop(&guest);
	ck_assert_int_eq(hs_view_restore(view, chosen, NR_CHOSEN, NULL, &err), -ESRCH);
	hs_view_close(view);
	hs_remote_close(remote);
}
END_TEST

/* Logging that would split everything at once, when switched on. */
START_TEST(test_ept_nested_fine_not_without_manual)
{
	struct vmm_config cfg = two_slots;

	cfg.no_manual = true;
	open_view(&cfg);
	ck_assert(!hs_view_can_split(view));
	ck_assert_int_eq(hs_view_split(view, chosen, NR_CHOSEN, NULL, &err), -ENOTSUP);
	close_view();
}
END_TEST

/*
 * A window that could be neither opened in full nor closed at once, since the VMM was busy: logging is on, and nothing
 * is split. The next ageing ends it, as soon as that can be, and says so until then.
 */
START_TEST(test_ept_nested_fine_left_over)
{
	struct hs_huge_sample s[NR_HUGE];
	struct hs_nested_view *v;
	const uint32_t page = 3 * HS_BASE_PER_HUGE;
	int rc = -EAGAIN;

	open_view(&two_slots);
	touch_all(true);
	split_chosen();
	v = hs_nested_view(view);
	memset(v->split, 0, (NR_HUGE + 63) / 64 * sizeof(*v->split));
	v->nr_split = 0;
	ck_assert_int_eq(kill(guest.pid, SIGSTOP), 0);
	ck_assert_int_ne(hs_view_age(view, &err), 0);
	ck_assert_msg(strstr(err.text, "is stopped") != NULL, "%s", err.text);
	ck_assert_int_eq(kill(guest.pid, SIGCONT), 0);
	for (int tries = 0; tries < 20 && rc; tries++) {
		(void)usleep(50000);
		rc = hs_view_age(view, &err);
	}
	good(rc);
	ck_assert_int_eq(vmm_dirty(&guest, 0), -ENOENT);
	ck_assert_int_eq(vmm_dirty(&guest, 1), -ENOENT);
	vmm_touch(&guest, &page, 1, true);
	good(hs_view_sample_huge(view, 0, NR_HUGE, s, &err));
	for (uint32_t i = 0; i < NR_HUGE; i++)
		ck_assert_uint_eq(s[i].accessed, i == 3 ? HS_YES : HS_NO);
	split_chosen();
	restore_chosen();
	close_view();
}
END_TEST

/* Where ageing cannot be of a range, there is no looking into huge pages. */
START_TEST(test_ept_nested_fine_not_here)
{
	open_view(&two_slots);
	ck_assert(!hs_view_can_split(view));
	ck_assert_int_eq(hs_view_split(view, chosen, NR_CHOSEN, NULL, &err), -ENOTSUP);
	close_view();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/fine");
	TCase *t = tcase_create("fine");
	struct utsname u;

	if (access("/dev/kvm", R_OK | W_OK))
		return hs_test_skip("kvm/fine", "there is no /dev/kvm");
	tcase_set_timeout(t, 100);
	if (!uname(&u) && strncmp(u.release, "6.1.", 4) == 0) {
		tcase_add_test(t, test_ept_nested_fine_not_here);
	} else {
		tcase_add_test(t, test_ept_nested_fine_exactly);
		tcase_add_test(t, test_ept_nested_fine_not_while_vmm_logs);
		tcase_add_test(t, test_ept_nested_fine_beside_a_display);
		tcase_add_test(t, test_ept_nested_fine_refused_leaves_nothing);
		tcase_add_test(t, test_ept_nested_fine_vmm_begins_to_log);
		tcase_add_test(t, test_ept_nested_fine_closed_in_a_window);
		tcase_add_loop_test(t, test_ept_nested_fine_killed, 0, 2);
		tcase_add_test(t, test_ept_nested_fine_killed_and_guest_ends);
		tcase_add_test(t, test_ept_nested_fine_guard);
		tcase_add_loop_test(t, test_ept_nested_fine_watch_off, 0, 2);
		tcase_add_test(t, test_ept_nested_fine_watch_missed);
		tcase_add_test(t, test_ept_nested_fine_watch_blind);
		tcase_add_test(t, test_ept_nested_fine_slot_goes);
		tcase_add_test(t, test_ept_nested_fine_left_over);
		tcase_add_test(t, test_ept_nested_fine_guest_ends);
		tcase_add_test(t, test_ept_nested_fine_not_without_manual);
	}
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
