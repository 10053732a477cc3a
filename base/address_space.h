/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which processes share one address space. A process id does not name one: vfork, posix_spawn and clone(CLONE_VM) make
 * processes of their own that run in the memory of another (QEMU's -run-with async-teardown is such a one). What is
 * known of the memory of one of them, an advice that was given to it for example, holds for all.
 */
#ifndef HS_BASE_ADDRESS_SPACE_H
#define HS_BASE_ADDRESS_SPACE_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"

/*
 * 1: both run in the same address space, as the kernel says (kcmp, KCMP_VM); 0: they do not. -errno: unknown, and then
 * they are to be taken for two: -ESRCH one of them is gone, or both have no memory (any more); -EPERM (CAP_SYS_PTRACE);
 * -ENOSYS a kernel without CONFIG_KCMP; -ENOTSUP host->proc_dir is not the /proc of the processes that we can name (a
 * recorded tree). 0.4 us.
 */
HS_MUST_USE int hs_same_address_space(const struct hs_host *host, pid_t pid_a, pid_t pid_b);

/*
 * Calls visit for every other process (not thread) that runs in the address space of `pid`; a result other than 0 ends
 * the walk and is returned. Walks over all processes of the host. Errors as above; processes that end meanwhile or may
 * not be asked are passed over, as nobody who shares memory with a process that we may trace is out of our reach.
 */
HS_MUST_USE int hs_address_space_each(const struct hs_host *host, pid_t pid, int (*visit)(void *ctx, pid_t other),
				      void *ctx);

#endif
