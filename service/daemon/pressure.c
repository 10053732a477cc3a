/* SPDX-License-Identifier: Apache-2.0 */
#include "pressure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/meminfo.h"

/* The number behind `key` in the file; -errno. */
static int read_number(const char *path, const char *key, const char *format, void *out)
{
	char line[256];
	int rc = -ENODATA;
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	while (rc && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), format, out) == 1)
			rc = 0;
	(void)fclose(f);
	return rc;
}

int hs_pressure_read(const struct hs_host *host, struct hs_pressure *out, struct hs_error *err)
{
	struct hs_meminfo mem;
	char path[4200];
	int rc;

	memset(out, 0, sizeof(*out));
	out->psi_some_avg10 = -1;
	rc = hs_meminfo_read(host, &mem);
	if (rc)
		return hs_error_set(err, rc, "cannot read how much memory there is from %s/meminfo: %s", host->proc_dir,
				    strerror(-rc));
	out->total_bytes = mem.total_bytes;
	out->available_bytes = mem.available_bytes;
	(void)snprintf(path, sizeof(path), "%s/pressure/memory", host->proc_dir);
	if (read_number(path, "some ", "avg10=%lf", &out->psi_some_avg10))
		out->psi_some_avg10 = -1;
	return 0;
}

bool hs_pressure_decide(struct hs_pressure_state *s, const struct hs_pressure_config *cfg, const struct hs_pressure *p,
			uint64_t now_ms, char why[256])
{
	double available;
	bool psi_high, psi_low, to;

	if (!p->total_bytes)
		return false;
	available = 100.0 * (double)p->available_bytes / (double)p->total_bytes;
	psi_high = p->psi_some_avg10 > cfg->on_psi_some_avg10;
	psi_low = p->psi_some_avg10 < cfg->off_psi_some_avg10; /* a kernel that does not say counts as low */
	if (!s->saving && (available < cfg->on_available_percent || psi_high))
		to = true;
	else if (s->saving && available > cfg->off_available_percent && psi_low)
		to = false;
	else
		return false;
	if (s->decided && now_ms - s->since_ms < (uint64_t)cfg->dwell_s * 1000)
		return false;
	s->saving = to;
	s->decided = true;
	s->since_ms = now_ms;
	if (to && available < cfg->on_available_percent)
		(void)snprintf(why, 256, "auto: %.1f %% of the memory is available, below %g %%", available,
			       cfg->on_available_percent);
	else if (to)
		(void)snprintf(why, 256, "auto: tasks waited for memory for %.1f %% of 10 s, above %g %%",
			       p->psi_some_avg10, cfg->on_psi_some_avg10);
	else
		(void)snprintf(why, 256,
			       "auto: %.1f %% of the memory is available, above %g %%, and hardly a task waits for it",
			       available, cfg->off_available_percent);
	return true;
}
