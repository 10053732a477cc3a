/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calibration on processes: the host view reads, ages and samples two children, and the merge engine lets ksmd merge
 * them, with the code that runs in production. Everything is given back when it ends.
 */
#include "calibrate.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/median.h"
#include "hs/share.h"

#define NR_HUGE 64U /* of each child, 128 MiB; the first half of its pages is the same in both */
#define NR_AGES 20U

struct child {
	pid_t pid;
	int ready; /* a byte comes when the memory is filled */
	struct hs_view *view;
	struct hs_remote *remote;
	uint32_t id;
};

static void live(uint32_t number, int ready)
{
	const size_t bytes = NR_HUGE * HS_HUGE_SIZE;
	void *slack;
	char *start = hs_lab_map(bytes, MADV_HUGEPAGE, &slack);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!start || getppid() == 1)
		_exit(1);
	for (uint32_t p = 0; p < NR_HUGE * HS_BASE_PER_HUGE; p++)
		hs_lab_fill_page(start + p * HS_BASE_SIZE,
				 p < NR_HUGE / 2 * HS_BASE_PER_HUGE ? p : p + (number + 1ULL) * 10000000);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;)
		(void)pause();
}

/* Returns when its memory is filled, or the end is asked for. */
static int start_child(struct child *c, uint32_t number, const struct hs_clock *clock)
{
	ssize_t n;
	char byte;
	int fds[2];

	if (pipe(fds))
		return -errno;
	c->pid = fork();
	if (c->pid == 0) {
		(void)close(fds[0]);
		live(number, fds[1]);
	}
	(void)close(fds[1]);
	c->ready = fds[0];
	if (c->pid < 0)
		return -errno;
	do
		n = read(fds[0], &byte, 1);
	while (n < 0 && errno == EINTR && !hs_lab_cancelled(clock));
	return n == 1 ? 0 : n ? -errno : -ENOMEM;
}

static int open_child(struct child *c, const struct hs_host *host, struct hs_error *err)
{
	int rc = hs_remote_open(&c->remote, host, c->pid, err);

	return rc ? rc : hs_view_open_host(&c->view, host, c->pid, c->remote, NR_HUGE * HS_HUGE_SIZE / 2, err);
}

static void end_child(struct child *c)
{
	if (c->view)
		hs_view_close(c->view);
	hs_remote_close(c->remote);
	if (c->pid > 0) {
		(void)kill(c->pid, SIGKILL);
		while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
			;
		(void)close(c->ready);
	}
}

/* ---- the view ---- */

static int measure_reads(struct hs_lab_costs *out, struct hs_view *v, struct hs_error *err)
{
	const struct hs_bits512 full = hs_bits_full();
	char *buf = malloc(HS_HUGE_SIZE);
	double reads[HS_LAB_REPS];
	struct hs_bits512 got;
	int rc = buf ? 0 : -ENOMEM;

	for (unsigned int i = 0; !rc && i < HS_LAB_REPS; i++) {
		const double start_ns = hs_lab_cpu_ns();

		for (hs_huge_nr h = 0; !rc && h < v->nr_huge; h++)
			rc = hs_view_read(v, h, &full, buf, &got, err);
		reads[i] = (hs_lab_cpu_ns() - start_ns) / (v->nr_huge * HS_BASE_PER_HUGE);
	}
	free(buf);
	if (!rc)
		out->ns[HS_LAB_COST_READ] = hs_median(reads, HS_LAB_REPS);
	return rc;
}

static int measure_looks(struct hs_lab_costs *out, struct hs_view *v, struct hs_error *err)
{
	struct hs_huge_sample *samples = calloc(v->nr_huge, sizeof(*samples));
	double ages[NR_AGES], looks[NR_AGES];
	int rc = samples ? 0 : -ENOMEM;

	for (unsigned int i = 0; !rc && i < NR_AGES; i++) {
		double start_ns = hs_lab_cpu_ns();

		rc = hs_view_age(v, err);
		ages[i] = (hs_lab_cpu_ns() - start_ns) / v->nr_huge;
		start_ns = hs_lab_cpu_ns();
		if (!rc)
			rc = hs_view_sample_huge(v, 0, v->nr_huge, samples, err);
		looks[i] = (hs_lab_cpu_ns() - start_ns) / v->nr_huge;
	}
	free(samples);
	if (!rc) {
		out->ns[HS_LAB_COST_AGE] = hs_median(ages, NR_AGES);
		out->ns[HS_LAB_COST_SAMPLE] = hs_median(looks, NR_AGES);
	}
	return rc;
}

/* ---- ksmd ---- */

struct span {
	hs_huge_nr from, to;
};

