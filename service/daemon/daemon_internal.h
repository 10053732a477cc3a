/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon: its event loop's thread knows the guests, the mode and the desired state of each; the scan's thread and
 * libvirt's do what takes time. All of struct hs_daemon belongs to the loop's thread.
 */
#ifndef HS_SERVICE_DAEMON_DAEMON_INTERNAL_H
#define HS_SERVICE_DAEMON_DAEMON_INTERNAL_H

#include <systemd/sd-event.h>

#define HASH_NONFATAL_OOM 1 /* what could not be put into a table has no table */
#include <uthash.h>
#include <utlist.h>

#include "pressure.h"
#include "config.h"
#include "service/discovery/discovery.h"
#include "service/endpoint/http.h"
#include "service/virt/virt.h"
#include "scan_thread.h"

/* What the scan's thread has of a guest. */
enum hs_guest_place {
	HS_PLACE_OUT = 0,
	HS_PLACE_COMING, /* HS_JOB_ADD is posted */
	HS_PLACE_IN,
	HS_PLACE_LEAVING, /* HS_JOB_REMOVE is posted */
};

/* One connection to libvirt. */
struct hs_daemon_link {
	struct hs_daemon *daemon;
	struct hs_virt *virt;
	char uri[sizeof(((struct hs_config *)NULL)->libvirt_uri)];
	bool up;
	char text[512]; /* the last thing that was said of it */
};

struct hs_daemon_guest {
	struct hs_daemon *daemon;
	struct hs_daemon_link *link; /* which has reported it; NULL: a process */
	char id[HS_NAME_MAX];
	char uuid[37];
	enum hs_guest_source source;
	pid_t pid;        /* 0: not running */
	uint64_t started; /* the process, as hs_start_time has it */
	int pid_fd;
	sd_event_source *end;                     /* watches pid_fd */
	struct hs_opt_in opt_in;                  /* the desired state, of the five below by hs_daemon_settle_opt_in */
	struct hs_opt_in in_metadata, by_request; /* the domain's own, and what was asked for of this process alone */
	bool has_element;                         /* in_metadata says so, be it to stay out */
	bool out_by_request;                      /* it was asked to stay out, whatever a rule says */
	struct hs_rule_result of_domain, of_process; /* what rules say of the domain, and of its process */
	uint64_t start_ticks;                        /* of the process, where a rule has found it */
	bool seen;                                   /* in the walk that is being looked through */
	struct hs_opt_in taken;                      /* as it was when the scan's thread got it */
	struct hs_obstacle obstacle;                 /* known before the scan's thread is asked */
	enum hs_guest_place place;
	size_t report_at;           /* among the scan thread's reports, last time */
	pid_t scan_pid;             /* the process that the scan's thread knows it by; 0: OUT */
	uint64_t last_job;          /* the number of the last one posted for it */
	bool lost;                  /* IN, but the scan's thread has it no more */
	bool undo;                  /* leaving: its sharing is undone first */
	struct hs_obstacle refusal; /* the scan's thread would not have it. When it is to be asked at once again,
					     only the reason is cleared: the same text is not logged a second time */
	uint64_t retry_at_us;       /* when it is asked again */
	char undo_text[512]; /* why its sharing, which is to be undone, could not be yet; "": it could, or is not to be
			      */
	bool left_checked;   /* what an earlier life left in it was looked for */
	bool forgotten;      /* to be freed when no job is under way */
	bool on_record;      /* there may be a record of what was asked for of its process */
	unsigned int jobs;   /* under way */
	struct hs_daemon_guest *prev, *next;         /* of all */
	struct hs_daemon_guest *due_prev, *due_next; /* of those that are due */
	bool is_due;                                 /* for reconcile */
	unsigned int counted;                        /* as what: enum below */
	UT_hash_handle by_id, by_uuid, by_pid;       /* .tbl NULL: it is not in that table */
};

enum { HS_COUNT_KNOWN = 1, HS_COUNT_OPTED_IN = 2, HS_COUNT_RUNNING = 4, HS_COUNT_UNDO = 8 };

