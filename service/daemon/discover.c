/*
 * Guests that rules find among the processes: looked for on a thread of its own, one walk at a time, at an interval.
 * The thread gets copies of all that it needs, and is done with them before an eventfd reports its end; who is a guest
 * is decided here, on the main thread.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/procstat.h"
#include "service/common/log.h"
#include "service/common/thread.h"

#define STOP_WAIT_S 3
#define SILENT_US   (60 * UINT64_C(1000000)) /* a walk takes milliseconds */

struct hs_daemon_walk {
	/* ---- given to the thread ---- */
	struct hs_host host;
	struct hs_rules *rules;
	struct hs_discovery_process *known; /* [nr_known] */
	size_t nr_known;
	int event_fd;

	/* ---- the thread's, until event_fd reports its end ---- */
	int rc;
	struct hs_discovery_guest *guest; /* [nr] */
	size_t nr;
	bool complete;
	struct hs_error err;

	/* ---- main thread ---- */
	struct hs_daemon *daemon;
	struct hs_thread_owned thread;
	sd_event_source *source;
	uint64_t begun_us;
	bool silence_reported;
};

static void *walk(void *arg)
{
	struct hs_daemon_walk *x = arg;

	(void)pthread_setname_np(pthread_self(), "hs-discover");
	x->rc = hs_discovery_walk(
	    &(struct hs_discovery_request){
		.host = &x->host, .rules = x->rules, .known = x->known, .nr_known = x->nr_known },
	    &x->guest, &x->nr, &x->complete, &x->err);
	hs_thread_poke(x->event_fd);
	return NULL;
}

static void free_walk(void *arg)
{
	struct hs_daemon_walk *x = arg;

	if (x->event_fd >= 0)
		(void)close(x->event_fd);
	hs_rules_unref(x->rules);
	free(x->known);
	free(x->guest);
	free(x);
}

static void let_go(struct hs_daemon_walk *x)
{
	sd_event_source_disable_unref(x->source);
	hs_thread_let_go(&x->thread);
}

/* ---- who is a guest now ---- */

/* A name that another guest has stands for that one. */
static void set_name(struct hs_daemon_guest *g, const char *name)
{
	if (g->source != HS_SOURCE_PID || !name[0] || strcmp(g->id, name) == 0)
		return;
	if (hs_daemon_find(g->daemon, name)) {
		if (hs_daemon_named_pid(g->id) && !g->of_process.found)
			hs_log(HS_LOG_WARNING, "guest %s: the name %s, which rule %s gives it, is another guest's",
			       g->id, name, g->of_process.rule);
		return;
	}
	hs_daemon_guest_rename(g, name);
}

static void set_result(struct hs_daemon_guest *g, const struct hs_rule_result *result)
{
	const bool was_on = g->opt_in.on;

	if (memcmp(&g->of_process, result, sizeof(*result)) == 0)
		return;
	set_name(g, result->name);
	g->of_process = *result;
	/* Until it is asked for by request again, one of this name stays out. */
	g->out_by_request = g->out_by_request || hs_daemon_is_out(g->daemon, g);
	hs_daemon_settle_opt_in(g);
	g->refusal.reason = HS_REASON_NONE;
	g->retry_at_us = 0;
	if (g->opt_in.on && !was_on)
		hs_log(HS_LOG_INFO, "guest %s (process %d) is opted in by rule %s, group %s", g->id, (int)g->pid,
		       result->rule, g->opt_in.group);
	else if (!g->opt_in.on && was_on)
		hs_log(HS_LOG_INFO, "guest %s (process %d) is found by no rule any more: it is opted out", g->id,
		       (int)g->pid);
}

static void take(struct hs_daemon *d, const struct hs_discovery_guest *found)
{
	struct hs_daemon_guest *g = NULL;
	struct hs_error err = { "" };
	int rc = hs_daemon_guest_pid(d, found->process.pid, &g, &err);

	if (rc == -ESRCH)
		return;
	if (rc) {
		if (strcmp(d->discover_text, err.text) != 0)
			hs_log(HS_LOG_WARNING, "process %d, found by rule %s, is not taken in: %s",
			       (int)found->process.pid, found->result.rule, err.text);
		(void)snprintf(d->discover_text, sizeof(d->discover_text), "%s", err.text);
		return;
	}
	/* Its process is held by now: if that has the start that was seen, it is the one that was looked at. */
	if (hs_start_time(&d->host, found->process.pid) != found->process.start_ticks) {
		if (g->source == HS_SOURCE_PID && !g->by_request.on && !g->of_process.found)
			hs_daemon_guest_forget(g);
		return;
	}
	g->seen = true;
	g->start_ticks = found->process.start_ticks;
	set_result(g, &found->result);
}

/* `all`: nobody was passed over for want of memory, so that who is missing is a guest by rule no more. */
static void look_through(struct hs_daemon *d, const struct hs_discovery_guest *found, size_t nr, bool all)
{
	static const struct hs_rule_result none;
	unsigned int refused[HS_RULES_MAX] = { 0 };

	for (struct hs_daemon_guest *g = d->guests; g; g = g->next)
		g->seen = false;
	for (size_t i = 0; i < nr; i++) {
		for (size_t r = 0; r < hs_rules_nr(d->rules) && found[i].result.refused[0]; r++)
			refused[r] += strcmp(hs_rules_name(d->rules, r), found[i].result.rule) == 0;
		if (!found[i].result.refused[0])
			take(d, &found[i]);
	}
	for (struct hs_daemon_guest *g = d->guests; g && all; g = g->next)
		if (!g->seen && g->of_process.found)
			set_result(g, &none);
	/* Not each by itself: anybody can start programs. */
	for (size_t r = 0; r < hs_rules_nr(d->rules); r++) {
		if (refused[r] && refused[r] != d->nr_refused[r])
			hs_log(HS_LOG_INFO,
			       "rule %s: %u processes look like guests and are not taken in; `hs-share diagnose` says "
			       "why of each",
			       hs_rules_name(d->rules, r), refused[r]);
		d->nr_refused[r] = refused[r];
	}
	hs_daemon_reconcile_soon(d);
}

