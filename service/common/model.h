/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon knows, as plain records: filled in by the daemon's main thread, read by the endpoint. No function
 * here looks anything up; what is not known says so.
 */
#ifndef HS_SERVICE_COMMON_MODEL_H
#define HS_SERVICE_COMMON_MODEL_H

#include <jansson.h>

#include "hs/pipeline.h"

#define HS_NAME_MAX                                                                                                    \
	128 /* a guest's name with its end; libvirt's own are shorter in practice, longer ones are refused */
#define HS_GROUP_MAX 64 /* a trust group's name with its end */

enum hs_mode { HS_MODE_OFF = 0, HS_MODE_OBSERVE, HS_MODE_SAVE, HS_MODE_AUTO, HS_NR_MODES };

/* "off", "observe", "save", "auto". */
const char *hs_mode_name(enum hs_mode mode);
/* -EINVAL: no such mode. */
HS_MUST_USE int hs_mode_parse(const char *name, enum hs_mode *out);

/* What happens to what is shared when work on it ends (mode off, the daemon's end). */
enum hs_after { HS_AFTER_KEEP = 0, HS_AFTER_UNDO };

/* The desired state of a guest, from its metadata or a request. */
struct hs_opt_in {
	bool on;
	char group[HS_GROUP_MAX];  /* letters, digits, '.', '_', '-'; never empty: "default" */
	uint64_t max_shared_bytes; /* share at most so much of it; 0: no limit */
	uint8_t scope;             /* enum hs_scope; it counts where it is stricter than the configuration's */
};

/* What a request changes of it: what it does not name stays as it is. */
struct hs_opt_in_change {
	bool on;
	bool has_group, has_max_shared, has_scope; /* the request names it */
	char group[HS_GROUP_MAX];
	uint64_t max_shared_bytes;
	bool stay_off; /* out, whatever a rule says: it is written down as such */
	uint8_t scope;
};
/* "group", "guest", "zero" of enum hs_scope; -EINVAL: there is no such name. */
const char *hs_opt_in_scope_name(uint8_t scope);
HS_MUST_USE int hs_opt_in_scope_parse(const char *name, uint8_t *scope);

void hs_opt_in_apply(struct hs_opt_in *opt_in, const struct hs_opt_in_change *change);

/*
 * Makes text that quotes names or files fit to be told, in the log, in JSON, in labels, on a terminal: ends it before a
 * character that was cut, so that it is whole UTF-8 again; control characters, line breaks among them, and other bytes
 * that are no text become '?'.
 */
void hs_text_mend(char *text);

/* True when `group` may name a trust group. */
bool hs_group_valid(const char *group);

/* Bytes of a size as configuration, metadata and rules have it: digits, and K, M, G or T (of 1024) or nothing behind
 * them. -EINVAL: it is none, or does not fit; *out stays. */
HS_MUST_USE int hs_size_parse(uint64_t *out, const char *text);

enum hs_guest_source { HS_SOURCE_LIBVIRT = 0, HS_SOURCE_PID };

enum hs_guest_state {
	HS_GUEST_NOT_RUNNING = 0,
	HS_GUEST_NOT_OPTED_IN,
	HS_GUEST_WAITING,  /* opted in; taken up at the end of the running cycle, or when the mode is not off */
	HS_GUEST_OBSERVED, /* scanned and digested; nothing is changed */
	HS_GUEST_SHARING,  /* the merge engine has it */
	HS_GUEST_LEAVING,  /* its sharing is being undone */
	HS_GUEST_REFUSED,  /* it cannot be shared: see reason */
	HS_NR_GUEST_STATES
};
const char *hs_guest_state_name(enum hs_guest_state state); /* "not running", "waiting", ... */

