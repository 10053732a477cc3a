/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over the processes: who else has a hand in KSM or in accessed bits, and which guests run under KVM. */
#include "diagnose_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/procstat.h"
#include "hs/share.h"

/* By the beginning of their name; of root alone, since anybody may give a process any name. */
static const struct {
	const char *comm, *name, *text, *advice;
	enum hs_finding_level level;
} known[] = {
	{ "ksmtuned", "ksmtuned", "ksmtuned drives KSM: it starts ksmd over all mergeable memory, blind to heat",
	  "stop one of the two: systemctl disable --now ksmtuned", HS_FINDING_OBSTACLE },
	{ "uksmd", "uksmd", "uksmd marks the memory of processes mergeable", "stop it, or exclude the guests from it",
	  HS_FINDING_WARNING },
	{ "kdamond", "damon", "DAMON ages pages as well: accessed bits may vanish between two looks",
	  "none is needed: several rounds are looked at", HS_FINDING_NOTE },
};
#define NR_KNOWN (sizeof(known) / sizeof(known[0]))

struct walk {
	bool seen[NR_KNOWN];
	size_t nr_kvm;
	char kvm[200]; /* "name (pid), ..." as far as it goes */
};

static void look_known(struct hs_findings *l, struct walk *w, const char *pid, const char *comm)
{
	for (size_t i = 0; i < NR_KNOWN; i++) {
		if (w->seen[i] || strncmp(comm, known[i].comm, strlen(known[i].comm)) != 0 ||
		    !hs_may_be_of_root(l->host, (pid_t)strtol(pid, NULL, 10)))
			continue;
		w->seen[i] = true;
		hs_found(l, known[i].level, known[i].name, known[i].advice, "%s (process %s)", known[i].text, pid);
	}
}

/* A process that has a KVM machine holds a file of that kind open. */
static bool has_kvm_machine(const char *proc_dir, const char *pid)
{
	char path[4300], target[64];
	struct dirent *e;
	bool found = false;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s/%s/fd", proc_dir, pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		found = strcmp(target, "anon_inode:kvm-vm") == 0;
	}
	if (d)
		(void)closedir(d);
	return found;
}

void hs_find_processes(struct hs_findings *l)
{
	struct walk w = { 0 };
	struct dirent *e;
	DIR *d = opendir(l->host->proc_dir);

	while (d && (e = readdir(d))) {
		char name[300], comm[64];
		size_t len = strlen(w.kvm);

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		(void)snprintf(name, sizeof(name), "%s/comm", e->d_name);
		if (!hs_slurp(l->host->proc_dir, name, comm, sizeof(comm)))
			continue;
		look_known(l, &w, e->d_name, comm);
		if (!has_kvm_machine(l->host->proc_dir, e->d_name))
			continue;
		w.nr_kvm++;
		if (len < sizeof(w.kvm) - 40)
			(void)snprintf(w.kvm + len, sizeof(w.kvm) - len, "%s%s (%.10s)", len ? ", " : "", comm,
				       e->d_name);
	}
	if (d)
		(void)closedir(d);
	if (w.nr_kvm)
		hs_found(l, HS_FINDING_NOTE, "kvm-guests",
			 "`hs-share inspect --pid PID` says of each what can be seen of it",
			 "%zu guests run under KVM, which records their accesses in nested page tables: %s", w.nr_kvm,
			 w.kvm);
}

void hs_find_foreign(struct hs_findings *l, const pid_t *pids, size_t nr_pids)
{
	struct hs_ksm_foreign *f = NULL;
	struct hs_error err = { "" };
	size_t nr = 0, len = 0;
	uint64_t bytes = 0;
	char names[256] = "";

	if (hs_ksm_find_foreign(l->host, pids, nr_pids, &f, &nr, &err)) {
		hs_found(l, HS_FINDING_WARNING, "foreign-mergeable", "run it as root", "%.300s", err.text);
		return;
	}
	for (size_t i = 0; i < nr; i++) {
		bytes += f[i].mergeable_bytes;
		if (len < sizeof(names) - 40)
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s (%d)", i ? ", " : "", f[i].comm,
						(int)f[i].pid);
	}
	if (nr)
		hs_found(
		    l, HS_FINDING_WARNING, "foreign-mergeable",
		    "opt these guests in, start them with mem-merge=off (libvirt: <nosharepages/>), or set foreign = "
		    "claim in [merge]",
		    "%zu processes that are no guests of ours have %" PRIu64
		    " MiB of mergeable memory, which ksmd would merge blindly: %s",
		    nr, bytes >> 20, names);
	else
		hs_found(l, HS_FINDING_OK, "foreign-mergeable", "", "no mergeable memory of others");
	free(f);
}