/* ---- walks ---- */

static void next_walk(struct hs_daemon *d, uint64_t in_us)
{
	(void)sd_event_source_set_time_relative(d->discover, in_us);
	(void)sd_event_source_set_enabled(d->discover, SD_EVENT_ONESHOT);
}

static int on_end(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct hs_daemon_walk *x = arg;
	struct hs_daemon *d = x->daemon;

	(void)s;
	(void)fd;
	(void)revents;
	(void)hs_thread_wait(&x->thread, STOP_WAIT_S); /* it has said its last */
	d->walk = NULL;
	if (x->silence_reported)
		hs_log(HS_LOG_WARNING, "the look for guests by rules has ended");
	if (x->rc)
		hs_log(HS_LOG_WARNING, "guests that rules find: %s", x->err.text);
	/* The rules may be others by now: then the next walk is under way at once. */
	else if (x->rules == d->rules && !d->ending)
		look_through(d, x->guest, x->nr, x->complete);
	let_go(x);
	return 0;
}

static int begin(struct hs_daemon *d)
{
	struct hs_daemon_walk *x = calloc(1, sizeof(*x));
	size_t nr = 0;
	int rc = 0;

	if (!x)
		return -ENOMEM;
	for (const struct hs_daemon_guest *g = d->guests; g; g = g->next)
		nr++;
	x->daemon = d;
	x->host = d->host;
	x->rules = hs_rules_ref(d->rules);
	x->thread.run = walk;
	x->thread.release = free_walk;
	x->thread.arg = x;
	x->begun_us = hs_daemon_now_us(d);
	x->known = calloc(nr ? nr : 1, sizeof(*x->known));
	x->event_fd = eventfd(0, EFD_CLOEXEC);
	for (const struct hs_daemon_guest *g = d->guests; x->known && g; g = g->next)
		if (g->pid && g->of_process.found)
			x->known[x->nr_known++] = (struct hs_discovery_process){ g->pid, g->start_ticks };
	if (!x->known)
		rc = -ENOMEM;
	else if (x->event_fd < 0)
		rc = -errno;
	if (!rc)
		rc = sd_event_add_io(d->loop, &x->source, x->event_fd, EPOLLIN, on_end, x);
	if (rc >= 0)
		rc = hs_thread_start_owned(&x->thread);
	if (rc < 0) {
		sd_event_source_disable_unref(x->source);
		free_walk(x);
	} else {
		d->walk = x;
	}
	return rc < 0 ? rc : 0;
}

static int on_time(sd_event_source *s, uint64_t us, void *arg)
{
	struct hs_daemon *d = arg;
	int rc = 0;

	(void)s;
	(void)us;
	if (d->ending || !hs_rules_of_processes(d->rules))
		return 0;
	if (!d->walk) {
		rc = begin(d);
		if (rc)
			hs_log(HS_LOG_WARNING, "guests that rules find are not looked for now: %s", strerror(-rc));
	} else if (hs_daemon_now_us(d) - d->walk->begun_us > SILENT_US && !d->walk->silence_reported) {
		hs_log(HS_LOG_ERROR,
		       "the look for guests by rules hangs: /proc/%d/task/*/stack of the thread hs-discover shows "
		       "what it waits for in the kernel. Guests that are known stay as they are",
		       (int)getpid());
		d->walk->silence_reported = true;
	}
	next_walk(d, d->cfg.discover_interval_s * UINT64_C(1000000));
	return 0;
}

int hs_daemon_discover_start(struct hs_daemon *d, struct hs_error *err)
{
	int line, rc = hs_rules_compile(&d->rules, &d->cfg.rules, &line, err);

	if (rc)
		return rc;
	rc = sd_event_add_time_relative(d->loop, &d->discover, CLOCK_MONOTONIC, 0, 0, on_time, d);
	return rc < 0 ? hs_error_set(err, rc, "cannot set a timer: %s", strerror(-rc)) : 0;
}

void hs_daemon_discover_again(struct hs_daemon *d)
{
	struct hs_rules *rules = NULL;
	struct hs_error err = { "" };
	int line;

	if (hs_rules_compile(&rules, &d->cfg.rules, &line, &err)) {
		hs_log(HS_LOG_ERROR, "the rules stay as they were: %s", err.text);
		return;
	}
	hs_rules_unref(d->rules);
	d->rules = rules;
	for (size_t i = 0; i < d->nr_links; i++)
		hs_virt_set_rules(d->links[i].virt, rules);
	if (!hs_rules_of_processes(rules))
		look_through(d, NULL, 0, true);
	next_walk(d, 0);
}

void hs_daemon_discover_stop(struct hs_daemon *d)
{
	struct hs_daemon_walk *x = d->walk;

	d->discover = sd_event_source_disable_unref(d->discover);
	if (!x)
		return;
	d->walk = NULL;
	d->left_thread |= !hs_thread_wait(&x->thread, STOP_WAIT_S); /* it waits for some process */
	let_go(x);
}
