/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's memory, and what of it the end of all sharing would take.
 *
 * KSM's counters follow what happens only while ksmd runs: what a guest that has ended, or was unshared, had shared
 * stays in them until ksmd comes by. While ksmd is stopped the processes are asked instead, by their page tables.
 */
#include <errno.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/meminfo.h"
#include "base/room.h"
#include "diagnose_internal.h"
#include "hs/share.h"
#include "hs/types.h"

struct to_unshare {
	unsigned long long kib;
	enum { EXACT, AT_MOST, LAST_PASS } how;
};

struct walk {
	const struct hs_host *host;
	uint64_t kib;
	bool unknown; /* a process does not say, or the kernel cannot */
};

/* Adds what is merged of one process. */
static int add_process(void *ctx, pid_t pid)
{
	struct walk *w = ctx;
	uint64_t merged, mapped, kib;
	char text[4096];

	if (hs_hostfile_read_pid(w->host, pid, "ksm_stat", text, sizeof(text)) < 0) {
		/* Unless it has ended meanwhile. */
		w->unknown |= hs_hostfile_read_pid(w->host, pid, "comm", text, sizeof(text)) >= 0;
		return 0;
	}
	/* Threads of the kernel have none. This counter is as old as the host's, but never too low. */
	if (hs_hostfile_field(text, "ksm_merging_pages ", &merged) || !merged)
		return 0;
	kib = merged * (HS_BASE_SIZE / 1024);
	/* From Linux 6.8 on. */
	if (hs_hostfile_read_pid(w->host, pid, "smaps_rollup", text, sizeof(text)) > 0 &&
	    hs_hostfile_field(text, "KSM:", &mapped) == 0)
		kib = mapped;
	w->kib += kib;
	return 0;
}

static void count(const struct hs_host *host, struct to_unshare *out)
{
	struct walk w = { .host = host };
	struct hs_ksm_counters c;

	if (hs_ksm_pages(host, &c, NULL))
		return;
	out->kib = (c.pages_sharing + c.zero_pages) * (HS_BASE_SIZE / 1024);
	if (c.ksmd_runs || !out->kib)
		return;
	if (hs_hostfile_each_pid(host, add_process, &w) < 0 || w.unknown) {
		out->how = LAST_PASS;
		return;
	}
	/* Zero pages are counted as they come and go. */
	out->kib = w.kib + c.zero_pages * (HS_BASE_SIZE / 1024);
	/* Of each content one page stays as it is; how many contents there are, nobody says. */
	out->how = w.kib ? AT_MOST : EXACT;
}

/* As of our own cgroups: those of guests are read the same way. In a bare root, as of a rescue shell, there may be no
 * way. */
static void find_limits(struct hs_findings *l)
{
	struct hs_error why = { "" };
	struct hs_room room;
	int rc = hs_room_of(l->host, getpid(), 0, &room, &why);

	if (rc && rc != -ESRCH)
		hs_found(
		    l, HS_FINDING_WARNING, "memory-cgroups",
		    "mount the cgroups where they belong: mount -t cgroup2 cgroup2 /sys/fs/cgroup (version 1: mount -t "
		    "cgroup -o memory cgroup /sys/fs/cgroup/memory)",
		    "what memory cgroups allow cannot be known, so hot huge pages are not looked into: %s", why.text);
}

void hs_find_memory(struct hs_findings *l)
{
	unsigned long long total, available, swap_total, swap_free;
	struct to_unshare s = { 0 };
	struct hs_meminfo mem;

	find_limits(l);
	count(l->host, &s);
	if (hs_meminfo_read(l->host, &mem))
		return;
	total = mem.total_bytes >> 10;
	available = mem.available_bytes >> 10;
	swap_total = mem.swap_total_bytes >> 10;
	swap_free = mem.swap_free_bytes >> 10;
	if (total)
		hs_found(l, available * 20 < total ? HS_FINDING_WARNING : HS_FINDING_OK, "memory",
			 available * 20 < total ? "unsharing needs memory: make room before turning the service off"
						: "",
			 "%llu MiB of %llu MiB are available", available >> 10, total >> 10);
	if (total)
		hs_found(
		    l, s.kib > available ? HS_FINDING_WARNING : HS_FINDING_OK, "memory-to-unshare",
		    s.kib > available ? "make room, or migrate guests away one by one, before sharing is ended" : "",
		    "ending all sharing on this host would take %s%llu MiB%s; %llu MiB are available",
		    s.how == EXACT ? "" : "at most ", s.kib >> 10,
		    s.how == LAST_PASS ? ", by the counters that ksmd left when it was stopped" : "", available >> 10);
	if (swap_total)
		hs_found(l, HS_FINDING_NOTE, "swap", "",
			 "there is swap (%llu MiB, %llu MiB of it in use): what of a guest is swapped out is left "
			 "alone, and "
			 "swap may hide that memory is short",
			 swap_total >> 10, (swap_total - swap_free) >> 10);
	else
		hs_found(l, HS_FINDING_OK, "swap", "", "there is no swap");
}
