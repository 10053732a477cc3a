/* What of this host decides whether page tables can be read, and the sentence for a person when they cannot. */
#ifndef HS_EPT_HOST_FACTS_H
#define HS_EPT_HOST_FACTS_H

#include "hs/error.h"
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
 * Why reading page tables failed with `rc` (-errno), given the facts; `log`: the last words of libbpf, may be empty.
 * Writes the sentence, returns -EPERM, -ENOTSUP or -ENOMEM.
 */
int hs_facts_explain(const struct hs_facts *f, int rc, const char *log, struct hs_error *err);

/* The first processor's lines of PROC/cpuinfo, to be freed; they may be cut or empty. NULL: no memory. */
char *hs_facts_cpuinfo(const char *proc_dir);
/* Whether the processor has this flag there. */
bool hs_facts_cpu_has(const char *proc_dir, const char *flag);

/* Whether ksmd of this kernel passes over PROT_NONE entries. `release`: as uname says it. */
bool hs_facts_ksmd_is_blind(const char *release);

#endif
