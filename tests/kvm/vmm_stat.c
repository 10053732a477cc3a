/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's files say of the VMM's process and of its virtual machine. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hs_test.h"
#include "vmm.h"

uint64_t vmm_smaps_kb(const struct vmm *m, const char *field)
{
	return hs_test_smaps_kb(m->pid, field);
}

/* KVM's folder of a VM is called PID-FD. */
long long vmm_kvm_stat(const struct vmm *m, const char *name)
{
	static const char dir[] = "/sys/kernel/debug/kvm";
	char want[32], path[512];
	long long value = -1;
	struct dirent *e;
	DIR *d = opendir(dir);

	(void)snprintf(want, sizeof(want), "%d-", (int)m->pid);
	while (d && value < 0 && (e = readdir(d)) != NULL) {
		FILE *f;

		if (strncmp(e->d_name, want, strlen(want)) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s/%s", dir, e->d_name, name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%lld", &value) != 1)
			value = -1;
		(void)fclose(f);
	}
	if (d)
		(void)closedir(d);
	return value;
}
