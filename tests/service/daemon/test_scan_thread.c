/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scan's thread and its jobs on a pipeline that does as it is told here: what it answers to each call, and how long
 * that takes. What the real one does, test_pipeline and the daemon's own tests hold.
 */
#include "hs_test.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "hs/zero.h"
#include "service/daemon/scan_thread_internal.h"

/* ---- the pipeline ---- */

#define MAX_PIDS 8

static struct {
	_Atomic bool alive, engaged;
	_Atomic int nr_engaged, nr_unshared, nr_removed, nr_cycles, nr_created;
	_Atomic int unshare_rc[4]; /* of the first calls, then of all further ones */
	_Atomic int create_rc;     /* of all but the first */
	_Atomic pid_t refused;     /* hs_pipeline_add: -EBUSY */
	_Atomic unsigned int unshare_ms, destroy_ms;
	_Atomic bool marked; /* something of the guests carries our marks */
	_Atomic bool engine_refuses;
	_Atomic bool look;              /* hs_pipeline_ask_look */
	_Atomic int look_cycles;        /* so many cycles end without a look first */
	_Atomic int looks;              /* cycles that have looked */
	_Atomic unsigned int resume_ms; /* what it takes a cycle to go on to its sleep; 0: it ends at once */
	_Atomic uint64_t resumed_us;    /* what that took, of cycles that were interrupted then */
	const struct hs_clock *clock;
	_Atomic int engage_rc, ready_rc;
	pid_t pids[MAX_PIDS];
	size_t nr;
	hs_pipeline_progress *progress;
	void *progress_ctx;
} p;

static void nap_ms(unsigned int ms)
{
	const struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	(void)nanosleep(&ts, NULL);
}

static struct hs_pipeline *handle(void)
{
	return (struct hs_pipeline *)&p;
}

int hs_pipeline_create(struct hs_pipeline **out, const struct hs_host *host, const struct hs_pipeline_config *cfg,
		       const struct hs_clock *clock, struct hs_error *err)
{
	(void)host;
	(void)cfg;
	p.clock = clock;
	*out = NULL;
	if (p.nr_created++ && p.create_rc)
		return hs_error_set(err, p.create_rc, "no pipeline today");
	p.alive = true;
	*out = handle();
	return 0;
}

int hs_pipeline_set_fleet_key(struct hs_pipeline *pipeline, const struct hs_fleet_key *key)
{
	(void)pipeline;
	(void)key;
	return 0;
}

void hs_pipeline_destroy(struct hs_pipeline *pipeline)
{
	if (!pipeline)
		return;
	nap_ms(p.destroy_ms);
	p.nr = 0;
	p.engaged = false;
	p.alive = false;
}

bool hs_pipeline_ksmd_runs(const struct hs_pipeline *pipeline)
{
	(void)pipeline;
	return false;
}

static size_t at(pid_t pid)
{
	size_t i = 0;

	while (i < p.nr && p.pids[i] != pid)
		i++;
	return i;
}

int hs_pipeline_add(struct hs_pipeline *pipeline, pid_t pid, const struct hs_guest_options *opt, struct hs_error *err)
{
	(void)pipeline;
	(void)opt;
	p.alive = true; /* another one, after hs_pipeline_destroy of the old */
	if (at(pid) < p.nr)
		return hs_error_set(err, -EEXIST, "pid %d was given twice", (int)pid);
	if (pid == p.refused)
		return hs_error_set(err, -EBUSY, "process %d is held by a debugger", (int)pid);
	ck_assert_uint_lt(p.nr, MAX_PIDS);
	p.pids[p.nr++] = pid;
	return 0;
}

