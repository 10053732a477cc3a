/* Looks at the host, one thing after the other; each function below finds one or two. Nothing is changed. */
#include "diagnose.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "hs/share.h"
#include "hs/view.h"

struct list {
	const struct hs_host *host;
	struct hs_finding *f;
	size_t nr, room;
	bool nomem;
};

/* Adds a finding whose text is formatted; `advice` as it is. */
__attribute__((format(printf, 5, 6))) static void found(struct list *l, enum hs_finding_level level, const char *name,
							const char *advice, const char *fmt, ...)
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
}

/* The file's first bytes, without the last newline; false: it cannot be read. */
static bool slurp(const char *dir, const char *name, char *buf, size_t size)
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

static void kernel(struct list *l)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	if (uname(&u))
		return;
	(void)sscanf(u.release, "%u.%u", &major, &minor);
	if (major < 6 || (major == 6 && minor < 1))
		found(l, HS_FINDING_OBSTACLE, "kernel", "use Linux 6.1 or later", "Linux %.64s is older than 6.1",
		      u.release);
	else
		found(l, HS_FINDING_OK, "kernel", "", "Linux %.64s", u.release);
	if (strcmp(u.machine, "x86_64") != 0)
		found(l, HS_FINDING_OBSTACLE, "machine", "use an x86-64 host", "the machine is %.64s", u.machine);
}

static void bpf(struct list *l)
{
	char text[256];

	if (access("/sys/kernel/btf/vmlinux", R_OK))
		found(l, HS_FINDING_OBSTACLE, "btf", "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as Debian's are",
		      "the kernel's type information /sys/kernel/btf/vmlinux cannot be read: %s", strerror(errno));
	else
		found(l, HS_FINDING_OK, "btf", "", "the kernel has type information");
	if (slurp("/sys/kernel/security", "lockdown", text, sizeof(text)) &&
	    strcmp(chosen(text), "confidentiality") == 0)
		found(l, HS_FINDING_OBSTACLE, "lockdown", "boot with lockdown=integrity, or without",
		      "kernel lockdown is in confidentiality mode: page tables cannot be read");
	if (geteuid() != 0)
		found(l, HS_FINDING_WARNING, "root", "run it as root",
		      "not run as root: some of this could not be looked at");
}

static void huge_pages(struct list *l)
{
	char text[256];
	const char *mode;

	if (!slurp(l->host->thp_dir, "enabled", text, sizeof(text))) {
		found(l, HS_FINDING_OBSTACLE, "transparent-huge-pages",
		      "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE=y", "the kernel has no transparent huge pages");
		return;
	}
	mode = chosen(text);
	if (strcmp(mode, "never") == 0)
		found(l, HS_FINDING_WARNING, "transparent-huge-pages", "write madvise or always to enabled",
		      "transparent huge pages are off: there are no huge pages to keep whole");
	else
		found(l, HS_FINDING_OK, "transparent-huge-pages", "", "transparent huge pages: %.32s", mode);
	if (slurp(l->host->thp_dir, "khugepaged/defrag", text, sizeof(text)))
		found(l, HS_FINDING_OK, "khugepaged", "",
		      "khugepaged %s collapse memory by itself; it is kept off shared ranges",
		      text[0] == '1' ? "may" : "does not");
}

static void ksm(struct list *l)
{
	char run[32], text[256];

	if (!slurp(l->host->ksm_dir, "run", run, sizeof(run))) {
		found(l, HS_FINDING_OBSTACLE, "ksm", "use a kernel with CONFIG_KSM=y", "the kernel has no KSM");
		return;
	}
	if (strcmp(run, "1") == 0)
		found(l, HS_FINDING_NOTE, "ksm",
		      "when hs-shared is not just merging, stop what started it; then: echo 0 > /sys/kernel/mm/ksm/run",
		      "ksmd is running now: hs-shared lets it run in short bursts only, so if it is not that, somebody "
		      "else drives it");
	else if (strcmp(run, "2") == 0)
		found(l, HS_FINDING_NOTE, "ksm", "", "KSM has been told to unmerge everything");
	else
		found(l, HS_FINDING_OK, "ksm", "", "KSM is there, and ksmd is stopped");
	if (slurp(l->host->ksm_dir, "advisor_mode", text, sizeof(text)) && strcmp(chosen(text), "none") != 0)
		found(l, HS_FINDING_NOTE, "ksm-advisor", "",
		      "KSM's advisor is on: it is set aside during a burst and given back");
}

/* Processes and kernel threads that have a say in KSM or in accessed bits, by their name. */
static void neighbours(struct list *l)
{
	static const struct {
		const char *comm, *name, *text, *advice;
		enum hs_finding_level level;
	} known[] = {
		{ "ksmtuned", "ksmtuned",
		  "ksmtuned drives KSM: it starts ksmd over all mergeable memory, blind to heat",
		  "stop one of the two: systemctl disable --now ksmtuned", HS_FINDING_OBSTACLE },
		{ "uksmd", "uksmd", "uksmd marks the memory of processes mergeable",
		  "stop it, or exclude the guests from it", HS_FINDING_WARNING },
		{ "kdamond", "damon", "DAMON ages pages as well: accessed bits may vanish between two looks",
		  "none is needed: several rounds are looked at", HS_FINDING_NOTE },
	};
	bool seen[sizeof(known) / sizeof(known[0])] = { false };
	struct dirent *e;
	DIR *d = opendir(l->host->proc_dir);

	while (d && (e = readdir(d))) {
		char name[300], comm[64];

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		(void)snprintf(name, sizeof(name), "%s/comm", e->d_name);
		if (!slurp(l->host->proc_dir, name, comm, sizeof(comm)))
			continue;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
			if (seen[i] || strncmp(comm, known[i].comm, strlen(known[i].comm)) != 0)
				continue;
			seen[i] = true;
			found(l, known[i].level, known[i].name, known[i].advice, "%s (process %s)", known[i].text,
			      e->d_name);
		}
	}
	if (d)
		(void)closedir(d);
}

