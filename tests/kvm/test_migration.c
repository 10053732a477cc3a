/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A migration from one QEMU to another, or a calculation of the dirty rate, while the guest is looked into: no write of
 * the guest may be lost. The guest (migration_guest.S) notices by itself. HS_MIGRATIONS: how many. Each QEMU has a
 * display whose memory is a region of its own, and which it logs all the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hs/remote.h"
#include "hs/view.h"
#include "hs_test.h"
#include "ept/kvm_walk.h"

#define QEMU      "/usr/bin/qemu-system-x86_64"
#define GUEST     "/bin/migration-guest"
#define SOCKET    "/tmp/migration"
#define RAM       "112M"
#define NR_LOOKED 8

static const struct hs_host host = HS_HOST_DEFAULT;
static struct hs_error err;

struct qemu {
	pid_t pid;
	int monitor;      /* its human monitor's input */
	char output[64];  /* file of what the guest tells */
	char answers[64]; /* file of what its monitor says */
};

static void start(struct qemu *q, int nr, bool incoming)
{
	int to[2];

	(void)snprintf(q->output, sizeof(q->output), "/tmp/guest-%d", nr);
	(void)snprintf(q->answers, sizeof(q->answers), "/tmp/monitor-%d", nr);
	(void)unlink(q->output);
	ck_assert_int_eq(pipe(to), 0);
	q->pid = fork();
	ck_assert_int_ge(q->pid, 0);
	if (!q->pid) {
		char debugcon[80], uri[] = "unix:" SOCKET;
		int answers = open(q->answers, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)snprintf(debugcon, sizeof(debugcon), "file:%s", q->output);
		(void)dup2(to[0], 0);
		(void)dup2(answers, 1);
		close(to[1]);
		(void)execl(QEMU, QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine",
			    "q35,accel=kvm,sata=off,i8042=off,hpet=off,vmport=off", "-m", RAM, "-device",
			    "VGA,vgamem_mb=64,romfile=", "-kernel", GUEST, "-monitor", "stdio", "-debugcon", debugcon,
			    "-no-reboot", incoming ? "-incoming" : "-S", incoming ? uri : NULL, NULL);
		_exit(127);
	}
	close(to[0]);
	q->monitor = to[1];
}

static void stop(struct qemu *q)
{
	(void)kill(q->pid, SIGKILL);
	(void)waitpid(q->pid, NULL, 0);
	close(q->monitor);
}

static void tell(struct qemu *q, const char *command)
{
	size_t len = strlen(command);

	ck_assert_int_eq(write(q->monitor, command, len), (ssize_t)len);
}

/*
 * Passes that the guest has reported; the test ends when it has lost a write, or has reset itself, which ends QEMU. -1
 * instead of that when `may_lose`.
 */
static long passes(const struct qemu *q, bool may_lose)
{
	char last = 0;
	struct stat st;
	int fd = open(q->output, O_RDONLY), status;

	ck_assert_msg(waitpid(q->pid, &status, WNOHANG) == 0, "QEMU has ended with status %#x", status);
	if (fd < 0 || fstat(fd, &st) || !st.st_size) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	ck_assert_int_eq(pread(fd, &last, 1, st.st_size - 1), 1);
	close(fd);
	if (may_lose && last == 'X')
		return -1;
	ck_assert_msg(last == '.', "the guest has lost a write: '%c' after %ld passes", last, (long)st.st_size);
	return st.st_size;
}

static void await_passes(const struct qemu *q, long more)
{
	long from = passes(q, false);

	for (int ms = 0; passes(q, false) < from + more; ms += 10) {
		ck_assert_msg(ms < 120000, "the guest stands still");
		usleep(10000);
	}
}

static void sleep_up_to(long us)
{
	usleep((useconds_t)(random() % us));
}

struct looker {
	struct hs_remote *remote;
	struct hs_view *view;
	hs_huge_nr huge[NR_LOOKED];
	unsigned int windows, refused;
};

