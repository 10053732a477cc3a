/* SPDX-License-Identifier: Apache-2.0 */
#include "crash_world.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/procstat.h"
#include "base/room.h"
#include "base/vmas.h"
#include "share/mark_record.h"
#include "share/mergeable.h"

#define MEMORY  UINT64_C(0x40000000)
#define STARTED 1000

char world_story[256];
static uint64_t room_bytes = UINT64_C(1) << 40;
static bool frames_hidden;
struct hs_host world_host;
static char root[64], proc_dir[80], ksm_dir[80], thp_dir[80], state_dir[80];

/* ---- the guest ---- */

enum advice { NOTHING, HUGE, NO_HUGE };

struct page {
	bool mergeable, was_mergeable; /* now; by the program itself */
	bool ours;                     /* mergeable by us */
	uint8_t advice, own_advice;    /* enum advice: now; the program's own */
	bool kept_small;               /* NO_HUGE by us */
};

static struct {
	bool alive;
	struct hs_process_id id;
	unsigned int boot;
	struct page page[WORLD_PAGES];
} guest;

static uint64_t address(unsigned int page)
{
	return page < WORLD_HUGE * HS_BASE_PER_HUGE
		   ? MEMORY + page * HS_BASE_SIZE
		   : WORLD_SMALL_AT + (page - WORLD_HUGE * HS_BASE_PER_HUGE) * HS_BASE_SIZE;
}

static void new_program(enum world_kind kind)
{
	const bool mergeable = kind == WORLD_MERGEABLE || kind == WORLD_ALIKE;
	const uint8_t advice = kind == WORLD_NOHUGEPAGE || kind == WORLD_ALIKE     ? NO_HUGE
			       : kind == WORLD_HUGEPAGE || kind == WORLD_MERGEABLE ? HUGE
										   : NOTHING;

	guest.alive = true;
	guest.id.program += HS_BASE_SIZE;
	for (unsigned int p = 0; p < WORLD_PAGES; p++)
		guest.page[p] = (struct page){ .advice = advice, .own_advice = advice };
	for (unsigned int p = 0; p < (kind == WORLD_ALIKE ? WORLD_PAGES : WORLD_HUGE * HS_BASE_PER_HUGE); p++)
		guest.page[p].mergeable = guest.page[p].was_mergeable = mergeable;
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	ck_assert_msg(f && fputs(text, f) >= 0 && !fclose(f), "%s", path);
}

static void new_boot(void)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "boot-%u\n", ++guest.boot);
	put(proc_dir, "sys/kernel/random/boot_id", text);
}

static void happen(enum world_event event)
{
	switch (event) {
	case WORLD_EXIT:
		guest.alive = false;
		break;
	case WORLD_REUSE:
		guest.id.started++;
		new_program(WORLD_ALIKE);
		break;
	case WORLD_REUSE_PLAIN:
		guest.id.started++;
		new_program(WORLD_PLAIN);
		break;
	case WORLD_EXEC:
		new_program(WORLD_ALIKE);
		break;
	default:
		break;
	}
}

/* ---- steps ---- */

static struct {
	bool on; /* the service lives: what it does counts */
	bool dead, came;
	enum world_event event;
	unsigned int at, steps;
} life;

enum what { A_FILE, A_LOOK, A_CALL };

/* Whether the step is to fail. A killed service goes on, and nothing of what it does has an effect. */
static bool step(enum what what)
{
	bool now;

	if (!life.on)
		return false;
	now = life.steps++ == life.at;
	if (now) {
		life.came = true;
		life.dead = life.event == WORLD_KILL;
		happen(life.event);
	}
	return life.came && ((life.event == WORLD_FAIL && now) || (life.event == WORLD_FAIL_ON && what != A_CALL));
}

static bool dead(void)
{
	return life.on && life.dead;
}

void world_life(enum world_event event, unsigned int at)
{
	memset(&life, 0, sizeof(life));
	life.on = true;
	life.event = event;
	life.at = at;
}

unsigned int world_steps(void)
{
	return life.steps;
}

bool world_came(void)
{
	return life.came;
}

void world_over(void)
{
	life.on = false;
}

void world_between(enum world_event event)
{
	if (event == WORLD_KILL) {
		const struct hs_process_id same = guest.id;

		new_boot();
		new_program(WORLD_ALIKE);
		guest.id = same;
	} else {
		happen(event);
	}
}