/* A guest that was asked to stay out, by what names it for good: a domain's UUID, or the name that a rule gives it. */
struct hs_daemon_out {
	char key[HS_NAME_MAX];
	UT_hash_handle hh;
};

struct hs_daemon {
	struct hs_config cfg; /* as it was last read: cfg.mode is the file's, not the one that was asked for since */
	const char *config_path;
	bool config_named; /* on the command line: it has to be there */
	struct hs_host host;
	bool in_fleet; /* sketches are made, by: */
	struct hs_fleet_key fleet_key;
	sd_event *loop;
	int lock_fd, persistent_lock_fd;
	char persistent_dir[4096]; /* what is to last over a reboot; the state folder, where nothing is */
	struct hs_scan_thread *scan;
	struct hs_daemon_link links[HS_CONFIG_MAX_URIS];
	size_t nr_links;
	struct hs_http *http;
	struct hs_control control;
	struct hs_daemon_guest *guests, *due;             /* guests.c; reconcile.c */
	struct hs_daemon_guest *by_id, *by_uuid, *by_pid; /* of those that are not forgotten */
	bool all_due;                                     /* for reconcile */
	uint64_t lost_checked;                            /* reports up to this one have been */
	enum hs_mode mode, effective;
	char mode_reason[256];
	uint64_t nr_mode_changes;
	struct hs_pressure_state pressure_state;
	struct hs_pressure pressure;
	struct hs_rules *rules;                /* of cfg.rules */
	struct hs_daemon_walk *walk;           /* over the processes, under way; NULL: none */
	sd_event_source *discover;             /* begins the next one */
	unsigned int nr_refused[HS_RULES_MAX]; /* by each rule in the last one */
	char discover_text[512];               /* why the last one took somebody not in; "": it did */
	struct hs_daemon_out *outs;            /* opt_outs.c */
	bool outs_unknown;                     /* not all of them are known: a rule takes nobody in */
	bool outs_unreadable;                  /* their file has to be kept before a new one is written */
	struct hs_scan_thread_snapshot snap;
	bool silence_reported;         /* that the scan's thread hangs */
	struct hs_model model;         /* of the whole, made from all of this on demand */
	struct hs_model_counts counts; /* hs_daemon_guest_count; what is saved comes from the scan's thread */
	size_t nr_undo;                /* guests whose sharing is to be undone, and could not be yet */
	struct hs_model_guest asked;   /* the one that was asked for last */
	struct hs_history history;
	int64_t started_at_s;
	uint64_t started_us;
	sd_event_source *tick, *history_timer, *watchdog, *reconcile;
	uint64_t watchdog_us;
	struct hs_model_look look;
	struct hs_daemon_answers *answers;
	struct hs_daemon_store *store;
	struct hs_daemon_diagnosis *diagnosis; /* the one that is under way; NULL: none */
	bool off_undo;                         /* guests that leave because the mode is off: their sharing is undone */
	bool ending;
	uint64_t end_at_us; /* ending: it takes no longer */
	bool abandon;       /* the scan's thread does not come to its end: it is left */
	bool left_thread;   /* another than the scan's was left behind in a call that hangs */
};

/* ---- daemon.c ---- */

/* Runs until it is asked to end. `cfg` is as the file says; `mode`: the one to start in, named on the command line;
 * NULL: none was. Exit status. */
int hs_daemon_run(const struct hs_config *cfg, const enum hs_mode *mode, const char *config_path, bool config_named);

/* From the file that the configuration names. Errors of hs_secret_file_read; -EINVAL: it has no key. */
HS_MUST_USE int hs_daemon_fleet_key(const struct hs_config *cfg, struct hs_fleet_key *out, struct hs_error *err);

/* Ends the loop, in order. */
void hs_daemon_end(struct hs_daemon *d, const char *why);

/* ---- endpoint.c ---- */

