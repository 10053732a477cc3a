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
};

/* -ENOENT or -ESRCH: it is gone; -EPROTO: it cannot be understood; -errno. *out is zero then. */
HS_MUST_USE int hs_procstat_read(const struct hs_host *host, pid_t pid, struct hs_procstat *out);

/* Start time in clock ticks since boot: with the pid it names a process for good. 0: it is gone. */
uint64_t hs_start_time(const struct hs_host *host, pid_t pid);

/*
 * Tells the programs apart that a process runs one after another: exec keeps pid and start time, and makes a new
 * address space. A digest of the auxiliary vector, which the kernel writes at exec with the places of the new stack,
 * program and vDSO; without address space randomisation the same program anew may have the same. 0: it cannot be read.
 */
uint64_t hs_exec_id(const struct hs_host *host, pid_t pid);

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
