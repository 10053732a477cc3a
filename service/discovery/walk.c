/* SPDX-License-Identifier: Apache-2.0 */
/* The walk over all processes. */
#include "process_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address_space.h"
#include "base/hostfile.h"
#include "base/procstat.h"

struct walk {
	const struct hs_discovery_request *request;
	struct hs_discovery_pid_files pid_files[HS_RULES_MAX];
	struct hs_discovery_guest *guest;
	size_t nr, room;
	bool complete;
	int proc_fd;
	int rc;
};

/* What is not the process's fault: it may fit the rule, and nobody knows. */
static bool is_our_trouble(int rc)
{
	return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -EIO || rc == -EINTR;
}

static bool is_known(const struct hs_discovery_request *q, const struct hs_discovery_process *p)
{
	for (size_t i = 0; i < q->nr_known; i++)
		if (q->known[i].pid == p->pid && q->known[i].start_ticks == p->start_ticks)
			return true;
	return false;
}

static void add(struct walk *w, const struct hs_discovery_guest *g)
{
	if (w->nr == w->room) {
		const size_t room = w->room ? w->room * 2 : 64;
		struct hs_discovery_guest *grown = reallocarray(w->guest, room, sizeof(*grown));

		if (!grown) {
			w->rc = -ENOMEM;
			return;
		}
		w->guest = grown;
		w->room = room;
	}
	w->guest[w->nr++] = *g;
}

/* Of a process whose executable fits. True: the rule has found it, refused or not. */
static bool look_closer(struct walk *w, int dir_fd, size_t rule, const char *executable, struct hs_discovery_guest *g)
{
	const struct hs_discovery_request *q = w->request;
	const struct hs_rule *r = &q->rules->rule[rule];
	struct hs_rule_process p = { .pid = g->process.pid, .executable = executable };
	char *command_line = NULL, *cgroup = NULL;
	int rc = 0;

	memset(&g->result, 0, sizeof(g->result));
	if (hs_discovery_unsafe(dir_fd, q->host, r, g->result.refused)) {
		g->result.found = true;
		memcpy(g->result.rule, r->text->name, sizeof(g->result.rule));
		return true;
	}
	if (r->has[HS_RULE_PID_FILE])
		p.pid_file = hs_discovery_pid_file_of(&w->pid_files[rule], p.pid);
	if (r->has[HS_RULE_CGROUP])
		p.cgroup = cgroup = hs_discovery_cgroup(dir_fd, &rc);
	if (!rc && r->has[HS_RULE_COMMAND_LINE])
		p.command_line = command_line = hs_discovery_command_line(dir_fd, &rc);
	hs_rules_match_process(q->rules, rule, &p, &g->result);
	free(command_line);
	free(cgroup);
	if (g->result.found && !g->result.refused[0] && !is_known(q, &g->process)) {
		rc = hs_discovery_has_memory(dir_fd, r->min_bytes);
		if (rc <= 0)
			(void)snprintf(
			    g->result.refused, sizeof(g->result.refused),
			    "it has no mapping of %llu MiB or more, which would be a guest's memory (min_memory)",
			    (unsigned long long)(r->min_bytes >> 20));
		rc = rc < 0 ? rc : 0;
	}
	if (is_our_trouble(rc))
		w->complete = false;
	if (g->result.refused[0])
		g->result.opt_in.on = false;
	return g->result.found && !is_our_trouble(rc);
}

static bool fits_any(const struct hs_rules *rules, const char *executable)
{
	struct hs_rule_captures c = { 0 };

	for (size_t i = 0; i < rules->nr; i++)
		if (!rules->rule[i].of_domains &&
		    hs_rule_pattern_match(&rules->rule[i], HS_RULE_EXECUTABLE, executable, true, &c))
			return true;
	return false;
}