/* Wants these huge pages of both children to be shared and lets ksmd do it. */
static int burst(struct hs_share *s, const struct hs_clock *clock, struct child *c, struct span span,
		 struct hs_share_burst *out, struct hs_error *err)
{
	const struct hs_bits512 full = hs_bits_full();
	struct hs_share_applied applied;
	int rc = 0;

	for (int i = 0; !rc && i < 2; i++) {
		for (hs_huge_nr h = span.from; !rc && h < span.to && h < c[i].view->nr_huge; h++)
			rc = hs_share_want(s, c[i].id, h, &full, NULL);
		if (!rc)
			rc = hs_share_apply(s, c[i].id, &applied, err);
	}
	if (!rc)
		rc = hs_share_burst(s, clock, out, err);
	for (int i = 0; !rc && i < 2; i++)
		rc = hs_share_verify(s, c[i].id, err);
	return rc;
}

/* First pages that nobody is equal to: going over them. Then those that are the same in both: merging, above that. */
static int measure_ksmd(struct hs_lab_costs *out, const struct hs_host *host, const struct hs_clock *clock,
			struct child *c, struct hs_error *err)
{
	struct hs_share_config cfg = hs_share_config_default;
	struct hs_share_burst own, same;
	struct hs_share *s = NULL;
	struct hs_ledger ledger;
	uint64_t adopted, merged;
	double scan_ns, merge_ns;
	int rc;

	rc = hs_share_create(&s, host, &cfg, err);
	for (int i = 0; !rc && i < 2; i++)
		rc = hs_share_add_guest(
		    s, &(struct hs_share_guest){ .name = "calibration", .view = c[i].view, .remote = c[i].remote },
		    &c[i].id, &adopted, err);
	if (!rc)
		rc = burst(s, clock, c, (struct span){ NR_HUGE / 2, NR_HUGE }, &own, err);
	if (!rc)
		rc = burst(s, clock, c, (struct span){ 0, NR_HUGE / 2 }, &same, err);
	if (rc)
		goto out;
	hs_share_ledger(s, UINT32_MAX, &ledger);
	merged = ledger.shared + ledger.zero;
	if (!own.pages_scanned || !own.ksmd_cpu_us || own.ksmd_cpu_us == UINT64_MAX || !merged) {
		rc = hs_error_set(err, -ENODATA, "ksmd's CPU time cannot be read, or it merged nothing");
		goto out;
	}
	scan_ns = (double)own.ksmd_cpu_us * 1000 / (double)own.pages_scanned;
	merge_ns = ((double)same.ksmd_cpu_us * 1000 - (double)same.pages_scanned * scan_ns) / (double)merged;
	out->ns[HS_LAB_COST_KSM_SCAN] = scan_ns;
	out->ns[HS_LAB_COST_KSM_MERGE] = merge_ns > 0 ? merge_ns : 0;
out:
	for (int i = 0; s && i < 2; i++)
		hs_share_remove_guest(s, c[i].id);
	hs_share_destroy(s);
	return rc;
}

void hs_lab_calibrate_live(struct hs_lab_costs *out, const struct hs_clock *clock, void (*progress)(const char *what))
{
	const struct hs_host host = HS_HOST_DEFAULT;
	struct child c[2] = { { .pid = 0 }, { .pid = 0 } };
	struct hs_error err = { "" };
	int rc = 0;

	if (geteuid()) {
		hs_lab_unknown(out, HS_LAB_COST_READ, HS_LAB_COST_READ, "needs root");
		hs_lab_unknown(out, HS_LAB_COST_AGE, HS_LAB_COST_KSM_MERGE, "needs root");
		return;
	}
	progress("page tables of a process");
	for (uint32_t i = 0; !rc && i < 2; i++) {
		rc = start_child(&c[i], i, clock);
		if (!rc)
			rc = open_child(&c[i], &host, &err);
	}
	if (!rc)
		rc = measure_reads(out, c[0].view, &err);
	if (!rc)
		rc = measure_looks(out, c[0].view, &err);
	if (rc) {
		const char *why = err.text[0] ? err.text : strerror(-rc);

		hs_lab_unknown(out, HS_LAB_COST_READ, HS_LAB_COST_READ, why);
		hs_lab_unknown(out, HS_LAB_COST_AGE, HS_LAB_COST_KSM_MERGE, why);
		goto out;
	}
	progress("ksmd");
	rc = measure_ksmd(out, &host, clock, c, &err);
	if (rc)
		hs_lab_unknown(out, HS_LAB_COST_KSM_SCAN, HS_LAB_COST_KSM_MERGE,
			       err.text[0] ? err.text : strerror(-rc));
out:
	end_child(&c[0]);
	end_child(&c[1]);
}
