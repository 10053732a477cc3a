/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the memory of a process is pinned for good, so that KSM can merge none of it: a device is passed through to
 * it (VFIO by group or by iommufd, vDPA), or most of it is held by long-term pins of another kind (RDMA, io_uring).
 * Asked of /proc/PID/fd and of VmPin in /proc/PID/status; VFIO counts its pins elsewhere, so both are needed.
 */
#ifndef HS_BASE_PASSTHROUGH_H
#define HS_BASE_PASSTHROUGH_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"

/* 1: it is, and the text says by what; 0: it is not, or the process is gone; -errno with the text: that cannot be told.
 */
HS_MUST_USE int hs_passthrough_look(const struct hs_host *host, pid_t pid, struct hs_error *err);

#endif
