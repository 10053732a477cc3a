/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the host, one thing after the other; each function below finds one or two. Nothing is changed. */
#include "diagnose_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hs/share.h"
#include "model.h"
#include "hs/types.h"

#define DEFAULT_MAX_MAP_COUNT 65530 /* the kernel's (include/linux/mm.h) */

void hs_found(struct hs_findings *l, enum hs_finding_level level, const char *name, const char *advice, const char *fmt,
	      ...)
{
	struct hs_finding *f;
	va_list ap;

	if (l->nr == l->room) {
		size_t room = l->room ? l->room * 2 : 32;

		f = reallocarray(l->f, room, sizeof(*f));
		if (!f) {
			l->nomem = true;
			return;
		}
		l->f = f;
		l->room = room;
	}
	f = &l->f[l->nr++];
	memset(f, 0, sizeof(*f));
	f->level = level;
	(void)snprintf(f->name, sizeof(f->name), "%s", name);
	(void)snprintf(f->advice, sizeof(f->advice), "%s", advice);
	va_start(ap, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	hs_text_mend(f->text); /* names of processes are in it, of anybody's choice */
}

bool hs_slurp(const char *dir, const char *name, char *buf, size_t size)
{
	char path[4300];
	size_t n;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(buf, 1, size - 1, f);
	(void)fclose(f);
	buf[n] = '\0';
	while (n && buf[n - 1] == '\n')
		buf[--n] = '\0';
	return true;
}

/* "always [madvise] never": what stands in brackets. */
static const char *chosen(char *text)
{
	char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;

	if (!close)
		return text;
	*close = '\0';
	return open + 1;
}

static bool is_there(const char *dir, const char *name, int mode)
{
	char path[4300];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, mode) == 0;
}

static void kernel(struct hs_findings *l)
{
	const struct hs_probe *p = l->probe;
	unsigned int major = 0, minor = 0;

	(void)sscanf(p->release, "%u.%u", &major, &minor);
	if (major < 6 || (major == 6 && minor < 1))
		hs_found(l, HS_FINDING_OBSTACLE, "kernel", "use Linux 6.1 or later", "Linux %.64s is older than 6.1",
			 p->release);
	else
		hs_found(l, HS_FINDING_OK, "kernel", "", "Linux %.64s", p->release);
	if (strcmp(p->machine, "x86_64") != 0)
		hs_found(l, HS_FINDING_OBSTACLE, "machine", "use an x86-64 host", "the machine is %.64s", p->machine);
	if (!p->root)
		hs_found(l, HS_FINDING_WARNING, "root", "run it as root",
			 "not run as root: some of this could not be looked at");
}

static void bpf(struct hs_findings *l)
{
	char text[256];

	if (!is_there(l->host->sys_dir, "kernel/btf/vmlinux", R_OK))
		hs_found(l, HS_FINDING_OBSTACLE, "btf",
			 "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's are",
			 "the kernel's type information %.200s/kernel/btf/vmlinux cannot be read: %s", l->host->sys_dir,
			 strerror(errno));
	else
		hs_found(l, HS_FINDING_OK, "btf", "", "the kernel has type information");
	if (hs_slurp(l->host->sys_dir, "kernel/security/lockdown", text, sizeof(text)) &&
	    strcmp(chosen(text), "confidentiality") == 0)
		hs_found(l, HS_FINDING_OBSTACLE, "lockdown", "boot with lockdown=integrity, or without",
			 "kernel lockdown is in confidentiality mode: page tables cannot be read");
	if (!l->probe->bpf)
		hs_found(l, HS_FINDING_OK, "bpf", "", "the kernel takes BPF programs of ours");
	else if (l->probe->bpf == -EPERM)
		hs_found(l, HS_FINDING_OBSTACLE, "bpf",
			 "run it as root; in a container it needs the capabilities CAP_BPF and CAP_PERFMON and a "
			 "seccomp profile that lets bpf() through",
			 "no permission to load a BPF program: page tables cannot be read");
	else
		hs_found(l, HS_FINDING_OBSTACLE, "bpf", "use a kernel with CONFIG_BPF_SYSCALL=y, 6.1 or later",
			 "the kernel takes no BPF program of the kind that reads page tables: %s",
			 strerror(-l->probe->bpf));
}