static int visit(void *ctx, pid_t pid)
{
	struct walk *w = ctx;
	const struct hs_discovery_request *q = w->request;
	struct hs_discovery_guest g = { .process.pid = pid }, refused = { .process.pid = 0 };
	char path[4200], executable[PATH_MAX];
	struct hs_procstat st;
	int dir_fd;

	/* Most processes are nobody's guests: of these no more is asked than which file they run. */
	(void)snprintf(path, sizeof(path), "%d/exe", (int)pid);
	if (pid == getpid() || !hs_discovery_executable(w->proc_fd, path, executable) ||
	    !fits_any(q->rules, executable))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%d", q->host->proc_dir, (int)pid);
	dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0) {
		if (is_our_trouble(-errno))
			w->complete = false;
		return 0;
	}
	if (!hs_discovery_executable(dir_fd, "exe", executable))
		goto out;
	for (size_t i = 0; i < q->rules->nr; i++) {
		struct hs_rule_captures c = { 0 };

		if (q->rules->rule[i].of_domains ||
		    !hs_rule_pattern_match(&q->rules->rule[i], HS_RULE_EXECUTABLE, executable, true, &c))
			continue;
		if (!g.process.start_ticks) {
			if (hs_procstat_read(q->host, pid, &st))
				goto out; /* gone */
			g.process.start_ticks = st.start_ticks;
			g.parent = st.ppid;
		}
		if (!look_closer(w, dir_fd, i, executable, &g))
			continue;
		/* Another rule may take it. */
		if (g.result.refused[0]) {
			if (!refused.process.pid)
				refused = g;
			continue;
		}
		refused.process.pid = 0;
		add(w, &g);
		break;
	}
	if (refused.process.pid)
		add(w, &refused);
	/* The number was read by path: it is this one's if the folder that was opened still answers. */
	if (w->nr && w->guest[w->nr - 1].process.pid == pid && !hs_discovery_executable(dir_fd, "exe", executable))
		w->nr--;
out:
	(void)close(dir_fd);
	return w->rc;
}

/* A helper of a VMM that runs in its memory (QEMU's async-teardown) is no guest of its own. */
static void drop_helpers(struct walk *w)
{
	for (size_t i = 0; i < w->nr; i++) {
		struct hs_discovery_guest *child = &w->guest[i];

		for (size_t k = 0; k < w->nr && !child->result.refused[0]; k++) {
			int same;

			if (w->guest[k].process.pid != child->parent)
				continue;
			same = hs_same_address_space(w->request->host, child->parent, child->process.pid);
			if (!same)
				continue;
			child->result.opt_in.on = false;
			if (same > 0)
				(void)snprintf(child->result.refused, sizeof(child->result.refused),
					       "it runs in the memory of process %d, which is the guest",
					       (int)child->parent);
			else
				(void)snprintf(
				    child->result.refused, sizeof(child->result.refused),
				    "whether it runs in the memory of process %d, a guest, cannot be told (%s)",
				    (int)child->parent, strerror(-same));
		}
	}
}

int hs_discovery_walk(const struct hs_discovery_request *request, struct hs_discovery_guest **out, size_t *nr,
		      bool *complete, struct hs_error *err)
{
	struct walk w = { .request = request, .complete = true };
	int rc = 0;

	*out = NULL;
	*nr = 0;
	for (size_t i = 0; i < hs_rules_nr(request->rules) && !rc; i++)
		rc = hs_discovery_pid_files_read(&w.pid_files[i], &request->rules->rule[i]);
	if (is_our_trouble(rc)) {
		(void)hs_error_set(err, rc, "cannot read pid files: %s", strerror(-rc));
	} else if (hs_rules_of_processes(request->rules)) {
		w.complete = !rc;
		w.proc_fd = open(request->host->proc_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		rc = w.proc_fd < 0 ? -errno : hs_hostfile_each_pid(request->host, visit, &w);
		if (w.proc_fd >= 0)
			(void)close(w.proc_fd);
		if (rc)
			(void)hs_error_set(err, rc, "cannot walk over the processes: %s", strerror(-rc));
	}
	for (size_t i = 0; i < HS_RULES_MAX; i++)
		free(w.pid_files[i].file);
	if (rc) {
		free(w.guest);
		return rc;
	}
	drop_helpers(&w);
	*out = w.guest;
	*nr = w.nr;
	*complete = w.complete;
	return 0;
}
