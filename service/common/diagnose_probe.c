/* SPDX-License-Identifier: Apache-2.0 */
/* What no file says: asked of the running kernel, with calls that change nothing. */
#include "diagnose.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "hs/view.h"

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
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0"; /* this file's; it calls no helper that asks for the GPL */
	fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
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
	out->nested_ageing = hs_view_nested_ageing(host, &out->nested_fine, &out->nested_why);
}