static int unshared(struct hs_error *err)
{
	const int call = p.nr_unshared++;
	const int rc = p.unshare_rc[call < 4 ? call : 3];

	if (!p.engaged)
		return hs_error_set(err, -ENOTCONN, "the merge engine is not in use");
	/* As the real one does, it tells how far it is. */
	for (unsigned int ms = 0; ms < p.unshare_ms; ms += 100) {
		nap_ms(100);
		p.progress(p.progress_ctx, HS_STAGE_UNSHARE, ms, p.unshare_ms);
	}
	if (rc)
		return hs_error_set(err, rc, "call %d fails", call);
	if (!p.engine_refuses)
		p.marked = false;
	return 0;
}

int hs_pipeline_remove(struct hs_pipeline *pipeline, pid_t pid, bool undo, struct hs_share_unshared *out,
		       struct hs_error *err)
{
	const size_t i = at(pid);
	int rc;

	(void)pipeline;
	memset(out, 0, sizeof(*out));
	if (i == p.nr)
		return hs_error_set(err, -ENOENT, "process %d is no guest", (int)pid);
	rc = undo ? unshared(err) : 0;
	if (rc)
		return rc;
	p.pids[i] = p.pids[--p.nr];
	p.nr_removed++;
	return 0;
}

int hs_pipeline_set_limits(struct hs_pipeline *pipeline, pid_t pid, uint64_t max_shared_bytes)
{
	(void)pipeline;
	(void)max_shared_bytes;
	return at(pid) < p.nr ? 0 : -ENOENT;
}

int hs_pipeline_engage(struct hs_pipeline *pipeline, struct hs_error *err)
{
	(void)pipeline;
	if (p.engage_rc)
		return hs_error_set(err, p.engage_rc, "somebody else drives KSM");
	p.nr_engaged += !p.engaged;
	p.engaged = true;
	return 0;
}

int hs_pipeline_ready(struct hs_pipeline *pipeline, struct hs_error *err)
{
	(void)pipeline;
	return p.ready_rc ? hs_error_set(err, p.ready_rc, "somebody's memory is mergeable") : 0;
}

void hs_pipeline_disengage(struct hs_pipeline *pipeline)
{
	(void)pipeline;
	p.engaged = false;
}

bool hs_pipeline_engaged(const struct hs_pipeline *pipeline)
{
	(void)pipeline;
	return p.engaged;
}

uint32_t hs_pipeline_nr_guests(const struct hs_pipeline *pipeline)
{
	(void)pipeline;
	return (uint32_t)p.nr;
}

void hs_pipeline_on_progress(struct hs_pipeline *pipeline, hs_pipeline_progress *fn, void *ctx)
{
	(void)pipeline;
	p.progress = fn;
	p.progress_ctx = ctx;
}

void hs_pipeline_ask_look(struct hs_pipeline *pipeline, bool on)
{
	(void)pipeline;
	p.look = on;
}

bool hs_pipeline_look_pending(const struct hs_pipeline *pipeline)
{
	(void)pipeline;
	return p.look;
}

int hs_pipeline_cycle(struct hs_pipeline *pipeline, uint64_t *news, struct hs_error *err)
{
	(void)pipeline;
	(void)err;
	*news = 0;
	p.nr_cycles++;
	if (p.resume_ms) {
		const uint64_t begin_us = p.clock->now_us(p.clock->ctx);
		uint64_t took_us;
		int rc;

		p.progress(p.progress_ctx, HS_STAGE_COARSE, 0, 1);
		nap_ms(p.resume_ms);
		took_us = p.clock->now_us(p.clock->ctx) - begin_us;
		rc = p.clock->sleep_us(p.clock->ctx, 10000000);
		p.resumed_us += rc ? took_us : 0;
		return rc;
	}
	if (p.look && p.look_cycles-- > 0)
		return p.look_cycles == 0 ? hs_error_set(err, -EIO, "its page tables cannot be read") : -ECANCELED;
	p.looks += p.look;
	p.look = false;
	return 0;
}