bool world_alive(void)
{
	return guest.alive;
}

/* ---- files ---- */

int __real_open(const char *path, int flags, ...);
int __real_fflush(FILE *f);
int __real_rename(const char *from, const char *to);
int __real_unlink(const char *path);
FILE *__real_fopen(const char *path, const char *mode);
DIR *__real_opendir(const char *path);
int __wrap_open(const char *path, int flags, mode_t mode);
int __wrap_fflush(FILE *f);
int __wrap_fsync(int fd);
int __wrap_rename(const char *from, const char *to);
int __wrap_unlink(const char *path);
FILE *__wrap_fopen(const char *path, const char *mode);
DIR *__wrap_opendir(const char *path);

static int answer(int error)
{
	errno = error;
	return -1;
}

int __wrap_open(const char *path, int flags, mode_t mode)
{
	const bool changes = flags & O_CREAT;

	if (changes && step(A_FILE))
		return answer(EMFILE);
	/* The lock is the kernel's, and goes with the process. */
	return __real_open(changes && dead() && !strstr(path, "/ksm.lock") ? "/dev/null" : path, flags, mode);
}

int __wrap_fflush(FILE *f)
{
	if (f && f != stdout && f != stderr && step(A_FILE))
		return answer(ENOSPC);
	return __real_fflush(f);
}

int __wrap_fsync(int fd)
{
	if (step(A_FILE))
		return answer(EIO);
	(void)fd; /* a power cut is a reboot: then no file counts */
	return 0;
}

int __wrap_rename(const char *from, const char *to)
{
	if (step(A_FILE))
		return answer(EIO);
	return dead() ? 0 : __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
	if (step(A_FILE))
		return answer(EIO);
	return dead() ? 0 : __real_unlink(path);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	if (step(A_LOOK)) {
		errno = EMFILE;
		return NULL;
	}
	return __real_fopen(path, mode);
}

DIR *__wrap_opendir(const char *path)
{
	if (step(A_LOOK)) {
		errno = EMFILE;
		return NULL;
	}
	return __real_opendir(path);
}

/* ---- KSM's knobs ---- */

int __real_hs_hostfile_write(const char *dir, const char *name, const char *text);
int __real_hs_hostfile_write_u64(const char *dir, const char *name, uint64_t value);
int __wrap_hs_hostfile_write(const char *dir, const char *name, const char *text);
int __wrap_hs_hostfile_write_u64(const char *dir, const char *name, uint64_t value);

int __wrap_hs_hostfile_write(const char *dir, const char *name, const char *text)
{
	if (step(A_FILE))
		return -EMFILE;
	return dead() ? 0 : __real_hs_hostfile_write(dir, name, text);
}

int __wrap_hs_hostfile_write_u64(const char *dir, const char *name, uint64_t value)
{
	if (step(A_FILE))
		return -EMFILE;
	return dead() ? 0 : __real_hs_hostfile_write_u64(dir, name, value);
}

ssize_t __real_hs_hostfile_read(const char *dir, const char *name, char *buf, size_t size);
ssize_t __wrap_hs_hostfile_read(const char *dir, const char *name, char *buf, size_t size);

ssize_t __wrap_hs_hostfile_read(const char *dir, const char *name, char *buf, size_t size)
{
	return strstr(name, "boot_id") && step(A_LOOK) ? -EMFILE : __real_hs_hostfile_read(dir, name, buf, size);
}

uint64_t world_knob(const char *name)
{
	uint64_t value = UINT64_MAX;

	ck_assert_int_eq(hs_hostfile_u64(ksm_dir, name, &value), 0);
	return value;
}

void world_set_knob(const char *name, uint64_t value)
{
	ck_assert_int_eq(__real_hs_hostfile_write_u64(ksm_dir, name, value), 0);
}

/* ---- what is known of the guest ---- */

int __wrap_hs_process_id_read(const struct hs_host *host, pid_t pid, struct hs_process_id *out);
int __wrap_hs_vmas_each(const struct hs_host *host, pid_t pid, hs_vma_fn fn, void *ctx);
int64_t __wrap_hs_vmas_count(const struct hs_host *host, pid_t pid);
int __wrap_hs_mergeable_look(const struct hs_host *host, pid_t pid, struct hs_mergeable *out, struct hs_error *err);
int __wrap_hs_room_of(const struct hs_host *host, pid_t pid, unsigned int keep_percent, struct hs_room *out,
		      struct hs_error *err);

