/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's life and its commands. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest_private.h"

/* Generous: three machines under software emulation on two busy cores; a guest that ended is noticed at once. */
#define ANSWER_TIMEOUT_MS 30000
#define VERIFY_TIMEOUT_MS 120000

struct hs_guest_config hs_guest_config_default(enum hs_guest_kind kind)
{
	struct hs_guest_config cfg = { .kind = kind, .name = "guest", .params = hs_guest_params_default };

	/*
	 * Under software emulation a guest does some 2 million accesses a second: a larger share of them passes over
	 * all hot pages in turn, so that none is missed in 200 ms even with three machines on two cores.
	 */
	if (kind == HS_GUEST_QEMU)
		cfg.params.sweep_percent = 50;
	return cfg;
}

int hs_guest_start(struct hs_guest **out, const struct hs_guest_config *cfg, struct hs_error *err)
{
	struct hs_guest *g = calloc(1, sizeof(*g));
	int ret;

	if (!g)
		return hs_error_set(err, -ENOMEM, "no memory");
	g->kind = cfg->kind;
	g->control_fd = g->log_fd = -1;
	(void)snprintf(g->name, sizeof(g->name), "%s", cfg->name ? cfg->name : "guest");
	ret = hs_guest_layout_init(&g->layout, &cfg->params, err);
	if (!ret) {
		g->hva = calloc(g->layout.nr_huge, sizeof(*g->hva));
		if (!g->hva)
			ret = hs_error_set(err, -ENOMEM, "no memory");
	}
	if (!ret)
		ret = g->kind == HS_GUEST_QEMU ? hs_guest_start_qemu(g, cfg, err) : hs_guest_start_process(g, cfg, err);
	if (ret)
		hs_guest_stop(g);
	else
		*out = g;
	return ret;
}

void hs_guest_stop(struct hs_guest *g)
{
	if (!g)
		return;
	if (g->pid > 0 && !g->reaped) {
		(void)kill(g->pid, SIGKILL);
		while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (g->control_fd >= 0)
		(void)close(g->control_fd);
	if (g->log_fd >= 0)
		(void)close(g->log_fd);
	hs_guest_layout_finish(&g->layout);
	free(g->hva);
	free(g->line);
	free(g);
}

int hs_guest_alive(struct hs_guest *g, struct hs_error *err)
{
	char how[64], tail[300];

	if (!g->reaped && waitpid(g->pid, &g->wait_status, WNOHANG) != 0)
		g->reaped = true;
	if (!g->reaped)
		return 0;
	if (WIFSIGNALED(g->wait_status))
		(void)snprintf(how, sizeof(how), "signal %d (%s)", WTERMSIG(g->wait_status),
			       strsignal(WTERMSIG(g->wait_status)));
	else
		(void)snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(g->wait_status));
	hs_guest_log_tail(g, tail, sizeof(tail));
	return hs_error_set(err, -EPIPE, "guest %s (pid %d) ended with %s; its log ends: %s", g->name, (int)g->pid, how,
			    tail);
}

int hs_guest_wait_ready(struct hs_guest *g, int timeout_ms, struct hs_guest_info *info, struct hs_error *err)
{
	struct hs_guest_info i = { 0 };
	char *json = NULL;
	int ret = hs_guest_receive(g, "ready", timeout_ms, &json, err);

	if (ret)
		return ret;
	i.ready_ns = hs_guest_now_ns() - g->started_ns;
	if (hs_guest_field(json, "fill_ns", &i.fill_ns))
		ret = hs_error_set(err, -EPROTO, "guest %s: '%s' has no fill_ns", g->name, json);
	free(json);
	if (!ret)
		ret = hs_guest_locate(g, err);
	if (!ret)
		ret = hs_guest_make_whole(g, err);
	if (!ret && info)
		*info = i;
	return ret;
}

pid_t hs_guest_pid(const struct hs_guest *g)
{
	return g->pid;
}

const char *hs_guest_name(const struct hs_guest *g)
{
	return g->name;
}

enum hs_guest_kind hs_guest_kind(const struct hs_guest *g)
{
	return g->kind;
}

const struct hs_guest_layout *hs_guest_layout(const struct hs_guest *g)
{
	return &g->layout;
}

hs_hva hs_guest_hva(const struct hs_guest *g, uint32_t huge)
{
	return huge < g->layout.nr_huge ? g->hva[huge] : (hs_hva){ 0 };
}

uint32_t hs_guest_huge_at(const struct hs_guest *g, hs_hva hva)
{
	for (uint32_t h = 0; h < g->layout.nr_huge; h++)
		if (hva.v - g->hva[h].v < HS_HUGE_SIZE) /* wraps around below it */
			return h;
	return UINT32_MAX;
}

uint32_t hs_guest_class_hva(const struct hs_guest *g, enum hs_guest_class cls, hs_hva *out, uint32_t max)
{
	uint32_t nr = 0;

	for (uint32_t h = 0; h < g->layout.nr_huge && nr < max; h++)
		if (g->layout.classes[h] == (uint8_t)cls)
			out[nr++] = g->hva[h];
	return nr;
}

/* ---- commands ---- */

struct wanted {
	const char *key;
	uint64_t *to;
};

/* The answer to a command. */
struct reply {
	const char *name;
	int timeout_ms;
	const struct wanted *want; /* [nr]: its numbers that are wanted */
	size_t nr;
};

