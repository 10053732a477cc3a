/* SPDX-License-Identifier: Apache-2.0 */
/* File descriptors: each guest takes some, and the endpoint, the state files and undoing must never be without. */
#ifndef HS_SERVICE_COMMON_DESCRIPTORS_H
#define HS_SERVICE_COMMON_DESCRIPTORS_H

#include <stdint.h>

#include "hs/error.h"
#include "hs/host.h"

/* Kept free of guests: for the endpoint's connections (twice 64), libvirt's, and what an undo opens. */
#define HS_DESCRIPTORS_RESERVE 192
/* Of one guest at most: the process, its tables through host and nested view, and what adding opens for a moment. */
#define HS_DESCRIPTORS_OF_GUEST 16

/* Raises this process's limit as far as it may. */
void hs_descriptors_raise(void);

/* What is open now, and the limit; 0 each: unknown. */
void hs_descriptors_read(const struct hs_host *host, uint64_t *nr_open, uint64_t *limit);

/* 0; -EMFILE: another guest would take of the reserve. */
HS_MUST_USE int hs_descriptors_for_guest(const struct hs_host *host, struct hs_error *err);

#endif
