/* The scan thread's own structure, shared by its two files. */
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

struct hs_worker {
	/* ---- the thread's own ---- */
	struct hs_worker_config cfg;
	struct hs_clock clock;
	struct hs_pipeline *pipeline; /* NULL only when even creating it failed */
	enum hs_mode effective;
	uint64_t retry_engage_at_us;
	uint64_t rest_ms;
	uint64_t nr_done;            /* jobs */
	int urgency;                 /* what may interrupt the running stage: enum worker_urgency */
	enum hs_place place;         /* among the host's threads */
	struct hs_priority priority; /* which of them, while the work may wait */
	uint64_t place_ms;           /* when it was last asked */
	bool in_job;                 /* progress is a sign of life, and no other stage */
	bool undo_owed;              /* the mode was to leave nothing shared, and something could not be undone yet */
	uint64_t retry_undo_at_us;
	uint64_t retry_undo_us; /* the wait before that try; 0: there was none in this mode */
	char undo_text[512];    /* why, as it was logged */
	struct job_item *quit;  /* HS_JOB_QUIT, done; delivered when the pipeline has gone */

	/* ---- under `lock` ---- */
	pthread_mutex_t lock;
	pthread_cond_t wake; /* a job has come; CLOCK_MONOTONIC */
	struct job_queue todo, finished;
	unsigned int nr_urgent, nr_patient; /* jobs in todo */
	struct hs_worker_snapshot snap;     /* published; stage_ms and alive_ms hold moments, not ages */
	bool stop;                          /* hs_worker_destroy */

	/* ---- main thread ---- */
	pthread_t thread;
	bool started;
	uint64_t nr_posted; /* jobs */
	int event_fd;
	sd_event_source *source;
};

enum worker_urgency {
	WORKER_URGENT_ONLY = 0, /* only jobs that may not wait */
	WORKER_ANY_JOB,         /* the coarse window and rests: any job */
	WORKER_NOTHING,         /* within a job: nothing but the end of the process */
};

bool hs_worker_job_is_urgent(enum hs_job_kind kind);

/* Does one job; fills in rc and text. */
void hs_worker_do_job(struct hs_worker *w, struct job_item *item);

/* undo_owed, and retry_undo_at_us is over. */
void hs_worker_retry_undo(struct hs_worker *w);

/* Takes the engine when the mode wants it and it is not taken; what prevents it becomes the trouble. */
void hs_worker_try_engage(struct hs_worker *w);

void hs_worker_trouble(struct hs_worker *w, enum hs_reason reason, const char *text);
/* Follows the progress of the pipeline that is the worker's now. */
void hs_worker_watch_pipeline(struct hs_worker *w);

/* For what takes long within a job. */
void hs_worker_sign_of_life(struct hs_worker *w);

void hs_worker_publish(struct hs_worker *w);

#endif