/* Why nothing is shared of a guest: one word for programs, HS_REASON_NONE when there is no obstacle. */
enum hs_reason {
	HS_REASON_NONE = 0,
	HS_REASON_NOT_RUNNING,
	HS_REASON_NOT_OPTED_IN,
	HS_REASON_MODE_OFF,
	HS_REASON_OBSERVE_ONLY,
	HS_REASON_NOSHAREPAGES,  /* libvirt's veto */
	HS_REASON_SHARED_MEMORY, /* memfd or file: KSM cannot merge it */
	HS_REASON_HUGETLBFS,
	HS_REASON_PASSTHROUGH, /* a device is passed through, or its memory is pinned otherwise */
	HS_REASON_TOO_SMALL,   /* no piece of memory that counts as guest memory */
	HS_REASON_NO_PERMISSION,
	HS_REASON_NO_DESCRIPTORS,  /* the service may open no more files for guests */
	HS_REASON_NO_FEATURE,      /* the kernel, or this kind of guest, lacks what is needed */
	HS_REASON_BAD_METADATA,    /* our element in the domain's metadata cannot be understood */
	HS_REASON_NO_PROCESS,      /* the domain's process cannot be told for sure */
	HS_REASON_FOREIGN,         /* mergeable memory of others on this host: ksmd may not run */
	HS_REASON_KSM_BUSY,        /* somebody else drives KSM */
	HS_REASON_LEARNING,        /* not watched for long enough yet */
	HS_REASON_NO_MAPPINGS,     /* its own mappings leave none within the budget: nothing can be marked */
	HS_REASON_OVERCOMMIT,      /* nothing further is shared: ending it all would take more memory than it may */
	HS_REASON_NOTHING_TO_GAIN, /* watched, and nothing cold is identical to anything */
	HS_REASON_UNDO_PENDING,    /* its sharing is to be undone, and could not be yet: see the text */
	HS_REASON_TROUBLE,         /* something else: see the text */
	HS_NR_GUEST_REASONS
};
const char *hs_guest_reason_name(enum hs_reason reason); /* "nosharepages", "shared-memory", ... */

/* An obstacle by the word for it: what stands in the way of a guest or of the whole. HS_REASON_NONE: nothing does. */
void hs_model_obstacle_set(struct hs_obstacle *o, enum hs_reason reason, const char *text);

struct hs_model_guest {
	char id[HS_NAME_MAX]; /* what requests call it: the domain's name, or "pid-1234" */
	char uuid[37];        /* libvirt's; "" for a process */
	enum hs_guest_source source;
	pid_t pid; /* 0: not running */
	struct hs_opt_in opt_in;
	char rule[64]; /* of the configuration, that opts it in; "": none does */
	uint8_t scope; /* enum hs_scope: what holds, the configuration's or its own */
	enum hs_guest_state state;
	struct hs_obstacle obstacle;          /* why nothing is shared of it; "reason" to who asks */
	const struct hs_guest_report *report; /* NULL: the pipeline has not looked at it; not the model's own */
};

/* Of a guest without a report: all zero. */
const struct hs_guest_report *hs_model_report(const struct hs_model_guest *g);

/* The look into hot huge pages that was asked for last. */
enum hs_look_state { HS_LOOK_NONE = 0, HS_LOOK_WAITING, HS_LOOK_DONE, HS_LOOK_FAILED, HS_NR_LOOK_STATES };
const char *hs_look_state_name(enum hs_look_state state); /* "none", "under way", "done", "failed" */
struct hs_model_look {
	enum hs_look_state state;
	int64_t asked_at_s, ended_at_s; /* Unix time; 0: it was not, it has not */
	char text[512];                 /* why it failed */
	json_t *report;                 /* what /v1/report answered at its end; NULL: it is not done */
};

/* A connection to libvirt. */
#define HS_MODEL_MAX_LINKS 8
struct hs_model_link {
	char uri[512];
	bool connected;
	char text[512]; /* the last thing that was said of it */
};

/* Over all guests. */
struct hs_model_counts {
	size_t nr_known, nr_opted_in;
	size_t nr_running; /* all but those whose state is HS_GUEST_NOT_RUNNING */
	size_t nr_sharing; /* something is saved of them */
	uint64_t could_save_bytes, could_save_at_most_bytes;
};

struct hs_model {
	const char *version;
	int64_t started_at_s; /* Unix time */
	uint64_t uptime_ms;
	enum hs_mode mode;           /* as set */
	enum hs_mode effective;      /* never AUTO: what is done now */
	char mode_reason[256];       /* why: "set by request", "auto: 8 % of memory available, below 20 %" */
	uint64_t nr_mode_changes;    /* of the effective mode, since the start */
	bool engaged;                /* KSM is ours now */
	struct hs_obstacle obstacle; /* what keeps the whole from sharing; "trouble" to who asks */
	char undo_pending[512];      /* what was to be unshared and could not be yet, and why; "": nothing */
	uint8_t scope;               /* enum hs_scope, of all guests */
	bool has_kept;               /* not while KSM is ours: then what is shared is in the totals */
	struct hs_share_kept kept;   /* what stays shared, and nobody follows */
	const char *stage;           /* what the scan does now: "coarse", "rest", "idle", ... */
	uint64_t stage_ms;           /* for how long */
	uint64_t silent_ms;          /* since the scan's thread last gave a sign of life */
	uint64_t cycles;
	uint64_t last_cycle_ms;
	struct hs_model_link links[HS_MODEL_MAX_LINKS];
	size_t nr_links; /* 0: no libvirt is configured */
	uint64_t memory_total_bytes, memory_available_bytes;
	double psi_some_avg10;                    /* percent; negative: the kernel does not say */
	uint64_t scan_cpu_us, process_cpu_us;     /* of the scan's thread; of the whole process */
	uint64_t rss_bytes;                       /* of the daemon */
	uint64_t nr_descriptors, max_descriptors; /* of the daemon, open and allowed; 0: unknown */
	bool has_tls;                             /* there is a port for other hosts: */
	int64_t certificate_expires_s;            /* its certificate, Unix time */
	uint64_t nr_unauthorized;                 /* requests without its token */
	struct hs_model_look look;
	char sketch_key[HS_FLEET_KEY_NAME_MAX]; /* what the key of the guests' sketches is called; "": none are made */
	bool has_totals;
	struct hs_pipeline_totals totals;
	bool has_ksm;
	struct hs_ksm_counters ksm;
	struct hs_model_counts counts;
	struct hs_model_guest *guests; /* [nr_guests], sorted by id; only in the model of struct hs_work */
	size_t nr_guests;
};

