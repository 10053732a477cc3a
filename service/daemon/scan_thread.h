/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scan's thread: it alone owns the pipeline and all that belongs to it. The main thread gives it jobs and takes
 * snapshots; neither waits for the other.
 *
 * Jobs are done in order, between cycles. What may wait (a new guest) interrupts a cycle only where that costs nothing:
 * in the coarse window, which goes on where it was. What may not (mode off, a guest that leaves, the end) ends the
 * running stage, mappings brought back first.
 */
#ifndef HS_SERVICE_DAEMON_SCAN_THREAD_H
#define HS_SERVICE_DAEMON_SCAN_THREAD_H

#include <systemd/sd-event.h>

#include "config.h"

struct hs_scan_thread;

enum hs_job_kind {
	HS_JOB_ADD,        /* pid, name, opt_in */
	HS_JOB_REMOVE,     /* pid; undo: its sharing first. -ENOMEM: no room for that now, it stays */
	HS_JOB_UNSHARE,    /* pid, or 0: all */
	HS_JOB_LIMIT,      /* pid, opt_in.max_shared_bytes */
	HS_JOB_MODE,       /* effective: off, observe or save; undo: when that ends sharing. HS_DONE_UNDER_WAY: to save,
			      and the engine cannot be taken yet; it is tried again */
	HS_JOB_CHECK_LEFT, /* pid: undo what an earlier life left shared in a process that is no guest now */
	HS_JOB_CONFIGURE,  /* config: another pipeline takes over; what is shared is read back. -errno: the old one goes
			      on; above 0: so many guests could not be taken over, and are out */
	HS_JOB_LOOK, /* a look into hot huge pages; ends with the next cycle that does. -ENODATA: there is no guest */
	HS_JOB_QUIT, /* undo; the thread ends */
};

struct hs_job {
	enum hs_job_kind kind;
	pid_t pid;
	bool undo;
	enum hs_mode effective;
	char name[HS_NAME_MAX];
	struct hs_opt_in opt_in;
	struct hs_pipeline_config config;
	uint32_t rest_min_s, rest_max_s;
	struct hs_done done; /* called on the main thread; fn may be NULL */
};

struct hs_scan_thread_snapshot {
	bool engaged;
	struct hs_obstacle obstacle; /* what keeps the whole from sharing */
	char undo_pending[512]; /* of what is to be unshared in a mode that shares nothing; "": nothing is pending */
	bool has_kept;          /* it was counted, and no engine has it */
	struct hs_share_kept kept;
	const char *stage;
	uint64_t stage_ms;
	uint64_t alive_ms; /* since the thread last gave a sign of life; asleep it gives one every 5 s, within a job at
			      each guest and each step of an undo */
	uint64_t cycles, last_cycle_ms;
	uint64_t cpu_us;
	bool has_totals;
	struct hs_pipeline_totals totals;
	uint64_t nr_jobs;      /* done when the reports were made */
	uint64_t nr_published; /* how often reports were made */
	/* Of the guests, by process id; they are the scan's thread's and everybody's who has a snapshot of then. */
	struct hs_scan_reports *reports; /* NULL: none were made yet */
	uint64_t read_ms;                /* monotonic, of the snapshot */
};

struct hs_scan_reports {
	_Atomic unsigned int nr_users;
	/* Over those that are not gone. */
	size_t nr_sharing; /* something is saved of them */
	uint64_t could_save_bytes, could_save_at_most_bytes;
	struct hs_sketch *sketches; /* that they point into, their own; NULL: there is none */
	size_t nr;
	struct hs_guest_report of[];
};

struct hs_scan_thread_config {
	struct hs_host host;
	struct hs_pipeline_config pipeline;
	bool in_fleet; /* sketches are made, by: */
	struct hs_fleet_key fleet_key;
	uint32_t rest_min_s, rest_max_s; /* between cycles; doubles while nothing changes */
	sd_event *loop;
};

HS_MUST_USE int hs_scan_thread_start(struct hs_scan_thread **out, const struct hs_scan_thread_config *cfg,
				     struct hs_error *err);

/* Copies the job. -ENOMEM: not taken, `done` is not called. */
HS_MUST_USE int hs_scan_thread_post(struct hs_scan_thread *w, const struct hs_job *job);

/* Jobs taken so far: the number of the last one. A snapshot with as many nr_jobs knows of it. */
uint64_t hs_scan_thread_nr_posted(const struct hs_scan_thread *w);

/*
 * Brings *snap, which may be filled with zeroes, up to date; copies no report, however many there are. The caller never
 * waits: where the scan's thread, which gives way to everybody, was interrupted while it wrote, *snap stays as it was,
 * but for its ages.
 */
void hs_scan_thread_snapshot(struct hs_scan_thread *w, struct hs_scan_thread_snapshot *snap);
/* Gives its reports back. */
void hs_scan_thread_release(struct hs_scan_thread_snapshot *snap);
/* Reports outlive their snapshot for who holds them, on any thread. Each takes NULL. */
struct hs_scan_reports *hs_scan_thread_hold_reports(struct hs_scan_reports *reports);
void hs_scan_thread_drop_reports(struct hs_scan_reports *reports);

/* Of the process, as long as it is there; NULL. *at: where it was found last time, which is tried first. */
const struct hs_guest_report *hs_scan_thread_report_of(const struct hs_scan_thread_snapshot *snap, pid_t pid,
						       size_t *at);

/* Leaves a thread that does not come to its end alone, with all that it uses: the process is about to end. */
void hs_scan_thread_leave(struct hs_scan_thread *w);

/* Ends the thread if HS_JOB_QUIT has not, without undoing anything, and frees all. Jobs that were not done are
 * forgotten. Takes NULL. */
void hs_scan_thread_destroy(struct hs_scan_thread *w);

#endif
