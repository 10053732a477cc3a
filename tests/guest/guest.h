/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests for demo, live suites and benchmarks: real memory, real accesses, and the truth about each page.
 *
 *   struct hs_guest_config cfg = hs_guest_config_default(HS_GUEST_QEMU);
 *   hs_guest_start(&g, &cfg, &err);              several can be started before the first is waited for
 *   hs_guest_wait_ready(g, 60000, &info, &err);
 *   ... hs_guest_stats, hs_guest_layout, hs_guest_hva, hs_guest_verify ...
 *   hs_guest_stop(g);
 *
 * Two kinds: a plain process at native speed, and a QEMU machine with Debian's cloud kernel and the workload as process
 * 1. Nothing is left on disk, and the guests die with the thread that started them (the kernel's parent-death signal
 * follows the thread, so start guests from one that lives as long as they are to).
 *
 * Latency is that of a batch of accesses, as the guest sees it: with more busy guests than cores its 99th percentile is
 * the scheduler's time slice. Whoever wants to see what else disturbs sets params.rate so that the cores suffice.
 */
#ifndef HS_TESTS_GUEST_GUEST_H
#define HS_TESTS_GUEST_GUEST_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/types.h"
#include "layout.h"

struct hs_guest;

enum hs_guest_kind { HS_GUEST_PROCESS = 0, HS_GUEST_QEMU };

struct hs_guest_config {
	enum hs_guest_kind kind;
	const char *name; /* for messages; not kept */
	struct hs_guest_params params;
	const char
	    *program; /* the workload; NULL: as built (static for QEMU); HS_GUEST_PROGRAM, HS_GUEST_INIT override */

	/* QEMU only. */
	const char *qemu;   /* NULL: qemu-system-x86_64 */
	const char *kernel; /* NULL: the newest /boot/vmlinuz-*-cloud-amd64 */
	const char *accel;  /* NULL: software emulation, with a translation buffer below 64 MiB */
	uint32_t ram_mib;   /* 0: the workload's memory and 192 MiB for the guest's kernel; below 2048 */
	bool mem_merge_off; /* QEMU marks its RAM mergeable unless told not to */
	bool sandbox;       /* QEMU's seccomp filter, as libvirt asks for it */
};
struct hs_guest_config hs_guest_config_default(enum hs_guest_kind kind);

/* 0 when a QEMU guest can be started here; -ENOENT: the text says which package is missing. */
HS_MUST_USE int hs_guest_qemu_available(const struct hs_guest_config *cfg, struct hs_error *err);

/* Starts it and does not wait. -EINVAL, -ENOMEM, -ENOENT. */
HS_MUST_USE int hs_guest_start(struct hs_guest **out, const struct hs_guest_config *cfg, struct hs_error *err);

struct hs_guest_info {
	uint64_t ready_ns; /* from start to ready, on the host's clock */
	uint64_t fill_ns;  /* of that: filling the memory, on the guest's clock */
};
/*
 * Waits until the memory is filled and the accesses go on; finds out where the memory is, and proves it by the bytes.
 * info may be NULL. -ETIMEDOUT, -EPIPE: it ended; the text has the end of its log. -EAGAIN: its memory is not made of
 * whole huge pages, because the host (or the guest's kernel) had none.
 */
HS_MUST_USE int hs_guest_wait_ready(struct hs_guest *g, int timeout_ms, struct hs_guest_info *info,
				    struct hs_error *err);

/* Ends it by its pid, reaps it and frees everything. Takes NULL. */
void hs_guest_stop(struct hs_guest *g);

/* 0: it runs. -EPIPE: it ended by itself; the text says how, with the end of its log. */
HS_MUST_USE int hs_guest_alive(struct hs_guest *g, struct hs_error *err);

/* The process whose memory the guest's is. */
pid_t hs_guest_pid(const struct hs_guest *g);
const char *hs_guest_name(const struct hs_guest *g);
enum hs_guest_kind hs_guest_kind(const struct hs_guest *g);

/* ---- what it holds and where ---- */

/* The truth about each page; follows write, heat and cool. Counters of written pages are the guest's secret. */
const struct hs_guest_layout *hs_guest_layout(const struct hs_guest *g);