int __wrap_hs_process_id_read(const struct hs_host *host, pid_t pid, struct hs_process_id *out)
{
	const bool fails = step(A_LOOK);

	(void)host;
	memset(out, 0, sizeof(*out));
	if (fails)
		return -EMFILE;
	if (pid != WORLD_PID || !guest.alive)
		return -ESRCH;
	*out = guest.id;
	return 0;
}

static bool alike(const struct page *a, const struct page *b)
{
	return a->mergeable == b->mergeable && a->advice == b->advice;
}

int __wrap_hs_vmas_each(const struct hs_host *host, pid_t pid, hs_vma_fn fn, void *ctx)
{
	int rc = 0;

	(void)host;
	if (step(A_LOOK))
		return -EMFILE;
	if (pid != WORLD_PID || !guest.alive)
		return -ESRCH;
	for (unsigned int p = 0, end; p < WORLD_PAGES && !rc; p = end) {
		struct hs_vma vma = { .start = address(p), .name = "", .read = true, .write = true, .anon = true };

		for (end = p + 1; end < WORLD_PAGES && alike(&guest.page[p], &guest.page[end]) &&
				  address(end) == address(end - 1) + HS_BASE_SIZE;)
			end++;
		vma.end = address(end - 1) + HS_BASE_SIZE;
		vma.has_flags = true;
		vma.mergeable = guest.page[p].mergeable;
		vma.hugepage = guest.page[p].advice == HUGE;
		vma.nohugepage = guest.page[p].advice == NO_HUGE;
		rc = fn(ctx, &vma);
	}
	return rc;
}

int64_t __wrap_hs_vmas_count(const struct hs_host *host, pid_t pid)
{
	(void)host;
	return pid == WORLD_PID && guest.alive ? 10 : -ESRCH;
}

int __wrap_hs_mergeable_look(const struct hs_host *host, pid_t pid, struct hs_mergeable *out, struct hs_error *err)
{
	(void)host;
	(void)pid;
	(void)err;
	memset(out, 0, sizeof(*out)); /* nobody watches by a userfaultfd, and no burst is run */
	return 0;
}

int __wrap_hs_room_of(const struct hs_host *host, pid_t pid, unsigned int keep_percent, struct hs_room *out,
		      struct hs_error *err)
{
	(void)host;
	(void)pid;
	(void)keep_percent;
	(void)err;
	*out = (struct hs_room){ .bytes = room_bytes };
	return 0;
}

/* ---- calls in the guest ---- */

int __wrap_hs_remote_open(struct hs_remote **out, const struct hs_host *host, pid_t pid, struct hs_error *err);
void __wrap_hs_remote_close(struct hs_remote *r);
int __wrap_hs_remote_madvise(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err);
void __wrap_hs_remote_stats(const struct hs_remote *r, struct hs_remote_stats *out);

struct handle {
	struct hs_process_id id; /* the program that it was opened for */
	bool engine; /* the engine's: what it makes mergeable is ours. Else what was claimed is given back */
	uint64_t nr_sessions;
};
static struct handle engine_handle, claim_handle;

struct hs_remote *world_remote(void)
{
	engine_handle = (struct handle){ .id = guest.id, .engine = true };
	return (struct hs_remote *)&engine_handle;
}

int __wrap_hs_remote_open(struct hs_remote **out, const struct hs_host *host, pid_t pid, struct hs_error *err)
{
	(void)host;
	*out = NULL;
	if (step(A_LOOK))
		return hs_error_set(err, -EAGAIN, "not now");
	if (pid != WORLD_PID || !guest.alive)
		return hs_error_set(err, -ESRCH, "gone");
	claim_handle = (struct handle){ .id = guest.id };
	*out = (struct hs_remote *)&claim_handle;
	return 0;
}

void __wrap_hs_remote_close(struct hs_remote *r)
{
	(void)r;
}