int hs_pipeline_unshare_pid(struct hs_pipeline *pipeline, pid_t pid, struct hs_share_unshared *out,
			    struct hs_error *err)
{
	(void)pipeline;
	memset(out, 0, sizeof(*out));
	return at(pid) < p.nr ? unshared(err) : hs_error_set(err, -ENOENT, "process %d is no guest", (int)pid);
}

int hs_pipeline_unshare_all(struct hs_pipeline *pipeline, struct hs_share_unshared *out, struct hs_error *err)
{
	(void)pipeline;
	memset(out, 0, sizeof(*out));
	return unshared(err);
}

size_t hs_pipeline_report(struct hs_pipeline *pipeline, struct hs_guest_report *out, size_t max)
{
	(void)pipeline;
	for (size_t i = 0; i < p.nr && i < max; i++) {
		out[i] = (struct hs_guest_report){ .pid = p.pids[i], .name = "guest", .group = "default" };
		if (p.engaged && p.engine_refuses)
			hs_obstacle_set(&out[i].merge_obstacle, -EBUSY,
					&(struct hs_error){ "it is held by a debugger" });
	}
	return p.nr;
}

void hs_pipeline_totals(struct hs_pipeline *pipeline, struct hs_pipeline_totals *out)
{
	(void)pipeline;
	memset(out, 0, sizeof(*out));
}

int hs_share_find_marked(const struct hs_host *host, pid_t pid, uint64_t *bytes, struct hs_error *err)
{
	(void)host;
	(void)pid;
	(void)err;
	*bytes = p.marked ? HS_HUGE_SIZE : 0;
	return 0;
}

int hs_zero_find_left(const struct hs_host *host, pid_t pid, uint64_t *bytes, struct hs_error *err)
{
	(void)host;
	(void)pid;
	(void)err;
	*bytes = 0;
	return 0;
}

int hs_share_find_kept(const struct hs_host *host, struct hs_share_kept *out)
{
	(void)host;
	*out = (struct hs_share_kept){ .nr_processes = p.marked, .bytes = p.marked ? HS_HUGE_SIZE : 0 };
	return 0;
}

/* ---- the scan ---- */

static sd_event *loop;
static struct hs_scan_thread *scan;

static struct {
	unsigned int nr;
	int rc;
	char text[512];
	bool alive; /* the pipeline, when this was reported */
} done;

static void on_done(void *arg, int rc, const char *text)
{
	(void)arg;
	done.nr++;
	done.rc = rc;
	done.alive = p.alive;
	(void)snprintf(done.text, sizeof(done.text), "%s", text);
}