HS_MUST_USE int hs_daemon_endpoint_start(struct hs_daemon *d, struct hs_error *err);
/* Reads the files of the port for other hosts again. *changed: they have something else than before. Negative: all is
 * as it was. Where `fresh` names other files, which a restart takes, those of before are left alone: they may be gone.
 */
HS_MUST_USE int hs_daemon_endpoint_reload(struct hs_daemon *d, const struct hs_config *fresh, bool *changed,
					  struct hs_error *err);
/* Valid as long as the configuration. */
struct hs_tls_files hs_config_tls_files(const struct hs_config *cfg);

/* ---- timers.c ---- */

#define HS_DAEMON_SILENT_MS 60000 /* 12 missed signs of life, or so long a piece of work as none should be */

/* Monotonic, of the loop's current turn. */
uint64_t hs_daemon_now_us(struct hs_daemon *d);

/* Negative errno: the loop takes no timer. */
HS_MUST_USE int hs_daemon_start_timers(struct hs_daemon *d);

/* Sets the timers anew after the configuration has changed. */
void hs_daemon_retime(struct hs_daemon *d);

/* The end has begun: asks systemd for time as long as it goes on, and leaves it when it takes too long, or hangs. */
void hs_daemon_watch_end(struct hs_daemon *d);

/* ---- guests.c ---- */

/* By name, UUID or "pid-N", which names a domain's process as well; NULL. */
struct hs_daemon_guest *hs_daemon_find(struct hs_daemon *d, const char *guest);
struct hs_daemon_guest *hs_daemon_find_id(struct hs_daemon *d, const char *id); /* by name alone */
struct hs_daemon_guest *hs_daemon_find_pid(struct hs_daemon *d, pid_t pid);

/* "pid-N": the number; 0: it is none. */
pid_t hs_daemon_named_pid(const char *guest);

/*
 * After something that opts it in or out has changed. What was asked for of this guest alone counts before any rule:
 * its element in libvirt's metadata that says to share, a request for its process, an element or a request to stay out;
 * then a rule for domains, then one for processes.
 */
void hs_daemon_settle_opt_in(struct hs_daemon_guest *g);

/* After something that counts has changed: whether it is known, opted in, running, or to be undone. */
void hs_daemon_guest_count(struct hs_daemon_guest *g);

/* One that is not running. NULL: out of memory. */
struct hs_daemon_guest *hs_daemon_guest_new(struct hs_daemon *d, enum hs_guest_source source, const char *id);
/* Without memory for it, it cannot be found by that: -ENOMEM of a UUID, a name is kept for display. */
void hs_daemon_guest_rename(struct hs_daemon_guest *g, const char *id);
HS_MUST_USE int hs_daemon_guest_set_uuid(struct hs_daemon_guest *g, const char *uuid);
/* It cannot be found any more, and is freed when no job is under way for it. */
void hs_daemon_guest_forget(struct hs_daemon_guest *g);
void hs_daemon_guest_free(struct hs_daemon_guest *g);
void hs_daemon_free_guests(struct hs_daemon *d);

/* Watches the guest's process from now on. 0 or -errno, then it counts as not running; pid 0: it does, 0. */
int hs_daemon_guest_set_pid(struct hs_daemon_guest *g, pid_t pid);

/* A process as guest: known from now on until it ends. -ESRCH no such process, -ENOMEM, -EINVAL. */
HS_MUST_USE int hs_daemon_guest_pid(struct hs_daemon *d, pid_t pid, struct hs_daemon_guest **out, struct hs_error *err);

/* ---- domains.c ---- */

extern const struct hs_virt_callbacks hs_daemon_virt_callbacks; /* ctx: struct hs_daemon_link */

/* Starts a thread for each connection of the configuration. */
HS_MUST_USE int hs_daemon_links_start(struct hs_daemon *d, struct hs_error *err);
void hs_daemon_links_stop(struct hs_daemon *d);

/* Of a domain that is known, or may be to one of the connections: asks one after the other. */
void hs_daemon_set_domain_opt_in(struct hs_daemon *d, const struct hs_daemon_guest *g, const char *domain,
				 const struct hs_opt_in_change *change, struct hs_done done);

