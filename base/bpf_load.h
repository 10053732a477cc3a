/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What loading and running a BPF program of ours takes, whichever it is. A program is a file NAME.bpf.c in some
 * folder's bpf/ (cmake/HsBpf.cmake makes NAME.skel.h of it); whoever loads it links libbpf itself:
 *
 *	hs_bpf_load_begin();
 *	skel = NAME_bpf__open();
 *	rc = skel ? NAME_bpf__load(skel) : -errno;
 *	rc = hs_bpf_load_end(rc, "does this or that", err);
 */
#ifndef HS_BASE_BPF_LOAD_H
#define HS_BASE_BPF_LOAD_H

#include "hs/error.h"

/*
 * Between these two libbpf is quiet, and what it said last is kept; other threads wait their turn. `rc`: 0, or how it
 * failed; then the answer is -EPERM, -ENOTSUP or -ENOMEM, with the sentence for a person, in which `what` stands behind
 * "the BPF program that" ("reads page tables").
 */
void hs_bpf_load_begin(void);
HS_MUST_USE int hs_bpf_load_end(int rc, const char *what, struct hs_error *err);

/* Runs a program of type `syscall` once, in the calling thread. 0 or -errno. */
HS_MUST_USE int hs_bpf_run(int prog_fd);

#endif
