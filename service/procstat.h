/* What /proc says of one process. */
#ifndef SERVICE_PROCSTAT_H
#define SERVICE_PROCSTAT_H

#include <stdint.h>
#include <sys/types.h>

#include "hs/host.h"

/* Start time in clock ticks since boot (field 22 of stat): with the pid it names a process for good. 0: it is gone. */
uint64_t hs_start_time(const struct hs_host *host, pid_t pid);

#endif
