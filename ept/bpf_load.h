/* What loading and running a BPF object of ours takes, whichever it is. */
#ifndef HS_EPT_BPF_LOAD_H
#define HS_EPT_BPF_LOAD_H

#include "hs/error.h"

#define HS_BPF_WORDS 256

/* Between these two libbpf is quiet, and its last words are kept: for hs_bpf_explain. Other threads wait their turn. */
void hs_bpf_listen(void);
void hs_bpf_listen_end(char words[HS_BPF_WORDS]);

/* Why opening or loading failed with rc: the sentence for a person, -EPERM, -ENOTSUP or -ENOMEM. */
int hs_bpf_explain(int rc, const char *words, struct hs_error *err);

/* Runs a program of type `syscall` once, in the calling thread. 0 or -errno. */
HS_MUST_USE int hs_bpf_run(int prog_fd);

#endif
