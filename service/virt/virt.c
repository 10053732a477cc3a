/*
 * The main thread's side of libvirt's thread: jobs go to it through a queue and an eventfd, messages come back the same
 * way, in order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "service/common/log.h"
#include "service/common/thread.h"
#include "virt_internal.h"

#define STOP_WAIT_S 5

/* ---- requests ---- */

/* Answers one, unless that was done already. */
static void answer(struct hs_virt *v, uint64_t id, int rc, const char *text)
{
	struct hs_virt_request **at = &v->requests, *r;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	r = *at;
	if (!r)
		return;
	*at = r->next;
	if (!r->next)
		v->last_request = at;
	r->done.fn(r->done.arg, rc, text);
	free(r);
}

static void answer_all(struct hs_virt *v, const char *text)
{
	while (v->requests)
		answer(v, v->requests->id, -ECANCELED, text);
}

/* True when the thread had not begun it: then it never will. */
static bool take_back(struct hs_virt *v, uint64_t id)
{
	struct hs_virt_job **at = &v->jobs, *j;

	(void)pthread_mutex_lock(&v->lock);
	while (*at && (*at)->request != id)
		at = &(*at)->next;
	j = *at;
	if (j) {
		*at = j->next;
		if (!j->next)
			v->last_job = at;
	}
	(void)pthread_mutex_unlock(&v->lock);
	free(j);
	return j != NULL;
}

