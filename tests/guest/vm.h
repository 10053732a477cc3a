/* SPDX-License-Identifier: Apache-2.0 */
/* What the workload does as process 1 of a virtual machine. */
#ifndef HS_TESTS_GUEST_VM_H
#define HS_TESTS_GUEST_VM_H

#include <stdint.h>

#include "hs/error.h"

/* Mounts what is needed, turns transparent huge pages on, and makes the second serial line standard input and output.
 */
HS_MUST_USE int hs_vm_prepare(struct hs_error *err);

/* Guest-physical addresses of nr huge pages from base on. -ENXIO: one is not whole and on its border. */
HS_MUST_USE int hs_vm_physical(const void *base, uint32_t nr, uint64_t *out);

/* Ends the machine; does not come back. */
void hs_vm_power_off(void);

#endif