/* ---- discover.c ---- */

/* The rules of the configuration are in effect from now on; the first walk begins at once, with the loop. */
HS_MUST_USE int hs_daemon_discover_start(struct hs_daemon *d, struct hs_error *err);
/* The configuration has changed. */
void hs_daemon_discover_again(struct hs_daemon *d);
void hs_daemon_discover_stop(struct hs_daemon *d);

/* ---- opt_outs.c ---- */

/* What was asked for of a guest that comes and goes. An opt-out lasts until it is opted in by request. */
bool hs_daemon_is_out(const struct hs_daemon *d, const struct hs_daemon_guest *g);
bool hs_daemon_is_named_for_good(const struct hs_daemon_guest *g); /* not by a process alone */
/* `done`: when that is stored, as hs_daemon_store_put has it; at once where nothing names the guest for good, and so
 * nothing is stored but the record of its process (opt_ins.c), or where nothing changed. */
void hs_daemon_set_out(struct hs_daemon_guest *g, bool out, struct hs_done done);
/* Of a guest that is not known now, by what names it. */
void hs_daemon_out_add(struct hs_daemon *d, const char *key);
void hs_daemon_load_outs(struct hs_daemon *d);
/* Somebody may have been asked to stay out, and `why` it is not known who. */
void hs_daemon_outs_are_unknown(struct hs_daemon *d, const char *why);
void hs_daemon_free_outs(struct hs_daemon *d);

/* ---- opt_ins.c: what was asked for of processes, a record each ---- */

/* Puts the guest's record on the disk, as it is now, or removes it where there is nothing to record. -errno. */
HS_MUST_USE int hs_daemon_record_opt_in(struct hs_daemon_guest *g);
/* Its process has ended, or what was asked for is kept elsewhere. */
void hs_daemon_forget_opt_in(struct hs_daemon_guest *g);
/* Takes up the guests that are on record. A record of another process, or of another boot, goes. */
void hs_daemon_load_opt_ins(struct hs_daemon *d);

/* ---- reconcile.c ---- */

/* Brings what the scan's thread has in line with the desired state: of one guest, or of all; soon, not now. */
void hs_daemon_guest_due(struct hs_daemon_guest *g);
void hs_daemon_reconcile_soon(struct hs_daemon *d);
/* Of all, now; of what is due. */
void hs_daemon_reconcile(struct hs_daemon *d);
void hs_daemon_reconcile_due(struct hs_daemon *d);

/* ---- requests.c: as struct hs_control has them; ctx: the daemon ---- */

void hs_daemon_request_opt_in(void *ctx, const char *guest, const struct hs_opt_in_change *change, struct hs_done done);
void hs_daemon_request_opt_out(void *ctx, const char *guest, struct hs_done done);
void hs_daemon_request_unshare(void *ctx, const char *guest, struct hs_done done);

/* ---- control.c ---- */

void hs_daemon_control_init(struct hs_daemon *d);

/* Sets what is done now. `why` is kept for the statistics. */
void hs_daemon_set_effective(struct hs_daemon *d, enum hs_mode effective, enum hs_after after, const char *why,
			     struct hs_done done);

/* Sets the mode, as it is from now on in the configuration or by request. */
void hs_daemon_set_mode(struct hs_daemon *d, enum hs_mode mode, enum hs_after after, struct hs_done done);

/* Mode auto: reads the pressure and switches. In any mode it keeps the readings for the statistics. */
void hs_daemon_poll_pressure(struct hs_daemon *d);

/* What becomes of the sharing when a request for this mode does not say: to look instead of to share undoes nothing by
 * itself; off does as configured. ctx: the daemon. */
enum hs_after hs_daemon_after_default(void *ctx, enum hs_mode mode);

/* ---- reload.c ---- */

/* Reads the configuration again. Done when it is in effect: the text says what changed, or why nothing did. */
void hs_daemon_reload(struct hs_daemon *d, struct hs_done done);