static void setup(void)
{
	struct hs_scan_thread_config cfg = { .host = HS_HOST_DEFAULT, .rest_min_s = 1, .rest_max_s = 1 };
	struct hs_error err = { "" };

	memset(&p, 0, sizeof(p));
	memset(&done, 0, sizeof(done));
	ck_assert_int_ge(sd_event_new(&loop), 0);
	cfg.loop = loop;
	ck_assert_msg(hs_scan_thread_start(&scan, &cfg, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	hs_scan_thread_destroy(scan);
	sd_event_unref(loop);
}

static void post(struct hs_job job)
{
	(void)snprintf(job.name, sizeof(job.name), "guest");
	(void)snprintf(job.opt_in.group, sizeof(job.opt_in.group), "default");
	job.done = (struct hs_done){ on_done, NULL };
	ck_assert_int_eq(hs_scan_thread_post(scan, &job), 0);
}

/* Runs the loop until the condition holds; thirty seconds are a failure. */
#define UNTIL(condition)                                                                                               \
	do {                                                                                                           \
		time_t end_ = time(NULL) + 30;                                                                         \
		while (!(condition)) {                                                                                 \
			ck_assert_msg(time(NULL) < end_, "waited too long for: %s (last: %s)", #condition, done.text); \
			(void)sd_event_run(loop, 20000);                                                               \
		}                                                                                                      \
	} while (0)

static void do_job(struct hs_job job)
{
	const unsigned int before = done.nr;

	post(job);
	UNTIL(done.nr > before);
}

static void add(pid_t pid)
{
	do_job((struct hs_job){ .kind = HS_JOB_ADD, .pid = pid });
	ck_assert_msg(done.rc == 0, "%s", done.text);
}

/* The end is reported when all is put back, however late the main thread hears of what was done before. */
START_TEST(test_service_scan_thread_quit_is_told_last)
{
	p.destroy_ms = 500;
	add(10);
	post((struct hs_job){ .kind = HS_JOB_REMOVE, .pid = 10 });
	post((struct hs_job){ .kind = HS_JOB_QUIT });
	for (int i = 0; i < 20; i++)
		if (done.nr < 3)
			(void)sd_event_run(loop, 100000);
	UNTIL(done.nr == 3);
	ck_assert_int_eq(done.rc, 0);
	ck_assert(!done.alive);
}
END_TEST

/* However long a job takes, it gives signs of life, and stays the job that it is. */
START_TEST(test_service_scan_thread_long_job_lives)
{
	struct hs_scan_thread_snapshot snap = { 0 };
	unsigned int nr = 0;

	add(10);
	p.marked = true;
	p.unshare_ms = 3000;
	post((struct hs_job){ .kind = HS_JOB_UNSHARE });
	UNTIL(p.nr_unshared == 1);
	while (done.nr < 2) {
		hs_scan_thread_snapshot(scan, &snap);
		if (strcmp(snap.stage, "job") == 0)
			nr++;
		else
			ck_assert_str_ne(snap.stage, "unshare");
		ck_assert_uint_lt(snap.alive_ms, 1500);
		(void)sd_event_run(loop, 20000);
	}
	ck_assert_msg(done.rc == 0, "%s", done.text);
	ck_assert_uint_gt(nr, 10);
	hs_scan_thread_release(&snap);
}
END_TEST

/* The thread gives way to everybody, also while it writes what is known of it: whoever asks does not wait for that. */
START_TEST(test_service_scan_thread_snapshot_does_not_wait)
{
	struct hs_scan_thread_snapshot snap = { 0 };
	uint64_t alive_ms, read_ms;

	add(10);
	add(11);
	UNTIL(done.nr == 2);
	UNTIL((hs_scan_thread_snapshot(scan, &snap), snap.reports)); /* they are written down after the jobs */
	alive_ms = snap.alive_ms;
	read_ms = snap.read_ms;
	(void)pthread_mutex_lock(&scan->lock); /* as the thread has it, interrupted there */
	nap_ms(50);
	hs_scan_thread_snapshot(scan, &snap);
	(void)pthread_mutex_unlock(&scan->lock);
	ck_assert_ptr_nonnull(snap.reports);
	ck_assert_uint_ge(snap.read_ms - read_ms, 50);
	ck_assert_uint_eq(snap.alive_ms - alive_ms, snap.read_ms - read_ms);
	hs_scan_thread_release(&snap);
	hs_scan_thread_release(&snap);
}
END_TEST

/* A process that is no guest, and cannot be undone now, is not one afterwards either; it is undone when asked again. */
START_TEST(test_service_scan_thread_left_stays_out)
{
	const struct hs_job left = { .kind = HS_JOB_CHECK_LEFT, .pid = 10 };

	p.marked = true;
	p.unshare_rc[0] = -ENOMEM;
	p.unshare_rc[1] = -EBUSY;
	do_job(left);
	ck_assert_int_eq(done.rc, -ENOMEM);
	ck_assert_str_eq(done.text, "call 0 fails");
	ck_assert_uint_eq(p.nr, 0);
	do_job(left);
	ck_assert_int_eq(done.rc, -EBUSY);
	ck_assert_uint_eq(p.nr, 0);
	do_job(left);
	ck_assert_msg(done.rc == 0, "%s", done.text);
	ck_assert_uint_eq(p.nr, 0);
	ck_assert_int_eq(p.nr_unshared, 3);
	ck_assert(!p.engaged && !p.marked);
	add(10);
}
END_TEST

/* One that has become a guest before it was looked at is unshared, and stays one. */
START_TEST(test_service_scan_thread_left_of_a_guest)
{
	add(10);
	p.marked = true;
	do_job((struct hs_job){ .kind = HS_JOB_CHECK_LEFT, .pid = 10 });
	ck_assert_msg(done.rc == 0, "%s", done.text);
	ck_assert_int_eq(p.nr_unshared, 1);
	ck_assert_uint_eq(p.nr, 1);
}
END_TEST

/* Auto, after = undo: nobody hears of the job, and there is no other to follow it. */
START_TEST(test_service_scan_thread_mode_undoes_until_done)
{
	struct hs_job job = { .kind = HS_JOB_MODE, .effective = HS_MODE_SAVE };
	int cycles;

	add(10);
	do_job(job);
	UNTIL(p.nr_cycles > 0 && p.engaged);
	p.marked = true;
	p.unshare_rc[0] = -EAGAIN;
	job.effective = HS_MODE_OBSERVE;
	job.undo = true;
	do_job(job);
	ck_assert_int_eq(done.rc, -EAGAIN);
	ck_assert(!p.engaged); /* or a cycle would share further */
	cycles = p.nr_cycles;
	UNTIL(p.nr_unshared == 2);
	UNTIL(!p.engaged && !p.marked && p.nr_cycles > cycles + 1);
	ck_assert_int_eq(p.nr_unshared, 2); /* and no more */
}
END_TEST

/* A look that was asked for ends with the cycle that has looked, also in mode off, and fails with that cycle's error.
 */
START_TEST(test_service_scan_thread_look)
{
	const struct hs_job look = { .kind = HS_JOB_LOOK };
	int cycles;

	do_job(look);
	ck_assert_int_eq(done.rc, -ENODATA);
	ck_assert(!p.look);
	add(10); /* the mode is off: there is no cycle */
	ck_assert_int_eq(p.nr_cycles, 0);
	p.look_cycles = 0;
	do_job(look);
	ck_assert_msg(done.rc == 0, "%s", done.text);
	ck_assert_int_eq(p.looks, 1);
	cycles = p.nr_cycles;
	ck_assert_int_eq(cycles, 1);
	/* Interrupted twice, and then the tables cannot be read: it is not asked for any longer. */
	p.look_cycles = 3;
	do_job(look);
	ck_assert_int_eq(done.rc, -EIO);
	ck_assert_str_eq(done.text, "its page tables cannot be read");
	ck_assert_int_eq(p.nr_cycles, cycles + 3);
	ck_assert(!p.look);
	ck_assert_int_eq(p.looks, 1);
}
END_TEST

/* A start in mode observe that is to leave nothing shared: guests come after it, and are undone as they come, also
 * later than at the first try. */
START_TEST(test_service_scan_thread_mode_undoes_who_comes)
{
	struct hs_job job = { .kind = HS_JOB_MODE, .effective = HS_MODE_OBSERVE, .undo = _i != 0 };
	int cycles;

	do_job(job);
	ck_assert_msg(done.rc == 0, "%s", done.text);
	p.marked = true;
	p.unshare_rc[0] = -EAGAIN;
	add(10);
	if (!_i) {
		cycles = p.nr_cycles;
		UNTIL(p.nr_cycles > cycles + 1);
		ck_assert_int_eq(p.nr_unshared, 0);
		return;
	}
	ck_assert_int_eq(p.nr_unshared, 1);
	ck_assert(p.marked && !p.engaged);
	UNTIL(!p.marked);
	ck_assert_int_eq(p.nr_unshared, 2);
	add(11);
	ck_assert_int_eq(p.nr_unshared, 2); /* nothing is in it */
	/* Who comes in mode save is not undone. */
	job.effective = HS_MODE_SAVE;
	do_job(job);
	p.marked = true;
	add(12);
	ck_assert_int_eq(p.nr_unshared, 2);
}
END_TEST

static bool says_kept(bool known, uint64_t bytes)
{
	struct hs_scan_thread_snapshot snap = { 0 };
	bool says;

	hs_scan_thread_snapshot(scan, &snap);
	says = snap.has_kept == known && snap.kept.bytes == bytes && snap.kept.nr_processes == (bytes != 0);
	hs_scan_thread_release(&snap);
	return says;
}

/* What stays shared without an engine is reported; with one, the totals have it. */
START_TEST(test_service_scan_thread_kept)
{
	struct hs_job job = { .kind = HS_JOB_MODE, .effective = HS_MODE_OBSERVE };

	for (int i = 0; i < 3; i++) {
		p.marked = i > 0;
		job.effective = i == 2 ? HS_MODE_SAVE : HS_MODE_OBSERVE;
		do_job(job);
		UNTIL(says_kept(i < 2, i == 1 ? HS_HUGE_SIZE : 0));
	}
}
END_TEST

/* A mode that saves, and cannot yet: that is what is answered, and nobody has to ask for the mode again. */
START_TEST(test_service_scan_thread_save_waits_for_the_engine)
{
	add(10);
	p.engage_rc = -EBUSY;
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_SAVE });
	ck_assert_int_eq(done.rc, HS_DONE_UNDER_WAY);
	ck_assert_ptr_nonnull(strstr(done.text, "somebody else drives KSM"));
	ck_assert(!p.engaged);
	p.engage_rc = 0;
	p.ready_rc = -EBUSY; /* foreign mergeable memory: it saves as soon as that is gone */
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_SAVE });
	ck_assert_int_eq(done.rc, HS_DONE_UNDER_WAY);
	ck_assert_ptr_nonnull(strstr(done.text, "somebody's memory is mergeable"));
	ck_assert(p.engaged);
	p.ready_rc = -EPERM; /* not known: the first burst says it */
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_SAVE });
	ck_assert_int_eq(done.rc, 0);
	ck_assert_str_eq(done.text, "");
	p.ready_rc = 0;
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_SAVE });
	ck_assert_int_eq(done.rc, 0);
	ck_assert(p.engaged);
}
END_TEST

