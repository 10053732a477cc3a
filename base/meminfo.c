/* SPDX-License-Identifier: Apache-2.0 */
#include "meminfo.h"

#include <errno.h>

#include "hostfile.h"

/* In kB. */
static int field(const char *text, const char *key, uint64_t *bytes)
{
	uint64_t kib;

	if (hs_hostfile_field(text, key, &kib))
		return -ENODATA;
	*bytes = kib * 1024;
	return 0;
}

int hs_meminfo_read(const struct hs_host *host, struct hs_meminfo *out)
{
	struct hs_meminfo m = { 0 };
	char text[8192];
	ssize_t n = hs_hostfile_read(host->proc_dir, "meminfo", text, sizeof(text));
	int rc = n < 0 ? (int)n : 0;

	*out = m;
	if (!rc)
		rc = field(text, "MemTotal:", &m.total_bytes);
	if (!rc)
		rc = field(text, "MemAvailable:", &m.available_bytes);
	if (rc)
		return rc;
	if (field(text, "SwapTotal:", &m.swap_total_bytes) || field(text, "SwapFree:", &m.swap_free_bytes))
		m.swap_total_bytes = m.swap_free_bytes = 0;
	*out = m;
	return 0;
}
