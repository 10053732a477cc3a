/* SPDX-License-Identifier: Apache-2.0 */
/* What KSM says of itself, and the CPU time of its thread. */
#include "ksm.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/hostfile.h"
#include "base/procstat.h"

#define KTHREADD 2 /* parent of every kernel thread */

struct find {
	const struct hs_host *host;
	pid_t pid;
};

static int is_ksmd(void *ctx, pid_t pid)
{
	struct find *find = ctx;
	struct hs_procstat st;
	char text[64];

	if (hs_hostfile_read_pid(find->host, pid, "comm", text, sizeof(text)) < 0 || strcmp(text, "ksmd") ||
	    hs_procstat_read(find->host, pid, &st) || st.ppid != KTHREADD)
		return 0;
	find->pid = pid;
	return 1;
}

/* schedstat counts nanoseconds; stat only ticks of 4 to 10 ms, but every kernel has it. */
static uint64_t cpu_us(const struct hs_host *host, pid_t ksmd)
{
	const long hz = sysconf(_SC_CLK_TCK);
	struct hs_procstat st;
	char text[1024];
	uint64_t value;

	if (hs_hostfile_read_pid(host, ksmd, "schedstat", text, sizeof(text)) > 0 &&
	    !hs_hostfile_parse_u64(text, NULL, &value))
		return value / 1000;
	if (!hs_procstat_read(host, ksmd, &st) && hz > 0)
		return st.cpu_ticks * (1000000 / (uint64_t)hz);
	return UINT64_MAX;
}

int hs_ksm_pages(const struct hs_host *host, struct hs_ksm_counters *out, struct hs_error *err)
{
	const struct {
		const char *name;
		uint64_t *value;
		bool optional;
	} files[] = {
		{ "pages_shared", &out->pages_shared, false },     { "pages_sharing", &out->pages_sharing, false },
		{ "pages_unshared", &out->pages_unshared, false }, { "pages_volatile", &out->pages_volatile, false },
		{ "full_scans", &out->full_scans, false },         { "pages_scanned", &out->pages_scanned, true },
		{ "ksm_zero_pages", &out->zero_pages, true }, /* both came with 6.6 */
	};

	uint64_t run;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int rc = hs_hostfile_u64(host->ksm_dir, files[i].name, files[i].value);

		if (rc && !(rc == -ENOENT && files[i].optional))
			return hs_error_set(err, rc, "cannot read %s/%s: %s", host->ksm_dir, files[i].name,
					    strerror(-rc));
	}
	out->ksmd_runs = hs_hostfile_u64(host->ksm_dir, "run", &run) == 0 && run == 1;
	out->ksmd_cpu_us = UINT64_MAX;
	return 0;
}

int hs_ksm_counters_of(const struct hs_host *host, pid_t *ksmd, struct hs_ksm_counters *out, struct hs_error *err)
{
	int rc = hs_ksm_pages(host, out, err);

	if (rc)
		return rc;
	if (!*ksmd) {
		struct find find = { .host = host };

		if (hs_hostfile_each_pid(host, is_ksmd, &find) > 0)
			*ksmd = find.pid;
	}
	out->ksmd_cpu_us = *ksmd ? cpu_us(host, *ksmd) : UINT64_MAX;
	return 0;
}

int hs_ksm_counters(const struct hs_host *host, struct hs_ksm_counters *out, struct hs_error *err)
{
	pid_t ksmd = 0;

	return hs_ksm_counters_of(host, &ksmd, out, err);
}
