/* What no file tells: asked of the running kernel, with calls that change nothing. */
#include "diagnose.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Debian 12's headers are older than the call (linux/fs.h, since 6.7). */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_CALL _IOWR('f', 16, struct scan_arg)

/* Loads, and drops, a program of the kind that reads page tables, which does nothing but return. */
static int probe_bpf(void)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SYSCALL;
	attr.prog_flags = BPF_F_SLEEPABLE;
	attr.insns = (uint64_t)(uintptr_t)program;
	attr.insn_cnt = sizeof(program) / sizeof(program[0]);
	attr.license = (uint64_t)(uintptr_t) "GPL";
	fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

/* Scans one page of our own, for nothing. Only a kernel that does not know the call says ENOTTY. */
static int probe_pagemap_scan(const struct hs_host *host)
{
	static alignas(4096) char page[4096];
	struct scan_arg arg = { .size = sizeof(arg), .start = (uintptr_t)page, .end = (uintptr_t)page + sizeof(page) };
	char path[4200];
	int fd, rc;

	(void)snprintf(path, sizeof(path), "%s/self/pagemap", host->proc_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = ioctl(fd, SCAN_CALL, &arg) < 0 ? -errno : 0;
	(void)close(fd);
	return rc == -ENOTTY ? rc : 0;
}

void hs_diagnose_probe(const struct hs_host *host, struct hs_probe *out)
{
	struct utsname u;

	memset(out, 0, sizeof(*out));
	if (uname(&u) == 0) {
		(void)snprintf(out->release, sizeof(out->release), "%s", u.release);
		(void)snprintf(out->machine, sizeof(out->machine), "%s", u.machine);
	}
	out->root = geteuid() == 0;
	out->bpf = probe_bpf();
	out->pagemap_scan = probe_pagemap_scan(host);
}