/* The RAM; the other region is the display's memory. */
static const struct hs_region *ram_of(const struct hs_view *view)
{
	const struct hs_region *r = view->regions;

	ck_assert_uint_eq(view->nr_regions, 2);
	ck_assert_uint_ne(r[0].nr_huge, r[1].nr_huge);
	return &r[r[0].nr_huge < r[1].nr_huge];
}

static void open_looker(struct looker *l, pid_t pid)
{
	*l = (struct looker){ 0 };
	ck_assert_msg(!hs_remote_open(&l->remote, &host, pid, &err), "%s", err.text);
	ck_assert_msg(!hs_view_open(&l->view, &host, pid, l->remote, 0, &err), "%s", err.text);
	ck_assert(hs_view_can_split(l->view));
	for (hs_huge_nr i = 0; i < NR_LOOKED; i++)
		l->huge[i] = ram_of(l->view)->first_huge + 10 + 4 * i; /* within the guest's stretch */
}

static void close_looker(struct looker *l)
{
	hs_view_close(l->view);
	hs_remote_close(l->remote);
}

static void open_window(struct looker *l)
{
	int results[NR_LOOKED], rc = hs_view_split(l->view, l->huge, NR_LOOKED, results, &err);

	if (rc == -EBUSY)
		l->refused++;
	else if (rc != -EAGAIN)
		ck_assert_msg(!rc, "%s", err.text);
	if (rc)
		return;
	for (int i = 0; i < NR_LOOKED; i++)
		if (!results[i]) {
			l->windows++;
			return;
		}
	ck_abort_msg("nothing was split: %d", results[0]);
}

static void close_window(struct looker *l)
{
	int rc = -EAGAIN, results[NR_LOOKED];

	for (int tries = 0; tries < 100 && rc == -EAGAIN; tries++) {
		rc = hs_view_restore(l->view, l->huge, NR_LOOKED, results, &err);
		for (int i = 0; i < NR_LOOKED && !rc; i++)
			if (results[i] == -EAGAIN)
				rc = -EAGAIN;
		if (rc == -EAGAIN)
			usleep(50000);
	}
	ck_assert_msg(!rc, "%s", err.text);
}

/* On a busy machine the guest is not always reached in time, which changes nothing. */
static void open_window_at_last(struct looker *l)
{
	const time_t until = time(NULL) + 120;

	while (!l->windows && time(NULL) < until) {
		open_window(l);
		if (!l->windows)
			usleep(50000);
	}
	ck_assert_msg(l->windows == 1, "no window in 120 s, %u refused: %s", l->refused, err.text);
}

/* Not to the end: with what it takes to come to one while the guest writes to all its memory all the time. */
static void migrate(struct qemu *from)
{
	tell(from, "migrate_set_parameter max-bandwidth 100000M\nmigrate_set_parameter downtime-limit 20000\n"
		   "migrate -d unix:" SOCKET "\n");
}

static int nr_migrations(void)
{
	const char *s = getenv("HS_MIGRATIONS");

	return s ? atoi(s) : 2;
}

/* One after the other, each into the next QEMU; each begins at some instant in, before or after a window. */
START_TEST(test_kvm_migration_loses_nothing)
{
	struct qemu from, to;
	struct looker l;
	unsigned int in_window = 0;

	srandom((unsigned int)time(NULL));
	start(&from, 0, false);
	tell(&from, "cont\n");
	await_passes(&from, 2);
	for (int nr = 1; nr <= nr_migrations(); nr++) {
		long limit_us = 2000000;

		(void)unlink(SOCKET);
		start(&to, nr, true);
		while (access(SOCKET, F_OK))
			usleep(10000);
		open_looker(&l, from.pid);
		/* A window, closed in peace. */
		open_window_at_last(&l);
		await_passes(&from, 1);
		ck_assert_int_eq(hs_view_age(l.view, &err), 0);
		close_window(&l);
		ck_assert_int_eq(hs_view_age(l.view, &err), 0);
		/* One in which it begins, or which begins right before or after. */
		if (nr % 3 != 2) {
			open_window(&l);
			sleep_up_to(20000);
			migrate(&from);
			in_window++;
		} else {
			migrate(&from);
			sleep_up_to(20000);
			open_window(&l);
		}
		sleep_up_to(200000);
		close_window(&l);
		/* And windows that try to open all along. */
		while (!passes(&to, false) && limit_us > 0) {
			open_window(&l);
			sleep_up_to(50000);
			close_window(&l);
			limit_us -= 10000;
		}
		await_passes(&to, 3);
		printf("migration %d: %u windows opened, %u refused\n", nr, l.windows, l.refused);
		close_looker(&l);
		stop(&from);
		from = to;
	}
	ck_assert_uint_gt(in_window, 0);
	stop(&from);
}
END_TEST

