/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says of a process and of the machine. */
#ifndef HS_BASE_PROCSTAT_H
#define HS_BASE_PROCSTAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"

/* Of /proc/PID/stat. What an abridged one does not have is 0. */
struct hs_procstat {
	pid_t ppid;
	uint64_t cpu_ticks;   /* user and system time */
	uint64_t start_ticks; /* since the boot */
	uint64_t stack;       /* where its program's stack begins; 0: no memory of its own, or it may not be read */
};

/* -ENOENT or -ESRCH: it is gone; -EPROTO: it cannot be understood; -errno. *out is zero then. */
HS_MUST_USE int hs_procstat_read(const struct hs_host *host, pid_t pid, struct hs_procstat *out);

/* Start time in clock ticks since boot: with the pid it names a process for good. 0: it is gone, or cannot be read. */
uint64_t hs_start_time(const struct hs_host *host, pid_t pid);

/*
 * What names a process's memory for good, together with the pid and the boot. Exec keeps the start time and puts other
 * memory in place; the kernel puts each program's stack at a place of its own, by chance.
 */
struct hs_process_id {
	uint64_t started; /* clock ticks since boot; 0: of nobody */
	uint64_t program; /* where its stack began; 0: unknown, which is taken for the same */
};

/* -ESRCH: it is gone; another error: that cannot be told now. *out is zero then. */
HS_MUST_USE int hs_process_id_read(const struct hs_host *host, pid_t pid, struct hs_process_id *out);

static inline bool hs_process_id_same(const struct hs_process_id *a, const struct hs_process_id *b)
{
	return a->started == b->started && (a->program == b->program || !a->program || !b->program);
}

/*
 * False: it was started by another user than root, who may have given it any name. True where that cannot be told. (The
 * owner of its folder in /proc does not tell it: root owns that of a process that may not be dumped.)
 */
bool hs_may_be_of_root(const struct hs_host *host, pid_t pid);

/* Memory that this process has, now. 0: unknown. */
uint64_t hs_resident_bytes(const struct hs_host *host);

/* The first processor's model name, cut where there is no room. "": unknown. */
void hs_cpu_model(const struct hs_host *host, char *out, size_t size);

#endif