/* A guest that the engine will not have for the moment is not undone by undoing all. */
START_TEST(test_service_scan_thread_mode_undoes_whom_the_engine_refused)
{
	add(10);
	p.marked = true;
	p.engine_refuses = true;
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_OBSERVE, .undo = true });
	ck_assert_int_eq(done.rc, -EAGAIN);
	ck_assert_ptr_nonnull(strstr(done.text, "held by a debugger"));
	p.engine_refuses = false;
	UNTIL(p.nr_unshared == 2);
	UNTIL(!p.engaged && !p.marked);
	/* Where nothing is marked, KSM is not taken for it. */
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_OBSERVE, .undo = true });
	ck_assert_int_eq(done.rc, 0);
	ck_assert_int_eq(p.nr_unshared, 2);
}
END_TEST

/* Somebody else drives KSM, for good: who shares nothing can leave all the same, and everything can be reported as
 * undone. */
START_TEST(test_service_scan_thread_nothing_to_undo)
{
	add(10);
	add(11);
	p.engage_rc = -EBUSY;
	do_job((struct hs_job){ .kind = HS_JOB_REMOVE, .pid = 10, .undo = true });
	ck_assert_msg(done.rc == 0, "%s", done.text);
	ck_assert_uint_eq(p.nr, 1);
	do_job((struct hs_job){ .kind = HS_JOB_UNSHARE, .pid = 11 });
	ck_assert_msg(done.rc == 0, "%s", done.text);
	do_job((struct hs_job){ .kind = HS_JOB_UNSHARE });
	ck_assert_msg(done.rc == 0, "%s", done.text);
	/* Of what is shared it is not said. */
	p.marked = true;
	do_job((struct hs_job){ .kind = HS_JOB_UNSHARE });
	ck_assert_int_eq(done.rc, -EBUSY);
	do_job((struct hs_job){ .kind = HS_JOB_REMOVE, .pid = 11, .undo = true });
	ck_assert_int_eq(done.rc, -EBUSY);
	ck_assert_uint_eq(p.nr, 1);
	p.marked = false;
	do_job((struct hs_job){ .kind = HS_JOB_QUIT, .undo = true });
	ck_assert_msg(done.rc == 0, "%s", done.text);
	ck_assert_int_eq(p.nr_engaged, 0);
}
END_TEST