/* The number of a VM's descriptor in that process. */
static int find_vm(pid_t pid)
{
	for (int fd = 0; fd < 64; fd++) {
		char path[64], target[64] = "";

		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
		if (readlink(path, target, sizeof(target) - 1) > 0 && !strcmp(target, "anon_inode:kvm-vm"))
			return fd;
	}
	ck_abort_msg("process %d has no VM", (int)pid);
}

static struct hs_kvm_slot slots[HS_KVM_MAX_SLOTS];

/* The VM's slots; how many. */
static uint32_t read_slots(pid_t pid, int their_fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), fd = (int)syscall(SYS_pidfd_getfd, pidfd, their_fd, 0);
	struct hs_kvm_walk *walk;
	struct hs_kvm_seen seen;

	ck_assert_msg(!hs_kvm_walk_get(&walk, &err), "%s", err.text);
	ck_assert_int_eq(hs_kvm_walk_look(walk, fd, &seen, slots), 0);
	ck_assert_int_eq(seen.look.end, HS_KVM_LOOK_OK);
	hs_kvm_walk_put(walk);
	close(fd);
	close(pidfd);
	return seen.look.nr_slots;
}

/* Slots with logging on: those of the display's memory, and all others. */
static void count_logged(const struct looker *l, pid_t pid, uint32_t *display, uint32_t *others)
{
	const struct hs_region *ram = ram_of(l->view), *vram = &l->view->regions[ram == l->view->regions];
	uint32_t nr = read_slots(pid, find_vm(pid));

	*display = *others = 0;
	for (uint32_t i = 0; i < nr; i++)
		if (slots[i].flags & KVM_MEM_LOG_DIRTY_PAGES)
			++*(slots[i].hva - vram->hva.v < vram->nr_huge * HS_HUGE_SIZE ? display : others);
}

/* Switches all logging of the VM off. How many slots had it on. */
static int switch_off(struct looker *l, pid_t pid)
{
	int their_fd = find_vm(pid), nr_off = 0;
	uint32_t nr = read_slots(pid, their_fd);

	for (uint32_t i = 0; i < nr; i++) {
		struct kvm_userspace_memory_region r = {
			.slot = (uint32_t)slots[i].space << 16 | (uint16_t)slots[i].id,
			.flags = slots[i].flags & ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES,
			.guest_phys_addr = slots[i].first_frame * HS_BASE_SIZE,
			.memory_size = slots[i].nr_pages * HS_BASE_SIZE,
			.userspace_addr = slots[i].hva,
		};
		struct hs_remote_call call = { .nr = SYS_ioctl,
					       .args = { (uint64_t)their_fd, KVM_SET_USER_MEMORY_REGION },
					       .data_arg = 2,
					       .data = &r,
					       .data_size = sizeof(r) };

		if (!(slots[i].flags & KVM_MEM_LOG_DIRTY_PAGES))
			continue;
		ck_assert_msg(!hs_remote_run(l->remote, &call, 1, &err), "%s", err.text);
		ck_assert_int_eq(call.result, 0);
		nr_off++;
	}
	return nr_off;
}