static void advise(const struct handle *h, struct page *p, int advice)
{
	switch (advice) {
	case MADV_MERGEABLE:
		p->ours = h->engine && !p->mergeable;
		p->mergeable = true;
		break;
	case MADV_UNMERGEABLE:
		p->ours = p->mergeable = false;
		break;
	case MADV_NOHUGEPAGE:
		p->kept_small |= p->advice != NO_HUGE;
		p->advice = NO_HUGE;
		break;
	case MADV_HUGEPAGE:
		p->kept_small = false;
		p->advice = HUGE;
		break;
	default:
		world_fail("an advice that is not known", (uint64_t)advice);
	}
}

int __wrap_hs_remote_madvise(struct hs_remote *r, struct hs_remote_op *ops, size_t nr, struct hs_error *err)
{
	struct handle *h = (struct handle *)r;

	for (size_t i = 0; i < nr; i++)
		ops[i].result = -ECANCELED;
	for (size_t i = 0; i < nr; i++) {
		const bool fails = step(A_CALL);

		if (!guest.alive || !hs_process_id_same(&h->id, &guest.id))
			return hs_error_set(err, -ESRCH, "gone");
		h->nr_sessions++;
		ops[i].result = fails ? -EAGAIN : 0;
		for (unsigned int p = 0; p < WORLD_PAGES && !fails && !dead(); p++)
			if (address(p) >= ops[i].start && address(p) < ops[i].end)
				advise(h, &guest.page[p], ops[i].advice);
	}
	return 0;
}

void __wrap_hs_remote_stats(const struct hs_remote *r, struct hs_remote_stats *out)
{
	*out = (struct hs_remote_stats){ .nr_sessions = ((const struct handle *)r)->nr_sessions };
}

/* ---- its view ---- */

static void view_close(struct hs_view *v)
{
	(void)v;
}

static int view_refresh(struct hs_view *v, struct hs_error *err)
{
	(void)v;
	(void)err;
	return guest.alive ? 0 : -ESRCH;
}

static int view_frames(struct hs_view *v, hs_huge_nr huge, struct hs_frame out[HS_BASE_PER_HUGE], struct hs_error *err)
{
	(void)v;
	if (!guest.alive)
		return hs_error_set(err, -ESRCH, "gone");
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++)
		out[i] = frames_hidden
			     ? (struct hs_frame){ 0 }
			     : (struct hs_frame){ .pfn = (huge + 1) * HS_BASE_PER_HUGE + i, .flags = HS_FRAME_HUGE };
	return 0;
}

/* What is not there is not known either. */
static int view_sample_base(struct hs_view *v, const hs_huge_nr *huge, size_t nr, struct hs_base_sample *out,
			    struct hs_error *err)
{
	(void)v;
	(void)huge;
	memset(out, 0, nr * sizeof(*out));
	return guest.alive ? 0 : hs_error_set(err, -ESRCH, "gone");
}

void world_hide_frames(bool hide)
{
	frames_hidden = hide;
}

void world_set_room(uint64_t bytes)
{
	room_bytes = bytes;
}

static int view_restore(struct hs_view *v, const hs_huge_nr *huge, size_t nr, int *results, struct hs_error *err)
{
	(void)v;
	(void)huge;
	(void)err;
	for (size_t i = 0; i < nr; i++)
		results[i] = 0;
	return guest.alive ? 0 : -ESRCH;
}

struct hs_view *world_view(void)
{
	static const struct hs_view_ops ops = { .name = "crash world",
						.close = view_close,
						.refresh = view_refresh,
						.sample_base = view_sample_base,
						.frames = view_frames,
						.restore = view_restore };
	static struct hs_region region = { .hva = { MEMORY }, .nr_huge = WORLD_HUGE };
	static struct hs_view view = {
		.ops = &ops, .regions = &region, .nr_regions = 1, .nr_huge = WORLD_HUGE, .pid = WORLD_PID
	};

	return &view;
}

/* ---- what is to hold ---- */

uint64_t world_small_mergeable(void)
{
	uint64_t n = 0;

	for (unsigned int p = WORLD_HUGE * HS_BASE_PER_HUGE; p < WORLD_PAGES; p++)
		n += guest.page[p].mergeable;
	return n;
}

uint64_t world_ours(void)
{
	uint64_t n = 0;

	for (unsigned int p = 0; p < WORLD_HUGE * HS_BASE_PER_HUGE; p++)
		n += guest.alive && guest.page[p].ours;
	return n;
}

