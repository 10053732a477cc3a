/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that looks like a VMM: it takes any options, has 80 MiB of memory (HS_MIB), and waits. With HS_SECCOMP set
 * it first puts a filter on itself in the manner of Firecracker's: what a VMM thread needs is allowed, madvise for
 * giving memory back alone, and all else ends it.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOAD(field)  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IS(value, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, n, 0)
#define RET(action)  BPF_STMT(BPF_RET | BPF_K, action)

static struct sock_filter filter[] = {
	LOAD(nr),
	IS(SYS_read, 9),
	IS(SYS_write, 8),
	IS(SYS_pause, 7),
	IS(SYS_ppoll, 6),
	IS(SYS_futex, 5),
	IS(SYS_exit_group, 4),
	IS(SYS_rt_sigreturn, 3),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
	LOAD(args[2]),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTNEED, 0, 1),
	RET(SECCOMP_RET_ALLOW),
	RET(SECCOMP_RET_KILL_PROCESS),
};

int main(void)
{
	const char *mib = getenv("HS_MIB");
	const size_t len = (size_t)(mib ? atoi(mib) : 80) << 20;
	char *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const struct sock_fprog prog = { .len = sizeof(filter) / sizeof(filter[0]), .filter = filter };

	if (memory == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (size_t at = 0; at < len; at += 2 << 20)
		memory[at] = 1;
	if (getenv("HS_SECCOMP") &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))) {
		perror("seccomp");
		return 1;
	}
	(void)!write(STDOUT_FILENO, "ready\n", 6);
	for (;;)
		(void)pause();
}