/* A filter of our own: under one, nobody can read those of a guest, without which no call is made inside it. */
static void confined(struct hs_findings *l)
{
	char text[8192];
	const char *at =
	    hs_slurp(l->host->proc_dir, "self/status", text, sizeof(text)) ? strstr(text, "\nSeccomp:") : NULL;

	if (!at)
		return;
	if (strtoul(at + sizeof("\nSeccomp:") - 1, NULL, 10) != 0)
		hs_found(
		    l, HS_FINDING_OBSTACLE, "seccomp",
		    "start it without: hs-shared's unit lists the settings of systemd that make such a filter; of a "
		    "container, seccomp=unconfined",
		    "this process runs under a seccomp filter, so the filters of guests cannot be read, and no call "
		    "can safely be made inside them");
	else
		hs_found(l, HS_FINDING_OK, "seccomp", "", "no seccomp filter of our own");
}

/* Calls inside a guest's process go through ptrace. */
static void tracing(struct hs_findings *l)
{
	char scope[16];

	if (!hs_slurp(l->host->proc_dir, "sys/kernel/yama/ptrace_scope", scope, sizeof(scope)))
		return; /* no Yama: nothing in the way */
	if (scope[0] == '3')
		hs_found(l, HS_FINDING_OBSTACLE, "ptrace",
			 "start the host with kernel.yama.ptrace_scope at 2 or below: 3 holds until the next boot",
			 "kernel.yama.ptrace_scope is 3: no process may be traced, so nothing can be shared");
	else
		hs_found(l, HS_FINDING_OK, "ptrace", "", "kernel.yama.ptrace_scope is %.8s: root may trace", scope);
}

static void huge_pages(struct hs_findings *l)
{
	char text[256];
	const char *mode;

	if (!hs_slurp(l->host->thp_dir, "enabled", text, sizeof(text))) {
		hs_found(l, HS_FINDING_OBSTACLE, "transparent-huge-pages",
			 "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE=y", "the kernel has no transparent huge pages");
		return;
	}
	mode = chosen(text);
	if (strcmp(mode, "never") == 0)
		hs_found(l, HS_FINDING_WARNING, "transparent-huge-pages", "write madvise or always to enabled",
			 "transparent huge pages are off: there are no huge pages to keep whole");
	else
		hs_found(l, HS_FINDING_OK, "transparent-huge-pages", "", "transparent huge pages: %.32s", mode);
	if (hs_slurp(l->host->thp_dir, "khugepaged/defrag", text, sizeof(text)))
		hs_found(l, HS_FINDING_OK, "khugepaged", "",
			 "khugepaged %s collapse memory by itself; it is kept off shared ranges",
			 text[0] == '1' ? "may" : "does not");
}

static void ksm(struct hs_findings *l)
{
	char run[32], text[256];

	if (!hs_slurp(l->host->ksm_dir, "run", run, sizeof(run))) {
		hs_found(l, HS_FINDING_OBSTACLE, "ksm", "use a kernel with CONFIG_KSM=y", "the kernel has no KSM");
		return;
	}
	if (strcmp(run, "1") == 0)
		hs_found(
		    l, HS_FINDING_NOTE, "ksm",
		    "when hs-shared is not just merging, stop what started it; then: echo 0 > /sys/kernel/mm/ksm/run",
		    "ksmd is running now: hs-shared lets it run in short bursts only, so if it is not that, somebody "
		    "else drives it");
	else if (strcmp(run, "2") == 0)
		hs_found(l, HS_FINDING_NOTE, "ksm", "", "KSM has been told to unmerge everything");
	else
		hs_found(l, HS_FINDING_OK, "ksm", "", "KSM is there, and ksmd is stopped");
	if (hs_slurp(l->host->ksm_dir, "advisor_mode", text, sizeof(text)) && strcmp(chosen(text), "none") != 0)
		hs_found(l, HS_FINDING_NOTE, "ksm-advisor", "",
			 "KSM's advisor is on: it is set aside during a burst and given back");
	if (hs_slurp(l->host->ksm_dir, "smart_scan", text, sizeof(text)) && strcmp(text, "1") == 0)
		hs_found(l, HS_FINDING_NOTE, "ksm-smart-scan", "",
			 "KSM's smart_scan is on: it passes over pages that did not merge before; it is off during a "
			 "burst and given back");
}

/* How accesses can be seen, and who else ages pages. */
static void ageing(struct hs_findings *l)
{
	char text[64];

	if (hs_slurp(l->host->sys_dir, "kernel/mm/lru_gen/enabled", text, sizeof(text)) && strcmp(text, "0x0000") != 0)
		hs_found(l, HS_FINDING_NOTE, "mglru", "none is needed: several rounds are looked at",
			 "the multi-generational LRU is on (%s): under memory pressure it ages pages as well", text);
}

