/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of /proc/PID/pagemap, 64 bits a base page (Documentation/admin-guide/mm/pagemap.rst). */
#ifndef HS_BASE_PAGEMAP_H
#define HS_BASE_PAGEMAP_H

#include <stdint.h>

#define HS_PM_PRESENT   (UINT64_C(1) << 63)
#define HS_PM_SWAP      (UINT64_C(1) << 62) /* also of what is just migrating, and other things of the kernel's */
#define HS_PM_FILE      (UINT64_C(1) << 61) /* of a file, or shared */
#define HS_PM_EXCLUSIVE (UINT64_C(1) << 56) /* mapped once */
#define HS_PM_PFN       ((UINT64_C(1) << 55) - 1)
#define HS_PM_SWAP_TYPE UINT64_C(31)

#endif
