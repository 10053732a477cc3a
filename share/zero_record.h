/* SPDX-License-Identifier: Apache-2.0 */
/* Which huge pages were split for their zeros: a file of the state folder, zeros-PID, bound to the process and put in
 * place as all of them are (base/state_file.h). */
#ifndef HS_SHARE_ZERO_RECORD_H
#define HS_SHARE_ZERO_RECORD_H

#include <sys/types.h>

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

/* addr[nr]: first addresses of huge pages; nr 0 removes the record. Makes the state folder when it is not there. */
HS_MUST_USE int hs_zero_record_write(const struct hs_host *host, pid_t pid, const uint64_t *addr, size_t nr,
				     struct hs_error *err);

/* *addr is malloc'ed, the caller frees. *nr 0: there is none, or it is about a process that had the number before.
 * -ESRCH: no such process. -EBADMSG: it cannot be believed; the text names it. */
HS_MUST_USE int hs_zero_record_read(const struct hs_host *host, pid_t pid, uint64_t **addr, size_t *nr,
				    struct hs_error *err);

#endif