/* Settings that are refused are reported, and the old pipeline goes on; a guest that is lost on the way is reported
 * too. */
START_TEST(test_service_scan_thread_configure)
{
	const struct hs_job job = { .kind = HS_JOB_CONFIGURE, .rest_min_s = 1, .rest_max_s = 1 };
	int cycles;

	add(10);
	add(11);
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_OBSERVE });
	p.create_rc = -EINVAL;
	do_job(job);
	ck_assert_int_eq(done.rc, -EINVAL);
	ck_assert_str_eq(done.text, "no pipeline today");
	ck_assert(p.alive);
	cycles = p.nr_cycles;
	UNTIL(p.nr_cycles > cycles + 1);
	p.create_rc = 0;
	do_job(job);
	ck_assert_int_eq(done.rc, 0);
	ck_assert_uint_eq(p.nr, 2);
	p.refused = 11;
	do_job(job);
	ck_assert_int_eq(done.rc, 1);
	ck_assert_uint_eq(p.nr, 1);
}
END_TEST

/* Jobs that come in one after the other do not keep the thread going on after each, and none is forgotten. */
START_TEST(test_service_scan_thread_gathers_jobs)
{
	const unsigned int before = done.nr;
	unsigned int nr = 0;
	uint64_t begin_us, took_us;
	const struct timespec pause = { .tv_nsec = 2000000 };

	add(11);
	p.resume_ms = 10;
	do_job((struct hs_job){ .kind = HS_JOB_MODE, .effective = HS_MODE_OBSERVE });
	UNTIL(p.clock); /* the thread makes it with its pipeline */
	begin_us = p.clock->now_us(p.clock->ctx);
	do {
		post((struct hs_job){ .kind = HS_JOB_LIMIT, .pid = 11, .opt_in.max_shared_bytes = nr++ });
		(void)nanosleep(&pause, NULL);
		took_us = p.clock->now_us(p.clock->ctx) - begin_us;
	} while (took_us < 1000000);
	ck_assert_uint_le(p.resumed_us, took_us / 3);
	UNTIL(done.nr - before == nr + 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("service/scan_thread");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, test_service_scan_thread_quit_is_told_last);
	tcase_add_test(c, test_service_scan_thread_long_job_lives);
	tcase_add_test(c, test_service_scan_thread_snapshot_does_not_wait);
	tcase_add_test(c, test_service_scan_thread_left_stays_out);
	tcase_add_test(c, test_service_scan_thread_left_of_a_guest);
	tcase_add_test(c, test_service_scan_thread_mode_undoes_until_done);
	tcase_add_test(c, test_service_scan_thread_gathers_jobs);
	tcase_add_test(c, test_service_scan_thread_look);
	tcase_add_loop_test(c, test_service_scan_thread_mode_undoes_who_comes, 0, 2);
	tcase_add_test(c, test_service_scan_thread_kept);
	tcase_add_test(c, test_service_scan_thread_save_waits_for_the_engine);
	tcase_add_test(c, test_service_scan_thread_mode_undoes_whom_the_engine_refused);
	tcase_add_test(c, test_service_scan_thread_nothing_to_undo);
	tcase_add_test(c, test_service_scan_thread_configure);
	suite_add_tcase(s, c);
	return hs_test_run(s);
}