void world_fail(const char *what, uint64_t place)
{
	ck_abort_msg("%s (%llx), after: %s", what, (unsigned long long)place, world_story);
	abort();
}

static bool on_record(const struct hs_mark_record *r, uint64_t at, uint32_t kinds)
{
	for (size_t i = 0; i < r->nr; i++)
		if (r->ranges[i].kind & kinds && at >= r->ranges[i].start && at < r->ranges[i].end)
			return true;
	return false;
}

void world_check_record(void)
{
	struct hs_mark_record r;
	int rc;

	if (!guest.alive)
		return;
	rc = hs_mark_record_read(&world_host, WORLD_PID, &r, NULL);
	if (rc)
		world_fail("the record cannot be read", (uint64_t)-rc);
	for (unsigned int p = 0; p < WORLD_PAGES; p++) {
		const struct page *g = &guest.page[p];

		if (g->ours && !on_record(&r, address(p), HS_MARK_MERGEABLE))
			world_fail("a mark of ours is not on record", address(p));
		if (g->kept_small && !on_record(&r, address(p), HS_MARK_PLAIN | HS_MARK_HUGEPAGE))
			world_fail("NOHUGEPAGE of ours is not on record", address(p));
		if (g->advice != g->own_advice && !g->kept_small && g->own_advice != NOTHING)
			world_fail("a program's own advice has changed", address(p));
	}
	hs_mark_record_finish(&r);
}

void world_check_undone(void)
{
	struct dirent *e;
	DIR *d;

	for (unsigned int p = 0; p < WORLD_PAGES && guest.alive; p++) {
		const struct page *g = &guest.page[p];

		if (g->mergeable != g->was_mergeable)
			world_fail(g->mergeable ? "a mark is left" : "a mark of the program's own is lost", address(p));
		/* Where nothing was said HUGEPAGE comes closest. */
		if (g->advice != g->own_advice && !(g->own_advice == NOTHING && g->advice == HUGE))
			world_fail("the advice on huge pages is not what it was", address(p));
	}
	d = opendir(state_dir);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, "ksm.lock") != 0)
			world_fail(e->d_name, 0);
	if (d)
		(void)closedir(d);
}

/* ---- */

static void clear_state(void)
{
	DIR *d = opendir(state_dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		(void)closedir(d);
}

void world_begin(enum world_kind kind)
{
	world_over();
	clear_state();
	put(ksm_dir, "run", "0\n");
	put(ksm_dir, "pages_to_scan", "100\n");
	put(ksm_dir, "sleep_millisecs", "20\n");
	guest.id = (struct hs_process_id){ .started = STARTED, .program = HS_BASE_SIZE };
	new_program(kind);
}

static void make_dir(const char *path)
{
	ck_assert_msg(mkdir(path, 0700) == 0, "%s", path);
}

void world_make(void)
{
	static const char *const folders[] = { "sys", "sys/vm", "sys/kernel", "sys/kernel/random" };
	char path[PATH_MAX];

	(void)snprintf(root, sizeof(root), "/dev/shm/hs-crash-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	(void)snprintf(proc_dir, sizeof(proc_dir), "%s/proc", root);
	(void)snprintf(ksm_dir, sizeof(ksm_dir), "%s/ksm", root);
	(void)snprintf(thp_dir, sizeof(thp_dir), "%s/thp", root);
	(void)snprintf(state_dir, sizeof(state_dir), "%s/state", root);
	world_host =
	    (struct hs_host){ .proc_dir = proc_dir, .ksm_dir = ksm_dir, .thp_dir = thp_dir, .state_dir = state_dir };
	make_dir(proc_dir);
	make_dir(ksm_dir);
	make_dir(thp_dir);
	make_dir(state_dir);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", proc_dir, folders[i]);
		make_dir(path);
	}
	put(proc_dir, "sys/vm/max_map_count", "65530\n");
	put(thp_dir, "enabled", "[always] madvise never\n"); /* NOHUGEPAGE is needed where nothing is said, too */
	new_boot();
}

void world_remove(void)
{
	char cmd[128];

	world_over();
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", root);
	ck_assert_int_eq(system(cmd), 0);
}
