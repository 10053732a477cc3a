/* SPDX-License-Identifier: Apache-2.0 */
/* The scan thread's own structure, shared by its files. */
#ifndef HS_SERVICE_DAEMON_SCAN_THREAD_INTERNAL_H
#define HS_SERVICE_DAEMON_SCAN_THREAD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "priority.h"
#include "scan_thread.h"

struct job_item {
	struct hs_job job;
	int rc;
	char text[512];
	struct job_item *next;
};

struct job_queue {
	struct job_item *first, **last;
};

struct hs_scan_thread {
	/* ---- the thread's own ---- */
	struct hs_scan_thread_config cfg;
	struct hs_clock clock;
	struct hs_pipeline *pipeline; /* NULL only when even creating it failed */
	enum hs_mode effective;
	uint64_t retry_engage_at_us;
	uint64_t rest_ms;
	uint64_t nr_done;                /* jobs */
	uint64_t published_at_us;        /* when the reports were last made... */
	uint64_t publish_us;             /* ...and how long that took */
	uint64_t jobs_ended_us;          /* when jobs were done last; 0: the work that they interrupted goes on again */
	uint64_t patient_at_us;          /* jobs that may wait interrupt nothing before that */
	int urgency;                     /* what may interrupt the running stage: enum scan_urgency */
	enum hs_sched_class sched_class; /* among the host's threads */
	struct hs_priority priority;     /* which of them, while the work may wait */
	uint64_t sched_asked_ms;         /* when it was last asked */
	bool in_job;                     /* progress is a sign of life, and no other stage */
	bool undo_pending;   /* the mode was to leave nothing shared, and something could not be undone yet */
	uint64_t kept_at_us; /* when what stays shared is counted again */
	bool leave_nothing;  /* the mode is to leave nothing shared: not of guests that come later, either */
	uint64_t retry_undo_at_us;
	uint64_t retry_undo_us; /* the wait before that try; 0: there was none in this mode */
	char undo_text[512];    /* why, as it was logged */
	struct job_queue looks; /* HS_JOB_LOOK, until a cycle with a look has ended */
	struct job_item *quit;  /* HS_JOB_QUIT, done; delivered when the pipeline has gone */

	/* ---- under `lock` ---- */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* a job has come; CLOCK_MONOTONIC */
	struct job_queue todo, finished;
	unsigned int nr_urgent, nr_patient;  /* jobs in todo */
	struct hs_scan_thread_snapshot snap; /* published; stage_ms and alive_ms hold moments, not ages */
	bool stop;                           /* hs_scan_thread_destroy */

	/* ---- main thread ---- */
	pthread_t thread;
	bool started;
	uint64_t nr_posted; /* jobs */
	int event_fd;
	sd_event_source *source;
};

enum scan_urgency {
	SCAN_URGENT_ONLY = 0, /* only jobs that may not wait */
	SCAN_ANY_JOB,         /* the coarse window and rests: any job */
	SCAN_NOTHING,         /* within a job: nothing but the end of the process */
};

/* ---- scan_thread.c ---- */

void hs_scan_thread_push(struct job_queue *q, struct job_item *item);
struct job_item *hs_scan_thread_pop(struct job_queue *q); /* NULL: none is there */

/* The pipeline's clock; ctx: the thread. */
uint64_t hs_scan_thread_clock_now_us(void *ctx);
int hs_scan_thread_clock_sleep_us(void *ctx, uint64_t us);

void *hs_scan_thread_run(void *arg);

/* A new pipeline with this configuration, in the thread's fleet. */
HS_MUST_USE int hs_scan_thread_pipeline(struct hs_pipeline **out, const struct hs_scan_thread *w,
					const struct hs_pipeline_config *cfg, struct hs_error *err);

/* ---- scan_jobs.c, and what it needs of the thread ---- */

bool hs_scan_thread_job_is_urgent(enum hs_job_kind kind);

/* Does one job; fills in rc and text. */
void hs_scan_thread_do_job(struct hs_scan_thread *w, struct job_item *item);

/* undo_pending, and retry_undo_at_us is over. */
void hs_scan_thread_retry_undo(struct hs_scan_thread *w);

/* Takes the engine when the mode wants it and it is not taken; what prevents it becomes the obstacle. */
void hs_scan_thread_try_engage(struct hs_scan_thread *w);

void hs_scan_thread_obstacle(struct hs_scan_thread *w, enum hs_reason reason, const char *text);
/* Follows the progress of the pipeline that is the thread's now. */
void hs_scan_thread_watch_pipeline(struct hs_scan_thread *w);

/* For what takes long within a job. */
void hs_scan_thread_sign_of_life(struct hs_scan_thread *w);

/* ---- scan_reports.c ---- */

void hs_scan_thread_publish(struct hs_scan_thread *w);

#endif