/* Sends a line (NULL: it was sent before) and reads the wanted numbers out of the answer. */
static int command(struct hs_guest *g, const char *line, const struct reply *r, struct hs_error *err)
{
	char *json = NULL;
	int ret = line ? hs_guest_send(g, line, err) : 0;

	if (!ret)
		ret = hs_guest_receive(g, r->name, r->timeout_ms, &json, err);
	for (size_t i = 0; i < r->nr && !ret; i++) {
		ret = hs_guest_field(json, r->want[i].key, r->want[i].to);
		if (ret)
			(void)hs_error_set(err, ret, "guest %s: no \"%s\" in '%.200s'", g->name, r->want[i].key, json);
	}
	free(json);
	return ret;
}

int hs_guest_stats(struct hs_guest *g, struct hs_guest_stats *out, struct hs_error *err)
{
	struct hs_guest_stats s = { 0 };
	const struct wanted want[] = {
		{ "accesses", &s.accesses },     { "writes", &s.writes }, { "elapsed_ns", &s.elapsed_ns },
		{ "batches", &s.batches },       { "p50_ns", &s.p50_ns }, { "p99_ns", &s.p99_ns },
		{ "p999_ns", &s.p999_ns },       { "max_ns", &s.max_ns }, { "sweep_ns", &s.sweep_ns },
		{ "hot_errors", &s.hot_errors },
	};
	int ret = command(
	    g, "stats\n",
	    &(struct reply){
		.name = "stats", .timeout_ms = ANSWER_TIMEOUT_MS, .want = want, .nr = sizeof(want) / sizeof(want[0]) },
	    err);

	if (ret)
		return ret;
	s.accesses_per_s = s.elapsed_ns ? (double)s.accesses * 1e9 / (double)s.elapsed_ns : 0;
	*out = s;
	return 0;
}

int hs_guest_verify_begin(struct hs_guest *g, struct hs_error *err)
{
	return hs_guest_send(g, "verify\n", err);
}

int hs_guest_verify_end(struct hs_guest *g, struct hs_guest_verified *out, struct hs_error *err)
{
	uint64_t checked = 0, bad = 0, first = 0;
	const struct wanted want[] = { { "checked_pages", &checked }, { "bad_pages", &bad }, { "first_bad", &first } };
	int ret = command(
	    g, NULL,
	    &(struct reply){
		.name = "verify", .timeout_ms = VERIFY_TIMEOUT_MS, .want = want, .nr = sizeof(want) / sizeof(want[0]) },
	    err);

	if (!ret)
		*out = (struct hs_guest_verified){ checked, bad, (uint32_t)first };
	return ret;
}

int hs_guest_verify(struct hs_guest *g, struct hs_guest_verified *out, struct hs_error *err)
{
	int ret = hs_guest_verify_begin(g, err);

	return ret ? ret : hs_guest_verify_end(g, out, err);
}

/* The guest did as much as our own layout does. */
static int same(struct hs_guest *g, const char *what, uint64_t theirs, uint32_t ours, uint32_t *done,
		struct hs_error *err)
{
	if (theirs != ours)
		return hs_error_set(err, -EPROTO, "guest %s: %s %" PRIu64 ", expected %u", g->name, what, theirs, ours);
	if (done)
		*done = ours;
	return 0;
}

int hs_guest_write(struct hs_guest *g, uint32_t nr, uint64_t seed, uint32_t *done, struct hs_error *err)
{
	uint64_t written = 0;
	const struct wanted want = { "written", &written };
	char line[64];
	int ret;

	(void)snprintf(line, sizeof(line), "write %u %" PRIu64 "\n", nr, seed);
	ret = command(g, line,
		      &(struct reply){ .name = "write", .timeout_ms = ANSWER_TIMEOUT_MS, .want = &want, .nr = 1 }, err);
	if (ret)
		return ret;
	return same(g, "written", written, hs_guest_layout_write(&g->layout, nr, seed, NULL), done, err);
}

int hs_guest_heat(struct hs_guest *g, uint32_t nr, uint32_t *done, struct hs_error *err)
{
	uint64_t heated = 0;
	const struct wanted want = { "heated", &heated };
	char line[64];
	int ret;

	(void)snprintf(line, sizeof(line), "heat %u\n", nr);
	ret = command(g, line,
		      &(struct reply){ .name = "heat", .timeout_ms = ANSWER_TIMEOUT_MS, .want = &want, .nr = 1 }, err);
	if (ret)
		return ret;
	return same(g, "heated", heated, hs_guest_layout_heat(&g->layout, nr), done, err);
}

int hs_guest_cool(struct hs_guest *g, struct hs_error *err)
{
	int ret = command(g, "cool\n", &(struct reply){ .name = "cool", .timeout_ms = ANSWER_TIMEOUT_MS }, err);

	if (!ret)
		hs_guest_layout_cool(&g->layout);
	return ret;
}

int hs_guest_pause(struct hs_guest *g, struct hs_error *err)
{
	return command(g, "pause\n", &(struct reply){ .name = "pause", .timeout_ms = ANSWER_TIMEOUT_MS }, err);
}

int hs_guest_resume(struct hs_guest *g, struct hs_error *err)
{
	return command(g, "resume\n", &(struct reply){ .name = "resume", .timeout_ms = ANSWER_TIMEOUT_MS }, err);
}