/* Address of huge page `huge` (the layout's number) in the process hs_guest_pid; known from ready on. */
hs_hva hs_guest_hva(const struct hs_guest *g, uint32_t huge);

/* The layout's number of the huge page at this address; UINT32_MAX: none of the workload's. */
uint32_t hs_guest_huge_at(const struct hs_guest *g, hs_hva hva);

/* Addresses of all huge pages of one class, in the layout's order, into out[]; how many (heated ones count as cold). */
uint32_t hs_guest_class_hva(const struct hs_guest *g, enum hs_guest_class cls, hs_hva *out, uint32_t max);

/* Asks again where the memory is: a machine's kernel may move it. Errors of a command. */
HS_MUST_USE int hs_guest_locate(struct hs_guest *g, struct hs_error *err);

/* ---- commands: -EPIPE it ended, -ETIMEDOUT no answer, -EPROTO an answer that is none ---- */

struct hs_guest_stats {
	uint64_t accesses, writes;
	uint64_t elapsed_ns;                      /* the guest's clock; pauses left out */
	uint64_t batches;                         /* of params.batch accesses */
	uint64_t p50_ns, p99_ns, p999_ns, max_ns; /* of one batch */
	uint64_t sweep_ns;   /* the longest pass over all hot pages that ended meanwhile; 0: none did */
	uint64_t hot_errors; /* since the start: a hot page had lost a write */
	double accesses_per_s;
};
/* Since the last call (the first: since ready). */
HS_MUST_USE int hs_guest_stats(struct hs_guest *g, struct hs_guest_stats *out, struct hs_error *err);

struct hs_guest_verified {
	uint64_t checked_pages, bad_pages;
	uint32_t first_bad; /* page number in the layout; UINT32_MAX: none */
};
/* The guest reads and compares all of its memory, which makes every page accessed. */
HS_MUST_USE int hs_guest_verify(struct hs_guest *g, struct hs_guest_verified *out, struct hs_error *err);

/* The same in two halves, so that several guests work at a time; no other command between them. */
HS_MUST_USE int hs_guest_verify_begin(struct hs_guest *g, struct hs_error *err);
HS_MUST_USE int hs_guest_verify_end(struct hs_guest *g, struct hs_guest_verified *out, struct hs_error *err);

/*
 * The same check from outside, by process_vm_readv: the guest does not know of it. What was written meanwhile counts by
 * its checksum. Makes every page accessed as well. -ESRCH, -EFAULT.
 */
HS_MUST_USE int hs_guest_verify_from_host(const struct hs_guest *g, struct hs_guest_verified *out,
					  struct hs_error *err);

/* Overwrites nr cold identical pages with contents of this guest alone; *done may be NULL. */
HS_MUST_USE int hs_guest_write(struct hs_guest *g, uint32_t nr, uint64_t seed, uint32_t *done, struct hs_error *err);

/* Turns nr more cold huge pages hot, in the layout's order; all those cold again. */
HS_MUST_USE int hs_guest_heat(struct hs_guest *g, uint32_t nr, uint32_t *done, struct hs_error *err);
HS_MUST_USE int hs_guest_cool(struct hs_guest *g, struct hs_error *err);

HS_MUST_USE int hs_guest_pause(struct hs_guest *g, struct hs_error *err);
HS_MUST_USE int hs_guest_resume(struct hs_guest *g, struct hs_error *err);

/* ---- the kernel's figures ---- */

struct hs_guest_memory {
	uint64_t rss_bytes, pss_bytes, anonymous_bytes;
	uint64_t huge_bytes;        /* AnonHugePages: mapped by huge entries */
	uint64_t ksm_bytes;         /* mapped to KSM pages, the zero page included; 0 where smaps does not say */
	uint64_t ksm_merging_pages; /* ksm_stat; 0 where the kernel has no such line */
	uint64_t ksm_rmap_items;
	uint64_t ksm_zero_pages;
	uint64_t cpu_ms; /* user and system time so far */
};
/* Any process. Disturbs no accessed bit. -ESRCH. */
HS_MUST_USE int hs_guest_memory(pid_t pid, struct hs_guest_memory *out, struct hs_error *err);

#endif