static void ageing(struct list *l)
{
	char text[64];

	if (slurp("/sys/kernel/mm/lru_gen", "enabled", text, sizeof(text)) && strcmp(text, "0x0000") != 0)
		found(l, HS_FINDING_NOTE, "mglru", "none is needed: several rounds are looked at",
		      "the multi-generational LRU is on (%s): under memory pressure it ages pages as well", text);
}

/* Whether guests under KVM can be seen here, and how well. */
static void kvm(struct list *l)
{
	struct hs_error why = { "" };
	const char *ageing;
	char text[16];
	bool fine;

	if (access("/sys/module/kvm", F_OK) != 0)
		return;
	if (slurp("/sys/module/kvm/parameters", "tdp_mmu", text, sizeof(text)) && text[0] == 'N') {
		found(l, HS_FINDING_WARNING, "kvm", "load the module kvm with tdp_mmu=1",
		      "KVM's TDP MMU is off: accesses of guests under KVM cannot be seen, they are left alone");
		return;
	}
	ageing = hs_view_nested_ageing(l->host, &fine, &why);
	if (!ageing)
		found(l, HS_FINDING_WARNING, "kvm", "see docs/kvm.md for the kernels that do",
		      "guests under KVM are left alone: %.300s", why.text);
	else
		found(l, fine ? HS_FINDING_OK : HS_FINDING_NOTE, "kvm",
		      fine ? "" : "Linux 6.7 and later can do it; see docs/kvm.md",
		      "guests under KVM are seen through nested page tables, aged by %s; hot huge pages %s", ageing,
		      fine ? "can be looked into" : "are not looked into, and stay whole");
}

static void foreign(struct list *l, const pid_t *pids, size_t nr_pids)
{
	struct hs_ksm_foreign *f = NULL;
	struct hs_error err = { "" };
	size_t nr = 0, len = 0;
	uint64_t bytes = 0;
	char names[256] = "";

	if (hs_ksm_find_foreign(l->host, pids, nr_pids, &f, &nr, &err)) {
		found(l, HS_FINDING_WARNING, "foreign-mergeable", "run it as root", "%.300s", err.text);
		return;
	}
	for (size_t i = 0; i < nr; i++) {
		bytes += f[i].mergeable_bytes;
		if (len < sizeof(names) - 40)
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s (%d)", i ? ", " : "", f[i].comm,
						(int)f[i].pid);
	}
	if (nr)
		found(l, HS_FINDING_WARNING, "foreign-mergeable",
		      "opt these guests in, start them with mem-merge=off (libvirt: <nosharepages/>), or set foreign = "
		      "claim in [merge]",
		      "%zu processes that are no guests of ours have %" PRIu64
		      " MiB of mergeable memory, which ksmd would merge blindly: %s",
		      nr, bytes >> 20, names);
	else
		found(l, HS_FINDING_OK, "foreign-mergeable", "", "no mergeable memory of others");
	free(f);
}

static void limits(struct list *l)
{
	char text[64], meminfo[4096];
	unsigned long long total = 0, available = 0;
	const char *at;

	if (slurp(l->host->proc_dir, "sys/vm/max_map_count", text, sizeof(text)))
		found(l, strtoull(text, NULL, 10) < 65530 ? HS_FINDING_WARNING : HS_FINDING_OK, "max-map-count",
		      strtoull(text, NULL, 10) < 65530
			  ? "raise vm.max_map_count to 65530, the kernel's default, or above"
			  : "",
		      "a process may have %s mappings", text);
	if (!slurp(l->host->proc_dir, "meminfo", meminfo, sizeof(meminfo)))
		return;
	at = strstr(meminfo, "MemTotal:");
	total = at ? strtoull(at + 9, NULL, 10) : 0;
	at = strstr(meminfo, "MemAvailable:");
	available = at ? strtoull(at + 13, NULL, 10) : 0;
	if (total)
		found(l, available * 20 < total ? HS_FINDING_WARNING : HS_FINDING_OK, "memory",
		      available * 20 < total ? "unsharing needs memory: make room before turning the service off" : "",
		      "%llu MiB of %llu MiB are available", available >> 10, total >> 10);
}

static void state(struct list *l)
{
	char text[256];
	struct dirent *e;
	DIR *d;

	if (slurp(l->host->state_dir, "ksm.lock", text, sizeof(text)) && text[0])
		found(l, HS_FINDING_NOTE, "ksm-owner", "", "KSM was last taken by process %.32s", text);
	if (slurp(l->host->state_dir, "ksm.state", text, sizeof(text)))
		found(l, HS_FINDING_NOTE, "ksm-state", "the next start of hs-shared or hs-share run gives them back",
		      "KSM's settings are saved for giving back: somebody works with them now, or was killed");
	d = opendir(l->host->state_dir);
	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, "split-", 6) == 0)
			found(l, HS_FINDING_NOTE, "split-mappings", "",
			      "mappings of process %.32s are split for a look, now or since a crash; the next look "
			      "makes them huge again",
			      e->d_name + 6);
	if (d)
		(void)closedir(d);
}

int hs_diagnose(const struct hs_host *host, const pid_t *pids, size_t nr_pids, struct hs_finding **out, size_t *nr,
		struct hs_error *err)
{
	struct list l = { .host = host };

	kernel(&l);
	bpf(&l);
	huge_pages(&l);
	ksm(&l);
	neighbours(&l);
	ageing(&l);
	kvm(&l);
	foreign(&l, pids, nr_pids);
	limits(&l);
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
