/* SPDX-License-Identifier: Apache-2.0 */
#include "host_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hostfile.h"

static bool has_capability(const struct __user_cap_data_struct *caps, unsigned int nr)
{
	return (caps[nr / 32].effective >> (nr % 32)) & 1;
}

static bool may_bpf(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &header, caps))
		return false;
	return has_capability(caps, CAP_SYS_ADMIN) ||
	       (has_capability(caps, CAP_BPF) && has_capability(caps, CAP_PERFMON));
}

/* The file reads "none integrity [confidentiality]"; the brackets stand around what is in force. */
static bool is_confidential(const char *sys_dir)
{
	char path[512], text[256] = "";
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/kernel/security/lockdown", sys_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 && strstr(text, "[confidentiality]");
}

void hs_facts_read(const char *sys_dir, struct hs_facts *out)
{
	char path[512];

	out->may_bpf = may_bpf();
	/* An empty command is an error in every kernel, and another error where there is no such call. */
	out->has_bpf = syscall(SYS_bpf, -1, NULL, 0) == 0 || errno != ENOSYS;
	(void)snprintf(path, sizeof(path), "%s/kernel/btf/vmlinux", sys_dir);
	out->has_btf = access(path, F_OK) == 0;
	out->locked_down = is_confidential(sys_dir);
}

int hs_facts_explain(const struct hs_facts *f, int rc, const char *what, const char *log, struct hs_error *err)
{
	const char *colon = log && *log ? ": " : "";

	if (!log)
		log = "";
	if (rc == -ENOMEM)
		return hs_error_set(err, -ENOMEM, "no memory to load the BPF program that %s%s%s", what, colon, log);
	if (!f->has_bpf)
		return hs_error_set(err, -ENOTSUP,
				    "this kernel has no BPF, and it takes a BPF program that %s: use a kernel with "
				    "CONFIG_BPF_SYSCALL=y (6.1 or later)",
				    what);
	if (!f->may_bpf)
		return hs_error_set(err, -EPERM,
				    "the BPF program that %s needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, in the "
				    "initial user namespace: run as root, or give the service these capabilities",
				    what);
	if (f->locked_down)
		return hs_error_set(err, -EPERM,
				    "kernel lockdown is at 'confidentiality', which forbids BPF to read kernel memory: "
				    "boot with lockdown=integrity, or without lockdown");
	if (!f->has_btf)
		return hs_error_set(
		    err, -ENOTSUP,
		    "this kernel does not describe its types (/sys/kernel/btf/vmlinux is missing): use a "
		    "kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions build it");
	if (rc == -EPERM || rc == -EACCES)
		return hs_error_set(err, -EPERM,
				    "the kernel refused the BPF program that %s (%s): a security module, a seccomp "
				    "filter or a user namespace forbids it; run the service on the host itself%s%s",
				    what, strerror(-rc), colon, log);
	return hs_error_set(err, -ENOTSUP,
			    "this kernel does not load the BPF program that %s (%s), it needs 6.1 or later%s%s", what,
			    strerror(-rc), colon, log);
}

char *hs_facts_cpuinfo(const char *proc_dir)
{
	enum { ENOUGH = 16384 }; /* the first processor's lines say it all */
	char path[512];
	char *text = calloc(1, ENOUGH);
	size_t n = 0;
	ssize_t got;
	int fd;

	if (!text)
		return NULL;
	(void)snprintf(path, sizeof(path), "%s/cpuinfo", proc_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return text;
	while (n < ENOUGH - 1 && (got = read(fd, text + n, ENOUGH - 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	return text;
}

unsigned int hs_facts_phys_bits(const char *cpuinfo)
{
	const char *line = strstr(cpuinfo, "address sizes");
	const char *colon = line ? strchr(line, ':') : NULL;
	unsigned long bits = colon ? strtoul(colon + 1, NULL, 10) : 0;

	return bits > HS_BASE_SHIFT && bits <= 52 ? (unsigned int)bits : 0;
}

bool hs_facts_has_flag(const char *cpuinfo, const char *flag)
{
	const char *line = strstr(cpuinfo, "\nflags");
	const char *end = line ? strchr(line + 1, '\n') : NULL;
	size_t len = strlen(flag);

	for (const char *p = line; p && (p = strstr(p, flag)); p += len)
		if ((!end || p < end) && p[-1] == ' ' && (p[len] == ' ' || p[len] == '\n' || !p[len]))
			return true;
	return false;
}

bool hs_facts_cpu_has(const char *proc_dir, const char *flag)
{
	char *cpuinfo = hs_facts_cpuinfo(proc_dir);
	bool has = cpuinfo && hs_facts_has_flag(cpuinfo, flag);

	free(cpuinfo);
	return has;
}

bool hs_facts_numa_balances(const struct hs_host *host)
{
	char nodes[256];
	uint64_t mode;
	int rc = hs_hostfile_u64(host->proc_dir, "sys/kernel/numa_balancing", &mode);

	if (rc == -ENOENT || (!rc && !mode))
		return false;
	/* "0", or a list: "0-1", "0,2" */
	return hs_hostfile_read(host->sys_dir ? host->sys_dir : "/sys", "devices/system/node/online", nodes,
				sizeof(nodes)) < 0 ||
	       strpbrk(nodes, ",-");
}

bool hs_facts_ksmd_is_blind(const char *release)
{
	unsigned int major, minor;

	return sscanf(release, "%u.%u", &major, &minor) == 2 && major == 6 && minor < 6;
}

bool hs_facts_split_frees_zeros(const char *release)
{
	unsigned int major, minor;

	return sscanf(release, "%u.%u", &major, &minor) == 2 && (major > 6 || (major == 6 && minor >= 12));
}
