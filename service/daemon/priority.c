/* SPDX-License-Identifier: Apache-2.0 */
#include "priority.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <errno.h>
#include <sys/resource.h>

#define KSMD_NICE 5

void hs_priority_skip(struct hs_priority *p, uint64_t run_ns, uint64_t waited_ns)
{
	p->run_ns = run_ns;
	p->waited_ns = waited_ns;
}

bool hs_priority_crowded(struct hs_priority *p, uint64_t now_ms, uint64_t run_ns, uint64_t waited_ns)
{
	const uint64_t run = run_ns - p->run_ns, waited = waited_ns - p->waited_ns;

	if (p->crowded) {
		hs_priority_skip(p, run_ns, waited_ns);
		p->crowded = now_ms < p->until_ms;
		return p->crowded;
	}
	if (waited >= HS_PRIORITY_WAIT_MS * UINT64_C(1000000) && waited > run) {
		p->retry_ms = p->retry_ms ? p->retry_ms * 2 : HS_PRIORITY_RETRY_MS;
		if (p->retry_ms > HS_PRIORITY_RETRY_MAX_MS)
			p->retry_ms = HS_PRIORITY_RETRY_MAX_MS;
		p->until_ms = now_ms + p->retry_ms;
		p->crowded = true;
	} else if (run + waited >= HS_PRIORITY_PIECE_MS * UINT64_C(1000000)) {
		p->retry_ms = 0;
	} else {
		return false;
	}
	hs_priority_skip(p, run_ns, waited_ns);
	return p->crowded;
}

int hs_priority_read(const struct hs_host *host, uint64_t *run_ns, uint64_t *waited_ns)
{
	char path[4200];
	FILE *f;
	int rc = 0;

	(void)snprintf(path, sizeof(path), "%s/thread-self/schedstat", host->proc_dir);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	if (fscanf(f, "%" SCNu64 " %" SCNu64, run_ns, waited_ns) != 2)
		rc = -ENODATA;
	(void)fclose(f);
	return rc;
}

bool hs_priority_set(enum hs_sched_class sched_class)
{
	const struct sched_param param = { 0 };

	/* Policy first: the nice value of a thread that gives way counts again once it does not. */
	if (sched_setscheduler(0, sched_class == HS_SCHED_IDLE ? SCHED_IDLE : SCHED_OTHER, &param) != 0)
		return false;
	/* 0 is this thread alone: on Linux nice values are threads' own. */
	return setpriority(PRIO_PROCESS, 0, sched_class == HS_SCHED_KSMD ? KSMD_NICE : 0) == 0;
}
