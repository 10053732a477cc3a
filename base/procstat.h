/* What /proc says of a process and of the machine. */
#ifndef HS_BASE_PROCSTAT_H
#define HS_BASE_PROCSTAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hs/host.h"

/* Start time in clock ticks since boot (field 22 of stat): with the pid it names a process for good. 0: it is gone. */
uint64_t hs_start_time(const struct hs_host *host, pid_t pid);

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