/* One point of the history, taken at a fixed resolution. */
struct hs_history_point {
	int64_t at_s; /* Unix time */
	uint8_t mode; /* enum hs_mode, effective */
	uint32_t nr_guests, nr_sharing;
	uint64_t saved_bytes;
	int64_t net_saved_bytes;
	uint64_t could_save_bytes;
	uint64_t memory_available_bytes;
	uint64_t process_cpu_us, ksmd_cpu_us; /* since the start */
};

/* More points than that the configuration may not ask for: 6.9 MiB. A day of seconds fits. */
#define HS_HISTORY_MAX_POINTS 100000

/* The last hours. points[(first + i) % room] for i in 0 .. nr - 1, oldest first. */
struct hs_history {
	struct hs_history_point *points; /* [room] */
	size_t room, first, nr;
	uint64_t taken; /* points since the start of the service, which have their number by that; nr or more */
	int64_t started_at_s;
	uint32_t resolution_s; /* never 0 */
};

/* It was accepted, and what it asks for does not hold yet; the text says why. It goes on by itself. */
#define HS_DONE_UNDER_WAY 1

/* How a request that takes a while ends: called exactly once, on the main thread, at once or later. */
struct hs_done {
	/* rc 0, HS_DONE_UNDER_WAY, or -errno, each but the first with a sentence for a person */
	void (*fn)(void *arg, int rc, const char *text);
	void *arg;
};

/* An answer that grows with the number of guests: put together from the model on a thread of its own. */
struct hs_work {
	void (*run)(void *arg, const struct hs_model *m); /* on that thread */
	/* On the main thread; false: it was not run, there is no memory or the end has come. Called exactly once. */
	void (*done)(void *arg, bool was_run);
	void *arg;
};

/* What the endpoint asks of the daemon; all on the main thread. Text arguments are copied where they are kept. */
struct hs_control {
	void *ctx;
	/* Valid until the loop goes on; of the whole, without the guests. */
	const struct hs_model *(*model)(void *ctx);
	/* By a domain's name or UUID, or "pid-N". NULL: no such guest. Valid as long. */
	const struct hs_model_guest *(*guest)(void *ctx, const char *guest);
	const struct hs_history *(*history)(void *ctx);
	/* Has it run soon, with the model of then. */
	void (*work)(void *ctx, const struct hs_work *work);
	void (*set_mode)(void *ctx, enum hs_mode mode, enum hs_after after, struct hs_done done);
	/* What becomes of the sharing when a request for this mode does not say. */
	enum hs_after (*after_default)(void *ctx, enum hs_mode mode);
	/* `guest`: a domain's name or UUID, "pid-N". A pid that is no guest yet becomes one. -ENOENT: no such guest. */
	void (*opt_in)(void *ctx, const char *guest, const struct hs_opt_in_change *change, struct hs_done done);
	/* Ends when the new state is stored; undoing the sharing goes on in steps (the guest's state says LEAVING). */
	void (*opt_out)(void *ctx, const char *guest, struct hs_done done);
	/* Undoes what is shared now; guest NULL: of all. The guest may be shared again in a later cycle. */
	void (*unshare)(void *ctx, const char *guest, struct hs_done done);
	/* Looks into hot huge pages that promise a gain, in any mode, and shares nothing for it. HS_DONE_UNDER_WAY at
	 * once: the model's look has what comes of it. */
	void (*look)(void *ctx, struct hs_done done);
	/* Reads the configuration again; the text says what changed. */
	void (*reload)(void *ctx, struct hs_done done);
	/* What stands in the way on this host. Takes a while; ends with rc 0 and, as text, what hs_diagnose_json makes.
	 */
	void (*diagnose)(void *ctx, struct hs_done done);
};

#endif