/* Logging switched off in the midst of a migration, as a bug of ours would: the guest does notice. */
START_TEST(test_kvm_migration_would_be_noticed)
{
	struct qemu from, to;
	struct looker l;
	long n = 0;

	start(&from, 100, false);
	tell(&from, "cont\n");
	await_passes(&from, 2);
	(void)unlink(SOCKET);
	start(&to, 101, true);
	while (access(SOCKET, F_OK))
		usleep(10000);
	open_looker(&l, from.pid);
	tell(&from, "migrate_set_parameter max-bandwidth 20M\nmigrate_set_parameter downtime-limit 1\n"
		    "migrate -d unix:" SOCKET "\n");
	usleep(1500000);
	open_window(&l);
	ck_assert_uint_eq(l.refused, 1);
	ck_assert_int_gt(switch_off(&l, from.pid), 0);
	tell(&from, "migrate_set_parameter max-bandwidth 100000M\nmigrate_set_parameter downtime-limit 20000\n");
	for (int ms = 0; n >= 0 && ms < 60000; ms += 10) {
		n = passes(&to, true);
		usleep(10000);
	}
	ck_assert_int_eq(n, -1);
	close_looker(&l);
	stop(&from);
	stop(&to);
}
END_TEST

/* What the monitor says of the dirty rate, MB/s; -1: nothing that is measured. Whether it is being measured. */
static long dirty_rate(struct qemu *q, bool *measuring)
{
	static const char mark[] = "Dirty rate: ";
	long rate = -1;
	char line[512];
	FILE *f;

	*measuring = false;
	tell(q, "info dirty_rate\n");
	usleep(500000);
	f = fopen(q->answers, "re");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		*measuring |= strstr(line, "Status: measuring") != NULL;
		if (!strncmp(line, mark, sizeof(mark) - 1))
			rate = strtol(line + sizeof(mark) - 1, NULL, 10);
	}
	(void)fclose(f);
	return rate;
}

/* The other use of the log: the same holds for it, whether it begins in a window or is there when one is tried. */
START_TEST(test_kvm_migration_dirty_rate)
{
	struct qemu q;
	struct looker l;
	uint32_t display, others;
	bool measuring = false;

	start(&q, 200, false);
	tell(&q, "cont\n");
	await_passes(&q, 2);
	open_looker(&l, q.pid);
	count_logged(&l, q.pid, &display, &others);
	ck_assert_uint_gt(display, 0);
	ck_assert_uint_eq(others, 0);
	ck_assert_int_eq(hs_view_age(l.view, &err), 0);
	open_window(&l);
	ck_assert_uint_eq(l.windows, 1);
	tell(&q, "calc_dirty_rate -b 10\n");
	for (int tries = 0; !measuring; tries++) {
		ck_assert_int_lt(tries, 10);
		(void)dirty_rate(&q, &measuring);
	}
	usleep(1000000);
	close_window(&l);
	open_window(&l);
	ck_assert_uint_eq(l.windows, 1);
	ck_assert_uint_eq(l.refused, 1);
	ck_assert_int_eq(hs_view_age(l.view, &err), -EBUSY);
	count_logged(&l, q.pid, &display, &others);
	ck_assert_uint_gt(others, 0);
	/* It ends, and switches logging off itself: then it is our turn again. */
	for (int ms = 0; l.windows == 1; ms += 100) {
		ck_assert_int_lt(ms, 60000);
		usleep(100000);
		open_window(&l);
	}
	close_window(&l);
	/* But of the display's, which it never has, nor have we. It may be at the last slots still. */
	for (int ms = 0; others; ms += 10) {
		ck_assert_int_lt(ms, 5000);
		usleep(10000);
		count_logged(&l, q.pid, &display, &others);
		ck_assert_uint_gt(display, 0);
	}
	/* Its figure is right: the guest writes all the time. */
	ck_assert_int_gt(dirty_rate(&q, &measuring), 0);
	await_passes(&q, 2);
	close_looker(&l);
	stop(&q);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kvm/migration");
	TCase *t = tcase_create("migration");

	if (access("/dev/kvm", R_OK | W_OK) || access(QEMU, X_OK))
		return hs_test_skip("kvm/migration", "there is no /dev/kvm, or no QEMU");
	tcase_set_timeout(t, 350 + 40 * nr_migrations());
	tcase_add_test(t, test_kvm_migration_loses_nothing);
	tcase_add_test(t, test_kvm_migration_would_be_noticed);
	tcase_add_test(t, test_kvm_migration_dirty_rate);
	suite_add_tcase(s, t);
	return hs_test_run(s);
}
