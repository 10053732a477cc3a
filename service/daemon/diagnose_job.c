/*
 * Diagnose walks all processes of the host, and may have to wait for one of them: it has a thread of its own, one at a
 * time. The thread gets copies of all that it needs, and is done with them before an eventfd reports its end.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon_internal.h"
#include "service/common/diagnose.h"
#include "service/common/log.h"
#include "service/common/thread.h"

#define STOP_WAIT_S 3
#define MAX_WAITING 16 /* of the endpoint's connections, should a look hang */

struct hs_daemon_diagnosis {
	/* ---- given to the thread ---- */
	struct hs_host host;
	pid_t *pids; /* [nr_pids] */
	size_t nr_pids;
	struct hs_rules *rules;
	struct hs_discovery_process *known; /* [nr_pids]: the same, for the rules */
	struct diagnosed_domain {
		char name[HS_NAME_MAX];
		struct hs_rule_result result;
	} * domains; /* [nr_domains]: what rules say of them */
	size_t nr_domains;
	int event_fd;

	/* ---- the thread's, until event_fd reports its end ---- */
	int rc;
	char *text; /* JSON, when rc is 0 */
	struct hs_error err;

	/* ---- main thread ---- */
	struct hs_daemon *daemon;
	struct hs_thread_owned thread;
	sd_event_source *source;
	struct hs_done waiting[MAX_WAITING];
	size_t nr_waiting;
};

/* What the rules find, where there are some. */
static void add_found(const struct hs_daemon_diagnosis *x, json_t *json)
{
	const struct hs_discovery_request q = {
		.host = &x->host, .rules = x->rules, .known = x->known, .nr_known = x->nr_pids
	};
	json_t *found;

	if (!json || !hs_rules_nr(x->rules))
		return;
	found = hs_discovery_json(&q);
	for (size_t i = 0; found && i < x->nr_domains; i++)
		hs_discovery_json_domain(found, x->domains[i].name, &x->domains[i].result);
	(void)json_object_set_new(json, "discovery", found);
}

static void *look(void *arg)
{
	struct hs_daemon_diagnosis *x = arg;
	struct hs_finding *found = NULL;
	struct hs_probe probe;
	size_t nr = 0;
	json_t *json;

	(void)pthread_setname_np(pthread_self(), "hs-diagnose");
	hs_diagnose_probe(&x->host, &probe);
	x->rc = hs_diagnose(
	    &(struct hs_diagnose_request){ .host = &x->host, .probe = &probe, .pids = x->pids, .nr_pids = x->nr_pids },
	    &found, &nr, &x->err);
	if (!x->rc) {
		json = hs_diagnose_json(found, nr);
		add_found(x, json);
		x->text = json ? json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
		json_decref(json);
		if (!x->text)
			x->rc = hs_error_set(&x->err, -ENOMEM, "out of memory");
	}
	free(found);
	hs_thread_poke(x->event_fd);
	return NULL;
}

static void free_diagnosis(void *arg)
{
	struct hs_daemon_diagnosis *x = arg;

	if (x->event_fd >= 0)
		(void)close(x->event_fd);
	free(x->text);
	hs_rules_unref(x->rules);
	free(x->pids);
	free(x->known);
	free(x->domains);
	free(x);
}

static void let_go(struct hs_daemon_diagnosis *x)
{
	sd_event_source_disable_unref(x->source);
	hs_thread_let_go(&x->thread);
}

static void answer(struct hs_daemon_diagnosis *x, int rc, const char *text)
{
	const size_t nr = x->nr_waiting;

	x->nr_waiting = 0;
	for (size_t i = 0; i < nr; i++)
		x->waiting[i].fn(x->waiting[i].arg, rc, text);
}

static int on_end(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct hs_daemon_diagnosis *x = arg;

	(void)s;
	(void)fd;
	(void)revents;
	(void)hs_thread_wait(&x->thread, STOP_WAIT_S); /* it has said its last */
	if (x->rc)
		hs_log(HS_LOG_WARNING, "diagnose: %s", x->err.text);
	x->daemon->diagnosis = NULL;
	answer(x, x->rc, x->rc ? x->err.text : x->text);
	let_go(x);
	return 0;
}

static int wait_for(struct hs_daemon_diagnosis *x, struct hs_done done)
{
	if (x->nr_waiting == MAX_WAITING)
		return -EBUSY;
	x->waiting[x->nr_waiting++] = done;
	return 0;
}

/* The processes of the guests that are ours: their mergeable memory is no other's. And what rules say of domains. */
static int copy_guests(struct hs_daemon *d, struct hs_daemon_diagnosis *x)
{
	size_t nr = 0;

	for (struct hs_daemon_guest *g = d->guests; g; g = g->next)
		nr++;
	x->rules = hs_rules_ref(d->rules);
	x->pids = calloc(nr ? nr : 1, sizeof(*x->pids));
	x->known = calloc(nr ? nr : 1, sizeof(*x->known));
	x->domains = calloc(nr ? nr : 1, sizeof(*x->domains));
	if (!x->pids || !x->known || !x->domains)
		return -ENOMEM;
	for (struct hs_daemon_guest *g = d->guests; g; g = g->next) {
		if (g->pid && g->opt_in.on) {
			x->known[x->nr_pids] = (struct hs_discovery_process){ g->pid, g->start_ticks };
			x->pids[x->nr_pids++] = g->pid;
		}
		if (g->of_domain.found) {
			memcpy(x->domains[x->nr_domains].name, g->id, sizeof(g->id));
			x->domains[x->nr_domains++].result = g->of_domain;
		}
	}
	return 0;
}

static int start(struct hs_daemon *d, struct hs_daemon_diagnosis *x)
{
	int rc = copy_guests(d, x);

	x->daemon = d;
	x->host = d->host;
	x->event_fd = eventfd(0, EFD_CLOEXEC);
	if (!rc && x->event_fd < 0)
		rc = -errno;
	if (!rc)
		rc = sd_event_add_io(d->loop, &x->source, x->event_fd, EPOLLIN, on_end, x);
	if (rc < 0)
		return rc;
	x->thread.run = look;
	x->thread.release = free_diagnosis;
	x->thread.arg = x;
	return hs_thread_start_owned(&x->thread);
}

void hs_daemon_diagnose(struct hs_daemon *d, struct hs_done done)
{
	struct hs_daemon_diagnosis *x = d->diagnosis;
	int rc;

	if (x) {
		rc = wait_for(x, done);
	} else {
		x = calloc(1, sizeof(*x));
		rc = x ? wait_for(x, done) : -ENOMEM;
		if (!rc)
			rc = start(d, x);
		if (!rc)
			d->diagnosis = x;
		else if (x) {
			sd_event_source_disable_unref(x->source);
			free_diagnosis(x);
		}
	}
	if (rc)
		done.fn(done.arg, rc,
			rc == -EBUSY ? "the host is being looked at, and many wait for that: ask again later"
				     : "the host could not be looked at: no memory, or no thread, for it");
}

void hs_daemon_diagnose_stop(struct hs_daemon *d)
{
	struct hs_daemon_diagnosis *x = d->diagnosis;

	if (!x)
		return;
	d->diagnosis = NULL;
	answer(x, -ECANCELED, "hs-shared is about to end");
	d->left_thread |= !hs_thread_wait(&x->thread, STOP_WAIT_S); /* it waits for some process */
	let_go(x);
}
