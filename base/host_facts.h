/* SPDX-License-Identifier: Apache-2.0 */
/* What of this host decides whether BPF programs can be loaded, the sentence for a person when not; its processor. */
#ifndef HS_BASE_HOST_FACTS_H
#define HS_BASE_HOST_FACTS_H

#include "hs/error.h"
#include "hs/host.h"
#include "hs/types.h"

struct hs_facts {
	bool may_bpf;     /* CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON */
	bool has_bpf;     /* the bpf system call is there */
	bool has_btf;     /* SYS/kernel/btf/vmlinux */
	bool locked_down; /* lockdown=confidentiality */
};

/* `sys_dir`: "/sys". */
void hs_facts_read(const char *sys_dir, struct hs_facts *out);

/*
 * Why loading a BPF program failed with `rc` (-errno), given the facts; `what` it does ("reads page tables"); `log`:
 * the last words of libbpf, may be empty. Writes the sentence, returns -EPERM, -ENOTSUP or -ENOMEM.
 */
int hs_facts_explain(const struct hs_facts *f, int rc, const char *what, const char *log, struct hs_error *err);

/* The first processor's lines of PROC/cpuinfo, to be freed; they may be cut or empty. NULL: no memory. */
char *hs_facts_cpuinfo(const char *proc_dir);
/* What such lines say: bits of a physical address, 0 when they do not say; whether the processor has a flag. */
unsigned int hs_facts_phys_bits(const char *cpuinfo);
bool hs_facts_has_flag(const char *cpuinfo, const char *flag);
/* Both in one. */
bool hs_facts_cpu_has(const char *proc_dir, const char *flag);

/*
 * Whether the kernel moves memory between nodes after those who use it, for which it takes pages out of reach, some
 * hundreds of MiB of each process a second: more than one node, and numa_balancing on. Asked anew each time; what
 * cannot be read is taken for one that does, where there is such a file at all.
 */
bool hs_facts_numa_balances(const struct hs_host *host);

/* Whether ksmd of this kernel passes over PROT_NONE entries. `release`: as uname says it. */
bool hs_facts_ksmd_is_blind(const char *release);

/* Whether this kernel frees the zero pages of a huge page that it splits: Linux 6.12 and later. `release`: as uname
 * says it. */
bool hs_facts_split_frees_zeros(const char *release);

#endif
