/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the bits of KVM's nested page-table entries say (arch/x86/kvm/mmu/spte.h); pure, so that tables of cases can
 * test it. On AMD (NPT) they are those of ordinary page tables, on Intel (EPT) their places differ; the bits that KVM
 * keeps for itself are the same on both.
 */
#ifndef HS_EPT_NESTED_ENTRY_H
#define HS_EPT_NESTED_ENTRY_H

#include "hs/types.h"

/* KVM's own mark of an entry that maps or leads somewhere. Entries for MMIO and those just being changed lack it. */
#define HS_NESTED_PRESENT (UINT64_C(1) << 11)
#define HS_NESTED_LEAF    (UINT64_C(1) << 7) /* above the last level */

/* How accessed bits are kept for this entry: 1: not by the hardware. 0 and 2 (dirty bits alone are not): they are. */
#define HS_NESTED_AD_MASK     (UINT64_C(3) << 52)
#define HS_NESTED_AD_DISABLED (UINT64_C(1) << 52)

enum hs_nested_kind { HS_NESTED_NPT, HS_NESTED_EPT };

static inline uint64_t hs_nested_accessed_bit(enum hs_nested_kind kind)
{
	return UINT64_C(1) << (kind == HS_NESTED_EPT ? 8 : 5);
}

/*
 * Whether an entry that maps a page, at whatever level, says that it was accessed. `presence`: entries are dropped for
 * ageing, so that its being there is the answer, whatever became of the bit since.
 */
static inline enum hs_tri hs_nested_accessed(uint64_t e, enum hs_nested_kind kind, bool presence)
{
	if (!(e & HS_NESTED_PRESENT))
		return HS_NO;
	if (presence)
		return HS_YES;
	if ((e & HS_NESTED_AD_MASK) == HS_NESTED_AD_DISABLED)
		return HS_UNKNOWN;
	return (e & hs_nested_accessed_bit(kind)) ? HS_YES : HS_NO;
}

/* A table of 512 entries of the last level. false: at least one cannot be told. */
static inline bool hs_nested_decode_table(const uint64_t t[HS_BASE_PER_HUGE], enum hs_nested_kind kind, bool presence,
					  struct hs_bits512 *accessed)
{
	bool known = true;

	*accessed = (struct hs_bits512){ { 0 } };
	for (unsigned int i = 0; i < HS_BASE_PER_HUGE; i++) {
		enum hs_tri a = hs_nested_accessed(t[i], kind, presence);

		known &= a != HS_UNKNOWN;
		if (a == HS_YES)
			hs_bits_set(accessed, i);
	}
	return known;
}

#endif