static void set_deadline(struct hs_virt *v)
{
	if (v->requests)
		(void)sd_event_source_set_time(v->deadline, v->requests->until_us);
	(void)sd_event_source_set_enabled(v->deadline, v->requests ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static int on_deadline(sd_event_source *s, uint64_t now_us, void *arg)
{
	struct hs_virt *v = arg;

	(void)s;
	while (v->requests && v->requests->until_us <= now_us) {
		const uint64_t id = v->requests->id;
		const bool dropped = take_back(v, id);
		char text[256];

		(void)snprintf(text, sizeof(text), "libvirt has not answered for %u ms: %s", v->cfg.answer_ms,
			       dropped ? "nothing was changed"
				       : "it is stored if it still does; `hs-share guests` shows what holds");
		answer(v, id, -ETIMEDOUT, text);
	}
	set_deadline(v);
	return 0;
}

/* ---- messages ---- */

static void deliver(struct hs_virt *v, const struct hs_virt_message *m)
{
	switch (m->kind) {
	case HS_VIRT_MESSAGE_DOMAIN:
		v->cb.domain(v->cb.ctx, &m->domain);
		break;
	case HS_VIRT_MESSAGE_GONE:
		v->cb.gone(v->cb.ctx, m->domain.uuid);
		break;
	case HS_VIRT_MESSAGE_CONNECTION:
		v->cb.connection(v->cb.ctx, m->up, m->text);
		break;
	case HS_VIRT_MESSAGE_DONE:
		answer(v, m->request, m->rc, m->text);
		break;
	}
}

static int on_messages(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct hs_virt *v = arg;
	struct hs_virt_message *list, *next;
	uint64_t count;

	(void)s;
	(void)revents;
	(void)!read(fd, &count, sizeof(count));
	(void)pthread_mutex_lock(&v->lock);
	list = v->messages;
	v->messages = NULL;
	v->last_message = &v->messages;
	(void)pthread_mutex_unlock(&v->lock);
	for (; list; list = next) {
		next = list->next;
		deliver(v, list);
		free(list);
	}
	set_deadline(v);
	return 0;
}

/* What was done by now, whatever else was reported: nobody wants that any more. */
static void deliver_answers(struct hs_virt *v)
{
	struct hs_virt_message *m, *next;

	(void)pthread_mutex_lock(&v->lock);
	m = v->messages;
	v->messages = NULL;
	v->last_message = &v->messages;
	(void)pthread_mutex_unlock(&v->lock);
	for (; m; m = next) {
		next = m->next;
		if (m->kind == HS_VIRT_MESSAGE_DONE)
			deliver(v, m);
		free(m);
	}
}

/* ---- life ---- */

/* What the main thread has of it. */
static void part(struct hs_virt *v, const char *why)
{
	answer_all(v, why);
	v->source = sd_event_source_disable_unref(v->source);
	v->deadline = sd_event_source_disable_unref(v->deadline);
}

static void free_all(void *arg)
{
	struct hs_virt *v = arg;
	struct hs_virt_job *j;
	struct hs_virt_message *m;
	struct hs_virt_known *k;

	while ((j = v->jobs)) {
		v->jobs = j->next;
		free(j);
	}
	while ((m = v->messages)) {
		v->messages = m->next;
		free(m);
	}
	while ((k = v->known)) {
		v->known = k->next;
		free(k);
	}
	hs_virt_inbox_unref(v->inbox);
	hs_rules_unref(v->rules);
	if (v->message_fd >= 0)
		(void)close(v->message_fd);
	(void)pthread_mutex_destroy(&v->lock);
	free(v->uri);
	free(v->pid_dir);
	free(v);
}

int hs_virt_start(struct hs_virt **out, const struct hs_virt_config *cfg, sd_event *loop,
		  const struct hs_virt_callbacks *cb, struct hs_error *err)
{
	struct hs_virt *v = calloc(1, sizeof(*v));
	int rc = -ENOMEM;

	*out = NULL;
	if (!v)
		return hs_error_set(err, -ENOMEM, "out of memory");
	v->cfg = *cfg;
	v->cb = *cb;
	v->wait_ms = cfg->reconnect_ms;
	v->last_job = &v->jobs;
	v->last_message = &v->messages;
	v->last_request = &v->requests;
	(void)pthread_mutex_init(&v->lock, NULL);
	v->rules = hs_rules_ref(cfg->rules);
	v->inbox = hs_virt_inbox_new();
	v->message_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->uri = strdup(cfg->uri);
	v->pid_dir = strdup(cfg->pid_dir ? cfg->pid_dir : "");
	if (!v->uri || !v->pid_dir || !v->inbox || v->message_fd < 0)
		goto fail;
	v->cfg.uri = v->uri;
	v->cfg.pid_dir = v->pid_dir;
	rc = sd_event_add_io(loop, &v->source, v->message_fd, EPOLLIN, on_messages, v);
	if (rc >= 0)
		rc = sd_event_add_time(loop, &v->deadline, CLOCK_MONOTONIC, 0, 0, on_deadline, v);
	if (rc < 0)
		goto fail;
	set_deadline(v);
	rc = hs_virt_loop_start();
	if (rc)
		goto fail;
	v->thread.run = hs_virt_run;
	v->thread.release = free_all;
	v->thread.arg = v;
	rc = hs_thread_start_owned(&v->thread);
	if (rc)
		goto fail;
	*out = v;
	return 0;
fail:
	part(v, "");
	free_all(v);
	return hs_error_set(err, rc, "cannot start libvirt's thread: %s", strerror(-rc));
}

bool hs_virt_stop(struct hs_virt *v)
{
	bool ended;

	if (!v)
		return true;
	(void)pthread_mutex_lock(&v->lock);
	v->stop = true;
	(void)pthread_mutex_unlock(&v->lock);
	hs_thread_poke(v->inbox->fd);
	ended = hs_thread_wait(&v->thread, STOP_WAIT_S);
	if (!ended)
		hs_log(HS_LOG_WARNING, "libvirt does not answer: not waiting for it");
	deliver_answers(v);
	part(v, ended ? "hs-shared is about to end, and had not begun with it"
		      : "hs-shared is about to end, and libvirt does not answer: it may have been stored or not");
	hs_thread_let_go(&v->thread);
	return ended;
}

void hs_virt_set_opt_in(struct hs_virt *v, const char *domain, const struct hs_opt_in_change *change,
			struct hs_done done)
{
	struct hs_virt_job *j = calloc(1, sizeof(*j));
	struct hs_virt_request *r = calloc(1, sizeof(*r));
	uint64_t now_us = 0;

	if (!j || !r) {
		free(j);
		free(r);
		done.fn(done.arg, -ENOMEM, "out of memory");
		return;
	}
	(void)sd_event_now(sd_event_source_get_event(v->source), CLOCK_MONOTONIC, &now_us);
	r->id = j->request = ++v->last_id;
	r->until_us = now_us + v->cfg.answer_ms * UINT64_C(1000);
	r->done = done;
	*v->last_request = r;
	v->last_request = &r->next;
	set_deadline(v);
	(void)snprintf(j->domain, sizeof(j->domain), "%s", domain);
	j->change = *change;
	(void)pthread_mutex_lock(&v->lock);
	*v->last_job = j;
	v->last_job = &j->next;
	(void)pthread_mutex_unlock(&v->lock);
	hs_thread_poke(v->inbox->fd);
}

void hs_virt_set_rules(struct hs_virt *v, struct hs_rules *rules)
{
	struct hs_rules *old;

	(void)pthread_mutex_lock(&v->lock);
	old = v->rules;
	v->rules = hs_rules_ref(rules);
	v->reread = true;
	(void)pthread_mutex_unlock(&v->lock);
	hs_rules_unref(old);
	hs_thread_poke(v->inbox->fd);
}