/* Whether guests under KVM can be seen here, and how well. */
static void kvm(struct hs_findings *l)
{
	const struct hs_probe *p = l->probe;
	char text[16];

	if (!is_there(l->host->sys_dir, "module/kvm", F_OK))
		return;
	if (hs_slurp(l->host->sys_dir, "module/kvm/parameters/tdp_mmu", text, sizeof(text)) && text[0] == 'N')
		hs_found(l, HS_FINDING_WARNING, "kvm", "load the module kvm with tdp_mmu=1",
			 "KVM's TDP MMU is off: accesses of guests under KVM cannot be seen, they are left alone");
	else if (!p->nested_ageing)
		hs_found(l, HS_FINDING_WARNING, "kvm", "see docs/kvm.md for the kernels that do",
			 "guests under KVM are left alone: %.300s", p->nested_why.text);
	else
		hs_found(
		    l, p->nested_fine ? HS_FINDING_OK : HS_FINDING_NOTE, "kvm",
		    p->nested_fine
			? ""
			: "it takes Linux 6.7 or later, and /sys/fs/bpf mounted (mount -t bpf bpf /sys/fs/bpf); see "
			  "docs/kvm.md",
		    "guests under KVM are seen through nested page tables, aged by %s%s%.150s; hot huge pages %s",
		    p->nested_ageing, p->nested_why.text[0] ? ", for " : "", p->nested_why.text,
		    p->nested_fine ? "can be looked into" : "are not looked into, and stay whole");
}

static void limits(struct hs_findings *l)
{
	unsigned long long max;
	char text[64];

	if (!hs_slurp(l->host->proc_dir, "sys/vm/max_map_count", text, sizeof(text)))
		return;
	max = strtoull(text, NULL, 10);
	hs_found(l, max < DEFAULT_MAX_MAP_COUNT ? HS_FINDING_WARNING : HS_FINDING_OK, "max-map-count",
		 max < DEFAULT_MAX_MAP_COUNT ? "raise vm.max_map_count to 65530, the kernel's default, or above" : "",
		 "a process may have %s mappings", text);
}

static void state(struct hs_findings *l)
{
	char text[256];
	struct dirent *e;
	DIR *d;

	if (hs_slurp(l->host->lock_dir ? l->host->lock_dir : l->host->state_dir, "ksm.lock", text, sizeof(text)) &&
	    text[0])
		hs_found(l, HS_FINDING_NOTE, "ksm-owner", "", "KSM was last taken by process %.*s",
			 (int)strcspn(text, "\n"), text);
	if (hs_slurp(l->host->state_dir, "ksm.state", text, sizeof(text)))
		hs_found(l, HS_FINDING_NOTE, "ksm-state", "the next start of hs-shared or hs-share run gives them back",
			 "KSM's settings are saved for giving back: somebody works with them now, or was killed");
	d = opendir(l->host->state_dir);
	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, "split-", 6) == 0)
			hs_found(l, HS_FINDING_NOTE, "split-mappings", "",
				 "mappings of process %.*s are split for a look, now or since a crash; the next look "
				 "makes them huge again",
				 (int)strcspn(e->d_name + 6, "."), e->d_name + 6);
	if (d)
		(void)closedir(d);
}

int hs_diagnose(const struct hs_diagnose_request *request, struct hs_finding **out, size_t *nr, struct hs_error *err)
{
	struct hs_findings l = { .host = request->host, .probe = request->probe };

	kernel(&l);
	bpf(&l);
	confined(&l);
	tracing(&l);
	huge_pages(&l);
	ksm(&l);
	ageing(&l);
	kvm(&l);
	hs_find_processes(&l);
	hs_find_foreign(&l, request->pids, request->nr_pids);
	limits(&l);
	hs_find_memory(&l);
	state(&l);
	*out = l.f;
	*nr = l.nr;
	if (!l.nomem)
		return 0;
	free(l.f);
	*out = NULL;
	*nr = 0;
	return hs_error_set(err, -ENOMEM, "out of memory");
}

json_t *hs_diagnose_json(const struct hs_finding *f, size_t nr)
{
	static const char *const levels[] = { "ok", "note", "warning", "obstacle" };
	json_t *list = json_array();
	int obstacles = 0, warnings = 0;

	for (size_t i = 0; i < nr; i++) {
		obstacles += f[i].level == HS_FINDING_OBSTACLE;
		warnings += f[i].level == HS_FINDING_WARNING;
		(void)json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:s}", "level", levels[f[i].level], "name",
							    f[i].name, "text", f[i].text, "advice", f[i].advice));
	}
	return json_pack("{s:o,s:i,s:i}", "findings", list, "obstacles", obstacles, "warnings", warnings);
}