/* ---- mode.c ---- */

/* A request for a mode: the next start knows of it, unless the configuration forbids that. ctx: the daemon. */
void hs_daemon_request_mode(void *ctx, enum hs_mode mode, enum hs_after after, struct hs_done done);

/* The configuration names another mode now: no request of before counts any more. */
void hs_daemon_forget_mode(struct hs_daemon *d);

/* What becomes of what an earlier life left shared, when the configuration alone says in which mode to start. */
enum hs_after hs_daemon_after_start(const struct hs_daemon *d, enum hs_mode mode);

/* Starts in the mode that was named (NULL: none), or was asked for in an earlier life, or is configured. */
void hs_daemon_start_mode(struct hs_daemon *d, const enum hs_mode *named);

/* ---- diagnose_job.c ---- */

/* Looks at the host on a thread of its own. Who asks meanwhile gets the same answer. */
void hs_daemon_diagnose(struct hs_daemon *d, struct hs_done done);
/* Ends it: who waits is answered with -ECANCELED; a look that hangs is left behind. */
void hs_daemon_diagnose_stop(struct hs_daemon *d);

/* ---- look_job.c ---- */

/* As struct hs_control has it; ctx: the daemon. In mode off the guests are taken in for it, and leave afterwards. */
void hs_daemon_look(void *ctx, struct hs_done done);

/* ---- answers.c ---- */

HS_MUST_USE int hs_daemon_answers_start(struct hs_daemon *d, struct hs_error *err);
/* As struct hs_control has it. */
void hs_daemon_answer(struct hs_daemon *d, const struct hs_work *work);
/* Ends what waits; nothing is taken any more. */
void hs_daemon_answers_stop(struct hs_daemon *d);

/* ---- model_fill.c ---- */

/* What is known now of the whole: its cost does not grow with the number of guests, but where something has changed. */
const struct hs_model *hs_daemon_model(struct hs_daemon *d);
/* Of one guest, by any of its names; NULL: there is none. Valid until the loop goes on. */
const struct hs_model_guest *hs_daemon_model_guest(struct hs_daemon *d, const char *guest);
/*
 * Of the whole and of each guest, in no order, texts as they are. *room: of m->guests, which grows; without memory for
 * it there are none. The guests' reports are those of d->snap: who lends the model holds them.
 */
void hs_daemon_fill_model(struct hs_daemon *d, struct hs_model *m, size_t *room);
/* Its texts, which may quote names and files, are fit to be told from then on. On any thread. */
void hs_daemon_mend_guest(struct hs_model_guest *m);
HS_MUST_USE int hs_daemon_history_init(struct hs_daemon *d);
void hs_daemon_history_add(struct hs_daemon *d);

/* ---- store.c: what lasts over a reboot ---- */

HS_MUST_USE int hs_daemon_store_start(struct hs_daemon *d, struct hs_error *err);
/*
 * Puts the text in place of what the file holds, on a thread of its own; takes it over. text NULL: removes the file.
 * What comes while the disk is at work is written together with all else that came, of one file the last. `done`, which
 * may have no function: when it is on the disk, or was refused by it (-errno, the text names the file).
 */
void hs_daemon_store_put(struct hs_daemon *d, const char *name, char *text, struct hs_done done);
/* The same with JSON, which is let go; NULL: there was no memory for it. */
void hs_daemon_store_json(struct hs_daemon *d, const char *name, json_t *what, struct hs_done done);
/* What the file holds, or held in the state folder of an earlier version. NULL: there is none; or it cannot be read,
 * and *why says so, a new text. */
json_t *hs_daemon_store_load(struct hs_daemon *d, const char *name, char why[512]);
/* Writes what waits, for a few seconds at most. */
void hs_daemon_store_stop(struct hs_daemon *d);

/* ---- lock.c ---- */

/* One daemon a folder: -EBUSY names the process that has it. *fd keeps it. */
HS_MUST_USE int hs_daemon_lock(const char *dir, int *fd, struct hs_error *err);

#endif
